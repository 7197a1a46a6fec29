"""Sums and neighbors of components, against NumPy on whole rasters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from geoseg.raster.segments import find_segments
from geoseg.raster.stats import components_beside, prob_scale, sum_prob
from geoseg.raster.unions import link_segments


def labeled(mask: np.ndarray) -> tuple:
    """Segments and components of a mask with a halo of background."""
    height, width = mask.shape
    segments = find_segments(mask, np.zeros(width + 1, np.uint8), np.zeros(height, np.uint8))
    return segments, *link_segments(segments, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sums_are_exact(dtype: type) -> None:
    rng = np.random.default_rng(3)
    mask = (rng.random((40, 57)) < 0.5).astype(np.uint8)
    prob = rng.integers(0, 255, mask.shape, np.uint8) if dtype == np.uint8 else rng.random(mask.shape, dtype)
    segments, component, count = labeled(mask)
    labels, _ = ndimage.label(mask)
    units = prob.astype(np.int64) if dtype == np.uint8 else np.rint(prob.astype(np.float64) * 2**30)
    expected = [int(units[labels == k].sum()) for k in range(1, count + 1)]
    assert sum_prob(segments, component, count, prob)[1:].tolist() == expected


def test_halo_is_not_summed() -> None:
    ones = np.ones((2, 2), np.uint8)
    segments = find_segments(ones, np.ones(3, np.uint8), np.ones(2, np.uint8))
    component, count = link_segments(segments, 4)
    assert sum_prob(segments, component, count, ones * 10).tolist() == [0, 40]


def test_scale_by_dtype() -> None:
    assert prob_scale(np.uint8) == 254
    assert prob_scale(np.float32) == 2**30


def test_beside_is_8_adjacent() -> None:
    rng = np.random.default_rng(4)
    mask = (rng.random((33, 21)) < 0.3).astype(np.uint8)
    marked = (rng.random(mask.shape) < 0.05) & (mask == 0)
    segments, component, count = labeled(mask)
    labels, _ = ndimage.label(mask)
    near = ndimage.binary_dilation(marked, np.ones((3, 3)))
    expected = [bool(near[labels == k].any()) for k in range(1, count + 1)]
    found = components_beside(segments, component, count, np.pad(marked, ((1, 0), (1, 0))))
    assert any(expected)
    assert not all(expected)
    assert found[1:].tolist() == expected
