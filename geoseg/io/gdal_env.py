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
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from geoseg.errors import GeosegError, MissingFileError, RunError, SceneError
from geoseg.io.local_files import Watch
from geoseg.io.names import ZARR_MARKS, container, in_archive, is_remote
from geoseg.io.vrt import check_vrt
from geoseg.typing import PathLike

__all__ = [
    "CACHE_BYTES",
    "RASTER_DRIVERS",
    "SHARING_DRIVERS",
    "cache_for_rows",
    "check_path",
    "file_stamp",
    "forget_dataset",
    "forget_everywhere",
    "open_dataset",
    "opened_header",
    "quiet_georeferencing",
    "raster_env",
    "release_dataset",
    "thread_dataset",
]

logger = logging.getLogger(__name__)

#: GDAL's block cache for tiled scenes, shared by all threads (GDAL's own default is 5 % of the RAM).
CACHE_BYTES = 32 * 1024 * 1024

#: Formats that a scene may have. XML and web formats (WMS, STACTA, SAFE, ...) are left out on purpose, and so
#: are ERS and PCIDSK: their headers name other files, which GDAL opens by any driver, on any host.
RASTER_DRIVERS = (
    "GTiff", "JPEG", "PNG", "JP2OpenJPEG", "WEBP", "BMP", "GIF", "BIGGIF", "HFA", "ENVI", "EHdr",
    "NITF", "RST", "SAGA", "RRASTER", "AAIGrid", "SRTMHGT", "DTED", "PNM", "GPKG", "MBTiles",
    "Zarr", "netCDF", "HDF5", "HDF5Image", "GRIB",
)  # fmt: skip

#: Formats whose library keeps one cache for all openings of a file, and follows links to other files.
SHARING_DRIVERS = ("HDF5", "HDF5Image", "netCDF")

#: Names of datasets inside a file (``NETCDF:"file.nc":variable``) that are accepted beside plain paths.
_SUBDATASET = re.compile(r"^(GTIFF_DIR|NETCDF|HDF5|ZARR|GPKG|NITF_IM):", re.IGNORECASE)
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)
#: GDAL's file systems that are read: archives, the network, memory. Others (``/vsisparse/``) are made of XML
#: that may name any file on any host.
_FILE_SYSTEM = re.compile(
    r"^/vsi(zip|tar|gzip|7z|rar|mem|curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)(_streaming)?/", re.IGNORECASE
)
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

