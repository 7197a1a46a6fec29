"""What is too small or too thin to be drawn with straight lines: loose pixels, specks and slits."""

from __future__ import annotations

import numpy as np

from geoseg.typing import Array, BoolArray
from geoseg.vector.area import ring_areas
from geoseg.vector.coverage import meet_others
from geoseg.vector.holes import empty_holes, without_rings
from geoseg.vector.rings import Outlines

__all__ = ["SPECK", "without_specks"]

#: Holes and further parts of fewer pixels are left out where they touch no other object, or where only a
#: crossing made them: no line of three pixels fits in. Most houses that could not be regular had one, next to
#: their wall.
SPECK = 9.0
#: Like specks, slits narrower than this are left out, in pixels: an outline wobbles by as much. Strips that
#: are two wide measure 1.4 to 2.13 as pixels, whichever way they run, long ones that are three wide 2.6 and
#: more.
_SLIT = 2.15
#: What a right angle at a corner of pixels adds to a length, against the line through the middles of edges.
_CORNER = 1 - 0.5**0.5
#: Specks and slits are left out together, where they are at most this share of the object's largest part.
_SPECKS = 0.05


def without_specks(outlines: Outlines) -> Outlines:
    """The objects without holes and further parts of a few pixels, and without slits.

    A hole in which an object lies stays, and so does what is a share of a small object that counts.

    Parameters
    ----------
    outlines
        Whole groups of objects, as they were traced.
    """
    loose, left_out = _loose_parts(outlines)
    outlines = without_rings(outlines, np.flatnonzero(loose))
    return without_rings(outlines, np.flatnonzero(_specks(outlines, left_out)))


def _loose_parts(outlines: Outlines) -> tuple[BoolArray, Array]:
    """Rings of further parts that are too small to be drawn, (r,) bool, and their area by object, (n,).

    Where corners connect, splitting leaves such pixels between two houses: of 8,236 houses of the demo's town
    82 had one, drawn as half a pixel or less.
    """
    loose, left_out = np.zeros(outlines.ring_offsets.size - 1, np.bool_), np.zeros(len(outlines))
    parts = np.diff(outlines.object_offsets)
    if not (parts > 1).any():
        return loose, left_out
    shells = outlines.part_offsets[:-1]
    area = np.abs(ring_areas(outlines.xy, outlines.ring_offsets))[shells]
    largest = np.maximum.reduceat(area, outlines.object_offsets[:-1])
    objects = np.repeat(np.arange(len(outlines)), parts)
    small = (area < SPECK) & (area < largest[objects]) & (np.diff(outlines.part_offsets) == 1)
    left_out += np.bincount(objects[small], area[small], minlength=len(outlines))
    left_out[left_out > _SPECKS * largest] = 0
    loose[shells] = small & (left_out > 0)[objects]
    return loose, left_out


def _specks(outlines: Outlines, left_out: Array) -> BoolArray:
    """Rings of holes and further parts that are too small or too thin to be drawn, (r,) bool.

    ``left_out`` is the area by object that is left out already.
    """
    area = np.abs(ring_areas(outlines.xy, outlines.ring_offsets))
    steps = np.abs(np.diff(outlines.xy[:, 0], append=0)) + np.abs(np.diff(outlines.xy[:, 1], append=0))
    steps[outlines.ring_offsets[1:] - 1] = 0  # from ring to ring
    # Of a rectangle of this area and length. The steps of a slanting edge are longer than it by up to half,
    # so their corners count less; four corners are its own.
    corners = np.diff(outlines.ring_offsets) - 1
    length = np.add.reduceat(steps, outlines.ring_offsets[:-1]) - _CORNER * (corners - 4)
    width = length / 4 - np.sqrt(np.maximum(length**2 / 16 - area, 0))
    drop = (area < SPECK) | (width < _SLIT)
    shells = outlines.part_offsets[:-1]
    objects = np.repeat(np.arange(len(outlines)), np.diff(outlines.object_offsets))
    largest = np.maximum.reduceat(area[shells], outlines.object_offsets[:-1]) if len(outlines) else area
    drop[shells] &= (area[shells] < largest[objects]) & (np.diff(outlines.part_offsets) == 1)
    # A part that meets another object stays. A hole that does so may hold one.
    small = np.flatnonzero(drop)
    met = small[meet_others(outlines, small)]
    drop[met] = False
    drop[empty_holes(outlines, np.setdiff1d(met, shells))] = True
    ring_object = np.repeat(objects, np.diff(outlines.part_offsets))
    # Of a small object they are a part that counts.
    specks = left_out + np.bincount(ring_object, np.where(drop, area, 0), minlength=len(outlines))
    return drop & (specks <= _SPECKS * largest)[ring_object]
