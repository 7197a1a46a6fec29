"""The benchmark of evaluation runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "evaluation.py"


@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured by wait4")
def test_it_runs_and_finds_the_houses() -> None:
    command = [sys.executable, str(SCRIPT), "--count", "300"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^geoseg +[\d.]+ s +\+\d+ MB .*matched (299|300) F1 ", result.stdout, re.MULTILINE)
