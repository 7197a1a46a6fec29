"""From the pixels of one chunk to everything that joining its outlines with the other chunks' needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geoseg.geo.windows import Window
from geoseg.raster.segments import (
    as_values,
    diagonal_pairs,
    find_segments,
    touching_pairs,
)
from geoseg.raster.stats import components_beside, sum_prob
from geoseg.raster.unions import link_segments
from geoseg.typing import Array, BoolArray
from geoseg.vector.assemble import ChunkTrace
from geoseg.vector.trace import trace_rings

__all__ = ["ChunkValues", "Halo", "prepared", "trace_chunk"]


@dataclass(frozen=True)
class ChunkValues:
    """Pixels of one chunk.

    Attributes
    ----------
    values : (h, w) bool or integers
        0 is background; pixels of one object have one value. The dtype is the same for all chunks.
    prob : (h, w) uint8 or float32, optional
        Probability of each pixel: p, or round(p * 254).
    invalid : (h, w) bool, optional
        Pixels without data; they count as background.
    """

    values: Array
    prob: Array | None = None
    invalid: BoolArray | None = None


@dataclass(frozen=True)
class Halo:
    """The pixels before a chunk: background where the chunk lies on the raster's edge.

    Attributes
    ----------
    top : (w + 1,)
        Row above; its first pixel is the one above ``left``.
    left : (h,)
        Column to the left.
    """

    top: Array
    left: Array


def trace_chunk(
    chunk: ChunkValues,
    halo: Halo,
    window: Window,
    shape: tuple[int, int],
    connectivity: int,
    invalid_halo: Halo | None = None,
    groups: bool = False,
) -> ChunkTrace:
    """Everything the assembler must know of one chunk.

    Parameters
    ----------
    chunk
        Its pixels, as ``prepared`` gives them.
    halo
        Values before it, of the same dtype.
    window
        Its place in the raster.
    shape
        Height and width of the raster, pixels.
    connectivity
        4 or 8.
    invalid_halo
        Missing data before it; None when there is none.
    groups
        Whether to look for objects that touch.
    """
    values = chunk.values
    bottom, right = window.row_end == shape[0], window.col_end == shape[1]
    segments = find_segments(values, halo.top, halo.left, pad_bottom=bottom, pad_right=right)
    # Always by sides: a ring belongs to a region, and the assembler joins regions at corners.
    component, count = link_segments(segments, 4)
    rings, chains = trace_rings(*segments, component, window.row_off, window.col_off)
    value = np.zeros(count + 1, np.int32)
    value[component] = segments.value
    marked = _with_halo(chunk.invalid, invalid_halo, values.shape)
    # Objects of one value can't touch where a corner makes them one: the usual mask needs no search.
    present = segments.value[segments.value != 0]
    may_touch = present.size > 0 and (connectivity == 4 or bool((present != present[0]).any()))
    row_ptr, start, last_row, last_col = segments.row_ptr, segments.start, window.height, window.width
    ends = row_ptr[1:] - 1
    return ChunkTrace(
        rings=rings,
        chains=chains,
        value=value,
        prob_sum=(
            np.zeros(count + 1, np.int64)
            if chunk.prob is None
            else sum_prob(segments, component, count, chunk.prob)
        ),
        near_invalid=(
            np.zeros(count + 1, np.bool_)
            if marked is None
            else components_beside(segments, component, count, marked)
        ),
        corners=diagonal_pairs(segments, component) if connectivity == 8 else np.empty((0, 2), np.int32),
        touching=(
            touching_pairs(segments, component) if groups and may_touch else np.empty((0, 2), np.int32)
        ),
        # Copies: the assembler holds on to them until the next row of chunks is through.
        top=component[: row_ptr[1]].copy(),
        bottom=component[row_ptr[last_row] : row_ptr[last_row + 1]].copy(),
        left=component[row_ptr[:-1]],
        # At the right edge the last run of a row is the padding, which begins behind the last column.
        right=component[ends - (start[ends] > last_col)],
    )


def prepared(chunk: ChunkValues) -> ChunkValues:
    """The chunk with values of a dtype that the kernels know, and background where data are missing."""
    values = as_values(chunk.values)
    # In the pixels themselves, since the next chunks get them as their halo: both sides must see the same.
    if chunk.invalid is not None and chunk.invalid.any():
        values = np.where(chunk.invalid, values.dtype.type(0), values)
    return replace(chunk, values=values)


def _with_halo(invalid: BoolArray | None, halo: Halo | None, shape: tuple[int, ...]) -> BoolArray | None:
    """Missing data of the chunk and its halo; None where all is there."""
    before = halo is not None and (halo.top.any() or halo.left.any())
    if not before and (invalid is None or not invalid.any()):
        return None
    marked = np.zeros((shape[0] + 1, shape[1] + 1), np.bool_)
    if halo is not None:
        marked[0] = halo.top
        marked[1:, 0] = halo.left
    if invalid is not None:
        marked[1:, 1:] = invalid
    return marked
