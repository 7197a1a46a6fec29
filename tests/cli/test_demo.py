"""``geoseg demo``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geoseg.cli import app


def test_demo_with_the_network_that_ships(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["demo", "--out", str(out), "--size", "640", "--json", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert all(Path(path).is_file() for path in told["files"].values())
    assert told["score"]["iou"] > 0.3
    again = CliRunner().invoke(app, ["demo", "--out", str(out), "--size", "640", "--device", "cpu"])
    assert again.exit_code == 0, again.output
    assert "0 windows predicted now" in again.stdout
    assert "IoU" in again.stdout
    assert str(out / "town.png") in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--truth", "t.geojson"], "--truth must come with --scene"),
        (["--scene", "none.tif"], "none.tif"),
        (["--model", "none.zip", "--size", "256"], "none.zip"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
