"""How far a command is, on a terminal and in a log file."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.cli import progress as module
from geoseg.cli.progress import _Lines, progress_bar


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_a_line_every_so_often() -> None:
    lines: list[str] = []
    clock = Clock()
    report = _Lines(lines.append, clock)
    for block in range(1, 101):
        clock.now += 1
        report("predict", block, 100, mpx_per_s=3.25)
    # 100 reports in 100 seconds; the first block is where the clock of the stage begins
    assert lines == [
        "predict 30 %, 3.25 Mpx/s, about 70 s left",
        "predict 60 %, 3.25 Mpx/s, about 40 s left",
        "predict 90 %, 3.25 Mpx/s, about 10 s left",
    ]
    clock.now += 40
    report("write", 0, 0)
    assert lines[-1] == "write 0 %"
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_a_log_of_many_scenes_tells_of_all_and_of_the_present_one() -> None:
    lines: list[str] = []
    clock = Clock()
    report = _Lines(lines.append, clock)
    report("headers", 5, 5)
    report("scenes", 2, 6)  # two were done before, and took no time now
    report.begin("c")
    report("predict", 0, 10)
    clock.now += 90
    report("predict", 5, 10)
    assert lines == ["[3/6] c: predict 50 %, about 2 min left; all: about 12 min left"]
    clock.now += 110
    report("predict", 10, 10)
    report("scenes", 3, 6)
    report.begin("d")
    clock.now += 100
    report("predict", 1, 10)
    assert lines[-1] == "[4/6] d: predict 10 %; all: about 13 min left"
    report("scenes", 6, 6)
    clock.now += 40
    report("merge", 1, 2)
    assert lines[-1] == "merge 50 %"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, reports: Any) -> str:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "110")
    with progress_bar() as report:
        reports(report)
    return str(sys.stderr.getvalue())  # type: ignore[attr-defined]


def test_a_terminal_has_one_bar_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def reports(report: Any) -> None:
        report("predict", 3, 4, mpx_per_s=2.0)
        report("[b]", 1, 1)

    text = shown(monkeypatch, reports)
    assert "3/4" in text
    assert "2 Mpx/s" in text
    assert "[b]" in text  # not markup


def test_a_terminal_has_two_bars_for_many_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    def reports(report: Any) -> None:
        report("scenes", 0, 3)
        report.begin("north")
        report("predict", 1, 2)
        report("vectorize", 1, 7)
        report("scenes", 1, 3)
        report.begin("south")
        report("predict", 1, 9)

    last = shown(monkeypatch, reports).split("\x1b[2K")[-2:]
    text = "".join(last)
    assert "all scenes" in text
    assert "south: predict" in text
    assert "1/9" in text
    assert "north" not in text


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.0)
    with progress_bar(quiet=True) as report:
        report.begin("a")
        report("predict", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_run_of_many_scenes_in_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.0)
    monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "cache"))
    for k, name in enumerate("ab"):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", "GTiff", 64, 64, 3, "EPSG:32645",
            Affine(0.3, 0, 350_000 + 500 * k, 0, -0.3, 3_056_000), "uint8",
        ) as out:  # fmt: skip
            out.write(np.zeros((3, 64, 64), np.uint8))
    done = CliRunner().invoke(
        app, ["run", str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert lines.index("2 scenes") < next(k for k, line in enumerate(lines) if "[1/2]" in line)
    assert any(line.startswith("[1/2] a: predict 100 %") for line in lines)
    assert any(line.startswith("[2/2] b: predict 100 %") for line in lines)
    assert "[2/2] b: 0 footprints" in done.stderr
    assert "\r" not in done.stderr
