"""polygonize: chunked equals whole byte for byte, whole equals GDAL, and rasterizing gives the mask back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
import pytest
import rasterio
import rasterio.windows
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import features
from scipy import ndimage

import geoseg
from geoseg.errors import InputError
from geoseg.lazy.labels import split_masks
from geoseg.lazy.polygonize import outlines_of
from geoseg.vector.geometry import object_geometries

from .masks import class_maps, hard_masks, masks, normalized, rasterio_polygons, wkb


class Polygons(NamedTuple):
    """Polygons of objects in pixels, in raster order of their first pixels."""

    geometry: np.ndarray
    values: np.ndarray


def polygonize(raster: object, **options: object) -> Polygons:
    """Polygons of a raster."""
    outlines = outlines_of(raster, **options)
    return Polygons(object_geometries(outlines), outlines.value)


def check_exact(values: np.ndarray, connectivity: int) -> None:
    """Valid, disjoint, one geometry an object, and the same pixels."""
    found = polygonize(values, connectivity=connectivity)
    assert shapely.is_valid(found.geometry).all()
    structure = np.ones((3, 3)) if connectivity == 8 else None
    expected = sum(ndimage.label(values == v, structure)[1] for v in np.unique(values) if v)
    assert len(found.geometry) == expected
    assert shapely.area(found.geometry).sum() == np.count_nonzero(values)
    if expected:
        burned = features.rasterize(zip(found.geometry, found.values), out_shape=values.shape, dtype="uint8")
        np.testing.assert_array_equal(burned, values)


@settings(max_examples=120)
@given(masks(), st.sampled_from([4, 8]))
def test_rasterizing_gives_the_mask_back(mask: np.ndarray, connectivity: int) -> None:
    check_exact(mask, connectivity)


@settings(max_examples=60)
@given(class_maps(), st.sampled_from([4, 8]))
def test_rasterizing_gives_the_classes_back(values: np.ndarray, connectivity: int) -> None:
    check_exact(values, connectivity)


@settings(max_examples=100)
@given(masks())
def test_same_as_gdal(mask: np.ndarray) -> None:
    assert normalized(polygonize(mask, connectivity=4).geometry) == normalized(rasterio_polygons(mask))


@settings(max_examples=60)
@given(class_maps())
def test_classes_as_from_gdal_with_corners_where_a_third_one_ends_on_a_wall(values: np.ndarray) -> None:
    found = polygonize(values, connectivity=4).geometry
    assert normalized(shapely.simplify(found, 0)) == normalized(rasterio_polygons(values))
    assert shapely.coverage_is_valid(found)


@settings(max_examples=30)
@given(
    st.one_of(masks(side=16), class_maps()),
    st.sampled_from([1, 4, (3, 8), (16, 2)]),
    st.sampled_from([4, 8]),
)
def test_chunked_equals_whole(values: np.ndarray, chunks: object, connectivity: int) -> None:
    whole = polygonize(values, connectivity=connectivity)
    if isinstance(chunks, int) and values.size > 300:
        chunks = max(chunks, 3)
    with_chunks = polygonize(da.from_array(values, chunks=chunks), connectivity=connectivity)
    assert wkb(with_chunks.geometry) == wkb(whole.geometry)
    np.testing.assert_array_equal(with_chunks.values, whole.values)


@pytest.mark.parametrize("name", hard_masks())
@pytest.mark.parametrize("connectivity", [4, 8])
def test_hard_masks(name: str, connectivity: int) -> None:
    mask = hard_masks()[name]
    check_exact(mask, connectivity)
    whole = polygonize(mask, connectivity=connectivity)
    with_chunks = polygonize(da.from_array(mask, chunks=(17, 12)), connectivity=connectivity)
    assert wkb(with_chunks.geometry) == wkb(whole.geometry)


def test_real_scene(data_dir: Path) -> None:
    """A rough mask of a real scene: bright ground."""
    with rasterio.open(data_dir / "oam_banepa" / "scene_banepa_13cm.tif") as source:
        red = source.read(1, window=rasterio.windows.Window(4000, 3000, 1500, 1200))
    mask = (red > np.percentile(red, 70)).astype(np.uint8)
    whole = polygonize(mask, connectivity=4)
    assert len(whole.geometry) > 1000
    assert shapely.is_valid(whole.geometry).all()
    assert normalized(whole.geometry) == normalized(rasterio_polygons(mask))
    for connectivity in (4, 8):
        chunked = polygonize(da.from_array(mask, chunks=(500, 256)), connectivity=connectivity)
        assert wkb(chunked.geometry) == wkb(polygonize(mask, connectivity=connectivity).geometry)


def test_scene_spanning_object_with_many_holes() -> None:
    y, x = np.mgrid[:600, :500]
    roads = ((y % 7 < 2) | (x % 9 < 2)).astype(np.uint8)
    (net,) = polygonize(da.from_array(roads, chunks=64)).geometry
    assert net.is_valid
    assert len(net.interiors) == ndimage.label(roads == 0)[1] - sum(
        any(side) for side in _background_regions_on_the_edge(roads)
    )
    assert net.area == roads.sum()


def _background_regions_on_the_edge(mask: np.ndarray) -> list[tuple[bool]]:
    labels, _ = ndimage.label(mask == 0)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return [(True,) for _ in np.unique(edge[edge > 0])]


def test_percolation_noise_is_one_exact_polygon() -> None:
    noise = (np.random.default_rng(1).random((400, 400)) < 0.65).astype(np.uint8)
    whole = polygonize(noise, connectivity=4)
    with_chunks = polygonize(da.from_array(noise, chunks=150), connectivity=4)
    assert wkb(with_chunks.geometry) == wkb(whole.geometry)
    assert normalized(whole.geometry) == normalized(rasterio_polygons(noise))


def test_corner_contact_is_a_multipolygon_of_valid_parts() -> None:
    mask = np.array([[1, 0], [0, 1]], np.uint8)
    (joined,) = polygonize(mask, connectivity=8).geometry
    assert (joined.geom_type, joined.is_valid, joined.area) == ("MultiPolygon", True, 2)
    assert [g.geom_type for g in polygonize(mask, connectivity=4).geometry] == ["Polygon", "Polygon"]


def test_hole_closed_by_a_corner() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8)
    (ring,) = polygonize(mask, connectivity=4).geometry
    assert ring.is_valid
    assert len(ring.interiors) == 1
    assert ring.area == 7


def test_terraced_houses_on_a_chunk_border() -> None:
    """Two 10 x 10 houses that meet at a border, one house of 20 x 10: not a vertex differs."""
    scene = np.zeros((30, 40), np.uint8)
    scene[5:15, 10:20] = scene[5:15, 20:30] = 1
    expected = shapely.box(10, 5, 30, 15)
    for chunks in (40, 20, 10, 7):
        (house,) = polygonize(da.from_array(scene, chunks=chunks)).geometry
        assert house.normalize() == expected.normalize()
        assert len(house.exterior.coords) == 5
    scene[5:15, 20:30] = 2
    for chunks in (40, 20, 10, 7):
        found = polygonize(da.from_array(scene, chunks=chunks))
        assert found.values.tolist() == [1, 2]
        assert [len(house.exterior.coords) for house in found.geometry] == [5, 5]


def test_a_wall_has_a_corner_where_a_third_object_ends_on_it() -> None:
    """On every side of a wall, across chunk borders; where the wall itself ends, too."""
    values = np.ones((6, 8), np.uint8)
    values[:3, :4], values[:3, 4:] = 2, 3
    for turned in (np.rot90(values, k) for k in range(4)):
        for chunks in (8, 4, 3, 1):
            found = polygonize(da.from_array(np.ascontiguousarray(turned), chunks=chunks))
            corners = shapely.get_num_coordinates(found.geometry)
            assert dict(zip(found.values.tolist(), corners.tolist())) == {1: 6, 2: 5, 3: 5}
            assert shapely.coverage_is_valid(found.geometry)
    values[:3, 4:] = 0
    assert shapely.get_num_coordinates(polygonize(values).geometry).tolist() == [5, 6]
    values[:3] = 0
    assert shapely.get_num_coordinates(polygonize(values).geometry).tolist() == [5]


def test_labels_give_one_geometry_an_id() -> None:
    mask = (np.random.default_rng(2).random((40, 40)) < 0.45).astype(np.uint8)
    labels = split_masks(da.from_array(mask, chunks=16))
    by_label, objects = geoseg.polygonize(labels), geoseg.polygonize(mask)
    assert wkb(by_label.geometry) == wkb(objects.geometry)
    np.testing.assert_array_equal(by_label["value"], objects["id"])
    np.testing.assert_array_equal(by_label["id"], objects["id"])


def test_scattered_label_is_one_multipolygon_in_order_of_first_pixels() -> None:
    labels = np.array([[0, 300, 0, 7], [0, 0, 0, 0], [7, 0, 300, -5]], np.int32)
    found = polygonize(labels)
    assert found.values.tolist() == [300, 7, -5]
    assert [len(shapely.get_parts(g)) for g in found.geometry] == [2, 2, 1]


@settings(max_examples=40, deadline=None)
@given(
    masks(values=5, side=20), st.sampled_from([(3, 7), 5]), st.sampled_from([0.0, 0.8, 3.0]), st.booleans()
)
def test_labels_are_a_coverage_whatever_the_chunks(
    values: np.ndarray, chunks: object, tolerance: float, labels: bool
) -> None:
    raster = values.astype(np.int32) if labels else values
    whole = geoseg.polygonize(raster, simplify_m=tolerance)
    with_chunks = geoseg.polygonize(da.from_array(raster, chunks=chunks), simplify_m=tolerance)
    assert wkb(with_chunks.geometry) == wkb(whole.geometry)
    assert whole.is_valid.all()
    assert len(whole) == len(geoseg.polygonize(raster))
    if labels or not tolerance:  # free-standing objects of a class map are simplified apart
        assert shapely.coverage_is_valid(whole.geometry.to_numpy())


def test_polygonize_leaves_out_small_objects_in_meters() -> None:
    values = np.zeros((20, 20), np.uint8)
    values[2, 2], values[10:14, 10:14] = 1, 1
    place = {"transform": Affine(2, 0, 5e5, 0, -2, 3e6), "crs": 32645}
    assert geoseg.polygonize(values, min_area_m2=4.1, **place).area.tolist() == [64]
    assert geoseg.polygonize(values, min_area_m2=3.9, **place)["id"].tolist() == [1, 2]
    assert geoseg.polygonize(values, min_area_m2=17).empty


def test_only_some_values() -> None:
    values = np.array([[1, 2, 3, 3]], np.uint8)
    assert polygonize(values, values=[3, 1, 9]).values.tolist() == [1, 3]
    assert polygonize(values, values=[]).geometry.size == 0
    with pytest.raises(InputError, match="integers"):
        polygonize(values, values=[0.5])


def test_objects_and_values_on_demand() -> None:
    values = np.array([[4, 0, 4]], np.uint8)
    assert len(polygonize(values).geometry) == 2
    assert len(polygonize(values, by_value=True).geometry) == 1
    assert len(polygonize(values.astype(np.int32), by_value=False).geometry) == 2


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (4, 4)])
def test_empty(shape: tuple[int, int]) -> None:
    found = polygonize(np.zeros(shape, bool))
    assert (len(found.geometry), len(found.values)) == (0, 0)
    assert len(geoseg.polygonize(np.zeros(shape, bool), simplify_m=1)) == 0


def test_one_pixel() -> None:
    (pixel,) = polygonize(np.ones((1, 1), bool)).geometry
    assert pixel.equals(shapely.box(0, 0, 1, 1))


@pytest.mark.slow
def test_on_a_cluster() -> None:
    """Graphs, chunk traces and runs travel between processes."""
    distributed = pytest.importorskip("distributed")
    mask = (np.random.default_rng(0).random((200, 200)) < 0.55).astype(np.uint8)
    whole = polygonize(mask)
    labels = split_masks(mask).compute()
    chunked = da.from_array(mask, chunks=64)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        assert wkb(polygonize(chunked).geometry) == wkb(whole.geometry)
        np.testing.assert_array_equal(split_masks(chunked).compute(), labels)
