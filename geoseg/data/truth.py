"""Labels drawn window by window: vector polygons, mask rasters, annotated figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.data.chips import Burned
from geoseg.data.mask_codes import MaskCodes
from geoseg.geo.geobox import NUDGE
from geoseg.geo.windows import Window, iter_chunks
from geoseg.raster.classes import IGNORE
from geoseg.raster.draw import Drawable, draw_figures
from geoseg.raster.source import PixelSource
from geoseg.typing import Array, BoolArray
from geoseg.vector.burn import PolygonIndex

__all__ = ["AoiTruth", "FigureTruth", "MaskTruth", "VectorTruth", "cell_anchors"]

#: Large objects get an anchor in every square of this many pixels.
_CELL = 64
# Pixels that a mask is read by when it is searched: 4 MB a piece, whatever the mask's size.
_SCAN = 2048
#: Side of the squares that are labeled ground if any of their pixels is; a byte for 256 pixels of a mask.
_GRAIN = 16


class _Labels(ABC):
    """What kinds of labels share: they hold for the whole area unless they say otherwise."""

    height: int
    width: int

    def __getstate__(self) -> dict[str, Any]:
        """Without what is worked out anew in a worker."""
        # Indices of polygons may be many times as large as what they are made from.
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    @abstractmethod
    def anchors(self) -> NDArray[np.int32]:
        """Points on objects: (n, 3) of row, column, class index."""

    def present(self) -> frozenset[int]:
        """Classes that have an anchor."""
        return frozenset(self.anchors()[:, 2].tolist())

    def region(self) -> Window:
        """The rectangle that holds all labeled ground."""
        return Window.whole((self.height, self.width))

    def known(self, rows: Array, cols: Array) -> BoolArray:
        """Whether pixels are labeled ground."""
        return np.ones(len(rows), bool)


@dataclass(frozen=True)
class VectorTruth(_Labels):
    """Polygons in pixel coordinates of an area (x = column, y = row of pixel corners).

    A pixel belongs to a polygon that holds its center.

    Attributes
    ----------
    height, width
        Pixels of the area.
    shapes
        Polygons or multipolygons; the later is drawn over the earlier.
    classes
        (n,) uint8 class index of each, 255 for neutral.
    """

    height: int
    width: int
    shapes: NDArray[np.object_]
    classes: NDArray[np.uint8]

    @cached_property
    def _polygons(self) -> PolygonIndex:
        return PolygonIndex(self.shapes)

    @cached_property
    def _codes(self) -> NDArray[np.uint8]:
        return np.concatenate([np.zeros(1, np.uint8), self.classes])

    def burn(self, window: Window) -> Burned:
        """Draw the polygons of a window."""
        numbers = self._polygons.draw(window, np.arange(1, len(self.shapes) + 1), np.int32)
        target = self._codes[numbers]
        return Burned(target, np.where((target == 0) | (target == IGNORE), 0, numbers).astype(np.int32))

    def anchors(self) -> NDArray[np.int32]:
        """One point in each polygon, and one a 64-pixel square in large ones."""
        return self._anchors

    @cached_property
    def _anchors(self) -> NDArray[np.int32]:
        keep = (self.classes != 0) & (self.classes != IGNORE)
        points = shapely.get_coordinates(shapely.point_on_surface(self.shapes[keep]))
        # A point of its own for every object: the smallest must be found as often as the others.
        anchors = [_rows_cols(points, self.classes[keep])]
        spans = shapely.bounds(self.shapes)
        large = keep & ((spans[:, 2:] - spans[:, :2]).max(1, initial=0) > 2 * _CELL)
        anchors += [_inside_points(self.shapes[i], int(self.classes[i])) for i in np.flatnonzero(large)]
        every = np.concatenate(anchors)
        inside = (
            (every[:, 0] >= 0) & (every[:, 1] >= 0) & (every[:, 0] < self.height) & (every[:, 1] < self.width)
        )
        return every[inside]


def _rows_cols(points: NDArray[np.float64], classes: Array) -> NDArray[np.int32]:
    cells = np.floor(points[:, ::-1])
    return np.column_stack([cells, classes]).astype(np.int32)


def _inside_points(shape: Any, code: int) -> NDArray[np.int32]:
    left, top, right, bottom = shapely.bounds(shape)
    # At most 128 a side: a forest as large as its scene would have as many points as all other objects.
    step = max(_CELL, max(right - left, bottom - top) / 128)
    xs, ys = np.meshgrid(np.arange(left + step / 2, right, step), np.arange(top + step / 2, bottom, step))
    points = np.column_stack([xs.ravel(), ys.ravel()])
    inside = points[shapely.contains_xy(shape, points[:, 0], points[:, 1])]
    return _rows_cols(inside, np.full(len(inside), code))


@dataclass(frozen=True)
class MaskTruth(_Labels):
    """A mask raster over the area's ground, on its own grid.

    Attributes
    ----------
    height, width
        Pixels of the area.
    mask
        Label values or colors.
    to_mask
        From pixel corners of the area to those of the mask, without rotation.
    codes
        What they stand for.
    """

    height: int
    width: int
    mask: PixelSource
    to_mask: Affine
    codes: MaskCodes

    def burn(self, window: Window) -> Burned:
        """Nearest mask pixel of each pixel; objects are the connected pieces of one class."""
        target = self.targets(window)
        return Burned(target, number_objects(target))

    def targets(self, window: Window, where: BoolArray | None = None) -> NDArray[np.uint8]:
        """Class indices of a window, 255 beyond the mask and outside ``where``."""
        # Centers of pixels, looked up one axis at a time: no rounding can open a line between two windows.
        rows = self.to_mask.f + self.to_mask.e * (np.arange(window.row_off, window.row_end) + 0.5)
        cols = self.to_mask.c + self.to_mask.a * (np.arange(window.col_off, window.col_end) + 0.5)
        # On a mask half a pixel off they lie on borders, and the last bit would decide anew for each of them.
        rows, cols = np.floor(rows + NUDGE), np.floor(cols + NUDGE)
        height, width = self.mask.geobox.shape
        known = np.ix_((rows >= 0) & (rows < height), (cols >= 0) & (cols < width))
        target = np.full((window.height, window.width), IGNORE, np.uint8)
        inside_rows, inside_cols = rows[known[0].ravel()].astype(int), cols[known[1].ravel()].astype(int)
        if not (inside_rows.size and inside_cols.size):
            return target
        top, left = inside_rows.min(), inside_cols.min()
        source = Window(
            row_off=int(top),
            col_off=int(left),
            height=int(inside_rows.max() - top + 1),
            width=int(inside_cols.max() - left + 1),
        )
        pixels = self.mask.read(source)[:, (inside_rows - top)[:, None], inside_cols - left]
        labeled = np.ones(pixels.shape[1:], bool) if where is None else where[known]
        target[known] = self.codes(pixels, labeled)
        return target

    def anchors(self) -> NDArray[np.int32]:
        """A pixel of each class in every 64-pixel square that has it; reads the mask once, in pieces."""
        return self._searched.anchors

    def known(self, rows: Array, cols: Array) -> BoolArray:
        """Whether pixels lie in a square of 16 pixels that the mask says something of."""
        return self._searched.known(rows, cols)

    @cached_property
    def _searched(self) -> _Searched:
        return _search(self.region(), self.targets)


@dataclass(frozen=True)
class FigureTruth(_Labels):
    """Annotated figures of an image, drawn in their order.

    Attributes
    ----------
    height, width
        Pixels of the image.
    figures
        In z-order.
    classes
        Class index of each, 0 for background and 255 for neutral ones.
    """

    height: int
    width: int
    figures: Sequence[Drawable]
    classes: NDArray[np.uint8]

    def burn(self, window: Window) -> Burned:
        """Draw the figures of a window; what none covers is background."""
        numbers = draw_figures(self.figures, range(1, len(self.figures) + 1), window, dtype=np.int32)
        target = np.concatenate([np.zeros(1, np.uint8), self.classes])[numbers]
        return Burned(target, np.where((target == 0) | (target == IGNORE), 0, numbers).astype(np.int32))

    def anchors(self) -> NDArray[np.int32]:
        """A pixel of each class in every 64-pixel square that has it."""
        return cell_anchors(self.burn(self.region()).target, 0, 0)

    def present(self) -> frozenset[int]:
        """Classes of the figures."""
        return frozenset(self.classes.tolist()) - {0, IGNORE}


@dataclass(frozen=True)
class AoiTruth(_Labels):
    """Labels that hold inside polygons only: pixels whose centers lie outside teach nothing.

    Attributes
    ----------
    truth
        The labels: polygons or a mask.
    height, width
        Pixels of the area.
    aoi
        Polygons of labeled ground in pixel coordinates of the area.
    """

    truth: VectorTruth | MaskTruth
    height: int
    width: int
    aoi: NDArray[np.object_]

    def burn(self, window: Window) -> Burned:
        """Draw the labels of a window, neutral outside the polygons."""
        labeled = self._ground.mask(window)
        if isinstance(self.truth, MaskTruth):  # its values outside the polygons may be of no class
            target = self.truth.targets(window, labeled)
            return Burned(target, number_objects(target))
        burned = self.truth.burn(window)
        target = np.where(labeled, burned.target, IGNORE).astype(np.uint8)
        return Burned(target, np.where(labeled, burned.ids, 0).astype(np.int32))

    @cached_property
    def _ground(self) -> PolygonIndex:
        return PolygonIndex(self.aoi)

    def anchors(self) -> NDArray[np.int32]:
        """Points on objects, those in the polygons."""
        return self._anchors

    @cached_property
    def _anchors(self) -> NDArray[np.int32]:
        if self._searched is not None:  # the mask's own are one a square, which may lie outside
            return self._searched.anchors
        every = self.truth.anchors()
        return every[self.known(every[:, 0], every[:, 1])]

    @cached_property
    def _searched(self) -> _Searched | None:
        truth = self.truth
        if not isinstance(truth, MaskTruth):
            return None
        return _search(self.region(), lambda piece: truth.targets(piece, self._ground.mask(piece)))

    def region(self) -> Window:
        """Bounds of the polygons inside the area."""
        left, top, right, bottom = shapely.total_bounds(self.aoi)
        # The pixels whose centers lie within the bounds.
        row, col = int(np.floor(top + 0.5)), int(np.floor(left + 0.5))
        end = int(np.ceil(bottom - 0.5)), int(np.ceil(right - 0.5))
        rect = Window(row_off=row, col_off=col, height=max(0, end[0] - row), width=max(0, end[1] - col))
        return rect.clipped(self.height, self.width)

    def known(self, rows: Array, cols: Array) -> BoolArray:
        """Whether the centers of pixels lie in the polygons, on ground that a mask says something of."""
        inside = self._ground.covers(cols, rows)
        return inside if self._searched is None else inside & self._searched.known(rows, cols)


def number_objects(target: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Numbers of the 8-connected pieces of equal class; 0 where background or unknown."""
    numbers = np.zeros(target.shape, np.int32)
    last = 0
    for code in np.unique(target):
        if code not in (0, IGNORE):
            # Corners connect, too: a house drawn with a thin diagonal part stays one object.
            labels, count = ndimage.label(target == code, np.ones((3, 3), int))
            numbers = np.where(labels > 0, labels + last, numbers).astype(np.int32)
            last += count
    return numbers


