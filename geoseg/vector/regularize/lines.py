"""Arcs as sequences of straight lines: pieces are merged where they belong together, short ones dropped.

Pieces of several arcs may lie on one line: that is how a facade stays straight across many houses. All
lengths are in pixels.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np

from geoseg.compiled import kernel
from geoseg.vector.regularize.pieces import FREE

__all__ = ["find", "meet", "merge_pieces"]

#: Lines that meet at a flatter angle (its sine) have no corner.
_FLAT = 0.15
_NEVER = 1e18


@kernel
def find(parent, k):  # type: ignore[no-untyped-def]
    """Root of k."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@kernel
def meet(direction, sums, a, b, out):  # type: ignore[no-untyped-def]
    """Write the corner of two lines; False where they are nearly parallel."""
    ax, ay, bx, by = direction[a, 0], direction[a, 1], direction[b, 0], direction[b, 1]
    cross = ax * by - ay * bx
    if abs(cross) < _FLAT:
        return False
    # n . p = c with n = (-uy, ux)
    ca, cb = sums[a, 0] / sums[a, 1], sums[b, 0] / sums[b, 1]
    out[0] = (bx * ca - ax * cb) / cross
    out[1] = (by * ca - ay * cb) / cross
    return True


@kernel
def _parallel(kind, frame, a, b):  # type: ignore[no-untyped-def]
    return kind[a] == kind[b] and kind[a] != FREE and frame[a] == frame[b]


@kernel
def _cost(k, before, after, size, closed, arc, ends, kind, frame, direction, sums, parent, held, corner):  # type: ignore[no-untyped-def]
    """Length of a piece that may be dropped, in pixels."""
    a = arc[k]
    p, n = before[k], after[k]
    line = find(parent, k)
    if p < 0 and n < 0:
        return _NEVER
    if p < 0 or n < 0:
        if held[k] or kind[k] == FREE:
            return _NEVER
        end = 0 if p < 0 else 1
        if not meet(direction, sums, line, find(parent, n if p < 0 else p), corner):
            return _NEVER
        return np.hypot(corner[0] - ends[a, end, 0], corner[1] - ends[a, end, 1])
    if p in (n, k):
        return _NEVER
    one, other = find(parent, p), find(parent, n)
    if one == other or _parallel(kind, frame, p, n):
        if closed[a] and size[a] < 6:  # two go, and a ring keeps four
            return _NEVER
        return abs(sums[one, 0] / sums[one, 1] - sums[other, 0] / sums[other, 1])
    if closed[a] and size[a] < 5:
        return _NEVER
    if not meet(direction, sums, one, other, corner) or not meet(direction, sums, one, line, corner):
        return _NEVER
    x, y = corner[0], corner[1]
    if not meet(direction, sums, line, other, corner):
        return _NEVER
    return np.hypot(corner[0] - x, corner[1] - y)


@kernel
def _push(  # type: ignore[no-untyped-def]
    heap, least, k, before, after, size, closed, arc, ends, kind, frame, direction, sums, parent, held, corner
):
    if k < 0:
        return
    cost = _cost(
        k, before, after, size, closed, arc, ends, kind, frame, direction, sums, parent, held, corner
    )
    if cost < least[arc[k]]:
        heappush(heap, (cost, k, np.int64(-1)))


@kernel
def _step_between(k, other, at_start, kind, frame, sums, sign, parent):  # type: ignore[no-untyped-def]
    """How far apart two pieces are that go on through a junction; never, where they do not."""
    if not _parallel(kind, frame, k, other):
        return _NEVER
    leaves = sign[k] if at_start[0] else -sign[k]
    other_leaves = sign[other] if at_start[1] else -sign[other]
    if leaves == other_leaves:
        return _NEVER
    one, two = find(parent, k), find(parent, other)
    if one == two:
        return _NEVER
    return abs(sums[one, 0] / sums[one, 1] - sums[two, 0] / sums[two, 1])


