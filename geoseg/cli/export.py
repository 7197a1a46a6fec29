"""``geoseg export``: a trained network in the form that another program reads."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.common import handle_errors

__all__ = ["register"]

_EPILOG = """Examples:

  geoseg export runs/buildings -o buildings.onnx

  geoseg export runs/buildings --checkpoint 12 -o buildings-12

  geoseg export buildings.zip -o buildings.pt2
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", epilog=_EPILOG)(export)


@handle_errors
def export(
    model: Annotated[
        Path,
        typer.Argument(metavar="RUN|BUNDLE", help="Folder of a training run, or a bundle (folder, .zip)."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="NAME.onnx, NAME.pt2, NAME.zip, or a folder for a bundle.")
    ],
    checkpoint: Annotated[
        int | None,
        typer.Option(min=0, help="Of a run: the number of the checkpoint.", show_default="the best one"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a run's checkpoint or a bundle as a bundle, an ONNX file or a .pt2 file.

    An .onnx file carries the metadata of Deepness, the plug-in of QGIS. geoseg reads all of them, too.
    """
    from geoseg.errors import InputError
    from geoseg.models.convert import convert_model

    # A run is told from a bundle by its folder of checkpoints; its bundle of the best one is beside them.
    if not (model / "checkpoints").is_dir():
        if checkpoint is not None:
            raise InputError(f"--checkpoint must come with a training run, got {model}.")
        print(convert_model(model, out, overwrite=overwrite))
        return
    from geoseg.training.checkpoints import RunFolder
    from geoseg.training.export import export_checkpoint

    run = RunFolder(model)
    # A checkpoint holds weights alone; the bundle made of it knows classes, bands and normalization, too.
    with tempfile.TemporaryDirectory(prefix="geoseg-export-") as folder:
        index = run.best_index() if checkpoint is None else checkpoint
        bundle = export_checkpoint(run, index, Path(folder) / "bundle")
        print(convert_model(bundle, out, overwrite=overwrite))
