"""Bitmaps cut where they are narrow."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from geoseg.projects.figures.parts import connected_parts
from geoseg.projects.figures.types import Bitmap
from geoseg.raster.split import FULL_HEIGHT, ChunkBasins, find_basins, join_basins
from geoseg.typing import BoolArray, IntArray

__all__ = ["parts_at_necks"]

#: Heights a unit of the logarithm: the largest, of a distance of some 60,000 pixels, is below FULL_HEIGHT.
_UNIT = 1e7


def parts_at_necks(bitmap: Bitmap, neck: float) -> Iterator[Bitmap]:
    """The 8-connected parts of a mask, cut where one is narrow; each tight.

    The height of a pixel is its distance to the border. Pixels climb to summits, and two summits are two
    parts where the neck between them is at most a share as wide as the narrower of them.

    Parameters
    ----------
    bitmap
        A mask.
    neck
        The share, above 0 and below 1. It holds for any size of pixels.

    Yields
    ------
    Bitmap
        Connected parts in the order of their first pixels, and so the pieces of each.

    Examples
    --------
    >>> mask = np.zeros((6, 14), bool)
    >>> mask[:, :6] = mask[:, 8:] = mask[2:3] = True
    >>> [part.origin for part in parts_at_necks(Bitmap((0, 0), mask), 0.5)]
    [(0, 0), (7, 0)]
    """
    for part in connected_parts(bitmap):
        # A pixel of background around it: the box's edges are borders, too.
        mask = np.pad(part.mask, 1)
        basins = find_basins(_log_distance(mask), mask.view(np.uint8), (0, 0), part.shape[1], 8, part.mask)
        # Two units less, since logarithms are rounded: a neck of just the share parts.
        rise = math.floor(-2 * math.log(neck) * _UNIT) - 2
        objects = join_basins(
            {(0, 0): ChunkBasins.of(basins)}, [0], [0], part.shape[1], persistence=rise / FULL_HEIGHT
        )
        labels = objects.number[0, 0][basins.labels]
        for number, place in enumerate(ndimage.find_objects(labels), 1):
            origin = part.origin[0] + place[1].start, part.origin[1] + place[0].start
            yield Bitmap(origin, labels[place] == number)


def _log_distance(mask: BoolArray) -> IntArray:
    """Logarithm of each pixel's squared distance to the nearest that is not of the mask, int32.

    In a logarithm a share of a width is a step. Squared distances are integers, so equal widths have the very
    same height.
    """
    row, col = ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True)
    row -= np.arange(mask.shape[0], dtype=row.dtype)[:, None]
    col -= np.arange(mask.shape[1], dtype=col.dtype)
    squared = row.astype(np.int64) ** 2 + col.astype(np.int64) ** 2
    return np.rint(np.log(np.maximum(squared, 1)) * _UNIT).astype(np.int32)
