"""Greedy matching of predictions with truths, in numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.compiled import kernel
from geoseg.scores.polygons import Float64Array, OverlapPairs
from geoseg.typing import Array, BoolArray, IntArray

__all__ = ["average_precision", "greedy_match", "rank_by", "reading_order", "splits_and_merges"]


def reading_order(geometry: Array) -> IntArray:
    """Rank of each polygon in an order that the order of the file does not change.

    Larger area first, then by bounds (min x, min y, max x, max y), then by position in the array.

    Examples
    --------
    >>> reading_order(shapely.box([5, 0, 2], 0, [6, 3, 3], 1)).tolist()
    [2, 0, 1]
    """
    return rank_by(shapely.area(geometry), shapely.bounds(geometry).reshape(-1, 4))


def rank_by(area: Float64Array, bounds: Float64Array) -> IntArray:
    """The ranks of :func:`reading_order` from areas (n,) and bounds (n, 4)."""
    # lexsort goes by its last key first. Only polygons that are equal in all of these keep the order of the
    # file.
    order = np.lexsort((bounds[:, 3], bounds[:, 2], bounds[:, 1], bounds[:, 0], -area))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


@kernel
def _greedy(
    truth: NDArray[np.int64],
    pred: NDArray[np.int64],
    iou: NDArray[np.float64],
    least: float,
    n_truth: int,
    n_pred: int,
) -> Any:
    taken = np.zeros(n_truth, np.bool_)
    match = np.full(n_pred, -1, np.int64)
    # Pairs come in the order of matching: the first truth that is still free is the best one.
    for k in range(len(pred)):
        if match[pred[k]] < 0 and iou[k] >= least and not taken[truth[k]]:
            match[pred[k]] = truth[k]
            taken[truth[k]] = True
    return match


def sort_pairs(
    pairs: OverlapPairs, pred_rank: IntArray, truth_rank: IntArray, scores: Float64Array | None
) -> tuple[IntArray, IntArray, Float64Array]:
    """Pairs in the order of matching: predictions by score, then rank; their truths by IoU, then rank."""
    # Sorted once for all thresholds: each of them only ends the lists of truths earlier.
    iou = pairs.iou
    score = np.zeros(len(pairs.pred)) if scores is None else scores[pairs.pred]
    order = np.lexsort((truth_rank[pairs.truth], -iou, pred_rank[pairs.pred], -score))
    return pairs.truth[order], pairs.pred[order], iou[order]


def greedy_match(
    pairs: OverlapPairs,
    thresholds: Float64Array,
    *,
    pred_rank: IntArray,
    truth_rank: IntArray,
    scores: Float64Array | None = None,
) -> IntArray:
    """Match each prediction with at most one truth and the reverse, for several thresholds.

    Predictions come in order of falling score; each takes the truth with the highest IoU among those
    that are still free, if that IoU reaches the threshold. Equal scores, and files without scores, go
    by ``pred_rank``; equal IoUs by ``truth_rank``.

    Parameters
    ----------
    pairs
        Overlapping pairs.
    thresholds
        (t,) float64 IoU.
    pred_rank, truth_rank
        (m,) and (n,) int64, lower goes first.
    scores
        (m,) float64, or None.

    Returns
    -------
    (t, m) int64
        Index of the matched truth, -1 for none.

    References
    ----------
    The rule of the SpaceNet building challenges: A. Van Etten, D. Lindenbaum, T. M. Bacastow,
    "SpaceNet: A Remote Sensing Dataset and Challenge Series", 2018, arXiv:1807.01232.
    """
    truth, pred, iou = sort_pairs(pairs, pred_rank, truth_rank, scores)
    n, m = len(pairs.truth_area), len(pairs.pred_area)
    matches = [_greedy(truth, pred, iou, float(least), n, m) for least in thresholds]
    return np.array(matches, np.int64).reshape(len(thresholds), m)


def splits_and_merges(pairs: OverlapPairs, truth_core: BoolArray, pred_core: BoolArray) -> tuple[int, int]:
    """Count truths hit by several predictions and predictions that swallow several truths.

    A truth is split when at least two predictions lie in it by more than half of their own area; a
    prediction is a merge when at least two truths lie in it by more than half of theirs.

    Returns
    -------
    (int, int)
        Split truths, merging predictions.
    """
    # More than half: an object can lie so in one other only, and is counted once.
    in_truth = pairs.area > pairs.pred_area[pairs.pred] / 2
    in_pred = pairs.area > pairs.truth_area[pairs.truth] / 2
    parts = np.bincount(pairs.truth[in_truth], minlength=len(pairs.truth_area))
    swallowed = np.bincount(pairs.pred[in_pred], minlength=len(pairs.pred_area))
    return int(((parts > 1) & truth_core).sum()), int(((swallowed > 1) & pred_core).sum())


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
    # The curve has one point for all predictions of one score, behind the last of them.
    last = np.append(score[order][1:] != score[order][:-1], True)
    hits = np.cumsum(hit[order])[last]
    precision = hits / np.arange(1, len(hit) + 1)[last]
    # COCO's interpolation: the best precision at this recall or a higher one, 0 beyond the last.
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # In whole numbers: recalls are compared without rounding.
    return float(envelope[np.searchsorted(hits * 100, np.arange(101) * truths)].mean())
