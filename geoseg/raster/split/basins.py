"""The basins of one chunk: which summit each pixel climbs to, and where basins meet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, Connectivity, IntArray

__all__ = ["Basins", "ChunkBasins", "find_basins"]


class Basins(NamedTuple):
    """The basins of one chunk, numbered from 1 in raster order of their first pixels; entry 0 is unused.

    A basin whose climb leaves the chunk ends at an *exit*, a pixel of a neighbor, and is part of that
    pixel's basin.

    Attributes
    ----------
    labels : (h, w) int32
        Basin of each pixel; 0 for background.
    terminal : (n + 1,) int64
        Raster index (row * width of the raster + column) of the summit or exit.
    exits : (n + 1,) bool
        Whether the terminal is an exit.
    peak : (n + 1,) int32
        Height of the terminal.
    first : (n + 1,) int64
        Raster index of the first pixel.
    area : (n + 1,) int64
        Pixels.
    value : (n + 1,) int32
        Value of the pixels.
    total : (n + 1,) int64
        Sum of what was given to be summed.
    marked : (n + 1,) bool
        Whether a pixel lies beside a marked one.
    inner : (e, 3) int64
        Pairs of basins that meet, and the height of their highest saddle.
    outer : (f, 3) int64
        A basin, a pixel of a neighbor (raster index) that it meets, and the height of the saddle.
    """

    labels: Array
    terminal: IntArray
    exits: BoolArray
    peak: Array
    first: IntArray
    area: IntArray
    value: Array
    total: IntArray
    marked: BoolArray
    inner: IntArray
    outer: IntArray


def find_basins(
    height: Array,
    values: Array,
    origin: tuple[int, int],
    width: int,
    connectivity: Connectivity,
    summed: Array,
    marked: BoolArray,
) -> Basins:
    """Basins of a chunk.

    Parameters
    ----------
    height, values : (h + 2, w + 2) int32
        Heights and values with a halo of one pixel; value 0 is background, also beyond the raster.
    origin
        Row and column of the chunk's first pixel (without the halo) in the raster.
    width
        Columns of the raster.
    connectivity
        4 or 8.
    summed : (h, w)
        Integers to be summed over each basin, such as stored probabilities.
    marked : (h + 2, w + 2) bool
        Pixels whose neighborhood counts, such as those without data.
    """
    row, col = origin
    labels, terminal, first, area, value, total, beside = _climb(
        height, values, connectivity == 8, summed, marked
    )
    inner, outer = _meetings(height, values, labels, connectivity == 8)
    columns = values.shape[1]
    down, along = terminal // columns, terminal % columns
    exits = (down == 0) | (along == 0) | (down == values.shape[0] - 1) | (along == columns - 1)
    exits[0] = False

    def in_raster(padded: IntArray) -> IntArray:
        return (padded // columns + row - 1) * width + padded % columns + col - 1

    peak = height.ravel()[terminal]
    outer[:, 1] = in_raster(outer[:, 1])
    return Basins(
        labels,
        in_raster(terminal),
        exits,
        peak,
        in_raster(first),
        area,
        value,
        total,
        beside,
        _highest(inner),
        _highest(outer),
    )


@kernel
def _climb(height, values, eight, summed, marked):  # type: ignore[no-untyped-def]
    rows, cols = values.shape
    high, value_at, mark = height.ravel(), values.ravel(), marked.ravel()
    # Sides before corners: with 4-connectivity only the first four are looked at.
    steps = np.array([-cols, -1, 1, cols, -cols - 1, -cols + 1, cols - 1, cols + 1])
    any_marked = mark.any()
    up = np.empty(rows * cols, np.int32)  # a place in the chunk, which 32 bits hold
    up[:cols] = -1  # the halo has no pointers: a climb exits there
    up[(rows - 1) * cols :] = -1
    for y in range(1, rows - 1):
        up[y * cols] = up[y * cols + cols - 1] = -1
        for at in range(y * cols + 1, y * cols + cols - 1):
            value = value_at[at]
            if value == 0:
                continue
            best, to = high[at], at
            for k in range(8 if eight else 4):
                other = at + steps[k]
                if value_at[other] != value:
                    continue
                # Of equal neighbors the first in raster order, which no chunk changes.
                if high[other] > best or (high[other] == best and other < to):
                    best, to = high[other], other
            up[at] = to
    labels = np.zeros((rows - 2, cols - 2), np.int32)
    number = np.zeros(rows * cols, np.int32)
    terminal, first = np.zeros(1024, np.int64), np.zeros(1024, np.int64)
    area, total = np.zeros(1024, np.int64), np.zeros(1024, np.int64)
    of_value = np.zeros(1024, np.int32)
    beside = np.zeros(1024, np.bool_)
    n = 0
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            start = y * cols + x
            if value_at[start] == 0:
                continue
            end = start
            while up[end] >= 0 and up[end] != end:
                end = up[end]
            # All that was walked over points to the summit from now on, so that no climb is walked twice.
            at = start
            while up[at] >= 0 and up[at] != end:
                up[at], at = end, up[at]
            basin = number[end]
            if basin == 0:
                n += 1
                if n == area.size:
                    terminal, first, area = _doubled(terminal), _doubled(first), _doubled(area)
                    total, of_value, beside = _doubled(total), _doubled(of_value), _doubled(beside)
                basin = number[end] = n
                terminal[n], first[n], of_value[n] = end, start, value_at[start]
            labels[y - 1, x - 1] = basin
            area[basin] += 1
            total[basin] += summed[y - 1, x - 1]
            if any_marked and not beside[basin]:
                for k in range(8):
                    if mark[start + steps[k]]:
                        beside[basin] = True
    n += 1
    return (
        labels, terminal[:n].copy(), first[:n].copy(), area[:n].copy(), of_value[:n].copy(),
        total[:n].copy(), beside[:n].copy(),
    )  # fmt: skip


@kernel
def _doubled(array):  # type: ignore[no-untyped-def]
    longer = np.zeros(2 * array.size, array.dtype)
    longer[: array.size] = array
    return longer


@kernel
def _meetings(height, values, labels, eight):  # type: ignore[no-untyped-def]
    """Saddles between neighboring pixels of two basins; a pair is looked at from its earlier pixel."""
    rows, cols = values.shape
    inner = np.empty((1024, 3), np.int64)
    outer = np.empty((1024, 3), np.int64)
    n = m = 0
    for y in range(rows - 1):
        for x in range(cols):
            value = values[y, x]
            if value == 0:
                continue
            first_inside = y > 0 and 0 < x < cols - 1
            for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
                v, u = y + dy, x + dx
                if (not eight and dy != 0 and dx != 0) or u < 0 or u >= cols or values[v, u] != value:
                    continue
                inside = 0 < v < rows - 1 and 0 < u < cols - 1
                if not first_inside and not inside:  # both are the halo's: their own chunks see them
                    continue
                saddle = min(height[y, x], height[v, u])
                if first_inside and inside:
                    a, b = labels[y - 1, x - 1], labels[v - 1, u - 1]
                    if a != b:
                        if n == inner.shape[0]:
                            inner = _taller(inner)
                        inner[n, 0], inner[n, 1], inner[n, 2] = min(a, b), max(a, b), saddle
                        n += 1
                elif first_inside:  # the other chunk sees the pair from its halo, and leaves it
                    if m == outer.shape[0]:
                        outer = _taller(outer)
                    outer[m, 0], outer[m, 1], outer[m, 2] = labels[y - 1, x - 1], v * cols + u, saddle
                    m += 1
    return inner[:n].copy(), outer[:m].copy()


@kernel
def _taller(array):  # type: ignore[no-untyped-def]
    longer = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    longer[: array.shape[0]] = array
    return longer


def _highest(edges: IntArray) -> IntArray:
    """Of all saddles of a pair the highest."""
    if not len(edges):
        return edges
    # Sorted by pair with the highest saddle first, of which the first row of each pair is kept.
    edges = edges[np.lexsort((-edges[:, 2], edges[:, 1], edges[:, 0]))]
    new = np.ones(len(edges), bool)
    new[1:] = (edges[1:, :2] != edges[:-1, :2]).any(axis=1)
    return edges[new]


class ChunkBasins(NamedTuple):
    """What is kept of a chunk once its labels are put aside: its basins, and those along its four sides.

    Attributes
    ----------
    basins
        Without labels.
    top, bottom : (w,) int32
        Basins along the first and the last row.
    left, right : (h,) int32
        Basins down the first and the last column.
    """

    basins: Basins
    top: Array
    bottom: Array
    left: Array
    right: Array

    @classmethod
    def of(cls, basins: Basins) -> ChunkBasins:
        """The part of ``basins`` that the other chunks need."""
        labels = basins.labels
        sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
        return cls(basins._replace(labels=labels[:0]), *(side.copy() for side in sides))

    def at(self, rows: IntArray, cols: IntArray) -> Array:
        """Basins of border pixels, given by row and column in the chunk."""
        last_row, last_col = self.left.size - 1, self.top.size - 1
        basin = np.where(cols == 0, self.left[rows], self.right[rows])
        basin = np.where(rows == last_row, self.bottom[cols], basin)
        basin = np.where(rows == 0, self.top[cols], basin)
        inside = (rows > 0) & (rows < last_row) & (cols > 0) & (cols < last_col)
        if inside.any():
            raise ValueError("only basins along the borders are known")
        return basin
