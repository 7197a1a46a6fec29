"""Pixels, or ground covered: confusion counts that add up over windows, and the scores they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.scores.polygons import (
    Float64Array,
    clean_polygons,
    clip_polygons,
    dissolve_overlaps,
    overlap_pairs,
)
from geoseg.typing import Array, IntArray

__all__ = [
    "ClassScores",
    "Coverage",
    "PixelScores",
    "confusion",
    "coverage_scores",
    "evaluate_coverage",
    "evaluate_pixels",
    "measure_coverage",
    "pixel_scores",
]


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; NaN where a score has no meaning (0/0).

    Attributes
    ----------
    name
        Of the class.
    iou, f1, precision, recall
        tp / (tp + fp + fn), 2 tp / (2 tp + fp + fn), tp / (tp + fp), tp / (tp + fn).
    tp, fp, fn
        Found, false and missed: pixels, or area.
    """

    name: str
    iou: float
    f1: float
    precision: float
    recall: float
    tp: float
    fp: float
    fn: float


@dataclass(frozen=True)
class PixelScores:
    """Scores of all classes but the background.

    Attributes
    ----------
    classes
        One entry a class.
    iou, f1, precision, recall
        Means over the classes that occur (in the truth or the prediction).
    accuracy
        Part of all pixels, background among them, whose class is right; NaN where the whole is not
        known (polygons without an area of interest).
    total
        Pixels compared, or area of interest; NaN where not known.
    unit
        "px", or what areas are in: "m2" or "px2".
    """

    classes: tuple[ClassScores, ...]
    iou: float
    f1: float
    precision: float
    recall: float
    accuracy: float
    total: float
    unit: str


