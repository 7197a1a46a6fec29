"""The demonstration from end to end, with cheap stand-ins for the network."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from PIL import Image

from geoseg.demo.run import DemoResult, prepare_scene, run_demo
from geoseg.demo.scene import Town
from geoseg.errors import InputError, MissingFileError
from geoseg.geo.windows import Window
from geoseg.io.photo import write_photo
from geoseg.typing import Array

SIZE = 700


def colorful(batch: Array) -> Array:
    """Roofs of painted metal and tile: pixels far from gray and from green."""
    red, green, blue = (batch[:, i].astype(np.float32) for i in range(3))
    score = np.maximum(blue - green, red - green - 15) / 30
    return np.clip(score, 0, 1)[:, None]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoResult]:
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, run_demo(folder, model=colorful, size=SIZE)


def test_everything_is_written(demo: tuple[Path, DemoResult]) -> None:
    folder, result = demo
    assert result.made
    assert {Path(path).name for path in result.files.values()} == {
        "town.geojson", "town.parquet", "town.png", "town.truth.geojson",
    }  # fmt: skip
    frame = gpd.read_parquet(folder / "town.parquet")
    assert len(frame) == result.run.footprints > 20
    assert len(json.loads((folder / "town.geojson").read_text())["features"]) == len(frame)
    assert result.run.failures == []
    with Image.open(folder / "town.png") as picture:
        assert np.asarray(picture).std() > 30


def test_no_footprint_lies_where_there_is_no_imagery(demo: tuple[Path, DemoResult]) -> None:
    folder, result = demo
    frame = gpd.read_parquet(folder / "town.parquet")
    with rasterio.open(result.scene) as source:
        invalid = source.dataset_mask() == 0
        drawn = rasterio.features.rasterize(frame.geometry, source.shape, transform=source.transform)
    assert invalid.mean() > 0.02
    assert not (drawn[invalid] > 0).any()


def test_the_score_is_that_of_the_pixels(demo: tuple[Path, DemoResult]) -> None:
    folder, result = demo
    score = result.score
    assert score is not None
    assert 0 < score.matched < score.truths
    assert score.recall == pytest.approx(score.matched / score.truths, abs=1e-4)
    _, mask, _ = Town(size=SIZE).render(Window(row_off=0, col_off=0, height=SIZE, width=SIZE))
    frame = gpd.read_parquet(folder / "town.parquet")
    with rasterio.open(result.scene) as source:
        drawn = rasterio.features.rasterize(frame.geometry, source.shape, transform=source.transform)
    both, either = np.count_nonzero(drawn & mask), np.count_nonzero(drawn | mask)
    assert score.iou == pytest.approx(both / either, abs=0.01)
    assert score.polis is not None
    assert 0 < score.polis < 3
    assert score.right_angles == 1  # outlines as traced, along pixels


def test_a_second_call_does_no_work_twice(demo: tuple[Path, DemoResult]) -> None:
    folder, first = demo
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    second = run_demo(folder, model=colorful, size=SIZE)
    assert not second.made
    assert second.run.windows_run == 0 < first.run.windows_run
    assert second.score == first.score
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_scene_made_otherwise_is_made_again(tmp_path: Path) -> None:
    scene, truth = tmp_path / "town.tif", tmp_path / "town.truth.geojson"
    assert prepare_scene(scene, truth, size=256, seed=0)
    assert not prepare_scene(scene, truth, size=256, seed=0)
    assert prepare_scene(scene, truth, size=256, seed=1)
    truth.unlink()
    assert prepare_scene(scene, truth, size=256, seed=1)
    assert truth.exists()


def test_a_scene_of_ones_own(tmp_path: Path) -> None:
    boxes = [(40, 30, 90, 80), (150, 60, 180, 140), (200, 200, 260, 250)]
    box = Town(size=300).geobox

    def read(window: Window) -> tuple[Array, Array]:
        image = np.full((3, 300, 300), 80, np.uint8)
        for left, top, right, bottom in boxes:
            image[:, top:bottom, left:right] = 230
        return image[:, window.rows, window.cols], np.ones((window.height, window.width), bool)

    write_photo(tmp_path / "mine.tif", read, box, quality=100)
    shapes = [shapely.box(*(box.transform * (a, d)), *(box.transform * (c, b))) for a, b, c, d in boxes]
    gpd.GeoDataFrame(geometry=shapes, crs=box.crs).to_file(tmp_path / "truth.gpkg")

    def bright(batch: Array) -> Array:
        return (batch[:, :1] > 150).astype(np.float32)

    alone = run_demo(tmp_path / "a", scene=tmp_path / "mine.tif", model=bright)
    assert alone.score is None
    assert not alone.made
    assert (tmp_path / "a" / "mine.png").exists()
    scored = run_demo(
        tmp_path / "b", scene=tmp_path / "mine.tif", truth=tmp_path / "truth.gpkg", model=bright
    )
    assert scored.score is not None
    assert scored.score.f1 == 1.0
    assert scored.score.iou is not None
    assert scored.score.iou > 0.98


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        run_demo(tmp_path / "out", scene=tmp_path / "none.tif", model=colorful)
    with pytest.raises(InputError):
        run_demo(tmp_path / "out", model=colorful, size=10)
    assert not (tmp_path / "out" / "town.tif").exists()
