"""GeoBox: where the pixels of a raster lie on the ground. Integers and affines, no pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from affine import Affine
from pyproj import CRS, Geod, Transformer

from geoseg.geo.windows import Window

__all__ = ["GeoBox"]

_GEOD = Geod(ellps="WGS84")
#: Steps that differ by no more than this part are taken as the same.
_SAME_STEP = 0.01


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
    """

    transform: Affine
    crs: CRS | None
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def window(self, window: Window) -> GeoBox:
        """The geobox of a window."""
        shift = Affine.translation(window.col_off, window.row_off)
        return GeoBox(self.transform * shift, self.crs, window.height, window.width)

    def corners(self) -> list[tuple[float, float]]:
        """The four outer corners in the CRS: (0,0), (width,0), (width,height), (0,height)."""
        points = ((0, 0), (self.width, 0), (self.width, self.height), (0, self.height))
        return [self.transform * point for point in points]

    def bounds(self) -> tuple[float, float, float, float]:
        """(min x, min y, max x, max y) of the corners in the CRS."""
        xs, ys = zip(*self.corners(), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def center_lonlat(self) -> tuple[float, float] | None:
        """Longitude and latitude (WGS 84, degrees) of the center; None without a CRS."""
        if self.crs is None:
            return None
        x, y = self.transform * (self.width / 2, self.height / 2)
        lon, lat = Transformer.from_crs(self.crs, 4326, always_xy=True).transform(x, y)
        return float(lon), float(lat)

    def ground_resolution(self) -> tuple[float, float] | None:
        """True size of the central pixel on the ground.

        Measured on the WGS 84 ellipsoid along the pixel's own axes, so Web Mercator counts with its
        scale at that latitude, degrees work, and rotated rasters too.

        Returns
        -------
        (float, float) or None
            Meters per column step and per row step; None without a CRS.
        """
        if self.crs is None:
            return None
        to_lonlat = Transformer.from_crs(self.crs, 4326, always_xy=True)
        reach = max(1.0, min(self.width, self.height) / 4)
        mid = (self.width / 2, self.height / 2)

        def meters(dx: float, dy: float) -> float:
            ends = [self.transform * (mid[0] + s * dx / 2, mid[1] + s * dy / 2) for s in (-1, 1)]
            (lon0, lat0), (lon1, lat1) = (to_lonlat.transform(*end) for end in ends)
            return float(_GEOD.inv(lon0, lat0, lon1, lat1)[2]) / math.hypot(dx, dy)

        return meters(reach, 0), meters(0, reach)

    def scaled(self, height: int, width: int) -> GeoBox:
        """The same ground on a raster of another shape."""
        scale = Affine.scale(self.width / width, self.height / height)
        return GeoBox(self.transform * scale, self.crs, height, width)

    def at_resolution(self, meters: float) -> GeoBox:
        """The same ground at about ``meters`` per pixel (whole pixels, so the step differs slightly).

        Without a CRS, or when both steps are the same within 1 %, the geobox itself: so small a difference
        changes nothing for a network, and resampling costs time and sharpness.
        """
        step = self.ground_resolution()
        if step is None or all(abs(s / meters - 1) <= _SAME_STEP for s in step):
            return self
        width = max(1, round(self.width * step[0] / meters))
        height = max(1, round(self.height * step[1] / meters))
        return self.scaled(height, width)
