"""GeoJSON (RFC 7946) and newline-delimited GeoJSON."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer

from geoseg.errors import RunError
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.io.writers.base import FootprintBatch, FootprintWriter, Geometries, GeometryType

__all__ = ["GeoJSONSeqWriter", "GeoJSONWriter"]

_PIXEL_NOTE = (
    "No CRS: coordinates are in the scene's own system. Without a world file these are pixels: "
    "x = column and y = row of pixel corners, from the upper left, y down."
)


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False)


def _plain(column: Any) -> list[Any]:
    """A column as JSON values; NaN, which JSON lacks, as null."""
    values = np.asarray(column).tolist()
    if np.asarray(column).dtype.kind == "f":
        return [value if value is not None and np.isfinite(value) else None for value in values]
    return list(values)


def _to_lonlat(transformer: Transformer, xy: Any) -> Any:
    return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))


def _repaired(geometry: Geometries, decimals: int) -> Geometries:
    """Polygons that stay valid when their coordinates are rounded."""
    rounded = shapely.transform(geometry, lambda xy: np.round(xy, decimals))
    broken = np.flatnonzero(~shapely.is_valid(rounded))
    if broken.size == 0:
        return geometry
    sound = shapely.set_precision(geometry[broken], 10.0**-decimals)
    out = geometry.copy()
    polygons = ~shapely.is_empty(sound) & (shapely.get_dimensions(sound) == 2)
    out[broken[polygons]] = sound[polygons]
    return out


class GeoJSONWriter(FootprintWriter):
    """One FeatureCollection, a feature a line.

    Parameters
    ----------
    decimals
        Digits after the point of a coordinate: 1e-7 degrees are 1.1 cm.
    repair
        Make polygons valid that reprojecting and rounding made invalid.
    """

    _between = b",\n"

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        crs: CRS | None,
        geometry_type: GeometryType,
        decimals: int = 7,
        repair: bool = False,
    ) -> None:
        self.decimals, self.repair = decimals, repair
        super().__init__(path, schema, crs, geometry_type)

    def _begin(self, staged: Path) -> None:
        self._file: BinaryIO = staged.open("wb", buffering=1 << 20)
        to_lonlat = self.crs is not None and not self.crs.equals(CRS.from_epsg(4326), ignore_axis_order=True)
        self._transformer = Transformer.from_crs(self.crs, 4326, always_xy=True) if to_lonlat else None
        self._first = True
        self._file.write(self._head().encode())

    def _head(self) -> str:
        members: dict[str, Any] = {"type": "FeatureCollection", "name": self.path.stem}
        if self.crs is None:
            members["note"] = _PIXEL_NOTE
        return json.dumps(members, ensure_ascii=False)[:-1] + ', "features": [\n'

    def _tail(self) -> str:
        return "\n]}\n"

    def _put(self, batch: FootprintBatch) -> None:
        lines = [
            json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in self._features(batch)
        ]
        if not self._first:
            self._file.write(self._between)
        self._first = False
        self._file.write(self._between.join(line.encode() for line in lines))

    def _finish(self) -> None:
        self._file.write(self._tail().encode())
        self._file.close()

    def _drop(self) -> None:
        if hasattr(self, "_file"):
            try:
                self._file.close()
            except OSError:
                return  # its buffer can't be flushed to a full disk; the file is thrown away

    def _features(self, batch: FootprintBatch) -> list[dict[str, Any]]:
        columns = [_plain(batch.columns[name]) for name in self.schema.names]
        rows = zip(*columns, strict=True) if columns else (() for _ in range(len(batch)))
        return [
            {"type": "Feature", "properties": dict(zip(self.schema.names, row)), "geometry": shape}
            for row, shape in zip(rows, self._shapes(batch.geometry), strict=True)
        ]

    def _shapes(self, geometry: Geometries) -> list[dict[str, Any]]:
        """Geometries as GeoJSON objects: reprojected, split, shells counterclockwise."""
        if self._transformer is not None:
            geometry = shapely.transform(geometry, partial(_to_lonlat, self._transformer))
            if not np.isfinite(shapely.bounds(geometry)).all():
                raise RunError(f"cannot bring footprints to longitude and latitude for {self.path}.")
        if self.crs is not None:
            geometry = split_at_antimeridian(geometry, continuous=self.crs.is_geographic)
        if self.repair:
            geometry = _repaired(geometry, self.decimals)
        geometry = shapely.orient_polygons(geometry, exterior_cw=False)
        many = shapely.get_type_id(geometry) == int(shapely.GeometryType.MULTIPOLYGON)
        _, coordinates, (rings, polygons, parts) = shapely.to_ragged_array(
            np.append(geometry, shapely.multipolygons([shapely.box(0, 0, 1, 1)])), include_z=False
        )
        points = np.round(coordinates, self.decimals).tolist()
        loops = [points[a:b] for a, b in pairwise(rings)]
        shapes = [loops[a:b] for a, b in pairwise(polygons)]
        return [
            {"type": "MultiPolygon", "coordinates": shapes[a:b]}
            if multi
            else {"type": "Polygon", "coordinates": shapes[a]}
            for (a, b), multi in zip(pairwise(parts), many)
        ]


class GeoJSONSeqWriter(GeoJSONWriter):
    """A feature a line and nothing else (RFC 8142 without record separators)."""

    _between = b"\n"

    def _head(self) -> str:
        return ""

    def _tail(self) -> str:
        return "" if self._first else "\n"
