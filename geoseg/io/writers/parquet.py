"""GeoParquet 1.1, written row group by row group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.io.crs import same_crs
from geoseg.io.writers.base import (
    MARK,
    PROVENANCE,
    FootprintBatch,
    FootprintWriter,
    free_names,
    widen,
    wkb_array,
)
from geoseg.vector.ragged import ragged_polygons

__all__ = ["ParquetPartWriter", "ParquetWriter"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_BBOX = pa.struct([(corner, pa.float64()) for corner in _CORNERS])


class ParquetWriter(FootprintWriter):
    """GeoParquet with a bbox covering, so that readers skip row groups outside their region.

    References
    ----------
    GeoParquet specification 1.1.0, https://geoparquet.org/releases/v1.1.0/
    """

    #: Of a row group, which readers skip or read as a whole by its bbox.
    batch_rows = 16384
    #: Beside the Parquet schema, Arrow's own, which says nothing more of the columns here.
    _stores_arrow_schema = True

    @classmethod
    def check_crs(cls, crs: CRS | None) -> None:
        """Refuse what does not come back from its JSON."""
        if crs is not None and not same_crs(CRS.from_json_dict(crs.to_json_dict()), crs):
            raise InputError(f"format must be one that can hold the scene's CRS ({crs.name}), got parquet.")

    @classmethod
    def is_ours(cls, path: Path) -> bool:
        """By the file's metadata."""
        try:
            return (pq.read_metadata(path).metadata or {}).get(b"generator") == MARK.encode()
        except pa.ArrowException:
            return False

    @classmethod
    def read_provenance(cls, path: Path) -> str | None:
        """From the file's metadata."""
        text: bytes | None = (pq.read_metadata(path).metadata or {}).get(PROVENANCE.encode())
        return None if text is None else text.decode()

    def _begin(self, staged: Path) -> None:
        names = free_names(self.schema.names, ("geometry", "bbox"))
        fields = [pa.field(name, kind) for name, kind in zip(names, self.schema.types)]
        self._fields = pa.schema([*fields, pa.field("geometry", pa.binary()), pa.field("bbox", _BBOX)])
        # No two geometries are the same, and none is the least: a dictionary of them, or statistics, would be
        # of no use, and copies of the largest ones.
        others = [*names, *(f"bbox.{corner}" for corner in _CORNERS)]
        self._file = pq.ParquetWriter(
            staged,
            self._fields,
            compression="zstd",
            version="2.6",
            use_dictionary=others,
            write_statistics=others,
            store_schema=self._stores_arrow_schema,
        )
        self._types: set[str] = set()
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def _put(self, batch: FootprintBatch) -> None:
        ragged = batch.ragged
        if ragged is not batch.shapes:  # geometries that somebody drew
            ragged = ragged_polygons(shapely.orient_polygons(batch.geometry, exterior_cw=False))
        bounds = ragged.bounds()
        widen(self._bounds, bounds)
        self._types |= {
            ("Polygon", "MultiPolygon")[several] for several in np.unique(ragged.several).tolist()
        }
        arrays = [
            *batch.arrays(self.schema),
            wkb_array(ragged),
            pa.StructArray.from_arrays([pa.array(column) for column in bounds.T], fields=list(_BBOX)),
        ]
        self._file.write_batch(pa.record_batch(arrays, schema=self._fields))

    def _finish(self) -> None:
        # At the end, when the kinds of geometry and the extent are known: the footer comes last anyway.
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": sorted(self._types),
            "crs": self.crs.to_json_dict() if self.crs is not None else None,
            "orientation": "counterclockwise",
            "edges": "planar",
            "covering": {"bbox": {corner: ["bbox", corner] for corner in _CORNERS}},
        }
        if self._types:
            column["bbox"] = self._bounds.tolist()
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        about = {} if self.provenance is None else {PROVENANCE: self.provenance}
        self._file.add_key_value_metadata({"geo": json.dumps(geo), "generator": MARK, **about})
        self._file.close()

    def _drop(self) -> None:
        if hasattr(self, "_file"):
            try:
                self._file.close()
            except (OSError, pa.ArrowException):
                return  # the footer can't be written to a full disk; the file is thrown away


class ParquetPartWriter(ParquetWriter):
    """One of several files in a folder that are read as one data set.

    Arrow takes the metadata of a data set from Arrow's own schema in its first file, and that is written
    before the geometries are known. Without that schema it takes those of the file, which are complete.
    """

    _stores_arrow_schema = False
