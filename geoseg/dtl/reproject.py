"""Samples in another coordinate reference system."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.dtl.pixels import Shape
from geoseg.dtl.sample import Sample, crop_annotation
from geoseg.dtl.warp import Remapped
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, Figure
from geoseg.projects.figures.strips import resampled
from geoseg.projects.figures.transform import map_vertices
from geoseg.typing import Array

__all__ = ["Reprojected", "reprojected"]


@dataclass(frozen=True, eq=False)
class Reprojected(Remapped):
    """The base on the grid of a geobox in another CRS."""

    box: GeoBox

    @property
    def geobox(self) -> GeoBox:
        return self.box

    @property
    def step(self) -> Affine:
        """The affine map that fits the three corners best known: exact there, close between."""
        height, width = self.shape
        # Geometry outside of pixels (bounds, split_spatial) needs an affine map, which a change of CRS is
        # only nearly.
        (x0, x1, x2), (y0, y1, y2) = self.to_base(np.array([0.0, width, 0]), np.array([0.0, 0, height]))
        return Affine((x1 - x0) / width, (x2 - x0) / height, x0, (y1 - y0) / width, (y2 - y0) / height, y0)

    def to_base(self, cols: Array, rows: Array) -> tuple[Array, Array]:
        """Pixel corners of this image to those of the base."""
        return _carry(self.box, self.base.geobox, cols, rows)

    def from_base(self, cols: Array, rows: Array) -> tuple[Array, Array]:
        """Pixel corners of the base to those of this image."""
        return _carry(self.base.geobox, self.box, cols, rows)

    def positions(self, window: Window) -> tuple[Array, Array]:
        cols, rows = np.meshgrid(
            np.arange(window.col_off, window.col_end) + 0.5, np.arange(window.row_off, window.row_end) + 0.5
        )
        xs, ys = self.to_base(cols, rows)
        return xs - 0.5, ys - 0.5


def _carry(source: GeoBox, target: GeoBox, cols: Array, rows: Array) -> tuple[Array, Array]:
    transformer = _transformer(source.crs, target.crs)
    x, y = transformer.transform(*_apply(source.transform, np.asarray(cols), np.asarray(rows)))
    return _apply(~target.transform, x, y)


@lru_cache(16)
def _transformer(source: CRS, target: CRS) -> Transformer:
    """Kept, for making one takes as long as carrying some hundred thousand points."""
    return Transformer.from_crs(source, target, always_xy=True)


def _apply(affine: Affine, x: Array, y: Array) -> tuple[Array, Array]:
    a, b, c, d, e, f = affine[:6]
    return a * x + b * y + c, d * x + e * y + f


def reprojected(sample: Sample, crs: CRS, gsd: float | None) -> Sample:
    """A sample on a north-up grid of another CRS that covers it.

    Raises
    ------
    InputError
        The sample has no CRS, or the grid would be absurdly large.
    """
    if sample.geobox.crs is None:
        raise InputError(
            f"image must have a CRS for reproject, got {sample.origin.name} without. Leave out such images."
        )
    sample.check_frame()
    box = _target(sample.geobox, crs, gsd)
    pixels = Reprojected(sample.pixels, box.shape, box)
    objects = []
    for item in sample.objects:
        figure = _figure(item.figure, pixels, box.shape)
        if figure is not None:
            objects.append(item.with_figure(figure))
    annotation = replace(sample.annotation, height=box.height, width=box.width, objects=tuple(objects))
    window = Window.whole(box.shape)
    return replace(sample, pixels=pixels, annotation=crop_annotation(annotation, window))


def _target(box: GeoBox, crs: CRS, gsd: float | None) -> GeoBox:
    # Sides of a scene are curves in another CRS, so corners alone could cut off what bulges between them.
    edge = np.linspace(0, 1, 22)
    cols = np.concatenate([edge, edge, 0 * edge, 0 * edge + 1]) * box.width
    rows = np.concatenate([0 * edge, 0 * edge + 1, edge, edge]) * box.height
    x, y = _transformer(box.crs, crs).transform(*_apply(box.transform, cols, rows))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(
            f"crs must be able to show the image, got {crs.to_string()}, which does not reach it. "
            "Choose one for its region."
        )
    extent_x, extent_y = np.ptp(x), np.ptp(y)
    # About as many pixels as before, spread evenly.
    step = gsd or math.sqrt(extent_x * extent_y / (box.width * box.height))
    # Rounding must not add a column.
    width, height = math.ceil(extent_x / step - 1e-6), math.ceil(extent_y / step - 1e-6)
    # A resolution in meters for a CRS in degrees, or the other way round.
    if width * height > 10_000 * max(1, box.width * box.height):
        raise InputError(
            f"gsd must be in units of {crs.to_string()}, got {step:g} ({width} x {height} pixels). "
            "Choose a larger one."
        )
    return GeoBox(Affine(step, 0, x.min(), 0, -step, y.max()), crs, max(1, height), max(1, width))


def _figure(figure: Figure, pixels: Reprojected, shape: Shape) -> Figure | None:
    if isinstance(figure, Bitmap):
        return _bitmap(figure, pixels, shape)

    def move(xy: Array) -> Array:
        # Vertices name pixels by their centers, half a pixel from the corners that geoboxes count in.
        cols, rows = pixels.from_base(xy[:, 0] + 0.5, xy[:, 1] + 0.5)
        return np.stack([cols, rows], axis=1) - 0.5

    return map_vertices(figure, move)


def _bitmap(figure: Bitmap, pixels: Reprojected, shape: Shape) -> Bitmap | None:
    (x, y), (h, w) = figure.origin, figure.shape
    edge = np.linspace(0, 1, 22)
    cols, rows = pixels.from_base(
        x + w * np.concatenate([edge, edge, 0 * edge, 0 * edge + 1]),
        y + h * np.concatenate([0 * edge, 0 * edge + 1, edge, edge]),
    )
    window = Window(
        # A pixel more all round: between the 22 points of a side it may bulge a little further.
        row_off=math.floor(rows.min()) - 1,
        col_off=math.floor(cols.min()) - 1,
        height=math.ceil(np.ptp(rows)) + 3,
        width=math.ceil(np.ptp(cols)) + 3,
    ).clipped(*shape)
    if not window.height or not window.width:
        return None

    def source_of(tile: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        xs, ys = pixels.positions(tile)
        return np.floor(xs + 0.5).astype(np.int64), np.floor(ys + 0.5).astype(np.int64)

    return resampled(figure, window, source_of)
