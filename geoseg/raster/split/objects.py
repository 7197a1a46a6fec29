"""From the basins of all chunks to objects: climbs followed across borders, basins joined at high saddles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geoseg.compiled import kernel
from geoseg.raster.split.basins import ChunkBasins
from geoseg.raster.split.heights import FULL_HEIGHT
from geoseg.typing import Array, BoolArray, IntArray

__all__ = ["ChunkNumbers", "Objects", "join_basins"]


@dataclass(frozen=True)
class ChunkNumbers:
    """The object of each basin, by chunk.

    Parameters
    ----------
    number : (n,) int32
        Of all basins of the raster, chunk behind chunk.
    base, counts : (rows, columns) int64
        Where those of each chunk begin, and how many there are.
    """

    number: Array
    base: IntArray
    counts: IntArray

    def __getitem__(self, place: tuple[int, int]) -> Array:
        """Of a chunk, by its row and column in the grid: (n + 1,) int32, 0 for the background."""
        numbers = np.zeros(self.counts[place] + 1, np.int32)
        numbers[1:] = self.number[self.base[place] : self.base[place] + self.counts[place]]
        return numbers


class Objects(NamedTuple):
    """The objects of a raster, numbered from 1 in raster order of their first pixels; entry 0 is background.

    Attributes
    ----------
    number
        Chunk to the object of each of its basins.
    value : (k + 1,) int32
        Value of the pixels.
    total : (k + 1,) int64
        Sum over the pixels.
    marked : (k + 1,) bool
        Whether a pixel lies beside a marked one.
    """

    number: ChunkNumbers
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
    rows, cols = np.asarray(row_offs), np.asarray(col_offs)
    counts = np.zeros((rows.size, cols.size), np.int64)
    for place, chunk in chunks.items():
        counts[place] = chunk.sizes[0]
    # By the grid and not by when they came: each chunk's basins lie where its place says.
    base = counts.cumsum().reshape(counts.shape) - counts
    places = sorted(chunks)

    def stack(name: str) -> Array:
        return np.concatenate([chunks[place].unpacked(name)[0] for place in places])

    if not counts.any():
        empty = np.zeros(1, np.int64)
        numbers = ChunkNumbers(empty[:0].astype(np.int32), base, counts)
        return Objects(numbers, empty.astype(np.int32), empty, empty.astype(bool))
    terminal = stack("terminal")

    def basins_at(pixels: IntArray) -> IntArray:
        """Basins (of the whole raster) of pixels on the borders of chunks."""
        row, col = pixels // width, pixels % width
        i, j = np.searchsorted(rows, row, "right") - 1, np.searchsorted(cols, col, "right") - 1
        basins = np.zeros(pixels.size, np.int64)
        grid = i * cols.size + j
        # Sorted by chunk, each chunk is looked up once for all of its pixels.
        order = np.argsort(grid, kind="stable")
        starts = np.flatnonzero(np.diff(grid[order], prepend=-1))
        for those in np.split(order, starts[1:]) if pixels.size else ():
            place = (int(i[those[0]]), int(j[those[0]]))
            local = chunks[place].at(row[those] - rows[place[0]], col[those] - cols[place[1]])
            basins[those] = local.astype(np.int64) + (base[place] - 1)
        return basins

    leads = np.arange(terminal.size)
    exits = stack("exits")
    leads[exits] = basins_at(terminal[exits])
    while (further := leads[leads]).tobytes() != leads.tobytes():  # climbs never turn back, so this ends
        leads = further

    edges = [np.empty((0, 3), np.int64)]
    for place in places:
        inner, outer = chunks[place].unpacked("inner", "outer")
        shift = base[place] - 1
        if len(inner):
            edges.append(np.column_stack([inner[:, :2] + shift, inner[:, 2]]))
        if len(outer):
            edges.append(np.column_stack([outer[:, 0] + shift, basins_at(outer[:, 1]), outer[:, 2]]))
    edge = np.concatenate(edges)
    first, second = leads[edge[:, 0]], leads[edge[:, 1]]
    low, high = np.minimum(terminal[first], terminal[second]), np.maximum(terminal[first], terminal[second])
    # From the highest saddle down; equal ones by their places in the raster, which no chunk changes.
    order = np.lexsort((high, low, -edge[:, 2]))
    order = order[first[order] != second[order]]

    # Of whole basins: one that borders cut into pieces counts with all of them.
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

    # Objects are numbered by their first pixels, and not by their summits: as labels are everywhere else.
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
    return Objects(ChunkNumbers(number, base, counts), value, total, marked)


@kernel
def _join(first, second, saddle, terminal, peak, area, persistence, min_pixels):  # type: ignore[no-untyped-def]
    """The basin that stands for each; ``area`` is changed."""
    parent = np.arange(terminal.size)
    for k in range(first.size):
        a, b = first[k], second[k]
        # Each step halves the way to the root, so that long chains are walked once.
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
        # The higher summit stands for both, of equal ones the earlier: so no order of edges changes it.
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
