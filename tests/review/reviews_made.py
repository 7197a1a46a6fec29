"""A small scene with a row of houses that share walls, and a project of two photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from pyproj import CRS

from geoseg.geo.geobox import GeoBox
from geoseg.io.sources import open_raster
from geoseg.io.vectors import open_vector
from geoseg.io.writers import FootprintBatch, coordinate_decimals, open_writer
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta, TagMeta
from geoseg.projects.figures.types import Bitmap, Polygon
from geoseg.projects.project import open_project
from geoseg.projects.writer import ProjectWriter
from geoseg.review import ProjectTarget, Review, SceneTarget

#: Two houses side by side, a third across the end of their wall, and one alone, in pixel corners.
HOUSES = (
    [(10, 10), (30, 10), (30, 40), (10, 40)],
    [(30, 10), (50, 10), (50, 40), (30, 40)],
    [(10, 40), (30, 40), (50, 40), (50, 60), (10, 60)],
    [(70.3, 20.1), (90.7, 21.9), (89.2, 44.4), (68.8, 43)],
)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()), ("class", pa.string()), ("area_m2", pa.float64()), ("confidence", pa.float64()),
        ("touches_edge", pa.bool_()), ("scene", pa.string()),
    ]
)  # fmt: skip
#: Odd on purpose: a way from these coordinates to pixels and back would change their last bits.
TRANSFORM = Affine(0.3, 0, 351234.567, 0, -0.3, 3061234.891)


def write_scene(path: Path, height: int = 100, width: int = 120, crs: str | None = "EPSG:32645") -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (3, height, width), np.uint8)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=3,
        dtype="uint8",
        crs=crs,
        transform=TRANSFORM,
    ) as out:
        out.write(pixels)
    return path


def write_footprints(path: Path, format: str = "gpkg", houses: Any = HOUSES) -> Path:
    a, b, c, d, e, f = TRANSFORM[:6]
    ground = [[(a * x + b * y + c, d * x + e * y + f) for x, y in house] for house in houses]
    shapes = np.array([shapely.Polygon(ring) for ring in ground], object)
    count = len(shapes)
    columns = {
        "id": np.arange(1, count + 1),
        "class": np.array(["house"] * count, object),
        "area_m2": shapely.area(shapes),
        "confidence": np.linspace(0.6, 0.9, count),
        "touches_edge": np.zeros(count, bool),
        "scene": np.array(["town"] * count, object),
    }
    geobox = GeoBox(TRANSFORM, CRS.from_epsg(32645), 100, 120)
    with open_writer(
        format, path, schema=SCHEMA, crs=geobox.crs, decimals=coordinate_decimals(geobox)
    ) as writer:
        writer.write(FootprintBatch(shapes, columns))
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "town.tif")


@pytest.fixture
def footprints(tmp_path: Path) -> Path:
    return write_footprints(tmp_path / "houses.gpkg")


@pytest.fixture
def target(scene: Path, footprints: Path) -> SceneTarget:
    return SceneTarget(open_raster(scene), open_vector(footprints), classes=("house", "shed"))


@pytest.fixture
def review(tmp_path: Path, target: SceneTarget):  # type: ignore[no-untyped-def]
    with Review(tmp_path / "town.review", target, block=50) as opened:
        yield opened


def make_project(path: Path) -> Path:
    classes = (
        ClassMeta("road", "bitmap", (255, 0, 0)),
        ClassMeta("house", "polygon", (0, 255, 0)),
        ClassMeta("any", "any", (0, 0, 255)),
    )
    meta = ProjectMeta(classes, (TagMeta("checked"), TagMeta("lanes", "any_number")))
    mask = np.zeros((20, 30), bool)
    mask[5:9] = True
    road = LabeledObject("road", Bitmap((4, 6), mask), extra={"id": 77})
    house = LabeledObject("house", Polygon(np.array([[3.0, 3], [20, 3], [20, 12], [3, 12]])))
    pixels = np.random.default_rng(1).integers(0, 255, (3, 60, 80), np.uint8)

    def image(file: Path) -> None:
        Image.fromarray(np.moveaxis(pixels, 0, -1)).save(file)

    with ProjectWriter(path, meta) as writer:
        writer.add("ds", "a.png", Annotation(60, 80, (road, house)), image)
        writer.add("ds", "b.png", None, image)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "roads")


@pytest.fixture
def project_review(tmp_path: Path, project: Path):  # type: ignore[no-untyped-def]
    with Review(tmp_path / "roads.review", ProjectTarget(open_project(project))) as opened:
        yield opened
