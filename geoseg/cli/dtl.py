"""``geoseg dtl``: run and check transformation graphs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.common import AsJson, NoBar, handle_errors, print_json, progress_bar
from geoseg.files import failures_file

__all__ = ["dtl_app", "register"]

dtl_app = typer.Typer(
    name="dtl",
    help="Transformation graphs (DTL): prepare annotated projects for training.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

GraphFile = Annotated[Path, typer.Argument(metavar="GRAPH", help="JSON file with the layers.")]


@dtl_app.command(epilog="Example: geoseg dtl run train.json --projects projects --out projects --workers 4")
@handle_errors
def run(
    graph: GraphFile,
    projects: Annotated[
        Path, typer.Option(help="Folder of PROJECT/meta.json and PROJECT/DATASET/{img,ann}.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the result, OUT/NAME.")],
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes. The result does not depend on them.")] = 1,
    legacy: Annotated[bool, typer.Option(help="Write the layout of 2018 (ann/STEM.json).")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a result that is there.")] = False,
    jpeg_quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Write changed JPEG images as JPEG again. Default: without loss."),
    ] = None,
    quiet: NoBar = False,
) -> None:
    """Run a graph and save the new project.

    What fails is listed in OUT/NAME.failures.json with the reason, the rest goes on, and the exit
    status is 1. A wrong graph is told in one line, with exit status 2, and nothing is written.
    """
    # Here and not above: shapely, scipy and the layers are loaded for this command alone.
    from geoseg.dtl import read_graph, run_graph

    with progress_bar(quiet) as progress:
        report = run_graph(
            read_graph(graph),
            projects,
            out,
            seed=seed,
            workers=workers,
            legacy=legacy,
            overwrite=overwrite,
            jpeg_quality=jpeg_quality,
            progress=progress,
        )
    # What follows goes to stderr: it stands beside the result, a script reads the result's line alone.
    print(f"{report.project}: {report.samples} samples of {report.images} images")
    if report.repaired:
        print(f"{report.repaired} polygons that crossed themselves were repaired", file=sys.stderr)
    if report.failures:
        details = failures_file(report.project)
        # Images, not failures: one image may fail in several of the branches that it takes.
        failed = len({failure.image for failure in report.failures})
        print(f"error: {failed} images failed, in part or as a whole; see {details}", file=sys.stderr)
        raise SystemExit(1)


@dtl_app.command(epilog="Example: geoseg dtl check train.json --projects projects")
@handle_errors
def check(
    graph: GraphFile,
    projects: Annotated[
        Path | None, typer.Option(help="Folder of the projects: checks classes and counts samples too.")
    ] = None,
    as_json: AsJson = False,
    quiet: NoBar = False,
) -> None:
    """Check a graph before any pixel is read, and tell how many samples each layer will see."""
    from dataclasses import asdict

    from geoseg.dtl.check import check_graph
    from geoseg.dtl.graph import read_graph

    with progress_bar(quiet) as progress:
        checked = check_graph(read_graph(graph), projects, progress=progress)
    if as_json:
        print_json(asdict(checked))
        return
    from rich.console import Console
    from rich.table import Table

    # Long lists of classes are folded: cut off, the class that is missing could not be seen.
    table = Table("#")
    for title in ("layer", "from", "to", "samples in", "classes out"):
        table.add_column(title, overflow="fold")
    for row in checked.layers:
        classes = ", ".join(row.classes) if row.classes is not None else ""
        table.add_row(
            str(row.number), row.action, ", ".join(row.src), ", ".join(row.dst), row.count_text, classes
        )
    Console().print(table)
    for warning in checked.warnings:
        print(f"warning: {warning}", file=sys.stderr)


@dtl_app.command(epilog="Example: geoseg dtl schema > dtl.schema.json")
@handle_errors
def schema() -> None:
    """Print the JSON Schema of graphs, for editors."""
    from geoseg.dtl.graph import graph_schema

    print_json(graph_schema())


_SHOW_EPILOG = (
    "Examples: [bold]geoseg dtl show train.json -o train.svg[/bold] | "
    "[bold]geoseg dtl show train.json -o train.png --sample roads/ds/a.jpg --projects projects[/bold]"
)


@dtl_app.command(epilog=_SHOW_EPILOG)
@handle_errors
def show(
    graph: GraphFile,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Picture (.svg, .png, .pdf) or Mermaid text (.md, .mmd). Without it the text is printed.",
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            help="Image to send through the layers: any file, or with --projects PROJECT/DATASET/NAME. The "
            "contact sheet goes to OUT's name with .sample.png."
        ),
    ] = None,
    projects: Annotated[Path | None, typer.Option(help="Folder of the projects, for --sample.")] = None,
    seed: Annotated[int, typer.Option(help="For --sample: everything random follows from it.")] = 0,
) -> None:
    """Draw a graph, one box a layer with its settings; with --sample what each layer does to an image."""
    from geoseg.dtl.graph import read_graph
    from geoseg.errors import InputError
    from geoseg.report.dtl_show import graph_boxes, show_graph, show_sample
    from geoseg.report.graph_draw import mermaid

    if projects is not None and sample is None:
        raise InputError("--projects must come with --sample, got it alone. Name an image.")
    if sample is not None and out is None:
        raise InputError("--sample must come with --out, got it alone. Name a file to draw to.")
    parsed = read_graph(graph)
    if out is None:
        # Text for pages that draw Mermaid; it needs no matplotlib.
        print(mermaid(*graph_boxes(parsed)))
        return
    # The drawing first: it needs no images, and is there even where the sample's image can't be read.
    show_graph(parsed, out)
    print(out)
    if sample is not None:
        # Beside the drawing, of a name that follows from it: the two belong together.
        contact_sheet = out.with_name(f"{out.stem}.sample.png")
        show_sample(parsed, sample, contact_sheet, projects, seed=seed)
        print(contact_sheet)


def register(app: typer.Typer) -> None:
    """Add ``dtl`` and its commands."""
    app.add_typer(dtl_app)
