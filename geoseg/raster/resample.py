"""Resampling with a fixed phase: an output pixel is the same whatever window it is read in.

Along each axis N source pixels become M output pixels. Going coarser (M < N) an output pixel is the mean of
the ground it covers, each source pixel weighted by the covered share; going finer, it is interpolated
linearly between the centers of its two neighbors. All weights are exact integers over one denominator, so a
constant stays that constant and the sum does not depend on where a window begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray

__all__ = ["Axis", "axis_weights", "resample", "resample_valid", "source_span"]


@dataclass(frozen=True)
class Axis:
    """Weights of output pixels [start, stop) along one axis.

    Attributes
    ----------
    first
        int64 (n,): first source pixel that output pixel i draws on, relative to the span.
    count
        int64 (n,): how many it draws on, all of positive weight.
    weights
        float64 (n, most): integers; a row sums to ``total``.
    total
        The common denominator.
    span
        Source pixels [first, stop) that the outputs draw on.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    weights: NDArray[np.float64]
    total: float
    span: tuple[int, int]


def _reach(index: NDArray[np.int64], source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last source pixel of output pixels, inclusive."""
    if target <= source:
        return index * source // target, ((index + 1) * source - 1) // target
    # In whole numbers: no rounding, so a pixel is the same in every window.
    center = (2 * index + 1) * source - target  # of the output pixel, in units of 1 / (2 target)
    low = center // (2 * target)
    high = low + (center % (2 * target) > 0)
    return np.clip(low, 0, source - 1), np.clip(high, 0, source - 1)


def source_span(start: int, stop: int, source: int, target: int) -> tuple[int, int]:
    """Source pixels [first, stop) that output pixels [start, stop) draw on.

    Examples
    --------
    >>> source_span(0, 2, 10, 4), source_span(1, 2, 2, 4)
    ((0, 5), (0, 2))
    """
    first, last = _reach(np.array([start, stop - 1], np.int64), source, target)
    return int(first[0]), int(last[1]) + 1


def axis_weights(start: int, stop: int, source: int, target: int) -> Axis:
    """Weights for output pixels [start, stop) of an axis that goes from ``source`` to ``target`` pixels.

    Examples
    --------
    >>> axis = axis_weights(0, 2, 3, 2)
    >>> axis.weights.tolist(), axis.total
    ([[2.0, 1.0], [1.0, 2.0]], 3.0)
    """
    index = np.arange(start, stop, dtype=np.int64)
    first, last = _reach(index, source, target)
    span = (int(first[0]), int(last[-1]) + 1) if index.size else (0, 0)
    count = last - first + 1
    pixel = first[:, None] + np.arange(int(count.max(initial=1)), dtype=np.int64)
    if target <= source:
        low = np.maximum(pixel * target, index[:, None] * source)
        high = np.minimum((pixel + 1) * target, (index[:, None] + 1) * source)
        weights, total = np.maximum(high - low, 0), source
    else:
        share = ((2 * index + 1) * source - target) % (2 * target)
        weights = np.where(pixel == first[:, None], 2 * target - share[:, None], share[:, None])
        weights = np.where((count == 1)[:, None], 2 * target * (pixel == first[:, None]), weights)
        total = 2 * target
    return Axis(first - span[0], count, weights.astype(np.float64), float(total), span)


@kernel  # pragma: no cover
def _resample(  # type: ignore[no-untyped-def]
    values, first_y, count_y, weights_y, first_x, count_x, weights_x, total, whole, out
):
    channels, _, width = values.shape
    # Rows are weighted before columns: the inner loop then runs along memory.
    sums = np.empty(width, np.float64)
    for c in range(channels):
        for i in range(first_y.size):
            sums[:] = 0.0
            for k in range(count_y[i]):
                weight = weights_y[i, k]
                row = values[c, first_y[i] + k]
                for j in range(width):
                    sums[j] += weight * row[j]
            for j in range(first_x.size):
                sum_ = 0.0
                for k in range(count_x[j]):
                    sum_ += weights_x[j, k] * sums[first_x[j] + k]
                mean = sum_ / total  # the one division: sums of whole numbers are exact in any order
                out[c, i, j] = np.floor(mean + 0.5) if whole else mean


def resample(values: Array, rows: Axis, cols: Axis) -> Array:
    """Resample a source rectangle.

    Parameters
    ----------
    values
        (C, h, w): source pixels of ``rows.span`` x ``cols.span``.
    rows, cols
        Weights from :func:`axis_weights`.

    Returns
    -------
    array (C, H, W)
        Same dtype; integers are rounded half up.
    """
    out = np.empty((values.shape[0], rows.first.size, cols.first.size), values.dtype)
    whole = values.dtype.kind in "iu"
    total = rows.total * cols.total
    # Numba knows no half floats.
    source = np.ascontiguousarray(values if values.dtype.itemsize > 2 or whole else values.astype(np.float32))
    target = out if out.dtype == source.dtype else np.empty(out.shape, source.dtype)
    _resample(
        source,
        rows.first,
        rows.count,
        rows.weights,
        cols.first,
        cols.count,
        cols.weights,
        total,
        whole,
        target,
    )
    if target is not out:
        out[:] = target
    return out


def resample_valid(valid: BoolArray, rows: Axis, cols: Axis) -> BoolArray:
    """Validity on the output grid: True where every source pixel drawn on is valid.

    Parameters
    ----------
    valid
        bool (h, w) of ``rows.span`` x ``cols.span``.

    Returns
    -------
    bool array (H, W)
    """
    # All weights are above 0, so the mean of what is bad is 0 only where nothing is.
    bad = resample(np.logical_not(valid)[None].astype(np.float32), rows, cols)
    return np.equal(bad[0], 0)
