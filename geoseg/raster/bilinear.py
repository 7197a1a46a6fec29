"""Bilinear stretching to another number of pixels: no smoothing first, half-pixel centers, edges repeated.

This is what networks that were trained on whole images stretched to one size have seen, and how their
probabilities get back onto the image. :mod:`geoseg.raster.resample` is for imagery that must keep its detail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import kernel
from geoseg.typing import FloatArray

__all__ = ["BilinearAxis", "bilinear_axis", "stretch"]


@dataclass(frozen=True)
class BilinearAxis:
    """Where output pixels lie between source pixels of one axis.

    Attributes
    ----------
    first, second : (n,) int64
        The two source pixels.
    share : (n,) float32
        Weight of the second.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    share: FloatArray


def bilinear_axis(start: int, stop: int, source: int, target: int) -> BilinearAxis:
    """Output pixels [start, stop) of an axis that goes from ``source`` to ``target`` pixels.

    Examples
    --------
    >>> axis = bilinear_axis(0, 4, 2, 4)
    >>> axis.first.tolist(), axis.second.tolist(), axis.share.tolist()
    ([0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.25])
    """
    # In float32, as torch computes them: in training the network saw these very values.
    step = np.float32(source) / np.float32(target)
    centers = step * (np.arange(start, stop, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    centers = np.maximum(centers, np.float32(0))
    first = np.minimum(centers.astype(np.int64), source - 1)
    share = np.minimum(centers - first.astype(np.float32), np.float32(1))
    return BilinearAxis(first, np.minimum(first + 1, source - 1), share)


@kernel  # pragma: no cover
def _stretch(values, top, bottom, down, left, right, across, out):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    for c in range(values.shape[0]):
        for i in range(top.size):
            upper, lower = values[c, top[i]], values[c, bottom[i]]
            below = down[i]
            for j in range(left.size):
                share = across[j]
                # Along the row first, then down, each product in float32: the order decides the last bits,
                # and torch takes this one.
                above = (one - share) * upper[left[j]] + share * upper[right[j]]
                under = (one - share) * lower[left[j]] + share * lower[right[j]]
                out[c, i, j] = (one - below) * above + below * under


def stretch(values: FloatArray, rows: BilinearAxis, cols: BilinearAxis) -> FloatArray:
    """Stretch an array.

    Parameters
    ----------
    values
        (C, h, w) float32.
    rows, cols
        From :func:`bilinear_axis`, with indices into ``values``.

    Returns
    -------
    float32 array (C, H, W)

    Examples
    --------
    >>> axis = bilinear_axis(0, 2, 1, 2)
    >>> stretch(np.full((1, 1, 1), 3, np.float32), axis, axis).tolist()
    [[[3.0, 3.0], [3.0, 3.0]]]
    """
    out = np.empty((len(values), rows.first.size, cols.first.size), np.float32)
    _stretch(
        np.ascontiguousarray(values, np.float32),
        rows.first,
        rows.second,
        rows.share,
        cols.first,
        cols.second,
        cols.share,
        out,
    )
    return out
