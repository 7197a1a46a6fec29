"""Geometries put aside and loaded again by number: in memory, or in a file when there are many."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import shapely

from geoseg.typing import Array, IntArray

__all__ = ["GeometryHeap"]


class GeometryHeap:
    """Geometries numbered from 0 in the order they came.

    Reading is safe from several threads once everything is appended.

    Parameters
    ----------
    path
        File to keep them in as WKB, written over; None keeps them in memory.

    Examples
    --------
    >>> heap = GeometryHeap()
    >>> heap.append(shapely.points([[0, 0], [1, 1]]))
    >>> heap.load(np.array([1]))[0].wkt
    'POINT (1 1)'
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file: BinaryIO | None = None if path is None else path.open("w+b")
        self._lock = threading.Lock()
        self._chunks: list[Array] = [np.empty(0, object)]
        self._sizes: list[Array] = [np.zeros(1, np.int64)]
        self._offsets: IntArray | None = None

    def __enter__(self) -> GeometryHeap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, geometry: Array) -> None:
        """Put (n,) geometries aside."""
        self._offsets = None  # no longer those of all
        if self._file is None:
            self._chunks.append(geometry)
            return
        blobs = shapely.to_wkb(geometry)
        self._sizes.append(np.array([len(blob) for blob in blobs], np.int64))
        self._file.write(b"".join(blobs))

    def freeze(self) -> None:
        """End appending: what follows is only reading."""
        # Done once, before threads read: afterwards nothing of it changes, and only the file needs a lock.
        if self._file is None:
            self._chunks = [np.concatenate(self._chunks)]
        else:
            self._file.flush()
            self._offsets = np.cumsum(np.concatenate(self._sizes))

    def load(self, numbers: IntArray) -> Array:
        """The (n,) geometries of these numbers."""
        if len(self._chunks) > 1 or (self._file is not None and self._offsets is None):
            self.freeze()
        if self._file is None or self._offsets is None:
            return self._chunks[0][numbers]
        starts, ends = self._offsets[numbers].tolist(), self._offsets[numbers + 1].tolist()
        blobs = np.empty(len(numbers), object)
        # One file position for all threads: seek and read belong together.
        with self._lock:
            for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
                self._file.seek(start)
                blobs[i] = self._file.read(end - start)
        return np.asarray(shapely.from_wkb(blobs), object).reshape(-1)
