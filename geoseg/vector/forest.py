"""Which components of different chunks are one: union-find with the facts of each component."""

from __future__ import annotations

import numpy as np

from geoseg.raster.unions import roots, unite
from geoseg.typing import Array, BoolArray, IntArray

__all__ = ["Forest", "Groups"]


class Groups:
    """Numbers of groups of touching objects, and which of the numbers turned out to be one group.

    A group may be larger than what is in memory: its objects get its number when they are complete, and
    when two groups meet later on, their numbers are joined here. It costs 8 bytes a number; objects that
    touch no other have none.
    """

    def __init__(self) -> None:
        self._parent = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._parent.size

    def add(self, count: int) -> int:
        """Give out ``count`` new numbers; returns the first of them."""
        first = len(self)
        self._parent = np.append(self._parent, np.arange(first, first + count))
        return first

    def join(self, first: IntArray, second: IntArray) -> None:
        """Pairs of numbers that are one group."""
        unite(self._parent, first, second)

    def final(self, numbers: IntArray) -> IntArray:
        """One number a group, when all are joined; -1 stays -1."""
        if not len(self):
            return numbers
        return np.where(numbers >= 0, roots(self._parent, np.maximum(numbers, 0)), -1)


class Forest:
    """Components that grow together: by shared pixels into regions, by corners into objects.

    A region is 4-connected: one shell with its holes. An object is one or several regions that meet at
    corners (8-connectivity); with 4-connectivity objects are regions.

    Parameters
    ----------
    diagonal
        Whether corners connect.
    """

    def __init__(self, diagonal: bool) -> None:
        self._diagonal = diagonal
        self._region = np.empty(0, np.int64)
        self._object = self._region
        self.value = np.empty(0, np.int32)
        self.prob_sum = np.empty(0, np.int64)
        self.near_invalid = np.empty(0, np.bool_)
        self.group = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._region.size

    def add(self, value: Array, prob_sum: IntArray, near_invalid: BoolArray) -> int:
        """Add components that are not connected to any other yet; returns the number of the first."""
        # The arrays are copied for each chunk; they hold the unfinished objects only (see ``keep``).
        base = len(self)
        new = np.arange(base, base + value.size, dtype=np.int64)
        self._region = np.concatenate([self._region, new])
        self._object = np.concatenate([self._object, new]) if self._diagonal else self._region
        self.value = np.concatenate([self.value, value])
        self.prob_sum = np.concatenate([self.prob_sum, prob_sum])
        self.near_invalid = np.concatenate([self.near_invalid, near_invalid])
        self.group = np.concatenate([self.group, np.full(value.size, -1)])
        return base

    def join(self, first: IntArray, second: IntArray) -> None:
        """Pairs of components that are one region."""
        unite(self._region, first, second)
        if self._diagonal:
            unite(self._object, first, second)

    def join_corners(self, first: IntArray, second: IntArray) -> None:
        """Pairs of components that meet at a corner: one object where corners connect."""
        if self._diagonal:
            unite(self._object, first, second)

    def regions(self, components: IntArray) -> IntArray:
        """The component that stands for the region of each."""
        return roots(self._region, components)

    def objects(self, components: IntArray) -> IntArray:
        """The component that stands for the object of each."""
        return roots(self._object, components)

    def totals(self) -> tuple[IntArray, BoolArray]:
        """Sum of probabilities, and whether invalid pixels are near, at each object's component."""
        prob_sum = np.zeros(len(self), np.int64)
        near = np.zeros(len(self), np.bool_)
        root = self.objects(np.arange(len(self)))
        np.add.at(prob_sum, root, self.prob_sum)
        near[root[self.near_invalid]] = True
        return prob_sum, near

    def number_groups(self, first: IntArray, second: IntArray, groups: Groups) -> None:
        """Give every component the number of its group in ``group``, -1 where its object touches no other.

        Parameters
        ----------
        first, second : (m,) int64
            Pairs of components that touch, of those added since the last call.
        groups
            Where numbers come from. A number stays with its group when some of its objects are forgotten,
            so what touches the group later is known to belong to it.
        """
        numbered = np.flatnonzero(self.group >= 0)
        if not (first.size or numbered.size):
            return
        everyone = np.arange(len(self))
        whole = self.objects(everyone)
        parent = whole.copy()
        unite(parent, first, second)
        # All components of one number become one group, and so do those that touch.
        # (Pairs are those of the last row of chunks; that older ones touch is told by their number alone.)
        _, sample, inverse = np.unique(self.group[numbered], return_index=True, return_inverse=True)
        unite(parent, numbered, numbered[sample][inverse])
        root = roots(parent, everyone)
        number = np.full(len(self), -1, np.int64)
        number[root[numbered]] = self.group[numbered]
        groups.join(self.group[numbered], number[root[numbered]])
        objects = np.bincount(root[whole == everyone], minlength=len(self))
        # An object that touches no other needs no number; most have none.
        new = np.flatnonzero((objects > 1) & (number < 0))
        number[new] = groups.add(new.size) + np.arange(new.size)
        self.group = number[root]

    def keep(self, alive: BoolArray) -> IntArray:
        """Forget every object but the alive ones, and number what is left anew.

        Parameters
        ----------
        alive : (n,) bool
            By component; only the entries of objects' components are read.

        Returns
        -------
        (n,) int64
            New number of each old component, -1 for forgotten ones.
        """
        everyone = np.arange(len(self))
        region, whole = self.regions(everyone), self.objects(everyone)
        live = alive[whole]
        # Components of a region are never told apart again: its facts go to the one that stands for it.
        stands = np.flatnonzero(live & (region == everyone))
        number = np.full(len(self), -1, np.int64)
        number[stands] = np.arange(stands.size)
        number = np.where(live, number[region], -1)

        prob_sum = np.zeros(stands.size, np.int64)
        near = np.zeros(stands.size, np.bool_)
        np.add.at(prob_sum, number[live], self.prob_sum[live])
        near[number[live & self.near_invalid]] = True
        self.value, self.prob_sum, self.near_invalid = self.value[stands], prob_sum, near
        self.group = self.group[stands]
        self._region = np.arange(stands.size, dtype=np.int64)
        self._object = number[whole[stands]] if self._diagonal else self._region
        return number
