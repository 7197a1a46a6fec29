"""Douglas-Peucker simplification of outlines that keeps them valid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numba import njit

from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.geometry import combine_parts, region_polygons
from geoseg.vector.rings import Outlines, ragged_offsets

__all__ = ["simplified_geometries", "simplify_rings"]

#: Times the tolerance is halved for an object that would become invalid, before it is left as it is.
_HALVINGS = 3


def simplify_rings(xy: Array, ring_offsets: IntArray, tolerance: float) -> BoolArray:
    """Which corners of closed rings Douglas-Peucker keeps.

    Each ring is cut at its first corner and at the one farthest from it. A ring that would keep less than
    three corners keeps all of them.

    Parameters
    ----------
    xy : (p, 2) float64
        Corners; the last one of each ring repeats the first.
    ring_offsets : (r + 1,) int64
        Corners of each ring.
    tolerance
        Largest distance of a dropped corner from the line that replaces it, in units of ``xy``.

    Returns
    -------
    (p,) bool

    References
    ----------
    Douglas, Peucker (1973), Algorithms for the reduction of the number of points required to represent a
    digitized line or its caricature, Cartographica 10(2).

    Examples
    --------
    >>> ring = np.array([[0, 0], [2, 0.1], [4, 0], [4, 4], [0, 4], [0, 0]], float)
    >>> simplify_rings(ring, np.array([0, 6]), 0.5).tolist()
    [True, False, True, True, True, True]
    """
    keep = np.zeros(len(xy), np.bool_)
    _simplify(np.ascontiguousarray(xy, np.float64), ring_offsets, tolerance * tolerance, keep)
    return keep


@njit(nogil=True, cache=True)
def _simplify(xy, ring_offsets, limit2, keep):  # type: ignore[no-untyped-def]
    longest = np.diff(ring_offsets).max() if ring_offsets.size > 1 else 0
    stack = np.empty((longest + 1, 2), np.int64)
    for r in range(ring_offsets.size - 1):
        first, last = ring_offsets[r], ring_offsets[r + 1] - 1
        far, farthest2 = first, -1.0
        for k in range(first, last):
            d2 = (xy[k, 0] - xy[first, 0]) ** 2 + (xy[k, 1] - xy[first, 1]) ** 2
            if d2 > farthest2:
                far, farthest2 = k, d2
        keep[first] = keep[far] = keep[last] = True
        kept = 3 + _keep_between(xy, first, far, limit2, keep, stack)
        kept += _keep_between(xy, far, last, limit2, keep, stack)
        if kept < 4:
            keep[first : last + 1] = True


@njit(nogil=True, cache=True)
def _keep_between(xy, first, last, limit2, keep, stack):  # type: ignore[no-untyped-def]
    """Mark the corners to keep between two that are kept; returns their number."""
    count = 0
    stack[0, 0], stack[0, 1] = first, last
    top = 1
    while top:
        top -= 1
        a, b = stack[top, 0], stack[top, 1]
        worst, worst2 = a, limit2
        for k in range(a + 1, b):
            d2 = _distance2(xy[k, 0], xy[k, 1], xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1])
            if d2 > worst2:
                worst, worst2 = k, d2
        if worst != a:
            keep[worst] = True
            count += 1
            stack[top, 0], stack[top, 1] = a, worst
            stack[top + 1, 0], stack[top + 1, 1] = worst, b
            top += 2
    return count


@njit(nogil=True, cache=True)
def _distance2(px, py, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Squared distance of a point from a segment."""
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    if length2 > 0:
        t = min(1.0, max(0.0, ((px - ax) * dx + (py - ay) * dy) / length2))
        ax, ay = ax + t * dx, ay + t * dy
    return (px - ax) ** 2 + (py - ay) ** 2


def simplified_geometries(
    outlines: Outlines, tolerance: float, scale: tuple[float, float], transform: Sequence[float] | None = None
) -> Array:
    """Simplified Polygons and MultiPolygons, all valid.

    Where the tolerance would make an object invalid (rings that touch or cross), a half, a quarter and an
    eighth of it are tried, then the object is left as it is. Objects are simplified one by one: a border
    that two of them share may come out differently in each.

    Parameters
    ----------
    outlines
        Objects.
    tolerance
        Largest distance of a dropped corner from the outline, in units of ``scale``.
    scale
        Width and height of a pixel, such as meters on the ground.
    transform
        See ``geometry.place_corners``.

    Returns
    -------
    (n,) object
    """
    whole = slice(0, len(outlines))
    geometry = _simplified(outlines, whole, tolerance, scale, transform)
    for k in np.flatnonzero(~shapely.is_valid(geometry)):
        one = slice(k, k + 1)
        for halving in range(1, _HALVINGS + 2):
            smaller = tolerance / 2**halving if halving <= _HALVINGS else 0.0
            geometry[one] = _simplified(outlines, one, smaller, scale, transform)
            if shapely.is_valid(geometry[k]):
                break
    return geometry


def _simplified(
    outlines: Outlines,
    objects: slice,
    tolerance: float,
    scale: tuple[float, float],
    transform: Sequence[float] | None,
) -> Array:
    """Geometries of some objects in a row, valid or not."""
    parts = outlines.object_offsets[objects.start : objects.stop + 1]
    rings = outlines.part_offsets[parts[0] : parts[-1] + 1]
    corners = outlines.ring_offsets[rings[0] : rings[-1] + 1]
    xy = outlines.xy[corners[0] : corners[-1]].astype(np.float64)
    keep = simplify_rings(xy * scale, corners - corners[0], tolerance)
    kept = np.concatenate([[0], np.cumsum(keep)])[corners - corners[0]]
    polygons = region_polygons(xy[keep], ragged_offsets(np.diff(kept)), rings - rings[0], transform)
    owner = np.repeat(np.arange(len(parts) - 1), np.diff(parts))
    return combine_parts(polygons, owner, len(parts) - 1)
