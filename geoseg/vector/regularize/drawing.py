"""The corners of all arcs, from the level of each: see ``regularize.LEVELS``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.coverage import Arcs, number_points
from geoseg.vector.regularize.corners import draw_arcs
from geoseg.vector.regularize.directions import (
    angle_between,
    box_directions,
    circles,
    house_directions,
    refine_directions,
    share_directions,
)
from geoseg.vector.regularize.junctions import place_junctions, share_edges
from geoseg.vector.regularize.lines import merge_pieces
from geoseg.vector.regularize.pieces import cut_pieces
from geoseg.vector.rings import Outlines, ragged_offsets, ragged_rows
from geoseg.vector.simplify import simplify_arcs

__all__ = ["FINE", "Drawing", "Meetings"]

#: The level from which on the lines of arcs are found by finer measures; at higher ones only neighbors that
#: meet them are drawn by these.
FINE = 1
#: Lengths in pixels of the raster, since what is to be undone comes from pixels: an outline wobbles by one or
#: two of them, whatever their size; shorter edges are dropped; longer ones may be diagonals. Of 426 houses
#: with wobbly outlines 70 had corners that are not right with diagonals from 12 pixels on, 34 from 16, 33
#: from 20. The second of each pair is for outlines that do not agree with their pixels by the first. On four
#: labeled areas outlines are 0.668 m off (PoLiS) with edges from 5 pixels on and jogs from 4, 0.654 m from 4
#: and 2 on. From 3 and 2 on, and with a wobble of 1.2 pixels, they are 0.650 m off, but in known terraces
#: 0.31 m, not 0.28.
_WOBBLE, _SHORTEST, _DIAGONAL = (2.0, 1.2), (4.0, 3.0), (16.0, 10.0)
#: Lines of two arcs that differ by less go on in one another.
_JOG = 2.0
#: What arcs that are not regular are simplified by, ending at lines of neighbors or where they were traced.
_SIMPLE = (2.0, 1.0)
#: A house keeps the direction that it shares with its neighbors where its own differs by less, radians.
_ALIKE = np.deg2rad(5.0)


class Meetings(NamedTuple):
    """Junctions: the ends of arcs that meet at each, and the junction of each end."""

    offsets: IntArray
    ends: IntArray
    junction: IntArray
    closed: BoolArray

    @classmethod
    def of(cls, xy: Array, offsets: IntArray) -> Meetings:
        """Those of some arcs."""
        arcs = offsets.size - 1
        ends = np.stack([offsets[:-1], offsets[1:] - 1], axis=1).reshape(-1)
        point = number_points(xy[ends])
        count = np.bincount(point)
        # An arc that ends where it starts is a ring, unless others end there.
        closed = (point[0::2] == point[1::2]) & (count[point[0::2]] == 2)
        open_ends = np.flatnonzero(~np.repeat(closed, 2))
        _, numbers = np.unique(point[open_ends], return_inverse=True)
        junction = np.full(2 * arcs, -1, np.int64)
        junction[open_ends] = numbers
        order = np.argsort(numbers, kind="stable")
        return cls(ragged_offsets(np.bincount(numbers)), open_ends[order], junction, closed)

    def among(self, arcs: IntArray) -> tuple[IntArray, IntArray]:
        """Offsets and ends of the junctions of some arcs, which others do not meet; the arcs count from 0."""
        place = np.full(self.closed.size, -1, np.int64)
        place[arcs] = np.arange(arcs.size)
        inside = place[self.ends >> 1] >= 0
        junction = self.junction[self.ends[inside]]
        count = np.bincount(junction, minlength=self.offsets.size - 1)
        ends = 2 * place[self.ends[inside] >> 1] + (self.ends[inside] & 1)
        return ragged_offsets(count[count > 0]), ends


class _Lines(NamedTuple):
    """Pieces and the lines they lie on, see ``lines.merge_pieces``."""

    after: IntArray
    first: IntArray
    final: IntArray
    parent: IntArray
    direction: Array
    sums: Array
    sign: Array


class Drawing:
    """Draws arcs.

    Parameters
    ----------
    xy : (p, 2) float64
        Traced corners of the arcs, in square pixels.
    arcs
        The arcs.
    owner : (m,) int64
        Object of each piece of a ring.
    meetings
        Where they meet.
    outlines
        The objects.
    factor : (2,) float64
        From the corners of ``outlines`` to those of ``xy``.
    """

    def __init__(
        self, xy: Array, arcs: Arcs, owner: IntArray, meetings: Meetings, outlines: Outlines, factor: Array
    ) -> None:
        self._xy, self._offsets, self._meetings = xy, arcs.offsets, meetings
        self._shapes = (
            outlines.xy * factor,
            outlines.ring_offsets[outlines.part_offsets[outlines.object_offsets]],
        )
        count, objects = len(arcs), len(outlines)
        self._keep = keep = simplify_arcs(xy, arcs.offsets, np.full(count, _WOBBLE[0]))
        order = np.argsort(arcs.arc, kind="stable")
        sides, first_side = owner[order], np.searchsorted(arcs.arc[order], np.arange(count))
        walls = np.flatnonzero(arcs.arc[order][1:] == arcs.arc[order][:-1])
        self._house = house = sides[first_side]
        self._group = np.where(outlines.group < 0, -1 - np.arange(objects), outlines.group)[house]

        angle = house_directions(xy, arcs.offsets, keep, arcs.arc, owner, objects)
        every = np.full(count, _DIAGONAL[0])
        corners = (xy, arcs.offsets, meetings.closed, keep)
        angle, weight = refine_directions(*corners, every, angle, np.arange(objects), house)
        self._frame, angle = share_directions(sides[walls], sides[walls + 1], angle, weight)
        self._angle = refine_directions(*corners, every, angle, self._frame, house)[0][self._frame]

        self._circle = circles(xy, arcs.offsets, meetings.closed)
        self._ends = np.stack([xy[arcs.offsets[:-1]], xy[arcs.offsets[1:] - 1]], axis=1)
        self._traced = self._ends.reshape(-1, 2)[meetings.ends[meetings.offsets[:-1]]]
        self._fine = np.zeros(count, np.bool_)
        self._lines = self._merged(np.arange(count))

    def __call__(self, level: Array) -> tuple[Array, IntArray]:
        """Corners and their offsets of the arcs, (q, 2) float64 and (a + 1,) int64, at these levels."""
        fine = level >= FINE
        if (fine != self._fine).any():
            changed, self._fine = fine != self._fine, fine
            # Lines run on through junctions, from house to house, and not out of a group.
            self._replace_lines(np.flatnonzero(np.isin(self._group, self._group[changed])))
        _, first, final, parent, direction, sums, sign = self._lines
        pinned = np.zeros(len(self._traced), np.bool_)
        at = self._meetings.junction[np.repeat(level > FINE + 1, 2)]
        pinned[at[at >= 0]] = True
        across = len(self._traced)
        direction = np.concatenate([direction, np.zeros((across, 2))])
        sums = np.concatenate([sums, np.zeros((across, 2))])
        lines = (first, final, parent, direction, sums)
        meetings = self._meetings
        place, link = place_junctions(meetings.offsets, meetings.ends, self._traced, pinned, *lines, sign)
        simple = np.flatnonzero((level > FINE) & (level <= FINE + len(_SIMPLE)))
        tolerance = np.where(level == FINE + 1, *_SIMPLE)
        corners, offsets = draw_arcs(
            self._xy,
            self._offsets,
            simplify_arcs(self._xy, self._offsets, tolerance, simple),
            level,
            meetings.closed,
            meetings.junction,
            place,
            link,
            self._lines.after,
            *lines,
            self._circle,
        )
        return share_edges(corners, offsets, meetings.offsets, meetings.ends)

    def _replace_lines(self, some: IntArray) -> None:
        """Find the lines of some arcs anew. Their pieces come behind all others, the old ones stay."""
        old, new = self._lines, self._merged(some)
        base = old.parent.size
        first, final = old.first.copy(), old.final.copy()
        first[some], final[some] = new.first + base, new.final + base
        self._lines = _Lines(
            np.concatenate([old.after, np.where(new.after < 0, -1, new.after + base)]),
            first,
            final,
            np.concatenate([old.parent, new.parent + base]),
            np.concatenate([old.direction, new.direction]),
            np.concatenate([old.sums, new.sums]),
            np.concatenate([old.sign, new.sign]),
        )

    def _merged(self, some: IntArray) -> _Lines:
        """Lines of some arcs, with all that they meet."""
        fine, house = self._fine[some], self._house[some]
        xy, offsets, keep, closed = self._xy, self._offsets, self._keep, self._meetings.closed[some]
        if some.size < self._offsets.size - 1:
            corners, offsets = ragged_rows(self._offsets[some], np.diff(self._offsets)[some])
            xy, keep = xy[corners], keep[corners]
        if fine.any():
            close = simplify_arcs(xy, offsets, np.full(some.size, _WOBBLE[1]), np.flatnonzero(fine))
            keep = np.where(np.repeat(fine, np.diff(offsets)), close, keep)
        diagonal = np.where(fine, _DIAGONAL[1], _DIAGONAL[0])
        angle, frame = self._angle[house], self._frame[house]
        if fine.any():
            own = self._own_directions(xy, offsets, closed, keep, diagonal, house, fine)
            alone = fine & (angle_between(own[house], angle) > _ALIKE)
            angle = np.where(alone, own[house], angle)
            frame = np.where(alone, self._angle.size + house, frame)
        piece_offsets, kind, direction, sums, sign, _ = cut_pieces(xy, offsets, closed, keep, angle, diagonal)
        after, first, final, parent = merge_pieces(
            piece_offsets,
            kind,
            np.repeat(frame, np.diff(piece_offsets)),
            direction,
            sums,
            sign,
            closed,
            self._ends[some],
            *self._meetings.among(some),
            np.where(fine, _SHORTEST[1], _SHORTEST[0]),
            _JOG,
        )
        return _Lines(after, first, final, parent, direction, sums, sign)

    def _own_directions(
        self,
        xy: Array,
        offsets: IntArray,
        closed: BoolArray,
        keep: BoolArray,
        diagonal: Array,
        house: IntArray,
        fine: BoolArray,
    ) -> Array:
        """Directions of the houses of fine arcs by their own outlines alone, (n,) float64."""
        angle = self._angle.copy()
        houses = np.unique(house[fine])
        angle[houses] = box_directions(*self._shapes, houses, angle[houses])
        arcs = np.flatnonzero(np.isin(house, houses))
        corners, offsets = ragged_rows(offsets[arcs], np.diff(offsets)[arcs])
        chosen = (xy[corners], offsets, closed[arcs], keep[corners], diagonal[arcs])
        return refine_directions(*chosen, angle, np.arange(angle.size), house[arcs])[0]
