"""Pixels, or ground covered: confusion counts that add up over windows, and the scores they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.evaluate.polygons import clean_polygons, clip_polygons, dissolve_overlaps, overlap_pairs
from geoseg.typing import Array, IntArray

__all__ = ["ClassScores", "PixelScores", "confusion", "evaluate_coverage", "evaluate_pixels", "pixel_scores"]


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
    found, as_truth, as_pred = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    classes = [
        _class_scores(name, int(found[k]), int(as_pred[k] - found[k]), int(as_truth[k] - found[k]))
        for k, name in enumerate(names, start=1)
    ]
    return _summary(classes, int(found.sum()), int(counts.sum()), "px")


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
        Area of interest in the same coordinates.
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
    sides = [_prepare(truth, truth_classes, aoi), _prepare(pred, pred_classes, aoi)]
    names = sorted({str(name) for _, classes in sides for name in classes}) or ["object"]
    if truth_classes is None and pred_classes is None:
        names = ["object"]
    rows, correct = [], 0.0
    for name in names:
        a, b = (dissolve_overlaps(shapes[classes == name]) for shapes, classes in sides)
        pairs = overlap_pairs(a, b)
        tp = float(pairs.area.sum())
        rows.append(_class_scores(name, tp, _rest(pairs.pred_area, tp), _rest(pairs.truth_area, tp)))
        correct += tp
    total = float("nan")
    if aoi is not None:
        total = float(aoi.area)
        a, b = (dissolve_overlaps(shapes) for shapes, _ in sides)
        pairs = overlap_pairs(a, b)
        covered = pairs.truth_area.sum() + pairs.pred_area.sum() - pairs.area.sum()
        correct += total - float(covered)
    return _summary(rows, correct, total, unit)


def _rest(areas: NDArray[np.float64], tp: float) -> float:
    return max(float(areas.sum()) - tp, 0.0)


def _prepare(geometry: Array, classes: Array | None, aoi: Any) -> tuple[Array, Array]:
    whole = clean_polygons(geometry)
    inside = clip_polygons(whole.geometry, aoi)
    if classes is None:
        return inside.geometry, np.full(len(inside.index), "object")
    return inside.geometry, np.asarray(classes).astype(str)[whole.index[inside.index]]
