"""Outlines of one chunk on the lattice of pixel corners: closed rings, and chains that leave the chunk.

A lattice point is a corner of an outline when the 2 x 2 pixels around it differ along a row and along a
column. Each pixel quadrant whose two side neighbors differ from it makes a corner of its own region (a
*convex* one) and, when the other three are equal, of theirs (a *concave* one); so two regions that share a
border are traced at once, each along its own side. Where two regions end at the straight wall of a third
one, that one gets a corner too: what touches has the same corners along what it shares.

One walk over the rows links every corner to the next one along its row and along its column. An edge that
crosses the border of the chunk ends at a *gate*, named by its place on the lattice, and the chunk on the
other side knows the same gate.

Where two pixels of one value meet at a corner only, the outlines keep them apart (the rule of
4-connectivity): that is what keeps every polygon valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.rings import Rings, simple_rings

__all__ = ["Chains", "trace_rings"]

# Columns of the table of corners and gates ("nodes").
_X, _Y, _ALONG_ROW, _ALONG_COL, _COMPONENT, _FLAGS, _COLUMNS = range(7)
# Flags of a node.
_LEAVES_ALONG_ROW = 1
_SADDLE = 2
_GATE = 4
_VERTICAL = 8
_ENTERS = 16
_SIDE = 32


@dataclass(frozen=True)
class Chains:
    """Pieces of outlines from one gate of the chunk to another.

    Attributes
    ----------
    xy : (p, 2) int32
        Corners.
    saddle : (p,) bool
        Corners that the outline may visit twice.
    offsets : (m + 1,) int64
        Corners of each chain; a chain may have none.
    component : (m,) int32
        Component that the chain bounds.
    enters, leaves : (m,) int64
        Gates where the chain begins and ends.
    """

    xy: Array
    saddle: BoolArray
    offsets: IntArray
    component: Array
    enters: IntArray
    leaves: IntArray


def trace_rings(
    row_ptr: Array, start: Array, value: Array, width: int, component: Array, row_off: int, col_off: int
) -> tuple[Rings, Chains]:
    """Trace the regions of one chunk.

    Parameters
    ----------
    row_ptr, start, value, width
        Segments of the chunk with its halo (see ``raster.segments``); row 0 and column 0 are the halo.
    component : (n,) int32
        4-connected component of each segment, 0 for background.
    row_off, col_off
        First row and column of the chunk in the raster; the halo lies before them.

    Returns
    -------
    rings, chains
        Outlines within the chunk and pieces that leave it, with corners on the raster's lattice.
    """
    nodes, count = _link_nodes(row_ptr, start, value, width, component, row_off - 1, col_off - 1)
    xy, saddle, offsets, ring_component, gates = _follow(nodes, count)
    chains = len(gates)
    split = offsets[chains]
    rings = simple_rings(
        xy[split:], saddle[split:], offsets[chains:] - split, ring_component[chains:].astype(np.int64)
    )
    # Copies: a chain may wait for long, the corners of the rings beside it need not.
    return rings, Chains(
        xy[:split].copy(),
        saddle[:split].copy(),
        offsets[: chains + 1].copy(),
        ring_component[:chains].copy(),
        gates[:, 0].copy(),
        gates[:, 1].copy(),
    )


@kernel
def _link_nodes(row_ptr, start, value, width, component, y_off, x_off):  # type: ignore[no-untyped-def]
    """All corners and gates, each linked to its neighbors along its row and its column."""
    nodes = np.empty((4096, _COLUMNS), np.int32)
    open_edges = np.full((width + 1, 2), -1, np.int32)  # down each column; entry 0: along the row
    rows = row_ptr.size - 1
    n = 0
    for r in range(rows + 1):
        above = row_ptr[max(r - 1, 0)]
        below = row_ptr[min(r, rows)]
        # Up to four corners where segments meet, up to two gates at either end of the row.
        need = n + 4 * (row_ptr[min(r + 1, rows)] - above) + 8
        if need > nodes.shape[0]:
            nodes = _more_nodes(nodes, max(need, 2 * nodes.shape[0]))
        if r == 0 or r == rows:
            # Beyond the first and the last row lie other chunks: what crosses over to them ends at gates.
            first = 0 if r == 0 else above
            last = row_ptr[1] if r == 0 else below
            y = y_off + r - int(r == rows)
            n = _column_gates(nodes, n, start, value, component, first, last, y, x_off, open_edges, r == 0)
        else:
            n = _lattice_row(
                nodes,
                n,
                start,
                value,
                component,
                above,
                below,
                row_ptr[r + 1],
                width,
                y_off + r,
                x_off,
                open_edges,
            )
    return nodes, n


# Like one in raster.segments: numba keeps what it compiled of a kernel until the file of that kernel changes,
# and does not look at the files of the kernels that it calls.
@kernel
def _more_nodes(nodes, capacity):  # type: ignore[no-untyped-def]
    larger = np.empty((capacity, nodes.shape[1]), nodes.dtype)
    for k in range(nodes.shape[0]):  # compiles in a tenth of the time that a slice takes
        for c in range(nodes.shape[1]):
            larger[k, c] = nodes[k, c]
    return larger


@kernel
def _column_gates(  # type: ignore[no-untyped-def]
    nodes, n, start, value, component, first, last, y, x_off, open_edges, entering
):
    """Gates where vertical edges cross the upper or the lower border of the chunk."""
    for k in range(first, last - 1):
        col = start[k + 1]
        for side in range(2):
            if value[k + side] == 0:
                continue
            flags = _GATE | _VERTICAL | (_SIDE if side else 0)
            if entering == (side == 0):  # the region left of an edge is followed downwards
                flags |= _ENTERS
            _set_node(nodes, n, x_off + col, y, component[k + side], flags)
            if entering:
                open_edges[col, side] = n
            else:
                _join(nodes, n, open_edges[col, side], _ALONG_COL)
            n += 1
    return n


# Numba counts references to arrays at every call, which costs more than the work on one corner: therefore the
# inner loop calls functions of plain numbers only.
@kernel
def _lattice_row(  # type: ignore[no-untyped-def]
    nodes, n, start, value, component, i, j, j_end, width, y, x_off, open_edges
):
    """Corners between the row of segments i .. j (above) and j .. j_end (below), gates at both ends."""
    i_end = j
    n = _row_gates(nodes, n, value, component, i, j, x_off, y, open_edges, True)
    while True:
        stop_i = start[i + 1] if i + 1 < i_end else width
        stop_j = start[j + 1] if j + 1 < j_end else width
        col = min(stop_i, stop_j)
        if col == width:
            break
        i_next, j_next = i + int(stop_i == col), j + int(stop_j == col)
        a, b, c, d = value[i], value[i_next], value[j], value[j_next]
        straight = a == c and b == d
        for quadrant in range(0 if straight else 4):
            own, beside, stacked, across = _seen_from(quadrant, a, b, c, d)
            below, right = quadrant >> 1, quadrant & 1
            if own in (beside, stacked):
                along_row = own == beside
                facing = stacked if along_row else beside
                second_of_two = right if along_row else below
                if own != 0 and not second_of_two and facing != across and own not in (facing, across):
                    # Two regions end at the straight wall of this one. Both its neighbors lie along the wall:
                    # the one to come is linked as always, the one before takes the place of the other axis.
                    ahead, behind = (_ALONG_ROW, _ALONG_COL) if along_row else (_ALONG_COL, _ALONG_ROW)
                    lane, side = (0, below) if along_row else (col, right)
                    inside, _, _, _ = _seen_from(quadrant, i, i_next, j, j_next)
                    nodes[n, _X], nodes[n, _Y] = x_off + col, y
                    nodes[n, _COMPONENT] = component[inside]
                    nodes[n, _FLAGS] = _LEAVES_ALONG_ROW if side else 0
                    nodes[n, behind] = open_edges[lane, side]
                    nodes[open_edges[lane, side], ahead] = n
                    open_edges[lane, side] = n
                    n += 1
                continue
            for concave in range(2):
                if not _is_corner(concave, own, beside, stacked, across):
                    continue
                inside, _, _, beyond = _seen_from(quadrant, i, i_next, j, j_next)
                nodes[n, _X], nodes[n, _Y] = x_off + col, y
                nodes[n, _COMPONENT] = component[beyond if concave else inside]
                nodes[n, _FLAGS] = _corner_flags(concave, below, right, own == across)
                # The corner begins or ends an edge along its row and one along its column.
                row_side, col_side = below ^ concave, right ^ concave
                if right:
                    open_edges[0, row_side] = n
                else:
                    nodes[n, _ALONG_ROW] = open_edges[0, row_side]
                    nodes[open_edges[0, row_side], _ALONG_ROW] = n
                if below:
                    open_edges[col, col_side] = n
                else:
                    nodes[n, _ALONG_COL] = open_edges[col, col_side]
                    nodes[open_edges[col, col_side], _ALONG_COL] = n
                n += 1
        i, j = i_next, j_next
    # No segment ends between the last stop and the border: i and j are those of the last column.
    return _row_gates(nodes, n, value, component, i, j, x_off + width - 1, y, open_edges, False)


@kernel
def _seen_from(quadrant, a, b, c, d):  # type: ignore[no-untyped-def]
    """Of the quadrants a b / c d: this one, the one beside it, the one above or below it, the one across."""
    if quadrant == 0:
        return a, b, c, d
    if quadrant == 1:
        return b, a, d, c
    if quadrant == 2:
        return c, d, a, b
    return d, c, b, a


@kernel
def _is_corner(concave, own, beside, stacked, across):  # type: ignore[no-untyped-def]
    """Whether a pixel that differs from both its sides is a corner of its region, or of the others' one."""
    if concave:
        return across != 0 and beside == across and stacked == across
    return own != 0


