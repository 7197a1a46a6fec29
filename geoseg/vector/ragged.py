"""Polygons taken apart into coordinates and offsets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely

from geoseg.compiled import kernel
from geoseg.errors import InputError
from geoseg.typing import Array, IntArray

__all__ = ["RaggedPolygons", "ragged_polygons"]

_POLYGON, _MULTIPOLYGON = 3, 6  # in WKB


class RaggedPolygons(NamedTuple):
    """(Multi)Polygons as nested ragged arrays.

    Attributes
    ----------
    xy : (p, 2) float64
        Corners of closed rings.
    rings : (r + 1,) int64
        Corners of each ring.
    polygons : (q + 1,) int64
        Rings of each polygon, the shell first.
    features : (n + 1,) int64
        Polygons of each feature.
    """

    xy: Array
    rings: IntArray
    polygons: IntArray
    features: IntArray


def ragged_polygons(geometry: Array) -> RaggedPolygons:
    """Coordinates of (Multi)Polygons, and where their rings, polygons and features begin.

    ``shapely.to_ragged_array`` makes a geometry of each ring on the way, which takes five times the memory of
    the coordinates for objects of many small holes. WKB takes once that memory.

    Parameters
    ----------
    geometry : (n,) object
        Polygons and MultiPolygons.

    Raises
    ------
    InputError
        Another kind of geometry.

    Examples
    --------
    >>> xy, rings, polygons, features = ragged_polygons(np.array([shapely.box(0, 0, 1, 1)]))
    >>> xy.shape, rings.tolist(), polygons.tolist(), features.tolist()
    ((5, 2), [0, 5], [0, 1], [0, 1])
    >>> [len(part) for part in ragged_polygons(np.empty(0, object))]
    [0, 1, 1, 1]
    """
    blobs = shapely.to_wkb(geometry, output_dimension=2, byte_order=1, flavor="iso")
    # One blob is read where it lies: joining would double the memory of an object of millions of corners.
    data = np.frombuffer(blobs[0] if len(blobs) == 1 else b"".join(blobs), np.uint8)
    sizes = np.zeros(3, np.int64)
    nothing = np.empty(0, np.int64)
    features = np.zeros(len(geometry) + 1, np.int64)
    # Read twice, first to count: arrays that grow would be copied over and over.
    if not _take_apart(data, np.empty(0, np.uint8), nothing, nothing, features, sizes):
        kinds = sorted(set(shapely.get_type_id(geometry).tolist()))
        names = ", ".join(shapely.GeometryType(kind).name for kind in kinds)
        raise InputError(f"geometry must be Polygons and MultiPolygons, got {names}.")
    corners, rings, polygons = sizes
    xy = np.empty((corners, 2), np.float64)
    ring_offsets, polygon_offsets = np.zeros(rings + 1, np.int64), np.zeros(polygons + 1, np.int64)
    _take_apart(data, xy.view(np.uint8).reshape(-1), ring_offsets, polygon_offsets, features, sizes)
    return RaggedPolygons(xy, ring_offsets, polygon_offsets, features)


@kernel
def _take_apart(data, xy, rings, polygons, features, sizes):  # type: ignore[no-untyped-def]
    """Read WKB, without a copy of the corners where ``rings`` is empty; False where it is of another kind."""
    p = corner = ring = polygon = 0
    for f in range(features.size - 1):
        parts = 1
        kind = _whole(data, p + 1)
        if kind == _MULTIPOLYGON:
            parts = _whole(data, p + 5)
            p += 9
        elif kind != _POLYGON:
            return False
        for _ in range(parts):
            count = _whole(data, p + 5)
            p += 9
            for _ in range(count):
                size = _whole(data, p)
                p += 4
                if rings.size:
                    xy[16 * corner : 16 * (corner + size)] = data[p : p + 16 * size]
                    rings[ring + 1] = corner + size
                p += 16 * size
                corner += size
                ring += 1
            polygon += 1
            if rings.size:
                polygons[polygon] = ring
        features[f + 1] = polygon
    sizes[0], sizes[1], sizes[2] = corner, ring, polygon
    return True


@kernel
def _whole(data, p):  # type: ignore[no-untyped-def]
    """The unsigned whole number of four bytes at ``p``."""
    return (
        np.int64(data[p])
        | np.int64(data[p + 1]) << 8
        | np.int64(data[p + 2]) << 16
        | np.int64(data[p + 3]) << 24
    )
