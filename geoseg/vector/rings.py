"""Rings and outlines as plain arrays.

All coordinates are lattice integers: (x, y) is the pixel corner at column x and row y. A shell runs
clockwise on the screen (y down), so its signed area is positive; a hole runs the other way.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, IntArray

__all__ = [
    "Outlines",
    "Rings",
    "close_rings",
    "concat_outlines",
    "concat_rings",
    "merge_values",
    "ragged_offsets",
    "ragged_rows",
    "simple_rings",
    "take_objects",
    "take_rings",
]


class Rings(NamedTuple):
    """Simple rings, not closed: the first vertex is not repeated.

    Attributes
    ----------
    xy : (p, 2) int32
        Corners; each ring starts at its uppermost, there leftmost one.
    offsets : (r + 1,) int64
        Ring k holds the corners offsets[k] .. offsets[k + 1].
    component : (r,) int64
        Component that each ring bounds.
    area2 : (r,) int64
        Twice the signed area in pixels: above 0 for shells, below for holes.
    """

    xy: Array
    offsets: Array
    component: Array
    area2: Array


@dataclass(frozen=True)
class Outlines:
    """Objects as nested ragged arrays: objects of parts of rings of corners.

    Objects stand in raster order of their first pixels, and so do the parts of each object. The first
    ring of a part is its shell, the others are its holes.

    Attributes
    ----------
    key : (n,) int64
        First pixel of each object, row * 2**32 + column.
    value : (n,) int32
        Value of its pixels.
    pixels : (n,) int64
        Number of its pixels.
    prob_sum : (n,) int64
        Sum of its probabilities (see ``raster.stats.prob_scale``); 0 without.
    touches_edge : (n,) bool
        Has a pixel on the raster's edge, or 8-adjacent to a pixel without data.
    group : (n,) int64
        Objects that touch, at a side or a corner, directly or through others, have one number; -1: it touches
        none, or nobody asked (see ``vector.groups``).
    object_offsets : (n + 1,) int64
        Parts of each object.
    part_offsets : (parts + 1,) int64
        Rings of each part.
    ring_offsets : (rings + 1,) int64
        Corners of each ring.
    xy : (p, 2) int32, or float64 where a step moved them
        Corners; rings are closed: the last corner repeats the first.
    """

    key: IntArray
    value: Array
    pixels: IntArray
    prob_sum: IntArray
    touches_edge: BoolArray
    group: IntArray
    object_offsets: IntArray
    part_offsets: IntArray
    ring_offsets: IntArray
    xy: Array

    def __len__(self) -> int:
        return self.key.size


def concat_outlines(batches: list[Outlines]) -> Outlines:
    """Several batches as one; objects stay in the order of the batches."""

    def joined(field: str) -> Array:
        columns = [getattr(batch, field) for batch in batches]
        if field.endswith("_offsets"):
            return ragged_offsets(np.concatenate([np.diff(offsets) for offsets in columns]))
        return np.concatenate(columns)

    return Outlines(**{field.name: joined(field.name) for field in fields(Outlines)})


def take_objects(outlines: Outlines, index: IntArray) -> Outlines:
    """The objects at ``index``, in that order."""
    # Most steps ask for all of them, most of the time.
    if index.size == len(outlines) and np.array_equal(index, np.arange(index.size)):
        return outlines
    parts, object_offsets = _spread(outlines.object_offsets, index)
    rings, part_offsets = _spread(outlines.part_offsets, parts)
    corners, ring_offsets = _spread(outlines.ring_offsets, rings)
    return Outlines(
        key=outlines.key[index],
        value=outlines.value[index],
        pixels=outlines.pixels[index],
        prob_sum=outlines.prob_sum[index],
        touches_edge=outlines.touches_edge[index],
        group=outlines.group[index],
        object_offsets=object_offsets,
        part_offsets=part_offsets,
        ring_offsets=ring_offsets,
        xy=outlines.xy[corners],
    )


def merge_values(outlines: Outlines) -> Outlines:
    """All objects of one value as one, in order of the first that has it; they are one group.

    Parameters
    ----------
    outlines
        Objects of one part each, in raster order.
    """
    # In ``unique``'s result values ascend; ``first`` brings them into the order of their first objects. The
    # sort is stable, so parts stay in raster order, too.
    value, first, owner = np.unique(outlines.value, return_index=True, return_inverse=True)
    order = np.argsort(first[owner], kind="stable")
    parts, starts = take_objects(outlines, order), np.sort(first)
    count = np.bincount(owner, minlength=value.size)[np.argsort(first)]
    offsets = ragged_offsets(count)
    return replace(
        parts,
        key=outlines.key[starts],
        value=outlines.value[starts],
        pixels=np.add.reduceat(parts.pixels, offsets[:-1]),
        prob_sum=np.add.reduceat(parts.prob_sum, offsets[:-1]),
        touches_edge=np.logical_or.reduceat(parts.touches_edge, offsets[:-1]),
        group=np.zeros(starts.size, np.int64),
        object_offsets=offsets,
    )


def _spread(offsets: IntArray, index: IntArray) -> tuple[IntArray, IntArray]:
    """Numbers of all that the ragged rows at ``index`` hold, and the offsets of these rows."""
    return ragged_rows(offsets[index], np.diff(offsets)[index])


def ragged_rows(first: Array, lengths: Array) -> tuple[IntArray, IntArray]:
    """Numbers first[0], first[0] + 1, ... of each row, one row behind the other, and the offsets of the rows.

    Examples
    --------
    >>> numbers, offsets = ragged_rows(np.array([7, 0]), np.array([2, 1]))
    >>> numbers.tolist(), offsets.tolist()
    ([7, 8, 0], [0, 2, 3])
    """
    offsets = ragged_offsets(lengths)
    return np.repeat(first - offsets[:-1], lengths) + np.arange(offsets[-1]), offsets


def ragged_offsets(lengths: Array) -> IntArray:
    """Offsets of ragged rows from their lengths.

    Examples
    --------
    >>> ragged_offsets(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def concat_rings(blocks: list[Rings]) -> Rings:
    """All rings of several blocks in order."""
    if len(blocks) == 1:
        return blocks[0]
    lengths = [np.diff(block.offsets) for block in blocks]
    return Rings(
        np.concatenate([np.zeros((0, 2), np.int32), *(block.xy for block in blocks)]),
        ragged_offsets(np.concatenate([np.zeros(0, np.int64), *lengths])),
        np.concatenate([np.zeros(0, np.int64), *(block.component for block in blocks)]),
        np.concatenate([np.zeros(0, np.int64), *(block.area2 for block in blocks)]),
    )


def take_rings(rings: Rings, index: IntArray) -> Rings:
    """The rings at ``index``, in that order, as copies: the others can then be forgotten."""
    offsets = ragged_offsets(np.diff(rings.offsets)[index])
    xy = _gather(rings.xy, rings.offsets, index, offsets, 0)
    return Rings(xy, offsets, rings.component[index], rings.area2[index])


def close_rings(rings: Rings, index: IntArray) -> tuple[Array, IntArray]:
    """Corners and offsets of the rings at ``index``, each closed by its first corner."""
    offsets = ragged_offsets(np.diff(rings.offsets)[index] + 1)
    return _gather(rings.xy, rings.offsets, index, offsets, 1), offsets


@kernel
def _gather(xy, offsets, index, new_offsets, closing):  # type: ignore[no-untyped-def]
    out = np.empty((new_offsets[-1], 2), np.int32)
    for k in range(index.size):
        first, to = offsets[index[k]], new_offsets[k]
        length = offsets[index[k] + 1] - first
        for c in range(length):
            out[to + c, 0] = xy[first + c, 0]
            out[to + c, 1] = xy[first + c, 1]
        if closing:
            out[to + length, 0] = xy[first, 0]
            out[to + length, 1] = xy[first, 1]
    return out


def simple_rings(xy: Array, saddle: BoolArray, offsets: IntArray, component: IntArray) -> Rings:
    """Split rings wherever they visit a corner twice, and start each at its first corner.

    A traced ring never crosses itself but touches itself at saddles, where two pixels of its component
    meet at a corner only. Visits of different saddles are nested, never interleaved (the ring is the
    boundary of a 4-connected set), so the result does not depend on where the ring starts.

    Parameters
    ----------
    xy : (p, 2) int32
        Corners.
    saddle : (p,) bool
        Corners that may be visited twice.
    offsets : (r + 1,) int64
        Corners of each ring.
    component : (r,) int64
        Component of each ring.
    """
    # Only where two regions of one value touch at a corner can a ring come back to it. All such corners by
    # ring and place: a second visit stands behind the first. There is no third one: a corner has room for two
    # regions of a value.
    at = np.flatnonzero(saddle)
    ring = np.searchsorted(offsets, at, side="right")
    order = np.lexsort((xy[at, 0], xy[at, 1], ring))
    at, ring = at[order], ring[order]
    same = np.flatnonzero((ring[1:] == ring[:-1]) & (xy[at[1:]] == xy[at[:-1]]).all(axis=1))
    again, before = at[same + 1], at[same]
    order = np.argsort(again)
    again, before = again[order], before[order]
    out, new_offsets, source, area2 = _split(xy, offsets, again, before)
    return Rings(out, new_offsets, component[source].astype(np.int64), area2)


@kernel
def _split(xy, offsets, again, before):  # type: ignore[no-untyped-def]
    rings = offsets.size - 1
    out = np.empty((xy.shape[0], 2), np.int32)
    out_offsets = np.zeros(rings + again.size + 1, np.int64)
    source = np.empty(rings + again.size, np.int64)
    area2 = np.empty(rings + again.size, np.int64)
    longest = 0
    for ring in range(rings):
        longest = max(longest, offsets[ring + 1] - offsets[ring])
    stack = np.empty(longest, np.int64)  # corners of the loops that are still open
    place = np.empty(longest, np.int64)  # where each corner of the ring lies on the stack
    m = visit = 0
    for ring in range(rings):
        top, first = 0, offsets[ring]
        for i in range(first, offsets[ring + 1]):
            if visit < again.size and again[visit] == i:  # what lies above the first visit is a loop
                bottom = place[before[visit] - first]
                area2[m] = _write_loop(xy, stack[bottom:top], out, out_offsets, m)
                source[m] = ring
                m += 1
                visit += 1
                top = bottom
            place[i - first] = top
            stack[top] = i
            top += 1
        area2[m] = _write_loop(xy, stack[:top], out, out_offsets, m)
        source[m] = ring
        m += 1
    return out, out_offsets, source, area2


@kernel
def _write_loop(xy, corners, out, out_offsets, m):  # type: ignore[no-untyped-def]
    """Write one loop from its uppermost, there leftmost corner; returns twice its signed area."""
    # So the ring begins at the same corner however the raster was cut.
    first = 0
    for k in range(1, corners.size):
        x, y = xy[corners[k], 0], xy[corners[k], 1]
        best_x, best_y = xy[corners[first], 0], xy[corners[first], 1]
        if y < best_y or (y == best_y and x < best_x):
            first = k
    to = out_offsets[m]
    for k in range(corners.size):
        source = corners[(first + k) % corners.size]
        out[to + k, 0] = xy[source, 0]
        out[to + k, 1] = xy[source, 1]
    # In whole numbers: areas of pixels are exact, at any size.
    area2 = np.int64(0)
    for k in range(to, to + corners.size):
        after = k + 1 if k + 1 < to + corners.size else to
        area2 += np.int64(out[k, 0]) * np.int64(out[after, 1])
        area2 -= np.int64(out[after, 0]) * np.int64(out[k, 1])
    out_offsets[m + 1] = to + corners.size
    return area2
