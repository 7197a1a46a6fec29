"""From lines back to corners: where arcs meet, and the corners of each arc."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.vector.regularize.lines import find, meet

__all__ = ["changed_arcs", "draw_arcs", "place_junctions"]

#: Farthest that a junction moves from where it was traced, pixels.
_REACH = 8.0
#: An edge that is slanted by some distance is worse than one along a line by this factor.
_SLANTED = 3.0
#: And so many pixels worse is one along which two arcs run on top of each other, until that is mended.
_OVER = 4.0
#: Least sine of the angle between two lines of which one leads to the other.
_CROSSES = 0.5
#: Greatest sine of the angle between lines that run alike.
_ALIKE = 0.15
#: Corners closer than this are one, pixels: two computations of one corner differ by less.
_SAME = 1e-6
#: Farthest that a circle's edges lie inside of it, pixels.
_SAGITTA = 0.2


@kernel
def place_junctions(meeting_offsets, meeting, traced, pinned, first, final, parent, direction, sums, sign):  # type: ignore[no-untyped-def]
    """Where arcs meet: the corner of two of their lines, which every arc reaches.

    A third line that does not go through that corner is reached along one of the two, as the exposed part of
    a wall between two houses of which one stands back.

    Parameters
    ----------
    meeting_offsets, meeting
        See ``lines.merge_pieces``.
    traced : (j, 2) float64
        Where the junctions were traced.
    pinned : (j,) bool
        Junctions that stay there.
    first, final, parent, direction, sums, sign
        See ``lines.merge_pieces``. Behind the lines of all pieces, ``direction`` and ``sums`` have room for
        one line a junction, which is written where arcs step across there.

    Returns
    -------
    place : (j, 2) float64
        Where they are now.
    link : (2 * arcs,) int64
        The line along which an end of an arc gets from the junction to its own line; -1: it needs none.
    """
    count = meeting_offsets.size - 1
    place = traced.copy()
    link = np.full(2 * first.size, -1, np.int64)
    most = 0
    for j in range(count):
        most = max(most, meeting_offsets[j + 1] - meeting_offsets[j])
    line, leaves = np.empty(most, np.int64), np.empty((most, 2))
    trial, best_trial = np.empty(most, np.int64), np.empty(most, np.int64)
    corner = np.empty(2)
    for j in range(count):
        if pinned[j]:
            continue
        start, ends = meeting_offsets[j], meeting_offsets[j + 1] - meeting_offsets[j]
        x, y = traced[j, 0], traced[j, 1]
        alike = True
        for e in range(ends):
            end = meeting[start + e]
            piece = first[end >> 1] if end & 1 == 0 else final[end >> 1]
            line[e] = find(parent, piece)
            away = sign[piece] if end & 1 == 0 else -sign[piece]
            leaves[e, 0], leaves[e, 1] = away * direction[line[e], 0], away * direction[line[e], 1]
            alike = alike and line[e] == line[0]
        # One line goes on through the junction: it slides onto the line, and stays where it was along it.
        if alike:
            ux, uy = direction[line[0], 0], direction[line[0], 1]
            off = sums[line[0], 0] / sums[line[0], 1] - (ux * y - uy * x)
            if abs(off) <= _REACH:
                place[j, 0], place[j, 1] = x - uy * off, y + ux * off
            continue
        best = np.inf
        for e in range(ends):
            for f in range(e + 1, ends):
                if line[e] == line[f] or not meet(direction, sums, line[e], line[f], corner):
                    continue
                px, py = corner[0], corner[1]
                away = np.hypot(px - x, py - y)
                if away > _REACH:
                    continue
                score = away + _reach_all(
                    px, py, line[e], line[f], ends, line, leaves, direction, sums, trial, corner
                )
                if score < best:
                    best = score
                    place[j, 0], place[j, 1] = px, py
                    best_trial[:ends] = trial[:ends]
        if best < np.inf:
            for e in range(ends):
                link[meeting[start + e]] = best_trial[e]
        else:
            _step_across(
                j, x, y, ends, line, direction, sums, parent.size, place, link, meeting[start : start + ends]
            )
    return place, link


@kernel
def _step_across(j, x, y, ends, line, direction, sums, pieces, place, link, leaving):  # type: ignore[no-untyped-def]
    """Where all lines run alike: onto the middle one, and to the others straight across."""
    off, ux, uy = np.empty(ends), direction[line[0], 0], direction[line[0], 1]
    for e in range(ends):
        vx, vy = direction[line[e], 0], direction[line[e], 1]
        off[e] = sums[line[e], 0] / sums[line[e], 1] - (vx * y - vy * x)
        if ux * vx + uy * vy < 0:
            off[e] = -off[e]
        if abs(ux * vy - uy * vx) > _ALIKE or abs(off[e]) > _REACH:
            return
    middle = line[np.argsort(off, kind="mergesort")[ends // 2]]
    across, corner = pieces + j, np.empty(2)
    ux, uy = direction[middle, 0], direction[middle, 1]
    direction[across, 0], direction[across, 1] = -uy, ux
    sums[across, 0], sums[across, 1] = -uy * y - ux * x, 1.0
    if not meet(direction, sums, across, middle, corner):
        return
    place[j, 0], place[j, 1] = corner[0], corner[1]
    for e in range(ends):
        if line[e] != middle:
            link[leaving[e]] = across


@kernel
def _reach_all(px, py, one, two, ends, line, leaves, direction, sums, link, corner):  # type: ignore[no-untyped-def]
    """Cost of reaching all lines from the corner of two of them; more where arcs would overlap."""
    total = 0.0
    for e in range(ends):
        link[e] = -1
        if line[e] == one or line[e] == two:
            continue
        reached = False
        for along in (one, two):
            cross = direction[line[e], 0] * direction[along, 1] - direction[line[e], 1] * direction[along, 0]
            # Only where it crosses the line does a step along it lead there; else the last edge is slanted.
            if abs(cross) < _CROSSES or not meet(direction, sums, along, line[e], corner):
                continue
            dx, dy = corner[0] - px, corner[1] - py
            for f in range(ends):
                if line[f] == along and dx * leaves[f, 0] + dy * leaves[f, 1] > _SAME:
                    total += _OVER
            link[e] = along
            total += np.hypot(dx, dy)
            reached = True
            break
        if not reached:
            ux, uy = direction[line[e], 0], direction[line[e], 1]
            total += _SLANTED * abs(sums[line[e], 0] / sums[line[e], 1] - (ux * py - uy * px))
    return total


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
        See :func:`place_junctions`.
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
