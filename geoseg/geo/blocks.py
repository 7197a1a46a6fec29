"""Blocks: which windows are predicted together, and which chunks of the output they add to.

The windows of the grid are dealt to blocks of ``by x bx`` windows. A block reads its union rectangle
once, and hands what it predicted to the chunks under it. Chunks are squares of ``by * stride`` pixels,
so a chunk needs its own block and earlier ones only, and every window runs exactly once.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geoseg.geo.blend import blend_weights
from geoseg.geo.windows import Window, axis_starts
from geoseg.typing import Blend

__all__ = ["AxisPlan", "BlockPlan", "Hit", "plan_blocks"]


@dataclass(frozen=True, slots=True)
class Hit:
    """Pixels ``start`` to ``stop`` of the scene that a block adds to chunk ``chunk`` along one axis."""

    chunk: int
    start: int
    stop: int


@dataclass(frozen=True)
class AxisPlan:
    """Windows, blocks and chunks along one axis.

    Attributes
    ----------
    size, window, overlap
        Pixels of the scene, of a window, and shared by neighbors.
    per_block
        Windows of a block; a last window that was moved back joins the block before it.
    blend
        Kind of blend weights.
    """

    size: int
    window: int
    overlap: int
    per_block: int
    blend: Blend = "smooth"

    @property
    def stride(self) -> int:
        """Pixels from one window to the next."""
        return self.window - self.overlap

    @property
    def chunk(self) -> int:
        """Pixels of a chunk (the last one is cut at the edge)."""
        return min(self.per_block * self.stride, self.size)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First pixels of the windows."""
        return axis_starts(self.size, self.window, self.overlap)

    @cached_property
    def weights(self) -> list[NDArray[np.float64]]:
        """Blend weights of the windows."""
        return blend_weights(self.starts, self.window, self.overlap, self.blend)

    @cached_property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """First and past-the-last window of each block."""
        count, step = len(self.starts), self.per_block
        # A last window that was moved back lies off the stride. It joins the block before it: a block of
        # its own would begin inside a chunk.
        regular = 1 + sum(start == i * self.stride for i, start in enumerate(self.starts) if i)
        firsts = list(range(0, regular, step))
        return tuple(zip(firsts, [*firsts[1:], count], strict=True))

    @cached_property
    def _ends(self) -> list[int]:
        return [self.span(block)[1] for block in range(len(self.blocks))]

    @cached_property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return -(-self.size // self.chunk)

    def span(self, block: int) -> tuple[int, int]:
        """First and past-the-last pixel under the windows of a block (may pass the edge of a small scene)."""
        first, end = self.blocks[block]
        return self.starts[first], self.starts[end - 1] + self.window

    def under(self, block: int) -> range:
        """Chunks that a block adds to."""
        start, stop = self.span(block)
        return range(start // self.chunk, -(-min(stop, self.size) // self.chunk))

    def hits(self, block: int) -> list[Hit]:
        """What a block adds to which chunks."""
        start, stop = self.span(block)
        stop = min(stop, self.size)
        return [
            Hit(c, max(start, c * self.chunk), min(stop, (c + 1) * self.chunk)) for c in self.under(block)
        ]

    def over(self, chunk: int) -> range:
        """Blocks that add to a chunk."""
        # Blocks end one after the other: the first that ends beyond the first pixel of the chunk. Block k
        # begins where chunk k does, so no later one reaches into it.
        first = bisect.bisect_right(self._ends, chunk * self.chunk)
        return range(first, min(chunk, len(self.blocks) - 1) + 1)

    def completed(self, block: int) -> range:
        """Chunks that are complete once this block is (given that earlier ones are)."""
        return range(block, self.n_chunks if block == len(self.blocks) - 1 else block + 1)


@dataclass(frozen=True)
class BlockPlan:
    """Blocks of a scene: one :class:`AxisPlan` along y and one along x."""

    y: AxisPlan
    x: AxisPlan

    @property
    def shape(self) -> tuple[int, int]:
        """Scene (height, width)."""
        return self.y.size, self.x.size

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Pixels of a chunk (height, width)."""
        return self.y.chunk, self.x.chunk

    @property
    def n_blocks(self) -> tuple[int, int]:
        """Blocks along y and x."""
        return len(self.y.blocks), len(self.x.blocks)

    @property
    def n_chunks(self) -> tuple[int, int]:
        """Chunks along y and x."""
        return self.y.n_chunks, self.x.n_chunks

    @property
    def n_windows(self) -> int:
        """Windows of the grid."""
        return len(self.y.starts) * len(self.x.starts)

    @property
    def accumulator(self) -> str:
        """Dtype that sums the weighted predictions: float64 where very many windows overlap a pixel."""
        # Each term adds up to 6e-8 of error in float32: 64 of them stay a thousand times below the steps of
        # 1/254 that are stored.
        terms = -(-self.y.window // self.y.stride) * -(-self.x.window // self.x.stride)
        return "float64" if terms > 64 else "float32"

    def block_window(self, row: int, col: int) -> Window:
        """Pixels under a block; may pass the edge of a scene that is smaller than a window."""
        (top, bottom), (left, right) = self.y.span(row), self.x.span(col)
        return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)

    def chunk_window(self, row: int, col: int) -> Window:
        """Pixels of a chunk."""
        height, width = self.chunk_shape
        window = Window(row_off=row * height, col_off=col * width, height=height, width=width)
        return window.clipped(*self.shape)

    def windows(self, row: int, col: int) -> Iterator[tuple[int, int]]:
        """(window index along y, along x) of a block's windows, y outer and x inner."""
        for i in range(*self.y.blocks[row]):
            for j in range(*self.x.blocks[col]):
                yield i, j

    def blocks_over(self, chunks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which blocks (rows, columns) add to any of some chunks (rows, columns)."""
        rows, cols = (
            [slice(under.start, under.stop) for under in map(axis.under, range(len(axis.blocks)))]
            for axis in (self.y, self.x)
        )
        above = np.stack([chunks[row].any(axis=0) for row in rows])
        return np.stack([above[:, col].any(axis=1) for col in cols], axis=1)

    def strip_length(self, batch_size: int) -> int:
        """Blocks of a strip: two batches or more, so that the last one, which may be short, costs little."""
        return min(-(-2 * batch_size // (self.y.per_block * self.x.per_block)), self.n_blocks[1])

    def strips(self, blocks: NDArray[np.bool_], batch_size: int) -> Iterator[list[tuple[int, int]]]:
        """The strips that hold any of some blocks (rows, columns), row-major; each as all of its blocks.

        A strip is a few neighbors in a row that fill batches together, and that one worker predicts.

        Examples
        --------
        >>> plan = plan_blocks((4096, 9999), window=(512, 512), overlap=(128, 128), chunk=1536)
        >>> one = np.zeros(plan.n_blocks, bool)
        >>> one[1, 2] = True
        >>> list(plan.strips(one, batch_size=2)), list(plan.strips(one, batch_size=16))
        ([[(1, 2)]], [[(1, 2), (1, 3)]])
        """
        columns, length = self.n_blocks[1], self.strip_length(batch_size)
        for row, first in itertools.product(range(len(blocks)), range(0, columns, length)):
            if blocks[row, first : first + length].any():
                yield [(row, col) for col in range(first, min(first + length, columns))]

    def offset(self, block: tuple[int, int], chunk: tuple[int, int]) -> tuple[int, int]:
        """(row, column) in a chunk of the first pixel that a block adds to."""
        axes = zip((self.y, self.x), block, chunk, strict=True)
        row, col = (max(axis.span(b)[0] - c * axis.chunk, 0) for axis, b, c in axes)
        return row, col

    def sources(self, chunk_row: int, chunk_col: int) -> Iterator[tuple[int, int]]:
        """Blocks that add to a chunk, row-major."""
        return itertools.product(self.y.over(chunk_row), self.x.over(chunk_col))


def plan_blocks(
    shape: tuple[int, int],
    *,
    window: tuple[int, int],
    overlap: tuple[int, int],
    chunk: int,
    blend: Blend = "smooth",
) -> BlockPlan:
    """Plan the blocks of a scene.

    Parameters
    ----------
    shape
        Scene (height, width) in pixels.
    window, overlap
        (height, width) of a window and (y, x) pixels shared by neighbors.
    chunk
        Wanted chunk side in pixels; the plan takes the nearest multiple of the stride, at least one.
    blend
        Kind of blend weights.

    Raises
    ------
    InputError
        An overlap that is not smaller than its window.
    """
    axes = []
    for size, side, shared in zip(shape, window, overlap, strict=True):
        axis_starts(size, side, shared)  # refuses what is impossible, before anything divides by the stride
        axes.append(AxisPlan(size, side, shared, max(1, round(chunk / (side - shared))), blend))
    return BlockPlan(*axes)
