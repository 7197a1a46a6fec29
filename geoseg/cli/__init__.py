"""The ``geoseg`` command: arguments in, calls out. A command's module is loaded when it is named."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from geoseg.cpus import respect_quota

__all__ = ["app", "main"]

_EXAMPLES = """Examples:

  geoseg demo

  geoseg run scene.tif --out results

  geoseg vectorize mask.tif -o houses.gpkg

  geoseg info scene.tif

  geoseg COMMAND --help
"""

#: Command -> its module here, and its line in the list of commands. The line is written twice, here and as
#: the first of the command's own help, so that the list needs no module of them all; a test compares.
_COMMANDS: dict[str, tuple[str, str]] = {
    "run": (
        "run",
        "Turn scenes into footprints: predict window by window, stitch, split, polygonize, write.",
    ),
    "status": (
        "status",
        'Say what became of the scenes of a "geoseg run": how many are done, and which are not.',
    ),
    "report": ("report", "Write what a run found as one HTML file that opens from disk, without a network."),
    "predict": ("run", "Write stitched probabilities as a cloud-optimized GeoTIFF, one band a class."),
    "vectorize": (
        "vectorize",
        "Turn a raster into polygons: valid, with holes, the same whatever the chunks, in bounded memory.",
    ),
    "evaluate": ("evaluate", "Score a prediction against the truth: objects, outlines and pixels."),
    "info": (
        "info",
        "Say what a scene, a model or a result is.",
    ),
    "train": ("train", "Train a network from scenes and labels, or from an annotated project."),
    "chips": (
        "chips",
        "Draw training chips with their targets over them; unknown ground is dark and hatched.",
    ),
    "infer": (
        "infer",
        "Predict the images of an annotated project, to another project with what was found as objects.",
    ),
    "compare": (
        "compare",
        "Compare two predictions: what changed, place by place, and which is nearer to the truth.",
    ),
    "export": ("export", "Write a run's checkpoint or a bundle as a bundle, an ONNX file or a .pt2 file."),
    "project": ("project", "Annotated projects: import, export, statistics, validation."),
    "review": (
        "review",
        "Open a page on this computer to look at footprints or a project, and correct them.",
    ),
    "dtl": ("dtl", "Transformation graphs (DTL): prepare annotated projects for training."),
    "demo": ("demo", "Find the buildings of a generated town (about 5000 x 5000 pixels) and score them."),
}


class _Commands(TyperGroup):
    """The commands of the table; only the one that is called loads its module.

    The list alone needs neither numpy nor pydantic, and stays quick.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Stand-ins with a name and a line of help; the real command takes its place when it is called.
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in _COMMANDS.items()}
        self._listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or what the list shows of it."""
        if not self._listing and cmd_name in self.commands and self.commands[cmd_name].callback is None:
            module_app = typer.Typer(rich_markup_mode="rich", context_settings=_CONTEXT)
            # Without a callback, typer makes an application of one command into that command.
            module_app.callback()(lambda: None)
            importlib.import_module(f"{__name__}.{_COMMANDS[cmd_name][0]}").register(module_app)
            self.commands.update(typer.main.get_group(module_app).commands)
        return super().get_command(ctx, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, without loading them."""
        # click asks for every command to list it, by the method that loads the one that is called.
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


_CONTEXT: dict[Any, Any] = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="geoseg",
    cls=_Commands,
    epilog=_EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings=_CONTEXT,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from geoseg import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Huge satellite and aerial scenes in, exact vector footprints out."""
    # A name with a letter that the terminal does not have, or bytes that are no text, must not end a command
    # whose work is done.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Entry point of the console script."""
    # GDAL's own lines on stderr say nothing that our one line on an error does not; CPL_LOG brings them back.
    os.environ.setdefault("CPL_LOG", os.devnull)
    respect_quota()
    app()
