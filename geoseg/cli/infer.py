"""``geoseg infer``: a network over an annotated project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.common import Json, Model, Quiet, handle_errors, print_json, progress_bar, report_images

__all__ = ["register"]

_EPILOG = (
    "Examples: [bold]geoseg infer projects/roads_test --model runs/nn_road_01/bundle --config infer.json "
    "--out projects/inf_01[/bold] | [bold]geoseg infer projects/kitti --model vehicles.zip "
    "--config windows.json --out projects/kitti_dl --workers 2 --link --json[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("infer", epilog=_EPILOG)(infer)


@handle_errors
def infer(
    project: Annotated[Path, typer.Argument(help="Folder of the project (with meta.json).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new project.")],
    model: Model = None,
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file: where to look, which classes to keep. Default: whole images, all."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help=r"Probability a class must reach to win over the background \[the most likely class wins].",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=r"Windows that run together \[as the network likes it].")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Threads beside the network. The result does not depend on them.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or mps; auto follows the config.")] = "auto",
    # Engines differ in the last bits, so a kept run goes on with the one that it was begun with.
    engine: Annotated[str, typer.Option(help="auto, torch, onnxruntime, openvino or compile.")] = "auto",
    rank: Annotated[
        bool,
        typer.Option("--rank", help="Tag images with uncertain and expected_iou; a review ranks by them."),
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links in place of copies of the images, where possible.")
    ] = False,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Write the layout of 2018 (ann/STEM.json).")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a project that is there.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what a stopped run has kept.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict the images of an annotated project, to another project with what was found as objects.

    Images are taken over byte for byte, with their tags. A stopped run goes on with the same command:
    finished images are kept in OUT.geoseg. An image that fails is listed in OUT.failures.json, the others go
    on, and the exit status is 1.
    """
    from geoseg.models import tune_malloc
    from geoseg.pipeline.inference.run import infer_project

    # Before the first large array, or it has no effect on it.
    tune_malloc()
    with progress_bar(quiet or json) as progress:
        summary = infer_project(
            project,
            model,
            # An empty config is a whole one: every key has a default.
            config if config is not None else {},
            out,
            workers=workers,
            overwrite=overwrite,
            restart=restart,
            threshold=threshold,
            batch_size=batch_size,
            device=device,
            engine=engine,
            rank=rank,
            link=link,
            legacy=legacy,
            progress=progress,
        )
    if json:
        print_json(summary.as_dict())
    elif not quiet:
        # A run that only put finished images together has no speed.
        speed = f", {summary.windows / summary.seconds:.3g} windows/s" if summary.windows else ""
        print(f"{summary.project}: {summary.images} images, {summary.objects} objects{speed}")
    # Notes of a run are in its JSON; failures are told in any case, with exit status 1.
    report_images(() if json or quiet else summary.notes, summary.failures, Path(summary.project))
