"""``geoseg info``: what a scene, a model or a result is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoseg.cli.common import AsJson, handle_errors, print_json
from geoseg.errors import InputError

__all__ = ["register"]

_EPILOG = """Examples:

  geoseg info scene.tif

  geoseg info model.zip --json

  geoseg info results/scene.gpkg
"""

#: Suffixes of models; a pickled checkpoint is one too, and is refused with the reason.
_MODEL_SUFFIXES = (".zip", ".onnx", ".pt2", ".safetensors", ".pt", ".pth", ".ckpt", ".pkl")
#: What a folder must hold to be a bundle, so that a folder of scenes is not taken for a model.
_CARD_NAME = "model.json"
#: Suffixes of footprints, which say where they come from.
_RESULTS = (".geojson", ".geojsonl", ".gpkg", ".parquet", ".fgb", ".shp", ".pmtiles")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("info", epilog=_EPILOG)(info)


def is_model(path: str) -> bool:
    """Whether ``geoseg info`` takes a path for a model: by its suffix, or a folder with a card or weights.

    Examples
    --------
    >>> is_model("net.zip"), is_model("scene.tif"), is_model("/vsizip/scenes.zip/a.tif")
    (True, False, False)
    """
    folder = Path(path)
    if folder.is_dir():
        return any(
            entry.name == _CARD_NAME or entry.suffix.lower() in _MODEL_SUFFIXES for entry in folder.iterdir()
        )
    return folder.suffix.lower() in _MODEL_SUFFIXES


@handle_errors
def info(
    path: Annotated[
        str, typer.Argument(metavar="SCENE|MODEL|RESULT", help="A raster, a model bundle, or footprints.")
    ],
    gsd: Annotated[
        float | None,
        typer.Option(
            metavar="M", help="Ground meters per pixel of a scene without a CRS, where they are known."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Say what a scene, a model or a result is.

    Of a scene: size, bands, CRS, ground resolution. Of a model: classes, inputs, options. Of footprints, a
    mask or probabilities: what they were made from, with which model, options and version.
    """
    if Path(path).is_dir():
        _check_no_results(Path(path))
    # By the name alone, before anything is opened: the two kinds need other libraries.
    if is_model(path):
        from geoseg.models import describe_model

        if gsd is not None:
            raise InputError(f"gsd must be given for a scene, got {path}, which is a model. Leave it out.")
        content = describe_model(path)
    else:
        from geoseg.io.describe import describe

        content = describe(path, gsd)
    if json:
        print_json(content)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in content.items():
        for index, line in enumerate(_lines(value)):
            table.add_row(name.replace("_", " ") if index == 0 else "", line)
    # Names of files and bands may hold brackets, which rich would take for markup.
    Console(markup=False, highlight=False).print(table)


def _check_no_results(folder: Path) -> None:
    """Refuse a folder of results, whose rasters would be taken for the sheets of one scene."""
    from geoseg.pipeline.batch.manifest import MANIFEST

    if (folder / MANIFEST).is_file():
        raise InputError(
            f"path must be a scene, a model or a file of results, got {folder}, the results of many scenes. "
            f"geoseg status {folder} tells of them."
        )
    for store in sorted(folder.glob("*.geoseg")):
        files = (store.with_suffix(suffix) for suffix in _RESULTS)
        if (file := next((path for path in files if path.exists()), None)) is not None:
            raise InputError(
                f"path must be a scene, a model or a file of results, got {folder}, a folder of them. Name "
                f"one, as in geoseg info {file}."
            )


def _lines(value: Any) -> list[str]:
    """A value as the lines of a table cell."""
    if isinstance(value, dict):
        return [f"{key.replace('_', ' ')}: {_text(item)}" for key, item in value.items()] or ["-"]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ["  ".join(_text(item) for item in row.values() if item is not None) for row in value]
    return [_text(value)]


def _text(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_text(item)}" for name, item in value.items())
    # Before numbers, for True is one to Python.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)
