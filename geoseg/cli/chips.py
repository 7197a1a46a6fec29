"""``geoseg chips``: look at training chips before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.common import handle_errors
from geoseg.cli.train import Aoi, Changes, Data, Graph, Labels, Projects, Scenes, load_settings

__all__ = ["register"]

_EPILOG = """
[bold]Examples[/bold]

geoseg chips buildings.toml --preview 16

geoseg chips vessels.json --data vessels_train --preview 6 --out vessels.png
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("chips", epilog=_EPILOG)
    @handle_errors
    def command(
        config: Annotated[Path, typer.Argument(help="Config of the training.")],
        preview: Annotated[int, typer.Option("--preview", min=1, max=256, help="Chips to draw.")] = 12,
        out: Annotated[Path, typer.Option("--out", "-o", help="The picture, PNG.")] = Path("chips.png"),
        data: Data = None,
        scenes: Scenes = None,
        labels: Labels = None,
        aoi: Aoi = None,
        dtl: Graph = None,
        projects: Projects = None,
        changes: Changes = None,
        augment: Annotated[
            bool, typer.Option("--augment", help="Show chips as augmentation leaves them.")
        ] = False,
    ) -> None:
        """Draw training chips with their targets over them; unknown ground is dark and hatched."""
        from geoseg.training.preview import preview_chips

        settings = load_settings(config, changes, data, scenes, labels, aoi, (dtl, projects))
        preview_chips(settings, config.absolute().parent, preview, out, augment=augment)
        typer.echo(out)
