"""Where the mask of a scene lies on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from affine import Affine

from geoseg.data.classes import ClassTable
from geoseg.data.mask_codes import mask_codes
from geoseg.data.truth import MaskTruth
from geoseg.errors import InputError
from geoseg.io.sources import open_raster
from geoseg.raster.source import RasterSource

__all__ = ["mask_truth", "missed_scene"]

logger = logging.getLogger(__name__)


def missed_scene(what: str, path: str, bounds: Sequence[float] | None, scene: RasterSource) -> InputError:
    """Why nothing of a file lies on a scene: both extents, and a CRS that is missing."""
    ground, crs = (tuple(round(v, 6) for v in scene.geobox.bounds()), scene.geobox.crs)
    extent = tuple(round(float(v), 6) for v in bounds or ()) or "nothing"
    hint = (
        "" if crs else f" The scene states no CRS, so {what} must be in its pixels; or set it with gdal_edit."
    )
    return InputError(
        f"{what} must touch the scene, got {path} over {extent} and {scene.path} over {ground} "
        f"({crs.to_string() if crs else 'pixels'}).{hint}"
    )


def mask_truth(scene: RasterSource, path: str, table: ClassTable) -> MaskTruth:
    """Truth of a scene from the mask at ``path``, which must lie square to it.

    Raises
    ------
    InputError
        The mask lies elsewhere, is turned, or has another CRS or shape.
    """
    # The indices of a palette are the classes, unless the config says what its colors are.
    mask = open_raster(path, expand_palette=bool(table.colors))
    return MaskTruth(scene.height, scene.width, mask, _area_to_mask(scene, mask), mask_codes(table, mask))


def _area_to_mask(scene: RasterSource, mask: RasterSource) -> Affine:
    """From pixel corners of the scene to those of its mask: by georeferencing, else by shape."""
    if mask.geobox.crs is None:
        if mask.geobox.transform.is_identity:
            # The same picture, perhaps of another size.
            down, right = mask.height / scene.height, mask.width / scene.width
            # A side may have been rounded by a whole pixel when either of the two was scaled.
            if abs(down - right) > max(1, down, right) * (1 / scene.height + 1 / scene.width):
                raise InputError(
                    "a mask without georeferencing must have its scene's shape, got "
                    f"{mask.width} x {mask.height} pixels of {mask.path} for {scene.width} x {scene.height} "
                    f"of {scene.path}. Georeference it, or cut it to the scene; a photo is turned by its "
                    "EXIF orientation before."
                )
            return Affine.scale(right, down)
        if scene.geobox.crs is None and scene.geobox.transform.is_identity:
            raise InputError(
                f"a mask must lie where its scene does, got {mask.path} with a geotransform for {scene.path} "
                "without one. Remove its world file, or give the scene one."
            )
        if scene.geobox.crs is not None:
            logger.warning(
                "%s states no CRS: its coordinates are taken for those of %s (%s).",
                mask.path, scene.path, scene.geobox.crs.to_string(),
            )  # fmt: skip
        return _placed(scene, mask)
    own, other = scene.geobox.crs, mask.geobox.crs
    if own is None or not own.equals(other):
        own_name = own.to_string() if own else "none"
        hint = (
            f"Warp it with gdalwarp -t_srs {own_name} -r near"
            if own
            else "Give the scene its own with gdal_edit"
        )
        raise InputError(
            f"a mask must have its scene's CRS ({own_name}), got {other.to_string()} for {mask.path}. "
            f"{hint}, or give vector labels."
        )
    return _placed(scene, mask)


def _placed(scene: RasterSource, mask: RasterSource) -> Affine:
    """From a scene to a mask by their transforms, which are of one CRS."""
    to_mask = ~mask.geobox.transform * scene.geobox.transform
    # Rows and columns of a mask are looked up apart, which a turned one does not allow. Rounding is no turn.
    if abs(to_mask.b) + abs(to_mask.d) > 1e-6 * abs(to_mask.a):
        raise InputError(
            f"a mask must lie square to its scene, got {mask.path} turned. Warp it to the scene."
        )
    ends = np.array([to_mask * (0, 0), to_mask * (scene.width, scene.height)])
    if (ends.max(0) <= 0).any() or (ends.min(0) >= (mask.width, mask.height)).any():
        raise missed_scene("a mask", mask.path, mask.geobox.bounds(), scene)
    return to_mask
