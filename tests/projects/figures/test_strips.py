"""What is done to large bitmaps strip by strip is what is done to small ones at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, same_figure
from geoseg.projects.figures import stored as stored_module
from geoseg.projects.figures.stored import StoredMask, pack_rows, store_mask
from geoseg.projects.figures.strips import add_rows, made_of_rows
from geoseg.projects.figures.transform import affine_figure, scale_figure, transpose_figure

MODULES = ("stored", "types", "strips")


@pytest.fixture
def large(monkeypatch):
    """Every bitmap is a large one, in strips of which the last is not full."""

    def set_limit(limit=0):
        for name in MODULES:
            monkeypatch.setattr(f"geoseg.projects.figures.{name}.LARGE", limit)

    return set_limit


def random_bitmap(seed):
    """A mask of odd size, full, empty, dense or sparse, laid down in one of eight ways, and its array."""
    rng = np.random.default_rng(seed)
    shape = [(1, 1), (1, 700), (700, 1), (531, 67), (67, 531), (257, 256), (600, 1100)][seed % 7]
    array = rng.random(shape) < rng.choice([0.0, 0.001, 0.1, 0.9, 1.0])
    stored = store_mask(array)
    if rng.random() < 0.5:
        array, stored = array.T, stored.transposed()
    for axis in (0, 1):
        if rng.random() < 0.5:
            array, stored = np.flip(array, 1 - axis), stored.mirrored(axis)
    origin = int(rng.integers(-20, 40)), int(rng.integers(-20, 40))
    return Bitmap(origin, stored), Bitmap(origin, np.ascontiguousarray(array)), rng


def same(mine, other):
    """The same pixels in the same place, tight, and kept as their size says."""
    if mine is None or other is None:
        assert mine is other
        return
    assert isinstance(mine.pixels, StoredMask)
    assert mine.origin == other.origin
    np.testing.assert_array_equal(mine.mask, other.mask)


@pytest.mark.parametrize("seed", range(21))
@pytest.mark.parametrize("factor", [1 / 40, 0.37, 0.99, 1.5, 3])
def test_scaled(large, seed, factor):
    stored, dense, rng = random_bitmap(seed)
    shape = 640 + int(rng.integers(9)), 1200 + int(rng.integers(9))
    new_shape = max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor * 0.8))
    expected = scale_figure(dense, shape, new_shape)
    canvas = np.zeros((1300, 1300), bool)  # the way it was done before: all pixels at once
    canvas[100:, 100:][: dense.shape[0], : dense.shape[1]] = dense.mask
    rows, cols = (((2 * np.arange(n) + 1) * s) // (2 * n) for s, n in zip(shape, new_shape, strict=True))
    rows, cols = rows - dense.origin[1] + 100, cols - dense.origin[0] + 100
    whole = Bitmap((0, 0), canvas[np.ix_(np.clip(rows, 0, 1299), np.clip(cols, 0, 1299))]).tight()
    assert (expected is None) == (whole is None)
    assert expected is None or same_figure(expected, whole)
    large()
    same(scale_figure(stored, shape, new_shape), expected)


@pytest.mark.parametrize("seed", range(21))
@pytest.mark.parametrize("angle", [0, 17, 90, 233])
@pytest.mark.parametrize("at_once", [1, 2**22])
def test_turned(large, monkeypatch, seed, angle, at_once):
    monkeypatch.setattr("geoseg.projects.figures.strips._AT_ONCE", at_once)
    stored, dense, rng = random_bitmap(seed)
    forward = Affine.translation(30, 50) * Affine.rotation(angle) * Affine.scale(*rng.uniform(0.5, 2, 2))
    expected = affine_figure(dense, forward, (700, 1300))
    # the way it was done before: all positions at once
    rows, cols = np.mgrid[:700, :1300] + 0.5
    a, b, c, d, e, f = (~forward)[:6]
    x = np.floor(a * cols + b * rows + c).astype(int) - dense.origin[0]
    y = np.floor(d * cols + e * rows + f).astype(int) - dense.origin[1]
    inside = (x >= 0) & (y >= 0) & (x < dense.shape[1]) & (y < dense.shape[0])
    mask = np.zeros(inside.shape, bool)
    mask[inside] = dense.mask[y[inside], x[inside]]
    whole = Bitmap((0, 0), mask).tight()
    assert (expected is None) == (whole is None)
    assert expected is None or same_figure(expected, whole)
    large()
    same(affine_figure(stored, forward, (700, 1300)), expected)


@pytest.mark.parametrize("seed", range(14))
@pytest.mark.parametrize("slab", [1, 2**17, 2**26])
def test_packed_and_laid(monkeypatch, seed, slab):
    monkeypatch.setattr(stored_module, "_SLAB", slab)
    stored, dense, _ = random_bitmap(seed)
    packed = np.concatenate(list(pack_rows(stored.pixels)))
    np.testing.assert_array_equal(packed, np.packbits(dense.mask, axis=1))
    laid = stored.by_rows()
    assert not laid.pixels.transpose
    np.testing.assert_array_equal(laid.mask, dense.mask)
    assert same_figure(laid, stored)
    assert same_figure(stored, dense)
    assert same_figure(transpose_figure(transpose_figure(stored)), dense)
    changed = dense.mask.copy()
    changed[-1, -1] ^= True
    assert not same_figure(stored, Bitmap(dense.origin, changed))
    assert not same_figure(stored, Bitmap((99, 99), dense.mask))
    assert not same_figure(stored, Bitmap(dense.origin, np.pad(dense.mask, 1)))


@given(seed=st.integers(0, 999))
def test_rows_added_to_a_box(seed):
    stored, dense, rng = random_bitmap(seed)
    left, top, height, width = (int(v) for v in rng.integers((-50, -50, 1, 1), (90, 90, 700, 1200)))
    box = Window(row_off=top, col_off=left, height=height, width=width)
    first = int(rng.integers(height))
    out = np.zeros((height - first, width), bool)
    add_rows(out, box, first, stored)
    canvas = np.zeros((2000, 2500), bool)
    x, y = dense.origin[0] + 100, dense.origin[1] + 100
    canvas[y : y + dense.shape[0], x : x + dense.shape[1]] = dense.mask
    expected = canvas[top + 100 + first : top + 100 + height, left + 100 : left + 100 + width]
    np.testing.assert_array_equal(out, expected)


def test_kept_as_their_size_says(large):
    def rows(top, bottom):
        return np.arange(top, bottom)[:, None] == np.array([3, 500])

    made = made_of_rows((5, 5), (601, 2), rows)
    assert isinstance(made.pixels, np.ndarray)
    large(10)
    kept = made_of_rows((5, 5), (601, 2), rows)
    assert isinstance(kept.pixels, StoredMask)
    np.testing.assert_array_equal(kept.mask, made.mask)
    one = made_of_rows((5, 5), (601, 2), lambda top, bottom: rows(top, bottom) & (np.arange(2) == 1)).tight()
    assert isinstance(one.pixels, np.ndarray)  # nothing of the strips is kept
    assert one.origin == (6, 505)
    assert one.mask.tolist() == [[True]]


def test_memory_is_that_of_strips(large):
    side = 6000
    large(2**20)

    def grid(top, bottom):
        rows = np.zeros((bottom - top, side), bool)
        rows[:, ::11] = True
        return rows

    figure = made_of_rows((0, 0), (side, side), grid)
    across = transpose_figure(figure)
    for change in (
        lambda: scale_figure(figure, (side, side), (side // 2, side // 2)),
        lambda: scale_figure(figure, (side, side), (side // 50, side // 50)),
        lambda: affine_figure(figure, Affine.scale(1 / 20), (side // 20, side // 20)),
        lambda: affine_figure(across, Affine.scale(1 / 20), (side // 20, side // 20)),
        lambda: sum(rows.size for rows in pack_rows(figure.pixels.mirrored(1))),
        lambda: same_figure(figure, figure),
    ):
        tracemalloc.start()
        change()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < side * side / 4
