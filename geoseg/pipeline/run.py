"""The main job: one scene in, exact footprints out, in two stages with the store between them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.config.run import RunSettings, footprint_settings
from geoseg.errors import InputError, RunError, SceneError
from geoseg.files import check_outputs, hold, plain_stem, results_folder, scratch_folder, write_failures
from geoseg.geo.windows import Window
from geoseg.io.cog import read_finished
from geoseg.io.crs import check_tiff_crs
from geoseg.io.hints import SETTINGS_TAG, read_hints
from geoseg.io.vectors.formats import split_layer
from geoseg.io.writers import check_formats, check_unowned, output_path
from geoseg.pipeline.job import Job, prepare
from geoseg.pipeline.predict import PredictSummary, predict_to_store
from geoseg.pipeline.rasters import save_mask, save_prob
from geoseg.pipeline.split import split_rule
from geoseg.pipeline.steps import Steps
from geoseg.pipeline.store import FORMAT, ProbStore, digest
from geoseg.pipeline.vectorize import ChunkValues, vectorize_classes
from geoseg.raster.classes import classify
from geoseg.raster.source import RasterSource
from geoseg.typing import PathLike, Progress, no_progress

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["RunSummary", "predict_scene", "run_scene"]

#: Tag of a raster of probabilities: what it was made from.
_MARK = "GEOSEG_RUN"


@dataclass(frozen=True)
class RunSummary:
    """What a run gave.

    Attributes
    ----------
    scene
        The scene's name.
    files
        Output format (or ``prob``, ``mask``, ``failures``) to the file written.
    footprints
        Number of footprints; None where none were made.
    windows
        Windows of the whole grid.
    windows_run
        Windows that went through the network this time.
    seconds, network_seconds
        Wall time, and the part of it inside the network's callable.
    mpx
        Megapixels of the scene as it was read.
    gsd
        Ground meters per pixel that were read; None without a CRS.
    failures
        Regions that could not be read.
    notes
        What the user should know.
    """

    scene: str
    files: dict[str, str]
    footprints: int | None
    windows: int
    windows_run: int
    seconds: float
    network_seconds: float
    mpx: float
    gsd: float | None
    failures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def run_scene(
    scene: PathLike | RasterSource,
    model: Any,
    out: PathLike,
    settings: RunSettings | None = None,
    *,
    progress: Progress = no_progress,
) -> RunSummary:
    """Turn a scene into footprints.

    Stitched probabilities stream into a zarr store, OUT/NAME.geoseg; then the store is vectorized.
    Finished chunks are kept: after a kill the same call goes on, and ends in the same bytes.

    Parameters
    ----------
    scene
        A file, or any :class:`geoseg.raster.source.RasterSource`.
    model
        A predictor of :func:`geoseg.models.load_model`, a torch module, or any callable from
        (N, C, h, w) float32 to (N, K, h, w). A callable is known again by its code, closure and state, or by
        its own ``fingerprint()``.
    out
        Folder of the results; made if it is missing.
    settings
        See :class:`geoseg.config.run.RunSettings`.
    progress
        Told how far each stage is.

    Raises
    ------
    InputError
        Bad input; nothing is left behind.
    RunError
        The run could not finish; what was done is kept.
    """
    start = time.perf_counter()
    settings = settings or RunSettings()
    job = prepare(
        scene,
        model,
        settings,
        lambda source, _, fingerprint: (
            None
            if settings.restart
            else ProbStore.known_classes(_store_folder(source, Path(out)), fingerprint)
        ),
    )
    check_formats(job.settings.formats, job.source.geobox.crs)
    files, rasters = _outputs(job, Path(out))
    if rasters:
        check_tiff_crs(job.source.geobox.crs)
    check_outputs([*files.values(), *rasters.values()], _inputs(job, model))
    check_unowned(files | rasters, job.settings.overwrite)
    store_folder = _store_folder(job.source, Path(out))
    targets = [*files.values(), *rasters.values()]
    with results_folder(Path(out)), hold(*targets), _kept(job, store_folder) as store:
        done = _predict(job, store, progress)
        failures = store.failures()
        failures_file = store_folder.with_suffix(".failures.json")
        listed = write_failures(failures_file, failures) if failures else {}
        count = _vectorize(job, store, files, progress)
        _save_rasters(job, store, rasters, progress)
        _check_scene(job, store, targets)
        if not failures:  # the list of an earlier run goes with the last of its results
            write_failures(failures_file, [])
        notes = _damage_notes(store)
    return _summarize(job, done, files | rasters | listed, count, failures, start, notes)


def _store_folder(source: RasterSource, out: Path) -> Path:
    return out / f"{plain_stem(source.name)}.geoseg"


def _outputs(job: Job, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Files of footprints by format, and rasters by kind."""
    stem = plain_stem(job.source.name)
    rasters = {"prob": job.settings.save_prob, "mask": job.settings.save_mask}
    return (
        {name: output_path(folder, stem, name) for name in job.settings.formats},
        {kind: folder / f"{stem}.{kind}.tif" for kind, wanted in rasters.items() if wanted},
    )


