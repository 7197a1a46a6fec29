"""A chunk that objects are split in, and what its neighbors see of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from geoseg.raster.segments import as_values
from geoseg.raster.split import as_stored
from geoseg.raster.stats import FLOAT_SCALE
from geoseg.typing import Array
from geoseg.vector.chunk import ChunkValues, prepared

__all__ = ["Place", "Rim", "RimmedChunk"]

#: (row, column) of a chunk, or a direction.
Place = tuple[int, int]
#: By direction (rows down, columns along): values, heights and missing data of the pixels at that side.
Rim = dict[Place, tuple[Array | None, ...]]


@dataclass(frozen=True)
class RimmedChunk:
    """Pixels of one chunk, and what its neighbors see of it.

    Attributes
    ----------
    values : (h, w) uint8 or int32
        0 is background.
    height : (h, w) uint8
        What is climbed.
    prob : (h, w) uint8 or floats, or None
        Probabilities, where there are any.
    invalid : (h, w) bool, or None where all are valid
    """

    values: Array
    height: Array
    prob: Array | None
    invalid: Array | None

    @classmethod
    def of(cls, chunk: ChunkValues) -> RimmedChunk:
        """The chunk as it was read, with its height field."""
        chunk = prepared(chunk)
        values = as_values(chunk.values)
        # Of a mask its own smoothed shape is the height, low where it is narrow.
        height = (values != 0) * np.uint8(254) if chunk.prob is None else as_stored(chunk.prob)
        return cls(values, height, chunk.prob, chunk.invalid)

    def rim(self, reach: int) -> Rim:
        """What the neighbor in each direction (row, column) sees of this chunk."""
        near = {-1: slice(0, reach), 0: slice(None), 1: slice(-reach, None)}
        return {
            (down, along): tuple(
                # A copy: a view would keep the whole chunk in memory for its rim.
                None if array is None else array[near[down], near[along]].copy()
                for array in (self.values, self.height, self.invalid)
            )
            for down, along in itertools.product((-1, 0, 1), repeat=2)
            if (down, along) != (0, 0)
        }

    def summed(self) -> Array:
        """Probabilities as the integers that are added up, as ``raster.stats.sum_prob`` has them."""
        if self.prob is None:
            return np.broadcast_to(np.uint8(0), self.values.shape)
        if self.prob.dtype == np.uint8:
            return self.prob
        return np.rint(self.prob.astype(np.float64) * FLOAT_SCALE).astype(np.int64)

    def surrounded(self, around: Rim, reach: int) -> tuple[Array, Array, Array | None]:
        """The chunk with the pixels around it.

        Parameters
        ----------
        around
            By direction, the rim that lies there.
        reach
            Pixels around the height field.

        Returns
        -------
        values : (h + 2, w + 2) uint8 or int32
        height : (h + 2 reach, w + 2 reach) uint8
        invalid : (h + 2, w + 2) bool, or None where all are valid
            0 and False beyond the raster.
        """
        high, wide = self.values.shape

        def padded(own: Array, which: int, side: int) -> Array:
            whole = np.zeros((high + 2 * side, wide + 2 * side), own.dtype)
            whole[side : side + high, side : side + wide] = own
            for (down, along), rim in around.items():
                part = rim[which]
                # All of that neighbor is valid.
                if part is None:
                    continue
                part = part[_nearest(down, side), _nearest(along, side)]
                row = {-1: side - part.shape[0], 0: side, 1: side + high}[down]
                col = {-1: side - part.shape[1], 0: side, 1: side + wide}[along]
                whole[row : row + part.shape[0], col : col + part.shape[1]] = part
            return whole

        invalid = self.invalid
        if invalid is None and any(rim[2] is not None for rim in around.values()):
            # Data ends beside this chunk: what lies at its border must know.
            invalid = np.zeros(self.values.shape, np.bool_)
        return (
            padded(self.values, 0, 1),
            padded(self.height, 1, reach),
            None if invalid is None else padded(invalid, 2, 1),
        )


def _nearest(direction: int, side: int) -> slice:
    """Of a neighbor's rim, the pixels that lie next to the chunk."""
    return {-1: slice(-side, None), 0: slice(None), 1: slice(0, side)}[direction]
