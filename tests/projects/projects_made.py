"""A small project with every shape, for tests of what is done to whole projects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from PIL import Image

from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta, Tag, TagMeta
from geoseg.projects.figures.types import Bitmap, Line, Point, Polygon, Rectangle
from geoseg.projects.writer import ProjectWriter

META = ProjectMeta(
    (
        ClassMeta("roof", "polygon", (200, 40, 40)),
        ClassMeta("mask", "bitmap", (40, 200, 40)),
        ClassMeta("bg", "rectangle", (90, 90, 90)),
        ClassMeta("road", "line", (40, 40, 200)),
        ClassMeta("tree", "point", (10, 90, 10)),
        ClassMeta("unused", "polygon", (1, 2, 3)),
    ),
    (TagMeta("train"), TagMeta("val")),
)
SQUARE = np.array([[9.5, 9.5], [29.5, 9.5], [29.5, 29.5], [9.5, 29.5]])
HOLE = np.array([[14.5, 14.5], [24.5, 14.5], [24.5, 24.5], [14.5, 24.5]])
MASK = np.zeros((6, 8), bool)
MASK[0], MASK[:, 0], MASK[4:, 6:] = True, True, True
OBJECTS = (
    LabeledObject("bg", Rectangle(0, 0, 59, 39)),
    LabeledObject("roof", Polygon(SQUARE, (HOLE,))),
    LabeledObject("roof", Polygon(SQUARE / 2 + 24)),
    LabeledObject("mask", Bitmap((50, 30), MASK)),
    LabeledObject("road", Line(np.array([[0.0, 39], [20, 39]]))),
    LabeledObject("tree", Point(3, 3)),
)
TRANSFORM = Affine(0.5, 0, 331000, 0, -0.5, 3057000)


def write_png(path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def write_tif(path: Path) -> None:
    profile = {"driver": "GTiff", "height": 40, "width": 60, "count": 4, "dtype": "uint16"}
    with rasterio.open(path, "w", transform=TRANSFORM, crs="EPSG:32645", **profile) as out:
        out.write(np.random.default_rng(2).integers(0, 4000, (4, 40, 60), dtype=np.uint16))


def make_project(path: Path, *, legacy: bool = False) -> Path:
    """Data set ``one``: a.png with all objects and tag train, b.png empty with tag val; ``two``: c.tif."""
    with ProjectWriter(path, META, legacy=legacy) as writer:
        writer.add("one", "a.png", Annotation(40, 60, OBJECTS, (Tag("train"),)), write_png)
        writer.add("one", "b.png", Annotation(40, 60, (), (Tag("val"),)), write_png)
        writer.add("two", "c.tif", Annotation(40, 60, OBJECTS), write_tif)
    return path
