"""Aerial photographs and previews."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.photo import read_tags, write_photo
from geoseg.io.preview import preview_shape, read_preview
from geoseg.io.sources import open_raster
from geoseg.typing import Array, BoolArray

HEIGHT, WIDTH = 700, 1100
PART = Window(row_off=200, col_off=300, height=40, width=80)


def ramp(window: Window) -> tuple[Array, BoolArray]:
    """Brighter to the right; no data in the top left corner."""
    cols = np.arange(window.col_off, window.col_end) * 255 // WIDTH
    rows = np.arange(window.row_off, window.row_end)
    image = np.broadcast_to(cols.astype(np.uint8), (3, window.height, window.width))
    valid = (rows[:, None] >= 128) | (np.arange(window.col_off, window.col_end) >= 256)
    return image * valid, valid


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.tif"
    box = GeoBox(Affine(0.3, 0, 366000, 0, -0.3, 3058000), CRS("EPSG:32645"), HEIGHT, WIDTH)
    write_photo(path, ramp, box, tags={"MADE_BY": "test"})
    return path


def test_photo_round_trip(photo: Path) -> None:
    with rasterio.open(photo) as source:
        assert source.shape == (HEIGHT, WIDTH)
        assert source.overviews(1) == [2, 4, 8]
        wanted, valid = ramp(Window(row_off=0, col_off=0, height=HEIGHT, width=WIDTH))
        np.testing.assert_array_equal(source.dataset_mask() != 0, valid)
        assert np.abs(source.read().astype(int) - wanted)[:, valid].max() <= 12
    assert read_tags(photo)["MADE_BY"] == "test"
    assert [path.name for path in photo.parent.iterdir()] == ["photo.tif"]


def test_tags_of_what_is_no_raster(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no raster")
    assert read_tags(tmp_path / "a.tif") == {}
    assert read_tags(tmp_path / "none.tif") == {}


def test_preview_shows_the_whole(photo: Path) -> None:
    values, valid = read_preview(open_raster(photo), 110)
    assert values.shape == (3, 70, 110)
    assert not valid[:12, :25].any()
    assert valid[14:].all()
    assert valid[:, 27:].all()
    brightness = values[0, 40].astype(int)
    np.testing.assert_allclose(brightness, (np.arange(110) + 0.5) * 255 / 110, atol=6)


def test_preview_never_enlarges(photo: Path) -> None:
    assert read_preview(open_raster(photo), 9999)[1].shape == (HEIGHT, WIDTH)
    assert preview_shape(1, 1, 50) == (1, 1)


def test_preview_of_a_part_is_that_part_averaged(photo: Path) -> None:
    scene = open_raster(photo, bbox=open_raster(photo).geobox.window(PART).bounds())
    values, valid = read_preview(scene, 40)
    pixels = scene.read(Window(row_off=0, col_off=0, height=PART.height, width=PART.width))
    blocks = pixels.reshape(3, 20, 2, 40, 2).mean(axis=(2, 4))
    assert np.abs(values - blocks).max() <= 0.51
    assert valid.shape == (20, 40)


def test_preview_with_palette_alpha_and_nodata(tmp_path: Path) -> None:
    profile = {
        "driver": "GTiff",
        "height": 40,
        "width": 60,
        "dtype": "uint8",
        "transform": Affine.scale(2, -2),
    }
    index = np.zeros((1, 40, 60), np.uint8)
    index[:, :, 30:] = 1
    with rasterio.open(tmp_path / "palette.tif", "w", count=1, photometric="palette", **profile) as target:
        target.write(index)
        target.write_colormap(1, {0: (10, 20, 30, 255), 1: (200, 100, 50, 255)})
    values, valid = read_preview(open_raster(tmp_path / "palette.tif"), 30)
    assert values[:, 5, 5].tolist() == [10, 20, 30]
    assert values[:, 5, 25].tolist() == [200, 100, 50]
    assert valid.all()
    with rasterio.open(
        tmp_path / "alpha.tif", "w", count=4, photometric="rgb", alpha="yes", **profile
    ) as target:
        target.write(np.concatenate([index + 7] * 3 + [index * 255]))
    values, valid = read_preview(open_raster(tmp_path / "alpha.tif"), 30)
    assert values.shape == (3, 20, 30)
    assert not valid[:, :14].any()
    assert valid[:, 16:].all()
    with rasterio.open(tmp_path / "nodata.tif", "w", count=1, nodata=0, **profile) as target:
        target.write(index)
    assert read_preview(open_raster(tmp_path / "nodata.tif"), 30)[1].sum() == 20 * 15
