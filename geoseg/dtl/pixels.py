"""Lazy pixels: a sample's image is a source and what to do with it; pixels are read once, at the end.

An image is a small tree of nodes. Crops, mirrors and right angles of any depth are one :class:`Oriented`: an
integer window of the node below and one of the eight ways to lay it down. Each node answers ``read(window)``
by asking the node below for just the window it needs, so a crop of a resized crop of a scene reads its own
part of the file and nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.raster.mirror import contiguous
from geoseg.raster.resample import axis_weights, resample, resample_valid
from geoseg.raster.source import PixelSource
from geoseg.typing import Array, BoolArray

__all__ = [
    "FilePixels",
    "LazyPixels",
    "Oriented",
    "Padded",
    "Resized",
    "Treated",
]

Shape: TypeAlias = tuple[int, int]
#: From (C, h, w) pixels and the window they are to pixels of the same shape.
Treatment: TypeAlias = Callable[[Array, Window], Array]


class LazyPixels(ABC):
    """An image that can be transformed without being read."""

    shape: Shape

    @property
    @abstractmethod
    def source(self) -> PixelSource:
        """The file at the bottom."""

    @property
    @abstractmethod
    def to_source(self) -> Affine:
        """From pixel corners of this image to those of the source."""

    def read(self, window: Window | None = None) -> Array:
        """Pixels (C, h, w) of a window, of the whole image by default; an array of the caller's own."""
        # Views lay pixels down mirrored or turned without moving them; whoever gets them may hand them to a
        # kernel.
        pixels = np.ascontiguousarray(self._read(window if window is not None else Window.whole(self.shape)))
        # Decoded pixels that an image keeps open come read-only; a caller may write into its own.
        return pixels if pixels.flags.writeable else pixels.copy()

    def valid(self, window: Window | None = None) -> BoolArray:
        """True where there is data, (h, w)."""
        return self._valid(window if window is not None else Window.whole(self.shape))

    @abstractmethod
    def _read(self, window: Window) -> Array:
        """As :meth:`read`, but what the file keeps may come read-only and in any layout."""

    @abstractmethod
    def _valid(self, window: Window) -> BoolArray: ...

    @property
    @abstractmethod
    def geobox(self) -> GeoBox:
        """Where the pixels lie on the ground."""

    @property
    def source_window(self) -> Window:
        """The part of the source the image shows: the whole pixels around its corners."""
        height, width = self.shape
        corners = [self.to_source * point for point in ((0, 0), (width, 0), (width, height), (0, height))]
        xs, ys = zip(*corners, strict=True)
        # Rounded, or an error of 1e-12 would ask for one more row or column of the source.
        left, top, right, bottom = (round(v, 6) for v in (min(xs), min(ys), max(xs), max(ys)))
        # Whole pixels outward: split_spatial must see every pixel that the image shows.
        row, col = math.floor(top), math.floor(left)
        window = Window(
            row_off=row, col_off=col, height=math.ceil(bottom) - row, width=math.ceil(right) - col
        )
        return window.clipped(*self.source.geobox.shape)

    def cropped(self, window: Window) -> LazyPixels:
        """A part of the image."""
        return Oriented(self, window).simplified()

    def mirrored(self, axis: int) -> LazyPixels:
        """The image mirrored along x (0: left-right) or y (1: up-down)."""
        return Oriented(self, Window.whole(self.shape), flip_x=axis == 0, flip_y=axis == 1).simplified()

    def transposed(self) -> LazyPixels:
        """The image with x and y exchanged."""
        return Oriented(self, Window.whole(self.shape), transpose=True).simplified()

    def resized(self, shape: Shape) -> LazyPixels:
        """The same ground on ``shape`` pixels."""
        return self if shape == self.shape else Resized(self, shape)


@dataclass(frozen=True, eq=False)
class FilePixels(LazyPixels):
    """The file itself, untouched."""

    file: PixelSource

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return self.file.geobox.shape

    @property
    def source(self) -> PixelSource:
        return self.file

    @property
    def to_source(self) -> Affine:
        return Affine.identity()

    @property
    def geobox(self) -> GeoBox:
        return self.file.geobox

    def _read(self, window: Window) -> Array:
        return self.file.read(window)

    def _valid(self, window: Window) -> BoolArray:
        return self.file.read_valid(window)


@dataclass(frozen=True, eq=False)
class Derived(LazyPixels):
    """A node over another."""

    base: LazyPixels

    @property
    @abstractmethod
    def step(self) -> Affine:
        """From pixel corners of this image to those of the base."""

    @property
    def source(self) -> PixelSource:
        return self.base.source

    @property
    def to_source(self) -> Affine:
        return self.base.to_source * self.step

    @property
    def geobox(self) -> GeoBox:
        box = self.base.geobox
        return GeoBox(box.transform * self.step, box.crs, *self.shape)


