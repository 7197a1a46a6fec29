"""Splitting touching objects: against a plain reference, and the same for any chunks."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.raster.labels import paint
from geoseg.raster.split import (
    FULL_HEIGHT,
    ChunkBasins,
    Objects,
    find_basins,
    join_basins,
    smooth_height,
    smoothing_weights,
)


def halo(array: np.ndarray, side: int) -> np.ndarray:
    return np.pad(array, side)


def split(
    height: np.ndarray,
    values: np.ndarray,
    chunk: tuple[int, int],
    persistence: float,
    min_pixels: float = 0,
    sigma: float = 0,
    connectivity: int = 8,
) -> tuple[np.ndarray, Objects]:
    """Labels of a raster that is worked on chunk by chunk."""
    weights = smoothing_weights(sigma)
    radius = len(weights) // 2
    rows, cols = values.shape
    row_offs, col_offs = range(0, rows, chunk[0]), range(0, cols, chunk[1])
    chunks, labels = {}, {}
    wide_values = halo(values, 1)
    wide_height = halo(height, radius + 1)
    for (i, row), (j, col) in itertools.product(enumerate(row_offs), enumerate(col_offs)):
        h, w = min(chunk[0], rows - row), min(chunk[1], cols - col)
        part = wide_values[row : row + h + 2, col : col + w + 2]
        around = wide_height[row : row + h + 2 * (radius + 1), col : col + w + 2 * (radius + 1)]
        smooth = smooth_height(around, part, weights)
        summed = np.ones((h, w), np.int64)
        basins = find_basins(smooth, part, (row, col), cols, connectivity, summed, np.zeros(part.shape, bool))
        labels[i, j] = basins.labels
        assert (paint(basins.segments, basins.segments.value) == basins.labels).all()
        chunks[i, j] = ChunkBasins.of(basins)
    objects = join_basins(chunks, row_offs, col_offs, cols, persistence=persistence, min_pixels=min_pixels)
    whole = np.zeros(values.shape, np.int32)
    for (i, row), (j, col) in itertools.product(enumerate(row_offs), enumerate(col_offs)):
        part = objects.number[i, j][labels[i, j]]
        whole[row : row + part.shape[0], col : col + part.shape[1]] = part
    return whole, objects


def reference(
    height: np.ndarray, values: np.ndarray, persistence: float, min_pixels: float, connectivity: int
) -> np.ndarray:
    """The rule written down plainly: climb, list the saddles, join."""
    rows, cols = values.shape
    steps = [
        (dy, dx)
        for dy, dx in itertools.product((-1, 0, 1), repeat=2)
        if (dy, dx) != (0, 0) and (connectivity == 8 or dy == 0 or dx == 0)
    ]

    def near(y: int, x: int) -> list[tuple[int, int]]:
        around = [(y + dy, x + dx) for dy, dx in steps]
        return [(v, u) for v, u in around if 0 <= v < rows and 0 <= u < cols and values[v, u] == values[y, x]]

    def rank(pixel: tuple[int, int]) -> tuple[int, int]:
        return int(height[pixel]), -(pixel[0] * cols + pixel[1])

    summit = {}
    for pixel in zip(*np.nonzero(values), strict=True):
        at = tuple(map(int, pixel))
        while (best := max([*near(*at), at], key=rank)) != at:
            at = best
        summit[tuple(map(int, pixel))] = at
    saddle: dict[tuple, int] = {}
    for pixel, top in summit.items():
        for other in near(*pixel):
            if summit[other] != top:
                pair = tuple(sorted([top, summit[other]]))
                saddle[pair] = max(saddle.get(pair, -1), int(min(height[pixel], height[other])))
    area = {top: list(summit.values()).count(top) for top in summit.values()}
    stands = {top: top for top in area}

    def root(top: tuple) -> tuple:
        return top if stands[top] == top else root(stands[top])

    for (a, b), level in sorted(saddle.items(), key=lambda item: (-item[1], item[0])):
        a, b = root(a), root(b)
        if a == b:
            continue
        low = min(height[a], height[b]) - level < persistence
        if low or min(area[a], area[b]) < min_pixels:
            a, b = sorted([a, b], key=rank, reverse=True)
            stands[b] = a
            area[a] += area[b]
    labels = np.zeros(values.shape, np.int32)
    number: dict[tuple, int] = {}
    for pixel in zip(*np.nonzero(values), strict=True):
        top = root(summit[tuple(map(int, pixel))])
        labels[pixel] = number.setdefault(top, len(number) + 1)
    return labels


@st.composite
def fields(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Heights with plateaus or without, and masks or class maps under them."""
    rows, cols = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height = ndimage.gaussian_filter(rng.random((rows, cols)), draw(st.sampled_from([0, 0.7, 2])))
    levels = draw(st.sampled_from([1, 3, 20, 254]))
    height = np.round(levels * (height - height.min()) / max(np.ptp(height), 1e-9))
    values = (rng.random((rows, cols)) < draw(st.sampled_from([0.4, 0.7, 1.0]))).astype(np.int32)
    values *= rng.integers(1, draw(st.sampled_from([2, 3])), (rows, cols), dtype=np.int32)
    return (height * (254 // levels)).astype(np.uint8), values


@given(
    fields(), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from([0, 5]), st.sampled_from([4, 8]),
)  # fmt: skip
def test_chunks_give_what_the_plain_rule_gives(field, high, wide, persistence, min_pixels, connectivity):
    height, values = field
    expected = reference(
        smooth_height(height, values, smoothing_weights(0)),
        values, round(persistence * FULL_HEIGHT), min_pixels, connectivity,
    )  # fmt: skip
    labels, objects = split(height, values, (high, wide), persistence, min_pixels, connectivity=connectivity)
    assert labels.tolist() == expected.tolist()
    assert objects.total[1:].tolist() == np.bincount(labels.ravel())[1:].tolist()
    inside = labels > 0
    assert (objects.value[labels[inside]] == values[inside]).all()


@given(fields(), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.0]))
def test_smoothed_heights_and_objects_do_not_depend_on_chunks(field, high, wide, sigma):
    height, values = field
    whole, objects = split(height, values, values.shape, 0.02, 3, sigma)
    labels, others = split(height, values, (high, wide), 0.02, 3, sigma)
    assert labels.tolist() == whole.tolist()
    assert others.value.tolist() == objects.value.tolist()


