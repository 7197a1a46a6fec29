"""Large bitmaps made strip by strip: unpacked, a pixel takes a byte, so strips are unpacked one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geoseg.geo.windows import Window
from geoseg.projects.figures.stored import LARGE, STRIP, StoredMask, store_rows
from geoseg.projects.figures.types import Bitmap
from geoseg.typing import BoolArray

__all__ = ["add_rows", "made_of_rows", "picked", "resampled"]

#: Columns of a strip that are resampled together.
_TILE = 1024
#: Most pixels of a bitmap from which a tile is taken at once: 4 MB unpacked.
_AT_ONCE = 2**22


def made_of_rows(
    origin: tuple[int, int], shape: tuple[int, int], rows: Callable[[int, int], BoolArray]
) -> Bitmap:
    """A bitmap made strip by strip and kept compressed, or at once where it is small.

    Parameters
    ----------
    origin
        Column and row of its first pixel.
    shape
        (rows, columns).
    rows
        Gives the rows from a first one to before a last one, (n, columns) bool; asked from top to bottom,
        for up to ``STRIP`` of them from a multiple of it on, or for all.

    Examples
    --------
    >>> made_of_rows((0, 0), (2, 3), lambda top, bottom: np.ones((bottom - top, 3), bool)).shape
    (2, 3)
    """
    height, width = shape
    if height * width <= LARGE:
        return Bitmap(origin, rows(0, height))
    tops = range(0, height, STRIP)
    strips = (np.packbits(rows(top, min(top + STRIP, height)), axis=1) for top in tops)
    return Bitmap(origin, store_rows(strips, height, width))


def add_rows(out: BoolArray, box: Window, top: int, bitmap: Bitmap) -> None:
    """Set the pixels of a bitmap in some rows of a box.

    Parameters
    ----------
    out
        (n, columns of the box) bool, written in place.
    box
        Where the rows lie in the image; the bitmap may reach out of it.
    top
        The first of the rows, counted from the box's own.
    bitmap
        Its pixels are added to those that are set.
    """
    row, col = bitmap.origin[1] - box.row_off - top, bitmap.origin[0] - box.col_off
    (height, width), (rows, cols) = bitmap.shape, out.shape
    first, last, left, right = max(row, 0), min(row + height, rows), max(col, 0), min(col + width, cols)
    if first < last and left < right:
        part = bitmap.part(slice(first - row, last - row), slice(left - col, right - col))
        out[first:last, left:right] |= part


def picked(
    bitmap: Bitmap, rows: NDArray[np.int64], cols: NDArray[np.int64], origin: tuple[int, int]
) -> Bitmap:
    """A bitmap of some rows and columns of another one, which may come several times, in rising order."""
    bitmap = bitmap.by_rows()
    left, right = int(cols[0]), int(cols[-1]) + 1

    def taken(top: int, bottom: int) -> BoolArray:
        out = np.empty((bottom - top, len(cols)), bool)
        # Where rows are left out a strip comes from many: no more of them at once than a strip has.
        wanted = rows[top:bottom]
        breaks = np.flatnonzero(np.diff(wanted // STRIP)) + 1
        for piece in np.split(np.arange(len(wanted)), breaks):
            first, last = int(wanted[piece[0]]), int(wanted[piece[-1]]) + 1
            part = bitmap.part(slice(first, last), slice(left, right))
            out[piece] = part[np.ix_(wanted[piece] - first, cols - left)]
        return out

    return made_of_rows(origin, (len(rows), len(cols)), taken)


def resampled(
    bitmap: Bitmap,
    window: Window,
    source_of: Callable[[Window], tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> Bitmap | None:
    """What a bitmap shows on another grid, by nearest pixel, tight; None where nothing is seen.

    Parameters
    ----------
    bitmap
        On the image.
    window
        Part of the other grid that is made.
    source_of
        Gives, for a part of it, the columns and the rows on the image that its pixels show; (h, w) each.
    """

    def rows(top: int, bottom: int) -> BoolArray:
        out = np.zeros((bottom - top, window.width), bool)
        for left in range(0, window.width, _TILE):
            width = min(_TILE, window.width - left)
            tile = Window(
                row_off=window.row_off + top, col_off=window.col_off + left, height=bottom - top, width=width
            )
            # Tile by tile: turned, a whole strip would reach across the bitmap from corner to corner.
            _take(bitmap, *source_of(tile), out[:, left : left + width])
        return out

    return made_of_rows((window.col_off, window.row_off), (window.height, window.width), rows).tight()


def _take(bitmap: Bitmap, cols: NDArray[np.int64], rows: NDArray[np.int64], out: BoolArray) -> None:
    """Set pixels of a tile where a bitmap is set at their places on the image."""
    cols, rows = cols - bitmap.origin[0], rows - bitmap.origin[1]
    inside = (cols >= 0) & (rows >= 0) & (cols < bitmap.shape[1]) & (rows < bitmap.shape[0])
    if not inside.any():
        return
    cols, rows = cols[inside], rows[inside]
    if (np.ptp(rows) + 1) * (np.ptp(cols) + 1) <= _AT_ONCE:
        out[inside] = _at(bitmap, cols, rows)
        return
    # A coarser grid: what is far apart is taken from one strip after the other.
    by_cols = isinstance(bitmap.pixels, StoredMask) and bitmap.pixels.transpose
    strips = (cols if by_cols else rows) // STRIP
    order = np.argsort(strips, kind="stable")
    taken = np.empty(len(rows), bool)
    for piece in np.split(order, np.flatnonzero(np.diff(strips[order])) + 1):
        taken[piece] = _at(bitmap, cols[piece], rows[piece])
    out[inside] = taken


def _at(bitmap: Bitmap, cols: NDArray[np.int64], rows: NDArray[np.int64]) -> BoolArray:
    """Pixels of a bitmap, of which the box around them is unpacked."""
    top, left = int(rows.min()), int(cols.min())
    part = bitmap.part(slice(top, int(rows.max()) + 1), slice(left, int(cols.max()) + 1))
    at: BoolArray = part[rows - top, cols - left] if part.any() else np.zeros(len(rows), bool)
    return at
