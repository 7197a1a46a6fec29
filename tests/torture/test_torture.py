"""Jobs that are killed or harmed at their file operations; see torture.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which(os.environ.get("CC", "cc")) is None,
    reason="faults are compiled, and loaded as Linux does",
)
JOBS = {"run", "predict", "vectorize", "import", "export", "dtl"}


def torture(*options: str) -> dict[str, dict[str, int]]:
    script = Path(__file__).with_name("torture.py")
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert report["problems"] == []
    assert done.returncode == 0
    return report["counts"]


def test_a_few_operations_of_each_job() -> None:
    counts = torture("--points", "3")
    assert counts.keys() == JOBS
    for job, count in counts.items():
        assert count["operations"] > 30, job
        assert count["killed"] == count["disk full"] == count["folder moved away"] == 3, job
    assert counts["run"]["chunk flipped"] == counts["run"]["chunk cut"] > 0


@pytest.mark.slow
def test_every_operation_of_each_job() -> None:
    for count in torture().values():
        assert count["killed"] == count["operations"]
