"""What layers share: masks of figures as tight bitmaps, and objects made from others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geoseg.dtl.pixels import Shape
from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, Figure, LabeledObject, Line, Polygon, Rectangle
from geoseg.projects.figures.strips import add_rows, made_of_rows
from geoseg.projects.figures.trace import bitmap_rings
from geoseg.projects.figures.transform import clip_figure
from geoseg.raster.draw import figure_mask, round_half_up, stroke_mask
from geoseg.typing import Array, BoolArray

__all__ = [
    "as_bitmap",
    "combined",
    "contours",
    "converted",
    "row_windows",
    "stroke_bitmap",
    "union_bitmap",
    "without",
]

# 16 million pixels: one byte each in a mask, whatever the scene's size.
_AT_ONCE = 2**24
F = TypeVar("F", bound=Figure)


def row_windows(shape: Shape) -> Iterator[Window]:
    """An image in strips of whole rows, from top to bottom, of up to 16 million pixels or one row each."""
    height, width = shape
    # Whole rows, since stored bitmaps are decoded row by row.
    step = max(1, _AT_ONCE // width)
    for top in range(0, height, step):
        yield Window(row_off=top, col_off=0, height=min(step, height - top), width=width)


def as_bitmap(figure: Figure, shape: Shape) -> Bitmap | None:
    """The pixels a figure covers inside an image, tight; None where there are none."""
    if isinstance(figure, Bitmap):
        inside = clip_figure(figure, Window.whole(shape))
        return inside[0].tight() if inside and isinstance(inside[0], Bitmap) else None
    # Of a polygon with thousands of holes only the rings that reach into a strip are drawn there.
    parts = [part for part in figure.parts() if len(part)]
    reaches = _reaches(parts)

    def draw(window: Window) -> tuple[Window, BoolArray] | None:
        if not isinstance(figure, Polygon):
            return figure_mask(figure, window)
        rings = [parts[index] for index in np.flatnonzero(_within(reaches, window))]
        return figure_mask(Polygon(rings[0], tuple(rings[1:])), window) if rings else None

    return _drawn(draw, reaches, shape)


def stroke_bitmap(figure: Figure, width: float, shape: Shape) -> Bitmap | None:
    """The pixels of a figure's contour drawn with a pen."""
    lines = [line for line in contours(figure) if len(line)]
    # Half the pen on either side of the contour.
    reaches = _reaches(lines, math.ceil(width / 2))

    def draw(window: Window) -> tuple[Window, BoolArray] | None:
        return stroke_mask(
            [lines[index] for index in np.flatnonzero(_within(reaches, window))], width, window
        )

    return _drawn(draw, reaches, shape)


def _reaches(lines: Sequence[Array], around: int = 0) -> NDArray[np.int64]:
    """First column and row, and those after the last, that each line can touch, (N, 4)."""
    # Rounded as the drawing does, or a strip could miss the last row of a line.
    boxes = [(*round_half_up(line.min(axis=0)), *round_half_up(line.max(axis=0))) for line in lines]
    return np.array(boxes, np.int64).reshape(-1, 4) + np.array([-around, -around, around + 1, around + 1])


def _within(reaches: NDArray[np.int64], window: Window) -> BoolArray:
    """Which lines reach into the rows of a window."""
    near: BoolArray = (reaches[:, 1] < window.row_end) & (reaches[:, 3] > window.row_off)
    return near


def _drawn(
    draw: Callable[[Window], tuple[Window, BoolArray] | None], reaches: NDArray[np.int64], shape: Shape
) -> Bitmap | None:
    """What can be drawn into any window, drawn strip by strip."""
    if not len(reaches):
        return None
    left, top = (int(v) for v in reaches[:, :2].min(axis=0))
    right, bottom = (int(v) for v in reaches[:, 2:].max(axis=0))
    box = Window(row_off=top, col_off=left, height=bottom - top, width=right - left).clipped(*shape)

    def rows(first: int, last: int) -> BoolArray:
        out = np.zeros((last - first, box.width), bool)
        row = box.row_off + first
        part = draw(Window(row_off=row, col_off=box.col_off, height=last - first, width=box.width))
        if part is not None:
            place, mask = part
            place = place.shifted(-row, -box.col_off)
            out[place.rows, place.cols] = mask
        return out

    return made_of_rows((box.col_off, box.row_off), (box.height, box.width), rows).tight()


