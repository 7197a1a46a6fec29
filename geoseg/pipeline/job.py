"""What has to be settled before anything is written: a scene, a model and options that fit each other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo.blocks import BlockPlan, plan_blocks
from geoseg.geo.windows import Window
from geoseg.io.vectors import rasterize_mask, read_polygons
from geoseg.pipeline.opening import check_distance, open_for_model
from geoseg.pipeline.options import CardDefaults, Effective, RunOptions, resolve
from geoseg.pipeline.salvage import OnError, read_pixels
from geoseg.pipeline.store import digest
from geoseg.raster.blocks import Block
from geoseg.raster.source import RasterSource
from geoseg.typing import Array, BoolArray, PathLike

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["Job", "prepare"]

_SQUARE = 512


@dataclass(frozen=True)
class Job:
    """A scene, a model and options that fit each other."""

    source: RasterSource
    predictor: Predictor
    plan: BlockPlan
    effective: Effective
    inside: _Inside | None
    notes: tuple[str, ...]
    fingerprint: dict[str, Any]
    classes: tuple[str, ...]
    background: int | None
    batch_size: int
    first: Array | None

    @property
    def object_classes(self) -> tuple[str, ...]:
        """Names of the classes that become footprints."""
        return tuple(name for k, name in enumerate(self.classes) if k != self.background)


def prepare(
    scene: PathLike | RasterSource,
    model: Any,
    options: RunOptions,
    known: Callable[[RasterSource, Predictor, dict[str, Any]], int | None],
) -> Job:
    """Open the scene and the model, and check that they fit, before anything is written.

    Parameters
    ----------
    scene, model, options
        As in :func:`geoseg.pipeline.run.run_scene`.
    known
        From the scene, the predictor and the fingerprint to the number of outputs, where an earlier run
        left it behind: a callable, which does not state it, then need not be tried.

    Raises
    ------
    InputError
        A file is missing or not a raster, the bands do not fit the model, or an option is impossible.
    """
    from geoseg.models import as_predictor, check_bands

    predictor = as_predictor(
        model, device=options.device, engine=options.engine, test_time="d4" if options.flips else None
    )
    effective = resolve(options, _card_defaults(predictor))
    notes: list[str] = []
    source = _open(scene, options, effective, predictor.in_channels)
    notes += check_bands(predictor, source.count, source.dtype)
    if source.geobox.crs is None:
        pixels = source.geobox.transform == Affine.translation(*source.geobox.transform * (0, 0))
        where = "in pixel coordinates, y down" if pixels else "in its own coordinates, areas in pixels"
        notes.append(f"{source.name} has no CRS: footprints are {where}")
    plan = plan_blocks(
        source.geobox.shape,
        window=effective.window,
        overlap=effective.overlap,
        chunk=options.chunk,
        blend=effective.blend,
    )
    inside = None if options.aoi is None else _area_of_interest(options.aoi, source)
    fingerprint = _fingerprint(source, predictor, plan, effective, inside)  # before the model is called
    first = None
    classes = predictor.classes
    if not classes and (count := known(source, predictor, fingerprint)) is not None:
        classes = _class_names(count)
    elif not classes:
        classes, first = _try_first_window(predictor, source, plan, inside, options.on_error)
    batch_size = options.batch_size or predictor.batch_size_default(effective.window)
    job = Job(
        source, predictor, plan, effective, inside, tuple(notes), fingerprint, tuple(classes),
        predictor.background, batch_size, first,
    )  # fmt: skip
    _check_thresholds(effective, len(job.object_classes))
    return job


def _fingerprint(
    source: RasterSource, predictor: Predictor, plan: BlockPlan, effective: Effective, inside: _Inside | None
) -> dict[str, Any]:
    """Everything that decides the stored pixels: a run goes on only where all of it is the same.

    Engine and kind of device are among it: the same network differs in the last bits of a float32 between
    PyTorch, ONNX Runtime and OpenVINO, and by up to a few thousandths between a CPU and a GPU in mixed
    precision, so that chunks of two of them would not be the bytes of an undisturbed run.

    The batch size is not. On a CPU each window comes out the same bits in any batch. On a GPU the library
    picks its kernels by the size of the batch, so that the last bits of bfloat16 may differ; and there
    ``auto`` depends on the memory that happens to be free, so that a fingerprint with it would refuse the
    very command that was killed. The store therefore remembers the batch size and a run goes on with it,
    which gives the bytes of an undisturbed run. Only who asks for another number on purpose (a GPU that ran
    out of memory) goes on with that one, and has to expect a difference of one in 254 here and there.
    """
    return {
        "scene": source.fingerprint(),
        "model": predictor.fingerprint(),
        "runtime": getattr(predictor, "runtime", None),
        "window": effective.window,
        "overlap": effective.overlap,
        "blend": effective.blend,
        "chunk": plan.chunk_shape,
        "shape": plan.shape,
        "aoi": None if inside is None else inside.fingerprint,
    }


def _card_defaults(predictor: Predictor) -> CardDefaults:
    """What the model's card suggests, in the words of the options."""
    card = predictor.card
    if card is None:
        return CardDefaults()
    said = card.options
    threshold = said.threshold
    thresholds: tuple[float, ...] | None
    if "threshold" not in said.model_fields_set:
        thresholds = None  # the most probable class
    elif isinstance(threshold, dict):
        objects = [name for k, name in enumerate(card.classes) if k != card.background]
        thresholds = tuple(float(threshold.get(name, 0.5)) for name in objects)
    else:
        thresholds = (float(threshold),)
    return CardDefaults(
        said.window, said.overlap, said.blend, thresholds, said.min_area_m2, said.simplify_m, said.gsd
    )