def test_without_persistence_all_summits_are_objects_and_with_all_of_it_components_are():
    height = np.array([[200, 100, 200]], np.uint8)
    mask = np.ones((1, 3), np.int32)
    assert split(height, mask, (1, 3), 0.1)[0].tolist() == [[1, 1, 2]]
    assert split(height, mask, (1, 1), 1.0)[0].tolist() == [[1, 1, 1]]


def test_a_basin_that_crosses_many_chunks_is_one_object():
    rows, cols = 40, 60
    y, x = np.mgrid[:rows, :cols]
    height = (254 * np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 900)).astype(np.uint8)
    labels, objects = split(height, np.ones((rows, cols), np.int32), (3, 4), 0.5, sigma=2)
    assert labels.max() == 1
    assert objects.total.tolist() == [0, rows * cols]


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0, 2.3])
def test_smoothing_is_a_gaussian_within_rounding(sigma):
    rng = np.random.default_rng(0)
    height = ndimage.gaussian_filter(rng.random((70, 50)), 2)
    height = np.round(254 * (height - height.min()) / np.ptp(height)).astype(np.uint8)
    weights = smoothing_weights(sigma)
    around = np.pad(height, len(weights) // 2)
    result = smooth_height(around, np.ones(height.shape, np.uint8), weights) / FULL_HEIGHT
    p = np.clip(height / 254, 0.1, 0.998)
    odds = np.log(p / (1 - p))
    odds = (odds - np.log(1 / 9)) / (np.log(0.998 / 0.002) - np.log(1 / 9))
    exact = ndimage.gaussian_filter(odds, sigma, mode="constant", truncate=3) if sigma >= 0.3 else odds
    # Bytes of the table of log-odds are rounded to half of 1/255; the sum is in single precision.
    assert np.abs(result - exact).max() <= 0.5 / 255 + 1e-5


def test_of_the_borders_of_a_chunk_runs_are_kept_and_no_pixels():
    values = np.zeros((302, 502), np.uint8)
    values[1:20, 50:90] = values[100:140, 481:501] = 1
    height = values * np.uint8(200)
    summed = np.ones((300, 500), np.int64)
    basins = find_basins(
        smooth_height(height, values, smoothing_weights(0)), values, (0, 0), 500, 8, summed,
        np.zeros(values.shape, bool),
    )  # fmt: skip
    kept = ChunkBasins.of(basins)
    assert kept.sizes[3] < 12
    assert len(kept.packed) < 300
    labels = basins.labels
    rows, cols = np.indices(labels.shape).reshape(2, -1)
    border = (rows == 0) | (rows == 299) | (cols == 0) | (cols == 499)
    rows, cols = rows[border], cols[border]
    np.testing.assert_array_equal(kept.at(rows, cols), labels[rows, cols])
    with pytest.raises(ValueError, match="borders"):
        kept.at(np.array([5]), np.array([5]))


def test_a_chunk_without_objects_takes_some_hundred_bytes():
    height, values = np.zeros((34, 34), np.int32), np.zeros((34, 34), np.uint8)
    found = find_basins(height, values, (0, 0), 6400, 8, values[1:-1, 1:-1])
    assert ChunkBasins.of(found).sizes == (0, 0, 0, 1)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        chunks = {divmod(k, 40): ChunkBasins.of(found) for k in range(1600)}
        kept = tracemalloc.get_traced_memory()[0] - before
        objects = join_basins(chunks, range(0, 1280, 32), range(0, 1280, 32), 6400, persistence=0.1)
        del chunks
        numbers = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 600 * 1600
    assert numbers < 200 * 1600
    assert objects.number[7, 39].tolist() == [0]


def test_empty_rasters():
    weights = smoothing_weights(0.4)
    around = np.zeros((len(weights) - 1, 4 + len(weights)), np.uint8)
    assert smooth_height(around, np.zeros((0, 5), np.uint8), weights).shape == (0, 5)
    labels, objects = split(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.int32), (2, 2), 0.1)
    assert labels.max() == 0
    assert objects.value.tolist() == [0]
