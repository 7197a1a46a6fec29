"""Normalization against numpy, for every type a scene can have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.models.normalize import Normalize, to_tensor
from geoseg.models.scaling import (
    BandScaling,
    Clip,
    ClipMax,
    ClipMin,
    MinMax,
    Offset,
    Scale,
    ZScore,
    band_ramps,
    fill_values,
)
from geoseg.typing import Array

CPU = torch.device("cpu")


def reference(x: Array, scaling: list[BandScaling | None]) -> Array:
    """Each rule as the MLM extension words it, in float64."""
    out = x.astype(np.float64)
    for k, step in enumerate(scaling):
        band = out[:, k]
        if isinstance(step, ZScore):
            band = (band - step.mean) / step.stddev
        elif isinstance(step, MinMax):
            band = (band - step.minimum) / (step.maximum - step.minimum)
        elif isinstance(step, Clip):
            band = np.clip(band, step.minimum, step.maximum)
        elif isinstance(step, ClipMin):
            band = np.maximum(band, step.minimum)
        elif isinstance(step, ClipMax):
            band = np.minimum(band, step.maximum)
        elif isinstance(step, Offset):
            band = band - step.value
        elif isinstance(step, Scale):
            band = band / step.value
        out[:, k] = band
    return out


numbers = st.floats(-500, 500).map(lambda x: round(x, 3))
steps = st.one_of(
    st.none(),
    st.builds(ZScore, mean=numbers, stddev=st.floats(0.5, 300)),
    st.tuples(numbers, st.floats(1, 900)).map(lambda t: MinMax(minimum=t[0], maximum=t[0] + t[1])),
    st.tuples(numbers, st.floats(1, 900)).map(lambda t: Clip(minimum=t[0], maximum=t[0] + t[1])),
    st.builds(ClipMin, minimum=numbers),
    st.builds(ClipMax, maximum=numbers),
    st.builds(Offset, value=numbers),
    st.builds(Scale, value=st.floats(0.5, 3000)),
)
TYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    ">u2",
    ">f4",
]


@settings(max_examples=80, deadline=None)
@given(st.lists(steps, min_size=1, max_size=4), st.sampled_from(TYPES), st.integers(0, 2**32 - 1))
def test_equals_the_rules_of_the_extension(scaling: list[BandScaling | None], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (
        rng.random((2, len(scaling), 3, 5)) * {"bool": 2, "int8": 120, "uint8": 255}.get(dtype, 30_000)
    ).astype(dtype)
    ramps = band_ramps(scaling, len(scaling))
    got = Normalize(ramps, fill_values(ramps))(to_tensor(x, CPU))
    want = reference(x.astype(np.float32), scaling)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want, rtol=3e-6, atol=3e-6 * max(1.0, float(np.abs(want).max())))


def test_uint16_above_32767_stays_positive() -> None:
    x = np.full((1, 1, 1, 1), 65_535, np.uint16)
    assert (
        Normalize(band_ramps([Scale(value=65_535)], 1), np.zeros(1, np.float32))(to_tensor(x, CPU)).item()
        == 1
    )


@pytest.mark.parametrize(("fill", "want"), [("mean", 0.0), (0.0, -2.0)])
def test_nan_becomes_the_fill_value(fill: float, want: float) -> None:
    ramps = band_ramps([ZScore(mean=10, stddev=5)], 2)
    x = np.array([np.nan, np.inf, -np.inf, 10], np.float32).reshape(1, 1, 1, 4).repeat(2, 1)
    got = Normalize(ramps, fill_values(ramps, fill))(to_tensor(x, CPU))
    np.testing.assert_allclose(got[0, 1, 0], [want, want, want, 0])


def test_input_is_left_alone() -> None:
    x = np.ones((1, 2, 4, 4), np.float32)
    x.flags.writeable = False
    ramps = band_ramps([Offset(value=1)], 2)
    Normalize(ramps, fill_values(ramps))(to_tensor(x, CPU))
    assert (x == 1).all()
    assert to_tensor(np.zeros((2, 3, 4, 4), np.uint8)[:, :, ::2], CPU).dtype == torch.uint8
