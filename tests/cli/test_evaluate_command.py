"""``geoseg evaluate`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
import typer
from pyproj import CRS
from typer.testing import CliRunner

from geoseg.cli import evaluate
from geoseg.io.writers import FORMATS, FootprintBatch, open_writer

SQUARE: dict[str, Any] = {
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


@pytest.mark.parametrize("kind", sorted(FORMATS.keys() - {"pmtiles"}))  # which are pictures of shapes
def test_files_that_geoseg_writes_are_read(app: typer.Typer, square: str, tmp_path: Path, kind: str) -> None:
    ring = SQUARE["features"][0]["geometry"]["coordinates"][0]
    shapes = np.array([shapely.Polygon(ring)], object)
    path = tmp_path / f"found{FORMATS[kind]}"
    schema = pa.schema([("confidence", pa.float64())])
    with open_writer(kind, path, schema=schema, crs=CRS.from_epsg(4326)) as writer:
        writer.write(FootprintBatch(shapes, {"confidence": np.array([0.9])}))
    result = CliRunner().invoke(app, ["evaluate", str(path), square, "--json"])
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    assert scores["objects"]["f1"] == 1.0
    assert scores["pixels"]["iou"] == pytest.approx(1.0, abs=1e-3)


def test_bad_input_is_one_line_and_status_2(app: typer.Typer, square: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "absent.geojson", square])
    assert result.exit_code == 2
    assert result.stderr == "error: vector file must exist, got absent.geojson. Check the path.\n"
