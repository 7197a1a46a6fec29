"""From class values, chunk by chunk, to files of footprints: bounded memory, equal bytes for any chunks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from geoseg.cpus import usable_cpus
from geoseg.errors import InputError
from geoseg.files import Depot, FolderDepot, emptied
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.spill import OutlineSpill
from geoseg.io.writers import FootprintBatch, open_writer, scene_style
from geoseg.pipeline.held import Readings
from geoseg.pipeline.outlines import iter_outlines
from geoseg.pipeline.split import SplitObjects, split_raster
from geoseg.pipeline.steps import Batch, Ground, Steps
from geoseg.pipeline.workers import Workers
from geoseg.raster.split import SplitRule
from geoseg.raster.stats import prob_scale
from geoseg.typing import Array, Progress, no_progress
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.clashes import Joined, find_clashes
from geoseg.vector.forest import Groups
from geoseg.vector.regularize import REACH
from geoseg.vector.rings import Outlines, take_objects

__all__ = ["ChunkValues", "VectorizeSummary", "vectorize_classes"]

T = TypeVar("T")


@dataclass(frozen=True)
class VectorizeSummary:
    """What vectorizing gave.

    Attributes
    ----------
    footprints
        Footprints written to each file.
    too_small, unsure
        Objects left out for their area, and before that for their confidence.
    classes
        Footprints of each class that has any.
    columns
        Names of their attributes.
    no_data
        Whether the raster has pixels without data.
    """

    footprints: int
    too_small: int
    unsure: int
    classes: dict[str, int]
    columns: tuple[str, ...] = ()
    no_data: bool = False


def vectorize_classes(
    read_chunk: Callable[[Window], ChunkValues],
    height: int,
    width: int,
    *,
    chunk: int | tuple[int, int],
    connectivity: int,
    class_names: Sequence[str] | None,
    geobox: GeoBox,
    scene: str,
    acquired: str | None = None,
    split: SplitRule | None = None,
    min_confidence: float = 0,
    steps: Steps | None = None,
    provenance: Mapping[str, Any] | None = None,
    out: Mapping[str, Path],
    progress: Progress = no_progress,
    spill_dir: Path,
    depot: Depot | None = None,
    threads: int | None = None,
    workers: Workers | None = None,
    all_read: Callable[[list[dict[str, Any]]], object] = lambda failures: None,
) -> VectorizeSummary:
    """Turn a raster of class values into footprint files.

    Chunks are read and traced by workers while finished objects go to flat files in ``spill_dir``; then
    they take the steps, are numbered in raster order of their first pixels, and are written to all files in
    one pass. Neither chunks nor workers change a byte of the result.

    Parameters
    ----------
    read_chunk
        Pixels of a window; called once for each chunk, at most twice with ``split``, from several threads.
        It must pickle where workers are other processes.
    height, width
        Pixels of the raster.
    chunk
        Chunk height and width in pixels, or one number for both.
    connectivity
        4 or 8; with 8, parts that meet at corners become one MultiPolygon.
    class_names
        Names of the values 1, 2, ...; None: a class is called by its number.
    geobox
        Place of the raster.
    scene
        Text of the column ``scene``.
    acquired
        Text of the column ``acquired``; None: no such column.
    split
        When touching objects are taken apart; None: never.
    min_confidence
        Objects of a lower mean probability are left out. Without probabilities it has no effect.
    steps
        What is done to the outlines; None: nothing.
    provenance
        What the files say of their origin; None: nothing.
    out
        Format (see ``geoseg.io.writers``) -> file.
    progress
        Told of the stages ``split`` and ``vectorize`` (chunks) and ``write`` (objects).
    spill_dir
        Existing folder for temporary files, which are removed again.
    depot
        For what goes between workers; whoever gives it removes that. None: ``spill_dir``.
    threads
        Worker threads where no workers are given, and those that take the steps; None: one a CPU.
    workers
        Who reads and traces; None: threads.
    all_read
        Called once, when all chunks were read and no file was begun, with the regions that could not be read.

    Returns
    -------
    VectorizeSummary

    Raises
    ------
    InputError
        A bad connectivity, or an output that can't be written.
    RunError
        A file could not be completed.
    OSError
        ``spill_dir`` is full.
    """
    steps = steps or Steps()
    cpus = threads or usable_cpus()
    # Only a step that moves walls has to know which objects share one.
    groups = Groups() if steps.moves_walls else None
    readings = Readings()
    unsure = 0
    with ExitStack() as files:
        spill = files.enter_context(OutlineSpill(spill_dir))
        shape = (height, width)
        pieces: SplitObjects | None = None
        if split is not None:
            runs = files.enter_context(emptied((depot or FolderDepot(spill_dir)).inside("split")))
            pieces = split_raster(
                read_chunk, shape, chunk, connectivity, split, runs,
                threads=threads, workers=workers, readings=readings, progress=progress,
            )  # fmt: skip
        read: Callable[..., ChunkValues] = read_chunk if pieces is None else pieces.painter
        for outlines in iter_outlines(
            read,
            shape,
            chunk if pieces is None else pieces.step,
            connectivity,
            arguments=None if pieces is None else pieces.numbers,
            groups=groups,
            threads=threads,
            workers=workers,
            depot=depot or FolderDepot(spill_dir),
            # Labels have no probabilities.
            readings=readings if pieces is None else None,
            progress=progress,
        ):
            if pieces is not None:
                outlines = pieces.described(outlines)
            # Here and not among the steps: an object is whole and its pixels are summed, and what is left out
            # takes no room on the disk.
            probability = _full_probability(readings)
            if min_confidence and probability:
                sure = _confidence(outlines, probability) >= min_confidence
                unsure += int((~sure).sum())
                outlines = take_objects(outlines, np.flatnonzero(sure))
            spill.add(outlines)
            del outlines  # of an object with millions of holes another copy would stay
        # Splitting and tracing have read every chunk at least once; nothing has been written yet.
        all_read(readings.failures)
        classes = None if pieces is None else pieces.objects.value
        table = _Table(geobox, class_names, classes, _full_probability(readings), scene, acquired, steps)
        # Moved walls may cross when they are rounded to the digits of GeoJSON; outlines of pixels can't.
        style: dict[str, Any] = {
            **scene_style(geobox),
            "repair": steps.moves_walls,
            "provenance": provenance,
        }
        writers = [
            files.enter_context(open_writer(name, path, schema=table.schema, crs=geobox.crs, **style))
            for name, path in out.items()
        ]
        ground = Ground(geobox)
        batches: Iterator[tuple[Batch, int]] = (
            (steps(Batch(outlines, ground), cpus), len(outlines)) for outlines, _ in spill.in_order()
        )
        # Without two objects that touch or may come to, batches can stay in raster order all along.
        if groups is not None and (len(groups) or steps.may_overlap):
            batches = _whole_groups(spill, groups, steps, ground, spill_dir, cpus)
        done = 0
        for batch, looked_at in _one_ahead((table.rows(batch), looked_at) for batch, looked_at in batches):
            for writer in writers:
                writer.write(batch)
            done += looked_at
            progress("write", done, spill.count)
        columns = tuple(table.schema.names)
    return VectorizeSummary(
        table.written, spill.count - table.written, unsure, table.classes, columns, readings.no_data
    )


def _full_probability(readings: Readings) -> int:
    """What stands for 1 in the sums, known with the first chunk; 0: there are no probabilities."""
    return 0 if readings.prob_dtype is None else prob_scale(readings.prob_dtype)


def _confidence(outlines: Outlines, probability: int) -> Array:
    """Mean probability of the pixels of each object, (n,) float64.

    The column and what is left out for it come from the same sums in the same way, so that a filter of the
    file and the option leave the same footprints.
    """
    return outlines.prob_sum / (outlines.pixels * float(probability))


def _whole_groups(
    spill: OutlineSpill, groups: Groups, steps: Steps, ground: Ground, folder: Path, cpus: int
) -> Iterator[tuple[Batch, int]]:
    """Take the steps group by group, then give the objects in raster order.

    Groups that come to overlap are one from then on, and take the steps once more.

    The groups lie among each other, so what came of them is put aside once more until all are done.
    """
    folder = folder / "stepped"
    folder.mkdir()
    try:
        with OutlineSpill(folder, {"area": "f8", **steps.columns}, whole=False) as stepped:
            for outlines in spill.in_groups(groups):
                batch = steps(Batch(outlines, ground), cpus)
                stepped.add(batch.outlines, {"area": batch.area, **batch.columns})
            joined = Joined(groups)
            while steps.may_overlap:
                # All pairs are found before any is mended, so that the result does not depend on batches.
                numbered = (
                    replace(outlines, group=groups.final(outlines.group))
                    for outlines, _ in stepped.in_order()
                )
                key, group = find_clashes(numbered, REACH)
                # Groups only grow, so this ends: at the latest when all objects are one group.
                if not key.size:
                    break
                joined.add(key, group)
                for again in spill.in_groups(groups, joined):
                    batch = steps(Batch(again, ground), cpus)
                    stepped.add(batch.outlines, {"area": batch.area, **batch.columns}, again=True)
            # Objects that a step left out are looked at too, or the progress would never reach the end.
            left_out = spill.count - stepped.count
            for outlines, facts in stepped.in_order():
                area = facts.pop("area")
                yield Batch(outlines, ground, columns=facts, known_area=area), left_out + len(outlines)
                left_out = 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in another thread while the one before it is used.

    Most of both is compiled code that releases the GIL, so two CPUs are at work.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="geoseg-footprints") as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


class _Table:
    """Footprint rows from batches, numbered as they come."""

    def __init__(
        self,
        geobox: GeoBox,
        class_names: Sequence[str] | None,
        classes: Array | None,
        probability: int,
        scene: str,
        acquired: str | None,
        steps: Steps,
    ) -> None:
        # Of split objects, whose outlines hold their number in place of their class.
        self._classes = classes
        self._names = None if class_names is None else np.array(["", *class_names], object)
        self._probability = probability
        self._fixed = {"scene": scene} | ({} if acquired is None else {"acquired": acquired})
        self._area = "area_px" if geobox.ground_resolution() is None else "area_m2"
        self._added = steps.columns
        self.written = 0
        self.classes: dict[str, int] = {}

    @property
    def schema(self) -> pa.Schema:
        """Columns of the footprints."""
        fields = [("id", pa.int64()), ("class", pa.string()), (self._area, pa.float64())]
        if self._probability:
            fields.append(("confidence", pa.float64()))
        fields.append(("touches_edge", pa.bool_()))
        fields += [(name, pa.from_numpy_dtype(np.dtype(kind))) for name, kind in self._added.items()]
        return pa.schema(fields + [(name, pa.string()) for name in self._fixed])

    def rows(self, batch: Batch) -> FootprintBatch:
        """The objects as footprints."""
        outlines, count = batch.outlines, len(batch.outlines)
        value = outlines.value if self._classes is None else self._classes[outlines.value]
        if self._names is None:
            classes = value.astype(str).astype(object)
        elif value.size and not 0 < value.min() <= value.max() < self._names.size:
            raise InputError(
                f"values must be 1 .. {self._names.size - 1}, one for each class name, got a pixel of value "
                f"{value.max() if value.min() > 0 else value.min()}. Name all classes, or none."
            )
        else:
            classes = np.asarray(self._names[value])
        columns: dict[str, Array] = {
            "id": np.arange(self.written + 1, self.written + count + 1, dtype=np.int64),
            "class": classes,
            self._area: batch.area,
        }
        if self._probability:
            columns["confidence"] = _confidence(outlines, self._probability)
        columns["touches_edge"] = outlines.touches_edge
        columns |= {name: batch.columns[name] for name in self._added}
        columns |= {name: np.full(count, text, object) for name, text in self._fixed.items()}
        for name, number in zip(*np.unique(classes.astype(str), return_counts=True), strict=True):
            self.classes[str(name)] = self.classes.get(str(name), 0) + int(number)
        self.written += count
        return FootprintBatch(batch.drawn(), columns)
