"""Outlines of valid ground: what they hold, how many vertices they have, where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from geoseg.geo.geobox import GeoBox
from geoseg.io.stac_place import bbox_of, outline_of

SCENE = GeoBox(Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000), CRS.from_epsg(32645), 4090, 6000)
CELLS = GeoBox(SCENE.transform * Affine.scale(8), SCENE.crs, 512, 750)


def on_the_ground(outline: shapely.Geometry) -> shapely.Geometry:
    """An outline in cells, with what the corners of a straight edge in degrees are off."""
    back = Transformer.from_crs(4326, SCENE.crs, always_xy=True)
    x, y = back.transform(*shapely.get_coordinates(outline).T)
    col, row = ~CELLS.transform * (x, y)
    return shapely.set_coordinates(outline, np.column_stack([col, row]))


def covers_what_was_seen(outline: shapely.Geometry, seen: np.ndarray) -> None:
    """Nearly all cells lie in the outline, and it ends where they do, to within two (drawn as one)."""
    row, col = np.nonzero(seen)
    # A quarter of the last row of cells lies in the scene.
    assert shapely.contains_xy(outline, col + 0.5, np.minimum(row + 0.5, 511.125)).mean() >= 0.975
    bounds = [col.min(), row.min(), col.max() + 1, row.max() + 1]
    np.testing.assert_allclose(outline.bounds, bounds, rtol=0, atol=2.01)


def test_a_rectangle_of_cells() -> None:
    seen = np.zeros((512, 750), bool)
    seen[100:400, 50:700] = True
    outline = outline_of(SCENE, seen, CELLS)
    assert on_the_ground(outline).symmetric_difference(shapely.box(50, 100, 700, 400)).area < 20
    seen[200:300, 300:400] = False
    holed = outline_of(SCENE, seen, CELLS)
    assert len(holed.interiors) == 1
    assert outline.area - holed.area == pytest.approx(outline.area * 10_000 / 195_000, rel=1e-3)


def test_cells_beyond_the_last_row_are_cut() -> None:
    seen = np.ones((512, 750), bool)
    seen[0] = False
    south = on_the_ground(outline_of(SCENE, seen, CELLS)).bounds[3]
    assert south == pytest.approx(4090 / 8, abs=1e-3)


def test_a_scene_that_lies_askew_has_straight_edges() -> None:
    row, col = np.mgrid[:512, :750]
    seen = (np.abs((row - 256) * 0.9 + (col - 375) * 0.3) < 180) & (np.abs(col - 375 - row * 0.2) < 250)
    outline = outline_of(SCENE, seen, CELLS)
    assert shapely.get_num_coordinates(outline) < 60
    assert on_the_ground(outline).area == pytest.approx(seen.sum(), rel=0.01)


@pytest.mark.parametrize("value", [False, True])
def test_all_or_nothing_is_the_extent(value: bool) -> None:
    assert outline_of(SCENE, np.full((512, 750), value), CELLS) == outline_of(SCENE)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.001, 0.999), grain=st.sampled_from([1, 7, 60]))
def test_few_vertices_whatever_the_clouds(seed: int, share: float, grain: int) -> None:
    rng = np.random.default_rng(seed)
    rough = rng.random((-(-512 // grain), -(-750 // grain))) < share
    seen = np.kron(rough, np.ones((grain, grain), bool))[:512, :750]
    outline = outline_of(SCENE, seen, CELLS)
    assert outline.is_valid
    assert not outline.is_empty
    assert outline.geom_type in ("Polygon", "MultiPolygon")
    assert shapely.get_num_coordinates(outline) <= 400
    assert outline_of(SCENE).buffer(1e-6).covers(outline)
    if seen.any():
        covers_what_was_seen(on_the_ground(outline), seen)


@pytest.mark.parametrize("width", [1, 6])
def test_many_stripes_are_all_covered(width: int) -> None:
    seen = np.zeros((512, 750), bool)
    for start in range(10, 500, 12):
        seen[start : start + width, 20:720] = True
    outline = outline_of(SCENE, seen, CELLS)
    covers_what_was_seen(on_the_ground(outline), seen)
    # Coarser cells do not reach beyond the first and the last stripe.
    assert on_the_ground(outline).area <= 1.01 * 700 * (480 + width)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_speck_far_away_stays_in_the_box(axis: int) -> None:
    seen = np.zeros((512, 750), bool)
    seen[100:300, 100:300] = True
    seen[(250, 700) if axis else (500, 250)] = True
    covers_what_was_seen(on_the_ground(outline_of(SCENE, seen, CELLS)), seen)


def test_ground_in_the_last_row_alone() -> None:
    seen = np.zeros((512, 750), bool)
    seen[511, ::20] = True
    covers_what_was_seen(on_the_ground(outline_of(SCENE, seen, CELLS)), seen)


def test_many_holes_leave_no_ground_out() -> None:
    seen = np.ones((512, 750), bool)
    for row in range(20, 500, 80):
        for col in range(20, 700, 80):
            seen[row : row + 30, col : col + 30] = False
    covers_what_was_seen(on_the_ground(outline_of(SCENE, seen, CELLS)), seen)


def test_both_sides_of_the_antimeridian() -> None:
    box = GeoBox(Affine(0.1, 0, 179, 0, -0.1, -16), CRS.from_epsg(4326), 20, 20)
    seen = np.ones((20, 20), bool)
    seen[:10, :5] = False
    outline = outline_of(box, seen)
    assert outline.geom_type == "MultiPolygon"
    assert bbox_of(outline, box) == [179, -18, -179, -16]


@pytest.mark.parametrize(
    ("pieces", "west", "east"),
    [
        ([(170, 172), (178, 182)], 170, -178),
        ([(170, 172), (185, 188)], 170, -172),
        ([(170, 172), (174, 175)], 170, 175),
        ([(183, 184), (186, 188)], -177, -172),
        ([(172, 180)], 172, 180),
        ([(180, 182)], -180, -178),
    ],
)
@pytest.mark.parametrize("start", [170, -190])
def test_the_box_of_pieces_along_the_antimeridian(
    pieces: list[tuple[int, int]], west: float, east: float, start: int
) -> None:
    box = GeoBox(Affine(0.1, 0, start, 0, -0.1, -16), CRS.from_epsg(4326), 20, 200)
    seen = np.zeros((20, 200), bool)
    for left, right in pieces:
        seen[:, (left - 170) * 10 : (right - 170) * 10] = True
    assert bbox_of(outline_of(box, seen), box) == pytest.approx([west, -18, east, -16], abs=1e-6)


def test_the_box_of_pieces_along_the_antimeridian_in_meters() -> None:
    crs = CRS.from_epsg(3832)  # its middle is 150 degrees east
    to_meters = Transformer.from_crs(4326, crs, always_xy=True)
    (west, east), (south, north) = to_meters.transform([170, -170], [-18, -16])
    box = GeoBox(Affine((east - west) / 200, 0, west, 0, (south - north) / 20, north), crs, 20, 200)
    seen = np.zeros((20, 200), bool)
    seen[:, :20] = seen[:, 150:180] = True
    assert bbox_of(outline_of(box, seen), box) == pytest.approx([170, -18, -172, -16], abs=1e-6)


@pytest.mark.parametrize("start", [-180, 0])
def test_the_box_of_pieces_around_the_world(start: int) -> None:
    box = GeoBox(Affine(1, 0, start, 0, -1, 10), CRS.from_epsg(4326), 20, 360)
    seen = np.zeros((20, 360), bool)
    assert bbox_of(outline_of(box), box) == [-180, -10, 180, 10]
    seen[:, 10:20] = seen[:, 340:350] = True
    west, east = (-170, 170) if start else (10, -10)
    assert bbox_of(outline_of(box, seen), box) == pytest.approx([west, -10, east, 10], abs=1e-6)


def test_the_box_around_a_pole() -> None:
    box = GeoBox(Affine(1000, 0, -1e6, 0, -1000, 1e6), CRS.from_epsg(3413), 2000, 2000)
    west, south, east, north = bbox_of(outline_of(box), box)
    assert (west, east, north) == (-180, 180, 90)
    assert 70 < south < 80