@kernel
def merge_pieces(  # type: ignore[no-untyped-def]
    piece_offsets, kind, frame, direction, sums, sign, closed, ends, meeting_offsets, meeting, least, jog
):
    """Drop short pieces and make one line of those that go on in one another, the nearest first.

    Parameters
    ----------
    piece_offsets, kind, direction, sums, sign
        See ``pieces.cut_pieces``; ``sums`` is changed.
    frame : (m,) int64
        Pieces of one frame have one direction.
    closed : (a,) bool
        Arcs without a junction.
    ends : (a, 2, 2) float64
        Start and end of each arc.
    meeting_offsets : (j + 1,) int64
        Ends of arcs that meet at each junction.
    meeting : (e,) int64
        The ends, twice the arc plus 0 for its start and 1 for its end.
    least : (a,) float64
        Shorter pieces of each arc are dropped, pixels.
    jog
        Lines of two arcs that differ by less go on in one another, pixels.

    Returns
    -------
    after : (m,) int64
        The next piece of each; -1: none.
    first : (a,) int64
        First piece of each arc.
    final : (a,) int64
        Last piece of each arc.
    parent : (m,) int64
        Line of each piece, for :func:`find`.
    """
    arcs, pieces = piece_offsets.size - 1, kind.size
    before, after = np.arange(-1, pieces - 1), np.arange(1, pieces + 1)
    arc = np.empty(pieces, np.int64)
    first, final = np.empty(arcs, np.int64), np.empty(arcs, np.int64)
    size = np.diff(piece_offsets)
    for a in range(arcs):
        first[a], final[a] = piece_offsets[a], piece_offsets[a + 1] - 1
        arc[first[a] : final[a] + 1] = a
        before[first[a]] = final[a] if closed[a] else -1
        after[final[a]] = first[a] if closed[a] else -1
    junction = np.full(2 * arcs, -1, np.int64)
    network = np.arange(arcs)  # arcs that hang together, for find
    for j in range(meeting_offsets.size - 1):
        one = find(network, meeting[meeting_offsets[j]] >> 1)
        for e in range(meeting_offsets[j], meeting_offsets[j + 1]):
            junction[meeting[e]] = j
            network[find(network, meeting[e] >> 1)] = one
    parent = np.arange(pieces)
    alive = np.ones(pieces, np.bool_)
    held = np.zeros(pieces, np.bool_)  # goes on in another arc
    corner = np.empty(2)
    rest = (before, after, size, closed, arc, ends, kind, frame, direction, sums, parent, held, corner)
    # Until nothing changes: lines that were merged may leave pieces short that nobody looked at again. Not in
    # a closed arc, where every line is one piece and the neighbors of what changes are looked at at once.
    again = np.ones(arcs, np.bool_)
    for _ in range(20):
        heap: Any = [(_NEVER, np.int64(-1), np.int64(-1))]  # its end, which numba knows the type from
        for k in range(pieces):
            if alive[k] and again[find(network, arc[k])]:
                _push(heap, least, k, *rest)
        for j in range(meeting_offsets.size - 1):
            if again[find(network, meeting[meeting_offsets[j]] >> 1)]:
                _push_steps(
                    heap, jog, j, meeting_offsets, meeting, first, final, kind, frame, sums, sign, parent
                )
        again[:] = False
        while True:
            cost, k, other = heappop(heap)
            if k < 0:
                break
            if other >= 0:  # two ends of arcs
                one_arc, two_arc = k >> 1, other >> 1
                one = first[one_arc] if k & 1 == 0 else final[one_arc]
                two = first[two_arc] if other & 1 == 0 else final[two_arc]
                now = _step_between(one, two, (k & 1 == 0, other & 1 == 0), kind, frame, sums, sign, parent)
                if now > cost + 1e-9:
                    if now < jog:
                        heappush(heap, (now, k, other))
                    continue
                again[find(network, one_arc)] = True
                _unite(parent, sums, one, two)
                held[one] = held[two] = True
                for piece in (one, two):
                    _push(heap, least, before[piece], *rest)
                    _push(heap, least, after[piece], *rest)
                continue
            if not alive[k]:
                continue
            now = _cost(k, *rest)
            # Its neighbors have changed since: where it costs more now, others may come before it.
            if now > cost + 1e-9:
                if now < least[arc[k]]:
                    heappush(heap, (now, k, np.int64(-1)))
                continue
            a, p, n = arc[k], before[k], after[k]
            again[find(network, a)] = not closed[a]
            alive[k] = False
            size[a] -= 1
            if p < 0 or n < 0:  # an end of the arc
                left = n if p < 0 else p
                if p < 0:
                    first[a], before[n] = n, -1
                else:
                    final[a], after[p] = p, -1
                j = junction[2 * a + (0 if p < 0 else 1)]
                if j >= 0:
                    _push_steps(
                        heap, jog, j, meeting_offsets, meeting, first, final, kind, frame, sums, sign, parent
                    )
                _push(heap, least, left, *rest)
                _push(heap, least, after[left] if p < 0 else before[left], *rest)
                continue
            if find(parent, p) == find(parent, n) or _parallel(kind, frame, p, n):
                if first[a] in (k, n):
                    first[a] = after[n]
                if final[a] in (k, n):
                    final[a] = p
                if find(parent, p) != find(parent, n):
                    _unite(parent, sums, p, n)
                alive[n] = False
                size[a] -= 1
                after[p] = after[n]
                if after[n] >= 0:
                    before[after[n]] = p
                held[p] |= held[n]
            else:
                if first[a] == k:
                    first[a] = n
                if final[a] == k:
                    final[a] = p
                after[p], before[n] = n, p
                _push(heap, least, n, *rest)
                _push(heap, least, after[n], *rest)
            _push(heap, least, p, *rest)
            _push(heap, least, before[p], *rest)
            _push(heap, least, after[p], *rest)
        if not again.any():
            break
    return after, first, final, parent


@kernel
def _push_steps(heap, jog, j, meeting_offsets, meeting, first, final, kind, frame, sums, sign, parent):  # type: ignore[no-untyped-def]
    for e in range(meeting_offsets[j], meeting_offsets[j + 1]):
        for f in range(e + 1, meeting_offsets[j + 1]):
            one, two = meeting[e], meeting[f]
            k = first[one >> 1] if one & 1 == 0 else final[one >> 1]
            other = first[two >> 1] if two & 1 == 0 else final[two >> 1]
            step = _step_between(k, other, (one & 1 == 0, two & 1 == 0), kind, frame, sums, sign, parent)
            if step < jog:
                heappush(heap, (step, one, two))


@kernel
def _unite(parent, sums, k, other):  # type: ignore[no-untyped-def]
    one, two = find(parent, k), find(parent, other)
    root, child = min(one, two), max(one, two)
    parent[child] = root
    # Sums of offsets and weights: the line of both is their weighted mean, and keeps the area beside it.
    sums[root, 0] += sums[child, 0]
    sums[root, 1] += sums[child, 1]
