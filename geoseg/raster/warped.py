"""A source seen on the grid of another, in whatever CRS that is.

GDAL's own warper approximates the change of CRS along the rows of whatever it is asked for, so that a pixel
would depend on the window that it is read in. Here a pixel depends on its place alone: positions are exact at
nodes that lie still, every 16 pixels, and linear between them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from pyproj import Transformer

from geoseg.compiled import kernel
from geoseg.errors import SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.raster.source import RasterSource, SceneReadError, check_inside, damaged, fingerprint_of
from geoseg.raster.view import SceneView, View
from geoseg.typing import Array, BoolArray

__all__ = ["WarpedScene", "warp", "warped_window"]

#: Pixels between nodes. Over so few, a change of CRS differs from a linear one by less than 0.001 pixel.
_STEP = 16
#: Points along each edge of a source by which its place on the grid is found.
_EDGE_POINTS = 21
#: A source whose pixels are so much smaller than those of the grid is averaged first: between four pixels
#: alone, the others would be lost.
_FINER = 1.5


@dataclass(frozen=True)
class WarpedScene(View):
    """A source on the grid of a geobox, interpolated between the centers of four pixels.

    A pixel is valid when all that it draws on are; outside of the source nothing is.

    Attributes
    ----------
    base
        The source; both it and the geobox have a CRS, or none has.
    geobox
        Of what is read.
    """

    base: RasterSource
    geobox: GeoBox

    @property
    def has_validity(self) -> bool:
        """A source that lies askew does not fill its rectangle."""
        return True

    @property
    def file_block(self) -> tuple[int, int]:
        """(height, width) of the base's storage blocks, in about as many pixels here."""
        height, width = (
            max(1, round(side * mine / its))
            for side, mine, its in zip(self.base.file_block, self.geobox.shape, self.base.geobox.shape)
        )
        return height, width

    @property
    def offset(self) -> tuple[int, int]:
        """It begins where it begins."""
        return 0, 0

    def fingerprint(self) -> str:
        """Of the base and the grid."""
        box = self.geobox
        wkt = box.crs.to_wkt() if box.crs else None
        parts = [self.base.fingerprint(), box.shape, tuple(box.transform), wkt]
        return fingerprint_of(parts)

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window; the nodata value or 0 where nothing is valid."""
        return self.read_with_valid(window)[0]

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w) of a window."""
        return self.read_with_valid(window)[1]

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""
        check_inside(window, self.geobox.shape)
        shape = (window.height, window.width)
        fill = 0 if self.nodata is None else self.nodata
        pixels, valid = np.full((self.count, *shape), fill, self.dtype), np.zeros(shape, bool)
        if 0 in shape:
            return pixels, valid
        xs, ys = self._positions(window)
        below = self._below(xs, ys)
        if 0 in (below.height, below.width):
            return pixels, valid
        try:
            values, usable = self.base.read_with_valid(below)
        except SceneReadError as error:
            raise damaged(self.path, window, error.reason, below) from None
        place, integral = (below.row_off, below.col_off, *self.base.geobox.shape), pixels.dtype.kind != "f"
        _interpolate(values, usable, xs, ys, *place, integral, pixels, valid)
        return pixels, valid

    def _source_window(self, window: Window) -> Window:
        return self._below(*self._positions(window))

    def _below(self, xs: Array, ys: Array) -> Window:
        """Pixels of the base that lie around positions, inside the base."""
        placed = np.isfinite(xs) & np.isfinite(ys)  # not where the grid reaches beyond the base's CRS
        if not placed.any():
            return Window(row_off=0, col_off=0, height=0, width=0)
        xs, ys = xs[placed], ys[placed]
        left, top = math.floor(xs.min()) - 1, math.floor(ys.min()) - 1
        right, bottom = math.ceil(xs.max()) + 2, math.ceil(ys.max()) + 2
        window = Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
        return window.clipped(*self.base.geobox.shape)

    def _positions(self, window: Window) -> tuple[Array, Array]:
        """x and y on the base, in pixels from the center of its first one, of the window's pixels: (h, w)."""
        rows = np.arange(window.row_off // _STEP, -(-window.row_end // _STEP) + 1) * _STEP
        cols = np.arange(window.col_off // _STEP, -(-window.col_end // _STEP) + 1) * _STEP
        nodes = _carry(self.geobox, self.base.geobox, *np.meshgrid(cols + 0.5, rows + 0.5))
        down = np.arange(window.row_off, window.row_end)
        right = np.arange(window.col_off, window.col_end)
        row, col = down // _STEP - rows[0] // _STEP, right // _STEP - cols[0] // _STEP
        v, u = (down % _STEP / _STEP)[:, None], right % _STEP / _STEP
        first, second = (
            (node[row][:, col] * (1 - u) + node[row][:, col + 1] * u) * (1 - v)
            + (node[row + 1][:, col] * (1 - u) + node[row + 1][:, col + 1] * u) * v
            - 0.5
            for node in nodes
        )
        return first, second


def warp(source: RasterSource, geobox: GeoBox) -> WarpedScene:
    """See a source on a grid; one of far smaller pixels is averaged before.

    Parameters
    ----------
    source
        With a CRS where the grid has one.
    geobox
        What to see, such as the part of a grid that :func:`warped_window` finds.
    """
    box = source.geobox
    xs, ys = _carry(geobox, box, *(np.array([0.0, geobox.width, 0.0]), np.array([0.0, 0.0, geobox.height])))
    across = math.hypot(xs[1] - xs[0], ys[1] - ys[0]) / geobox.width
    down = math.hypot(xs[2] - xs[0], ys[2] - ys[0]) / geobox.height
    ratio = math.sqrt(across * down)  # pixels of the source along one of the grid
    if ratio > _FINER:
        shape = max(1, round(box.height / ratio)), max(1, round(box.width / ratio))
        source = SceneView(source, box.scaled(*shape), shape)
    return WarpedScene(source, geobox)


def warped_window(box: GeoBox, grid: GeoBox) -> Window:
    """Where a raster lies on the grid of another, widened to whole pixels.

    Parameters
    ----------
    box
        Of the raster.
    grid
        Its shape does not count; the window may begin above or left of it.

    Raises
    ------
    SceneError
        The grid's CRS has no place for part of the raster's edge.
    """
    along = np.linspace(0, 1, _EDGE_POINTS)
    cols = np.concatenate([along, along, np.zeros_like(along), np.ones_like(along)]) * box.width
    rows = np.concatenate([np.zeros_like(along), np.ones_like(along), along, along]) * box.height
    xs, ys = _carry(box, grid, cols, rows)
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        its, wanted = ("none" if crs is None else crs.to_string() for crs in (box.crs, grid.crs))
        raise SceneError(
            f"rasters must lie where the CRS of their common grid can place them, got one in {its} of bounds "
            f"{box.bounds()} for {wanted}. Leave it out, or give --mosaic auto."
        )
    snap = 1e-3  # of a pixel: one that lies on the grid does not grow by rounding
    left, top = math.floor(xs.min() + snap), math.floor(ys.min() + snap)
    right, bottom = math.ceil(xs.max() - snap), math.ceil(ys.max() - snap)
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)


def _carry(source: GeoBox, target: GeoBox, cols: Array, rows: Array) -> tuple[Array, Array]:
    """Pixel corners of one raster to those of another."""
    x, y = _applied(source.transform, cols, rows)
    if source.crs is not None and target.crs is not None and source.crs != target.crs:
        x, y = _transformer(source.crs.to_wkt(), target.crs.to_wkt()).transform(x, y)
    with np.errstate(invalid="ignore"):  # infinity, where the target's CRS has no place, times 0
        return _applied(~target.transform, x, y)


def _applied(affine: Affine, x: Array, y: Array) -> tuple[Array, Array]:
    a, b, c, d, e, f = affine[:6]
    return a * x + b * y + c, d * x + e * y + f


@functools.lru_cache(maxsize=16)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


@kernel
def _interpolate(  # type: ignore[no-untyped-def]
    values, usable, xs, ys, top, left, height, width, integral, pixels, valid
):
    """Values between four pixel centers; at the outermost half pixel those of the edge."""
    for r in range(xs.shape[0]):
        for c in range(xs.shape[1]):
            x, y = xs[r, c], ys[r, c]
            if not (x >= -0.5 and y >= -0.5 and x <= width - 0.5 and y <= height - 0.5):
                continue
            x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
            # what rounding left of a whole number is one, or pixels on the same grid would draw on neighbors
            x = np.rint(x) if abs(x - np.rint(x)) < 1e-4 else x
            y = np.rint(y) if abs(y - np.rint(y)) < 1e-4 else y
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            u, v = x - x0, y - y0
            x0, y0 = x0 - left, y0 - top
            # a neighbor without weight is not drawn on: it need not be valid, and may be NaN
            x1, y1 = x0 + 1 if u > 0 else x0, y0 + 1 if v > 0 else y0
            if not (usable[y0, x0] and usable[y0, x1] and usable[y1, x0] and usable[y1, x1]):
                continue
            valid[r, c] = True
            for k in range(values.shape[0]):
                upper = values[k, y0, x0] * (1 - u) + values[k, y0, x1] * u
                lower = values[k, y1, x0] * (1 - u) + values[k, y1, x1] * u
                value = upper * (1 - v) + lower * v
                pixels[k, r, c] = np.rint(value) if integral else value
