"""What layers share: masks of figures as tight bitmaps, and objects made from others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from geoseg.dtl.pixels import Shape, whole
from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.raster.draw import figure_mask, stroke_mask
from geoseg.typing import Array, BoolArray
from geoseg.vector.figures import Bitmap, Figure, LabeledObject, Line, Polygon, Rectangle
from geoseg.vector.figures.trace import trace_rings
from geoseg.vector.figures.transform import clip_figure

__all__ = ["as_bitmap", "combined", "contours", "converted", "stroke_bitmap", "union_bitmap"]


def as_bitmap(figure: Figure, shape: Shape) -> Bitmap | None:
    """The pixels a figure covers inside an image, tight; None where there are none."""
    if isinstance(figure, Bitmap):
        inside = clip_figure(figure, whole(shape))
        return inside[0].tight() if inside and isinstance(inside[0], Bitmap) else None
    drawn = figure_mask(figure, whole(shape))
    if drawn is None:
        return None
    box, mask = drawn
    tight = Bitmap((box.col_off, box.row_off), mask).tight()
    return tight.compact() if tight is not None else None


def stroke_bitmap(figure: Figure, width: float, shape: Shape) -> Bitmap | None:
    """The pixels of a figure's contour drawn with a pen."""
    drawn = stroke_mask(contours(figure), width, whole(shape))
    if drawn is None:
        return None
    box, mask = drawn
    return Bitmap((box.col_off, box.row_off), mask).tight()


def contours(figure: Figure) -> list[Array]:
    """The lines around a figure; rings are closed by their first vertex."""
    if isinstance(figure, Bitmap):
        rings = [ring + np.array(figure.origin) for _, _, ring in trace_rings(figure.mask)]
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
    box = _box(bitmaps)
    mask = np.zeros((box.height, box.width), bool)
    for bitmap in bitmaps:
        _part(mask, bitmap, box)[...] |= bitmap.mask
    return Bitmap((box.col_off, box.row_off), mask).compact()


def combined(
    first: Bitmap, second: Bitmap, operation: Callable[[BoolArray, BoolArray], BoolArray]
) -> Bitmap | None:
    """Two bitmaps joined pixel by pixel, tight; None where nothing is left."""
    box = _box([first, second])
    masks = []
    for bitmap in (first, second):
        mask = np.zeros((box.height, box.width), bool)
        _part(mask, bitmap, box)[...] = bitmap.mask
        masks.append(mask)
    return Bitmap((box.col_off, box.row_off), operation(*masks)).tight()


def _box(bitmaps: Sequence[Bitmap]) -> Window:
    left, top = (min(b.origin[axis] for b in bitmaps) for axis in (0, 1))
    right, bottom = (max(b.origin[axis] + b.shape[1 - axis] for b in bitmaps) for axis in (0, 1))
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)


def _part(mask: BoolArray, bitmap: Bitmap, box: Window) -> BoolArray:
    row, col = bitmap.origin[1] - box.row_off, bitmap.origin[0] - box.col_off
    return mask[row : row + bitmap.shape[0], col : col + bitmap.shape[1]]


def converted(
    objects: Iterable[LabeledObject],
    mapping: dict[str, str],
    convert: Callable[[Figure], Iterable[Figure]],
) -> Iterator[LabeledObject]:
    """Objects of the mapped classes turned into others in place, the rest as they are."""
    for item in objects:
        new = mapping.get(item.class_name)
        if new is None:
            yield item
        else:
            for figure in convert(item.figure):
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
        raise InputError(f"objects of class {name!r} must be {wanted} for {layer}, got a {figure.kind}.")


VERTICES = (Polygon, Line)
