"""Outline measures against the reference, holes and parts included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely

from geoseg.scores.boundaries import boundary_iou, outline_distances, vertex_counts

RING = shapely.box(0, 0, 10, 10).difference(shapely.box(3, 3, 6, 6))
PAIR = shapely.union_all([shapely.box(0, 0, 3, 3), shapely.box(5, 0, 9, 4)])
TURNED = shapely.from_wkt("POLYGON ((1 0, 9 1, 8 10, 0 9, 1 0))")


@pytest.mark.parametrize("a", [RING, PAIR, TURNED])
@pytest.mark.parametrize("b", [RING, PAIR, TURNED])
def test_reference(reference: Any, a: shapely.Geometry, b: shapely.Geometry) -> None:
    one, two = np.array([a], object), np.array([b], object)
    polis, hausdorff = outline_distances(one, two)
    assert polis[0] == pytest.approx(reference.polis(a, b))
    assert hausdorff[0] == pytest.approx(reference.hausdorff(a, b))
    for distance in (0.5, 2.0, 20.0):
        assert boundary_iou(one, two, distance)[0] == pytest.approx(reference.boundary_iou(a, b, distance))


def test_vertices_of_all_rings() -> None:
    assert vertex_counts(np.array([RING, PAIR, TURNED], object)).tolist() == [8, 8, 4]
    assert vertex_counts(np.empty(0, object)).tolist() == []


def test_batches_have_no_influence(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.array([RING, PAIR, TURNED, RING, TURNED], object)
    b = a[::-1].copy()
    whole = (*outline_distances(a, b), boundary_iou(a, b, 1.0))
    monkeypatch.setattr("geoseg.scores.boundaries.BATCH", 2)
    for one, two in zip(whole, (*outline_distances(a, b), boundary_iou(a, b, 1.0)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_wide_strip_is_the_plain_iou(reference: Any) -> None:
    a, b = np.array([RING], object), np.array([TURNED], object)
    assert boundary_iou(a, b, 50.0)[0] == pytest.approx(reference.iou(RING, TURNED))
