"""Outlines through border pixels, and lines along skeletons."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap
from geoseg.projects.figures.paths import longest_paths
from geoseg.projects.figures.trace import trace_bitmap
from geoseg.raster.draw import draw_figures


@pytest.mark.parametrize("seed", range(60))
def test_filling_the_outline_gives_the_mask_again(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((14, 18)) < rng.uniform(0.2, 0.9)
    if seed % 2:
        mask = np.kron(mask, np.ones((3, 3), bool))
    window = Window(row_off=0, col_off=0, height=mask.shape[0], width=mask.shape[1])
    polygons = trace_bitmap(Bitmap((0, 0), mask))
    got = np.zeros(mask.shape, bool)
    for polygon in polygons:
        got |= draw_figures([polygon], [1], window) > 0
    assert not (got & ~mask).any()
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    for part in range(1, count + 1):
        if (mask & ~got & (labels == part)).any():  # only straight lines have no ring
            rows, cols = np.nonzero(labels == part)
            assert 1 in (len({*rows}), len({*cols}), len({*(rows - cols)}), len({*(rows + cols)}))


@pytest.mark.parametrize("seed", range(10))
def test_paths_cover_a_skeleton_without_crossing(seed):
    mask = np.random.default_rng(seed).random((20, 20)) < 0.3
    seen = np.zeros(mask.shape, int)
    lengths = []
    for path in longest_paths(mask, 2):
        steps = np.abs(np.diff(path, axis=0)).max(axis=1)
        assert (steps == 1).all()
        cols, rows = path.astype(int).T
        seen[rows, cols] += 1
        lengths.append(len(path))
    assert seen.max() == 1
    assert not (seen.astype(bool) & ~mask).any()
    assert min(lengths) >= 2
    assert all(len(path) >= 5 for path in longest_paths(mask, 5))
