"""Resampling: the same pixel whatever window it is read in; means are means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.raster.resample import axis_weights, resample, resample_valid, source_span

sizes = st.integers(1, 40)


def whole(values: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = axis_weights(0, height, values.shape[1], height)
    cols = axis_weights(0, width, values.shape[2], width)
    return resample(values, rows, cols)


@given(source=sizes, target=sizes)
def test_weights_are_positive_integers_that_sum_to_the_total(source: int, target: int) -> None:
    axis = axis_weights(0, target, source, target)
    assert (axis.weights == np.round(axis.weights)).all()
    for first, count, row in zip(axis.first, axis.count, axis.weights):
        assert (row[:count] > 0).all()
        assert (row[count:] == 0).all()
        assert row.sum() == axis.total
        assert first >= 0
        assert first + count <= source
    assert axis.span == source_span(0, target, source, target)
    assert target > source or axis.span == (0, source)


@settings(deadline=None)
@given(
    shape=st.tuples(sizes, sizes),
    out=st.tuples(sizes, sizes),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
)
def test_pieces_equal_the_whole_bit_for_bit(
    shape: tuple[int, int], out: tuple[int, int], cut: tuple[float, float], dtype: str
) -> None:
    values = np.random.default_rng(1).normal(0, 50, (2, *shape)).astype(dtype)
    full = whole(values, *out)
    top, left = (int(share * (size - 1)) for share, size in zip(cut, out))
    rows = axis_weights(top, out[0], shape[0], out[0])
    cols = axis_weights(left, out[1], shape[1], out[1])
    piece = resample(values[:, slice(*rows.span), slice(*cols.span)], rows, cols)
    np.testing.assert_array_equal(piece, full[:, top:, left:])


@settings(deadline=None)
@given(shape=st.tuples(sizes, sizes), out=st.tuples(sizes, sizes), value=st.floats(-1e6, 1e6, width=32))
def test_constant_stays_constant(shape: tuple[int, int], out: tuple[int, int], value: float) -> None:
    for dtype in ("float32", "float64", "int32"):
        constant = np.full((1, *shape), value).astype(dtype)
        result = whole(constant, *out)
        np.testing.assert_allclose(result, constant[0, 0, 0], rtol=1e-15 if dtype == "float64" else 0)


def test_coarser_is_the_mean_of_the_ground_covered() -> None:
    values = np.random.default_rng(2).normal(size=(1, 12, 15))
    np.testing.assert_allclose(whole(values, 4, 5), values.reshape(1, 4, 3, 5, 3).mean((2, 4)), rtol=1e-12)
    np.testing.assert_allclose(whole(np.array([[[0.0, 3.0, 9.0]]]), 1, 2), [[[1.0, 7.0]]])


def test_finer_is_linear_between_centers_and_flat_outside() -> None:
    ramp = np.array([[[0.0, 4.0]]])
    np.testing.assert_allclose(whole(ramp, 1, 4), [[[0.0, 1.0, 3.0, 4.0]]])


def test_integers_round_half_up() -> None:
    assert whole(np.array([[[1, 2]]], "uint8"), 1, 1).item() == 2
    assert whole(np.array([[[-1, -2]]], "int16"), 1, 1).item() == -1


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64", "float16"])
def test_dtype_is_kept(dtype: str) -> None:
    assert whole(np.ones((1, 4, 4), dtype), 2, 3).dtype == dtype


@pytest.mark.parametrize(
    ("valid", "expected"),
    [
        ([1, 1, 0, 1, 1, 1], [1, 0, 1]),
        ([1, 1, 0, 0, 1, 1], [0, 0]),
        ([1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 1, 1]),
        ([1, 1, 0], [1, 1, 1, 0, 0, 0]),  # finer: the fourth lies a quarter of the way from pixel 1 to 2
        ([1, 0, 1], [0]),
        ([0], [0, 0, 0]),
    ],
)
def test_valid_where_all_pixels_drawn_on_are(valid: list[int], expected: list[int]) -> None:
    size, target = len(valid), len(expected)
    mask = np.array([valid], bool)
    result = resample_valid(mask, axis_weights(0, 1, 1, 1), axis_weights(0, target, size, target))
    assert result.astype(int).tolist() == [expected]
