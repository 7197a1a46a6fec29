"""Areas on the ground, right in any CRS."""

from __future__ import annotations

import math

import numpy as np
from pyproj import Transformer

from geoseg.compiled import kernel
from geoseg.geo.geobox import GeoBox, body_ellipsoid
from geoseg.typing import Array, IntArray
from geoseg.vector.ragged import ragged_polygons

__all__ = ["GroundArea", "ring_areas"]

#: Edges of more pixels, or meters, are cut before they are projected: straight lines become curves.
_LONGEST_EDGE, _LONGEST_EDGE_M = 32, 20_000.0


def ring_areas(xy: Array, ring_offsets: IntArray) -> Array:
    """Signed areas of closed rings, counterclockwise (y up) above 0.

    Parameters
    ----------
    xy : (p, 2) float64
        Corners.
    ring_offsets : (r + 1,) int64
        Corners of each ring.

    Returns
    -------
    (r,) float64
        In squared units of ``xy``.

    Examples
    --------
    >>> ring_areas(np.array([[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]], float), np.array([0, 5])).tolist()
    [2.0]
    """
    return _ring_areas(np.ascontiguousarray(xy, np.float64), ring_offsets)


@kernel
def _ring_areas(xy, ring_offsets):  # type: ignore[no-untyped-def]
    areas = np.zeros(ring_offsets.size - 1)
    for r in range(areas.size):
        first = ring_offsets[r]
        # From the first corner on: coordinates in the millions would leave a small area few digits.
        x0, y0 = xy[first, 0], xy[first, 1]
        total = 0.0
        for k in range(first, ring_offsets[r + 1] - 1):
            total += (xy[k, 0] - x0) * (xy[k + 1, 1] - y0) - (xy[k + 1, 0] - x0) * (xy[k, 1] - y0)
        areas[r] = total / 2
    return areas


@kernel
def _densify(xy, ring_offsets, longest):  # type: ignore[no-untyped-def]
    """Cut edges so that none is longer than ``longest`` along an axis."""
    # Counted first, so that the result is made once and never grows.
    offsets = np.zeros(ring_offsets.size, np.int64)
    for r in range(ring_offsets.size - 1):
        count = 1
        for k in range(ring_offsets[r], ring_offsets[r + 1] - 1):
            count += _pieces(xy, k, longest)
        offsets[r + 1] = offsets[r] + count
    out = np.empty((offsets[-1], 2), np.float64)
    for r in range(ring_offsets.size - 1):
        p = offsets[r]
        for k in range(ring_offsets[r], ring_offsets[r + 1] - 1):
            pieces = _pieces(xy, k, longest)
            for step in range(pieces):
                t = step / pieces
                out[p, 0] = xy[k, 0] + t * (xy[k + 1, 0] - xy[k, 0])
                out[p, 1] = xy[k, 1] + t * (xy[k + 1, 1] - xy[k, 1])
                p += 1
        out[p, 0] = xy[ring_offsets[r + 1] - 1, 0]
        out[p, 1] = xy[ring_offsets[r + 1] - 1, 1]
    return out, offsets


@kernel
def _pieces(xy, k, longest):  # type: ignore[no-untyped-def]
    length = max(abs(xy[k + 1, 0] - xy[k, 0]), abs(xy[k + 1, 1] - xy[k, 1]))
    return max(1, int(np.ceil(length / longest)))


class GroundArea:
    """Measures areas in a Lambert azimuthal equal-area projection centered on a scene.

    Parameters
    ----------
    geobox
        The scene's; its CRS may be any (degrees, Web Mercator, UTM, ..., also of another body). Without one,
        areas in its plane are multiplied by what ``gsd`` states.

    References
    ----------
    Snyder (1987), Map projections: a working manual, USGS Professional Paper 1395, pages 182-190.
    """

    def __init__(self, geobox: GeoBox) -> None:
        center = geobox.center_lonlat()
        a, b, _, d, e, _ = geobox.transform[:6]
        self._to_ground: Transformer | None = None
        self._pixel_share = 1.0
        if geobox.crs is None or center is None:
            if geobox.gsd is None:
                raise ValueError("geobox must have a CRS or a sampling distance, got one without.")
            self._pixel_share = geobox.gsd[0] * geobox.gsd[1] / abs(a * e - b * d)
            return
        # Of coarse rasters 32 pixels would reach over the horizon: meters set a second limit.
        pixels = min(_LONGEST_EDGE, _LONGEST_EDGE_M / max(geobox.ground_resolution() or (1.0, 1.0)))
        self._longest = pixels * max(math.hypot(a, d), math.hypot(b, e))
        body = body_ellipsoid(geobox.crs)
        equal_area = f"+proj=laea +lon_0={center[0]!r} +lat_0={center[1]!r} {body} +units=m +type=crs"
        self._to_ground = Transformer.from_crs(geobox.crs, equal_area, always_xy=True)

    def rings(self, xy: Array, ring_offsets: IntArray) -> Array:
        """Signed areas of closed rings.

        Parameters
        ----------
        xy : (p, 2) float64
            Corners in the scene's CRS.
        ring_offsets : (r + 1,) int64
            Corners of each ring.

        Returns
        -------
        (r,) float64
            Square meters; shells and holes have opposite signs. NaN where the projection is not defined.
        """
        if self._to_ground is None:
            return ring_areas(xy, ring_offsets) * self._pixel_share
        dense, offsets = _densify(np.ascontiguousarray(xy, np.float64), ring_offsets, self._longest)
        x, y = self._to_ground.transform(dense[:, 0], dense[:, 1])
        areas = ring_areas(np.stack([x, y], axis=1), offsets)
        # PROJ says infinity where it can't project; an infinite area would pass for a large one.
        return np.where(np.isfinite(areas), areas, np.nan)

    def geometries(self, geometry: Array) -> Array:
        """Areas of (Multi)Polygons in the scene's CRS.

        Returns
        -------
        (n,) float64
            Square meters.
        """
        shapes = ragged_polygons(geometry)
        # Which way a ring runs depends on who wrote it; that the first of a polygon is its shell does not.
        areas = -np.abs(self.rings(shapes.xy, shapes.rings))
        areas[shapes.polygons[:-1][np.diff(shapes.polygons) > 0]] *= -1  # shells
        total = np.zeros(len(geometry))
        np.add.at(
            total, np.repeat(np.arange(len(geometry)), np.diff(shapes.polygons[shapes.features])), areas
        )
        return total
