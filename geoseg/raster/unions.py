"""Union-find: which runs, or which numbers, are one.

Of two sets that are joined, the one of the smaller number stands for both. So a set is named by its first
member in raster order, whatever the order of joining.
"""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.raster.segments import Segments
from geoseg.typing import Array, Connectivity, IntArray

__all__ = ["link_segments", "roots", "unite"]


def link_segments(segments: Segments, connectivity: Connectivity) -> tuple[Array, int]:
    """Connected components of equal nonzero values.

    Parameters
    ----------
    segments
        Rows of the raster.
    connectivity
        4: pixels that share a side; 8: or a corner.

    Returns
    -------
    component : (n,) int32
        Component of each segment, 0 for background, 1 .. count in raster order of their first pixels.
    count : int
        Number of components.
    """
    component, count = _link(*segments, connectivity == 8)
    return component, int(count)


def unite(parent: IntArray, first: IntArray, second: IntArray) -> None:
    """Join the sets of pairs of numbers, in place.

    Parameters
    ----------
    parent : (n,) int64
        Another member of the set of each number; those that stand for their sets name themselves.
    first, second : (m,) int64
        Numbers that are one.
    """
    _unite(parent, first, second)


def roots(parent: IntArray, numbers: IntArray) -> IntArray:
    """The numbers that stand for the sets of these.

    Examples
    --------
    >>> parent = np.arange(4)
    >>> unite(parent, np.array([3, 2]), np.array([2, 1]))
    >>> roots(parent, np.arange(4)).tolist(), roots(parent, np.arange(0)).tolist()
    ([0, 1, 1, 1], [])
    """
    return _roots(parent, numbers)


# The kernels that call _find are in its file: numba keeps what it compiled of a kernel until the file of that
# kernel changes, and does not look at the files of the kernels that it calls.
@kernel
def _find(parent, i):  # type: ignore[no-untyped-def]
    # Every look halves the way for the next one, so a long chain of runs is walked once.
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def _join(parent, i, j):  # type: ignore[no-untyped-def]
    i, j = _find(parent, i), _find(parent, j)
    if i < j:
        parent[j] = i
    elif j < i:
        parent[i] = j


@kernel
def _unite(parent, first, second):  # type: ignore[no-untyped-def]
    for k in range(first.size):
        _join(parent, first[k], second[k])


@kernel
def _roots(parent, numbers):  # type: ignore[no-untyped-def]
    root = np.empty(numbers.size, np.int64)
    for k in range(numbers.size):
        root[k] = _find(parent, numbers[k])
    return root


@kernel
def _link(row_ptr, start, value, width, diagonal):  # type: ignore[no-untyped-def]
    parent = np.arange(start.size).astype(np.int32)  # half the memory of int64; a chunk has fewer runs
    for r in range(1, row_ptr.size - 1):
        i, j = row_ptr[r - 1], row_ptr[r]
        up_end, down_end = row_ptr[r], row_ptr[r + 1]
        while True:
            if value[i] == value[j] and value[i] != 0:
                _join(parent, i, j)
            stop_i = start[i + 1] if i + 1 < up_end else width
            stop_j = start[j + 1] if j + 1 < down_end else width
            # Both runs end here: only at such a place do pixels meet at a corner alone.
            if stop_i == stop_j:
                if stop_i == width:
                    break
                if diagonal and value[i] != 0 and value[i] == value[j + 1]:
                    _join(parent, i, j + 1)
                if diagonal and value[j] != 0 and value[j] == value[i + 1]:
                    _join(parent, i + 1, j)
            if stop_i <= stop_j:
                i += 1
            if stop_j <= stop_i:
                j += 1
    return _numbered(parent, value)


@kernel
def _numbered(parent, value):  # type: ignore[no-untyped-def]
    """Roots in order as 1, 2, ...: a root is the first segment of its component."""
    component = np.zeros(parent.size, np.int32)
    count = 0
    for i in range(parent.size):
        if value[i] == 0:
            continue
        root = _find(parent, i)
        if root == i:
            count += 1
            component[i] = count
        else:
            component[i] = component[root]
    return component, count
