"""A label covers the same pixels whatever route it takes: those whose centers it holds."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from dtl_projects import array_sample, only
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.data.settings import SceneSettings, TrainingDataSettings
from geoseg.data.sources import Wanted, open_areas
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.exchange import ImportOptions, export_project, import_source, read_source
from geoseg.projects.figures import LabeledObject
from geoseg.projects.figures.covering import covered_bitmap, covered_polygons
from geoseg.projects.formats.rings import figure_outline
from geoseg.projects.formats.vector_labels import pixel_figures
from geoseg.projects.project import open_project, read_annotation
from geoseg.raster.draw import draw_figures
from geoseg.typing import BoolArray
from geoseg.vector.burn import PolygonIndex

SHAPE = (48, 64)
IMAGE = Window(row_off=0, col_off=0, height=48, width=64)
TO_GROUND = Affine(0.5, 0, 331_000, 0, -0.5, 3_057_000)
LABELS = {
    # 20 x 10 and 19 x 10 pixels, one pixel apart: two objects of 390 pixels together
    "houses": [shapely.box(2, 3, 22, 13), shapely.box(23, 3, 42, 13)],
    "slanted": [shapely.Polygon([(10.3, 5.1), (50.7, 12.2), (44.4, 40.9), (6.6, 30.3)])],
    "fractions": [shapely.box(2.7, 3.2, 9.3, 8.5), shapely.box(20.5, 3.5, 22.5, 9.5)],
    "thin": [shapely.box(5, 5, 6, 25), shapely.box(10, 5, 30, 6), shapely.box(40, 40, 41, 41)],
    "beyond": [shapely.box(-5, -5, 6, 7), shapely.box(60, 40, 90, 90)],
    "between centers": [shapely.box(2.6, 2.6, 3.4, 3.4), shapely.box(20, 20, 24, 24)],
    "concave": [shapely.box(2, 2, 30, 30) - shapely.box(10, 10, 40, 40)],
    "two points touch": [
        shapely.Polygon([(4.1, 4.3), (12.2, 4.1), (8.6, 8.4), (12.3, 12.1), (4.2, 12.4), (7.7, 8.3)])
    ],
}


def ground(polygons: list[shapely.Polygon]) -> list[shapely.Polygon]:
    a, b, c, d, e, f = TO_GROUND[:6]
    return [shapely.affinity.affine_transform(polygon, (a, b, d, e, c, f)) for polygon in polygons]


@pytest.fixture(params=LABELS)
def labels(request: pytest.FixtureRequest, tmp_path: Path) -> list[shapely.Polygon]:
    """A scene, and its labels as a GeoPackage, as COCO and as a mask, in ``tmp_path``."""
    polygons = LABELS[request.param]
    profile = {"driver": "GTiff", "height": 48, "width": 64, "count": 1, "dtype": "uint8"}
    profile |= {"transform": TO_GROUND, "crs": "EPSG:32645"}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as file:
        file.write(np.zeros((1, *SHAPE), np.uint8))
    geopandas.GeoDataFrame(geometry=ground(polygons), crs="EPSG:32645").to_file(tmp_path / "labels.gpkg")
    rings = [shapely.get_coordinates(polygon)[:-1].ravel().tolist() for polygon in polygons]
    annotations = [{"image_id": 1, "category_id": 1, "segmentation": [ring]} for ring in rings]
    image = {"id": 1, "file_name": "scene.tif", "height": 48, "width": 64}
    document = {"images": [image], "categories": [{"id": 1, "name": "object"}], "annotations": annotations}
    (tmp_path / "coco.json").write_text(json.dumps(document))
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "scene.tif").write_bytes((tmp_path / "scene.tif").read_bytes())
    mask = PolygonIndex(polygons).mask(IMAGE).astype(np.uint8)
    with rasterio.open(tmp_path / "masks" / "scene.tif", "w", **profile) as file:
        file.write(mask, 1)
    return polygons


def drawn(objects: list[LabeledObject] | tuple[LabeledObject, ...]) -> BoolArray:
    return draw_figures([item.figure for item in objects], [1] * len(objects), IMAGE) > 0


def from_project(path: Path) -> BoolArray:
    project = open_project(path)
    [item] = list(project)
    return drawn(read_annotation(item, project.meta, SHAPE).objects)


def test_every_route_draws_the_same_pixels(labels: list[shapely.Polygon], tmp_path: Path) -> None:
    expected = PolygonIndex(labels).mask(IMAGE)
    scene, file = tmp_path / "scene.tif", tmp_path / "labels.gpkg"
    imports = {
        "vector": ("vector", scene, ImportOptions(labels=file)),
        "bitmaps": ("vector", scene, ImportOptions(labels=file, bitmaps=True)),
        "coco": ("coco", tmp_path / "coco.json", ImportOptions(images=tmp_path)),
        "binary": ("binary_masks", tmp_path, ImportOptions()),
    }
    for name, (format, src, options) in imports.items():
        import_source(read_source(format, src, options), tmp_path / name)
        np.testing.assert_array_equal(from_project(tmp_path / name), expected, name)
    data = TrainingDataSettings(scenes=(SceneSettings(path=str(scene), labels=str(file)),))
    truth = open_areas(Wanted(data, tmp_path)).areas[0].truth
    np.testing.assert_array_equal(truth.burn(IMAGE).target == 1, expected)
    pixels = np.zeros((1, *SHAPE), np.uint8)
    sample = array_sample(pixels, box=GeoBox(TO_GROUND, CRS(32645), *SHAPE), root=tmp_path)
    for shape in ("bitmap", "polygon"):
        settings = {"file": "labels.gpkg", "class": "object", "shape": shape}
        np.testing.assert_array_equal(drawn(only("rasterize_vector", settings, sample).objects), expected)


def test_houses_stay_apart(tmp_path: Path) -> None:
    figures = [figure for house in LABELS["houses"] for figure in pixel_figures(house, SHAPE)]
    masks = [draw_figures([figure], [1], IMAGE).astype(bool) for figure in figures]
    assert [int(mask.sum()) for mask in masks] == [200, 190]
    assert not (masks[0] & masks[1]).any()


@pytest.mark.parametrize("name", ["houses", "concave", "beyond", "thin"])
@pytest.mark.parametrize("format", ["coco", "gpkg"])
def test_exports_come_back_to_the_same_pixels(name: str, format: str, tmp_path: Path) -> None:
    """Labels along the axes to the vertex; of slanted edges some pixels differ."""
    profile = {"driver": "GTiff", "height": 48, "width": 64, "count": 1, "dtype": "uint8"}
    (tmp_path / "src").mkdir()
    scene = tmp_path / "src" / "scene.tif"
    with rasterio.open(scene, "w", transform=TO_GROUND, crs="EPSG:32645", **profile) as file:
        file.write(np.zeros((1, *SHAPE), np.uint8))
    frame = geopandas.GeoDataFrame(geometry=ground(LABELS[name]), crs="EPSG:32645")
    frame.to_file(tmp_path / "labels.gpkg")
    import_source(
        read_source("vector", scene, ImportOptions(labels=tmp_path / "labels.gpkg")), tmp_path / "p"
    )
    export_project(tmp_path / "p", format, tmp_path / "out")
    if format == "coco":
        source = read_source("coco", tmp_path / "out")
    else:
        source = read_source(
            "vector", scene, ImportOptions(labels=tmp_path / "out" / "ds" / "scene.tif.gpkg")
        )
    import_source(source, tmp_path / "back")
    np.testing.assert_array_equal(from_project(tmp_path / "back"), from_project(tmp_path / "p"))
    if format == "gpkg":
        back = geopandas.read_file(tmp_path / "out" / "ds" / "scene.tif.gpkg").geometry
        inside = ground([label & shapely.box(0, 0, 64, 48) for label in LABELS[name]])
        assert shapely.union_all(back).symmetric_difference(shapely.union_all(inside)).area < 1e-6


@given(st.lists(st.tuples(st.floats(-5, 29), st.floats(-5, 29)), min_size=3, max_size=9), st.booleans())
@settings(max_examples=150, deadline=None)
def test_polygons_draw_just_the_pixels(vertices: list[tuple[float, float]], hole: bool) -> None:
    shape = shapely.make_valid(shapely.Polygon(vertices), method="structure", keep_collapsed=False)
    shape = shape - shapely.box(8.2, 9.1, 15.7, 13.3) if hole else shape
    polygons = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    image = Window(row_off=0, col_off=0, height=24, width=24)
    expected = PolygonIndex(polygons).mask(image)
    bitmap = covered_bitmap(polygons, (24, 24))
    assert (bitmap is None) == (not expected.any())
    if bitmap is None:
        return
    figures = covered_polygons(bitmap)
    np.testing.assert_array_equal(draw_figures(figures, [1] * len(figures), image) > 0, expected)
    # Valid ones are not repaired, nor split, by what comes later.
    assert all(shapely.Polygon(one.exterior, one.holes).is_valid for one in figures)


@given(st.integers(0, 2**25 - 1))
@settings(max_examples=150, deadline=None)
def test_any_mask_becomes_polygons_that_draw_it(bits: int) -> None:
    mask = np.array([bits >> k & 1 for k in range(25)], bool).reshape(5, 5)
    image = Window(row_off=0, col_off=0, height=5, width=5)
    bitmap = covered_bitmap([shapely.box(x, y, x + 1, y + 1) for y, x in np.argwhere(mask)], (5, 5))
    figures = covered_polygons(bitmap) if bitmap else []
    np.testing.assert_array_equal(draw_figures(figures, [1] * len(figures), image) > 0, mask)


def test_straight_edges_have_few_vertices() -> None:
    turned = shapely.affinity.rotate(shapely.box(20, 10, 60, 40), 22)
    [roof] = pixel_figures(turned, (60, 80))
    assert len(roof.exterior) <= 30  # the staircase of its pixels has 76
    square = shapely.box(5, 5, 30, 30) - shapely.box(10, 10, 20, 20)
    [ring] = pixel_figures(square, (60, 80))
    assert (len(ring.exterior), len(ring.holes[0])) == (4, 4)
    assert figure_outline(ring).equals(square)
