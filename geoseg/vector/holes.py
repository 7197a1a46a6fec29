"""Rings that objects are left without: small holes above all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from geoseg.typing import BoolArray, IntArray
from geoseg.vector.geometry import region_polygons
from geoseg.vector.rings import Outlines, ragged_offsets, ragged_rows

__all__ = ["empty_holes", "without_rings"]


def empty_holes(outlines: Outlines, candidates: IntArray) -> IntArray:
    """Those of some holes in which no object of the same group lies.

    Parameters
    ----------
    outlines
        Whole groups of objects, as they were traced.
    candidates : (k,) int64
        Rings that are holes.

    Returns
    -------
    (j,) int64
    """
    if not candidates.size:
        return candidates
    # The pixel below the first corner of a shell, which is its uppermost, belongs to it.
    shells = outlines.part_offsets[:-1]
    inside = shapely.points(outlines.xy[outlines.ring_offsets[shells]] + 0.5)
    part_object = np.repeat(np.arange(len(outlines)), np.diff(outlines.object_offsets))
    lengths = np.diff(outlines.ring_offsets)[candidates]
    corners, offsets = ragged_rows(outlines.ring_offsets[candidates], lengths)
    holes = region_polygons(outlines.xy[corners], offsets, np.arange(candidates.size + 1))
    hole, part = shapely.STRtree(inside).query(holes, predicate="contains")
    hole_object = part_object[np.searchsorted(outlines.part_offsets, candidates, side="right") - 1]
    # Objects of other groups are not asked for. They may lie in another batch, and what is kept must not
    # depend on that; a step that may overlap gets such objects once more, as one group.
    mine, other = hole_object[hole], part_object[part]
    one_group = (outlines.group[mine] == outlines.group[other]) & (outlines.group[other] >= 0)
    return np.delete(candidates, np.unique(hole[(mine == other) | one_group]))


def without_rings(outlines: Outlines, dropped: IntArray) -> Outlines:
    """The same objects without some of their holes, and of their parts that are one ring."""
    if not dropped.size:
        return outlines
    keep: BoolArray = np.ones(outlines.ring_offsets.size - 1, np.bool_)
    keep[dropped] = False
    rings = np.diff(np.append(0, np.cumsum(keep))[outlines.part_offsets])
    corners = np.diff(outlines.ring_offsets)
    return replace(
        outlines,
        object_offsets=np.append(0, np.cumsum(rings > 0))[outlines.object_offsets],
        part_offsets=ragged_offsets(rings[rings > 0]),
        ring_offsets=ragged_offsets(corners[keep]),
        xy=outlines.xy[np.repeat(keep, corners)],
    )
