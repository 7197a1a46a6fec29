"""Blocks in work: cut windows, predict them in batches that run across blocks, sum what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from geoseg.errors import ModelError
from geoseg.geo.blocks import BlockPlan
from geoseg.geo.windows import Window
from geoseg.raster.pages import copy_pages, zero_pages
from geoseg.raster.stitch import add_weighted
from geoseg.typing import Array, BoolArray, PredictBatch

__all__ = ["Block", "Piece", "predict_blocks", "sum_pieces", "window_is_valid"]


@dataclass(frozen=True)
class Piece:
    """What one block adds to one chunk.

    Attributes
    ----------
    chunk
        (row, column) of the chunk.
    offset
        (row, column) of the piece's first pixel inside the chunk.
    values
        (K, h, w) sums of weighted predictions; a copy of its own.
    """

    chunk: tuple[int, int]
    offset: tuple[int, int]
    values: Array


@dataclass
class Block:
    """The pixels under the windows of one block, and the sum of what was predicted there.

    Attributes
    ----------
    plan
        The plan of the whole scene.
    index
        (row, column) of the block.
    image
        (C, h, w) in the scene's dtype: the block's pixels, cut at the scene's edge.
    valid
        bool (h, w), True = data; None: everywhere.
    fill
        Value that invalid pixels take before the network sees them, one or one a channel.
    inside
        bool (h, w), True = looked at; None: everywhere. The network sees what lies outside, but windows
        without a pixel inside do not run, and ``valid`` becomes what is valid and inside.
    known
        Windows that were added already and need not run.
    total
        (K, h, w) sum of what was added so far.
    """

    plan: BlockPlan
    index: tuple[int, int]
    image: Array
    valid: BoolArray | None = None
    fill: float | Array = 0
    inside: BoolArray | None = None
    known: set[tuple[int, int]] = field(default_factory=set, init=False)
    total: Array | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # What is invalid reaches into the receptive field of valid pixels, so it must look like nothing.
        if self.valid is not None and not self.valid.all():
            fill = np.broadcast_to(np.asarray(self.fill, dtype=self.image.dtype), (len(self.image),))
            self.image = np.where(self.valid, self.image, fill[:, None, None])
        # Only now: pixels outside keep what they show, so that the network sees what lies around an area.
        if self.inside is not None:
            self.valid = self.inside if self.valid is None else self.valid & self.inside
        if self.valid is not None and self.valid.all():
            self.valid = None  # then no window has to be looked at
        where = self.plan.block_window(*self.index)
        short = where.height - self.image.shape[1], where.width - self.image.shape[2]
        # Only a scene smaller than a window is short of pixels; what is mirrored is cut off again.
        if any(short):
            self.image = np.pad(self.image, ((0, 0), (0, short[0]), (0, short[1])), mode="reflect")

    def windows_to_run(self) -> list[tuple[int, int]]:
        """(row, column) of the windows with at least one valid pixel, y outer and x inner."""
        return [
            (i, j)
            for i, j in self.plan.windows(*self.index)
            if (i, j) not in self.known
            and (self.valid is None or window_is_valid(self.plan, self.index, self.valid, i, j))
        ]

    @property
    def n_skipped(self) -> int:
        """Windows that do not run: without a valid pixel, or known before."""
        return sum(1 for _ in self.plan.windows(*self.index)) - len(self.windows_to_run())

    def cut(self, i: int, j: int) -> Array:
        """Pixels (C, h, w) of window (i, j), a view."""
        where = _window_in_block(self.plan, self.index, i, j)
        return self.image[:, where.rows, where.cols]

    def add(self, i: int, j: int, prob: Array) -> None:
        """Add the prediction (K, h, w) of window (i, j)."""
        plan = self.plan
        if self.total is None:
            where = plan.block_window(*self.index)
            self.total = zero_pages((len(prob), where.height, where.width), plan.accumulator)
        at = _window_in_block(plan, self.index, i, j)
        add_weighted(self.total, prob, plan.y.weights[i], plan.x.weights[j], at.row_off, at.col_off)

    def pieces(self, classes: int) -> list[Piece]:
        """What the block adds to its chunks; zeros where no window was predicted."""
        where = self.plan.block_window(*self.index)
        dtype = self.plan.accumulator
        out = []
        for hy in self.plan.y.hits(self.index[0]):
            for hx in self.plan.x.hits(self.index[1]):
                if self.total is None:
                    values = zero_pages((classes, hy.stop - hy.start, hx.stop - hx.start), dtype)
                else:
                    rows = slice(hy.start - where.row_off, hy.stop - where.row_off)
                    cols = slice(hx.start - where.col_off, hx.stop - where.col_off)
                    # A view would keep the whole block until the last of its chunks is done.
                    values = copy_pages(self.total[:, rows, cols])
                chunk = hy.chunk, hx.chunk
                out.append(Piece(chunk, self.plan.offset(self.index, chunk), values))
        return out

    def completed(self) -> Iterator[tuple[int, int]]:
        """Chunks that are complete with this block, given that earlier ones are; they lie under it whole."""
        y, x = self.plan.y.completed(self.index[0]), self.plan.x.completed(self.index[1])
        return itertools.product(y, x)

    def valid_of(self, chunk: tuple[int, int]) -> BoolArray | None:
        """Validity (h, w) of a chunk that is complete with this block; None: everywhere."""
        if self.valid is None:
            return None
        around = self.plan.block_window(*self.index)
        part = self.plan.chunk_window(*chunk).shifted(-around.row_off, -around.col_off)
        # A copy, or the chunk would hold the whole block's validity in memory until it is written.
        return self.valid[part.rows, part.cols].copy()


def _window_in_block(plan: BlockPlan, index: tuple[int, int], i: int, j: int) -> Window:
    where = plan.block_window(*index)
    return Window(
        row_off=plan.y.starts[i] - where.row_off,
        col_off=plan.x.starts[j] - where.col_off,
        height=plan.y.window,
        width=plan.x.window,
    )


def window_is_valid(plan: BlockPlan, index: tuple[int, int], valid: BoolArray, i: int, j: int) -> bool:
    """Whether window (i, j) of a block holds a valid pixel; ``valid`` is the block's (h, w)."""
    where = _window_in_block(plan, index, i, j)
    return bool(valid[where.rows, where.cols].any())


