"""Outlines that cross themselves or each other after they were drawn, as a coverage again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from geoseg.raster.unions import roots, unite
from geoseg.typing import Array, IntArray
from geoseg.vector.coverage import find_arcs, number_points, objects_of_pieces, overlapping, with_neighbors
from geoseg.vector.geometry import combine_parts, object_geometries, repaired
from geoseg.vector.regularize.agreement import outline_iou
from geoseg.vector.regularize.specks import SPECK
from geoseg.vector.rings import Outlines, concat_outlines, ragged_offsets, take_objects
from geoseg.vector.simplify import simplify_arcs

__all__ = ["Mending", "cleaned", "reshaped"]

#: Corners nearer than this become one, pixels: two computations of one corner differ by less.
_SNAP = 1e-3
#: Corners nearer than this to the line between their neighbors are dropped, pixels. It turns an edge of three
#: pixels by a fifth of a degree.
_STRAIGHT = 0.01


class Mending:
    """Drawn objects, mended where they cross themselves or others of their group.

    What crosses makes a knot with all that touches it. Knots are mended, and the rest of a group stays as it
    was drawn: a town of thousands of houses that touch costs as much as what crosses in it.

    Parameters
    ----------
    outlines
        Whole groups.
    traced
        The same objects as they were traced.
    transform
        See ``geometry.place_corners``.

    Attributes
    ----------
    shapes, geometry : (n,) object
        As drawn, in pixels; and what came of it, placed by ``transform``.
    """

    def __init__(self, outlines: Outlines, traced: Outlines, transform: Sequence[float] | None) -> None:
        count = len(outlines)
        self._traced, self._group, self._transform = traced, outlines.group, transform
        #: What is invalid or overlaps others as drawn; and what does so once the knots are mended.
        self._crosses, self._unsound = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        #: The first of the objects that each is mended together with; -1: it is as drawn.
        self._knot = np.full(count, -1)
        #: Those that are mended, ascending, and their outlines.
        self._members, self._mended = np.arange(0), take_objects(outlines, np.arange(0))
        self._iou = np.empty(count)
        self.shapes, self._placed, self.geometry = (np.empty(count, object) for _ in range(3))

    def mend(self, drawn: Outlines, iou: Array, changed: IntArray) -> tuple[IntArray, Array]:
        """Mend what crosses.

        Parameters
        ----------
        drawn
            All objects.
        iou : (n,) float64
            How well each agrees with its pixels.
        changed : (k,) int64
            Those that were drawn anew since the last time.

        Returns
        -------
        unsound : (j,) int64
            Objects that are invalid or overlap others all the same.
        iou : (n,) float64
            The same once mended: one that crossed its neighbors may have lost ground to them.
        """
        outlines = take_objects(drawn, changed)
        self.shapes[changed] = object_geometries(outlines)
        self._placed[changed] = object_geometries(outlines, self._transform)
        # What crossed one that has moved away crosses nothing now.
        doubtful = np.union1d(changed, np.flatnonzero(self._crosses))
        if doubtful.size < len(drawn):
            doubtful = with_neighbors(self.shapes, self._group, doubtful)
        self._crosses[doubtful] = ~shapely.is_valid(self.shapes[doubtful])
        # Where they are placed: a corner on an edge may lie on either side of it by the last bits.
        self._crosses[doubtful] |= ~shapely.is_valid(self._placed[doubtful])
        self._crosses[overlapping(self._placed, self._group, doubtful)] = True
        self._mend_knots(drawn, iou, changed)
        # A wall that goes back on itself is mended with the house on one side of it, and not with the other:
        # both are one knot then.
        while (alone := np.flatnonzero(self._unsound & ~self._crosses)).size:
            self._crosses[alone] = True
            self._mend_knots(drawn, iou, alone)
        return np.flatnonzero(self._unsound), self._iou

    def _mend_knots(self, drawn: Outlines, iou: Array, changed: IntArray) -> None:
        """Mend the knots that are not as they were; ``changed`` objects are drawn or mended anew."""
        # Knots follow from ``_crosses``, which callers bring up to date first. The old ones tell which are
        # the same now, and what has left its knot.
        before, self._knot = self._knot, self._find_knots()
        inside = self._knot >= 0
        # Knots of the same objects as before, of which none was drawn anew, stay as they are.
        now, then = (np.bincount(knot[knot >= 0], minlength=len(drawn)) for knot in (self._knot, before))
        renewed = now != then
        renewed[self._knot[inside & (before != self._knot)]] = True
        renewed[self._knot[changed[inside[changed]]]] = True
        again = np.flatnonzero(inside & renewed[self._knot])
        kept = np.flatnonzero(inside & ~renewed[self._knot])
        # Both before ``_latest`` is called, which looks members up: what lies beside the knots that are
        # mended again may belong to one that is kept, or may have left its own.
        self._mended = take_objects(self._mended, np.searchsorted(self._members, kept))
        self._members = kept
        beside = np.setdiff1d(with_neighbors(self.shapes, self._group, again), again)
        clean = cleaned(self.shapes[again], self._knot[again])
        outlines = take_objects(drawn, again)
        mended = reshaped(outlines, clean, self._knot[again], self._latest(drawn, beside))
        self._members = np.append(kept, again)
        order = np.argsort(self._members)
        self._members = self._members[order]
        self._mended = take_objects(concat_outlines([self._mended, mended]), order)

        plain = np.union1d(changed, np.flatnonzero((before >= 0) & ~inside))
        plain = plain[~inside[plain]]
        self.geometry[plain] = self._placed[plain]
        self.geometry[again] = object_geometries(mended, self._transform)
        self._iou[plain] = iou[plain]
        self._iou[again] = outline_iou(take_objects(self._traced, again), mended, np.arange(again.size))
        # A sliver may be valid in one system of coordinates only.
        sound = shapely.is_valid(self.geometry[again]) & shapely.is_valid(object_geometries(mended))
        # Last, when geometry and members are the new ones. What is as drawn, and so is all about it, was
        # looked at by the caller.
        near = with_neighbors(self.shapes, self._group, self._members)
        near = np.intersect1d(near, np.append(plain, again))
        self._unsound[plain] = False
        self._unsound[again] = ~sound
        self._unsound[overlapping(self.geometry, self._group, near)] = True

    def finished(self, drawn: Outlines) -> Outlines:
        """All objects as drawn, or mended."""
        return self._latest(drawn, np.arange(len(drawn)))

    def _latest(self, drawn: Outlines, chosen: IntArray) -> Outlines:
        """Some objects as drawn, or mended."""
        mended = np.isin(chosen, self._members)
        some = take_objects(self._mended, np.searchsorted(self._members, chosen[mended]))
        both = concat_outlines([take_objects(drawn, chosen[~mended]), some])
        # Those as drawn lie before the mended ones.
        place = np.empty(chosen.size, np.int64)
        place[np.argsort(mended, kind="stable")] = np.arange(chosen.size)
        return take_objects(both, place)

    def _find_knots(self) -> IntArray:
        """What crosses, with all of its group that touches it: the first object of each knot, or -1."""
        crossed = np.flatnonzero(self._crosses)
        at, near = shapely.STRtree(self.shapes).query(self.shapes[crossed], "intersects")
        same = (self._group[near] >= 0) & (self._group[near] == self._group[crossed[at]])
        one, other = np.append(crossed[at[same]], crossed), np.append(near[same], crossed)
        parent = np.arange(self._crosses.size)
        unite(parent, one, other)
        knot = np.full(parent.size, -1)
        knot[other] = roots(parent, other)
        return knot


def cleaned(shapes: Array, together: IntArray) -> Array:
    """Objects as coverages.

    Where several cover the same ground, the one that has the longest border in common with it gets it. An
    object whose ground others get keeps its outline, and overlaps them. Small parts that this cuts off an
    object of one part are left out, and small holes that it leaves in an object without holes are filled.

    Parameters
    ----------
    shapes : (n,) object
        Objects, valid or not, with all that they touch or cross.
    together : (n,) int64
        Those of one number make up a coverage.

    Returns
    -------
    (n,) object
        Polygon or MultiPolygon of each.
    """
    sound = shapes.copy()
    crossed = ~shapely.is_valid(sound)
    sound[crossed] = repaired(sound[crossed])
    clean = np.empty_like(sound)
    order = np.argsort(together, kind="stable")
    # One by one: objects of different groups may overlap, and are told apart later.
    for at in np.split(order, np.flatnonzero(np.diff(together[order])) + 1):
        clean[at] = shapely.coverage_clean(sound[at], snapping_distance=_SNAP)
    clean = _without_scraps(clean, shapes, together)
    lost = shapely.is_empty(clean)
    clean[lost] = sound[lost]
    return clean


def reshaped(outlines: Outlines, shapes: Array, together: IntArray, beside: Outlines) -> Outlines:
    """The same objects with the corners of coverages, but for those that lie in straight walls.

    Crossings leave such corners, where nothing ends any more.

    Parameters
    ----------
    outlines
        Objects.
    shapes, together : (n,)
        See :func:`cleaned`.
    beside
        What else touches them: it keeps its corners, and so do they where they share a wall with it.
    """
    parts, owner = shapely.get_parts(shapely.orient_polygons(shapes), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    coverage = replace(
        outlines,
        object_offsets=ragged_offsets(np.bincount(owner, minlength=len(outlines))),
        part_offsets=ragged_offsets(np.bincount(part)),
        ring_offsets=ragged_offsets(np.bincount(ring)),
        xy=xy,
    )
    if not len(outlines):
        return coverage
    arcs = find_arcs(coverage)
    knot = together[objects_of_pieces(coverage, arcs)]
    low, high = np.full(len(arcs), together.max()), np.full(len(arcs), -1)
    np.minimum.at(low, arcs.arc, knot)
    np.maximum.at(high, arcs.arc, knot)
    keep = simplify_arcs(arcs.xy, arcs.offsets, np.full(len(arcs), _STRAIGHT))
    # Walls between two knots stay: each is mended by itself, maybe at another time.
    keep |= np.repeat(low != high, np.diff(arcs.offsets))
    point = number_points(np.concatenate([arcs.xy, beside.xy]))
    keep |= np.isin(point[: len(keep)], point[len(keep) :])
    count = np.add.reduceat(keep, arcs.offsets[:-1], dtype=np.int64)
    corners, ring_offsets = arcs.rings(arcs.xy[keep], ragged_offsets(count))
    return replace(coverage, xy=corners, ring_offsets=ring_offsets)


def _without_scraps(clean: Array, drawn: Array, together: IntArray) -> Array:
    """The same without small parts and empty holes that they did not have as drawn."""
    parts, owner = shapely.get_parts(clean, return_index=True)
    area = shapely.area(parts)
    largest = np.zeros(len(clean))
    np.maximum.at(largest, owner, area)
    of_one_part = shapely.get_num_geometries(drawn) == 1
    stays = (area >= SPECK) | (area == largest[owner]) | ~of_one_part[owner]
    parts, owner = parts[stays], owner[stays]
    rings, part = shapely.get_rings(parts, return_index=True)
    is_hole = np.diff(part, prepend=-1) == 0
    solid = of_one_part & (shapely.get_num_interior_rings(drawn) == 0)
    small = np.flatnonzero(is_hole & solid[owner[part]])
    holes = shapely.polygons(rings[small])
    small, holes = small[shapely.area(holes) < SPECK], holes[shapely.area(holes) < SPECK]
    # In a coverage a part lies in a hole as a whole, or not at all.
    hole, other = shapely.STRtree(shapely.point_on_surface(parts)).query(holes, predicate="contains")
    same = together[owner[part[small[hole]]]] == together[owner[other]]
    filled = np.delete(small, np.unique(hole[same]))
    for number in np.unique(part[filled]):
        shell, *others = np.setdiff1d(np.flatnonzero(part == number), filled)
        parts[number] = shapely.polygons(rings[shell], rings[others])
    # What nothing is left of is an empty Polygon, so that every object has a part.
    return combine_parts(parts, owner, len(clean))
