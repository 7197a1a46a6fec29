"""Lines along thin masks: the longest paths of a spanning tree of their pixels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from geoseg.projects.figures.stored import STRIP, StoredMask
from geoseg.projects.figures.types import Coords
from geoseg.typing import BoolArray

__all__ = ["longest_paths"]


def longest_paths(mask: BoolArray | StoredMask, min_points: int) -> Iterator[Coords]:
    """Paths over the pixels of a mask, the longest of each tree first.

    The 8-neighbors of all pixels make a graph, its minimum spanning tree is taken, and the longest path is
    cut out of each tree again and again; what falls apart is treated alike.

    Parameters
    ----------
    mask
        Usually a skeleton: every pixel is a node.
    min_points
        Shorter paths are left out.

    Yields
    ------
    (N, 2) float64
        x, y of the pixels along a path.

    Examples
    --------
    >>> [path.tolist() for path in longest_paths(np.ones((1, 3), bool), 2)]
    [[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]]
    """
    pieces = [np.empty((2, 0), np.int64)]
    mask = mask.laid() if isinstance(mask, StoredMask) else mask
    for top in range(0, mask.shape[0], STRIP):
        strip_rows, strip_cols = np.nonzero(mask[top : top + STRIP, :])
        pieces.append(np.stack([strip_rows + top, strip_cols]))
    # Row by row, so that a pixel's number can be found by bisection.
    rows, cols = np.concatenate(pieces, axis=1)
    if not len(rows):
        return
    neighbors = _tree(mask.shape[1], rows, cols)
    alive = np.ones(len(rows), bool)
    waiting = deque(range(len(rows)))
    while waiting:
        start = waiting.popleft()
        if not alive[start]:
            continue
        # The node farthest from anywhere is an end of a longest path of a tree; the walk from there finds the
        # other.
        far = _walk(neighbors, alive, start)[-1][0]
        steps = _walk(neighbors, alive, far)
        came = dict(steps)
        path = [steps[-1][0]]
        while came[path[-1]] >= 0:
            path.append(came[path[-1]])
        if len(path) < min_points:
            alive[[node for node, _ in steps]] = False
            continue
        alive[path] = False
        yield np.stack([cols[path], rows[path]], axis=1).astype(np.float64)
        # What falls apart is taken up next, so lines of one object follow one another.
        waiting.extendleft(node for node, _ in reversed(steps) if alive[node])


def _tree(width: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> list[list[int]]:
    """Neighbors of each pixel in the minimum spanning forest."""
    # Two columns more than there are: a neighbor beyond the edge can't be a pixel of the row before or after.
    places = rows * (width + 2) + cols
    sources, targets, weights = [], [], []
    # Half of the eight directions: each pair of pixels is met once.
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        neighbor_places = places + dy * (width + 2) + dx
        position = np.minimum(np.searchsorted(places, neighbor_places), len(places) - 1)
        other = np.where(places[position] == neighbor_places, position, -1)
        joined = np.flatnonzero(other >= 0)
        sources.append(joined)
        targets.append(other[joined])
        weights.append(np.full(len(joined), float(np.hypot(dy, dx))))
    size = (len(rows), len(rows))
    graph = coo_matrix((np.concatenate(weights), (np.concatenate(sources), np.concatenate(targets))), size)
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    neighbors: list[list[int]] = [[] for _ in range(len(rows))]
    for a, b in zip(tree.row.tolist(), tree.col.tolist(), strict=True):
        neighbors[a].append(b)
        neighbors[b].append(a)
    return neighbors


def _walk(neighbors: list[list[int]], alive: NDArray[np.bool_], start: int) -> list[tuple[int, int]]:
    """Nodes of a tree by distance from a start, each with the one it was reached from."""
    order, seen = [(start, -1)], {start}
    for node, _ in order:
        for near in neighbors[node]:
            if alive[near] and near not in seen:
                seen.add(near)
                order.append((near, node))
    return order
