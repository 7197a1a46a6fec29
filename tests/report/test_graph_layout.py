"""Layered layout: downward edges, nothing overlaps, few crossings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.report.graph_layout import layered_layout, longest_ranks


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 9))
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=14)) if pairs else []
    return count, edges


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_boxes_never_overlap_and_edges_run_down(graph: tuple[int, list[tuple[int, int]]], random) -> None:
    count, edges = graph
    names = list(range(count))
    random.shuffle(names)  # listed in any order
    edges = [(names[a], names[b]) for a, b in edges]
    sizes = [(random.uniform(0.5, 3), random.uniform(0.5, 2)) for _ in range(count)]
    layout = layered_layout(sizes, edges)
    boxes = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for (x, y), (w, h) in zip(layout.centers, sizes, strict=True)
    ]
    for left, top, right, bottom in boxes:
        assert left >= -1e-9
        assert top >= -1e-9
        assert right <= layout.width + 1e-9
        assert bottom <= layout.height + 1e-9
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for (source, target), route in zip(edges, layout.routes, strict=True):
        ys = [y for _, y in route]
        assert ys == sorted(ys)
        assert route[0][1] == pytest.approx(boxes[source][3])
        assert route[-1][1] == pytest.approx(boxes[target][1])
        assert route[0][0] == pytest.approx(layout.centers[source][0])


def test_ranks_are_longest_paths() -> None:
    assert longest_ranks(5, [(3, 0), (0, 1), (3, 1), (1, 4)]) == [1, 2, 0, 0, 3]


def test_two_parallel_chains_listed_crosswise_do_not_cross() -> None:
    layout = layered_layout([(1, 1)] * 4, [(0, 3), (1, 2)])
    (x0, _), (x1, _), (x2, _), (x3, _) = layout.centers
    assert (x0 < x1) == (x3 < x2)


def test_long_edges_pass_between_boxes() -> None:
    sizes = [(2.0, 1.0)] * 3
    layout = layered_layout(sizes, [(0, 1), (1, 2), (0, 2)])
    x, y = layout.centers[1]
    crossing = [point for point in layout.routes[2] if y - 0.5 <= point[1] <= y + 0.5]
    assert crossing
    assert all(abs(px - x) > 1.0 for px, _ in crossing)
