"""The driver: strips of blocks in order, reading and writing beside the network, finished chunks kept.

Blocks are read ahead by threads, predicted in this thread (one inference thread a device), and finished
chunks are turned to bytes and written by another thread. What is in flight is bounded, so memory depends
on the chunk and the network. Which windows share a batch depends on the strip alone; a run that goes
on after a kill repeats the very batches it needs, so its bytes are those of an undisturbed run.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.geo.blocks import BlockPlan
from geoseg.geo.windows import Window
from geoseg.pipeline.salvage import read_pixels
from geoseg.pipeline.store import ProbStore
from geoseg.raster.blocks import Block, Piece, predict_blocks, sum_pieces
from geoseg.raster.pages import copy_pages
from geoseg.raster.source import RasterSource
from geoseg.typing import Array, BoolArray, OnError, PredictBatch, Progress, no_progress

__all__ = ["BlockReader", "PredictSummary", "TimedPredict", "predict_to_store", "read_ahead"]

#: Blocks that are read ahead, and chunks that wait to be written: what memory is bounded by. A few
#: bridge a slow read or write; more would only take memory, for on the whole the network takes longer.
_AHEAD = 3
_WRITES = 4


@dataclass(frozen=True)
class PredictSummary:
    """What a call of :func:`predict_to_store` did.

    Attributes
    ----------
    windows
        Windows that went through the network in this call.
    skipped
        Windows without a valid pixel among the blocks of this call.
    seconds, network_seconds
        Wall time, and the part of it spent inside the network's callable; that of all workers together.
    notes
        What the predictors of workers have to tell.
    """

    windows: int
    skipped: int
    seconds: float
    network_seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockReader:
    """Reads the pixels and the validity of the blocks of a scene.

    Attributes
    ----------
    source
        The scene.
    plan
        Its blocks.
    fill
        Value that invalid pixels take before the network sees them, one or one a channel.
    inside
        Area of interest: pixels of a window that count, (h, w); None = all.
    on_error
        ``fail``: a region that can't be read ends the run. ``skip``: it counts as invalid and is noted.
    first
        What is known of the scene's first window (K, h, w), which then does not run again.
    """

    source: RasterSource
    plan: BlockPlan
    fill: float | Array = 0
    inside: Callable[[Window], BoolArray] | None = None
    on_error: OnError = "fail"
    first: Array | None = None

    def __call__(self, index: tuple[int, int]) -> tuple[Block, list[dict[str, Any]]]:
        """The block, and regions of it that could not be read."""
        window = self.plan.block_window(*index).clipped(*self.plan.shape)
        inside = None if self.inside is None else self.inside(window)
        if inside is not None and not inside.any():
            # Nothing of it counts, so it need not be read.
            image = np.zeros((self.source.count, *inside.shape), self.source.dtype)
            return Block(self.plan, index, image, inside, self.fill), []
        image, valid, failures = read_pixels(self.source, window, self.on_error)
        block = Block(self.plan, index, copy_pages(image), valid, self.fill, inside)
        # It went through the network when the outputs were counted.
        if self.first is not None and index == (0, 0):
            block.add(0, 0, self.first)
            block.known.add((0, 0))
        return block, failures


def predict_to_store(
    reader: BlockReader, predict: PredictBatch, store: ProbStore, *, progress: Progress = no_progress
) -> PredictSummary:
    """Predict what the store lacks.

    Parameters
    ----------
    reader
        Reads the blocks of the scene.
    predict
        From (N, C, h, w) in the scene's dtype to probabilities (N, K, h, w).
    store
        Where chunks go; its batch size counts.
    progress
        Told of finished blocks.

    Raises
    ------
    SceneError
        A region can't be read; the message names it.
    RunError
        A chunk can't be written.
    """
    plan, batch_size = reader.plan, store.batch_size
    missing = store.lacking(reader.on_error)
    needed = plan.blocks_over(missing)
    # Whole strips, also where a part is done already: batches are filled from block to block, and which
    # windows share a batch decides the last bits of what the network gives.
    strips, order, counted = (plan.strips(needed, batch_size) for _ in range(3))
    n_blocks = sum(map(len, counted))
    clock, timed = time.perf_counter(), TimedPredict(predict)
    # Pieces of the chunks that are begun; those of finished ones are dropped as they arrive.
    pending: dict[tuple[int, int], list[Piece]] = {}
    done = skipped = 0
    with _Writer(store) as writer:
        stream = read_ahead(reader, itertools.chain.from_iterable(order), store.note_failures)
        for strip in strips:
            for block in predict_blocks(
                itertools.islice(stream, len(strip)),
                timed,
                batch_size,
                wanted=lambda batch: any(needed[b.index] for b, _, _ in batch),
            ):
                done += 1
                # Other blocks of the strip only filled up batches; their results are stored already.
                if needed[block.index]:
                    skipped += block.n_skipped
                    _hand_over(block, store.classes, missing, pending, writer)
                # Megapixels of the scene, not of the windows, which overlap: so the rate does not depend on
                # the overlap, and the scene's size over it is the time that is left.
                share = done / (plan.n_blocks[0] * plan.n_blocks[1])
                speed = plan.shape[0] * plan.shape[1] * share / 1e6 / (time.perf_counter() - clock)
                progress("predict", done, n_blocks, mpx_per_s=speed)
    return PredictSummary(timed.windows, skipped, time.perf_counter() - clock, timed.seconds)


class TimedPredict:
    """Counts windows and seconds inside the network."""

    def __init__(self, predict: PredictBatch) -> None:
        self.predict, self.windows, self.seconds = predict, 0, 0.0

    def __call__(self, batch: Array) -> Array:
        start = time.perf_counter()
        result = self.predict(batch)
        self.seconds += time.perf_counter() - start
        self.windows += len(batch)
        return result


def _hand_over(
    block: Block,
    classes: int,
    missing: BoolArray,
    pending: dict[tuple[int, int], list[Piece]],
    writer: _Writer,
) -> None:
    """Give a block's pieces to the chunks that wait for them, and those that have all to the writer."""
    for piece in block.pieces(classes):
        if missing[piece.chunk]:
            pending.setdefault(piece.chunk, []).append(piece)
    # The pieces are copies: the sums of a whole block need not wait for its strip to end.
    block.total = None
    for chunk in block.completed():
        if missing[chunk]:
            writer.submit(chunk, pending.pop(chunk), block.valid_of(chunk))


