"""The scripts in examples/ run on a small generated town."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import geopandas as gpd
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_script(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_main_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script("main_job.py", ["--out", str(tmp_path), "--size", "640"], monkeypatch)
    steps = gpd.read_file(tmp_path / "small-town.steps.gpkg")
    whole = gpd.read_parquet(tmp_path / "small-town.parquet")
    assert len(whole) > 5
    union, other = steps.union_all(), whole.union_all()
    assert union.intersection(other).area > 0.9 * union.union(other).area  # outlines are simplified in one
    assert "F1 of objects" in capsys.readouterr().out


def test_readme_picture_is_small(tmp_path: Path) -> None:
    from geoseg.demo.run import run_demo

    module = runpy.run_path(str(EXAMPLES / "readme_picture.py"))
    run_demo(tmp_path / "demo", size=512)
    from functools import partial

    module["make_picture"].__globals__["run_demo"] = partial(run_demo, size=512)
    module["make_picture"](tmp_path / "demo", tmp_path / "docs" / "demo.png")
    target = tmp_path / "docs" / "demo.png"
    assert target.stat().st_size <= module["MAX_BYTES"]
    with Image.open(target) as picture:
        assert picture.width > picture.height > 300
