"""An array cut, thinned out, flipped or turned lies where its pixels lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import shapely
import xarray as xr
from affine import Affine

import geoseg
from geoseg.errors import InputError
from geoseg.lazy.place import geobox_of

NORTH_UP = Affine(0.3, 0, 350_000, 0, -0.3, 3_056_000)
TURNED = Affine.translation(350_000, 3_056_000) * Affine.rotation(33) * Affine.scale(0.3, -0.3)


@pytest.fixture(params=[NORTH_UP, TURNED], ids=["north up", "turned"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    profile = {"driver": "GTiff", "count": 1, "height": 40, "width": 60, "dtype": "uint8", "crs": 32645}
    with rasterio.open(tmp_path / "scene.tif", "w", transform=request.param, **profile) as out:
        out.write(np.ones((1, 40, 60), np.uint8))
    return tmp_path / "scene.tif"


def opened(path: Path, how: str) -> xr.DataArray:
    return geoseg.open_scene(path) if how == "geoseg" else rioxarray.open_rasterio(path)


CUTS = {
    "whole": (slice(None), slice(None)),
    "part": (slice(5, 30), slice(7, 50)),
    "thinned": (slice(3, None, 2), slice(None, None, 3)),
    "flipped": (slice(None, None, -1), slice(None)),
}


@pytest.mark.parametrize("how", ["geoseg", "rioxarray"])
@pytest.mark.parametrize("cut", CUTS)
def test_centers_of_pixels_stay_where_they_are(scene: Path, how: str, cut: str) -> None:
    with rasterio.open(scene) as dataset:
        transform = dataset.transform
    rows, cols = CUTS[cut]
    box = geobox_of(opened(scene, how)[:, rows, cols])
    there = np.arange(40)[rows], np.arange(60)[cols]
    assert box.shape == (there[0].size, there[1].size)
    for i, j in ((0, 0), (0, 5), (9, 0), (9, 5)):
        expected = transform * (there[1][j] + 0.5, there[0][i] + 0.5)
        assert box.transform * (j + 0.5, i + 0.5) == pytest.approx(expected, abs=1e-4)


def test_footprints_of_a_part_lie_in_the_part(scene: Path) -> None:
    array = geoseg.open_scene(scene)[0]
    whole, part = geoseg.polygonize(array).geometry[0], geoseg.polygonize(array[10:, 20:]).geometry[0]
    assert part.difference(whole.buffer(1e-6)).is_empty
    assert part.area == pytest.approx(whole.area * (30 * 40) / (40 * 60))
    inside = geoseg.predict(geoseg.open_scene(scene)[:, 10:, 20:], lambda batch: batch, window=16, overlap=4)
    assert shapely.box(*geobox_of(inside).bounds()).equals_exact(shapely.box(*part.bounds), 1e-6)


def test_coarsened_and_single_pixels() -> None:
    coords = {"y": 100 - 0.5 * np.arange(8), "x": 10 + 0.5 * np.arange(6)}
    array = xr.DataArray(np.zeros((8, 6)), dims=("y", "x"), coords=coords).rio.write_crs(32645)
    array = array.rio.write_transform()
    assert geobox_of(array).transform == Affine(0.5, 0, 9.75, 0, -0.5, 100.25)
    assert geobox_of(array.coarsen(x=2, y=4).mean()).transform == Affine(1, 0, 9.75, 0, -2, 100.25)
    assert geobox_of(array[3:4, 2:3]).transform == Affine(0.5, 0, 10.75, 0, -0.5, 98.75)


def test_uneven_coordinates_are_refused() -> None:
    array = xr.DataArray(np.zeros((3, 3)), dims=("y", "x"), coords={"y": [3, 2, 1], "x": [0, 1, 5]})
    with pytest.raises(InputError, match="coordinate x must be evenly spaced"):
        geobox_of(array)
