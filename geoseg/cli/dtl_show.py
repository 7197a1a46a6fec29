"""``geoseg dtl show``: a graph as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.common import handle_errors
from geoseg.cli.dtl import GraphFile, dtl_app

__all__ = ["register"]

_EPILOG = (
    "Examples: [bold]geoseg dtl show train.json -o train.svg[/bold] | "
    "[bold]geoseg dtl show train.json -o train.png --sample roads/ds/a.jpg --projects projects[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command to ``dtl``, which has a module of its own."""
    dtl_app.command("show", epilog=_EPILOG)(show)


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
    opened = read_graph(graph)
    if out is None:
        print(mermaid(*graph_boxes(opened)))
        return
    show_graph(opened, out)
    print(out)
    if sample is not None:
        sheet = out.with_name(f"{out.stem}.sample.png")
        show_sample(opened, sample, sheet, projects, seed=seed)
        print(sheet)
