"""A tile index: a vector file that names a raster file with each of its outlines (GDAL's GTI)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from geoseg.errors import MissingFileError, SceneError
from geoseg.io.metadata import parse_date
from geoseg.io.names import is_remote
from geoseg.typing import PathLike

__all__ = ["TileIndex", "is_tile_index", "read_tile_index"]

_PREFIX = "gti:"
_LIMIT_BYTES = 16 * 1024 * 1024
#: Columns that may tell when a file was taken.
_DATES = ("datetime", "acquired", "date")


@dataclass(frozen=True)
class TileIndex:
    """What :func:`read_tile_index` gives.

    Attributes
    ----------
    paths
        Files and addresses, as the index names them, or beside it; each once, sorted.
    dates
        ISO date of some of them.
    name
        Of the index, without its suffixes.
    """

    paths: tuple[str, ...]
    dates: dict[str, str]
    name: str


def is_tile_index(word: PathLike) -> bool:
    """Whether a name is one of a tile index: ``name.gti.gpkg`` and the like, ``name.gti``, ``GTI:file``.

    Examples
    --------
    >>> is_tile_index("sheets.gti.gpkg"), is_tile_index("GTI:sheets.shp"), is_tile_index("sheets.gpkg")
    (True, True, False)
    """
    word = os.fspath(word)
    return word.lower().startswith(_PREFIX) or ".gti" in [s.lower() for s in Path(word).suffixes[-2:]]


def read_tile_index(word: PathLike, *, remote: bool = False) -> TileIndex:
    """Read the names in a tile index.

    Parameters
    ----------
    word
        See :func:`is_tile_index`. The column ``location`` holds the names, or the one that a ``.gti`` file
        states. A relative name is looked for beside the index, then in the working folder.
    remote
        Whether files on other hosts may be named.

    Raises
    ------
    MissingFileError, InputError
        No such file, or none that is read as vectors.
    SceneError
        It names no file, or one on another host.
    """
    from geoseg.io.vectors import open_vector  # loads pyogrio, which nothing else here needs

    text = os.fspath(word)
    file = Path(text[len(_PREFIX) :] if text.lower().startswith(_PREFIX) else text)
    table, layer, column = _from_xml(file) if file.suffix.lower() == ".gti" else (file, None, "location")
    index = open_vector(table, layer=layer)
    names = {known.lower(): known for known in index.columns}
    if column.lower() not in names:
        raise SceneError(
            f"a tile index must have a column {column}, got {table} with "
            f"{', '.join(index.columns) or 'none'}. gdaltindex makes one."
        )
    dated = next((names[one] for one in _DATES if one in names), None)
    wanted = [names[column.lower()], *([] if dated is None else [dated])]
    dates: dict[str, str] = {}
    paths: set[str] = set()
    for batch in index.batches(wanted):
        moments = [None] * len(batch.geometry) if dated is None else batch.columns[dated].tolist()
        for location, moment in zip(batch.columns[wanted[0]].tolist(), moments, strict=True):
            if not isinstance(location, str) or not location:
                continue
            path = _place(location, table, remote)
            paths.add(path)
            if moment is not None and (day := parse_date(str(moment))):
                dates[path] = day
    if not paths:
        raise SceneError(f"a tile index must name files, got {table} without any.")
    name = file.name.partition(".")[0] or file.stem
    return TileIndex(tuple(sorted(paths)), dates, name)


def _place(location: str, table: Path, remote: bool) -> str:
    if is_remote(location):
        if not remote:
            raise SceneError(
                f"files of a tile index must be local, got {location} in {table}. --remote reads it there."
            )
        return location
    beside = table.parent / location
    return str(beside) if beside.exists() or not Path(location).exists() else location


def _from_xml(file: Path) -> tuple[Path, str | None, str]:
    """Vector file, layer and column that a ``.gti`` file states."""
    if not file.is_file():
        raise MissingFileError(f"a tile index must be an existing file, got {file}. Check the path.")
    try:
        content = file.read_bytes() if file.stat().st_size <= _LIMIT_BYTES else b""
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ElementTree.ParseError("it declares entities")
        root = ElementTree.fromstring(content)
        if root.tag != "GDALTileIndexDataset":
            raise ElementTree.ParseError(f"its root is {root.tag}")
    except ElementTree.ParseError as error:
        raise SceneError(f"a .gti file must describe a tile index, got {file}: {error}.") from None
    stated = {
        name: (root.findtext(name) or "").strip() for name in ("IndexDataset", "IndexLayer", "LocationField")
    }
    if not stated["IndexDataset"] or is_remote(stated["IndexDataset"]):
        raise SceneError(f"a .gti file must name a local IndexDataset, got {file}.")
    table = file.parent / stated["IndexDataset"]
    return table, stated["IndexLayer"] or None, stated["LocationField"] or "location"
