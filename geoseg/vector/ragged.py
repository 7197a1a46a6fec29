"""Polygons as coordinates and offsets: many small arrays less, where a geometry has millions of holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.compiled import kernel
from geoseg.errors import InputError
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.rings import ragged_offsets

__all__ = ["RaggedPolygons", "ragged_polygons"]

_POLYGON, _MULTIPOLYGON = 3, 6  # in WKB


@dataclass(frozen=True)
class RaggedPolygons:
    """Polygons and MultiPolygons that are no geometries.

    GEOS takes 400 bytes for a ring of five corners, and as much again for each step that changes it.

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
    several : (n,) bool
        Whether it is a MultiPolygon.
    backward
        Whether all rings run from their last corner to their first.
    """

    xy: Array
    rings: IntArray
    polygons: IntArray
    features: IntArray
    several: BoolArray
    backward: bool = False

    def __len__(self) -> int:
        return self.several.size

    @classmethod
    def joined(cls, parts: Sequence[RaggedPolygons]) -> RaggedPolygons:
        """Several as one; all of them run in one direction."""
        if len(parts) == 1:
            return parts[0]

        def offsets(name: str) -> IntArray:
            return ragged_offsets(np.concatenate([np.diff(getattr(part, name)) for part in parts]))

        return cls(
            np.concatenate([part.xy for part in parts]),
            offsets("rings"),
            offsets("polygons"),
            offsets("features"),
            np.concatenate([part.several for part in parts]),
            parts[0].backward,
        )

    def rows(self, start: int, stop: int) -> RaggedPolygons:
        """Features [start, stop)."""
        stop = min(stop, len(self))
        features = self.features[start : stop + 1]
        polygons = self.polygons[features[0] : features[-1] + 1]
        rings = self.rings[polygons[0] : polygons[-1] + 1]
        return RaggedPolygons(
            self.xy[rings[0] : rings[-1]],
            rings - rings[0],
            polygons - polygons[0],
            features - features[0],
            self.several[start:stop],
            self.backward,
        )

    def geometries(self) -> Array:
        """As (n,) shapely geometries."""
        kind = shapely.GeometryType.POLYGON
        polygons = shapely.from_ragged_array(kind, self.xy, (self.rings, self.polygons))
        # A single polygon needs no second geometry around it; nearly all objects are one.
        owner = np.repeat(np.arange(len(self)), np.diff(self.features))
        geometry = np.empty(len(self), object)
        geometry[~self.several] = polygons[~self.several[owner]]
        if self.several.any():
            inside, rank = self.several[owner], np.cumsum(self.several) - 1
            geometry[self.several] = shapely.multipolygons(polygons[inside], indices=rank[owner[inside]])
        return shapely.reverse(geometry) if self.backward else geometry

    def bounds(self) -> Array:
        """(n, 4) float64: min x, min y, max x, max y of each feature; NaN of an empty one."""
        bounds = np.full((len(self), 4), np.nan)
        first = self.rings[self.polygons[self.features]]
        full = np.diff(first) > 0
        if full.any():
            bounds[full, :2] = np.minimum.reduceat(self.xy, first[:-1][full], axis=0)
            bounds[full, 2:] = np.maximum.reduceat(self.xy, first[:-1][full], axis=0)
        return bounds

    def wkb(self, *, promoted: bool = False) -> tuple[Array, IntArray]:
        """Well-known binary (little endian) of all features, one behind the other.

        Parameters
        ----------
        promoted
            Polygons as MultiPolygons of one part.

        Returns
        -------
        (bytes,) uint8, (n + 1,) int64
            The text, and where each feature begins.

        Examples
        --------
        >>> square = np.array([shapely.box(0, 0, 1, 1)])
        >>> ragged_polygons(square).wkb()[0].tobytes() == shapely.to_wkb(square[0], byte_order=1)
        True
        """
        several = np.ones(len(self), np.bool_) if promoted else self.several
        # Before a ring stands its number of corners; before a polygon and a MultiPolygon the byte order, the
        # kind and the number of parts.
        at_ring = 4 * np.arange(self.rings.size) + 16 * self.rings
        at_polygon = at_ring[self.polygons] + 9 * np.arange(self.polygons.size)
        starts = at_polygon[self.features] + 9 * np.append(0, np.cumsum(several))
        out = np.empty(starts[-1], np.uint8)
        corners = np.ascontiguousarray(self.xy, np.float64).view(np.uint8).reshape(-1)
        _put_together(corners, self.rings, self.polygons, self.features, several, self.backward, out)
        return out, starts


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
    >>> square = ragged_polygons(np.array([shapely.box(0, 0, 1, 1)]))
    >>> square.xy.shape, square.rings.tolist(), square.polygons.tolist(), square.features.tolist()
    ((5, 2), [0, 5], [0, 1], [0, 1])
    >>> len(ragged_polygons(np.empty(0, object)))
    0
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
    several = shapely.get_type_id(geometry) == int(shapely.GeometryType.MULTIPOLYGON)
    return RaggedPolygons(xy, ring_offsets, polygon_offsets, features, several)


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


@kernel
def _put_together(xy, rings, polygons, features, several, backward, out):  # type: ignore[no-untyped-def]
    """Write WKB; ``xy`` are the bytes of the corners."""
    p = 0
    for f in range(features.size - 1):
        if several[f]:
            p = _put_head(out, p, _MULTIPOLYGON, features[f + 1] - features[f])
        for q in range(features[f], features[f + 1]):
            p = _put_head(out, p, _POLYGON, polygons[q + 1] - polygons[q])
            for r in range(polygons[q], polygons[q + 1]):
                first, last = rings[r], rings[r + 1]
                _put_whole(out, p, last - first)
                p += 4
                if backward:
                    for corner in range(last - 1, first - 1, -1):
                        out[p : p + 16] = xy[16 * corner : 16 * corner + 16]
                        p += 16
                else:
                    size = 16 * (last - first)
                    out[p : p + size] = xy[16 * first : 16 * last]
                    p += size


@kernel
def _put_head(out, p, kind, parts):  # type: ignore[no-untyped-def]
    out[p] = 1  # little endian
    _put_whole(out, p + 1, kind)
    _put_whole(out, p + 5, parts)
    return p + 9


@kernel
def _put_whole(out, p, value):  # type: ignore[no-untyped-def]
    """The unsigned whole number in four bytes at ``p``."""
    for k in range(4):
        out[p + k] = (value >> (8 * k)) & 255
