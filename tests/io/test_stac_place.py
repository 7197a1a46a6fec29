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


def test_both_sides_of_the_antimeridian() -> None:
    box = GeoBox(Affine(0.1, 0, 179, 0, -0.1, -16), CRS.from_epsg(4326), 20, 20)
    seen = np.ones((20, 20), bool)
    seen[:10, :5] = False
    outline = outline_of(box, seen)
    assert outline.geom_type == "MultiPolygon"
    assert bbox_of(outline) == [179, -18, -179, -16]
