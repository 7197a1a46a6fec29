"""Exporter to COCO: ``images/DATASET/NAME`` and ``annotations/instances_DATASET.json``.

Coordinates count from pixel corners, as in COCO. What one COCO polygon can't express (masks, holes) is
written as compressed run-length mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoseg.geo.windows import Window
from geoseg.projects.figures import LabeledObject, ProjectMeta
from geoseg.projects.figures.types import Figure, Line, Point, Polygon, Rectangle, figure_bounds
from geoseg.projects.formats.coco import CROWD_TAG
from geoseg.projects.formats.export import ExportItem, FlatNames, LeftOut
from geoseg.projects.formats.rings import drawn_area, figure_outline, figure_rings
from geoseg.projects.formats.rle import encode_counts, pack_counts
from geoseg.projects.formats.transfer import write_json
from geoseg.projects.image_output import copy_image
from geoseg.raster.draw import figure_mask

__all__ = ["CocoExporter", "coco_segmentation"]


class CocoExporter:
    """One file of annotations a data set; categories are the project's classes, numbered from 1."""

    def __init__(self, folder: Path, meta: ProjectMeta, *, link: bool = False) -> None:
        self.folder, self.link = folder, link
        self.left_out = LeftOut()
        self.categories = [
            {"id": index, "name": one.name, "supercategory": ""} for index, one in enumerate(meta.classes, 1)
        ]
        self.ids = {one.name: index for index, one in enumerate(meta.classes, 1)}
        self.names = FlatNames()
        self.documents: dict[str, dict[str, list[Any]]] = {}

    def add(self, entry: ExportItem) -> None:
        """Copy the image and note its objects."""
        name = self.names(entry.item.dataset)
        document = self.documents.setdefault(name, {"images": [], "annotations": []})
        target = self.folder / "images" / name / entry.item.name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_image(entry.item.image, target, link=self.link)
        image = {
            "id": len(document["images"]) + 1,
            "file_name": entry.item.name,
            "height": entry.annotation.height,
            "width": entry.annotation.width,
            # Not COCO's: our importer reads them back, other programs pass over them.
            "tags": [tag.name for tag in entry.annotation.tags],
        }
        document["images"].append(image)
        for item in entry.annotation.objects:
            annotation = self._annotation(item, entry.annotation.shape)
            if annotation is not None:
                ids = {"id": len(document["annotations"]) + 1, "image_id": image["id"]}
                document["annotations"].append(ids | annotation)

    def _annotation(self, item: LabeledObject, shape: tuple[int, int]) -> dict[str, Any] | None:
        segmentation = coco_segmentation(item.figure, shape)
        if segmentation is None:
            lines = isinstance(item.figure, Line | Point)
            self.left_out["COCO has no lines and points" if lines else "no pixel inside the image"] += 1
            return None
        if isinstance(item.figure, Polygon):
            left, top, right, bottom = figure_outline(item.figure).bounds
        else:
            left, top, right, bottom = figure_bounds(item.figure)
            # Bounds are inclusive pixels; a box reaches to the far side of the last ones.
            right, bottom = right + 1, bottom + 1
        return {
            "category_id": self.ids[item.class_name],
            "segmentation": segmentation,
            "bbox": [left, top, right - left, bottom - top],
            "area": drawn_area(item.figure),
            "iscrowd": int(any(tag.name == CROWD_TAG for tag in item.tags)),
        }

    def finish(self) -> None:
        """Write the annotation files."""
        info = {"description": "exported by geoseg"}
        for name, document in self.documents.items():
            path = self.folder / "annotations" / f"instances_{name}.json"
            # One line: with indents, a file of a million vertices has a million lines more.
            write_json(
                path, {"info": info, "licenses": [], **document, "categories": self.categories}, indent=None
            )


def coco_segmentation(figure: Figure, shape: tuple[int, int]) -> Any:
    """``segmentation`` of a figure: flat rings, or RLE for masks and for polygons with holes.

    Returns None for lines, points, and figures without a pixel inside the image.

    Examples
    --------
    >>> coco_segmentation(Rectangle(2, 3, 5, 7), (9, 9))
    [[2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0]]
    """
    if isinstance(figure, Line | Point):
        return None
    if isinstance(figure, Rectangle):
        left, top, right, bottom = figure.left, figure.top, figure.right + 1.0, figure.bottom + 1.0
        return [[float(v) for v in (left, top, right, top, right, bottom, left, bottom)]]
    if isinstance(figure, Polygon) and not figure.holes:
        # Six decimals: a millionth of a pixel, without the digits of binary fractions.
        return [ring.round(6).ravel().tolist() for ring in figure_rings(figure)] or None
    # COCO's rings all add area: a hole can only be told pixel by pixel.
    drawn = figure_mask(figure, Window(row_off=0, col_off=0, height=shape[0], width=shape[1]))
    if drawn is None:
        return None
    window, mask = drawn
    counts = encode_counts(mask, (window.row_off, window.col_off), shape)
    return {"size": list(shape), "counts": pack_counts(counts)}
