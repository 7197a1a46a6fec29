"""Aerial photographs: tiled JPEG GeoTIFFs with an internal mask and overviews, written tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.files import Staged, write_error
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.typing import Array, BoolArray, PathLike, Progress, no_progress

__all__ = ["read_tags", "write_photo"]

_TILE = 512


def write_photo(
    path: PathLike,
    read: Callable[[Window], tuple[Array, BoolArray]],
    geobox: GeoBox,
    *,
    tags: Mapping[str, str] | None = None,
    quality: int = 88,
    progress: Progress = no_progress,
) -> None:
    """Write an RGB raster as JPEG-compressed GeoTIFF, in bounded memory.

    Parameters
    ----------
    path
        Appears when it is complete.
    read
        From a window (at most 512 x 512) to its pixels, uint8 (3, h, w), and their validity, bool (h, w).
        Called once for each tile, in row order.
    geobox
        Transform, CRS and shape.
    tags
        Metadata of the file.
    quality
        Of JPEG, 1 to 100.
    progress
        Told how far it is, as stage "scene".

    Raises
    ------
    InputError
        The path can't be written.
    RunError
        Writing failed, for example on a full disk.
    """
    options = {
        "driver": "GTiff", "dtype": "uint8", "count": 3, "height": geobox.height, "width": geobox.width,
        "crs": geobox.crs, "transform": geobox.transform, "tiled": True,
        "blockxsize": _TILE, "blockysize": _TILE,
        "compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": quality, "interleave": "pixel",
    }  # fmt: skip
    # As many overviews as leave at least 128 pixels along the longer side.
    levels = [2**n for n in range(1, 9) if max(geobox.shape) >> n >= 128]
    try:
        with (
            Staged.file(path) as staged,
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_CACHEMAX=64, JPEG_QUALITY_OVERVIEW=quality),
        ):
            with rasterio.open(staged.path, "w", **options) as target:
                target.update_tags(**dict(tags or {}))
                height, width = geobox.shape
                # Tile by tile: one that is written twice is JPEG twice, with twice the losses.
                corners = [(row, col) for row in range(0, height, _TILE) for col in range(0, width, _TILE)]
                for done, (row, col) in enumerate(corners):
                    progress("scene", done, len(corners))
                    window = Window(row_off=row, col_off=col, height=_TILE, width=_TILE)
                    window = window.clipped(height, width)
                    image, valid = read(window)
                    place = RasterioWindow(col, row, window.width, window.height)
                    target.write(image, window=place)
                    target.write_mask(valid, window=place)
                progress("scene", len(corners), len(corners))
            if levels:
                with rasterio.open(staged.path, "r+") as target:
                    target.build_overviews(levels, Resampling.average)
    except RasterioError as error:
        raise write_error(Path(path), error) from error


def read_tags(path: PathLike) -> dict[str, str]:
    """Metadata of a raster; empty where there is no file, or one that is no raster."""
    try:
        with rasterio.open(path) as source:
            return dict(source.tags())
    except RasterioError:
        return {}
