"""Which pixels an annotated figure covers: one rule for masks, targets and pictures.

Vertices are pixel indices, rounded half up. A polygon covers every pixel whose center lies inside by the
even-odd rule over all its rings, and every pixel on the outline of any ring: the border is inclusive, so the
outline of a hole stays object. An outline is drawn as eight-connected lines. A rectangle includes its right
column and bottom row, a line is one pixel wide, a point one pixel.

References
----------
The rule follows the behavior documented for polygon filling in OpenCV's imgproc drawing functions, which
labeling tools share: docs.opencv.org, "Drawing Functions".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geoseg.compiled import kernel
from geoseg.geo.windows import Window
from geoseg.raster.fill import fill_rings
from geoseg.typing import Array, BoolArray

__all__ = [
    "Drawable",
    "draw_figures",
    "figure_mask",
    "figure_strips",
    "paint_mask",
    "stroke_mask",
]

Kind = Literal["polygon", "bitmap", "rectangle", "line", "point"]

#: Most pixels of a figure that are drawn at once: a mask of 16 MB.
_AT_ONCE = 2**24


class Drawable(Protocol):
    """What can be drawn: a shape's name and its coordinates."""

    @property
    def kind(self) -> Kind:
        """Name of the shape."""

    def parts(self) -> tuple[Array, ...]:
        """Rings or points as (N, 2) of x, y; for a bitmap its origin as (1, 2) and its mask."""


def figure_mask(figure: Drawable, window: Window) -> tuple[Window, BoolArray] | None:
    """The pixels of a figure inside a window.

    Parameters
    ----------
    figure
        The figure, in the image's pixel indices.
    window
        Part of the image that matters; nothing outside it is touched or allocated.

    Returns
    -------
    (Window, (h, w) bool array) or None
        The box around the figure within ``window`` (in the image's pixels) and the mask of it; None where
        the figure covers no pixel there.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> rectangle = SimpleNamespace(kind="rectangle", parts=lambda: (np.array([[1, 1], [2, 3]]),))
    >>> box, mask = figure_mask(rectangle, Window(row_off=0, col_off=0, height=9, width=9))
    >>> box.height, box.width, bool(mask.all())
    (3, 2, True)
    """
    rings = _rounded(figure)
    box = _box(rings, window)
    if box is None:
        return None
    if figure.kind == "bitmap":
        origin, mask = figure.parts()
        left, top = int(origin[0][0]), int(origin[0][1])
        # A view and no copy: a bitmap of a whole scene is looked at window by window.
        part = mask[box.row_off - top : box.row_end - top, box.col_off - left : box.col_end - left]
        return (box, part) if part.any() else None
    # No filling and no outline: their box is what they cover.
    if figure.kind in ("rectangle", "point"):
        return box, np.ones((box.height, box.width), bool)
    mask = np.zeros((box.height, box.width), bool)
    closed = figure.kind == "polygon"
    if closed:
        fill_rings(mask, rings, (box.col_off, box.row_off))
    # After the filling, whose rule leaves out some centers on an edge: the border is inclusive.
    for ring in rings:
        _outline(mask, ring, closed, box.col_off, box.row_off)
    return (box, mask) if mask.any() else None


def figure_strips(figure: Drawable, window: Window) -> Iterator[tuple[Window, BoolArray]]:
    """The pixels of a figure inside a window, strip by strip where it is large.

    Parameters
    ----------
    figure, window
        As for :func:`figure_mask`. A figure that is read by rows slowly may have a method ``by_rows``,
        which gives it laid down anew.

    Yields
    ------
    (Window, (h, w) bool array)
        Boxes from top to bottom, with up to 16 million pixels or one row each, and their masks; none
        where the figure covers no pixel.
    """
    # Most windows are chips, and few of them need the box that strips are cut from.
    if window.height * window.width <= _AT_ONCE:
        drawn = figure_mask(figure, window)
        if drawn is not None:
            yield drawn
        return
    box = _box(_rounded(figure), window)
    if box is None:
        return
    by_rows = getattr(figure, "by_rows", None)
    if by_rows is not None and box.height * box.width > _AT_ONCE:
        figure = by_rows()
    rows = max(1, _AT_ONCE // box.width)
    for top in range(box.row_off, box.row_end, rows):
        height = min(rows, box.row_end - top)
        strip = Window(row_off=top, col_off=box.col_off, height=height, width=box.width)
        drawn = figure_mask(figure, strip)
        if drawn is not None:
            yield drawn


def draw_figures(
    figures: Iterable[Drawable],
    values: Sequence[Any],
    window: Window,
    *,
    dtype: DTypeLike = np.uint8,
    fill: Any = 0,
) -> Array:
    """A raster of a window with the figures drawn one over the other, later on top.

    Parameters
    ----------
    figures
        In z-order.
    values
        What each figure writes.
    window
        Part of the image to draw.
    fill
        Value where there is no figure.

    Returns
    -------
    (height, width) array of ``dtype``
    """
    canvas = np.full((window.height, window.width), fill, dtype)
    for figure, value in zip(figures, values, strict=True):
        for box, mask in figure_strips(figure, window):
            top, left = box.row_off - window.row_off, box.col_off - window.col_off
            paint_mask(canvas[top : top + box.height, left : left + box.width], mask, value)
    return canvas


def paint_mask(canvas: Array, mask: BoolArray, value: Any) -> None:
    """Write ``value`` to ``canvas`` where ``mask`` is set: ``canvas[mask] = value``, many times faster.

    Parameters
    ----------
    canvas : (h, w) array
        Written in place.
    mask : (h, w) bool
        Of the same shape.
    value
        Must fit the canvas; a number that does not is an OverflowError, as it is for NumPy.

    Examples
    --------
    >>> canvas = np.zeros((2, 2), np.uint8)
    >>> paint_mask(canvas, np.eye(2, dtype=bool), 7)
    >>> canvas.tolist()
    [[7, 0], [0, 7]]
    """
    if canvas.shape != mask.shape:
        raise ValueError(f"mask must have the shape of the canvas, {canvas.shape}, got {mask.shape}")
    # Numba would wrap a number that is too large around; NumPy's type refuses it.
    _paint(canvas, mask, canvas.dtype.type(value))


def round_half_up(coords: Array) -> NDArray[np.int64]:
    """Whole pixels of vertices; halves go up, so a shift by whole pixels shifts the result alike."""
    return np.floor(np.asarray(coords, np.float64) + 0.5).astype(np.int64)


def _box(rings: Sequence[NDArray[np.int64]], window: Window) -> Window | None:
    if not rings:
        return None
    coords = np.concatenate(list(rings))
    # Vertices are pixels, and the last one is inside: the box ends behind it.
    (left, top), (right, bottom) = coords.min(axis=0), coords.max(axis=0) + 1
    left, top = max(int(left), window.col_off), max(int(top), window.row_off)
    right, bottom = min(int(right), window.col_end), min(int(bottom), window.row_end)
    if left >= right or top >= bottom:
        return None
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)


