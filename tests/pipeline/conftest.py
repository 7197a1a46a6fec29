"""Fixtures of small scenes, and of a cache that no other test has filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_scenes import save


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own: what a run keeps of scenes must not come from another test."""
    monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Three scenes far apart."""
    for k, name in enumerate("abc"):
        save(tmp_path / "in" / f"{name}.tif", 500 * k)
    return tmp_path / "in"