def _open(
    scene: PathLike | RasterSource, options: RunOptions, effective: Effective, channels: int | None
) -> RasterSource:
    if not isinstance(scene, (str, os.PathLike)):
        asked = options.resolution if isinstance(options.resolution, float) else None
        if any(value is not None for value in (options.bands, options.bbox, asked)):
            raise InputError("bands, resolution and bbox are for files; select them on the array itself.")
        check_distance(scene.geobox, effective.gsd)
        return scene
    return open_for_model(
        scene,
        channels,
        effective.gsd,
        bands=options.bands,
        bbox=options.bbox,
        must=isinstance(options.resolution, float),
    )


def _check_thresholds(effective: Effective, objects: int) -> None:
    thresholds = effective.thresholds
    if thresholds is not None and len(thresholds) not in (1, objects):
        raise InputError(
            f"threshold must be one number or one for each of {objects} classes, got {len(thresholds)}."
        )


def _try_first_window(
    predictor: Predictor, source: RasterSource, plan: BlockPlan, inside: _Inside | None, on_error: OnError
) -> tuple[tuple[str, ...], Array | None]:
    """How many outputs a callable has, by predicting the first window (kept, so that it runs once)."""
    window = plan.block_window(0, 0).clipped(*plan.shape)
    area = None if inside is None else inside(window)
    if area is None or area.any():
        image, valid, _ = read_pixels(source, window, on_error)  # failures are listed when the block is read
    else:
        image, valid = np.zeros((source.count, window.height, window.width), source.dtype), None
    block = Block(plan, (0, 0), image, valid, predictor.fill_values(), area)
    result = np.asarray(predictor(block.cut(0, 0)[None].copy()))[0]
    used = block.jobs()[:1] == [(0, 0)]
    return _class_names(len(result)), result if used else None


def _class_names(count: int) -> tuple[str, ...]:
    return tuple(f"class_{k + 1}" for k in range(count))


@dataclass(frozen=True)
class _Inside:
    """Which pixels of a window lie in the area of interest.

    Rasterized in squares that lie still, so that a pixel on the border is in or out whatever window asks.
    """

    geometry: Any
    source: RasterSource
    fingerprint: str

    def __call__(self, window: Window) -> BoolArray:
        inside = np.zeros((window.height, window.width), bool)
        rows = range(window.row_off // _SQUARE * _SQUARE, window.row_end, _SQUARE)
        cols = range(window.col_off // _SQUARE * _SQUARE, window.col_end, _SQUARE)
        for row, col in itertools.product(rows, cols):
            square = Window(row_off=row, col_off=col, height=_SQUARE, width=_SQUARE)
            part = square.intersection(window)
            here, there = part.shifted(-window.row_off, -window.col_off), part.shifted(-row, -col)
            inside[here.rows, here.cols] = self._square(square)[there.rows, there.cols]
        return inside

    def _square(self, square: Window) -> BoolArray:
        return rasterize_mask(self.geometry, self.source.geobox.window(square))


def _area_of_interest(path: Path, source: RasterSource) -> _Inside:
    import shapely

    if source.geobox.crs is None:
        raise InputError(f"--aoi needs a scene with a CRS, and {source.name} has none. Use --bbox in pixels.")
    frame = read_polygons(path, crs=source.geobox.crs)
    if len(frame) == 0:
        raise InputError(f"{path} holds no polygon. Give an area of interest with at least one.")
    bounds = shapely.box(*source.geobox.bounds())
    if not shapely.intersects(bounds, frame.geometry.array).any():
        raise InputError(
            f"{path} does not meet the scene: it covers {frame.total_bounds.tolist()}, "
            f"the scene {list(source.geobox.bounds())}."
        )
    return _Inside(frame, source, digest(frame.geometry.to_wkb(hex=True).tolist()))
