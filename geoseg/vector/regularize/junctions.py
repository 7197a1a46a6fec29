"""Where arcs meet: the corner that all of them reach, and what is mended where two edges leave it as one."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.vector.regularize.lines import find, meet

__all__ = ["place_junctions", "share_edges"]

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
#: Directions that differ by less are one, radians; lengths in shares, and steps along a line in pixels.
_SAME = 1e-6


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
def share_edges(xy, offsets, meeting_offsets, meeting):  # type: ignore[no-untyped-def]
    """Mend junctions that two edges leave on top of each other.

    Where three arcs meet, the junction goes to the end of the shorter edge, and the third arc reaches it
    along the longer one: else an object would have a spike without area there, or two would touch along a
    stretch that neither knows as a wall. Where more meet, the longer edge gets the corner of the shorter one.

    Parameters
    ----------
    xy : (p, 2) float64
        Corners of arcs.
    offsets : (a + 1,) int64
        Corners of each arc.
    meeting_offsets, meeting
        See ``lines.merge_pieces``.

    Returns
    -------
    xy : (q, 2) float64
    offsets : (a + 1,) int64
    """
    arcs = offsets.size - 1
    # For each end of an arc: whether its corner goes, and the numbers of the corners that come, in the order
    # from the junction on. Those of an end without its own corner come in its place.
    room = 0
    for j in range(meeting_offsets.size - 1):
        count = meeting_offsets[j + 1] - meeting_offsets[j]
        room += count * count
    added = np.empty(room, np.int64)
    begin, number = np.zeros(2 * arcs, np.int64), np.zeros(2 * arcs, np.int64)
    gone, before = np.zeros(2 * arcs, np.bool_), np.zeros(2 * arcs, np.bool_)
    p = 0
    for j in range(meeting_offsets.size - 1):
        first, last = meeting_offsets[j], meeting_offsets[j + 1]
        short, long, third = -1, -1, -1
        if last - first == 3:
            for e in range(first, last):
                for f in range(first, last):
                    if e != f and _on_top(xy, offsets, meeting[f], meeting[e]):
                        short, long = meeting[e], meeting[f]
                        third = meeting[3 * first + 3 - e - f]  # the one that is neither
            if short >= 0 and (
                _on_top(xy, offsets, long, third)
                or _on_top(xy, offsets, third, short)
                or _changed(offsets, number, gone, short, 4)
                or _changed(offsets, number, gone, long, 3)
                or _changed(offsets, number, gone, third, 3)
                or offsets[(short >> 1) + 1] - offsets[short >> 1] < 3
                or short >> 1 == long >> 1
            ):
                short = -1
        if short >= 0:
            _, corner = _first_edge(offsets, short)
            gone[short] = gone[long] = before[third] = True
            for end in (long, third):
                begin[end], number[end], added[p] = p, 1, corner
                p += 1
            continue
        for e in range(first, last):
            end = meeting[e]
            begin[end] = p
            if _changed(offsets, number, gone, end, 3):
                continue
            here, _ = _first_edge(offsets, end)
            for f in range(first, last):
                if f == e or not _on_top(xy, offsets, end, meeting[f]):
                    continue
                _, corner = _first_edge(offsets, meeting[f])
                at = p
                while at > begin[end] and _nearer(xy, here, corner, added[at - 1]):
                    added[at] = added[at - 1]
                    at -= 1
                added[at] = corner
                p += 1
            number[end] = p - begin[end]
    if p == 0:
        return xy, offsets
    out, new = np.empty((xy.shape[0] + p, 2)), np.empty(arcs + 1, np.int64)
    q = 0
    for a in range(arcs):
        new[a] = q
        start, end = 2 * a, 2 * a + 1
        if before[start]:
            out[q] = xy[added[begin[start]]]
            q += 1
        for k in range(offsets[a], offsets[a + 1]):
            if k == offsets[a + 1] - 1 and not before[end]:
                for n in range(number[end] - 1, -1, -1):
                    out[q] = xy[added[begin[end] + n]]
                    q += 1
            if not (k == offsets[a] and gone[start]) and not (k == offsets[a + 1] - 1 and gone[end]):
                out[q] = xy[k]
                q += 1
            if k == offsets[a] and not before[start]:
                for n in range(number[start]):
                    out[q] = xy[added[begin[start] + n]]
                    q += 1
        if before[end]:
            out[q] = xy[added[begin[end]]]
            q += 1
    new[arcs] = q
    return out[:q].copy(), new


@kernel
def _on_top(xy, offsets, long, short):  # type: ignore[no-untyped-def]
    """Whether the first edge of one end lies on that of another and is shorter."""
    here, there = _first_edge(offsets, long)
    _, corner = _first_edge(offsets, short)
    dx, dy = xy[there, 0] - xy[here, 0], xy[there, 1] - xy[here, 1]
    x, y = xy[corner, 0] - xy[here, 0], xy[corner, 1] - xy[here, 1]
    along = x * dx + y * dy
    # The second is an angle in radians.
    return 0 < along < (dx * dx + dy * dy) * (1 - _SAME) and abs(x * dy - y * dx) <= _SAME * along


@kernel
def _changed(offsets, number, gone, end, least):  # type: ignore[no-untyped-def]
    """Whether an arc of fewer corners than ``least`` is changed at its other end: both at once may cross."""
    other = end ^ 1
    return offsets[(end >> 1) + 1] - offsets[end >> 1] < least and (number[other] > 0 or gone[other])


@kernel
def _first_edge(offsets, end):  # type: ignore[no-untyped-def]
    """Numbers of the corner at which an arc ends and of the next one."""
    if end & 1:
        return offsets[(end >> 1) + 1] - 1, offsets[(end >> 1) + 1] - 2
    return offsets[end >> 1], offsets[end >> 1] + 1


@kernel
def _nearer(xy, here, one, other):  # type: ignore[no-untyped-def]
    return np.hypot(xy[one, 0] - xy[here, 0], xy[one, 1] - xy[here, 1]) < np.hypot(
        xy[other, 0] - xy[here, 0], xy[other, 1] - xy[here, 1]
    )
