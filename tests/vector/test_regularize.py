"""Right angles: near to known houses, valid, walls shared, whatever the chunks and neighbors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outlines_made import with_groups
from rasterio.features import rasterize
from scipy import ndimage

from geoseg.geo.geobox import GeoBox
from geoseg.pipeline import steps
from geoseg.pipeline.steps import Batch, Ground, Steps
from geoseg.vector.geometry import object_geometries
from geoseg.vector.regularize import LEVELS, Regular, regularize_outlines
from geoseg.vector.regularize.directions import box_directions
from geoseg.vector.regularize.junctions import place_junctions, share_edges
from geoseg.vector.rings import Outlines


def traced(values: np.ndarray, chunk: object = 1000, connectivity: int = 4) -> Outlines:
    """All outlines of a raster in raster order, with final groups."""
    return with_groups(values, chunk, connectivity)


def burnt(shapes: list[shapely.Geometry], size: int = 200) -> np.ndarray:
    """Shapes as pixels of the values 1, 2, ..., the later over the earlier."""
    numbered = [(shape, k) for k, shape in enumerate(shapes, start=1)]
    return rasterize(numbered, out_shape=(size, size), dtype="uint8")


def wobbly(values: np.ndarray, seed: int, amplitude: float = 1.0) -> np.ndarray:
    """The same pixels, displaced smoothly."""
    rng = np.random.default_rng(seed)
    shift = [ndimage.gaussian_filter(rng.standard_normal(values.shape), 4) for _ in range(2)]
    moved = [axis + amplitude * s / s.std() for axis, s in zip(np.indices(values.shape), shift)]
    return ndimage.map_coordinates(values, moved, order=0)


def turned(shape: shapely.Geometry, angle: float) -> shapely.Geometry:
    """Turned about the middle of the scene, degrees."""
    return shapely.affinity.rotate(shape, angle, origin=(100, 100))


def regular(values: np.ndarray) -> Regular:
    return regularize_outlines(traced(values), (1.0, 1.0))


def angles(shape: shapely.Polygon) -> np.ndarray:
    """Turn at each corner of the shell, degrees."""
    xy = shapely.get_coordinates(shape.exterior)[:-1]
    edge = np.roll(xy, -1, axis=0) - xy
    heading = np.degrees(np.arctan2(edge[:, 1], edge[:, 0]))
    return (heading - np.roll(heading, 1) + 180) % 360 - 180


def iou(one: shapely.Geometry, other: shapely.Geometry) -> float:
    return one.intersection(other).area / one.union(other).area


L_SHAPE = shapely.Polygon([(50, 60), (150, 60), (150, 100), (100, 100), (100, 150), (50, 150)])


@pytest.mark.parametrize("angle", [0, 17, 45, 80])
def test_a_house_gets_the_corners_it_has(angle: float) -> None:
    plan = turned(L_SHAPE, angle)
    result = regular(wobbly(burnt([plan]), 3))
    (house,) = result.geometry
    assert LEVELS[result.level].tolist() == ["regular"]
    assert len(house.exterior.coords) == 7
    np.testing.assert_allclose(np.abs(angles(house)), 90, atol=1e-6)
    assert iou(house, plan) > 0.95
    np.testing.assert_allclose(
        result.iou, iou(house, object_geometries(traced(wobbly(burnt([plan]), 3)))[0]), atol=0.003
    )


def test_a_long_diagonal_stays() -> None:
    plan = turned(shapely.Polygon([(50, 50), (150, 50), (150, 100), (110, 140), (50, 140)]), 10)
    (house,) = regular(wobbly(burnt([plan]), 1, 0.4)).geometry
    turns = np.sort(np.abs(angles(house)))
    assert len(turns) == 5
    np.testing.assert_allclose(turns[:2], 45, atol=6)
    np.testing.assert_allclose(turns[2:], 90, atol=1e-6)
    assert iou(house, plan) > 0.95


def test_a_tank_stays_round() -> None:
    plan = shapely.Point(100, 100).buffer(30)
    result = regular(wobbly(burnt([plan]), 1))
    (tank,) = result.geometry
    assert len(tank.exterior.coords) > 16
    assert iou(tank, plan) > 0.95
    radii = shapely.distance(tank.centroid, shapely.points(shapely.get_coordinates(tank)))
    assert np.ptp(radii) < 1e-6


def test_a_square_is_no_tank() -> None:
    (house,) = regular(wobbly(burnt([turned(shapely.box(80, 80, 120, 120), 20)]), 2)).geometry
    assert len(house.exterior.coords) == 5


def test_a_courtyard_has_the_direction_of_its_house() -> None:
    plan = turned(shapely.box(40, 50, 160, 150) - shapely.box(75, 80, 125, 120), 25)
    (house,) = regular(wobbly(burnt([plan]), 5)).geometry
    (court,) = house.interiors
    assert len(court.coords) == 5
    edges = [np.diff(shapely.get_coordinates(ring)[:2], axis=0)[0] for ring in (house.exterior, court)]
    headings = [np.degrees(np.arctan2(edge[1], edge[0])) % 90 for edge in edges]
    assert headings[0] == pytest.approx(headings[1], abs=1e-6)
    assert iou(house, plan) > 0.93


def terrace(angle: float, jog: float = 0) -> list[shapely.Polygon]:
    houses = [shapely.box(30 + 25 * k, 80 + jog * (k % 2), 55 + 25 * k, 125) for k in range(5)]
    return [turned(house, angle) for house in houses]


@pytest.mark.parametrize("angle", [0, 20, 45])
def test_a_terrace_has_one_facade_and_single_walls(angle: float) -> None:
    plans = terrace(angle)
    result = regular(wobbly(burnt(plans), 7, 0.8))
    assert (LEVELS[result.level] == "regular").all()
    assert shapely.coverage_is_valid(result.geometry)
    whole = shapely.union_all(result.geometry)
    assert len(shapely.remove_repeated_points(whole.simplify(1e-6), 1e-6).exterior.coords) == 5
    assert (shapely.get_num_coordinates(shapely.simplify(result.geometry, 1e-6)) == 5).all()
    order = np.argsort([iou(house, plans[0]) for house in result.geometry])[::-1]
    assert iou(result.geometry[order[0]], plans[0]) > 0.9
    shared = [
        a.boundary.intersection(b.boundary).length for a, b in zip(result.geometry, result.geometry[1:])
    ]
    assert np.sum(np.array(shared) > 40) >= 1


def test_houses_that_stand_back_keep_their_step() -> None:
    plans = terrace(0, jog=10)
    result = regular(burnt(plans))
    assert shapely.coverage_is_valid(result.geometry)
    for house in result.geometry:
        assert max(iou(house, plan) for plan in plans) > 0.99


def test_four_houses_about_a_courtyard_leave_it_open() -> None:
    court = shapely.box(80, 80, 120, 120)
    plans = [
        turned(plan, 15)
        for plan in (
            shapely.box(40, 40, 120, 80),
            shapely.box(120, 40, 160, 120),
            shapely.box(80, 120, 160, 160),
            shapely.box(40, 80, 80, 160),
        )
    ]
    result = regular(wobbly(burnt(plans), 2, 0.7))
    assert shapely.coverage_is_valid(result.geometry)
    whole = shapely.union_all(result.geometry)
    assert len(whole.interiors) == 1
    assert iou(shapely.Polygon(whole.interiors[0]), turned(court, 15)) > 0.85


def test_houses_that_touch_at_a_corner_do_not_overlap() -> None:
    values = burnt([shapely.box(40, 40, 100, 100), shapely.box(100, 100, 160, 160)])
    result = regular(values)
    assert shapely.coverage_is_valid(result.geometry)
    assert [iou(*pair) for pair in zip(result.geometry, object_geometries(traced(values)))] == [1, 1]


def street(seed: int) -> np.ndarray:
    """Houses in every relation to each other: rows, wings, tanks, courts, corners, gaps of a pixel."""
    rng = np.random.default_rng(seed)
    shapes: list[shapely.Geometry] = []
    for _ in range(rng.integers(1, 5)):
        x, y = rng.uniform(20, 180, 2)
        angle, depth = rng.uniform(0, 360), rng.uniform(8, 40)
        for _ in range(rng.integers(1, 6)):
            width = rng.uniform(4, 30)
            jog, gap = rng.choice([0, 0, 3, 7]), rng.choice([0, 0, 0, 1, 2])
            plan = shapely.box(x + gap, y + jog, x + width, y + depth + rng.choice([0, 0, 9]))
            if rng.random() < 0.2:
                plan = shapely.Point(x, y).buffer(width / 2)
            elif rng.random() < 0.2:
                plan = plan - shapely.box(x + width / 3, y + depth / 3, x + width * 0.7, y + depth * 0.7)
            shapes.append(shapely.affinity.rotate(plan, angle, origin=(x, y)))
            x += width
    return wobbly(burnt(shapes), seed, rng.choice([0.0, 0.5, 1.5]))


def corners_of(found: Outlines) -> np.ndarray:
    return found.ring_offsets[found.part_offsets[found.object_offsets]]


def check(result: Regular, found: Outlines) -> None:
    assert shapely.is_valid(result.geometry).all()
    for number in np.unique(found.group[found.group >= 0]):
        assert shapely.coverage_is_valid(result.geometry[found.group == number])
    assert (result.iou >= 0.75 - 1e-9).all()
    # Raw objects are as they were traced, but for specks: at most a twentieth of them.
    raw = LEVELS[result.level] == "raw"
    same = (result.geometry == object_geometries(found)) | (
        (result.iou >= 0.95) & (shapely.get_num_coordinates(result.geometry) < np.diff(corners_of(found)))
    )
    assert same[raw & (found.group < 0)].all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]))
def test_valid_and_walls_stay_shared(seed: int, connectivity: int) -> None:
    found = traced(street(seed), connectivity=connectivity)
    check(regularize_outlines(found, (1.0, 1.0)), found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 4), st.integers(1, 6))
def test_noise_of_any_kind_stays_a_coverage(seed: int, side: int, values: int, zoom: int) -> None:
    small = np.random.default_rng(seed).integers(0, values + 1, (side, side)).astype(np.uint8)
    found = traced(ndimage.zoom(small, zoom, order=0))
    check(regularize_outlines(found, (1.0, 1.0)), found)


BOX = GeoBox(Affine.identity(), None, 200, 200)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_free_standing_neighbors_do_not_begin_to_overlap(seed: int) -> None:
    found = traced(street(seed))
    done = Steps(regularize=True).all_at_once(Batch(found, Ground(BOX)))
    one, other = shapely.STRtree(done.geometry).query(done.geometry, predicate="intersects")
    pairs = one < other
    one, other = one[pairs], other[pairs]
    shared = shapely.intersection(done.geometry[one], done.geometry[other])
    assert shapely.area(shared).max(initial=0) < 1e-9


def confetti(seed: int) -> np.ndarray:
    """Specks of every form, a pixel apart or more, at any distance to a corner."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((60, 60)), rng.uniform(0.6, 1.5))
    return (noise > rng.uniform(0, 0.3) * noise.std()).astype(np.uint8)


