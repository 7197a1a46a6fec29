"""Descriptions of web map services before GDAL opens them: which hosts, and what it may write."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from geoseg.errors import MissingFileError, SceneError

__all__ = ["check_service", "describes_service"]

_LIMIT_BYTES, _HEAD_BYTES = 1024 * 1024, 4096
#: GDAL's driver by the root of its XML.
_DRIVERS = {"gdal_wms": "WMS", "gdal_wmts": "WMTS"}
#: Requests that GDAL may have on their way at a time.
_MOST_CONNECTIONS = 8
#: Elements that name an address.
_ADDRESSES = ("serverurl", "getcapabilitiesurl", "cachepath", "path")


def describes_service(path: Path) -> bool:
    """Whether a file looks like GDAL's XML of a service."""
    if path.suffix.lower() != ".xml" or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"<gdal_wm" in file.read(_HEAD_BYTES).lower()


def check_service(path: Path) -> str:
    """Refuse a description that asks anything but web servers, too many at a time, or names a place to write.

    Parameters
    ----------
    path
        GDAL's XML of a WMS, TMS or XYZ service (``GDAL_WMS``) or a WMTS (``GDAL_WMTS``).

    Returns
    -------
    str
        The GDAL driver that opens it.

    Raises
    ------
    MissingFileError, SceneError
        No such file, or none that is read here.
    """
    if not path.is_file():
        raise MissingFileError(f"a service must be described by an existing file, got {path}. Check it.")
    content = path.read_bytes() if path.stat().st_size <= _LIMIT_BYTES else b""
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ElementTree.ParseError("it declares entities")
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise SceneError(f"a service must be described by GDAL's XML, got {path}: {error}.") from None
    driver = _DRIVERS.get(str(root.tag).lower())
    if driver is None:
        raise SceneError(f"a service must be described by GDAL_WMS or GDAL_WMTS, got {path} with {root.tag}.")
    for element in root.iter():
        name, text = str(element.tag).lower(), (element.text or "").strip()
        if name in ("cache", "cachepath", "path") and text:
            raise SceneError(
                f"a service must not say where its cache lies, got {text} in {path}. Leave it out."
            )
        if name in _ADDRESSES and urlsplit(text).scheme not in ("http", "https"):
            raise SceneError(f"a service must lie on a web server, got {text[:120]} in {path}.")
        if name == "maxconnections" and not (text.isdigit() and 1 <= int(text) <= _MOST_CONNECTIONS):
            raise SceneError(
                f"a service must be asked at most {_MOST_CONNECTIONS} times at a time, got MaxConnections "
                f"{text} in {path}."
            )
    return driver
