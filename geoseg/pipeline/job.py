"""What has to be settled before anything is written: a scene, a model and settings that fit each other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geoseg.config.resolve import class_thresholds, resolve
from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.files import json_digest
from geoseg.geo.blocks import BlockPlan, plan_blocks
from geoseg.geo.effort import NETWORK_MPX_S, check_effort
from geoseg.geo.windows import Window
from geoseg.io.local_files import stat_stamp
from geoseg.io.references import Reference, SceneReference
from geoseg.io.vectors.formats import split_layer
from geoseg.pipeline.opening import check_array, open_for_model
from geoseg.pipeline.salvage import read_pixels
from geoseg.pipeline.values import coordinates_text, stretched
from geoseg.raster.blocks import Block
from geoseg.raster.classes import check_class_count
from geoseg.raster.source import RasterSource
from geoseg.raster.stitch import load_kernels
from geoseg.typing import Array, BoolArray, OnError, PathLike
from geoseg.vector.burn import PolygonIndex

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["Job", "input_files", "plan_of", "prepare"]

#: Side of the squares in which the area of interest is drawn, pixels: that of a default window.
_SQUARE = 512


@dataclass(frozen=True)
class Job:
    """A scene, a model and settings that fit each other.

    Attributes
    ----------
    settings
        As the user gave them, else as the model's card suggests, else the defaults.
    thresholds
        One probability an object class, a single one for all, or None for the most probable class.
    stamps
        The scene's local files as they were before the first window; see
        :func:`geoseg.io.local_files.stat_stamp`.
    """

    source: RasterSource
    predictor: Predictor
    plan: BlockPlan
    settings: RunSettings
    thresholds: tuple[float, ...] | None
    inside: _Inside | None
    notes: tuple[str, ...]
    fingerprint: dict[str, Any]
    classes: tuple[str, ...]
    background: int | None
    batch_size: int
    first: Array | None
    stamps: dict[Path, tuple[int, int, int] | None]

    @property
    def object_classes(self) -> tuple[str, ...]:
        """Names of the classes that become footprints."""
        return tuple(name for k, name in enumerate(self.classes) if k != self.background)


def prepare(
    scene: Reference | RasterSource,
    model: Any,
    given: RunSettings,
    known: Callable[[RasterSource, Predictor, dict[str, Any]], int | None],
) -> Job:
    """Open the scene and the model, and check that they fit, before anything is written.

    Parameters
    ----------
    scene, model
        As in :func:`geoseg.pipeline.run.run_scene`.
    given
        Settings that the user chose.
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
        model,
        device=given.main_device,
        engine=given.engine,
        test_time=given.given().get("test_time"),
        lazy=True,  # a run that has nothing left to predict needs no network, and no torch
    )
    # What the card suggests is known only with the model, so the settings are made final here and not before.
    settings = resolve(given, {} if predictor.card is None else predictor.card.options.suggested())
    if isinstance(scene, (str, os.PathLike, SceneReference)):
        source, notes = open_for_model(scene, predictor, given, settings)
    else:
        called = getattr(scene, "called", ())
        concerns = check_array(scene.name, scene.geobox, predictor, given, called)
        source, notes = stretched(scene, predictor, settings)
        notes = concerns + notes
    # Before anything that takes time with the number of pixels, which a broken header may state as 10^18.
    check_effort(*source.geobox.shape, NETWORK_MPX_S, source.path)
    notes += check_bands(predictor, source.count, source.dtype)
    if source.geobox.crs is None:
        notes.append(f"{source.name} has no CRS: footprints are {coordinates_text(source)}")
    plan = plan_of(source, settings)
    inside = None if settings.aoi is None else _area_of_interest(settings.aoi, source)
    # Before the model is called: the state of a callable, which a call may change, is part of it.
    # Scene and model are good, so there will be something to stitch; the files that are hashed and begun
    # before the first window leave time for this.
    load_kernels()
    stamps = {path: stat_stamp(path) for path in source.files()}
    fingerprint = _fingerprint(source, predictor, plan, settings, inside)
    first = None
    classes = predictor.classes
    if not classes and (count := known(source, predictor, fingerprint)) is not None:
        classes = _class_names(count)
    elif not classes:
        # A callable does not state its outputs, and the store has to know how many there are.
        classes, first = _try_first_window(predictor, source, plan, inside, settings.on_error)
    check_class_count(len(classes) - (predictor.background is not None))
    thresholds = class_thresholds(settings.threshold, classes, predictor.background)
    batch_size = settings.batch_size or predictor.batch_size_default(settings.window)
    return Job(
        source, predictor, plan, settings, thresholds, inside, tuple(notes), fingerprint, tuple(classes),
        predictor.background, batch_size, first, stamps,
    )  # fmt: skip


def plan_of(source: RasterSource, settings: RunSettings) -> BlockPlan:
    """How the windows of a scene are dealt to blocks."""
    return plan_blocks(
        source.geobox.shape,
        window=settings.window,
        overlap=settings.overlap,
        chunk=settings.chunk,
        blend=settings.blend,
    )


