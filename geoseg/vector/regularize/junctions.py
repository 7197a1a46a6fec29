"""Junctions that edges leave on top of each other."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel

__all__ = ["share_edges"]

#: Directions that differ by less are one, radians; lengths in shares.
_SAME = 1e-6


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
