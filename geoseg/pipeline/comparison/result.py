"""What a comparison tells, place by place and in all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from geoseg.scores.changes import ObjectChanges, median_interval, share_interval
from geoseg.scores.matching import greedy_match, rank_by
from geoseg.scores.polygons import OverlapPairs

__all__ = ["Comparison", "Estimate", "Fit", "PlaceChange", "Quality", "fit_pairs", "sum_up"]

#: IoU from which two objects match, as in ``geoseg evaluate``.
_MATCH = 0.5


@dataclass(frozen=True)
class Fit:
    """A prediction against the truth; fits of two places may be added.

    Attributes
    ----------
    both, pred, truth
        Area found, predicted and true: pixels, or square meters.
    matched, false, missed
        Objects that match with an IoU of 0.5, predictions and truths without a partner.
    """

    both: float = 0.0
    pred: float = 0.0
    truth: float = 0.0
    matched: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: Fit) -> Fit:
        return Fit(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def iou(self) -> float:
        """Of the areas; 1 where neither has any."""
        # Areas of all places are added before the division: a mean of ratios would let an empty field weigh
        # as much as a town.
        union = self.pred + self.truth - self.both
        return self.both / union if union else 1.0

    @property
    def f1(self) -> float:
        """Of the areas; 1 where neither has any."""
        total = self.pred + self.truth
        return 2 * self.both / total if total else 1.0


@dataclass(frozen=True)
class PlaceChange:
    """What changed on an image, or in a square of the ground.

    Attributes
    ----------
    name
        DATASET/IMAGE, or the middle of the square.
    iou
        Of the two predictions.
    objects
        What became of them.
    before, after
        Each against the truth; None without one.
    bounds
        Of the square (min x, min y, max x, max y), on the plane of the comparison.
    """

    name: str
    iou: float
    objects: ObjectChanges
    before: Fit | None = None
    after: Fit | None = None
    bounds: tuple[float, float, float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        fits = {
            side: None if fit is None else {"iou": fit.iou, "f1": fit.f1, **asdict(fit)}
            for side, fit in (("before", self.before), ("after", self.after))
        }
        return {"name": self.name, "iou": self.iou, **asdict(self.objects), "truth": fits}


@dataclass(frozen=True)
class Estimate:
    """A number with its exact 95 % interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Quality:
    """How good a prediction is as a whole, judged from places that were drawn at random.

    Attributes
    ----------
    precision, recall
        Share of predicted objects that are true, and of true objects that were found.
    area_error
        Median over the places of predicted against true area, minus one.
    """

    precision: Estimate
    recall: Estimate
    area_error: Estimate


@dataclass(frozen=True)
class Comparison:
    """All that a comparison tells.

    Attributes
    ----------
    before, after, truth
        Paths, as given.
    unit
        Of areas: ``px`` or ``m2``.
    classes
        Compared ones: title in both, title in the truth.
    places
        The most changed first.
    objects
        What became of all of them.
    iou
        Of the two predictions, all places together.
    fits
        Before and after against the truth, all places with truth together; None without truth.
    quality
        The same of the whole, with intervals.
    tag
        Truth counts on images with this tag only; None: on all that it has.
    judged
        Places with truth.
    notes, failures
        What the user should know; places that could not be compared, with the reason.
    """

    before: str
    after: str
    truth: str | None
    unit: str
    classes: tuple[tuple[str, str | None], ...]
    places: tuple[PlaceChange, ...]
    objects: ObjectChanges
    iou: float
    fits: tuple[Fit, Fit] | None
    quality: tuple[Quality, Quality] | None
    tag: str | None = None
    judged: int = 0
    notes: tuple[str, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def worse(self) -> bool:
        """Whether the second is farther from the truth than the first."""
        return self.fits is not None and self.fits[1].iou < self.fits[0].iou

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        sides = ("before", "after")
        return {
            "before": self.before,
            "after": self.after,
            "truth": self.truth,
            "tag": self.tag,
            "unit": self.unit,
            "classes": [list(names) for names in self.classes],
            "iou": self.iou,
            "objects": asdict(self.objects),
            "judged": self.judged,
            "fits": None
            if self.fits is None
            else {side: {"iou": f.iou, "f1": f.f1, **asdict(f)} for side, f in zip(sides, self.fits)},
            "worse": self.worse if self.fits is not None else None,
            "quality": None
            if self.quality is None
            else {side: asdict(quality) for side, quality in zip(sides, self.quality)},
            "places": [place.to_dict() for place in self.places],
            "notes": list(self.notes),
            "failures": [{"image": name, "reason": reason} for name, reason in self.failures],
        }


def fit_pairs(pairs: OverlapPairs, ground: OverlapPairs | None = None) -> Fit:
    """A fit from the overlaps of true and predicted objects.

    Parameters
    ----------
    pairs
        Of the objects.
    ground
        Of the ground that is each object's alone, where objects of one side overlap; None: they do not.
    """
    ranks = [rank_by(area, np.zeros((len(area), 4))) for area in (pairs.truth_area, pairs.pred_area)]
    match = greedy_match(pairs, np.array([_MATCH]), truth_rank=ranks[0], pred_rank=ranks[1])[0]
    matched = int((match >= 0).sum())
    ground = ground or pairs
    both, pred, truth = (float(area.sum()) for area in (ground.area, ground.pred_area, ground.truth_area))
    return Fit(both, pred, truth, matched, len(match) - matched, len(pairs.truth_area) - matched)


def sum_up(result: Comparison, union_weights: Sequence[tuple[float, float]]) -> Comparison:
    """A comparison whose places are known, sorted and with its totals.

    Parameters
    ----------
    result
        With its places.
    union_weights
        Area that both predictions of each place share, and area that either covers.
    """
    both, either = (math.fsum(part) for part in zip(*union_weights)) if union_weights else (0.0, 0.0)
    objects = sum((place.objects for place in result.places), ObjectChanges())
    judged = [place for place in result.places if place.before is not None and place.after is not None]
    fits = quality = None
    if result.truth is not None and judged:
        sides = [[place.before or Fit() for place in judged], [place.after or Fit() for place in judged]]
        fits = sum(sides[0], Fit()), sum(sides[1], Fit())
        quality = _quality(sides[0], fits[0]), _quality(sides[1], fits[1])
    return replace(
        result,
        places=tuple(sorted(result.places, key=lambda place: (place.iou, place.name))),
        objects=objects,
        iou=both / either if either else 1.0,
        fits=fits,
        quality=quality,
        judged=len(judged),
    )


def _quality(places: Sequence[Fit], total: Fit) -> Quality:
    errors = np.array([fit.pred / fit.truth - 1 for fit in places if fit.truth])
    low, high = median_interval(errors) or (None, None)
    middle = float(np.median(errors)) if len(errors) else None
    return Quality(
        _share(total.matched, total.matched + total.false),
        _share(total.matched, total.matched + total.missed),
        Estimate(middle, low, high, len(errors)),
    )


def _share(hits: int, total: int) -> Estimate:
    return Estimate(hits / total if total else None, *share_interval(hits, total), total)
