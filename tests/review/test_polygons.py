"""Edits of polygons and bitmaps as functions: what is shared stays shared, nothing appears or vanishes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.projects.figures import Bitmap
from geoseg.review import walls
from geoseg.review.masks import (
    cut_mask,
    fill_mask,
    frame_of,
    merge_masks,
    paint_mask,
    split_mask,
    stroke_pixels,
)
from geoseg.review.objects import pack_bits, polygon_of, rings_of, round_corners, unpack_bits
from geoseg.review.polygons import (
    cut_polygon,
    merge_polygons,
    split_polygon,
    square_corners,
)
from geoseg.review.ranking import QA_EVERY, draw_qa, rank_places
from geoseg.review.walls import stitch

YARD = shapely.Polygon(
    [(0, 0), (40, 0), (40, 30), (25, 30), (25, 12), (15, 12), (15, 30), (0, 30)],
    [[(3, 3), (8, 3), (8, 8), (3, 8)]],
)
coordinate = st.integers(-5 * 1024, 45 * 1024).map(lambda value: value / 1024)
point = st.tuples(coordinate, coordinate)


@settings(max_examples=30)
@given(st.lists(point, min_size=2, max_size=5, unique=True))
def test_pieces_of_a_split_are_the_whole_and_its_neighbors_take_the_ends(line: Any) -> None:
    north, east = shapely.box(0, -20, 40, 0), shapely.box(40, 0, 60, 30)
    try:
        pieces = split_polygon(YARD, np.array(line))
    except InputError:
        return  # along the outline
    if not pieces:
        return
    assert all(piece.is_valid and piece.area > 0 for piece in pieces)
    assert abs(sum(piece.area for piece in pieces) - YARD.area) < 0.1
    assert set(shapely.get_coordinates(YARD).ravel()) <= {
        value for piece in pieces for value in shapely.get_coordinates(piece).ravel()
    }
    shapes = {number: rings_of(shape) for number, shape in enumerate([north, east, *pieces])}
    shapes |= stitch(shapes, set(range(2, len(shapes))))
    geometries = np.array([polygon_of(rings) for rings in shapes.values()], object)
    assert shapely.is_valid(geometries).all()
    assert shapely.is_empty(shapely.coverage_invalid_edges(geometries, gap_width=0)).all()


def test_walls_are_found_by_a_tree_as_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, given_to = np.random.default_rng(5), 0
    for _ in range(60):
        # Corners on few lines and a step beside them, so that many lie on edges of others.
        corner = rng.integers(0, 6, (12, 2)) * 8 + rng.integers(-3, 4, (12, 2)) / 1024
        size = rng.integers(1, 4, (12, 2)) * 4
        turned = [shapely.affinity.rotate(one, 45 * rng.integers(0, 2)) for one in
                  shapely.box(*corner.T, *(corner + size).T)]  # fmt: skip
        shapes = {n: rings_of(shapely.transform(one, round_corners)) for n, one in enumerate(turned)}
        changed = set(rng.choice(12, rng.integers(1, 4), replace=False).tolist())
        found = stitch(shapes, changed)
        with monkeypatch.context() as patched:
            patched.setattr(walls, "_touching", lambda shapes, changed: set(shapes))
            expected = stitch(shapes, changed)
        assert [polygon_of(found[n]).wkb for n in found] == [polygon_of(expected[n]).wkb for n in expected]
        assert found.keys() == expected.keys()
        given_to += len(found)
    assert given_to > 40  # polygons that got corners


def test_a_network_around_many_houses_is_not_compared_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 blocks it took half a minute for each edit, and of a town an hour."""
    blocks = [(30 * (k % 20), 30 * (k // 20)) for k in range(400)]
    holes = [shapely.box(x + 5, y + 5, x + 25, y + 25).exterior for x, y in blocks]
    shapes = {0: rings_of(shapely.Polygon(shapely.box(0, 0, 600, 600).exterior, holes))}
    shapes |= {n: rings_of(shapely.box(x + 9, y + 9, x + 19, y + 19)) for n, (x, y) in enumerate(blocks, 1)}
    shapes[7] = rings_of(shapely.box(185, 12, 195, 19))
    looked = []
    plain = walls._with_corners_of
    monkeypatch.setattr(walls, "_with_corners_of", lambda *rings: looked.append(1) or plain(*rings))
    # The one that stands at the edge of its block gives it two corners.
    assert {n: sum(map(len, rings[0])) for n, rings in stitch(shapes, {0}).items()} == {0: 4 + 1600 + 2}
    assert len(looked) == 2


def test_a_piece_too_thin_to_be_told_from_its_edges_is_refused() -> None:
    with pytest.raises(InputError, match="pieces that can be seen"):
        split_polygon(YARD, np.array([(0, 1 / 1024), (1 / 1024, 0)]))


def test_a_cut_across_two_houses_crosses_their_wall_at_one_point() -> None:
    slanted = np.array([[3.3, 1.7], [17.9, 28.1]])
    left = shapely.Polygon([(0, 0), slanted[0], slanted[1], (0, 30)])
    right = shapely.Polygon([slanted[1], slanted[0], (30, 0), (30, 30)])
    line = np.array([[-1, 13.1], [31, 17.7]])
    houses = [shapely.transform(house, round_corners) for house in (left, right)]
    pieces = [split_polygon(house, line) for house in houses]
    walls = [{tuple(c) for piece in some for c in shapely.get_coordinates(piece)} for some in pieces]
    assert len(walls[0] & walls[1]) == 3


@settings(max_examples=30)
@given(st.lists(point, min_size=3, max_size=6, unique=True))
def test_what_is_cut_out_is_gone_and_the_rest_is_there(ring: Any) -> None:
    tool = shapely.Polygon(ring)
    if not tool.is_valid or tool.area == 0:
        return
    try:
        pieces = cut_polygon(YARD, tool)
    except InputError:
        return  # a sliver that is no polygon on the lattice
    left = shapely.union_all(pieces) if pieces else shapely.Polygon()
    assert left.intersection(tool).area < 0.1
    assert abs(left.area - YARD.difference(tool).area) < 0.1


def test_merging_needs_a_wall() -> None:
    house, beside, corner = shapely.box(0, 0, 10, 10), shapely.box(10, 3, 20, 8), shapely.box(10, 10, 20, 20)
    merged = merge_polygons([house, beside])
    assert (merged.geom_type, merged.area) == ("Polygon", 150)
    with pytest.raises(InputError, match="touch along a wall"):
        merge_polygons([house, corner])
    sides = [(0, 0, 30, 10), (0, 20, 30, 30), (0, 10, 10, 20), (20, 10, 30, 20)]
    assert len(merge_polygons([shapely.box(*side) for side in sides]).interiors) == 1


@settings(max_examples=30)
@given(st.floats(0, 1.57), st.integers(0, 2**32 - 1))
def test_squared_corners_are_right_angles_and_stay_near(turn: float, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-0.8, 0.8, (8, 2))
    shape = (
        np.array([(0, 0), (20, 0), (20, 10), (40, 10), (40, 30), (25, 30), (12, 30), (0, 30)], float) + noise
    )
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    old = round_corners(shape @ rotation.T)
    [[new]], moves = square_corners([[old]])
    step = np.diff(np.vstack([new, new[:1]]), axis=0)
    following = np.roll(step, -1, axis=0)
    cosine = (step * following).sum(axis=1) / np.hypot(*step.T) / np.hypot(*following.T)
    assert np.abs(cosine).max() < 1e-3
    assert shapely.Polygon(new).is_valid
    assert len(new) == 6
    assert max(np.hypot(*np.subtract(a, b)) for a, b in moves.items()) < 4


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(-6, 40), st.integers(-6, 40)), min_size=1, max_size=4), st.integers(1, 15)
)
def test_a_stroke_is_all_pixels_within_half_a_brush(path: Any, size: int) -> None:
    stroke = stroke_pixels(path, size, (30, 36))
    canvas = np.zeros((30, 36), bool)
    if stroke is not None:
        (x, y), (height, width) = stroke.origin, stroke.shape
        canvas[y : y + height, x : x + width] = stroke.mask
    line = shapely.LineString(path) if len(set(path)) > 1 else shapely.Point(path[0])
    rows, cols = np.mgrid[:30, :36]
    distance = shapely.distance(line, shapely.points(cols, rows))
    assert canvas[distance < size / 2 - 1e-9].all()
    assert not canvas[distance > size / 2 + 1e-9].any()


