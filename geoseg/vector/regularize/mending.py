"""Outlines that cross themselves or each other after they were drawn, as a coverage again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from geoseg.typing import Array, IntArray
from geoseg.vector.coverage import find_arcs
from geoseg.vector.geometry import object_geometries
from geoseg.vector.rings import Outlines, concat_outlines, ragged_offsets, take_objects
from geoseg.vector.simplify import simplify_arcs

__all__ = ["mended"]

#: Corners nearer than this become one, pixels.
_SNAP = 1e-3
#: Corners nearer than this to the line between their neighbors are dropped, pixels.
_STRAIGHT = 0.01


def mended(drawn: Outlines, shapes: Array, members: IntArray, together: IntArray) -> Outlines:
    """All objects, of which some are made a coverage.

    Where several cover the same ground, the one with the longest border about it gets it.

    Parameters
    ----------
    drawn
        All objects.
    shapes : (n,) object
        Their geometries.
    members : (k,) int64
        Objects that cross themselves or others, and all that these touch.
    together : (k,) int64
        Those of one number make up a coverage.
    """
    if not members.size:
        return drawn
    clean = shapes[members]
    crossed = ~shapely.is_valid(clean)
    clean[crossed] = _polygonal(shapely.make_valid(clean[crossed]))
    order = np.argsort(together, kind="stable")
    for at in np.split(order, np.flatnonzero(np.diff(together[order])) + 1):
        clean[at] = shapely.coverage_clean(clean[at], snapping_distance=_SNAP)
    clean = _polygonal(clean)
    # What lies wholly on others' ground keeps its outline, and fails the checks that follow.
    clean = np.where(shapely.is_empty(clean), _polygonal(shapely.make_valid(shapes[members])), clean)
    parts, owner = shapely.get_parts(shapely.orient_polygons(clean), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    coverage = replace(
        take_objects(drawn, members),
        object_offsets=ragged_offsets(np.bincount(owner)),
        part_offsets=ragged_offsets(np.bincount(part)),
        ring_offsets=ragged_offsets(np.bincount(ring)),
        xy=xy,
    )
    # Where nothing is in common any more, no corner is left in a straight wall.
    arcs = find_arcs(coverage)
    keep = simplify_arcs(arcs.xy, arcs.offsets, np.full(len(arcs), _STRAIGHT))
    count = np.add.reduceat(keep, arcs.offsets[:-1], dtype=np.int64)
    corners, ring_offsets = arcs.rings(arcs.xy[keep], ragged_offsets(count))
    coverage = replace(coverage, xy=corners, ring_offsets=ring_offsets)
    index = np.arange(len(drawn))
    index[members] = len(drawn) + np.arange(members.size)
    return take_objects(concat_outlines([drawn, coverage]), index)


def _polygonal(shapes: Array) -> Array:
    """Without lines and points."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    # make_valid may give collections in which a polygon lies beside lines
    inner, at = shapely.get_parts(parts, return_index=True)
    owner = owner[at]
    flat = shapely.get_dimensions(inner) == 2
    inner, owner = inner[flat], owner[flat]
    out = np.full(len(shapes), shapely.Polygon(), object)
    count = np.bincount(owner, minlength=len(shapes))
    single = count[owner] == 1
    out[owner[single]] = inner[single]
    for number in np.flatnonzero(count > 1):
        out[number] = shapely.multipolygons(inner[owner == number])
    return out
