"""Polygons of a whole mask or label raster, NumPy or dask, exact across chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.lazy.labels import as_plane
from geoseg.raster.labels import check_connectivity
from geoseg.raster.segments import as_values
from geoseg.typing import Array, Connectivity, IntArray
from geoseg.vector.assemble import Assembler, ChunkTrace
from geoseg.vector.chunk import ChunkValues, Halo, trace_chunk
from geoseg.vector.geometry import combine_parts, object_geometries, region_polygons
from geoseg.vector.rings import Outlines, concat_outlines

__all__ = ["Polygons", "lazy_outlines", "polygonize"]

_CHUNK = 2048


@dataclass(frozen=True)
class Polygons:
    """Polygons of objects, in raster order of their first pixels.

    Attributes
    ----------
    geometry : (n,) object
        shapely Polygon or MultiPolygon, always valid; x = column and y = row of pixel corners.
    values : (n,) int64
        Value of the pixels of each.
    ids : (n,) int64
        1 .. n for a mask; the value itself for labels.
    """

    geometry: Array
    values: IntArray
    ids: IntArray


def polygonize(
    mask_or_labels: da.Array | Array,
    *,
    connectivity: int = 8,
    values: Sequence[int] | None = None,
    by_value: bool | None = None,
) -> Polygons:
    """Outlines of objects as valid polygons with holes.

    Every chunk is read once; which chunks there are makes no difference to the result.

    Parameters
    ----------
    mask_or_labels : (H, W) bool or integers
        0 is background. NumPy or dask, in any chunks.
    connectivity : 4 or 8
        What makes pixels of one value one object: a side (4), or a side or a corner (8). Parts that meet at
        corners only become the parts of a MultiPolygon.
    values
        Only pixels of these values; None: all but 0.
    by_value
        True: one (Multi)Polygon for each value (labels). False: one for each object (a mask or a class
        map). None: False for booleans and integers of 8 bits, else True.

    Raises
    ------
    InputError
        Not two-dimensional, not of integers, chunks of unknown size, or another connectivity.

    Examples
    --------
    >>> found = polygonize(np.array([[1, 1, 0], [1, 0, 2]], np.uint8))
    >>> found.values.tolist(), [g.area for g in found.geometry]
    ([1, 2], [3.0, 1.0])
    >>> polygonize(np.array([[7, 0, 7]], np.int32)).geometry[0].geom_type
    'MultiPolygon'
    >>> len(polygonize(np.zeros((0, 4), bool)).geometry)
    0
    """
    connectivity = check_connectivity(connectivity)
    if by_value is None:
        by_value = np.dtype(mask_or_labels.dtype).itemsize > 1
    if not isinstance(mask_or_labels, da.Array):
        mask_or_labels = da.from_array(np.asarray(mask_or_labels), chunks=_CHUNK)
    plane = as_plane(mask_or_labels)
    if plane.size == 0:
        return Polygons(np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.int64))
    outlines = lazy_outlines(plane, 4 if by_value else connectivity, values).compute()
    return _whole_values(outlines) if by_value else _objects(outlines)


def lazy_outlines(
    plane: da.Array, connectivity: Connectivity, values: Sequence[int] | None = None
) -> Delayed:
    """All outlines of a plane (see ``as_plane``) as one delayed ``Outlines``.

    One graph, in which every chunk is one task whose halo comes from one-pixel strips of its neighbors: a
    chunk can be forgotten as soon as it is traced.
    """
    wanted = None if values is None else _checked_values(values)
    name = "outlines-" + tokenize(plane.name, connectivity, wanted)
    places = [(i, j) for i in range(plane.numblocks[0]) for j in range(plane.numblocks[1])]
    row_offs, col_offs = ([0, *accumulate(sizes[:-1])] for sizes in plane.chunks)
    graph: dict[Any, Any] = {}
    for i, j in places:
        window = Window(
            row_off=row_offs[i], col_off=col_offs[j], height=plane.chunks[0][i], width=plane.chunks[1][j]
        )
        graph[f"block-{name}", i, j] = (_prepare, (plane.name, i, j), wanted)
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
        )
    traces = [(f"trace-{name}", i, j) for i, j in places]
    graph[name] = (_assemble, traces, plane.shape, plane.numblocks[1], connectivity)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[plane])  # type: ignore[list-item]
    return Delayed(name, layers)


def _checked_values(values: Sequence[int]) -> IntArray:
    array = np.unique(np.asarray(values))
    if array.size and array.dtype.kind not in "ui":
        raise InputError(f"values must be integers, got {list(values)}.")
    return array.astype(np.int64)


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
) -> ChunkTrace:
    top = np.zeros(window.width + 1, values.dtype)
    if corner is not None:
        top[0] = corner[0][-1]
    if above is not None:
        top[1:] = above[0]
    left = np.zeros(window.height, values.dtype) if before is None else before[1]
    return trace_chunk(ChunkValues(values), Halo(top, left), window, tuple(shape), connectivity)  # type: ignore[arg-type]


def _assemble(
    traces: list[ChunkTrace], shape: tuple[int, int], columns: int, connectivity: Connectivity
) -> Outlines:
    assembler = Assembler(tuple(shape), columns, connectivity)  # type: ignore[arg-type]
    batches = [assembler.add(trace) for trace in traces]
    return concat_outlines([*(batch for batch in batches if batch is not None), assembler.finish()])


def _objects(outlines: Outlines) -> Polygons:
    order = np.argsort(outlines.key, kind="stable")
    geometry = object_geometries(outlines)[order]
    return Polygons(geometry, outlines.value[order].astype(np.int64), np.arange(1, len(order) + 1))


def _whole_values(outlines: Outlines) -> Polygons:
    """Regions put together by value."""
    polygons = region_polygons(outlines.xy, outlines.ring_offsets, outlines.part_offsets)
    order = np.argsort(outlines.key, kind="stable")
    values, first, owner = np.unique(outlines.value[order], return_index=True, return_inverse=True)
    rank = np.empty(values.size, np.int64)
    rank[np.argsort(first)] = np.arange(values.size)
    owner = rank[owner]
    by_owner = np.argsort(owner, kind="stable")
    geometry = combine_parts(polygons[order][by_owner], owner[by_owner], values.size)
    values = values[np.argsort(first)].astype(np.int64)
    return Polygons(geometry, values, values)
