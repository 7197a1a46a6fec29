"""Blend weights: separable, and normalized per axis so that they sum to one at every pixel.

With such weights stitching is plain addition: no count map, no epsilon and no special case at the edge.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.typing import Blend

__all__ = ["blend_weights", "window_profile"]

#: Least weight before normalizing: a share is never the quotient of two numbers close to 0.
_SMALLEST = 1e-3


def window_profile(window: int, overlap: int, blend: Blend = "smooth") -> NDArray[np.float64]:
    """Weight of each pixel of a window along one axis, before it is normalized.

    Parameters
    ----------
    window
        Pixels of the window.
    overlap
        Pixels shared with a neighbor.
    blend
        ``smooth`` rises as a squared sine over the overlap, so that what a window says near its own
        border, where it sees the least context, counts the least. ``uniform`` is plain averaging.

    Returns
    -------
    float64 array (window,)
        Positive everywhere.

    Examples
    --------
    >>> window_profile(4, 2).round(3).tolist()
    [0.146, 0.854, 0.854, 0.146]
    >>> window_profile(3, 1, "uniform").tolist()
    [1.0, 1.0, 1.0]
    """
    if blend == "uniform":
        return np.ones(window)
    if blend != "smooth":
        raise InputError(f"blend must be one of {', '.join(get_args(Blend))}, got {blend!r}.")
    # Distances of the centers of pixels: the profile is symmetric, and above 0 at both ends.
    centers = np.arange(window) + 0.5
    # With more overlap than half a window the two ramps would cross; they end in the middle.
    ramp = min(max(overlap, 1), window / 2)
    reach = np.minimum(np.minimum(centers, window - centers) / ramp, 1.0)
    return np.maximum(np.sin(0.5 * np.pi * reach) ** 2, _SMALLEST)


def blend_weights(
    starts: tuple[int, ...], window: int, overlap: int, blend: Blend = "smooth"
) -> list[NDArray[np.float64]]:
    """Weights of every window of one axis; at each pixel those of all windows sum to one.

    Parameters
    ----------
    starts
        First pixels of the windows, as :func:`geoseg.geo.windows.axis_starts` gives them.
    window, overlap, blend
        As in :func:`window_profile`.

    Returns
    -------
    list of float64 arrays (window,)
        One a window. Windows with the same neighbors share one array.
    """
    profile = window_profile(window, overlap, blend)
    total = np.zeros(starts[-1] + window)
    for start in starts:
        total[start : start + window] += profile
    weights: list[NDArray[np.float64]] = []
    # All windows but the outer ones have the same neighbors: a hundred thousand share a few arrays.
    known: dict[bytes, NDArray[np.float64]] = {}
    for start in starts:
        weight = profile / total[start : start + window]
        weights.append(known.setdefault(weight.tobytes(), weight))
    return weights
