"""Outlines as people draw them: right angles along the house's own direction, walls still shared.

An outline is a set of arcs (see ``vector.coverage``). Each becomes a sequence of straight lines; touching
houses that stand alike share their direction, and a facade that goes on from one to the next is one line.
Corners are where lines meet, and so are junctions: all arcs that meet there end in that very point. So what
touched goes on touching. Where outlines cross after that, the ground in common goes to one of them (see
``mending``).

The offset of a line keeps the area on either side of the traced outline, which is why the result lies nearer
to the truth than the outline that it came from. What would not agree with its pixels is left simplified, or
as it was traced.

From module to module: ``specks`` leaves out what is too small. ``directions`` tells how houses stand,
``pieces`` cuts arcs into stretches along and across that, ``lines`` drops and joins these, ``junctions`` and
``corners`` go from lines back to corners; ``drawing`` does all of it for arcs of several levels.
``agreement`` judges what came of it, ``mending`` parts what crosses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import shapely

from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.coverage import find_arcs, objects_of_pieces
from geoseg.vector.regularize.agreement import outline_iou
from geoseg.vector.regularize.corners import changed_arcs
from geoseg.vector.regularize.drawing import FINE, Drawing, Meetings
from geoseg.vector.regularize.mending import Mending
from geoseg.vector.regularize.specks import without_specks
from geoseg.vector.rings import Outlines

__all__ = ["LEVELS", "REACH", "Regular", "regularize_outlines"]

#: What an outline is at each level. At 1 it is regular by finer measures (see ``drawing``), at 2 its arcs are
#: simplified within two pixels and still end where the lines of its neighbors meet, at 3 they are simplified
#: within one and end where they were traced.
LEVELS = np.array(["regular", "regular", "simplified", "simplified", "raw"])
_RAW = len(LEVELS) - 1
#: Below this IoU with its pixels an outline is drawn by finer measures, and below the second one it is not
#: kept by these either. Of 103 houses of the demo's town that fall below 0.8 by both, the 80 between 0.75 and
#: 0.8 lie nearer to the truth regular than simplified (PoLiS 2.7 and 2.9 pixels, IoU 0.61 and 0.60), the 18
#: between 0.7 and 0.75 do not (3.4 and 3.4, 0.48 and 0.51).
#: On four labeled areas 25 of 764 houses fall below 0.8, and lie nearer to the truth by finer measures (PoLiS
#: 0.8 and 0.7 m); one falls below 0.75. From 0.85 on PoLiS would be 0.651 m in the mean, not 0.654, but only
#: 89 % of all corners right angles, not 92 %.
_LEAST_IOU, _LEAST_FINE_IOU = 0.8, 0.75
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


def regularize_outlines(
    outlines: Outlines, scale: tuple[float, float], transform: Sequence[float] | None = None
) -> Regular:
    """Outlines with right angles, straight facades and round tanks, all valid, walls still shared.

    Where an object would agree too little with its pixels, it is drawn by finer measures, then simplified,
    and at last left as it was traced: what it shares with no other first, then its walls. Its neighbors stay
    regular, and meet its walls where these end. Objects that would overlap are parted along an outline of
    theirs. Holes and further parts of a few pixels, and slits, are left out.

    Parameters
    ----------
    outlines
        Whole groups of objects (see ``Outlines.group``), as they were traced.
    scale
        Width and height of a pixel, such as meters on the ground. Only their ratio counts.
    transform
        See ``geometry.place_corners``.
    """
    whole_pixels = outlines
    # Before arcs are searched for: the neighbors of a loose part have one wall where it was, not three, and
    # where a hole met a neighbor at a corner, their wall need not end there any more.
    outlines = without_specks(outlines)
    arcs = find_arcs(outlines)
    meetings = Meetings.of(arcs.xy, arcs.offsets)
    factor = np.asarray(scale, np.float64) / np.sqrt(scale[0] * scale[1])
    xy = np.ascontiguousarray(arcs.xy * factor)
    owner = objects_of_pieces(outlines, arcs)
    draw = Drawing(xy, arcs, owner, meetings, outlines, factor)

    mending = Mending(outlines, whole_pixels, transform)
    level, iou = np.zeros(len(arcs), np.int8), np.ones(len(outlines))
    changed = unchecked = np.arange(len(outlines))
    bounds = _bounds(outlines)
    ring_owner = owner[arcs.ring_offsets[:-1]]
    ring = np.repeat(np.arange(arcs.ring_offsets.size - 1), np.diff(arcs.ring_offsets))
    own = np.bincount(arcs.arc, minlength=len(arcs))[arcs.arc] == 1
    corners, offsets = draw(level)
    while True:
        drawn_xy, ring_offsets = arcs.rings(corners / factor, offsets)
        drawn = replace(outlines, xy=drawn_xy, ring_offsets=ring_offsets)
        least, least_own = _least_levels(level[arcs.arc], own, owner)
        reached = np.where(least_own > _RAW, least, least_own)
        # A ring of less than three corners can't be drawn: it is raised, and nothing else of its object.
        flat = np.flatnonzero(np.diff(ring_offsets) < 4)
        whole = changed[~np.isin(changed, ring_owner[flat])]
        iou[whole] = outline_iou(whole_pixels, drawn, whole)
        far = (np.abs(_bounds(drawn)[whole] - bounds[whole]) > REACH).any(axis=1)
        limit = np.where(reached < FINE, _LEAST_IOU, _LEAST_FINE_IOU)
        bad, mended_iou = whole[far | (iou[whole] < limit[whole])], iou
        if not bad.size and not flat.size:
            # Last, since most outlines that cross others agree too little with their pixels as well.
            unsound, mended_iou = mending.mend(drawn, iou, unchecked)
            bad = np.union1d(unsound, np.flatnonzero(mended_iou < limit))
            unchecked = unchecked[:0]
        # Where all that is bad in a group is as traced, what it meets is not.
        stuck = bad[(least[bad] == _RAW) & (outlines.group[bad] >= 0)]
        stuck = stuck[~np.isin(outlines.group[stuck], outlines.group[bad[least[bad] < _RAW]])]
        if stuck.size:
            shapes = mending.shapes
            at, near = shapely.STRtree(shapes).query(shapes[stuck], predicate="intersects")
            bad = np.union1d(bad, near[outlines.group[near] == outlines.group[stuck[at]]])
        raised = np.maximum(
            _raise(level, arcs.arc, own, owner, bad), _raise(level, arcs.arc, own, ring, flat)
        )
        if (raised == level).all():  # nothing is bad, or all that is bad is as traced
            return Regular(mending.finished(drawn), mending.geometry, reached, mended_iou)
        before, level = (corners, offsets), raised
        corners, offsets = draw(level)
        # Only what moved is checked again, and what was bad: it may look as before at its new level.
        moved = changed_arcs(*before, corners, offsets)
        moved[arcs.arc[np.isin(ring, flat)]] = True
        changed = np.union1d(bad, owner[moved[arcs.arc]])
        unchecked = np.union1d(unchecked, changed)


def _least_levels(level: Array, own: BoolArray, row: IntArray) -> tuple[Array, Array]:
    """Least level of the pieces of each row, and of its own ones; above all levels where it has none."""
    starts = np.searchsorted(row, np.arange(row[-1] + 1 if row.size else 0))
    own_level = np.where(own, level, _RAW + 1).astype(np.int8)
    return np.minimum.reduceat(level, starts), np.minimum.reduceat(own_level, starts)


def _raise(level: Array, arc: IntArray, own: BoolArray, row: IntArray, bad: IntArray) -> Array:
    """Levels of arcs, one higher for the bad objects or rings (``row`` of each piece).

    First what is its own alone, then the walls that it shares: most often the first is enough, and its
    neighbors stay as they are.
    """
    least, least_own = _least_levels(level[arc], own, row)
    wanted = np.zeros(least.size, np.int8)
    wanted[bad] = np.minimum(least[bad] + 1, _RAW)
    piece = np.flatnonzero((wanted[row] > 0) & (own | (least_own > least)[row]))
    raised = level.copy()
    np.maximum.at(raised, arc[piece], wanted[row[piece]])
    return raised


def _bounds(outlines: Outlines) -> Array:
    """Least and greatest x and y of objects, (n, 4) float64."""
    corner = outlines.ring_offsets[outlines.part_offsets[outlines.object_offsets[:-1]]]
    if not corner.size:
        return np.empty((0, 4))
    low, high = np.minimum.reduceat(outlines.xy, corner), np.maximum.reduceat(outlines.xy, corner)
    return np.concatenate([low, high], axis=1).astype(np.float64)
