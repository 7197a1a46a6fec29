"""Object ids of a whole mask as a lazy dask array, exact across chunks.

Each chunk is labeled once and kept as its runs, which is little (a mask of buildings shrinks a hundredfold);
one task reads the chunks' borders and numbers the objects; then every chunk is painted from its runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from geoseg.errors import InputError
from geoseg.raster.labels import check_connectivity, paint
from geoseg.raster.merge import ChunkRuns, ChunkSummary, label_runs, merge_labels, summarize_runs
from geoseg.raster.segments import as_values
from geoseg.typing import Array, Connectivity

__all__ = ["as_plane", "chunk_grid", "split_masks"]


def split_masks(mask: da.Array | Array, connectivity: int = 8) -> da.Array:
    """Number the objects of a mask.

    Parameters
    ----------
    mask : (H, W) bool or integers
        0 is background; pixels of one object have equal values and connect. NumPy or dask, in any chunks.
    connectivity : 4 or 8
        Whether pixels must share a side (4) or a corner is enough (8).

    Returns
    -------
    dask array (H, W) int32
        Lazy, in the mask's chunks. Ids are contiguous from 1 in raster order of each object's first pixel,
        whatever the chunks.

    Raises
    ------
    InputError
        Not two-dimensional, not of integers, chunks of unknown size, or another connectivity.

    Examples
    --------
    >>> mask = da.from_array(np.array([[1, 1, 0, 1], [0, 0, 1, 0]], bool), chunks=2)
    >>> split_masks(mask).compute().tolist()
    [[1, 1, 0, 1], [0, 0, 1, 0]]
    >>> split_masks(mask, connectivity=4).compute().tolist()
    [[1, 1, 0, 2], [0, 0, 3, 0]]
    """
    connectivity = check_connectivity(connectivity)
    plane = as_plane(mask)
    if plane.size == 0:
        return da.zeros(plane.shape, np.int32, chunks=plane.chunks)
    places, row_offs, col_offs = chunk_grid(plane)
    # Named by what goes in: the same mask asked twice is the same array to dask's caches.
    name = "split-masks-" + tokenize(plane.name, connectivity)
    merge = f"merge-{name}"
    graph: dict[Any, Any] = {}
    for place in places:
        graph[(f"runs-{name}", *place)] = (_label, (plane.name, *place), connectivity)
        # Of a chunk only its borders and counts go to the one task that all others wait for.
        graph[(f"summary-{name}", *place)] = (summarize_runs, (f"runs-{name}", *place))
        graph[(name, *place)] = (_paint, (f"runs-{name}", *place), merge, place)
    summaries = [(f"summary-{name}", *place) for place in places]
    graph[merge] = (_merge, summaries, places, row_offs, col_offs, connectivity)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[plane])
    return da.Array(layers, name, plane.chunks, dtype=np.int32)


def as_plane(mask: da.Array | Array) -> Any:
    """A mask as a dask array without empty chunks, checked as far as that goes without its pixels.

    Raises
    ------
    InputError
        Not two-dimensional, not of integers, or chunks of unknown size.
    """
    # A NumPy array is one chunk: it is in memory already, and one task has no borders to join.
    plane: Any = mask if isinstance(mask, da.Array) else da.from_array(np.asarray(mask), chunks=-1)
    # Refuses dimensions and types by an array without pixels, so that nothing is computed.
    as_values(np.empty((0,) * plane.ndim, plane.dtype))
    if np.isnan(plane.shape).any():
        raise InputError("mask must have chunks of known size. Call its compute_chunk_sizes() first.")
    # An empty chunk has no border row, of which its neighbors could learn what touches them.
    if any(0 in sizes and sum(sizes) for sizes in plane.chunks):
        plane = plane.rechunk(tuple(tuple(n for n in sizes if n) or (0,) for sizes in plane.chunks))
    return plane


def chunk_grid(plane: da.Array) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """The chunks of a plane, row-major, with the first row of each row of them and the first column."""
    places = [(i, j) for i in range(plane.numblocks[0]) for j in range(plane.numblocks[1])]
    row_offs, col_offs = ([0, *accumulate(sizes[:-1])] for sizes in plane.chunks)
    return places, row_offs, col_offs


def _label(block: Any, connectivity: Connectivity) -> ChunkRuns:
    return label_runs(as_values(np.asarray(block)), connectivity)


def _merge(
    summaries: list[ChunkSummary],
    places: list[tuple[int, int]],
    row_offs: Sequence[int],
    col_offs: Sequence[int],
    connectivity: Connectivity,
) -> dict[tuple[int, int], Array]:
    named = {tuple(place): summary for place, summary in zip(places, summaries, strict=True)}
    return merge_labels(named, row_offs, col_offs, connectivity)  # type: ignore[arg-type]


def _paint(runs: ChunkRuns, numbers: dict[tuple[int, int], Array], place: tuple[int, int]) -> Array:
    return paint(runs.segments, numbers[tuple(place)][runs.component])  # type: ignore[index]
