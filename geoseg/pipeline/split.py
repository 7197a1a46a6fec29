"""Take touching objects of a raster apart, chunk by chunk: basins first, then what they belong to.

The first sweep reads every chunk with the rim of its neighbors, finds its basins and puts their runs aside
on disk. When all basins are known they are joined to objects. After that the labels of any chunk are painted
from its runs, for the tracing.
"""

from __future__ import annotations

import itertools
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from geoseg.cpus import usable_cpus
from geoseg.errors import RunError
from geoseg.files import Depot
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.pipeline.held import Held, Readings
from geoseg.pipeline.npz import array_of
from geoseg.pipeline.rims import Place, Rim, RimmedChunk
from geoseg.pipeline.workers import Pending, Shared, Workers, thread_workers
from geoseg.raster.labels import check_connectivity, paint
from geoseg.raster.segments import Segments
from geoseg.raster.split import (
    ChunkBasins,
    Objects,
    SplitRule,
    find_basins,
    join_basins,
    smooth_height,
    smoothing_weights,
)
from geoseg.typing import Array, Connectivity, Progress, no_progress
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.rings import Outlines

__all__ = ["SplitObjects", "split_raster", "split_rule"]

#: Decoded chunks that are kept until it is their turn, bytes; what is beyond is read a second time.
_KEPT = 96 << 20


def split_rule(split: float | Literal["off"], geobox: GeoBox) -> SplitRule | None:
    """The rule that a setting stands for on the pixels of a raster; None: no splitting."""
    return None if split == "off" else SplitRule.on(split, geobox.ground_resolution())


