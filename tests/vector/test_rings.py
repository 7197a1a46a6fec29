"""Splitting, closing and selecting rings."""

from __future__ import annotations

import numpy as np
import shapely

from geoseg.vector.geometry import combine_parts, place_corners, region_polygons
from geoseg.vector.rings import Rings, close_rings, concat_rings, ragged_offsets, simple_rings, take_rings

#: A ring that meets itself at (1, 1): two squares.
EIGHT = np.array([[1, 1], [1, 0], [0, 0], [0, 1], [1, 1], [1, 2], [2, 2], [2, 1]], np.int32)


def rings_of(xy: np.ndarray, saddle: list[int], shift: int = 0) -> Rings:
    flags = np.zeros(len(xy), bool)
    flags[saddle] = True
    order = np.roll(np.arange(len(xy)), shift)
    return simple_rings(xy[order], flags[order], np.array([0, len(xy)]), np.array([5]))


def test_a_ring_that_touches_itself_is_split_whatever_its_start() -> None:
    whole = {shapely.Polygon(square).normalize().wkt for square in (EIGHT[:4], EIGHT[4:])}
    for shift in range(8):
        found = rings_of(EIGHT, [0, 4], shift)
        assert found.component.tolist() == [5, 5]
        assert len(found.xy) == len(EIGHT)
        polygons = {
            shapely.Polygon(found.xy[a:b]).normalize().wkt
            for a, b in zip(found.offsets[:-1], found.offsets[1:])
        }
        assert polygons == whole


def test_rings_start_at_their_first_corner_in_raster_order() -> None:
    found = rings_of(EIGHT, [0, 4])
    starts = found.xy[found.offsets[:-1]].tolist()
    assert sorted(starts) == [[0, 0], [1, 1]]


def test_a_saddle_visited_once_is_an_ordinary_corner() -> None:
    square = np.array([[0, 0], [3, 0], [3, 3], [0, 3]], np.int32)
    found = rings_of(square, [2])
    assert found.xy.tolist() == square.tolist()
    assert found.area2.tolist() == [18]


def test_nothing() -> None:
    empty = simple_rings(
        np.empty((0, 2), np.int32), np.empty(0, bool), np.zeros(1, np.int64), np.empty(0, int)
    )
    assert [len(part) for part in empty] == [0, 1, 0, 0]
    assert len(concat_rings([]).component) == 0
    assert len(concat_rings([empty, empty]).component) == 0
    assert close_rings(empty, np.empty(0, np.int64))[0].shape == (0, 2)


def test_take_and_close() -> None:
    squares = Rings(
        np.array([[0, 0], [1, 0], [1, 1], [5, 5], [6, 5], [6, 6], [5, 6]], np.int32),
        np.array([0, 3, 7]),
        np.array([1, 2]),
        np.array([1, 2]),
    )
    second = take_rings(squares, np.array([1]))
    assert second.component.tolist() == [2]
    assert second.xy.tolist() == squares.xy[3:].tolist()
    xy, offsets = close_rings(squares, np.array([1, 0]))
    assert offsets.tolist() == [0, 5, 9]
    assert xy[[0, 4]].tolist() == [[5, 5], [5, 5]]
    assert concat_rings([second, squares]).component.tolist() == [2, 1, 2]


def test_ragged_offsets_of_nothing() -> None:
    assert ragged_offsets(np.empty(0, np.int64)).tolist() == [0]


def test_shells_are_counterclockwise_where_y_points_up() -> None:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    offsets, parts = np.array([0, 5]), np.array([0, 1])
    for transform in [(2, 0, 10, 0, -2, 50), (2, 0, 10, 0, 2, 50), (0, -3, 7, -3, 0, 9), None]:
        (polygon,) = region_polygons(square, offsets, parts, transform)
        assert polygon.exterior.is_ccw
    assert region_polygons(square[:0], np.zeros(1, int), np.zeros(1, int)).size == 0


def test_rotated_transform() -> None:
    placed = place_corners(np.array([[2, 3]]), (0, 10, 100, -10, 0, 200))
    assert placed.tolist() == [[130, 180]]


def test_combine_parts() -> None:
    boxes = shapely.box([0, 2, 4], 0, [1, 3, 5], 1)
    single, multi = combine_parts(boxes, np.array([0, 1, 1]), 2)
    assert single == boxes[0]
    assert multi.geom_type == "MultiPolygon"
    assert multi.area == 2
