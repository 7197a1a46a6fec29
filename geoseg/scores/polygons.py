"""Polygons made ready for comparison: repaired, cut by an area of interest, overlapped in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.errors import InputError
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.geometry import repaired

__all__ = [
    "ClippedPolygons",
    "OverlapPairs",
    "PolygonSet",
    "as_scores",
    "clean_polygons",
    "clip_polygons",
    "dissolve_overlaps",
    "intersection_areas",
    "overlap_pairs",
    "own_ground",
]

#: Pairs whose intersections are held in memory at once; only their areas are kept.
BATCH = 65_536

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class PolygonSet:
    """Valid polygons, and what was done to get them.

    Attributes
    ----------
    geometry
        (n,) object array of valid Polygon and MultiPolygon.
    index
        (n,) int64, position of each in the input.
    repaired
        Invalid geometries that were made valid.
    dropped
        Missing, empty, zero-area and non-polygonal geometries left out.
    """

    geometry: Array
    index: IntArray
    repaired: int
    dropped: int


@dataclass(frozen=True)
class ClippedPolygons:
    """Polygons cut by an area of interest.

    Attributes
    ----------
    geometry
        (n,) object array: the parts inside.
    index
        (n,) int64, position of each in the input.
    cut
        (n,) bool, True where a part lay outside.
    core
        (n,) bool, True where at least half of the object's area lies inside.
    """

    geometry: Array
    index: IntArray
    cut: BoolArray
    core: BoolArray


@dataclass(frozen=True)
class OverlapPairs:
    """Pairs of a truth and a prediction that share area, sorted by (truth, pred).

    Attributes
    ----------
    truth, pred
        (p,) int64, indices into the two sets.
    area
        (p,) float64, area of the intersection, > 0.
    truth_area, pred_area
        (n,) and (m,) float64, areas of all polygons of the two sets.
    """

    truth: IntArray
    pred: IntArray
    area: Float64Array
    truth_area: Float64Array
    pred_area: Float64Array

    @property
    def iou(self) -> Float64Array:
        """(p,) float64, intersection over union."""
        union: Float64Array = self.truth_area[self.truth] + self.pred_area[self.pred] - self.area
        return self.area / union

    def rows(self, truth: IntArray, pred: IntArray) -> IntArray:
        """Positions of pairs that are known to be here."""
        width = max(len(self.pred_area), 1)
        # Pairs are sorted by (truth, pred), so that one number can stand for both.
        position = np.searchsorted(self.truth * width + self.pred, truth * width + pred)
        return position.astype(np.int64)

    def select(self, keep: BoolArray) -> OverlapPairs:
        """The pairs where ``keep`` is True; both sets stay whole."""
        return OverlapPairs(
            self.truth[keep], self.pred[keep], self.area[keep], self.truth_area, self.pred_area
        )


def clean_polygons(geometry: Any) -> PolygonSet:
    """Repair invalid polygons and leave out what has no area.

    Parameters
    ----------
    geometry
        (n,) array-like of shapely geometries; None is allowed.

    Examples
    --------
    >>> bowtie = shapely.from_wkt("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")
    >>> cleaned = clean_polygons([bowtie, None, shapely.Point(0, 0)])
    >>> len(cleaned.geometry), cleaned.repaired, cleaned.dropped
    (1, 1, 2)
    >>> len(clean_polygons([]).geometry)
    0
    """
    shapes = shapely.force_2d(np.array(geometry, dtype=object).reshape(-1))
    # Polygons, multipolygons and collections.
    polygonal = np.isin(shapely.get_type_id(shapes), (3, 6, 7))
    broken = polygonal & ~shapely.is_valid(shapes)
    if broken.any():
        shapes[broken] = repaired(shapes[broken])
    # Repair may leave lines and points beside the polygons: they have no area.
    mixed = polygonal & (shapely.get_type_id(shapes) == 7)
    for i in np.flatnonzero(mixed):
        parts = shapes[i : i + 1]
        while (shapely.get_type_id(parts) == 7).any():  # collections of collections
            parts = shapely.get_parts(parts)
        shapes[i] = shapely.union_all(parts[np.isin(shapely.get_type_id(parts), (3, 6))])
    keep = polygonal & (shapely.area(shapes) > 0)
    index = np.flatnonzero(keep).astype(np.int64)
    return PolygonSet(shapes[keep], index, int((broken & keep).sum()), int((~keep).sum()))


def clip_polygons(geometry: Array, aoi: Any) -> ClippedPolygons:
    """Cut valid polygons by an area of interest; those wholly outside are left out.

    Truth and predictions go through the same cut. ``core`` tells which objects count: see
    :func:`geoseg.scores.objects.evaluate_objects`.

    Parameters
    ----------
    geometry
        (n,) valid polygons.
    aoi
        A valid polygon in the same coordinates, or None for no limit.

    Examples
    --------
    >>> inside = clip_polygons(shapely.box([0, 8, 20], 0, [4, 12, 24], 4), shapely.box(0, 0, 9, 9))
    >>> inside.index.tolist(), inside.cut.tolist(), inside.core.tolist()
    ([0, 1], [False, True], [True, False])
    """
    every = np.arange(len(geometry), dtype=np.int64)
    if aoi is None:
        return ClippedPolygons(geometry, every, np.zeros(len(every), np.bool_), np.ones(len(every), np.bool_))
    shapely.prepare(aoi)
    # Nearly all polygons lie wholly inside: only the others are cut.
    cut = ~shapely.covers(aoi, geometry)
    parts = geometry.copy()
    parts[cut] = shapely.intersection(geometry[cut], aoi)
    inside = shapely.area(parts)
    core = inside >= shapely.area(geometry) / 2
    keep = inside > 0
    return ClippedPolygons(parts[keep], every[keep], cut[keep], core[keep])


def _query(tree_of: Array, queries: Array) -> tuple[IntArray, IntArray]:
    if len(tree_of) == 0 or len(queries) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    # "intersects" and not "overlaps", which leaves out a polygon inside another; what only touches goes by
    # its area.
    query, hit = shapely.STRtree(tree_of).query(queries, predicate="intersects")
    return query.astype(np.int64), hit.astype(np.int64)


def intersection_areas(a: Array, b: Array) -> Float64Array:
    """Area of ``a[i] ∩ b[i]`` for arrays of the same length, in bounded memory."""
    areas = np.empty(len(a), np.float64)
    for start in range(0, len(a), BATCH):
        part = slice(start, start + BATCH)
        areas[part] = shapely.area(shapely.intersection(a[part], b[part]))
    return areas


def overlap_pairs(truth: Array, pred: Array) -> OverlapPairs:
    """Find all pairs that share area, and how much.

    Polygons that only touch (terraced houses) are no pair.

    Parameters
    ----------
    truth, pred
        (n,) and (m,) valid polygons in the same plane coordinates.

    Examples
    --------
    >>> pairs = overlap_pairs(shapely.box([0, 10], 0, [4, 14], 4), shapely.box([2], 0, [6], 4))
    >>> pairs.truth.tolist(), pairs.pred.tolist(), pairs.area.tolist()
    ([0], [0], [8.0])
    """
    t, p = _query(np.asarray(pred, object), np.asarray(truth, object))
    area = intersection_areas(truth[t], pred[p]) if len(t) else np.empty(0, np.float64)
    keep = area > 0
    t, p, area = t[keep], p[keep], area[keep]
    order = np.lexsort((p, t))
    return OverlapPairs(t[order], p[order], area[order], shapely.area(truth), shapely.area(pred))


def dissolve_overlaps(geometry: Array) -> Array:
    """Unite polygons that overlap one another, so that areas can be added.

    Polygons that only touch stay apart. The result covers the same ground.

    Examples
    --------
    >>> one, two = dissolve_overlaps(shapely.box([0, 1, 9], 0, [2, 3, 10], 1))
    >>> one.area, two.area
    (1.0, 3.0)
    """
    a, b = _overlaps(geometry)
    if len(a) == 0:  # the usual case
        return geometry
    n = len(geometry)
    _, group = connected_components(
        coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(n, n)), directed=False
    )
    # Whole groups at once: uniting pair by pair would draw the same outline again and again.
    shared = np.bincount(group)[group] > 1
    members = np.flatnonzero(shared)
    members = members[np.argsort(group[members], kind="stable")]
    cuts = np.flatnonzero(np.diff(group[members])) + 1
    united = [shapely.union_all(geometry[part]) for part in np.split(members, cuts)]
    return np.concatenate([geometry[~shared], np.array(united, dtype=object)])


def own_ground(geometry: Array) -> Array:
    """What each polygon covers that no larger one does, so that areas can be added; some become empty.

    Examples
    --------
    >>> shapely.area(own_ground(shapely.box([0, 1, 1], 0, [2, 3, 2], 1))).tolist()
    [2.0, 1.0, 0.0]
    """
    a, b = _overlaps(geometry)
    if len(b) == 0:  # the usual case
        return geometry
    # The larger one keeps its outline. Cut by thousands of small ones that lie in it, it would have as many
    # holes, and every later overlap with it would take a second. Of equal ones, the first.
    area = shapely.area(geometry)
    first = area[a] >= area[b]
    larger, smaller = np.where(first, a, b), np.where(first, b, a)
    order = np.argsort(smaller, kind="stable")
    larger, smaller = larger[order], smaller[order]
    own = geometry.copy()
    for part in np.split(np.arange(len(smaller)), np.flatnonzero(np.diff(smaller)) + 1):
        index = smaller[part[0]]
        own[index] = shapely.difference(geometry[index], shapely.union_all(geometry[larger[part]]))
    return own


def _overlaps(geometry: Array) -> tuple[IntArray, IntArray]:
    """Pairs of one set that share area, the earlier one first."""
    a, b = _query(np.asarray(geometry, object), np.asarray(geometry, object))
    a, b = a[a < b], b[a < b]
    keep = intersection_areas(geometry[a], geometry[b]) > 0
    return a[keep], b[keep]


def as_scores(scores: Array, n: int) -> Float64Array:
    """Scores as float64; NaN ranks last.

    Raises
    ------
    InputError
        As many scores as predictions are needed.
    """
    values = np.asarray(scores, np.float64).reshape(-1)
    if len(values) != n:
        raise InputError(f"scores must be one number a prediction, got {len(values)} for {n} predictions.")
    # A sort would put NaN at an end that depends on its direction.
    return np.where(np.isnan(values), -np.inf, values)
