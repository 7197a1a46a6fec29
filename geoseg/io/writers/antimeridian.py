"""Polygons cut where longitude jumps, as GeoJSON wants them."""

from __future__ import annotations

import numpy as np
import shapely

from geoseg.io.writers.base import Geometries
from geoseg.typing import FloatArray
from geoseg.vector.geometry import repaired

__all__ = ["split_at_antimeridian"]

#: Degrees to which parts are brought together again: a tenth of a millimeter.
_GRID = 1e-9


def split_at_antimeridian(geometry: Geometries, *, continuous: bool = False) -> Geometries:
    """Cut polygons that cross 180 degrees into parts on both sides (RFC 7946, section 3.1.9).

    A polygon whose longitudes span more than 180 degrees is taken to cross the antimeridian. One around a
    pole becomes a band up to that pole.

    Parameters
    ----------
    geometry
        object (n,), longitude and latitude in degrees.
    continuous
        Whether longitudes run on beyond 180 and jump nowhere, as in a raster in degrees.

    Returns
    -------
    object array (n,)
        The same array where nothing crosses.

    Examples
    --------
    >>> import numpy as np, shapely
    >>> across = shapely.Polygon([(179, 0), (-179, 0), (-179, 1), (179, 1)])
    >>> split_at_antimeridian(np.array([across]))[0].bounds
    (-180.0, 0.0, 180.0, 1.0)
    >>> split_at_antimeridian(np.array([shapely.box(179, 0, 181, 1)]), continuous=True)[0].bounds
    (-180.0, 0.0, 180.0, 1.0)
    """
    bounds = shapely.bounds(geometry)
    beyond = (bounds[:, 0] < -180) | (bounds[:, 2] > 180)
    wide = (bounds[:, 2] - bounds[:, 0] > 180) & (not continuous)
    crossing = np.flatnonzero(beyond | wide)
    if crossing.size == 0:
        return geometry
    # One by one: hardly any scene has one, and a scene that has, a few.
    out = geometry.copy()
    for index in crossing:
        whole = shapely.union_all(
            [_on_a_strip(part, continuous) for part in shapely.get_parts(geometry[index])]
        )
        if parts := _cut(whole):
            out[index] = shapely.multipolygons(parts)
    return out


def _on_a_strip(polygon: shapely.Polygon, continuous: bool) -> shapely.Geometry:
    """The polygon with longitudes that run on beyond 180."""
    shell = _area(polygon.exterior, continuous)
    for ring in polygon.interiors:
        hole = _area(ring, continuous)
        for turn in range(-2, 3):  # it may have been unrolled from elsewhere, and the other way round
            shell = shapely.difference(shell, _moved(hole, 360 * turn))
    return shell


def _area(ring: shapely.LinearRing, continuous: bool) -> shapely.Geometry:
    xy: FloatArray = shapely.get_coordinates(ring)
    if not continuous:
        xy[:, 0] = np.unwrap(xy[:, 0], period=360)
    if abs(xy[-1, 0] - xy[0, 0]) > 180:  # once around a pole
        pole = 90.0 if xy[:, 1].mean() > 0 else -90.0
        xy = np.concatenate([xy, [[xy[-1, 0], pole], [xy[0, 0], pole], xy[0]]])
    return repaired(shapely.Polygon(xy))


def _cut(area: shapely.Geometry) -> list[shapely.Polygon]:
    """Parts between -180 and 180, each moved there."""
    left, _, right, _ = shapely.bounds(area)
    if not np.isfinite(left + right):
        return []
    parts = []
    for turn in range(int((left + 180) // 360), int((right + 180) // 360) + 1):
        strip = shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)
        parts.append(_moved(shapely.intersection(area, strip), -360 * turn))
    # Parts that met at a cut in the unrolled polygon are one again on this side of it.
    whole = shapely.union_all(parts, grid_size=_GRID)
    return [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon"]


def _moved(area: shapely.Geometry, degrees: float) -> shapely.Geometry:
    return shapely.transform(area, lambda xy: np.add(xy, [degrees, 0]))
