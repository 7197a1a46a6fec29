"""Cloud-optimized GeoTIFFs: what goes in comes out, in any place, or nothing does."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasters import noise
from test_writers import check_full_disk

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.cog import overview_resampling, write_cog
from geoseg.io.crs import check_tiff_crs
from geoseg.io.sources import open_raster

PLACE = Affine(0.5, 0, 340_000, 0, -0.5, 3_060_000)
UTM = CRS.from_epsg(32645)


def write(path: Path, pixels: np.ndarray, box: GeoBox | None = None, **options: Any) -> Path:
    box = box or GeoBox(PLACE, UTM, *pixels.shape[1:])
    options = {"dtype": str(pixels.dtype), "count": len(pixels), **options}
    write_cog(path, lambda window: pixels[:, window.rows, window.cols], box, **options)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_round_trip(dtype: str, tmp_path: Path) -> None:
    pixels = noise(2, 700, 2100, dtype)
    named = {"descriptions": ("wall", "roof"), "tags": {"a": "b"}}
    path = write(tmp_path / "deep" / "a.tif", pixels, nodata=7, **named)
    with rasterio.open(path) as stored:
        np.testing.assert_array_equal(stored.read(), pixels)
        assert stored.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert stored.block_shapes == [(512, 512)] * 2
        assert stored.overviews(1) == [2, 4, 8][: len(stored.overviews(1))] != []
        assert (stored.nodata, stored.descriptions, stored.tags()["a"]) == (7, ("wall", "roof"), "b")
        assert stored.transform == PLACE
        assert stored.crs.to_epsg() == 32645
    assert [file.name for file in path.parent.iterdir()] == ["a.tif"]


def test_scale_and_nan(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1, 20, 20), scale=1 / 254, offset=0.5)
    with rasterio.open(path) as stored:
        assert (stored.scales, stored.offsets) == ((1 / 254,), (0.5,))
    pixels = noise(1, 20, 20, "float32")
    pixels[0, 3] = np.nan
    scene = open_raster(write(tmp_path / "b.tif", pixels, nodata=float("nan")))
    valid = scene.read_valid(Window(row_off=0, col_off=0, height=20, width=20))
    np.testing.assert_array_equal(valid, np.isfinite(pixels[0]))


def test_windows_are_asked_for_once_and_two_dimensions_do(tmp_path: Path) -> None:
    asked: list[Window] = []
    done: list[float] = []

    def read(window: Window) -> np.ndarray:
        asked.append(window)
        return np.full((window.height, window.width), 3)

    write_cog(
        tmp_path / "a.tif",
        read,
        GeoBox(PLACE, UTM, 2100, 100),
        dtype="uint8",
        progress=lambda stage, finished, total, **info: done.append(finished / total),
    )
    assert [(w.row_off, w.height, w.width) for w in asked] == [(0, 2048, 100), (2048, 52, 100)]
    assert done == [0.5, 1.0]
    with rasterio.open(tmp_path / "a.tif") as stored:
        assert (stored.read() == 3).all()


@pytest.mark.parametrize(
    "box",
    [
        GeoBox(Affine.identity(), None, 30, 40),
        GeoBox(Affine(0.5, 0, 0, 0, 0.5, 0), UTM, 30, 40),
        GeoBox(Affine.rotation(30) * Affine.scale(0.5, -0.5), UTM, 30, 40),
    ],
)
def test_places(box: GeoBox, tmp_path: Path) -> None:
    pixels = noise(1, 30, 40)
    scene = open_raster(write(tmp_path / "a.tif", pixels, box))
    assert scene.geobox.transform.almost_equals(box.transform)
    assert scene.geobox.crs == box.crs
    np.testing.assert_array_equal(scene.read(Window(row_off=0, col_off=0, height=30, width=40)), pixels)


def test_equal_pixels_give_equal_bytes(tmp_path: Path) -> None:
    pixels = noise(3, 1300, 600)
    first = write(tmp_path / "a" / "x.tif", pixels).read_bytes()
    time.sleep(1.1)
    assert write(tmp_path / "b" / "x.tif", pixels).read_bytes() == first


@pytest.mark.parametrize(
    ("dtype", "scale", "how"),
    [
        ("uint8", None, "nearest"),
        ("uint8", 0.1, "average"),
        ("int32", None, "nearest"),
        ("float32", None, "average"),
    ],
)
def test_overviews(dtype: str, scale: float | None, how: str, tmp_path: Path) -> None:
    assert overview_resampling(dtype, scale) == how
    pixels = np.zeros((1, 1024, 1024), dtype)
    pixels[:, ::2] = 10
    with rasterio.open(write(tmp_path / "a.tif", pixels, scale=scale), overview_level=0) as stored:
        values = set(np.unique(stored.read()).tolist())
    assert values == ({5} if how == "average" else values & {0, 10})


def test_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1, 20, 20))
    before = path.read_bytes()

    def broken(window: Window) -> np.ndarray:
        raise KeyError("no such chunk")

    with pytest.raises(KeyError):
        write_cog(path, broken, GeoBox(PLACE, UTM, 20, 20), dtype="uint8")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dtype must be one of uint8, .* got bool"):
        write_cog(tmp_path / "a.tif", lambda w: np.ones(1), GeoBox(PLACE, UTM, 2, 2), dtype="bool")
    with pytest.raises(InputError, match="output must be a file that can be written"):
        write(tmp_path, noise(1, 4, 4))


def write_large(path: Path) -> None:
    write(path, noise(1, 1300, 1300))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_full_disk(tmp_path: Path) -> None:
    check_full_disk("test_cog", "write_large", tmp_path / "out" / "a.tif")


def test_a_crs_without_a_place_in_a_tiff_is_refused(tmp_path: Path) -> None:
    """A rotated pole came out as a raster without a CRS."""
    rotated = CRS.from_string(
        "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 "
        "+to_meter=0.0174532925199433 +type=crs"
    )
    geobox = GeoBox(Affine(0.1, 0, 5, 0, -0.1, 50), rotated, 4, 4)
    read: list[Window] = []
    with pytest.raises(InputError, match="CRS that a GeoTIFF can hold, got"):
        write_cog(tmp_path / "a.tif", lambda window: read.append(window), geobox, dtype="uint8")  # type: ignore[arg-type,return-value]
    assert (read, list(tmp_path.iterdir())) == ([], [])
    for known in (
        CRS.from_proj4("+proj=utm +zone=45 +datum=WGS84 +units=us-ft +type=crs"),
        CRS.from_epsg(3067),
    ):
        check_tiff_crs(known)