def test_bitmaps_are_painted_cut_split_and_filled_by_their_pixels() -> None:
    ring = np.ones((10, 12), bool)
    ring[3:6, 4:8] = False
    bitmap = Bitmap((20, 30), ring)
    filled = fill_mask(bitmap, (25.5, 34.5))
    assert filled is not None
    assert filled.mask.all()
    assert fill_mask(bitmap, (21.5, 31.5)) is None
    assert fill_mask(bitmap, (19.5, 31.5)) is None
    sides = split_polygon(frame_of(bitmap), np.array([[10.0, 33.2], [50.0, 36.9]]))
    parts = split_mask(bitmap, sides)
    assert len(parts) == 2
    assert sum(int(part.mask.sum()) for part in parts) == ring.sum()
    assert np.array_equal(merge_masks(parts).mask, ring)
    cut = cut_mask(bitmap, shapely.box(20, 30, 26, 40))
    assert cut is not None
    assert (cut.origin, cut.shape) == ((26, 30), (10, 6))
    assert cut_mask(bitmap, shapely.box(0, 0, 99, 99)) is None
    assert paint_mask(bitmap, bitmap, erase=True) is None
    assert np.array_equal(unpack_bits(pack_bits(ring), 10, 12), ring)


def test_the_list_has_a_random_fifth_and_is_spread() -> None:
    qa = draw_qa(100, seed=5)
    assert qa.sum() == 20
    assert np.array_equal(qa, draw_qa(100, seed=5))
    assert not np.array_equal(qa, draw_qa(100, seed=6))
    cells = np.stack(np.divmod(np.arange(100), 10), axis=1)
    scores = np.random.default_rng(0).random(100)
    order = rank_places(scores.tolist(), cells, qa, seed=5)
    assert sorted(order.tolist()) == list(range(100))
    assert [bool(qa[i]) for i in order[:10]] == [False] * 4 + [True] + [False] * 4 + [True]
    ranked = [i for i in order if not qa[i]]
    assert ranked[0] == max(ranked, key=lambda i: scores[i])
    first = cells[ranked[:8]]
    apart = np.abs(first[:, None] - first[None]).max(axis=2) + 9 * np.eye(8, dtype=int)
    assert apart.min() > 1
    assert np.bincount(np.flatnonzero(qa) % QA_EVERY).max() < 12  # no pattern
