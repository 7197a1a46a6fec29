"""Predicting with workers: a strip of blocks is a task, and so is the finishing of a chunk.

A worker reads a strip, runs its windows and puts the float sums aside, in a file that all workers see. When
all strips that reach into a chunk are done, another task adds their sums in the order of the blocks, which is
the order of a run in one process: so neither the number of workers nor the order in which they end changes a
bit. The driver gives tasks in order and a bounded number at a time, and is the only one to write the record.
"""

from __future__ import annotations

import itertools
import shutil
import threading
import time
import uuid
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from geoseg.errors import InputError, RunError
from geoseg.files import write_error
from geoseg.pipeline.chunk_files import ChunkFiles
from geoseg.pipeline.predict import BlockReader, PredictSummary, TimedPredict, read_ahead
from geoseg.pipeline.store import ProbStore
from geoseg.pipeline.workers import Pending, Shared, Workers
from geoseg.pipeline.workers.processes import worker_device
from geoseg.raster.blocks import Piece, predict_blocks, sum_pieces
from geoseg.raster.pages import zero_pages
from geoseg.typing import Array, Progress, no_progress

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["predict_with_workers"]

#: (row, column) of a block or a chunk.
Place: TypeAlias = tuple[int, int]

#: Chunks that one task finishes: a task on a dask cluster costs the driver 0.8 ms and more, and to give each
#: chunk one would double the tasks.
_TOGETHER = 8

#: Windows of one network run one after the other, whatever the threads of a worker: the second would take
#: memory for its activations, and no time off.
_network_lock = threading.Lock()


@dataclass(frozen=True)
class _Network:
    """A predictor in a worker."""

    predictor: Any
    fingerprint: str
    runtime: str | None

    @cached_property
    def here(self) -> Predictor:
        """The predictor on the device of this worker, after a look at whether it is the driver's."""
        predictor, device = self.predictor, worker_device()
        if device is not None and hasattr(predictor, "on_device"):
            predictor = predictor.on_device(device)
        # A callable is sent as it is; a bundle is opened by its path, which may be another file here.
        runtime = getattr(predictor, "runtime", None)
        if runtime is not None and (predictor.fingerprint(), runtime) != (self.fingerprint, self.runtime):
            raise InputError(
                f"workers must run the same model as the command ({self.runtime}), got another one "
                f"({runtime}) under the same path. Put the same files there, or give --engine and --device."
            )
        return predictor


@dataclass(frozen=True)
class _Work:
    """What a strip needs beside its number."""

    reader: BlockReader
    network: Shared[_Network]
    files: ChunkFiles
    batch_size: int
    folder: Path

    def part(self, strip: Place) -> Path:
        """What a strip adds to its chunks, by its first block."""
        return self.folder / f"{strip[0]}-{strip[1]}.npz"


