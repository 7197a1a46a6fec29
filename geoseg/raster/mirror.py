"""Arrays laid out in memory again after they were mirrored."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array

__all__ = ["contiguous"]


def contiguous(values: Array) -> Array:
    """The array in C order, as :func:`numpy.ascontiguousarray`, but fast where rows run backwards.

    NumPy copies a row that runs backwards item by item. For items of one or two bytes it is some ten times
    faster to copy it forwards and to turn it around with vector instructions.

    Parameters
    ----------
    values : (..., N) array

    Returns
    -------
    (..., N) array
        The same object if it is in C order already.

    Examples
    --------
    >>> contiguous(np.array([[1, 2], [3, 4]], np.uint8)[:, ::-1]).tolist()
    [[2, 1], [4, 3]]
    """
    small = values.dtype.kind in "biu" and values.itemsize <= 2
    if not small or values.ndim < 2 or values.strides[-1] != -values.itemsize or not values.size:
        return np.ascontiguousarray(values)
    forwards = np.ascontiguousarray(values[..., ::-1])
    items: Array
    items = forwards.view(np.uint8 if values.itemsize == 1 else np.uint16)
    turned = np.empty_like(items)
    width = values.shape[-1]
    _turn_rows(items.reshape(-1, width), turned.reshape(-1, width))
    return turned.view(values.dtype)


@kernel
def _turn_rows(rows, turned):  # type: ignore[no-untyped-def] # numba
    # Unsigned indices: no check for negative ones, which would keep the loop from being vectorized.
    last = np.uint64(rows.shape[1] - 1)
    for y in range(rows.shape[0]):
        source, target = rows[y], turned[y]
        for i in range(rows.shape[1]):
            x = np.uint64(i)
            target[x] = source[last - x]
