"""Layered drawing of a directed graph: which row each box stands in, in what order, and where.

References
----------
Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", IEEE
Trans. Systems, Man and Cybernetics 11(2), 1981: ranks, dummy nodes on long edges, barycenter sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

__all__ = ["Layout", "layered_layout", "longest_ranks"]

Edge = tuple[int, int]
Rows = list[list[int]]

_SWEEPS = 12
_RELAXATIONS = 40


@dataclass(frozen=True)
class Layout:
    """Positions of boxes and the courses of edges, y downwards.

    Attributes
    ----------
    centers
        (x, y) of each box.
    routes
        Points of each edge from the bottom of its source to the top of its target.
    width, height
        Extent of the drawing, which begins at (0, 0).
    """

    centers: list[tuple[float, float]]
    routes: list[list[tuple[float, float]]]
    width: float
    height: float


def longest_ranks(count: int, edges: Sequence[Edge]) -> list[int]:
    """Length of the longest path that ends at each node.

    Parameters
    ----------
    count
        Number of nodes.
    edges
        (source, target) pairs without a cycle.

    Examples
    --------
    >>> longest_ranks(4, [(0, 1), (1, 2), (0, 2), (2, 3)])
    [0, 1, 2, 3]
    >>> longest_ranks(0, [])
    []
    """
    ranks = [0] * count
    for _ in range(count):
        changed = False
        for source, target in edges:
            if ranks[target] <= ranks[source]:
                ranks[target], changed = ranks[source] + 1, True
        if not changed:
            break
    return ranks


def layered_layout(
    sizes: Sequence[tuple[float, float]], edges: Sequence[Edge], *, gap: tuple[float, float] = (0.4, 0.6)
) -> Layout:
    """Place boxes in rows so that edges run downwards and cross little.

    Parameters
    ----------
    sizes
        (width, height) of each box.
    edges
        (source, target) pairs without a cycle.
    gap
        Free space between neighbors in a row and between rows.

    Examples
    --------
    >>> layered_layout([(2, 1), (2, 1)], [(0, 1)], gap=(0, 1)).centers
    [(1.0, 0.5), (1.0, 2.5)]
    """
    if not sizes:
        return Layout([], [], 0.0, 0.0)
    ranks = longest_ranks(len(sizes), edges)
    chains, owners = _split_long_edges(len(sizes), edges, ranks)
    widths = [width for width, _ in sizes] + [0.0] * (len(owners) - len(sizes))
    rows: Rows = [[] for _ in range(max(ranks) + 1)]
    for node, rank in enumerate(owners):
        rows[rank].append(node)
    links = sorted({pair for chain in chains for pair in pairwise(chain)})
    above, below = _neighbors(len(owners), links)
    rows = _order(rows, above, below)
    xs = _place(rows, widths, above, below, gap[0])
    tops, heights = _row_tops(rows, sizes, gap[1])
    centers = [(xs[n], tops[ranks[n]] + heights[ranks[n]] / 2) for n in range(len(sizes))]
    routes = [_route(chain, xs, centers, sizes, owners, tops, heights) for chain in chains]
    width = max(xs[n] + widths[n] / 2 for n in range(len(owners)))
    return Layout(centers, routes, width, tops[-1] + heights[-1])


def _split_long_edges(
    count: int, edges: Sequence[Edge], ranks: list[int]
) -> tuple[list[list[int]], list[int]]:
    """Each edge as a chain of nodes one rank apart, and the rank of every node, invented ones included."""
    owners = list(ranks)
    chains = []
    for source, target in edges:
        invented = range(ranks[source] + 1, ranks[target])
        chains.append([source, *range(len(owners), len(owners) + len(invented)), target])
        owners.extend(invented)
    return chains, owners


def _neighbors(count: int, links: list[Edge]) -> tuple[Rows, Rows]:
    above: Rows = [[] for _ in range(count)]
    below: Rows = [[] for _ in range(count)]
    for source, target in links:
        above[target].append(source)
        below[source].append(target)
    return above, below


def _order(rows: Rows, above: Rows, below: Rows) -> Rows:
    """Barycenter sweeps down and up; the order with the fewest crossings wins."""
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(_SWEEPS):
        rows = [list(row) for row in rows]
        down = sweep % 2 == 0
        for index in range(len(rows)) if down else reversed(range(len(rows))):
            _sort_row(rows, index, above if down else below)
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _sort_row(rows: Rows, index: int, neighbors: Rows) -> None:
    place = {node: i for row in rows for i, node in enumerate(row)}
    keys = {
        node: sum(place[n] for n in neighbors[node]) / len(neighbors[node])
        if neighbors[node]
        else place[node]
        for node in rows[index]
    }
    rows[index].sort(key=lambda node: keys[node])


def _crossings(rows: Rows, below: Rows) -> int:
    total = 0
    place = {node: i for row in rows for i, node in enumerate(row)}
    for row in rows:
        ends: list[int] = []
        for node in row:
            targets = [place[n] for n in below[node]]
            total += sum(end > target for end in ends for target in targets)
            ends.extend(targets)
    return total


def _place(rows: Rows, widths: list[float], above: Rows, below: Rows, gap: float) -> list[float]:
    """Abscissas: every node is drawn towards its neighbors, and neighbors in a row are kept apart."""
    xs = [0.0] * len(widths)
    for row in rows:
        _spread(row, xs, widths, gap)
    for step in range(_RELAXATIONS):
        for row in rows if step % 2 == 0 else reversed(rows):
            for node in row:
                near = above[node] + below[node]
                if near:
                    xs[node] = sum(xs[n] for n in near) / len(near)
            _spread(row, xs, widths, gap)
    left = min(x - width / 2 for x, width in zip(xs, widths, strict=True))
    return [x - left for x in xs]


def _spread(row: list[int], xs: list[float], widths: list[float], gap: float) -> None:
    """Keep the wanted abscissas of a row as well as the free space between its nodes allows.

    Least squares under the order: nodes that would overlap are merged into clusters, each at the mean of
    what its members want (pool adjacent violators).
    """
    steps = [(widths[left] + widths[right]) / 2 + gap for left, right in pairwise(row)]
    shifts = list(accumulate(steps, initial=0.0))[: len(row)]
    clusters: list[tuple[float, int]] = []
    for node, shift in zip(row, shifts, strict=True):
        mean, size = xs[node] - shift, 1
        while clusters and clusters[-1][0] > mean:
            other, members = clusters.pop()
            mean, size = (mean * size + other * members) / (size + members), size + members
        clusters.append((mean, size))
    wanted = [mean for mean, size in clusters for _ in range(size)]
    for node, mean, shift in zip(row, wanted, shifts, strict=True):
        xs[node] = mean + shift


def _row_tops(
    rows: Rows, sizes: Sequence[tuple[float, float]], gap: float
) -> tuple[list[float], list[float]]:
    heights = [max((sizes[n][1] for n in row if n < len(sizes)), default=0.0) for row in rows]
    tops = [sum(heights[:i]) + gap * i for i in range(len(rows))]
    return tops, heights


def _route(
    chain: list[int],
    xs: list[float],
    centers: list[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    owners: list[int],
    tops: list[float],
    heights: list[float],
) -> list[tuple[float, float]]:
    first, last = chain[0], chain[-1]
    points = [(xs[first], centers[first][1] + sizes[first][1] / 2)]
    for node in chain[1:-1]:
        points += [(xs[node], tops[owners[node]]), (xs[node], tops[owners[node]] + heights[owners[node]])]
    return [*points, (xs[last], centers[last][1] - sizes[last][1] / 2)]
