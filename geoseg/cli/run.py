"""``geoseg run``: scenes in, footprints out. ``geoseg predict``: stitched probabilities as a COG."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geoseg.cli.common import (
    Json,
    Model,
    Quiet,
    handle_errors,
    print_json,
    print_notes,
    progress_bar,
    report_summary,
)
from geoseg.cli.options import SettingsCommand, with_settings
from geoseg.cli.status import count_of, duration, reason_of, scene_line, unsure_text
from geoseg.config.run import RunSettings

if TYPE_CHECKING:
    from geoseg.pipeline.batch import SceneRecord

__all__ = ["register"]

_RUN_EXAMPLES = """Examples:

  geoseg run scene.tif --out results

  geoseg run scene.tif --model roads.zip --out results --format geojson,gpkg --overlap 256 --save-prob

  geoseg run scene.tif --out results --aoi district.geojson --threshold 0.6 --min-area-m2 10 --json

  geoseg run sheets/ more/*.tif --out results --on-error skip

  geoseg run @scenes.txt --out results --mosaic off --retry-failed

  geoseg run scene.tif --out results --report

  geoseg run catalog.json --out results --asset visual --max-cloud 20 --dry-run

  geoseg run scene.tif --out results --devices cuda:0,cuda:1

  geoseg run scenes/ --out /shared/results --scheduler tcp://head:8786

  geoseg run scenes/ --out results --scheduler tcp://head:8786 --store s3://bucket/work
"""

_PREDICT_EXAMPLES = """Examples:

  geoseg predict scene.tif -o prob.tif

  geoseg predict scene.tif --model roads.zip -o prob.tif --dtype float32 --resolution native
"""

#: Scenes without a result that are listed in the end; the manifest lists all.
_LISTED = 20

Scene = Annotated[
    str, typer.Argument(help="Scene: anything rasterio opens (GeoTIFF, COG, VRT, JPEG, PNG, ...).")
]


Scenes = Annotated[
    list[str],
    typer.Argument(
        help="Scenes: anything rasterio opens (GeoTIFF, COG, VRT, JPEG, PNG, ...), folders, patterns, or "
        "text files with a name in each line (@list.txt)."
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``run`` and ``predict``."""
    app.command("run", cls=SettingsCommand, epilog=_RUN_EXAMPLES)(run)
    app.command("predict", cls=SettingsCommand, epilog=_PREDICT_EXAMPLES)(predict)


def _of_the_model(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    from geoseg.models import open_bundle, shipped_model

    # The card alone is read: --print-config must not load the network.
    return open_bundle(arguments["model"] or shipped_model()).card.options.suggested()


@handle_errors
@with_settings("run", _of_the_model)
def run(
    scenes: Scenes,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results; made if it is missing.")],
    settings: RunSettings,
    model: Model = None,
    quiet: Quiet = False,
    json: Json = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be read, in how much time and on how much disk."),
    ] = False,
) -> None:
    """Turn scenes into footprints: predict window by window, stitch, split, polygonize, write.

    Works in bounded memory on scenes of any size. Finished chunks are kept in OUT/NAME.geoseg: after a
    kill the same command goes on where it stopped. Of many scenes each has a folder OUT/NAME and a line in
    OUT/manifest.sqlite, which "geoseg status OUT" prints. Exit status: 0 done, 1 not all could be done,
    2 bad input.
    """
    from geoseg.io.scene_lists import check_reference

    # A mistyped path is told at once, not after the seconds that torch takes to load.
    for word in scenes:
        check_reference(word)
    from geoseg.pipeline.batch import is_batch

    if dry_run:
        _forecast(scenes, model, out, settings, quiet=quiet, json=json)
    elif is_batch(scenes, settings, out):
        _carry_out_batch(scenes, model, out, settings, quiet=quiet, json=json)
    else:
        _carry_out("run", scenes[0], model, out, settings, quiet=quiet, json=json)


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
    from geoseg.io.scene_lists import check_reference

    check_reference(scene)
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
    from geoseg.models import tune_malloc
    from geoseg.pipeline.predict_scene import predict_scene
    from geoseg.pipeline.run import run_scene

    # Before the first large array, or it has no effect on it.
    tune_malloc()
    job = run_scene if command == "run" else predict_scene
    with progress_bar(quiet) as progress:
        summary = job(scene, model, out, settings, progress=progress)
        if settings.report:
            from geoseg.report.pages.reports import report_run

            summary = report_run(summary, out, progress=progress)
    # After a restart the windows of stored chunks are not predicted again, which explains a short time.
    work = f"{summary.windows_run} of {summary.windows} windows were predicted now"
    done = f"{summary.mpx:.1f} Mpx in {summary.seconds:.1f} s ({work})"
    if summary.footprints is not None:
        made = count_of(summary.footprints, "footprint") + _changes_text(summary.changes)
        done = f"{made}{unsure_text(summary.unsure)}, {done}"
    report_summary(summary, done, quiet=quiet, json=json, also=tuple(summary.extras.values()))


def _changes_text(changes: Mapping[str, int]) -> str:
    """What became of known footprints, in brackets; nothing where they were not compared."""
    told = [f"{count} {name}" for name, count in changes.items() if name != "unseen" or count]
    return f" ({', '.join(told)})" if told else ""


def _forecast(
    scenes: Sequence[str], model: str | None, out: Path, settings: RunSettings, *, quiet: bool, json: bool
) -> None:
    from geoseg.pipeline.batch import dry_run

    with progress_bar(quiet) as progress:
        forecast = dry_run(scenes, model, out, settings, progress=progress)
    failing = [scene for scene in forecast.scenes if scene.error]
    if json:
        print_json(forecast.as_dict())
    else:
        print_notes(forecast.notes)
        # A hundred thousand scenes would scroll the totals away.
        for scene in forecast.scenes[:_LISTED]:
            if not scene.error:
                files = f"{scene.files} files, " if scene.files > 1 else ""
                size = f"{scene.width} x {scene.height} pixels"
                size += "" if scene.gsd is None else f" of {scene.gsd:.3g} m"
                time_left = f"{count_of(scene.windows, 'window')}, about {duration(scene.seconds)}"
                print(f"{scene.name}: {files}{size}, {time_left}")
        if len(forecast.scenes) > _LISTED:
            print(f"and {len(forecast.scenes) - _LISTED} more")
        totals = forecast.totals
        kept = f", {forecast.kept} are done already" if forecast.kept else ""
        work = f"{totals['mpx']:.1f} Mpx, {count_of(totals['windows'], 'window')}"
        networks = "the network" if forecast.networks == 1 else f"{forecast.networks} networks at a time"
        in_all = f"about {duration(totals['seconds'])} in {networks}"
        print(f"{count_of(totals['scenes'], 'scene')} to do{kept}: {work}, {in_all}")
        store = totals["store_bytes"] / 1e9
        free = "" if forecast.free_bytes is None else f", {forecast.free_bytes / 1e9:.1f} GB are free"
        print(f"at most {store:.2f} GB for probabilities{free}")
    for scene in failing[:_LISTED]:
        print(f"would fail: {scene.name}: {scene.error}", file=sys.stderr)
    # A dry run that finds a scene that would fail says so in its status, as the run itself would.
    if failing:
        raise SystemExit(1)


def _carry_out_batch(
    scenes: Sequence[str], model: str | None, out: Path, settings: RunSettings, *, quiet: bool, json: bool
) -> None:
    from geoseg.models import tune_malloc
    from geoseg.pipeline.batch import run_batch

    tune_malloc()
    if settings.report:
        from geoseg.files import check_page
        from geoseg.pipeline.record import REPORT_MAKER
        from geoseg.report.pages.batch_page import BATCH_REPORT
        from geoseg.report.pages.reports import report_batch, report_scenes

        check_page(out / BATCH_REPORT, [], REPORT_MAKER)
    # The clock that no one sets back: the forecast of the rest comes from it.
    start, is_terminal = time.monotonic(), sys.stderr.isatty()
    counts = {"begun": 0, "now": 0}

    # In a log file every scene has its line, with the time that is left; in a terminal the bar says it, and
    # only failures are printed.
    def told(record: SceneRecord, done: int, total: int) -> None:
        if record.state == "running":
            progress.begin(record.name)
            # Before the first one, which may take long: nobody likes an empty log.
            if not (counts["begun"] or quiet or is_terminal):
                before = f", {done} of them left as an earlier call had them" if done else ""
                print(f"{count_of(total, 'scene')}{before}", file=sys.stderr, flush=True)
            counts["begun"] += 1
            return
        counts["now"] += 1
        if settings.report:
            # While others are still to come: whoever runs thousands does not wait for the last one. What does
            # not succeed is tried again in the end, and told then.
            report_scenes(out, [record], remote=True)
        failed = record.state == "failed"
        if quiet or (is_terminal and not failed):  # where a bar says it
            return
        # By what this run did: scenes that were done before took no time.
        left = (time.monotonic() - start) / counts["now"] * (total - done)
        line = f"[{done}/{total}] {scene_line(record)}"
        print(line if failed or done == total else f"{line}; about {duration(left)} left", file=sys.stderr)

    with progress_bar(quiet) as progress:
        summary = run_batch(scenes, model, out, settings, progress=progress, told=told)
        if settings.report:
            report = report_batch(summary, out, progress=progress)
    if json:
        print_json(summary.as_dict() | ({"report": report.file} if settings.report else {}))
    elif not quiet:
        print_notes(summary.notes)
        states = ", ".join(f"{count} {state}" for state, count in summary.states.items())
        made = count_of(summary.footprints, "footprint") + unsure_text(summary.unsure)
        done = f"{made} in {duration(summary.seconds)}"
        print(f"{count_of(len(summary.scenes), 'scene')}: {states}; {done}")
        if (merged := summary.merged) is not None and merged.files:
            left_out = sum(merged.left_out.values())
            some = f", {left_out} left out" if left_out else ""
            scope = f"{count_of(len(merged.scenes), 'scene')} in {merged.crs}{some}"
            scope += _changes_text(merged.changes)
            print(f"merged: {count_of(merged.footprints, 'footprint')} of {scope}")
            for file in merged.files.values():
                print(out / file)
        print(summary.manifest)
        if summary.collection:
            print(summary.collection)
        if settings.report:
            print_notes(report.notes)
            print(report.file)
    if missing := summary.missing:
        for record in missing[:_LISTED]:
            print(f"{record.state}: {record.name}: {record.error or reason_of(record)}", file=sys.stderr)
        some, are = ("1 scene", "is") if len(missing) == 1 else (f"{len(missing)} scenes", "are")
        print(
            f"error: {some} of {len(summary.scenes)} {are} not complete; geoseg status {out} lists all. "
            "--retry-failed tries again.",
            file=sys.stderr,
        )
        raise SystemExit(1)
