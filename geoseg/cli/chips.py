"""``geoseg chips``: look at training chips before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.common import handle_errors
from geoseg.cli.train import DataOptions, load_settings, takes_data

__all__ = ["register"]

_EPILOG = """
[bold]Examples[/bold]

geoseg chips buildings.toml --preview 16

geoseg chips vessels.json --data vessels_train --preview 6 --out vessels.png
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chips", epilog=_EPILOG)(chips)


@handle_errors
@takes_data
def chips(
    *,
    config: Annotated[Path, typer.Argument(help="Config of the training.")],
    preview: Annotated[int, typer.Option("--preview", min=1, max=256, help="Chips to draw.")] = 12,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, PNG.")] = Path("chips.png"),
    options: DataOptions,
    # Off by default: whether labels lie on their objects is seen best on chips as they are.
    augment: Annotated[
        bool, typer.Option("--augment", help="Show chips as augmentation leaves them.")
    ] = False,
) -> None:
    """Draw training chips with their targets over them; unknown ground is dark and hatched."""
    from geoseg.training.preview import preview_chips

    # Chips of the very settings that a training would have, options included.
    settings = load_settings(config, options)
    preview_chips(settings, config.absolute().parent, preview, out, augment=augment)
    typer.echo(out)
