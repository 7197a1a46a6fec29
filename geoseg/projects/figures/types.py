"""The five shapes of an annotated object as plain values.

Coordinates are pixel *indices*, x to the right and y down: (0, 0) is the center of the top left pixel, and
a vertex belongs to the pixel it lies in. Outlines elsewhere in geoseg count pixel corners; they are these
coordinates plus one half.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.projects.figures.stored import LARGE, STRIP, StoredMask, store_mask
from geoseg.typing import Array, BoolArray

__all__ = [
    "SHAPES",
    "Bitmap",
    "Figure",
    "Line",
    "Point",
    "Polygon",
    "Rectangle",
    "ShapeName",
    "figure_area",
    "figure_bounds",
    "filled_area",
    "same_figure",
]

Coords: TypeAlias = NDArray[np.float64]
ShapeName: TypeAlias = Literal["polygon", "bitmap", "rectangle", "line", "point"]
Bounds: TypeAlias = tuple[float, float, float, float]

#: Shapes that geoseg reads and writes.
SHAPES: tuple[ShapeName, ...] = ("polygon", "bitmap", "rectangle", "line", "point")


@dataclass(frozen=True, eq=False, slots=True)
class Polygon:
    """A ring of vertices with holes.

    Attributes
    ----------
    exterior
        (N, 2) float64 of x, y; the last vertex is not a copy of the first.
    holes
        Rings of the same form.
    """

    kind: ClassVar[ShapeName] = "polygon"
    exterior: Coords
    holes: tuple[Coords, ...] = ()

    def parts(self) -> tuple[Array, ...]:
        """The exterior, then the holes."""
        return (self.exterior, *self.holes)


@dataclass(frozen=True, eq=False, slots=True)
class Bitmap:
    """A mask and where it lies.

    Attributes
    ----------
    origin
        Column and row of the mask's top left pixel.
    pixels
        (h, w) bool, True on the object: an array, or compressed where it is large.
    """

    kind: ClassVar[ShapeName] = "bitmap"
    origin: tuple[int, int]
    pixels: BoolArray | StoredMask

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        height, width = self.pixels.shape
        return height, width

    @property
    def mask(self) -> BoolArray:
        """The pixels as an array; of a compressed mask a new one, with a byte for each of them."""
        return np.asarray(self.pixels)

    def compact(self) -> Bitmap:
        """The same bitmap, compressed if it is large, an array if it is not."""
        pixels = self.pixels
        if isinstance(pixels, StoredMask) == (pixels.size > LARGE):
            return self
        return Bitmap(self.origin, self.mask if isinstance(pixels, StoredMask) else store_mask(pixels))

    def by_rows(self) -> Bitmap:
        """The same bitmap; a compressed one laid down anew where its rows could only be read all at once."""
        pixels = self.pixels
        laid = pixels.laid() if isinstance(pixels, StoredMask) else pixels
        return self if laid is pixels else Bitmap(self.origin, laid)

    def part(self, rows: slice, cols: slice) -> BoolArray:
        """Some of the pixels as an array."""
        return self.pixels[rows, cols]

    def parts(self) -> tuple[Any, ...]:
        """The origin as (1, 2), then the mask, which can be indexed by slices."""
        return np.array([self.origin]), self.pixels

    def tight(self) -> Bitmap | None:
        """The mask cut to its object pixels; itself where it is tight already, None where it is empty.

        It is compressed if it is large, an array if it is not.

        Examples
        --------
        >>> Bitmap((5, 5), np.array([[0, 0], [0, 1]], bool)).tight().origin
        (6, 6)
        >>> Bitmap((5, 5), np.zeros((2, 2), bool)).tight() is None
        True
        """
        pixels = self.pixels
        if isinstance(pixels, StoredMask):
            rows, cols = (np.flatnonzero(hit) for hit in pixels.any_by_axis())
        else:
            rows = np.flatnonzero(pixels.any(axis=1))
            # Columns only of the rows between: most masks come tight, but some have the size of the image.
            cols = np.flatnonzero(pixels[rows[0] : rows[-1] + 1].any(axis=0)) if rows.size else rows
        if rows.size == 0:
            return None
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
        if (bottom - top, right - left) == self.shape:
            return self.compact()
        origin = (self.origin[0] + left, self.origin[1] + top)
        if isinstance(pixels, StoredMask):
            return Bitmap(origin, pixels.window(slice(top, bottom), slice(left, right))).compact()
        return Bitmap(origin, np.ascontiguousarray(pixels[top:bottom, left:right])).compact()


@dataclass(frozen=True, slots=True)
class Rectangle:
    """An upright rectangle; the right column and the bottom row belong to it."""

    kind: ClassVar[ShapeName] = "rectangle"
    left: float
    top: float
    right: float
    bottom: float

    def parts(self) -> tuple[Array, ...]:
        """The two corners as (2, 2)."""
        return (np.array([[self.left, self.top], [self.right, self.bottom]], np.float64),)


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """A polyline of at least two vertices, (N, 2) float64."""

    kind: ClassVar[ShapeName] = "line"
    points: Coords

    def parts(self) -> tuple[Array, ...]:
        """The vertices."""
        return (self.points,)


@dataclass(frozen=True, slots=True)
class Point:
    """One pixel."""

    kind: ClassVar[ShapeName] = "point"
    x: float
    y: float

    def parts(self) -> tuple[Array, ...]:
        """The position as (1, 2)."""
        return (np.array([[self.x, self.y]], np.float64),)


Figure: TypeAlias = Polygon | Bitmap | Rectangle | Line | Point


def as_coords(points: Iterable[Sequence[float]] | Array, what: str, at_least: int) -> Coords:
    """Check and convert a list of x, y pairs; a closing copy of the first vertex is left out for rings.

    Raises
    ------
    InputError
        No numbers in pairs, values that are not finite, or fewer than ``at_least`` vertices.
    """
    try:
        coords = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a list of [x, y] pairs. Correct the annotation.") from None
    # An empty list has one axis, and is a list of no pairs.
    if coords.size == 0:
        coords = coords.reshape(0, 2)
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise InputError(
            f"{what} must be a list of [x, y] pairs, got shape {coords.shape}. Correct the annotation."
        )
    if not np.isfinite(coords).all() or (coords.size and np.abs(coords).max() > 2**31):
        raise InputError(f"{what} must hold finite pixel coordinates. Correct the annotation.")
    if len(coords) < at_least:
        raise InputError(
            f"{what} must have at least {at_least} vertices, got {len(coords)}. Correct the annotation."
        )
    return coords


def open_ring(coords: Coords) -> Coords:
    """A ring without the copy of its first vertex at the end."""
    return coords[:-1] if len(coords) > 1 and np.array_equal(coords[0], coords[-1]) else coords


def figure_bounds(figure: Figure) -> Bounds:
    """Smallest and largest x and y of a figure, (left, top, right, bottom), all inclusive pixel indices.

    A polygon without vertices lies nowhere: its bounds are NaN.

    Examples
    --------
    >>> figure_bounds(Bitmap((2, 3), np.ones((1, 4), bool)))
    (2.0, 3.0, 5.0, 3.0)
    >>> figure_bounds(Polygon(np.zeros((0, 2))))
    (nan, nan, nan, nan)
    """
    if isinstance(figure, Bitmap):
        (x, y), (h, w) = figure.origin, figure.shape
        return float(x), float(y), float(x + w - 1), float(y + h - 1)
    if isinstance(figure, Rectangle):
        return figure.left, figure.top, figure.right, figure.bottom
    if isinstance(figure, Point):
        return figure.x, figure.y, figure.x, figure.y
    coords = figure.parts()[0]
    # Compared with NaN, every window is elsewhere; any number would be a place.
    if not len(coords):
        return math.nan, math.nan, math.nan, math.nan
    (left, top), (right, bottom) = coords.min(axis=0), coords.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def ring_area(coords: Coords) -> float:
    """Area inside a ring, by the shoelace formula.

    Examples
    --------
    >>> ring_area(np.array([[0.0, 0], [4, 0], [4, 2], [0, 2]]))
    8.0
    >>> ring_area(np.zeros((0, 2)))
    0.0
    """
    if len(coords) < 3:
        return 0.0
    x, y = (coords - coords[0]).T  # the first vertex at 0: the edges to and from it add nothing
    return float(abs(np.dot(x[1:-1], y[2:]) - np.dot(y[1:-1], x[2:])) / 2)


def figure_area(figure: Figure) -> float:
    """Area in pixels: a bitmap's object pixels, a polygon without its holes, a rectangle's pixels, else 0."""
    if isinstance(figure, Bitmap):
        pixels = figure.pixels
        return float(pixels.count() if isinstance(pixels, StoredMask) else np.count_nonzero(pixels))
    if isinstance(figure, Polygon):
        return max(0.0, ring_area(figure.exterior) - math.fsum(ring_area(hole) for hole in figure.holes))
    if isinstance(figure, Rectangle):
        return (figure.right - figure.left + 1) * (figure.bottom - figure.top + 1)
    return 0.0


def filled_area(figure: Figure) -> float:
    """Area in pixels with the holes of polygons filled, as labeling tools tell it."""
    return ring_area(figure.exterior) if isinstance(figure, Polygon) else figure_area(figure)


def same_figure(first: Figure, second: Any) -> bool:
    """Whether two figures have the same shape and the same coordinates or pixels."""
    if isinstance(first, Bitmap) and isinstance(second, Bitmap):
        if (first.origin, first.shape) != (second.origin, second.shape):
            return False
        mine, other = first.by_rows(), second.by_rows()
        # Strip by strip, for of a large mask not all pixels are unpacked at once.
        strips = (slice(top, top + STRIP) for top in range(0, mine.shape[0], STRIP))
        whole = slice(None)
        return all(np.array_equal(mine.part(rows, whole), other.part(rows, whole)) for rows in strips)
    if type(first) is not type(second):
        return False
    pairs = list(zip(first.parts(), second.parts(), strict=False))
    same_count = len(first.parts()) == len(second.parts())
    return same_count and all(np.array_equal(a, b) for a, b in pairs)