def _fingerprint(
    source: RasterSource, predictor: Predictor, plan: BlockPlan, settings: RunSettings, inside: _Inside | None
) -> dict[str, Any]:
    """Everything that decides the stored pixels: a run goes on only where all of it is the same.

    Engine and kind of device are among it: the same network differs in the last bits of a float32 between
    PyTorch, ONNX Runtime and OpenVINO, and by up to a few thousandths between a CPU and a GPU in mixed
    precision, so that chunks of two of them would not be the bytes of an undisturbed run.

    The batch size is not. On a CPU each window comes out the same bits in any batch. On a GPU the library
    picks its kernels by the size of the batch, so that the last bits of bfloat16 may differ; and there
    ``auto`` depends on the memory that happens to be free, so that a fingerprint with it would refuse the
    very command that was killed. The store therefore remembers the batch size and a run goes on with it,
    which gives the bytes of an undisturbed run. Whoever asks for another number on purpose (after a GPU
    ran out of memory) goes on with that one, and has to expect a difference of one in 254 here and there.
    """
    return {
        "scene": source.fingerprint(),
        "model": predictor.fingerprint(),
        "runtime": getattr(predictor, "runtime", None),
        **settings.fingerprint(),
        "chunk": plan.chunk_shape,
        "shape": plan.shape,
        "aoi": None if inside is None else inside.fingerprint,
    }


def _try_first_window(
    predictor: Predictor, source: RasterSource, plan: BlockPlan, inside: _Inside | None, on_error: OnError
) -> tuple[tuple[str, ...], Array | None]:
    """How many outputs a callable has, by predicting the first window (kept, so that it runs once)."""
    window = plan.block_window(0, 0).clipped(*plan.shape)
    area = None if inside is None else inside(window)
    if area is None or area.any():
        image, valid, _ = read_pixels(source, window, on_error)  # failures are listed when the block is read
    else:
        # Nothing of it counts, but the callable has to be asked with something.
        image, valid = np.zeros((source.count, window.height, window.width), source.dtype), None
    block = Block(plan, (0, 0), image, valid, predictor.fill_values(), area)
    # A copy: a callable that writes into its input would change the pixels of the windows beside.
    result = np.asarray(predictor(block.cut(0, 0)[None].copy()))[0]
    # The run leaves out a window without a valid pixel, so its result must not be taken for one.
    used = block.windows_to_run()[:1] == [(0, 0)]
    return _class_names(len(result)), result if used else None


def _class_names(count: int) -> tuple[str, ...]:
    return tuple(f"class_{k + 1}" for k in range(count))


@dataclass(frozen=True)
class _Inside:
    """Which pixels of a window lie in the area of interest.

    Rasterized in squares that lie still, so that a pixel on the border is in or out whatever window asks.
    """

    polygons: PolygonIndex
    fingerprint: str

    def __call__(self, window: Window) -> BoolArray:
        inside = np.zeros((window.height, window.width), bool)
        rows = range(window.row_off // _SQUARE * _SQUARE, window.row_end, _SQUARE)
        cols = range(window.col_off // _SQUARE * _SQUARE, window.col_end, _SQUARE)
        for row, col in itertools.product(rows, cols):
            square = Window(row_off=row, col_off=col, height=_SQUARE, width=_SQUARE)
            part = square.intersection(window)
            target, source = part.shifted(-window.row_off, -window.col_off), part.shifted(-row, -col)
            inside[target.rows, target.cols] = self.polygons.mask(square)[source.rows, source.cols]
        return inside


def _area_of_interest(path: Path, source: RasterSource) -> _Inside:
    from geoseg.io.vectors import read_features  # loads geopandas, which a run without an area does without

    if source.geobox.crs is None:
        raise InputError(f"--aoi needs a scene with a CRS, and {source.name} has none. Use --bbox in pixels.")
    area = read_features(path)
    if not len(area):
        raise InputError(f"{path} holds no polygon. Give an area of interest with at least one.")
    shapes = area.on(source.geobox, source.name).geometry
    height, width = source.geobox.shape
    # Polygons beyond the scene change no pixel, and so must not change the fingerprint either.
    shapes = shapes[shapely.intersects(shapes, shapely.box(0, 0, width, height))]
    if not len(shapes):
        raise InputError(
            f"{path} does not meet the scene: it covers {list(area.source.bounds or ())}, "
            f"the scene {list(source.geobox.bounds())}."
        )
    return _Inside(PolygonIndex(shapes), json_digest(shapely.to_wkb(shapes, hex=True).tolist()))


def input_files(job: Job, model: Any) -> list[PathLike]:
    """Files that must not be written over."""
    files: list[PathLike] = list(job.stamps)
    named = (model, job.settings.aoi, job.settings.update)
    given = [path for path in named if isinstance(path, (str, os.PathLike))]
    files += [split_layer(path)[0] for path in given]
    return files
