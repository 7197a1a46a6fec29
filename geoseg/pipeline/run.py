"""The main job: one scene in, exact footprints out, in two stages with the store between them."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.config.resolve import footprint_settings
from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.files import (
    check_outputs,
    check_page,
    hold,
    json_text,
    plain_stem,
    results_folder,
    scratch_folder,
    write_failures,
)
from geoseg.io.crs import check_tiff_crs
from geoseg.io.hints import PROVENANCE_TAG, SETTINGS_TAG
from geoseg.io.metadata import date_tags
from geoseg.io.references import Reference
from geoseg.io.writers import check_formats, check_unowned, output_path, scene_style
from geoseg.pipeline.chunk_files import StoredClasses
from geoseg.pipeline.extras import PARTS, check_extras, earlier_files, write_extras
from geoseg.pipeline.job import Job, input_files, prepare
from geoseg.pipeline.kept import check_scene, kept_store, predict_job, store_notes
from geoseg.pipeline.provenance import run_provenance
from geoseg.pipeline.rasters import save_mask, save_prob
from geoseg.pipeline.record import RECORD, REPORT_MAKER, make_record, report_file, write_record
from geoseg.pipeline.split import split_rule
from geoseg.pipeline.steps import Steps
from geoseg.pipeline.store import ProbStore
from geoseg.pipeline.summary import RunSummary, summarize
from geoseg.pipeline.vectorize import VectorizeSummary, vectorize_classes
from geoseg.pipeline.workers import Workers, shared_workers
from geoseg.raster.source import RasterSource
from geoseg.typing import PathLike, Progress, no_progress

if TYPE_CHECKING:
    from geoseg.pipeline.ground import Ground

__all__ = ["check_update", "run_scene"]


def check_update(settings: RunSettings) -> None:
    """Refuse an option without the one that it belongs to: it would have no effect.

    Raises
    ------
    InputError
        ``update_iou`` without ``update``, or one of merging without ``merge``.
    """
    if settings.merge is None:
        for name in ("merge_crs", "overlaps"):
            if getattr(settings, name) not in (None, "keep"):
                raise InputError(
                    f"{name} must come with merge, which makes one data set of all scenes. Give --merge "
                    "parquet as well."
                )
    # A configuration that geoseg printed states the default.
    if settings.update is None and settings.update_iou != type(settings).model_fields["update_iou"].default:
        raise InputError(
            "update_iou must come with update, which names the footprints to compare with. Give --update "
            "FILE as well."
        )


def run_scene(
    scene: Reference | RasterSource,
    model: Any,
    out: PathLike,
    settings: RunSettings | None = None,
    *,
    progress: Progress = no_progress,
    workers: Workers | None = None,
    client: Any = None,
) -> RunSummary:
    """Turn a scene into footprints.

    Stitched probabilities stream into a zarr store, OUT/NAME.geoseg; then the store is vectorized.
    Finished chunks are kept: after a kill the same call goes on, and ends in the same bytes.

    Parameters
    ----------
    scene
        What :func:`geoseg.io.sources.open_raster` opens, or any
        :class:`geoseg.raster.source.RasterSource`.
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
    workers
        Who does the work, see :func:`geoseg.pipeline.workers.open_workers`; they may be at work on other
        scenes as well. None: those that the settings ask for.
    client
        A ``distributed.Client`` whose cluster does the work, where no workers are given.

    Raises
    ------
    InputError
        Bad input; nothing is left behind.
    RunError
        The run could not finish; what was done is kept.
    """
    start = time.perf_counter()
    settings = settings or RunSettings()
    if settings.merge is not None:
        raise InputError("merge must be given for many scenes, got one. Call geoseg.run_batch.")
    check_update(settings)
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
    # All that can be wrong with the outputs is found before the first window, which may be hours before them.
    check_formats(job.settings.formats, job.source.geobox.crs)
    files, rasters = _outputs(job, Path(out))
    if rasters:
        check_tiff_crs(job.source.geobox.crs)
    check_outputs([*files.values(), *rasters.values()], input_files(job, model))
    check_unowned(files | rasters, job.settings.overwrite)
    parts = _parts(job, Path(out))
    check_extras(job, Path(out))
    if job.settings.report:
        check_page(report_file(Path(out), job.source.name), input_files(job, model), REPORT_MAKER)
    store_folder = _store_folder(job.source, Path(out))
    targets = [*files.values(), *rasters.values(), *parts.values()]
    # Held from here on: two runs to one folder would otherwise both work, and the last one stay.
    with (
        results_folder(Path(out)),
        hold(*targets),
        # Before the store, which --restart empties: a cluster that does not answer costs nothing.
        shared_workers(workers, job.settings, Path(out), client) as crew,
        kept_store(job, store_folder) as store,
    ):
        # Of an earlier run: from here on the results are not those that it tells of.
        (store.folder / RECORD).unlink(missing_ok=True)
        done = predict_job(job, store, progress, crew)
        failures = store.failures()
        # Before the results, so that none of them lies there without the list of what it lacks.
        listed = write_failures(targets, failures) if failures else {}
        origin = run_provenance(job, "run")
        changes: dict[str, int] = {}
        # Of the chunks that are kept, once for all that asks for it.
        ground = functools.cache(lambda: _valid_ground(job, store))
        if job.settings.update is None:
            made = _vectorize(job, store, files, origin, crew, progress, job.settings.min_confidence)
            count, unsure = made.footprints, made.unsure
        else:
            count, unsure, changes = _vectorize_compared(
                job, store, files, parts, origin, ground, crew, progress
            )
        _save_rasters(job, store, rasters, origin, ground, progress)
        # Once more, for the second stage takes its time as well: the results must be of one scene.
        check_scene(job, store, targets)
        store.keep_failures()
        if not failures:  # the lists of an earlier run go with its results
            write_failures(targets, [])
        notes = [*store_notes(job, store), *(crew.take_notes() if crew else ())]
        if unsure and not count:
            # On ground that the network does not know this is likely, and looks like a scene without houses.
            notes.append(
                f"no footprint is left: {unsure} had a mean probability below "
                f"{job.settings.min_confidence:g} (min_confidence); 0 keeps them"
            )
        extras = write_extras(
            job,
            Path(out),
            files,
            rasters,
            listed,
            parts,
            scene=scene,
            origin=origin,
            footprints=count,
            ground=ground,
        )
        earlier = earlier_files(job, Path(out), [*targets, *extras.values()])
        if earlier:
            notes.append(
                f"{', '.join(path.name for path in earlier)} tell of the results of an earlier call: remove "
                "them, or ask for them again"
            )
        write_record(store.folder, make_record(job, scene, origin, files | rasters, count, failures))
    listed |= {f"{kind}.{name}": path for (kind, name), path in parts.items()}
    summary = summarize(job, done, files | rasters | listed, count, failures, start, origin, notes)
    return replace(
        summary, unsure=unsure, changes=changes, extras={kind: str(path) for kind, path in extras.items()}
    )


def _store_folder(source: RasterSource, out: Path) -> Path:
    return out / f"{plain_stem(source.name)}.geoseg"


def _outputs(job: Job, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Files of footprints by format, and rasters by kind."""
    stem = plain_stem(job.source.name)
    # All files are called after the scene, so that many scenes may share a folder.
    settings = job.settings
    rasters = {"prob": settings.save_prob, "mask": settings.save_mask, "valid": settings.save_valid}
    return (
        {name: output_path(folder, stem, name) for name in job.settings.formats},
        {kind: folder / f"{stem}.{kind}.tif" for kind, wanted in rasters.items() if wanted},
    )


