"""GeoBox: where the pixels of a raster lie on the ground. Integers and affines, no pixels."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from affine import Affine
from pyproj import CRS, Geod, Transformer

from geoseg.geo.windows import Window

__all__ = ["NUDGE", "GeoBox", "body_ellipsoid", "is_earth", "to_lonlat"]

#: Equatorial radius of the Earth, and the share by which one of its ellipsoids may differ from it.
_EARTH_M, _EARTH_SHARE = 6_378_137.0, 0.01
#: Part of a pixel by which places are moved before they are rounded down, so that those on a border fall to
#: one side: far more than the last bits of a coordinate, far less than anybody sees.
NUDGE = 1e-6
#: Steps that differ by no more than this part are taken as the same.
_SAME_STEP = 0.01


def is_earth(crs: CRS) -> bool:
    """Whether a CRS is one of the Earth, by the size of its ellipsoid (within 1 %, as PROJ decides it).

    Examples
    --------
    >>> is_earth(CRS.from_epsg(32645)), is_earth(CRS.from_user_input("IAU_2015:49910"))
    (True, False)
    """
    ellipsoid = crs.ellipsoid
    if ellipsoid is None:
        return True
    return abs(float(ellipsoid.semi_major_metre) / _EARTH_M - 1) <= _EARTH_SHARE


def body_ellipsoid(crs: CRS) -> str:
    """The body of a CRS in PROJ's words: WGS 84 on the Earth, elsewhere the ellipsoid of the CRS itself.

    No datum of the Moon or Mars is tied to WGS 84, so PROJ refuses to go from one to the other.

    Examples
    --------
    >>> body_ellipsoid(CRS.from_epsg(32645)), body_ellipsoid(CRS.from_user_input("IAU_2015:30110"))
    ('+datum=WGS84', '+a=1737400.0 +b=1737400.0')
    """
    ellipsoid = crs.ellipsoid
    if ellipsoid is None or is_earth(crs):
        return "+datum=WGS84"
    return f"+a={ellipsoid.semi_major_metre!r} +b={ellipsoid.semi_minor_metre!r}"


@dataclass(frozen=True)
class GeoBox:
    """Affine + CRS + shape of a raster.

    Attributes
    ----------
    transform
        From (column, row) of a pixel corner to (x, y) in the CRS.
    crs
        Coordinate reference system, or None for plain pixel coordinates.
    height, width
        Pixels.
    gsd
        Ground meters per pixel along columns and rows of a raster without a CRS, where the user knows them.
    """

    transform: Affine
    crs: CRS | None
    height: int
    width: int
    gsd: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def window(self, window: Window) -> GeoBox:
        """The geobox of a window."""
        shift = Affine.translation(window.col_off, window.row_off)
        return GeoBox(self.transform * shift, self.crs, window.height, window.width, self.gsd)

    def corners(self) -> list[tuple[float, float]]:
        """The four outer corners in the CRS: (0,0), (width,0), (width,height), (0,height)."""
        points = ((0, 0), (self.width, 0), (self.width, self.height), (0, self.height))
        return [self.transform * point for point in points]

    def bounds(self) -> tuple[float, float, float, float]:
        """(min x, min y, max x, max y) of the corners in the CRS."""
        xs, ys = zip(*self.corners(), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def center_lonlat(self) -> tuple[float, float] | None:
        """Longitude and latitude of the center (degrees, WGS 84 on the Earth); None without a CRS."""
        if self.crs is None:
            return None
        x, y = self.transform * (self.width / 2, self.height / 2)
        lon, lat = to_lonlat(self.crs).transform(x, y)
        return float(lon), float(lat)

    def ground_resolution(self) -> tuple[float, float] | None:
        """True size of the central pixel on the ground.

        Measured on the ellipsoid (WGS 84; of another body its own) along the pixel's own axes, so Web
        Mercator counts with its scale at that latitude, degrees work, and rotated rasters too.

        Returns
        -------
        (float, float) or None
            Meters per column step and per row step; without a CRS what ``gsd`` states, or None.
        """
        if self.crs is None:
            return self.gsd
        lonlat = to_lonlat(self.crs)
        # Geod takes no datum, but its ellipsoid by the same name.
        geod = Geod(body_ellipsoid(self.crs).replace("+datum", "+ellps"))
        # Not over a single pixel: the difference of two places so close together has few digits left.
        reach = max(1.0, min(self.width, self.height) / 4)
        mid = (self.width / 2, self.height / 2)

        def meters(dx: float, dy: float) -> float:
            ends = [self.transform * (mid[0] + s * dx / 2, mid[1] + s * dy / 2) for s in (-1, 1)]
            (lon0, lat0), (lon1, lat1) = (lonlat.transform(*end) for end in ends)
            return float(geod.inv(lon0, lat0, lon1, lat1)[2]) / math.hypot(dx, dy)

        return meters(reach, 0), meters(0, reach)

    def scaled(self, height: int, width: int) -> GeoBox:
        """The same ground on a raster of another shape."""
        x, y = self.width / width, self.height / height
        gsd = None if self.gsd is None else (self.gsd[0] * x, self.gsd[1] * y)
        return GeoBox(self.transform * Affine.scale(x, y), self.crs, height, width, gsd)

    def at_resolution(self, meters: float) -> GeoBox:
        """The same ground at about ``meters`` per pixel (whole pixels, so the step differs slightly).

        Without a known step, or when both steps are the same within 1 %, the geobox itself: so small a
        difference changes nothing for a network, and resampling costs time and sharpness.
        """
        step = self.ground_resolution()
        if step is None or all(abs(s / meters - 1) <= _SAME_STEP for s in step):
            return self
        width = max(1, round(self.width * step[0] / meters))
        height = max(1, round(self.height * step[1] / meters))
        return self.scaled(height, width)


@functools.lru_cache(maxsize=64)
def to_lonlat(crs: CRS) -> Transformer:
    """To longitude and latitude on the body of a CRS."""
    # PROJ refuses to go from one body to another, so another body has longitudes and latitudes of its own.
    lonlat = 4326 if is_earth(crs) else f"+proj=longlat {body_ellipsoid(crs)} +no_defs +type=crs"
    return Transformer.from_crs(crs, lonlat, always_xy=True)
