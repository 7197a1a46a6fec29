"""How GDAL is opened here: which drivers, which settings, one handle a thread.

Files come from strangers, so GDAL is kept from doing more than reading pixels: drivers are named by an
allow-list, formats that are XML or connection strings (and may point to other hosts) are left out, a VRT is
read only where the user names a ``.vrt`` file whose sources are local, and the network is used only where
the user wrote a URL.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.env
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from geoseg.errors import MissingFileError, SceneError
from geoseg.io.vrt import check_vrt, is_remote
from geoseg.typing import PathLike

__all__ = [
    "CACHE_BYTES",
    "RASTER_DRIVERS",
    "cache_for_rows",
    "file_stamp",
    "forget_dataset",
    "is_remote",
    "open_dataset",
    "quiet_georeferencing",
    "raster_env",
    "thread_dataset",
]

logger = logging.getLogger(__name__)

#: GDAL's block cache for tiled scenes, shared by all threads (GDAL's own default is 5 % of the RAM).
CACHE_BYTES = 32 * 1024 * 1024

#: Formats that a scene may have. XML and web formats (WMS, STACTA, SAFE, ...) are left out on purpose.
RASTER_DRIVERS = (
    "GTiff", "JPEG", "PNG", "JP2OpenJPEG", "WEBP", "BMP", "GIF", "BIGGIF", "HFA", "ENVI", "EHdr", "ERS",
    "PCIDSK", "NITF", "RST", "SAGA", "RRASTER", "AAIGrid", "SRTMHGT", "DTED", "PNM", "GPKG", "MBTiles",
    "Zarr", "netCDF", "HDF5", "HDF5Image", "GRIB",
)  # fmt: skip

#: Names of datasets inside a file (``NETCDF:"file.nc":variable``) that are accepted beside plain paths.
_SUBDATASET = re.compile(r"^(GTIFF_DIR|NETCDF|HDF5|ZARR|GPKG|NITF_IM):", re.IGNORECASE)
_URL = re.compile(r"^([a-z][a-z0-9+.-]+://|/vsi[a-z0-9_]+/)", re.IGNORECASE)
#: GDAL's file systems behind the schemes of URLs.
_SCHEMES = {
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
    "zip": "/vsizip/",
    "file": "",
}

#: Rows that must stay decoded while a row of chunks is read from left to right, and what that may cost.
_ROWS = 2048 + 512
_CACHE_LIMIT_BYTES = 512 * 1024 * 1024

_OPEN_HANDLES = 4  # a thread
_warning_lock = threading.Lock()


class _Handles(threading.local):
    """Open datasets of one thread, oldest first; forgotten in a forked child, which must not use them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.datasets: OrderedDict[tuple[str, int, int], Any] = OrderedDict()


_handles = _Handles()


@functools.cache
def _limit_cache(pid: int) -> None:
    """Bound GDAL's block cache once a process, unless the user's environment already does."""
    if "GDAL_CACHEMAX" not in os.environ:
        with rasterio.Env():
            rasterio.env.set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)


def cache_for_rows(block_width: int, width: int, bytes_per_pixel: int) -> int:
    """Bytes of block cache that a raster needs so that no part of it is decoded over and over.

    A tiled file needs none beyond the default. In one stored row by row (JPEG, PNG, striped GeoTIFF) every
    window touches whole rows: the rows of one row of chunks are kept, within 512 MB.

    Examples
    --------
    >>> cache_for_rows(256, 100_000, 3) == cache_for_rows(2048, 2048, 3) == CACHE_BYTES
    True
    >>> cache_for_rows(20_000, 20_000, 3) // 1024**2
    146
    """
    if block_width < width:
        return CACHE_BYTES
    return min(max(CACHE_BYTES, width * bytes_per_pixel * _ROWS), _CACHE_LIMIT_BYTES)


def _grow_cache(dataset: Any) -> None:
    """Make room for a raster stored row by row; the cache is the process's and never shrinks again."""
    if "GDAL_CACHEMAX" in os.environ:
        return
    depth = sum(np.dtype(kind).itemsize for kind in dataset.dtypes if kind != "complex_int16")
    wanted = cache_for_rows(dataset.block_shapes[0][1], dataset.width, depth)
    if wanted > int(rasterio.env.get_gdal_config("GDAL_CACHEMAX") or 0):
        rasterio.env.set_gdal_config("GDAL_CACHEMAX", wanted)
    if wanted == _CACHE_LIMIT_BYTES:
        logger.warning(
            "%s is stored row by row: a tiled copy (gdal_translate -of COG) reads faster.", dataset.name
        )


