"""Scores of a validation, summed over batches and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from geoseg.raster.classes import IGNORE

__all__ = ["Scores", "SegmentationScore", "best_thresholds", "image_dice", "scores_of", "tensor_confusion"]

#: Scores by name: numbers, and lists over the classes.
Scores = dict[str, Any]
#: Steps that probabilities are counted in, as the pipeline stores them.
_STEPS = 254


def tensor_confusion(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """(K, K) int64 counts, truth by rows; pixels of 255 are left out.

    Examples
    --------
    >>> tensor_confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 255]), 2).tolist()
    [[1, 1], [0, 0]]
    """
    valid = target != IGNORE
    # One number a cell of the matrix, so that a single bincount fills it.
    pairs = target[valid].long() * classes + prediction[valid].long()
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def image_dice(prediction: Tensor, target: Tensor) -> Tensor:
    """Dice of class 1 of each image, 2 I / (P + T + 1e-5), (N,); unlabeled pixels count as neither."""
    valid = target != IGNORE
    predicted, truth = (prediction == 1) & valid, (target == 1) & valid
    total = predicted.sum((1, 2)) + truth.sum((1, 2))
    # An image without objects, rightly left empty, scores 0 as in the tutorials; 1e-5 is theirs, too.
    return 2 * (predicted & truth).sum((1, 2)) / (total + 1e-5)


class SegmentationScore:
    """Loss, accuracy, Dice, IoU of each class, and what is needed to choose thresholds.

    Everything is kept as sums, so that batches and processes add up.

    Parameters
    ----------
    classes
        Number of classes K.
    device
        Where the sums are kept.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.classes = classes
        self.matrix = torch.zeros(classes, classes, dtype=torch.long, device=device)
        # Thresholds are chosen from counts: keeping the probabilities would take the memory of the whole
        # data.
        self.histogram = torch.zeros(classes - 1, 2, _STEPS + 1, dtype=torch.long, device=device)
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.dice = torch.zeros((), dtype=torch.float64, device=device)
        self.images = torch.zeros((), dtype=torch.long, device=device)

    def update(self, logits: Tensor, target: Tensor, loss: Tensor) -> None:
        """Add a batch: (N, K, h, w) logits of the classes, (N, h, w) target, mean loss of the batch."""
        prob = logits.float().softmax(1)
        guess = prob.argmax(1)
        self.matrix += tensor_confusion(guess, target, self.classes)
        self.dice += image_dice(guess, target).double().sum()
        # Weighted by chips, or a short last batch would count as much as a full one.
        self.loss += loss.double() * len(target)
        self.images += len(target)
        # Probability of the strongest object class, by that class and by whether it is right.
        valid = target != IGNORE
        best, winner = (prob[:, 1:] * _STEPS).round().max(1)
        right = (winner[valid] + 1 == target[valid]).long()
        cells = (winner[valid] * 2 + right) * (_STEPS + 1) + best[valid].long()
        counts = torch.bincount(cells, minlength=self.histogram.numel())
        self.histogram += counts.view_as(self.histogram)

    def reduce(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replace each sum by what ``total`` makes of it, such as the sum over all processes."""
        for name in ("matrix", "histogram", "loss", "dice", "images"):
            setattr(self, name, total(getattr(self, name)))

    def compute(self) -> Scores:
        """Scores by name; ``iou`` is a list over the classes."""
        images = max(1, int(self.images))
        scores = scores_of(self.matrix)
        scores["loss"] = float(self.loss) / images
        if self.classes == 2:
            scores["dice"] = float(self.dice) / images
        thresholds, tuned = best_thresholds(self.histogram, self.matrix.sum(1)[1:])
        return {**scores, "thresholds": thresholds, "tuned_iou": tuned}


def scores_of(matrix: Tensor) -> dict[str, Any]:
    """Accuracy, IoU of each class (None where neither labeled nor found), their means, mean Dice.

    Examples
    --------
    >>> scores = scores_of(torch.tensor([[6, 2], [0, 2]]))
    >>> scores["accuracy"], scores["iou"]
    (0.8, [0.75, 0.5])
    """
    counts = matrix.double()
    hit = counts.diag()
    truth, predicted = counts.sum(1), counts.sum(0)
    union = truth + predicted - hit
    iou = [float(h / u) if u else None for h, u in zip(hit, union, strict=True)]
    # The background is left out of the means: it is most of a scene and nearly always right.
    dice = [
        float(2 * h / (t + p)) for h, t, p in zip(hit[1:], truth[1:], predicted[1:], strict=True) if t + p
    ]
    known = [value for value in iou[1:] if value is not None]
    return {
        "accuracy": float(hit.sum() / counts.sum().clamp_min(1)),
        "dice": sum(dice) / len(dice) if dice else 0.0,
        "iou": iou,
        "mean_iou": sum(known) / len(known) if known else 0.0,
    }


def best_thresholds(histogram: Tensor, truth: Tensor) -> tuple[list[float], list[float]]:
    """Threshold of each object class with the highest IoU, and that IoU.

    Parameters
    ----------
    histogram
        (K - 1, 2, 255) pixels where the class is the strongest, by wrong or right and by stored
        probability (0..254).
    truth
        (K - 1,) labeled pixels of each class.
    """
    # Summed from the top: what a threshold lets through is all that lies at or above it.
    above = histogram.double().flip(-1).cumsum(-1).flip(-1)
    # The union is the truth and what is wrongly called so; right pixels are part of the truth.
    iou = above[:, 1] / (truth.double()[:, None] + above[:, 0]).clamp_min(1)
    # A threshold of 0 would take every pixel.
    best = iou[:, 1:].argmax(1) + 1
    chosen = iou.gather(1, best[:, None]).flatten().tolist()
    # Half a step below the stored value, so that rounding cannot lift it past it.
    thresholds = [round((int(step) - 0.5) / _STEPS, 4) for step in best]
    # A class that is never right tells nothing of its threshold.
    none = [score == 0 for score in chosen]
    return [0.5 if n else t for n, t in zip(none, thresholds, strict=True)], chosen


def reduce_means(rows: Sequence[tuple[float, int]]) -> float:
    """Mean of (value, weight) pairs; 0 for none."""
    total = sum(weight for _, weight in rows)
    return sum(value * weight for value, weight in rows) / total if total else 0.0
