"""Formats by name."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.files import json_text
from geoseg.geo.geobox import GeoBox
from geoseg.io.cog import is_our_cog
from geoseg.io.vectors.formats import parquet_files
from geoseg.io.writers.base import FootprintWriter, GeometryType, WriterOptions
from geoseg.io.writers.geojson import GeoJSONSeqWriter, GeoJSONWriter
from geoseg.io.writers.ogr import FlatGeobufWriter, GeoPackageWriter
from geoseg.io.writers.parquet import ParquetPartWriter, ParquetWriter
from geoseg.io.writers.pmtiles import PMTilesWriter, tile_zooms, zooms_of
from geoseg.io.writers.shapefile import ShapefileWriter
from geoseg.typing import PathLike

__all__ = [
    "FORMATS",
    "check_formats",
    "check_unowned",
    "coordinate_decimals",
    "decimals_of",
    "open_writer",
    "output_path",
    "read_provenance",
    "scene_style",
    "tile_zooms",
    "zooms_of",
]

_METERS_PER_DEGREE = 111_320.0

_WRITERS: dict[str, tuple[str, type[FootprintWriter]]] = {
    "geojson": (".geojson", GeoJSONWriter),
    "geojsonseq": (".geojsonl", GeoJSONSeqWriter),
    "gpkg": (".gpkg", GeoPackageWriter),
    "parquet": (".parquet", ParquetWriter),
    "fgb": (".fgb", FlatGeobufWriter),
    "shp": (".shp", ShapefileWriter),
    "pmtiles": (".pmtiles", PMTilesWriter),
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


def check_formats(formats: Iterable[str], crs: CRS | None) -> None:
    """Refuse formats that can't hold a CRS, before any work is done.

    Raises
    ------
    InputError
        An unknown format, or one that would state another CRS.
    """
    for name in formats:
        _WRITERS[_known(name)][1].check_crs(crs)


def check_unowned(files: Mapping[str, Path], overwrite: bool = False) -> None:
    """Refuse to write over files that geoseg did not write, or that were edited since as far as they tell.

    Parameters
    ----------
    files
        Format -> file to come; any other name stands for a GeoTIFF. A GeoPackage keeps its other layers,
        so it is refused only where it has a layer of that name.
    overwrite
        The user wants it.

    Raises
    ------
    InputError
        A file would be lost.
    """
    for name, path in files.items():
        is_ours = _WRITERS[name][1].is_ours if name in _WRITERS else is_our_cog
        # A table without a shapefile is somebody's, too.
        exists = path.is_file() or (name == "shp" and path.with_suffix(".dbf").is_file())
        if not overwrite and exists and not is_ours(path):
            raise InputError(
                f"output must be new or written by geoseg before, got {path}, which is neither, or was "
                "edited since. Choose another name, or give --overwrite (overwrite=True)."
            )


def read_provenance(path: PathLike) -> dict[str, Any] | None:
    """What footprints say of their origin; None where they say nothing or can't be read."""
    file = Path(path)
    if file.is_dir():  # a GeoParquet data set, of which each file says the same
        file = next(iter(parquet_files(file)), file)
    writer = next((kind for suffix, kind in _WRITERS.values() if suffix == file.suffix.lower()), None)
    try:
        found = None if writer is None else json.loads(writer.read_provenance(file) or "null")
    except (OSError, ValueError, sqlite3.Error, pa.ArrowException):  # of another program, or damaged
        return None
    return found if isinstance(found, dict) else None


def coordinate_decimals(geobox: GeoBox) -> int:
    """Digits after the point that keep the corners of a scene's pixels apart in GeoJSON: 7 or more.

    1e-7 degrees are 1.1 cm: enough for pixels of 11 cm, while those of a drone at 1 cm would fall together.
    The error of rounding stays below a twentieth of a pixel.

    Examples
    --------
    >>> from affine import Affine
    >>> utm = CRS.from_epsg(32645)
    >>> [coordinate_decimals(GeoBox(Affine(m, 0, 3.5e5, 0, -m, 3e6), utm, 9, 9)) for m in (0.5, 0.05, 0.01)]
    [7, 8, 9]
    """
    a, b, _, d, e, _ = geobox.transform[:6]
    # Without a CRS coordinates are not brought to degrees: a pixel is as wide as the transform says.
    ground = None if geobox.crs is None else geobox.ground_resolution()
    side = min(math.hypot(a, d), math.hypot(b, e)) if ground is None else min(ground) / _METERS_PER_DEGREE
    return decimals_of(side)


def scene_style(geobox: GeoBox) -> dict[str, Any]:
    """What :func:`open_writer` is told of the pixels that polygons follow: digits of text, levels of tiles.

    Told neither, polygons of fine pixels would lose their shape, or leave no tile at all.
    """
    return {"decimals": coordinate_decimals(geobox), "zooms": tile_zooms(geobox)}


def decimals_of(side: float) -> int:
    """Digits after the point that keep places apart which are ``side`` degrees from each other; 7 or more."""
    return min(15, max(7, 1 + math.ceil(-math.log10(side)))) if side > 0 else 15


def open_writer(
    format: str,
    path: PathLike,
    *,
    schema: pa.Schema,
    crs: CRS | None = None,
    geometry_type: GeometryType = "MultiPolygon",
    provenance: Mapping[str, Any] | None = None,
    decimals: int = 7,
    repair: bool = False,
    is_part: bool = False,
    zooms: tuple[int, int] | None = None,
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
    provenance
        What the footprints were made from and how, JSON-ready, which the file's own metadata keep (of formats
        without a place for it, a file FILE.provenance.json); None: nothing is said.
    decimals
        Digits after the point of a coordinate in GeoJSON, which is text (see :func:`scene_style`).
    repair
        Whether to make polygons valid that rounding to GeoJSON's degrees and digits makes invalid. It can do
        so to simplified polygons, which may have a corner on one of their edges; outlines of pixels stay
        valid, and are written faster without.
    is_part
        Whether the file is one of several in a folder that are read as one data set, as GeoParquet's can be.
    zooms
        Least and greatest zoom level of PMTiles (see :func:`scene_style`); None: those of pixels of 0.3 m.

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
    writer = _WRITERS[_known(format)][1]
    check_formats([format], crs)
    if is_part and writer is ParquetWriter:
        writer = ParquetPartWriter
    origin = None if provenance is None else json_text(provenance)
    return writer(Path(path), schema, crs, geometry_type, WriterOptions(origin, decimals, repair, zooms))
