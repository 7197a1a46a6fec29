"""Outlines of masks through the centers of their border pixels.

Filling such an outline with an inclusive border, and clearing the inside of the holes but not their outline,
gives the mask again; outlines along pixel corners, as footprints have them, would grow by half a pixel.

References
----------
Suzuki, S., Abe, K. (1985). Topological structural analysis of digitized binary images by border following.
Computer Vision, Graphics, and Image Processing 30 (1), 32-46.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import kernel
from geoseg.projects.figures.parts import connected_parts
from geoseg.projects.figures.stored import STRIP
from geoseg.projects.figures.types import Bitmap, Coords, Polygon

__all__ = ["bitmap_rings", "part_rings", "trace_bitmap"]


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
    polygons = []
    for part in connected_parts(bitmap):
        (_, outer), *holes = part_rings(part)
        if len(outer) >= 3:
            polygons.append(Polygon(outer, tuple(ring for _, ring in holes if len(ring) >= 3)))
    return polygons


def bitmap_rings(bitmap: Bitmap) -> Iterator[Coords]:
    """Every border of a mask, outer ones and those of holes, part by part.

    Only vertices where the direction changes are kept; (N, 2) float64 of x, y.
    """
    for part in connected_parts(bitmap):
        yield from (ring for _, ring in part_rings(part))


def part_rings(part: Bitmap) -> list[tuple[bool, Coords]]:
    """Borders of a mask that is one part, the outer one first: whether it is a hole's, and its vertices."""
    points, starts, kinds = _follow_all(_packed(part), part.shape[1])
    origin = np.array(part.origin, np.float64)
    rings = []
    for index, start in enumerate(starts[:-1]):
        ring = points[start : starts[index + 1]].astype(np.float64)
        # Only where the border turns: a wall of a hundred pixels has two vertices.
        if len(ring) >= 3:
            ring = ring[np.any(np.roll(ring, -1, 0) - ring != ring - np.roll(ring, 1, 0), axis=1)]
        rings.append((bool(kinds[index]), ring + origin))
    return rings


def _packed(bitmap: Bitmap) -> NDArray[np.uint8]:
    """A mask with a margin of one pixel, four pixels of two bits in a byte."""
    height, width = bitmap.shape
    # Two bits hold what the following needs of a pixel: 0 background, 1 object, 2 and 3 marks.
    field = np.zeros((height + 2, (width + 5) // 4), np.uint8)
    for top in range(0, height, STRIP):
        rows = bitmap.part(slice(top, top + STRIP), slice(None))
        wide = np.zeros((len(rows), 4 * field.shape[1]), np.uint8)
        wide[:, 1 : width + 1] = rows
        for place in range(4):
            field[top + 1 : top + 1 + len(rows)] |= wide[:, place::4] << (2 * place)
    return field


@kernel
def _at(field, row, col):  # type: ignore[no-untyped-def] # numba
    return (field[row, col >> 2] >> (2 * (col & 3))) & 3


@kernel
def _mark(field, row, col, value):  # type: ignore[no-untyped-def] # numba
    """Change an object pixel to 2 or 3."""
    place = 2 * (col & 3)
    field[row, col >> 2] = (field[row, col >> 2] & ~(3 << place)) | (value << place)


@kernel
def _follow_all(field, columns):  # type: ignore[no-untyped-def] # numba
    """Follow each border once; marks it in ``field`` by 2, or 3 left of a background pixel."""
    dy = np.array([0, 1, 1, 1, 0, -1, -1, -1])
    dx = np.array([1, 1, 0, -1, -1, -1, 0, 1])  # clockwise on screen, from the right
    points = np.empty((64, 2), np.int32)
    count = 0
    starts = [0]
    kinds = [False]
    for row in range(1, field.shape[0] - 1):
        for col in range(1, columns + 1):
            value = _at(field, row, col)
            # A border begins at the left of an unmarked pixel if it is an outer one, at the right if a
            # hole's.
            if value == 1 and _at(field, row, col - 1) == 0:
                first, is_hole = 4, False
            elif 1 <= value <= 2 and _at(field, row, col + 1) == 0:
                first, is_hole = 0, True
            else:
                continue
            last = -1
            for k in range(8):
                d = (first + k) % 8
                if _at(field, row + dy[d], col + dx[d]) != 0:
                    last = d
                    break
            y, x = row, col
            came = last
            while True:
                if count == len(points):
                    bigger = np.empty((2 * count, 2), np.int32)
                    bigger[:count] = points
                    points = bigger
                points[count, 0], points[count, 1] = x - 1, y - 1
                count += 1
                # A pixel by itself.
                if last < 0:
                    _mark(field, y, x, 3)
                    break
                right_empty, step = False, came
                for k in range(1, 9):
                    step = (came - k) % 8
                    if _at(field, y + dy[step], x + dx[step]) != 0:
                        break
                    if step == 0:
                        right_empty = True
                if right_empty:
                    _mark(field, y, x, 3)
                elif _at(field, y, x) == 1:
                    _mark(field, y, x, 2)
                # Back at the first pixel, and about to go the way that was gone first: a border may pass
                # through its first pixel several times.
                at_end = y == row + dy[last] and x == col + dx[last]
                y, x = y + dy[step], x + dx[step]
                if at_end and y == row and x == col:
                    break
                came = (step + 4) % 8
            starts.append(count)
            kinds.append(is_hole)
    return points[:count], np.array(starts), np.array(kinds[1:])
