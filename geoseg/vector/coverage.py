"""Touching objects as a coverage: every wall that two of them share is one arc, which both go along.

What changes the arcs, ends apart, changes both sides of a wall at once: no gap opens, nothing overlaps. An
arc ends at *junctions*, lattice corners where three or more regions meet (the background counts as one). An
outline without a junction is one closed arc. Objects that touch no other have nothing but closed arcs: their
rings, as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.rings import Outlines, ragged_offsets, take_objects

__all__ = ["Arcs", "find_arcs", "number_points", "objects_of_pieces", "overlapping"]


@dataclass(frozen=True)
class Arcs:
    """Arcs, and the rings that they make up.

    Attributes
    ----------
    xy : (p, 2) int32 or float64
        Corners of the arcs, both ends included.
    offsets : (a + 1,) int64
        Corners of each arc. A closed arc is a whole ring; its last corner repeats the first.
    arc : (m,) int64
        Arc of each piece of a ring.
    backward : (m,) bool
        Whether the ring goes along it from its end.
    ring_offsets : (r + 1,) int64
        Pieces of each ring, in order.
    """

    xy: Array
    offsets: IntArray
    arc: IntArray
    backward: BoolArray
    ring_offsets: IntArray

    def __len__(self) -> int:
        return self.offsets.size - 1

    def rings(self, xy: Array, offsets: IntArray) -> tuple[Array, IntArray]:
        """Closed rings made of other corners for the same arcs.

        Parameters
        ----------
        xy : (q, 2) numbers
            New corners. Arcs keep their ends.
        offsets : (a + 1,) int64
            Corners of each arc.

        Returns
        -------
        xy, ring_offsets
            As in ``Outlines``.
        """
        if np.array_equal(self.arc, np.arange(self.ring_offsets.size - 1)):
            return xy, offsets  # every ring is one arc
        corners = np.diff(offsets)[self.arc] - 1
        ring_offsets = ragged_offsets(np.add.reduceat(corners, self.ring_offsets[:-1]) + 1)
        out = np.empty((ring_offsets[-1], 2), xy.dtype)
        _fill_rings(xy, offsets, self.arc, self.backward, self.ring_offsets, ring_offsets, out)
        return out, ring_offsets

    def without(self, rings: BoolArray) -> Arcs:
        """Without some rings, (r,) bool, of one arc each that no other ring goes along."""
        drop = np.repeat(rings, np.diff(self.ring_offsets))
        keep = np.ones(len(self), np.bool_)
        keep[self.arc[drop]] = False
        corners = np.diff(self.offsets)
        return Arcs(
            self.xy[np.repeat(keep, corners)],
            ragged_offsets(corners[keep]),
            (np.cumsum(keep) - 1)[self.arc[~drop]],
            self.backward[~drop],
            ragged_offsets(np.diff(self.ring_offsets)[~rings]),
        )


def find_arcs(outlines: Outlines) -> Arcs:
    """The arcs of some objects.

    Parameters
    ----------
    outlines
        Whole groups of objects (see ``Outlines.group``), as they were traced or made of other arcs since:
        both sides of a wall have the same corners along it.
    """
    free = outlines.group < 0
    if free.all():
        rings = outlines.ring_offsets.size - 1
        return Arcs(
            outlines.xy,
            outlines.ring_offsets,
            np.arange(rings),
            np.zeros(rings, np.bool_),
            np.arange(rings + 1),
        )
    if not free.any():
        return _arcs_of_groups(outlines)
    # Most objects of most scenes stand free, and need no search for walls.
    alone = take_objects(outlines, np.flatnonzero(free))
    walls = _arcs_of_groups(take_objects(outlines, np.flatnonzero(~free)))
    ring_free = np.repeat(np.repeat(free, np.diff(outlines.object_offsets)), np.diff(outlines.part_offsets))
    pieces = np.ones(ring_free.size, np.int64)
    pieces[~ring_free] = np.diff(walls.ring_offsets)
    piece_free = np.repeat(ring_free, pieces)
    rings = alone.ring_offsets.size - 1
    arc, backward = np.empty(piece_free.size, np.int64), np.zeros(piece_free.size, np.bool_)
    arc[piece_free] = np.arange(rings)
    arc[~piece_free] = rings + walls.arc
    backward[~piece_free] = walls.backward
    return Arcs(
        np.concatenate([alone.xy, walls.xy]),
        np.append(alone.ring_offsets, alone.ring_offsets[-1] + walls.offsets[1:]),
        arc,
        backward,
        ragged_offsets(pieces),
    )


def _arcs_of_groups(outlines: Outlines) -> Arcs:
    xy, ring_offsets = outlines.xy, outlines.ring_offsets
    rings = ring_offsets.size - 1
    ring = np.repeat(np.arange(rings), np.diff(ring_offsets))
    point = number_points(xy)
    twin = _twins(point, ring_offsets)
    neighbor = np.where(twin >= 0, ring[twin], -1)
    last = ring_offsets[1:] - 1
    before = np.arange(-1, len(xy) - 1)
    before[ring_offsets[:-1]] = last - 1
    neighbor[last] = neighbor[ring_offsets[:-1]]  # no edge leaves the corner that closes a ring
    before[last] = last - 1

    parts = np.repeat(np.arange(len(outlines)), np.diff(outlines.object_offsets))
    value = outlines.value[parts][np.repeat(np.arange(parts.size), np.diff(outlines.part_offsets))][ring]
    # Objects that meet at a corner only keep it, both: there several values meet, though neither side of the
    # edge has a neighbor.
    last_value = np.empty(len(xy), value.dtype)
    last_value[point] = value
    mixed = np.zeros(len(xy), np.bool_)
    mixed[point[value != last_value[point]]] = True
    junction = np.zeros(len(xy), np.bool_)
    # A wall ends where its other side belongs to another ring, or to none.
    changes = neighbor != neighbor[before]
    meets_background = (neighbor < 0) & mixed[point]
    junction[point[changes | meets_background]] = True
    return Arcs(*_cut(xy, ring_offsets, ring, junction[point], twin))


def objects_of_pieces(outlines: Outlines, arcs: Arcs) -> IntArray:
    """Object that each piece of a ring belongs to, (m,) int64, ascending."""
    parts = np.repeat(np.arange(len(outlines)), np.diff(outlines.object_offsets))
    rings = np.repeat(parts, np.diff(outlines.part_offsets))
    return np.repeat(rings, np.diff(arcs.ring_offsets))


def overlapping(geometry: Array, group: IntArray, changed: IntArray) -> IntArray:
    """Objects that overlap others of their group, among the groups of the changed ones."""
    members = np.flatnonzero((group >= 0) & np.isin(group, group[changed]))
    found = members[:0]
    if members.size:
        found = members[_overlaps(geometry[members])]
    # The search goes over all groups at once, which most often ends it: it found nothing, or looked at one
    # group.
    if found.size and (group[members] != group[members[0]]).any():
        # Objects of different groups may overlap, so look at each group alone.
        alone = [np.flatnonzero(group == number) for number in np.unique(group[found])]
        found = np.concatenate([objects[_overlaps(geometry[objects])] for objects in alone])
    return found


def _overlaps(geometry: Array) -> BoolArray:
    # An edge is invalid that crosses another one or matches it in part. Gaps make no edge invalid.
    return np.asarray(~shapely.is_empty(shapely.coverage_invalid_edges(geometry)))


def number_points(xy: Array) -> IntArray:
    """A number for each corner, (p,) int64; equal corners have the same."""
    if xy.dtype.kind == "i":  # both in one number, which sorts faster than two columns
        order = np.argsort((xy[:, 1].astype(np.int64) << 32) + xy[:, 0], kind="stable")
    else:
        order = np.lexsort((xy[:, 0], xy[:, 1]))
    new = (xy[order[1:]] != xy[order[:-1]]).any(axis=1)
    point = np.empty(len(xy), np.int64)
    point[order] = np.append(0, np.cumsum(new))
    return point


def _twins(point: IntArray, ring_offsets: IntArray) -> IntArray:
    """For the edge from each corner to the next: the corner where its other side starts; -1 without one."""
    twin = np.full(point.size, -1, np.int64)
    edge = np.delete(np.arange(point.size), ring_offsets[1:] - 1)
    one, other = point[edge], point[edge + 1]
    # Both ends in one number, which sorts faster than two columns. Rings share no area, so at most two have
    # an edge: equal ones lie side by side, in pairs.
    key = (np.minimum(one, other) << 32) | np.maximum(one, other)
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    one, other = edge[order[same]], edge[order[same + 1]]
    twin[one], twin[other] = other, one
    return twin


@kernel
def _cut(xy, ring_offsets, ring, junction, twin):  # type: ignore[no-untyped-def]
    """Cut rings at junctions. Of the two sides of a wall, the ring that comes first gives the arc."""
    rings = ring_offsets.size - 1
    # A corner may be the end of one arc and the beginning of the next.
    arc_xy = np.empty((2 * xy.shape[0], 2), xy.dtype)
    offsets = np.zeros(xy.shape[0] + 1, np.int64)
    pieces = np.empty(xy.shape[0], np.int64)
    backward = np.empty(xy.shape[0], np.bool_)
    piece_offsets = np.zeros(rings + 1, np.int64)
    arc_of_edge = np.empty(xy.shape[0], np.int64)
    a = p = m = 0
    for r in range(rings):
        first, count = ring_offsets[r], ring_offsets[r + 1] - 1 - ring_offsets[r]
        start = 0
        # Arcs begin at a junction: from there on a ring falls into whole arcs.
        while start < count and not junction[first + start]:
            start += 1
        if start == count:  # no junction: the whole ring is one arc
            start = 0
        at = 0
        while at < count:
            begin = at
            edge = first + (start + begin) % count
            owns = twin[edge] < 0 or ring[twin[edge]] > r
            pieces[m] = a if owns else arc_of_edge[twin[edge]]
            backward[m] = not owns
            while True:
                corner = first + (start + at) % count
                arc_of_edge[corner] = pieces[m]
                if owns:
                    arc_xy[p, 0], arc_xy[p, 1] = xy[corner, 0], xy[corner, 1]
                    p += 1
                at += 1
                if at == count or junction[first + (start + at) % count]:
                    break
            if owns:
                corner = first + (start + at) % count
                arc_xy[p, 0], arc_xy[p, 1] = xy[corner, 0], xy[corner, 1]
                p += 1
                a += 1
                offsets[a] = p
            m += 1
        piece_offsets[r + 1] = m
    return arc_xy[:p].copy(), offsets[: a + 1].copy(), pieces[:m].copy(), backward[:m].copy(), piece_offsets


@kernel
def _fill_rings(xy, offsets, arc, backward, piece_offsets, ring_offsets, out):  # type: ignore[no-untyped-def]
    for r in range(ring_offsets.size - 1):
        to = ring_offsets[r]
        for m in range(piece_offsets[r], piece_offsets[r + 1]):
            first, last = offsets[arc[m]], offsets[arc[m] + 1] - 1
            for k in range(last - first):
                corner = last - k if backward[m] else first + k
                out[to, 0], out[to, 1] = xy[corner, 0], xy[corner, 1]
                to += 1
        out[to, 0], out[to, 1] = out[ring_offsets[r], 0], out[ring_offsets[r], 1]
