"""Large bitmaps thinned to lines, strip by strip.

A pixel goes or stays by its eight neighbors, so what some steps leave in a strip depends on so many rows
around it and no more. Steps are repeated until nothing changes, and give what thinning all at once gives.

References
----------
Guo, Z., Hall, R. W. (1989). Parallel thinning with two-subiteration algorithms. Communications of the ACM
32 (3), 359-373.
"""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.projects.figures.stored import STRIP, store_rows
from geoseg.projects.figures.types import Bitmap
from geoseg.typing import BoolArray

__all__ = ["thinned"]

#: Steps of two halves between two looks at the strips beside; each needs two rows around.
_STEPS = 32


def thinned(bitmap: Bitmap) -> Bitmap | None:
    """Lines of one pixel along the middle of a mask, tight; None where nothing is left.

    Parameters
    ----------
    bitmap
        The mask; outside it there is background.

    Examples
    --------
    >>> thinned(Bitmap((0, 0), np.ones((3, 9), bool))).mask.shape[0]
    1
    """
    bitmap = bitmap.by_rows()
    first, second = _tables()
    height, width = bitmap.shape
    tops = range(0, height, STRIP)
    # Which strips changed; the first and the last entry stand for those that are not there.
    moving = np.ones(len(tops) + 2, bool)
    moving[[0, -1]] = False
    while moving.any():
        changed, strips = np.zeros_like(moving), []
        for index, top in enumerate(tops, 1):
            rows = bitmap.part(slice(top, top + STRIP), slice(None))
            # A strip can change only where it or one beside it did.
            if moving[index - 1 : index + 2].any():
                above = min(top, 2 * _STEPS)
                around = bitmap.part(slice(top - above, top + STRIP + 2 * _STEPS), slice(None))
                # A rim of background, which the kernel looks at and never changes.
                field = np.pad(around.astype(np.uint8), 1)
                _thin(field, first, second, _STEPS)
                thinner = field[1:-1, 1:-1].astype(bool)[above : above + len(rows)]
                changed[index] = bool((thinner != rows).any())
                rows = thinner
            strips.append(np.packbits(rows, axis=1))
        bitmap, moving = Bitmap(bitmap.origin, store_rows(strips, height, width)), changed
    return bitmap.tight()


def _tables() -> tuple[BoolArray, BoolArray]:
    """Whether a pixel goes in either half of a step, by its neighbors: bits clockwise from the right one."""
    bits = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool)
    east, southeast, south, southwest, west, northwest, north, northeast = bits.T
    sides, corners = bits[:, ::2], bits[:, 1::2]
    # The three conditions of the paper: one crossing, so that nothing falls apart; 2 or 3 neighbors by the
    # smaller of two counts, so that ends stay; and one of two sides by turns, so that lines stay in the
    # middle.
    crossings = (~sides & (corners | np.roll(sides, -1, axis=1))).sum(axis=1)
    pairs = (np.roll(corners, 1, axis=1) | sides).sum(axis=1), (sides | corners).sum(axis=1)
    fewest = np.minimum(*pairs)
    goes = (crossings == 1) & (fewest >= 2) & (fewest <= 3)
    first = ~((north | northeast | ~southeast) & east)
    second = ~((south | southwest | ~northwest) & west)
    return goes & first, goes & second


@kernel
def _thin(field, first, second, steps):  # type: ignore[no-untyped-def] # numba
    """Take pixels away, in place, ``steps`` times or until none goes."""
    height, width = field.shape
    for _ in range(steps):
        gone = False
        for half in range(2):
            table = first if half == 0 else second
            marked = False
            for row in range(1, height - 1):
                for col in range(1, width - 1):
                    if field[row, col]:
                        code = (
                            (field[row, col + 1] != 0)
                            | (field[row + 1, col + 1] != 0) << 1
                            | (field[row + 1, col] != 0) << 2
                            | (field[row + 1, col - 1] != 0) << 3
                            | (field[row, col - 1] != 0) << 4
                            | (field[row - 1, col - 1] != 0) << 5
                            | (field[row - 1, col] != 0) << 6
                            | (field[row - 1, col + 1] != 0) << 7
                        )
                        if table[code]:
                            # Marked first and removed after: all pixels of a half step decide on the same
                            # picture.
                            field[row, col] = 2
                            marked = True
            if marked:
                gone = True
                for row in range(1, height - 1):
                    for col in range(1, width - 1):
                        if field[row, col] == 2:
                            field[row, col] = 0
        if not gone:
            return
