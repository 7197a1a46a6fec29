"""Pixels of two files compared window by window, where at least one of them is a raster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from rasterio.features import rasterize

from geoseg.errors import InputError
from geoseg.evaluate.pixels import PixelScores, confusion, pixel_scores
from geoseg.evaluate.polygons import clean_polygons
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window, iter_chunks
from geoseg.io.polygon_batches import is_vector_file, open_polygons
from geoseg.io.scene import Scene, open_source
from geoseg.typing import Array, BoolArray, PathLike, Progress, no_progress

__all__ = ["compare_pixels"]

#: Side of the windows compared, in pixels.
CHUNK = 2048
#: Class values are below this.
VALUES = 256

#: From a window of the common grid to class values (h, w) uint8 and validity (h, w).
ReadValues = Callable[[Window], tuple[Array, BoolArray]]


def compare_pixels(
    pred: PathLike,
    truth: PathLike,
    *,
    aoi: PathLike | None = None,
    class_column: str | None = None,
    threshold: float | None = None,
    progress: Progress = no_progress,
) -> tuple[PixelScores, str]:
    """Compare two files on the pixels of a raster: of ``truth`` if that is one, else of ``pred``.

    A raster in another grid is sampled at the pixel's center; polygons cover the pixels whose centers lie
    in them. When both sides hold one class at most, all values but 0 are that class; otherwise equal
    values are equal classes, and polygons take their value from ``class_column``.

    Returns
    -------
    PixelScores, str
        The scores, and whose pixels were compared.

    Raises
    ------
    InputError
        Rasters of several bands, values that are no classes, unlike coordinate systems.
    """
    base = Path(pred) if is_vector_file(truth) else Path(truth)
    grid = open_source(base, expand_palette=False).geobox
    sides = [_reader(path, grid, class_column, threshold) for path in (truth, pred)]
    inside = None if aoi is None else _reader(aoi, grid, None, None)
    counts = np.zeros((VALUES, VALUES), np.int64)
    windows = list(iter_chunks(grid.height, grid.width, CHUNK))
    for done, window in enumerate(windows, start=1):
        (t, t_valid), (p, p_valid) = (read(window) for read in sides)
        valid = t_valid & p_valid
        if inside is not None:
            valid &= inside(window)[0] != 0
        counts += confusion(t, p, VALUES, valid)
        progress("compare", done, len(windows))
    return _scores(counts), f"pixels of {base.name}"


def _scores(counts: Array) -> PixelScores:
    seen_truth, seen_pred = (np.flatnonzero(counts.sum(axis=axis)[1:]) + 1 for axis in (1, 0))
    if len(seen_truth) <= 1 and len(seen_pred) <= 1:
        split = np.add.reduceat(counts, [0, 1], axis=0)
        return pixel_scores(np.add.reduceat(split, [0, 1], axis=1), ["object"])
    values = np.union1d(seen_truth, seen_pred)
    keep = np.append(0, values)
    return pixel_scores(counts[np.ix_(keep, keep)], [str(value) for value in values])


def _reader(path: PathLike, grid: GeoBox, class_column: str | None, threshold: float | None) -> ReadValues:
    if is_vector_file(path):
        return _Polygons(path, grid, class_column)
    scene = open_source(path, expand_palette=False)
    if scene.count != 1:
        raise InputError(
            f"{path} must be a raster of one band, got {scene.count}. Extract the band of classes first."
        )
    return _Raster(scene, grid, threshold)


class _Polygons:
    """Polygons burned into windows of a grid."""

    def __init__(self, path: PathLike, grid: GeoBox, class_column: str | None) -> None:
        source = open_polygons(path)
        if (source.crs is None) != (grid.crs is None) and source.count:
            raise InputError(
                f"crs of {path} must match the raster's: one of them has none, the other has one."
            )
        names = [class_column] if class_column else []
        to_pixels = _pixel_transform(source.crs, grid)
        shapes, values = [np.empty(0, object)], [np.empty(0, np.uint8)]
        for batch in source.batches(names):
            whole = clean_polygons(batch.geometry)
            shapes.append(shapely.transform(whole.geometry, to_pixels, interleaved=False))
            values.append(
                _class_values(batch.columns.get(class_column or ""), len(batch.geometry))[whole.index]
            )
        self._shapes, self._values = np.concatenate(shapes), np.concatenate(values)
        self._tree = shapely.STRtree(self._shapes)

    def __call__(self, window: Window) -> tuple[Array, BoolArray]:
        shape = (window.height, window.width)
        box = shapely.box(window.col_off, window.row_off, window.col_end, window.row_end)
        hit = np.sort(self._tree.query(box))
        values = np.zeros(shape, np.uint8)
        if len(hit):
            local = shapely.transform(self._shapes[hit], lambda xy: xy - (window.col_off, window.row_off))
            rasterize(zip(local, self._values[hit].tolist(), strict=True), out=values)
        return values, np.ones(shape, np.bool_)


def _class_values(column: Array | None, n: int) -> Array:
    if column is None:
        return np.ones(n, np.uint8)
    try:
        values = np.array([int(value) for value in column], np.int64)
    except (TypeError, ValueError):
        raise InputError(
            "class column must hold the raster's integer values to be compared with a raster."
        ) from None
    if len(values) and not (values.min() > 0 and values.max() < VALUES):
        raise InputError(
            f"class values must lie between 1 and {VALUES - 1}, got {values.min()} to {values.max()}."
        )
    return values.astype(np.uint8)


def _pixel_transform(crs: CRS | None, grid: GeoBox) -> Callable[[Any, Any], tuple[Array, Array]]:
    """From coordinates of a file to (column, row) of the grid."""
    inverse = ~grid.transform
    project = Transformer.from_crs(crs, grid.crs, always_xy=True).transform if crs and grid.crs else None

    def to_pixels(x: Any, y: Any) -> tuple[Array, Array]:
        if project is not None:
            x, y = project(x, y)
        col, row = inverse * (np.asarray(x), np.asarray(y))
        return col, row

    return to_pixels


@dataclass
class _Raster:
    """Class values of a raster, sampled at the centers of another grid's pixels where it must be."""

    scene: Scene
    grid: GeoBox
    threshold: float | None

    def __post_init__(self) -> None:
        box = self.scene.geobox
        self._same = box.shape == self.grid.shape and box.transform.almost_equals(self.grid.transform, 1e-9)
        if (box.crs is None) != (self.grid.crs is None):
            raise InputError(f"crs of {self.scene.path} must match the other raster's: one has none.")
        self._same = self._same and box.crs == self.grid.crs

    def __call__(self, window: Window) -> tuple[Array, BoolArray]:
        if self._same:
            return self._read(window)
        col, row = self._source_pixels(window)
        inside = (col >= 0) & (row >= 0) & (col < self.scene.width) & (row < self.scene.height)
        values = np.zeros(inside.shape, np.uint8)
        valid = np.zeros(inside.shape, np.bool_)
        if inside.any():
            top, left = int(row[inside].min()), int(col[inside].min())
            height, width = int(row[inside].max()) - top + 1, int(col[inside].max()) - left + 1
            read, ok = self._read(Window(row_off=top, col_off=left, height=height, width=width))
            values[inside] = read[row[inside] - top, col[inside] - left]
            valid[inside] = ok[row[inside] - top, col[inside] - left]
        return values, valid

    def _source_pixels(self, window: Window) -> tuple[Array, Array]:
        cols, rows = np.meshgrid(
            np.arange(window.col_off, window.col_end) + 0.5, np.arange(window.row_off, window.row_end) + 0.5
        )
        x, y = self.grid.transform * (cols, rows)
        col, row = _pixel_transform(self.grid.crs, self.scene.geobox)(x, y)
        return np.floor(col).astype(np.int64), np.floor(row).astype(np.int64)

    def _read(self, window: Window) -> tuple[Array, BoolArray]:
        values = self.scene.read(window)[0]
        valid = self._valid(window)
        if self.threshold is not None:
            return (values >= self.threshold).astype(np.uint8), valid
        return _to_classes(values, valid, self.scene.path), valid

    def _valid(self, window: Window) -> BoolArray:
        """A nodata value of 0 is the background of a class map, not a hole in it."""
        if self.scene.nodata == 0:
            return np.ones((window.height, window.width), np.bool_)
        return self.scene.read_valid(window)


def _to_classes(values: Array, valid: Any, path: str) -> Array:
    if values.dtype == np.uint8:
        return values
    kept = values[valid]
    if len(kept) and not (np.all(kept == np.floor(kept)) and kept.min() >= 0 and kept.max() < VALUES):
        raise InputError(
            f"{path} must hold classes from 0 to {VALUES - 1}, got values from {kept.min()} to {kept.max()}. "
            "Give --threshold for a raster of probabilities."
        )
    return np.where(valid, values, 0).astype(np.uint8)
