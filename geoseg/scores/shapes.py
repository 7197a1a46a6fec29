"""Shapes of matched outlines: how far walls are turned, holes found again, neighbors in a coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.compiled import kernel
from geoseg.scores.polygons import Float64Array, overlap_pairs
from geoseg.typing import Array, BoolArray, IntArray

__all__ = [
    "GAP",
    "NeighborMeasures",
    "corner_turns",
    "hole_counts",
    "holes_in_common",
    "max_tangent_angles",
    "measure_neighbors",
]

#: Neighbors at most this far apart, in the unit of the coordinates, are meant to share their wall.
GAP = 1.0
#: An edge counts for the angle if its image on the other outline is not stretched by more than this.
_STRETCH = 2.0
#: Holes match from this IoU on; above a half, no hole has two partners.
_HOLE_IOU = 0.5


def _rings(geometry: Array) -> tuple[Float64Array, IntArray, IntArray]:
    """Closed rings of polygons: coordinates, where each ring starts, and where each polygon's rings do."""
    parts, owner = shapely.get_parts(geometry, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    starts = np.searchsorted(ring, np.arange(len(rings) + 1)).astype(np.int64)
    return points, starts, np.searchsorted(owner[part], np.arange(len(geometry) + 1)).astype(np.int64)


def corner_turns(geometry: Array, least: float = 1.0) -> Float64Array:
    """Degrees by which the boundary turns at each corner, from 0 to 180.

    Parameters
    ----------
    geometry : array of polygons, shape (N,)
    least
        Degrees. A vertex that turns by less is no corner: another house begins there in a straight wall.

    Returns
    -------
    float64 array, shape (M,)
        Of all corners of all rings, in their order.

    Examples
    --------
    >>> corner_turns(shapely.box([0], 0, [4], 3)).tolist()
    [90.0, 90.0, 90.0, 90.0]
    >>> corner_turns(np.empty(0, object)).tolist()
    []
    """
    points, starts, _ = _rings(geometry)
    if len(points) == 0:
        return np.empty(0)
    edge = np.diff(points, axis=0)
    heading = np.arctan2(edge[:, 1], edge[:, 0])
    # Rings lie end to end: from the last point of one to the first of the next is no edge.
    within = np.ones(len(edge), bool)
    within[starts[1:-1] - 1] = False
    # The edge before the first of a ring is its last one.
    before = np.concatenate([[0.0], heading[:-1]])
    before[starts[:-1]] = heading[starts[1:] - 2]
    turn = np.abs((heading - before + math.pi) % (2 * math.pi) - math.pi)[within]
    return np.degrees(turn[turn > math.radians(least)])


def max_tangent_angles(pred: Array, truth: Array, spacing: float = 0.5) -> Float64Array:
    """Largest angle between the walls of ``pred[i]`` and those of ``truth[i]`` beside them, in degrees.

    The outline of the prediction is sampled evenly, and each sample goes to the nearest point of the truth's.
    The angle is that between the chord of two samples and the chord of their images. Where an image is less
    than half or more than twice as long, two walls of one outline face the same wall of the other, and the
    angle tells nothing.

    Parameters
    ----------
    pred, truth
        (n,) valid, non-empty polygons in plane coordinates.
    spacing
        Largest distance of two samples, > 0.

    Returns
    -------
    (n,) float64
        0 .. 90; NaN where no chord counts.

    References
    ----------
    N. Girard, D. Smirnov, J. Solomon, Y. Tarabalka, "Polygonal Building Extraction by Frame Field Learning",
    CVPR 2021, arXiv:2004.14875 (max tangent angle error).

    Examples
    --------
    >>> square = shapely.box([0], 0, [8], 8)
    >>> max_tangent_angles(square, square).tolist()
    [0.0]
    >>> leaning = shapely.from_wkt(["POLYGON ((0 0, 8 0, 8 8, 1 8, 0 0))"])
    >>> max_tangent_angles(leaning, square).round(2).tolist()
    [7.13]
    """
    return _angles(*_rings(pred), *_rings(truth), float(spacing))


@kernel
def _angles(points, starts, rings_of, others, other_starts, other_rings_of, spacing):  # type: ignore[no-untyped-def]
    result = np.full(rings_of.size - 1, np.nan)
    for polygon in range(rings_of.size - 1):
        worst = -1.0
        first = other_starts[other_rings_of[polygon]]
        last = other_starts[other_rings_of[polygon + 1]]
        before_x = before_y = 0.0
        for ring in range(rings_of[polygon], rings_of[polygon + 1]):
            for k in range(starts[ring], starts[ring + 1] - 1):
                x, y = points[k]
                along_x, along_y = points[k + 1, 0] - x, points[k + 1, 1] - y
                length = math.hypot(along_x, along_y)
                pieces = max(math.ceil(length / spacing), 1)
                chord = length / pieces
                if chord == 0:
                    continue
                for piece in range(pieces + 1):
                    share = piece / pieces
                    at_x, at_y = _nearest(
                        x + share * along_x, y + share * along_y, others, first, last, other_starts
                    )
                    if piece > 0:
                        image_x, image_y = at_x - before_x, at_y - before_y
                        image = math.hypot(image_x, image_y)
                        if chord / _STRETCH < image < chord * _STRETCH:
                            cosine = abs(along_x * image_x + along_y * image_y) / (length * image)
                            worst = max(worst, math.acos(min(cosine, 1.0)))
                    before_x, before_y = at_x, at_y
        if worst >= 0:
            result[polygon] = math.degrees(worst)
    return result


@kernel
def _nearest(x, y, points, first, last, starts):  # type: ignore[no-untyped-def]
    """The point of some rings that is nearest to another one."""
    best, best_x, best_y = np.inf, 0.0, 0.0
    # The rings lie one behind the other; what joins the end of one to the start of the next is no wall.
    ring = np.searchsorted(starts, first, "right")
    for k in range(first, last - 1):
        if k + 1 == starts[ring]:
            ring += 1
            continue
        along_x, along_y = points[k + 1, 0] - points[k, 0], points[k + 1, 1] - points[k, 1]
        square = along_x * along_x + along_y * along_y
        share = 0.0
        if square > 0:
            share = ((x - points[k, 0]) * along_x + (y - points[k, 1]) * along_y) / square
            share = min(max(share, 0.0), 1.0)
        at_x, at_y = points[k, 0] + share * along_x, points[k, 1] + share * along_y
        distance = (at_x - x) ** 2 + (at_y - y) ** 2
        if distance < best:
            best, best_x, best_y = distance, at_x, at_y
    return best_x, best_y


def hole_counts(geometry: Array) -> IntArray:
    """(n,) int64 holes of each polygon, those of all parts.

    Examples
    --------
    >>> ring = shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 6, 6))
    >>> hole_counts(np.array([ring, shapely.box(0, 0, 1, 1)])).tolist()
    [1, 0]
    """
    parts, owner = shapely.get_parts(geometry, return_index=True)
    counts = np.bincount(owner, shapely.get_num_interior_rings(parts), len(geometry))
    return counts.astype(np.int64)


def _holes(geometry: Array) -> tuple[Array, IntArray]:
    """Holes as polygons, and the polygon that each lies in."""
    parts, owner = shapely.get_parts(geometry, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    inner = np.ones(len(rings), np.bool_)
    inner[np.searchsorted(part, np.arange(len(parts)))] = False  # the shell is the first of its part
    return np.asarray(shapely.polygons(rings[inner]), object).reshape(-1), owner[part[inner]].astype(np.int64)


def holes_in_common(truth: Array, pred: Array) -> IntArray:
    """(n,) int64 holes of ``truth[i]`` that ``pred[i]`` has too, with an IoU of at least 0.5.

    Parameters
    ----------
    truth, pred
        (n,) valid polygons in plane coordinates.

    References
    ----------
    The measure of holes follows benchmarks of building polygons with courtyards, where an F1 of holes is
    given beside the AP of outlines.

    Examples
    --------
    >>> ring = shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 6, 6))
    >>> wide = shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 6, 7))
    >>> holes_in_common(np.array([ring, ring]), np.array([wide, shapely.box(0, 0, 9, 9)])).tolist()
    [1, 0]
    """
    (holes, owner), (others, other_owner) = _holes(truth), _holes(pred)
    pairs = overlap_pairs(holes, others)
    alike = (owner[pairs.truth] == other_owner[pairs.pred]) & (pairs.iou >= _HOLE_IOU)
    # Of two halves that share a hole evenly one counts.
    common = [
        np.bincount(side[np.unique(index[alike])], minlength=len(truth))
        for side, index in ((owner, pairs.truth), (other_owner, pairs.pred))
    ]
    return np.minimum(*common).astype(np.int64)


@dataclass(frozen=True)
class NeighborMeasures:
    """How the polygons of one file lie beside each other; adds up over pairs of neighbors.

    Attributes
    ----------
    overlap
        Area that two polygons cover both.
    gap
        Area between neighbors that are at most ``GAP`` apart and do not share their wall.
    shared
        Length of walls of which both neighbors have the very same line.
    apart
        Length of walls that face a neighbor at most ``GAP`` away and are not shared, half of both sides.
    """

    overlap: float = 0.0
    gap: float = 0.0
    shared: float = 0.0
    apart: float = 0.0

    def __add__(self, other: NeighborMeasures) -> NeighborMeasures:
        return NeighborMeasures(
            self.overlap + other.overlap,
            self.gap + other.gap,
            self.shared + other.shared,
            self.apart + other.apart,
        )

    @property
    def shared_share(self) -> float:
        """Share of the walls between neighbors that is shared; NaN where no neighbors are."""
        return self.shared / (self.shared + self.apart) if self.shared + self.apart else math.nan


def measure_neighbors(geometry: Array, counts: BoolArray | None = None) -> NeighborMeasures:
    """Overlaps, gaps and shared walls of polygons that should be a coverage.

    Parameters
    ----------
    geometry
        (n,) valid polygons in plane coordinates.
    counts
        (n,) bool: a pair counts where its first polygon does, so that parts of a file add up. None: all.

    Examples
    --------
    >>> terrace = measure_neighbors(shapely.box([0, 5], 0, [5, 10], 8))
    >>> terrace.shared, terrace.shared_share, terrace.overlap, terrace.gap
    (8.0, 1.0, 0.0, 0.0)
    >>> with_gap = measure_neighbors(shapely.box([0, 5.5], 0, [5, 10], 8))
    >>> with_gap.gap, with_gap.shared_share
    (4.0, 0.0)
    """
    if len(geometry) < 2:
        return NeighborMeasures()
    first, second = shapely.STRtree(geometry).query(geometry, predicate="dwithin", distance=GAP)
    keep = first < second
    if counts is not None:
        keep &= counts[first]
    a, b = geometry[first[keep]], geometry[second[keep]]
    if not len(a):
        return NeighborMeasures()
    overlap = float(shapely.area(shapely.intersection(a, b)).sum())
    walls = shapely.intersection(shapely.boundary(a), shapely.boundary(b))
    shared = shapely.length(walls)
    # Beside the ends of a shared wall both outlines run on within reach of the other: that is no gap.
    known = shapely.buffer(walls, 1.5 * GAP)
    apart = np.zeros(len(a))
    for one, other in ((a, b), (b, a)):
        facing = shapely.intersection(shapely.boundary(one), shapely.buffer(other, GAP))
        apart += shapely.length(shapely.difference(facing, known)) / 2
    loose = apart > 0
    gap = shapely.area(
        shapely.difference(
            _closed(shapely.union(a[loose], b[loose])),
            shapely.union(_closed(a[loose]), _closed(b[loose])),
        )
    )
    return NeighborMeasures(overlap, float(gap.sum()), float(shared.sum()), float(apart.sum()))


def _closed(geometry: Array) -> Array:
    """Polygons with what is narrower than ``GAP`` filled."""
    wide = shapely.buffer(geometry, GAP / 2, join_style="mitre")
    return np.asarray(shapely.buffer(wide, -GAP / 2, join_style="mitre"), object)
