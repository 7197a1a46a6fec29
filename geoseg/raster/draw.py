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
from geoseg.typing import Array, BoolArray

__all__ = [
    "Drawable",
    "draw_figures",
    "figure_mask",
    "figure_strips",
    "fill_parts",
    "fill_rings",
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
        part = mask[box.row_off - top : box.row_end - top, box.col_off - left : box.col_end - left]
        return (box, part) if part.any() else None
    if figure.kind in ("rectangle", "point"):
        return box, np.ones((box.height, box.width), bool)
    mask = np.zeros((box.height, box.width), bool)
    closed = figure.kind == "polygon"
    if closed:
        fill_rings(mask, rings, (box.col_off, box.row_off))
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
    for part in _row_windows(box):
        drawn = figure_mask(figure, part)
        if drawn is not None:
            yield drawn


def _row_windows(box: Window) -> Iterator[Window]:
    """A window in parts, from top to bottom, that are drawn at once."""
    rows = max(1, _AT_ONCE // max(1, box.width))
    for top in range(box.row_off, box.row_end, rows):
        height = min(rows, box.row_end - top)
        yield Window(row_off=top, col_off=box.col_off, height=height, width=box.width)


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
    _paint(canvas, mask, canvas.dtype.type(value))


def round_half_up(coords: Array) -> NDArray[np.int64]:
    """Whole pixels of vertices; halves go up, so a shift by whole pixels shifts the result alike."""
    return np.floor(np.asarray(coords, np.float64) + 0.5).astype(np.int64)


def _box(rings: Sequence[NDArray[np.int64]], window: Window) -> Window | None:
    if not rings:
        return None
    coords = np.concatenate(list(rings))
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


def fill_rings(mask: BoolArray, rings: Sequence[Array], origin: tuple[float, float]) -> None:
    """Set the pixels of ``mask`` whose centers lie inside the rings, even-odd over all of them.

    Parameters
    ----------
    mask
        (h, w) bool, written in place.
    rings
        (N, 2) arrays of x, y, in pixel indices; need not be whole numbers.
    origin
        Column and row of the mask's first pixel.
    """
    rings = [np.asarray(ring, np.float64) for ring in rings if len(ring) >= 3]
    if rings:
        ends = np.cumsum([len(ring) for ring in rings])
        fill_parts(mask, np.concatenate(rings) - origin, ends, np.array([len(ends)]), np.ones(1, np.bool_))


def fill_parts(canvas: Array, coords: Array, ring_ends: Array, part_ends: Array, values: Array) -> None:
    """Write a value to the pixels whose centers lie inside each part, one part over the other.

    Even-odd over the rings of a part. A center on an edge belongs to the part on its right or, at level
    edges, below it, so parts that share an edge share no pixel.

    Parameters
    ----------
    canvas
        (h, w), written in place.
    coords
        (p, 2) float64 of x, y of all rings, in pixel indices of the canvas: (0, 0) is the center of its first
        pixel.
    ring_ends
        (rings,) int, end of each ring in ``coords``; rings may repeat their first vertex at the end.
    part_ends
        (parts,) int, end of each part's rings.
    values
        (parts,) of the canvas's dtype.

    Examples
    --------
    >>> canvas = np.zeros((2, 3), np.uint8)
    >>> square = np.array([[-0.5, -0.5], [1.5, -0.5], [1.5, 1.5], [-0.5, 1.5]])
    >>> fill_parts(canvas, square, np.array([4]), np.array([1]), np.array([7], np.uint8))
    >>> canvas.tolist()
    [[7, 7, 0], [7, 7, 0]]
    """
    if canvas.size and len(coords):
        coords = np.ascontiguousarray(coords, np.float64)
        ends = np.asarray(ring_ends, np.int64), np.asarray(part_ends, np.int64)
        _fill(canvas, coords, *ends, np.asarray(values, canvas.dtype))


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
def _fill(canvas, coords, ring_ends, part_ends, values):  # type: ignore[no-untyped-def] # numba
    height, width = canvas.shape
    first_ring = first_point = 0
    for part in range(len(part_ends)):
        last_point = ring_ends[part_ends[part] - 1]
        top, bottom = np.inf, -np.inf
        for i in range(first_point, last_point):
            top, bottom = min(top, coords[i, 1]), max(bottom, coords[i, 1])
        # Rows of the part alone: a canvas may hold many small parts.
        row0, row1 = 0, 0
        if bottom > 0 and top < height:
            row0, row1 = int(max(0.0, np.ceil(top))), int(min(float(height), np.ceil(bottom)))
        counts = np.zeros(max(0, row1 - row0) + 1, np.int64)
        crossings = np.empty(0, np.float64)
        fill_at = counts
        # Twice over the edges: crossings are counted first, and then put down row by row.
        for phase in range(2 if row1 > row0 else 0):
            if phase == 1:
                for row in range(row1 - row0):
                    counts[row + 1] += counts[row]
                crossings = np.empty(counts[row1 - row0], np.float64)
                fill_at = counts[: row1 - row0].copy()
            start = first_point
            for ring in range(first_ring, part_ends[part]):
                end = ring_ends[ring]
                for i in range(start, end):
                    j = i + 1 if i + 1 < end else start
                    x0, y0, x1, y1 = coords[i, 0], coords[i, 1], coords[j, 0], coords[j, 1]
                    if y0 == y1:
                        continue
                    if y0 > y1:
                        x0, y0, x1, y1 = x1, y1, x0, y0
                    # Half open: a vertex on the middle of a row belongs to one of its two edges.
                    first = int(max(float(row0), np.ceil(y0)))
                    last = int(min(float(row1), np.ceil(y1)))
                    for row in range(first, last):
                        if phase == 0:
                            counts[row - row0 + 1] += 1
                        else:
                            crossings[fill_at[row - row0]] = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
                            fill_at[row - row0] += 1
                start = end
        for row in range(row0, row1):
            xs = np.sort(crossings[counts[row - row0] : counts[row - row0 + 1]])
            for k in range(0, len(xs) - 1, 2):
                # Half open too: of two polygons with a common wall, one has the pixels on it.
                left = int(max(0.0, np.ceil(xs[k])))
                right = int(min(float(width), np.ceil(xs[k + 1])))
                for col in range(left, right):
                    canvas[row, col] = values[part]
        first_ring, first_point = part_ends[part], last_point


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
                t = 0.0 if norm == 0 else min(1.0, max(0.0, ((col - x0) * dx + (row - y0) * dy) / norm))
                ex, ey = x0 + t * dx - col, y0 + t * dy - row
                if ex * ex + ey * ey <= radius * radius:
                    mask[row, col] = True
