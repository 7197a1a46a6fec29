"""Labels of chunks made one: which components meet across borders, and their numbers in the whole raster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from geoseg.raster.segments import Segments, find_segments
from geoseg.raster.unions import link_segments, roots, unite
from geoseg.typing import Array, Connectivity, IntArray

__all__ = ["ChunkRuns", "ChunkSides", "ChunkSummary", "label_runs", "merge_labels", "summarize_runs"]


class ChunkRuns(NamedTuple):
    """A labeled chunk by its runs.

    Attributes
    ----------
    segments
        Rows of the chunk.
    component : (n,) int32
        Component of each segment, 0 for background.
    components
        Number of components.
    """

    segments: Segments
    component: Array
    components: int


class ChunkSides(NamedTuple):
    """What lies along the borders of a chunk: all that its neighbors must know of its pixels.

    Attributes
    ----------
    top, bottom : (width,) int32
        Numbers along the first and the last row.
    left, right : (height,) int32
        Numbers down the first and the last column.
    """

    top: Array
    bottom: Array
    left: Array
    right: Array


class ChunkSummary(NamedTuple):
    """What other chunks must know of a labeled chunk.

    Attributes
    ----------
    value : (count + 1,) int32
        Value of each component; entry 0 is background.
    first : (count + 1, 2) int32
        Row and column of its first pixel, in the chunk.
    sides
        Components along its borders.
    """

    value: Array
    first: Array
    sides: ChunkSides


def label_runs(values: Array, connectivity: Connectivity) -> ChunkRuns:
    """Label a chunk; ``values`` as ``as_values`` gives them, at least one pixel."""
    segments = find_segments(values)
    return ChunkRuns(segments, *link_segments(segments, connectivity))


def summarize_runs(runs: ChunkRuns) -> ChunkSummary:
    """The summary of a labeled chunk."""
    row_ptr, start, value, width = runs.segments
    component = runs.component
    values = np.zeros(runs.components + 1, np.int32)
    values[component] = value
    ids, where = np.unique(component, return_index=True)
    first = np.zeros((runs.components + 1, 2), np.int32)
    first[ids, 0] = np.searchsorted(row_ptr, where, side="right") - 1
    first[ids, 1] = start[where]

    def along(row: int) -> Array:
        part = slice(row_ptr[row], row_ptr[row + 1])
        return np.repeat(component[part], np.diff(start[part], append=width))

    left, right = component[row_ptr[:-1]], component[row_ptr[1:] - 1]
    sides = ChunkSides(along(0), along(len(row_ptr) - 2), left, right)
    return ChunkSummary(values, first, sides)


def merge_labels(
    summaries: Mapping[tuple[int, int], ChunkSummary],
    row_offs: Sequence[int],
    col_offs: Sequence[int],
    connectivity: Connectivity,
) -> dict[tuple[int, int], Array]:
    """Numbers of all components in the whole raster.

    Parameters
    ----------
    summaries
        By chunk row and column.
    row_offs, col_offs
        First row of each chunk row and first column of each chunk column.
    connectivity
        4 or 8.

    Returns
    -------
    dict of (count + 1,) int32
        By chunk: number of each of its components, contiguous from 1 in raster order of the first pixel of
        the whole object; 0 for background.
    """
    places = [(i, j) for i in range(len(row_offs)) for j in range(len(col_offs))]
    counts = np.array([len(summaries[place].value) - 1 for place in places], np.int64)
    # All components of the raster in one row of numbers from 0; a chunk counts its own from 1.
    base = dict(zip(places, np.concatenate([[0], np.cumsum(counts)])[:-1].tolist(), strict=True))
    pairs = [pair for i, j in places for pair in _pairs(summaries, base, (i, j), connectivity)]
    # First pixels in raster order: the row in the upper 32 bits, the column in the lower ones.
    first = np.concatenate(
        [
            (summaries[i, j].first[1:, 0].astype(np.int64) + row_offs[i] << 32)
            + (summaries[i, j].first[1:, 1] + col_offs[j])
            for i, j in places
        ]
    )
    everyone = np.arange(first.size)
    parent = everyone.copy()
    if pairs:
        unite(parent, *np.ascontiguousarray(np.concatenate(pairs).T))
    root = roots(parent, everyone)
    # The component that stands for an object need not be the one that holds its first pixel.
    earliest = first.copy()
    np.minimum.at(earliest, root, first)
    stands = np.flatnonzero(root == everyone)
    number = np.zeros(root.size, np.int64)
    number[stands[np.argsort(earliest[stands], kind="stable")]] = np.arange(1, stands.size + 1)
    number = number[root]
    return {
        place: np.concatenate([[0], number[base[place] : base[place] + count]]).astype(np.int32)
        for place, count in zip(places, counts, strict=True)
    }


def _pairs(
    summaries: Mapping[tuple[int, int], ChunkSummary],
    base: Mapping[tuple[int, int], int],
    place: tuple[int, int],
    connectivity: Connectivity,
) -> list[IntArray]:
    """Components of a chunk and of the chunks above and to the left that are one."""
    i, j = place
    own = summaries[place]
    pairs: list[IntArray] = []

    def meet(other: tuple[int, int], theirs: Array, ours: Array) -> None:
        neighbor = summaries[other]
        same = (ours != 0) & (theirs != 0) & (own.value[ours] == neighbor.value[theirs])
        pair = np.stack([theirs[same] + (base[other] - 1), ours[same] + (base[place] - 1)], axis=1)
        # A long border names the same pair at each of its pixels.
        pairs.append(np.unique(pair.astype(np.int64), axis=0))

    def border(other: tuple[int, int], theirs: Array, ours: Array) -> None:
        meet(other, theirs, ours)
        if connectivity == 8:
            meet(other, theirs[:-1], ours[1:])
            meet(other, theirs[1:], ours[:-1])

    if i:
        border((i - 1, j), summaries[i - 1, j].sides.bottom, own.sides.top)
    if j:
        border((i, j - 1), summaries[i, j - 1].sides.right, own.sides.left)
    # Chunks that share nothing but a corner: two pixels each to look at.
    if connectivity == 8 and i and j:
        meet((i - 1, j - 1), summaries[i - 1, j - 1].sides.bottom[-1:], own.sides.top[:1])
    if connectivity == 8 and i and (i - 1, j + 1) in summaries:
        meet((i - 1, j + 1), summaries[i - 1, j + 1].sides.bottom[:1], own.sides.top[-1:])
    return pairs
