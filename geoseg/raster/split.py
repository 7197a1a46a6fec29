"""Split touching objects along the valleys of a height field, the same for any chunks.

Every object pixel climbs to its highest neighbor until it stands on a summit; the pixels of one summit are
a basin. Two basins meet at saddles. Basins are joined again in falling order of their highest saddles unless
both rise above it by more than the persistence. A step of the climb looks at the eight pixels around it, so
chunks need a halo of one pixel (and of the radius of the smoothing), and what crosses a border is one number
a pixel: memory is per basin, not per pixel.

Heights are integers. Sums of integers do not depend on their order, so a chunk gives the same heights as the
whole raster, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, Connectivity, IntArray

__all__ = [
    "FULL_HEIGHT",
    "Basins",
    "ChunkBasins",
    "Objects",
    "SplitRule",
    "as_height",
    "find_basins",
    "join_basins",
    "smooth_height",
    "smoothing_weights",
]

#: Weights of the smoothing add up to this, along each axis.
_ONE = 1 << 12
#: Height of a pixel of value 254 (probability 1) amid its like: 254 * _ONE / 16 * _ONE fits into 32 bits.
FULL_HEIGHT = 254 * (_ONE >> 4) * _ONE
#: Standard deviation of the smoothing, meters: what is narrower than a wall or a gutter is no valley.
_SMOOTH_M = 0.6
#: Basins of less ground join a neighbor: no house is smaller.
_LEAST_M2 = 6.0
#: Without a known size pixels are taken to have this one, the middle of what roofs are recognized at.
_PIXEL_M = 0.3
#: Side of the squares in which heights are computed, or left out where no object is near.
_SQUARE = 32


@dataclass(frozen=True)
class SplitRule:
    """When two parts of a mask are two objects.

    Attributes
    ----------
    persistence
        Share of the full height by which both must rise above the saddle between them.
    sigma
        Standard deviation of the smoothing of heights, pixels.
    min_pixels
        Fewest pixels of an object that touches another.
    """

    persistence: float
    sigma: float
    min_pixels: float

    @classmethod
    def on(cls, persistence: float, pixel: tuple[float, float] | None) -> SplitRule:
        """The rule on pixels of some width and height in meters on the ground; None: not known."""
        width, height = pixel or (_PIXEL_M, _PIXEL_M)
        return cls(persistence, _SMOOTH_M / math.sqrt(width * height), _LEAST_M2 / (width * height))

    @property
    def reach(self) -> int:
        """Pixels around a chunk that its basins depend on."""
        return len(smoothing_weights(self.sigma)) // 2 + 1


def as_height(height: Array) -> Array:
    """A height field as the kernels know it: 0 .. 254, uint8.

    Parameters
    ----------
    height : (h, w)
        uint8, such as round(p * 254), or floats from 0 to 1; NaN counts as 0.
    """
    if height.dtype == np.uint8:
        return np.minimum(height, np.uint8(254))
    return np.rint(np.clip(np.nan_to_num(height), 0, 1) * 254).astype(np.uint8)


def smoothing_weights(sigma: float) -> IntArray:
    """Weights of a Gaussian as integers that add up to 4096, cut off at three sigma.

    Parameters
    ----------
    sigma
        Standard deviation in pixels; below 0.3 nothing is smoothed.

    Returns
    -------
    (2 r + 1,) int64

    Examples
    --------
    >>> smoothing_weights(0).tolist()
    [4096]
    >>> weights = smoothing_weights(1.0)
    >>> len(weights), int(weights.sum()), bool((weights == weights[::-1]).all())
    (7, 4096, True)
    """
    if sigma < 0.3:
        return np.array([_ONE], np.int64)
    radius = math.ceil(3 * sigma)
    side = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1)]
    total = side[0] + 2 * sum(side[1:])
    # Two mathematical libraries differ far below the 2**-12 that is rounded to. The middle takes the rest.
    weights = [round(_ONE * value / total) for value in side]
    weights[0] = _ONE - 2 * sum(weights[1:])
    return np.array(weights[:0:-1] + weights, np.int64)


def smooth_height(height: Array, mask: BoolArray, weights: IntArray) -> Array:
    """Smooth a height field where objects are.

    Parameters
    ----------
    height : (h + 2 r, w + 2 r) uint8
        0 .. 254, such as round(p * 254), with a halo of the kernel's radius r on all sides.
    mask : (h, w) bool
        Where heights are needed.
    weights : (2 r + 1,) int64
        Of :func:`smoothing_weights`.

    Returns
    -------
    (h, w) int32
        0 .. ``FULL_HEIGHT``; 0 outside the mask.
    """
    out = np.zeros(mask.shape, np.int32)
    if out.size:
        _smooth(height, mask, weights.astype(np.int32), out)
    return out


@kernel
def _smooth(height, mask, weights, out):  # type: ignore[no-untyped-def]
    rows, cols = mask.shape
    taps = weights.size
    across = np.empty((_SQUARE, _SQUARE + taps - 1), np.int32)
    for top in range(0, rows, _SQUARE):
        bottom = min(top + _SQUARE, rows)
        for left in range(0, cols, _SQUARE):
            right = min(left + _SQUARE, cols)
            if not mask[top:bottom, left:right].any():
                continue
            wide = right - left + taps - 1
            for y in range(top, bottom):
                line = across[y - top, :wide]
                line[:] = 0
                for k in range(taps):
                    weight = weights[k]
                    source = height[y + k, left : left + wide]
                    for x in range(wide):
                        line[x] += weight * np.int32(source[x])
                for x in range(wide):
                    line[x] >>= 4  # so that the second sum fits into 32 bits
            for y in range(top, bottom):
                line = across[y - top]
                for x in range(left, right):
                    if mask[y, x]:
                        total = np.int32(0)
                        for k in range(taps):
                            total += weights[k] * line[x - left + k]
                        out[y, x] = total


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
    steps = np.array([-cols, -1, 1, cols, -cols - 1, -cols + 1, cols - 1, cols + 1])
    any_marked = mark.any()
    up = np.empty(rows * cols, np.int32)
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
                # Of equal neighbors the first in raster order, which no chunk changes
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
            here = y > 0 and 0 < x < cols - 1
            for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
                v, u = y + dy, x + dx
                if (not eight and dy != 0 and dx != 0) or u < 0 or u >= cols or values[v, u] != value:
                    continue
                inside = 0 < v < rows - 1 and 0 < u < cols - 1
                if not here and not inside:
                    continue
                saddle = min(height[y, x], height[v, u])
                if here and inside:
                    a, b = labels[y - 1, x - 1], labels[v - 1, u - 1]
                    if a != b:
                        if n == inner.shape[0]:
                            inner = _taller(inner)
                        inner[n, 0], inner[n, 1], inner[n, 2] = min(a, b), max(a, b), saddle
                        n += 1
                elif here:  # the other chunk sees the pair from its halo, and leaves it
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
        found = np.where(cols == 0, self.left[rows], self.right[rows])
        found = np.where(rows == last_row, self.bottom[cols], found)
        found = np.where(rows == 0, self.top[cols], found)
        inside = (rows > 0) & (rows < last_row) & (cols > 0) & (cols < last_col)
        if inside.any():
            raise ValueError("only basins along the borders are known")
        return found


class Objects(NamedTuple):
    """The objects of a raster, numbered from 1 in raster order of their first pixels; entry 0 is background.

    Attributes
    ----------
    number : dict
        Chunk (row, column of the grid of chunks) to the object of each of its basins, (n + 1,) int32.
    value : (k + 1,) int32
        Value of the pixels.
    total : (k + 1,) int64
        Sum over the pixels.
    marked : (k + 1,) bool
        Whether a pixel lies beside a marked one.
    """

    number: dict[tuple[int, int], Array]
    value: Array
    total: IntArray
    marked: BoolArray


def join_basins(
    chunks: Mapping[tuple[int, int], ChunkBasins],
    row_offs: Sequence[int],
    col_offs: Sequence[int],
    width: int,
    *,
    persistence: float,
    min_pixels: float = 0,
) -> Objects:
    """Objects from the basins of all chunks.

    Edges between basins are taken from the highest saddle down (ties by the raster indices of the summits),
    and two basins become one object where the lower of their summits rises less than the persistence above
    the saddle, or one of them is too small to be an object.

    Parameters
    ----------
    chunks
        By row and column of the grid of chunks.
    row_offs, col_offs
        First row and column of each chunk in the raster.
    width
        Columns of the raster.
    persistence
        Share of the full height, 0 .. 1: how deep a saddle must lie below both summits to part them.
    min_pixels
        Basins of fewer pixels join the one that they meet highest.

    Returns
    -------
    Objects
        The same for any chunks.
    """
    places = list(chunks)
    counts = [chunks[place].basins.area.size - 1 for place in places]
    base = dict(zip(places, np.concatenate([[0], np.cumsum(counts)])[:-1].tolist(), strict=True))

    def stack(name: str) -> Array:
        return np.concatenate([getattr(chunks[place].basins, name)[1:] for place in places])

    if not places or sum(counts) == 0:
        empty = np.zeros(1, np.int64)
        numbers = {place: np.zeros(1, np.int32) for place in places}
        return Objects(numbers, empty.astype(np.int32), empty, empty.astype(bool))
    terminal = stack("terminal")
    rows, cols = np.asarray(row_offs), np.asarray(col_offs)

    def basins_at(pixels: IntArray) -> IntArray:
        """Basins (of the whole raster) of pixels on the borders of chunks."""
        row, col = pixels // width, pixels % width
        i, j = np.searchsorted(rows, row, "right") - 1, np.searchsorted(cols, col, "right") - 1
        basins = np.zeros(pixels.size, np.int64)
        for grid in np.unique(i * cols.size + j):
            place = (int(grid // cols.size), int(grid % cols.size))
            those = (i == place[0]) & (j == place[1])
            local = chunks[place].at(row[those] - rows[place[0]], col[those] - cols[place[1]])
            basins[those] = local.astype(np.int64) + (base[place] - 1)
        return basins

    leads = np.arange(terminal.size)
    exits = stack("exits")
    leads[exits] = basins_at(terminal[exits])
    while (further := leads[leads]).tobytes() != leads.tobytes():  # climbs never turn back, so this ends
        leads = further

    edges = []
    for place in places:
        inner, outer = chunks[place].basins.inner, chunks[place].basins.outer
        shift = base[place] - 1
        edges.append(np.column_stack([inner[:, :2] + shift, inner[:, 2]]))
        edges.append(np.column_stack([outer[:, 0] + shift, basins_at(outer[:, 1]), outer[:, 2]]))
    edge = np.concatenate(edges)
    first, second = leads[edge[:, 0]], leads[edge[:, 1]]
    low, high = np.minimum(terminal[first], terminal[second]), np.maximum(terminal[first], terminal[second])
    order = np.lexsort((high, low, -edge[:, 2]))
    order = order[first[order] != second[order]]

    area = np.zeros(terminal.size, np.int64)
    np.add.at(area, leads, stack("area"))
    parent = _join(
        first[order],
        second[order],
        edge[order, 2],
        terminal,
        stack("peak").astype(np.int64),
        area,
        round(persistence * FULL_HEIGHT),
        min_pixels,
    )[leads]

    start = np.full(terminal.size, np.iinfo(np.int64).max)
    np.minimum.at(start, parent, stack("first"))
    stands = np.flatnonzero(parent == np.arange(terminal.size))
    stands = stands[np.argsort(start[stands])]
    number = np.zeros(terminal.size, np.int32)
    number[stands] = np.arange(1, stands.size + 1)
    number = number[parent]
    value = np.zeros(stands.size + 1, np.int32)
    value[number] = stack("value")
    total = np.zeros(stands.size + 1, np.int64)
    np.add.at(total, number, stack("total"))
    marked = np.zeros(stands.size + 1, np.bool_)
    marked[number[stack("marked")]] = True
    background = np.zeros(1, np.int32)
    return Objects(
        {
            place: np.concatenate([background, number[base[place] : base[place] + count]])
            for place, count in zip(places, counts, strict=True)
        },
        value,
        total,
        marked,
    )


@kernel
def _join(first, second, saddle, terminal, peak, area, persistence, min_pixels):  # type: ignore[no-untyped-def]
    """The basin that stands for each; ``area`` is changed."""
    parent = np.arange(terminal.size)
    for k in range(first.size):
        a, b = first[k], second[k]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a == b:
            continue
        if min(peak[a], peak[b]) - saddle[k] >= persistence and min(area[a], area[b]) >= min_pixels:
            continue
        if peak[a] < peak[b] or (peak[a] == peak[b] and terminal[a] > terminal[b]):
            a, b = b, a
        parent[b] = a
        area[a] += area[b]
    for k in range(parent.size):
        root = k
        while parent[root] != root:
            root = parent[root]
        parent[k] = root
    return parent