def _rounded(figure: Drawable) -> list[NDArray[np.int64]]:
    """Rings or points of a figure on whole pixels; of a bitmap its first and its last pixel."""
    parts = figure.parts()
    if figure.kind != "bitmap":
        return [round_half_up(part) for part in parts if len(part)]
    (x, y), (height, width) = parts[0][0], parts[1].shape
    return [np.array([[x, y], [x + width - 1, y + height - 1]], np.int64)]


def stroke_mask(lines: Sequence[Array], width: float, window: Window) -> tuple[Window, BoolArray] | None:
    """The pixels within ``width`` / 2 of polylines (centers to segments), and those of the thin lines.

    Parameters
    ----------
    lines
        (N, 2) arrays of x, y in pixel indices; close a ring by repeating its first vertex.
    width
        Pixels; 1 draws plain eight-connected lines.

    Returns
    -------
    (Window, (h, w) bool array) or None
        As :func:`figure_mask`.
    """
    rounded = [round_half_up(line) for line in lines if len(line)]
    # The box of all lines, moved by the reach both ways, holds the strokes.
    reach = int(np.ceil(width / 2))
    box = _box([np.concatenate([line - reach, line + reach]) for line in rounded], window)
    if box is None:
        return None
    mask = np.zeros((box.height, box.width), bool)
    for line in rounded:
        _outline(mask, line, False, box.col_off, box.row_off)
        if width > 1:
            _thicken(mask, line, width / 2, box.col_off, box.row_off)
    return (box, mask) if mask.any() else None


@kernel
def _paint(canvas, mask, value):  # type: ignore[no-untyped-def] # numba
    for row in range(mask.shape[0]):
        for col in range(mask.shape[1]):
            if mask[row, col]:
                canvas[row, col] = value


@kernel
def _outline(mask, points, closed, left, top):  # type: ignore[no-untyped-def] # numba
    height, width = mask.shape
    count = len(points)
    for i in range(count if closed or count == 1 else count - 1):
        j = (i + 1) % count
        x0, y0, x1, y1 = points[i, 0] - left, points[i, 1] - top, points[j, 0] - left, points[j, 1] - top
        # From left to right, so that a line has the same pixels in both directions; halves go to its start.
        if x1 < x0:
            x0, y0, x1, y1 = x1, y1, x0, y0
        dx, dy = x1 - x0, abs(y1 - y0)
        down = 1 if y1 >= y0 else -1
        if dx >= dy:
            # In whole numbers from the ends, not step by step: a line cut off by the window has the pixels
            # that it has in the whole image.
            for x in range(max(x0, 0), min(x1, width - 1) + 1):
                y = y0 if dx == 0 else y0 + down * ((2 * (x - x0) * dy + dx - 1) // (2 * dx))
                if 0 <= y < height:
                    mask[y, x] = True
        else:
            for y in range(max(min(y0, y1), 0), min(max(y0, y1), height - 1) + 1):
                x = x0 + (2 * abs(y - y0) * dx + dy - 1) // (2 * dy)
                if 0 <= x < width:
                    mask[y, x] = True


@kernel
def _thicken(mask, points, radius, left, top):  # type: ignore[no-untyped-def] # numba
    height, width = mask.shape
    count = len(points)
    for i in range(max(1, count - 1)):
        j = min(i + 1, count - 1)
        x0, y0, x1, y1 = points[i, 0] - left, points[i, 1] - top, points[j, 0] - left, points[j, 1] - top
        dx, dy = x1 - x0, y1 - y0
        norm = dx * dx + dy * dy
        for row in range(max(0, int(min(y0, y1) - radius)), min(height, int(max(y0, y1) + radius) + 2)):
            for col in range(max(0, int(min(x0, x1) - radius)), min(width, int(max(x0, x1) + radius) + 2)):
                # The nearest point of the segment: its ends are rounded, and so are the corners of a line.
                t = 0.0 if norm == 0 else min(1.0, max(0.0, ((col - x0) * dx + (row - y0) * dy) / norm))
                ex, ey = x0 + t * dx - col, y0 + t * dy - row
                if ex * ex + ey * ey <= radius * radius:
                    mask[row, col] = True
