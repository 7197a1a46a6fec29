"""``geoseg run``: one scene in, footprints out. ``geoseg predict``: stitched probabilities as a COG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geoseg.cli.common import Json, Model, Quiet, handle_errors, progress_bar, report_summary
from geoseg.cli.options import SettingsCommand, with_settings
from geoseg.config.run import RunSettings

__all__ = ["register"]

_RUN_EXAMPLES = """Examples:

  geoseg run scene.tif --out results

  geoseg run scene.tif --model roads.zip --out results --format geojson,gpkg --overlap 256 --save-prob

  geoseg run scene.tif --out results --aoi district.geojson --threshold 0.6 --min-area-m2 10 --json
"""

_PREDICT_EXAMPLES = """Examples:

  geoseg predict scene.tif -o prob.tif

  geoseg predict scene.tif --model roads.zip -o prob.tif --dtype float32 --resolution native
"""

Scene = Annotated[
    str, typer.Argument(help="Scene: anything rasterio opens (GeoTIFF, COG, VRT, JPEG, PNG, ...).")
]


def register(app: typer.Typer) -> None:
    """Add ``run`` and ``predict``."""
    app.command("run", cls=SettingsCommand, epilog=_RUN_EXAMPLES)(run)
    app.command("predict", cls=SettingsCommand, epilog=_PREDICT_EXAMPLES)(predict)


def _of_the_model(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    from geoseg.models import open_bundle, shipped_model

    return open_bundle(arguments["model"] or shipped_model()).card.options.suggested()


@handle_errors
@with_settings("run", _of_the_model)
def run(
    scene: Scene,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results; made if it is missing.")],
    settings: RunSettings,
    model: Model = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Turn a scene into footprints: predict window by window, stitch, split, polygonize, write.

    Works in bounded memory on scenes of any size. Finished chunks are kept in OUT/NAME.geoseg: after a
    kill the same command goes on where it stopped. Exit status: 0 done, 1 not all could be done, 2 bad input.
    """
    _carry_out("run", scene, model, out, settings, quiet=quiet, json=json)


@handle_errors
@with_settings("predict", _of_the_model)
def predict(
    scene: Scene,
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoTIFF to write, such as prob.tif.")],
    settings: RunSettings,
    model: Model = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write stitched probabilities as a cloud-optimized GeoTIFF, one band a class.

    The same command once more finds that the file is there, and predicts nothing.
    """
    _carry_out("predict", scene, model, out, settings, quiet=quiet, json=json)


def _carry_out(
    command: Literal["run", "predict"],
    scene: str,
    model: str | None,
    out: Path,
    settings: RunSettings,
    *,
    quiet: bool,
    json: bool,
) -> None:
    from geoseg.io.scene_lists import check_reference

    # A mistyped path is told at once, not after the seconds that torch takes to load.
    check_reference(scene)
    from geoseg.models import tune_malloc
    from geoseg.pipeline.run import predict_scene, run_scene

    # Before the first large array, or it has no effect on it.
    tune_malloc()
    job = run_scene if command == "run" else predict_scene
    with progress_bar(quiet) as progress:
        summary = job(scene, model, out, settings, progress=progress)
    # After a restart the windows of stored chunks are not predicted again, which explains a short time.
    work = f"{summary.windows_run} of {summary.windows} windows were predicted now"
    done = f"{summary.mpx:.1f} Mpx in {summary.seconds:.1f} s ({work})"
    if summary.footprints is not None:
        done = f"{summary.footprints} footprints, {done}"
    report_summary(summary, done, quiet=quiet, json=json)