def _inputs(job: Job, model: Any) -> list[PathLike]:
    """Files that must not be written over."""
    files: list[PathLike] = list(job.source.files())
    given = [path for path in (model, job.settings.aoi) if isinstance(path, (str, os.PathLike))]
    files += [split_layer(path)[0] for path in given]
    return files


def predict_scene(
    scene: PathLike | RasterSource,
    model: Any,
    out: PathLike,
    settings: RunSettings | None = None,
    *,
    progress: Progress = no_progress,
) -> RunSummary:
    """Write the stitched probabilities of a scene as a COG, one band a class.

    The store lies beside the file, OUT.geoseg, while the run lasts: after a kill the same call goes on.
    The file is marked with what it was made from; the same call once more finds the mark, and does nothing.

    Parameters
    ----------
    scene, model, settings, progress
        As in :func:`run_scene`.
    out
        The GeoTIFF.

    Raises
    ------
    InputError
        Bad input, or ``out`` does not end in .tif or .tiff; nothing is left behind.
    RunError
        The run could not finish; what was done is kept.
    """
    start = time.perf_counter()
    settings = settings or RunSettings()
    dtype = settings.dtype
    target = Path(out)
    folder = target.with_name(f"{target.name}.geoseg")
    finished = None if settings.restart or folder.exists() else read_finished(target, _MARK)

    def known(source: RasterSource, predictor: Predictor, fingerprint: dict[str, Any]) -> int | None:
        if finished is not None and finished[0] == _mark(predictor, fingerprint, dtype):
            return finished[1]
        return None if settings.restart else ProbStore.known_classes(folder, fingerprint)

    job = prepare(scene, model, settings, known)
    check_outputs([target], _inputs(job, model))
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"out must be a GeoTIFF, got {target}. Give a name that ends in .tif.")
    check_tiff_crs(job.source.geobox.crs)
    check_unowned({"prob": target}, job.settings.overwrite)
    mark = _mark(job.predictor, job.fingerprint, dtype)
    kept = footprint_settings(job.settings, job.thresholds, job.source.geobox.gsd)
    with results_folder(target.parent), hold(target, folder):
        same = finished is not None and mark is not None and finished[0] == mark
        if same and read_hints(target, [1]).settings == kept:
            done = PredictSummary(0, 0, 0.0, 0.0)
            note = f"{target} was made from this scene, model and options; --restart predicts again"
            return _summarize(job, done, {"prob": target}, None, [], start, [note])
        with _kept(job, folder, dtype) as store:
            done = _predict(job, store, progress)
            failures = store.failures()
            failures_file = target.with_name(f"{target.stem}.failures.json")
            listed = write_failures(failures_file, failures) if failures else {}
            # what lacks regions is tried again
            marks = {} if failures or mark is None else {_MARK: mark}
            tags = {SETTINGS_TAG: json.dumps(kept), **marks}
            place = job.source.geobox
            save_prob(target, store.read, place, job.classes, dtype=dtype, tags=tags, progress=progress)
            _check_scene(job, store, [target])
            if not failures:
                write_failures(failures_file, [])
            notes = _damage_notes(store)
            store.discard()
    return _summarize(job, done, {"prob": target, **listed}, None, failures, start, notes)


def _mark(predictor: Predictor, fingerprint: dict[str, Any], dtype: str) -> str | None:
    """What a raster of probabilities is known by: all that decides its pixels and the names of its bands.

    None for a plain callable: what its code reaches by name may have changed without it.
    """
    function = getattr(predictor, "function", None)
    if function is not None and not callable(getattr(function, "fingerprint", None)):
        return None
    return digest([FORMAT, fingerprint, dtype, predictor.classes])


@contextmanager
def _kept(job: Job, folder: Path, dtype: str = "uint8") -> Iterator[ProbStore]:
    """The job's store; when bad input ends the run before the first chunk, nothing of it stays."""
    store = ProbStore.open(
        folder,
        job.plan,
        len(job.classes),
        job.fingerprint,
        dtype=dtype,
        restart=job.settings.restart,
        batch_size=job.batch_size,
        keep_batch_size=job.settings.batch_size is None,
    )
    try:
        yield store
    except InputError:
        store.discard_if_empty()
        raise
    except KeyboardInterrupt as stop:
        if stop.args:
            raise
        raise KeyboardInterrupt("probabilities are kept; the same command goes on from there") from None
    finally:
        store.close()


