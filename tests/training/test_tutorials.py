"""The tutorials' configs, verbatim but for sizes, on data of their kind, through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.windows import Window as RasterioWindow
from test_train_config import TUTORIALS
from train_samples import town, write_project
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.io.sources import open_raster
from geoseg.io.vectors import read_features
from geoseg.models.bundle import open_bundle
from geoseg.models.state import load_module
from geoseg.projects.figures import Bitmap, Polygon, Rectangle
from geoseg.training.checkpoints import RunFolder

#: What makes the runs tiny; everything else is the tutorial's.
SMALL = [
    "epochs=1", "val_every=1", "batch_size.train=2", "batch_size.val=2", "input_size.width=32",
    "input_size.height=32", "data_workers.train=0", "data_workers.val=0",
]  # fmt: skip


def masks(values, names):
    """Full-size bitmaps of the classes of a label image."""
    return [
        (name, Bitmap((0, 0), values == value)) for value, name in names.items() if (values == value).any()
    ]


def tagged(pictures):
    """All but the last to train on, all from the second last on to validate on."""
    last = len(pictures) - 1
    return [
        (name, picture, [("bg", Rectangle(0, 0, picture.shape[1] - 1, picture.shape[0] - 1)), *objects],
         ["train"] if i < last else ["val"])
        for i, (name, picture, objects) in enumerate(pictures)
    ]  # fmt: skip


def vessels(data_dir, folder):
    pictures = []
    for path in sorted((data_dir / "chase_db1" / "images").glob("*.jpg"))[:4]:
        mask = np.array(Image.open(data_dir / "chase_db1" / "masks" / f"{path.stem}.png"))[400:528, 400:528]
        picture = np.array(Image.open(path))[400:528, 400:528]
        pictures.append((path.stem, picture, masks((mask > 0).astype(int), {1: "vessel"})))
    return write_project(folder, {"vessel": "bitmap", "bg": "rectangle"}, tagged(pictures))


def street(data_dir, folder, names):
    pictures = []
    for path in sorted((data_dir / "kitti" / "image_2").glob("*.png")):
        labels = np.array(Image.open(data_dir / "kitti" / "semantic" / path.name))[150:, 300:900]
        picture = np.array(Image.open(path))[150:, 300:900]
        pictures.append((path.stem, picture, masks(labels, names)))
    classes = {**dict.fromkeys(names.values(), "bitmap"), "bg": "rectangle"}
    return write_project(folder, classes, tagged(pictures))


def buildings(data_dir, folder):
    pictures = []
    for place in ("kampala_A", "nepal2_A", "bicol_A"):
        home = data_dir / f"oam_{place}"
        with rasterio.open(home / f"{place}_15cm.tif") as file:
            picture = np.moveaxis(file.read(window=RasterioWindow(100, 100, 300, 300)), 0, -1)
        objects = []
        geobox = open_raster(home / f"{place}_15cm.tif").geobox
        for shape in read_features(home / f"{place}_buildings.geojson").on(geobox, place).geometry:
            for part in getattr(shape, "geoms", [shape]):
                ring = np.array(part.exterior.coords[:-1]) - 100.5
                objects.append(("untitled", Polygon(ring)))
        pictures.append((place, picture, objects))
    return write_project(folder, {"untitled": "polygon", "bg": "rectangle"}, tagged(pictures))


def isolators(data_dir, folder):
    pictures = []
    for i in range(5):
        picture, things = town(128, 50 + i)
        objects = [("isolator", Rectangle(a, b, c - 1, d - 1)) for a, b, c, d in things[1:]]
        hard = things[0]
        objects.append(("neutral", Rectangle(hard[0] - 4, hard[1] - 4, hard[2] + 4, hard[3] + 4)))
        pictures.append((f"mast{i}", np.moveaxis(picture, 0, -1), objects))
    classes = {"isolator": "rectangle", "neutral": "rectangle", "bg": "rectangle"}
    return write_project(folder, classes, tagged(pictures))


MAKERS = {
    "vessels": (vessels, ("bg", "vessel")),
    "kitti": (
        lambda d, f: street(d, f, {26: "car", 21: "vegetation", 7: "road"}),
        ("bg", "car", "road", "vegetation"),
    ),
    "inria": (buildings, ("bg", "untitled")),
    "powerlines": (isolators, ("bg", "isolator")),
    "roads": (lambda d, f: street(d, f, {7: "road"}), ("bg", "road")),
}


def run(name, project, out, folder, *more):
    config = folder / f"{name}.json"
    config.write_text(json.dumps(TUTORIALS[name]))
    changes = [part for change in SMALL for part in ("--set", change)]
    return CliRunner().invoke(
        app,
        [
            "train",
            str(config),
            "--data",
            str(project),
            "--out",
            str(out),
            "--devices",
            "cpu",
            *changes,
            *more,
        ],
    )


@pytest.mark.parametrize("name", MAKERS)
def test_tutorial_trains(name, data_dir, tmp_path):
    make, classes = MAKERS[name]
    project = make(data_dir, tmp_path / "project")
    result = run(name, project, tmp_path / "run", tmp_path)
    assert result.exit_code == 0, result.output
    bundle = open_bundle(tmp_path / "run" / "bundle")
    assert bundle.card.classes == classes
    assert bundle.card.options.architecture.name == "unet_v2"
    assert bundle.card.options.training_resize == (32, 32)  # the tutorials stretch whole images
    assert load_module(bundle).last_conv.out_channels == len(classes)
    rows = RunFolder(tmp_path / "run").list_checkpoints()
    assert [row["index"] for row in rows] == [0]
    assert rows[0]["scores"]["accuracy"] > 0
    if name == "roads":  # the second round of the tutorial
        again = run("roads_again", project, tmp_path / "again", tmp_path, "--weights", str(tmp_path / "run"))
        assert again.exit_code == 0, again.output
        assert open_bundle(tmp_path / "again" / "bundle").card.classes == classes
        lost = run("roads_again", project, tmp_path / "lost", tmp_path)
        assert lost.exit_code == 2
        assert "continue_training must have weights to go on from" in lost.stderr
