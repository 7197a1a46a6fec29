"""Writers through GDAL, fed as one Arrow stream: GeoPackage and FlatGeobuf.

GDAL pulls batches from the stream in a thread of its own; a bounded queue lies between. Appending batch by
batch instead is quadratic for some of these formats.
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import sqlite3
import tempfile
import threading
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyproj import CRS

from geoseg.io.crs import read_crs, same_crs, stated_crs
from geoseg.io.writers.base import (
    MARK,
    PROVENANCE,
    FootprintBatch,
    FootprintWriter,
    free_names,
    widen,
    wkb_array,
)
from geoseg.io.writers.checks import (
    check_flatgeobuf,
    check_geopackage,
    flatgeobuf_text,
    layer_descriptions,
    layer_metadata,
    layer_times,
)

__all__ = [
    "FlatGeobufWriter",
    "GeoPackageWriter",
    "OgrWriter",
    "layer_name",
]

_GEOMETRY = "geom"
#: Batches that wait for GDAL, and the time between two looks at whether its thread still lives.
_QUEUE_BATCHES = 4
_POLL_S = 0.2
#: GeoPackage and dBASE store the time of writing; with one instead of it equal input gives equal files.
_TIME = "2000-01-01T00:00:00.000Z"
_FIXED = {
    "OGR_CURRENT_DATE": _TIME,
    # Several threads put the objects of a tile in another order each time.
    "GDAL_NUM_THREADS": "1",
}
#: Places of two texts in FlatGeobuf's header.
_FGB_DESCRIPTION, _FGB_METADATA = 12, 13


class _Aborted(Exception):
    """Ends the stream of an aborted writer."""


class _FixedSettings:
    """Stops GDAL's clock while a writer is open; the settings are global, so the writers are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    def __enter__(self) -> None:
        import pyogrio  # loads pandas and geopandas, 0.3 s that a run to GeoJSON does without

        with self._lock:
            self._users += 1
            pyogrio.set_gdal_config_options(dict(_FIXED))

    def __exit__(self, *_: object) -> None:
        import pyogrio

        with self._lock:
            self._users -= 1
            if self._users == 0:
                pyogrio.set_gdal_config_options(dict.fromkeys(_FIXED))


_fixed_settings = _FixedSettings()
_start_lock = threading.Lock()