def _summarize(
    job: Job,
    done: PredictSummary,
    files: dict[str, Path],
    footprints: int | None,
    failures: list[dict[str, Any]],
    start: float,
    notes: Sequence[str] = (),
) -> RunSummary:
    step = job.source.geobox.ground_resolution()
    return RunSummary(
        scene=job.source.name,
        files={key: str(path) for key, path in files.items()},
        footprints=footprints,
        windows=job.plan.n_windows,
        windows_run=done.windows,
        seconds=round(time.perf_counter() - start, 3),
        network_seconds=round(done.network_seconds, 3),
        mpx=round(job.plan.shape[0] * job.plan.shape[1] / 1e6, 3),
        gsd=None if step is None else round(float(np.sqrt(step[0] * step[1])), 4),
        failures=failures,
        notes=[*job.notes, *getattr(job.predictor, "notes", ()), *notes],
    )


def _damage_notes(store: ProbStore) -> list[str]:
    if not store.damaged:
        return []
    some = "1 kept chunk was" if store.damaged == 1 else f"{store.damaged} kept chunks were"
    return [f"{some} damaged or gone from {store.folder}: predicted again"]


def _check_scene(job: Job, store: ProbStore, written: Sequence[Path] = ()) -> None:
    """Make sure that the scene is still the one the run began with.

    Chunks are predicted over hours. A scene that is replaced meanwhile would be mixed with the old one, and
    the mix would be kept under the fingerprint of the old one. An array in memory is left alone: to look at
    all of it once more would cost more than it is worth.

    Raises
    ------
    RunError
        It changed; what was predicted is thrown away.
    """
    if not job.source.files():
        return
    try:
        fingerprint = job.source.fingerprint()
    except (SceneError, OSError):  # it is gone, or being written
        fingerprint = ""
    if fingerprint == job.fingerprint["scene"]:
        return
    store.discard()
    done = f" {', '.join(map(str, written))} still show it as it was." if written else ""
    raise RunError(
        f"{job.source.name} was replaced or changed during the run, so what was predicted is not kept.{done} "
        "Give the same command again."
    )


def _predict(job: Job, store: ProbStore, progress: Progress) -> PredictSummary:
    """The first stage, and a look at what it left: all chunks, of one scene."""
    try:
        done = predict_to_store(
            job.source,
            job.predictor,
            job.plan,
            store,
            batch_size=store.batch_size,
            fill=job.predictor.fill_values(),
            inside=job.inside,
            on_error=job.settings.on_error,
            first=job.first,
            progress=progress,
        )
    except KeyboardInterrupt:
        rows, cols = job.plan.n_chunks
        left = len(store.missing())
        raise KeyboardInterrupt(
            f"{rows * cols - left} of {rows * cols} chunks are finished and kept; "
            "the same command goes on from there"
        ) from None
    if done.windows or done.skipped:
        _check_scene(job, store)
    store.check_complete()
    return done


def _vectorize(job: Job, store: ProbStore, files: dict[str, Path], progress: Progress) -> int:
    def read_chunk(window: Window) -> ChunkValues:
        classes = classify(store.read(window), background=job.background, thresholds=job.thresholds)
        return ChunkValues(classes.values, classes.prob, classes.invalid)

    with scratch_folder(store.folder) as spill:
        summary = vectorize_classes(
            read_chunk,
            *job.plan.shape,
            chunk=job.plan.chunk_shape,
            connectivity=job.settings.connectivity,
            class_names=job.object_classes,
            geobox=job.source.geobox,
            scene=job.source.name,
            acquired=job.source.acquired,
            split=split_rule(job.settings.split, job.source.geobox),
            steps=Steps(**dict(job.settings)),
            out=files,
            progress=progress,
            spill_dir=spill,
        )
    return summary.footprints


def _save_rasters(job: Job, store: ProbStore, files: dict[str, Path], progress: Progress) -> None:
    if "prob" in files:
        kept = footprint_settings(job.settings, job.thresholds, job.source.geobox.gsd)
        tags = {SETTINGS_TAG: json.dumps(kept)}
        save_prob(files["prob"], store.read, job.source.geobox, job.classes, tags=tags, progress=progress)
    if "mask" in files:
        save_mask(
            files["mask"],
            store.read,
            job.source.geobox,
            job.object_classes,
            background=job.background,
            thresholds=job.thresholds,
            progress=progress,
        )
