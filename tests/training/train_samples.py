"""Small scenes, projects and configs to train on."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from PIL import Image
from rasterio.transform import from_origin

from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta, Tag, TagMeta
from geoseg.projects.writer import ProjectWriter

#: A network that trains in milliseconds.
TINY = {
    "name": "unet",
    "encoder": "resnet18",
    "kwargs": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
}
_LEFT, _TOP, _STEP = 500000.0, 3000000.0, 0.5


def town(size: int, seed: int) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """A picture (3, size, size) of bright houses, and these (left, top, right, bottom)."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(70, 8, (3, size, size))
    houses = []
    for row in range(4, size - 24, 32):
        for col in range(4, size - 24, 32):
            if rng.random() < 0.7:
                h, w = rng.integers(10, 20, 2)
                picture[:, row : row + h, col : col + w] += np.array([90, 60, 40])[:, None, None]
                houses.append((col, row, col + int(w), row + int(h)))
    return np.clip(picture, 0, 255).astype(np.uint8), houses


def to_ground(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A rectangle of pixels on the ground (UTM 45N)."""
    return shapely.box(_LEFT + left * _STEP, _TOP - bottom * _STEP, _LEFT + right * _STEP, _TOP - top * _STEP)


def write_scene(
    folder: Path, name: str, size: int = 192, seed: int = 0, crs: str | None = "EPSG:32645"
) -> dict:
    """A GeoTIFF, its houses and its labeled ground; the settings of the scene."""
    picture, houses = town(size, seed)
    profile = {
        "driver": "GTiff", "height": size, "width": size, "count": 3, "dtype": "uint8", "tiled": True,
        "blockxsize": 64, "blockysize": 64, "transform": from_origin(_LEFT, _TOP, _STEP, _STEP), "crs": crs,
    }  # fmt: skip
    with rasterio.open(folder / f"{name}.tif", "w", **profile) as file:
        file.write(picture)
    kinds = ["tin" if i % 3 == 0 else "tile" for i in range(len(houses))]
    frame = gpd.GeoDataFrame({"roof": kinds}, geometry=[to_ground(*h) for h in houses], crs="EPSG:32645")
    frame.to_crs(4326).to_file(folder / f"{name}.geojson")
    aoi = gpd.GeoDataFrame(geometry=[to_ground(0, 0, size, size - 16)], crs="EPSG:32645")
    aoi.to_file(folder / f"{name}_aoi.gpkg")
    return {
        "path": str(folder / f"{name}.tif"),
        "labels": str(folder / f"{name}.geojson"),
        "aoi": str(folder / f"{name}_aoi.gpkg"),
    }


def base_config(**changes) -> dict:
    """A quick config; dotted keys are not needed here."""
    document = {
        "lr": 0.01,
        "epochs": 2,
        "val_every": 1,
        "batch_size": {"train": 2, "val": 4},
        "input_size": {"width": 32, "height": 32},
        "architecture": TINY,
        "classes": ["house"],
        "sampler": {"chips_per_epoch": 8},
        "seed": 3,
    }
    return {**document, **changes}


def write_project(folder: Path, classes: dict[str, str], images: list) -> Path:
    """An annotated project of (name, picture (h, w, 3), [(class, figure)], tags)."""
    colors = {name: (40 * i % 256, 90, 200) for i, name in enumerate(classes)}
    meta = ProjectMeta(
        tuple(ClassMeta(name, shape, colors[name]) for name, shape in classes.items()),
        (TagMeta("train"), TagMeta("val")),
    )
    with ProjectWriter(folder, meta) as writer:
        for name, picture, objects, tags in images:
            items = tuple(LabeledObject(title, figure) for title, figure in objects)
            note = Annotation(*picture.shape[:2], items, tuple(Tag(t) for t in tags))
            writer.add("ds", f"{name}.png", note, lambda path, p=picture: Image.fromarray(p).save(path))
    return folder
