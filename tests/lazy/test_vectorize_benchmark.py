"""The benchmark of vectorizing runs, and its polygons are GDAL's."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_small_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("psutil")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["vectorize.py", "--size", "512", "--stream", "1024", "--repeats", "1"])
    importlib.import_module("vectorize").main()
    told = capsys.readouterr().out
    assert told.count("identical to rasterio after normalizing: True; valid: True") == 2
    assert "streamed 1024 x 1024 to GeoParquet" in told


def test_small_geojson(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["geojson.py", "--count", "500", "--repeats", "1"])
    importlib.import_module("geojson").main()
    printed = capsys.readouterr().out
    assert printed.count("500 footprints of ") == 2
