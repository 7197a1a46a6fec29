"""``geoseg report``: the result of a run, or of many, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli.common import Json, Quiet, handle_errors, print_json, print_notes, progress_bar
from geoseg.cli.status import count_of

if TYPE_CHECKING:
    from geoseg.report.pages.batch_page import BatchReport
    from geoseg.report.pages.scene_page import ReportSummary

__all__ = ["register"]

_EPILOG = """Examples:

  geoseg report results

  geoseg report results/town.geojson --scene /moved/to/town.tif -o town.html

  geoseg report many --each
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", epilog=_EPILOG)(report)


@handle_errors
def report(
    result: Annotated[Path, typer.Argument(help="The --out of a geoseg run, or a file in it.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file. Default: NAME.report.html beside the result."),
    ] = None,
    scene: Annotated[
        str | None, typer.Option(help="Where the scene lies now. Default: where the run read it.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Of many scenes, also write the reports of those that have none.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write what a run found as one HTML file that opens from disk, without a network.

    It has a map of the scene with its footprints, totals, histograms, what could not be read, the ten least
    certain places at full resolution, settings and the model's card, in less than 20 MB. Of many scenes it
    is an overview with links to their own reports. Exit status: 0 written, 2 bad input.
    """
    from geoseg.errors import InputError
    from geoseg.report.pages.results import find_result, is_batch_folder

    summary: ReportSummary | BatchReport
    if is_batch_folder(result):
        from geoseg.report.pages.reports import write_all_reports

        if scene is not None:
            raise InputError(
                "scene must be left out of a folder of many scenes. Name the folder of one of them."
            )
        with progress_bar(quiet) as progress:
            summary = write_all_reports(result, out, each=each, progress=progress)
        done = f"{count_of(summary.scenes, 'scene')}, {count_of(summary.footprints, 'footprint')}"
    else:
        from geoseg.report.pages.scene_page import write_scene_report

        if each:
            raise InputError(f"each must be given with a folder of many scenes, got {result}. Leave it out.")
        found = find_result(result)
        with progress_bar(quiet) as progress:
            summary = write_scene_report(found, out, scene=scene, remote=scene is not None, progress=progress)
        done = f"{count_of(summary.footprints, 'footprint')}, {summary.bytes / 1e6:.1f} MB"
    if json:
        print_json(summary.as_dict())
    elif not quiet:
        print_notes(summary.notes)
        print(done)
        print(summary.file)