def _parts(job: Job, folder: Path) -> dict[tuple[str, str], Path]:
    """Files of footprints that are new, changed and gone by kind and format, where they are compared.

    Raises
    ------
    InputError
        One would be lost that geoseg did not write, an input would be written over, or the known footprints
        can't be read.
    """
    settings = job.settings
    if settings.update is None:
        return {}
    from geoseg.pipeline.update import known_footprints  # loads geopandas

    place = job.source.geobox
    # Opened once more when the footprints are there: what is wrong with it is said now.
    known_footprints(settings.update, place.crs, place.bounds(), job.source.name)
    # What is compared lies in a GeoParquet file for the time being.
    check_formats(["parquet"], place.crs)
    stem = plain_stem(job.source.name)
    parts = {
        (kind, name): output_path(folder, f"{stem}.{kind}", name)
        for name in settings.formats
        for kind in PARTS
    }
    check_outputs(parts.values(), input_files(job, None))
    for (_, name), path in parts.items():
        check_unowned({name: path}, settings.overwrite)
    return parts


def _vectorize(
    job: Job,
    store: ProbStore,
    files: dict[str, Path],
    origin: dict[str, Any],
    workers: Workers | None,
    progress: Progress,
    min_confidence: float,
) -> VectorizeSummary:
    apart = workers is not None and workers.apart
    with scratch_folder(store.folder) as spill, store.exchange() if apart else nullcontext() as depot:
        return vectorize_classes(
            StoredClasses(store.files, store.records, job.background, job.thresholds),
            *job.plan.shape,
            chunk=job.plan.chunk_shape,
            connectivity=job.settings.connectivity,
            class_names=job.object_classes,
            geobox=job.source.geobox,
            scene=job.source.name,
            acquired=job.source.acquired,
            split=split_rule(job.settings.split, job.source.geobox),
            min_confidence=min_confidence,
            steps=Steps(**dict(job.settings)),
            provenance=origin,
            out=files,
            progress=progress,
            spill_dir=spill,
            depot=depot,
            workers=workers,
        )


