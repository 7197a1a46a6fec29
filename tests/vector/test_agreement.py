"""IoU of drawn outlines with their pixels, against shapely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from outlines_made import with_groups

from geoseg.vector.geometry import object_geometries
from geoseg.vector.ragged import ragged_polygons
from geoseg.vector.regularize.agreement import outline_iou
from geoseg.vector.rings import Outlines, take_objects


def reshaped(traced: Outlines, shapes: list[shapely.Geometry]) -> Outlines:
    """The same objects with other outlines."""
    ragged = ragged_polygons(np.array(shapes, object))
    return replace(
        traced,
        object_offsets=ragged.features,
        part_offsets=ragged.polygons,
        ring_offsets=ragged.rings,
        xy=ragged.xy,
    )


def expected(traced: Outlines, drawn: list[shapely.Geometry]) -> np.ndarray:
    pixels = object_geometries(traced)
    both = shapely.area(shapely.intersection(pixels, drawn))
    return both / (shapely.area(pixels) + shapely.area(drawn) - both)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from([4, 8]))
def test_any_corners(seed: int, side: int, connectivity: int) -> None:
    """Pixels of any shape, some with holes and further parts, whose corners are moved by up to two pixels."""
    rng = np.random.default_rng(seed)
    # Far from the origin, where coordinates leave fewer digits.
    field = np.zeros((60, 80), np.int32)
    field[40 : 40 + side, 60 : 60 + side] = rng.random((side, side)) < 0.7
    traced = with_groups(field, 1000, connectivity)
    assume(len(traced) > 0)
    xy = traced.xy + rng.uniform(-1, 1, traced.xy.shape) * rng.choice([1e-9, 0.01, 0.3, 2])
    # Edges along rows stay along rows, or nearly so.
    if rng.random() < 0.5:
        xy[:, 1] = traced.xy[:, 1] + rng.uniform(-0.6, 0.6)
    xy[traced.ring_offsets[1:] - 1] = xy[traced.ring_offsets[:-1]]
    moved = replace(traced, xy=xy)
    valid = np.flatnonzero(shapely.is_valid(object_geometries(moved)))
    assume(valid.size > 0)
    wanted = expected(take_objects(traced, valid), object_geometries(moved)[valid])
    np.testing.assert_allclose(outline_iou(traced, moved, valid), wanted, rtol=0, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.5, 9), st.floats(0.5, 9), st.floats(0, 180), st.floats(-1, 1), st.booleans())
def test_turned_boxes(width: float, height: float, angle: float, shift: float, court: bool) -> None:
    field = np.zeros((20, 20), np.int32)
    field[6:13, 5:14] = 1
    field[8:11, 8:12] = not court
    traced = with_groups(field, 1000, 4)
    box = shapely.box(9.5 - width, 9.5 - height, 9.5 + width, 9.5 + height)
    box = shapely.affinity.translate(shapely.affinity.rotate(box, angle), shift, shift / 3)
    hole = shapely.affinity.scale(box, 0.4, 0.4)  # as wide as high, or it might reach out of a turned box
    # Rings that run either way.
    shape = shapely.Polygon(box.exterior.coords[::-1], [hole.exterior.coords] if court else [])
    drawn = reshaped(traced, [shape])
    np.testing.assert_allclose(outline_iou(traced, drawn, np.arange(1)), expected(traced, [shape]), atol=1e-9)


@pytest.mark.parametrize("off", [0.01, 0.12, 0.125, 0.13, 0.5])
def test_edges_along_rows_are_counted_as_far_as_they_reach(off: float) -> None:
    field = np.zeros((12, 12), np.int32)
    field[4:7, 3:9] = 1
    traced = with_groups(field, 1000, 4)
    drawn = reshaped(traced, [shapely.box(3, 4 - off, 9, 7)])
    assert outline_iou(traced, drawn, np.arange(1)) == pytest.approx(3 / (3 + off), abs=1e-12)


def test_as_traced_is_all_of_it_and_elsewhere_nothing() -> None:
    field = np.zeros((12, 12), np.int32)
    field[4:7, 3:9] = 1
    field[5, 5] = 0
    traced = with_groups(field, 1000, 4)
    assert outline_iou(traced, traced, np.arange(1)).tolist() == [1.0]
    away = reshaped(traced, [shapely.box(20, 4, 25, 8)])
    assert outline_iou(traced, away, np.arange(1)).tolist() == [0.0]
    assert outline_iou(traced, traced, np.arange(0)).size == 0


def test_a_ring_that_crosses_itself_does_not_agree() -> None:
    field = np.zeros((12, 12), np.int32)
    field[2:10, 2:10] = 1
    traced = with_groups(field, 1000, 4)
    bow = replace(traced, xy=np.array([[2, 2], [10, 10], [10, 2], [2, 10], [2, 2]], float))
    assert outline_iou(traced, bow, np.arange(1))[0] < 0.1
