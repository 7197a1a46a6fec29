"""From class values, chunk by chunk, to files of footprints: bounded memory, equal bytes for any chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.spill import OutlineSpill
from geoseg.io.writers import FootprintBatch, coordinate_decimals, open_writer
from geoseg.pipeline.outlines import iter_outlines
from geoseg.raster.stats import prob_scale
from geoseg.typing import Array, Progress, no_progress
from geoseg.vector.area import GroundArea
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.geometry import object_geometries, place_corners
from geoseg.vector.rings import Outlines
from geoseg.vector.simplify import simplified_geometries

__all__ = ["ChunkValues", "VectorizeSummary", "vectorize_classes"]

T = TypeVar("T")


@dataclass(frozen=True)
class VectorizeSummary:
    """What vectorizing gave.

    Attributes
    ----------
    footprints
        Footprints written to each file.
    too_small
        Objects left out for their area.
    classes
        Footprints of each class that has any.
    """

    footprints: int
    too_small: int
    classes: dict[str, int]


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
    min_area_m2: float = 0.0,
    simplify_m: float = 0.0,
    out: Mapping[str, Path],
    progress: Progress = no_progress,
    spill_dir: Path,
    threads: int | None = None,
) -> VectorizeSummary:
    """Turn a raster of class values into footprint files.

    Chunks are read and traced in threads while finished objects go to flat files in ``spill_dir``; then
    they are numbered in raster order of their first pixels and written to all files in one pass. Neither
    chunks nor threads change a byte of the result.

    Parameters
    ----------
    read_chunk
        Pixels of a window; called once for each chunk, from several threads.
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
    min_area_m2
        Smaller objects are left out; in pixels where the geobox has no CRS and no sampling distance.
    simplify_m
        Tolerance of the simplification in meters on the ground (pixels without a CRS); 0: none.
    out
        Format (see ``geoseg.io.writers``) -> file.
    progress
        Told of the stages ``vectorize`` (chunks) and ``write`` (objects).
    spill_dir
        Existing folder for temporary files, which are removed again.
    threads
        Worker threads; None: one a CPU.

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
    pixels = _Pixels(read_chunk)
    with OutlineSpill(spill_dir) as spill:
        found = iter_outlines(
            pixels, (height, width), chunk, connectivity, threads=threads, progress=progress
        )
        for outlines in found:
            spill.add(outlines)
        table = _Table(geobox, class_names, pixels.prob_scale, scene, acquired, min_area_m2, simplify_m)
        return _write(spill, table, out, geobox, progress)


class _Pixels:
    """The reader, remembering what kind of probabilities it gave."""

    def __init__(self, read: Callable[[Window], ChunkValues]) -> None:
        self._read = read
        self.prob_scale: int | None = None

    def __call__(self, window: Window) -> ChunkValues:
        found = self._read(window)
        if found.prob is not None:
            self.prob_scale = prob_scale(found.prob.dtype)
        return found


def _write(
    spill: OutlineSpill, table: _Table, out: Mapping[str, Path], geobox: GeoBox, progress: Progress
) -> VectorizeSummary:
    style: dict[str, Any] = {"decimals": coordinate_decimals(geobox), "repair": table.simplified}
    with ExitStack() as files:
        writers = [
            files.enter_context(open_writer(name, path, schema=table.schema, crs=geobox.crs, **style))
            for name, path in out.items()
        ]
        for batch, done in _one_ahead(_batches(spill, table)):
            for writer in writers:
                writer.write(batch)
            progress("write", done, spill.count)
    return VectorizeSummary(table.written, table.too_small, table.classes)


def _batches(spill: OutlineSpill, table: _Table) -> Iterator[tuple[FootprintBatch, int]]:
    """Footprints in order, and how many objects were looked at so far."""
    done = 0
    for outlines in spill.in_order():
        done += len(outlines)
        yield table.batch(outlines), done


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in another thread while the one before it is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="geoseg-footprints") as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


