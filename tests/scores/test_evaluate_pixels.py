"""Pixels and ground covered."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize

from geoseg.errors import InputError
from geoseg.scores.pixels import confusion, evaluate_coverage, evaluate_pixels, pixel_scores
from geoseg.scores.polygons import dissolve_overlaps

maps = arrays(np.uint8, (7, 9), elements=st.integers(0, 3))


@settings(max_examples=60, deadline=None)
@given(truth=maps, pred=maps, valid=arrays(np.bool_, (7, 9)), cut=st.integers(0, 7))
def test_counts_and_adding_up(truth: np.ndarray, pred: np.ndarray, valid: np.ndarray, cut: int) -> None:
    counts = confusion(truth, pred, 4, valid)
    for t in range(4):
        for p in range(4):
            assert counts[t, p] == sum(
                a == t and b == p and ok for a, b, ok in zip(truth.flat, pred.flat, valid.flat, strict=True)
            )
    parts = [confusion(truth[s], pred[s], 4, valid[s]) for s in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal(counts, parts[0] + parts[1])


def test_scores_by_hand() -> None:
    truth = np.array([[1, 1, 1, 2, 2, 0, 0, 0]])
    pred = np.array([[1, 1, 2, 2, 0, 0, 0, 1]])
    got = evaluate_pixels(truth, pred, names=("house", "tank", "road"))
    house, tank, road = got.classes
    assert (house.tp, house.fp, house.fn) == (2, 1, 1)
    assert (house.iou, house.precision, house.recall) == (0.5, 2 / 3, 2 / 3)
    assert tank.iou == pytest.approx(1 / 3)
    assert math.isnan(road.iou)
    assert got.iou == pytest.approx((1 / 2 + 1 / 3) / 2), "classes that never occur are not in the mean"
    assert got.accuracy == 5 / 8


def test_a_class_never_predicted_has_precision_zero_in_the_mean() -> None:
    got = evaluate_pixels(np.array([1, 2]), np.array([1, 0]), names=("a", "b"))
    assert math.isnan(got.classes[1].precision)
    assert got.precision == 0.5


def test_nothing_at_all() -> None:
    got = pixel_scores(np.zeros((2, 2), int), ["object"])
    assert math.isnan(got.iou)
    assert math.isnan(got.accuracy)


def test_bad_arrays() -> None:
    with pytest.raises(InputError, match="shape"):
        evaluate_pixels(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(InputError, match="pred must hold values from 0 to 1"):
        evaluate_pixels(np.zeros(2, int), np.array([0, 2]))


@pytest.mark.parametrize("seed", range(3))
def test_coverage_is_what_fine_pixels_tend_to(make_town: Any, seed: int) -> None:
    truth, pred = make_town(seed, 20)
    aoi = shapely.box(0, 0, 50, 50)
    exact = evaluate_coverage(truth, pred, aoi=aoi)
    step = 0.02
    burnt = [
        rasterize(side.tolist(), out_shape=(2500, 2500), transform=(step, 0, 0, 0, step, 0))
        for side in (truth, pred)
    ]
    pixels = evaluate_pixels(*burnt)
    for name in ("iou", "f1", "precision", "recall", "accuracy"):
        assert getattr(exact, name) == pytest.approx(getattr(pixels, name), abs=2e-3), name


def test_overlaps_of_one_side_count_once() -> None:
    shapes = shapely.box([0, 5, 30], 0, [10, 15, 40], 10)
    got = evaluate_coverage(shapes, shapes[[0, 0, 1, 2]])
    assert got.classes[0].tp == pytest.approx(250)
    assert got.iou == pytest.approx(1.0)
    assert sorted(shapely.area(dissolve_overlaps(shapes))) == [100, 150]


def test_coverage_by_class() -> None:
    shapes = shapely.box([0, 20], 0, [10, 30], 10)
    got = evaluate_coverage(
        shapes, shapes, truth_classes=np.array(["a", "b"]), pred_classes=np.array(["a", "a"]),
        aoi=shapely.box(0, 0, 40, 10),
    )  # fmt: skip
    scores = {entry.name: entry for entry in got.classes}
    assert (scores["a"].precision, scores["a"].recall, scores["b"].recall) == (0.5, 1.0, 0.0)
    assert got.accuracy == pytest.approx(300 / 400)


def test_coverage_of_nothing() -> None:
    got = evaluate_coverage(np.empty(0, object), np.empty(0, object))
    assert math.isnan(got.iou)


def test_ground_of_several_classes_is_right_once() -> None:
    truth = shapely.box([0, 5], 0, [10, 15], 10)
    pred = shapely.box([0, 5], 0, [10, 10], 10)
    labels = np.array(["a", "b"])
    area = shapely.box(0, 0, 20, 10)
    got = evaluate_coverage(truth, pred, aoi=area, truth_classes=labels, pred_classes=labels)
    assert got.accuracy == pytest.approx((100 + 50) / 200)
    same = evaluate_coverage(truth, truth, aoi=area, truth_classes=labels, pred_classes=labels)
    assert same.accuracy == pytest.approx(1)
    assert [entry.iou for entry in same.classes] == [1, 1]
