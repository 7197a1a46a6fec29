"""What is known of each component beside its outline: sums of a second raster, and neighbors without data."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.raster.segments import Segments
from geoseg.typing import Array, BoolArray

__all__ = ["FLOAT_SCALE", "UINT8_SCALE", "components_beside", "prob_scale", "sum_prob"]

#: Stored probabilities are round(p * 254) as uint8 (255 means no data).
UINT8_SCALE = 254
#: Floating-point probabilities are summed as round(p * 2**30), so that the order of adding never matters.
FLOAT_SCALE = 1 << 30


def prob_scale(dtype: np.dtype[np.generic] | type) -> int:
    """What a probability of 1 counts in the sums over pixels of this dtype."""
    return UINT8_SCALE if np.dtype(dtype) == np.uint8 else FLOAT_SCALE


def sum_prob(segments: Segments, component: Array, count: int, prob: Array) -> Array:
    """Sum of the probabilities over each component, as exact integers.

    Parameters
    ----------
    segments
        Rows of a chunk with its halo: row 0 and column 0 are not summed.
    component : (n,) int32
        Component of each segment, 0 for background.
    count
        Number of components.
    prob : (h, w) uint8 or float32
        round(p * 254), or p itself.

    Returns
    -------
    (count + 1,) int64
        Sums in units of 1 / ``prob_scale(prob.dtype)``; entry 0 is 0.
    """
    if prob.dtype == np.uint8:
        return _sum_stored(segments.row_ptr, segments.start, component, count, np.ascontiguousarray(prob))
    prob = np.ascontiguousarray(prob, dtype=np.float32)
    return _sum_float(segments.row_ptr, segments.start, component, count, prob)


@kernel
def _sum_stored(row_ptr, start, component, count, prob):  # type: ignore[no-untyped-def]
    sums = np.zeros(count + 1, np.int64)
    height, width = prob.shape
    for r in range(1, height + 1):
        for k in range(row_ptr[r], row_ptr[r + 1]):
            if component[k] == 0:
                continue
            stop = start[k + 1] if k + 1 < row_ptr[r + 1] else width + 1
            total = np.int64(0)  # in a register along the run: one write to the sums for all its pixels
            for c in range(max(start[k] - 1, 0), min(stop - 1, width)):
                total += np.int64(prob[r - 1, c])
            sums[component[k]] += total
    return sums


# Not one kernel with the above that takes the scale as an argument: on floats that takes seven times as long.
# The scale is a power of two, so scaling is exact and only rint rounds.
@kernel
def _sum_float(row_ptr, start, component, count, prob):  # type: ignore[no-untyped-def]
    sums = np.zeros(count + 1, np.int64)
    height, width = prob.shape
    for r in range(1, height + 1):
        for k in range(row_ptr[r], row_ptr[r + 1]):
            if component[k] == 0:
                continue
            stop = start[k + 1] if k + 1 < row_ptr[r + 1] else width + 1
            for c in range(max(start[k] - 1, 0), min(stop - 1, width)):
                sums[component[k]] += np.int64(np.rint(np.float64(prob[r - 1, c]) * FLOAT_SCALE))
    return sums


def components_beside(segments: Segments, component: Array, count: int, marked: BoolArray) -> BoolArray:
    """Components with a pixel on or 8-adjacent to a marked one.

    Parameters
    ----------
    segments
        Rows of a chunk with its halo.
    component : (n,) int32
        Component of each segment, 0 for background.
    count
        Number of components.
    marked : (at most rows, at most columns) bool
        Marked pixels of the same chunk with its halo; rows and columns it lacks are not marked.

    Returns
    -------
    (count + 1,) bool
    """
    return _beside(segments.row_ptr, segments.start, segments.width, component, count, marked)


@kernel
def _beside(row_ptr, start, width, component, count, marked):  # type: ignore[no-untyped-def]
    beside = np.zeros(count + 1, np.bool_)
    for r in range(row_ptr.size - 1):
        for k in range(row_ptr[r], row_ptr[r + 1]):
            # Once found, a component is passed over: most pixels are far from what is marked.
            if component[k] == 0 or beside[component[k]]:
                continue
            stop = start[k + 1] if k + 1 < row_ptr[r + 1] else width
            for y in range(max(r - 1, 0), min(r + 2, marked.shape[0])):
                for x in range(max(start[k] - 1, 0), min(stop + 1, marked.shape[1])):
                    if marked[y, x]:
                        beside[component[k]] = True
    return beside
