"""Exporter to vector files in the CRS of the images: ``DATASET/NAME.geojson`` and the like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from geoseg.errors import InputError
from geoseg.io.writers import FootprintBatch, open_writer, output_path, scene_style
from geoseg.projects.formats.export import ExportItem, LeftOut
from geoseg.projects.formats.rings import figure_outline

__all__ = ["VectorExporter"]

_SCHEMA = pa.schema([("id", pa.int64()), ("class", pa.string()), ("tags", pa.string())])


class VectorExporter:
    """One file an image, objects in their order; images without georeference are refused."""

    def __init__(self, folder: Path, format: str) -> None:
        self.folder, self.format = folder, format
        self.left_out = LeftOut()

    def add(self, entry: ExportItem) -> None:
        """Write the polygons of one image.

        Raises
        ------
        InputError
            The image has no CRS.
        """
        geobox = entry.image.geobox
        if geobox.crs is None:
            raise InputError(f"image must have a CRS to become {self.format}, got {entry.item} without.")
        outlines = np.array([figure_outline(item.figure) for item in entry.annotation.objects], object)
        # Files of polygons have no place for lines and points.
        areal = ~shapely.is_empty(outlines) if len(outlines) else np.zeros(0, bool)
        if not areal.all():
            self.left_out["without area (lines, points)"] += int((~areal).sum())
        a, b, c, d, e, f = geobox.transform[:6]
        ground = shapely.transform(
            outlines[areal],
            lambda xy: np.column_stack([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f]),
        )
        objects = [item for item, keep in zip(entry.annotation.objects, areal, strict=True) if keep]
        columns = {
            "id": np.flatnonzero(areal).astype(np.int64) + 1,
            "class": np.array([item.class_name for item in objects], object),
            "tags": np.array([",".join(tag.name for tag in item.tags) for item in objects], object),
        }
        path = output_path(self.folder / entry.dataset, entry.item.name, self.format)
        style = scene_style(geobox)
        with open_writer(self.format, path, schema=_SCHEMA, crs=geobox.crs, repair=True, **style) as writer:
            writer.write(FootprintBatch(ground, columns))

    def finish(self) -> None:
        """Nothing belongs to all images together."""
