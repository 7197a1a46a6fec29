"""Douglas-Peucker: within the tolerance, and always valid."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from outlines_made import with_groups
from scipy import ndimage

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.pipeline.outlines import iter_outlines
from geoseg.pipeline.steps import Batch, Ground, Steps
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.geometry import object_geometries
from geoseg.vector.rings import Outlines, concat_outlines
from geoseg.vector.simplify import simplify_arcs, simplify_outlines


def outlines(mask: np.ndarray, chunk: int = 64) -> Outlines:
    def read(window: Window) -> ChunkValues:
        return ChunkValues(mask[window.rows, window.cols])

    return concat_outlines(list(iter_outlines(read, mask.shape, chunk, 8)))


def blobs(seed: int, size: int = 200) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 2)
    return (noise > 0.05).astype(np.uint8)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_valid_and_within_the_tolerance(seed: int, tolerance: float) -> None:
    found = outlines(blobs(seed))
    raw = object_geometries(found)
    simple = simplify_outlines(found, tolerance, (1.0, 1.0))[1]
    assert shapely.is_valid(simple).all()
    assert (shapely.get_num_coordinates(simple) <= shapely.get_num_coordinates(raw)).all()
    directed = [
        shapely.distance(shapely.points(shapely.get_coordinates(a)), shapely.boundary(b)).max()
        for a, b in zip(raw, simple)
    ]
    assert max(directed) <= tolerance + 1e-9


def test_fewer_corners_on_stairs() -> None:
    stairs = np.tril(np.ones((60, 60), np.uint8))
    (simple,) = simplify_outlines(outlines(stairs), 1.0, (1.0, 1.0))[1]
    assert len(simple.exterior.coords) <= 6


def test_tolerance_is_in_units_of_the_scale() -> None:
    found = outlines(blobs(3))
    fine = simplify_outlines(found, 1.0, (10.0, 10.0))[1]
    raw = object_geometries(found)
    assert shapely.get_num_coordinates(fine).sum() == shapely.get_num_coordinates(raw).sum()
    coarse = simplify_outlines(found, 15.0, (10.0, 10.0))[1]
    assert shapely.get_num_coordinates(coarse).sum() < 0.7 * shapely.get_num_coordinates(raw).sum()


def test_chunks_do_not_matter() -> None:
    def ordered(found: Outlines) -> list[bytes]:
        order = np.argsort(found.key)
        return shapely.to_wkb(simplify_outlines(found, 1.5, (1.0, 1.0))[1][order]).tolist()

    assert ordered(outlines(blobs(4), 200)) == ordered(outlines(blobs(4), 37))


def test_free_standing_neighbors_do_not_begin_to_overlap() -> None:
    def overlaps(geometry: np.ndarray) -> np.ndarray:
        one, other = shapely.STRtree(geometry).query(geometry, predicate="intersects")
        pairs = one < other
        return shapely.area(shapely.intersection(geometry[one[pairs]], geometry[other[pairs]]))

    found = with_groups(blobs(4), 1000, 8)
    assert (found.group < 0).all()
    # One by one they do: gaps between them are narrower than twice the tolerance.
    assert overlaps(simplify_outlines(found, 5.0, (1.0, 1.0))[1]).max() > 0.01
    ground = Ground(GeoBox(Affine.identity(), None, 200, 200))
    done = Steps(simplify_m=5.0).all_at_once(Batch(found, ground))
    assert overlaps(done.geometry).max(initial=0) < 1e-9
    assert shapely.get_num_coordinates(done.geometry).sum() < 0.5 * len(found.xy)


def test_small_rings_keep_their_corners() -> None:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], float)
    assert simplify_arcs(square, np.array([0, 5]), np.array([10.0])).all()


def test_no_rings() -> None:
    assert simplify_arcs(np.empty((0, 2)), np.zeros(1, np.int64), np.empty(0)).size == 0
    assert len(simplify_outlines(outlines(np.zeros((3, 3), np.uint8)), 1.0, (1.0, 1.0))[1]) == 0


def test_transform_is_applied() -> None:
    mask = np.ones((2, 3), np.uint8)
    (box,) = simplify_outlines(outlines(mask), 0.5, (2.0, 2.0), (2, 0, 100, 0, -2, 50))[1]
    assert box.bounds == (100, 46, 106, 50)
    assert box.exterior.is_ccw


def touching(seed: int, shape: tuple[int, int], values: int, zoom: int, background: float) -> np.ndarray:
    """A random map of values that touch each other in every way."""
    rng = np.random.default_rng(seed)
    small = rng.integers(1, values + 1, shape)
    small[rng.random(shape) < background] = 0
    wide = ndimage.zoom(small, zoom, order=0)
    wide[ndimage.binary_erosion(rng.random(wide.shape) < 0.02)] = 1
    return wide.astype(np.uint8)


maps = st.builds(
    touching,
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.1, 0.6]),
)


@settings(max_examples=150, deadline=None)
@given(maps, st.sampled_from([4, 8]), st.sampled_from([0.6, 1.0, 2.0, 7.0]))
def test_objects_that_touch_go_on_sharing_their_walls(
    values: np.ndarray, connectivity: int, tolerance: float
) -> None:
    found = with_groups(values, 1000, connectivity)
    simple, geometry = simplify_outlines(found, tolerance, (1.0, 1.0))
    assert shapely.is_valid(geometry).all()
    for number in np.unique(found.group[found.group >= 0]):
        assert shapely.coverage_is_valid(geometry[found.group == number])
    if (values > 0).all():  # neither a gap nor an overlap
        whole = shapely.union_all(geometry)
        assert shapely.area(geometry).sum() == pytest.approx(whole.area)
        assert not any(len(part.interiors) for part in shapely.get_parts(whole))
    assert np.isin(simple.xy, found.xy).all()


@settings(max_examples=60, deadline=None)
@given(maps, st.sampled_from([4, 8]), st.sampled_from([3, 7, (5, 11)]))
def test_groups_are_what_touches_whatever_the_chunks(
    values: np.ndarray, connectivity: int, chunk: object
) -> None:
    found = with_groups(values, chunk, connectivity)
    region, _ = ndimage.label(values > 0, np.ones((3, 3)))
    first = region[found.key >> 32, found.key & 0xFFFFFFFF]
    alone = np.bincount(first)[first] == 1
    # Where only sides connect, two parts of an object that meet at a corner may have been two objects, with a
    # number, until a later chunk joined them.
    early = alone & (found.group >= 0)
    assert alone[found.group < 0].all()
    assert connectivity == 4 or not early.any()
    grouped = found.group >= 0
    assert len({*zip(first[grouped], found.group[grouped])}) == len({*found.group[grouped]})
    assert len({*first[grouped]}) == len({*found.group[grouped]})
    whole = with_groups(values, 1000, connectivity)
    np.testing.assert_array_equal(found.key, whole.key)
    np.testing.assert_array_equal(found.xy, whole.xy)
    np.testing.assert_array_equal(alone, whole.group < 0)


def test_a_wall_is_simplified_once() -> None:
    """Two fields with a ragged wall: both have the very same corners there, and fewer than before."""
    values = np.ones((40, 40), np.uint8)
    wall = 20 + np.random.default_rng(0).integers(-1, 2, 40)
    values[np.arange(40)[None] >= wall[:, None]] = 2
    left, right = simplify_outlines(with_groups(values, 100, 8), 3.0, (1.0, 1.0))[1]
    assert left.area + right.area == 1600
    shared = shapely.intersection(left, right)
    assert shapely.get_num_coordinates(shared) == 2
    assert shapely.get_num_coordinates([left, right]).tolist() == [5, 5]


def test_a_field_in_the_hole_of_another_fills_it() -> None:
    values = np.ones((30, 30), np.uint8)
    yy, xx = np.mgrid[:30, :30]
    values[np.hypot(yy - 15, xx - 15) < 9] = 2
    outer, inner = simplify_outlines(with_groups(values, 7, 4), 1.5, (1.0, 1.0))[1]
    assert shapely.equals(shapely.polygons(outer.interiors[0]), inner)
    assert len(inner.exterior.coords) < 16


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.sampled_from([0.75, 2.0]))
def test_no_footprint_without_area_in_rotated_rasters(seed: int, connectivity: int, tolerance: float) -> None:
    """Corners of one line lie beside it by the last bits once placed: a ring of them would pass for valid."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((60, 60)), rng.uniform(0.7, 2))
    classes = np.clip(np.round(noise / noise.std() * rng.uniform(0.6, 2)), 0, 4).astype(np.uint8)
    found = with_groups(classes, 1000, connectivity)
    rotated = (0.3, 0.11, 300_000.0, 0.1, -0.31, 3_000_000.0)
    simple, geometry = simplify_outlines(found, tolerance, (0.32, 0.33), rotated)
    assert shapely.is_valid(geometry).all()
    assert shapely.is_valid(object_geometries(simple)).all()
    # A triangle of three corners of pixels covers half a pixel at least.
    assert shapely.area(geometry).min(initial=1.0) > 0.05
