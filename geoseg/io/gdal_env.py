"""How GDAL is opened here: by which drivers, with which settings.

Files come from strangers, so GDAL is kept from doing more than reading pixels: drivers are named by an
allow-list, formats that are XML or connection strings (and may point to other hosts) are left out, a VRT is
read only where the user names a ``.vrt`` file whose sources are local, and the network is used only where
the user wrote a URL.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
import rasterio.env
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from geoseg.errors import GeosegError, MissingFileError, RunError, SceneError
from geoseg.files.cache import cache_folder
from geoseg.io.names import SERVICE, ZARR_MARKS, container, in_archive, is_remote, is_remote_zarr
from geoseg.io.network import DEBUG_KEYS, hearing_faults, retry_waits
from geoseg.io.services import check_service, describes_service
from geoseg.io.vrt import check_vrt
from geoseg.typing import PathLike

__all__ = [
    "CACHE_BYTES",
    "RASTER_DRIVERS",
    "SHARING_DRIVERS",
    "check_path",
    "open_dataset",
    "opened_header",
    "quiet_georeferencing",
    "raster_env",
]

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

#: What GDAL takes credentials from; what is public needs none, but asks for a word.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or AWS_NO_SIGN_REQUEST=YES for what is "
    "public",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GS_NO_SIGN_REQUEST=YES for what is public",
    "az": "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_ACCESS_KEY, or AZURE_NO_SIGN_REQUEST=YES for what is "
    "public",
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
    "CPL_DEBUG": DEBUG_KEYS,
    # what was read is forgotten when the file is closed, so that a scene opened anew is read anew
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",
}

_warning_lock = threading.Lock()


#: Archives read in this process: what each looked like at its openings.
_archives: dict[str, list[tuple[int, int, int]]] = {}


@functools.cache
def _limit_cache(pid: int) -> None:
    """Bound GDAL's block cache once a process, unless the user's environment already does."""
    if "GDAL_CACHEMAX" not in os.environ:
        with rasterio.Env():
            rasterio.env.set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)


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
        GDAL_DEFAULT_WMS_CACHE_PATH=str(cache_folder() / "services"),
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
        A local file, a Zarr folder, a dataset inside a file, a URL, or ``service:`` and a file that describes
        a web map service.

    Returns
    -------
    rasterio.DatasetReader

    Raises
    ------
    MissingFileError
        There is no such file.
    SceneError
        A folder, something that is not a raster, a format outside :data:`RASTER_DRIVERS`, a VRT that points
        to the network or runs code, or a path that is no UTF-8.
    RunError
        A server that does not answer.
    """
    name = os.fspath(path)
    check_path(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        # Bytes of a path that are no text are lone surrogates in Python; GDAL takes UTF-8, which has none.
        raise SceneError(
            f"path of a scene must be UTF-8, got {name!r}. Rename that file or folder."
        ) from None
    spelled = _as_gdal_spells(name)
    drivers = list(RASTER_DRIVERS)
    if is_remote(name):
        # What reads as a Zarr store only because a server lists its folder would be read unheard.
        drivers = ["Zarr"] if is_remote_zarr(name) else [driver for driver in drivers if driver != "Zarr"]
    if name.startswith(SERVICE):
        spelled = name.removeprefix(SERVICE)
        drivers = [check_service(Path(spelled))]
    # By its name alone: a VRT under another name is refused, since nobody asked for what it draws on.
    if name.lower().endswith(".vrt") and not is_remote(name):
        if in_archive(name):
            raise SceneError(f"a VRT must be a file of its own, got {name}. Unpack it first.")
        check_vrt(Path(name))
        drivers = ["VRT"]
    remote = is_remote(name)
    # GDAL tells the terminal itself of some of its requests for the header of a Zarr store. They are listened
    # to only where it can't be opened without.
    unheard = {"CPL_DEBUG": "OFF"} if is_remote_zarr(name) else {}
    with raster_env(remote):
        waits = retry_waits()
        while True:
            try:
                with (
                    hearing_faults(remote) as faults,
                    quiet_georeferencing(),
                    _LostPlace() as lost,
                    rasterio.Env(**unheard),
                ):
                    dataset = DatasetReader(_respelled(spelled), driver=drivers, sharing=False)
                    if unheard:
                        dataset.overviews(1)  # the last of them
                if not faults.last:
                    break
                dataset.close()  # it would go on with the half of a header
            except RasterioError as error:
                if unheard:
                    unheard = {}
                    continue
                # A status that GDAL names is told as it is, after the tries that GDAL itself made.
                if not faults.last or "response code" in str(error):
                    reason = " ".join(str(error).split()).rstrip(".")
                    if is_remote_zarr(name):  # GDAL says no more than that it is none
                        reason = faults.denied or ("HTTP response code: 404" if faults.missing else reason)
                    raise _refusal(name, reason) from None
            if (wait := next(waits, None)) is None:
                raise RunError(
                    f"cannot read {name}: {faults.last}. The server did not give it whole in time: try again "
                    "later."
                )
            time.sleep(wait)
    if lost.found:
        dataset.close()
        raise SceneError(
            f"georeferencing of a scene must be readable, got {name}, whose GeoTIFF tags are damaged. "
            "Copy the file again, or write it anew with gdal_translate -a_srs."
        )
    return dataset


class _LostPlace(logging.Filter):
    """Hears GDAL say that it ignores the georeferencing of a file: it warns, and gives plain pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.found, self._thread = False, threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Look at what is said in this thread, and let all pass: others open other files."""
        if threading.get_ident() == self._thread and "GeoTIFF tags apparently corrupt" in record.getMessage():
            self.found = True
        return True

    def __enter__(self) -> _LostPlace:
        logging.getLogger("rasterio._env").addFilter(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("rasterio._env").removeFilter(self)


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


def _as_gdal_spells(name: str) -> str:
    """A name in the words of GDAL's file systems; what is no URL and no Zarr store on a server, as it is."""
    inside = _SUBDATASET.match(name)
    kind, place, part = (inside[0], name[inside.end() :], "") if inside else ("", name, "")
    if kind and place.startswith('"'):
        place, _, part = place[1:].partition('"')
    address = _SCHEME.match(place)
    scheme = address[0].removesuffix("://").lower() if address else ""
    if address and scheme in _SCHEMES:
        place = _SCHEMES[scheme] + place[address.end() :]
        name = f'{kind}"{place}"{part}' if kind else place
    elif address and not kind:  # of HDF5, "://" stands between the file and a group
        raise SceneError(f"scheme of a URL must be one of {', '.join(_SCHEMES)}, got {name}.")
    if is_remote_zarr(name):
        # A server tells of no folders, so GDAL has to be told what this one is. Behind a cache it asks for
        # chunks by requests whose answers are heard; by its own way a refused chunk is as good as none.
        place = place.rstrip("/").replace("_streaming/", "/", 1)
        return f'ZARR:"/vsicached?chunk_size=1MB&file={place}"{part}'
    return name


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
        if re.search(r"(AWS|GS|AZURE)_\w+.* configuration option", reason):
            wanted = _credentials(name)
            return SceneError(f"scene must be readable, got {name} without credentials. Set {wanted}.")
        if re.search(r"code: 4\d\d|resolve host|Access ?Denied|SignatureDoesNotMatch", reason):
            missing = ""
            if re.match("s3:|/vsis3/", name, re.IGNORECASE):
                missing = "It may not be there: without s3:ListBucket, that is refused, too. "
            return SceneError(
                f"scene must be readable, got {name}: {reason}. {missing}Check address and credentials: "
                f"{_credentials(name)}."
            )
        if re.search(r"HTTP|CURL", reason):
            return RunError(f"cannot read {name}: {reason}. The server did not answer: try again later.")
        return SceneError(
            f"scene must be a raster file, got {name}: {reason}. It is none that is read here (a Zarr store "
            "is named ZARR:ADDRESS), or the server did not give it whole in time: check the address, and try "
            "again later."
        )
    if "not recognized as being in a supported file format" in reason or "No such file" in reason:
        reason = "it is none of the raster formats read here"
        if describes_service(Path(name)):
            return SceneError(
                f"a web map service must be asked for by the word {SERVICE} before the file, got {name}. "
                f"Give {SERVICE}{name}, and --bbox for a part of it."
            )
    return SceneError(
        f"scene must be a raster file (GeoTIFF, COG, VRT, JPEG, PNG, ...), got {name}: {reason}. "
        "Check it with gdalinfo, or convert it with gdal_translate."
    )


def _credentials(name: str) -> str:
    """How credentials for an address are given."""
    kind = re.match(r"(?:/vsi)?(s3|gs|az|adls)", name, re.IGNORECASE)
    return _CREDENTIALS.get(kind[1].lower() if kind else "", "GDAL_HTTP_USERPWD or GDAL_HTTP_BEARER")


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
    if name.startswith(SERVICE):
        check_service(Path(name.removeprefix(SERVICE)))
        return
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
