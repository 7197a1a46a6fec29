"""Labels of the connected components of one chunk."""

from __future__ import annotations

import numpy as np

from geoseg.compiled import kernel
from geoseg.errors import InputError
from geoseg.raster.segments import Segments, as_values, find_segments
from geoseg.raster.unions import link_segments
from geoseg.typing import Array, Connectivity

__all__ = ["check_connectivity", "label_chunk", "paint"]


def check_connectivity(connectivity: int) -> Connectivity:
    """The connectivity, checked.

    Raises
    ------
    InputError
        Neither 4 nor 8.
    """
    if connectivity not in (4, 8):
        raise InputError(
            f"connectivity must be 4 (pixels share a side) or 8 (a side or a corner), got {connectivity}."
        )
    return 4 if connectivity == 4 else 8


def label_chunk(values: Array, connectivity: int = 8) -> tuple[Array, int]:
    """Label connected components of equal nonzero values.

    Parameters
    ----------
    values : (h, w) bool or integers
        0 is background; pixels connect when their values are equal.
    connectivity : 4 or 8
        Whether pixels must share a side (4) or a corner is enough (8).

    Returns
    -------
    labels : (h, w) int32
        0 for background, 1 .. count in raster order of each component's first pixel.
    count : int
        Number of components.

    Raises
    ------
    InputError
        An array of the wrong shape or dtype, or another connectivity.

    References
    ----------
    He, Chao, Suzuki (2008), A run-based two-scan labeling algorithm, IEEE Trans. Image Processing 17(5).

    Examples
    --------
    >>> labels, count = label_chunk(np.array([[1, 0, 2], [0, 1, 2]], np.uint8))
    >>> labels.tolist(), count
    ([[1, 0, 2], [0, 1, 2]], 2)
    >>> label_chunk(np.zeros((0, 3), bool))[1]
    0
    """
    connectivity = check_connectivity(connectivity)
    values = as_values(values)
    # A chunk has pixels, as the kernels of segments expect; an array of the user's may have none.
    if values.size == 0:
        return np.zeros(values.shape, np.int32), 0
    segments = find_segments(values)
    component, count = link_segments(segments, connectivity)
    return paint(segments, component), count


def paint(segments: Segments, ids: Array) -> Array:
    """A raster that holds ``ids[k]`` in segment k.

    Parameters
    ----------
    segments
        Rows of the raster.
    ids : (n,) int32
        One number a segment.

    Returns
    -------
    (rows, width) int32
    """
    # NumPy asks for huge pages, which makes the first write to the array several times faster.
    raster = np.empty((segments.row_ptr.size - 1, segments.width), np.int32)
    _paint(segments.row_ptr, segments.start, ids, raster)
    return raster


@kernel
def _paint(row_ptr, start, ids, raster):  # type: ignore[no-untyped-def]
    for r in range(raster.shape[0]):
        for k in range(row_ptr[r], row_ptr[r + 1]):
            stop = start[k + 1] if k + 1 < row_ptr[r + 1] else raster.shape[1]
            raster[r, start[k] : stop] = ids[k]
