"""VRTs before GDAL opens them: no code, no hosts, no XML in place of files; and what they draw on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from geoseg.errors import SceneError
from geoseg.io.names import archive_head, in_archive, is_remote

__all__ = ["check_vrt", "is_vrt", "vrt_sources"]

_LIMIT_BYTES = 256 * 1024 * 1024
#: GDAL takes a file for a VRT that holds this anywhere in its first bytes.
_MARK, _HEAD_BYTES = b"<vrtdataset", 1024
#: Datasets inside a local file may be named like this; other prefixes are drivers that ask a server.
_INSIDE = re.compile(
    r"^(GTIFF_DIR:(?:off:)?\d+:|NITF_IM:\d+:|(?:NETCDF|HDF5|ZARR|GPKG):)(\"?)", re.IGNORECASE
)
_PREFIX = re.compile(
    r"^(?!GTIFF_DIR:|NETCDF:|HDF5:|ZARR:|GPKG:|NITF_IM:|[A-Za-z]:)[A-Za-z0-9_]+:", re.IGNORECASE
)
#: How files begin whose formats name other files or hosts, or steps for GDAL to take (a GDALG pipeline), and
#: what of such a format GDAL looks for anywhere at the beginning; raw pixels seldom begin like JSON.
_NAMING = re.compile(
    rb'\s*\{\s*"|PCIDSK|OziExplorer|.*?(DatasetHeader|gdal_streamed_alg|numTiles|<(gdal|wms|mrf_|ogr))',
    re.IGNORECASE | re.DOTALL,
)
#: A GeoPackage or FlatGeobuf of such a name is an index of other rasters.
_INDICES = (".gti.gpkg", ".gti.fgb", ".gti.parquet")
#: Elements whose text is never opened.
_TEXTS = ("mdi", "srs", "description", "gmlid", "categoryname", "category")


def is_vrt(path: Path) -> bool:
    """Whether GDAL would take a file for a VRT, whatever it is called, or it is other XML."""
    with path.open("rb") as file:
        return _is_xml(file.read(_HEAD_BYTES))


def _is_xml(head: bytes) -> bool:
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return head.startswith(b"<") or _MARK in head


def vrt_sources(path: Path) -> list[str]:
    """What a VRT draws on, in its order, as GDAL takes it; relative names are joined to its folder.

    Raises
    ------
    SceneError
        A VRT that is too large, or no XML.
    """
    return [
        _joined((element.text or "").strip(), element.attrib, path)
        for element in _parsed(path).iter()
        if _is_source(element)
    ]


def check_vrt(path: Path) -> None:
    """Refuse a VRT that makes GDAL run Python or open anything but local rasters, at any depth.

    Parameters
    ----------
    path
        A file named ``.vrt``, or a source of one that begins like XML.

    Raises
    ------
    SceneError
        A VRT with Python, a source on a host or in an archive, inline XML or a connection string; or text
        that is no VRT.
    """
    seen: set[Path] = set()
    waiting = [path.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [source.resolve() for source in _checked(path) if is_vrt(source)]


def _checked(path: Path) -> Iterator[Path]:
    """The files that one VRT draws on."""
    checked: set[str] = set()  # a file is named once a band
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
        if _is_source(element):
            if _PREFIX.match(text) or text.startswith("{"):
                raise _not_local(text, path)
            source = _joined(text, element.attrib, path)
            if source in checked:
                continue
            checked.add(source)
            if in_archive(source):
                head = archive_head(source, _HEAD_BYTES)
                # it could be a VRT that nobody has looked through
                if head is None or _is_xml(head) or _NAMING.match(head):
                    raise _not_local(text, path)
            if _names_other_files(source):
                raise _not_local(text, path)
            if os.path.isfile(source):  # noqa: PTH113 - a name with a NUL or too long is no file, and no error
                yield Path(source)


def _names_other_files(source: str) -> bool:
    """Whether a source is of a format that names files, which GDAL would open by any driver."""
    if source.lower().endswith(_INDICES):
        return True
    try:
        with Path(source).open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):  # not there, or no name of a file
        return False
    return bool(_NAMING.match(head))


def _is_source(element: ElementTree.Element) -> bool:
    tag = str(element.tag).lower()
    return tag.startswith("source") and tag.endswith(("filename", "dataset", "path"))


def _joined(text: str, attributes: dict[str, str], path: Path) -> str:
    """A source's name, joined to the folder of its VRT where it is relative to it."""
    if not any(name.lower() == "relativetovrt" and value == "1" for name, value in attributes.items()):
        return text
    if inside := _INSIDE.match(text):  # the file's name stands behind the prefix
        return inside.group() + str(path.parent / text[inside.end() :])
    return str(path.parent / text)


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


def _not_local(value: str, path: Path) -> SceneError:
    return SceneError(
        f"the sources of a VRT must be local files, got {value[:120]} in {path}. "
        "Download or unpack them first."
    )
