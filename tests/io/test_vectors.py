"""Polygons from files: only what they say they are, valid, in the CRS asked for."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from pyproj import CRS

from geoseg.errors import InputError, MissingFileError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.vectors import rasterize_mask, read_polygons

UTM = CRS.from_epsg(32645)
BOXES = [shapely.box(340_000 + 20 * i, 3_060_000, 340_010 + 20 * i, 3_060_008) for i in range(5)]


def frame(shapes: list[shapely.Geometry | None] | None = None, crs: CRS | None = UTM) -> gpd.GeoDataFrame:
    shapes = BOXES if shapes is None else shapes
    return gpd.GeoDataFrame({"name": [f"n{i}" for i in range(len(shapes))]}, geometry=shapes, crs=crs)


def save(path: Path, data: gpd.GeoDataFrame) -> Path:
    if path.suffix in (".parquet", ".geoparquet"):
        data.to_parquet(path)
    elif path.suffix in (".geojsonl", ".ndjson"):
        data.to_crs(4326).to_file(path, driver="GeoJSONSeq")
    elif path.suffix in (".geojson", ".json"):
        data.to_crs(4326).to_file(path, driver="GeoJSON")
    else:
        data.to_file(path)
    return path


@pytest.mark.parametrize(
    "suffix",
    [".geojson", ".json", ".geojsonl", ".ndjson", ".gpkg", ".fgb", ".shp", ".parquet", ".geoparquet"],
)
def test_every_format(suffix: str, tmp_path: Path) -> None:
    found = read_polygons(save(tmp_path / f"a{suffix}", frame()), crs=UTM).sort_values("name")
    assert found.crs == UTM
    assert found["name"].tolist() == [f"n{i}" for i in range(5)]
    difference = shapely.hausdorff_distance(found.geometry.to_numpy(), np.array(BOXES))
    assert difference.max() < 0.02  # GeoJSON's seven digits


def test_own_crs_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gpkg", frame())
    assert read_polygons(path).crs == UTM
    assert read_polygons(path, crs=CRS.from_epsg(3857)).crs == 3857


def test_bbox_is_in_the_crs_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "a.geojson", frame())
    found = read_polygons(path, crs=UTM, bbox=(340_021, 3_060_001, 340_045, 3_060_002))
    assert found["name"].tolist() == ["n1", "n2"]
    assert found.index.tolist() == [0, 1]


def test_without_crs(tmp_path: Path) -> None:
    path = tmp_path / "a.shp"
    with pytest.warns(UserWarning, match="crs"):
        frame(crs=None).to_file(path)
    assert read_polygons(path).crs is None
    with pytest.raises(InputError, match=r"vector file must state its CRS, got .*a\.shp"):
        read_polygons(path, crs=UTM)


def test_invalid_ones_are_repaired_and_others_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    spike = shapely.Polygon([(0, 0), (4, 0), (4, 4), (4, 9), (4, 4), (0, 4)])
    shapes = [
        BOXES[0],
        bow_tie,
        spike,
        shapely.Point(1, 1),
        None,
        shapely.Polygon(),
        shapely.LineString([(0, 0), (1, 1)]),
    ]
    with caplog.at_level(logging.WARNING):
        found = read_polygons(save(tmp_path / "a.gpkg", frame(shapes)))
    assert found["name"].tolist() == ["n0", "n1", "n2"]
    assert found.is_valid.all()
    assert found.area.tolist() == pytest.approx([80, 8, 16])
    assert set(found.geom_type) <= {"Polygon", "MultiPolygon"}
    assert "2 invalid polygons repaired" in caplog.text
    assert "4 rows without a polygon left out" in caplog.text


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".shp", ".parquet", ".geojsonl"])
def test_no_polygons_at_all(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".geojsonl":
        path.write_bytes(b"")
    elif suffix == ".geojson":
        path.write_text('{"type": "FeatureCollection", "features": []}')
    else:
        save(path, frame([]))
    found = read_polygons(path, crs=UTM)
    assert len(found) == 0
    assert found.crs == UTM


def test_coordinates_outside_of_their_crs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Meters in a GeoJSON without a CRS, which is lon/lat by its standard."""
    far = shapely.box(-658589.0, 2119553.0, -658500.0, 2119600.0)
    path = tmp_path / "meters.geojson"
    gpd.GeoDataFrame({"n": [1]}, geometry=[far], crs=4326).to_file(path)
    with pytest.raises(InputError, match=r"must lie in its CRS, got \(-658589.0, .* in EPSG:4326 in"):
        read_polygons(path, crs=CRS(32645))
    gpd.GeoDataFrame({"n": [1, 2]}, geometry=[far, shapely.box(87, 28, 88, 29)], crs=4326).to_file(path)
    with caplog.at_level("WARNING"):
        assert read_polygons(path, crs=CRS(32645))["n"].tolist() == [2]
    assert "1 rows far outside the CRS left out" in caplog.text


