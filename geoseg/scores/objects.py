"""Objects: which predictions found which truths, and how well their outlines fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.scores.boundaries import OutlineFits, measure_outlines, vertex_counts
from geoseg.scores.matching import average_precision, greedy_match, reading_order, splits_and_merges
from geoseg.scores.polygons import (
    ClippedPolygons,
    Float64Array,
    OverlapPairs,
    as_scores,
    clean_polygons,
    clip_polygons,
    overlap_pairs,
)
from geoseg.scores.shapes import hole_counts
from geoseg.typing import Array, BoolArray, IntArray

__all__ = ["Matches", "ObjectScores", "ObjectTable", "evaluate_objects", "match_objects", "score_objects"]

#: IoU thresholds of AP 0.5:0.95; steps of 0.05 would add up to 0.7500000000000002.
AP_THRESHOLDS = np.arange(10, 20) / 20


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
class ObjectTable:
    """What matching and scoring need to know of the objects of one side; no geometry.

    Attributes
    ----------
    rank
        (n,) int64, place in an order that the order of the file does not change.
    vertices, holes
        (n,) int64.
    core, cut
        (n,) bool, see :class:`geoseg.scores.polygons.ClippedPolygons`.
    scores
        (n,) float64, or None.
    repaired, dropped
        Invalid polygons repaired; geometries without area.
    """

    rank: IntArray
    vertices: IntArray
    holes: IntArray
    core: BoolArray
    cut: BoolArray
    scores: Float64Array | None = None
    repaired: int = 0
    dropped: int = 0


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
        Vertices of the predictions over vertices of the truths, same pairs (N ratio).
    c_iou
        Mean over the same pairs of IoU (1 - |n - m| / (n + m)), n and m their vertices: an outline with too
        many or too few corners scores less (complexity aware IoU).
    max_tangent_angle
        Mean over the same pairs of the largest angle between walls of the prediction and those of the truth
        beside them, in degrees.
    hole_f1
        F1 of the holes (courtyards) of objects that no area of interest cuts; a hole is found where a matched
        pair has it on both sides with an IoU of at least 0.5.
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
    c_iou: float
    max_tangent_angle: float
    hole_f1: float
    repaired_truths: int
    repaired_predictions: int
    dropped_truths: int
    dropped_predictions: int


@dataclass(frozen=True)
class _Tally:
    """Matched pairs that count, and whole objects left without a partner."""

    truth: IntArray
    pred: IntArray
    false: int
    missed: int


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
    >>> import shapely
    >>> matches = match_objects(shapely.box([0, 9], 0, [4, 13], 4), shapely.box([1], 0, [4], 4))
    >>> matches.truth.tolist(), matches.pred.tolist(), matches.iou.tolist()
    ([0], [0], [0.75])
    >>> len(match_objects(np.array([]), np.array([])).iou)
    0
    """
    check_threshold(iou)
    truths, preds = clean_polygons(truth), clean_polygons(pred)
    # Scores belong to what was given; invalid and empty polygons among it are gone by now.
    ranked = None if scores is None else as_scores(scores, len(np.atleast_1d(pred)))[preds.index]
    pairs = overlap_pairs(truths.geometry, preds.geometry)
    ranks = reading_order(truths.geometry), reading_order(preds.geometry)
    match = greedy_match(pairs, np.array([iou]), truth_rank=ranks[0], pred_rank=ranks[1], scores=ranked)[0]
    p = np.flatnonzero(match >= 0)
    row = pairs.rows(match[p], p)
    return Matches(truths.index[match[p]], preds.index[p], pairs.iou[row])


def check_threshold(iou: float) -> None:
    """Refuse an IoU outside (0, 1]."""
    if not 0 < iou <= 1:
        raise InputError(f"iou must be greater than 0 and at most 1, got {iou}.")


