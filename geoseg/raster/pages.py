"""Arrays in memory pages of their own, which go back to the system whole.

Blocks and chunks live much longer than a network's activations. Taken from the same heap they would lie
between them, and what the activations leave free could not be put together again.
"""

from __future__ import annotations

import contextlib
import math
import mmap

import numpy as np
from numpy.typing import DTypeLike

from geoseg.typing import Array

__all__ = ["copy_pages", "zero_pages"]

#: Smaller arrays are the heap's.
_LEAST = 1 << 20


def zero_pages(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Zeros of any shape and type.

    Examples
    --------
    >>> zero_pages((2, 2048, 2048), "float32").sum()
    np.float32(0.0)
    """
    count, kind = math.prod(shape), np.dtype(dtype)
    if count * kind.itemsize < _LEAST:
        return np.zeros(shape, kind)
    # Anonymous memory; it is given back when the last array on it is gone. ACCESS_COPY makes the pages
    # private: mmap's default are pages of shared memory, which containers limit on their own.
    pages = mmap.mmap(-1, count * kind.itemsize, access=mmap.ACCESS_COPY)
    # Large ones where Linux has them: in pages of 4 KB, their first use takes as long as reading the scene.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, kind, count).reshape(shape)


def copy_pages(values: Array) -> Array:
    """A copy in C order."""
    copy = zero_pages(values.shape, values.dtype)
    copy[...] = values
    return copy
