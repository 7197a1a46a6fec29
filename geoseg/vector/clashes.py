"""Objects that did not touch and come to overlap or touch when their outlines are drawn anew."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely

from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.forest import Groups
from geoseg.vector.geometry import object_geometries
from geoseg.vector.rings import Outlines

__all__ = ["Joined", "find_clashes"]


class Joined:
    """Objects that were made one group because they would overlap.

    Attributes
    ----------
    keys : (n,) int64
        First pixels of objects that belonged to no group, ascending.
    numbers : (n,) int64
        The number that each has now.
    affected : (k,) int64
        Final numbers of the groups that have grown in the last round.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self.keys = self.numbers = self.affected = np.empty(0, np.int64)

    def add(self, key: IntArray, group: IntArray) -> None:
        """Make one group of both sides of each pair.

        Parameters
        ----------
        key, group : (pairs, 2) int64
            See :func:`find_clashes`.
        """
        alone = np.unique(key[group < 0])
        start = self._groups.add(alone.size)
        keys = np.concatenate([self.keys, alone])
        order = np.argsort(keys)
        self.keys = keys[order]
        self.numbers = np.concatenate([self.numbers, np.arange(start, start + alone.size)])[order]
        number = self.final(key, group)
        self._groups.join(number[:, 0], number[:, 1])
        self.affected = np.unique(self._groups.final(number.reshape(-1)))

    def final(self, key: IntArray, group: IntArray) -> IntArray:
        """Groups of some objects, by their first pixels and the numbers that they were traced with."""
        number = group.copy()
        if self.keys.size:
            at = np.minimum(np.searchsorted(self.keys, key), self.keys.size - 1)
            found = self.keys[at] == key  # the others kept the number that they were traced with
            number[found] = self.numbers[at[found]]
        return self._groups.final(number.reshape(-1)).reshape(number.shape)


def find_clashes(batches: Iterable[Outlines], reach: float) -> tuple[IntArray, IntArray]:
    """Pairs of objects that overlap, or touch where only one has a corner, and are not of one group.

    Parameters
    ----------
    batches
        All objects in raster order of their first pixels, with the final numbers of their groups.
    reach
        Farthest that an outline lies above its first pixel.

    Returns
    -------
    key, group : (pairs, 2) int64
        First pixels and groups of both sides.
    """
    keys, groups = [np.empty((0, 2), np.int64)], [np.empty((0, 2), np.int64)]
    open_shapes: Array = np.empty(0, object)
    open_key = open_group = np.empty(0, np.int64)
    for outlines in batches:
        if not len(outlines):
            continue
        shapes = np.concatenate([open_shapes, object_geometries(outlines)])
        key, group = np.append(open_key, outlines.key), np.append(open_group, outlines.group)
        new, near = shapely.STRtree(shapes).query(shapes[open_key.size :])
        new += open_key.size
        # Each pair once, from the side of the later object; most neighbors are of one group.
        pair: BoolArray = (near < new) & ((group[near] != group[new]) | (group[new] < 0))
        near, new = near[pair], new[pair]
        meet = shapely.intersects(shapes[near], shapes[new])
        near, new = near[meet], new[meet]
        # A wall or a corner that both have is no overlap. Where only one has a corner, in the middle of the
        # other's wall, they would overlap or part by the last bits once they are placed.
        apart = shapely.touches(shapes[near], shapes[new])
        for at in np.flatnonzero(apart):
            apart[at] = shapely.coverage_is_valid(shapes[[near[at], new[at]]])
        sides = np.stack([near[~apart], new[~apart]], axis=1)
        keys.append(key[sides])
        groups.append(group[sides])
        # What ends above all that is still to come is done with.
        still = shapely.bounds(shapes)[:, 3] > (outlines.key[-1] >> 32) - reach
        open_shapes, open_key, open_group = shapes[still], key[still], group[still]
    return np.concatenate(keys), np.concatenate(groups)
