"""Outlines of a raster that is read chunk by chunk, traced in threads, joined in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from geoseg.geo.windows import Window, iter_chunks
from geoseg.raster.labels import check_connectivity
from geoseg.typing import Array, Progress, no_progress
from geoseg.vector.assemble import Assembler, ChunkTrace
from geoseg.vector.chunk import ChunkValues, Halo, prepared, trace_chunk
from geoseg.vector.forest import Groups
from geoseg.vector.rings import Outlines

__all__ = ["iter_outlines"]


class _Borders:
    """Remembers the last row and column of the chunks gone by, so that none is read twice."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._above: Array = np.empty(0)
        self._current: Array = np.empty(0)
        self._left: Array = np.empty(0)

    def halo(self, window: Window, values: Array) -> Halo:
        """The halo of the next chunk in row-major order."""
        # The type of the values is known with the first chunk; beyond the raster there is background.
        if not self._current.size:
            self._above, self._current = (np.zeros(self._width + 1, values.dtype) for _ in range(2))
        # A new row of chunks: what was written under the last one is now above.
        if window.col_off == 0:
            self._above, self._current = self._current, self._above
            self._left = np.zeros(window.height, values.dtype)
        # Shifted by one, so that the corner above and to the left of the first column has a place.
        columns = slice(window.col_off + 1, window.col_end + 1)
        # A copy: the trace of this chunk may still run when the next row writes here.
        halo = Halo(self._above[window.col_off : window.col_end + 1].copy(), self._left)
        self._left = values[:, -1].copy()
        self._current[columns] = values[-1]
        return halo


def iter_outlines(
    read: Callable[[Window], ChunkValues],
    shape: tuple[int, int],
    chunk: int | tuple[int, int],
    connectivity: int = 8,
    *,
    groups: Groups | None = None,
    threads: int | None = None,
    progress: Progress = no_progress,
) -> Iterator[Outlines]:
    """Outlines of all objects of a raster, whatever its size.

    Chunks are read and traced in threads, a bounded number at a time, and joined in row-major order. The
    result does not depend on the chunks or the threads, apart from how objects are dealt to batches.

    Parameters
    ----------
    read
        Gives the pixels of a window; called once for each chunk, from several threads.
    shape
        Height and width of the raster, pixels.
    chunk
        Chunk height and width, pixels, or one number for both.
    connectivity
        4: pixels share a side; 8: a side or a corner.
    groups
        Takes the groups of objects that touch, whose numbers stand in ``Outlines.group``; None: not wanted.
    threads
        Worker threads; by default the number of CPUs.
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
    traces = _traces(read, shape, step, connectivity, groups is not None, threads or os.cpu_count() or 1)
    for done, trace in enumerate(traces, start=1):
        outlines = assembler.add(trace)
        progress("vectorize", done, total)
        # Objects are complete only when the last chunk of a row is in, so most chunks give none.
        if outlines is not None and len(outlines):
            yield outlines
    yield assembler.finish()


def _traces(
    read: Callable[[Window], ChunkValues],
    shape: tuple[int, int],
    step: tuple[int, int],
    connectivity: int,
    groups: bool,
    threads: int,
) -> Iterator[ChunkTrace]:
    """Traces in row-major order; at most ``threads + 1`` chunks are read ahead, as many wait traced."""
    windows = iter(iter_chunks(shape[0], shape[1], step))
    values_before, invalid_before = _Borders(shape[1]), _Borders(shape[1])
    reading: deque[tuple[Window, Future[ChunkValues]]] = deque()
    tracing: deque[Future[ChunkTrace]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="geoseg-trace") as pool:
        try:
            while True:
                for window in windows:
                    reading.append((window, pool.submit(lambda w: prepared(read(w)), window)))
                    if len(reading) > threads:
                        break
                if not reading:
                    break
                # In order, whichever is read first: a chunk's halo comes from those before it.
                window, pixels = reading.popleft()
                chunk = pixels.result()
                halo = values_before.halo(window, chunk.values)
                # One pixel stretched over the chunk: most rasters have no hole, and need no array for it.
                missing = chunk.invalid if chunk.invalid is not None else np.zeros((1, 1), np.bool_)
                no_data = invalid_before.halo(window, np.broadcast_to(missing, chunk.values.shape))
                tracing.append(
                    pool.submit(trace_chunk, chunk, halo, window, shape, connectivity, no_data, groups)
                )
                if len(tracing) > threads:
                    yield tracing.popleft().result()
            while tracing:
                yield tracing.popleft().result()
        finally:
            # A reader who stops early, or an error, would otherwise wait for all that is queued.
            for _, waiting in reading:
                waiting.cancel()
            for trace in tracing:
                trace.cancel()
