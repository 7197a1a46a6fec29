"""Polygons of a vector file that lie on an image, in its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.io.polygon_batches import open_polygons
from geoseg.typing import Array

__all__ = ["labels_in"]


def labels_in(path: Path, geobox: GeoBox, column: str | None) -> Iterator[tuple[shapely.Polygon, Any]]:
    """The polygons of a file that touch an image, and a column's value of each.

    Parameters
    ----------
    path
        Vector file of any CRS; one without CRS holds pixel coordinates.
    geobox
        The image.
    column
        Name of the column, or None.

    Yields
    ------
    (Polygon, value)
        In pixel corners of the image, not cut at its edges; multipolygons part by part.

    Raises
    ------
    InputError
        A file that can't be read, a column that is not there, or a CRS on one side only.
    """
    geometry, values, crs, tree = _load(path, column, path.stat().st_mtime_ns if path.exists() else 0)
    if (crs is None) != (geobox.crs is None):
        raise InputError(
            f"labels and image must both have a CRS, or neither, got {path.name} "
            f"{'with' if crs else 'without'} one. Set the missing one."
        )
    outline = shapely.Polygon(geobox.corners())
    if crs is not None and geobox.crs is not None and crs != geobox.crs:
        outline = _moved(
            shapely.segmentize(outline, outline.length / 80),
            Transformer.from_crs(geobox.crs, crs, always_xy=True),
        )
    for index in np.sort(tree.query(outline.envelope)):
        shape = shapely.make_valid(geometry[index])
        if crs is not None and geobox.crs is not None and crs != geobox.crs:
            shape = _moved(shape, Transformer.from_crs(crs, geobox.crs, always_xy=True))
        a, b, c, d, e, f = (~geobox.transform)[:6]
        shape = shapely.transform(shape, lambda xy: xy @ np.array([[a, d], [b, e]]) + (c, f))  # noqa: B023
        for part in shapely.get_parts(shape):
            if part.geom_type == "Polygon" and part.area > 0:
                yield part, values[index] if values is not None else None


def _moved(shape: shapely.Geometry, transformer: Transformer) -> shapely.Geometry:
    return shapely.transform(shape, lambda xy: np.stack(transformer.transform(*xy.T), axis=1))


@lru_cache(4)
def _load(
    path: Path, column: str | None, stamp: int
) -> tuple[Array, Array | None, CRS | None, shapely.STRtree]:
    source = open_polygons(path)
    geometry, values = [], []
    for batch in source.batches([column] if column else []):
        there = np.array([item is not None for item in batch.geometry], bool)
        geometry.append(batch.geometry[there])
        if column:
            values.append(batch.columns[column][there])
    shapes = np.concatenate(geometry) if geometry else np.empty(0, object)
    return shapes, np.concatenate(values) if values else None, source.crs, shapely.STRtree(shapes)
