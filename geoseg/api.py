"""Whole jobs in Python: what the commands do, with their settings as keyword arguments."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from geoseg.config.keywords import RunKeywords, SegmentKeywords, VectorizeKeywords
from geoseg.config.resolve import parse_run_settings
from geoseg.config.signature import takes_settings
from geoseg.typing import PathLike, Progress, no_progress

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from geoseg.pipeline.batch import BatchSummary
    from geoseg.pipeline.summary import RunSummary
    from geoseg.pipeline.vectorize_raster import RasterSummary

__all__ = ["run", "run_batch", "segment", "vectorize"]


@takes_settings("segment")
def segment(
    scene: PathLike | xr.DataArray | Any,
    model: Any = None,
    *,
    progress: Progress = no_progress,
    client: Any = None,
    **settings: Unpack[SegmentKeywords],
) -> gpd.GeoDataFrame:
    """Footprints of a scene, in memory.

    Parameters
    ----------
    scene
        A file, or an array (H, W) or (C, H, W); see :func:`geoseg.predict` for what is read of them.
    model
        As for :func:`geoseg.predict`; None: the building network that ships. Of a torch module the outputs
        are taken as logits; of a callable as probabilities.
    progress
        Told how far each stage is.
    client
        As for :func:`geoseg.run`. The results are made in a temporary folder, which workers on other machines
        do not see: with these give ``store`` as well.
    **settings
        Listed below. None: as the model's card says, else the default.

    Returns
    -------
    GeoDataFrame
        Columns id, class, area_m2 (area_px without a ground sampling distance), confidence, touches_edge,
        scene, acquired where that is known, and with ``regularize`` outline (``regular``, ``simplified`` or
        ``raw``) and outline_iou, its IoU with the pixels. ``attrs`` has ``notes``, what the user should know,
        ``provenance``, what they were made from, ``unsure``, how many ``min_confidence`` left out, and
        ``failures``, regions that could not be read (with ``on_error="skip"``); a warning says so where there
        are any.

    See Also
    --------
    geoseg.run : the same to files, in bounded memory; a run that was stopped goes on.
    geoseg.run_batch : many scenes.
    """
    import geopandas as gpd

    from geoseg.pipeline.opening import Concern, warn_user
    from geoseg.pipeline.run import run_scene
    from geoseg.pipeline.store_state import remove_store

    # Through a file, so that memory is bounded while the run lasts; GeoParquet keeps types and CRS as they
    # are.
    given = parse_run_settings(settings, caller="segment").model_copy(update={"formats": ("parquet",)})
    with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
        try:
            summary = run_scene(_source(scene), model, folder, given, progress=progress, client=client)
            # Read before the folder goes.
            frame = gpd.read_parquet(summary.files["parquet"])
        finally:
            # With it would go all knowledge of what lies elsewhere.
            for store in Path(folder).glob("*.geoseg"):
                remove_store(store)
    frame.attrs |= {
        "notes": summary.notes,
        "failures": summary.failures,
        "unsure": summary.unsure,
        "provenance": summary.provenance,
    }
    if summary.failures:
        count = len(summary.failures)
        regions, are = ("1 region", "is") if count == 1 else (f"{count} regions", "are")
        # A warning as well: nobody looks into attrs who does not know that something is missing.
        missing = f"{regions} could not be read and {are} missing; see .attrs['failures'] of the result"
        warn_user([Concern(missing)])
    warn_user(summary.notes)
    return frame


@takes_settings("run")
def run(
    scene: PathLike | xr.DataArray | Any,
    model: Any = None,
    *,
    out: PathLike,
    progress: Progress = no_progress,
    client: Any = None,
    **settings: Unpack[RunKeywords],
) -> RunSummary:
    """Footprints of a scene, to files: the command ``geoseg run``.

    Memory is bounded whatever the size of the scene. Finished chunks are kept in OUT/NAME.geoseg: after a
    kill the same call goes on, and ends in the same bytes.

    Parameters
    ----------
    scene, model, progress
        As for :func:`geoseg.segment`.
    out
        Folder of the results; made if it is missing.
    client
        A ``distributed.Client``: its cluster shares the work, and the result is the same. Its workers must
        see the scene, the model and the folder of the results.
    **settings
        Listed below. None: as the model's card says, else the default.

    Returns
    -------
    RunSummary
        The files by format, numbers of footprints and windows, times, notes, and regions that could not be
        read.
    """
    from geoseg.pipeline.run import run_scene

    given = parse_run_settings(settings, caller="run")
    summary = run_scene(_source(scene), model, out, given, progress=progress, client=client)
    if given.report:
        from geoseg.report.pages.reports import report_run

        return report_run(summary, out, progress=progress)
    return summary


@takes_settings("run")
def run_batch(
    scenes: PathLike | Sequence[PathLike],
    model: Any = None,
    *,
    out: PathLike,
    progress: Progress = no_progress,
    client: Any = None,
    **settings: Unpack[RunKeywords],
) -> BatchSummary:
    """Footprints of many scenes, to files: the command ``geoseg run`` with several scenes.

    Each scene has a folder of its own, OUT/NAME, and a row in OUT/manifest.sqlite. The same call once more
    leaves finished scenes as they are and goes on where it stopped. A scene that fails does not keep the
    others from being done.

    Parameters
    ----------
    scenes
        Files, addresses, folders, patterns such as ``sheets/*.tif``, or text files with a name in each line
        (``@list.txt``). Files on one grid that touch or overlap are one scene.
    model, out, progress, client
        As for :func:`geoseg.run`.
    **settings
        Listed below, and meant for every scene.

    Returns
    -------
    BatchSummary
        A record for each scene: state, files, numbers, failures and notes.
    """
    from geoseg.pipeline.batch import run_batch as run_many

    # One name is a list of one; it may stand for many, as a folder or a pattern does.
    names = [scenes] if isinstance(scenes, (str, os.PathLike)) else list(scenes)
    given = parse_run_settings(settings, caller="run")
    summary = run_many(names, model, out, given, progress=progress, client=client)
    if given.report:
        from geoseg.report.pages.reports import report_batch

        report_batch(summary, out, progress=progress)
    return summary


@takes_settings("vectorize")
def vectorize(
    raster: PathLike,
    out: PathLike,
    *,
    progress: Progress = no_progress,
    client: Any = None,
    **settings: Unpack[VectorizeKeywords],
) -> RasterSummary:
    """Footprints of a mask, a class map or probabilities, to files: the command ``geoseg vectorize``.

    Parameters
    ----------
    raster
        Anything rasterio opens. Integers are a mask or a class map (0 = background) unless they state a
        scale or a threshold is given; floats are probabilities, one band a class. A band described as
        ``background`` competes with the others and makes no footprints.
    out
        A file, whose suffix tells the format, or a folder.
    progress
        Told how far each stage is.
    client
        A ``distributed.Client``: its cluster shares the work, and the result is the same. Its workers must
        see the raster and the folder of the results.
    **settings
        Listed below.

    Returns
    -------
    RasterSummary
        The files by format, numbers of footprints, notes, and regions that could not be read.
    """
    from geoseg.pipeline.vectorize_raster import vectorize_raster

    given = parse_run_settings(settings, caller="vectorize")
    return vectorize_raster(raster, out, given, progress=progress, client=client)


def _source(scene: Any) -> Any:
    """A file as its path, an array as a scene."""
    if isinstance(scene, (str, os.PathLike)):
        return Path(scene) if isinstance(scene, os.PathLike) else scene
    # xarray and dask take half a second to load, which a job on a file does without.
    from geoseg.lazy.forms import array_scene

    return array_scene(scene)