class OgrWriter(FootprintWriter):
    """A GDAL vector driver behind a thread."""

    driver = ""
    suffix = ""
    many_layers = False
    #: Whether features come back in the CRS they were given in.
    keeps_crs = True
    encoding: str | None = None
    layer_options: dict[str, str] = {}  # noqa: RUF012
    dataset_options: dict[str, str] = {}  # noqa: RUF012

    @classmethod
    def check_crs(cls, crs: CRS | None) -> None:
        """Refuse a CRS that does not come back from a file of this format."""
        if crs is not None:
            stated_crs(cls.driver, cls.suffix, crs)

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return layer_name(self.path.stem)

    @abstractmethod
    def _check(self, written: Path) -> None:
        """Read back what GDAL may have lost without a word.

        Raises
        ------
        OSError
            Something of it is missing.
        """

    def _begin(self, staged: Path) -> None:
        # A few batches, so that memory is bounded where the disk is slower than the scene.
        self._queue: queue.Queue[pa.RecordBatch | _Aborted | None] = queue.Queue(_QUEUE_BATCHES)
        self._error: BaseException | None = None
        self._staged = staged
        self._written = self._folder(staged.parent) / f"footprints{self.suffix}"
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self._started = threading.Event()
        self._fields = pa.schema([*self._columns(), pa.field(_GEOMETRY, pa.binary())])
        self._crs_text = None if self.crs is None else self._stated(self.crs)
        self._thread = threading.Thread(
            target=self._run, args=(self._written,), name=f"write {self.path.name}"
        )
        # pyogrio warns where there is no CRS. Filters are global: one start at a time, and only its start.
        with _start_lock, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            # A writer that is never closed must not keep the process alive.
            self._thread.daemon = True
            self._thread.start()
            self._started.wait()
        self._raise_if_failed()

    def _stated(self, crs: CRS) -> str:
        """The CRS as GDAL is told it."""
        return stated_crs(self.driver, self.suffix, crs) if self.keeps_crs else crs.to_wkt()

    def _columns(self) -> list[pa.Field]:
        # Regardless of case, as SQL has it. A column "fid" would become the key of the table, which has each
        # number once.
        names = free_names(self.schema.names, (_GEOMETRY, "fid"), str.casefold)
        return [pa.field(name, kind) for name, kind in zip(names, self.schema.types)]

    def _layer_type(self) -> str:
        return self.geometry_type

    def _layer_metadata(self) -> dict[str, str] | None:
        has_place = not self.provenance_suffix
        return {PROVENANCE: self.provenance} if has_place and self.provenance is not None else None

    def _put(self, batch: FootprintBatch) -> None:
        widen(self._bounds, batch.ragged.bounds())
        arrays = [
            array.cast(field.type)
            for array, field in zip(batch.arrays(self.schema), self._fields, strict=False)
        ]
        arrays.append(wkb_array(batch.ragged, promoted=self._layer_type() == "MultiPolygon"))
        self._send(pa.record_batch(arrays, schema=self._fields))

    def _folder(self, scratch: Path) -> Path:
        """A way to the scratch folder without the characters that pyogrio reads a meaning into."""
        # By a link from the temporary folder: pyogrio takes paths apart itself, and has no way to quote them.
        self._way: tempfile.TemporaryDirectory[str] | None = None
        if not re.search(r"[;!\t\r\n]", str(scratch)):
            return scratch
        self._way = tempfile.TemporaryDirectory(prefix="geoseg-")
        way = Path(self._way.name) / "scratch"
        way.symlink_to(scratch.absolute(), target_is_directory=True)
        return way

    def _run(self, written: Path) -> None:
        """Body of the thread: GDAL pulls from the queue until it ends."""
        import pyogrio

        try:
            reader = pa.RecordBatchReader.from_batches(self._fields, self._stream())
            with _fixed_settings:
                pyogrio.raw.write_arrow(
                    reader,
                    written,
                    layer=self.layer,
                    driver=self.driver,
                    geometry_name=_GEOMETRY,
                    geometry_type=self._layer_type(),
                    crs=self._crs_text,
                    encoding=self.encoding,
                    layer_options=dict(self.layer_options),
                    dataset_options=dict(self.dataset_options),
                    layer_metadata=self._layer_metadata(),
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
        self._check(self._written)
        if self.keeps_crs:
            read_back = read_crs(self._written, self.layer if self.many_layers else None)
            if not same_crs(read_back, self.crs):
                raise OSError(None, "it came out with another CRS")
        # GDAL names the layer's side files after the main one; here they get the names to be committed.
        for file in self._written.parent.glob("footprints.*"):
            side = self._staged.with_suffix(file.name.removeprefix("footprints"))
            file.rename(self._staged if file == self._written else side)
        if self._way is not None:
            self._way.cleanup()

    def _drop(self) -> None:
        if not hasattr(self, "_thread"):
            return
        # The queue may be full and GDAL waiting for a disk: the end is offered until the thread has gone.
        while self._thread.is_alive():
            try:
                self._queue.put(_Aborted(), timeout=_POLL_S)
            except queue.Full:
                continue
            self._thread.join()
        if self._way is not None:
            self._way.cleanup()

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error


class GeoPackageWriter(OgrWriter):
    """GeoPackage with a spatial index; ``last_change`` is a fixed time."""

    driver, suffix = "GPKG", ".gpkg"
    many_layers = True
    layer_options = {"SPATIAL_INDEX": "YES", "DESCRIPTION": MARK}  # noqa: RUF012

    @classmethod
    def is_ours(cls, path: Path) -> bool:
        """By the description of the layer; a package without a layer of that name only gets one more.

        One that was edited, in QGIS, say, has another time, and is the user's.
        """
        name = layer_name(path.stem)
        try:
            own = layer_descriptions(path).get(name, MARK) == MARK
            return own and layer_times(path).get(name, _TIME) == _TIME
        except sqlite3.Error:
            return False

    @classmethod
    def read_provenance(cls, path: Path) -> str | None:
        """From the metadata of the layer."""
        return layer_metadata(path, layer_name(path.stem)).get(PROVENANCE)

    def _begin(self, staged: Path) -> None:
        if self.path.exists():
            try:
                others = layer_descriptions(self.path).keys() - {self.layer}
            except sqlite3.Error:
                others = set()  # no GeoPackage: nothing of it can stay
            # Other layers are the user's: the new one is written into a copy that has them.
            if others:
                shutil.copyfile(self.path, staged.with_name(f"footprints{self.suffix}"))
        super()._begin(staged)

    def _check(self, written: Path) -> None:
        check_geopackage(written, self.layer, self.count, self._bounds)


class FlatGeobufWriter(OgrWriter):
    """FlatGeobuf with its packed Hilbert index; rows lie in the index's order, not in that of the ids."""

    driver, suffix = "FlatGeobuf", ".fgb"
    layer_options = {"SPATIAL_INDEX": "YES", "DESCRIPTION": MARK}  # noqa: RUF012

    @classmethod
    def is_ours(cls, path: Path) -> bool:
        """By the description in the header."""
        return flatgeobuf_text(path, _FGB_DESCRIPTION) == MARK

    @classmethod
    def read_provenance(cls, path: Path) -> str | None:
        """From the metadata in the header, which are a JSON object of texts."""
        text = json.loads(flatgeobuf_text(path, _FGB_METADATA) or "{}").get(PROVENANCE)
        return text if isinstance(text, str) else None

    def _check(self, written: Path) -> None:
        check_flatgeobuf(written, self.count)


def layer_name(stem: str) -> str:
    """A name that a layer may have in every format, as close to a file's as that is possible.

    A GeoPackage has no layer that begins with a sign, or as its own tables do.

    Examples
    --------
    >>> layer_name("banepa 13cm.v2"), layer_name("(2) ortho"), layer_name("#5 block"), layer_name("gpkg_a")
    ('banepa 13cm.v2', '_2) ortho', '_5 block', '_gpkg_a')
    """
    name = re.sub(r"[\x00-\x1f\x7f]", "_", stem)
    name = re.sub(r"""^[`~!@#$%^&*()+\-={}|\[\]\\:";'<>?,./ ]+""", "_", name)
    return f"_{name}" if re.match("gpkg|rtree_|sqlite_", name, re.IGNORECASE) else name
