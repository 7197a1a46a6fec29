"""Objects against a slow reference, and the rules that must hold for any input."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.scores.objects import AP_THRESHOLDS, evaluate_objects, match_objects

EMPTY = np.empty(0, object)
boxes = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 6), st.integers(1, 6)), max_size=9
)


def _shapes(rows: list[tuple[int, int, int, int]]) -> Any:
    return np.array([shapely.box(x, y, x + w, y + h) for x, y, w, h in rows], object)


@settings(max_examples=150, deadline=None)
@given(truth=boxes, pred=boxes, least=st.sampled_from([0.1, 0.25, 0.5, 0.8]), data=st.data())
def test_match_is_the_reference(
    reference: Any, truth: Any, pred: Any, least: float, data: st.DataObject
) -> None:
    a, b = _shapes(truth), _shapes(pred)
    ranks = st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=len(b), max_size=len(b))
    scores = data.draw(st.none() | ranks)
    found = match_objects(a, b, least, None if scores is None else np.array(scores, float))
    expected = reference.match(list(a), list(b), least, scores)
    assert dict(zip(found.pred.tolist(), found.truth.tolist(), strict=True)) == expected
    for t, p, value in zip(found.truth, found.pred, found.iou, strict=True):
        assert value == pytest.approx(reference.iou(a[t], b[p]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scored", [False, True])
def test_scores_are_the_reference(reference: Any, make_town: Any, seed: int, scored: bool) -> None:
    truth, pred = make_town(seed, 30)
    scores = np.random.default_rng(seed).integers(0, 8, len(pred)) / 8 if scored else None
    listed = None if scores is None else scores.tolist()
    got = evaluate_objects(truth, pred, scores=scores, boundary_distance=0.8)
    found = reference.match(list(truth), list(pred), 0.5, listed)
    pairs = [(truth[t], pred[p]) for p, t in found.items()]
    assert 10 < len(found) < len(truth)
    assert (got.matched, got.false, got.missed) == (
        len(found), len(pred) - len(found), len(truth) - len(found),
    )  # fmt: skip
    assert got.f1 == pytest.approx(2 * len(found) / (len(truth) + len(pred)))
    curve = [reference.average_precision(list(truth), list(pred), float(t), listed) for t in AP_THRESHOLDS]
    assert got.ap50 == pytest.approx(curve[0])
    assert got.ap == pytest.approx(np.mean(curve))
    assert got.mean_iou == pytest.approx(np.mean([reference.iou(a, b) for a, b in pairs]))
    assert got.polis == pytest.approx(np.mean([reference.polis(a, b) for a, b in pairs]))
    distances = [reference.hausdorff(a, b) for a, b in pairs]
    assert got.hausdorff == pytest.approx(np.mean(distances))
    assert got.hausdorff_p95 == pytest.approx(np.percentile(distances, 95))
    assert got.boundary_iou == pytest.approx(np.mean([reference.boundary_iou(a, b, 0.8) for a, b in pairs]))
    counts = [[len(reference.corners(side)) for side in pair] for pair in pairs]
    assert got.vertex_ratio == pytest.approx(sum(b for _, b in counts) / sum(a for a, _ in counts))


@settings(max_examples=60, deadline=None)
@given(truth=boxes, pred=boxes, seed=st.integers(0, 99))
def test_order_of_the_files_has_no_influence(reference: Any, truth: Any, pred: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = _shapes(truth), _shapes(pred)
    first = evaluate_objects(a, b)
    second = evaluate_objects(rng.permutation(a), rng.permutation(b))
    for field in dataclasses.fields(first):
        assert reference.same(getattr(first, field.name), getattr(second, field.name)), field.name


@pytest.mark.parametrize("seed", range(3))
def test_swapping_sides_swaps_precision_and_recall(make_town: Any, seed: int) -> None:
    truth, pred = make_town(seed, 40)
    aoi = shapely.box(3, 3, 33, 51)
    there, back = evaluate_objects(truth, pred, aoi=aoi), evaluate_objects(pred, truth, aoi=aoi)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert (there.splits, there.merges) == (back.merges, back.splits)
    assert there.polis == pytest.approx(back.polis)


def test_marginal_objects_count_only_as_partners() -> None:
    aoi = shapely.box(0, 0, 100, 100)
    inside, mostly, hardly = (
        shapely.box(10, 10, 20, 20),
        shapely.box(92, 0, 102, 8),
        shapely.box(96, 40, 106, 50),
    )
    alone = evaluate_objects(np.array([inside, hardly], object), np.array([inside], object), aoi=aoi)
    assert (alone.truths, alone.matched, alone.missed) == (1, 1, 0)
    partner = evaluate_objects(
        np.array([mostly], object), np.array([shapely.box(96, 0, 106, 8)], object), aoi=aoi
    )
    assert (partner.matched, partner.false, partner.missed) == (1, 0, 0)
    assert math.isnan(partner.polis), "outlines that the area cuts are not compared"
    both = evaluate_objects(np.array([hardly], object), np.array([hardly], object), aoi=aoi)
    assert (both.matched, both.false, both.missed) == (0, 0, 0)
    outside = evaluate_objects(np.array([shapely.box(200, 0, 210, 9)], object), EMPTY, aoi=aoi)
    assert (outside.truths, outside.missed) == (0, 0)


def test_splits_and_merges() -> None:
    truth = shapely.box([0, 20, 30], 0, [10, 30, 40], 10)
    pred = shapely.box([0, 5, 20], 0, [5, 10, 40], 10)
    got = evaluate_objects(truth, pred)
    assert (got.splits, got.merges) == (1, 1)


def test_terraced_houses_are_no_pair() -> None:
    row = shapely.box([0, 10, 20], 0, [10, 20, 30], 10)
    got = evaluate_objects(row, row)
    assert (got.matched, got.false, got.missed, got.ap) == (3, 0, 0, 1.0)
    assert (got.polis, got.boundary_iou, got.vertex_ratio) == (0.0, 1.0, 1.0)


def test_classes_keep_objects_apart() -> None:
    shapes = shapely.box([0, 20], 0, [10, 30], 10)
    got = evaluate_objects(
        shapes, shapes, truth_classes=np.array(["house", "tank"]), pred_classes=np.array(["house", "house"])
    )
    assert (got.matched, got.false, got.missed) == (1, 1, 1)


def test_nan_scores_come_last() -> None:
    house, near = shapely.box(0, 0, 10, 10), shapely.box(0, 0, 10, 9)
    found = match_objects(
        np.array([house], object), np.array([house, near], object), scores=np.array([np.nan, 0.1])
    )
    assert found.pred.tolist() == [1]


def test_invalid_and_empty_geometries_are_counted() -> None:
    bowtie = shapely.from_wkt("POLYGON ((0 0, 10 10, 10 0, 0 10, 0 0))")
    pred = np.array([bowtie, None, shapely.Point(1, 1), shapely.Polygon()], object)
    got = evaluate_objects(np.array([bowtie], object), pred)
    assert (got.repaired_truths, got.repaired_predictions, got.dropped_predictions) == (1, 1, 3)
    assert (got.matched, got.false, got.missed) == (1, 0, 0)


@pytest.mark.parametrize(
    ("truth", "pred", "precision", "recall", "f1"),
    [
        (EMPTY, EMPTY, math.nan, math.nan, math.nan),
        (EMPTY, shapely.box([0], 0, 1, 1), 0.0, math.nan, 0.0),
        (shapely.box([0], 0, 1, 1), EMPTY, math.nan, 0.0, 0.0),
    ],
)
def test_empty_sides(
    reference: Any, truth: Any, pred: Any, precision: float, recall: float, f1: float
) -> None:
    got = evaluate_objects(truth, pred)
    for value, expected in ((got.precision, precision), (got.recall, recall), (got.f1, f1)):
        assert reference.same(value, expected)


def test_bad_arguments() -> None:
    one = shapely.box([0], 0, 1, 1)
    with pytest.raises(InputError, match="iou must be"):
        evaluate_objects(one, one, 0.0)
    with pytest.raises(InputError, match="scores must be one number a prediction"):
        match_objects(one, one, scores=np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="distance must be greater than 0"):
        evaluate_objects(one, one, boundary_distance=0.0)


def test_inputs_are_not_changed() -> None:
    bowtie = shapely.from_wkt("POLYGON ((0 0, 10 10, 10 0, 0 10, 0 0))")
    truth = np.array([bowtie, shapely.box(0, 0, 4, 4)], object)
    before = truth.copy()
    evaluate_objects(truth, truth, aoi=shapely.box(0, 0, 2, 2))
    assert all(a is b for a, b in zip(truth, before, strict=True))