@dataclass(frozen=True)
class _Painter:
    """Paints the labels of a chunk from its runs."""

    depot: Depot
    step: tuple[int, int]

    def __call__(self, window: Window, number: Array) -> ChunkValues:
        """Labels of a chunk, int32, from the labels of its basins.

        Raises
        ------
        RunError
            Its runs are not what was written.
        """
        name = _runs_file((window.row_off // self.step[0], window.col_off // self.step[1]))
        try:
            with self.depot.open(name) as file, np.load(file) as runs:
                row_ptr, start, value = (array_of(runs, part) for part in ("row_ptr", "start", "value"))
            segments = Segments(row_ptr, start, value, window.width)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise RunError(
                f"temporary files must stay as they were written, got a changed {name} in {self.depot}: "
                f"{error}. Check the disk and give the same command again."
            ) from error
        return ChunkValues(paint(segments, number[segments.value]))


class SplitObjects:
    """Objects of a raster whose touching ones were taken apart.

    Parameters
    ----------
    objects
        Of the whole raster.
    depot
        Holds the runs of each chunk.
    step
        Chunk height and width, pixels.

    Attributes
    ----------
    painter
        From a window, and what :meth:`numbers` gives for it, to the labels of its chunk; it pickles.
    """

    def __init__(self, objects: Objects, depot: Depot, step: tuple[int, int]) -> None:
        self.objects = objects
        self.step = step
        self.painter = _Painter(depot, step)

    def numbers(self, window: Window) -> tuple[Array]:
        """Labels of the basins of one chunk: the part of all labels that its painting needs."""
        return (self.objects.number[window.row_off // self.step[0], window.col_off // self.step[1]],)

    def read(self, window: Window) -> ChunkValues:
        """Labels of a chunk, int32; errors as those of the painter."""
        return self.painter(window, *self.numbers(window))

    def described(self, outlines: Outlines) -> Outlines:
        """Outlines of labels with what is known of their objects; ``value`` stays the label."""
        objects, label = self.objects, outlines.value
        return replace(
            outlines,
            prob_sum=objects.total[label],
            touches_edge=outlines.touches_edge | objects.marked[label],
        )


def _runs_file(place: Place) -> str:
    return f"basins-{place[0]}-{place[1]}.npz"


def split_raster(
    read: Callable[[Window], ChunkValues],
    shape: tuple[int, int],
    chunk: int | tuple[int, int],
    connectivity: int,
    rule: SplitRule,
    depot: Depot,
    *,
    threads: int | None = None,
    workers: Workers | None = None,
    readings: Readings | None = None,
    progress: Progress = no_progress,
) -> SplitObjects:
    """Take touching objects apart.

    Parameters
    ----------
    read
        Pixels of a chunk; its probability is the height field, or the shape of the mask where there is none.
        Called from several threads or processes, at most twice for each chunk.
    shape
        Height and width of the raster, pixels.
    chunk
        Chunk height and width, pixels, or one number for both. The result does not depend on it.
    connectivity
        4: pixels share a side; 8: a side or a corner.
    rule
        When two parts are two objects.
    depot
        For the runs, and for what goes between workers; they stay there.
    threads
        Worker threads where no workers are given; None: one a CPU.
    workers
        Who reads the chunks and finds their basins; None: threads.
    readings
        Takes what is to be known of the chunks that were read.
    progress
        Told the chunks that are done, as the stage ``split``.

    Raises
    ------
    InputError
        Another connectivity, or pixels that are not integers.
    OSError
        ``depot`` is full.
    """
    connectivity = check_connectivity(connectivity)
    weights = smoothing_weights(rule.sigma)
    reach = len(weights) // 2 + 1
    step = (chunk, chunk) if isinstance(chunk, int) else chunk
    # A chunk sees its next neighbors only, so these must be as deep as the reach.
    step = (-(-reach // step[0]) * step[0], -(-reach // step[1]) * step[1])
    chunks: dict[Place, ChunkBasins] = {}
    finding: deque[tuple[Place, Held[RimmedChunk] | None, Pending[ChunkBasins]]] = deque()
    total = -(-shape[0] // step[0]) * -(-shape[1] // step[1])
    # Files that no task needs any more. The next task removes them: at an address each takes a request, for
    # which the driver would wait while the workers wait for the driver.
    used: list[Held[RimmedChunk]] = []

    # In order, with a bounded number waiting, so that results do not pile up behind a slow chunk.
    def collect(most: int) -> None:
        while len(finding) > most:
            place, held, pending = finding.popleft()
            chunks[place] = pending.result()
            if held is not None and crew.apart:
                used.append(held)
            elif held is not None:
                held.drop()
            progress("split", len(chunks), total)

    own = thread_workers(threads or usable_cpus()) if workers is None else nullcontext(workers)
    with own as crew:
        # Other processes get arrays through files; threads have them in memory already.
        aside = depot if crew.apart else None
        work = Shared(_Work(read, shape, step, weights, connectivity, depot, aside), aside)
        reading: dict[Place, Pending[_Fetched]] = {}
        try:
            for place, held, around in _with_rims(work, crew, readings or Readings(), reading):
                finding.append((place, held, crew.submit(_find, work, place, held, around, tuple(used))))
                used.clear()
                collect(crew.in_flight - 1)
            collect(0)
            for last in used:
                last.drop()
        finally:
            # All at once: while one that has begun is waited for, another would begin.
            crew.take_back([*(task for _, _, task in finding), *reading.values()])
    # In this process: of a chunk only its basins and their edges are left, some kilobytes.
    objects = join_basins(
        chunks,
        range(0, shape[0], step[0]),
        range(0, shape[1], step[1]),
        shape[1],
        persistence=rule.persistence,
        min_pixels=rule.min_pixels,
    )
    return SplitObjects(objects, depot, step)


@dataclass(frozen=True)
class _Work:
    """What the tasks of a raster need beside a place."""

    read: Callable[[Window], ChunkValues]
    shape: tuple[int, int]
    step: tuple[int, int]
    weights: Array
    connectivity: Connectivity
    depot: Depot
    aside: Depot | None

    @property
    def reach(self) -> int:
        """Pixels that are seen around a chunk."""
        return len(self.weights) // 2 + 1

    def window(self, place: Place) -> Window:
        """Pixels of a chunk."""
        row, col = place[0] * self.step[0], place[1] * self.step[1]
        height, width = min(self.step[0], self.shape[0] - row), min(self.step[1], self.shape[1] - col)
        return Window(row_off=row, col_off=col, height=height, width=width)


class _Fetched(NamedTuple):
    """A chunk that was read."""

    held: Held[RimmedChunk]
    rim: Rim
    readings: Readings


def _fetch(work: Shared[_Work], place: Place) -> _Fetched:
    """In a worker: read a chunk, and keep its pixels for the search of basins."""
    values = work.value.read(work.value.window(place))
    chunk = RimmedChunk.of(values)
    return _Fetched(Held(chunk, work.value.aside), chunk.rim(work.value.reach), Readings.of(values))


def _find(
    work: Shared[_Work],
    place: Place,
    held: Held[RimmedChunk] | None,
    around: Rim,
    used: tuple[Held[RimmedChunk], ...],
) -> ChunkBasins:
    """In a worker: find the basins of a chunk, put its runs aside, and let go of what is used."""
    for other in used:
        other.drop()
    values = work.value
    chunk = RimmedChunk.of(values.read(values.window(place))) if held is None else held.arrays
    basin_values, height, invalid = chunk.surrounded(around, values.reach)
    smooth = smooth_height(height, basin_values, values.weights)
    basins = find_basins(
        smooth,
        basin_values,
        (place[0] * values.step[0], place[1] * values.step[1]),
        values.shape[1],
        values.connectivity,
        chunk.summed(),
        invalid,
    )
    segments = basins.segments
    # Runs and not labels: a chunk takes some kilobytes, and labels are painted from them when it is traced.
    runs: dict[str, Any] = {"row_ptr": segments.row_ptr, "start": segments.start, "value": segments.value}
    # A name of its own meanwhile: a task of a worker that was thought dead may write the same.
    values.depot.put(_runs_file(place), lambda file: np.savez(file, **runs), aside=f".{uuid.uuid4().hex}")
    return ChunkBasins.of(basins)


def _with_rims(
    work: Shared[_Work], workers: Workers, readings: Readings, reading: dict[Place, Pending[_Fetched]]
) -> Iterator[tuple[Place, Held[RimmedChunk] | None, Rim]]:
    """Chunks in row-major order with the pixels around them.

    The chunk below and to the right has to be read before its turn. Its rim is kept; its pixels are kept too
    as far as there is room, else they are read again. So a scene of any width takes bounded memory, and a
    narrow one is read once. ``reading`` holds what was given to workers and not taken yet; whoever stops
    early takes it back.

    Yields
    ------
    place, held
        The chunk by its row and column in the grid; None: it has to be read again.
    around
        By direction, what the chunk sees of the neighbor there.
    """
    shape, step = work.value.shape, work.value.step
    rows, cols = -(-shape[0] // step[0]), -(-shape[1] // step[1])
    rims: dict[Place, Rim] = {}
    kept: dict[Place, Held[RimmedChunk]] = {}

    def neighbors(place: Place) -> list[Place]:
        i, j = place
        return [
            (v, u)
            for v, u in itertools.product(range(i - 1, i + 2), range(j - 1, j + 2))
            if 0 <= v < rows and 0 <= u < cols
        ]

    for turn, place in enumerate(itertools.product(range(rows), range(cols))):
        for coming in range(turn, min(turn + workers.in_flight, rows * cols)):  # read ahead
            for near in neighbors(divmod(coming, cols)):
                if near not in rims and near not in reading:
                    reading[near] = workers.submit(_fetch, work, near)
        for near in neighbors(place):
            if near in reading:
                chunk = reading.pop(near).result()
                readings.add(chunk.readings)
                rims[near] = chunk.rim
                room = _KEPT - sum(other.nbytes for other in kept.values())
                if near == place or chunk.held.nbytes <= room:
                    kept[near] = chunk.held
        around = {
            (down, along): rims[neighbor][-down, -along]
            for down, along in itertools.product((-1, 0, 1), repeat=2)
            if (down, along) != (0, 0) and (neighbor := (place[0] + down, place[1] + along)) in rims
        }
        yield place, kept.pop(place, None), around
        # This was the last chunk that has that one for a neighbor.
        rims.pop((place[0] - 1, place[1] - 1), None)
        if place[1] == cols - 1:
            rims.pop((place[0] - 1, place[1]), None)
