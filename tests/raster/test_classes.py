"""Classes of stored probabilities against a decision pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geoseg.raster.classes import classify, classify_float
from geoseg.raster.stitch import INVALID, SCALE


def decide(pixel: list[int], background: int | None, thresholds: tuple[float, ...] | None) -> tuple[int, int]:
    """Class and probability of one pixel, as the docstring of ``classify`` has it."""
    if pixel[0] == INVALID:
        return 0, 0
    objects = [value for channel, value in enumerate(pixel) if channel != background]
    best = max(objects)
    winner = objects.index(best)
    if thresholds is None and background is not None:
        reached = best > pixel[background]
    else:
        limits = thresholds or (0.5,)
        limit = limits[winner] if len(limits) > 1 else limits[0]
        reached = best >= max(1, math.ceil(limit * SCALE - 1e-9))
    return (winner + 1, best) if reached else (0, 0)


@pytest.mark.parametrize(
    ("count", "background", "thresholds"),
    [
        (1, None, None),
        (1, None, (0.9,)),
        (1, None, (0.0,)),
        (1, None, (1.0,)),
        (2, 0, None),
        (2, 1, (0.3,)),
        (4, None, (0.7,)),
        (4, None, (0.2, 0.5, 0.5, 0.9)),
        (4, 2, None),
        (4, 0, (0.2, 0.5, 0.8)),
    ],
)
def test_each_pixel_is_decided_as_if_it_were_alone(
    count: int, background: int | None, thresholds: tuple[float, ...] | None
) -> None:
    """Few different values, so that classes are often equal and limits often just reached."""
    values = np.array([0, 1, 76, 77, 127, 178, 203, 228, 229, 254], np.uint8)
    stored = np.random.default_rng(0).choice(values, (count, 12, 25))
    stored[:, 3, 5:9] = INVALID
    classes = classify(stored, background=background, thresholds=thresholds)
    expected = [
        [decide(stored[:, row, col].tolist(), background, thresholds) for col in range(25)]
        for row in range(12)
    ]
    got = np.stack([classes.values, classes.prob], axis=-1)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(classes.invalid, stored[0] == INVALID)
    assert 0 < np.count_nonzero(classes.values) < classes.values.size
    # Probabilities as floats are decided alike.
    if thresholds != (0.0,):
        values, best = classify_float((stored / SCALE).astype(np.float32), background, thresholds)
        valid = ~classes.invalid
        np.testing.assert_array_equal(values[valid], classes.values[valid])
        np.testing.assert_allclose(best[valid] * SCALE, classes.prob[valid], rtol=1e-6)