#: A window to run: its block, its row and its column in the grid.
BlockWindow = tuple[Block, int, int]


def predict_blocks(
    blocks: Iterable[Block],
    predict: PredictBatch,
    batch_size: int,
    *,
    wanted: Callable[[list[BlockWindow]], bool] = lambda batch: True,
) -> Iterator[Block]:
    """Predict the valid windows of blocks in batches filled across blocks; yield blocks as they are done.

    Blocks come back in the order given. Which windows share a batch depends on the blocks alone, so the
    same blocks give the same batches in every run.

    Parameters
    ----------
    blocks
        Blocks in row-major order; taken one at a time.
    predict
        From (N, C, h, w) in the scene's dtype to (N, K, h, w).
    batch_size
        Windows of a batch; the last batch may be shorter.
    wanted
        Tells of a whole batch whether it has to run at all.

    Raises
    ------
    ModelError
        The network's output does not have the shape of its input.
    """
    # Blocks not handed back yet, and how many of their windows are left.
    waiting: list[tuple[Block, int]] = []
    batch: list[BlockWindow] = []

    def run() -> None:
        if batch and wanted(batch):
            stack = np.stack([block.cut(i, j) for block, i, j in batch])
            result = np.asarray(predict(stack))
            if result.ndim != 4 or len(result) != len(stack) or result.shape[2:] != stack.shape[2:]:
                raise ModelError(
                    f"the model must return (N, K, h, w) for an input (N, C, h, w) of {stack.shape}, "
                    f"got {result.shape}."
                )
            for (block, i, j), prob in zip(batch, result, strict=True):
                block.add(i, j, prob)
        # A batch that need not run counts as done, too: its blocks go on.
        for block, _, _ in batch:
            at = next(k for k, (other, _) in enumerate(waiting) if other is block)
            waiting[at] = (block, waiting[at][1] - 1)
        batch.clear()

    for block in blocks:
        windows = block.windows_to_run()
        waiting.append((block, len(windows)))
        for i, j in windows:
            batch.append((block, i, j))
            if len(batch) == batch_size:
                run()
        # A block whose windows are all invalid is done at once, but waits for those before it.
        while waiting and waiting[0][1] == 0:
            yield waiting.pop(0)[0]
    run()
    for block, _ in waiting:
        yield block


def sum_pieces(pieces: list[Piece], shape: tuple[int, int, int]) -> Array:
    """Sum the pieces of one chunk in the order given.

    Parameters
    ----------
    pieces
        Pieces of one chunk, blocks in row-major order, so that rounding is the same in every run.
    shape
        (K, h, w) of the chunk.
    """
    first = pieces[0].values
    # A chunk of one whole piece is that piece: nothing is copied.
    if len(pieces) == 1 and first.shape == shape:
        return first
    total = zero_pages(shape, first.dtype)
    for piece in pieces:
        row, col = piece.offset
        height, width = piece.values.shape[1:]
        total[:, row : row + height, col : col + width] += piece.values
    return total
