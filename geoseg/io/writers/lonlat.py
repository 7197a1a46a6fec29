"""Footprints in longitude and latitude, as formats want them that hold positions on the Earth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from pyproj import CRS, Transformer

from geoseg.errors import RunError
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.io.writers.base import FootprintBatch, Geometries
from geoseg.typing import Array
from geoseg.vector.ragged import RaggedPolygons

__all__ = ["LonLat"]

#: Corners that are reprojected in one go: PROJ takes several copies of them.
_PIECE_CORNERS = 1 << 20


class LonLat:
    """Brings footprints from a CRS to longitude and latitude.

    Parameters
    ----------
    crs
        Of the footprints; None: their coordinates stay as they are.
    path
        File that messages name.
    """

    def __init__(self, crs: CRS | None, path: Path) -> None:
        self._crs, self._path = crs, path
        moves = crs is not None and not crs.equals(CRS.from_epsg(4326), ignore_axis_order=True)
        self._transformer = Transformer.from_crs(crs, 4326, always_xy=True) if moves else None

    def shapes(self, batch: FootprintBatch, *, drawn: bool = False) -> Geometries | RaggedPolygons:
        """Footprints where they lie, those on the antimeridian cut there.

        Parameters
        ----------
        batch
            The footprints.
        drawn
            Whether geometries are wanted in any case. Else they are made only where something may be cut.
        """
        shapes = batch.ragged
        shapes = replace(shapes, xy=self._moved(shapes.xy))
        low, high = shapes.xy[:, 0].min(), shapes.xy[:, 0].max()
        may_cross = self._crs is not None and bool(low < -180 or high > 180 or high - low > 180)
        if not (drawn or may_cross):
            return shapes
        geometry, xy = batch.geometry, shapes.xy
        if shapes.backward:  # whose corners come in another order
            xy = self._moved(shapely.get_coordinates(geometry))
        geometry = shapely.set_coordinates(geometry.copy(), xy)
        if self._crs is None:
            return geometry
        return split_at_antimeridian(geometry, continuous=self._crs.is_geographic)

    def _moved(self, xy: Array) -> Array:
        if self._transformer is None:
            return xy
        lonlat = np.empty_like(xy)
        for start in range(0, len(xy), _PIECE_CORNERS):
            piece = slice(start, start + _PIECE_CORNERS)
            lonlat[piece, 0], lonlat[piece, 1] = self._transformer.transform(xy[piece, 0], xy[piece, 1])
        if not np.isfinite(lonlat).all():
            raise RunError(f"cannot bring footprints to longitude and latitude for {self._path}.")
        return lonlat
