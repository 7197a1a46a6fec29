"""What is left to do of a scene, and how much of it makes a task."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

import numpy as np

from geoseg.geo.blocks import BlockPlan
from geoseg.typing import BoolArray

__all__ = ["TASK_SECONDS", "Pace", "Place", "Strip", "Todo"]

#: (row, column) of a block or a chunk.
Place = tuple[int, int]

#: Seconds that a task should last. Through dask a task costs driver, scheduler and worker some 3 ms together,
#: so a second makes that little. A worker that dies loses what its last task did, and at the end of a scene
#: the others wait for the longest task: so it is not more either.
TASK_SECONDS = 1.0
#: Strips or chunks of one task at most, however fast they are.
_MOST = 64


@dataclass(frozen=True)
class Strip:
    """What a worker has to know of a strip.

    Attributes
    ----------
    blocks
        All of its blocks.
    wanted
        Those of them that add to chunks which are missing.
    chunks
        These chunks.
    """

    blocks: list[Place]
    wanted: list[Place]
    chunks: list[Place]


class Todo:
    """What is left to do of a scene, in three bytes for each of its chunks.

    Parameters
    ----------
    plan
        Blocks of the scene.
    missing : (rows, columns) bool
        Chunks that have to be made.
    batch_size
        Windows of a batch, which decides the strips.

    Attributes
    ----------
    n_blocks, strips_left
        Blocks of all strips, and strips that nobody took yet.
    ready
        Chunks to which no block will add any more.
    """

    def __init__(self, plan: BlockPlan, missing: BoolArray, batch_size: int) -> None:
        self.n_blocks = self.strips_left = 0
        self.ready = deque[Place]()
        self._plan, self._missing, self._length = plan, missing, plan.strip_length(batch_size)
        self._needed = plan.blocks_over(missing)
        self._predicted = np.zeros_like(self._needed)
        for strip in plan.strips(self._needed, batch_size):
            self.n_blocks += len(strip)
            self.strips_left += 1
        self._coming = plan.strips(self._needed, batch_size)
        # Strips that were given back, the next one last.
        self._again: list[Strip] = []

    def take(self, count: int) -> list[Strip]:
        """The next strips."""
        strips = [self._again.pop() for _ in range(min(count, len(self._again)))]
        for blocks in itertools.islice(self._coming, count - len(strips)):
            wanted = [block for block in blocks if self._needed[block]]
            strips.append(Strip(blocks, wanted, self._missing_under(blocks)))
        self.strips_left -= len(strips)
        return strips

    def give_back(self, strips: list[Strip]) -> None:
        """Strips that were taken and are not done; they come before all others."""
        self._again += reversed(strips)
        self.strips_left += len(strips)

    def note_predicted(self, strip: Strip) -> None:
        """What the blocks of a strip add lies there."""
        for block in strip.blocks:
            self._predicted[block] = True
        for row, col in strip.chunks:
            rows, cols = self._plan.y.over(row), self._plan.x.over(col)
            if self._predicted[rows.start : rows.stop, cols.start : cols.stop].all():
                self.ready.append((row, col))

    def note_finished(self, chunks: list[Place]) -> list[Place]:
        """Chunks were written; gives the first blocks of the strips that no other chunk needs."""
        for chunk in chunks:
            self._missing[chunk] = False
        sources = itertools.chain.from_iterable(self._plan.sources(*chunk) for chunk in chunks)
        firsts = {(row, col // self._length * self._length) for row, col in sources}
        columns = self._needed.shape[1]
        return [
            (row, first)
            for row, first in firsts
            if not self._missing_under([(row, first), (row, min(first + self._length, columns) - 1)])
        ]

    def _missing_under(self, blocks: list[Place]) -> list[Place]:
        """Missing chunks that neighboring blocks of a row add to."""
        (row, first), (_, last) = blocks[0], blocks[-1]
        rows, start = self._plan.y.under(row), self._plan.x.under(first).start
        part = self._missing[rows.start : rows.stop, start : self._plan.x.under(last).stop]
        return [(rows.start + i, start + j) for i, j in np.argwhere(part).tolist()]


class Pace:
    """How many strips, or chunks, make a task of the wanted length, going by those that are done.

    Parameters
    ----------
    count, most
        How many before any is done, and at most.

    Attributes
    ----------
    count
        How many by now.
    """

    def __init__(self, count: int, most: int = _MOST) -> None:
        self.count = count
        self._most = most
        self._seconds: float | None = None

    def note(self, done: int, seconds: float) -> None:
        """So many took so long together."""
        each = seconds / done
        # A mean of the last ones: sea and town take turns, and one slow read says little.
        self._seconds = each if self._seconds is None else self._seconds + (each - self._seconds) / 8
        self.count = max(1, min(self._most, round(TASK_SECONDS / max(self._seconds, 1e-6))))
