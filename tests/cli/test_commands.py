"""The list of commands, and that only the one that is named is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import typer
from affine import Affine
from rich.text import Text
from typer.testing import CliRunner

import geoseg
from geoseg import cli
from geoseg.cli import app
from geoseg.cli.common import handle_errors


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_the_list_says_what_each_command_says_of_itself(name: str) -> None:
    group = typer.main.get_command(app)
    command = group.get_command(None, name)  # type: ignore[attr-defined]
    first = command.help.split("\n\n")[0].replace("\n", " ")
    _, line = cli._COMMANDS[name]
    assert line == first, "write the first line of the command's help into the list"
    shown = CliRunner().invoke(app, [name, "-h"])
    assert shown.exit_code == 0
    assert "xample" in shown.stdout or name in ("dtl", "project")


def _commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        command = group.get_command(None, name)
        yield f"{path} {name}", command
        yield from _commands(command, f"{path} {name}")


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    helps = {
        (command, parameter.name): parameter.help
        for command, found in _commands(typer.main.get_command(app))
        for parameter in found.params
        if getattr(parameter, "help", None)
    }
    assert (" project import", "class_name") in helps
    lost = {
        key: text for key, text in helps.items() if Text.from_markup(text).plain != text.replace("\\[", "[")
    }
    assert not lost


def test_help_loads_no_command() -> None:
    code = """
import sys
from geoseg.cli import app
try:
    app(["--help"])
except SystemExit as stop:
    assert stop.code == 0
heavy = ("numpy", "pydantic", "xarray", "pandas", "torch", "geoseg.cli.run", "geoseg.config")
assert not [m for m in heavy if m in sys.modules], [m for m in heavy if m in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for name in cli._COMMANDS:
        assert f" {name} " in done.stdout


def test_version_and_a_typing_mistake() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == geoseg.__version__
    result = CliRunner().invoke(app, ["vectorise", "a.tif"])
    assert result.exit_code == 2
    assert "Did you mean 'vectorize'?" in " ".join(result.stderr.split())


def test_modules_of_commands_are_all_in_the_list() -> None:
    modules = {path.stem for path in Path(cli.__file__).parent.glob("*.py")}
    assert modules - {"__init__", "common", "options", "progress"} == {
        module for module, _ in cli._COMMANDS.values()
    }


def test_a_library_that_memory_is_too_short_for_is_one_line(capsys):
    @handle_errors
    def command():
        raise ImportError("libtorch_cuda.so: failed to map segment from shared object")

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "memory is too short to load libtorch_cuda.so" in told

    @handle_errors
    def fault():
        raise ImportError("cannot import name 'x'")

    with pytest.raises(ImportError):
        fault()


@pytest.mark.skipif(os.name != "posix", reason="needs file names of bytes")
@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("h\u00e4user.tif", "ascii"),
        (os.fsdecode(b"h\xe4user.tif"), "ascii"),
        (os.fsdecode(b"h\xe4user.tif"), "utf-8"),
    ],
)
def test_names_that_the_terminal_or_gdal_can_not_take(name: str, encoding: str, tmp_path: Path) -> None:
    """A line, never a traceback; where the work can be done, it is, and told."""
    plain = tmp_path / "plain.tif"
    profile = {"count": 1, "height": 8, "width": 8, "dtype": "uint8", "crs": 32645}
    place = Affine(1, 0, 350_000, 0, -1, 3_000_000)
    with rasterio.open(plain, "w", driver="GTiff", transform=place, **profile) as out:
        out.write(np.ones((1, 8, 8), np.uint8))
    raster = plain.rename(tmp_path / name)
    words = [sys.executable, "-m", "geoseg", "vectorize", os.fspath(raster), "-o", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert b"Traceback" not in done.stderr, done.stderr
    if name.isprintable():
        assert done.returncode == 0, done.stderr
        assert b"1 footprint in" in done.stdout
    else:
        assert done.returncode in (0, 2)
        assert done.returncode == 0 or done.stderr.startswith(b"error: ")


@pytest.mark.parametrize("command", ["run", "predict", "vectorize", "train"])
def test_a_missing_file_is_missed_before_anything_heavy_is_loaded(command: str, tmp_path: Path) -> None:
    code = f"""
import sys
from geoseg.cli import app
try:
    app([{command!r}, "missing.tif", "-o", "o"])
except SystemExit as stop:
    assert stop.code == 2
assert not [m for m in ("torch", "pandas", "zarr", "numba", "geoseg.pipeline.run") if m in sys.modules]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    scene = "error: scene must be an existing file, got missing.tif. Check the path.\n"
    assert done.stderr == ("error: no such file: missing.tif\n" if command == "train" else scene)
    assert not list(tmp_path.iterdir())
