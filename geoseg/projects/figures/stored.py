"""Masks of scene size, kept compressed and read by window: never a byte a pixel for all of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoseg.raster.mirror import contiguous
from geoseg.typing import BoolArray

__all__ = ["LARGE", "STRIP", "StoredMask", "pack_rows", "pack_strip", "store_mask", "store_rows"]

#: Pixels from which masks are kept compressed: four megabytes at a byte a pixel. Smaller ones are not worth
#: the time.
LARGE = 2**22
#: Rows that are compressed together: the height of the blocks of most files.
STRIP = 256
#: Most pixels unpacked at once where rows are read across the strips.
_SLAB = 2**26


@dataclass(frozen=True, eq=False, slots=True)
class StoredMask:
    """A mask in compressed strips of eight pixels a byte; a window of them, mirrored or transposed.

    It is indexed like an array, by two slices without a step, and then gives an array.

    Attributes
    ----------
    strips
        Compressed rows, :data:`STRIP` in each.
    row_bytes
        Of each row.
    box
        First row, first column, rows and columns of the strips that the mask shows.
    transpose, flip_x, flip_y
        How they are laid down, in this order.
    """

    strips: tuple[bytes, ...]
    row_bytes: int
    box: tuple[int, int, int, int]
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        height, width = self.box[2:]
        return (width, height) if self.transpose else (height, width)

    @property
    def size(self) -> int:
        """Pixels."""
        return self.box[2] * self.box[3]

    def __getitem__(self, place: tuple[slice, slice]) -> BoolArray:
        part = self.window(*place)
        out = np.zeros(part.box[2:], bool)
        for first, bits in part._bits():
            out[first : first + len(bits)] = bits
        laid = out.T if part.transpose else out
        return laid[:: -1 if part.flip_y else 1, :: -1 if part.flip_x else 1]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> BoolArray:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)

    def window(self, rows: slice, cols: slice) -> StoredMask:
        """A part of the mask, as compressed as before.

        Raises
        ------
        ValueError
            A slice has a step.
        """
        (top, bottom, down), (left, right, across) = map(slice.indices, (rows, cols), self.shape)
        if (down, across) != (1, 1):
            raise ValueError(f"steps of a window must be 1, got {down} and {across}. Unpack the mask first.")
        # Back through the laying down, last step first, to the rows and columns as they are stored.
        if self.flip_y:
            top, bottom = self.shape[0] - bottom, self.shape[0] - top
        if self.flip_x:
            left, right = self.shape[1] - right, self.shape[1] - left
        if self.transpose:
            top, bottom, left, right = left, right, top, bottom
        height, width = max(0, bottom - top), max(0, right - left)
        return replace(self, box=(self.box[0] + top, self.box[1] + left, height, width))

    def mirrored(self, axis: int) -> StoredMask:
        """Mirrored along x (0: left-right) or y (1: up-down)."""
        return replace(self, flip_x=not self.flip_x) if axis == 0 else replace(self, flip_y=not self.flip_y)

    def transposed(self) -> StoredMask:
        """With rows and columns exchanged."""
        return replace(self, transpose=not self.transpose, flip_x=self.flip_y, flip_y=self.flip_x)

    def laid(self) -> StoredMask:
        """The same pixels stored in the order of their rows, for reading row by row."""
        return store_rows(pack_rows(self), *self.shape) if self.transpose else self

    def any_by_axis(self) -> tuple[BoolArray, BoolArray]:
        """Which rows, and which columns, have an object pixel."""
        rows, cols = np.zeros(self.box[2], bool), np.zeros(self.box[3], bool)
        for first, bits in self._bits():
            rows[first : first + len(bits)] = bits.any(axis=1)
            cols |= bits.any(axis=0)
        down, across = (cols, rows) if self.transpose else (rows, cols)
        return down[:: -1 if self.flip_y else 1], across[:: -1 if self.flip_x else 1]

    def count(self) -> int:
        """Object pixels."""
        return sum(int(np.count_nonzero(bits)) for _, bits in self._bits())

    def _bits(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The box as it is stored, strip by strip: its first row there, and a byte a pixel."""
        row, col, height, width = self.box
        for index in range(row // STRIP, -(-(row + height) // STRIP)):
            stored = np.frombuffer(zlib.decompress(self.strips[index]), np.uint8).reshape(-1, self.row_bytes)
            first, last = max(row, index * STRIP), min(row + height, (index + 1) * STRIP)
            # Whole bytes, then the pixels of the first one that lie left of the box are cut off.
            packed = stored[first - index * STRIP : last - index * STRIP, col // 8 : -(-(col + width) // 8)]
            yield first - row, np.unpackbits(packed, axis=1)[:, col % 8 : col % 8 + width]


def pack_rows(mask: BoolArray | StoredMask) -> Iterator[NDArray[np.uint8]]:
    """A mask as packed rows, strip by strip: (up to :data:`STRIP`, bytes of a row).

    A transposed mask is read some columns at a time, as many as fit into 64 million pixels.
    """
    height, width = mask.shape
    step = STRIP
    if isinstance(mask, StoredMask) and mask.transpose:
        step *= max(1, _SLAB // (STRIP * max(1, width)))
    for first in range(0, height, step):
        slab = mask[first : first + step, :]
        for top in range(0, len(slab), STRIP):
            yield np.packbits(contiguous(slab[top : top + STRIP]), axis=1)


def store_rows(strips: Iterable[NDArray[np.uint8]], height: int, width: int) -> StoredMask:
    """Keep packed rows, as :func:`pack_rows` gives them."""
    return StoredMask(tuple(map(pack_strip, strips)), -(-width // 8), (0, 0, height, width))


def pack_strip(rows: NDArray[np.uint8]) -> bytes:
    """A strip of a :class:`StoredMask`, from packed rows."""
    # Level 1: masks are long runs, on which higher levels gain little.
    return zlib.compress(rows.tobytes(), 1)


def store_mask(mask: BoolArray) -> StoredMask:
    """Keep a mask compressed.

    Examples
    --------
    >>> stored = store_mask(np.eye(3, dtype=bool))
    >>> stored.shape, stored.mirrored(0)[0:1, :].tolist()
    ((3, 3), [[False, False, True]])
    """
    return store_rows(pack_rows(mask), *mask.shape)