#: How long a server may be silent, and how often it is asked again: GDAL itself waits for ever and gives up
#: at the first error. Retries wait 1, 2, 4, ... seconds. A user's own environment variables come first.
_NETWORK = {
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "300",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",  # bytes a second,
    "GDAL_HTTP_LOW_SPEED_TIME": "20",  # for so many seconds
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    # what was read is forgotten when the file is closed, so that a scene opened anew is read anew
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",
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
        self.datasets: OrderedDict[str, tuple[Any, Watch, int]] = OrderedDict()


_handles = _Handles()
#: How often a raster that is no local file was opened as a scene; handles of an earlier opening are old.
_openings: dict[str, int] = {}


#: Archives read in this process: what each looked like at its openings.
_archives: dict[str, list[tuple[int, int, int]]] = {}


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
    network = {name: value for name, value in _NETWORK.items() if name not in os.environ} if remote else {}
    with rasterio.Env(
        **network,
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
    RunError
        A server that does not answer.
    """
    name = os.fspath(path)
    check_path(name)
    drivers = list(RASTER_DRIVERS)
    if name.lower().endswith(".vrt") and not is_remote(name):
        if in_archive(name):
            raise SceneError(f"a VRT must be a file of its own, got {name}. Unpack it first.")
        check_vrt(Path(name))
        drivers = ["VRT"]
    try:
        with raster_env(is_remote(name)), quiet_georeferencing():
            return DatasetReader(_respelled(_gdal_name(name)), driver=drivers, sharing=False)
    except RasterioError as error:
        raise _refusal(name, " ".join(str(error).split()).rstrip(".")) from None


@contextmanager
def opened_header(name: str) -> Iterator[Any]:
    """An open raster whose header is looked at: what GDAL says of odd tags becomes one clear error.

    Raises
    ------
    MissingFileError, SceneError, RunError
        As :func:`open_dataset`, or a header that can't be read.
    """
    try:
        with raster_env(is_remote(name)), open_dataset(name) as dataset:
            yield dataset
    except (RasterioError, CPLE_BaseError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise SceneError(
            f"scene must have a header that can be read, got {name}: {reason}. Write it anew with "
            "gdal_translate."
        ) from None


def _gdal_name(name: str) -> str:
    """A path or URL as GDAL spells it."""
    scheme, mark, rest = name.partition("://")
    if not mark:
        return name
    if scheme.lower() not in _SCHEMES:
        raise SceneError(f"scheme of a URL must be one of {', '.join(_SCHEMES)}, got {name}.")
    return _SCHEMES[scheme.lower()] + rest


def _respelled(name: str) -> str:
    """A place in an archive, spelled otherwise each time the archive was replaced.

    GDAL keeps sizes and places of the last gzip file by its name alone: of a file that was replaced it would
    read the new bytes at the old places.
    """
    root = container(name) if in_archive(name) else None
    if root is None:
        return name
    stat = root.stat()
    stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
    stamps = _archives.setdefault(str(root), [])
    if stamp not in stamps:
        stamps.append(stamp)
    spelled = os.path.join(root.parent, *["."] * stamps.index(stamp), root.name)  # noqa: PTH118 - Path drops "."
    return name.replace(str(root), spelled, 1)


def _refusal(name: str, reason: str) -> GeosegError:
    if is_remote(name):
        if re.search(r"code: (404|410)", reason):
            return MissingFileError(f"scene must exist, got {name}: {reason}. Check the address.")
        if re.search(r"code: 4\d\d|resolve host", reason):
            return SceneError(f"scene must be readable, got {name}: {reason}. Check address and credentials.")
        if re.search(r"HTTP|CURL", reason):
            return RunError(f"cannot read {name}: {reason}. The server did not answer: try again later.")
        return SceneError(
            f"scene must be a raster file, got {name}: {reason}. It is none that is read here, or the server "
            "did not give it whole in time: check the address, and try again later."
        )
    if "not recognized as being in a supported file format" in reason or "No such file" in reason:
        reason = "it is none of the raster formats read here"
    return SceneError(
        f"scene must be a raster file (GeoTIFF, COG, VRT, JPEG, PNG, ...), got {name}: {reason}. "
        "Check it with gdalinfo, or convert it with gdal_translate."
    )


def check_path(name: str) -> None:
    """Refuse what is not there, folders, and connection strings.

    Raises
    ------
    MissingFileError, SceneError
        The path can't be a scene.
    """
    if name.lower().startswith("/vsi"):
        if not _FILE_SYSTEM.match(name):
            raise SceneError(
                f"file system of a scene must be an archive (/vsizip/, /vsitar/, ...) or a host (/vsicurl/, "
                f"/vsis3/, ...), got {name}. Copy it to a file first."
            )
        if in_archive(name) and not is_remote(name) and not name.lower().startswith("/vsimem/"):
            _check_container(name)
        return
    path = Path(name)
    if _SCHEME.match(name):
        return
    if _SUBDATASET.match(name) and not path.exists():
        if not is_remote(name) and "/vsimem/" not in name:
            _check_container(name)
        return
    if not name or not path.exists():
        raise MissingFileError(
            f"scene must be an existing file, got {name or 'an empty path'}. Check the path."
        )
    if path.is_dir() and not any((path / mark).exists() for mark in ZARR_MARKS):
        raise SceneError(f"scene must be a raster file, got the folder {name}. Name a file inside it.")


def _check_container(name: str) -> None:
    if container(name) is None:
        raise MissingFileError(f"scene must lie in an existing file, got {name}. Check the path.")


def file_stamp(name: str) -> tuple[str, int, int]:
    """Name, size and time of the file that holds a raster; zeros of what is no local file."""
    root = container(name)
    if root is None:
        return name, 0, 0
    stat = root.stat()
    return name, stat.st_size, stat.st_mtime_ns


def thread_dataset(name: str) -> Any:
    """This thread's own open handle of a raster, opened when first asked for.

    It is opened anew when a file that its pixels come from, at any depth, was written meanwhile; a URL is
    taken as unchanged until :func:`forget_everywhere`. At most four stay open a thread; GDAL handles must not
    be shared between threads.
    """
    if _handles.pid != os.getpid():
        _handles.__init__()  # type: ignore[misc]
    datasets = _handles.datasets
    if name in datasets:
        dataset, watch, opening = datasets[name]
        if opening == _openings.get(name, 0) and not watch.changed():
            datasets.move_to_end(name)
            return dataset
        forget_dataset(name)
    watch = Watch(name)  # before the file is opened: what is written in between counts as written after
    dataset = open_dataset(name)
    _grow_cache(dataset)
    datasets[name] = dataset, watch, _openings.get(name, 0)
    while len(datasets) > _OPEN_HANDLES:
        datasets.popitem(last=False)[1][0].close()
    return dataset


def forget_dataset(name: str) -> None:
    """Close this thread's handle of a raster, so that the next read opens it anew.

    After a failed read a handle must not be used again: GDAL reports that a JPEG ends too early once, and
    then gives gray pixels.
    """
    if name in _handles.datasets:
        _handles.datasets.pop(name)[0].close()


def release_dataset(name: str) -> None:
    """After a read, close this thread's handle where the format's library shares what it has read.

    HDF5 gives every opening of a file that is still open somewhere in the process the same cache, so that a
    handle left open in one thread would have all others read a file that was replaced as it was.
    """
    if name in _handles.datasets and _handles.datasets[name][0].driver in SHARING_DRIVERS:
        forget_dataset(name)


def forget_everywhere(name: str) -> None:
    """Have all threads open a raster anew when they read it next: nobody tells that a URL has changed."""
    _openings[name] = _openings.get(name, 0) + 1


@atexit.register
def _close_all() -> None:
    """Close the main thread's handles while there is still an interpreter to do it with."""
    while _handles.datasets and _handles.pid == os.getpid():
        _handles.datasets.popitem()[1][0].close()