@dataclass
class _StripSummary:
    """What the driver has to know of a strip, or of all strips so far."""

    windows: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: dict[Place, list[dict[str, Any]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
    missing = store.lacking(reader.on_error)
    needed = {block for chunk in missing for block in plan.sources(*chunk)}
    strips = {strip[0]: strip for strip in plan.strips(needed, store.batch_size)}
    strip_of = {block: first for first, strip in strips.items() for block in strip}
    n_blocks, done, total = len(strip_of), 0, _StripSummary()
    # Strips and chunks are known by their place; a strip's is that of its first block.
    todo, ready, finished = deque(strips), deque[Place](), set[Place]()

    def targets(strip: Place) -> list[Place]:
        """Chunks that are still to be made, under a strip."""
        under = {
            (y.chunk, x.chunk)
            for row, col in strips[strip]
            for y, x in itertools.product(plan.y.hits(row), plan.x.hits(col))
        }
        return sorted(under & missing)

    def sources(chunk: Place) -> dict[Place, Place]:
        """Blocks that add to a chunk, in the order in which they are added, each with its strip."""
        return {block: strip_of[block] for block in plan.sources(*chunk)}

    with _parts_folder(store.folder.absolute()) as folder, _taken_back() as flying:
        network = _Network(predictor, predictor.fingerprint(), getattr(predictor, "runtime", None))
        aside = folder if workers.apart else None
        work = Shared(
            _Work(reader, Shared(network, aside), store.files, store.batch_size, folder),
            aside,
        )
        while todo or ready or flying:
            while len(flying) < workers.in_flight and (todo or ready):
                # First, for their parts leave the disk.
                if len(ready) >= _TOGETHER or not todo:
                    chunks = [ready.popleft() for _ in range(min(_TOGETHER, len(ready)))]
                    tasks = [(chunk, sources(chunk)) for chunk in chunks]
                    flying.append((chunks, workers.submit(_finish_chunks, work, tasks)))
                    continue
                place = todo.popleft()
                strip = strips[place]
                wanted = [block for block in strip if block in needed]
                task = workers.submit(_predict_strip, work, strip, wanted, targets(place), network=True)
                flying.append((place, task))
            what, pending = flying.popleft()
            result = pending.result()
            if isinstance(what, list):
                for chunk, checksum in zip(what, result, strict=True):
                    store.record(*chunk, checksum)
                    missing.discard(chunk)
                # As soon as no chunk needs a part it leaves the disk, which otherwise would hold all sums of
                # the scene.
                for used in {strip for chunk in what for strip in sources(chunk).values()}:
                    if not targets(used):
                        work.value.part(used).unlink(missing_ok=True)
                continue
            place = what
            finished.add(place)
            for block, failures in result.failures.items():
                store.note_failures(block, failures)
            total.windows += result.windows
            total.skipped += result.skipped
            total.seconds += result.seconds
            total.notes += tuple(note for note in result.notes if note not in total.notes)
            ready.extend(chunk for chunk in targets(place) if finished.issuperset(sources(chunk).values()))
            done += len(strips[place])
            share = done / (plan.n_blocks[0] * plan.n_blocks[1])
            speed = plan.shape[0] * plan.shape[1] * share / 1e6 / (time.perf_counter() - clock)
            progress("predict", done, n_blocks, mpx_per_s=speed)
    seconds = time.perf_counter() - clock
    return PredictSummary(total.windows, total.skipped, seconds, total.seconds, total.notes)


@contextmanager
def _parts_folder(store: Path) -> Iterator[Path]:
    """A folder for the sums of this call; its name is new.

    So what a worker of an earlier call still writes, which a cluster knows nothing of, is never added here.
    """
    parts = store / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    folder = parts / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(parts, ignore_errors=True)


@contextmanager
def _taken_back() -> Iterator[deque[tuple[Place | list[Place], Pending[Any]]]]:
    """Tasks in flight, of a strip or of chunks; after an error those that have not begun are taken back."""
    flying: deque[tuple[Place | list[Place], Pending[Any]]] = deque()
    try:
        yield flying
    finally:
        for _, pending in flying:
            pending.cancel()


def _predict_strip(
    shared: Shared[_Work], strip: Sequence[Place], wanted: Sequence[Place], chunks: Sequence[Place]
) -> _StripSummary:
    """In a worker: predict a strip, and put aside what its wanted blocks add to some chunks."""
    work, summary = shared.value, _StripSummary()
    # Two threads would otherwise load the network twice.
    with _network_lock:
        predictor = work.network.value.here

    def predict(batch: Array) -> Array:
        with _network_lock:
            return predictor(batch)

    timed = TimedPredict(predict)
    arrays: dict[str, Any] = {}
    blocks = read_ahead(work.reader, strip, summary.failures.__setitem__)
    needed = set(wanted)
    for block in predict_blocks(
        blocks, timed, work.batch_size, wanted=lambda batch: any(b.index in needed for b, _, _ in batch)
    ):
        if block.index not in needed:
            continue
        summary.skipped += block.n_skipped
        # A block without any prediction adds nothing, and takes no room.
        pieces = [] if block.total is None else block.pieces(work.files.classes)
        for piece in pieces:
            if piece.chunk in chunks:
                arrays[_name(piece.chunk, block.index)] = piece.values
        block.total = None
        for chunk in block.completed():
            if chunk in chunks and (valid := block.valid_of(chunk)) is not None:
                arrays[_name(chunk)] = valid
    path, aside = work.part(strip[0]), work.folder / f".{uuid.uuid4().hex}"
    try:
        with aside.open("wb") as file:
            np.savez(file, **arrays)
        # Under its name when it is whole: a task that is given twice, or killed, leaves no half of a file.
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise write_error(path, error) from error
    summary.windows, summary.seconds = timed.windows, timed.seconds
    summary.notes = tuple(getattr(predictor, "notes", ()))
    return summary


def _name(*places: Place) -> str:
    return "-".join(str(number) for place in places for number in place)


def _finish_chunks(shared: Shared[_Work], chunks: Sequence[tuple[Place, Mapping[Place, Place]]]) -> list[int]:
    """In a worker: add what the blocks put aside for some chunks, write these, and give their checksums."""
    return [_finish_chunk(shared.value, chunk, sources) for chunk, sources in chunks]


def _finish_chunk(work: _Work, chunk: Place, sources: Mapping[Place, Place]) -> int:
    plan, files = work.reader.plan, work.files
    window = plan.chunk_window(*chunk)
    pieces, valid = [], None
    try:
        with ExitStack() as opened:
            parts = {
                strip: opened.enter_context(np.load(work.part(strip))) for strip in set(sources.values())
            }
            for block, strip in sources.items():
                if (name := _name(chunk, block)) in parts[strip]:
                    pieces.append(Piece(chunk, plan.offset(block, chunk), parts[strip][name]))
            for part in parts.values():
                valid = part.get(_name(chunk), valid)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(
            f"temporary files must stay as they were written, got a changed one in {work.folder}: {error}. "
            "Check the disk and give the same command again."
        ) from error
    shape = (files.classes, window.height, window.width)
    # In the order of the blocks, as one process adds them: float sums depend on it.
    total = sum_pieces(pieces, shape) if pieces else zero_pages(shape, plan.accumulator)
    try:
        return files.write(*chunk, total, valid, aside=work.folder / f".{uuid.uuid4().hex}")
    except OSError as error:
        raise files.unwritten(*chunk, error) from error
