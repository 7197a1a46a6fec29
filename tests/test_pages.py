"""Every code block of the README and of the documentation runs; those of a console are only shown.

The pages about graphs, training, evaluation and bundles have tests of their own beside the code they tell of.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pydantic import ImportString, TypeAdapter
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "start",
            "buildings",
            "pixels-to-buildings",
            "python",
            "scaling",
            "many-scenes",
            "outputs",
            "qgis",
            "report",
        )
    ),
]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [
    pytest.param(kind, text, id=f"{page}-{number}")
    for page, whole in TEXTS.items()
    for number, (kind, text) in enumerate(
        re.findall(r"^```(\w+)\n(.*?)^```", whole, re.DOTALL | re.MULTILINE)
    )
    if "pip install" not in text
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small ``scene.tif``: two bright roofs on dark ground, 0.3 m."""
    folder = tmp_path_factory.mktemp("pages")
    image = np.random.default_rng(0).integers(40, 70, (3, 300, 400), dtype=np.uint8)
    image[:, 60:120, 80:150] = 200
    image[0, 180:240, 220:300] = 190
    profile = {
        "driver": "GTiff",
        "height": 300,
        "width": 400,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32645",
    }
    transform = Affine(0.3, 0, 350_000, 0, -0.3, 3_056_000)
    with rasterio.open(folder / "scene.tif", "w", transform=transform, **profile) as out:
        out.write(image)
    (folder / "scenes").mkdir()
    shutil.copy(folder / "scene.tif", folder / "scenes" / "north.tif")
    return folder


def test_the_readme_has_its_two_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXTS["README.md"], re.DOTALL | re.MULTILINE)
    assert sum("pip install" in text for text in blocks) == 2


def test_every_block_is_of_a_kind_that_runs() -> None:
    assert {param.values[0] for param in BLOCKS} <= {"sh", "python", "console"}


@pytest.mark.parametrize(("kind", "text"), [param for param in BLOCKS if param.values[0] == "sh"])
def test_shell_blocks_run(kind: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoseg.cli import app

    monkeypatch.chdir(folder)
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != "geoseg":  # a loop: the shell runs it, with the command of this environment
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(["bash", "-euc", line], check=True, env={**os.environ, "PATH": path})
            continue
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, (line, result.output)


@pytest.mark.parametrize(("kind", "text"), [param for param in BLOCKS if param.values[0] == "python"])
def test_python_blocks_run(kind: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(text, "page", "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", TEXTS[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def import_name(dotted: str) -> object:
    return TypeAdapter(ImportString).validate_python(dotted)


def test_the_reference_has_every_public_name() -> None:
    import geoseg

    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    entries = [import_name(entry) for entry in re.findall(r"^::: (\S+)", page, re.MULTILINE)]
    public = [getattr(geoseg, name) for name in geoseg.__all__ if name != "__version__"]
    assert {id(entry) for entry in entries} == {id(value) for value in public}