def test_z_is_dropped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gpkg", frame([shapely.force_3d(BOXES[0], 5)]))
    assert not read_polygons(path).has_z.any()


@pytest.mark.parametrize("name", ["a.kml", "a.gml", "a.vrt", "a.csv", "a.txt", "a", "http://host.invalid/a"])
def test_other_kinds_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"suffix of a vector file must be one of \.geojson, "):
        read_polygons(tmp_path / name if "//" not in name else name)


@pytest.mark.parametrize("suffix", [".geojson", ".json", ".geojsonl", ".gpkg", ".fgb", ".shp", ".parquet"])
def test_content_must_fit_the_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>http://host.invalid</SrcDataSource>'
    )
    with pytest.raises(InputError, match="content of a vector file must fit its suffix"):
        read_polygons(path)


def test_broken_and_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="vector file must exist"):
        read_polygons(tmp_path / "none.gpkg")
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": [')
    with pytest.raises(InputError, match="vector file must be readable") as caught:
        read_polygons(tmp_path / "a.geojson")
    assert "\n" not in str(caught.value)
    (tmp_path / "b.gdb").write_text("")
    with pytest.raises(InputError, match="must be a folder"):
        read_polygons(tmp_path / "b.gdb")
    (tmp_path / "c.geojson").mkdir()
    with pytest.raises(InputError, match="vector file must be readable"):
        read_polygons(tmp_path / "c.geojson")


def test_polygons_that_share_an_edge_through_centers_share_no_pixel() -> None:
    box = GeoBox(Affine(2, 0, 0, 0, -2, 20), UTM, 10, 10)
    quarters = [(0, 0, 9, 9), (9, 0, 20, 9), (0, 9, 9, 20), (9, 9, 20, 20)]
    masks = [rasterize_mask([shapely.box(*bounds)], box) for bounds in quarters]
    assert (np.sum(masks, axis=0) == 1).all()
    assert [int(mask.sum()) for mask in masks] == [4 * 5, 6 * 5, 4 * 5, 6 * 5]


@pytest.mark.parametrize(
    "transform", [Affine(2, 0, 100, 0, -2, 200), Affine.rotation(30) * Affine.scale(2, -2)]
)
def test_rasterize_mask_in_windows_equals_the_whole(transform: Affine) -> None:
    box = GeoBox(transform, UTM, 50, 60)
    x, y = transform * (25, 25)
    shapes = [shapely.Point(x, y).buffer(30), shapely.box(x + 40, y - 10, x + 55.3, y + 30)]
    whole = rasterize_mask(shapes, box)
    truth = rasterio.features.geometry_mask(shapes, (50, 60), transform, invert=True)
    np.testing.assert_array_equal(whole, truth)
    assert 0 < whole.mean() < 1
    part = Window(row_off=11, col_off=7, height=20, width=31)
    found = rasterize_mask(gpd.GeoSeries(shapes), box.window(part))
    np.testing.assert_array_equal(found, whole[part.rows, part.cols])
    np.testing.assert_array_equal(rasterize_mask(gpd.GeoDataFrame(geometry=shapes), box), whole)


def test_rasterize_mask_of_nothing() -> None:
    box = GeoBox(Affine.identity(), None, 3, 4)
    assert rasterize_mask([], box).shape == (3, 4)
    assert not rasterize_mask([shapely.box(50, 50, 60, 60)], box).any()
    assert rasterize_mask([shapely.box(0, 0, 9, 9)], GeoBox(Affine.identity(), None, 0, 4)).shape == (0, 4)


def test_real_labels(data_dir: Path) -> None:
    found = read_polygons(data_dir / "oam_banepa" / "buildings_dev.geojson", crs=CRS.from_epsg(3857))
    assert len(found) > 1000
    assert found.is_valid.all()
