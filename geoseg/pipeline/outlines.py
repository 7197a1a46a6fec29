"""Outlines of a raster that is read chunk by chunk, traced by workers, joined in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from geoseg.cpus import usable_cpus
from geoseg.files import Depot
from geoseg.geo.windows import Window, iter_chunks
from geoseg.pipeline.held import Held, Readings
from geoseg.pipeline.workers import Pending, Shared, Workers, thread_workers
from geoseg.raster.labels import check_connectivity
from geoseg.typing import Array, Progress, no_progress
from geoseg.vector.assemble import Assembler, ChunkTrace
from geoseg.vector.chunk import ChunkValues, Halo, prepared, trace_chunk
from geoseg.vector.forest import Groups
from geoseg.vector.rings import Outlines

__all__ = ["iter_outlines"]


class _Edge(NamedTuple):
    """The pixels of a chunk that its neighbors see."""

    last_row: Array
    last_col: Array

    @classmethod
    def of(cls, pixels: Array | None, shape: tuple[int, ...]) -> _Edge:
        # Most rasters have no hole, and need no array for it.
        if pixels is None:
            return cls(np.zeros(shape[1], np.bool_), np.zeros(shape[0], np.bool_))
        return cls(pixels[-1].copy(), pixels[:, -1].copy())


class _Borders:
    """Remembers the last row and column of the chunks gone by, so that none is read twice."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._above: Array = np.empty(0)
        self._current: Array = np.empty(0)
        self._left: Array = np.empty(0)

    def halo(self, window: Window, edge: _Edge) -> Halo:
        """The halo of the next chunk in row-major order."""
        # The type of the values is known with the first chunk; beyond the raster there is background.
        if not self._current.size:
            kind = edge.last_row.dtype
            self._above, self._current = (np.zeros(self._width + 1, kind) for _ in range(2))
        # A new row of chunks: what was written under the last one is now above.
        if window.col_off == 0:
            self._above, self._current = self._current, self._above
            self._left = np.zeros(window.height, edge.last_row.dtype)
        # Shifted by one, so that the corner above and to the left of the first column has a place.
        columns = slice(window.col_off + 1, window.col_end + 1)
        # A copy: the trace of this chunk may still run when the next row writes here.
        halo = Halo(self._above[window.col_off : window.col_end + 1].copy(), self._left)
        self._left = edge.last_col
        self._current[columns] = edge.last_row
        return halo


