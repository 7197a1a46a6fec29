"""The inside of polygons: the pixels whose centers lie in them, by the even-odd rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray

__all__ = ["fill_parts", "fill_rings"]


def fill_rings(mask: BoolArray, rings: Sequence[Array], origin: tuple[float, float]) -> None:
    """Set the pixels of ``mask`` whose centers lie inside the rings, even-odd over all of them.

    Parameters
    ----------
    mask
        (h, w) bool, written in place.
    rings
        (N, 2) arrays of x, y, in pixel indices; need not be whole numbers.
    origin
        Column and row of the mask's first pixel.
    """
    rings = [np.asarray(ring, np.float64) for ring in rings if len(ring) >= 3]
    if rings:
        ends = np.cumsum([len(ring) for ring in rings])
        fill_parts(mask, np.concatenate(rings) - origin, ends, np.array([len(ends)]), np.ones(1, np.bool_))


def fill_parts(canvas: Array, coords: Array, ring_ends: Array, part_ends: Array, values: Array) -> None:
    """Write a value to the pixels whose centers lie inside each part, one part over the other.

    Even-odd over the rings of a part. A center on an edge belongs to the part on its right or, at level
    edges, below it, so parts that share an edge share no pixel.

    Parameters
    ----------
    canvas
        (h, w), written in place.
    coords
        (p, 2) float64 of x, y of all rings, in pixel indices of the canvas: (0, 0) is the center of its first
        pixel.
    ring_ends
        (rings,) int, end of each ring in ``coords``; rings may repeat their first vertex at the end.
    part_ends
        (parts,) int, end of each part's rings.
    values
        (parts,) of the canvas's dtype.

    Examples
    --------
    >>> canvas = np.zeros((2, 3), np.uint8)
    >>> square = np.array([[-0.5, -0.5], [1.5, -0.5], [1.5, 1.5], [-0.5, 1.5]])
    >>> fill_parts(canvas, square, np.array([4]), np.array([1]), np.array([7], np.uint8))
    >>> canvas.tolist()
    [[7, 7, 0], [7, 7, 0]]
    """
    if canvas.size and len(coords):
        coords = np.ascontiguousarray(coords, np.float64)
        ends = np.asarray(ring_ends, np.int64), np.asarray(part_ends, np.int64)
        _fill(canvas, coords, *ends, np.asarray(values, canvas.dtype))


@kernel
def _fill(canvas, coords, ring_ends, part_ends, values):  # type: ignore[no-untyped-def] # numba
    height, width = canvas.shape
    first_ring = first_point = 0
    for part in range(len(part_ends)):
        last_point = ring_ends[part_ends[part] - 1]
        top, bottom = np.inf, -np.inf
        for i in range(first_point, last_point):
            top, bottom = min(top, coords[i, 1]), max(bottom, coords[i, 1])
        # Rows of the part alone: a canvas may hold many small parts.
        row0, row1 = 0, 0
        if bottom > 0 and top < height:
            row0, row1 = int(max(0.0, np.ceil(top))), int(min(float(height), np.ceil(bottom)))
        counts = np.zeros(max(0, row1 - row0) + 1, np.int64)
        crossings = np.empty(0, np.float64)
        fill_at = counts
        # Twice over the edges: crossings are counted first, and then put down row by row.
        for phase in range(2 if row1 > row0 else 0):
            if phase == 1:
                for row in range(row1 - row0):
                    counts[row + 1] += counts[row]
                crossings = np.empty(counts[row1 - row0], np.float64)
                fill_at = counts[: row1 - row0].copy()
            start = first_point
            for ring in range(first_ring, part_ends[part]):
                end = ring_ends[ring]
                for i in range(start, end):
                    j = i + 1 if i + 1 < end else start
                    x0, y0, x1, y1 = coords[i, 0], coords[i, 1], coords[j, 0], coords[j, 1]
                    if y0 == y1:
                        continue
                    if y0 > y1:
                        x0, y0, x1, y1 = x1, y1, x0, y0
                    # Half open: a vertex on the middle of a row belongs to one of its two edges.
                    first = int(max(float(row0), np.ceil(y0)))
                    last = int(min(float(row1), np.ceil(y1)))
                    for row in range(first, last):
                        if phase == 0:
                            counts[row - row0 + 1] += 1
                        else:
                            crossings[fill_at[row - row0]] = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
                            fill_at[row - row0] += 1
                start = end
        for row in range(row0, row1):
            xs = np.sort(crossings[counts[row - row0] : counts[row - row0 + 1]])
            for k in range(0, len(xs) - 1, 2):
                # Half open too: of two polygons with a common wall, one has the pixels on it.
                left = int(max(0.0, np.ceil(xs[k])))
                right = int(min(float(width), np.ceil(xs[k + 1])))
                for col in range(left, right):
                    canvas[row, col] = values[part]
        first_ring, first_point = part_ends[part], last_point