@contextmanager
def raster_env(remote: bool = False) -> Iterator[None]:
    """GDAL settings for opening and reading, on this thread.

    Side-car files (masks, world files, overviews) of a local scene are looked up by name and its folder is
    never listed; of a remote one they are not looked for at all. A damaged JPEG is an error and not, as by
    GDAL's default, a gray area.
    """
    _limit_cache(os.getpid())
    with rasterio.Env(
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR" if remote else "TRUE",
        GDAL_ERROR_ON_LIBJPEG_WARNING="TRUE",
        GDAL_VRT_ENABLE_PYTHON="NO",
        GDAL_PAM_ENABLED="YES",
    ):
        yield


@contextmanager
def quiet_georeferencing() -> Iterator[None]:
    """Silence rasterio's warning about rasters in pixel coordinates, which are first-class here.

    Warning filters belong to the whole process, hence the lock: keep what is done inside short.
    """
    with _warning_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def open_dataset(path: PathLike) -> Any:
    """Open a raster read-only.

    Parameters
    ----------
    path
        A local file, a Zarr folder, a dataset inside a file, or a URL.

    Returns
    -------
    rasterio.DatasetReader

    Raises
    ------
    MissingFileError
        There is no such file.
    SceneError
        A folder, something that is not a raster, a format outside :data:`RASTER_DRIVERS`, or a VRT that
        points to the network or runs code.
    """
    name = os.fspath(path)
    _check_path(name)
    drivers = list(RASTER_DRIVERS)
    if name.lower().endswith(".vrt") and not is_remote(name):
        check_vrt(Path(name))
        drivers = ["VRT"]
    try:
        with raster_env(is_remote(name)), quiet_georeferencing():
            return DatasetReader(_gdal_name(name), driver=drivers, sharing=False)
    except RasterioError as error:
        raise SceneError(_refusal(name, error)) from None


def _gdal_name(name: str) -> str:
    """A path or URL as GDAL spells it."""
    scheme, mark, rest = name.partition("://")
    if not mark:
        return name
    if scheme.lower() not in _SCHEMES:
        raise SceneError(f"scheme of a URL must be one of {', '.join(_SCHEMES)}, got {name}.")
    return _SCHEMES[scheme.lower()] + rest


def _refusal(name: str, error: Exception) -> str:
    reason = str(error).strip().rstrip(".")
    if "not recognized as being in a supported file format" in reason or "No such file" in reason:
        reason = "it is none of the raster formats read here"
    return (
        f"scene must be a raster file (GeoTIFF, COG, VRT, JPEG, PNG, ...), got {name}: {reason}. "
        "Check it with gdalinfo, or convert it with gdal_translate."
    )


def _check_path(name: str) -> None:
    """Refuse what is not there, folders, and connection strings."""
    if _URL.match(name) or (_SUBDATASET.match(name) and not Path(name).exists()):
        return
    path = Path(name)
    if not name or not path.exists():
        raise MissingFileError(
            f"scene must be an existing file, got {name or 'an empty path'}. Check the path."
        )
    if path.is_dir() and not any((path / mark).exists() for mark in ("zarr.json", ".zgroup", ".zarray")):
        raise SceneError(f"scene must be a raster file, got the folder {name}. Name a file inside it.")


def file_stamp(name: str) -> tuple[str, int, int]:
    """Name, size and time of a file; another one when it is written anew."""
    try:
        stat = Path(name).stat()
    except OSError:  # a URL or a dataset inside a file: no stamp, it is taken as unchanged
        return name, 0, 0
    return name, stat.st_size, stat.st_mtime_ns


def thread_dataset(name: str) -> Any:
    """This thread's own open handle of a raster, opened when first asked for.

    At most four stay open a thread; GDAL handles must not be shared between threads.
    """
    if _handles.pid != os.getpid():
        _handles.__init__()  # type: ignore[misc]
    key = file_stamp(name)
    datasets = _handles.datasets
    if key in datasets:
        datasets.move_to_end(key)
        return datasets[key]
    dataset = open_dataset(name)
    _grow_cache(dataset)
    datasets[key] = dataset
    while len(datasets) > _OPEN_HANDLES:
        datasets.popitem(last=False)[1].close()
    return dataset


def forget_dataset(name: str) -> None:
    """Close this thread's handle of a raster, so that the next read opens it anew.

    After a failed read a handle must not be used again: GDAL reports that a JPEG ends too early once, and
    then gives gray pixels.
    """
    dataset = _handles.datasets.pop(file_stamp(name), None)
    if dataset is not None:
        dataset.close()


@atexit.register
def _close_all() -> None:
    """Close the main thread's handles while there is still an interpreter to do it with."""
    while _handles.datasets and _handles.pid == os.getpid():
        _handles.datasets.popitem()[1].close()
