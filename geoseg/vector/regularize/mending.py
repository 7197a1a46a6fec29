"""Outlines that cross themselves or each other after they were drawn, as a coverage again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from geoseg.typing import Array, IntArray
from geoseg.vector.coverage import find_arcs
from geoseg.vector.rings import Outlines, concat_outlines, ragged_offsets, take_objects
from geoseg.vector.simplify import simplify_arcs

__all__ = ["mended"]

#: Corners nearer than this become one, pixels: two computations of one corner differ by less.
_SNAP = 1e-3
#: Corners nearer than this to the line between their neighbors are dropped, pixels. It turns an edge of three
#: pixels by a fifth of a degree.
_STRAIGHT = 0.01


def mended(drawn: Outlines, shapes: Array, members: IntArray, together: IntArray) -> Outlines:
    """All objects, some of them made a coverage.

    Where several cover the same ground, the one that has the longest border in common with it gets it. An
    object whose ground others get keeps its outline, and overlaps them.

    Parameters
    ----------
    drawn
        All objects, (x, y) float64.
    shapes : (n,) object
        Their geometries, valid or not.
    members : (k,) int64
        Objects to be mended, with all that they touch or cross.
    together : (k,) int64
        Those of one number make up a coverage.
    """
    if not members.size:
        return drawn
    sound = shapes[members]
    crossed = ~shapely.is_valid(sound)
    sound[crossed] = _polygonal(shapely.make_valid(sound[crossed]))
    clean = np.empty_like(sound)
    order = np.argsort(together, kind="stable")
    # One by one: objects of different groups may overlap, and are told apart later.
    for at in np.split(order, np.flatnonzero(np.diff(together[order])) + 1):
        clean[at] = shapely.coverage_clean(sound[at], snapping_distance=_SNAP)
    clean = _polygonal(clean)
    lost = shapely.is_empty(clean)
    clean[lost] = sound[lost]

    parts, owner = shapely.get_parts(shapely.orient_polygons(clean), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    coverage = replace(
        take_objects(drawn, members),
        object_offsets=ragged_offsets(np.bincount(owner, minlength=members.size)),
        part_offsets=ragged_offsets(np.bincount(part)),
        ring_offsets=ragged_offsets(np.bincount(ring)),
        xy=xy,
    )
    # Crossings leave corners in straight walls, where nobody ends any more.
    arcs = find_arcs(coverage)
    keep = simplify_arcs(arcs.xy, arcs.offsets, np.full(len(arcs), _STRAIGHT))
    count = np.add.reduceat(keep, arcs.offsets[:-1], dtype=np.int64)
    corners, ring_offsets = arcs.rings(arcs.xy[keep], ragged_offsets(count))
    index = np.arange(len(drawn))
    index[members] = len(drawn) + np.arange(members.size)
    both = concat_outlines([drawn, replace(coverage, xy=corners, ring_offsets=ring_offsets)])
    return take_objects(both, index)


def _polygonal(shapes: Array) -> Array:
    """The same without lines and points, Polygon or MultiPolygon of each."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    # make_valid may give a collection of a MultiPolygon and lines.
    polygons, part = shapely.get_parts(parts, return_index=True)
    flat = shapely.get_dimensions(polygons) == 2
    polygons, owner = polygons[flat], owner[part[flat]]
    count = np.bincount(owner, minlength=len(shapes))
    out = np.full(len(shapes), shapely.Polygon(), object)
    single = count[owner] == 1
    out[owner[single]] = polygons[single]
    for number in np.flatnonzero(count > 1):
        out[number] = shapely.multipolygons(polygons[owner == number])
    return out
