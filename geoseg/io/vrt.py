"""Checks of a VRT before GDAL opens it: no code, no hosts, no XML in place of files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

from geoseg.errors import SceneError

__all__ = ["check_vrt", "is_remote"]

_LIMIT_BYTES = 256 * 1024 * 1024
_NETWORK = re.compile(r"/vsi(curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
#: Datasets inside a local file may be named like this; other prefixes are drivers that ask a server.
_PREFIX = re.compile(
    r"^(?!GTIFF_DIR:|NETCDF:|HDF5:|ZARR:|GPKG:|NITF_IM:|[A-Za-z]:)[A-Za-z0-9_]+:", re.IGNORECASE
)
#: Elements whose text is never opened.
_TEXTS = ("mdi", "srs", "description", "gmlid", "categoryname", "category")


def is_remote(path: str) -> bool:
    """Whether a path is read over the network.

    Examples
    --------
    >>> is_remote("https://example.org/a.tif"), is_remote("a.tif"), is_remote("/vsizip/a.zip/a.tif")
    (True, False, False)
    """
    scheme = path.partition("://")[0].lower()
    return bool(_NETWORK.search(path)) and scheme not in ("zip", "file")


def check_vrt(path: Path, seen: set[Path] | None = None) -> None:
    """Refuse a VRT that makes GDAL run Python or open anything but local rasters.

    Parameters
    ----------
    path
        A file named ``.vrt``, or a source of one that begins like XML.
    seen
        Files already checked.

    Raises
    ------
    SceneError
        A VRT with Python, a source on a host, inline XML or a connection string; or text that is no VRT.
    """
    seen = set() if seen is None else seen
    path = path.resolve()
    if path in seen:
        return
    seen.add(path)
    for element in _parsed(path).iter():
        tag = str(element.tag).lower()
        text = (element.text or "").strip()
        if tag == "pixelfunctionlanguage" and text.lower() == "python":
            raise SceneError(
                f"a VRT must not hold Python pixel functions, got {path}. Make it a GeoTIFF first."
            )
        if tag in _TEXTS:
            continue
        for value in (text, *element.attrib.values()):
            if is_remote(value) or value.startswith("<"):
                raise _not_local(value, path)
        if tag.startswith("source") and tag.endswith(("filename", "dataset", "path")):
            _check_source(text, element.attrib, path, seen)


def _parsed(path: Path) -> ElementTree.Element:
    if path.stat().st_size > _LIMIT_BYTES:
        raise SceneError(f"a VRT must be smaller than {_LIMIT_BYTES} bytes, got {path}.")
    content = path.read_bytes()
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ElementTree.ParseError("it declares entities")
        root = ElementTree.fromstring(content)
        if str(root.tag).lower() != "vrtdataset":
            raise ElementTree.ParseError(f"its root is {root.tag}")
    except ElementTree.ParseError as error:
        raise SceneError(f"scene must be a raster file or a VRT, got {path}: {error}.") from None
    return root


def _check_source(text: str, attributes: dict[str, str], path: Path, seen: set[Path]) -> None:
    """A source is a local file, and where it is XML, a VRT that passes the same check."""
    if _PREFIX.match(text):
        raise _not_local(text, path)
    relative = any(name.lower() == "relativetovrt" and value == "1" for name, value in attributes.items())
    source = path.parent / text if relative else Path(text)
    if not os.path.isfile(source):  # noqa: PTH113 - a name with a NUL or too long is no file, and no error
        return
    with source.open("rb") as file:
        if file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
            check_vrt(source, seen)


def _not_local(value: str, path: Path) -> SceneError:
    return SceneError(
        f"the sources of a VRT must be local files, got {value[:120]} in {path}. Download them first."
    )
