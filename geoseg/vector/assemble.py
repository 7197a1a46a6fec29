"""Join the traced chunks of a raster into whole outlines, with memory for the unfinished ones only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.forest import Forest, Groups
from geoseg.vector.rings import (
    Outlines,
    Rings,
    close_rings,
    concat_rings,
    ragged_offsets,
    simple_rings,
    take_rings,
)
from geoseg.vector.trace import Chains

__all__ = ["Assembler", "ChunkTrace", "group_outlines"]


@dataclass(frozen=True)
class ChunkTrace:
    """All that a chunk tells the assembler: small arrays, whose size depends on outlines, not on pixels.

    Components are numbered from 1 within the chunk and its halo (one pixel above and to the left);
    entry 0 of the arrays per component is unused.

    Attributes
    ----------
    rings, chains
        Outlines within the chunk, and pieces that leave it.
    value : (n + 1,) int32
        Value of each component.
    prob_sum : (n + 1,) int64
        Sum of its probabilities over the chunk without the halo.
    near_invalid : (n + 1,) bool
        Whether it has a pixel 8-adjacent to one without data.
    corners : (m, 2) int32
        Pairs of components that meet at a corner; empty with 4-connectivity.
    touching : (t, 2) int32
        Pairs of components that share a side or a corner; empty where groups are not wanted.
    top, bottom : (segments,) int32
        Components along the row above the chunk and along its last row.
    left, right : (rows,) int32
        Components down the column left of the chunk and down its last column.
    """

    rings: Rings
    chains: Chains
    value: Array
    prob_sum: IntArray
    near_invalid: BoolArray
    corners: Array
    touching: Array
    top: Array
    bottom: Array
    left: Array
    right: Array


@dataclass
class _Rope:
    """An unfinished ring: the chains joined so far, from one gate to another."""

    enters: int
    leaves: int
    component: int
    # Put together only when the ring is closed: an outline through a thousand chunks would be copied as
    # often.
    pieces: deque[tuple[Array, BoolArray]]


class Assembler:
    """Joins chunk traces, given row by row, and hands over objects as soon as they are complete.

    Chains are joined at equal gates; components of neighboring chunks are one where the halo shows the
    same pixels. An object is complete when no pixel of it lies on the last row of chunks. Memory holds
    the unfinished objects only: closed rings and chains of what still reaches the last row.

    Parameters
    ----------
    shape
        Height and width of the raster, pixels.
    columns
        Number of chunks in a row.
    connectivity
        4 or 8: with 8, regions that meet at a corner are one object of several parts.
    groups
        Takes the groups of objects that touch; None: nobody wants to know.
    """

    def __init__(
        self, shape: tuple[int, int], columns: int, connectivity: int, groups: Groups | None = None
    ) -> None:
        self._shape = shape
        self._columns = columns
        self._forest = Forest(connectivity == 8)
        self._groups = groups
        self._touching = [np.empty((0, 2), np.int64)]  # of the current row
        self._row: list[IntArray] = []  # last rows of the chunks of the current row
        self._above: list[IntArray] = []  # and of the row before
        self._left = np.empty(0, np.int64)
        self._closed: list[Rings] = []
        self._ropes: list[_Rope] = []  # closed in this row
        self._entering: dict[int, _Rope] = {}
        self._leaving: dict[int, _Rope] = {}

    def add(self, trace: ChunkTrace) -> Outlines | None:
        """Add the next chunk, in row-major order.

        Returns
        -------
        Outlines or None
            After the last chunk of a row the objects completed by it (those that do not reach its last
            row of pixels), else None.
        """
        forest, column = self._forest, len(self._row)
        base = forest.add(trace.value[1:], trace.prob_sum[1:], trace.near_invalid[1:])
        # The halo of the chunk is the last column and row of its neighbors: the same pixels, seen twice.
        if column:
            self._join_border(self._left, _numbered(trace.left, base))
        if self._above:
            self._join_border(self._above[column], _numbered(trace.top, base))
        corners = _numbered(trace.corners, base)
        forest.join_corners(corners[:, 0], corners[:, 1])
        self._touching.append(_numbered(trace.touching, base))
        self._left = _numbered(trace.right, base)
        self._row.append(_numbered(trace.bottom, base))
        if len(trace.rings.component):
            self._closed.append(trace.rings._replace(component=_numbered(trace.rings.component, base)))
        chains = trace.chains
        for k in range(len(chains.enters)):
            part = slice(chains.offsets[k], chains.offsets[k + 1])
            # Copies, since a view would keep the corners of the whole chunk as long as one chain waits.
            piece = (chains.xy[part].copy(), chains.saddle[part].copy())
            enters, leaves = int(chains.enters[k]), int(chains.leaves[k])
            self._tie(_Rope(enters, leaves, int(chains.component[k]) - 1 + base, deque([piece])))
        return self._end_row(last=False) if len(self._row) == self._columns else None

    def finish(self) -> Outlines:
        """The objects that reach the raster's last row, after its last chunk."""
        return self._end_row(last=True)

    def _join_border(self, first: IntArray, second: IntArray) -> None:
        both = first >= 0
        self._forest.join(first[both], second[both])

    def _tie(self, rope: _Rope) -> None:
        """Join a rope with those that end where it begins and begin where it ends."""
        before = self._leaving.pop(rope.enters, None)
        if before is not None:
            del self._entering[before.enters]
            rope = _joined(before, rope)
        if rope.enters == rope.leaves:
            self._ropes.append(rope)
            return
        after = self._entering.pop(rope.leaves, None)
        if after is not None:
            del self._leaving[after.leaves]
            rope = _joined(rope, after)
        if rope.enters == rope.leaves:
            self._ropes.append(rope)
            return
        self._entering[rope.enters] = rope
        self._leaving[rope.leaves] = rope

    def _end_row(self, last: bool) -> Outlines:
        forest = self._forest
        if self._ropes:
            self._closed.append(_rings_of(self._ropes))
            self._ropes = []
        # Before any object is handed over, for it takes the number of its group along.
        if self._groups is not None:
            touching = np.concatenate(self._touching)
            forest.number_groups(touching[:, 0], touching[:, 1], self._groups)
        self._touching = [np.empty((0, 2), np.int64)]
        # What reaches the last pixels of this row of chunks may go on below; all else is complete.
        alive = np.zeros(len(forest), np.bool_)
        if not last:
            frontier = np.concatenate(self._row)
            alive[forest.objects(frontier[frontier >= 0])] = True
        rings = self._take_complete(alive)
        prob_sum, near = forest.totals()
        outlines = group_outlines(
            rings,
            forest.regions(rings.component),
            forest.objects(rings.component),
            forest.value,
            prob_sum,
            near,
            forest.group,
            self._shape,
        )
        # The forest now counts the unfinished objects only; all that waits takes their new numbers. (The
        # ropes in ``_leaving`` are those of ``_entering``.)
        number = forest.keep(alive)
        if number.size:
            self._row = [np.where(ids >= 0, number[ids], -1) for ids in self._row]
        self._closed = [block._replace(component=number[block.component]) for block in self._closed]
        for rope in self._entering.values():
            rope.component = int(number[rope.component])
        self._above, self._row = self._row, []
        self._left = np.empty(0, np.int64)
        return outlines

    def _take_complete(self, alive: BoolArray) -> Rings:
        """Remove and return the rings of objects that are not alive."""
        complete, pending = [], []
        for block in self._closed:
            waits = alive[self._forest.objects(block.component)]
            # Most blocks go or stay as a whole, and need no copy.
            if not waits.any():
                complete.append(block)
            elif waits.all():
                pending.append(block)
            else:
                complete.append(take_rings(block, np.flatnonzero(~waits)))
                pending.append(take_rings(block, np.flatnonzero(waits)))
        self._closed = pending
        return concat_rings(complete)