def contours(figure: Figure) -> list[Array]:
    """The lines around a figure; rings are closed by their first vertex."""
    if isinstance(figure, Bitmap):
        rings = list(bitmap_rings(figure))
    elif isinstance(figure, Rectangle):
        left, top, right, bottom = figure.left, figure.top, figure.right, figure.bottom
        rings = [np.array([[left, top], [right, top], [right, bottom], [left, bottom]])]
    elif isinstance(figure, Polygon):
        rings = list(figure.parts())
    else:
        return list(figure.parts())
    return [np.concatenate([ring, ring[:1]]) for ring in rings if len(ring)]


def union_bitmap(bitmaps: Sequence[Bitmap]) -> Bitmap:
    """The pixels of any of the bitmaps, in the box around all."""
    bitmaps = [bitmap.by_rows() for bitmap in bitmaps]
    box = _box(bitmaps)
    # Rows that each bitmap begins and ends at: only those that reach into a strip are decoded for it.
    first = np.array([bitmap.origin[1] - box.row_off for bitmap in bitmaps])
    last = first + [bitmap.shape[0] for bitmap in bitmaps]

    def rows(top: int, bottom: int) -> BoolArray:
        out = np.zeros((bottom - top, box.width), bool)
        for index in np.flatnonzero((first < bottom) & (last > top)):
            add_rows(out, box, top, bitmaps[index])
        return out

    return made_of_rows((box.col_off, box.row_off), (box.height, box.width), rows)


def combined(
    first: Bitmap, second: Bitmap, operation: Callable[[BoolArray, BoolArray], BoolArray]
) -> Bitmap | None:
    """Two bitmaps joined pixel by pixel, tight; None where nothing is left."""
    pair = first.by_rows(), second.by_rows()
    box = _box(pair)

    def rows(top: int, bottom: int) -> BoolArray:
        masks = np.zeros((2, bottom - top, box.width), bool)
        for mask, bitmap in zip(masks, pair, strict=True):
            add_rows(mask, box, top, bitmap)
        return operation(masks[0], masks[1])

    return made_of_rows((box.col_off, box.row_off), (box.height, box.width), rows).tight()


def without(bitmap: Bitmap, others: Sequence[Bitmap]) -> Bitmap | None:
    """A bitmap without the pixels of others, tight; None where nothing is left."""
    bitmap = bitmap.by_rows()
    box = _box([bitmap])

    def rows(top: int, bottom: int) -> BoolArray:
        covered = np.zeros((bottom - top, box.width), bool)
        for other in others:
            add_rows(covered, box, top, other)
        return bitmap.part(slice(top, bottom), slice(None)) & ~covered

    return made_of_rows(bitmap.origin, bitmap.shape, rows).tight()


def _box(bitmaps: Sequence[Bitmap]) -> Window:
    left, top = (min(b.origin[axis] for b in bitmaps) for axis in (0, 1))
    right, bottom = (max(b.origin[axis] + b.shape[1 - axis] for b in bitmaps) for axis in (0, 1))
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)


def converted(
    objects: Iterable[LabeledObject],
    mapping: dict[str, str],
    convert: Callable[[F], Iterable[Figure]],
    only: tuple[type[F], str] | None = None,
) -> Iterator[LabeledObject]:
    """Objects of the mapped classes turned into others in place, the rest as they are.

    Parameters
    ----------
    objects
        In z-order.
    mapping
        From the title of a class to that of the objects made.
    convert
        From a figure to those made of it.
    only
        The one shape that is converted, and the name of the layer, for the error about any other.
    """
    for item in objects:
        new = mapping.get(item.class_name)
        if new is None:
            yield item
        else:
            if only is not None:
                need(item.figure, only[:1], item.class_name, only[1])
            for figure in convert(item.figure):  # type: ignore[arg-type]  # needed above
                yield item.with_figure(figure).renamed(new)


def need(figure: Figure, kinds: tuple[type, ...], name: str, layer: str) -> None:
    """Refuse a figure of another shape.

    Raises
    ------
    InputError
        With the shapes that are wanted.
    """
    if not isinstance(figure, kinds):
        wanted = " or ".join(kind.__name__.lower() for kind in kinds)
        raise InputError(
            f"objects of class {name!r} must be {wanted} for {layer}, got a {figure.kind}. "
            "Convert them before, or leave them out."
        )


VERTICES = (Polygon, Line)