@pytest.mark.parametrize("settings_of_steps", [{"regularize": True}, {"simplify_m": 2.0}])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]))
@example(17, 4)  # a line in common
@example(108, 4)  # a corner in the middle of a wall
def test_what_comes_to_touch_has_the_same_corners(
    settings_of_steps: dict[str, float], seed: int, connectivity: int
) -> None:
    """In pixels, and where they are placed: coordinates of many digits move each corner by the last bits."""
    found = traced(confetti(seed), connectivity=connectivity)
    for box in (BOX, GeoBox(Affine(0.3, 0, 300_000.123, 0, -0.3, 3_000_000.77), None, 60, 60)):
        houses = Steps(**settings_of_steps).all_at_once(Batch(found, Ground(box))).geometry
        one, other = shapely.STRtree(houses).query(houses, predicate="intersects")
        for pair in np.stack([one, other], axis=1)[one < other]:
            assert shapely.coverage_is_valid(houses[pair])


@pytest.mark.parametrize("threads", [1, 3])
def test_shares_and_threads_change_no_byte(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Objects that are left out, columns and areas included."""
    batch = Batch(traced(np.hstack([street(seed) for seed in (3, 4, 5)])), Ground(BOX))
    wanted = {"regularize": True, "min_hole_m2": 4, "min_area_m2": 20}
    whole = Steps(**wanted).all_at_once(batch)
    assert len(batch.shares()) == 1
    assert 10 < len(whole.outlines) < len(batch.outlines)
    monkeypatch.setattr(steps, "_SHARE_CORNERS", 300)
    shares = batch.shares()
    assert len(shares) > 5
    groups = [set(batch.outlines.group[share]) - {-1} for share in shares]
    assert sum(len(numbers) for numbers in groups) == len(set.union(*groups))
    shared = Steps(**wanted).all_at_once(batch, threads)
    assert shapely.to_wkb(shared.geometry).tolist() == shapely.to_wkb(whole.geometry).tolist()
    np.testing.assert_array_equal(shared.area, whole.area)
    for field in dataclasses.fields(Outlines):
        np.testing.assert_array_equal(
            getattr(shared.outlines, field.name), getattr(whole.outlines, field.name)
        )
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(shared.columns[name], column)


@pytest.mark.parametrize("angle", [5, 20, 40])
def test_houses_a_pixel_apart_stay_regular(angle: float) -> None:
    """The second stands askew, with a corner near the wall of the first."""
    wall = shapely.box(40, 40, 98, 160)
    askew = shapely.affinity.rotate(shapely.box(100, 70, 150, 110), angle, origin=(100, 70))
    askew = shapely.affinity.translate(askew, 99.5 - askew.bounds[0])
    found = traced(wobbly(burnt([wall, askew]), 3, 0.8))
    done = Steps(regularize=True).all_at_once(Batch(found, Ground(BOX)))
    large = done.area > 100
    assert done.columns["outline"][large].tolist() == ["regular", "regular"]
    assert shapely.intersection_all(done.geometry[large]).area == 0
    turns = np.concatenate([angles(house) for house in done.geometry[large]])
    assert (np.abs(np.abs(turns) - 90) < 2).sum() >= 6


@pytest.mark.parametrize("angle", [0, 15, 30, 45, 60, 80])
def test_a_hole_that_can_not_be_drawn_leaves_its_house_regular(angle: float) -> None:
    """It stays whichever way house and hole lie; a slit is no courtyard."""
    values = burnt([turned(shapely.box(50, 60, 150, 140), angle)])
    values[100:103, 90:110] = 0
    result = regular(values)
    assert LEVELS[result.level].tolist() == ["regular"]
    assert len(result.geometry[0].exterior.coords) == 5
    assert len(result.geometry[0].interiors) == 1
    values[101:103, 90:110] = 1
    assert len(regular(values).geometry[0].interiors) == 0


@pytest.mark.parametrize("angle", [0, 10, 30, 45, 70])
@pytest.mark.parametrize(
    ("height", "width", "stays"),
    [(3, 5, True), (4, 4, True), (5, 5, True), (3, 20, True), (2, 10, False), (2, 40, False)],
)
def test_slits_are_left_out_and_other_holes_stay_however_a_house_is_turned(
    angle: float, height: int, width: int, stays: bool
) -> None:
    hole = shapely.box(100, 100, 100 + width, 100 + height)
    result = regular(burnt([turned(shapely.box(50, 60, 150, 140).difference(hole), angle)]))
    assert LEVELS[result.level].tolist() == ["regular"]
    assert len(result.geometry[0].interiors) == stays
    assert result.geometry[0].exterior.minimum_rotated_rectangle.area == pytest.approx(8000, rel=0.03)


def test_a_speck_that_fills_a_hole_stays() -> None:
    values = burnt([shapely.box(50, 60, 150, 140)])
    values[100, 100] = 2
    result = regular(values)
    assert shapely.area(result.geometry).tolist() == [7999, 1]
    assert shapely.coverage_is_valid(result.geometry)


def test_a_speck_that_meets_a_neighbor_at_a_corner_is_left_out() -> None:
    """Not where the neighbor lies in it, and meets its house at four corners."""
    values = burnt([shapely.box(50, 60, 100, 140), shapely.box(100, 60, 150, 140)])
    values[100, 98], values[101, 99] = 0, 2
    result = regular(values)
    assert LEVELS[result.level].tolist() == ["regular", "regular"]
    assert [len(house.interiors) for house in result.geometry] == [0, 0]
    assert shapely.coverage_is_valid(result.geometry)
    assert shapely.get_num_coordinates(result.geometry).tolist() == [5, 5]
    values[79:82, 119:122] = [[2, 0, 2], [0, 1, 0], [2, 0, 2]]
    result = regular(values)
    assert shapely.area(result.geometry).min() == 1
    assert shapely.coverage_is_valid(result.geometry)


def test_specks_are_left_out() -> None:
    """A hole of six pixels beside the wall, a pixel that touches a corner, and an object of one pixel."""
    values = burnt([shapely.box(50, 60, 150, 140)])
    values[62:64, 52:55] = 0
    values[140, 150] = values[10, 10] = 1
    result = regularize_outlines(traced(values, connectivity=8), (1.0, 1.0))
    assert [house.area for house in result.geometry] == [1, 100 * 80]
    assert LEVELS[result.level[1]] == "regular"
    assert result.iou[1] == pytest.approx(7995 / 8001, abs=0.002)


def test_a_loose_pixel_between_two_houses_is_left_out() -> None:
    """It touches its house at a corner, and the wall of the neighbor."""
    values = burnt([shapely.box(50, 60, 100, 140), shapely.box(101, 60, 150, 140)])
    values[140, 100], values[139:160, 101:150] = 1, 2
    found = traced(values, connectivity=8)
    assert shapely.get_num_geometries(object_geometries(found)).tolist() == [2, 1]
    result = regularize_outlines(found, (1.0, 1.0))
    assert result.geometry[0].equals(shapely.box(50, 60, 100, 140))
    assert shapely.get_num_coordinates(result.geometry).tolist() == [5, 5]


def test_what_fails_takes_no_neighbor_with_it() -> None:
    houses = [shapely.box(20 + 40 * k, 80, 60 + 40 * k, 120) for k in range(4)]
    # A comb in front of the second house: no rectangle agrees with its pixels.
    comb = [shapely.box(61 + 4 * k, 120, 63 + 4 * k, 170) for k in range(9)]
    houses[1] = shapely.union_all([houses[1], *comb])
    result = regular(burnt(houses))
    at = np.argsort([house.centroid.x for house in result.geometry])
    levels = LEVELS[result.level[at]].tolist()
    assert levels[1] != "regular"
    assert levels[0] == levels[2] == levels[3] == "regular"
    assert [
        len(shapely.simplify(house, 1e-6).exterior.coords) for house in result.geometry[at[[0, 2, 3]]]
    ] == [5] * 3
    assert shapely.coverage_is_valid(result.geometry)


def test_edges_on_top_of_each_other_get_the_same_corners() -> None:
    """Three arcs leave (0, 0) to the right, one of them backward; the fourth goes up."""
    arcs = [[(0, 0), (4, 0), (4, 3)], [(0, 0), (9, 0), (9, -3)], [(6, -2), (6, 0), (0, 0)], [(0, 0), (0, 5)]]
    offsets = np.append(0, np.cumsum([len(arc) for arc in arcs]))
    xy, new = share_edges(
        np.concatenate(arcs).astype(float), offsets, np.array([0, 4]), np.array([0, 2, 5, 6])
    )
    assert [xy[new[a] : new[a + 1]].tolist() for a in range(4)] == [
        [[0, 0], [4, 0], [4, 3]],
        [[0, 0], [4, 0], [6, 0], [9, 0], [9, -3]],
        [[6, -2], [6, 0], [4, 0], [0, 0]],
        [[0, 0], [0, 5]],
    ]


def junction(lines: list[tuple[tuple[int, int], float, int]]) -> tuple[list[float], list[int]]:
    """Where arcs that leave (0, 0) meet, and the line along which each reaches its own.

    Each has a direction, an offset and a sign as in ``pieces.cut_pieces``.
    """
    count = len(lines)
    direction = np.zeros((count + 1, 2))
    direction[:-1] = [line[0] for line in lines]
    sums = np.zeros((count + 1, 2))
    sums[:-1] = [(line[1], 1) for line in lines]
    same = [[other[:2] for other in lines].index(line[:2]) for line in lines]
    sign = np.array([line[2] for line in lines], np.float64)
    place, link = place_junctions(
        np.array([0, count]),
        2 * np.arange(count),
        np.zeros((1, 2)),
        np.zeros(1, np.bool_),
        np.arange(count),
        np.arange(count),
        np.array(same),
        direction,
        sums,
        sign,
    )
    return place[0].tolist(), link[::2].tolist()


def test_walls_that_miss_each_other_at_a_crossing_are_reached_along_the_third() -> None:
    """One wall goes up, the other down, three pixels to the right of it; the third goes on to both sides."""
    up, down, right, left = ((0, 1), 0.0, -1), ((0, 1), -3.0, 1), ((1, 0), 0.0, 1), ((1, 0), 0.0, -1)
    assert junction([up, down, right, left]) == ([0, 0], [-1, 2, -1, -1])


def test_arcs_on_parallel_lines_step_straight_across() -> None:
    """Two go on in one line to the right, the third leaves to the left two pixels below."""
    right, left = ((1, 0), 0.5, 1), ((1, 0), 2.5, -1)
    assert junction([right, right, left]) == ([0, 0.5], [-1, -1, 3])


def test_a_junction_moves_to_where_the_third_arc_goes_its_own_way() -> None:
    """Two arcs leave (0, 0) to the right, the second backward; the third goes to the left."""
    arcs = [[(0, 0), (4, 0), (4, 3)], [(9, -3), (9, 0), (0, 0)], [(0, 0), (-5, 0)]]
    xy, offsets = np.concatenate(arcs).astype(float), np.array([0, 3, 6, 8])
    xy, new = share_edges(xy, offsets, np.array([0, 3]), np.array([0, 3, 4]))
    assert [xy[new[a] : new[a + 1]].tolist() for a in range(3)] == [
        [[4, 0], [4, 3]],
        [[9, -3], [9, 0], [4, 0]],
        [[4, 0], [0, 0], [-5, 0]],
    ]


@pytest.mark.parametrize("angle", [0, 10, 33, 60])
def test_a_small_house_has_the_direction_of_its_box(angle: float) -> None:
    house, cross = (
        turned(shapely.box(96, 97, 105, 103), angle),
        shapely.box(0, 9, 30, 12) | shapely.box(9, 0, 12, 30),
    )
    rings = [shapely.get_coordinates(shape) for shape in (house, cross)]
    offsets = np.append(0, np.cumsum([len(ring) for ring in rings]))
    found = box_directions(np.concatenate(rings), offsets, np.array([0, 1]), np.array([0.7, 0.7]))
    off = (np.degrees(found[0]) - angle + 45) % 90 - 45
    assert abs(off) <= 1
    assert found[1] == 0.7  # it fills no box


def test_a_small_house_gets_right_angles_where_the_plain_measures_fail() -> None:
    """Of small turned houses with ragged edges nearly all become regular."""
    plans = [
        shapely.affinity.rotate(
            shapely.box(12 + 24 * i, 14 + 24 * j, 23 + 24 * i, 21 + 24 * j), 11 * i + 7 * j
        )
        for i in range(7)
        for j in range(7)
    ]
    result = regular(wobbly(burnt(plans), 11, 1.3))
    names = LEVELS[result.level]
    assert (result.level == 1).any()
    assert (names == "regular").mean() > 0.9
    turns = np.concatenate([angles(house) for house in result.geometry[names == "regular"]])
    assert (np.abs(np.abs(turns) - 90) < 1e-6).mean() > 0.95


def test_no_objects() -> None:
    assert len(regular(np.zeros((3, 3), np.uint8)).geometry) == 0
