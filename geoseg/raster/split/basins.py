"""The basins of one chunk: which summit each pixel climbs to, and where basins meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geoseg.compiled import kernel
from geoseg.raster.segments import Segments, find_segments
from geoseg.typing import Array, BoolArray, Connectivity, IntArray

__all__ = ["Basins", "ChunkBasins", "find_basins"]

_NOTHING = np.zeros((0, 0), np.bool_)
#: Positions in ``ChunkBasins.sizes``; and what a chunk keeps: name, dtype, and by which size. Those of eight
#: bytes come first, so that all lie at multiples of their own.
_BASINS, _INNER, _OUTER, _SIDES = range(4)
_PACKED = (
    ("terminal", np.int64, _BASINS),
    ("first", np.int64, _BASINS),
    ("area", np.int64, _BASINS),
    ("total", np.int64, _BASINS),
    ("inner", np.int64, _INNER),
    ("outer", np.int64, _OUTER),
    ("peak", np.int32, _BASINS),
    ("value", np.int32, _BASINS),
    ("starts", np.int32, _SIDES),
    ("values", np.int32, _SIDES),
    ("exits", np.bool_, _BASINS),
    ("marked", np.bool_, _BASINS),
)


class Basins(NamedTuple):
    """The basins of one chunk, numbered from 1 in raster order of their first pixels; entry 0 is unused.

    A basin whose climb leaves the chunk ends at an *exit*, a pixel of a neighbor, and is part of that
    pixel's basin.

    Attributes
    ----------
    labels : (h, w) int32
        Basin of each pixel; 0 for background.
    segments
        The same as runs.
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
    segments: Segments
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
    marked: BoolArray | None = None,
) -> Basins:
    """Basins of a chunk.

    Parameters
    ----------
    height : (h + 2, w + 2) int32
        Heights with a halo of one pixel.
    values : (h + 2, w + 2) uint8 or int32
        Values; 0 is background, also beyond the raster.
    origin
        Row and column of the chunk's first pixel (without the halo) in the raster.
    width
        Columns of the raster.
    connectivity
        4 or 8.
    summed : (h, w)
        Integers to be summed over each basin, such as stored probabilities.
    marked : (h + 2, w + 2) bool, optional
        Pixels whose neighborhood counts, such as those without data.
    """
    row, col = origin
    # Both kernels go from run to run: objects are a small part of most rasters.
    row_ptr, start, value, _ = find_segments(values)
    runs = row_ptr, start, value
    any_marked = marked is not None and bool(marked.any())
    labels, terminal, first, area, of_value, total, beside = _climb(
        height, values, runs, connectivity == 8, summed, any_marked, marked if any_marked else _NOTHING
    )
    inner, outer = _meetings(height, values, runs, labels, connectivity == 8)
    columns = values.shape[1]
    down, along = terminal // columns, terminal % columns
    exits = (down == 0) | (along == 0) | (down == values.shape[0] - 1) | (along == columns - 1)
    exits[0] = False

    def in_raster(padded: IntArray) -> IntArray:
        return (padded // columns + row - 1) * width + padded % columns + col - 1

    peak = height.ravel()[terminal]
    row_ptr, start, value = _basin_runs(labels, runs)
    segments = Segments(row_ptr, start, value, columns - 2)
    labels = labels[1:-1, 1:-1]
    outer[:, 1] = in_raster(outer[:, 1])
    return Basins(
        labels,
        segments,
        in_raster(terminal),
        exits,
        peak,
        in_raster(first),
        area,
        of_value,
        total,
        beside,
        _highest(inner),
        _highest(outer),
    )


@kernel
def _climb(height, values, runs, eight, summed, any_marked, marked):  # type: ignore[no-untyped-def]
    rows, cols = values.shape
    row_ptr, run_start, run_value = runs
    high, value_at, mark = height.ravel(), values.ravel(), marked.ravel()
    # Sides before corners: with 4-connectivity only the first four are looked at.
    steps = np.array([-cols, -1, 1, cols, -cols - 1, -cols + 1, cols - 1, cols + 1])
    label = np.zeros(rows * cols, np.int32)  # of the chunk, whose places 32 bits hold
    for x in range(cols):  # -1: a pixel of the halo, where a climb exits
        label[x] = label[(rows - 1) * cols + x] = -1
    for y in range(rows):
        label[y * cols] = label[y * cols + cols - 1] = -1
    size = 2 * cols
    terminal, first = np.zeros(size, np.int64), np.zeros(size, np.int64)
    area, total = np.zeros(size, np.int64), np.zeros(size, np.int64)
    of_value = np.zeros(size, np.int32)
    beside = np.zeros(size, np.bool_)
    n = 0
    for y in range(1, rows - 1):
        if n + cols >= area.size:  # once a row: arrays that may change inside the loop cost twice the time
            terminal, first, area = _doubled(terminal), _doubled(first), _doubled(area)
            total, of_value, beside = _doubled(total), _doubled(of_value), _doubled(beside)
        for run in range(row_ptr[y], row_ptr[y + 1]):
            value = run_value[run]
            if value == 0:
                continue
            stop = run_start[run + 1] if run + 1 < row_ptr[y + 1] else cols
            for x in range(max(run_start[run], 1), min(stop, cols - 1)):
                start = y * cols + x
                at = start
                while label[at] == 0:  # what is known ends the climb, so that no pixel is left twice
                    best, to = high[at], at
                    for k in range(8 if eight else 4):
                        other = at + steps[k]
                        # Of equal neighbors the first in raster order, which no chunk changes. Heights before
                        # values: half of the neighbors end here.
                        if high[other] < best or (high[other] == best and other > to):
                            continue
                        if value_at[other] == value:
                            best, to = high[other], other
                    if to == at:
                        break
                    label[at] = -2 - to  # the way, until its end is known
                    at = to
                if label[at] <= 0:
                    n += 1
                    label[at] = n
                    terminal[n], first[n], of_value[n] = at, start, value
                basin = label[at]
                at = start
                while label[at] < 0:
                    to = -2 - label[at]
                    label[at] = basin
                    at = to
                area[basin] += 1
                total[basin] += summed[y - 1, x - 1]
                if any_marked and not beside[basin]:
                    for k in range(8):
                        if mark[start + steps[k]]:
                            beside[basin] = True
    n += 1
    return (
        label.reshape(rows, cols), terminal[:n].copy(), first[:n].copy(), area[:n].copy(),
        of_value[:n].copy(), total[:n].copy(), beside[:n].copy(),
    )  # fmt: skip


@kernel
def _doubled(array):  # type: ignore[no-untyped-def]
    longer = np.zeros(2 * array.size, array.dtype)
    longer[: array.size] = array
    return longer


@kernel
def _basin_runs(labels, runs):  # type: ignore[no-untyped-def]
    """Runs of basins inside the halo: those of values, cut where basins meet."""
    rows, cols = labels.shape
    row_ptr, run_start, run_value = runs
    rows_at = np.zeros(rows - 1, np.int64)
    start, basin = np.empty(4 * cols, np.int32), np.empty(4 * cols, np.int32)
    n = 0
    for y in range(1, rows - 1):
        if n + 2 * cols > start.size:
            start, basin = _doubled(start), _doubled(basin)
        rows_at[y - 1] = first = n
        for run in range(row_ptr[y], row_ptr[y + 1]):
            stop = run_start[run + 1] if run + 1 < row_ptr[y + 1] else cols
            low, high = max(run_start[run], 1), min(stop, cols - 1)
            if run_value[run] == 0:
                high = min(high, low + 1)  # one look is enough
            for x in range(low, high):
                if n == first or basin[n - 1] != labels[y, x]:
                    start[n], basin[n] = x - 1, labels[y, x]
                    n += 1
    rows_at[rows - 2] = n
    return rows_at, start[:n].copy(), basin[:n].copy()


@kernel
def _meetings(height, values, runs, labels, eight):  # type: ignore[no-untyped-def]
    """Saddles between neighboring pixels of two basins; a pair belongs to the chunk of its earlier pixel."""
    rows, cols = values.shape
    row_ptr, run_start, run_value = runs
    label = labels.ravel()
    inner = np.empty((1024, 3), np.int64)
    outer = np.empty((1024, 3), np.int64)
    n = m = 0
    for y in range(1, rows - 1):
        for run in range(row_ptr[y], row_ptr[y + 1]):
            value = run_value[run]
            if value == 0:
                continue
            stop = run_start[run + 1] if run + 1 < row_ptr[y + 1] else cols
            for x in range(max(run_start[run], 1), min(stop, cols - 1)):
                at = y * cols + x
                a = label[at]
                # Most pixels lie amid their basin, which four looks tell.
                if (
                    (label[at + 1] == a or label[at + 1] == 0)
                    and (label[at + cols] == a or label[at + cols] == 0)
                    and (label[at + cols - 1] == a or label[at + cols - 1] == 0)
                    and (label[at + cols + 1] == a or label[at + cols + 1] == 0)
                ):
                    continue
                for dy, dx in ((0, 1), (1, 0), (1, -1), (1, 1)):
                    v, u = y + dy, x + dx
                    b = labels[v, u]  # of a pixel of the halo its number where a climb exits
                    if b == a or values[v, u] != value or (not eight and dy != 0 and dx != 0):
                        continue
                    saddle = min(height[y, x], height[v, u])
                    if v < rows - 1 and 0 < u < cols - 1:
                        low, other = min(a, b), max(a, b)
                        if n > 0 and inner[n - 1, 0] == low and inner[n - 1, 1] == other:
                            inner[n - 1, 2] = max(inner[n - 1, 2], saddle)
                            continue
                        if n == inner.shape[0]:
                            inner = _taller(inner)
                        inner[n, 0], inner[n, 1], inner[n, 2] = low, other, saddle
                        n += 1
                    else:
                        if m == outer.shape[0]:
                            outer = _taller(outer)
                        outer[m, 0], outer[m, 1], outer[m, 2] = a, v * cols + u, saddle
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


@dataclass(frozen=True, slots=True)
class ChunkBasins:
    """What is kept of a chunk once its labels are put aside: its basins, and those along its four sides.

    As bytes: the sixteen arrays of a chunk without any object take 3 kB, and a country has half a million
    chunks.

    Attributes
    ----------
    packed
        What :meth:`unpacked` gives.
    shape
        Height and width of the chunk, pixels.
    sizes
        Basins, pairs that meet inside and outside, runs along the sides.
    """

    packed: bytes
    shape: tuple[int, int]
    sizes: tuple[int, int, int, int]

    @classmethod
    def of(cls, basins: Basins) -> ChunkBasins:
        """The part of ``basins`` that the other chunks need."""
        labels = basins.labels
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        # As pixels they would be most of what is kept, 25 kB of a default chunk.
        starts = np.flatnonzero(np.diff(border, prepend=border[0] - 1)).astype(np.int32)
        sides = {"starts": starts, "values": border[starts]}
        sizes = basins.area.size - 1, len(basins.inner), len(basins.outer), starts.size
        packed = b"".join(
            np.ascontiguousarray(sides[name] if name in sides else getattr(basins, name), dtype)
            .reshape(-1)[1 if kind == _BASINS else 0 :]
            .tobytes()
            for name, dtype, kind in _PACKED
        )
        return cls(packed, (labels.shape[0], labels.shape[1]), sizes)

    def unpacked(self, *names: str) -> list[Array]:
        """Arrays by their names in :class:`Basins`, without the entry 0 of those that have one.

        Also ``starts`` and ``values``, (n,) int32: runs of equal labels along the sides (top, bottom, left,
        right, one behind the other): where each begins, and its label.
        """
        found, offset = {}, 0
        for name, dtype, kind in _PACKED:
            count = self.sizes[kind] * (3 if kind in (_INNER, _OUTER) else 1)
            if name in names:
                values = np.frombuffer(self.packed, dtype, count, offset)
                found[name] = values.reshape(-1, 3) if kind in (_INNER, _OUTER) else values
            offset += count * np.dtype(dtype).itemsize
        return [found[name] for name in names]

    def at(self, rows: IntArray, cols: IntArray) -> Array:
        """Basins of border pixels, given by row and column in the chunk."""
        height, width = self.shape
        place = np.where(cols == 0, 2 * width + rows, 2 * width + height + rows)
        place = np.where(rows == height - 1, width + cols, place)
        place = np.where(rows == 0, cols, place)
        inside = (rows > 0) & (rows < height - 1) & (cols > 0) & (cols < width - 1)
        if inside.any():
            raise ValueError("only basins along the borders are known")
        starts, values = self.unpacked("starts", "values")
        return np.asarray(values[np.searchsorted(starts, place, side="right") - 1])
