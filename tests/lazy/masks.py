"""Masks and reference results that tests of labels and polygons share."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from rasterio import features

__all__ = ["class_maps", "hard_masks", "masks", "normalized", "rasterio_polygons", "wkb"]


@st.composite
def masks(draw: st.DrawFn, values: int = 1, side: int = 36) -> np.ndarray:
    """Random masks of every density, with an odd structure now and then."""
    height, width = draw(array_shapes(min_dims=2, max_dims=2, max_side=side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.05, 0.3, 0.5, 0.6, 0.75, 0.95]))
    mask = (rng.random((height, width)) < density).astype(np.uint8)
    zoom = draw(st.sampled_from([1, 1, 2, 3]))
    mask = np.kron(mask, np.ones((zoom, zoom), np.uint8))[:height, :width]
    return mask * rng.integers(1, values + 1, mask.shape, np.uint8)


def class_maps() -> st.SearchStrategy[np.ndarray]:
    """Maps of up to three classes that touch each other."""
    return masks(values=3, side=24)


def wkb(geometry: np.ndarray) -> list[bytes]:
    """Bytes of geometries as they are: equal only when every vertex and its order is."""
    return shapely.to_wkb(geometry).tolist()


def normalized(geometry: np.ndarray) -> list[bytes]:
    """Sorted bytes of geometries, whatever ring starts where."""
    return sorted(wkb(shapely.normalize(np.asarray(geometry, object))))


def rasterio_polygons(values: np.ndarray) -> np.ndarray:
    """GDAL's polygons with 4-connectivity."""
    found = features.shapes(values, mask=values != 0, connectivity=4)
    return np.array([shapely.geometry.shape(shape) for shape, _ in found], object)


def hard_masks() -> dict[str, np.ndarray]:
    """Masks that have been hard for polygonizers."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:60, :60]
    roads = ((y % 12 < 3) | (x % 10 < 2)).astype(np.uint8)
    roads[rng.random(roads.shape) < 0.02] ^= 1
    rings = ((np.hypot(y - 30, x - 30).astype(int) // 3) % 2).astype(np.uint8)
    spiral = np.zeros((41, 41), np.uint8)
    top, left, bottom, right = 0, 0, 40, 40
    while top < bottom and left < right:
        spiral[top, left : right + 1] = spiral[top : bottom + 1, right] = 1
        spiral[bottom, left + 2 : right + 1] = spiral[top + 4 : bottom + 1, left + 2] = 1
        top, left, bottom, right = top + 4, left + 2, bottom - 2, right - 2
    return {
        "roads": roads,
        "rings": rings,
        "spiral": spiral,
        "checkerboard": ((x + y) % 2)[:31, :37].astype(np.uint8),
        "percolation": (rng.random((90, 80)) < 0.593).astype(np.uint8),
        "full": np.ones((23, 19), np.uint8),
        "frame": np.pad(np.zeros((17, 15), np.uint8), 2, constant_values=1),
        "comb": np.repeat([[1, 0] * 20], 33, axis=0).astype(np.uint8),
    }
