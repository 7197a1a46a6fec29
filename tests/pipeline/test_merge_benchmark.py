"""The benchmark of merging and comparing, on a few footprints."""

from __future__ import annotations

import importlib
import queue
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest


def test_all_footprints_are_merged_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    benchmark: Any = importlib.import_module("merge")
    monkeypatch.setattr(benchmark, "SCENE", 150)
    monkeypatch.setattr(benchmark, "BATCH", 100)
    for number, start in enumerate((0, 150)):
        benchmark.write(tmp_path / f"scene-{number}.parquet", start, min(start + 150, 250))
    benchmark.write(tmp_path / "new.parquet", 0, 250)
    benchmark.write(tmp_path / "known.parquet", 0, 250, moved=1 / 3)
    answers: queue.Queue[tuple[float, ...]] = queue.Queue()
    benchmark.measured(benchmark.merge, tmp_path, 250, answers)
    seconds, wall, loaded, peak = answers.get_nowait()
    assert min(seconds, wall) > 0
    assert 0 < loaded <= peak
    changes = benchmark.update(tmp_path, 250)
    merged, told = (pq.read_table(tmp_path / name) for name in ("merged.parquet", "told.parquet"))
    assert merged.num_rows == told.num_rows == 250
    assert set(merged["scene"].to_pylist()) == {"scene-0", "scene-1"}
    # About a third was moved: it is new where it stands now, and the known one is gone.
    new = told["change"].to_pylist().count("new")
    assert 50 < new < 100
    assert 50 < changes - 250 <= new
