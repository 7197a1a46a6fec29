"""GeoJSON (RFC 7946) and newline-delimited GeoJSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import shapely
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.files import json_text
from geoseg.geo.geobox import is_earth
from geoseg.io.writers.base import (
    MARK,
    PROVENANCE,
    FootprintBatch,
    FootprintWriter,
    Geometries,
)
from geoseg.io.writers.geojson_text import geometry_texts
from geoseg.io.writers.lonlat import LonLat
from geoseg.typing import Array
from geoseg.vector.geometry import repaired
from geoseg.vector.ragged import RaggedPolygons, ragged_polygons

__all__ = ["GeoJSONSeqWriter", "GeoJSONWriter"]

PIXEL_NOTE = (
    "No CRS: coordinates are in the scene's own system. Without a world file these are pixels: "
    "x = column and y = row of pixel corners, from the upper left, y down."
)

#: How each line of a sequence begins; those of a part (what is new, for one) do not begin with the first.
_FIRST_FEATURE = re.compile(rb'\{"type": "Feature", "properties": \{"id": \d+, "class": ')
#: Texts of attribute values that are kept for the next feature: classes and scenes repeat.
_KEPT_TEXTS = 1 << 14
#: Of the line with all that stands before the features.
_HEAD_CHARACTERS = 1 << 20


def _still_valid(geometry: Geometries, decimals: int) -> Geometries:
    """Polygons that stay valid when their coordinates are rounded; those that do as they are.

    They are rounded in place and put back, since a second copy of millions of holes would be too much.
    """
    xy = shapely.get_coordinates(geometry)
    shapely.set_coordinates(geometry, np.round(xy, decimals))
    broken = np.flatnonzero(~shapely.is_valid(geometry))
    shapely.set_coordinates(geometry, xy)
    if broken.size == 0:
        return geometry
    sound = geometry[broken]
    # Snapping needs valid polygons: one that reprojecting made cross itself can end in an error of GEOS.
    invalid = ~shapely.is_valid(sound)
    sound[invalid] = repaired(sound[invalid])
    sound = shapely.set_precision(sound, 10.0**-decimals)
    out = geometry.copy()
    # What rounding leaves without an area stays as it was: rather a thin polygon that is invalid than none.
    polygons = ~shapely.is_empty(sound) & (shapely.get_dimensions(sound) == 2)
    out[broken[polygons]] = sound[polygons]
    return out


class GeoJSONWriter(FootprintWriter):
    """One FeatureCollection, a feature a line."""

    format = "geojson"
    _between = ",\n"

    @classmethod
    def check_crs(cls, crs: CRS | None) -> None:
        """Refuse another body than the Earth: positions are longitude and latitude on it (RFC 7946)."""
        if crs is not None and not is_earth(crs):
            raise InputError(
                f"format must be one of gpkg, parquet, fgb, shp for a scene in {crs.name}, got "
                f"{cls.format}, which holds positions on the Earth only."
            )

    @classmethod
    def is_ours(cls, path: Path) -> bool:
        """By the member ``generator``, which stands before the features."""
        with path.open("rb") as file:
            head = file.readline(1 << 16)
        return (
            head.startswith(b'{"type": "FeatureCollection", ') and f'"generator": "{MARK}"'.encode() in head
        )

    @classmethod
    def read_provenance(cls, path: Path) -> str | None:
        """From the member ``provenance``, which stands before the features (RFC 7946, section 6.1)."""
        if cls.provenance_suffix:
            return super().read_provenance(path)
        with path.open(encoding="utf-8") as file:
            head = file.readline(_HEAD_CHARACTERS)
        found = json.loads(head + "]}").get(PROVENANCE) if head.endswith('"features": [\n') else None
        return None if found is None else json_text(found)

    def _begin(self, staged: Path) -> None:
        self._file: BinaryIO = staged.open("wb", buffering=1 << 20)
        self._lonlat = LonLat(self.crs, self.path)
        self._first = True
        # Text of the features up to their geometry, with a place for each attribute.
        names = [json.dumps(name, ensure_ascii=False).replace("%", "%%") for name in self.schema.names]
        properties = ", ".join(f"{name}: %s" for name in names)
        self._template = f'{{"type": "Feature", "properties": {{{properties}}}, "geometry": '
        self._known: dict[str, str] = {}
        self._file.write(self._head().encode())

    def _head(self) -> str:
        members: dict[str, Any] = {"type": "FeatureCollection", "name": self.path.stem, "generator": MARK}
        if self.crs is None:
            members["note"] = PIXEL_NOTE
        if self.provenance is not None:
            members[PROVENANCE] = json.loads(self.provenance)
        return json.dumps(members, ensure_ascii=False)[:-1] + ', "features": [\n'

    def _tail(self) -> str:
        return "\n]}\n"

    def _put(self, batch: FootprintBatch) -> None:
        if not self._first:
            self._file.write(self._between.encode())
        self._first = False
        shapes = self._geometries(batch)
        columns = [self._texts(batch.columns[name]) for name in self.schema.names]
        rows = zip(*columns, strict=True) if columns else [()] * len(batch)
        # Piece by piece: the text of an object with millions of holes is not copied once more.
        between = b""
        for row, shape in zip(rows, shapes, strict=True):
            self._file.writelines((between, (self._template % row).encode()))
            self._file.writelines(shape)
            self._file.write(b"}")
            between = self._between.encode()

    def _finish(self) -> None:
        self._file.write(self._tail().encode())
        self._file.close()

    def _drop(self) -> None:
        if hasattr(self, "_file"):
            try:
                self._file.close()
            except OSError:
                return  # its buffer can't be flushed to a full disk; the file is thrown away

    def _texts(self, column: Array) -> list[str]:
        """A column as JSON texts; NaN, which JSON lacks, as null."""
        if column.dtype.kind in "iu":
            return [str(number) for number in column.tolist()]
        if column.dtype.kind == "f":
            # The shortest text that gives the number back, as json writes it.
            numbers = [repr(number) for number in column.astype(np.float64).tolist()]
            for k in np.flatnonzero(~np.isfinite(column)).tolist():
                numbers[k] = "null"
            return numbers
        if column.dtype.kind == "b":
            return ["true" if value else "false" for value in column.tolist()]
        # A column of texts that never repeat must not fill the memory.
        if len(self._known) > _KEPT_TEXTS:
            self._known.clear()
        return [self._known.get(value) or self._text(value) for value in column.tolist()]

    def _text(self, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if isinstance(value, str):
            self._known[value] = text
        return text

    def _geometries(self, batch: FootprintBatch) -> Iterator[Iterable[memoryview]]:
        """The texts of geometries, in pieces: reprojected, split at 180 degrees, shells counterclockwise."""
        # Polygons are made anew only where they may change; the others are written from their coordinates.
        shapes = self._lonlat.shapes(batch, drawn=self.options.repair)
        if not isinstance(shapes, RaggedPolygons):
            if self.options.repair:
                shapes = _still_valid(shapes, self.options.decimals)
            shapes = ragged_polygons(shapes)
        return geometry_texts(shapes, self.options.decimals)


class GeoJSONSeqWriter(GeoJSONWriter):
    """A feature a line and nothing else (RFC 8142 without record separators)."""

    format = "geojsonseq"
    provenance_suffix = ".geojsonl.provenance.json"
    _between = "\n"

    @classmethod
    def is_ours(cls, path: Path) -> bool:
        """By how the first feature begins: there is no place for a mark. An empty file holds nothing."""
        with path.open("rb") as file:
            head = file.read(64)
        return not head or _FIRST_FEATURE.match(head) is not None

    def _head(self) -> str:
        return ""

    def _tail(self) -> str:
        return "" if self._first else "\n"
