"""The driver of many workers: gives tasks in order, a bounded number at a time, and notes what is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from geoseg.pipeline.predict import BlockReader, PredictSummary
from geoseg.pipeline.store import ProbStore
from geoseg.pipeline.strips.tasks import Network, StripSummary, Work, finish_chunks, predict_strips
from geoseg.pipeline.strips.todo import Pace, Place, Strip, Todo
from geoseg.pipeline.workers import Pending, Shared, Workers
from geoseg.typing import Progress, no_progress

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["predict_with_workers"]

#: Tasks may be this many times those in flight ahead of the oldest one that is not done: a worker that takes
#: long for one task does not hold up the others, and parts that wait for it do not fill the disk.
_AHEAD = 4
#: Chunks that are finished together, until more are for many workers.
_TOGETHER = 8


@dataclass(frozen=True)
class _Task:
    """What a task in flight does: strips, or chunks; ``number`` of all that were given."""

    number: int
    strips: list[Strip] = field(default_factory=list)
    chunks: list[Place] = field(default_factory=list)


def predict_with_workers(
    reader: BlockReader,
    predictor: Predictor,
    store: ProbStore,
    workers: Workers,
    *,
    progress: Progress = no_progress,
) -> PredictSummary:
    """Predict what the store lacks, to the same bytes as :func:`geoseg.pipeline.predict.predict_to_store`.

    Parameters
    ----------
    reader
        Reads the blocks of the scene.
    predictor
        The network; each worker has one.
    store
        Where chunks go; on a disk that all workers see.
    workers
        Who reads, predicts and writes.
    progress
        Told of finished blocks.

    Raises
    ------
    SceneError
        A region can't be read; the message names it.
    RunError
        A chunk can't be written, or workers die again and again.
    """
    plan, clock = reader.plan, time.perf_counter()
    todo = Todo(plan, store.lacking(reader.on_error), store.batch_size)
    if not (todo.strips_left or todo.ready):
        # Before anything is put into the store: the network may be large, and the way there long.
        return PredictSummary(0, 0, 0.0, 0.0, ())
    total, done, given = StripSummary(), 0, 0
    # Strips are given one by one, and a few chunks together, until it is known how long they take. What is
    # predicted counts for another run with its chunk only, so few workers do not wait for many chunks.
    strip_pace, chunk_pace = Pace(1), Pace(_TOGETHER, max(_TOGETHER, workers.count))
    # Strips whose parts no chunk needs any more. They leave the disk, which otherwise would hold all sums of
    # the scene; the workers see to it, who wait for a shared disk while others work.
    used: list[Place] = []
    with store.exchange() as parts, _taken_back(workers) as flying:
        network = Network(predictor, predictor.fingerprint(), getattr(predictor, "runtime", None))
        aside = parts if workers.apart else None
        work = Shared(
            Work(reader, Shared(network, aside), store.files, store.batch_size, parts),
            aside,
        )
        ended = SimpleQueue[Pending[Any]]()
        while todo.strips_left or todo.ready or flying:
            oldest = next(iter(flying.values())).number if flying else given
            while len(flying) < workers.in_flight and given < oldest + _AHEAD * workers.in_flight:
                # First, for then parts leave the disk.
                if len(todo.ready) >= (chunk_pace.count if todo.strips_left else 1):
                    chunks = [todo.ready.popleft() for _ in range(min(chunk_pace.count, len(todo.ready)))]
                    task = _Task(given, chunks=chunks)
                    flying[workers.submit(finish_chunks, work, chunks, used, ended=ended)] = task
                    used = []
                elif todo.strips_left:
                    # Toward the end tasks get shorter, so that all workers end at about the same time.
                    share = todo.strips_left // (2 * workers.count)
                    task = _Task(given, strips=todo.take(max(1, min(strip_pace.count, share))))
                    flying[workers.submit(predict_strips, work, task.strips, network=True, ended=ended)] = (
                        task
                    )
                else:
                    break
                given += 1
            pending = ended.get()
            # A task that was given again may end twice.
            if pending not in flying:
                continue
            result, task = pending.result(), flying.pop(pending)
            if task.chunks:
                checksums, seconds = result
                chunk_pace.note(len(checksums), seconds)
                for chunk, checksum in zip(task.chunks, checksums, strict=True):
                    store.record(*chunk, checksum)
                used += todo.note_finished(task.chunks)
                continue
            summary, count, seconds = result
            strip_pace.note(count, seconds)
            todo.give_back(task.strips[count:])
            for block, failures in summary.failures.items():
                store.note_failures(block, failures)
            total.add(summary)
            for strip in task.strips[:count]:
                todo.note_predicted(strip)
                done += len(strip.blocks)
            part = done / (plan.n_blocks[0] * plan.n_blocks[1])
            speed = plan.shape[0] * plan.shape[1] * part / 1e6 / (time.perf_counter() - clock)
            progress("predict", done, todo.n_blocks, mpx_per_s=speed)
    seconds = time.perf_counter() - clock
    return PredictSummary(total.windows, total.skipped, seconds, total.seconds, total.notes)


@contextmanager
def _taken_back(workers: Workers) -> Iterator[dict[Pending[Any], _Task]]:
    """Tasks in flight, the oldest first; after an error they are taken back.

    Those that have begun write to the store, which may be another run's, or gone, from here on.
    """
    flying: dict[Pending[Any], _Task] = {}
    try:
        yield flying
    finally:
        workers.take_back(flying)
