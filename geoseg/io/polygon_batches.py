"""Vector files read in batches, geometry and a few columns at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyproj import CRS

from geoseg.errors import InputError, MissingFileError
from geoseg.typing import Array, PathLike

__all__ = ["PolygonBatch", "PolygonSource", "is_vector_file", "open_polygons"]

#: Suffixes that mean a vector file; all other files are taken for rasters.
VECTOR_SUFFIXES = (
    ".geojson", ".json", ".geojsonl", ".geojsons", ".geojsonseq", ".ndjson", ".gpkg", ".fgb", ".shp",
    ".parquet", ".geoparquet", ".gml", ".kml", ".sqlite",
)  # fmt: skip
_PARQUET = (".parquet", ".geoparquet")


@dataclass(frozen=True)
class PolygonBatch:
    """Some features of a file.

    Attributes
    ----------
    geometry
        (n,) object array of shapely geometries, None among them where a feature has none.
    columns
        (n,) arrays by name.
    """

    geometry: Array
    columns: dict[str, Array]


@dataclass(frozen=True)
class PolygonSource:
    """A vector file that is read in batches.

    Attributes
    ----------
    path
        The file.
    crs
        Coordinate reference system; None for plain pixel coordinates.
    bounds
        (min x, min y, max x, max y), or None of an empty file.
    count
        Features.
    columns
        Names of all attribute columns.
    geometry_column
        Name of the geometry column of a GeoParquet file.
    """

    path: Path
    crs: CRS | None
    bounds: tuple[float, float, float, float] | None
    count: int
    columns: tuple[str, ...]
    geometry_column: str = ""

    def batches(self, columns: Sequence[str] = (), size: int = 65_536) -> Iterator[PolygonBatch]:
        """Read the file from its beginning, ``size`` features at a time.

        Raises
        ------
        InputError
            A column that the file does not have, or a file that can't be read.
        """
        for name in columns:
            if name not in self.columns:
                known = ", ".join(self.columns) or "none"
                raise InputError(f"column must be one of {self.path.name} ({known}), got {name!r}.")
        try:
            yield from _arrow_batches(self, columns, size)
        except InputError:
            raise
        except _READ_ERRORS as error:
            raise InputError(f"{self.path} can't be read: {error}") from None


_READ_ERRORS: tuple[type[Exception], ...] = (
    pyogrio.errors.DataSourceError,
    pyogrio.errors.FieldError,
    OSError,
    ValueError,
    KeyError,
    shapely.errors.GEOSException,
)


def is_vector_file(path: PathLike) -> bool:
    """Whether the file's suffix means polygons rather than pixels.

    Examples
    --------
    >>> is_vector_file("a/houses.GeoJSON"), is_vector_file("mask.tif")
    (True, False)
    """
    return Path(path).suffix.lower() in VECTOR_SUFFIXES


def open_polygons(path: PathLike) -> PolygonSource:
    """Read the header of a vector file.

    A GeoJSON whose coordinates can't be degrees holds pixel coordinates, as geoseg writes it for scenes
    without a coordinate reference system: its ``crs`` is None.

    Raises
    ------
    MissingFileError
        No such file.
    InputError
        Not a vector file.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"no such file: {path}")
    try:
        return _open_parquet(path) if path.suffix.lower() in _PARQUET else _open_ogr(path)
    except InputError:
        raise
    except _READ_ERRORS as error:
        raise InputError(f"{path} can't be read as a vector file: {error}") from None


def _open_ogr(path: Path) -> PolygonSource:
    info = pyogrio.read_info(path, force_feature_count=True, force_total_bounds=True)
    bounds = _finite(info["total_bounds"])
    crs = CRS.from_user_input(info["crs"]) if info["crs"] else None
    return PolygonSource(path, _degrees(crs, bounds), bounds, int(info["features"]), tuple(info["fields"]))


def _finite(bounds: Any) -> tuple[float, float, float, float] | None:
    if bounds is None or not np.all(np.isfinite(bounds)):
        return None
    return (float(bounds[0]), float(bounds[1]), float(bounds[2]), float(bounds[3]))


def _degrees(crs: CRS | None, bounds: tuple[float, float, float, float] | None) -> CRS | None:
    """The CRS, unless it is geographic and the coordinates can't be degrees."""
    if crs is None or bounds is None or not crs.is_geographic:
        return crs
    beyond = (
        min(bounds[0], bounds[2]) < -360
        or max(bounds[0], bounds[2]) > 360
        or max(map(abs, bounds[1::2])) > 90
    )
    return None if beyond else crs


def _open_parquet(path: Path) -> PolygonSource:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        # of the file, not of its Arrow schema: only that is the specification's place, and always complete
        metadata, names, count = file.metadata.metadata or {}, file.schema_arrow.names, file.metadata.num_rows
    if b"geo" not in metadata:
        raise InputError(f"{path} must be a GeoParquet file, got Parquet without the 'geo' metadata.")
    geo = json.loads(metadata[b"geo"])
    name = geo["primary_column"]
    about = geo["columns"][name]
    if about.get("encoding", "WKB") != "WKB":
        raise InputError(
            f"{path} must hold its geometry as WKB, got {about['encoding']}. Write it again as WKB."
        )
    projjson = about.get("crs", "OGC:CRS84")
    bbox = about.get("bbox")
    bounds = _finite(bbox if bbox is None or len(bbox) == 4 else (*bbox[:2], *bbox[3:5]))
    crs = None if projjson is None else CRS.from_user_input(projjson)
    columns = tuple(column for column in names if column != name)
    return PolygonSource(path, _degrees(crs, bounds), bounds, count, columns, name)


def _arrow_batches(source: PolygonSource, columns: Sequence[str], size: int) -> Iterator[PolygonBatch]:
    if source.geometry_column:
        import pyarrow.parquet as pq

        with pq.ParquetFile(source.path) as file:
            for batch in file.iter_batches(batch_size=size, columns=[source.geometry_column, *columns]):
                yield _to_batch(batch, source.geometry_column, columns)
        return
    with pyogrio.open_arrow(source.path, columns=list(columns), batch_size=size, use_pyarrow=True) as (
        meta,
        reader,
    ):
        for batch in reader:
            yield _to_batch(batch, meta["geometry_name"] or "wkb_geometry", columns)


def _to_batch(batch: Any, geometry: str, columns: Sequence[str]) -> PolygonBatch:
    wkb = batch.column(geometry).to_numpy(zero_copy_only=False)
    shapes = shapely.from_wkb(np.where([w is None for w in wkb], None, wkb))
    values = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in columns}
    return PolygonBatch(np.asarray(shapes, dtype=object).reshape(-1), values)
