"""Reading what can be read of a damaged raster, and listing what can't."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoseg.errors import SceneError
from geoseg.geo.windows import Window
from geoseg.lazy.outlines import ChunkValues
from geoseg.pipeline.class_readers import ClassReader

__all__ = ["Salvage", "failure", "sorted_failures", "storage_parts"]

#: Storage blocks thinner than the first (rows of a striped file) are taken together to about the second.
_THIN, _TOGETHER = 16, 64


def storage_parts(
    window: Window, block: tuple[int, int], shape: tuple[int, int]
) -> Iterator[tuple[Window, Window]]:
    """Cut a window along the storage blocks of its file, so that only what is really broken is lost.

    Parameters
    ----------
    window
        Pixels that are wanted.
    block, shape
        (height, width) of a storage block, and of the raster.

    Yields
    ------
    Window, Window
        A part of the window, and the block (or several thin ones) that it lies in.

    Examples
    --------
    >>> window = Window(row_off=60, col_off=0, height=10, width=5)
    >>> [str(part) for part, _ in storage_parts(window, (1, 5), (200, 5))]
    ['rows 60..63, columns 0..4', 'rows 64..69, columns 0..4']
    """
    height, width = (size * -(-_TOGETHER // size) if size < _THIN else size for size in block)
    rows = range(window.row_off // height * height, window.row_end, height)
    cols = range(window.col_off // width * width, window.col_end, width)
    for row, col in itertools.product(rows, cols):
        unit = Window(row_off=row, col_off=col, height=height, width=width).clipped(*shape)
        yield unit.intersection(window), unit


def failure(unit: Window, error: Exception) -> dict[str, Any]:
    """An entry of the list of failures: the region in pixels, and the reason."""
    place = {name: getattr(unit, name) for name in ("row_off", "col_off", "height", "width")}
    return {**place, "reason": str(error)}


def sorted_failures(failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each region once, row-major."""
    unique = {(item["row_off"], item["col_off"]): item for item in failures}
    return [unique[place] for place in sorted(unique)]


@dataclass
class Salvage:
    """A reader of classes that takes what can't be read as without data, and lists it.

    Attributes
    ----------
    reader
        Gives class values, or raises SceneError.
    block, shape
        (height, width) of a storage block, and of the raster.
    failures
        What could not be read.
    """

    reader: ClassReader
    block: tuple[int, int]
    shape: tuple[int, int]
    failures: list[dict[str, Any]] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def read(self, window: Window) -> ChunkValues:
        """Pixels of a window."""
        try:
            return self.reader.read(window)
        except SceneError:
            return self._parts(window)

    def _parts(self, window: Window) -> ChunkValues:
        shape = (window.height, window.width)
        values, invalid = np.zeros(shape, self.reader.dtype), np.zeros(shape, bool)
        prob = None if self.reader.prob_dtype is None else np.zeros(shape, self.reader.prob_dtype)
        for part, unit in storage_parts(window, self.block, self.shape):
            here = part.shifted(-window.row_off, -window.col_off)
            try:
                found = self.reader.read(part)
            except SceneError as error:
                invalid[here.rows, here.cols] = True
                with self._lock:
                    self.failures.append(failure(unit, error))
                continue
            values[here.rows, here.cols] = found.values
            if found.invalid is not None:
                invalid[here.rows, here.cols] = found.invalid
            if prob is not None and found.prob is not None:
                prob[here.rows, here.cols] = found.prob
        return ChunkValues(values, prob, invalid)
