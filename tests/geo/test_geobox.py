"""Ground resolution is true meters, whatever the CRS."""

from __future__ import annotations

import math

import pytest
from affine import Affine
from pyproj import CRS

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window


def box(epsg: int | None, x: float, y: float, step: float, size: int = 1000) -> GeoBox:
    crs = None if epsg is None else CRS.from_epsg(epsg)
    return GeoBox(Affine(step, 0, x, 0, -step, y), crs, size, size)


def test_web_mercator_counts_with_its_scale() -> None:
    lat = 27.63
    y = 6378137 * math.log(math.tan(math.pi / 4 + math.radians(lat) / 2))
    gx, gy = box(3857, 9_500_000, y, 0.149).ground_resolution() or (0, 0)
    assert gx == pytest.approx(0.149 * math.cos(math.radians(lat)), rel=3e-3)
    assert gy == pytest.approx(gx, rel=7e-3)


def test_utm_is_meters_within_its_scale() -> None:
    assert box(32645, 500_000, 3_000_000, 0.5).ground_resolution() == pytest.approx((0.5, 0.5), rel=1e-3)


def test_degrees_work() -> None:
    gx, gy = box(4326, 10, 60, 1e-5).ground_resolution() or (0, 0)
    assert gx == pytest.approx(0.5575, rel=1e-2)
    assert gy == pytest.approx(1.114, rel=1e-2)


def test_no_crs_has_no_ground_resolution() -> None:
    assert box(None, 0, 0, 1).ground_resolution() is None
    assert box(None, 0, 0, 1).at_resolution(0.3).shape == (1000, 1000)


def test_at_resolution_keeps_the_ground() -> None:
    fine = box(32645, 500_000, 3_000_000, 0.1)
    coarse = fine.at_resolution(0.3)
    assert coarse.shape == (333, 333)
    assert coarse.bounds() == pytest.approx(fine.bounds())


@pytest.mark.parametrize(
    ("step", "same"), [(0.3, True), (0.2975, True), (0.3025, True), (0.296, False), (0.304, False)]
)
def test_a_step_within_one_percent_is_the_same(step: float, same: bool) -> None:
    here = box(32645, 300_000, 3_000_000, step)
    assert (here.at_resolution(0.3) is here) == same
    stretched = GeoBox(here.transform * Affine.scale(1, 1.02), here.crs, 1000, 1000)
    assert stretched.at_resolution(0.3) is not stretched, "both axes count"


def test_window_moves_the_origin() -> None:
    part = box(32645, 100, 200, 2).window(Window(row_off=3, col_off=5, height=7, width=11))
    assert (part.transform.c, part.transform.f, part.shape) == (110, 194, (7, 11))


def test_rotated_rasters_measure_along_their_own_axes() -> None:
    turned = Affine.translation(500_000, 3_000_000) * Affine.rotation(30) * Affine.scale(0.5, -0.25)
    gx, gy = GeoBox(turned, CRS.from_epsg(32645), 400, 400).ground_resolution() or (0, 0)
    assert (gx, gy) == pytest.approx((0.5, 0.25), rel=1e-3)
