"""The pieces of arcs: stretches that run along their house, across it, or freely.

Each lies on a line whose offset keeps the area on either side of the traced arc. All lengths are in pixels.
"""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel

__all__ = ["ACROSS", "ALONG", "FREE", "cut_pieces"]

#: Edges that turn further from both axes (the tangent) are free where they are long enough.
_FREE_TURN = np.tan(np.deg2rad(25.0))
#: Free edges that follow one another and differ less are one.
_SAME_FREE = np.deg2rad(20.0)
ALONG, ACROSS, FREE = 0, 1, 2


@kernel
def cut_pieces(xy, offsets, closed, keep, angle, free_length):  # type: ignore[no-untyped-def]
    """The pieces of all arcs.

    Parameters
    ----------
    xy : (p, 2) float64
        Traced corners.
    offsets : (a + 1,) int64
        Corners of each arc.
    closed : (a,) bool
        Arcs without a junction.
    keep : (p,) bool
        Corners that Douglas-Peucker keeps.
    angle : (a,) float64
        Direction of the house that each arc belongs to, radians.
    free_length : (a,) float64
        Edges that are neither along nor across stay as they are from this length on, pixels.

    Returns
    -------
    piece_offsets : (a + 1,) int64
        Pieces of each arc.
    kind : (m,) int8
        0 along, 1 across, 2 free.
    direction : (m, 2) float64
        Unit vector along the line.
    sums : (m, 2) float64
        Weighted offset of the line and its weight. The offset keeps the area on either side of it.
    sign : (m,) float64
        1 where the arc goes along the direction, else -1.
    moments : (m, 2) float64
        Of pieces that are not free: sum of u * u and of u * v over their length, with u along the line and v
        across it, from their middle.
    """
    arcs = offsets.size - 1
    total = keep.sum()
    piece_offsets = np.zeros(arcs + 1, np.int64)
    kind = np.empty(total, np.int8)
    direction = np.empty((total, 2))
    sums = np.empty((total, 2))
    sign = np.empty(total)
    moments = np.zeros((total, 2))
    longest = 0
    for a in range(arcs):
        longest = max(longest, offsets[a + 1] - offsets[a])
    begin = np.empty(longest + 1, np.int64)
    kinds = np.empty(longest + 1, np.int8)
    m = 0
    for a in range(arcs):
        first, last = offsets[a], offsets[a + 1] - 1
        count = 0
        for k in range(first, last + 1):
            if keep[k]:
                begin[count] = k
                count += 1
        count -= 1  # edges
        ux, uy = np.cos(angle[a]), np.sin(angle[a])
        count = _kinds_of_edges(xy, begin, kinds, count, ux, uy, free_length[a])
        # A closed arc starts where the kind changes, so that no piece is cut in two
        start = 0
        if closed[a]:
            while start < count and kinds[start] == kinds[start - 1 if start else count - 1]:
                start += 1
            start = 0 if start == count else start
        done = 0
        while done < count:
            e = (start + done) % count
            until = done + 1
            while until < count and kinds[e] != FREE and kinds[(start + until) % count] == kinds[e]:
                until += 1
            i, j = begin[e], begin[(start + until) % count]
            if j == first and (start + until) % count == 0 and (not closed[a] or start == 0):
                j = last
            kind[m] = kinds[e]
            if kinds[e] == ALONG:
                direction[m, 0], direction[m, 1] = ux, uy
            elif kinds[e] == ACROSS:
                direction[m, 0], direction[m, 1] = -uy, ux
            else:
                dx, dy = xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]
                length = np.sqrt(dx * dx + dy * dy)
                direction[m, 0], direction[m, 1] = dx / length, dy / length
            sign[m] = _sum_up(xy, i, j, first, last, direction[m, 0], direction[m, 1], sums[m], moments[m])
            if kinds[e] == FREE:
                moments[m] = 0
            m += 1
            done = until
        piece_offsets[a + 1] = m
    return (
        piece_offsets,
        kind[:m].copy(),
        direction[:m].copy(),
        sums[:m].copy(),
        sign[:m].copy(),
        moments[:m].copy(),
    )


@kernel
def _kinds_of_edges(xy, begin, kinds, count, ux, uy, free_length):  # type: ignore[no-untyped-def]
    """Kind of each edge between kept corners; free ones that go on in one direction become one."""
    merged = 0
    free = 0.0  # direction of the first of them
    for e in range(count):
        i, j = begin[e], begin[e + 1]
        along = ux * (xy[j, 0] - xy[i, 0]) + uy * (xy[j, 1] - xy[i, 1])
        across = ux * (xy[j, 1] - xy[i, 1]) - uy * (xy[j, 0] - xy[i, 0])
        if min(abs(along), abs(across)) > _FREE_TURN * max(abs(along), abs(across)):
            turn = np.arctan2(across, along)
            gap = abs((turn - free + np.pi) % (2 * np.pi) - np.pi)
            if merged and kinds[merged - 1] == FREE and gap < _SAME_FREE:
                continue
            kinds[merged], free = FREE, turn
        else:
            kinds[merged] = ALONG if abs(along) >= abs(across) else ACROSS
        begin[merged] = i
        merged += 1
    begin[merged] = begin[count]
    for e in range(merged):
        if kinds[e] == FREE:
            i, j = begin[e], begin[e + 1]
            dx, dy = xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]
            if dx * dx + dy * dy < free_length * free_length:
                along, across = ux * dx + uy * dy, ux * dy - uy * dx
                kinds[e] = ALONG if abs(along) >= abs(across) else ACROSS
    return merged


@kernel
def _sum_up(xy, i, j, first, last, ux, uy, sums, moments):  # type: ignore[no-untyped-def]
    """Sums of the chain from corner i to j, round the ring if j < i; returns 1 if it goes along (ux, uy)."""
    area = run = length = moment = 0.0
    weight = su = sv = suu = suv = 0.0
    x, y = xy[i, 0], xy[i, 1]
    k = i
    while k != j:
        if k == last:  # the same corner as the first
            k = first
            if k == j:
                break
        along = ux * (xy[k + 1, 0] - xy[k, 0]) + uy * (xy[k + 1, 1] - xy[k, 1])
        here = ux * xy[k, 1] - uy * xy[k, 0]
        after = ux * xy[k + 1, 1] - uy * xy[k + 1, 0]
        step = abs(along) + abs(after - here)
        area += 0.5 * (here + after) * along
        moment += 0.5 * (here + after) * step
        u = ux * (0.5 * (xy[k, 0] + xy[k + 1, 0]) - x) + uy * (0.5 * (xy[k, 1] + xy[k + 1, 1]) - y)
        v = 0.5 * (here + after) - (ux * y - uy * x)
        w = abs(along)
        weight += w
        su += w * u
        sv += w * v
        suu += w * (u * u + along * along / 12)
        suv += w * (u * v + along * (after - here) / 12)
        run += along
        length += step
        k += 1
    if weight > 0:
        moments[0], moments[1] = suu - su * su / weight, suv - su * sv / weight
    if abs(run) > 0.25 * length:
        sums[0], sums[1] = area, run
        if run < 0:
            sums[0], sums[1] = -area, -run
    else:  # it goes to and fro: the mean of its places
        sums[0], sums[1] = 0.25 * moment, 0.25 * length
    return 1.0 if run >= 0 else -1.0