def confusion(truth: Array, pred: Array, n: int, valid: Array | None = None) -> IntArray:
    """Count pixels by true and predicted value; counts of several windows may be added.

    Parameters
    ----------
    truth, pred
        Arrays of one shape, bool or integers in [0, n).
    n
        Number of values.
    valid
        bool array of the same shape, False where not to look; None: everywhere.

    Returns
    -------
    (n, n) int64
        Rows truth, columns prediction.

    Raises
    ------
    InputError
        Shapes differ, or a value lies outside [0, n).

    Examples
    --------
    >>> confusion(np.array([0, 1, 1]), np.array([0, 1, 0]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    if truth.shape != pred.shape:
        raise InputError(f"pred must have the shape of truth {truth.shape}, got {pred.shape}.")
    t, p = (np.asarray(side)[... if valid is None else valid].ravel() for side in (truth, pred))
    for name, side in (("truth", t), ("pred", p)):
        if len(side) and not (int(side.min()) >= 0 and int(side.max()) < n):
            raise InputError(f"{name} must hold values from 0 to {n - 1}, got {side.min()} to {side.max()}.")
    # One pass over the pixels for all n * n counts.
    code = t.astype(np.int64) * n + p
    return np.bincount(code, minlength=n * n).reshape(n, n)


def _class_scores(name: str, tp: float, fp: float, fn: float) -> ClassScores:
    def over(part: float, whole: float) -> float:
        return float(part / whole) if whole > 0 else float("nan")

    return ClassScores(
        name=name,
        iou=over(tp, tp + fp + fn),
        f1=over(2 * tp, 2 * tp + fp + fn),
        precision=over(tp, tp + fp),
        recall=over(tp, tp + fn),
        tp=tp,
        fp=fp,
        fn=fn,
    )


def _summary(classes: Sequence[ClassScores], correct: float, total: float, unit: str) -> PixelScores:
    def mean(name: str) -> float:
        values = [getattr(c, name) for c in classes if c.tp + c.fp + c.fn > 0]
        # A class that is there and never predicted has no precision: in the mean it counts as 0.
        values = [0.0 if np.isnan(value) else value for value in values]
        return float(np.mean(values)) if values else float("nan")

    return PixelScores(
        classes=tuple(classes),
        iou=mean("iou"),
        f1=mean("f1"),
        precision=mean("precision"),
        recall=mean("recall"),
        accuracy=correct / total if total > 0 else float("nan"),
        total=total,
        unit=unit,
    )


def pixel_scores(counts: Array, names: Sequence[str]) -> PixelScores:
    """Scores from confusion counts.

    Parameters
    ----------
    counts
        (n, n) from :func:`confusion`; value 0 is the background.
    names
        Names of the values 1 to n - 1.

    Examples
    --------
    >>> pixel_scores(np.array([[5, 1], [1, 2]]), ["building"]).iou
    0.5
    """
    hits, as_truth, as_pred = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    classes = [
        _class_scores(name, int(hits[k]), int(as_pred[k] - hits[k]), int(as_truth[k] - hits[k]))
        for k, name in enumerate(names, start=1)
    ]
    return _summary(classes, int(hits.sum()), int(counts.sum()), "px")


def evaluate_pixels(
    truth: Array, pred: Array, *, names: Sequence[str] = ("object",), valid: Array | None = None
) -> PixelScores:
    """Score a predicted class map against the true one.

    Parameters
    ----------
    truth, pred
        Arrays of one shape: bool, or integers with 0 for the background and k for ``names[k - 1]``.
    names
        Classes.
    valid
        bool array of the same shape, False where not to look.

    Raises
    ------
    InputError
        Shapes differ, or a value has no name.

    Examples
    --------
    >>> evaluate_pixels(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])).classes[0].precision
    0.5
    """
    return pixel_scores(confusion(truth, pred, len(names) + 1, valid), names)


@dataclass(frozen=True)
class Coverage:
    """Areas covered, by class; those of disjoint regions may be added.

    Attributes
    ----------
    shared, truth, pred
        (n,) float64, covered by both, by the truth, by the prediction.
    covered
        Area covered by anything.
    right
        Area that both give to one class, ground of several classes counted once.
    """

    shared: Float64Array
    truth: Float64Array
    pred: Float64Array
    covered: float
    right: float

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.shared + other.shared,
            self.truth + other.truth,
            self.pred + other.pred,
            self.covered + other.covered,
            self.right + other.right,
        )


def measure_coverage(
    truth: Array, pred: Array, truth_codes: IntArray, pred_codes: IntArray, n: int
) -> Coverage:
    """Areas that valid polygons of two sides cover, class by class.

    Overlapping polygons of one side and one class count once.

    Parameters
    ----------
    truth, pred
        (n,) and (m,) valid polygons in the same plane coordinates.
    truth_codes, pred_codes
        (n,) and (m,) class numbers from 0.
    n
        Number of classes.
    """
    rows = [_areas(truth[truth_codes == k], pred[pred_codes == k]) for k in range(n)]
    areas = np.array(rows, np.float64).reshape(n, 3)
    # Ground under several classes at once counts once, so the sum over the classes does not give it.
    whole = rows[0] if n == 1 else _areas(truth, pred)
    right = float(areas[:, 0].sum())
    # Ground is right twice only where classes overlap on both sides; in the last digits that is rounding.
    if (areas[:, 1:].sum(axis=0) > np.array(whole[1:]) * (1 + 1e-9)).all():
        both = [
            shapely.intersection(*(shapely.union_all(side) for side in (truth[of_truth], pred[of_pred])))
            for of_truth, of_pred in ((truth_codes == k, pred_codes == k) for k in range(n))
        ]
        right = float(shapely.union_all(both).area)
    return Coverage(areas[:, 0], areas[:, 1], areas[:, 2], whole[1] + whole[2] - whole[0], right)


def _areas(truth: Array, pred: Array) -> tuple[float, float, float]:
    pairs = overlap_pairs(dissolve_overlaps(truth), dissolve_overlaps(pred))
    return float(pairs.area.sum()), float(pairs.truth_area.sum()), float(pairs.pred_area.sum())


def coverage_scores(
    coverage: Coverage, names: Sequence[str], *, total: float = float("nan"), unit: str = "m2"
) -> PixelScores:
    """Scores from areas.

    Parameters
    ----------
    coverage
        From :func:`measure_coverage`.
    names
        Of the classes.
    total
        Area of interest; NaN where there is none, and then accuracy is not known.
    unit
        What areas are in.
    """
    areas = zip(names, coverage.shared.tolist(), coverage.truth.tolist(), coverage.pred.tolist(), strict=True)
    # Areas of intersections may exceed those of the polygons by rounding.
    rows = [_class_scores(name, tp, max(p - tp, 0.0), max(t - tp, 0.0)) for name, tp, t, p in areas]
    # Right is what both sides give to one class, and what both leave empty.
    correct = coverage.right + total - coverage.covered
    return _summary(rows, correct, total, unit)


def evaluate_coverage(
    truth: Array,
    pred: Array,
    *,
    aoi: Any = None,
    truth_classes: Array | None = None,
    pred_classes: Array | None = None,
    unit: str = "m2",
) -> PixelScores:
    """The scores of :func:`evaluate_pixels` for polygons, from exact areas instead of pixels.

    Overlapping polygons of one side and one class count once. Accuracy needs an area of interest, for
    without one there is no background.

    Parameters
    ----------
    truth, pred
        (n,) and (m,) polygons in the same plane coordinates; invalid ones are repaired.
    aoi
        Area of interest: a polygon in the same coordinates.
    truth_classes, pred_classes
        (n,) and (m,) class names; None: all polygons are of the class "object".
    unit
        What areas are in.

    Examples
    --------
    >>> import shapely
    >>> evaluate_coverage(shapely.box([0, 1], 0, [3, 4], 1), shapely.box([2], 0, [6], 1)).iou
    0.3333333333333333
    """
    inside, labels = [], []
    for shapes, classes in ((truth, truth_classes), (pred, pred_classes)):
        whole = clean_polygons(shapes)
        clipped = clip_polygons(whole.geometry, aoi)
        given = np.full(len(np.atleast_1d(shapes)), "object") if classes is None else np.asarray(classes)
        inside.append(clipped.geometry)
        labels.append(given.astype(str)[whole.index[clipped.index]])
    (t, p), (t_names, p_names) = inside, labels
    # Classes of both sides: one that is never predicted is missed, and not left out of the mean.
    names, codes = np.unique(np.concatenate([t_names, p_names]), return_inverse=True)
    if len(names) == 0:  # nothing on either side
        names = np.array(["object"])
    coverage = measure_coverage(t, p, codes[: len(t)], codes[len(t) :], len(names))
    total = float("nan") if aoi is None else float(aoi.area)
    return coverage_scores(coverage, names.tolist(), total=total, unit=unit)
