"""Douglas-Peucker: within the tolerance, and always valid."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy import ndimage

from geoseg.geo.windows import Window
from geoseg.pipeline.outlines import iter_outlines
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.geometry import object_geometries
from geoseg.vector.rings import Outlines, concat_outlines
from geoseg.vector.simplify import simplified_geometries, simplify_rings


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
    simple = simplified_geometries(found, tolerance, (1.0, 1.0))
    assert shapely.is_valid(simple).all()
    assert (shapely.get_num_coordinates(simple) <= shapely.get_num_coordinates(raw)).all()
    directed = [
        shapely.distance(shapely.points(shapely.get_coordinates(a)), shapely.boundary(b)).max()
        for a, b in zip(raw, simple)
    ]
    assert max(directed) <= tolerance + 1e-9


def test_fewer_corners_on_stairs() -> None:
    stairs = np.tril(np.ones((60, 60), np.uint8))
    (simple,) = simplified_geometries(outlines(stairs), 1.0, (1.0, 1.0))
    assert len(simple.exterior.coords) <= 6


def test_tolerance_is_in_units_of_the_scale() -> None:
    found = outlines(blobs(3))
    fine = simplified_geometries(found, 1.0, (10.0, 10.0))
    raw = object_geometries(found)
    assert shapely.get_num_coordinates(fine).sum() == shapely.get_num_coordinates(raw).sum()
    coarse = simplified_geometries(found, 15.0, (10.0, 10.0))
    assert shapely.get_num_coordinates(coarse).sum() < 0.7 * shapely.get_num_coordinates(raw).sum()


def test_chunks_do_not_matter() -> None:
    def ordered(found: Outlines) -> list[bytes]:
        order = np.argsort(found.key)
        return shapely.to_wkb(simplified_geometries(found, 1.5, (1.0, 1.0))[order]).tolist()

    assert ordered(outlines(blobs(4), 200)) == ordered(outlines(blobs(4), 37))


def test_small_rings_keep_their_corners() -> None:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], float)
    assert simplify_rings(square, np.array([0, 5]), 10.0).all()


def test_no_rings() -> None:
    assert simplify_rings(np.empty((0, 2)), np.zeros(1, np.int64), 1.0).size == 0


def test_transform_is_applied() -> None:
    mask = np.ones((2, 3), np.uint8)
    (box,) = simplified_geometries(outlines(mask), 0.5, (2.0, 2.0), (2, 0, 100, 0, -2, 50))
    assert box.bounds == (100, 46, 106, 50)
    assert box.exterior.is_ccw
