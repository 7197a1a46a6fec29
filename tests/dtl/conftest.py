"""The fixture that writes small annotated projects."""

from __future__ import annotations

from pathlib import Path

import pytest
from dtl_projects import MakeProject, write_project


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Writes projects below the test's folder ``projects``."""
    root = tmp_path / "projects"
    root.mkdir()

    def make(name: str, *args: object, **kwargs: object) -> Path:
        return write_project(root, name, *args, **kwargs)  # type: ignore[arg-type]

    return make
