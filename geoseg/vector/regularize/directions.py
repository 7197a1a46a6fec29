"""The direction of each house, shared by neighbors that stand alike; and which outlines are circles."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.regularize.lines import find
from geoseg.vector.regularize.pieces import cut_pieces

__all__ = [
    "angle_between",
    "box_directions",
    "circles",
    "house_directions",
    "refine_directions",
    "share_directions",
]

#: Spread of the directions of edges that count as the house's own, radians.
_SPREAD = 0.12
#: Touching houses whose directions differ less share one, radians.
_ALIKE = np.deg2rad(10.0)
#: Share of its smallest box that an object fills for the box to tell its direction, and directions that are
#: tried in a quarter turn.
_FILLED, _STEPS = 0.75, 60
#: Least radius of a circle in pixels, and the mean distance of its outline from it in shares of that. That of
#: a square is 0.08, that of a regular hexagon 0.04.
_LEAST_RADIUS, _ROUND = 6.0, 0.05


@kernel
def house_directions(xy, offsets, keep, arc, piece_object, objects):  # type: ignore[no-untyped-def]
    """Direction of the right angles of each object.

    The mean of its edges' directions in quarter turns, weighted by their squared lengths; edges off that mean
    count less the next time.

    Parameters
    ----------
    xy : (p, 2) float64
        Traced corners of arcs.
    offsets : (a + 1,) int64
        Corners of each arc.
    keep : (p,) bool
        Corners that Douglas-Peucker keeps.
    arc : (m,) int64
        Arcs of all rings.
    piece_object : (m,) int64
        Object that each of them belongs to, ascending.
    objects
        Number of objects.

    Returns
    -------
    (n,) float64
        Radians, within an eighth turn of 0.
    """
    angle = np.zeros(objects)
    # Of the edges of one object: direction, cosine and sine of four times that, squared length. An arc has
    # two sides.
    edges = np.empty((4, 2 * keep.sum()))
    begin = 0
    while begin < arc.size:
        o = piece_object[begin]
        stop = begin
        while stop < arc.size and piece_object[stop] == o:
            stop += 1
        count = 0
        for m in range(begin, stop):
            i = offsets[arc[m]]
            for j in range(i + 1, offsets[arc[m] + 1]):
                if keep[j]:
                    dx, dy = xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]
                    theta = np.arctan2(dy, dx)
                    # Four times the angle: all four directions of a right angle are then one.
                    edges[:, count] = theta, np.cos(4 * theta), np.sin(4 * theta), dx * dx + dy * dy
                    count += 1
                    i = j
        # First all edges by their length alone; then three times those near the mean found so far.
        for turn in range(4):
            c = s = 0.0
            for e in range(count):
                theta, cosine, sine, w = edges[:, e]
                if turn:
                    off = (theta - angle[o] + np.pi / 4) % (np.pi / 2) - np.pi / 4
                    w *= np.exp(-((off / _SPREAD) ** 2))
                c += w * cosine
                s += w * sine
            angle[o] = np.arctan2(s, c) / 4
        begin = stop
    return angle


def refine_directions(
    xy: Array,
    offsets: IntArray,
    closed: BoolArray,
    keep: BoolArray,
    free_length: Array,
    angle: Array,
    frame: IntArray,
    house: IntArray,
) -> tuple[Array, Array]:
    """Directions that fit all traced corners, by least squares.

    A chord between two kept corners is as wrong as these are. All pieces of a frame are turned together, each
    about its own middle, until they lie best along its axes.

    Parameters
    ----------
    xy, offsets, closed, keep, free_length
        See ``pieces.cut_pieces``.
    angle : (n,) float64
        Of each object, radians.
    frame : (n,) int64
        Objects of one number share a direction.
    house : (a,) int64
        Object whose direction each arc has.

    Returns
    -------
    angle, weight : (n,) float64
        Of each frame; how far its pieces reach, squared.
    """
    own = frame[house]
    angle = angle.copy()
    for _ in range(2):
        piece_offsets, *_, moments = cut_pieces(xy, offsets, closed, keep, angle[house], free_length)
        of_piece = np.repeat(own, np.diff(piece_offsets))
        weight = np.bincount(of_piece, moments[:, 0], minlength=angle.size)
        turn = np.bincount(of_piece, moments[:, 1], minlength=angle.size)
        angle += np.arctan(turn / np.maximum(weight, 1e-9))[frame]
    return angle, weight


@kernel
def share_directions(one, other, angle, weight):  # type: ignore[no-untyped-def]
    """One direction for touching objects that stand alike, the most alike first.

    Parameters
    ----------
    one, other : (pairs,) int64
        Objects that touch.
    angle, weight : (n,) float64
        See :func:`refine_directions`.

    Returns
    -------
    frame : (n,) int64
        Objects of one number share a direction.
    angle : (n,) float64
        Radians.
    """
    n = angle.size
    parent = np.arange(n)
    c, s = weight * np.cos(4 * angle), weight * np.sin(4 * angle)
    apart = np.empty(one.size)
    for k in range(one.size):
        apart[k] = angle_between(angle[one[k]], angle[other[k]])
    # A stable sort: houses that are equally alike come in their own order, for any batches.
    for k in np.argsort(apart, kind="mergesort"):
        a, b = find(parent, one[k]), find(parent, other[k])
        if a == b or angle_between(np.arctan2(s[a], c[a]) / 4, np.arctan2(s[b], c[b]) / 4) > _ALIKE:
            continue
        a, b = min(a, b), max(a, b)
        parent[b] = a
        c[a] += c[b]
        s[a] += s[b]
    shared = np.empty(n)
    frame = np.empty(n, np.int64)
    for k in range(n):
        frame[k] = find(parent, k)
        shared[k] = np.arctan2(s[frame[k]], c[frame[k]]) / 4
    return frame, shared


@kernel
def angle_between(a, b):  # type: ignore[no-untyped-def]
    """How far two directions of right angles differ, radians; of numbers or arrays."""
    return np.abs((a - b + np.pi / 4) % (np.pi / 2) - np.pi / 4)


@kernel
def box_directions(xy, offsets, chosen, angle):  # type: ignore[no-untyped-def]
    """Directions of the smallest boxes about some objects.

    Small and roundish outlines have no edge long enough to tell a direction, and their box does. An object
    that fills its box badly, as one with wings may, keeps its direction.

    Parameters
    ----------
    xy : (p, 2) float64
        Corners of all objects.
    offsets : (n + 1,) int64
        Corners of each.
    chosen : (k,) int64
        Which ones.
    angle : (k,) float64
        Their directions so far, radians.

    Returns
    -------
    (k,) float64
        Radians.
    """
    out = angle.copy()
    for at in range(chosen.size):
        first, last = offsets[chosen[at]], offsets[chosen[at] + 1]
        x0, y0 = xy[first, 0], xy[first, 1]
        area = 0.0
        for k in range(first, last - 1):
            area += ((xy[k, 0] - x0) * (xy[k + 1, 1] - y0) - (xy[k + 1, 0] - x0) * (xy[k, 1] - y0)) / 2
        least = abs(area) / _FILLED
        for step in range(_STEPS):
            turn = step * np.pi / 2 / _STEPS
            c, s = np.cos(turn), np.sin(turn)
            u_low = v_low = np.inf
            u_high = v_high = -np.inf
            for k in range(first, last):
                u, v = c * xy[k, 0] + s * xy[k, 1], c * xy[k, 1] - s * xy[k, 0]
                u_low, u_high = min(u_low, u), max(u_high, u)
                v_low, v_high = min(v_low, v), max(v_high, v)
            box = (u_high - u_low) * (v_high - v_low)
            if box < least - 1e-6:  # of equal ones the first, whatever the last bits are
                least, out[at] = box, turn
    return out


@kernel
def circles(xy, offsets, closed):  # type: ignore[no-untyped-def]
    """Arcs without a junction that are circles.

    Returns
    -------
    (a, 3) float64
        Center and radius, the latter below 0 where the arc runs counterclockwise on the screen; 0: no circle.
    """
    out = np.zeros((offsets.size - 1, 3))
    for a in range(offsets.size - 1):
        first, last = offsets[a], offsets[a + 1] - 1
        if not closed[a]:
            continue
        x0, y0 = xy[first, 0], xy[first, 1]
        area = cx = cy = length = 0.0
        for k in range(first, last):
            x, y, u, v = xy[k, 0] - x0, xy[k, 1] - y0, xy[k + 1, 0] - x0, xy[k + 1, 1] - y0
            twice = x * v - u * y
            area += twice / 2
            cx += (x + u) * twice / 6
            cy += (y + v) * twice / 6
        radius = np.sqrt(abs(area) / np.pi)
        if radius < _LEAST_RADIUS:
            continue
        cx, cy = x0 + cx / area, y0 + cy / area
        off = 0.0
        for k in range(first, last):  # the middle of each edge lies within half a pixel of what was traced
            step = np.hypot(xy[k + 1, 0] - xy[k, 0], xy[k + 1, 1] - xy[k, 1])
            x, y = (xy[k, 0] + xy[k + 1, 0]) / 2, (xy[k, 1] + xy[k + 1, 1]) / 2
            off += step * abs(np.hypot(x - cx, y - cy) - radius)
            length += step
        if off < _ROUND * radius * length:
            out[a, 0], out[a, 1], out[a, 2] = cx, cy, np.copysign(radius, area)
    return out
