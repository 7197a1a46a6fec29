"""Every code block of the README runs; only the two that install are left to the CI script."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from typer.testing import CliRunner

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small ``scene.tif``: two bright roofs on dark ground, 0.3 m."""
    folder = tmp_path_factory.mktemp("readme")
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
    return folder


def test_the_readme_has_code() -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"}
    assert sum("pip install" in text for _, text in BLOCKS) == 2


@pytest.mark.parametrize(
    "text", [text for kind, text in BLOCKS if kind == "sh" and "pip install" not in text]
)
def test_shell_blocks_run(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoseg.cli import app

    monkeypatch.chdir(folder)
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] != "geoseg" or "python" in words:
            continue
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, (line, result.output)


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "python"])
def test_python_blocks_run(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(text, "README.md", "exec"), {})


def test_links_lead_somewhere() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", README):
        assert (root / target).exists(), target