def _vectorize_compared(
    job: Job,
    store: ProbStore,
    files: dict[str, Path],
    parts: dict[tuple[str, str], Path],
    origin: dict[str, Any],
    ground: Callable[[], Ground],
    workers: Workers | None,
    progress: Progress,
) -> tuple[int, int, dict[str, int]]:
    """Write footprints with what became of those that were known before.

    Gives their number, how many were left out as too unsure, and how many are new, kept, changed and gone.
    """
    from geoseg.pipeline.update import known_footprints
    from geoseg.pipeline.update_files import write_updated

    settings, place = job.settings, job.source.geobox
    assert settings.update is not None
    known = known_footprints(settings.update, place.crs, place.bounds(), job.source.name, settings.aoi)
    origin["update"] = {"name": Path(settings.update).name, "iou": settings.update_iou}
    style = {
        "crs": place.crs,
        **scene_style(place),
        "repair": True,
        "provenance": origin,
    }
    with scratch_folder(store.folder) as scratch:
        # All must be known before the first is written, for each is compared with what lies around it.
        plain = scratch / "footprints.parquet"
        # The unsure ones as well: without them a known house that was found would count as gone.
        compared = _vectorize(job, store, {"parquet": plain}, origin, workers, progress, 0)
        changes = write_updated(
            plain,
            files,
            parts,
            known,
            lambda geometry: ground().holds(geometry, place.crs),
            lambda geometry: [ground().shares(geometry, place.crs)],
            settings.update_iou,
            scratch,
            style,
            settings.min_confidence,
        )
    count = len(changes.codes)
    return count, compared.footprints - count, changes.counts


def _valid_ground(job: Job, store: ProbStore) -> Ground:
    from geoseg.pipeline.ground import count_valid  # loads geopandas

    rows, cols = job.plan.n_chunks
    chunks = (job.plan.chunk_window(row, col) for row in range(rows) for col in range(cols))
    return count_valid(store.read, chunks, job.source.geobox)


def _save_rasters(
    job: Job,
    store: ProbStore,
    files: dict[str, Path],
    origin: dict[str, Any],
    ground: Callable[[], Ground],
    progress: Progress,
) -> None:
    about = {PROVENANCE_TAG: json_text(origin), **date_tags(job.source.acquired)}
    if "prob" in files:
        kept = footprint_settings(job.settings, job.thresholds, job.source.geobox.gsd)
        tags = {SETTINGS_TAG: json.dumps(kept), **about}
        save_prob(files["prob"], store.read, job.source.geobox, job.classes, tags=tags, progress=progress)
    if "valid" in files:
        from geoseg.pipeline.ground import save_ground

        save_ground(files["valid"], ground(), tags=about)
    if "mask" in files:
        save_mask(
            files["mask"],
            store.read,
            job.source.geobox,
            job.object_classes,
            background=job.background,
            thresholds=job.thresholds,
            tags=about,
            progress=progress,
        )
