"""Reports of one result or of many, as they are asked for after a run and by ``geoseg report``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from geoseg.errors import GeosegError
from geoseg.files import DiskFullError, plain_stem
from geoseg.pipeline.batch import BatchSummary
from geoseg.pipeline.batch.manifest import SceneRecord, read_manifest
from geoseg.pipeline.record import RECORD, report_file
from geoseg.pipeline.summary import RunSummary
from geoseg.report.pages.batch_page import BatchReport, write_batch_report
from geoseg.report.pages.results import find_result
from geoseg.report.pages.scene_page import write_scene_report
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["report_batch", "report_run", "report_scenes", "write_all_reports"]


def report_run(summary: RunSummary, out: PathLike, *, progress: Progress = no_progress) -> RunSummary:
    """Write the report of a run that has just ended.

    Parameters
    ----------
    summary
        Of the run.
    out
        Folder of its results.
    progress
        As for :func:`geoseg.report.pages.scene_page.write_scene_report`.

    Returns
    -------
    RunSummary
        The same, with the report among its extras.
    """
    result = find_result(Path(out) / f"{plain_stem(summary.scene)}.geoseg")
    # What a run reads from the network the user has asked for.
    report = write_scene_report(result, remote=True, progress=progress)
    return replace(summary, extras=summary.extras | {"report": report.file})


def report_scenes(
    out: PathLike, records: Iterable[SceneRecord], *, remote: bool, progress: Progress = no_progress
) -> list[str]:
    """Write the reports of scenes of a batch that have a result, and no report of it yet.

    Returns
    -------
    list of str
        Why there is none of some: it does not keep the others from being written.
    """
    notes = []
    for record in records:
        if record.state not in ("done", "incomplete"):
            continue
        try:
            result = find_result(Path(out) / plain_stem(record.name))
            report, made_from = result.target, result.store / RECORD
            # One of an earlier result is written anew.
            if not report.is_file() or report.stat().st_mtime_ns < made_from.stat().st_mtime_ns:
                write_scene_report(result, remote=remote, progress=progress)
        except DiskFullError:  # the next one would fare no better
            raise
        except (GeosegError, OSError) as error:
            notes.append(f"no report of {record.name}: {' '.join(str(error).split())}")
    return notes


def report_batch(summary: BatchSummary, out: PathLike, *, progress: Progress = no_progress) -> BatchReport:
    """Write the reports of a batch that has just ended, and name them among the extras of its scenes.

    Parameters
    ----------
    summary
        Of the batch.
    out
        Folder of its results.
    progress
        Told of the stages of each report.
    """
    # What a run reads from the network the user has asked for.
    report = write_all_reports(out, each=True, remote=True, progress=progress)
    for record in summary.scenes:
        page = report_file(Path(record.name), record.name)
        if record.state in ("done", "incomplete") and (Path(out) / page).is_file():
            record.extras["report"] = str(page)
    return report


def write_all_reports(
    out: PathLike,
    path: PathLike | None = None,
    *,
    each: bool,
    remote: bool = False,
    progress: Progress = no_progress,
) -> BatchReport:
    """Write the overview of many scenes.

    Parameters
    ----------
    out, path
        As for :func:`geoseg.report.pages.batch_page.write_batch_report`.
    each
        Also write the reports of scenes that have a result and no report, or one of an earlier result.
    remote
        Whether scenes may be read from the network.
    progress
        Told of the stages of each report.
    """
    notes: list[str] = []
    if each:
        with read_manifest(out) as manifest:
            records = manifest.scenes()
        notes = report_scenes(out, records, remote=remote, progress=progress)
    summary = write_batch_report(out, path)
    return replace(summary, notes=[*summary.notes, *notes])
