"""Stitched prediction as a lazy dask array: the geometry of the blocks written as a graph.

Block (k, l) is one task: it takes the pixels under its windows, runs each window once and gives pieces
for the chunks it reaches. A chunk of the result is one task that sums its pieces. Nothing is predicted
twice, and the tasks need earlier blocks only, so any dask scheduler can run them.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from dask.highlevelgraph import HighLevelGraph

from geoseg.geo.blocks import BlockPlan
from geoseg.raster.blocks import Block, Piece, predict_blocks, sum_pieces
from geoseg.typing import Array, BoolArray, PredictBatch

__all__ = ["OneAtATime", "count_classes", "stitch"]


class OneAtATime:
    """A predict callable that runs one batch at a time, whatever the number of threads. Pickles."""

    def __init__(self, predict: PredictBatch) -> None:
        self._predict = predict
        self._lock = threading.Lock()

    def __call__(self, batch: Array) -> Array:
        with self._lock:
            return np.asarray(self._predict(batch))

    # A lock can't be pickled; on a cluster every worker has a network of its own, and a lock of its own.
    def __getstate__(self) -> PredictBatch:
        return self._predict

    def __setstate__(self, predict: PredictBatch) -> None:
        self._predict = predict
        self._lock = threading.Lock()


def count_classes(
    image: da.Array, valid: da.Array | None, plan: BlockPlan, predict: PredictBatch, fill: float | Array = 0
) -> tuple[int, Array | None]:
    """Number of outputs of a callable that does not say: by running the scene's first window now.

    Returns
    -------
    int, float array (K, h, w) or None
        Number of outputs, and what was predicted, for :func:`stitch` to reuse; None where the first
        window holds no valid pixel, so that zeros were tried instead.
    """
    block = _block(*_cut(image, valid, plan, (0, 0)), plan, (0, 0), fill)
    if block.windows_to_run()[:1] == [(0, 0)]:
        first = np.asarray(predict(block.cut(0, 0)[None].copy()))[0]
        return len(first), first
    # Zeros as they are: the first window is not predicted, so nothing of this reaches a result.
    shape = (1, image.shape[0], plan.y.window, plan.x.window)
    return np.asarray(predict(np.zeros(shape, image.dtype))).shape[1], None


def stitch(
    image: da.Array,
    valid: da.Array | None,
    plan: BlockPlan,
    predict: PredictBatch,
    *,
    classes: int,
    batch_size: int = 1,
    fill: float | Array = 0,
    first: Array | None = None,
) -> da.Array:
    """Stitched predictions of a whole scene, lazily.

    Parameters
    ----------
    image
        (C, H, W) in the scene's own dtype.
    valid
        bool (H, W), True = data, or None. Where it is False the result is NaN.
    plan
        Windows, blocks and chunks of the scene.
    predict
        From (N, C, h, w) to (N, K, h, w); must pickle for a cluster.
    classes
        K.
    batch_size
        Windows of a batch.
    fill
        Value that invalid pixels take before the network sees them.
    first
        What is known of the scene's first window (K, h, w), see :func:`count_classes`.

    Returns
    -------
    dask array (K, H, W) float32
        One chunk a block (see :attr:`BlockPlan.chunk_shape`).
    """
    # A name that no other call has: two models could share any name that is made of their code or weights,
    # and dask would then give one's result for the other's.
    name = f"stitch-{uuid.uuid4().hex}"
    graph: dict[Any, Any] = {}
    needs: list[Any] = []
    for row in range(plan.n_blocks[0]):
        for col in range(plan.n_blocks[1]):
            pixels, part_valid = _cut(image, valid, plan, (row, col))
            needs += [pixels] if part_valid is None else [pixels, part_valid]
            graph[f"block-{name}", row, col] = (
                _predict_block,
                _key(pixels),
                None if part_valid is None else _key(part_valid),
                plan,
                (row, col),
                predict,
                batch_size,
                fill,
                classes,
                first if (row, col) == (0, 0) else None,
            )
    for row in range(plan.n_chunks[0]):
        for col in range(plan.n_chunks[1]):
            window = plan.chunk_window(row, col)
            parts = [(f"block-{name}", *block) for block in plan.sources(row, col)]
            part_valid = None if valid is None else valid[window.rows, window.cols].rechunk(-1)
            if part_valid is not None:
                needs.append(part_valid)
            shape = (classes, window.height, window.width)
            graph[name, 0, row, col] = (
                _join,
                parts,
                (row, col),
                shape,
                None if part_valid is None else _key(part_valid),
            )
    chunks = ((classes,), *normalize_chunks(plan.chunk_shape, plan.shape))
    layers = HighLevelGraph.from_collections(name, graph, dependencies=needs)
    return da.Array(layers, name, chunks, dtype=np.float32)


def _key(array: da.Array) -> tuple[Any, ...]:
    return (array.name, *(0,) * array.ndim)


def _cut(
    image: da.Array, valid: da.Array | None, plan: BlockPlan, index: tuple[int, int]
) -> tuple[da.Array, da.Array | None]:
    window = plan.block_window(*index).clipped(*plan.shape)
    # One chunk, whatever the image's own: the task takes an array, not a list of them.
    pixels = image[:, window.rows, window.cols].rechunk(-1)
    return pixels, None if valid is None else valid[window.rows, window.cols].rechunk(-1)


def _block(pixels: Any, valid: Any, plan: BlockPlan, index: tuple[int, int], fill: float | Array) -> Block:
    return Block(plan, index, np.asarray(pixels), None if valid is None else np.asarray(valid), fill)


def _predict_block(
    pixels: Array,
    valid: BoolArray | None,
    plan: BlockPlan,
    index: tuple[int, int],
    predict: PredictBatch,
    batch_size: int,
    fill: float | Array,
    classes: int,
    first: Array | None,
) -> dict[tuple[int, int], Piece]:
    block = _block(pixels, valid, plan, index, fill)
    # It went through the network when the outputs were counted.
    if first is not None:
        block.add(0, 0, first)
        block.known.add((0, 0))
    for done in predict_blocks([block], predict, batch_size):
        return {piece.chunk: piece for piece in done.pieces(classes)}
    return {}


def _join(
    parts: list[dict[tuple[int, int], Piece]],
    chunk: tuple[int, int],
    shape: tuple[int, int, int],
    valid: BoolArray | None,
) -> Array:
    total = sum_pieces([part[chunk] for part in parts], shape).astype(np.float32, copy=False)
    # NaN only in chunks that have holes: np.where copies the whole chunk.
    if valid is not None and not valid.all():
        total = np.where(valid, total, np.float32(np.nan))
    return total