@kernel
def _corner_flags(concave, below, right, saddle):  # type: ignore[no-untyped-def]
    """Clockwise around the region; corners of one value that meet at a point are saddles."""
    leaves_along_row = _LEAVES_ALONG_ROW if below ^ right == concave else 0
    return leaves_along_row | (_SADDLE if saddle and not concave else 0)


@kernel
def _row_gates(nodes, n, value, component, i, j, x, y, open_edges, entering):  # type: ignore[no-untyped-def]
    """Gates where a horizontal edge between segments i (above) and j crosses the left or right border."""
    if value[i] == value[j]:
        return n
    for side in range(2):
        k = j if side else i
        if value[k] == 0:
            continue
        flags = _GATE | (_SIDE if side else 0)
        if entering == (side == 1):  # the region below an edge is followed to the right
            flags |= _ENTERS
        _set_node(nodes, n, x, y, component[k], flags)
        if entering:
            open_edges[0, side] = n
        else:
            _join(nodes, n, open_edges[0, side], _ALONG_ROW)
        n += 1
    return n


@kernel
def _set_node(nodes, n, x, y, component, flags):  # type: ignore[no-untyped-def]
    nodes[n, _X] = x
    nodes[n, _Y] = y
    nodes[n, _COMPONENT] = component
    nodes[n, _FLAGS] = flags


