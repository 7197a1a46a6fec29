"""Ids of split objects as a lazy dask array, exact across chunks.

As with plain labels, each chunk is worked on once and kept as runs; one task joins the basins of all chunks;
then every chunk is painted from its runs.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.array.overlap import ensure_minimum_chunksize, overlap
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from geoseg.errors import InputError
from geoseg.lazy.labels import as_plane, chunk_grid
from geoseg.raster.labels import check_connectivity, paint
from geoseg.raster.segments import Segments, as_values
from geoseg.raster.split import (
    ChunkBasins,
    Objects,
    SplitRule,
    as_stored,
    find_basins,
    join_basins,
    smooth_height,
    smoothing_weights,
)
from geoseg.typing import Array, Connectivity

__all__ = ["split_by_height"]

Place = tuple[int, int]


def split_by_height(
    mask: da.Array | Array, height: da.Array | Array, rule: SplitRule, connectivity: int = 8
) -> da.Array:
    """Number the objects of a mask, and take those apart that touch across a valley of a height field.

    Parameters
    ----------
    mask : (H, W) bool or integers
        0 is background; only pixels of equal values are one object. NumPy or dask, in any chunks.
    height : (H, W) uint8 or floats
        Probability; see :func:`geoseg.raster.split.as_stored`.
    rule
        When two parts are two objects.
    connectivity : 4 or 8
        Whether pixels must share a side (4) or a corner is enough (8).

    Returns
    -------
    dask array (H, W) int32
        Lazy. Ids are contiguous from 1 in raster order of each object's first pixel, whatever the chunks.

    Raises
    ------
    InputError
        Arrays that do not fit each other, or another connectivity.
    """
    connectivity = check_connectivity(connectivity)
    plane = as_plane(mask)
    field: Any = height if isinstance(height, da.Array) else da.from_array(np.asarray(height), chunks=-1)
    if field.shape != plane.shape:
        raise InputError(f"height must have the shape of the mask, {plane.shape}, got {field.shape}.")
    if field.dtype != np.uint8 and field.dtype.kind != "f":
        raise InputError(
            f"height must be uint8 (0 .. 254) or floats from 0 to 1, got {field.dtype}. Scale it first."
        )
    if plane.size == 0:
        return da.zeros(plane.shape, np.int32, chunks=plane.chunks)
    # A chunk sees its next neighbors only, so these must be as deep as the reach.
    plane = plane.rechunk(
        tuple(
            ensure_minimum_chunksize(min(rule.reach, side), sizes)
            for side, sizes in zip(plane.shape, plane.chunks, strict=True)
        )
    )
    depth = {axis: min(rule.reach, side) for axis, side in enumerate(plane.shape)}
    wide_mask = overlap(plane, depth, boundary="none", allow_rechunk=False)
    wide_field = overlap(field.rechunk(plane.chunks), depth, boundary="none", allow_rechunk=False)
    places, rows, cols = chunk_grid(plane)
    name = "split-by-height-" + tokenize(plane.name, field.name, rule, connectivity)
    graph: dict[Any, Any] = {}
    for i, j in places:
        inner = (rows[i], cols[j], plane.chunks[0][i], plane.chunks[1][j])
        graph[f"basins-{name}", i, j] = (
            _basins, (wide_mask.name, i, j), (wide_field.name, i, j), inner, plane.shape, rule, connectivity,
        )  # fmt: skip
        # The summary is a task of its own, so that joining does not wait with the labels of all chunks in
        # memory.
        graph[f"summary-{name}", i, j] = (_summary, (f"basins-{name}", i, j))
        graph[name, i, j] = (_paint, (f"basins-{name}", i, j), f"join-{name}", (i, j))
    summaries = [(f"summary-{name}", *place) for place in places]
    graph[f"join-{name}"] = (_join, summaries, places, rows, cols, plane.shape[1], rule)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[wide_mask, wide_field])
    return da.Array(layers, name, plane.chunks, dtype=np.int32)


def _basins(
    mask: Any,
    field: Any,
    inner: tuple[int, int, int, int],
    shape: tuple[int, int],
    rule: SplitRule,
    connectivity: Connectivity,
) -> tuple[Segments, ChunkBasins]:
    """Runs of a chunk's basins, and the basins; ``mask`` and ``field`` hold the pixels around it as well."""
    row, col, rows, cols = inner
    reach = rule.reach
    before = tuple(min(reach, off) for off in (row, col))
    after = [min(reach, shape[0] - row - rows), min(reach, shape[1] - col - cols)]
    missing = [(reach - first, reach - last) for first, last in zip(before, after, strict=True)]
    values = np.pad(as_values(np.asarray(mask)), missing)
    values = values[reach - 1 : reach + rows + 1, reach - 1 : reach + cols + 1]
    height = np.pad(as_stored(np.asarray(field)), missing)
    # Pixels beyond the raster are zero in both arrays, as a run on disk has them: the ids are the same.
    smooth = smooth_height(height, values, smoothing_weights(rule.sigma))
    # Nothing is summed over these basins: one zero, without memory of its own, stands for all pixels.
    nothing = np.zeros((1, 1), np.uint8)
    basins = find_basins(
        smooth,
        values,
        (row, col),
        shape[1],
        connectivity,
        np.broadcast_to(nothing, (rows, cols)),
        np.zeros(values.shape, np.bool_),
    )
    return basins.segments, ChunkBasins.of(basins)


def _summary(found: tuple[Segments, ChunkBasins]) -> ChunkBasins:
    return found[1]


def _join(
    summaries: list[ChunkBasins],
    places: list[Place],
    rows: list[int],
    cols: list[int],
    width: int,
    rule: SplitRule,
) -> Objects:
    chunks = {(place[0], place[1]): summary for place, summary in zip(places, summaries, strict=True)}
    return join_basins(chunks, rows, cols, width, persistence=rule.persistence, min_pixels=rule.min_pixels)


def _paint(found: tuple[Segments, ChunkBasins], objects: Objects, place: Place) -> Array:
    segments = found[0]
    return paint(segments, objects.number[place[0], place[1]][segments.value])
