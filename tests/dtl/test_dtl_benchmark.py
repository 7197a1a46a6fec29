"""The benchmark of graphs runs, and its figures are what they claim."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "dtl.py"


@pytest.mark.skipif(sys.platform != "linux", reason="counts of bytes read come from the Linux kernel")
def test_it_runs_and_reads_little_more_than_the_blocks_of_the_crops() -> None:
    sizes = ["--images", "2", "--image-size", "256", "--copies", "4", "--rounds", "1", "--size", "2000"]
    command = [sys.executable, str(SCRIPT), *sizes, "--crops", "10"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^graph +[\d.]+ samples/s", result.stdout, re.MULTILINE)
    ratio = float(re.search(r"^ratio ([\d.]+)", result.stdout, re.MULTILINE)[1])  # type: ignore[index]
    assert ratio < 1.2
