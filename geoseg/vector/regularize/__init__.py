"""Outlines as people draw them: right angles along the house's own direction, walls still shared.

An outline is a set of arcs (see ``vector.coverage``). Each becomes a sequence of straight lines; touching
houses that stand alike share their direction, and a facade that goes on from one to the next is one line.
Corners are where lines meet, and so are junctions: all arcs that meet there end in that very point. Nothing
is clipped or snapped afterwards, and what touched goes on touching.

The offset of a line keeps the area on either side of the traced outline, which is why the result lies nearer
to the truth than the outline that it came from. What would not agree with its pixels is left simplified, or
as it was traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import shapely

from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.coverage import Arcs, find_arcs, number_points, objects_of_pieces, overlapping
from geoseg.vector.geometry import object_geometries
from geoseg.vector.regularize.agreement import outline_iou
from geoseg.vector.regularize.corners import draw_arcs, place_junctions
from geoseg.vector.regularize.directions import (
    circles,
    house_directions,
    refine_directions,
    share_directions,
)
from geoseg.vector.regularize.lines import cut_pieces, merge_pieces
from geoseg.vector.rings import Outlines, ragged_offsets, take_objects
from geoseg.vector.simplify import simplify_arcs

__all__ = ["LEVELS", "REACH", "Regular", "regularize_outlines"]

#: What an outline is at each level. At 1 its arcs are simplified within two pixels and still end where the
#: lines of its neighbors meet, at 2 they are simplified within one and end where they were traced.
LEVELS = np.array(["regular", "simplified", "simplified", "raw"])
_RAW = 3
#: Lengths in pixels of the raster, since what is to be undone comes from pixels: an outline wobbles by one or
#: two of them, whatever their size. At 0.3 m: 0.6 m, 1.5 m, 1.2 m and 0.3 m.
_WOBBLE, _SHORTEST, _JOG, _SIMPLE = 2.0, 5.0, 4.0, 1.0
#: Below this IoU with its pixels an outline is not kept.
_LEAST_IOU = 0.8
#: Corners do not go farther out of the bounds of the traced outline, pixels.
REACH = 16.0


class Regular(NamedTuple):
    """Regularized objects.

    Attributes
    ----------
    outlines
        The same objects with other corners.
    geometry : (n,) object
        Polygon or MultiPolygon of each.
    level : (n,) int8
        Index into ``LEVELS``, of what each shares with no other. A wall in common with an object that is not
        regular is not regular either.
    iou : (n,) float64
        Intersection over union of each with its pixels.
    """

    outlines: Outlines
    geometry: Array
    level: Array
    iou: Array


class _Meetings(NamedTuple):
    """Junctions: the ends of arcs that meet at each, and the junction of each end."""

    offsets: IntArray
    ends: IntArray
    junction: IntArray
    closed: BoolArray

    @classmethod
    def of(cls, xy: Array, offsets: IntArray) -> _Meetings:
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


def regularize_outlines(
    outlines: Outlines, scale: tuple[float, float], transform: Sequence[float] | None = None
) -> Regular:
    """Outlines with right angles, straight facades and round tanks, all valid, walls still shared.

    Where an object would become invalid, would agree too little with its pixels, or would overlap one of its
    group, what it shares with no other is simplified, then the walls that it shares, and at last both are
    left as they were traced. Its neighbors stay regular, and meet its walls where these end.

    Parameters
    ----------
    outlines
        Whole groups of objects (see ``Outlines.group``), as they were traced.
    scale
        Width and height of a pixel, such as meters on the ground. Only their ratio counts.
    transform
        See ``geometry.place_corners``.
    """
    arcs = find_arcs(outlines)
    factor = np.asarray(scale, np.float64) / np.sqrt(scale[0] * scale[1])
    xy = np.ascontiguousarray(arcs.xy * factor)
    owner = objects_of_pieces(outlines, arcs)
    meetings = _Meetings.of(arcs.xy, arcs.offsets)
    draw = _drawing(xy, arcs, owner, meetings, len(outlines))

    level = np.zeros(len(arcs), np.int8)
    geometry, iou = np.empty(len(outlines), object), np.ones(len(outlines))
    changed = unchecked = np.arange(len(outlines))
    bounds = _bounds(outlines, changed)
    pieces = np.diff(arcs.ring_offsets)
    is_hole = np.ones(pieces.size, np.bool_)
    is_hole[outlines.part_offsets[:-1]] = False
    alone = np.bincount(arcs.arc, minlength=len(arcs))[arcs.arc] == 1
    while True:
        corners, offsets = draw(level)
        drawn_xy, ring_offsets = arcs.rings(corners / factor, offsets)
        drawn = replace(outlines, xy=drawn_xy, ring_offsets=ring_offsets)
        # A ring of less than three corners can't be drawn, so it goes first: a small hole alone, else all of
        # the object.
        flat = np.diff(ring_offsets) < 4
        flat_hole = flat & is_hole
        bad = np.unique(owner[np.repeat(flat & ~is_hole, pieces)])
        if not flat.any():
            some = drawn if changed.size == len(outlines) else take_objects(drawn, changed)
            geometry[changed] = object_geometries(some, transform)
            iou[changed] = outline_iou(outlines, drawn, changed)
            out = (np.abs(_bounds(drawn, changed) - bounds[changed]) > REACH).any(axis=1)
            sound = shapely.is_valid(geometry[changed])
            if transform is not None:  # a sliver may be valid in one system of coordinates only
                sound &= shapely.is_valid(object_geometries(some))
            bad = changed[~sound | (iou[changed] < _LEAST_IOU) | out]
            if not bad.size:
                bad = overlapping(geometry, outlines.group, unchecked)
                unchecked = changed[:0]
        least = np.full(len(outlines), _RAW, np.int8)
        np.minimum.at(least, owner, level[arcs.arc])
        least_alone = np.full(len(outlines), _RAW + 1, np.int8)
        np.minimum.at(least_alone, owner[alone], level[arcs.arc[alone]])
        reached = np.where(least_alone > _RAW, least, least_alone).astype(np.int8)
        if not bad.size and not flat.any():
            return Regular(drawn, geometry, reached, iou)
        # Where all that is bad in a group is as traced, what it meets is not.
        stuck = bad[(least[bad] == _RAW) & (outlines.group[bad] >= 0)]
        stuck = stuck[~np.isin(outlines.group[stuck], outlines.group[bad[least[bad] < _RAW]])]
        if stuck.size:
            at, near = shapely.STRtree(geometry).query(geometry[stuck], predicate="intersects")
            bad = np.union1d(bad, near[outlines.group[near] == outlines.group[stuck[at]]])
        # One level at a time, first what is its own alone, then the walls that it shares: most often the
        # first is enough, and its neighbors stay as they are.
        wanted, wanted_alone = np.zeros((2, len(outlines)), np.int8)
        wanted_alone[bad] = np.minimum(least[bad] + 1, _RAW)
        together = bad[least_alone[bad] > least[bad]]
        wanted[together] = wanted_alone[together]
        raised = level.copy()
        np.maximum.at(raised, arcs.arc, wanted[owner])
        np.maximum.at(raised, arcs.arc[alone], wanted_alone[owner[alone]])
        of_hole = np.unique(arcs.arc[np.repeat(flat_hole, pieces)])
        raised[of_hole] = np.maximum(raised[of_hole], np.minimum(level[of_hole] + 1, _RAW))
        if (raised == level).all():
            return Regular(drawn, geometry, reached, iou)
        moved = raised != level
        at = np.unique(meetings.junction[np.repeat(moved, 2)])
        near = np.isin(meetings.junction, at[at >= 0]).reshape(-1, 2).any(axis=1)
        touched = np.unique(owner[(moved | near)[arcs.arc]])
        changed = np.union1d(changed, touched) if flat.any() else touched
        unchecked = np.union1d(unchecked, changed)
        level = raised


def _drawing(xy: Array, arcs: Arcs, owner: IntArray, meetings: _Meetings, objects: int):  # type: ignore[no-untyped-def]
    """The function from the level of each arc to the corners of all."""
    offsets, closed = arcs.offsets, meetings.closed
    keep = simplify_arcs(xy, offsets, np.full(len(arcs), _WOBBLE))
    simplified = np.stack([keep, simplify_arcs(xy, offsets, np.full(len(arcs), _SIMPLE))])
    order = np.argsort(arcs.arc, kind="stable")
    sides, first_side = owner[order], np.searchsorted(arcs.arc[order], np.arange(len(arcs)))
    walls = np.flatnonzero(arcs.arc[order][1:] == arcs.arc[order][:-1])
    angle = house_directions(xy, offsets, keep, arcs.arc, owner, objects)
    house, each = sides[first_side], np.arange(objects)
    angle, weight = refine_directions(xy, offsets, closed, keep, angle, each, house)
    frame, angle = share_directions(sides[walls], sides[walls + 1], angle, weight)
    angle = refine_directions(xy, offsets, closed, keep, angle, frame, house)[0][frame]

    piece_offsets, kind, direction, sums, sign, _ = cut_pieces(xy, offsets, closed, keep, angle[house])
    ends = np.stack([xy[offsets[:-1]], xy[offsets[1:] - 1]], axis=1)
    after, first, final, parent = merge_pieces(
        piece_offsets,
        kind,
        np.repeat(frame[house], np.diff(piece_offsets)),
        direction,
        sums,
        sign,
        closed,
        ends,
        meetings.offsets,
        meetings.ends,
        _SHORTEST,
        _JOG,
    )
    circle = circles(xy, offsets, closed)
    traced = ends.reshape(-1, 2)[meetings.ends[meetings.offsets[:-1]]]
    lines = (first, final, parent, direction, sums)

    def draw(level: Array) -> tuple[Array, IntArray]:
        pinned = np.zeros(len(traced), np.bool_)
        at = meetings.junction[np.repeat(level > 1, 2)]
        pinned[at[at >= 0]] = True
        place, link = place_junctions(meetings.offsets, meetings.ends, traced, pinned, *lines, sign)
        return draw_arcs(
            xy, offsets, simplified, level, closed, meetings.junction, place, link, after, *lines, circle
        )

    return draw


def _bounds(outlines: Outlines, objects: IntArray) -> Array:
    """Least and greatest x and y of some objects, (k, 4)."""
    corner = outlines.ring_offsets[outlines.part_offsets[outlines.object_offsets[:-1]]]
    if not corner.size:
        return np.empty((0, 4))
    low, high = np.minimum.reduceat(outlines.xy, corner), np.maximum.reduceat(outlines.xy, corner)
    return np.concatenate([low, high], axis=1)[objects].astype(np.float64)
