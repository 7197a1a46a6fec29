"""Footprints compared with those that were known before: which are new, kept, changed, and which are gone.

By the ground they cover, and nothing is merged: each footprint and each known polygon stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.io.sorted_runs import KEY, SortedRuns
from geoseg.io.vectors import VectorFile, check_crs_pair, moved_to, open_vector, reach, read_features
from geoseg.scores.polygons import clean_polygons, overlap_pairs
from geoseg.typing import Array, BoolArray, IntArray, PathLike

__all__ = [
    "CHANGE",
    "SHARE",
    "Changes",
    "Known",
    "find_changes",
    "known_footprints",
]

#: Column that says what became of a footprint.
CHANGE = "change"
#: Two stand on the same ground where they share so much of the smaller one. Less is a neighbor whose outline
#: reaches over, or the shift of one picture against the other.
SHARE = 0.2
#: So much more of a known one may be covered than was seen of it: digits of GeoJSON, curves of projections.
_ROUNDING = 1.05
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
    area
        Ground of interest, on their plane; None: all.
    """

    source: VectorFile
    crs: CRS | None
    bounds: Bounds
    area: Any = None

    def batches(self) -> Iterator[tuple[Array, pa.RecordBatch]]:
        """Polygons within the bounds, valid and in the CRS of the new footprints, with all their columns.

        In the same order each time.
        """
        own = self.source.crs
        within = reach(self.bounds, self.crs, own)
        left, bottom, right, top = self.bounds
        # Without end it is the same as everything, which GDAL takes as no bounds only.
        for geometry, columns in self.source.records(within=within if np.isfinite(within).all() else None):
            index = np.flatnonzero(_may_be_polygons(geometry))
            moved = moved_to(shapely.force_2d(geometry[index]), own, self.crs, self.bounds)
            x0, y0, x1, y1 = shapely.bounds(moved).reshape(-1, 4).T
            near = (x0 <= right) & (x1 >= left) & (y0 <= top) & (y1 >= bottom)  # False for what is not finite
            cleaned = clean_polygons(moved[near])
            yield cleaned.geometry, columns.take(pa.array(index[near][cleaned.index]))


def known_footprints(
    path: PathLike, crs: CRS | None, bounds: Bounds, name: str, aoi: PathLike | None = None
) -> Known:
    """Open a file of known footprints.

    Parameters
    ----------
    path
        As for :func:`geoseg.io.vectors.open_vector`.
    crs, bounds
        Of the footprints to come.
    name
        What messages call these.
    aoi
        File of the area of interest.

    Raises
    ------
    MissingFileError, InputError
        It can't be read, has features and none is a polygon, or only one of both has a CRS.
    """
    source = open_vector(path)
    check_crs_pair(source, crs, name)
    # Of points or lines nothing would be left, and every footprint be new. A few rows at a time: mostly the
    # first one is a polygon.
    if source.count and not any(_may_be_polygons(batch.geometry).any() for batch in source.batches(size=256)):
        raise InputError(
            f"update must hold polygons, got none among the {source.count:,} features of {source}. Name a "
            "file of polygons."
        )
    if aoi is None:
        return Known(source, crs, bounds)
    limits = read_features(aoi)
    moved = moved_to(limits.geometry, limits.source.crs, crs, bounds)
    return Known(source, crs, bounds, shapely.union_all(clean_polygons(moved).geometry))


def _may_be_polygons(geometry: Array) -> BoolArray:
    """(n,) bool: polygons, and collections, which may hold some."""
    return np.isin(shapely.get_type_id(geometry), (3, 6, 7))


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
    seen_shares: Callable[[Array], Iterable[Array]] = lambda geometry: (),
    unsure: BoolArray | None = None,
) -> Changes:
    """Compare footprints with known ones.

    Kept is a footprint that covers the ground of a known one with an intersection over union of
    ``least_iou`` or more; of a known one that was seen in part, the ground that was seen counts. Changed is
    one that shares a fifth of the smaller of both with it; all others are new. A known one is gone where no
    footprint is kept or changed by it, and all of its ground was seen.

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
    seen_shares
        From (k,) polygons to the share of each that was seen, (k,) of each scene.
    unsure
        (count,) bool of footprints that are doubted, to be known when the last of ``footprints`` is read. One
        changes a known one only where it shares a fifth of that: a speck on cleared ground is no house.
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
        old_rows = sides[1].between(*squares.keys(square))
        if old_rows is None:
            continue
        old = _Side.of(old_rows)
        # Here and not as they are read: a file may have them in any order, and scenes are read by places.
        seen[old.rows] = is_seen(old.geometry)
        new_rows = sides[0].between(*squares.keys(square))
        if new_rows is None:
            continue
        new = _Side.of(new_rows)
        pairs = overlap_pairs(old.geometry, new.geometry)
        # A pair that meets in several squares is told in the one where its common bounds begin.
        begin = np.maximum(old.bounds[pairs.truth, :2], new.bounds[pairs.pred, :2])
        pairs = pairs.select(squares.at(begin[:, 0], begin[:, 1]) == square)
        iou = pairs.iou
        # A house that the scene cuts off would seem to have changed: only what was seen of it is compared.
        part = np.flatnonzero(~seen[old.rows[pairs.truth]] & (iou < least_iou))
        which, of_which = np.unique(pairs.truth[part], return_inverse=True)
        inside = old.geometry[which]
        if known.area is not None and part.size:
            inside = shapely.intersection(inside, known.area)
        for share in seen_shares(inside) if part.size else ():
            ground, area = (share * shapely.area(inside))[of_which], pairs.area[part]
            # Of several scenes, one that has not seen what the two share says nothing of them.
            ground = np.where(area <= _ROUNDING * ground, np.maximum(ground, area), np.inf)
            iou[part] = np.maximum(iou[part], area / (pairs.pred_area[pairs.pred[part]] + ground - area))
        kept = iou >= least_iou
        # Of the smaller one: a house that was built into a block shares little of the block, and all of
        # itself.
        smaller = np.minimum(pairs.truth_area[pairs.truth], pairs.pred_area[pairs.pred])
        if unsure is not None:
            smaller = np.where(unsure[new.rows[pairs.pred]], pairs.truth_area[pairs.truth], smaller)
        same = kept | (pairs.area >= SHARE * smaller)
        met[old.rows[pairs.truth[same]]] = True
        code = np.where(kept, _KEPT, _CHANGED).astype(np.uint8)[same]
        # A footprint that meets several known ones is kept where any of them says so.
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
