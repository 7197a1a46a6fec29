"""Stitching kernels: add weighted predictions, and turn probabilities to bytes."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, FloatArray

__all__ = ["INVALID", "SCALE", "add_weighted", "from_bytes", "load_kernels", "to_bytes"]

logger = logging.getLogger(__name__)

#: A stored byte q means the probability q / SCALE.
SCALE = 254
#: The byte of pixels without data.
INVALID = 255


#: Added and taken away again, these round a float64 to multiples of 2**-23 and of 2**-40: the steps of a
#: float64 from 2**29 to 2**30 and from 2**12 to 2**13. From the middle, a small number leads out at no end.
_TO_23_BITS, _TO_40_BITS = 1.5 * 2.0**29, 1.5 * 2.0**12


def add_weighted(
    total: Array,
    prob: Array,
    weight_y: NDArray[np.float64],
    weight_x: NDArray[np.float64],
    row: int,
    col: int,
) -> None:
    """Add ``prob * weight_y * weight_x`` to ``total`` at (row, col), in place.

    Each product is first rounded to a multiple of 2**-23 (2**-40 in float64), so that the sum of
    probabilities is exact: it does not depend on the order of the windows, hence on blocks and chunks.

    Parameters
    ----------
    total
        float32 or float64 (K, H, W); changed.
    prob
        float32 (K, h, w): what one window gave.
    weight_y, weight_x
        float64 (h,) and (w,): blend weights of the window.
    row, col
        Where the window's first pixel lies in ``total``.
    """
    rounder = _TO_23_BITS if total.dtype == np.float32 else _TO_40_BITS
    _add_weighted(total, prob, weight_y, weight_x, row, col, rounder)


@kernel
def _add_weighted(  # type: ignore[no-untyped-def]
    total, prob, weight_y, weight_x, row, col, rounder
):
    classes, height, width = prob.shape
    for k in range(classes):
        for i in range(height):
            weight = weight_y[i]
            line = total[k, row + i]
            source = prob[k, i]
            for j in range(width):
                line[col + j] += (source[j] * (weight * weight_x[j]) + rounder) - rounder


def load_kernels() -> None:
    """Load what :func:`add_weighted` is compiled to, in a thread, so that its first call need not wait.

    Most of it is numba, which loads a good part of itself at the first kernel of a process.
    """
    threading.Thread(target=_load_kernels, name="geoseg-kernels").start()


def _load_kernels() -> None:
    one = np.ones(1)
    # numba makes so many objects that Python looks through all those of torch for garbage, for a third of
    # the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        add_weighted(np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32), one, one, 0, 0)
    except Exception:
        # The call that needs the kernel fails alike, where somebody hears of it.
        logger.debug("the kernel of stitching can't be loaded", exc_info=True)
    finally:
        if collects:
            gc.enable()


def to_bytes(prob: Array, valid: BoolArray | None = None) -> NDArray[np.uint8]:
    """Probabilities as bytes: ``round(p * 254)``, and 255 where a pixel is not valid or p is NaN.

    Parameters
    ----------
    prob
        float32 or float64 (K, H, W), clipped to [0, 1].
    valid
        bool (H, W), True = data; None: everywhere.

    Examples
    --------
    >>> to_bytes(np.array([[[0.0, 0.5, 1.0]]]), np.array([[True, True, False]])).tolist()
    [[[0, 127, 255]]]
    """
    out = np.empty(prob.shape, np.uint8)
    # Strip by strip: scaled at once, a chunk would take four times the memory of its bytes.
    for values, stored in zip(_strips(prob), _strips(out), strict=True):
        scaled = np.clip(values, 0.0, 1.0)
        scaled *= SCALE
        np.rint(scaled, out=scaled)
        scaled[np.isnan(scaled)] = INVALID
        stored[...] = scaled
    if valid is not None:
        out[:, ~valid] = INVALID
    return out


def _strips(values: Array, height: int = 64) -> Iterator[Array]:
    """Views of rows (K, height, W), so that what is made of them on the way stays small."""
    for row in range(0, values.shape[1], height):
        yield values[:, row : row + height]


def from_bytes(stored: NDArray[np.uint8]) -> FloatArray:
    """Bytes back to float32 probabilities, NaN where there is no data.

    Examples
    --------
    >>> from_bytes(np.array([0, 127, 255], np.uint8)).tolist()
    [0.0, 0.5, nan]
    """
    table = np.arange(256, dtype=np.float32) / np.float32(SCALE)
    table[INVALID] = np.nan
    return table[stored]
