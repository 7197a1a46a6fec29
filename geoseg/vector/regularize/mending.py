"""Outlines that cross themselves or each other after they were drawn, as a coverage again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from geoseg.typing import Array, IntArray
from geoseg.vector.coverage import find_arcs, overlapping
from geoseg.vector.geometry import object_geometries
from geoseg.vector.regularize.agreement import outline_iou
from geoseg.vector.rings import Outlines, concat_outlines, ragged_offsets, take_objects
from geoseg.vector.simplify import simplify_arcs

__all__ = ["SPECK", "Mending", "cleaned", "reshaped"]

#: Holes and further parts of fewer pixels are left out where they touch no other object, or where only a
#: crossing made them: no line of three pixels fits in. Most houses that could not be regular had one, next to
#: their wall.
SPECK = 9.0
#: Corners nearer than this become one, pixels: two computations of one corner differ by less.
_SNAP = 1e-3
#: Corners nearer than this to the line between their neighbors are dropped, pixels. It turns an edge of three
#: pixels by a fifth of a degree.
_STRAIGHT = 0.01


class Mending:
    """Drawn objects, mended where they cross themselves or others of their group.

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
        #: What is mended together: a group, or an object that touches no other.
        self._together = np.where(outlines.group < 0, -1 - np.arange(count), outlines.group)
        self._broken = np.zeros(count, np.bool_)
        self._clean, self._iou = np.empty(count, object), np.empty(count)
        self.shapes, self.geometry = np.empty(count, object), np.empty(count, object)

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
        self.shapes[changed] = object_geometries(take_objects(drawn, changed))
        some = np.flatnonzero(np.isin(self._together, self._together[changed]))
        crossed = some[~shapely.is_valid(self.shapes[some])]
        crossed = np.union1d(crossed, overlapping(self.shapes, self._group, changed))
        self._broken[some] = np.isin(self._together[some], self._together[crossed])
        again = some[self._broken[some]]
        self._clean[again] = cleaned(self.shapes[again], self._together[again])
        mended = reshaped(take_objects(drawn, again), self._clean[again])
        self.geometry[some] = object_geometries(take_objects(drawn, some), self._transform)
        self.geometry[again] = object_geometries(mended, self._transform)
        sound = shapely.is_valid(self.geometry[some])
        if self._transform is not None:  # a sliver may be valid in one system of coordinates only
            sound[self._broken[some]] &= shapely.is_valid(object_geometries(mended))
        unsound = np.union1d(some[~sound], overlapping(self.geometry, self._group, again))
        self._iou[some] = iou[some]
        self._iou[again] = outline_iou(take_objects(self._traced, again), mended, np.arange(again.size))
        return unsound, self._iou

    def finished(self, drawn: Outlines) -> Outlines:
        """All objects as drawn, or mended."""
        members = np.flatnonzero(self._broken)
        mended = reshaped(take_objects(drawn, members), self._clean[members])
        index = np.arange(len(drawn))
        index[members] = len(drawn) + np.arange(members.size)
        return take_objects(concat_outlines([drawn, mended]), index)


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
    sound[crossed] = _polygonal(shapely.make_valid(sound[crossed]))
    clean = np.empty_like(sound)
    order = np.argsort(together, kind="stable")
    # One by one: objects of different groups may overlap, and are told apart later.
    for at in np.split(order, np.flatnonzero(np.diff(together[order])) + 1):
        clean[at] = shapely.coverage_clean(sound[at], snapping_distance=_SNAP)
    clean = _without_scraps(clean, shapes, together)
    lost = shapely.is_empty(clean)
    clean[lost] = sound[lost]
    return clean


def reshaped(outlines: Outlines, shapes: Array) -> Outlines:
    """The same objects with the corners of coverages, but for those that lie in straight walls.

    Crossings leave such corners, where nothing ends any more.

    Parameters
    ----------
    outlines
        Whole groups.
    shapes : (n,) object
        See :func:`cleaned`.
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
    keep = simplify_arcs(arcs.xy, arcs.offsets, np.full(len(arcs), _STRAIGHT))
    count = np.add.reduceat(keep, arcs.offsets[:-1], dtype=np.int64)
    corners, ring_offsets = arcs.rings(arcs.xy[keep], ragged_offsets(count))
    return replace(coverage, xy=corners, ring_offsets=ring_offsets)


def _without_scraps(clean: Array, drawn: Array, together: IntArray) -> Array:
    """The same without small parts and empty holes that they did not have as drawn."""
    parts, owner = _polygons(clean)
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
    return _assembled(parts, owner, len(clean))


def _polygonal(shapes: Array) -> Array:
    """The same without lines and points, Polygon or MultiPolygon of each."""
    return _assembled(*_polygons(shapes), len(shapes))


def _polygons(shapes: Array) -> tuple[Array, IntArray]:
    """Polygons that shapes are made of, and the shape of each."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    # make_valid may give a collection of a MultiPolygon and lines.
    polygons, part = shapely.get_parts(parts, return_index=True)
    flat = shapely.get_dimensions(polygons) == 2
    return polygons[flat], owner[part[flat]]


def _assembled(polygons: Array, owner: IntArray, count: int) -> Array:
    """Polygon or MultiPolygon of each owner, empty where it has none."""
    parts = np.bincount(owner, minlength=count)
    out = np.full(count, shapely.Polygon(), object)
    single = parts[owner] == 1
    out[owner[single]] = polygons[single]
    for number in np.flatnonzero(parts > 1):
        out[number] = shapely.multipolygons(polygons[owner == number])
    return out