def read_ahead(
    reader: BlockReader,
    order: Iterable[tuple[int, int]],
    note_failures: Callable[[tuple[int, int], list[dict[str, Any]]], None],
) -> Iterator[Block]:
    """Blocks in order, a few of them read ahead by threads; regions that could not be read are noted."""
    waiting: deque[tuple[tuple[int, int], Future[tuple[Block, list[dict[str, Any]]]]]] = deque()
    todo = iter(order)
    # Two threads: one decodes while the other waits for the disk or a server.
    with ThreadPoolExecutor(2, thread_name_prefix="geoseg-read") as pool:
        try:
            for index in itertools.islice(todo, _AHEAD):
                waiting.append((index, pool.submit(reader, index)))
            while waiting:
                index, future = waiting.popleft()
                block, failures = future.result()
                # Before the block's chunks are written: their lines in the record name the failures.
                note_failures(index, failures)
                for following in itertools.islice(todo, 1):
                    waiting.append((following, pool.submit(reader, following)))
                yield block
        finally:
            # After an error or Ctrl-C the pool would otherwise read what is queued before it ends.
            for _, future in waiting:
                future.cancel()


class _Writer:
    """Sums, quantizes and writes chunks in a thread of its own; at most a few wait."""

    def __init__(self, store: ProbStore) -> None:
        self.store = store
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="geoseg-write")
        self.waiting: deque[Future[None]] = deque()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            # After an error its own reason is the one to be told, not that of a write that failed as well.
            while self.waiting and kind is None:
                self.waiting.popleft().result()
        finally:
            self.pool.shutdown(wait=True)

    def submit(self, chunk: tuple[int, int], pieces: list[Piece], valid: BoolArray | None) -> None:
        """Queue a chunk; waits while too many are queued."""
        # Those that are done are looked at as well, so that a full disk ends the run at once.
        while len(self.waiting) >= _WRITES or (self.waiting and self.waiting[0].done()):
            self.waiting.popleft().result()
        self.waiting.append(self.pool.submit(self._write, chunk, pieces, valid))

    def _write(self, chunk: tuple[int, int], pieces: list[Piece], valid: BoolArray | None) -> None:
        window = self.store.plan.chunk_window(*chunk)
        total = sum_pieces(pieces, (self.store.classes, window.height, window.width))
        self.store.write(*chunk, total, valid)
