"""The connected parts of bitmaps, found strip by strip where they are large."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geoseg.projects.figures.stored import LARGE, STRIP, StoredMask
from geoseg.projects.figures.strips import made_of_rows
from geoseg.projects.figures.types import Bitmap
from geoseg.typing import BoolArray, Connectivity

__all__ = ["connected_parts", "without_small_parts"]


def connected_parts(bitmap: Bitmap) -> Iterator[Bitmap]:
    """The 8-connected parts of a mask, each tight, in the order of their first pixels.

    They are made one by one; until then those of a large mask are kept at a bit a pixel of their boxes.

    Examples
    --------
    >>> [part.origin for part in connected_parts(Bitmap((5, 5), np.array([[1, 0, 1], [1, 0, 0]], bool)))]
    [(5, 5), (7, 5)]
    """
    if bitmap.pixels.size > LARGE:
        yield from _gathered(_find_parts(bitmap, 8), bitmap.origin)
        return
    labels, count = _labels(bitmap.mask, 8)
    # Most masks are one object: no need to copy its pixels.
    if count == 1:
        tight = bitmap.tight()
        if tight is not None:
            yield tight
        return
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        origin = bitmap.origin[0] + place[1].start, bitmap.origin[1] + place[0].start
        yield Bitmap(origin, labels[place] == number)


def without_small_parts(bitmap: Bitmap, limit: float) -> Bitmap | None:
    """A mask without its 4-connected parts of fewer than ``limit`` pixels, tight; None where nothing is left.

    Examples
    --------
    >>> without_small_parts(Bitmap((5, 5), np.array([[1, 0, 1], [1, 0, 0]], bool)), 2).mask.tolist()
    [[True], [True]]
    """
    if bitmap.pixels.size > LARGE:
        parts = _find_parts(bitmap, 4)
        large = np.concatenate([[False], parts.pixels >= limit])
        strips = parts.strips()

        def rows(top: int, bottom: int) -> BoolArray:
            _, labels, numbers = next(strips)
            kept: BoolArray = large[numbers][labels]
            return kept

        return made_of_rows(bitmap.origin, bitmap.shape, rows).tight()
    labels, _ = _labels(bitmap.mask, 4)
    large = np.bincount(labels.ravel()) >= limit
    large[0] = False
    return Bitmap(bitmap.origin, large[labels]).tight()


def _labels(mask: BoolArray, connectivity: Connectivity) -> tuple[NDArray[np.int32], int]:
    return ndimage.label(mask, np.ones((3, 3), bool) if connectivity == 8 else None)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Parts of a mask, numbered from 1 in the order of their first pixels.

    Attributes
    ----------
    bitmap, connectivity
        What they are parts of.
    numbers
        For each strip the part of each of its labels; 0 for label 0.
    boxes : (n, 4) int64
        First row and column, and those after the last, of each part.
    pixels : (n,) int64
        Pixels of each part.
    """

    bitmap: Bitmap
    connectivity: Connectivity
    numbers: list[NDArray[np.int64]]
    boxes: NDArray[np.int64]
    pixels: NDArray[np.int64]

    def strips(self) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int64]]]:
        """First row, labels, and the part of each label, strip by strip."""
        for (top, labels, _), numbers in zip(
            _strips(self.bitmap, self.connectivity), self.numbers, strict=True
        ):
            yield top, labels, numbers


def _strips(bitmap: Bitmap, connectivity: Connectivity) -> Iterator[tuple[int, NDArray[np.int32], int]]:
    for top in range(0, bitmap.shape[0], STRIP):
        yield top, *_labels(bitmap.part(slice(top, top + STRIP), slice(None)), connectivity)


