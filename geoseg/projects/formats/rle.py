"""COCO run-length masks, to and from tight masks: never a dense array of the whole image.

COCO counts runs of 0 and 1 down the columns of the image, beginning with the zeros. Its compressed form
writes each count (from the fourth on, its difference from the one two before) in base 32 with the
lowest digits first, one printable character a digit.

References
----------
The COCO API's mask format, https://github.com/cocodataset/cocoapi (``common/maskApi.c``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.errors import InputError
from geoseg.typing import BoolArray, IntArray

__all__ = ["decode_counts", "encode_counts", "pack_counts", "unpack_counts"]

#: Base-32 digits of an int64.
_DIGITS = 13


def encode_counts(mask: BoolArray, origin: tuple[int, int], shape: tuple[int, int]) -> IntArray:
    """Run lengths of a tight mask that lies somewhere in an image.

    Parameters
    ----------
    mask : (h, w) bool
        The object; False outside it.
    origin : (row, column)
        Pixel of the image where ``mask[0, 0]`` lies.
    shape : (H, W)
        The image, which holds the whole mask.

    Returns
    -------
    (n,) int64
        Lengths of the runs of 0, 1, 0, ... in column-major order; they sum to H * W.

    Examples
    --------
    >>> encode_counts(np.ones((2, 1), bool), (1, 0), (3, 2)).tolist()
    [1, 2, 3]
    >>> encode_counts(np.zeros((0, 0), bool), (0, 0), (3, 2)).tolist()
    [6]
    """
    height, total = shape[0], shape[0] * shape[1]
    # Runs are found in the object's own box; the zeros around it are counted, never made.
    steps = np.diff(np.pad(mask, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
    base = (np.arange(mask.shape[1], dtype=np.int64) + origin[1]) * height + origin[0]
    columns, rows = np.nonzero(steps == 1)
    starts = base[columns] + rows
    columns, rows = np.nonzero(steps == -1)
    ends = base[columns] + rows
    # A run that reaches the foot of a column goes on at the top of the next one.
    joined = starts[1:] == ends[:-1]
    starts, ends = starts[np.r_[True, ~joined][: len(starts)]], ends[np.r_[~joined, True][: len(ends)]]
    bounds = np.column_stack([starts, ends]).ravel()
    # Without a last count of 0, which COCO's own tools do not write either.
    counts = np.diff(bounds, prepend=0, append=total)
    return counts if total > (bounds[-1] if len(bounds) else 0) or not len(bounds) else counts[:-1]


def decode_counts(
    counts: Sequence[int] | IntArray, shape: tuple[int, int]
) -> tuple[BoolArray, tuple[int, int]]:
    """The tight mask of a run-length object.

    Parameters
    ----------
    counts : (n,) int
        Runs of 0, 1, 0, ... in column-major order.
    shape : (H, W)
        The image.

    Returns
    -------
    mask : (h, w) bool
        Cut to the object's bounding box; (0, 0) where there is none.
    origin : (row, column)
        Pixel of the image where ``mask[0, 0]`` lies.

    Raises
    ------
    InputError
        Negative counts, or a sum that is not the number of pixels.

    Examples
    --------
    >>> decode_counts([1, 2, 3], (3, 2))
    (array([[ True],
           [ True]]), (1, 0))
    """
    runs = np.asarray(counts, dtype=np.int64)
    height, width = shape
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise InputError(
            f"RLE counts must be at least 0 and sum to {height} x {width} = {height * width} pixels, "
            f"got a sum of {int(runs.sum())}."
        )
    bounds = np.cumsum(runs)
    starts, ends = bounds[0:-1:2], bounds[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return np.zeros((0, 0), bool), (0, 0)
    left, right = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    # Only the columns of the object are unpacked: +1 where a run begins, -1 behind its end.
    steps = np.zeros((right - left) * height + 1, np.int8)
    steps[starts - left * height] += 1
    steps[ends - left * height] -= 1
    mask = np.cumsum(steps[:-1], dtype=np.int8).reshape(right - left, height).T.astype(bool)
    rows = np.flatnonzero(mask.any(axis=1))
    return np.ascontiguousarray(mask[rows[0] : rows[-1] + 1]), (int(rows[0]), left)


def pack_counts(counts: Sequence[int] | IntArray) -> str:
    """Counts in COCO's compressed form.

    Examples
    --------
    >>> pack_counts([1, 2, 3])
    '123'
    >>> unpack_counts(pack_counts([100000, 2, 3])).tolist()
    [100000, 2, 3]
    """
    values = np.asarray(counts, dtype=np.int64).copy()
    values[3:] -= np.asarray(counts, dtype=np.int64)[1:-2]
    digits = values[:, None] >> (5 * np.arange(_DIGITS))  # arithmetic shift: sign kept
    # A digit ends the number when the rest is only its sign, which its bit 16 already tells.
    ends = np.where(digits & 0x10, (digits >> 5) == -1, (digits >> 5) == 0)
    last = ends.argmax(axis=1)
    place = np.arange(_DIGITS)
    symbols = (digits & 0x1F) | np.where(place < last[:, None], 0x20, 0)
    chosen = symbols[place <= last[:, None]]
    return (chosen + 48).astype(np.uint8).tobytes().decode("ascii")


def unpack_counts(text: str | bytes) -> IntArray:
    """Counts from COCO's compressed form.

    Raises
    ------
    InputError
        Characters that can't belong to it, or a number that is cut off.

    Examples
    --------
    >>> unpack_counts("123").tolist()
    [1, 2, 3]
    >>> unpack_counts("").tolist()
    []
    """
    raw = text.encode("latin-1", "replace") if isinstance(text, str) else text
    symbols = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if not len(symbols):
        return np.zeros(0, np.int64)
    more = (symbols & 0x20) != 0
    if symbols.min() < 0 or symbols.max() > 63 or more[-1]:
        raise InputError(
            f"compressed RLE must be characters '0' to 'o' that end a number, got {text[:40]!r}."
        )
    firsts = np.r_[0, np.flatnonzero(~more)[:-1] + 1]
    place = np.arange(len(symbols)) - np.repeat(firsts, np.diff(np.r_[firsts, len(symbols)]))
    if place.max() >= _DIGITS:
        raise InputError(f"compressed RLE must hold numbers of at most {_DIGITS} digits, got {text[:40]!r}.")
    values = np.add.reduceat((symbols & 0x1F) << (5 * place), firsts)
    lasts = np.flatnonzero(~more)
    negative = (symbols[lasts] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * (place[lasts][negative] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
