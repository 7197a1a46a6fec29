"""Parts, outlines and skeletons of large bitmaps are those of small ones."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from skimage import morphology

from geoseg.projects.figures import Bitmap, same_figure
from geoseg.projects.figures.parts import connected_parts, without_small_parts
from geoseg.projects.figures.paths import longest_paths
from geoseg.projects.figures.stored import StoredMask, store_mask
from geoseg.projects.figures.thin import thinned
from geoseg.projects.figures.trace import bitmap_rings, trace_bitmap


@pytest.fixture
def large(monkeypatch):
    """Bitmaps above a limit are large ones."""

    def set_limit(limit=0):
        for name in ("stored", "types", "strips", "parts"):
            monkeypatch.setattr(f"geoseg.projects.figures.{name}.LARGE", limit)

    return set_limit


def mask_of(seed):
    """Noise near the point where all pixels connect, blobs, a snake through all strips, and small masks."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(513, 800)), int(rng.integers(1, 90)))
    kinds = [
        rng.random(shape) < rng.choice([0.3, 0.4, 0.55]),
        ndimage.gaussian_filter(rng.standard_normal(shape), 5) > 0.01,
        np.arange(shape[1]) % 4 < 2,
        np.zeros(shape, bool),
        np.ones((1, 1), bool),
        np.ones((513, 3), bool),
    ]
    mask = np.broadcast_to(kinds[seed % 6], shape).copy() if seed % 6 < 4 else kinds[seed % 6]
    if seed % 6 == 2:  # two columns a bar, joined at the top and the bottom in turn
        mask[0, ::8] = mask[0, 2::8] = mask[0, 3::8] = mask[-1, 6::8] = mask[-1, 7::8] = True
    return mask


def bitmaps(seed):
    """The mask laid down by columns, and as an array."""
    mask = mask_of(seed)
    return Bitmap((7, -3), store_mask(mask.T).transposed()), Bitmap((7, -3), mask)


@pytest.mark.parametrize("seed", range(18))
@pytest.mark.parametrize("limit", [0, 60, 4000])
def test_parts(large, seed, limit):
    stored, dense = bitmaps(seed)
    labels, count = ndimage.label(dense.mask, np.ones((3, 3)))
    firsts = np.unique(labels, return_index=True)[1][int((labels == 0).any()) :]
    assert (np.diff(firsts) > 0).all()
    large(limit)
    parts = list(connected_parts(stored))
    assert len(parts) == count
    for number, (part, place) in enumerate(zip(parts, ndimage.find_objects(labels), strict=True), 1):
        assert part.origin == (7 + place[1].start, -3 + place[0].start)
        assert isinstance(part.pixels, StoredMask) == (part.pixels.size > limit)
        np.testing.assert_array_equal(part.mask, labels[place] == number)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("least", [0, 1, 2.5, 40, 10**6])
def test_small_parts_go(large, seed, least):
    stored, dense = bitmaps(seed)
    labels, _ = ndimage.label(dense.mask)
    keep = np.bincount(labels.ravel()) >= least
    keep[0] = False
    whole = Bitmap(dense.origin, keep[labels]).tight()
    for limit in (10**9, 0):
        large(limit)
        left = without_small_parts(stored, least)
        assert (left is None) == (whole is None)
        assert left is None or same_figure(left, whole)


@pytest.mark.parametrize("seed", range(12))
def test_outlines_and_lines(large, seed):
    stored, dense = bitmaps(seed)
    polygons, rings = trace_bitmap(dense), list(bitmap_rings(dense))
    lines = list(longest_paths(dense.mask, 3)) if seed % 6 else []
    large()
    for mine, other in zip(trace_bitmap(stored), polygons, strict=True):
        assert same_figure(mine, other)
    for mine, other in zip(bitmap_rings(stored), rings, strict=True):
        np.testing.assert_array_equal(mine, other)
    for mine, other in zip(longest_paths(stored.pixels, 3) if seed % 6 else [], lines, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("stored", [False, True])
def test_parts_are_traced_one_by_one(large, stored):
    """Diagonals, whose boxes are together many times as large as the mask."""
    side = 400
    rows, cols = np.mgrid[:side, :side]
    mask = (rows + cols) % 4 == 0
    if stored:
        large(side * side - 1)
    trace_bitmap(Bitmap((0, 0), mask[:9, :9]))  # what is compiled does not count
    bitmap = Bitmap((0, 0), store_mask(mask) if stored else mask)
    boxes = sum(part.pixels.size for part in connected_parts(bitmap))
    tracemalloc.start()
    assert trace_bitmap(bitmap) == []
    assert sum(1 for _ in bitmap_rings(bitmap)) == 200
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < boxes / 4


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("steps", [2, 32])
def test_thinned(monkeypatch, seed, steps):
    monkeypatch.setattr("geoseg.projects.figures.thin._STEPS", steps)
    stored, dense = bitmaps(seed)
    lines = Bitmap(dense.origin, morphology.thin(np.pad(dense.mask, 1))[1:-1, 1:-1]).tight()
    left = thinned(stored)
    assert (left is None) == (lines is None)
    assert left is None or same_figure(left, lines)


def test_a_wide_blob_is_thinned_through_many_strips(monkeypatch):
    monkeypatch.setattr("geoseg.projects.figures.thin._STEPS", 5)
    rows, cols = np.mgrid[:560, :110]
    mask = (rows - 280) ** 2 / 25 + (cols - 55) ** 2 < 52**2
    left = thinned(Bitmap((0, 0), mask))
    assert left is not None
    assert same_figure(left, Bitmap((0, 0), morphology.thin(mask)).tight())
