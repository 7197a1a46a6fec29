"""Images of annotated projects written: without loss where their pixels changed, byte for byte where not."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import GeosegError, InputError, RunError, SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window, iter_chunks
from geoseg.io.cog import check_blocks
from geoseg.io.gdal_env import open_dataset, raster_env
from geoseg.projects.images import ImageFile
from geoseg.typing import Array, PathLike

__all__ = [
    "BY_NAME",
    "BY_STEM",
    "companions",
    "copy_image",
    "result_suffix",
    "world_suffixes",
    "write_image",
    "write_windows",
]

_TIFF = (".tif", ".tiff")
_JPEG = (".jpg", ".jpeg", ".jpe")
#: Side of the pieces written, pixels: a multiple of the blocks, so that each block is compressed once.
_PART = 2048
#: Endings of files that belong to an image, after its name (metadata, overviews, mask) and in place of its
#: suffix (georeference; see :func:`world_suffixes`).
BY_NAME = (".aux.xml", ".ovr", ".msk")
BY_STEM = (".wld", ".prj")


def result_suffix(source: str, dtype: str, count: int, georeferenced: bool, jpeg_quality: int | None) -> str:
    """Extension of a changed image: a format that keeps its pixels, and its place on the ground.

    Parameters
    ----------
    source
        Extension of the image it was made of.
    dtype, count
        Pixel type and bands.
    georeferenced
        Whether the image knows its place.
    jpeg_quality
        Write JPEG sources as JPEG again, with this quality; None writes them without loss.

    Examples
    --------
    >>> result_suffix(".jpg", "uint8", 3, False, None), result_suffix(".jpg", "uint8", 3, False, 95)
    ('.png', '.jpg')
    >>> result_suffix(".png", "uint8", 3, True, None), result_suffix(".tif", "uint16", 8, True, None)
    ('.tif', '.tif')
    """
    if source.lower() in _TIFF:
        return source
    if georeferenced:
        return ".tif"
    if source.lower() in _JPEG and jpeg_quality is not None and dtype == "uint8" and count in (1, 3):
        return source
    return ".png" if dtype in ("uint8", "uint16") and count <= 4 else ".tif"


def write_image(
    path: PathLike,
    pixels: Array,
    geobox: GeoBox,
    *,
    like: ImageFile | None = None,
    jpeg_quality: int | None = None,
) -> None:
    """Write an image in the format of its extension: GeoTIFF, PNG or JPEG.

    Parameters
    ----------
    path
        Where to.
    pixels
        (C, h, w).
    geobox
        Where the pixels lie; GeoTIFF keeps it.
    like
        The image it was made of, for nodata value and meaning of the bands.
    jpeg_quality
        1 to 100.

    Raises
    ------
    RunError
        The disk is full, or the format can't hold such pixels.
    """
    _write(Path(path), [(None, pixels)], pixels.shape, pixels.dtype, geobox, like, jpeg_quality)


def write_windows(
    path: PathLike, read: Callable[[Window], Array], geobox: GeoBox, *, like: ImageFile | None = None
) -> None:
    """Write a GeoTIFF of any size window by window, so that it is never in memory as a whole.

    Parameters
    ----------
    path
        With the extension of a TIFF.
    read
        Pixels (C, h, w) of a window of the image.
    geobox
        Shape and place of the image.
    like
        The image it was made of.

    Raises
    ------
    RunError
        As :func:`write_image`.
    """
    # One pixel tells bands and type, which layers may have changed.
    sample = read(Window(row_off=0, col_off=0, height=1, width=1))
    parts = ((window, read(window)) for window in iter_chunks(geobox.height, geobox.width, _PART))
    _write(Path(path), parts, (len(sample), *geobox.shape), sample.dtype, geobox, like, None)


def _write(
    path: Path,
    parts: Iterable[tuple[Window | None, Array]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geobox: GeoBox,
    like: ImageFile | None,
    jpeg_quality: int | None,
) -> None:
    count, height, width = shape
    profile: dict[str, Any] = {
        "width": width,
        "height": height,
        "count": count,
        "dtype": str(dtype),
        **_driver(path, shape, dtype, jpeg_quality),
    }
    # PNG and JPEG would put place and nodata into an .aux.xml beside the image, which is not the image's.
    if profile["driver"] == "GTiff":
        if geobox.crs is not None or not geobox.transform.is_identity:
            profile |= {"transform": geobox.transform, "crs": geobox.crs.to_wkt() if geobox.crs else None}
        if like is not None and like.scene.nodata is not None:
            profile["nodata"] = like.scene.nodata
    try:
        with warnings.catch_warnings(), raster_env(), rasterio.Env(GDAL_PAM_ENABLED="NO"):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", **profile) as out:
                for window, pixels in parts:
                    place = None
                    if window is not None:
                        place = RasterioWindow(window.col_off, window.row_off, window.width, window.height)
                    out.write(pixels, window=place)
                if profile["driver"] == "GTiff":
                    _describe(out, like)
            if profile["driver"] == "GTiff":
                check_blocks(path)
    except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
        if isinstance(error, GeosegError):
            raise
        raise RunError(f"{path} can't be written: {error}") from error


def _driver(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], jpeg_quality: int | None
) -> dict[str, Any]:
    suffix = path.suffix.lower()
    # 95 where nobody chose: the pixels have been through JPEG once already.
    if suffix in _JPEG:
        return {"driver": "JPEG", "QUALITY": jpeg_quality or 95}
    if suffix == ".png":
        return {"driver": "PNG", "ZLEVEL": 4}
    if suffix not in _TIFF:
        raise InputError(f"extension of a written image must be .tif, .png or .jpg, got {suffix!r}.")
    options: dict[str, Any] = {"driver": "GTiff", "compress": "deflate", "zlevel": 4, "BIGTIFF": "IF_SAFER"}
    # Imagery is compressed by the differences of neighbors; floating point has a rule of its own for them.
    options["predictor"] = 3 if dtype.kind == "f" else 2
    # Blocks for scenes; a small image in blocks would be mostly padding.
    if min(shape[1:]) > 512:
        options |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    return options


def _describe(out: Any, like: ImageFile | None) -> None:
    """Meaning and names of the bands, as in the file the image was made of."""
    # A layer that made other bands has made other meanings, too.
    if like is None or out.count != like.count or like.scene.facts().get("palette"):
        return
    stored = [like.scene.facts()["stored_bands"][band - 1] for band in like.scene.bands]
    kinds = [ColorInterp[band["color"]] for band in stored]
    # A palette does not survive a change of its values.
    if ColorInterp.palette not in kinds:
        out.colorinterp = kinds
    out.descriptions = tuple(band["description"] for band in stored)


def _check_blocks(path: Path) -> None:
    """Refuse a TIFF some of whose blocks lie beyond the end of the file: nobody reads them to notice."""
    size = path.stat().st_size
    with open_dataset(path) as dataset:
        height, width = dataset.block_shapes[0]
        for row in range(-(-dataset.height // height)):
            for col in range(-(-dataset.width // width)):
                offset, length = (
                    dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1)
                    for what in ("OFFSET", "SIZE")
                )
                # A block without an offset was never written: a sparse file, whose block is all nodata.
                if offset is not None and int(offset) + int(length or 0) > size:
                    raise SceneError(f"image must be complete, got {path}, which is cut short. Copy it anew.")


def copy_image(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy an image byte for byte, and the files beside it that belong to it.

    With ``link`` they get a second name (hard link) in place of a copy, where the file system can.

    Raises
    ------
    SceneError
        A TIFF that is cut short.
    """
    if source.suffix.lower() in _TIFF:
        _check_blocks(source)
    for old, new in ((source, target), *companions(source, target)):
        if link:
            try:
                os.link(old.resolve(), new)
                continue
            except OSError:
                pass  # another file system, or one without links: it is copied below
        shutil.copyfile(old, new)


def companions(image: Path, target: Path) -> list[tuple[Path, Path]]:
    """Files beside an image that hold its georeference, overviews or mask, and their names beside ``target``.

    Examples
    --------
    >>> companions(Path("nowhere.tif"), Path("b.tif"))
    []
    """
    by_name = [(image.with_name(image.name + end), target.with_name(target.name + end)) for end in BY_NAME]
    ends = sorted({*BY_STEM, *world_suffixes(image.suffix), *world_suffixes(image.suffix.lower())})
    by_stem = [(image.with_suffix(end), target.with_suffix(end)) for end in ends]
    return [(old, new) for old, new in by_name + by_stem if old.is_file()]


def world_suffixes(suffix: str) -> tuple[str, ...]:
    """Endings that the world file of an image may have.

    Examples
    --------
    >>> world_suffixes(".tif"), world_suffixes("")
    (('.tfw', '.tifw'), ())
    """
    return (f".{suffix[1]}{suffix[-1]}w", f"{suffix}w") if len(suffix) > 2 else ()