class _Table:
    """Footprint rows from outlines, numbered as they come."""

    def __init__(
        self,
        geobox: GeoBox,
        class_names: Sequence[str] | None,
        prob_one: int | None,
        scene: str,
        acquired: str | None,
        min_area: float,
        tolerance: float,
    ) -> None:
        self._transform = tuple(geobox.transform[:6])
        self._scale = geobox.ground_resolution() or (1.0, 1.0)
        self._ground = None if geobox.ground_resolution() is None else GroundArea(geobox)
        self._names = None if class_names is None else np.array(["", *class_names], object)
        self._prob_one = prob_one
        self._fixed = {"scene": scene} | ({} if acquired is None else {"acquired": acquired})
        self._min_area, self._tolerance = min_area, tolerance
        self.written = self.too_small = 0
        self.classes: dict[str, int] = {}

    @property
    def simplified(self) -> bool:
        """Whether outlines are simplified."""
        return self._tolerance > 0

    @property
    def schema(self) -> pa.Schema:
        """Columns of the footprints."""
        return pa.schema(list(self._fields()))

    def _fields(self) -> Iterator[tuple[str, pa.DataType]]:
        yield "id", pa.int64()
        yield "class", pa.string()
        yield "area_m2" if self._ground else "area_px", pa.float64()
        if self._prob_one is not None:
            yield "confidence", pa.float64()
        yield "touches_edge", pa.bool_()
        for name in self._fixed:
            yield name, pa.string()

    def batch(self, outlines: Outlines) -> FootprintBatch:
        """The objects that are large enough, as footprints."""
        area = self._areas(outlines)
        large = ~(area < self._min_area)
        if self._tolerance > 0:
            geometry = simplified_geometries(outlines, self._tolerance, self._scale, self._transform)
            area = self._areas_of(geometry, area)
        else:
            geometry = object_geometries(outlines, self._transform)
        count = int(np.count_nonzero(large))
        classes = self._class_column(outlines.value[large])
        columns: dict[str, Array] = {
            "id": np.arange(self.written + 1, self.written + count + 1, dtype=np.int64),
            "class": classes,
            "area_m2" if self._ground else "area_px": area[large],
        }
        if self._prob_one is not None:
            mean = outlines.prob_sum / (outlines.pixels * float(self._prob_one))
            columns["confidence"] = mean[large]
        columns["touches_edge"] = outlines.touches_edge[large]
        columns |= {name: np.full(count, text, object) for name, text in self._fixed.items()}
        self._count(classes, len(outlines) - count)
        return FootprintBatch(geometry[large], columns)

    def _areas(self, outlines: Outlines) -> Array:
        """Area of each object from its pixels' corners."""
        if self._ground is None or len(outlines) == 0:
            return outlines.pixels.astype(np.float64)
        rings = self._ground.rings(place_corners(outlines.xy, self._transform), outlines.ring_offsets)
        return np.abs(np.add.reduceat(rings, outlines.part_offsets[outlines.object_offsets[:-1]]))

    def _areas_of(self, geometry: Array, pixels: Array) -> Array:
        return pixels if self._ground is None else self._ground.geometries(geometry)

    def _class_column(self, value: Array) -> Array:
        if self._names is None:
            return value.astype(str).astype(object)
        if value.size and not 0 < value.min() <= value.max() < self._names.size:
            raise InputError(
                f"values must be 1 .. {self._names.size - 1}, one for each class name, got a pixel of value "
                f"{value.max() if value.min() > 0 else value.min()}. Name all classes, or none."
            )
        return np.asarray(self._names[value])

    def _count(self, classes: Array, too_small: int) -> None:
        names, counts = np.unique(classes.astype(str), return_counts=True)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            self.classes[name] = self.classes.get(name, 0) + count
        self.written += len(classes)
        self.too_small += too_small
