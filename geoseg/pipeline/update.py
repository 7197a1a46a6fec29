"""Footprints compared with those that were known before: which are new, kept, changed, and which are gone.

By the ground they cover, and nothing is merged: each footprint and each known polygon stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.geo.geobox import is_earth
from geoseg.io.sorted_runs import KEY, SortedRuns
from geoseg.io.vectors import VectorFile, check_crs_pair, open_vector, reach
from geoseg.io.writers import FootprintBatch, open_writer
from geoseg.scores.polygons import clean_polygons, overlap_pairs
from geoseg.typing import Array, BoolArray, IntArray, PathLike

__all__ = [
    "CHANGE",
    "KINDS",
    "SHARE",
    "ChangeWriters",
    "Changes",
    "Known",
    "find_changes",
    "known_footprints",
    "write_updated",
]

#: Column that says what became of a footprint.
CHANGE = "change"
#: What is written to files of its own.
KINDS = ("new", "changed", "gone")
#: Two stand on the same ground where they share so much of the smaller one. Less is a neighbor whose outline
#: reaches over, or the shift of one picture against the other.
SHARE = 0.2
#: Footprints and known polygons that are compared in one go, about; and in memory at a time.
_TOGETHER, _ROWS = 50_000, 262_144
#: Numbers of :data:`_NAMES` as they are kept for each footprint.
_NEW, _CHANGED, _KEPT = 0, 1, 2
_NAMES = np.array(["new", "changed", "kept"], object)

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Known:
    """Footprints that were known before, on the plane of new ones.

    Attributes
    ----------
    source
        The file.
    crs
        Of the new footprints.
    bounds
        Where these lie; known ones elsewhere are left alone.
    """

    source: VectorFile
    crs: CRS | None
    bounds: Bounds

    def batches(self) -> Iterator[tuple[Array, pa.RecordBatch]]:
        """Polygons within the bounds, valid and in the CRS of the new footprints, with all their columns.

        In the same order each time.
        """
        own = self.source.crs
        project = None
        if own is not None and self.crs is not None and own != self.crs:
            project = Transformer.from_crs(own, self.crs, always_xy=True).transform
        within = reach(self.bounds, self.crs, own)
        left, bottom, right, top = self.bounds
        # Without end it is the same as everything, which GDAL takes as no bounds only.
        for geometry, columns in self.source.records(within=within if np.isfinite(within).all() else None):
            index = np.flatnonzero(np.isin(shapely.get_type_id(geometry), (3, 6)))
            moved = shapely.force_2d(geometry[index])
            if project is not None:
                moved = shapely.transform(moved, project, interleaved=False)
            x0, y0, x1, y1 = shapely.bounds(moved).reshape(-1, 4).T
            near = (x0 <= right) & (x1 >= left) & (y0 <= top) & (y1 >= bottom)  # False for what is not finite
            cleaned = clean_polygons(moved[near])
            yield cleaned.geometry, columns.take(pa.array(index[near][cleaned.index]))


def known_footprints(path: PathLike, crs: CRS | None, bounds: Bounds, name: str) -> Known:
    """Open a file of known footprints.

    Parameters
    ----------
    path
        As for :func:`geoseg.io.vectors.open_vector`.
    crs, bounds
        Of the footprints to come.
    name
        What messages call these.

    Raises
    ------
    MissingFileError, InputError
        It can't be read, or only one of both has a CRS.
    """
    source = open_vector(path)
    check_crs_pair(source, crs, name)
    return Known(source, crs, bounds)


@dataclass(frozen=True, eq=False)
class Changes:
    """What became of footprints and of known ones.

    Attributes
    ----------
    codes
        (n,) uint8 of each footprint.
    met
        (m,) bool of each known one: a footprint stands on its ground.
    seen
        (m,) bool: its ground was seen as a whole.
    """

    codes: NDArray[np.uint8]
    met: BoolArray
    seen: BoolArray

    @property
    def gone(self) -> BoolArray:
        """(m,) bool of each known one: seen, and no footprint stands there."""
        return ~self.met & self.seen

    @property
    def counts(self) -> dict[str, int]:
        """How many are new, kept, changed, gone, and how many known ones stand where nothing was seen."""
        new, changed, kept = np.bincount(self.codes, minlength=3).tolist()
        unseen = int((~self.met & ~self.seen).sum())
        return {"new": new, "kept": kept, "changed": changed, "gone": int(self.gone.sum()), "unseen": unseen}

    def names(self, start: int, stop: int) -> Array:
        """Column ``change`` of footprints [start, stop), object."""
        return np.asarray(_NAMES[self.codes[start:stop]])


def find_changes(
    footprints: Iterable[Array],
    count: int,
    known: Known,
    is_seen: Callable[[Array], BoolArray],
    least_iou: float,
    scratch: Path,
) -> Changes:
    """Compare footprints with known ones.

    Kept is a footprint that covers the ground of a known one with an intersection over union of
    ``least_iou`` or more; changed is one that shares a fifth of the smaller of both with it; all others are
    new. A known one is gone where no footprint is kept or changed by it, and all of its ground was seen.

    Both are dealt to squares of the ground and compared square by square, so that memory holds some thousands
    of them and three bytes of each.

    Parameters
    ----------
    footprints
        Their polygons, (k,) at a time, in the CRS of ``known``.
    count
        How many there are in all.
    known
        Those that were known.
    is_seen
        From (k,) polygons to whether the ground of each was seen as a whole.
    least_iou
        Of kept ones, above 0 and at most 1.
    scratch
        Folder for temporary files.
    """
    across = int(np.ceil(np.sqrt((count + known.source.count) / _TOGETHER + 1e-9)))
    squares = _Squares(known.bounds, min(max(across, 1), 1 << 10))
    sides: list[SortedRuns] = []
    for name in ("new", "known"):
        (scratch / name).mkdir()
        sides.append(SortedRuns(scratch / name, _ROWS, ("row",)))
    start = 0
    for geometry in footprints:
        cleaned = clean_polygons(geometry)
        sides[0].add(squares.table(cleaned.geometry, start + cleaned.index))
        start += len(geometry)
    start = 0
    for geometry, _ in known.batches():
        sides[1].add(squares.table(geometry, np.arange(start, start + len(geometry))))
        start += len(geometry)
    codes = np.full(count, _NEW, np.uint8)
    met, seen = np.zeros(start, bool), np.zeros(start, bool)
    for square in range(squares.across**2):
        rows = [side.between(*squares.keys(square)) for side in sides]
        new, old = (None if part is None else _Side.of(part) for part in rows)
        if old is None:
            continue
        # Here and not as they are read: a file may have them in any order, and scenes are read by places.
        seen[old.rows] = is_seen(old.geometry)
        if new is None:
            continue
        pairs = overlap_pairs(old.geometry, new.geometry)
        # A pair that meets in several squares is told in the one where its common bounds begin.
        begin = np.maximum(old.bounds[pairs.truth, :2], new.bounds[pairs.pred, :2])
        pairs = pairs.select(squares.at(begin[:, 0], begin[:, 1]) == square)
        kept = pairs.iou >= least_iou
        smaller = np.minimum(pairs.truth_area[pairs.truth], pairs.pred_area[pairs.pred])
        same = kept | (pairs.area >= SHARE * smaller)
        met[old.rows[pairs.truth[same]]] = True
        code = np.where(kept, _KEPT, _CHANGED).astype(np.uint8)[same]
        np.maximum.at(codes, new.rows[pairs.pred[same]], code)
    return Changes(codes, met, seen)


class _Squares:
    """Equal parts of the ground, so many along each axis."""

    def __init__(self, bounds: Bounds, across: int) -> None:
        self.across = across
        self._corner = np.array(bounds[:2])
        self._side = np.maximum((np.array(bounds[2:]) - self._corner) / across, 1e-12)

    def _cells(self, x: Array, y: Array) -> tuple[IntArray, IntArray]:
        # What reaches over the edge belongs to the squares at the edge.
        col, row = ((v - self._corner[k]) / self._side[k] for k, v in enumerate((x, y)))
        last = self.across - 1
        return np.clip(col, 0, last).astype(np.int64), np.clip(row, 0, last).astype(np.int64)

    def at(self, x: Array, y: Array) -> IntArray:
        """Number of the square of each place."""
        col, row = self._cells(x, y)
        return row * self.across + col

    def keys(self, square: int) -> tuple[int, int]:
        """Range of keys of a square: numbers of squares are the leading bits, by which rows are counted."""
        return square << 12, (square + 1) << 12

    def table(self, geometry: Array, rows: IntArray) -> pa.Table:
        """Polygons with their numbers, each once for every square that its bounds meet."""
        bounds = shapely.bounds(geometry).reshape(-1, 4)
        left, bottom = self._cells(bounds[:, 0], bounds[:, 1])
        right, top = self._cells(bounds[:, 2], bounds[:, 3])
        wide, tall = right - left + 1, top - bottom + 1
        times = wide * tall
        which = np.repeat(np.arange(len(geometry)), times)
        # Counts 0, 1, ... within each polygon, row by row of the squares that it meets.
        step = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
        col, row = left[which] + step % wide[which], bottom[which] + step // wide[which]
        key = ((row * self.across + col) << 12).astype(np.uint32)
        shapes = pa.array(shapely.to_wkb(geometry), pa.large_binary()).take(pa.array(which))
        return pa.table({KEY: key, "row": rows[which], "shape": shapes})


@dataclass(frozen=True, eq=False)
class _Side:
    """Polygons of one square, their bounds (n, 4), and their numbers in the whole."""

    geometry: Array
    bounds: Array
    rows: IntArray

    @classmethod
    def of(cls, table: pa.Table) -> _Side:
        geometry = np.asarray(shapely.from_wkb(table.column("shape").to_numpy()), object)
        return cls(geometry, shapely.bounds(geometry).reshape(-1, 4), table.column("row").to_numpy())


class ChangeWriters:
    """Files of footprints with the column ``change``, and files of those that are new, changed and gone.

    Parameters
    ----------
    files
        Format -> file of all footprints.
    parts
        (kind, format) -> file of those of one kind.
    schema
        Columns of the footprints, without ``change``.
    style
        Other arguments of :func:`geoseg.io.writers.open_writer`.
    compared
        Whether footprints are compared: without, there is no such column.

    Attributes
    ----------
    schema
        Columns that are written.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        parts: Mapping[tuple[str, str], Path],
        schema: pa.Schema,
        style: Mapping[str, Any],
        *,
        compared: bool = True,
    ) -> None:
        self._open, self._style = ExitStack(), dict(style)
        self.schema = pa.schema([*schema, (CHANGE, pa.string())]) if compared else schema
        self._gone = {format: path for (kind, format), path in parts.items() if kind == "gone"}
        # Those that are gone have other columns, which are known with their file only.
        wanted = {("", format): path for format, path in files.items()}
        wanted |= {key: path for key, path in parts.items() if key[0] != "gone"}
        with ExitStack() as opening:
            self._writers = {
                (kind, format): opening.enter_context(open_writer(format, path, schema=self.schema, **style))
                for (kind, format), path in wanted.items()
            }
            self._open = opening.pop_all()

    def __enter__(self) -> ChangeWriters:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def write(self, batch: FootprintBatch, change: Array | None) -> FootprintBatch:
        """Add footprints and what became of each, where they are compared; gives them with that column."""
        if change is not None:
            batch = FootprintBatch(batch.geometry, batch.columns | {CHANGE: change})
        for (kind, _), writer in self._writers.items():
            if not kind:
                writer.write(batch)
                continue
            chosen = change == kind
            columns = {name: column[chosen] for name, column in batch.columns.items()}
            writer.write(FootprintBatch(batch.geometry[chosen], columns))
        return batch

    def write_gone(self, known: Known, changes: Changes) -> None:
        """Write known footprints that are gone, with all that was known of them."""
        gone, start, count = changes.gone, 0, 0
        schema = _described(np.empty(0, object), known.source.schema().empty_table(), known.crs, 0).schema
        with ExitStack() as files:
            writers = [
                files.enter_context(open_writer(format, path, schema=schema, **self._style))
                for format, path in self._gone.items()
            ]
            for geometry, columns in known.batches():
                chosen = gone[start : start + len(geometry)]
                start += len(geometry)
                table = _described(geometry[chosen], columns.filter(pa.array(chosen)), known.crs, count)
                count += table.num_rows
                batch = FootprintBatch.of_table(geometry[chosen], table)
                for writer in writers:
                    writer.write(batch)


