"""Vector files read in batches, geometry and a few columns at a time."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyogrio.util import vsi_path
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.io.metadata import surface_crs
from geoseg.io.vectors.formats import VectorFormat, belonging_files, check_content, parquet_files, split_layer
from geoseg.io.writers.geojson import PIXEL_NOTE
from geoseg.typing import Array, PathLike

__all__ = ["VectorBatch", "VectorFile", "open_vector"]

logger = logging.getLogger(__name__)

_READ_ERRORS: tuple[type[Exception], ...] = (
    pyogrio.errors.DataSourceError,
    pyogrio.errors.DataLayerError,
    pyogrio.errors.FieldError,
    pyogrio.errors.CRSError,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    pa.lib.ArrowException,
    shapely.errors.GEOSException,
)


@dataclass(frozen=True)
class VectorBatch:
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
class VectorFile:
    """A layer of a vector file that is read in batches.

    Attributes
    ----------
    path
        The file.
    layer
        Name of the layer where the file may have several.
    crs
        Coordinate reference system; None for plain pixel coordinates.
    bounds
        (min x, min y, max x, max y), or None of an empty layer.
    count
        Features.
    columns
        Names of all attribute columns.
    geometry_column
        Name of the geometry column of a GeoParquet file.
    """

    path: Path
    layer: str | None
    crs: CRS | None
    bounds: tuple[float, float, float, float] | None
    count: int
    columns: tuple[str, ...]
    geometry_column: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.layer is None else f"{self.path}|{self.layer}"

    def batches(self, columns: Sequence[str] = (), size: int = 65_536) -> Iterator[VectorBatch]:
        """Read the layer from its beginning, ``size`` features at a time.

        Raises
        ------
        InputError
            A column that the layer does not have, or a file that can't be read.
        """
        for name in columns:
            if name not in self.columns:
                known = ", ".join(self.columns) or "none"
                raise InputError(f"column must be one of {self.path.name} ({known}), got {name!r}.")
        if not self.count:
            return
        with _told(self.path):
            for geometry, batch in _records(self, columns, size):
                values = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in columns}
                yield VectorBatch(geometry, values)

    def schema(self) -> pa.Schema:
        """Attribute columns with their types, as :meth:`records` gives them.

        Raises
        ------
        InputError
            A file that can't be read.
        """
        if not self.columns:
            return pa.schema([])
        with _told(self.path):
            if self.geometry_column:
                import pyarrow.parquet as pq

                whole = pq.read_schema(parquet_files(self.path)[0].absolute())
            else:
                with (
                    _gdal_name(self.path, check_content(self.path)[0]) as place,
                    pyogrio.open_arrow(place, layer=self.layer, use_pyarrow=True) as (_, reader),
                ):
                    whole = reader.schema
            return pa.schema([whole.field(name) for name in self.columns])

    def records(
        self, size: int = 65_536, *, within: tuple[float, float, float, float] | None = None
    ) -> Iterator[tuple[Array, pa.RecordBatch]]:
        """Geometries and all columns, these as Arrow has them: whole numbers stay whole where some are null.

        Parameters
        ----------
        size
            Features at a time.
        within
            Bounds in the file's CRS: features elsewhere may be left out, and are not read where the file has
            an index.

        Raises
        ------
        InputError
            A file that can't be read.
        """
        if self.count:
            with _told(self.path):
                for geometry, batch in _records(self, self.columns, size, within):
                    yield geometry, batch.select(list(self.columns))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What libraries say of a file as one clear error."""
    try:
        yield
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error


def open_vector(path: PathLike, *, layer: str | None = None) -> VectorFile:
    """Read the header of a vector file.

    GeoJSON is longitude and latitude by its standard. It is taken to have no coordinate reference system
    where geoseg wrote it so and says so, where its ``crs`` is null, and where its coordinates can't be
    degrees.

    Parameters
    ----------
    path
        A file with one of the suffixes of :data:`~geoseg.io.vectors.VECTOR_FORMATS`, or ``FILE|LAYER``.
    layer
        Name of the layer; None: the one named in ``path``, or the only one.

    Raises
    ------
    MissingFileError
        No such file.
    InputError
        Another kind of file or a broken one, a layer that it does not have, or several and none chosen.
    """
    path, named = split_layer(path)
    layer = layer or named
    kind, head = check_content(path)
    try:
        # Not by GDAL, whose wheels lack the driver for it.
        if kind.name == "GeoParquet":
            return _open_parquet(path, layer)
        # A sequence without a feature is a file without a byte, which GDAL would not take for one.
        if not head and not kind.several:
            return VectorFile(path, None, CRS.from_epsg(4326), None, 0, ())
        return _open_ogr(path, kind, layer, head)
    except InputError:
        raise
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split()).rstrip(".")
    advice = "Check it with ogrinfo."
    if "onlinear" in reason:  # curves, as drawn in QGIS and ArcGIS
        advice = "Make lines of its curves with ogr2ogr -nlt CONVERT_TO_LINEAR."
    elif reason.startswith("Unknown error: Wrapping"):  # letters that are not of the encoding stated
        advice = "State the encoding of its text in a .cpg file beside it, as in: echo cp1252 > FILE.cpg."
    elif ".shx" in reason:
        advice = "A shapefile is several files (.shp, .shx, .dbf, .prj): copy them all."
    return InputError(f"vector file must be readable, got {path}: {reason}. {advice}")


