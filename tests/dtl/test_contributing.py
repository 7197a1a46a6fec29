"""The layer that CONTRIBUTING.md shows works as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
from dtl_projects import apply, array_sample

from geoseg.dtl.registry import registry

ROOT = Path(__file__).resolve().parents[2]


def test_the_layer_of_the_guide(monkeypatch):
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "@layer(" in block)
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    module = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    sample = array_sample(np.full((3, 4, 5), 100, np.uint8))
    ((branch, out),) = apply("gamma", {"low": 2, "high": 2}, sample)
    assert branch == 0
    assert (out.pixels.read() == round(255 * (100 / 255) ** 2)).all()
