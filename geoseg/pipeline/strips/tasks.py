"""What a worker does: predict strips, and add their sums to chunks."""

from __future__ import annotations

import threading
import time
import uuid
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.errors import InputError, RunError
from geoseg.files import Depot, write_error
from geoseg.pipeline.chunk_files import ChunkFiles
from geoseg.pipeline.npz import array_of
from geoseg.pipeline.predict import BlockReader, TimedPredict, read_ahead
from geoseg.pipeline.strips.todo import TASK_SECONDS, Place, Strip
from geoseg.pipeline.workers import Shared
from geoseg.pipeline.workers.processes import worker_device
from geoseg.raster.blocks import Piece, predict_blocks, sum_pieces
from geoseg.raster.pages import zero_pages
from geoseg.typing import Array

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["Network", "StripSummary", "Work", "finish_chunks", "predict_strips"]

#: Windows of one network run one after the other, whatever the threads of a worker: the second would take
#: memory for its activations, and no time off.
_network_lock = threading.Lock()


@dataclass(frozen=True)
class Network:
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
class Work:
    """What a strip needs beside its number."""

    reader: BlockReader
    network: Shared[Network]
    files: ChunkFiles
    batch_size: int
    parts: Depot

    def part(self, block: Place) -> str:
        """Name of what the strip of a block adds to its chunks."""
        row, col = block
        length = self.reader.plan.strip_length(self.batch_size)
        return f"{row}-{col // length * length}.npz"

    def aside(self) -> str:
        """A name for a chunk until it is whole, where it goes with the parts of this call."""
        place = self.parts.address.removeprefix(f"{self.files.depot.address}/")
        return f"{place}/.{uuid.uuid4().hex}"


@dataclass
class StripSummary:
    """What the driver has to know of a strip, or of all strips so far; seconds are those of the network."""

    windows: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: dict[Place, list[dict[str, Any]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def add(self, other: StripSummary) -> None:
        """Count what another strip did; its failures are for the store, and not for the sum of a scene."""
        self.windows += other.windows
        self.skipped += other.skipped
        self.seconds += other.seconds
        self.notes += tuple(note for note in other.notes if note not in self.notes)


def predict_strips(shared: Shared[Work], strips: Sequence[Strip]) -> tuple[StripSummary, int, float]:
    """In a worker: predict strips; gives what they did, how many are done, and the seconds they took.

    The last ones are left to others where those before them took much longer than was thought.
    """
    work, total, done = shared.value, StripSummary(), 0
    # Two threads would otherwise load the network twice.
    with _network_lock:
        predictor = work.network.value.here
    start = time.perf_counter()
    for strip in strips:
        summary = _predict_strip(work, predictor, strip)
        total.add(summary)
        total.failures |= summary.failures
        done += 1
        if time.perf_counter() - start > 2 * TASK_SECONDS:
            break
    total.notes = tuple(getattr(predictor, "notes", ()))
    return total, done, time.perf_counter() - start


def _predict_strip(work: Work, predictor: Predictor, strip: Strip) -> StripSummary:
    """Predict a strip, and put aside what its wanted blocks add to its chunks."""
    summary = StripSummary()

    def note(block: Place, failures: list[dict[str, Any]]) -> None:
        if failures:
            summary.failures[block] = failures

    def predict(batch: Array) -> Array:
        with _network_lock:
            return predictor(batch)

    timed = TimedPredict(predict)
    arrays: dict[str, Any] = {}
    blocks = read_ahead(work.reader, strip.blocks, note)
    needed = set(strip.wanted)
    for block in predict_blocks(
        blocks, timed, work.batch_size, wanted=lambda batch: any(b.index in needed for b, _, _ in batch)
    ):
        if block.index not in needed:
            continue
        summary.skipped += block.n_skipped
        # A block without any prediction adds nothing, and takes no room.
        pieces = [] if block.total is None else block.pieces(work.files.classes)
        for piece in pieces:
            if piece.chunk in strip.chunks:
                arrays[_name(piece.chunk, block.index)] = piece.values
        block.total = None
        for chunk in block.completed():
            if chunk in strip.chunks and (valid := block.valid_of(chunk)) is not None:
                arrays[_name(chunk)] = valid
    name = work.part(strip.blocks[0])
    try:
        # Whole or not at all, and by a name of its own meanwhile: a task may be given twice, or be killed.
        work.parts.put(name, lambda file: np.savez(file, **arrays), aside=f".{uuid.uuid4().hex}")
    except OSError as error:
        raise write_error(Path(work.parts.address, name), error) from error
    summary.windows, summary.seconds = timed.windows, timed.seconds
    return summary


def _name(*places: Place) -> str:
    return "-".join(str(number) for place in places for number in place)


def finish_chunks(
    shared: Shared[Work], chunks: Sequence[Place], used: Sequence[Place]
) -> tuple[list[int], float]:
    """In a worker: add what the blocks put aside for some chunks, and write these.

    Gives their checksums, and the seconds that they took. Parts that are used leave the disk.
    """
    start, work = time.perf_counter(), shared.value
    for strip in used:
        # What can't be removed only takes room until the folder goes.
        with suppress(OSError, RunError):
            work.parts.remove(work.part(strip))
    return [_finish_chunk(work, chunk) for chunk in chunks], time.perf_counter() - start


def _finish_chunk(work: Work, chunk: Place) -> int:
    plan, files = work.reader.plan, work.files
    sources = {block: work.part(block) for block in plan.sources(*chunk)}
    window = plan.chunk_window(*chunk)
    pieces, valid = [], None
    try:
        with ExitStack() as opened:
            parts = {
                part: opened.enter_context(np.load(opened.enter_context(work.parts.open(part))))
                for part in set(sources.values())
            }
            for block, part in sources.items():
                if (name := _name(chunk, block)) in parts[part]:
                    pieces.append(Piece(chunk, plan.offset(block, chunk), array_of(parts[part], name)))
            for content in parts.values():
                if (name := _name(chunk)) in content:
                    valid = array_of(content, name)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(
            f"temporary files must stay as they were written, got a changed one in {work.parts}: {error}. "
            "Check the disk and give the same command again."
        ) from error
    shape = (files.classes, window.height, window.width)
    # In the order of the blocks, as one process adds them: float sums depend on it.
    total = sum_pieces(pieces, shape) if pieces else zero_pages(shape, plan.accumulator)
    try:
        return files.write(*chunk, total, valid, aside=work.aside())
    except OSError as error:
        raise files.unwritten(*chunk, error) from error
