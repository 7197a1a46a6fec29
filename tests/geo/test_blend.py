"""Blend weights sum to one, and the smooth ones trust the middle of a window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.blend import blend_weights, window_profile
from geoseg.geo.windows import axis_starts


@given(
    size=st.integers(1, 400),
    window=st.integers(1, 150),
    data=st.data(),
    blend=st.sampled_from(["smooth", "uniform"]),
)
def test_weights_sum_to_one_at_every_pixel(size: int, window: int, data: st.DataObject, blend: str) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    starts = axis_starts(size, window, overlap)
    total = np.zeros(max(size, window))
    for start, weight in zip(starts, blend_weights(starts, window, overlap, blend), strict=True):  # type: ignore[arg-type]
        assert (weight > 0).all()
        total[start : start + window] += weight
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-14)


def test_smooth_weights_fall_toward_the_border() -> None:
    profile = window_profile(64, 16)
    assert (np.diff(profile[:8]) > 0).all()
    np.testing.assert_allclose(profile, profile[::-1])
    assert profile[32] == 1


def test_unknown_blend_is_refused() -> None:
    with pytest.raises(InputError, match="smooth, uniform"):
        window_profile(4, 1, "hann")  # type: ignore[arg-type]
