"""How far outlines lie apart: PoLiS, Hausdorff distance, boundary IoU, vertex counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.scores.polygons import ClippedPolygons, Float64Array, OverlapPairs, intersection_areas
from geoseg.scores.shapes import holes_in_common, max_tangent_angles
from geoseg.typing import Array, IntArray

__all__ = ["OutlineFits", "boundary_iou", "measure_outlines", "outline_distances", "vertex_counts"]

#: Pairs measured at once: a pair has a geometry for each vertex while it is measured.
BATCH = 8_192


@dataclass(frozen=True)
class OutlineFits:
    """How well the outlines of pairs fit; NaN where not measured.

    Attributes
    ----------
    polis, hausdorff, boundary_iou, tangent_angle
        (p,) float64, one a pair.
    holes
        (p,) int64, holes that both have; 0 where not measured.
    distance
        Width of the strip of the boundary IoU.
    """

    polis: Float64Array
    hausdorff: Float64Array
    boundary_iou: Float64Array
    tangent_angle: Float64Array
    holes: IntArray
    distance: float


def _vertices(geometry: Array) -> tuple[Float64Array, IntArray]:
    """Vertices of all rings without the closing one, and the polygon that each belongs to."""
    parts, owner = shapely.get_parts(geometry, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    # The last point of a ring repeats its first: a mean over vertices would count it twice.
    last = np.ones(len(ring), np.bool_)
    last[:-1] = ring[1:] != ring[:-1]
    return points[~last], owner[part[ring[~last]]].astype(np.int64)


def vertex_counts(geometry: Array) -> IntArray:
    """(n,) int64 corners of each polygon, all rings, the closing point not counted twice.

    Examples
    --------
    >>> vertex_counts(np.array([shapely.box(0, 0, 1, 1)])).tolist()
    [4]
    """
    return np.bincount(_vertices(geometry)[1], minlength=len(geometry)).astype(np.int64)


def _directed(a: Array, b: Array) -> tuple[Float64Array, Float64Array]:
    """Mean and largest distance from the vertices of ``a[i]`` to the outline of ``b[i]``."""
    points, owner = _vertices(a)
    lines = shapely.boundary(b)
    shapely.prepare(lines)  # each is asked for the distance of all vertices of its partner
    distance = shapely.distance(shapely.points(points), lines[owner])
    starts = np.searchsorted(owner, np.arange(len(a)))
    count = np.diff(np.append(starts, len(owner)))
    return np.add.reduceat(distance, starts) / count, np.maximum.reduceat(distance, starts)


def outline_distances(a: Array, b: Array) -> tuple[Float64Array, Float64Array]:
    """PoLiS and Hausdorff distance of polygons ``a[i]`` and ``b[i]``.

    PoLiS is half the mean distance from the vertices of each outline to the nearest point of the
    other, added both ways. The Hausdorff distance is taken over the same vertices (GEOS calls it
    discrete).

    Parameters
    ----------
    a, b
        (n,) valid, non-empty polygons in plane coordinates.

    Returns
    -------
    (n,) float64, (n,) float64
        In the unit of the coordinates.

    References
    ----------
    J. Avbelj, R. Müller, R. Bamler, "A Metric for Polygon Comparison and Building Extraction
    Evaluation", IEEE Geoscience and Remote Sensing Letters 12(1), 2015.

    Examples
    --------
    >>> polis, hausdorff = outline_distances(shapely.box([0], 0, [4], 4), shapely.box([0], 0, [4], 5))
    >>> polis.tolist(), hausdorff.tolist()
    ([0.25], [1.0])
    """
    polis, hausdorff = np.empty(len(a)), np.empty(len(a))
    for start in range(0, len(a), BATCH):
        part = slice(start, start + BATCH)
        mean_ab, max_ab = _directed(a[part], b[part])
        mean_ba, max_ba = _directed(b[part], a[part])
        polis[part] = (mean_ab + mean_ba) / 2
        hausdorff[part] = np.maximum(max_ab, max_ba)
    return polis, hausdorff


def boundary_iou(a: Array, b: Array, distance: float) -> Float64Array:
    """IoU of the strips along the outlines, each strip inside its polygon.

    With A' what is left of A when a strip of ``distance`` is taken off inside, the strips share
    |A∩B| - |A'∩B| - |A∩B'| + |A'∩B'|. For distances beyond half the width of both polygons it is
    their plain IoU.

    Parameters
    ----------
    a, b
        (n,) valid polygons in plane coordinates.
    distance
        Width of the strip, > 0.

    Returns
    -------
    (n,) float64

    Raises
    ------
    InputError
        The distance is not positive.

    References
    ----------
    B. Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR
    2021, arXiv:2103.16562.

    Examples
    --------
    >>> square = shapely.box([0], 0, [4], 4)
    >>> boundary_iou(square, square, 1.0).tolist()
    [1.0]
    """
    if not distance > 0:
        raise InputError(f"distance must be greater than 0, got {distance}.")
    result = np.empty(len(a))
    for start in range(0, len(a), BATCH):
        part = slice(start, start + BATCH)
        inner_a, inner_b = (shapely.buffer(side[part], -distance, quad_segs=4) for side in (a, b))
        # By inclusion and exclusion: the strips themselves, rings that are thin and many, are never built.
        shared = (
            intersection_areas(a[part], b[part])
            - intersection_areas(inner_a, b[part])
            - intersection_areas(a[part], inner_b)
            + intersection_areas(inner_a, inner_b)
        )
        strips = shapely.area(a[part]) - shapely.area(inner_a) + shapely.area(b[part]) - shapely.area(inner_b)
        # Rounding may leave a difference of areas a hair below 0.
        result[part] = np.clip(shared, 0, None) / (strips - shared)
    return np.clip(result, 0, 1)


def measure_outlines(
    truth: ClippedPolygons, pred: ClippedPolygons, pairs: OverlapPairs, iou: float, distance: float
) -> OutlineFits:
    """Outline measures of the pairs that may match: IoU of at least ``iou``, cut on neither side.

    Parameters
    ----------
    truth, pred, pairs
        The two sides, and their overlapping pairs.
    iou
        Pairs below are left out (NaN).
    distance
        Width of the strip of the boundary IoU, > 0.
    """
    # Only these can match, and they are few: every object overlaps several others by a sliver.
    keep = (pairs.iou >= iou) & ~truth.cut[pairs.truth] & ~pred.cut[pairs.pred]
    a, b = truth.geometry[pairs.truth[keep]], pred.geometry[pairs.pred[keep]]
    polis, hausdorff, strips, angle = (np.full(len(keep), np.nan) for _ in range(4))
    holes = np.zeros(len(keep), np.int64)
    polis[keep], hausdorff[keep] = outline_distances(a, b)
    strips[keep] = boundary_iou(a, b, distance)
    angle[keep] = max_tangent_angles(b, a)
    holes[keep] = holes_in_common(a, b)
    return OutlineFits(polis, hausdorff, strips, angle, holes, float(distance))