def _open_ogr(path: Path, kind: VectorFormat, layer: str | None, head: bytes) -> VectorFile:
    with _gdal_name(path, kind) as place:
        chosen = _choose_layer(path, place, kind, layer)
        info = pyogrio.read_info(place, layer=chosen, force_feature_count=True, force_total_bounds=True)
    bounds = _finite(info["total_bounds"])
    crs = _stated_crs(path, info["crs"])
    if kind.prefix and crs is not None:
        # GDAL gives all GeoJSON degrees. The members before the features may say that there is no coordinate
        # reference system, and coordinates beyond all degrees do.
        members = head.partition(b'"features"')[0]
        says_none = PIXEL_NOTE.encode() in members or re.search(rb'"crs"\s*:\s*null', members)
        left, bottom, right, top = bounds or (0.0, 0.0, 0.0, 0.0)
        beyond = min(left, right) < -360 or max(left, right) > 360 or max(abs(bottom), abs(top)) > 90
        if says_none or (crs.is_geographic and beyond):
            crs = None
    _check_degrees(path, crs, bounds)
    shown = chosen if kind.several else None
    return VectorFile(path, shown, crs, bounds, int(info["features"]), tuple(info["fields"]))


@contextmanager
def _gdal_name(path: Path, kind: VectorFormat) -> Iterator[str]:
    """What GDAL calls a file, by a name that pyogrio hands on as it is.

    pyogrio takes what follows "!" for a file in an archive, drops what follows ";", and leaves out tabs and
    newlines: such a file is read through links, beside those that belong to it.
    """
    place = kind.prefix + str(path.absolute())
    if kind.prefix or vsi_path(place) == place:
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
        link = Path(folder) / f"file{path.suffix}"
        for file in [path] if path.is_dir() else belonging_files(path):
            link.with_name(link.stem + file.name.removeprefix(path.stem)).symlink_to(file.absolute())
        yield str(link)


def _choose_layer(path: Path, place: str, kind: VectorFormat, wanted: str | None) -> str:
    """The layer that is meant; tables without geometry (styles, for example) are none."""
    layers = [str(name) for name, geometry in pyogrio.list_layers(place) if geometry is not None]
    if wanted is not None:
        if wanted not in layers:
            known = ", ".join(layers) or "none"
            raise InputError(f"layer of {path.name} must be one of {known}, got {wanted!r}.")
        return wanted
    if kind.name == "KML":  # each of its folders is a layer, empty ones too
        full = [
            name
            for name in layers
            if pyogrio.read_info(place, layer=name, force_feature_count=True)["features"]
        ]
        layers = full or layers[:1]
    if not layers:
        raise InputError(f"vector file must hold geometries, got {path}, tables without any.")
    if len(layers) > 1:
        raise InputError(
            f"layer of {path.name} must be chosen, got {len(layers)} of them: {', '.join(layers)}. "
            f"Name it behind the file, as in '{path.name}|{layers[0]}'."
        )
    return layers[0]


def _stated_crs(path: Path, text: Any) -> CRS | None:
    """The CRS that a file states, by the rule for scenes; None without one, and of a local grid."""
    crs = surface_crs(CRS.from_user_input(text)) if text else None
    if text and crs is None:
        logger.warning("%s: its coordinate system is not one on the Earth; taken as none.", path)
    return crs


def _check_degrees(path: Path, crs: CRS | None, bounds: tuple[float, float, float, float] | None) -> None:
    """Refuse a file none of whose coordinates can be the degrees that it states."""
    if crs is None or bounds is None or not crs.is_geographic:
        return
    left, bottom, right, top = bounds
    if left > 360 or right < -360 or bottom > 90 or top < -90:
        extent = tuple(round(value, 6) for value in bounds)
        raise InputError(
            f"coordinates of a vector file must lie in its CRS, got {extent} in {crs.to_string()} in {path}. "
            "State the right CRS with ogr2ogr -a_srs."
        )


