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

__all__ = ["Arcs", "find_arcs", "number_points", "objects_of_pieces", "overlapping", "with_neighbors"]


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
    point, twin = _twins(np.ascontiguousarray(xy + 0.0).view(np.int64), ring_offsets)
    neighbor = np.where(twin >= 0, ring[twin], -1)
    last = ring_offsets[1:] - 1
    before = np.arange(-1, len(xy) - 1)
    before[ring_offsets[:-1]] = last - 1
    neighbor[last] = neighbor[ring_offsets[:-1]]  # no edge leaves the corner that closes a ring
    before[last] = last - 1

    value = outlines.value[_objects_of_rings(outlines)][ring]
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
    return np.repeat(_objects_of_rings(outlines), np.diff(arcs.ring_offsets))


def meet_others(outlines: Outlines, chosen: IntArray) -> BoolArray:
    """Which of some rings, (k,) int64, have a corner in common with an object of another value, (k,) bool.

    ``outlines`` are whole groups as they were traced. It takes a seventh of the time of finding arcs.
    """
    objects = _objects_of_rings(outlines)
    rings = np.flatnonzero(outlines.group[objects] >= 0)
    return np.asarray(_meet(outlines.xy, outlines.ring_offsets, outlines.value[objects], rings, chosen))


def _objects_of_rings(outlines: Outlines) -> IntArray:
    parts = np.repeat(np.arange(len(outlines)), np.diff(outlines.object_offsets))
    return np.repeat(parts, np.diff(outlines.part_offsets))


def overlapping(geometry: Array, group: IntArray, changed: IntArray) -> IntArray:
    """Objects that overlap others of their group: the changed ones, and those that they overlap.

    Only the changed ones and what lies near them is looked at.
    """
    members = np.flatnonzero(group >= 0)
    if changed.size < len(geometry):
        members = with_neighbors(geometry, group, changed[group[changed] >= 0])
    found = members[:0]
    if members.size:
        found = members[_overlaps(geometry[members])]
    # Objects of different groups may overlap. Groups with such objects are looked at once more, each alone.
    at, near = shapely.STRtree(geometry[members]).query(geometry[found], "intersects")
    foreign = np.unique(group[found[at[group[members[near]] != group[found[at]]]]])
    if foreign.size:
        alone = [found[~np.isin(group[found], foreign)]]
        for number in foreign:
            some = members[group[members] == number]
            alone.append(some[_overlaps(geometry[some])])
        found = np.sort(np.concatenate(alone))
    return found


def with_neighbors(geometry: Array, group: IntArray, chosen: IntArray) -> IntArray:
    """Some objects, and those of their groups whose bounding boxes meet theirs, ascending."""
    at, near = shapely.STRtree(geometry).query(geometry[chosen])
    return np.union1d(chosen, near[group[near] == group[chosen[at]]])


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


@kernel
def _twins(bits, ring_offsets):  # type: ignore[no-untyped-def]
    """For each corner the first one at its place, and where the other side of the edge that leaves it starts.

    The latter is -1 without another side. ``bits`` are those of float64 coordinates, (p, 2) int64. Two hash
    tables take a quarter of the time of two sorts.
    """
    count = bits.shape[0]
    mask = 1
    while mask < 2 * count:
        mask *= 2
    mask -= 1
    table = np.full(mask + 1, -1)
    point = np.empty(count, np.int64)
    for k in range(count):
        slot = _hash(bits[k, 0], bits[k, 1]) & mask
        while table[slot] >= 0 and (bits[table[slot], 0] != bits[k, 0] or bits[table[slot], 1] != bits[k, 1]):
            slot = (slot + 1) & mask
        if table[slot] < 0:
            table[slot] = k
        point[k] = table[slot]
    table[:] = -1
    twin = np.full(count, -1)
    for r in range(ring_offsets.size - 1):
        for k in range(ring_offsets[r], ring_offsets[r + 1] - 1):
            low, high = min(point[k], point[k + 1]), max(point[k], point[k + 1])
            slot = _hash(low, high) & mask
            while table[slot] >= 0:
                other = table[slot]
                # Rings share no area, so at most two have an edge.
                if (
                    twin[other] < 0
                    and min(point[other], point[other + 1]) == low
                    and max(point[other], point[other + 1]) == high
                ):
                    twin[k], twin[other] = other, k
                    break
                slot = (slot + 1) & mask
            if twin[k] < 0:
                table[slot] = k
    return point, twin


@kernel
def _meet(xy, ring_offsets, value, rings, chosen):  # type: ignore[no-untyped-def]
    """See :func:`meet_others`; only ``rings`` can be met."""
    met = np.zeros(chosen.size, np.bool_)
    count = 0
    for r in chosen:
        count += ring_offsets[r + 1] - ring_offsets[r]
    mask = 1
    while mask < 2 * count:
        mask *= 2
    mask -= 1
    corner, owner = np.full(mask + 1, -1), np.empty(mask + 1, np.int64)
    for c in range(chosen.size):
        for k in range(ring_offsets[chosen[c]], ring_offsets[chosen[c] + 1] - 1):
            slot = _hash(xy[k, 0], xy[k, 1]) & mask
            while corner[slot] >= 0:
                slot = (slot + 1) & mask
            corner[slot], owner[slot] = k, c
    for r in rings:
        for k in range(ring_offsets[r], ring_offsets[r + 1] - 1):
            slot = _hash(xy[k, 0], xy[k, 1]) & mask
            while corner[slot] >= 0:
                same = xy[corner[slot], 0] == xy[k, 0] and xy[corner[slot], 1] == xy[k, 1]
                if same and value[chosen[owner[slot]]] != value[r]:
                    met[owner[slot]] = True
                slot = (slot + 1) & mask
    return met


@kernel
def _hash(one, other):  # type: ignore[no-untyped-def]
    # Multipliers of xxHash; shifts bring the upper bits down, where those of coordinates differ.
    mixed = one * np.int64(-7046029288634856825) + other * np.int64(-4417276706812531889)
    mixed ^= mixed >> 32
    mixed *= np.int64(1609587929392839161)
    return mixed ^ (mixed >> 29)


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