def write_updated(
    footprints: Path,
    files: Mapping[str, Path],
    parts: Mapping[tuple[str, str], Path],
    known: Known,
    is_seen: Callable[[Array], BoolArray],
    least_iou: float,
    scratch: Path,
    style: Mapping[str, Any],
) -> Changes:
    """Write the footprints of a GeoParquet file anew, with what became of them; see :func:`find_changes`.

    Parameters
    ----------
    footprints
        The file.
    files, parts, style
        As for :class:`ChangeWriters`.
    known, is_seen, least_iou, scratch
        As for :func:`find_changes`.
    """
    source = open_vector(footprints)
    plain = (geometry for geometry, _ in source.records())
    changes = find_changes(plain, source.count, known, is_seen, least_iou, scratch)
    fields = [field for field in source.schema() if field.name != "bbox"]
    done = 0
    with ChangeWriters(files, parts, pa.schema(fields), style) as writers:
        for geometry, columns in source.records():
            batch = FootprintBatch.of_table(geometry, columns.select([field.name for field in fields]))
            writers.write(batch, changes.names(done, done + len(batch)))
            done += len(batch)
        writers.write_gone(known, changes)
    return changes


def _described(geometry: Array, columns: pa.RecordBatch | pa.Table, crs: CRS | None, before: int) -> pa.Table:
    """Columns of known footprints: first those that all footprints have, then what the file says of them.

    Of a column that both have, the file's is called ``known_NAME``.
    """
    count = len(geometry)
    area = shapely.area(geometry)
    if crs is not None and is_earth(crs):
        # Equal-area, wherever it is.
        flat = Transformer.from_crs(crs, 6933, always_xy=True).transform
        area = shapely.area(shapely.transform(geometry, flat, interleaved=False))
    classes = columns.column("class") if "class" in columns.schema.names else pa.nulls(count)
    own: dict[str, Any] = {
        "id": pa.array(np.arange(before + 1, before + count + 1)),
        "class": pa.array([None if name is None else str(name) for name in classes.to_pylist()], pa.string()),
        "area_m2" if crs is not None else "area_px": pa.array(area),
        CHANGE: pa.array(["gone"] * count, pa.string()),
    }
    taken = {name.casefold() for name in own}
    for field, column in zip(columns.schema, columns.columns, strict=True):
        name = field.name
        if name.casefold() in ("class", CHANGE, "geometry", "geom", "bbox", "fid", "ogc_fid"):
            continue
        while name.casefold() in taken:
            name = f"known_{name}"
        taken.add(name.casefold())
        own[name] = _simple(column)
    return pa.table(own)


def _simple(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A column as every format can hold it: truths, whole and other numbers, texts."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind):
        return column.cast(pa.int64(), safe=False)
    if pa.types.is_floating(kind):
        return column.cast(pa.float64())
    texts = (
        value if value is None or isinstance(value, str) else _text_of(value) for value in column.to_pylist()
    )
    return pa.array(texts, pa.string())


def _text_of(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