def _finite(bounds: Any) -> tuple[float, float, float, float] | None:
    if bounds is None or not np.all(np.isfinite(bounds)):
        return None
    return (float(bounds[0]), float(bounds[1]), float(bounds[2]), float(bounds[3]))


def _open_parquet(path: Path, layer: str | None) -> VectorFile:
    import pyarrow.parquet as pq

    if layer is not None and layer != path.stem:
        raise InputError(f"layer of {path.name} must be left out: GeoParquet has none, got {layer!r}.")
    count, boxes = 0, []
    # Of a data set in a folder each file says its own extent; all else is the same. The last one comes first.
    for part in reversed(parquet_files(path)):
        with pq.ParquetFile(part.absolute()) as file:  # a relative name may look like a URL
            # of the file, not of its Arrow schema: only that is the specification's place, and complete
            metadata, names = file.metadata.metadata or {}, file.schema_arrow.names
            count += file.metadata.num_rows
        if b"geo" not in metadata:
            raise InputError(
                f"vector file must hold geometries, got {part}, Parquet without the 'geo' metadata."
            )
        geo = json.loads(metadata[b"geo"])
        name = geo["primary_column"]
        about = geo["columns"][name]
        if (bbox := about.get("bbox")) is not None:
            boxes.append(bbox if len(bbox) == 4 else (*bbox[:2], *bbox[3:5]))
    if about.get("encoding", "WKB") != "WKB":
        raise InputError(
            f"{path} must hold its geometry as WKB, got {about['encoding']}. Write it again as WKB."
        )
    projjson = about.get("crs", "OGC:CRS84")
    extents = np.array(boxes, np.float64).reshape(-1, 4)
    bounds = _finite([*extents[:, :2].min(axis=0), *extents[:, 2:].max(axis=0)] if boxes else None)
    crs = _stated_crs(path, projjson)
    _check_degrees(path, crs, bounds)
    columns = tuple(column for column in names if column != name)
    return VectorFile(path, None, crs, bounds, count, columns, name)


def _records(
    source: VectorFile,
    columns: Sequence[str],
    size: int,
    within: tuple[float, float, float, float] | None = None,
) -> Iterator[tuple[Array, pa.RecordBatch]]:
    """Geometries, and the batches that they are from."""
    for batch, name in _arrow_batches(source, columns, size, within):
        wkb = batch.column(name).to_numpy(zero_copy_only=False)
        shapes = shapely.from_wkb(np.where([w is None for w in wkb], None, wkb))
        yield np.asarray(shapes, dtype=object).reshape(-1), batch


def _arrow_batches(
    source: VectorFile,
    columns: Sequence[str],
    size: int,
    within: tuple[float, float, float, float] | None,
) -> Iterator[tuple[pa.RecordBatch, str]]:
    """Batches, and what their column of geometries is called."""
    if source.geometry_column:
        import pyarrow.parquet as pq

        for part in parquet_files(source.path):
            with pq.ParquetFile(part.absolute()) as file:
                groups = list(range(file.num_row_groups))
                if within is not None:
                    groups = [k for k in groups if _may_meet(file.metadata.row_group(k), within)]
                for batch in file.iter_batches(
                    batch_size=size, row_groups=groups, columns=[source.geometry_column, *columns]
                ):
                    yield batch, source.geometry_column
        return
    with (
        _gdal_name(source.path, check_content(source.path)[0]) as place,
        pyogrio.open_arrow(
            place, layer=source.layer, columns=list(columns), batch_size=size, bbox=within, use_pyarrow=True
        ) as (meta, reader),
    ):
        for batch in reader:
            yield batch, meta["geometry_name"] or "wkb_geometry"


def _may_meet(group: Any, within: tuple[float, float, float, float]) -> bool:
    """Whether features of a row group may lie within bounds, by the statistics of its bbox covering."""
    chunks = (group.column(k) for k in range(group.num_columns))
    limits = {one.path_in_schema: one.statistics for one in chunks if one.path_in_schema.startswith("bbox.")}
    found = [limits.get(f"bbox.{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    known = [one for one in found if one is not None and one.has_min_max]
    if len(known) < 4:
        return True
    x_min, y_min, x_max, y_max = known
    left, bottom, right, top = within
    return bool(x_min.min <= right and x_max.max >= left and y_min.min <= top and y_max.max >= bottom)
