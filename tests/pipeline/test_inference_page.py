"""The page about inference: its configs are valid, its code runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from projects_made import make_project

from geoseg.pipeline.inference.settings import read_inference

PAGE = (Path(__file__).parents[2] / "docs" / "inference.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_configs_are_valid() -> None:
    configs = [json.loads(text) for kind, text in BLOCKS if kind == "json"]
    assert len(configs) == 2
    assert [read_inference(config).mode.source for config in configs] == ["sliding_window", "full_image"]


def test_defaults_of_the_table() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) - {"gpu_devices"} == {
        "full_image", "roi", "bboxes", "sliding_window",
    }  # fmt: skip
    settings = read_inference({"mode": {"source": "bboxes"}})
    assert f'`add_suffix` `"{settings.mode.add_suffix}"`' in PAGE  # type: ignore[union-attr]
    assert f'`"{settings.model.add_suffix}"`' in PAGE


def test_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = (text for kind, text in BLOCKS if kind == "python")
    project = make_project(tmp_path / "town")
    for file in (project / "two").rglob("*.*"):
        file.unlink()
    exec(compile(code, "page", "exec"), {})
    assert (tmp_path / "town_dl" / "meta.json").is_file()
