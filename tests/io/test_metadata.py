"""Decisions taken from headers, as tables."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.control import GroundControlPoint

from geoseg.errors import SceneError
from geoseg.io.header import select_bands
from geoseg.io.metadata import acquired_date, earth_crs, gcp_transform, parse_date
from geoseg.io.validity import ValidityRule, check_dtype, decide_validity, usable_nodata, valid_from_values


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2019:11:08 10:11:12", "2019-11-08"),
        ("2019-11-08", "2019-11-08"),
        ("2019-11-08T10:11:12.5+02:00", "2019-11-08"),
        ("2019-11-08Z", "2019-11-08"),
        ("20191108", "2019-11-08"),
        ("20191108T101112", "2019-11-08"),
        (" 2019/11/08 ", "2019-11-08"),
        ("0000:00:00 00:00:00", None),
        ("2019:13:08 00:00:00", None),
        ("2019-02-29", None),
        ("1019-02-20", None),
        ("08.11.2019", None),
        ("summer", None),
        ("", None),
    ],
)
def test_parse_date(text: str, day: str | None) -> None:
    assert parse_date(text) == day


@pytest.mark.parametrize(
    ("tags", "stac", "day"),
    [
        ({}, None, None),
        ({"TIFFTAG_DATETIME": "2020:01:01 00:00:00"}, None, "2020-01-01"),
        (
            {"TIFFTAG_DATETIME": "2020:01:01 00:00:00", "ACQUISITIONDATETIME": "2019-01-01"},
            None,
            "2019-01-01",
        ),
        (
            {"EXIF_DateTimeOriginal": "2018:01:01 00:00:00", "EXIF_DateTime": "2021:01:01 00:00:00"},
            None,
            "2018-01-01",
        ),
        ({"ACQUISITIONDATETIME": "unknown", "TIFFTAG_DATETIME": "2020:01:01 00:00:00"}, None, "2020-01-01"),
        ({"ACQUISITIONDATETIME": "2019-01-01"}, "2017-05-06T00:00:00Z", "2017-05-06"),
        ({"ACQUISITIONDATETIME": "2019-01-01"}, "null", "2019-01-01"),
        ({"AREA_OR_POINT": "Area"}, None, None),
    ],
)
def test_acquired_date(tags: dict[str, str], stac: str | None, day: str | None) -> None:
    assert acquired_date(tags, stac) == day


@pytest.mark.parametrize(
    ("nodata", "dtype", "usable"),
    [
        (None, "uint8", None),
        (0, "uint8", 0),
        (255, "uint8", 255),
        (256, "uint8", None),
        (-1, "uint16", None),
        (-32768, "int16", -32768),
        (0.5, "uint8", None),
        (0.5, "float32", 0.5),
        (float("nan"), "float32", None),
        (float("nan"), "uint8", None),
        (float("-inf"), "uint8", None),
        (-3.4028234663852886e38, "float32", -3.4028234663852886e38),
    ],
)
def test_usable_nodata(nodata: float | None, dtype: str, usable: float | None) -> None:
    assert usable_nodata(nodata, dtype) == usable


@pytest.mark.parametrize(
    ("dtype", "nodata", "mask", "alpha", "rule"),
    [
        ("uint8", [None] * 3, (), None, ValidityRule()),
        ("uint8", [0] * 3, (), None, ValidityRule(nodata=(0, 0, 0))),
        ("uint8", [0, None, 0], (), None, ValidityRule(nodata=(0, None, 0))),
        ("uint8", [-9999], (), None, ValidityRule()),
        ("uint8", [0] * 3, (1,), None, ValidityRule(mask=(1,))),
        ("uint8", [None] * 3, (1,), 4, ValidityRule(mask=(1,))),
        ("uint8", [None] * 3, (), 4, ValidityRule(alpha=4)),
        ("uint8", [0] * 3, (), 4, ValidityRule(alpha=4, nodata=(0, 0, 0))),
        ("float32", [None], (), None, ValidityRule(finite=True, nodata_when="any")),
        ("float32", [-9999], (), None, ValidityRule(finite=True, nodata_when="any", nodata=(-9999,))),
        ("float64", [float("nan")], (1,), None, ValidityRule(finite=True, mask=(1,))),
    ],
)
def test_decide_validity(
    dtype: str, nodata: list[float | None], mask: tuple[int, ...], alpha: int | None, rule: ValidityRule
) -> None:
    assert decide_validity(dtype=dtype, nodata=nodata, mask=mask, alpha=alpha) == rule


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (ValidityRule(), [1, 1, 1, 1]),
        (ValidityRule(nodata=(0, 0)), [0, 1, 1, 1]),
        (ValidityRule(nodata=(0, 0), nodata_when="any"), [0, 0, 0, 1]),
        (ValidityRule(nodata=(0, None)), [1, 1, 1, 1]),
        (ValidityRule(nodata=(0, None), nodata_when="any"), [0, 0, 1, 1]),
    ],
)
def test_valid_from_values(rule: ValidityRule, expected: list[int]) -> None:
    pixels = np.array([[[0, 0, 7, 7]], [[0, 7, 0, 7]]], "uint8")
    assert valid_from_values(pixels, rule).astype(int).tolist() == [expected]


def test_nan_and_infinity_in_any_band_are_invalid() -> None:
    pixels = np.array([[[1, np.nan, 1, 1]], [[1, 1, np.inf, 1]]], "float32")
    assert valid_from_values(pixels, ValidityRule(finite=True)).tolist() == [[True, False, False, True]]


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16", "string"])
def test_pixel_types_that_are_refused(dtype: str) -> None:
    with pytest.raises(SceneError, match=r"pixel type must be one of uint8, .*got c?"):
        check_dtype(dtype, "a.tif")


@pytest.mark.parametrize(
    ("bands", "count", "alpha", "chosen"),
    [
        (None, 1, None, (1,)),
        (None, 4, None, (1, 2, 3, 4)),
        (None, 4, 4, (1, 2, 3)),
        (None, 2, 2, (1,)),
        (None, 1, 1, (1,)),
        ([4], 4, 4, (4,)),
        ([3, 2, 1], 4, None, (3, 2, 1)),
        ([1, 1, 1], 1, None, (1, 1, 1)),
    ],
)
def test_select_bands(
    bands: list[int] | None, count: int, alpha: int | None, chosen: tuple[int, ...]
) -> None:
    assert select_bands(bands, count, alpha, "a.tif") == chosen


@pytest.mark.parametrize("bands", [[0], [5], [1, -1], []])
def test_bands_that_are_not_there(bands: list[int]) -> None:
    with pytest.raises(SceneError, match=r"bands must be some of 1\.\.4, got .* a\.tif has 4 bands"):
        select_bands(bands, 4, None, "a.tif")


@pytest.mark.parametrize(
    ("wkt", "code"),
    [
        (None, None),
        ("", None),
        ("nonsense", None),
        ('LOCAL_CS["site grid",UNIT["metre",1]]', None),
        (CRS.from_epsg(32645).to_wkt(), 32645),
        (CRS.from_epsg(4326).to_wkt("WKT1_GDAL"), 4326),
        (CRS.from_epsg(4978).to_wkt(), None),
    ],
)
def test_earth_crs(wkt: str | None, code: int | None) -> None:
    crs = earth_crs(wkt)
    assert (crs.to_epsg() if crs else None) == code


def test_the_grid_of_a_site_that_is_tied_to_a_projection_is_on_the_earth() -> None:
    base = CRS.from_epsg(32645)
    affine = {"A0": -300_000, "A1": 1, "A2": 0, "B0": -3_000_000, "B1": 0, "B2": 1}
    site = {
        "type": "DerivedProjectedCRS",
        "name": "site",
        "base_crs": base.to_json_dict(),
        "conversion": {
            "name": "shift",
            "method": {
                "name": "Affine parametric transformation",
                "id": {"authority": "EPSG", "code": 9624},
            },
            "parameters": [
                {"name": name, "value": value, "unit": "metre" if name.endswith("0") else "unity"}
                for name, value in affine.items()
            ],
        },
        "coordinate_system": base.to_json_dict()["coordinate_system"],
    }
    crs = earth_crs(CRS.from_json_dict(site).to_wkt())
    assert crs is not None
    there = Transformer.from_crs(crs, base, always_xy=True).transform(50_000, 56_000)
    assert there == pytest.approx((350_000, 3_056_000))


def points(bend: float) -> list[GroundControlPoint]:
    affine = Affine.translation(500, 900) * Affine.rotation(20) * Affine.scale(0.5, -0.5)
    found = []
    for row in (0, 50, 100):
        for col in (0, 50, 100):
            x, y = affine * (col + bend * (row - 50) ** 2 / 2500, row)
            found.append(GroundControlPoint(row=row, col=col, x=x, y=y))
    return found


def test_control_points_that_fit_an_affine() -> None:
    affine = gcp_transform(points(0.2), "a.tif")
    assert affine.almost_equals(gcp_transform(points(0), "a.tif"), precision=0.2)
    np.testing.assert_allclose(gcp_transform(points(0), "a.tif") * (0, 0), (500, 900))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (points(9), r"within 1 pixel, got \d\.\d pixels in a\.tif\. Warp it first: gdalwarp"),
        (points(0)[:2], "at least 3, got 2"),
        ([GroundControlPoint(row=i, col=i, x=i, y=i) for i in range(4)], "must not lie on one line"),
    ],
)
def test_control_points_that_do_not(found: list[GroundControlPoint], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        gcp_transform(found, "a.tif")