@dataclass(frozen=True)
class _Searched:
    """What a search through a region's targets found.

    Attributes
    ----------
    anchors
        (n, 3) of row, column, class index.
    labeled
        For each square of 16 pixels of the region, whether any of them is labeled.
    """

    region: Window
    anchors: NDArray[np.int32]
    labeled: BoolArray

    def known(self, rows: Array, cols: Array) -> BoolArray:
        """Whether pixels lie in squares with labels."""
        rows, cols = rows - self.region.row_off, cols - self.region.col_off
        inside = (rows >= 0) & (cols >= 0) & (rows < self.region.height) & (cols < self.region.width)
        known = np.zeros(len(rows), bool)
        known[inside] = self.labeled[rows[inside] // _GRAIN, cols[inside] // _GRAIN]
        return known


def _search(region: Window, targets: Callable[[Window], NDArray[np.uint8]]) -> _Searched:
    """Look through a region whose targets are read piece by piece."""
    anchors = [np.zeros((0, 3), np.int32)]
    labeled = np.zeros((-(-region.height // _GRAIN), -(-region.width // _GRAIN)), bool)
    for piece in iter_chunks(region.height, region.width, _SCAN):
        moved = piece.shifted(region.row_off, region.col_off)
        target = targets(moved)
        anchors.append(cell_anchors(target, moved.row_off, moved.col_off))
        known = target != IGNORE
        for axis in (0, 1):
            known = np.logical_or.reduceat(known, np.arange(0, known.shape[axis], _GRAIN), axis=axis)
        row, col = piece.row_off // _GRAIN, piece.col_off // _GRAIN
        labeled[row : row + known.shape[0], col : col + known.shape[1]] = known
    return _Searched(region, np.concatenate(anchors), labeled)


def cell_anchors(
    target: NDArray[np.uint8], row_off: int, col_off: int, cell: int = _CELL
) -> NDArray[np.int32]:
    """For each square of ``cell`` pixels and each class in it, its middle pixel in reading order.

    Returns
    -------
    (n, 3) int32
        Row, column, class index.

    Examples
    --------
    >>> cell_anchors(np.array([[0, 1, 0, 255, 2, 2]], np.uint8), 10, 20, cell=3).tolist()
    [[10, 21, 1], [10, 25, 2]]
    """
    rows, cols = np.nonzero((target != 0) & (target != IGNORE))
    codes = target[rows, cols].astype(np.int64)
    across = -(-target.shape[1] // cell)
    # One number for square and class, so that one sort serves all of them.
    key = ((rows // cell) * across + cols // cell) * 256 + codes
    order = np.argsort(key, kind="stable")
    _, first, count = np.unique(key[order], return_index=True, return_counts=True)
    chosen = order[first + count // 2]
    return np.column_stack([rows[chosen] + row_off, cols[chosen] + col_off, codes[chosen]]).astype(np.int32)