@dataclass(frozen=True, eq=False)
class Oriented(Derived):
    """A window of the base, transposed if told, then mirrored.

    Attributes
    ----------
    window
        Part of the base.
    transpose, flip_x, flip_y
        How it is laid down, in this order.
    """

    window: Window
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        sides = self.window.height, self.window.width
        return sides[::-1] if self.transpose else sides

    @property
    def step(self) -> Affine:
        height, width = self.shape
        step = Affine.translation(self.window.col_off, self.window.row_off)
        if self.transpose:
            step *= Affine(0, 1, 0, 1, 0, 0)
        if self.flip_y:
            step *= Affine(1, 0, 0, 0, -1, height)
        if self.flip_x:
            step *= Affine(-1, 0, width, 0, 1, 0)
        return step

    def simplified(self) -> LazyPixels:
        """The same image with views of views made one; the base itself where nothing is left to do."""
        view, base = self, self.base
        if isinstance(base, Oriented):
            view = base.then(self)
        plain = not (view.transpose or view.flip_x or view.flip_y)
        return view.base if plain and view.window == Window.whole(view.base.shape) else view

    def then(self, after: Oriented) -> Oriented:
        """This view and another one of its result as one."""
        # A transposition that follows exchanges the axes of the mirrors before it.
        flip_x, flip_y = (self.flip_y, self.flip_x) if after.transpose else (self.flip_x, self.flip_y)
        return Oriented(
            self.base,
            self.below(after.window),
            self.transpose != after.transpose,
            flip_x != after.flip_x,
            flip_y != after.flip_y,
        )

    def below(self, window: Window) -> Window:
        """The base's window that a window of this view shows."""
        height, width = self.shape
        row = height - window.row_end if self.flip_y else window.row_off
        col = width - window.col_end if self.flip_x else window.col_off
        rows, cols = window.height, window.width
        if self.transpose:
            row, col, rows, cols = col, row, cols, rows
        return Window(
            row_off=self.window.row_off + row, col_off=self.window.col_off + col, height=rows, width=cols
        )

    def _lay(self, values: Array) -> Array:
        if self.transpose:
            values = np.swapaxes(values, -1, -2)
        if self.flip_y:
            values = values[..., ::-1, :]
        return values[..., ::-1] if self.flip_x else values

    def _read(self, window: Window) -> Array:
        return contiguous(self._lay(self.base._read(self.below(window))))

    def _valid(self, window: Window) -> BoolArray:
        return contiguous(self._lay(self.base.valid(self.below(window))))


@dataclass(frozen=True, eq=False)
class Resized(Derived):
    """The base on another number of pixels: averaged going coarser, linear going finer."""

    shape: Shape

    @property
    def step(self) -> Affine:
        return Affine.scale(self.base.shape[1] / self.shape[1], self.base.shape[0] / self.shape[0])

    def _axes(self, window: Window) -> tuple[Any, Any, Window]:
        rows = axis_weights(window.row_off, window.row_end, self.base.shape[0], self.shape[0])
        cols = axis_weights(window.col_off, window.col_end, self.base.shape[1], self.shape[1])
        (top, bottom), (left, right) = rows.span, cols.span
        return rows, cols, Window(row_off=top, col_off=left, height=bottom - top, width=right - left)

    def _read(self, window: Window) -> Array:
        rows, cols, below = self._axes(window)
        return resample(self.base._read(below), rows, cols)

    def _valid(self, window: Window) -> BoolArray:
        # A pixel that draws on one without data is a mean with nothing, and counts as such.
        rows, cols, below = self._axes(window)
        return resample_valid(self.base.valid(below), rows, cols)


@dataclass(frozen=True, eq=False)
class Padded(Derived):
    """The base laid on a larger canvas of zeros.

    Attributes
    ----------
    shape
        Of the canvas.
    offset
        Row and column of the base's first pixel on it.
    """

    shape: Shape
    offset: tuple[int, int]

    @property
    def step(self) -> Affine:
        return Affine.translation(-self.offset[1], -self.offset[0])

    def _parts(self, window: Window) -> tuple[Window, tuple[slice, slice]]:
        row, col = window.row_off - self.offset[0], window.col_off - self.offset[1]
        shifted = Window(row_off=row, col_off=col, height=window.height, width=window.width)
        inside = shifted.clipped(*self.base.shape)
        return inside, (
            slice(inside.row_off - row, inside.row_end - row),
            slice(inside.col_off - col, inside.col_end - col),
        )

    def _read(self, window: Window) -> Array:
        inside, place = self._parts(window)
        values = self.base._read(inside)
        # Black, as the original lays images on a canvas; they are invalid there.
        canvas = np.zeros((len(values), window.height, window.width), values.dtype)
        canvas[:, place[0], place[1]] = values
        return canvas

    def _valid(self, window: Window) -> BoolArray:
        inside, place = self._parts(window)
        canvas = np.zeros((window.height, window.width), bool)
        canvas[place] = self.base.valid(inside)
        return canvas


@dataclass(frozen=True, eq=False)
class Treated(Derived):
    """The base with its values changed and its geometry left alone.

    Attributes
    ----------
    treat
        What to do; given the window too, so that noise can depend on the place.
    halo
        Pixels around a window that it needs.
    """

    treat: Treatment
    halo: int = 0

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return self.base.shape

    @property
    def step(self) -> Affine:
        return Affine.identity()

    def _read(self, window: Window) -> Array:
        # Cut at the image's edge, not padded: a filter sees the same edge for a part as for the whole.
        grown = window.grown(self.halo).clipped(*self.shape)
        top, left = window.row_off - grown.row_off, window.col_off - grown.col_off
        # read and not _read: a treatment may write into what it gets.
        values = self.treat(self.base.read(grown), grown)
        return np.ascontiguousarray(values[:, top : top + window.height, left : left + window.width])

    def _valid(self, window: Window) -> BoolArray:
        return self.base.valid(window)


def check_window(window: Window, shape: Shape) -> Window:
    """A window that lies inside an image and holds a pixel.

    Raises
    ------
    InputError
        It does not.
    """
    if window.clipped(*shape) != window or not window.height or not window.width:
        raise InputError(f"window must lie inside the image of {shape[1]} x {shape[0]} pixels, got {window}.")
    return window
