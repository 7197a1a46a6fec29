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


PIXELS = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6)


@pytest.mark.parametrize(
    "dims",
    [
        ("lat", "lon", "band"),
        ("band", "lon", "lat"),
        ("longitude", "latitude", "wavelength"),
        ("easting", "band", "northing"),
        ("x", "y", "time"),
        ("row", "column", "channel"),
    ],
)
def test_axes_are_known_by_name(dims):
    named = xr.DataArray(PIXELS, dims=("other", "y", "x"))
    along = {
        "y": next(dim for dim in dims if dim in ("lat", "latitude", "northing", "y", "row")),
        "x": next(dim for dim in dims if dim in ("lon", "longitude", "easting", "x", "column")),
    }
    other = next(dim for dim in dims if dim not in along.values())
    array = named.rename({**along, "other": other}).transpose(*dims)
    scene = geoseg.open_scene(array)
    assert scene.dims == ("band", "y", "x")
    assert scene.values.tolist() == PIXELS.tolist()


def test_axes_are_known_by_their_cf_attributes():
    array = xr.DataArray(PIXELS, dims=("b", "i", "j"), coords={"i": range(4), "j": range(6)})
    array.i.attrs["standard_name"] = "projection_y_coordinate"
    array.j.attrs["axis"] = "X"
    assert geoseg.open_scene(array.transpose("j", "b", "i")).values.tolist() == PIXELS.tolist()


def test_axes_that_nobody_can_know_are_refused():
    with pytest.raises(InputError, match=r"dimensions must name one axis y and one x .* got a, b, c"):
        geoseg.open_scene(xr.DataArray(PIXELS, dims=("a", "b", "c")))
    with pytest.raises(InputError, match="got lat, b, c"):
        geoseg.open_scene(xr.DataArray(PIXELS, dims=("lat", "b", "c")))
    renamed = xr.DataArray(PIXELS, dims=("a", "b", "c")).rename(b="y", c="x")  # what the message advises
    assert geoseg.open_scene(renamed).values.tolist() == PIXELS.tolist()


def test_axes_without_names_go_by_position():
    assert geoseg.open_scene(xr.DataArray(PIXELS)).values.tolist() == PIXELS.tolist()


def test_a_mask_with_x_first_is_turned():
    mask = np.zeros((4, 6), np.uint8)
    mask[0, 5] = mask[0, 4] = 1
    turned = xr.DataArray(mask, dims=("y", "x")).transpose("x", "y")
    assert geoseg.split_masks(turned).dims == ("y", "x")
    assert geoseg.split_masks(turned).values.tolist() == mask.tolist()
    assert geoseg.polygonize(turned).geometry[0].bounds == (4, 0, 6, 1)


def test_bytes_in_the_other_order_are_swapped():
    other = PIXELS.astype(np.uint16).astype(np.dtype(np.uint16).newbyteorder())
    assert not other.dtype.isnative
    scene = geoseg.open_scene(xr.DataArray(other, dims=("band", "y", "x")))
    assert scene.dtype == np.uint16
    assert scene.dtype.isnative
    assert scene.values.tolist() == PIXELS.tolist()
    labels = geoseg.split_masks((PIXELS[0] > 3).astype(">i4"))
    assert labels.values.tolist() == geoseg.split_masks(PIXELS[0] > 3).values.tolist()
