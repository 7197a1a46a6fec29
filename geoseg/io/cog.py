"""Cloud-optimized GeoTIFFs of any size, written window by window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import InputError
from geoseg.files import Staged, write_error
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window, iter_chunks
from geoseg.io.crs import check_tiff_crs
from geoseg.io.gdal_env import quiet_georeferencing, raster_env
from geoseg.typing import Array, PathLike, Progress, no_progress

__all__ = ["check_blocks", "is_our_cog", "overview_resampling", "read_finished", "write_cog"]

#: Pixels a side of a block in the file, and of a window that is written at once: whole blocks, so that none
#: is compressed twice.
_BLOCK, _WINDOW = 512, 2048
_SOFTWARE = "TIFFTAG_SOFTWARE"

#: Pixel types that are written.
DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def overview_resampling(dtype: str, scale: float | None) -> str:
    """How overviews are made: measurements are averaged, classes are not.

    Examples
    --------
    >>> overview_resampling("uint8", None), overview_resampling("uint8", 1 / 254)
    ('nearest', 'average')
    >>> overview_resampling("float32", None)
    'average'
    """
    return "average" if scale is not None or np.dtype(dtype).kind == "f" else "nearest"


def write_cog(
    path: PathLike,
    read: Callable[[Window], Array],
    geobox: GeoBox,
    *,
    dtype: str,
    count: int = 1,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    descriptions: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write a raster as cloud-optimized GeoTIFF, with overviews, in bounded memory.

    Parameters
    ----------
    path
        Final name; it appears when the file is complete.
    read
        Gives the pixels of a window, (C, h, w) or, of one band, (h, w); called once for every window of at
        most 2048 x 2048 pixels, row-major.
    geobox
        Place and shape.
    dtype, count, nodata
        Of the bands.
    scale, offset
        Value = stored * scale + offset, stated in the file.
    descriptions
        Names of the bands.
    tags
        Metadata of the file.
    progress
        Told the finished windows.

    Raises
    ------
    InputError
        An impossible dtype, or a folder that can't be written.
    RunError
        A failed write (a full disk); nothing is left under the final name.

    Notes
    -----
    Equal pixels give equal bytes: no time stamp is stored.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}.")
    path = Path(path)
    check_tiff_crs(geobox.crs)
    profile = _profile(geobox, dtype, count, nodata)
    options = {
        "COMPRESS": "DEFLATE",
        "PREDICTOR": "YES",
        "BLOCKSIZE": str(_BLOCK),
        "BIGTIFF": "IF_SAFER",
        "OVERVIEW_RESAMPLING": overview_resampling(dtype, scale),
    }
    with Staged.file(path) as staged, raster_env():
        # The COG driver only makes copies of whole files: the pixels go to a plain TIFF first.
        plain = staged.path.with_name("plain.tif")
        try:
            with quiet_georeferencing():
                target = rasterio.open(plain, "w", **profile)
            with target:
                if scale is not None:
                    target.scales = (scale,) * count
                if offset is not None:
                    target.offsets = (offset,) * count
                if descriptions is not None:
                    target.descriptions = tuple(descriptions)
                target.update_tags(**{_SOFTWARE: "geoseg"}, **(tags or {}))
                windows = list(iter_chunks(geobox.height, geobox.width, _WINDOW))
                for done, window in enumerate(windows, 1):
                    pixels = np.asarray(read(window))
                    pixels = pixels[None] if pixels.ndim == 2 else pixels
                    where = RasterioWindow(window.col_off, window.row_off, window.width, window.height)
                    target.write(pixels.astype(dtype, copy=False), window=where)
                    progress("write", done, len(windows))
            # Before the copy, too: GDAL copies a block that is missing as zeros.
            check_blocks(plain)
            with quiet_georeferencing():
                rasterio.shutil.copy(plain, staged.path, driver="COG", **options)
            check_blocks(staged.path)
        except (RasterioError, CPLE_BaseError, OSError) as error:
            raise write_error(path, error) from error


def read_finished(path: PathLike, tag: str) -> tuple[str, int] | None:
    """What a file of :func:`write_cog` says of itself, if it is there to its last block.

    Parameters
    ----------
    path
        The file.
    tag
        Name of one of its ``tags``.

    Returns
    -------
    str, int or None
        The tag's value, and the number of bands; None where there is no such file, it has no such tag, or
        it was cut short since.
    """
    path = Path(path)
    if not path.is_file():
        return None
    try:
        with raster_env():
            with quiet_georeferencing(), rasterio.open(path, driver="GTiff") as written:
                value = written.tags().get(tag)
                count = int(written.count)
            if value is None:
                return None
            check_blocks(path)
    except (RasterioError, OSError):
        return None
    return str(value), count


def is_our_cog(path: Path) -> bool:
    """Whether an existing file was written by :func:`write_cog`; by its tag for software."""
    # A file that can't be read is nobody's that may be written over.
    try:
        with raster_env(), quiet_georeferencing(), rasterio.open(path, driver="GTiff") as written:
            return bool(written.tags().get(_SOFTWARE) == "geoseg")
    except (RasterioError, OSError):
        return False


def _profile(geobox: GeoBox, dtype: str, count: int, nodata: float | None) -> dict[str, Any]:
    # The plain file is compressed once more as it is copied, so the fastest level is enough. GDAL can't know
    # the compressed size beforehand: IF_SAFER takes BigTIFF where 4 GB might not do.
    profile: dict[str, Any] = {
        "driver": "GTiff", "dtype": dtype, "count": count, "height": geobox.height, "width": geobox.width,
        "nodata": nodata, "tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate",
        "zlevel": 1, "bigtiff": "IF_SAFER", "interleave": "band",
    }  # fmt: skip
    if geobox.crs is not None:
        profile["crs"] = geobox.crs.to_wkt()
    if geobox.transform != Affine.identity():
        profile["transform"] = geobox.transform
    return profile


def check_blocks(path: Path) -> None:
    """Make sure that every block of a TIFF is in the file: GDAL does not report each failed write.

    Raises
    ------
    OSError
        A block, of the raster or an overview, is missing or reaches beyond the end of the file.
    """
    # A failed write may leave a place in the table of blocks empty, or one that points beyond the end.
    size = path.stat().st_size
    with quiet_georeferencing():
        written = rasterio.open(path)
    with written:
        height, width = written.block_shapes[0]
        # Bands that lie pixel by pixel share their blocks: those of the first are all there are.
        bands = written.indexes if written.interleaving == Interleaving.band else [1]
        for level, factor in enumerate([1, *written.overviews(1)]):
            overview = level - 1 if level else None
            tall, wide = -(-written.height // (factor * height)), -(-written.width // (factor * width))
            for band, row, col in product(bands, range(tall), range(wide)):
                offset, length = (
                    int(written.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", band, ovr=overview) or 0)
                    for what in ("OFFSET", "SIZE")
                )
                if offset == 0 or offset + length > size:
                    raise OSError(None, "it came out incomplete")
