"""Which part of a raster is read, and at which resolution: decisions on geoboxes."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

from affine import Affine

from geoseg.errors import SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window

__all__ = ["bbox_window", "resampled_shape", "with_gsd"]

logger = logging.getLogger(__name__)

#: Refused beyond this: a resolution given in the wrong unit.
_MOST_FINER = 100
#: A side of fewer pixels shows nothing any more.
_FEWEST_PX = 4


def with_gsd(box: GeoBox, gsd: float | None, path: str) -> GeoBox:
    """The geobox with the sampling distance that the user knows.

    Raises
    ------
    SceneError
        Not a positive number, or a scene with a CRS, which states its own.
    """
    if gsd is None:
        return box
    if not (math.isfinite(gsd) and gsd > 0):
        raise SceneError(f"gsd must be meters per pixel above 0, got {gsd}.")
    step = box.ground_resolution() if box.crs is not None else None
    if step is not None:
        raise SceneError(
            f"gsd must be given for scenes without a CRS only, got {gsd:g} m for {path}, which states "
            f"{max(step):.3g} m in {box.crs.to_string() if box.crs else ''}. Leave it out, or use resolution "
            "to have it resampled."
        )
    return replace(box, gsd=(float(gsd), float(gsd)))


def resampled_shape(box: GeoBox, resolution: float | str | None, path: str) -> tuple[int, int]:
    """(height, width) of the whole file at the resolution asked for.

    Raises
    ------
    SceneError
        Not a positive number, or far finer than the file.
    """
    if resolution is None or resolution == "native":
        return box.shape
    try:
        meters = float(resolution)
    except ValueError:
        meters = math.nan
    if not (math.isfinite(meters) and meters > 0):
        raise SceneError(f"resolution must be 'native' or meters per pixel above 0, got {resolution}.")
    step = box.ground_resolution()
    if step is None:
        logger.warning(
            "%s has no CRS to measure meters in: it is read at its own resolution. State its ground sampling "
            "distance with gsd.",
            path,
        )
        return box.shape
    if max(step) / meters > _MOST_FINER:
        raise SceneError(
            f"resolution must be at most {_MOST_FINER} times finer than the scene's {max(step):.3g} m, "
            f"got {meters:g} m. It is meant in meters on the ground."
        )
    # A coarse pixel may cover a small scene, as long as it is the scene's own.
    extent = min(box.width * step[0], box.height * step[1])
    if meters > max(extent / _FEWEST_PX, *step):
        raise SceneError(
            f"resolution must leave at least {_FEWEST_PX} pixels a side, got {meters:g} m for {path}, which "
            f"covers {box.width * step[0]:.3g} x {box.height * step[1]:.3g} m. It is meant in meters on the "
            "ground."
        )
    return box.at_resolution(meters).shape


def bbox_window(box: GeoBox, bbox: Sequence[float], path: str) -> Window:
    """The pixels that a rectangle in the scene's CRS touches, inside the scene."""
    if len(bbox) != 4 or not all(map(math.isfinite, bbox)) or bbox[0] >= bbox[2] or bbox[1] >= bbox[3]:
        raise SceneError(f"bbox must be min x, min y, max x, max y in the scene's CRS, got {tuple(bbox)}.")
    min_x, min_y, max_x, max_y = bbox
    inverse: Affine = ~box.transform
    # All four corners: in a rotated raster any of them may lie outermost.
    corners = [
        inverse * corner for corner in ((min_x, min_y), (min_x, max_y), (max_x, min_y), (max_x, max_y))
    ]
    cols, rows = zip(*corners, strict=True)
    snap = 1e-6  # of a pixel: a bbox on pixel borders does not grow by rounding
    top, left = (math.floor(min(axis) + snap) for axis in (rows, cols))
    bottom, right = (math.ceil(max(axis) - snap) for axis in (rows, cols))
    window = Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
    window = window.clipped(box.height, box.width)
    if 0 in (window.height, window.width):
        raise SceneError(
            f"bbox must overlap the scene, got {tuple(bbox)}; {path} covers {box.bounds()} "
            f"in {box.crs.to_string() if box.crs else 'pixel coordinates'}."
        )
    return window