def iter_outlines(
    read: Callable[..., ChunkValues],
    shape: tuple[int, int],
    chunk: int | tuple[int, int],
    connectivity: int = 8,
    *,
    arguments: Callable[[Window], tuple[Any, ...]] | None = None,
    groups: Groups | None = None,
    threads: int | None = None,
    workers: Workers | None = None,
    depot: Depot | None = None,
    readings: Readings | None = None,
    progress: Progress = no_progress,
) -> Iterator[Outlines]:
    """Outlines of all objects of a raster, whatever its size.

    Chunks are read and traced by workers, a bounded number at a time, and joined in row-major order. The
    result does not depend on the chunks or the workers, apart from how objects are dealt to batches.

    Parameters
    ----------
    read
        Gives the pixels of a window; called once for each chunk, from several threads or processes.
    shape
        Height and width of the raster, pixels.
    chunk
        Chunk height and width, pixels, or one number for both.
    connectivity
        4: pixels share a side; 8: a side or a corner.
    arguments
        What ``read`` is given beside a window: its part of what is too large to be sent to each worker.
        None: nothing.
    groups
        Takes the groups of objects that touch, whose numbers stand in ``Outlines.group``; None: not wanted.
    threads
        Worker threads where no workers are given; by default the number of CPUs.
    workers
        Who reads and traces; None: threads.
    depot
        For what goes between workers, where they are other processes.
    readings
        Takes what is to be known of the chunks that were read.
    progress
        Told the chunks that are done.

    Yields
    ------
    Outlines
        One batch for each row of chunks: the objects completed by it, in raster order.

    Raises
    ------
    InputError
        Another connectivity, or pixels that are not integers.
    """
    connectivity = check_connectivity(connectivity)
    height, width = shape
    if height == 0 or width == 0:
        return
    step = (chunk, chunk) if isinstance(chunk, int) else chunk
    assembler = Assembler(shape, -(-width // step[1]), connectivity, groups)
    total = -(-height // step[0]) * -(-width // step[1])
    own = thread_workers(threads or usable_cpus()) if workers is None else nullcontext(workers)
    with own as crew:
        aside = depot if crew.apart else None
        shared = Shared(read, aside)

        def submit(window: Window) -> Pending[_Reading]:
            more = () if arguments is None else arguments(window)
            return crew.submit(_read, shared, window, more, aside)

        traces = _traces(submit, crew, shape, step, connectivity, groups is not None, readings or Readings())
        for done, trace in enumerate(traces, start=1):
            outlines = assembler.add(trace)
            progress("vectorize", done, total)
            # Objects are complete only when the last chunk of a row is in, so most chunks give none.
            if outlines is not None and len(outlines):
                yield outlines
    yield assembler.finish()


class _Reading(NamedTuple):
    """A chunk that was read."""

    held: Held[ChunkValues]
    values: _Edge
    invalid: _Edge
    readings: Readings


def _read(
    read: Shared[Callable[..., ChunkValues]], window: Window, more: tuple[Any, ...], depot: Depot | None
) -> _Reading:
    """In a worker: read a chunk, and keep its pixels for the trace."""
    values = read.value(window, *more)
    chunk = prepared(ChunkValues(values.values, values.prob, values.invalid))
    shape = chunk.values.shape
    edges = _Edge.of(chunk.values, shape), _Edge.of(chunk.invalid, shape)
    return _Reading(Held(chunk, depot), *edges, Readings.of(values))


def _trace(used: tuple[Held[ChunkValues], ...], held: Held[ChunkValues], *rest: Any) -> ChunkTrace:
    """In a worker: trace a chunk that was read, and let go of what is used."""
    for other in used:
        other.drop()
    return trace_chunk(held.arrays, *rest)


def _traces(
    submit: Callable[[Window], Pending[_Reading]],
    workers: Workers,
    shape: tuple[int, int],
    step: tuple[int, int],
    connectivity: int,
    groups: bool,
    readings: Readings,
) -> Iterator[ChunkTrace]:
    """Traces in row-major order; a bounded number of chunks is read ahead, as many wait traced."""
    windows = iter(iter_chunks(shape[0], shape[1], step))
    values_before, invalid_before = _Borders(shape[1]), _Borders(shape[1])
    reading: deque[tuple[Window, Pending[_Reading]]] = deque()
    tracing: deque[tuple[Held[ChunkValues], Pending[ChunkTrace]]] = deque()
    # Files that no task needs any more; the next task removes them, as those of a split.
    used: list[Held[ChunkValues]] = []

    def traced() -> ChunkTrace:
        held, pending = tracing.popleft()
        trace = pending.result()
        if workers.apart:
            used.append(held)
        else:
            held.drop()
        return trace

    try:
        while True:
            for window in windows:
                reading.append((window, submit(window)))
                if len(reading) >= workers.in_flight:
                    break
            if not reading:
                break
            # In order, whichever is read first: a chunk's halo comes from those before it.
            window, pending = reading.popleft()
            chunk = pending.result()
            readings.add(chunk.readings)
            halo = values_before.halo(window, chunk.values)
            no_data = invalid_before.halo(window, chunk.invalid)
            task = workers.submit(
                _trace, tuple(used), chunk.held, halo, window, shape, connectivity, no_data, groups
            )
            used.clear()
            tracing.append((chunk.held, task))
            if len(tracing) >= workers.in_flight:
                yield traced()
        while tracing:
            yield traced()
        for last in used:
            last.drop()
    finally:
        # A reader who stops early, or an error, would otherwise wait for all that is queued.
        workers.take_back([*(task for _, task in reading), *(task for _, task in tracing)])
