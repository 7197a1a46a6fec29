"""Angles, holes and neighbors against values worked out by hand and slow versions through shapely."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from shapely import affinity
from shapely.ops import nearest_points

from geoseg.scores.objects import evaluate_objects
from geoseg.scores.shapes import (
    hole_counts,
    holes_in_common,
    max_tangent_angles,
    measure_neighbors,
)

YARD = shapely.box(0, 0, 10, 10).difference(shapely.box(3, 3, 6, 6))
PAIR = shapely.union_all([shapely.box(0, 0, 3, 3), shapely.box(5, 0, 9, 4)])
LEANING = shapely.from_wkt("POLYGON ((1 0, 9 1, 8 10, 0 9, 1 0))")


def as_array(*shapes: Any) -> np.ndarray:
    return np.array(shapes, object)


def slow_angle(pred: Any, truth: Any, spacing: float) -> float:
    """The definition, point by point."""
    worst = math.nan
    for part in getattr(pred, "geoms", [pred]):
        for ring in (part.exterior, *part.interiors):
            corners = list(ring.coords)
            for a, b in pairwise(corners):
                wall = shapely.LineString([a, b])
                pieces = math.ceil(wall.length / spacing)
                points = [wall.interpolate(k / pieces, normalized=True) for k in range(pieces + 1)]
                images = [nearest_points(truth.boundary, point)[0] for point in points]
                for k in range(pieces):
                    one = np.subtract(points[k + 1].coords[0], points[k].coords[0])
                    two = np.subtract(images[k + 1].coords[0], images[k].coords[0])
                    long, image = np.hypot(*one), np.hypot(*two)
                    if long / 2 < image < long * 2:
                        angle = math.degrees(math.acos(min(abs(one @ two) / (long * image), 1)))
                        worst = angle if math.isnan(worst) else max(worst, angle)
    return worst


@pytest.mark.parametrize("pred", [YARD, PAIR, LEANING])
@pytest.mark.parametrize("truth", [YARD, PAIR, LEANING])
def test_angles_are_those_of_the_definition(pred: Any, truth: Any) -> None:
    # Off the symmetry of the shapes, where a point has two nearest ones
    moved = affinity.translate(pred, 0.137, 0.071)
    expected = slow_angle(moved, truth, 0.3)
    assert max_tangent_angles(as_array(moved), as_array(truth), 0.3)[0] == pytest.approx(expected, abs=1e-4)


def test_a_diagonal_wall_drawn_as_steps_and_empty_arrays() -> None:
    corners = [(0.0, 0.0), (10.0, 0.0)]
    for k in range(10):
        corners += [(10.0 - k, k + 1.0), (9.0 - k, k + 1.0)]
    steps, triangle = shapely.Polygon(corners), shapely.Polygon([(0, 0), (10, 0), (0, 10)])
    assert max_tangent_angles(as_array(steps), as_array(triangle), 0.25)[0] == pytest.approx(45)
    assert len(max_tangent_angles(as_array(), as_array())) == 0


def test_holes_of_all_parts_and_those_in_common() -> None:
    two = shapely.union_all([YARD, affinity.translate(YARD, 20, 0)])
    assert hole_counts(as_array(YARD, two, PAIR)).tolist() == [1, 2, 0]
    assert holes_in_common(as_array(YARD, two, PAIR), as_array(two, two, YARD)).tolist() == [1, 2, 0]
    # 9 m2 of 9 and 18, and of 9 and 19
    half = shapely.box(0, 0, 10, 10).difference(shapely.box(3, 3, 6, 9))
    less = shapely.box(0, 0, 10, 10).difference(shapely.box(3, 3, 6, 9.4))
    assert holes_in_common(as_array(YARD, YARD), as_array(half, less)).tolist() == [1, 0]
    assert hole_counts(as_array()).tolist() == holes_in_common(as_array(), as_array()).tolist() == []


def test_scores_by_hand() -> None:
    """A yard found, one filled, one house with a hole of its own, and an L drawn as a box."""
    far = affinity.translate(YARD, 50, 0)
    corner = shapely.Polygon([(100, 0), (116, 0), (116, 5), (110, 5), (110, 10), (100, 10)])
    truth = as_array(YARD, far, shapely.box(150, 0, 160, 10), corner)
    pred = as_array(
        YARD, shapely.box(50, 0, 60, 10), affinity.translate(YARD, 150, 0), shapely.box(100, 0, 110, 10)
    )
    scores = evaluate_objects(truth, pred)
    assert scores.matched == 4
    assert scores.hole_f1 == pytest.approx(2 * 1 / (2 + 2))
    # 8 corners against 8, 4 against 8 (IoU 0.91), 8 against 4 (0.91), 4 against 6 (100 of 130 m2)
    expected = [1.0, 0.91 * (1 - 4 / 12), 0.91 * (1 - 4 / 12), 100 / 130 * (1 - 2 / 10)]
    assert scores.c_iou == pytest.approx(np.mean(expected))
    assert scores.max_tangent_angle >= 0
    # What an area of interest cuts has no whole courtyards
    assert math.isnan(evaluate_objects(truth[:1], pred[:1], aoi=shapely.box(0, 0, 9, 10)).hole_f1)


def test_a_coverage_a_gap_and_an_overlap() -> None:
    # Four houses around a point
    block = shapely.box([0, 5, 0, 5], [0, 0, 8, 8], [5, 10, 5, 10], [8, 8, 16, 16])
    whole = measure_neighbors(block)
    assert (whole.overlap, whole.gap, whole.apart) == (0, 0, 0)
    assert whole.shared == pytest.approx(2 * 8 + 2 * 5)
    assert whole.shared_share == 1
    # A wall of another's corners is as good: the line is what is shared
    assert measure_neighbors(shapely.box([0, 5], [0, 2], [5, 10], [8, 5])).shared == pytest.approx(3)
    loose = measure_neighbors(shapely.box([0, 5.4], 0, [5, 10], 8))
    assert loose.gap == pytest.approx(0.4 * 8)
    assert loose.shared_share == 0
    assert measure_neighbors(shapely.box([0, 6.1], 0, [5, 10], 8)) == measure_neighbors(block[:1])
    over = measure_neighbors(shapely.box([0, 4], 0, [5, 10], 8))
    assert over.overlap == pytest.approx(8)
    assert over.shared_share < 0.3
