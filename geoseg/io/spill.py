"""Outlines kept on disk until their order is known, so that memory does not grow with their number."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geoseg.errors import RunError
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.clashes import Joined
from geoseg.vector.forest import Groups
from geoseg.vector.rings import Outlines, ragged_offsets, ragged_rows

__all__ = ["OutlineSpill"]

_FACTS = ("key", "pixels", "prob_sum", "group", "value", "touches_edge")
_OBJECT = [
    ("key", "<i8"),
    ("pixels", "<i8"),
    ("prob_sum", "<i8"),
    ("group", "<i8"),
    ("first_ring", "<i8"),
    ("first_corner", "<i8"),
    ("corners", "<i8"),
    ("rings", "<i4"),
    ("value", "<i4"),
    ("touches_edge", "?"),
]
#: Objects and corners (2 MB of them) of a batch that is read back; a single object or group may have more.
_BATCH_OBJECTS = 1 << 14
_BATCH_CORNERS = 1 << 18


class OutlineSpill:
    """Takes batches of outlines in any order and gives them back in raster order of their first pixels.

    Three flat files: a record an object, a signed length a ring (below 0 for holes), and the corners.

    Parameters
    ----------
    folder
        Existing folder for the files.
    columns
        More columns, a value an object: name -> NumPy type of a fixed size.
    whole
        Corners are whole numbers, as those of pixels are.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str] | None = None, *, whole: bool = True) -> None:
        self._columns = dict(columns or {})
        record = np.dtype([*_OBJECT, *((f"+{name}", dtype) for name, dtype in self._columns.items())])
        self._types = (record, np.dtype("<i8"), np.dtype("<i4" if whole else "<f8"))
        self._paths = [folder / name for name in ("objects.bin", "rings.bin", "corners.bin")]
        self._files: list[BinaryIO] = [path.open("wb") for path in self._paths]
        self._sums = [(0, 0)] * len(self._paths)  # bytes and checksum of each file
        self._rings = self._corners = 0
        self.count = 0
        self._again = False  # whether objects were written twice

    def __enter__(self) -> OutlineSpill:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def add(
        self, outlines: Outlines, columns: Mapping[str, Array] | None = None, *, again: bool = False
    ) -> None:
        """Write a batch of outlines, with the columns that were declared.

        Parameters
        ----------
        outlines, columns
            The batch.
        again
            The objects are there already: these take their place.

        Raises
        ------
        OSError
            The disk is full.
        """
        ring_at = outlines.part_offsets[outlines.object_offsets]
        corner_at = outlines.ring_offsets[ring_at]
        records = np.zeros(len(outlines), self._types[0])
        for name in _FACTS:
            records[name] = getattr(outlines, name)
        for name in self._columns:
            records[f"+{name}"] = (columns or {})[name]
        records["first_ring"] = ring_at[:-1] + self._rings
        records["first_corner"] = corner_at[:-1] + self._corners
        records["rings"] = np.diff(ring_at)
        records["corners"] = np.diff(corner_at)
        # The sign tells shells from holes, so parts need no table of their own.
        lengths = -np.diff(outlines.ring_offsets)
        lengths[outlines.part_offsets[:-1]] *= -1
        for k, data in enumerate((records, lengths, outlines.xy)):
            content = np.ascontiguousarray(data, self._types[k]).data.cast("B") if data.size else b""
            self._files[k].write(content)
            size, checksum = self._sums[k]
            self._sums[k] = size + len(content), zlib.crc32(content, checksum)
        self.count += 0 if again else len(outlines)
        self._again |= again
        self._rings += len(lengths)
        self._corners += len(outlines.xy)

    def in_order(self) -> Iterator[tuple[Outlines, dict[str, Array]]]:
        """All outlines in raster order of their first pixels, in batches of bounded size.

        Yields
        ------
        outlines, columns

        Raises
        ------
        RunError
            The files are not what was written.
        """
        objects = self._objects()
        order = np.argsort(objects["key"], kind="stable")
        if self._again:  # of equal ones the last was written last
            key = objects["key"][order]
            order = order[np.append(key[1:] != key[:-1], True)]
        corners = np.cumsum(objects["corners"][order])
        del objects  # a mapped file; what was read of it would stay in memory
        for start, stop in _batches(corners, np.arange(1, order.size + 1)):
            yield self._read(order[start:stop])

    def in_groups(self, groups: Groups, joined: Joined | None = None) -> Iterator[Outlines]:
        """All outlines in batches of whole groups of touching objects, in raster order within a group.

        A batch is of bounded size, but for a group that is larger by itself.

        Parameters
        ----------
        groups
            Of the objects.
        joined
            Groups that have grown since; then only those of them that grew in the last round.
        """
        objects = self._objects()
        key, corners = objects["key"], objects["corners"]
        numbers = joined.final if joined is not None else lambda _, group: groups.final(group)
        group = numbers(key, objects["group"])
        if joined is not None:
            chosen = np.flatnonzero(np.isin(group, joined.affected))
        else:
            chosen = np.arange(len(key))
        key, group, corners = key[chosen], group[chosen], corners[chosen]
        grouped = np.flatnonzero(group >= 0)
        # Groups in the order of their first objects, and in a group again by first pixels: both are the same
        # for any chunks.
        first_key = key.copy()
        lowest = np.full(len(groups), np.iinfo(np.int64).max)
        np.minimum.at(lowest, group[grouped], key[grouped])
        first_key[grouped] = lowest[group[grouped]]
        order = np.lexsort((key, first_key))
        ends = np.append(np.flatnonzero(np.diff(first_key[order])) + 1, order.size)
        del objects
        for start, stop in _batches(np.cumsum(corners[order]), ends):
            outlines, _ = self._read(chosen[order[start:stop]])
            yield replace(outlines, group=numbers(outlines.key, outlines.group))

    def _objects(self) -> Array:
        """The records, after a look at all files: a footprint must not come from bytes nobody wrote."""
        for file, path, (size, checksum) in zip(self._files, self._paths, self._sums, strict=True):
            file.flush()
            checksum_now = 0
            with path.open("rb") as content:
                while block := content.read(1 << 22):
                    checksum_now = zlib.crc32(block, checksum_now)
                    size -= len(block)
            if size or checksum_now != checksum:
                raise RunError(
                    f"temporary files must stay as they were written, got changed ones in {path.parent}. "
                    "Check the disk and give the same command again."
                )
        return np.memmap(self._paths[0], self._types[0], "r") if self.count else np.empty(0, self._types[0])

    def _read(self, index: IntArray) -> tuple[Outlines, dict[str, Array]]:
        # The files are mapped anew for each batch, so that pages read before do not stay in memory.
        record, length, corner = self._types
        objects = np.memmap(self._paths[0], record, "r")[index]
        lengths = _rows(np.memmap(self._paths[1], length, "r"), objects["first_ring"], objects["rings"])
        corners = np.memmap(self._paths[2], corner, "r").reshape(-1, 2)
        xy = _rows(corners, objects["first_corner"], objects["corners"])
        is_shell: BoolArray = lengths > 0
        parts_before = np.concatenate([[0], np.cumsum(is_shell)])
        outlines = Outlines(
            **{name: objects[name] for name in _FACTS},
            object_offsets=parts_before[ragged_offsets(objects["rings"])],
            part_offsets=np.append(np.flatnonzero(is_shell), len(lengths)),
            ring_offsets=ragged_offsets(np.abs(lengths)),
            xy=xy,
        )
        return outlines, {name: objects[f"+{name}"] for name in self._columns}


