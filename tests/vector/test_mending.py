"""Outlines that cross are made a coverage: no ground is lost, none has two owners."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geoseg.vector.geometry import object_geometries
from geoseg.vector.regularize import mending
from geoseg.vector.regularize.mending import Mending, cleaned, reshaped
from geoseg.vector.rings import Outlines, ragged_offsets, take_objects


def drawn(rings: list[list[tuple[float, float]]]) -> Outlines:
    """One group of objects, each of one ring."""
    count = len(rings)
    closed = [[*ring, ring[0]] for ring in rings]
    return Outlines(
        key=np.arange(count),
        value=np.arange(1, count + 1, dtype=np.int32),
        pixels=np.zeros(count, np.int64),
        prob_sum=np.zeros(count, np.int64),
        touches_edge=np.zeros(count, np.bool_),
        group=np.zeros(count, np.int64),
        object_offsets=np.arange(count + 1),
        part_offsets=np.arange(count + 1),
        ring_offsets=ragged_offsets(np.array([len(ring) for ring in closed])),
        xy=np.concatenate(closed).astype(np.float64),
    )


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def mend(outlines: Outlines) -> np.ndarray:
    clean = cleaned(object_geometries(outlines), outlines.group)
    nothing = take_objects(outlines, np.arange(0))
    return object_geometries(reshaped(outlines, clean, outlines.group, nothing))


def test_ground_in_common_goes_to_one_of_two() -> None:
    outlines = drawn([box(0, 0, 20, 10), box(18, 0, 40, 10), box(40, 0, 50, 10)])
    houses = mend(outlines)
    assert shapely.coverage_is_valid(houses)
    assert shapely.union_all(houses).equals(shapely.box(0, 0, 50, 10))
    assert shapely.get_num_coordinates(houses).tolist() == [5, 5, 5]


def test_a_corner_in_the_neighbor_is_cut_off_or_kept_whole() -> None:
    turned = [(18.0, 5.0), (28.0, -5.0), (38.0, 5.0), (28.0, 15.0)]
    houses = mend(drawn([box(0, 0, 20, 10), turned]))
    assert shapely.coverage_is_valid(houses)
    assert shapely.area(houses).sum() == pytest.approx(200 + 200 - 4, abs=0.01)


def test_an_outline_that_goes_back_on_itself_loses_that_spike() -> None:
    ring = [(0.0, 0.0), (20.0, 0.0), (20.0, 10.0), (25.0, 10.0), (20.0, 10.0), (0.0, 10.0)]
    [house] = mend(drawn([ring]))
    assert house.equals(shapely.box(0, 0, 20, 10))
    assert shapely.get_num_coordinates(house) == 5


def test_small_parts_that_are_cut_off_are_left_out() -> None:
    """The second lies across the end of the first, of which half a pixel looks out on the other side."""
    bar = box(0, 4, 30.5, 6)
    houses = mend(drawn([bar, box(20, -20, 30, 30), box(40, 0, 50, 30)]))
    assert shapely.get_num_geometries(houses).tolist() == [1, 1, 1]
    assert houses[0].bounds == (0, 4, 20, 6)
    assert shapely.coverage_is_valid(houses)


def test_large_parts_stay() -> None:
    houses = mend(drawn([box(0, 4, 40, 6), box(20, -20, 30, 30)]))
    assert sorted(shapely.area(shapely.get_parts(houses[0])).tolist()) == [20, 40]
    assert shapely.coverage_is_valid(houses)


def test_small_holes_of_crossings_are_filled_where_they_are_empty() -> None:
    # Two arms about a square of two pixels a side; the end of one lies half a pixel in the other.
    ring = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (3.5, 10.0), (3.5, 6.0)]
    ring += [(6.0, 6.0), (6.0, 4.0), (4.0, 4.0), (4.0, 10.0), (0.0, 10.0)]
    [house] = mend(drawn([ring]))
    assert len(house.interiors) == 0
    houses = mend(drawn([ring, box(4.5, 4.5, 5.5, 5.5)]))
    assert shapely.coverage_is_valid(houses)
    assert len(houses[0].interiors) == 1
    assert houses[1].area == 1


def test_an_object_below_another_stays_for_the_checks() -> None:
    outlines = drawn([box(0, 0, 20, 20), box(0, 0, 20, 20)])
    assert shapely.area(mend(outlines)).tolist() == [400, 400]


def test_groups_know_nothing_of_each_other() -> None:
    shapes = object_geometries(drawn([box(0, 0, 20, 10), box(1, 1, 50, 10), box(18, 0, 40, 10)]))
    clean = cleaned(shapes, np.array([7, 3, 7]))
    assert clean[1].equals(shapes[1])
    assert shapely.coverage_is_valid(clean[[0, 2]])


def town(side: int, askew: list[int]) -> Outlines:
    """Side by side houses that all touch; those that are askew reach into the next one on the right."""
    houses = [
        box(10 * (k % side), 10 * (k // side), 10 * (k % side) + 10, 10 * (k // side) + 10)
        for k in range(side**2)
    ]
    for k in askew:
        houses[k].insert(2, (houses[k][1][0] + 3, houses[k][1][1] + 5))
    return drawn(houses)


def mended(of_town: Mending, outlines: Outlines, changed: list[int]) -> np.ndarray:
    unsound, _ = of_town.mend(outlines, np.ones(len(outlines)), np.array(changed))
    assert not unsound.size
    assert shapely.coverage_is_valid(of_town.geometry)
    assert object_geometries(of_town.finished(outlines)).tolist() == of_town.geometry.tolist()
    return of_town.geometry.copy()


@pytest.mark.parametrize("side", [8, 16])
def test_only_what_lies_about_a_crossing_is_mended(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    """However large the group is, and however often it is drawn; it comes out as if drawn once."""
    cleaned_at_once: list[int] = []

    def counting(shapes: np.ndarray, together: np.ndarray) -> np.ndarray:
        cleaned_at_once.append(len(shapes))
        return cleaned(shapes, together)

    monkeypatch.setattr(mending, "cleaned", counting)
    one, two = side + 1, 5 * side + 4
    straight, askew, both = town(side, []), town(side, [one]), town(side, [one, two])
    everything = list(range(side * side))
    of_town = Mending(straight, straight, None)
    mended(of_town, straight, everything)
    first = mended(of_town, askew, [one])
    second = mended(of_town, both, [two])
    back = mended(of_town, straight, [one, two])
    # One that crosses, the one that it crosses, and all about both; of the second round the new place only.
    assert cleaned_at_once == [0, 12, 12, 0]
    assert first.tolist() == mended(Mending(askew, askew, None), askew, everything).tolist()
    assert second.tolist() == mended(Mending(both, both, None), both, everything).tolist()
    assert back.tolist() == object_geometries(straight).tolist()
    assert cleaned_at_once[4:] == [12, 24]
    assert shapely.area(second).sum() == 100 * side * side


def test_no_objects() -> None:
    nothing = take_objects(drawn([box(0, 0, 20, 10)]), np.arange(0))
    assert len(mend(nothing)) == 0
