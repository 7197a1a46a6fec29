"""Objects: which predictions found which truths, and how well their outlines fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.evaluate.boundaries import boundary_iou, outline_distances, vertex_counts
from geoseg.evaluate.matching import greedy_match, reading_order, splits_and_merges
from geoseg.evaluate.polygons import (
    ClippedPolygons,
    Float64Array,
    OverlapPairs,
    check_finite,
    clean_polygons,
    clip_polygons,
    overlap_pairs,
)
from geoseg.typing import Array, BoolArray, IntArray

__all__ = [
    "AP_THRESHOLDS",
    "Matches",
    "ObjectScores",
    "average_precision",
    "evaluate_objects",
    "match_objects",
]

#: IoU thresholds of AP 0.5:0.95.
AP_THRESHOLDS = np.arange(10, 20) / 20
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Matches:
    """Matched pairs, in order of the prediction's index.

    Attributes
    ----------
    truth, pred
        (k,) int64, indices into what was given.
    iou
        (k,) float64.
    """

    truth: IntArray
    pred: IntArray
    iou: Float64Array


@dataclass(frozen=True)
class ObjectScores:
    """Scores of predicted objects against true ones; NaN where a score has no meaning (0/0).

    Attributes
    ----------
    iou_threshold
        IoU from which a pair is a match.
    truths, predictions
        Objects that count (see :func:`evaluate_objects` for objects cut by an area of interest).
    matched, false, missed
        Matched pairs, predictions without truth, truths without prediction.
    precision, recall, f1
        matched / (matched + false), matched / (matched + missed), and their harmonic mean.
    ap50, ap
        Average precision at IoU 0.5, and its mean over 0.50, 0.55, ... 0.95.
    mean_iou
        Of the matched pairs.
    panoptic_quality
        mean_iou * f1.
    splits, merges
        Truths with several predictions in them; predictions with several truths in them.
    polis, hausdorff, hausdorff_p95
        Means over matched pairs that no area of interest cuts, and the 95th percentile, in the unit
        of the coordinates.
    boundary_iou, boundary_distance
        Mean over the same pairs, and the width of the strip.
    vertex_ratio
        Vertices of the predictions over vertices of the truths, same pairs.
    repaired_truths, repaired_predictions
        Invalid polygons that were repaired.
    dropped_truths, dropped_predictions
        Geometries without area.
    """

    iou_threshold: float
    truths: int
    predictions: int
    matched: int
    false: int
    missed: int
    precision: float
    recall: float
    f1: float
    ap50: float
    ap: float
    mean_iou: float
    panoptic_quality: float
    splits: int
    merges: int
    polis: float
    hausdorff: float
    hausdorff_p95: float
    boundary_iou: float
    boundary_distance: float
    vertex_ratio: float
    repaired_truths: int
    repaired_predictions: int
    dropped_truths: int
    dropped_predictions: int


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def match_objects(truth: Array, pred: Array, iou: float = 0.5, scores: Array | None = None) -> Matches:
    """Match predictions with truths one to one by SpaceNet's rule.

    Predictions come in order of falling score; each takes the free truth with the highest IoU, if that
    is at least ``iou``. Predictions of equal score, or without scores, come in a fixed order that does
    not depend on the order of the file: larger ones first, then by their bounds.

    Parameters
    ----------
    truth, pred
        (n,) and (m,) polygons in the same plane coordinates; invalid ones are repaired.
    iou
        Threshold in (0, 1].
    scores
        (m,) numbers, higher is surer; NaN comes last. None: all alike.

    Raises
    ------
    InputError
        A threshold outside (0, 1], or not one score a prediction.

    Examples
    --------
    >>> found = match_objects(shapely.box([0, 9], 0, [4, 13], 4), shapely.box([1], 0, [4], 4))
    >>> found.truth.tolist(), found.pred.tolist(), found.iou.tolist()
    ([0], [0], [0.75])
    >>> len(match_objects(np.array([]), np.array([])).iou)
    0
    """
    _check_threshold(iou)
    truths, preds = clean_polygons(truth), clean_polygons(pred)
    ranked = None if scores is None else check_finite(scores, len(np.atleast_1d(pred)))[preds.index]
    pairs = overlap_pairs(truths.geometry, preds.geometry)
    ranks = reading_order(truths.geometry), reading_order(preds.geometry)
    match = greedy_match(pairs, np.array([iou]), truth_rank=ranks[0], pred_rank=ranks[1], scores=ranked)[0]
    t, p = match[match >= 0], np.flatnonzero(match >= 0)
    return Matches(truths.index[t], preds.index[p], _iou_of(pairs, t, p))


def _check_threshold(iou: float) -> None:
    if not 0 < iou <= 1:
        raise InputError(f"iou must be greater than 0 and at most 1, got {iou}.")


def _iou_of(pairs: OverlapPairs, truth: IntArray, pred: IntArray) -> Float64Array:
    """IoU of pairs that are known to be among ``pairs`` (which are sorted by truth, then pred)."""
    width = max(len(pairs.pred_area), 1)
    return pairs.iou[np.searchsorted(pairs.truth * width + pairs.pred, truth * width + pred)]


def average_precision(hit: BoolArray, scores: Float64Array | None, truths: int) -> float:
    """Area under the precision-recall curve, sampled at 101 recalls as COCO does.

    Predictions of equal score enter the curve together, so their order has no influence; without
    scores the curve has one point.

    Parameters
    ----------
    hit
        (m,) bool, whether each prediction found a truth.
    scores
        (m,) float64, or None.
    truths
        Objects to be found.

    Returns
    -------
    float
        NaN without truths.

    References
    ----------
    T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its detection
    evaluation page.

    Examples
    --------
    >>> average_precision(np.array([True, False]), np.array([0.9, 0.1]), 1)
    1.0
    """
    if truths == 0:
        return float("nan")
    if len(hit) == 0:
        return 0.0
    score = np.zeros(len(hit)) if scores is None else scores
    order = np.argsort(-score, kind="stable")
    last = np.append(score[order][1:] != score[order][:-1], True)
    found = np.cumsum(hit[order])[last]
    precision = found / np.arange(1, len(hit) + 1)[last]
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(found / truths, _RECALLS, side="left")].mean())


def evaluate_objects(
    truth: Array,
    pred: Array,
    iou: float = 0.5,
    scores: Array | None = None,
    *,
    aoi: shapely.Geometry | None = None,
    truth_classes: Array | None = None,
    pred_classes: Array | None = None,
    boundary_distance: float = 1.0,
) -> ObjectScores:
    """Score predicted polygons against true ones.

    With an area of interest both sides are cut by it, and one rule holds for both: an object with less
    than half of its area inside is *marginal*. A marginal object may be the partner of a whole one; by
    itself, or with another marginal one, it is neither found, nor false, nor missed. So swapping the two
    sides swaps precision and recall.

    Parameters
    ----------
    truth, pred
        (n,) and (m,) polygons in the same plane coordinates (meters); invalid ones are repaired.
    iou
        Threshold in (0, 1].
    scores
        (m,) numbers, higher is surer; None: all alike.
    aoi
        Area of interest in the same coordinates.
    truth_classes, pred_classes
        (n,) and (m,) labels; given both, only objects of equal class match.
    boundary_distance
        Width of the strip of the boundary IoU.

    Raises
    ------
    InputError
        A threshold outside (0, 1], or arrays of unequal length.

    Examples
    --------
    >>> found = evaluate_objects(shapely.box([0, 9], 0, [4, 13], 4), shapely.box([1], 0, [4], 4))
    >>> found.precision, found.recall, round(found.f1, 3), found.missed
    (1.0, 0.5, 0.667, 1)
    """
    _check_threshold(iou)
    truth_set, pred_set = clean_polygons(truth), clean_polygons(pred)
    truths, preds = clip_polygons(truth_set.geometry, aoi), clip_polygons(pred_set.geometry, aoi)
    truth_at, pred_at = truth_set.index[truths.index], pred_set.index[preds.index]
    ranked = None if scores is None else check_finite(scores, len(np.atleast_1d(pred)))[pred_at]
    pairs = overlap_pairs(truths.geometry, preds.geometry)
    if truth_classes is not None and pred_classes is not None:
        equal = (
            np.asarray(truth_classes)[truth_at][pairs.truth] == np.asarray(pred_classes)[pred_at][pairs.pred]
        )
        pairs = pairs.select(np.asarray(equal, np.bool_))
    return _score(
        truths, preds, pairs, ranked, iou, boundary_distance,
        (truth_set.repaired, pred_set.repaired, truth_set.dropped, pred_set.dropped),
    )  # fmt: skip


def _score(
    truths: ClippedPolygons,
    preds: ClippedPolygons,
    pairs: OverlapPairs,
    scores: Float64Array | None,
    iou: float,
    distance: float,
    defects: tuple[int, int, int, int],
) -> ObjectScores:
    thresholds = np.append(AP_THRESHOLDS, iou)
    ranks = reading_order(truths.geometry), reading_order(preds.geometry)
    matches = greedy_match(pairs, thresholds, truth_rank=ranks[0], pred_rank=ranks[1], scores=scores)
    curve = [_average_precision(match, truths.core, preds.core, scores) for match in matches[:-1]]
    tally = _tally(matches[-1], truths.core, preds.core)
    t, p = tally.truth, tally.pred
    mean_iou = _mean(_iou_of(pairs, t, p))
    matched, false, missed = len(t), tally.false, tally.missed
    f1 = _ratio(2 * matched, 2 * matched + false + missed)
    whole = ~truths.cut[t] & ~preds.cut[p]
    a, b = truths.geometry[t[whole]], preds.geometry[p[whole]]
    polis, hausdorff = outline_distances(a, b)
    splits, merges = splits_and_merges(pairs, truths.core, preds.core)
    return ObjectScores(
        iou_threshold=float(iou),
        truths=matched + missed,
        predictions=matched + false,
        matched=matched,
        false=false,
        missed=missed,
        precision=_ratio(matched, matched + false),
        recall=_ratio(matched, matched + missed),
        f1=f1,
        ap50=curve[0],
        ap=float(np.mean(curve)),
        mean_iou=mean_iou,
        panoptic_quality=mean_iou * f1 if matched else _ratio(0, false + missed),
        splits=splits,
        merges=merges,
        polis=_mean(polis),
        hausdorff=_mean(hausdorff),
        hausdorff_p95=float(np.percentile(hausdorff, 95)) if len(hausdorff) else float("nan"),
        boundary_iou=_mean(boundary_iou(a, b, distance)),
        boundary_distance=float(distance),
        vertex_ratio=_ratio(float(vertex_counts(b).sum()), float(vertex_counts(a).sum())),
        repaired_truths=defects[0],
        repaired_predictions=defects[1],
        dropped_truths=defects[2],
        dropped_predictions=defects[3],
    )


@dataclass(frozen=True)
class _Tally:
    truth: IntArray
    pred: IntArray
    false: int
    missed: int


def _tally(match: IntArray, truth_core: BoolArray, pred_core: BoolArray) -> _Tally:
    """Matched pairs that count, and whole objects left without a partner."""
    p = np.flatnonzero(match >= 0)
    t = match[p]
    free = np.ones(len(truth_core), np.bool_)
    free[t] = False
    counts = truth_core[t] | pred_core[p]
    return _Tally(t[counts], p[counts], int((pred_core & (match < 0)).sum()), int((truth_core & free).sum()))


def _average_precision(
    match: IntArray, truth_core: BoolArray, pred_core: BoolArray, scores: Float64Array | None
) -> float:
    tally = _tally(match, truth_core, pred_core)
    hit = np.zeros(len(match), np.bool_)
    hit[tally.pred] = True
    counts = hit | (pred_core & (match < 0))
    return average_precision(
        hit[counts], None if scores is None else scores[counts], len(tally.truth) + tally.missed
    )
