"""Douglas-Peucker simplification of outlines that keeps them valid and keeps shared walls shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.coverage import find_arcs, objects_of_pieces, overlapping
from geoseg.vector.geometry import object_geometries
from geoseg.vector.rings import Outlines, ragged_offsets, take_objects

__all__ = ["simplify_arcs", "simplify_outlines"]

#: Times the tolerance is halved for the arcs of an object that would become invalid; then they stay traced.
_HALVINGS = 3


def simplify_arcs(xy: Array, offsets: IntArray, tolerance: Array, arcs: IntArray | None = None) -> BoolArray:
    """Which corners of arcs Douglas-Peucker keeps.

    Ends are kept. A closed arc is cut at its first corner and at the one farthest from it; if it would keep
    less than three corners it keeps all of them.

    Parameters
    ----------
    xy : (p, 2) float64
        Corners; the last one of a closed arc repeats the first.
    offsets : (a + 1,) int64
        Corners of each arc.
    tolerance : (a,) float64
        Largest distance of a dropped corner from the line that replaces it, in units of ``xy``.
    arcs : (k,) int64, optional
        Which ones; of the others nothing is kept.

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
    >>> simplify_arcs(ring, np.array([0, 6]), np.array([0.5])).tolist()
    [True, False, True, True, True, True]
    """
    keep = np.zeros(len(xy), np.bool_)
    some = np.arange(tolerance.size) if arcs is None else arcs
    _simplify(np.ascontiguousarray(xy, np.float64), offsets, tolerance * tolerance, some, keep)
    return keep


@kernel
def _simplify(xy, offsets, limit2, arcs, keep):  # type: ignore[no-untyped-def]
    longest = np.diff(offsets).max() if offsets.size > 1 else 0
    # A stack in place of recursion, which could go as deep as an outline has corners.
    stack = np.empty((longest + 1, 2), np.int64)
    for a in arcs:
        first, last = offsets[a], offsets[a + 1] - 1
        keep[first : last + 1] = False
        keep[first] = keep[last] = True
        if xy[first, 0] != xy[last, 0] or xy[first, 1] != xy[last, 1]:
            _keep_between(xy, first, last, limit2[a], keep, stack)
            continue
        # The ends of a closed arc are one corner, and give no line to measure from.
        far, farthest2 = first, -1.0
        for k in range(first, last):
            d2 = (xy[k, 0] - xy[first, 0]) ** 2 + (xy[k, 1] - xy[first, 1]) ** 2
            if d2 > farthest2:
                far, farthest2 = k, d2
        keep[far] = True
        kept = 3 + _keep_between(xy, first, far, limit2[a], keep, stack)
        kept += _keep_between(xy, far, last, limit2[a], keep, stack)
        if kept < 4:  # with the corner that closes it: a ring needs three, or it has no area
            keep[first : last + 1] = True


@kernel
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
            if d2 > worst2:  # of corners equally far the first, whatever chunks they came from
                worst, worst2 = k, d2
        if worst != a:
            keep[worst] = True
            count += 1
            stack[top, 0], stack[top, 1] = a, worst
            stack[top + 1, 0], stack[top + 1, 1] = worst, b
            top += 2
    return count


@kernel
def _distance2(px, py, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Squared distance of a point from a segment."""
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    if length2 > 0:
        t = min(1.0, max(0.0, ((px - ax) * dx + (py - ay) * dy) / length2))
        ax, ay = ax + t * dx, ay + t * dy
    return (px - ax) ** 2 + (py - ay) ** 2


def simplify_outlines(
    outlines: Outlines, tolerance: float, scale: tuple[float, float], transform: Sequence[float] | None = None
) -> tuple[Outlines, Array]:
    """Simplified outlines, all valid, in which objects that touch still share their walls.

    Where the tolerance would make an object invalid, or let it overlap one that it touched, a half, a quarter
    and an eighth of it are tried along its outline, then that is left as it is. Objects of different groups
    are simplified apart: they may come to overlap where the gap between them is narrower than twice the
    tolerance. Made one group (see ``clashes``) they are kept apart.

    Parameters
    ----------
    outlines
        Whole groups of objects (see ``Outlines.group``).
    tolerance
        Largest distance of a dropped corner from the outline, in units of ``scale``.
    scale
        Width and height of a pixel, such as meters on the ground.
    transform
        See ``geometry.place_corners``.

    Returns
    -------
    outlines
        The same objects with fewer corners.
    geometry : (n,) object
        Polygon or MultiPolygon of each.
    """
    arcs = find_arcs(outlines)
    # Pixels need not be square on the ground, and the tolerance is a length there.
    scaled = np.ascontiguousarray(arcs.xy * np.asarray(scale, np.float64))
    object_of_piece = objects_of_pieces(outlines, arcs)

    halved = np.zeros(len(arcs), np.int64)
    keep = np.zeros(len(arcs.xy), np.bool_)
    geometry = np.empty(len(outlines), object)
    redo, changed = np.arange(len(arcs)), np.arange(len(outlines))
    unchecked = changed  # whether they overlap others
    while True:
        limit = np.where(halved <= _HALVINGS, tolerance / 2.0**halved, 0.0)
        _simplify(scaled, arcs.offsets, limit * limit, redo, keep)
        kept = np.append(0, np.cumsum(keep))[arcs.offsets]
        xy, ring_offsets = arcs.rings(arcs.xy[keep], ragged_offsets(np.diff(kept)))
        simple = replace(outlines, xy=xy, ring_offsets=ring_offsets)
        # Two arcs between the same junctions may fall together: such a ring has no area.
        flat = np.diff(ring_offsets) < 4
        if flat.any():
            bad = np.repeat(flat, np.diff(arcs.ring_offsets))
        else:
            # Only what moved in the last round is drawn and checked again.
            some = take_objects(simple, changed)
            geometry[changed] = object_geometries(some, transform)
            sound = shapely.is_valid(geometry[changed])
            # In pixels too: corners of one line lie beside it by the last bits once they are placed, and a
            # ring of them passes for valid.
            if transform is not None:
                sound &= shapely.is_valid(object_geometries(some))
            broken = changed[~sound]
            # Overlaps are searched for when all are valid: an invalid one is redone anyway.
            if not broken.size:
                broken = overlapping(geometry, outlines.group, unchecked)
                unchecked = changed[:0]
            if not broken.size:
                return simple, geometry
            bad = np.isin(object_of_piece, broken)
        redo = np.unique(arcs.arc[bad & (halved[arcs.arc] <= _HALVINGS)])
        if not redo.size:  # it is as traced, so what it meets is not
            near = np.isin(outlines.group[object_of_piece], outlines.group[object_of_piece[bad]])
            redo = np.unique(arcs.arc[near & (halved[arcs.arc] <= _HALVINGS)])
        if not redo.size:
            return simple, geometry
        halved[redo] += 1
        moved = np.unique(object_of_piece[np.isin(arcs.arc, redo)])
        changed = np.union1d(changed, moved) if flat.any() else moved  # those of before are not drawn yet
        unchecked = np.union1d(unchecked, changed)
