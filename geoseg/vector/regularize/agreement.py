"""How well new outlines agree with the pixels they were traced from."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, IntArray
from geoseg.vector.rings import Outlines

__all__ = ["outline_iou"]


def outline_iou(traced: Outlines, drawn: Outlines, objects: IntArray) -> Array:
    """Intersection over union of objects as traced and as drawn.

    Exact but for the last bits where the drawn ones are valid. Ground that a ring which crosses itself goes
    round twice counts twice, and against it where it goes round the other way.

    Parameters
    ----------
    traced
        Objects as they were traced, along the edges of pixels.
    drawn
        The same objects with other corners.
    objects : (k,) int64
        Which ones.

    Returns
    -------
    (k,) float64
    """
    is_hole = np.ones(drawn.ring_offsets.size - 1, np.bool_)
    is_hole[drawn.part_offsets[:-1]] = False
    iou = _ious(
        traced.xy.astype(np.int32, copy=False),
        traced.ring_offsets,
        traced.part_offsets[traced.object_offsets],
        np.asarray(drawn.xy, np.float64),
        drawn.ring_offsets,
        drawn.part_offsets[drawn.object_offsets],
        is_hole,
        objects,
    )
    return np.asarray(iou)


@kernel
def _ious(xy, rings, objects, new_xy, new_rings, new_objects, is_hole, chosen):  # type: ignore[no-untyped-def]
    iou = np.zeros(chosen.size)
    for at in range(chosen.size):
        o = chosen[at]
        top, ends, places, covered = _rows(xy, rings, objects[o], objects[o + 1])
        traced = 0.0
        for row in range(1, ends.size):
            if ends[row] > ends[row - 1]:
                traced += covered[ends[row] - 1]
        drawn = both = 0.0
        for r in range(new_objects[o], new_objects[o + 1]):
            # By Green's theorem: the integral of x along a ring is its area, and that of the covered length
            # left of x is the area that it has in common with the pixels.
            area = shared = 0.0
            left = new_xy[new_rings[r], 0]
            for k in range(new_rings[r], new_rings[r + 1] - 1):
                x0, y0, x1, y1 = new_xy[k, 0], new_xy[k, 1] - top, new_xy[k + 1, 0], new_xy[k + 1, 1] - top
                if y0 == y1:
                    continue
                area += ((x0 + x1) / 2 - left) * (y1 - y0)
                slope, low, high = (x1 - x0) / (y1 - y0), min(y0, y1), max(y0, y1)
                sign = 1.0 if y1 > y0 else -1.0
                for row in range(max(int(np.floor(low)), 0), min(int(np.ceil(high)), ends.size - 1)):
                    upper, lower = max(low, row), min(high, row + 1)
                    one, other = x0 + (upper - y0) * slope, x0 + (lower - y0) * slope
                    mean = _mean_covered(
                        places, covered, ends[row], ends[row + 1], min(one, other), max(one, other)
                    )
                    shared += sign * mean * (lower - upper)
            # Which way a ring runs says nothing: a small one may have turned over when it was drawn.
            if (area < 0) != is_hole[r]:
                area, shared = -area, -shared
            drawn += area
            both += shared
        either = traced + drawn - both
        iou[at] = max(both / either, 0.0) if either > 0 else 0.0
    return iou


@kernel
def _rows(xy, rings, ring_from, ring_to):  # type: ignore[no-untyped-def]
    """Where the rows of pixels of an object start and end.

    Returns
    -------
    top
        Its first row.
    ends : (rows + 1,) int64
        Crossings of each row.
    places : (crossings,) float64
        Columns at which stretches of pixels start and end, in turn.
    covered : (crossings,) float64
        Length of the pixels left of each.
    """
    first, last = rings[ring_from], rings[ring_to]
    top, bottom = xy[first:last, 1].min(), xy[first:last, 1].max()
    counts = np.zeros(bottom - top, np.int64)
    # Counted before they are put down.
    for ring in range(ring_from, ring_to):
        for k in range(rings[ring], rings[ring + 1] - 1):
            for row in range(min(xy[k, 1], xy[k + 1, 1]) - top, max(xy[k, 1], xy[k + 1, 1]) - top):
                counts[row] += 1
    ends = np.zeros(counts.size + 1, np.int64)
    for row in range(counts.size):
        ends[row + 1] = ends[row] + counts[row]
    places, covered = np.empty(ends[-1]), np.zeros(ends[-1])
    for ring in range(ring_from, ring_to):
        for k in range(rings[ring], rings[ring + 1] - 1):
            for row in range(min(xy[k, 1], xy[k + 1, 1]) - top, max(xy[k, 1], xy[k + 1, 1]) - top):
                counts[row] -= 1
                # By insertion: most rows have two.
                at = ends[row + 1] - 1 - counts[row]
                while at > ends[row] and places[at - 1] > xy[k, 0]:
                    places[at] = places[at - 1]
                    at -= 1
                places[at] = xy[k, 0]
    for row in range(counts.size):
        for at in range(ends[row] + 1, ends[row + 1]):
            inside = (at - ends[row]) & 1
            covered[at] = covered[at - 1] + (places[at] - places[at - 1] if inside else 0.0)
    return top, ends, places, covered


@kernel
def _mean_covered(places, covered, first, last, low, high):  # type: ignore[no-untyped-def]
    """Length of the pixels of a row left of x, in the mean over x from ``low`` to ``high``."""
    at, until = first, last
    while at < until:  # the first crossing beyond ``low``
        middle = (at + until) >> 1
        if places[middle] <= low:
            at = middle + 1
        else:
            until = middle
    inside = (at - first) & 1 == 1
    left = covered[at - 1] if at > first else 0.0
    if inside:
        left += low - places[at - 1]
    if high <= low:
        return left
    total, x = 0.0, low
    while True:
        step = (min(high, places[at]) if at < last else high) - x
        after = left + step if inside else left
        total += (left + after) / 2 * step
        if at == last or places[at] >= high:
            return total / (high - low)
        left, x, at, inside = after, places[at], at + 1, not inside
