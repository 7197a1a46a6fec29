"""Polygons of a whole mask or label raster, NumPy or dask, exact across chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.lazy.labels import as_plane, chunk_grid
from geoseg.raster.labels import check_connectivity
from geoseg.raster.segments import as_values
from geoseg.typing import Array, Connectivity, IntArray
from geoseg.vector.assemble import Assembler, ChunkTrace
from geoseg.vector.chunk import ChunkValues, Halo, trace_chunk
from geoseg.vector.forest import Groups
from geoseg.vector.rings import Outlines, concat_outlines, merge_values, take_objects

__all__ = ["lazy_outlines", "outlines_of"]

#: Chunk side of an array in memory, pixels: a chunk is a task, and a whole array as one would use one CPU.
_CHUNK = 2048


def outlines_of(
    mask_or_labels: da.Array | Array,
    *,
    connectivity: int = 8,
    values: Sequence[int] | None = None,
    by_value: bool | None = None,
    groups: bool = False,
) -> Outlines:
    """Outlines of the objects of a raster in memory, in raster order of their first pixels.

    Every chunk is read once; which chunks there are makes no difference to the result.

    Parameters
    ----------
    mask_or_labels : (H, W) bool or integers
        0 is background. NumPy or dask, in any chunks.
    connectivity : 4 or 8
        What makes pixels of one value one object: a side (4), or a side or a corner (8). Parts that meet at
        corners only become the parts of one object.
    values
        Only pixels of these values; None: all but 0.
    by_value
        True: one object for each value (labels). False: one for each connected set (a mask or a class map).
        None: False for booleans and integers of 8 bits, else True.
    groups
        Whether to number the groups of objects that touch; labels are one group.

    Raises
    ------
    InputError
        Not two-dimensional, not of integers, chunks of unknown size, or another connectivity.

    Examples
    --------
    >>> outlines = outlines_of(np.array([[1, 1, 0], [1, 0, 2]], np.uint8))
    >>> outlines.value.tolist(), outlines.pixels.tolist()
    ([1, 2], [3, 1])
    >>> len(outlines_of(np.array([[7, 0, 7]], np.int32)))
    1
    >>> len(outlines_of(np.zeros((0, 4), bool)))
    0
    """
    connectivity = check_connectivity(connectivity)
    if by_value is None:
        # Masks and class maps have 8 bits; who numbers objects needs more.
        by_value = np.dtype(mask_or_labels.dtype).itemsize > 1
    if not isinstance(mask_or_labels, da.Array):
        mask_or_labels = da.from_array(np.asarray(mask_or_labels), chunks=_CHUNK)
    plane = as_plane(mask_or_labels)
    # One pixel of background instead: no chunk, no task, and nothing that could end in empty outlines.
    if plane.size == 0:
        plane = da.zeros((1, 1), dtype=np.uint8)
    outlines = lazy_outlines(
        plane, 4 if by_value else connectivity, values, groups and not by_value
    ).compute()
    # Objects come out as their last chunk is traced; sorted, their order does not depend on the chunks.
    outlines = take_objects(outlines, np.argsort(outlines.key, kind="stable"))
    return merge_values(outlines) if by_value else outlines


def lazy_outlines(
    plane: da.Array,
    connectivity: Connectivity,
    values: Sequence[int] | None = None,
    groups: bool = False,
) -> Delayed:
    """All outlines of a plane (see ``as_plane``) as one delayed ``Outlines``.

    One graph, in which every chunk is one task whose halo comes from one-pixel strips of its neighbors: a
    chunk can be forgotten as soon as it is traced.
    """
    wanted: IntArray | None = None
    if values is not None:
        distinct = np.unique(np.asarray(values))
        if distinct.size and distinct.dtype.kind not in "ui":
            raise InputError(f"values must be integers, got {list(values)}.")
        # Sorted, each once: however they are listed, the graph has the same name.
        wanted = distinct.astype(np.int64)
    name = "outlines-" + tokenize(plane.name, connectivity, wanted, groups)
    places, row_offs, col_offs = chunk_grid(plane)
    graph: dict[Any, Any] = {}
    for i, j in places:
        window = Window(
            row_off=row_offs[i], col_off=col_offs[j], height=plane.chunks[0][i], width=plane.chunks[1][j]
        )
        graph[f"block-{name}", i, j] = (_prepare, (plane.name, i, j), wanted)
        # Strips of their own: a neighbor would otherwise hold on to the whole chunk.
        graph[f"border-{name}", i, j] = (_border, (f"block-{name}", i, j))
        graph[f"trace-{name}", i, j] = (
            _trace,
            (f"block-{name}", i, j),
            (f"border-{name}", i - 1, j - 1) if i and j else None,
            (f"border-{name}", i - 1, j) if i else None,
            (f"border-{name}", i, j - 1) if j else None,
            window,
            plane.shape,
            connectivity,
            groups,
        )
    traces = [(f"trace-{name}", i, j) for i, j in places]
    graph[name] = (_assemble, traces, plane.shape, plane.numblocks[1], connectivity, groups)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[plane])  # type: ignore[list-item]
    return Delayed(name, layers)


def _prepare(block: Any, wanted: IntArray | None) -> Array:
    values = as_values(np.asarray(block))
    return values if wanted is None else np.where(np.isin(values, wanted), values, values.dtype.type(0))


def _border(values: Array) -> tuple[Array, Array]:
    """Copies of the last row and the last column."""
    return values[-1].copy(), values[:, -1].copy()


_Border = tuple[Array, Array]


def _trace(
    values: Array,
    corner: _Border | None,
    above: _Border | None,
    before: _Border | None,
    window: Window,
    shape: tuple[int, int],
    connectivity: Connectivity,
    groups: bool,
) -> ChunkTrace:
    # Beyond the raster there is background.
    top = np.zeros(window.width + 1, values.dtype)
    if corner is not None:
        top[0] = corner[0][-1]
    if above is not None:
        top[1:] = above[0]
    left = np.zeros(window.height, values.dtype) if before is None else before[1]
    halo, height, width = Halo(top, left), *shape
    return trace_chunk(ChunkValues(values), halo, window, (height, width), connectivity, groups=groups)


def _assemble(
    traces: list[ChunkTrace],
    shape: tuple[int, int],
    columns: int,
    connectivity: Connectivity,
    wanted: bool,
) -> Outlines:
    groups = Groups()
    height, width = shape
    assembler = Assembler((height, width), columns, connectivity, groups if wanted else None)
    batches = [assembler.add(trace) for trace in traces]
    outlines = concat_outlines([*(batch for batch in batches if batch is not None), assembler.finish()])
    return replace(outlines, group=groups.final(outlines.group))
