"""The generated town: reproducible, the same whatever the window, and true to its footprints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from geoseg.demo.scene import (
    CRS,
    PARAMETERS_TAG,
    Town,
    make_chip,
    make_labeled_chip,
    make_scene,
    scene_parameters,
)
from geoseg.demo.things import Plan
from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.typing import Array

SIZE, SEED, GSD = 400, 1, 0.6


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(size=SIZE, seed=SEED, gsd=GSD)


@pytest.fixture(scope="module")
def whole(town: Town) -> tuple[Array, Array, Array]:
    return town.render(Window(row_off=0, col_off=0, height=SIZE, width=SIZE))


def test_same_seed_same_town(whole: tuple[Array, Array, Array]) -> None:
    again = Town(size=SIZE, seed=SEED, gsd=GSD).render(Window(row_off=0, col_off=0, height=SIZE, width=SIZE))
    for first, second in zip(whole, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_another_town(whole: tuple[Array, Array, Array]) -> None:
    _, other, _ = Town(size=SIZE, seed=4, gsd=GSD).render(
        Window(row_off=0, col_off=0, height=SIZE, width=SIZE)
    )
    assert np.mean(other != whole[1]) > 0.05


@settings(max_examples=15, deadline=None)
@given(
    row=st.integers(0, SIZE - 1),
    col=st.integers(0, SIZE - 1),
    height=st.integers(1, 160),
    width=st.integers(1, 160),
)
def test_any_window_equals_the_whole(
    town: Town, whole: tuple[Array, Array, Array], row: int, col: int, height: int, width: int
) -> None:
    window = Window(row_off=row, col_off=col, height=height, width=width).clipped(SIZE, SIZE)
    image, mask, valid = town.render(window)
    np.testing.assert_array_equal(image, whole[0][:, window.rows, window.cols])
    np.testing.assert_array_equal(mask, whole[1][window.rows, window.cols])
    np.testing.assert_array_equal(valid, whole[2][window.rows, window.cols])


def test_truth_is_what_was_drawn(town: Town, whole: tuple[Array, Array, Array]) -> None:
    shapes = [shapely.transform(shape, lambda p: p / town.gsd) for _, shape in town.footprints()]
    drawn = rasterize([(shape, 1) for shape in shapes], (SIZE, SIZE), dtype="uint8")
    assert 0.1 < drawn.mean() < 0.7
    slivers = 12  # pixels of pieces below 1 m2 at the edge of the imagery, which are left out of the truth
    assert np.count_nonzero(drawn != whole[1]) <= slivers


def test_footprints_touch_but_do_not_overlap(town: Town) -> None:
    shapes = np.array([shape for _, shape in town.footprints()])
    assert shapely.is_valid(shapes).all()
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = first < second
    common = shapely.intersection(shapes[first[pairs]], shapes[second[pairs]])
    assert shapely.area(common).max() < 0.5
    walls = shapely.length(
        shapely.intersection(shapely.buffer(shapes[first[pairs]], 0.01), shapes[second[pairs]])
    )
    assert np.count_nonzero(walls > 6) > 10  # 3 m of shared wall, there and back


def test_buildings_vary() -> None:
    buildings = Town(size=1600, seed=0).plan.buildings
    assert {building.shape for building in buildings} == {"rectangle", "L", "T", "U", "courtyard"}
    assert {building.roof for building in buildings} == {"concrete", "metal", "tile"}
    angles = np.array([np.arctan2(building.frame.sin, building.frame.cos) for building in buildings])
    assert len(np.unique(np.round(angles, 2))) > 50


def test_files(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    make_scene(
        tmp_path / "town.tif", tmp_path / "truth.json", size=600, seed=1,
        progress=lambda stage, done, total, **info: told.append((stage, done, total)),
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["town.tif", "truth.json"]
    assert told[-1] == ("scene", 4, 4)
    with rasterio.open(tmp_path / "town.tif") as source:
        assert source.crs == CRS
        assert source.shape == (600, 600)
        assert source.block_shapes[0] == (512, 512)
        assert source.compression.name == "jpeg"
        assert source.overviews(1) == [2, 4]
        assert json.loads(source.tags()[PARAMETERS_TAG]) == scene_parameters(size=600, seed=1)
        invalid = source.dataset_mask() == 0
        pixels, transform = source.read(), source.transform
    town = Town(size=600, seed=1)
    image, _, valid = town.render(Window(row_off=0, col_off=0, height=600, width=600))
    np.testing.assert_array_equal(invalid, ~valid)
    assert np.abs(pixels.astype(int) - image)[:, valid].mean() < 6  # what JPEG changes
    truth = json.loads((tmp_path / "truth.json").read_text())
    shapes = [(feature["geometry"], 1) for feature in truth["features"]]
    drawn = rasterize(shapes, (600, 600), transform=transform, dtype="uint8")
    assert not (drawn & invalid).any()


def test_hole_and_ragged_edge_are_invalid() -> None:
    town = Town(size=600, seed=0)
    _, mask, valid = town.render(Window(row_off=0, col_off=0, height=600, width=600))
    from scipy import ndimage

    labels, count = ndimage.label(~valid)
    at_edge = set(np.unique([labels[0], labels[-1], labels[:, 0], labels[:, -1]])) - {0}
    inside = set(range(1, count + 1)) - at_edge
    assert len(inside) >= 1
    assert len(at_edge) >= 1
    assert max(np.count_nonzero(labels == label) for label in inside) > 600 * 600 / 400
    assert not mask[~valid].any()


def test_a_stopped_scene_leaves_nothing(tmp_path: Path) -> None:
    def stop(stage: str, done: float, total: float, **info: float) -> None:
        if done >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scene(tmp_path / "town.tif", tmp_path / "truth.json", size=600, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]


@pytest.mark.parametrize(("size", "gsd"), [(32, 0.3), (600, 0.0), (600, 5.0), (600, float("nan"))])
def test_impossible_scenes_are_refused(tmp_path: Path, size: int, gsd: float) -> None:
    with pytest.raises(InputError, match="must be"):
        make_scene(tmp_path / "town.tif", tmp_path / "truth.json", size=size, gsd=gsd)
    assert list(tmp_path.iterdir()) == []


def test_chips_are_reproducible_and_varied() -> None:
    first = [make_chip(96, 0.3, np.random.default_rng(seed)) for seed in range(8)]
    again = make_chip(96, 0.3, np.random.default_rng(5))
    np.testing.assert_array_equal(first[5][0], again[0])
    np.testing.assert_array_equal(first[5][1], again[1])
    for image, mask in first:
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (3, 96, 96)
        assert set(np.unique(mask)) <= {0, 1}
    cover = [mask.mean() for _, mask in first]
    assert max(cover) - min(cover) > 0.15
    assert np.ptp([image.mean() for image, _ in first]) > 20


def test_chips_keep_their_size_on_the_ground() -> None:
    for seed in range(4):
        chips = [make_chip(round(60 / gsd), gsd, np.random.default_rng(seed)) for gsd in (0.12, 0.3, 0.6)]
        assert min(image.std() for image, _ in chips) > 15
        np.testing.assert_allclose([mask.mean() for _, mask in chips], chips[1][1].mean(), atol=0.03)


def test_each_house_of_a_chip_has_its_own_polygon() -> None:
    image, mask, houses = make_labeled_chip(128, 0.3, np.random.default_rng(2))
    same, also = make_chip(128, 0.3, np.random.default_rng(2))
    np.testing.assert_array_equal(image, same)
    np.testing.assert_array_equal(mask, also)
    assert len(houses) > 5
    assert all(shapely.box(0, 0, 128, 128).covers(house) and house.area > 0 for house in houses)
    union = shapely.union_all(houses)
    assert union.area == pytest.approx(sum(house.area for house in houses), rel=1e-6)
    drawn = rasterize(houses, out_shape=mask.shape)
    assert (drawn != mask).mean() < 0.01


def test_a_plan_can_be_changed_before_it_is_painted() -> None:
    def clear(plan: Plan) -> None:
        plan.buildings.clear()
        plan.parts.clear()

    _, mask, houses = make_labeled_chip(64, 0.3, np.random.default_rng(2), clear)
    assert not mask.any()
    assert houses == []
