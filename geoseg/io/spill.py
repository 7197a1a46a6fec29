"""Outlines kept on disk until their order is known, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geoseg.typing import Array, IntArray
from geoseg.vector.rings import Outlines, ragged_offsets

__all__ = ["OutlineSpill"]

_OBJECT = np.dtype(
    [
        ("key", "<i8"),
        ("pixels", "<i8"),
        ("prob_sum", "<i8"),
        ("first_ring", "<i8"),
        ("first_corner", "<i8"),
        ("corners", "<i8"),
        ("rings", "<i4"),
        ("value", "<i4"),
        ("touches_edge", "?"),
    ]
)
#: Objects and corners of a batch that is read back; a single object may have more corners.
_BATCH_OBJECTS = 1 << 14
_BATCH_CORNERS = 1 << 18


class OutlineSpill:
    """Takes batches of outlines in any order and gives them back in raster order of their first pixels.

    Three flat files: a record an object, a signed length a ring (below 0 for holes), and the corners.

    Parameters
    ----------
    folder
        Existing folder for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / name for name in ("objects.bin", "rings.bin", "corners.bin")]
        self._files: list[BinaryIO] = [path.open("wb") for path in self._paths]
        self._rings = self._corners = 0
        self.count = 0

    def __enter__(self) -> OutlineSpill:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def add(self, outlines: Outlines) -> None:
        """Write a batch of outlines.

        Raises
        ------
        OSError
            The disk is full.
        """
        ring_at = outlines.part_offsets[outlines.object_offsets]
        corner_at = outlines.ring_offsets[ring_at]
        records = np.zeros(len(outlines), _OBJECT)
        for name in ("key", "pixels", "prob_sum", "value", "touches_edge"):
            records[name] = getattr(outlines, name)
        records["first_ring"] = ring_at[:-1] + self._rings
        records["first_corner"] = corner_at[:-1] + self._corners
        records["rings"] = np.diff(ring_at)
        records["corners"] = np.diff(corner_at)
        lengths = -np.diff(outlines.ring_offsets)
        lengths[outlines.part_offsets[:-1]] *= -1
        for file, data in zip(self._files, (records, lengths.astype("<i8"), outlines.xy.astype("<i4"))):
            file.write(np.ascontiguousarray(data).data.cast("B") if data.size else b"")
        self.count += len(outlines)
        self._rings += len(lengths)
        self._corners += len(outlines.xy)

    def in_order(self) -> Iterator[Outlines]:
        """All outlines in raster order of their first pixels, in batches of bounded size."""
        for file in self._files:
            file.flush()
        if self.count == 0:
            return
        objects = np.memmap(self._paths[0], _OBJECT, "r")
        order = np.argsort(objects["key"], kind="stable")
        corners = np.cumsum(objects["corners"][order])
        del objects
        start = 0
        while start < order.size:
            before = corners[start - 1] if start else 0
            stop = int(np.searchsorted(corners, before + _BATCH_CORNERS, side="right"))
            stop = min(max(stop, start + 1), start + _BATCH_OBJECTS)
            yield self._read(order[start:stop])
            start = stop

    def _read(self, index: IntArray) -> Outlines:
        # The files are mapped anew for each batch, so that pages read before do not stay in memory.
        objects = np.memmap(self._paths[0], _OBJECT, "r")[index]
        lengths = np.memmap(self._paths[1], "<i8", "r")[_spread(objects["first_ring"], objects["rings"])]
        corners = np.memmap(self._paths[2], "<i4", "r").reshape(-1, 2)
        is_shell = lengths > 0
        parts_before = np.concatenate([[0], np.cumsum(is_shell)])
        return Outlines(
            key=objects["key"],
            value=objects["value"],
            pixels=objects["pixels"],
            prob_sum=objects["prob_sum"],
            touches_edge=objects["touches_edge"],
            object_offsets=parts_before[ragged_offsets(objects["rings"])],
            part_offsets=np.append(np.flatnonzero(is_shell), len(lengths)),
            ring_offsets=ragged_offsets(np.abs(lengths)),
            xy=corners[_spread(objects["first_corner"], objects["corners"])],
        )


def _spread(first: Array, length: Array) -> IntArray:
    """first[0], first[0] + 1, ..., for ``length[0]`` numbers, then the same for the others."""
    offsets = ragged_offsets(length)
    return np.repeat(first - offsets[:-1], length) + np.arange(offsets[-1])