@kernel
def _join(nodes, n, other, axis):  # type: ignore[no-untyped-def]
    nodes[n, axis] = other
    nodes[other, axis] = n


@kernel
def _follow(nodes, count):  # type: ignore[no-untyped-def]
    """Walk the links: first the chains from every gate that enters, then the closed rings."""
    xy = np.empty((count, 2), np.int32)
    saddle = np.empty(count, np.bool_)
    # A chain uses up two gates, a ring at least four corners.
    offsets = np.zeros(count // 2 + 2, np.int64)
    component = np.empty(count // 2 + 1, np.int32)
    gates = np.empty((count // 2 + 1, 2), np.int64)
    seen = np.zeros(count, np.bool_)
    p = m = 0
    for g in range(count):
        flags = nodes[g, _FLAGS]
        if flags & _GATE and flags & _ENTERS:
            first = nodes[g, _ALONG_COL] if flags & _VERTICAL else nodes[g, _ALONG_ROW]
            p, last = _walk(nodes, first, seen, xy, saddle, p)
            gates[m, 0], gates[m, 1] = _gate_key(nodes[g]), _gate_key(nodes[last])
            component[m] = nodes[g, _COMPONENT]
            m += 1
            offsets[m] = p
    chains = m
    for v in range(count):
        if not (seen[v] or nodes[v, _FLAGS] & _GATE):
            p, _ = _walk(nodes, v, seen, xy, saddle, p)
            component[m] = nodes[v, _COMPONENT]
            m += 1
            offsets[m] = p
    return xy[:p], saddle[:p], offsets[: m + 1], component[:m], gates[:chains]


@kernel
def _walk(nodes, at, seen, xy, saddle, p):  # type: ignore[no-untyped-def]
    """Append corners from ``at`` until a gate or a corner already seen; returns where that was."""
    while not (seen[at] or nodes[at, _FLAGS] & _GATE):
        seen[at] = True
        xy[p, 0] = nodes[at, _X]
        xy[p, 1] = nodes[at, _Y]
        saddle[p] = nodes[at, _FLAGS] & _SADDLE != 0
        p += 1
        at = nodes[at, _ALONG_ROW] if nodes[at, _FLAGS] & _LEAVES_ALONG_ROW else nodes[at, _ALONG_COL]
    return p, at


@kernel
def _gate_key(node):  # type: ignore[no-untyped-def]
    """Name of the crossing edge: the lattice point before it, its direction, and the region's side."""
    # One number, for the assembler's dictionary; rasters of up to 2**30 rows fit.
    place = (np.int64(node[_Y]) << 31) | np.int64(node[_X])
    flags = node[_FLAGS]
    return (place << 2) | (2 if flags & _VERTICAL else 0) | (1 if flags & _SIDE else 0)
