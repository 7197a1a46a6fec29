"""Kernels are cached where a cache can be written, and run where it can't."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_SOURCE = """
from geoseg.compiled import kernel

@kernel
def double(value):
    return 2 * value
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "kernels.py").write_text(_SOURCE)

    def call(code: str = "print(kernels.double(21))", **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", f"import kernels, numba\n{code}"],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}", "PATH": "", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return call


def test_a_kernel_runs_where_no_cache_can_be_written(run: Callable[..., str], tmp_path: Path) -> None:
    # A file stands where each of numba's folders would be made, so that root can't write there either.
    (tmp_path / "__pycache__").write_text("in the way")
    (tmp_path / "home").write_text("in the way")
    home = str(tmp_path / "home")
    code = "print(kernels.double(21), kernels.double._cache.cache_path)"
    assert run(code, HOME=home, PYTHONDONTWRITEBYTECODE="1") == "42 None"


def test_a_kernel_is_kept_and_a_damaged_file_made_again(run: Callable[..., str], tmp_path: Path) -> None:
    code = "print(kernels.double(21), sum(kernels.double.stats.cache_hits.values()))"
    cache = str(tmp_path / "cache")
    assert run(code, NUMBA_CACHE_DIR=cache) == "42 0"
    assert run(code, NUMBA_CACHE_DIR=cache) == "42 1"
    for file in Path(cache).rglob("*.nb?"):
        file.write_bytes(file.read_bytes()[:7])
    assert run(code, NUMBA_CACHE_DIR=cache) == "42 0"
