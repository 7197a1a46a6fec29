"""Windows cut along the storage blocks of a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from geoseg.geo.windows import Window

__all__ = ["storage_parts"]

#: A storage block of fewer rows or columns than the first (a striped file) is too thin to be read alone: as
#: many are read together as make up the second.
_THIN, _TOGETHER = 16, 64


def storage_parts(
    window: Window, block: tuple[int, int], shape: tuple[int, int], offset: tuple[int, int] = (0, 0)
) -> Iterator[tuple[Window, Window]]:
    """Cut a window along the storage blocks of its file, so that only what is really broken is lost.

    Parameters
    ----------
    window
        Pixels that are wanted.
    block, shape
        (height, width) of a storage block, and of the raster.
    offset
        (row, column) of the raster's first pixel in the file. In a raster that is a part of its file, the
        first block may begin outside of the raster.

    Yields
    ------
    Window, Window
        A part of the window, and the block (or several thin ones) that it lies in, cut at the raster's edge.

    Examples
    --------
    >>> window = Window(row_off=60, col_off=0, height=10, width=5)
    >>> [str(part) for part, _ in storage_parts(window, (1, 5), (200, 5))]
    ['rows 60..63, columns 0..4', 'rows 64..69, columns 0..4']
    >>> [str(unit) for _, unit in storage_parts(window, (64, 64), (200, 5), offset=(100, 0))]
    ['rows 28..91, columns 0..4']
    """
    height, width = (size * -(-_TOGETHER // size) if size < _THIN else size for size in block)
    top, left = offset[0] % height, offset[1] % width  # rows and columns of the first block that lie outside
    rows = range((window.row_off + top) // height * height - top, window.row_end, height)
    cols = range((window.col_off + left) // width * width - left, window.col_end, width)
    for row, col in itertools.product(rows, cols):
        unit = Window(row_off=row, col_off=col, height=height, width=width).clipped(*shape)
        yield unit.intersection(window), unit