def _numbered(component: Array, base: int) -> IntArray:
    """Numbers in the forest; -1 for background."""
    numbers = component.astype(np.int64) + (base - 1)
    numbers[component == 0] = -1
    return numbers


def _joined(first: _Rope, second: _Rope) -> _Rope:
    """One rope of two."""
    # The shorter list moves. A long outline takes on one piece after the other, and its own list stays.
    if len(first.pieces) >= len(second.pieces):
        pieces = first.pieces
        pieces.extend(second.pieces)
    else:
        pieces = second.pieces
        pieces.extendleft(reversed(first.pieces))
    return _Rope(first.enters, second.leaves, first.component, pieces)


def _rings_of(ropes: list[_Rope]) -> Rings:
    pieces = [piece for rope in ropes for piece in rope.pieces]
    lengths = [sum(len(xy) for xy, _ in rope.pieces) for rope in ropes]
    return simple_rings(
        np.concatenate([xy for xy, _ in pieces]),
        np.concatenate([saddle for _, saddle in pieces]),
        ragged_offsets(np.array(lengths)),
        np.array([rope.component for rope in ropes], np.int64),
    )


def group_outlines(
    rings: Rings,
    region: IntArray,
    whole: IntArray,
    value: Array,
    prob_sum: IntArray,
    near_invalid: BoolArray,
    group: IntArray,
    shape: tuple[int, int],
) -> Outlines:
    """Sort rings into parts and objects.

    Parameters
    ----------
    rings
        All rings of some objects.
    region, whole : (r,) int64
        Region and object that each ring belongs to; a region has one shell.
    value, prob_sum, near_invalid, group
        By object.
    shape
        Height and width of the raster, pixels.
    """
    count = len(rings.component)
    first = rings.xy[rings.offsets[:-1]].astype(np.int64)
    # Raster order of the first corners: the row in the upper 32 bits, the column in the lower ones.
    key = (first[:, 1] << 32) | first[:, 0]
    shell = rings.area2 > 0
    part_key = np.zeros(len(value), np.int64)
    part_key[region[shell]] = key[shell]
    object_key = np.full(len(value), np.iinfo(np.int64).max)
    np.minimum.at(object_key, whole[shell], key[shell])

    # By object, then by part; the shell of a part before its holes. Nothing here depends on the order in
    # which rings were closed, so the result is the same for any chunks.
    order = np.lexsort((key, ~shell, part_key[region], object_key[whole]))
    xy, ring_offsets = close_rings(rings, order)
    is_shell, owner = shell[order], whole[order]
    part_start = np.flatnonzero(is_shell)
    new_object = np.ones(count, np.bool_)
    new_object[1:] = owner[1:] != owner[:-1]
    object_start = np.flatnonzero(new_object)
    stands = owner[object_start]
    on_edge = (xy[:, 0] == 0) | (xy[:, 1] == 0) | (xy[:, 0] == shape[1]) | (xy[:, 1] == shape[0])
    return Outlines(
        key=object_key[stands],
        value=value[stands],
        # Holes count against their shell, and corners are whole numbers: the area is the number of pixels.
        pixels=np.add.reduceat(rings.area2[order], object_start) // 2,
        prob_sum=prob_sum[stands],
        touches_edge=near_invalid[stands] | np.logical_or.reduceat(on_edge, ring_offsets[object_start]),
        group=group[stands],
        object_offsets=np.append(np.searchsorted(part_start, object_start), part_start.size),
        part_offsets=np.append(part_start, count),
        ring_offsets=ring_offsets,
        xy=xy,
    )
