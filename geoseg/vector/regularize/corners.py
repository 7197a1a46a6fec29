"""From lines back to the corners of each arc."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.vector.regularize.lines import find, meet

__all__ = ["changed_arcs", "draw_arcs"]

#: Corners closer than this are one, pixels: two computations of one corner differ by less.
_SAME = 1e-6
#: Farthest that a circle's edges lie inside of it, pixels.
_SAGITTA = 0.2


@kernel
def draw_arcs(  # type: ignore[no-untyped-def]
    xy,
    offsets,
    simplified,
    level,
    closed,
    junction,
    place,
    link,
    after,
    first,
    final,
    parent,
    direction,
    sums,
    circle,
):
    """Corners of all arcs.

    Parameters
    ----------
    xy : (p, 2) float64
        Traced corners.
    offsets : (a + 1,) int64
        Corners of each arc.
    simplified : (p,) bool
        Corners that stay of the arcs at levels 2 and 3.
    level : (a,) int8
        0 and 1: along its lines, 2 and 3: simplified, 4: as traced.
    closed : (a,) bool
        Arcs without a junction.
    junction : (2 * a,) int64
        Junction of each start and end.
    place, link
        See ``junctions.place_junctions``.
    after, first, final, parent, direction, sums
        See ``lines.merge_pieces``.
    circle : (a, 3) float64
        Center and signed radius of arcs that are circles; 0: it is none.

    Returns
    -------
    xy : (q, 2) float64
    offsets : (a + 1,) int64
    """
    arcs = offsets.size - 1
    new = np.zeros(arcs + 1, np.int64)
    for a in range(arcs):
        # Room for a corner a line, both junctions and the lines that link them; arcs as traced have what they
        # had.
        if level[a] == 0 and circle[a, 2] != 0:
            bound = _circle_corners(circle[a, 2]) + 1
        else:
            bound = 6
            k = first[a]
            while True:
                bound += 1
                if k == final[a]:
                    break
                k = after[k]
        new[a + 1] = new[a] + max(bound, offsets[a + 1] - offsets[a] if level[a] > 1 else 0)
    out = np.empty((new[-1], 2))
    line = np.empty(np.diff(new).max() if arcs else 0, np.int64)
    corner = np.empty(2)
    p = 0
    for a in range(arcs):
        new[a] = p
        if level[a] > 1:
            for k in range(offsets[a], offsets[a + 1]):
                if level[a] == 4 or simplified[k]:
                    out[p] = xy[k]
                    p += 1
            if not closed[a]:
                out[new[a]] = place[junction[2 * a]]
                out[p - 1] = place[junction[2 * a + 1]]
            continue
        if level[a] == 0 and circle[a, 2] != 0:
            count = _circle_corners(circle[a, 2])
            # A polygon of the circle's area: one inside it would make every round house too small.
            radius = abs(circle[a, 2]) * np.sqrt(2 * np.pi / (count * np.sin(2 * np.pi / count)))
            for k in range(count):
                turn = 2 * np.pi * k / count
                out[p + k, 0] = circle[a, 0] + radius * np.cos(turn)
                out[p + k, 1] = circle[a, 1] + np.copysign(radius, circle[a, 2]) * np.sin(turn)
            out[p + count] = out[p]
            p += count + 1
            continue
        lines = 0
        if not closed[a]:
            out[p] = place[junction[2 * a]]
            p += 1
            if link[2 * a] >= 0:
                line[lines] = link[2 * a]
                lines += 1
        k = first[a]
        while True:
            line[lines] = find(parent, k)
            lines += 1
            if k == final[a]:
                break
            k = after[k]
        if not closed[a] and link[2 * a + 1] >= 0:
            line[lines] = link[2 * a + 1]
            lines += 1
        for q in range(lines if closed[a] else lines - 1):
            if not meet(direction, sums, line[q], line[(q + 1) % lines], corner):
                continue
            if p > new[a] and abs(out[p - 1, 0] - corner[0]) + abs(out[p - 1, 1] - corner[1]) < _SAME:
                continue
            out[p, 0], out[p, 1] = corner[0], corner[1]
            p += 1
        if p == new[a]:  # all of its lines are parallel, and no ring
            out[p] = xy[offsets[a]]
            p += 1
        x, y = out[new[a], 0], out[new[a], 1]
        if not closed[a]:
            x, y = place[junction[2 * a + 1], 0], place[junction[2 * a + 1], 1]
        while p > new[a] + 1 and abs(out[p - 1, 0] - x) + abs(out[p - 1, 1] - y) < _SAME:
            p -= 1
        out[p, 0], out[p, 1] = x, y
        p += 1
    new[arcs] = p
    return out[:p].copy(), new


@kernel
def _circle_corners(radius):  # type: ignore[no-untyped-def]
    return max(12, int(np.ceil(np.pi / np.arccos(1 - min(1.0, _SAGITTA / abs(radius))))))


@kernel
def changed_arcs(xy, offsets, new_xy, new_offsets):  # type: ignore[no-untyped-def]
    """Arcs that have other corners than before, (a,) bool."""
    changed = np.zeros(offsets.size - 1, np.bool_)
    for a in range(changed.size):
        count = offsets[a + 1] - offsets[a]
        changed[a] = new_offsets[a + 1] - new_offsets[a] != count
        for k in range(0 if changed[a] else count):
            one, other = offsets[a] + k, new_offsets[a] + k
            if xy[one, 0] != new_xy[other, 0] or xy[one, 1] != new_xy[other, 1]:
                changed[a] = True
                break
    return changed
