"""The benchmark of regular outlines, on a few houses: ahead of plain simplification."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(("table", "size"), [("free_standing", 512), ("in_terraces", 5)])
def test_tables(monkeypatch: pytest.MonkeyPatch, table: str, size: int) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    benchmark: Any = importlib.import_module("regularize")
    monkeypatch.setattr(benchmark, "peer", lambda **settings: None)
    rows = getattr(benchmark, table)(size, 60)
    regular, simple = rows["geoseg --regularize"], rows["Douglas-Peucker 0.75 m"]
    assert regular["IoU"] > simple["IoU"]
    assert regular["right %"] > 90 > simple["right %"]
    assert regular["invalid"] == 0
    assert min(regular[column] for column in benchmark.SECONDS) > 0
    if table == "in_terraces":
        assert regular["overlap m2"] == pytest.approx(0, abs=1e-6)
        assert regular["walls %"] > 99
