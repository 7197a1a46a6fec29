"""``geoseg evaluate`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from geoseg.cli import evaluate

SQUARE = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[85, 27], [85.001, 27], [85.001, 27.001], [85, 27]]],
            },
        }
    ],
}


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    evaluate.register(app)
    return app


@pytest.fixture
def square(tmp_path: Path) -> str:
    path = tmp_path / "square.geojson"
    path.write_text(json.dumps(SQUARE))
    return str(path)


def test_table(app: typer.Typer, square: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", square, square])
    assert result.exit_code == 0, result.output
    assert "F1 at IoU 0.5" in result.output
    assert "1.000" in result.output


def test_json(app: typer.Typer, square: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", square, square, "--json", "--boundary", "5"])
    scores = json.loads(result.stdout)
    assert scores["objects"]["f1"] == 1.0
    assert scores["objects"]["boundary_distance"] == 5.0
    assert scores["pixels"]["accuracy"] is None


def test_bad_input_is_one_line_and_status_2(app: typer.Typer, square: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "absent.geojson", square])
    assert result.exit_code == 2
    assert result.stderr == "error: no such file: absent.geojson\n"
