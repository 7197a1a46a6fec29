"""Exporter to YOLO segmentation: ``images/SPLIT``, ``labels/SPLIT`` and ``data.yaml``.

References
----------
Format of https://docs.ultralytics.com/datasets/segment/: one line an object, class index and the vertices
of one ring as shares of width and height.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from geoseg.projects.figures import Annotation, Line, Point, ProjectMeta
from geoseg.projects.figures.types import ring_area
from geoseg.projects.formats.export import ExportItem, LeftOut
from geoseg.projects.formats.names import UniqueNames
from geoseg.projects.formats.rings import figure_rings
from geoseg.projects.image_output import copy_image

__all__ = ["YoloExporter", "splits_of"]

_SPLITS = ("train", "val", "test")


class YoloExporter:
    """Images in ``train``, ``val`` or ``test``: by such a tag, else by such a data set's name, else train."""

    def __init__(self, folder: Path, meta: ProjectMeta, *, link: bool = False) -> None:
        self.folder, self.link = folder, link
        self.left_out = LeftOut()
        self.ids = {one.name: index for index, one in enumerate(meta.classes)}
        self.names: dict[str, UniqueNames] = {}

    def add(self, entry: ExportItem) -> None:
        """Copy the image into its splits and write its lines."""
        lines = list(self._lines(entry.annotation))
        for split in splits_of(entry):
            name = self.names.setdefault(split, UniqueNames())(
                "_".join((*entry.dataset.parts, entry.item.name))
            )
            image, label = self.folder / "images" / split / name, self.folder / "labels" / split / name
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            copy_image(entry.item.image, image, link=self.link)
            label.with_suffix(".txt").write_text("".join(lines), encoding="ascii")

    def _lines(self, annotation: Annotation) -> list[str]:
        size = np.array([annotation.width, annotation.height], np.float64)
        lines = []
        for item in annotation.objects:
            rings = [np.clip(ring, 0, size) for ring in figure_rings(item.figure)]
            # What lies outside is pressed flat against the edge: YOLO would learn a box without area.
            rings = [ring for ring in rings if ring_area(ring) > 0]
            if not rings:
                lines_or_points = isinstance(item.figure, Line | Point)
                reason = "YOLO has no lines and points" if lines_or_points else "no area inside the image"
                self.left_out[reason] += 1
            for ring in rings:
                # Six digits: less than a hundredth of a pixel in an image of 10,000.
                shares = (ring / size).ravel()
                lines.append(f"{self.ids[item.class_name]} {' '.join(f'{v:.6g}' for v in shares)}\n")
        return lines

    def finish(self) -> None:
        """Write ``data.yaml``."""
        train = "train" if "train" in self.names else min(self.names)
        # Written by hand: the file is six lines, and a YAML library one dependency more. Names go as JSON,
        # which is YAML too.
        lines = [
            "path: .",
            f"train: images/{train}",
            # YOLO's trainer wants both; without a validation split it gets the training images.
            f"val: images/{'val' if 'val' in self.names else train}",
        ]
        lines += ["test: images/test"] if "test" in self.names else []
        lines += ["names:", *(f"  {index}: {json.dumps(name)}" for name, index in self.ids.items())]
        (self.folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def splits_of(entry: ExportItem) -> list[str]:
    """Which splits an image belongs to; one with two such tags belongs to both."""
    tagged = [split for split in _SPLITS if entry.annotation.has_tag(split)]
    return tagged or [entry.item.dataset if entry.item.dataset in _SPLITS else "train"]
