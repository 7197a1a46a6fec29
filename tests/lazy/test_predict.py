"""Stitched prediction: constants stay constant, every window runs once, scenes come back."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.geo.blocks import BlockPlan, plan_blocks
from geoseg.geo.windows import Grid
from geoseg.lazy.predict import OneAtATime, count_classes, stitch


@st.composite
def plans(draw: st.DrawFn) -> BlockPlan:
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 150), st.integers(1, 150)), st.sampled_from([(1, 90), (90, 1), (1, 1)])
        )
    )
    window = draw(st.tuples(st.integers(1, 64), st.integers(1, 64)))
    overlap = tuple(draw(st.integers(0, w - 1)) for w in window)
    plan = plan_blocks(
        shape,
        window=window,
        overlap=overlap,
        chunk=draw(st.integers(1, 120)),
        blend=draw(st.sampled_from(["smooth", "uniform"])),
    )  # type: ignore[arg-type]
    return plan if plan.n_windows < 1500 else plan_blocks(shape, window=window, overlap=(0, 0), chunk=64)


def scene_of(plan: BlockPlan, bands: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (bands, *plan.shape), dtype=np.uint8)


def rounding(plan: BlockPlan) -> float:
    """The most that sums in single precision may err at a pixel: one unit for each window over it."""
    covering = [-(-axis.window // (axis.window - axis.overlap)) for axis in (plan.y, plan.x)]
    return float(np.finfo(np.float32).eps) * (8 + covering[0] * covering[1])


class Counting:
    """Returns a constant and counts what it sees."""

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.windows = value, 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.windows += len(batch)
        return np.full((len(batch), 2, *batch.shape[2:]), self.value, np.float32)


@settings(max_examples=60)
@given(plan=plans(), batch_size=st.integers(1, 7))
def test_a_constant_stays_constant_and_each_window_runs_once(plan: BlockPlan, batch_size: int) -> None:
    predict = Counting()
    image = da.from_array(scene_of(plan), chunks=(2, 37, 41))
    classes, first = count_classes(image, None, plan, predict)
    out = stitch(image, None, plan, predict, classes=classes, batch_size=batch_size, first=first)
    result = out.compute(scheduler="sync")
    assert result.shape == (2, *plan.shape) == out.shape
    assert np.abs(result - 1).max() <= rounding(plan)
    grid = Grid(plan.shape, (plan.y.window, plan.x.window), (plan.y.overlap, plan.x.overlap))
    assert predict.windows == plan.n_windows == len(grid)


@pytest.mark.parametrize("overlap", [0, 300])
@pytest.mark.parametrize("blend", ["smooth", "uniform"])
def test_a_constant_stays_constant_at_the_tutorials_windows(overlap: int, blend: str) -> None:
    plan = plan_blocks((375, 1242), window=(370, 370), overlap=(overlap, overlap), chunk=512, blend=blend)  # type: ignore[arg-type]
    image = da.zeros((1, 375, 1242), dtype=np.uint8)
    result = stitch(image, None, plan, Counting(0.7), classes=2, batch_size=4).compute()
    assert np.abs(result - np.float32(0.7)).max() <= 2e-6


@settings(max_examples=40)
@given(plan=plans())
def test_an_identity_gives_the_scene_back(plan: BlockPlan) -> None:
    scene = scene_of(plan)
    image = da.from_array(scene, chunks=(1, 50, 29))
    result = stitch(image, None, plan, lambda b: b.astype(np.float32), classes=2, batch_size=3).compute(
        scheduler="sync"
    )
    np.testing.assert_allclose(result, scene, rtol=0, atol=255 * rounding(plan))


def reference(scene: np.ndarray, plan: BlockPlan, predict: object) -> np.ndarray:
    """One window after the other into a float64 sum, weights from the definition."""
    _, height, width = scene.shape
    pad_y, pad_x = max(0, plan.y.window - height), max(0, plan.x.window - width)
    padded = np.pad(scene, ((0, 0), (0, pad_y), (0, pad_x)), mode="reflect")
    total = np.zeros((2, *padded.shape[1:]))
    for i, row in enumerate(plan.y.starts):
        for j, col in enumerate(plan.x.starts):
            rows, cols = slice(row, row + plan.y.window), slice(col, col + plan.x.window)
            got = predict(padded[None, :, rows, cols])[0]  # type: ignore[operator]
            total[:, rows, cols] += got * plan.y.weights[i][:, None] * plan.x.weights[j]
    return total[:, :height, :width]


def positional(batch: np.ndarray) -> np.ndarray:
    """Depends on the pixels and on the place inside the window, so any misplacement shows."""
    value = batch.astype(np.float32).mean(1, keepdims=True) / 255
    ramp = np.linspace(-1, 1, batch.shape[2])[:, None] + np.linspace(0, 2, batch.shape[3]) ** 2
    return np.concatenate([value + ramp, value * ramp], 1).astype(np.float32)


@settings(max_examples=40)
@given(plan=plans())
def test_blocks_and_chunks_do_not_change_the_result(plan: BlockPlan) -> None:
    scene = scene_of(plan)
    image = da.from_array(scene, chunks=(2, 60, 60))
    result = stitch(image, None, plan, positional, classes=2).compute(scheduler="sync")
    np.testing.assert_allclose(result, reference(scene, plan, positional), atol=2e-5)


@settings(max_examples=40)
@given(plan=plans(), chunk=st.integers(1, 120))
def test_probabilities_are_the_same_bits_for_any_chunks(plan: BlockPlan, chunk: int) -> None:
    def probabilities(batch: np.ndarray) -> np.ndarray:
        return (np.sin(7 * positional(batch)) / 2 + 0.5).astype(np.float32)

    scene = scene_of(plan)
    image = da.from_array(scene, chunks=(2, 60, 60))
    sides = {"window": (plan.y.window, plan.x.window), "overlap": (plan.y.overlap, plan.x.overlap)}
    other = plan_blocks(plan.shape, **sides, chunk=chunk, blend=plan.y.blend)
    one, two = (
        stitch(image, None, p, probabilities, classes=2).compute(scheduler="sync") for p in (plan, other)
    )
    np.testing.assert_array_equal(one, two)


def test_windows_without_valid_pixels_do_not_run() -> None:
    plan = plan_blocks((64, 64), window=(16, 16), overlap=(0, 0), chunk=32)
    valid = np.zeros((64, 64), bool)
    valid[:16, :20] = True
    predict = Counting()
    image = da.zeros((1, 64, 64), chunks=20, dtype=np.uint8)
    result = stitch(image, da.from_array(valid, chunks=20), plan, predict, classes=2).compute(
        scheduler="sync"
    )
    assert predict.windows == 2
    assert np.isnan(result[:, ~valid]).all()
    np.testing.assert_allclose(result[:, valid], 1, atol=2e-6)


def test_invalid_pixels_take_the_fill_value() -> None:
    plan = plan_blocks((8, 8), window=(8, 8), overlap=(0, 0), chunk=8)
    valid = np.ones((8, 8), bool)
    valid[2, 3] = False
    seen = []

    def look(batch: np.ndarray) -> np.ndarray:
        seen.append(batch.copy())
        return batch.astype(np.float32)

    stitch(da.ones((1, 8, 8), dtype=np.int16), da.from_array(valid), plan, look, classes=1, fill=-5).compute()
    assert seen[0][0, 0, 2, 3] == -5
    assert (seen[0][0, 0][valid] == 1).all()


def test_the_lock_survives_pickling() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(OneAtATime(positional)))
    batch = np.ones((1, 1, 4, 4), np.uint8)
    np.testing.assert_array_equal(again(batch), positional(batch))
