"""GeoPackage, FlatGeobuf and shapefile through GDAL, fed as one Arrow stream.

GDAL pulls batches from the stream in a thread of its own; a bounded queue lies between. Appending batch by
batch instead is quadratic for some of these formats.
"""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
import shapely

from geoseg.errors import RunError
from geoseg.io.writers.base import FootprintBatch, FootprintWriter, promoted
from geoseg.io.writers.checks import check_flatgeobuf, check_geopackage, check_shapefile

__all__ = ["FlatGeobufWriter", "GeoPackageWriter", "ShapefileWriter", "dbf_names"]

_GEOMETRY = "geom"
_QUEUE_BATCHES = 4
_POLL_S = 0.2
#: GeoPackage and dBASE store the time of writing; this one instead makes equal input give equal files.
_FIXED_TIME = "2000-01-01T00:00:00.000Z"


class _Aborted(Exception):
    """Ends the stream of an aborted writer."""


class _FixedTime:
    """Stops GDAL's clock while a writer is open; the setting is global, so the writers are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _FIXED_TIME})

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


_fixed_time = _FixedTime()
_start_lock = threading.Lock()


class OgrWriter(FootprintWriter):
    """A GDAL vector driver behind a thread."""

    driver = ""
    check: Callable[[Path, int], None]
    encoding: str | None = None
    layer_options: dict[str, str] = {}  # noqa: RUF012
    dataset_options: dict[str, str] = {}  # noqa: RUF012

    def _begin(self, staged: Path) -> None:
        self._queue: queue.Queue[pa.RecordBatch | _Aborted | None] = queue.Queue(_QUEUE_BATCHES)
        self._error: BaseException | None = None
        self._staged = staged
        self._started = threading.Event()
        self._fields = self._layer_schema()
        self._thread = threading.Thread(target=self._run, args=(staged,), name=f"write {self.path.name}")
        # pyogrio warns where there is no CRS. Filters are global: one start at a time, and only its start.
        with _start_lock, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            self._thread.daemon = True
            self._thread.start()
            self._started.wait()
        self._raise_if_failed()

    def _layer_schema(self) -> pa.Schema:
        return pa.schema([*self.schema, pa.field(_GEOMETRY, pa.binary())])

    def _layer_type(self) -> str:
        return self.geometry_type

    def _arrow(self, batch: FootprintBatch) -> pa.RecordBatch:
        geometry = promoted(batch.geometry) if self._layer_type() == "MultiPolygon" else batch.geometry
        arrays = [
            array.cast(field.type)
            for array, field in zip(batch.arrays(self.schema), self._fields, strict=False)
        ]
        arrays.append(pa.array(shapely.to_wkb(geometry, byte_order=1, flavor="iso"), type=pa.binary()))
        return pa.record_batch(arrays, schema=self._fields)

    def _run(self, staged: Path) -> None:
        """Body of the thread: GDAL pulls from the queue until it ends."""
        try:
            reader = pa.RecordBatchReader.from_batches(self._fields, self._stream())
            with _fixed_time:
                pyogrio.raw.write_arrow(
                    reader,
                    staged,
                    layer=self.path.stem,
                    driver=self.driver,
                    geometry_name=_GEOMETRY,
                    geometry_type=self._layer_type(),
                    crs=self.crs.to_wkt() if self.crs is not None else None,
                    encoding=self.encoding,
                    layer_options=dict(self.layer_options),
                    dataset_options=dict(self.dataset_options),
                )
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            self._error = error
        finally:
            self._started.set()

    def _stream(self) -> Iterator[pa.RecordBatch]:
        self._started.set()
        while (item := self._queue.get()) is not None:
            if isinstance(item, _Aborted):
                raise item
            yield item

    def _put(self, batch: FootprintBatch) -> None:
        self._send(self._arrow(batch))

    def _send(self, item: Any) -> None:
        """Queue an item, unless the thread has died meanwhile."""
        while True:
            self._raise_if_failed()
            try:
                return self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue

    def _finish(self) -> None:
        self._send(None)
        self._thread.join()
        self._raise_if_failed()
        type(self).check(self._staged, self.count)

    def _drop(self) -> None:
        if not hasattr(self, "_thread"):
            return
        while self._thread.is_alive():
            try:
                self._queue.put(_Aborted(), timeout=_POLL_S)
            except queue.Full:
                continue
            self._thread.join()

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error


class GeoPackageWriter(OgrWriter):
    """GeoPackage with a spatial index; ``last_change`` is a fixed time."""

    driver = "GPKG"
    check = staticmethod(check_geopackage)
    layer_options = {"SPATIAL_INDEX": "YES"}  # noqa: RUF012


class FlatGeobufWriter(OgrWriter):
    """FlatGeobuf with its packed Hilbert index; rows lie in the index's order, not in that of the ids."""

    driver = "FlatGeobuf"
    check = staticmethod(check_flatgeobuf)
    layer_options = {"SPATIAL_INDEX": "YES"}  # noqa: RUF012


def dbf_names(names: Sequence[str]) -> list[str]:
    """Column names of at most 10 bytes, all different regardless of case, as dBASE wants them.

    Examples
    --------
    >>> dbf_names(["area_m2", "touches_edge", "touches_edition"])
    ['area_m2', 'touches_ed', 'touches__1']
    """
    taken: dict[str, None] = {}
    out = []
    for name in names:
        short = name.encode()[:10].decode(errors="ignore")
        number = 0
        while short.lower() in taken:
            number += 1
            tail = f"_{number}"
            short = name.encode()[: 10 - len(tail)].decode(errors="ignore") + tail
        taken[short.lower()] = None
        out.append(short)
    return out


class ShapefileWriter(OgrWriter):
    """Shapefile: names of 10 characters, booleans as 0 and 1, UTF-8, at most 2 GB."""

    driver = "ESRI Shapefile"
    check = staticmethod(check_shapefile)
    encoding = "UTF-8"
    layer_options = {"2GB_LIMIT": "YES", "DBF_DATE_LAST_UPDATE": "2000-01-01"}  # noqa: RUF012
    side_suffixes = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qpj", ".shp.xml")

    def _layer_schema(self) -> pa.Schema:
        types = [pa.int16() if pa.types.is_boolean(kind) else kind for kind in self.schema.types]
        fields = [pa.field(name, kind) for name, kind in zip(dbf_names(self.schema.names), types)]
        return pa.schema([*fields, pa.field(_GEOMETRY, pa.binary())])

    def _layer_type(self) -> str:
        return "Polygon"

    def _raise_if_failed(self) -> None:
        if self._error is not None and "2GB" in str(self._error):
            raise RunError(
                f"cannot write {self.path}: a shapefile holds at most 2 GB. Use gpkg, parquet or fgb."
            ) from self._error
        super()._raise_if_failed()
