"""Two vector files compared cell by cell, so that memory does not grow with the number of polygons.

Every polygon is read once, repaired, projected, cut by the area of interest and put aside; only numbers
(area, bounds, flags) stay. Then the plane is halved until each cell holds a bounded number of polygons.
A truth belongs to the cell of its center and meets all predictions that reach its cell's truths, so pairs
are complete; ground covered is measured on the parts of polygons inside each cell, so it adds up. Matching
sees only numbers and runs once over everything: cells have no influence on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.cpus import usable_cpus
from geoseg.errors import InputError
from geoseg.io.geometry_heap import GeometryHeap
from geoseg.io.vectors import VectorBatch, VectorFile, class_name
from geoseg.scores.boundaries import OutlineFits, measure_outlines, vertex_counts
from geoseg.scores.matching import rank_by
from geoseg.scores.objects import ObjectScores, ObjectTable, score_objects
from geoseg.scores.pixels import Coverage, measure_coverage
from geoseg.scores.polygons import (
    ClippedPolygons,
    Float64Array,
    OverlapPairs,
    clean_polygons,
    clip_polygons,
    overlap_pairs,
)
from geoseg.scores.shapes import GAP, NeighborMeasures, hole_counts, measure_neighbors
from geoseg.typing import Array, BoolArray, IntArray, Progress

__all__ = ["VectorSide", "compare_sides", "read_side"]

#: What objects without a class are called; they match one another.
NO_CLASS = "(no class)"
#: Polygons of both sides in one cell, about. Four cells are in memory at once.
CELL = 50_000
#: Measures of a pair's outlines.
_FITS = ("polis", "hausdorff", "boundary_iou", "tangent_angle", "holes")

ToPlane = Callable[[Array], Array]
#: Of the prediction, and of the truth.
Neighbors = tuple[NeighborMeasures, NeighborMeasures]


@dataclass(frozen=True)
class VectorSide:
    """One file, read: geometries put aside, numbers at hand.

    Attributes
    ----------
    heap
        The geometries, numbered like the rows below.
    table
        What scoring needs.
    area, bounds
        (n,) and (n, 4) float64.
    classes
        (n,) int64 class numbers.
    """

    heap: GeometryHeap
    table: ObjectTable
    area: Float64Array
    bounds: Float64Array
    classes: IntArray

    def load(self, rows: IntArray) -> ClippedPolygons:
        """Geometry and flags of some rows."""
        return ClippedPolygons(self.heap.load(rows), rows, self.table.cut[rows], self.table.core[rows])


@dataclass(frozen=True)
class _Rows:
    """The numbers of one batch."""

    area: Float64Array
    bounds: Float64Array
    vertices: IntArray
    holes: IntArray
    core: BoolArray
    cut: BoolArray
    classes: IntArray
    scores: Float64Array


def read_side(
    source: VectorFile,
    heap: GeometryHeap,
    *,
    to_plane: ToPlane,
    aoi: Any,
    class_column: str | None,
    score_column: str | None,
    names: dict[str, int],
) -> VectorSide:
    """Read a file in batches and put its polygons aside.

    Parameters
    ----------
    source
        The file.
    heap
        Where to put the geometries.
    to_plane
        Brings geometries to the common plane.
    aoi
        Area of interest in that plane, or None.
    class_column, score_column
        Columns, or None.
    names
        Class numbers by name; new names are added.
    """
    columns = [name for name in (class_column, score_column) if name]
    rows: list[_Rows] = []
    repaired = dropped = 0
    for batch in source.batches(columns):
        whole = clean_polygons(to_plane(shapely.force_2d(batch.geometry)))
        # Cut once, here: every later step sees the area of interest and nothing beyond it.
        inside = clip_polygons(whole.geometry, aoi)
        repaired, dropped = repaired + whole.repaired, dropped + whole.dropped
        heap.append(inside.geometry)
        kept = whole.index[inside.index]
        classes = _class_codes(batch, class_column, names)[kept]
        scores = _scores(batch, score_column, source.path)[kept]
        rows.append(_rows(inside, classes, scores))
    heap.freeze()
    # Gives the types where a file has no polygon at all; concatenate has nothing to go by otherwise.
    empty = _rows(clip_polygons(np.empty(0, object), None), np.empty(0, np.int64), np.empty(0, np.float64))
    parts = [empty, *rows]
    joined = _Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(empty)})
    table = ObjectTable(
        rank=rank_by(joined.area, joined.bounds),
        vertices=joined.vertices,
        holes=joined.holes,
        core=joined.core,
        cut=joined.cut,
        scores=joined.scores if score_column else None,
        repaired=repaired,
        dropped=dropped,
    )
    return VectorSide(heap, table, joined.area, joined.bounds, joined.classes)


def _rows(inside: ClippedPolygons, classes: IntArray, scores: Float64Array) -> _Rows:
    shapes = inside.geometry
    return _Rows(
        area=shapely.area(shapes),
        bounds=shapely.bounds(shapes).reshape(-1, 4),
        vertices=vertex_counts(shapes),
        holes=hole_counts(shapes),
        core=inside.core,
        cut=inside.cut,
        classes=classes,
        scores=scores,
    )


def _class_codes(batch: VectorBatch, column: str | None, names: dict[str, int]) -> IntArray:
    if column is None:
        names.setdefault("object", 0)
        return np.zeros(len(batch.geometry), np.int64)
    titles = [class_name(value) or NO_CLASS for value in batch.columns[column]]
    return np.array([names.setdefault(title, len(names)) for title in titles], np.int64)


def _scores(batch: VectorBatch, column: str | None, path: Path) -> Float64Array:
    """Scores as numbers; what is missing ranks last."""
    if column is None:
        return np.zeros(len(batch.geometry), np.float64)
    try:
        values = [-np.inf if v is None or v != v else float(v) for v in batch.columns[column].tolist()]
    except (TypeError, ValueError):
        raise InputError(f"column {column!r} of {path.name} must hold numbers. Name another one.") from None
    return np.array(values, np.float64)


@dataclass(frozen=True)
class _Cell:
    """A box of the plane, and the truths and predictions whose centers lie in it."""

    box: tuple[float, float, float, float]
    truths: IntArray
    preds: IntArray


def _cells(truth: VectorSide, pred: VectorSide, size: int) -> Iterator[_Cell]:
    """Halve the plane at the median center until no cell holds more than ``size`` centers."""
    bounds = np.concatenate([truth.bounds, pred.bounds])
    if len(bounds) == 0:
        return
    centers = (bounds[:, :2] + bounds[:, 2:]) / 2
    # Wider by 1, so that no center lies on its border.
    whole = (*(bounds[:, :2].min(axis=0) - 1).tolist(), *(bounds[:, 2:].max(axis=0) + 1).tolist())
    todo: list[tuple[tuple[float, ...], IntArray]] = [(whole, np.arange(len(bounds)))]
    while todo:
        box, members = todo.pop()
        halves = _halve(box, members, centers) if len(members) > size else None
        if halves is None:
            edges = (box[0], box[1], box[2], box[3])
            is_truth = members < len(truth.bounds)
            yield _Cell(edges, members[is_truth], members[~is_truth] - len(truth.bounds))
        else:
            todo.extend(halves)


def _halve(
    box: tuple[float, ...], members: IntArray, centers: Float64Array
) -> list[tuple[tuple[float, ...], IntArray]] | None:
    long_axis = int(box[3] - box[1] > box[2] - box[0])
    # The other axis where all centers lie on one line; where all are one point, the cell stays whole.
    for axis in (long_axis, 1 - long_axis):
        # The median, not the middle: towns are dense and the land between them is empty.
        at = float(np.median(centers[members, axis]))
        low = centers[members, axis] < at
        if low.any():
            left, right = list(box), list(box)
            left[axis + 2] = right[axis] = at
            return [(tuple(left), members[low]), (tuple(right), members[~low])]
    return None


def _reaching(bounds: Float64Array, box: Any) -> IntArray:
    """Rows whose bounds meet the box."""
    apart = (
        (bounds[:, 0] > box[2]) | (bounds[:, 2] < box[0]) | (bounds[:, 1] > box[3]) | (bounds[:, 3] < box[1])
    )
    return np.flatnonzero(~apart).astype(np.int64)


@dataclass(frozen=True)
class _Measured:
    """What one cell gives."""

    pairs: OverlapPairs
    fits: OutlineFits
    coverage: Coverage
    neighbors: Neighbors | None = None


def _measure(
    cell: _Cell, truth: VectorSide, pred: VectorSide, n: int, iou: float, distance: float, walls: bool
) -> _Measured:
    pairs, fits = _measure_pairs(cell.truths, truth, pred, iou, distance)
    # Ground is measured on what lies inside the cell's box, so that cells add up to the whole plane.
    box = shapely.box(*cell.box)
    loaded = [side.load(_reaching(side.bounds, cell.box)) for side in (truth, pred)]
    cut = [clip_polygons(side.geometry, box) for side in loaded]
    truth_classes = truth.classes[loaded[0].index[cut[0].index]]
    pred_classes = pred.classes[loaded[1].index[cut[1].index]]
    coverage = measure_coverage(cut[0].geometry, cut[1].geometry, truth_classes, pred_classes, n)
    neighbors = None
    if walls:
        neighbors = _neighbors(cell.preds, pred), _neighbors(cell.truths, truth)
    return _Measured(pairs, fits, coverage, neighbors)


def _neighbors(rows: IntArray, side: VectorSide) -> NeighborMeasures:
    """Overlaps, gaps and shared walls of pairs whose first polygon is one of these."""
    if not len(rows):
        return NeighborMeasures()
    reach = side.bounds[rows]
    # Rows rise, so that the first of a pair is the same one in every cell.
    near = _reaching(side.bounds, (*(reach[:, :2].min(axis=0) - GAP), *(reach[:, 2:].max(axis=0) + GAP)))
    return measure_neighbors(side.load(near).geometry, np.isin(near, rows))


def _measure_pairs(
    rows: IntArray, truth: VectorSide, pred: VectorSide, iou: float, distance: float
) -> tuple[OverlapPairs, OutlineFits]:
    """Pairs of these truths, numbered like the two files; only those of equal class."""
    near = np.empty(0, np.int64)
    if len(rows):
        # What the truths reach, which may lie beyond the cell: a pair counts where its truth's center lies.
        reach = truth.bounds[rows]
        near = _reaching(pred.bounds, (*reach[:, :2].min(axis=0), *reach[:, 2:].max(axis=0)))
    truths, preds = truth.load(rows), pred.load(near)
    pairs = overlap_pairs(truths.geometry, preds.geometry)
    # Objects of different classes are no partners, however well they overlap.
    pairs = pairs.select(truth.classes[rows[pairs.truth]] == pred.classes[near[pairs.pred]])
    fits = measure_outlines(truths, preds, pairs, iou, distance)
    return replace(pairs, truth=rows[pairs.truth], pred=near[pairs.pred]), fits


def compare_sides(
    truth: VectorSide,
    pred: VectorSide,
    n_classes: int,
    *,
    iou: float,
    boundary_distance: float,
    progress: Progress,
    walls: bool = False,
    cell: int = CELL,
) -> tuple[list[ObjectScores], Coverage, Neighbors | None]:
    """Score all objects, then those of each class (when there are several), and add up the ground covered.

    Parameters
    ----------
    truth, pred
        The two sides.
    n_classes
        Number of classes.
    iou
        Threshold in (0, 1].
    boundary_distance
        Width of the strip of the boundary IoU.
    progress
        Told how many cells are done.
    walls
        Measure how the polygons of each file lie beside each other.
    cell
        Polygons in one cell, about.
    """
    cells = list(_cells(truth, pred, cell))
    zero = np.zeros(n_classes)
    coverage = Coverage(zero, zero, zero, 0.0, 0.0)
    neighbors = (NeighborMeasures(), NeighborMeasures()) if walls else None
    # An empty cell goes first, so that joining needs no special case where no polygon lies in any cell.
    empty = _measure_pairs(np.empty(0, np.int64), truth, pred, iou, boundary_distance)
    cell_results = [_Measured(*empty, coverage)]
    # Four cells in memory at the most; GEOS runs without the lock of the interpreter.
    with ThreadPoolExecutor(min(4, usable_cpus())) as pool:
        results = pool.map(
            lambda each: _measure(each, truth, pred, n_classes, iou, boundary_distance, walls), cells
        )
        for done, measured in enumerate(results, start=1):
            cell_results.append(measured)
            coverage = coverage + measured.coverage
            if neighbors and measured.neighbors:
                neighbors = neighbors[0] + measured.neighbors[0], neighbors[1] + measured.neighbors[1]
            progress("compare", done, len(cells))
    pairs, fits = _merge(cell_results, truth, pred)
    # Matching is one sweep over all pairs by rank: by cells, a cell's border could decide who takes whom.
    scores = [score_objects(truth.table, pred.table, pairs, fits, iou)]
    if n_classes > 1:
        scores += [_of_class(k, truth, pred, pairs, fits, iou) for k in range(n_classes)]
    return scores, coverage, neighbors


def _merge(
    cell_results: list[_Measured], truth: VectorSide, pred: VectorSide
) -> tuple[OverlapPairs, OutlineFits]:
    def join(part: str, name: str) -> Any:
        return np.concatenate([getattr(getattr(cell, part), name) for cell in cell_results])

    truths, preds = join("pairs", "truth"), join("pairs", "pred")
    # As if all pairs had been measured at once: cells leave no trace in the order.
    order = np.lexsort((preds, truths))
    pairs = OverlapPairs(truths[order], preds[order], join("pairs", "area")[order], truth.area, pred.area)
    measures = {name: join("fits", name)[order] for name in _FITS}
    return pairs, OutlineFits(**measures, distance=cell_results[0].fits.distance)


def _of_class(
    k: int, truth: VectorSide, pred: VectorSide, pairs: OverlapPairs, fits: OutlineFits, iou: float
) -> ObjectScores:
    """Scores of one class; all objects of other classes are put out of the count."""
    # Both sides of a pair are of one class, so it is enough to look at one. What was repaired or dropped is
    # told for all classes together: of a dropped polygon the class means nothing.
    keep = truth.classes[pairs.truth] == k
    tables = [
        replace(side.table, core=side.table.core & (side.classes == k), repaired=0, dropped=0)
        for side in (truth, pred)
    ]
    part = replace(fits, **{name: getattr(fits, name)[keep] for name in _FITS})
    return score_objects(tables[0], tables[1], pairs.select(keep), part, iou)
