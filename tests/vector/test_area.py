"""Areas on the ground against geodesic ones, in every kind of CRS."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from outlines_made import with_groups
from pyproj import CRS, Geod, Transformer

from geoseg.geo.geobox import GeoBox
from geoseg.pipeline import steps
from geoseg.pipeline.steps import Batch, Ground, Steps
from geoseg.vector.area import GroundArea, ring_areas

GEOD = Geod(ellps="WGS84")


def geodesic(geometry: shapely.Geometry, crs: CRS) -> float:
    """Area by geodesics, of edges cut into short pieces."""
    to_lonlat = Transformer.from_crs(crs, 4326, always_xy=True)
    dense = shapely.segmentize(geometry, geometry.length / 2000)
    lonlat = shapely.transform(dense, lambda xy: np.stack(to_lonlat.transform(xy[:, 0], xy[:, 1]), axis=1))
    return abs(GEOD.geometry_area_perimeter(lonlat)[0])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (32645, Affine(0.3, 0, 400_000, 0, -0.3, 3_000_000)),
        (3857, Affine(0.6, 0, 9_500_000, 0, -0.6, 3_200_000)),
        (4326, Affine(1e-5, 0, 85.5, 0, -1e-5, 27.7)),
        (4326, Affine(1e-3, 0, 10, 0, -1e-3, 62)),
        (3413, Affine(30, 0, -300_000, 0, -30, -1_000_000)),
        (32645, Affine(0.2, 0.1, 500_000, 0.1, -0.2, 3_000_000)),
        (4326, Affine(0.05, 0, -60, 0, -0.03, 75)),
    ],
)
def test_equal_to_geodesic_areas(crs: int, transform: Affine) -> None:
    geobox = GeoBox(transform, CRS.from_epsg(crs), 2000, 3000)
    ground = GroundArea(geobox)
    for box in [(10, 20, 40, 35), (0, 0, 3000, 2000), (2900, 1900, 2950, 1990)]:
        corners = [transform * point for point in shapely.box(*box).exterior.coords]
        area = ground.geometries(np.array([shapely.Polygon(corners)], object))
        assert area[0] == pytest.approx(geodesic(shapely.Polygon(corners), geobox.crs), rel=2e-5)


def test_holes_and_parts() -> None:
    geobox = GeoBox(Affine(1, 0, 500_000, 0, -1, 3_000_000), CRS.from_epsg(32645), 100, 100)
    west, north = 500_000, 3_000_000
    holed = shapely.box(west, north - 10, west + 10, north) - shapely.box(
        west + 2, north - 8, west + 5, north - 5
    )
    two = shapely.MultiPolygon([holed, shapely.box(west + 20, north - 4, west + 22, north)])
    areas = GroundArea(geobox).geometries(np.array([holed, two], object))
    scale = 1 / 0.9996**2
    assert areas == pytest.approx([91 * scale, 99 * scale], rel=1e-6)


def test_signs_of_rings() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]], float)
    both = np.concatenate([square, square[::-1]])
    assert ring_areas(both, np.array([0, 5, 10])).tolist() == [4, -4]
    assert ring_areas(both[:0], np.array([0])).size == 0


def test_precise_far_from_the_origin() -> None:
    square = np.array([[0, 0], [0.1, 0], [0.1, 0.1], [0, 0.1], [0, 0]]) + 5e6
    assert ring_areas(square, np.array([0, 5]))[0] == pytest.approx(0.01, rel=1e-6)


def test_without_crs_is_refused() -> None:
    with pytest.raises(ValueError, match="CRS"):
        GroundArea(GeoBox(Affine.identity(), None, 4, 4))


def test_small_objects_are_those_that_measure_less_wherever_pixels_are_smallest() -> None:
    """From the equator to 80 degrees, where a pixel of Web Mercator covers a thirtieth of the ground."""
    geobox = GeoBox(Affine(100.0, 0, 0, 0, -100_000.0, 15_500_000.0), CRS.from_epsg(3857), 300, 155)
    found = with_groups(np.random.default_rng(0).integers(0, 3, (155, 300)).astype(np.uint8), 100, 4)
    batch = Batch(found, Ground(geobox))
    for least in np.quantile(batch.area, [0.1, 0.5, 0.9]):
        kept = Steps(min_area_m2=least)(Batch(found, Ground(geobox))).outlines.key
        np.testing.assert_array_equal(kept, found.key[batch.area >= least])


@pytest.mark.parametrize("one_hole", [True, False])
@pytest.mark.parametrize(
    "geobox",
    [
        GeoBox(Affine.identity(), None, 300, 300),
        GeoBox(Affine(0.3, 0, 300_000, 0, -0.3, 3_000_000), CRS.from_epsg(32645), 300, 300),
    ],
)
def test_objects_whose_holes_are_filled_measure_what_is_drawn_in_any_share(
    monkeypatch: pytest.MonkeyPatch, geobox: GeoBox, one_hole: bool
) -> None:
    """A hole in a single share, too: what the others know of their areas is nothing new."""
    rng = np.random.default_rng(0)
    values = np.zeros((300, 300), np.uint8)
    for row in range(0, 280, 14):
        for col in range(0, 280, 14):
            values[row : row + rng.integers(8, 13), col : col + rng.integers(8, 13)] = 1
            if (row, col) == (140, 140) or (not one_hole and rng.random() < 0.5):
                values[row + 3 : row + 5, col + 3 : col + 6] = 0
    found, ground = with_groups(values, 1000, 4), Ground(geobox)
    area = Steps(min_hole_m2=8.0).all_at_once(Batch(found, ground)).area
    assert len(Batch(found, ground).shares()) == 1
    for corners in (20, 200):
        monkeypatch.setattr(steps, "_SHARE_CORNERS", corners)
        assert len(Batch(found, ground).shares()) > 5
        for threads in (1, 3):
            # Made anew each time: a batch remembers what was measured.
            done = Steps(min_hole_m2=8.0).all_at_once(Batch(found, ground), threads)
            assert done.area.tobytes() == area.tobytes()
    # Measured apart from what the step knows.
    drawn = Batch(done.outlines, ground, done.reshaped(done.outlines).geometry)
    np.testing.assert_allclose(area, drawn.area, rtol=1e-9)
    assert (done.outlines.pixels < ring_areas(done.outlines.xy, done.outlines.ring_offsets)).any()
