"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("GEOSEG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
#: What keeps a browser from asking its maker's servers by itself.
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real imagery (GEOSEG_DATA, by default ../shared/data); skips where it is absent."""
    path = Path(os.environ.get("GEOSEG_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not path.is_dir():
        pytest.skip(f"real imagery left out: no folder {path}; set GEOSEG_DATA to run this test")
    return path


# Of a module: while playwright runs, no other test of the thread can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="tests of pages need playwright")
    if CHROMIUM is None:
        pytest.skip("tests of pages need chromium: apt install chromium, or name it in GEOSEG_CHROMIUM")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()
