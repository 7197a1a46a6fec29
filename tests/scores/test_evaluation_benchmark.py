"""The benchmark of evaluation runs."""

from __future__ import annotations

import importlib
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
    # 300 houses take less time than the imports that are subtracted vary by
    assert re.search(r"^geoseg +-?[\d.]+ s +\+\d+ MB .*matched (299|300) F1 ", result.stdout, re.MULTILINE)


def test_the_measuring_process_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory would be counted as that of the processes it starts: the houses are made in another."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    module = importlib.import_module("evaluation")
    written: list[int] = []

    def measure(code: str, *paths: Path) -> tuple[float, float, str]:
        written.append(sum(path.stat().st_size > 0 for path in paths))
        return 1.0, 1.0, ""

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "houses", lambda count, seed: pytest.fail("made in the measuring process"))
    monkeypatch.setattr(sys, "argv", ["evaluation.py", "--count", "30"])
    module.main()
    assert written == [0, 0, 0, 2, 2]
