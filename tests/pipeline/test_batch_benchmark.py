"""The benchmark of batches: its ground is found whole across sheets, and what is damaged is told."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class Bright:
    """As the benchmark's network, without torch."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return (batch.mean(1, keepdims=True) > 128).astype(np.float32)

    def fingerprint(self) -> str:
        return "bright"


def test_houses_on_borders_are_whole_and_damage_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    benchmark: Any = importlib.import_module("batch")
    monkeypatch.setattr(benchmark, "SIDE", 442)  # which lies in a row of houses
    monkeypatch.setattr(benchmark, "Network", Bright)
    (sheets := tmp_path / "sheets").mkdir()
    benchmark.make_sheets(sheets, 2)
    files, says_so = benchmark.case_geoseg(sheets, tmp_path / "out")()
    houses = len(benchmark.house_corners(2))
    assert (benchmark.count_houses(files, 2), says_so) == ({"whole": houses, "cut": 0, "missing": 0}, False)
    # What a tool gives that takes each sheet by itself.
    alone = [benchmark.case_geoseg(sheet, tmp_path / sheet.stem)()[0] for sheet in sorted(sheets.iterdir())]
    cut = benchmark.count_houses([path for paths in alone for path in paths], 2)["cut"]
    assert cut > 10
    benchmark.damage(sheets)
    files, says_so = benchmark.case_geoseg(sheets, tmp_path / "damaged")()
    assert says_so
    assert benchmark.count_houses(files, 2)["missing"] > 0
    assert benchmark.count_houses([], 2)["missing"] == houses
