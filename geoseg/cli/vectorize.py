"""``geoseg vectorize``: a mask, a class map or probabilities to polygons; no network needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from geoseg.cli.common import Json, Quiet, handle_errors, progress_bar, report_summary
from geoseg.cli.options import SettingsCommand, with_settings
from geoseg.cli.status import count_of, unsure_text
from geoseg.config.run import RunSettings

__all__ = ["register"]

_EXAMPLES = """Examples:

  geoseg vectorize mask.tif -o houses.gpkg

  geoseg vectorize landcover.tif -o results --format parquet,fgb --class-names building,road,water

  geoseg vectorize prob.tif -o houses.geojson --threshold 0.6 --min-area-m2 10 --simplify-m 0.5

  geoseg vectorize mask.tif -o houses.fgb --workers 4
"""


def register(app: typer.Typer) -> None:
    """Add ``vectorize``."""
    app.command("vectorize", cls=SettingsCommand, epilog=_EXAMPLES)(vectorize)


def _of_the_raster(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    from geoseg.io.hints import read_hints
    from geoseg.pipeline.vectorize_raster import kept_settings

    # The settings belong to the file as a whole, so any of its bands will do.
    return kept_settings(read_hints(arguments["raster"], [1]), RunSettings())


@handle_errors
@with_settings("vectorize", _of_the_raster)
def vectorize(
    raster: Annotated[
        str, typer.Argument(help="Mask, class map (0 = background) or probabilities; any raster format.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File, whose suffix tells the format, or folder.")],
    settings: RunSettings,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Turn a raster into polygons: valid, with holes, the same whatever the chunks, in bounded memory.

    Writes a style for QGIS beside them. A QGIS project, STAC metadata and a report come from "geoseg run",
    which has the scene.
    """
    from geoseg.io.scene_lists import check_reference

    # A mistyped path is told at once, not after the seconds that the libraries of geometry take to load.
    check_reference(raster)
    from geoseg.pipeline.vectorize_raster import vectorize_raster

    with progress_bar(quiet) as progress:
        summary = vectorize_raster(raster, out, settings, progress=progress)
    # What the filters took away is told, or a raster of specks would seem to be empty.
    left_out = f", {summary.too_small} too small" if summary.too_small else ""
    left_out += unsure_text(summary.unsure)
    done = f"{count_of(summary.footprints, 'footprint')}{left_out} in {summary.seconds:.1f} s"
    report_summary(summary, done, quiet=quiet, json=json, also=tuple(summary.extras.values()))