def evaluate_objects(
    truth: Array,
    pred: Array,
    iou: float = 0.5,
    scores: Array | None = None,
    *,
    aoi: Any = None,
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
        Area of interest: a polygon in the same coordinates.
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
    >>> import shapely
    >>> scores = evaluate_objects(shapely.box([0, 9], 0, [4, 13], 4), shapely.box([1], 0, [4], 4))
    >>> scores.precision, scores.recall, round(scores.f1, 3), scores.missed
    (1.0, 0.5, 0.667, 1)
    """
    check_threshold(iou)
    truth_set, pred_set = clean_polygons(truth), clean_polygons(pred)
    truths, preds = clip_polygons(truth_set.geometry, aoi), clip_polygons(pred_set.geometry, aoi)
    truth_at, pred_at = truth_set.index[truths.index], pred_set.index[preds.index]
    ranked = None if scores is None else as_scores(scores, len(np.atleast_1d(pred)))[pred_at]
    pairs = overlap_pairs(truths.geometry, preds.geometry)
    if truth_classes is not None and pred_classes is not None:
        # Objects of different classes never match, however well one lies on the other.
        t, p = (np.asarray(c)[at] for c, at in ((truth_classes, truth_at), (pred_classes, pred_at)))
        pairs = pairs.select(np.asarray(t[pairs.truth] == p[pairs.pred], np.bool_))
    fits = measure_outlines(truths, preds, pairs, iou, boundary_distance)
    tables = (
        _table(truths, None, truth_set.repaired, truth_set.dropped),
        _table(preds, ranked, pred_set.repaired, pred_set.dropped),
    )
    return score_objects(*tables, pairs, fits, iou)


def _table(side: ClippedPolygons, scores: Float64Array | None, repaired: int, dropped: int) -> ObjectTable:
    rank, vertices = reading_order(side.geometry), vertex_counts(side.geometry)
    return ObjectTable(
        rank, vertices, hole_counts(side.geometry), side.core, side.cut, scores, repaired, dropped
    )


def score_objects(
    truth: ObjectTable, pred: ObjectTable, pairs: OverlapPairs, fits: OutlineFits, iou: float
) -> ObjectScores:
    """Match and score objects whose pairs are already measured.

    Parameters
    ----------
    truth, pred
        The two sides.
    pairs
        Their overlapping pairs.
    fits
        How well the outlines of the pairs fit, at least for those with an IoU of ``iou``.
    iou
        Threshold in (0, 1].
    """
    # The last threshold is the one asked for, the others are those of the average precision.
    matches = greedy_match(
        pairs,
        np.append(AP_THRESHOLDS, iou),
        truth_rank=truth.rank,
        pred_rank=pred.rank,
        scores=pred.scores,
    )
    curve = [_average_precision(match, truth, pred) for match in matches[:-1]]
    tally = _tally(matches[-1], truth, pred)
    row = pairs.rows(tally.truth, tally.pred)
    mean_iou = _mean(pairs.iou[row])
    matched, false, missed = len(row), tally.false, tally.missed
    f1 = _ratio(2 * matched, 2 * matched + false + missed)
    # An outline that the area of interest cuts is not the outline of an object.
    whole = ~truth.cut[tally.truth] & ~pred.cut[tally.pred]
    t, p, row = tally.truth[whole], tally.pred[whole], row[whole]
    splits, merges = splits_and_merges(pairs, truth.core, pred.core)
    hausdorff = fits.hausdorff[row]
    corners, wanted = pred.vertices[p], truth.vertices[t]
    angles = fits.tangent_angle[row]
    # Whole objects only: what is cut has lost part of its courtyards.
    holes = sum(int(side.holes[side.core & ~side.cut].sum()) for side in (truth, pred))
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
        # 0 where nothing matched, NaN where there is nothing to match.
        panoptic_quality=mean_iou * f1 if matched else _ratio(0, false + missed),
        splits=splits,
        merges=merges,
        polis=_mean(fits.polis[row]),
        hausdorff=_mean(hausdorff),
        hausdorff_p95=float(np.percentile(hausdorff, 95)) if len(hausdorff) else float("nan"),
        boundary_iou=_mean(fits.boundary_iou[row]),
        boundary_distance=fits.distance,
        vertex_ratio=_ratio(int(corners.sum()), int(wanted.sum())),
        c_iou=_mean(pairs.iou[row] * (1 - np.abs(corners - wanted) / (corners + wanted))),
        max_tangent_angle=_mean(angles[~np.isnan(angles)]),
        hole_f1=_ratio(2 * int(fits.holes[row].sum()), holes),
        repaired_truths=truth.repaired,
        repaired_predictions=pred.repaired,
        dropped_truths=truth.dropped,
        dropped_predictions=pred.dropped,
    )


def _tally(match: IntArray, truth: ObjectTable, pred: ObjectTable) -> _Tally:
    # What is marginal and found no partner is in none of the counts.
    p = np.flatnonzero(match >= 0)
    t = match[p]
    free = np.ones(len(truth.core), np.bool_)
    free[t] = False
    # A pair counts where either of its objects lies in the area by half or more.
    counts = truth.core[t] | pred.core[p]
    false = int((pred.core & (match < 0)).sum())
    return _Tally(t[counts], p[counts], false, int((truth.core & free).sum()))


def _average_precision(match: IntArray, truth: ObjectTable, pred: ObjectTable) -> float:
    tally = _tally(match, truth, pred)
    hit = np.zeros(len(match), np.bool_)
    hit[tally.pred] = True
    # A marginal prediction without a partner has no place on the curve.
    counts = hit | (pred.core & (match < 0))
    scores = None if pred.scores is None else pred.scores[counts]
    return average_precision(hit[counts], scores, len(tally.truth) + tally.missed)


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if len(values) else float("nan")