def _find_parts(bitmap: Bitmap, connectivity: Connectivity) -> _Parts:
    """Label each strip on its own, and join the labels that meet where two strips do."""
    bitmap = bitmap.by_rows()
    ends, seams, boxes, pixels = [0], [np.empty((0, 2), np.int64)], [np.empty((0, 4), np.int64)], []
    above: NDArray[np.int64] | None = None
    for top, labels, count in _strips(bitmap, connectivity):
        first = ends[-1]
        # Numbers of all strips' labels from 1 on; 0 stays background.
        upper, lower = (np.where(row > 0, row + np.int64(first), 0) for row in (labels[0], labels[-1]))
        if above is not None:
            seams.append(_seam(above, upper, connectivity))
        above = lower
        places = (
            (rows.start, cols.start, rows.stop, cols.stop) for rows, cols in ndimage.find_objects(labels)
        )
        boxes.append(np.array(list(places), np.int64).reshape(-1, 4) + np.array([top, 0, top, 0]))
        size = np.zeros(count + 1, np.int64)
        # Few rows at once: to count them, bincount makes eight bytes of each label.
        for row in range(0, len(labels), STRIP // 8):
            size += np.bincount(labels[row : row + STRIP // 8].ravel(), minlength=count + 1)
        pixels.append(size[1:])
        ends.append(first + count)
    number, count = _joined(np.concatenate(seams) - 1, ends[-1])
    around = np.full((count, 4), np.iinfo(np.int64).max)
    around[:, 2:] = 0
    pieces = np.concatenate(boxes)
    np.minimum.at(around[:, :2], number, pieces[:, :2])
    np.maximum.at(around[:, 2:], number, pieces[:, 2:])
    sizes = np.zeros(count, np.int64)
    np.add.at(sizes, number, np.concatenate(pixels))
    numbers = [np.concatenate([[0], number[a:b] + 1]) for a, b in pairwise(ends)]
    return _Parts(bitmap, connectivity, numbers, around, sizes)


def _joined(pairs: NDArray[np.int64], total: int) -> tuple[NDArray[np.int64], int]:
    """For each of ``total`` labels, of which pairs belong together, its part; and the number of parts."""
    if not total:
        return np.empty(0, np.int64), 0
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (total, total))
    _, first, group = np.unique(
        connected_components(graph, directed=False)[1], return_index=True, return_inverse=True
    )
    # Numbered by their first pixel, as one pass over the whole mask would.
    return np.argsort(np.argsort(first))[group], len(first)


def _seam(
    above: NDArray[np.int64], below: NDArray[np.int64], connectivity: Connectivity
) -> NDArray[np.int64]:
    """Numbers that meet between two rows, (n, 2)."""
    pairs = [np.stack([above, below], axis=1)]
    if connectivity == 8:
        pairs += [np.stack([above[1:], below[:-1]], axis=1), np.stack([above[:-1], below[1:]], axis=1)]
    met = np.concatenate(pairs)
    return np.unique(met[(met > 0).all(axis=1)], axis=0)


def _gathered(parts: _Parts, origin: tuple[int, int]) -> Iterator[Bitmap]:
    """A bitmap of each part, put together of packed strips; those of large ones are compressed."""
    sizes = parts.boxes[:, 2:] - parts.boxes[:, :2]
    large = sizes.prod(axis=1) > LARGE
    strips: dict[int, list[bytes]] = {}
    # One sweep over the strips for all parts: a sweep a part would read the mask as often as it has parts.
    for top, labels, numbers in parts.strips():
        places = ndimage.find_objects(labels)
        # Labels of one part side by side: an object may cross a strip in several pieces.
        order = np.argsort(numbers[1:], kind="stable") + 1
        for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else ():
            part = int(numbers[group[0]]) - 1
            row, col, bottom, right = (int(v) for v in parts.boxes[part])
            first, last = 0, len(labels)
            # A small part is cut to its rows. Of a large one strips stay where they are, and its box says
            # which rows of the first one count.
            if not large[part]:
                first, last = max(first, row - top), min(last, bottom - top)
            mask = np.zeros((last - first, right - col), bool)
            for label in group:
                rows, cols = places[label - 1]
                piece = labels[rows, cols] == label
                mask[rows.start - first : rows.stop - first, cols.start - col : cols.stop - col] |= piece
            packed = np.packbits(mask, axis=1).tobytes()
            strips.setdefault(part, []).append(zlib.compress(packed, 1) if large[part] else packed)
    for part, (row, col, _, _) in enumerate(parts.boxes.tolist()):
        height, width = (int(v) for v in sizes[part])
        kept, row_bytes = strips.pop(part), -(-width // 8)
        pixels: BoolArray | StoredMask
        if large[part]:
            pixels = StoredMask(tuple(kept), row_bytes, (row % STRIP, 0, height, width))
        else:
            rows = np.frombuffer(b"".join(kept), np.uint8).reshape(height, row_bytes)
            pixels = np.unpackbits(rows, axis=1, count=width).view(bool)
        yield Bitmap((origin[0] + col, origin[1] + row), pixels)
