"""Formats by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.io.writers.base import FootprintWriter, GeometryType
from geoseg.io.writers.geojson import GeoJSONSeqWriter, GeoJSONWriter
from geoseg.io.writers.ogr import FlatGeobufWriter, GeoPackageWriter, ShapefileWriter
from geoseg.io.writers.parquet import ParquetWriter
from geoseg.typing import PathLike

__all__ = ["FORMATS", "open_writer", "output_path"]

_WRITERS: dict[str, tuple[str, type[FootprintWriter]]] = {
    "geojson": (".geojson", GeoJSONWriter),
    "geojsonseq": (".geojsonl", GeoJSONSeqWriter),
    "gpkg": (".gpkg", GeoPackageWriter),
    "parquet": (".parquet", ParquetWriter),
    "fgb": (".fgb", FlatGeobufWriter),
    "shp": (".shp", ShapefileWriter),
}

#: Format name -> suffix of its files.
FORMATS: dict[str, str] = {name: suffix for name, (suffix, _) in _WRITERS.items()}


def _known(format: str) -> str:
    if format not in _WRITERS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format}.")
    return format


def output_path(folder: PathLike, stem: str, format: str) -> Path:
    """``folder/stem`` with the suffix of a format.

    Raises
    ------
    InputError
        An unknown format.

    Examples
    --------
    >>> output_path("out", "scene", "parquet").name
    'scene.parquet'
    """
    return Path(folder) / (stem + FORMATS[_known(format)])


def open_writer(
    format: str,
    path: PathLike,
    *,
    schema: pa.Schema,
    crs: CRS | None = None,
    geometry_type: GeometryType = "MultiPolygon",
) -> FootprintWriter:
    """Begin an output file.

    Parameters
    ----------
    format
        One of :data:`FORMATS`.
    path
        Final name; it appears when the writer is closed.
    schema
        Attribute columns in order, without the geometry.
    crs
        CRS of the geometries to come; None for pixel coordinates.
    geometry_type
        "MultiPolygon" (default) takes both kinds and makes them all MultiPolygons in GeoPackage and
        FlatGeobuf, whose layers have one type; "Polygon" promises that there are no MultiPolygons.

    Returns
    -------
    FootprintWriter
        With ``write(batch)``, ``close()`` and ``abort()``; also a context manager.

    Raises
    ------
    InputError
        An unknown format, or a folder that can't be written.
    RunError
        The file can't be begun.
    """
    return _WRITERS[_known(format)][1](Path(path), schema, crs, geometry_type)
