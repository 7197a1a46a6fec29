"""Runs of equal pixels: the one pass over the pixels of a chunk; everything after it works on runs.

A row of a raster is a list of *segments*, maximal runs of one value, background (0) included. Objects,
labels, sums and the corners of outlines all follow from the segments, whose number depends on the
outlines and not on the pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.compiled import kernel
from geoseg.errors import InputError
from geoseg.typing import Array

__all__ = ["Segments", "as_values", "diagonal_pairs", "find_segments", "touching_pairs"]


class Segments(NamedTuple):
    """The rows of a raster as maximal runs of one value.

    Attributes
    ----------
    row_ptr : (rows + 1,) int64
        Row r holds the segments row_ptr[r] .. row_ptr[r + 1]; every row has at least one.
    start : (n,) int32
        First column of each segment; it ends where the next one of its row starts.
    value : (n,) int32
        Value of each segment; neighbors in a row differ.
    width : int
        Columns.
    """

    row_ptr: Array
    start: Array
    value: Array
    width: int


def as_values(values: Array) -> Array:
    """Pixels as C-contiguous uint8 or int32: the two types that the kernels know.

    Raises
    ------
    InputError
        Not two-dimensional, not of integers or booleans, or beyond the range of int32.
    """
    if values.ndim != 2:
        raise InputError(f"mask must have two dimensions (height, width), got shape {values.shape}.")
    if values.dtype.kind not in "bui":
        raise InputError(
            f"mask must hold booleans or integers, got {values.dtype}. Compare it with a threshold first."
        )
    if values.dtype == np.bool_:
        return np.ascontiguousarray(values).view(np.uint8)
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    # Only where values may lie beyond it: the look costs a pass over the pixels.
    info = np.iinfo(np.int32)
    if values.dtype.itemsize >= 4 and values.dtype != np.int32 and values.size:
        low, high = int(values.min()), int(values.max())
        if low < info.min or high > info.max:
            raise InputError(f"mask must hold values within int32, got {low} .. {high}. Renumber its values.")
    return np.ascontiguousarray(values, dtype=np.int32)


def find_segments(
    values: Array,
    top: Array | None = None,
    left: Array | None = None,
    *,
    pad_bottom: bool = False,
    pad_right: bool = False,
) -> Segments:
    """Segments of a chunk, with its halo where that is given.

    Parameters
    ----------
    values : (h, w) uint8 or int32, C-contiguous
        Pixels of the chunk, at least one.
    top, left : (w + 1,) and (h,), of the same dtype, optional
        The row above (its first pixel lies above ``left``) and the column left of the chunk; both or none.
        They become row 0 and column 0 of the result.
    pad_bottom, pad_right
        Add a row below or a column right of background: the chunk lies on the raster's edge.
    """
    halo = top is not None and left is not None
    nothing = np.empty(0, values.dtype)
    # Whole words of eight flags; those behind the last pixel stay 0.
    changed = np.zeros((values.shape[1] + 7) // 8 * 8, np.uint8)
    row_ptr, start, value = _find_segments(
        values,
        top if halo else nothing,
        left if halo else nothing,
        halo,
        pad_bottom,
        pad_right,
        changed,
        changed.view(np.uint64),
    )
    return Segments(row_ptr, start, value, values.shape[1] + halo + pad_right)


@kernel
def _find_segments(  # type: ignore[no-untyped-def]
    values, top, left, halo, pad_bottom, pad_right, changed, words
):
    """``changed`` is a row of flags, one a pixel, and ``words`` are the same flags eight at a time."""
    height, width = values.shape
    rows = height + int(halo) + int(pad_bottom)
    row_ptr = np.zeros(rows + 1, np.int64)
    pairs = np.empty((max(1024, width + 2), 2), np.int32)
    n = 0
    for r in range(rows):
        # A row has a segment a pixel at most, one for the halo and one for the padding.
        if n + width + 2 > pairs.shape[0]:
            pairs = _grown(pairs, 2 * pairs.shape[0] + width)
        if halo and r == 0:
            n = _segment_row(top[1:], top[0], 1, pad_right, changed, words, pairs, n)
        elif r - int(halo) < height:
            row = values[r - int(halo)]
            n = _segment_row(
                row, left[r - 1] if halo else row[0], int(halo), pad_right, changed, words, pairs, n
            )
        else:
            pairs[n, 0] = 0
            pairs[n, 1] = 0
            n += 1
        row_ptr[r + 1] = n
    return row_ptr, pairs[:n, 0].copy(), pairs[:n, 1].copy()


@kernel
def _segment_row(row, head, shift, pad_right, changed, words, pairs, n):  # type: ignore[no-untyped-def]
    """Append the segments of one row; ``head`` is the pixel before it (the first one without a halo)."""
    pairs[n, 0] = 0
    pairs[n, 1] = head
    n += 1
    width = row.size
    changed[0] = row[0] != head
    for c in range(width - 1):
        changed[c + 1] = row[c + 1] != row[c]
    # Most rows have few runs: one look at a word passes over eight pixels without a change.
    for w in range(words.size):
        if words[w] == 0:
            continue
        for c in range(8 * w, 8 * w + 8):
            if changed[c]:
                pairs[n, 0] = c + shift
                pairs[n, 1] = row[c]
                n += 1
    if pad_right and row[width - 1] != 0:
        pairs[n, 0] = width + shift
        pairs[n, 1] = 0
        n += 1
    return n


@kernel
def _grown(array, capacity):  # type: ignore[no-untyped-def]
    larger = np.empty((capacity, array.shape[1]), array.dtype)
    for k in range(array.shape[0]):  # compiles in a tenth of the time that a slice takes
        for c in range(array.shape[1]):
            larger[k, c] = array[k, c]
    return larger


def diagonal_pairs(segments: Segments, component: Array) -> Array:
    """Pairs of components of one value that meet at a corner without sharing a side there.

    Returns
    -------
    (m, 2) int32
        Components; a pair may repeat.
    """
    return _diagonal_pairs(*segments, component)


@kernel
def _diagonal_pairs(row_ptr, start, value, width, component):  # type: ignore[no-untyped-def]
    pairs = np.empty((64, 2), np.int32)
    n = 0
    for r in range(1, row_ptr.size - 1):
        i, j = row_ptr[r - 1], row_ptr[r]
        up_end, down_end = row_ptr[r], row_ptr[r + 1]
        need = n + 2 * min(up_end - i, down_end - j)
        if need > pairs.shape[0]:
            pairs = _grown(pairs, max(need, 2 * pairs.shape[0]))
        while i + 1 < up_end and j + 1 < down_end:
            stop_i, stop_j = start[i + 1], start[j + 1]
            # Both runs end here: only at such a place do pixels meet at a corner alone.
            if stop_i == stop_j:
                if value[i] != 0 and value[i] == value[j + 1] and component[i] != component[j + 1]:
                    pairs[n, 0], pairs[n, 1] = component[i], component[j + 1]
                    n += 1
                if value[j] != 0 and value[j] == value[i + 1] and component[j] != component[i + 1]:
                    pairs[n, 0], pairs[n, 1] = component[j], component[i + 1]
                    n += 1
            if stop_i <= stop_j:
                i += 1
            if stop_j <= stop_i:
                j += 1
    return pairs[:n].copy()


def touching_pairs(segments: Segments, component: Array) -> Array:
    """Pairs of different components that share a side or a corner, from the second row on.

    Returns
    -------
    (m, 2) int32
        The smaller component first; each pair once.
    """
    # As one number each: a sort of numbers takes a fraction of the time that rows of two do.
    packed = np.unique(_touching_pairs(*segments, component))
    return np.stack([packed >> 32, packed & 0xFFFFFFFF], axis=1).astype(np.int32)


@kernel
def _touching_pairs(row_ptr, start, value, width, component):  # type: ignore[no-untyped-def]
    """Pairs as first << 32 | second; the same pair twice in a row is left out."""
    pairs = np.empty(64, np.int64)
    n = 0
    for r in range(1, row_ptr.size - 1):
        i, j = row_ptr[r - 1], row_ptr[r]
        up_end, down_end = row_ptr[r], row_ptr[r + 1]
        need = n + 4 * (down_end - i)
        if need > pairs.size:
            larger = np.empty(max(need, 2 * pairs.size), np.int64)
            for k in range(n):
                larger[k] = pairs[k]
            pairs = larger
        # Along the row itself; along the first one, the halo, the chunk above has looked.
        for k in range(j, down_end - 1):
            n = _add_pair(pairs, n, component[k], component[k + 1])
        while True:
            n = _add_pair(pairs, n, component[i], component[j])
            stop_i = start[i + 1] if i + 1 < up_end else width
            stop_j = start[j + 1] if j + 1 < down_end else width
            if stop_i == stop_j:
                if stop_i == width:
                    break
                n = _add_pair(pairs, n, component[i], component[j + 1])
                n = _add_pair(pairs, n, component[i + 1], component[j])
            if stop_i <= stop_j:
                i += 1
            if stop_j <= stop_i:
                j += 1
    return pairs[:n].copy()


@kernel
def _add_pair(pairs, n, first, second):  # type: ignore[no-untyped-def]
    if first == second or first == 0 or second == 0:
        return n
    pair = np.int64(min(first, second)) << 32 | np.int64(max(first, second))
    # A wall between two runs names them once a row. Most repeats go here, cheaply, the rest when all are
    # sorted.
    if n > 0 and pairs[n - 1] == pair:
        return n
    pairs[n] = pair
    return n + 1
