"""What a raster's name means to GDAL: a file, a place in an archive or in another file, or one on a host."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

__all__ = [
    "SERVICE",
    "ZARR_MARKS",
    "archive_head",
    "container",
    "in_archive",
    "is_gone",
    "is_remote",
    "is_remote_zarr",
]

#: Files that make a folder a Zarr array or group.
ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")

#: Before the file that describes a web map service: whoever writes it asks for the network.
SERVICE = "service:"

_HOST = re.compile(r"/vsi(curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)", re.IGNORECASE)
#: No scheme that is read has a dot; before the ``://`` in ``HDF5:file.h5://group`` stands a file.
_SCHEME = re.compile(r"[a-z][a-z0-9+-]+://", re.IGNORECASE)
_ARCHIVE = re.compile(r"^(/vsi(?:zip|tar|gzip|7z|rar)/|zip://|file://)", re.IGNORECASE)
#: ``GTIFF_DIR:2:file``, ``NETCDF:"file":variable`` and their like, with what may stand before the file.
_INSIDE = re.compile(r"^(?:GTIFF_DIR:(?:off:)?\d+:|NITF_IM:\d+:|(?:NETCDF|HDF5|ZARR|GPKG):)", re.IGNORECASE)
#: What stands before a name that only another of GDAL's drivers can take apart.
_DRIVER = re.compile(r"^\w{2,}:")

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError)


def is_remote(path: str) -> bool:
    """Whether a path is read over the network.

    Examples
    --------
    >>> is_remote("https://example.org/a.tif"), is_remote("a.tif"), is_remote("/vsizip/a.zip/a.tif")
    (True, False, False)
    >>> is_remote("service:tiles.xml"), is_remote("HDF5:a.h5://group/a")
    (True, False)
    """
    if path.startswith(SERVICE) or _HOST.search(path):
        return True
    if inside := _INSIDE.match(path):
        return bool(_SCHEME.match(path[inside.end() :].lstrip('"')))
    return bool(_SCHEME.search(path)) and path.partition("://")[0].lower() not in ("zip", "file")


def is_remote_zarr(name: str) -> bool:
    """Whether a name stands for a Zarr store on a server: it begins or ends so.

    Examples
    --------
    >>> is_remote_zarr("s3://bucket/a.zarr"), is_remote_zarr("ZARR:s3://bucket/a"), is_remote_zarr("a.zarr")
    (True, True, False)
    """
    named = name.upper().startswith("ZARR:") or name.rstrip("/").lower().endswith(".zarr")
    return named and is_remote(name)


def in_archive(name: str) -> bool:
    """Whether a name leads into an archive, or through any other of GDAL's file systems.

    Examples
    --------
    >>> in_archive("/vsizip/a.zip/a.tif"), in_archive('NETCDF:"/vsitar/a.tar/a.nc":v'), in_archive("a.zip")
    (True, True, False)
    """
    return "/vsi" in name.lower()


def container(name: str) -> Path | None:
    """The local file or Zarr folder that holds a dataset; None where there is none, or it can't be told.

    Parameters
    ----------
    name
        As GDAL takes it: a path, ``NETCDF:"file":variable``, ``/vsizip/file/member``, ...

    Examples
    --------
    >>> container("https://example.org/a.tif"), container("/vsimem/a.tif")
    (None, None)
    """
    if _is_file_or_zarr(name):
        return Path(name)
    if is_remote(name):
        return None
    if prefix := _ARCHIVE.match(name) or _INSIDE.match(name):
        text = name[prefix.end() :]
        opening = text[:1]
        if opening in ('"', "{"):
            end = text.find({'"': '"', "{": "}"}[opening], 1)
            return container(text[1:end]) if end > 0 else None
        if _ARCHIVE.match(text):
            return container(text)
        # The longest beginning that is there: what follows names a member, a variable or a table
        ends = [len(text), *(match.start() for match in re.finditer(r"[/:]", text))]
        for end in sorted(ends, reverse=True):
            if _is_file_or_zarr(text[:end]):
                return Path(text[:end])
    return None


def is_gone(name: str) -> bool:
    """Whether a name is that of a local file, or leads into one, that isn't there.

    Examples
    --------
    >>> is_gone("none.tif"), is_gone("/vsizip/none.zip/a.tif"), is_gone('NETCDF:"none.nc":v')
    (True, True, True)
    >>> is_gone("HDF5:none.h5://data/x"), is_gone("HDF5:https://example.org/a.h5://x")
    (True, False)
    >>> is_gone("https://example.org/a.tif"), is_gone("OTHER:none.tif:10m"), is_gone("/vsimem/a.tif")
    (False, False, False)
    """
    if is_remote(name) or container(name) is not None:
        return False
    if prefix := _ARCHIVE.match(name) or _INSIDE.match(name):
        text = name[prefix.end() :]
        closing = {'"': '"', "{": "}"}.get(text[:1])
        # HDF5:file://group; and others than GDAL write zip://file!member.
        mark = "://" if _INSIDE.match(name) else "!"
        return is_gone(text[1:].partition(closing)[0] if closing else text.partition(mark)[0])
    return not (in_archive(name) or _DRIVER.match(name) or os.path.lexists(name))


def _is_file_or_zarr(name: str) -> bool:
    try:
        if os.path.isdir(name):  # noqa: PTH112 - a name with a NUL or too long is no file, and no error
            return any(os.path.isfile(os.path.join(name, mark)) for mark in ZARR_MARKS)  # noqa: PTH113, PTH118
        return os.path.isfile(name)  # noqa: PTH113
    except ValueError:
        return False


def archive_head(name: str, size: int) -> bytes | None:
    """The first bytes of a member of a zip, tar or gz file; None where it can't be looked at.

    Parameters
    ----------
    name
        Such as ``/vsizip/scenes.zip/a.tif``; archives in archives are not looked into.
    size
        Bytes.
    """
    root = container(name)
    if root is None:
        return None
    # What follows the archive's name, without the brace that may close it.
    member = name.rpartition(root.name)[2].lstrip("}").strip("/")
    file: IO[bytes] | None
    try:
        if name.lower().startswith("/vsizip/"):
            with zipfile.ZipFile(root) as archive, archive.open(member) as file:
                return file.read(size)
        if name.lower().startswith("/vsitar/"):
            with tarfile.open(root) as tar, tar.extractfile(member) or io.BytesIO() as file:
                return file.read(size)
        if name.lower().startswith("/vsigzip/") and not member:
            with gzip.open(root) as packed:
                return packed.read(size)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zlib.error, *_DAMAGED):
        return None  # damaged, encrypted, or no such member
    return None
