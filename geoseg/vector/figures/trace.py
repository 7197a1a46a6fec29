"""Outlines of masks through the centers of their border pixels.

Filling such an outline with an inclusive border, and clearing the inside of the holes but not their outline,
gives the mask again; outlines along pixel corners, as footprints have them, would grow by half a pixel.

References
----------
Suzuki, S., Abe, K. (1985). Topological structural analysis of digitized binary images by border following.
Computer Vision, Graphics, and Image Processing 30 (1), 32-46.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import ndimage

from geoseg.typing import BoolArray
from geoseg.vector.figures.types import Bitmap, Coords, Polygon

__all__ = ["trace_bitmap", "trace_rings"]

_EIGHT = np.ones((3, 3), bool)


def trace_bitmap(bitmap: Bitmap) -> list[Polygon]:
    """Polygons with holes, one for each 8-connected part of a mask.

    Parts of fewer than three outline vertices (single pixels, straight lines) have no polygon and are left
    out.

    Examples
    --------
    >>> trace_bitmap(Bitmap((4, 4), np.ones((2, 3), bool)))[0].exterior.tolist()
    [[4.0, 4.0], [4.0, 5.0], [6.0, 5.0], [6.0, 4.0]]
    >>> trace_bitmap(Bitmap((0, 0), np.zeros((2, 2), bool)))
    []
    """
    outer: dict[int, Coords] = {}
    holes: dict[int, list[Coords]] = {}
    for part, is_hole, ring in trace_rings(bitmap.mask):
        moved = ring + np.array(bitmap.origin, np.float64)
        if is_hole:
            holes.setdefault(part, []).append(moved)
        else:
            outer[part] = moved
    return [
        Polygon(ring, tuple(hole for hole in holes.get(part, ()) if len(hole) >= 3))
        for part, ring in sorted(outer.items())
        if len(ring) >= 3
    ]


def trace_rings(mask: BoolArray) -> list[tuple[int, bool, Coords]]:
    """Every border of a mask: number of the 8-connected part, whether it is a hole's, and its vertices.

    Only vertices where the direction changes are kept; (N, 2) float64 of x, y in the mask's pixels.
    """
    labels, _ = ndimage.label(mask, _EIGHT)
    field = np.pad(mask.astype(np.int8), 1)
    points, starts, kinds = _follow_all(field)
    rings = []
    for index, start in enumerate(starts[:-1]):
        ring = points[start : starts[index + 1]]
        part = int(labels[ring[0, 1], ring[0, 0]])
        rings.append((part, bool(kinds[index]), _corners(ring.astype(np.float64))))
    return rings


def _corners(ring: Coords) -> Coords:
    """Vertices at which a ring turns."""
    if len(ring) < 3:
        return ring
    turns = np.any(np.roll(ring, -1, 0) - ring != ring - np.roll(ring, 1, 0), axis=1)
    return ring[turns]


@njit(nogil=True, cache=True)
def _follow_all(field):  # type: ignore[no-untyped-def] # numba
    """Follow each border once; marks it in ``field`` by 2, or -2 left of a background pixel."""
    dy = np.array([0, 1, 1, 1, 0, -1, -1, -1])
    dx = np.array([1, 1, 0, -1, -1, -1, 0, 1])  # clockwise on screen, from the right
    points = np.empty((64, 2), np.int64)
    count = 0
    starts = [0]
    kinds = [False]
    height, width = field.shape
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            value = field[row, col]
            if value == 1 and field[row, col - 1] == 0:
                first, is_hole = 4, False
            elif value >= 1 and field[row, col + 1] == 0:
                first, is_hole = 0, True
            else:
                continue
            last = -1
            for k in range(8):
                d = (first + k) % 8
                if field[row + dy[d], col + dx[d]] != 0:
                    last = d
                    break
            y, x = row, col
            came = last
            while True:
                if count == len(points):
                    bigger = np.empty((2 * count, 2), np.int64)
                    bigger[:count] = points
                    points = bigger
                points[count, 0], points[count, 1] = x - 1, y - 1
                count += 1
                if last < 0:
                    field[y, x] = -2
                    break
                right_empty, step = False, came
                for k in range(1, 9):
                    step = (came - k) % 8
                    if field[y + dy[step], x + dx[step]] != 0:
                        break
                    if step == 0:
                        right_empty = True
                if right_empty:
                    field[y, x] = -2
                elif field[y, x] == 1:
                    field[y, x] = 2
                at_end = y == row + dy[last] and x == col + dx[last]
                y, x = y + dy[step], x + dx[step]
                if at_end and y == row and x == col:
                    break
                came = (step + 4) % 8
            starts.append(count)
            kinds.append(is_hole)
    return points[:count], np.array(starts), np.array(kinds[1:])
