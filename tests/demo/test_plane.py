"""Plane geometry, against shapely."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoseg.demo.plane import Frame, box_corners, clip_convex, inside_convex, polygon_area, separate

angles = st.floats(-3, 3)
places = st.floats(-20, 20)


@given(x=places, y=places, angle=angles, u=places, v=places)
def test_world_and_back(x: float, y: float, angle: float, u: float, v: float) -> None:
    frame = Frame.at(x, y, angle)
    back = frame.local(*frame.world(np.array([u]), np.array([v])))
    np.testing.assert_allclose(np.ravel(back), [u, v], atol=1e-9)


@given(x=places, y=places, angle=angles, w=st.floats(1, 15), d=st.floats(1, 15))
def test_separate_agrees_with_shapely(x: float, y: float, angle: float, w: float, d: float) -> None:
    one = box_corners(Frame.at(0, 0, 0.3), (0, 0, 9, 6))
    other = box_corners(Frame.at(x, y, angle), (0, 0, w, d))
    common = shapely.intersection(shapely.Polygon(one), shapely.Polygon(other))
    found = separate(one, other[None], slack=0.0)
    if common.area > 1e-6:
        assert not found
    elif shapely.distance(shapely.Polygon(one), shapely.Polygon(other)) > 1e-6:
        assert found


def test_neighbors_that_share_a_wall_are_separate() -> None:
    frame = Frame.at(3.3, 1.7, 0.77)
    first, second = box_corners(frame, (0, 0, 7.1, 9)), box_corners(frame, (7.1, 0, 12, 9))
    assert separate(first, second[None])
    assert separate(first, np.zeros((0, 4, 2)))


@given(angle=angles, shift=st.floats(-12, 12))
def test_clip_agrees_with_shapely(angle: float, shift: float) -> None:
    square = box_corners(Frame.at(0, 0, 0.2), (-8, -8, 8, 8))
    normal = np.array([np.cos(angle), np.sin(angle)])
    half = box_corners(Frame.at(*(normal * shift), angle), (0, -99, 99, 99))
    wanted = shapely.intersection(shapely.Polygon(square), shapely.Polygon(half)).area
    clipped = clip_convex(square, normal * shift, normal)
    assert abs((polygon_area(clipped) if len(clipped) > 2 else 0.0) - wanted) < 1e-6


@given(x=places, y=places)
def test_inside_agrees_with_shapely(x: float, y: float) -> None:
    points = np.array([[-9.0, -7], [8, -9], [11, 4], [-2, 10]])
    found = bool(inside_convex(points, np.array([x]), np.array([y]))[0])
    polygon = shapely.Polygon(points)
    if shapely.distance(polygon.exterior, shapely.Point(x, y)) > 1e-9:
        assert found == polygon.contains(shapely.Point(x, y))
