"""The first stage of the main job alone: stitched probabilities of a scene as a raster."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.config.resolve import footprint_settings
from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.files import (
    check_outputs,
    hold,
    json_digest,
    json_text,
    results_folder,
    write_failures,
)
from geoseg.io.cog import read_finished
from geoseg.io.crs import check_tiff_crs
from geoseg.io.hints import PROVENANCE_TAG, SETTINGS_TAG, read_hints
from geoseg.io.metadata import date_tags
from geoseg.io.references import Reference
from geoseg.io.writers import check_unowned
from geoseg.pipeline.job import input_files, prepare
from geoseg.pipeline.kept import check_scene, doubts, kept_store, predict_job, store_notes
from geoseg.pipeline.predict import PredictSummary
from geoseg.pipeline.provenance import run_provenance
from geoseg.pipeline.rasters import save_prob
from geoseg.pipeline.store import FORMAT, ProbStore
from geoseg.pipeline.summary import RunSummary, summarize
from geoseg.pipeline.workers import Workers, shared_workers
from geoseg.raster.source import RasterSource
from geoseg.typing import PathLike, Progress, no_progress

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["predict_scene"]

#: Tag of a raster of probabilities: what it was made from.
_MARK = "GEOSEG_RUN"


def predict_scene(
    scene: Reference | RasterSource,
    model: Any,
    out: PathLike,
    settings: RunSettings | None = None,
    *,
    progress: Progress = no_progress,
    workers: Workers | None = None,
    client: Any = None,
) -> RunSummary:
    """Write the stitched probabilities of a scene as a COG, one band a class.

    The store lies beside the file, OUT.geoseg, while the run lasts: after a kill the same call goes on.
    The file is marked with what it was made from; the same call once more finds the mark, and does nothing.

    Parameters
    ----------
    scene, model, settings, progress, workers, client
        As in :func:`geoseg.pipeline.run.run_scene`.
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
    # A store beside the file is of a run that did not end: then the file is that of an earlier one.
    finished = None if settings.restart or folder.exists() else read_finished(target, _MARK)

    def known(source: RasterSource, predictor: Predictor, fingerprint: dict[str, Any]) -> int | None:
        if finished is not None and finished[0] == _mark(predictor, fingerprint, dtype):
            return finished[1]
        return None if settings.restart else ProbStore.known_classes(folder, fingerprint)

    job = prepare(scene, model, settings, known)
    check_outputs([target], input_files(job, model))
    # Before the first window: GDAL would write a GeoTIFF under any name, and programs go by the suffix.
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"out must be a GeoTIFF, got {target}. Give a name that ends in .tif.")
    check_tiff_crs(job.source.geobox.crs)
    check_unowned({"prob": target}, job.settings.overwrite)
    mark = _mark(job.predictor, job.fingerprint, dtype)
    kept = footprint_settings(job.settings, job.thresholds, job.source.geobox.gsd)
    origin = run_provenance(job, "predict")
    with results_folder(target.parent), hold(target, folder):
        # The settings kept in the file decide no pixel and are not in the mark, but vectorize goes by them.
        same = finished is not None and mark is not None and finished[0] == mark
        if same and read_hints(target, [1]).settings == kept:
            done = PredictSummary(0, 0, 0.0, 0.0)
            note = f"{target} was made from this scene, model and options; --restart predicts again"
            notes = [note, *doubts(job, target.stat().st_mtime)]
            return summarize(job, done, {"prob": target}, None, [], start, origin, notes)
        with (
            shared_workers(workers, job.settings, target.parent, client) as crew,
            kept_store(job, folder, dtype) as store,
        ):
            done = predict_job(job, store, progress, crew)
            failures = store.failures()
            listed = write_failures([target], failures) if failures else {}
            # A file that lacks regions has no mark, so that the same call tries to read them again.
            marks = {} if failures or mark is None else {_MARK: mark}
            tags = {SETTINGS_TAG: json.dumps(kept), PROVENANCE_TAG: json_text(origin), **marks}
            tags |= date_tags(job.source.acquired)
            place = job.source.geobox
            save_prob(target, store.read, place, job.classes, dtype=dtype, tags=tags, progress=progress)
            check_scene(job, store, [target])
            if not failures:
                write_failures([target], [])
            notes = [*store_notes(job, store), *(crew.take_notes() if crew else ())]
            store.discard()
    return summarize(job, done, {"prob": target, **listed}, None, failures, start, origin, notes)


def _mark(predictor: Predictor, fingerprint: dict[str, Any], dtype: str) -> str | None:
    """What a raster of probabilities is known by: all that decides its pixels and the names of its bands.

    None for a plain callable: what its code reaches by name may have changed without it.
    """
    function = getattr(predictor, "function", None)
    # Its digest sees its code and its closure, and not the globals and files that it may read.
    if function is not None and not callable(getattr(function, "fingerprint", None)):
        return None
    return json_digest([FORMAT, fingerprint, dtype, predictor.classes])
