"""Random towns, and slow, obvious versions of the scores: loops over single objects, no index, no arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely


class Reference:
    @staticmethod
    def iou(a: Any, b: Any) -> float:
        shared = a.intersection(b).area
        return shared / (a.area + b.area - shared) if shared else 0.0

    @staticmethod
    def order(shapes: list[Any], scores: list[float] | None) -> list[int]:
        """Highest score first, then larger, then further left, lower; then as in the list."""

        def key(i: int) -> tuple[Any, ...]:
            return (-(scores[i] if scores else 0.0), -shapes[i].area, *shapes[i].bounds, i)

        return sorted(range(len(shapes)), key=key)

    @staticmethod
    def match(
        truth: list[Any], pred: list[Any], least: float, scores: list[float] | None = None
    ) -> dict[int, int]:
        """Prediction -> truth."""
        free = Reference.order(truth, None)
        found: dict[int, int] = {}
        for p in Reference.order(pred, scores):
            best, best_iou = None, 0.0
            for t in free:
                value = Reference.iou(truth[t], pred[p])
                if value >= least and value > best_iou:
                    best, best_iou = t, value
            if best is not None:
                found[p] = best
                free.remove(best)
        return found

    @staticmethod
    def average_precision(
        truth: list[Any], pred: list[Any], least: float, scores: list[float] | None
    ) -> float:
        """Mean over 101 recalls of the best precision at that recall or beyond."""
        found = Reference.match(truth, pred, least, scores)
        values = scores or [0.0] * len(pred)
        points = []
        for level in sorted(set(values), reverse=True):
            kept = [p for p in range(len(pred)) if values[p] >= level]
            hits = sum(p in found for p in kept)
            points.append((hits, hits / len(kept)))
        total = 0.0
        for k in range(101):
            total += max(
                (precision for hits, precision in points if 100 * hits >= k * len(truth)), default=0.0
            )
        return total / 101

    @staticmethod
    def corners(shape: Any) -> list[Any]:
        parts = getattr(shape, "geoms", [shape])
        rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
        return [shapely.Point(xy) for ring in rings for xy in list(ring.coords)[:-1]]

    @staticmethod
    def polis(a: Any, b: Any) -> float:
        there = [point.distance(b.boundary) for point in Reference.corners(a)]
        back = [point.distance(a.boundary) for point in Reference.corners(b)]
        return sum(there) / (2 * len(there)) + sum(back) / (2 * len(back))

    @staticmethod
    def hausdorff(a: Any, b: Any) -> float:
        return max(
            max(point.distance(b.boundary) for point in Reference.corners(a)),
            max(point.distance(a.boundary) for point in Reference.corners(b)),
        )

    @staticmethod
    def boundary_iou(a: Any, b: Any, distance: float) -> float:
        strip_a = a.difference(a.buffer(-distance, quad_segs=4))
        strip_b = b.difference(b.buffer(-distance, quad_segs=4))
        return Reference.iou(strip_a, strip_b)

    @staticmethod
    def same(a: float, b: float, tolerance: float = 1e-9) -> bool:
        return (math.isnan(a) and math.isnan(b)) or abs(a - b) <= tolerance


def town(seed: int, n: int, jitter: float = 0.6) -> tuple[Any, Any]:
    """Truths and predictions: L-shaped houses in rows that touch, moved, lost, split and invented."""
    rng = np.random.default_rng(seed)
    truth = []
    for k in range(n):
        x, y = 10.0 * (k % 5), 12.0 * (k // 5)
        w, h = rng.integers(4, 11), rng.integers(4, 11)
        house = shapely.box(x, y, x + w, y + h)
        if k % 3 == 0:
            house = house.difference(shapely.box(x + w / 2, y + h / 2, x + w, y + h))
        truth.append(house)
    pred = []
    for house in truth:
        kind = rng.random()
        moved = shapely.transform(house, lambda c: c + rng.normal(0, jitter, 2))
        if kind < 0.1:
            continue
        if kind < 0.25:
            left, bottom, right, top = moved.bounds
            pred += [moved.intersection(shapely.box(left, bottom, (left + right) / 2, top))]
            pred += [moved.intersection(shapely.box((left + right) / 2, bottom, right, top))]
        elif kind < 0.35:
            pred += [moved, moved.buffer(0.7)]
        else:
            pred.append(moved)
    return np.array(truth, object), np.array(pred, object)


@pytest.fixture(scope="session")
def make_town() -> Callable[..., tuple[Any, Any]]:
    return town


@pytest.fixture(scope="session")
def reference() -> type[Reference]:
    return Reference
