"""Whether a finished file is whole: GDAL does not report every failed write when it closes one."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from geoseg.typing import Array

__all__ = [
    "check_flatgeobuf",
    "check_geopackage",
    "check_shapefile",
    "flatgeobuf_text",
    "layer_descriptions",
    "layer_metadata",
    "layer_times",
]

_TRIGGERS = 9  # of a layer: seven keep its spatial index, two its count
_DBF_HEADER_BYTES = 33  # at least: of a table without columns
_BLOCK_BYTES = 1 << 22
_VERSION = 10_200  # of GeoPackage, from which both marks in the head are due
_NODE_SIZE = 16  # of FlatGeobuf's index: children a node
_NODE_BYTES = 40  # four float64 and an offset
_LONGEST_HEADER = 1 << 24  # which holds the names of all columns; a broken file may state any length


def _expect(path: Path, what: str, expected: int, actual: int) -> None:
    if expected != actual:
        raise OSError(None, f"it came out incomplete ({actual} of {expected} {what} in {path.name})")


def check_shapefile(path: Path, count: int, columns: Sequence[str]) -> None:
    """Compare the lengths that .shp, .shx and .dbf state with those of the files; read records and columns.

    Parameters
    ----------
    path
        The .shp.
    count
        Features written.
    columns
        Names in the .dbf, as it shortens them.

    Raises
    ------
    OSError
        A file is cut short, or lacks features, a record, a column or the encoding.
    """
    for file in (path, path.with_suffix(".shx")):
        words = struct.unpack(">i", _head(file, 24, 4))[0]
        _expect(file, "bytes", 2 * words, file.stat().st_size)
    table = path.with_suffix(".dbf")
    rows, header, row = struct.unpack("<IHH", _head(table, 4, 8))
    _expect(table, "features", count, rows)
    least = max(header, _DBF_HEADER_BYTES) + rows * max(row, 1)
    _expect(table, "bytes", least, min(table.stat().st_size, header + rows * row))  # an end mark may follow
    with table.open("rb") as content:
        head = content.read(header)
        # A record that was not written is zeros, which the texts of a table never hold
        while block := content.read(_BLOCK_BYTES):
            _expect(table, "empty records", 0, int(b"\0" in block))
    names = [head[at : at + 11].rstrip(b"\0").decode() for at in range(32, header - 1, 32)]
    _expect(table, "columns", len(columns), sum(map(str.__eq__, names, columns)) if head[-1:] == b"\r" else 0)
    encoding = path.with_suffix(".cpg")
    _expect(encoding, "encodings", 1, int(encoding.exists() and encoding.read_bytes().strip() == b"UTF-8"))


def check_geopackage(path: Path, layer: str, count: int, bounds: Array) -> None:
    """Read back all that a GeoPackage promises of a layer: SQLite may lose a page and go on.

    Parameters
    ----------
    path, layer
        The file and the layer.
    count
        Features written.
    bounds : (4,) float64
        Extent of what was written.

    Raises
    ------
    OSError
        Pages, features, entries of the index, the extent, the kind of layer, or triggers are missing.
    """
    page = struct.unpack(">H", _head(path, 16, 2))[0]
    pages = struct.unpack(">I", _head(path, 28, 4))[0]
    _expect(path, "bytes", pages * (65536 if page == 1 else page), path.stat().st_size)
    marks = int(_head(path, 68, 4) == b"GPKG") + int(struct.unpack(">I", _head(path, 60, 4))[0] >= _VERSION)
    _expect(path, "marks of a GeoPackage", 2, marks)
    quoted = layer.replace('"', '""')
    try:
        with closing(_open_geopackage(path)) as database:
            for table in (quoted, f"rtree_{quoted}_geom_rowid"):
                rows = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
                _expect(path, "features", count, rows)
            facts = (
                "SELECT data_type, c.srs_id = g.srs_id, extension_name, min_x, min_y, max_x, max_y FROM "
                "gpkg_contents c JOIN gpkg_geometry_columns g USING (table_name) "
                "JOIN gpkg_spatial_ref_sys s ON s.srs_id = g.srs_id "
                "JOIN gpkg_extensions e USING (table_name) WHERE c.table_name = ? AND g.column_name = 'geom'"
            )
            row = database.execute(facts, (layer,)).fetchone()
            if row is None or row[:3] != ("features", 1, "gpkg_rtree_index"):
                raise OSError(None, f"it came out incomplete (no entry of {layer} in {path.name})")
            # SQLite writes numbers of 17 digits with 15 or 16, and as NULL what was never told
            extent = np.array(row[3:], np.float64)
            if count and not np.allclose(extent, bounds, rtol=1e-12, atol=0.0):
                raise OSError(None, f"it came out incomplete (another extent of {layer} in {path.name})")
            query = "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = ?"
            counted = database.execute(query, (layer,)).fetchone()
            _expect(path, "features", count, -1 if counted is None or counted[0] is None else counted[0])
            query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
            triggers = database.execute(query, (layer,)).fetchone()[0]
            _expect(path, "triggers", _TRIGGERS, triggers)
    except sqlite3.Error as error:
        raise OSError(None, f"it came out incomplete ({error})") from error


def layer_descriptions(path: Path) -> dict[str, str]:
    """What the layers and tables of a GeoPackage say of themselves.

    Raises
    ------
    sqlite3.Error
        It is no GeoPackage.
    """
    with closing(_open_geopackage(path)) as database:
        rows = database.execute("SELECT table_name, description FROM gpkg_contents").fetchall()
    return {str(name): str(text or "") for name, text in rows}


def layer_times(path: Path) -> dict[str, str]:
    """When the layers and tables of a GeoPackage were changed, as it keeps the times.

    Raises
    ------
    sqlite3.Error
        It is no GeoPackage.
    """
    with closing(_open_geopackage(path)) as database:
        rows = database.execute("SELECT table_name, last_change FROM gpkg_contents").fetchall()
    return {str(name): str(text) for name, text in rows}


def layer_metadata(path: Path, layer: str) -> dict[str, str]:
    """What GDAL keeps of a layer's metadata in a GeoPackage, by name.

    Raises
    ------
    sqlite3.Error
        It is no GeoPackage.
    ValueError
        Its metadata are damaged.
    """
    kept = (
        "SELECT metadata FROM gpkg_metadata m JOIN gpkg_metadata_reference r ON r.md_file_id = m.id "
        "WHERE md_standard_uri = 'http://gdal.org' AND reference_scope = 'table' AND r.table_name = ?"
    )
    with closing(_open_geopackage(path)) as database:
        exists = "SELECT name FROM sqlite_master WHERE name = 'gpkg_metadata_reference'"
        rows = database.execute(kept, (layer,)).fetchall() if database.execute(exists).fetchone() else []
    try:
        entries = [entry for (text,) in rows for entry in ElementTree.fromstring(text).iter("MDI")]
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    return {entry.get("key", ""): entry.text or "" for entry in entries}


def _open_geopackage(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def check_flatgeobuf(path: Path, count: int) -> None:
    """Compare the end of the last feature, as the index tells it, with the file's size.

    Raises
    ------
    OSError
        The file is cut short.

    References
    ----------
    https://flatgeobuf.org: 8 bytes of magic, the header's length and header, the packed Hilbert R-tree with
    its leaves last, then the features in the order of the leaves, each after its length.
    """
    start = 12 + struct.unpack("<I", _head(path, 8, 4))[0]
    if count:
        start += _NODE_BYTES * _index_nodes(count)
        offset = struct.unpack("<Q", _head(path, start - 8, 8))[0]
        start += offset + 4 + struct.unpack("<I", _head(path, start + offset, 4))[0]
    _expect(path, "bytes", start, path.stat().st_size)


def flatgeobuf_text(path: Path, field: int) -> str | None:
    """A text in the header of a FlatGeobuf file, by its place in the schema; None where it has none.

    References
    ----------
    https://flatbuffers.dev/internals: a table begins with the distance back to its list of offsets, which
    holds for each field its distance from the table, 0 without; a text is a length and its bytes.
    """
    with path.open("rb") as file:
        start = file.read(12)
        if len(start) < 12 or start[:3] != b"fgb":
            return None
        header = file.read(min(struct.unpack("<I", start[8:])[0], _LONGEST_HEADER))
    try:
        (table,) = struct.unpack_from("<I", header)
        offsets = table - struct.unpack_from("<i", header, table)[0]
        slot = 4 + 2 * field
        if slot >= struct.unpack_from("<H", header, offsets)[0]:
            return None
        (distance,) = struct.unpack_from("<H", header, offsets + slot)
        if not distance:
            return None
        at = table + distance + struct.unpack_from("<I", header, table + distance)[0]
        (length,) = struct.unpack_from("<I", header, at)
    except struct.error:
        return None
    return header[at + 4 : at + 4 + length].decode(errors="replace")


def _index_nodes(count: int) -> int:
    """Nodes of a packed R-tree over ``count`` features.

    Examples
    --------
    >>> _index_nodes(1), _index_nodes(16), _index_nodes(17)
    (2, 17, 20)
    """
    total = level = count
    while level > 1 or total == count:
        level = -(-level // _NODE_SIZE)
        total += level
    return total


def _head(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(length)
    _expect(path, "bytes", length, len(content))
    return content
