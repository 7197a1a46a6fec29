"""The benchmark of many workers: its sleepers are fed."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest


def test_sleeping_workers_are_fed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    benchmark: Any = importlib.import_module("workers")
    # What it replaces by sleeping works again afterwards.
    for name in ("predict_strips", "finish_chunks"):
        monkeypatch.setattr(benchmark.driver, name, getattr(benchmark.driver, name))
    monkeypatch.setattr(sys, "argv", ["workers.py", "feed", "--workers", "4", "--seconds", "0.4"])
    benchmark.main()
    line = capsys.readouterr().out
    assert line.startswith("4 workers, 9 blocks of 0.2 s: ")
    efficiency = re.search(r"efficiency ([\d.]+); of a processor a block: driver [\d.]+ ms", line)
    assert efficiency is not None
    assert 0 < float(efficiency[1]) <= 1
