"""Edits of bitmaps, exact to the pixel, by rules that a browser computes alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from scipy import ndimage

from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap
from geoseg.typing import Array, BoolArray
from geoseg.vector.burn import burn_polygons

__all__ = ["cut_mask", "fill_mask", "frame_of", "merge_masks", "paint_mask", "split_mask", "stroke_pixels"]


def stroke_pixels(path: Any, size: int, shape: tuple[int, int]) -> Bitmap | None:
    """The pixels whose centers lie within ``size`` / 2 of a path, in whole numbers and so without rounding.

    Parameters
    ----------
    path : (n, 2) int
        Column and row of whole pixels; one alone is a disc.
    size
        Width of the brush in pixels.
    shape
        (height, width) of the image, at whose edge the stroke ends.

    Returns
    -------
    Bitmap or None
        None where no pixel of the image is painted.

    Examples
    --------
    >>> stroke_pixels([[1, 1], [3, 1]], 1, (9, 9)).mask.tolist()
    [[True, True, True]]
    >>> stroke_pixels([[1, 1]], 2, (9, 9)).mask.astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    points = np.asarray(path, np.int64).reshape(-1, 2)
    reach = size // 2
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach + 1
    window = Window(
        row_off=int(low[1]), col_off=int(low[0]), height=int(high[1] - low[1]), width=int(high[0] - low[0])
    ).clipped(*shape)
    if 0 in (window.height, window.width):
        return None
    mask = np.zeros((window.height, window.width), bool)
    # A click without a stroke is a segment from a point to itself.
    ends = points[1:] if len(points) > 1 else points
    for start, end in zip(points, ends):
        left, top = np.minimum(start, end) - reach - (window.col_off, window.row_off)
        right, bottom = np.maximum(start, end) + reach + 1 - (window.col_off, window.row_off)
        place = slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))
        # A view on the box of this segment: a long stroke touches few pixels of its own box.
        part = mask[place]
        rows = np.arange(part.shape[0], dtype=np.int64)[:, None] + place[0].start + window.row_off
        cols = np.arange(part.shape[1], dtype=np.int64)[None] + place[1].start + window.col_off
        part |= _near_segment(cols - start[0], rows - start[1], end - start, size)
    return Bitmap((window.col_off, window.row_off), mask).tight()


def _near_segment(x: Array, y: Array, step: Array, size: int) -> BoolArray:
    """Whether 4 d^2 <= size^2, with d from pixels (x, y) to the segment from (0, 0) to ``step``."""
    norm, along = int(step @ step), x * step[0] + y * step[1]
    across = x * step[1] - y * step[0]
    start = 4 * (x * x + y * y) <= size * size
    end = 4 * ((x - step[0]) ** 2 + (y - step[1]) ** 2) <= size * size
    # Distance times length, squared: no root and no division, so a browser gets the same pixels.
    between = 4 * across * across <= size * size * norm
    return np.where(along <= 0, start, np.where(along >= norm, end, between))


def _on(bitmap: Bitmap, box: tuple[int, int, int, int]) -> BoolArray:
    """A bitmap's pixels on a box (left, top, right, bottom) that holds it."""
    left, top, right, bottom = box
    canvas = np.zeros((bottom - top, right - left), bool)
    (x, y), (height, width) = bitmap.origin, bitmap.shape
    canvas[y - top : y - top + height, x - left : x - left + width] = bitmap.mask
    return canvas


def _box(bitmaps: Sequence[Bitmap]) -> tuple[int, int, int, int]:
    lefts, tops = zip(*(bitmap.origin for bitmap in bitmaps))
    rights = [bitmap.origin[0] + bitmap.shape[1] for bitmap in bitmaps]
    bottoms = [bitmap.origin[1] + bitmap.shape[0] for bitmap in bitmaps]
    return min(lefts), min(tops), max(rights), max(bottoms)


def merge_masks(bitmaps: Sequence[Bitmap]) -> Bitmap:
    """All pixels of some bitmaps."""
    box = _box(bitmaps)
    return Bitmap(box[:2], np.logical_or.reduce([_on(bitmap, box) for bitmap in bitmaps])).compact()


def paint_mask(bitmap: Bitmap, stroke: Bitmap, erase: bool) -> Bitmap | None:
    """A bitmap with a stroke added or erased; None where nothing is left of it."""
    if not erase:
        return merge_masks([bitmap, stroke])
    box = _box([bitmap, stroke])
    return Bitmap(box[:2], _on(bitmap, box) & ~_on(stroke, box)).tight()


def _burned(geometry: Any, bitmap: Bitmap) -> BoolArray:
    """Pixels of a bitmap's frame whose centers lie in a polygon."""
    (x, y), (height, width) = bitmap.origin, bitmap.shape
    canvas = np.zeros((height, width), bool)
    burn_polygons(canvas, [geometry], True, Window(row_off=y, col_off=x, height=height, width=width))
    return canvas


def cut_mask(bitmap: Bitmap, tool: Any) -> Bitmap | None:
    """A bitmap without the pixels whose centers lie in a polygon; None where nothing is left."""
    return Bitmap(bitmap.origin, bitmap.mask & ~_burned(tool, bitmap)).tight()


def split_mask(bitmap: Bitmap, sides: Sequence[Any]) -> list[Bitmap]:
    """A bitmap's pixels by the polygon that their centers lie in, the most first; each is in one.

    Parameters
    ----------
    bitmap
        The bitmap.
    sides
        Polygons that together cover its frame.
    """
    pieces = [Bitmap(bitmap.origin, bitmap.mask & _burned(side, bitmap)).tight() for side in sides]
    # Centers lie inside of the frame, and none on two sides: no pixel is lost or counted twice.
    full = [piece for piece in pieces if piece is not None]
    return sorted(full, key=lambda piece: -int(np.count_nonzero(piece.mask)))


def frame_of(bitmap: Bitmap) -> Any:
    """A polygon around a bitmap with a pixel to spare, so that no center lies on it."""
    (x, y), (height, width) = bitmap.origin, bitmap.shape
    return shapely.box(x - 1, y - 1, x + width + 1, y + height + 1)


def fill_mask(bitmap: Bitmap, at: tuple[float, float]) -> Bitmap | None:
    """A bitmap with the hole filled that a point lies in; None where there is none."""
    col, row = int(np.floor(at[0])) - bitmap.origin[0], int(np.floor(at[1])) - bitmap.origin[1]
    mask = bitmap.mask
    if not (0 <= row < mask.shape[0] and 0 <= col < mask.shape[1]) or mask[row, col]:
        return None
    # A margin around it joins all that is outside, also where the object touches its box.
    empty, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    hole = empty[1:-1, 1:-1] == empty[row + 1, col + 1]
    if empty[0, 0] == empty[row + 1, col + 1]:
        return None  # what lies there is outside
    return Bitmap(bitmap.origin, mask | hole)
