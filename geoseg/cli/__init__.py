"""The ``geoseg`` command: arguments in, calls out. One module a command, found by name."""

from __future__ import annotations

import importlib
import os
import pkgutil

import typer

__all__ = ["app", "main"]

_EXAMPLES = """Examples:

  geoseg demo

  geoseg run scene.tif --out results

  geoseg vectorize mask.tif -o houses.gpkg

  geoseg info scene.tif

  geoseg COMMAND --help
"""


def _build() -> typer.Typer:
    root = typer.Typer(
        name="geoseg",
        help="Huge satellite and aerial scenes in, exact vector footprints out.",
        epilog=_EXAMPLES,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if module not in ("common", "options"):
            importlib.import_module(f"{__name__}.{module}").register(root)
    return root


app = _build()


def main() -> None:
    """Entry point of the console script."""
    # GDAL's own lines on stderr say nothing that our one line on an error does not; CPL_LOG brings them back
    os.environ.setdefault("CPL_LOG", os.devnull)
    app()
