"""``geoseg demo``: the whole main job on a generated town."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli.common import Json, Model, Quiet, handle_errors, print_json, print_notes, progress_bar
from geoseg.cli.status import unsure_text
from geoseg.errors import InputError

if TYPE_CHECKING:
    pass

__all__ = ["register"]

_EPILOG = """Examples:

  geoseg demo

  geoseg demo --out try --json

  geoseg demo --scene scene.tif --truth footprints.geojson
"""

_LABELS = {"truth": "truth", "geojson": "GeoJSON", "parquet": "GeoParquet", "picture": "picture"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", epilog=_EPILOG)(demo)


@handle_errors
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of everything that is written.")] = Path(
        "geoseg-demo"
    ),
    scene: Annotated[
        str | None, typer.Option(help="A scene of your own, instead of the generated town.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Footprints to score against (vector file), with --scene.")
    ] = None,
    model: Model = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    size: Annotated[int, typer.Option(help="Rows and columns of the generated town.", min=256)] = 5120,
    seed: Annotated[int, typer.Option(help="Another seed makes another town.", min=0)] = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the buildings of a generated town (about 5000 x 5000 pixels) and score them.

    Makes the scene with its true footprints, runs the same job as [bold]geoseg run[/bold], writes GeoJSON,
    GeoParquet and a picture, and prints where they are and how good they are. What was done is kept: a
    second call uses the scene again, and a stopped call goes on.
    """
    # Checked before seconds of imports.
    if truth is not None and scene is None:
        raise InputError(f"--truth must come with --scene, got {truth} alone. The town brings its own truth.")
    from geoseg.demo.run import run_demo
    from geoseg.models import tune_malloc

    # Before the first large array, or it has no effect on it.
    tune_malloc()
    with progress_bar(quiet or json) as progress:
        result = run_demo(
            out, scene=scene, truth=truth, model=model, device=device, size=size, seed=seed, progress=progress
        )
    # As JSON it is the summary alone, so that a script needs no rule for what comes before it.
    if json:
        print_json(result.as_dict())
        return
    if quiet:
        return
    run = result.run
    print_notes(run.notes)
    made = ", made just now" if result.made else ""
    resolution = "its own resolution" if run.gsd is None else f"{run.gsd:g} m per pixel"
    # Every word of the first column is padded to the width of the longest, "footprints".
    print(f"scene       {result.scene} ({run.mpx:.1f} Mpx at {resolution}{made})")
    for kind, label in _LABELS.items():
        if kind in result.files:
            print(f"{label:<11} {result.files[kind]}")
    made = f"{run.footprints}{unsure_text(run.unsure)}"
    print(f"footprints  {made} in {run.seconds:.1f} s ({run.windows_run} windows predicted now)")
    if (score := result.score) is not None:

        def text(value: float | None) -> str:
            # Without buildings in the truth or in the result there is nothing to divide by.
            return "-" if value is None else f"{value:.3f}"

        print(
            f"score       IoU {text(score.iou)} of the ground covered; objects at IoU 0.5: "
            f"F1 {text(score.f1)}, precision {text(score.precision)}, recall {text(score.recall)} "
            f"({score.matched} of {score.truths} buildings); outlines {text(score.polis)} m off (PoLiS), "
            f"{text(score.right_angles)} of corners right angles"
        )
