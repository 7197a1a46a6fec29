"""Runtimes leave nothing in a user's home and report nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import sys
import numpy as np
from geoseg.models import load_model
predictor = load_model(sys.argv[1], device="cpu", engine=sys.argv[2])
assert predictor(np.zeros((1, 3, 32, 32), np.uint8)).shape == (1, 1, 32, 32)
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_fresh_home_holds_geosegs_cache_alone(engine: str, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx" if engine == "onnxruntime" else engine)
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    environment = {**kept, "HOME": str(home), "GEOSEG_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache)}
    subprocess.run([sys.executable, "-c", _RUN, str(bundle), engine], env=environment, check=True)
    assert list(home.rglob("*")) == []
