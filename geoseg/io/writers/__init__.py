"""Footprints to files: one streaming path for all vector formats.

Every writer takes batches, holds a bounded number of features, writes under a temporary name and gives the
file its name when it is complete. The bytes depend on the features alone: not on the clock, the place, or how
the features were cut into batches.

==========  ==========  ====================================================================
format      suffix      notes
==========  ==========  ====================================================================
geojson     .geojson    RFC 7946: longitude, latitude; without a CRS in pixel coordinates, and says so
geojsonseq  .geojsonl   the same, one feature a line; without features an empty file
gpkg        .gpkg       scene's CRS, spatial index; other layers of the file stay
parquet     .parquet    GeoParquet 1.1, scene's CRS, zstd, bbox covering
fgb         .fgb        FlatGeobuf, scene's CRS, rows in the order of its spatial index
shp         .shp        scene's CRS, names cut to 10 characters, at most 2 GB
pmtiles     .pmtiles    vector tiles for web maps: to look at, not to measure
==========  ==========  ====================================================================
"""

from __future__ import annotations

from geoseg.io.writers.base import FootprintBatch, FootprintWriter
from geoseg.io.writers.registry import (
    FORMATS,
    check_formats,
    check_unowned,
    coordinate_decimals,
    decimals_of,
    open_writer,
    output_path,
    read_provenance,
    scene_style,
    tile_zooms,
    zooms_of,
)

__all__ = [
    "FORMATS",
    "FootprintBatch",
    "FootprintWriter",
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
