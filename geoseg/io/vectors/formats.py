"""Which vector files are read, and by which of GDAL's drivers.

GDAL opens a file by its content, whatever its name: a ``.json`` that holds a pipeline of GDAL commands or a
``.kml`` that is an OGR VRT would read other files and hosts. Therefore a file must be what its suffix says
before GDAL sees it, and JSON is handed to one named driver.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import InputError, MissingFileError
from geoseg.typing import PathLike

__all__ = [
    "VECTOR_FORMATS",
    "VectorFormat",
    "belonging_files",
    "check_content",
    "is_vector_file",
    "split_layer",
]


@dataclass(frozen=True)
class VectorFormat:
    """How a kind of file is known and opened.

    Attributes
    ----------
    name
        For messages.
    begins
        First bytes that it may have; empty for folders.
    prefix
        Put before the path so that GDAL asks this driver alone; empty where the first bytes decide.
    several
        Whether a file may have several layers.
    """

    name: str
    begins: tuple[bytes, ...]
    prefix: str = ""
    several: bool = False


_GEOJSON = VectorFormat("GeoJSON", (b"{",), "GeoJSON:")
_SEQUENCE = VectorFormat("a GeoJSON sequence", (b"{", b"\x1e"), "GeoJSONSeq:")
_PARQUET = VectorFormat("GeoParquet", (b"PAR1",))
_SQLITE = b"SQLite format 3\x00"

#: Formats by suffix. GML, OGR_VRT, WFS and the like are left out on purpose: they point to other files.
VECTOR_FORMATS: dict[str, VectorFormat] = {
    ".geojson": _GEOJSON,
    ".json": _GEOJSON,
    ".geojsonl": _SEQUENCE,
    ".geojsons": _SEQUENCE,
    ".geojsonseq": _SEQUENCE,
    ".ndjson": _SEQUENCE,
    ".gpkg": VectorFormat("a GeoPackage", (_SQLITE,), several=True),
    ".sqlite": VectorFormat("a SQLite file", (_SQLITE,), several=True),
    ".fgb": VectorFormat("FlatGeobuf", (b"fgb",)),
    ".shp": VectorFormat("a shapefile", (b"\x00\x00\x27\x0a",)),
    ".parquet": _PARQUET,
    ".geoparquet": _PARQUET,
    ".kml": VectorFormat("KML", (b"<",), several=True),
    ".gdb": VectorFormat("a file geodatabase", (), several=True),
}

#: Bytes in which GDAL's drivers look for what a file is, and more.
_HEAD = 65_536
_KML = re.compile(rb"\s*(<\?.*?\?>\s*|<!--.*?-->\s*)*<(\w+:)?kml\b", re.DOTALL)


def split_layer(path: PathLike) -> tuple[Path, str | None]:
    """A path and the layer named behind it, as in ``town.gpkg|roofs`` or ``town.gpkg|layername=roofs``.

    Examples
    --------
    >>> for text in ("a/b.gpkg|roofs", "b.gpkg|layername=x", "b.gpkg"):
    ...     print(*split_layer(text))
    a/b.gpkg roofs
    b.gpkg x
    b.gpkg None
    """
    text = str(path)
    splits = [(Path(text[: bar.start()]), text[bar.end() :]) for bar in re.finditer(r"\|", text)]
    splits = [(file, layer) for file, layer in splits if file.suffix.lower() in VECTOR_FORMATS]
    # A bar is a legal character of the names of files and of layers: the longest name that is there counts.
    if not splits or Path(text).exists():
        return Path(path), None
    file, layer = next((split for split in reversed(splits) if split[0].exists()), splits[0])
    return file, layer.removeprefix("layername=") or None


def belonging_files(path: Path) -> list[Path]:
    """A vector file, and the files that it is read with: a shapefile's, SQLite's journal, tables in a folder.

    Examples
    --------
    >>> belonging_files(Path("missing.shp"))
    []
    """
    if path.is_dir():
        return [path, *sorted(path.rglob("*"))]
    beside = [f"{path.name}-wal", f"{path.name}-journal"]
    if path.suffix.lower() == ".shp":
        beside += [path.stem + end for low in (".dbf", ".shx", ".prj", ".cpg") for end in (low, low.upper())]
    return [file for file in (path, *map(path.with_name, beside)) if file.exists()]


def is_vector_file(path: PathLike) -> bool:
    """Whether the suffix means polygons rather than pixels.

    Examples
    --------
    >>> is_vector_file("a/houses.GeoJSON"), is_vector_file("town.gpkg|roofs"), is_vector_file("mask.tif")
    (True, True, False)
    """
    return split_layer(path)[0].suffix.lower() in VECTOR_FORMATS


def parquet_files(path: Path) -> list[Path]:
    """The files of a GeoParquet data set in their order: itself, or those in a folder of that suffix."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def check_content(path: Path) -> tuple[VectorFormat, bytes]:
    """Format of a file that is what its suffix says, and its first bytes.

    Raises
    ------
    MissingFileError
        No such file.
    InputError
        Another suffix, or other content.
    """
    suffix = path.suffix.lower()
    if suffix not in VECTOR_FORMATS:
        known = ", ".join(VECTOR_FORMATS)
        raise InputError(
            f"suffix of a vector file must be one of {known}, got {path}. Convert it with ogr2ogr."
        )
    if not path.exists():
        raise MissingFileError(f"vector file must exist, got {path}. Check the path.")
    kind = VECTOR_FORMATS[suffix]
    if suffix == ".gdb":
        if not any(path.glob("*.gdbtable")):
            raise InputError(f"a .gdb must be a folder with tables (*.gdbtable), got {path}.")
        return kind, b""
    place = path
    if kind is _PARQUET and path.is_dir():
        place = next(iter(parquet_files(path)), path)
        if place == path:
            raise InputError(f"a folder of GeoParquet must hold files *.parquet, got {path} without any.")
    try:
        with place.open("rb") as file:
            head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"vector file must be readable, got {path}: {error.strerror}.") from error
    empty_sequence = kind is _SEQUENCE and not head  # a sequence of no features
    text = suffix == ".kml" or kind in (_GEOJSON, _SEQUENCE)
    fits = (head.lstrip() if text else head).startswith(kind.begins)
    if suffix == ".kml":
        fits = bool(_KML.match(head)) and b"<OGRVRT" not in head
    if not (fits or empty_sequence):
        raise InputError(
            f"content of a vector file must fit its suffix, got {path}, which is not {kind.name}."
        )
    return kind, head
