"""Merging labels of chunks, apart from dask."""

from __future__ import annotations

import numpy as np

from geoseg.raster.merge import label_runs, merge_labels, summarize_runs


def test_summary_knows_borders_and_first_pixels() -> None:
    values = np.array([[0, 2, 0], [5, 0, 5], [5, 5, 5]], np.uint8)
    summary = summarize_runs(label_runs(values, 4))
    assert summary.value.tolist() == [0, 2, 5]
    assert summary.first[1:].tolist() == [[0, 1], [1, 0]]
    assert summary.sides.top.tolist() == [0, 1, 0]
    assert summary.sides.bottom.tolist() == [2, 2, 2]
    assert summary.sides.left.tolist() == [0, 2, 2]
    assert summary.sides.right.tolist() == [0, 2, 2]


def test_corner_of_four_chunks() -> None:
    pixel = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 0}
    summaries = {
        place: summarize_runs(label_runs(np.array([[value]], np.uint8), 8)) for place, value in pixel.items()
    }
    joined = merge_labels(summaries, [0, 1], [0, 1], 8)
    apart = merge_labels(summaries, [0, 1], [0, 1], 4)
    assert (joined[0, 1].tolist(), joined[1, 0].tolist()) == ([0, 1], [0, 1])
    assert (apart[0, 1].tolist(), apart[1, 0].tolist()) == ([0, 1], [0, 2])
