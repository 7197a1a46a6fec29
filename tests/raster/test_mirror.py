"""Mirrored arrays laid out again."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.raster.mirror import contiguous


@pytest.mark.parametrize(
    "dtype", [bool, "uint8", "int8", "uint16", "int16", ">u2", "uint32", "float32", "float64"]
)
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1), (4, 130), (2, 0), (9,)])
def test_any_layout_comes_out_in_c_order(dtype, shape):
    values = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    ways = [values, values[..., ::-1], values[..., 1::2], values[..., ::-2], values.T, np.flip(values)]
    if len(shape) > 1:
        ways += [values[..., ::-1, :], values[..., ::-1, 2:5][..., ::-1]]
    for way in ways:
        laid = contiguous(way)
        assert laid.flags.c_contiguous
        assert laid.dtype == way.dtype
        assert np.array_equal(laid, way)


def test_what_is_in_order_is_not_copied():
    values = np.zeros((3, 4), np.uint8)
    assert contiguous(values) is values


def test_the_input_is_not_changed():
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    values.flags.writeable = False
    assert contiguous(values[:, ::-1]).flags.writeable
    assert values.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