def _rows(data: Array, first: Array, lengths: Array) -> Array:
    """Ragged rows of a file, in memory."""
    if (
        len(first) == 1
    ):  # one by itself may have millions of corners: their numbers would take thrice the room
        return np.array(data[first[0] : first[0] + lengths[0]])
    return np.asarray(data[ragged_rows(first, lengths)[0]])


def _batches(corners: IntArray, ends: IntArray) -> Iterator[tuple[int, int]]:
    """Cuts of an ordered list of objects into batches.

    Parameters
    ----------
    corners : (n,) int64
        Corners of the objects up to each, itself included.
    ends : (groups,) int64
        Where a batch may end, ascending; the last one is n.

    Examples
    --------
    >>> list(_batches(np.array([5, 10, 15]), np.array([1, 3])))
    [(0, 3)]
    """
    start = 0
    while start < corners.size:
        before = corners[start - 1] if start else 0
        most = int(np.searchsorted(corners, before + _BATCH_CORNERS, side="right"))
        fits = int(np.searchsorted(ends, min(most, start + _BATCH_OBJECTS), side="right"))
        stop = int(ends[fits - 1]) if fits else 0
        if stop <= start:  # not even one fits: it comes alone
            stop = int(ends[np.searchsorted(ends, start, side="right")])
        yield start, stop
        start = stop
