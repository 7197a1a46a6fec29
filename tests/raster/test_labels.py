"""Labels of one chunk against scipy, whose labels come in raster order too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from geoseg.errors import InputError
from geoseg.raster.labels import label_chunk, paint
from geoseg.raster.segments import as_values, find_segments

EIGHT = np.ones((3, 3))
masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1))
class_maps = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.integers(0, 3))


def structure(connectivity: int) -> np.ndarray | None:
    return EIGHT if connectivity == 8 else None


@settings(max_examples=150)
@given(masks, st.sampled_from([4, 8]))
def test_same_as_scipy(mask: np.ndarray, connectivity: int) -> None:
    labels, count = label_chunk(mask, connectivity)
    expected, expected_count = ndimage.label(mask, structure(connectivity))
    assert count == expected_count
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected)


@settings(max_examples=100)
@given(class_maps, st.sampled_from([4, 8]))
def test_only_equal_values_connect(values: np.ndarray, connectivity: int) -> None:
    labels, count = label_chunk(values, connectivity)
    np.testing.assert_array_equal(labels != 0, values != 0)
    found = 0
    for value in np.unique(values[values > 0]):
        expected, number = ndimage.label(values == value, structure(connectivity))
        inside = values == value
        pairs = np.unique(np.stack([labels[inside], expected[inside]]), axis=1)
        assert pairs.shape[1] == number == len(np.unique(pairs[0]))
        found += number
    assert count == found
    ids, first = np.unique(labels[labels > 0], return_index=True)
    np.testing.assert_array_equal(ids, np.arange(1, count + 1))
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int32, np.int64])
def test_dtypes_agree(dtype: type) -> None:
    mask = np.random.default_rng(1).random((31, 17)) < 0.5
    np.testing.assert_array_equal(label_chunk(mask.astype(dtype))[0], label_chunk(mask)[0])


def test_many_words_wide_and_not_contiguous() -> None:
    mask = np.random.default_rng(2).random((50, 2003)) < 0.55
    np.testing.assert_array_equal(label_chunk(mask[::2, ::3])[0], ndimage.label(mask[::2, ::3], EIGHT)[0])


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_empty(shape: tuple[int, int]) -> None:
    labels, count = label_chunk(np.zeros(shape, bool))
    assert (labels.shape, count) == (shape, 0)


def test_one_pixel() -> None:
    assert label_chunk(np.ones((1, 1), bool))[0].tolist() == [[1]]


def test_does_not_change_its_input() -> None:
    mask = np.random.default_rng(0).integers(0, 3, (9, 9), np.uint8)
    before = mask.copy()
    label_chunk(mask)
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3, np.uint8), "two dimensions"),
        (np.zeros((2, 2), np.float32), "threshold"),
        (np.full((2, 2), 2**40), "int32"),
    ],
)
def test_bad_masks_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_chunk(values)


def test_other_connectivity_is_refused() -> None:
    with pytest.raises(InputError, match="must be 4"):
        label_chunk(np.zeros((2, 2), bool), 6)


@settings(max_examples=60)
@given(class_maps)
def test_paint_undoes_find_segments(values: np.ndarray) -> None:
    segments = find_segments(as_values(values))
    np.testing.assert_array_equal(paint(segments, segments.value), values)


def test_halo_and_padding_become_rows_and_columns() -> None:
    values = np.array([[1, 1], [0, 2]], np.uint8)
    top, left = np.array([9, 1, 0], np.uint8), np.array([1, 3], np.uint8)
    segments = find_segments(values, top, left, pad_bottom=True, pad_right=True)
    expected = [[9, 1, 0, 0], [1, 1, 1, 0], [3, 0, 2, 0], [0, 0, 0, 0]]
    assert paint(segments, segments.value).tolist() == expected
