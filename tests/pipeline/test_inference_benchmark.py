"""The benchmark of inference runs, and both of its ways find the same."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def test_both_ways_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    benchmark = importlib.import_module("inference")
    result = benchmark.main(["--images", "1", "--rounds", "1", "--network", "cheap"])
    assert result["same"] > 0.999
    assert result["loop"] > 0
    assert result["geoseg"] > 0
