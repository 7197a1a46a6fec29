"""What all writers share: batches of even size, a temporary name, one clear error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import GeosegError, InputError, RunError
from geoseg.files import Staged, write_error
from geoseg.typing import Array
from geoseg.vector.ragged import RaggedPolygons, ragged_polygons

__all__ = [
    "MARK",
    "PROVENANCE",
    "FootprintBatch",
    "FootprintWriter",
    "GeometryType",
    "free_names",
    "widen",
    "wkb_array",
]

#: What a file says of who wrote it.
MARK = "geoseg"

#: Under which name a file's own metadata hold what it was made from and how.
PROVENANCE = "provenance"

GeometryType: TypeAlias = Literal["Polygon", "MultiPolygon"]
Geometries: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class FootprintBatch:
    """Some footprints.

    Attributes
    ----------
    shapes
        object (n,): shapely Polygon or MultiPolygon in the scene's CRS; or the same as arrays, with shells
        counterclockwise.
    columns
        Attribute name -> array (n,); None in an object array is null.
    """

    shapes: Geometries | RaggedPolygons
    columns: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.shapes)

    @cached_property
    def geometry(self) -> Geometries:
        """As shapely geometries, which take five times the memory for objects of many small holes."""
        return self.shapes.geometries() if isinstance(self.shapes, RaggedPolygons) else self.shapes

    @cached_property
    def ragged(self) -> RaggedPolygons:
        """As arrays."""
        return self.shapes if isinstance(self.shapes, RaggedPolygons) else ragged_polygons(self.shapes)

    def rows(self, start: int, stop: int) -> FootprintBatch:
        """Footprints [start, stop)."""
        part, shapes = slice(start, stop), self.shapes
        rows = shapes.rows(start, stop) if isinstance(shapes, RaggedPolygons) else shapes[part]
        return FootprintBatch(rows, {name: col[part] for name, col in self.columns.items()})

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        """Columns as Arrow arrays of the schema's types."""
        return [pa.array(self.columns[name], type=schema.field(name).type) for name in schema.names]

    @classmethod
    def of_table(cls, geometry: Geometries, table: pa.Table | pa.RecordBatch) -> FootprintBatch:
        """Geometries with the columns of an Arrow table."""
        # Through NumPy whole numbers would become broken ones where some are missing.
        columns: dict[str, Array] = {
            name: np.array(column.to_pylist(), object)
            if column.null_count
            else column.to_numpy(**({} if isinstance(column, pa.ChunkedArray) else {"zero_copy_only": False}))
            for name, column in zip(table.schema.names, table.columns, strict=True)
        }
        return cls(geometry, columns)

    @staticmethod
    def joined(batches: Sequence[FootprintBatch]) -> FootprintBatch:
        """Several batches as one."""
        if len(batches) == 1:
            return batches[0]
        columns = {name: np.concatenate([b.columns[name] for b in batches]) for name in batches[0].columns}
        ragged = [batch.shapes for batch in batches if isinstance(batch.shapes, RaggedPolygons)]
        if len(ragged) == len(batches) and len({part.backward for part in ragged}) == 1:
            return FootprintBatch(RaggedPolygons.joined(ragged), columns)
        return FootprintBatch(np.concatenate([batch.geometry for batch in batches]), columns)


def free_names(names: Sequence[str], taken: Iterable[str], key: Callable[[str], str] = str) -> list[str]:
    """Names of columns, numbered where one is taken.

    Parameters
    ----------
    names
        As they are in what is written.
    taken
        What the format calls columns of its own, as ``key`` gives it.
    key
        Two names of one key are the same to the format.

    Examples
    --------
    >>> free_names(["id", "ID", "fid", "geom"], ["geom", "fid"], str.casefold)
    ['id', 'ID_1', 'fid_1', 'geom_1']
    """
    keys, out = set(taken), []
    for name in names:
        free, number = name, 0
        while key(free) in keys:
            number += 1
            free = f"{name}_{number}"
        keys.add(key(free))
        out.append(free)
    return out


def wkb_array(ragged: RaggedPolygons, *, promoted: bool = False) -> pa.Array:
    """Well-known binary of (Multi)Polygons as an Arrow array, without a copy.

    Parameters
    ----------
    ragged
        The polygons.
    promoted
        Every Polygon as a MultiPolygon of one part, for formats with one geometry type a layer.

    Raises
    ------
    RunError
        They take more than 2 GB, which such an array does not hold.
    """
    data, starts = ragged.wkb(promoted=promoted)
    if starts[-1] > np.iinfo(np.int32).max:
        raise RunError(f"footprints written in one go must take at most 2 GB, got {starts[-1]} bytes.")
    buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(ragged), buffers)


def widen(extent: Array, bounds: Array) -> None:
    """Make (4,) bounds large enough for those of some geometries, (n, 4), in place."""
    # fmin and fmax pass over NaN, the bounds of an empty geometry.
    extent[:2] = np.fmin(extent[:2], bounds[:, :2].min(axis=0))
    extent[2:] = np.fmax(extent[2:], bounds[:, 2:].max(axis=0))


@dataclass(frozen=True)
class WriterOptions:
    """What a writer may be told beside what it writes; a format takes what concerns it.

    Attributes
    ----------
    provenance
        What the file says of its origin, as JSON; None: nothing.
    decimals
        Digits after the point of a coordinate in text: 1e-7 degrees are 1.1 cm.
    repair
        Make polygons valid that reprojecting and rounding made invalid.
    zooms
        Least and greatest zoom level of map tiles; None: those of pixels of 0.3 m.
    """

    provenance: str | None = None
    decimals: int = 7
    repair: bool = False
    zooms: tuple[int, int] | None = None


class FootprintWriter(ABC):
    """One output file being written.

    Used as a context manager it closes when all went well and aborts otherwise.

    Parameters
    ----------
    path
        Final name of the file.
    schema
        Attribute columns in order, without the geometry.
    crs
        CRS of the geometries; None for pixel coordinates.
    geometry_type
        "Polygon" where there are no MultiPolygons; "MultiPolygon" where there may be both.
    options
        Its origin, and how it is written.
    """

    #: Features written in one go.
    batch_rows = 4096
    #: Suffixes of the files that may lie beside the main one.
    side_suffixes: tuple[str, ...] = ()
    #: Suffix of a file beside the main one that takes the provenance; empty where the format has a place.
    provenance_suffix = ""

    @classmethod
    @abstractmethod
    def check_crs(cls, crs: CRS | None) -> None:
        """Refuse a CRS that the format can't hold.

        Raises
        ------
        InputError
            It would come out as another one.
        """

    @classmethod
    @abstractmethod
    def is_ours(cls, path: Path) -> bool:
        """Whether an existing file was written by geoseg, so that it may be written anew; by its own mark."""

    @classmethod
    def read_provenance(cls, path: Path) -> str | None:
        """What a finished file says of its origin, as it was given to the writer.

        Raises
        ------
        OSError, ValueError, sqlite3.Error, pyarrow.ArrowException
            The file can't be read.
        """
        beside = path.with_suffix(cls.provenance_suffix)
        return beside.read_text(encoding="utf-8") if beside.is_file() else None

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        crs: CRS | None,
        geometry_type: GeometryType,
        options: WriterOptions,
    ) -> None:
        self.path = path
        self.schema = schema
        self.crs = crs
        self.geometry_type = geometry_type
        self.options, self.provenance = options, options.provenance
        self.count = 0
        self._pending: list[FootprintBatch] = []
        beside = [self.provenance_suffix] if self.provenance_suffix else []
        self._output = Staged.file(path, sides=[*self.side_suffixes, *beside])
        self._open = True
        self._guarded(lambda: self._begin(self._output.path))

    @abstractmethod
    def _begin(self, staged: Path) -> None:
        """Open the file under its temporary name."""

    @abstractmethod
    def _put(self, batch: FootprintBatch) -> None:
        """Write ``batch_rows`` features, or the last ones."""

    @abstractmethod
    def _finish(self) -> None:
        """Complete the file."""

    @abstractmethod
    def _drop(self) -> None:
        """Close the file without completing it; must not raise."""

    def __enter__(self) -> FootprintWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, batch: FootprintBatch) -> None:
        """Add footprints.

        Raises
        ------
        InputError
            Columns that are not the schema's, or of another length than the geometry.
        RunError
            The file can't be written (a full disk). The writer is aborted.
        """
        if set(batch.columns) != set(self.schema.names):
            raise InputError(f"columns must be {self.schema.names}, got {list(batch.columns)}.")
        if any(len(column) != len(batch) for column in batch.columns.values()):
            raise InputError(f"columns must have {len(batch)} rows, as the geometry has.")
        if len(batch) == 0:
            return
        self._pending.append(batch)
        # Rows wait until a batch is full. Many small batches would cost a call of the format each.
        if sum(map(len, self._pending)) >= self.batch_rows:
            self._flush(last=False)

    def close(self) -> None:
        """Write what is left and give the file its name. Closing twice is fine."""
        if not self._open:
            return
        self._flush(last=True)
        self._guarded(self._finish)
        if self.provenance_suffix and self.provenance is not None:
            beside = self._output.path.with_suffix(self.provenance_suffix)
            self._guarded(partial(beside.write_text, self.provenance + "\n", encoding="utf-8"))
        self._guarded(self._output.commit)
        self._open = False  # last: until then a failure aborts

    def abort(self) -> None:
        """Forget what was written: nothing is left under the final name. Aborting twice is fine."""
        if self._open:
            self._open = False
            self._drop()
            self._output.discard()

    def _flush(self, last: bool) -> None:
        if not self._pending:
            return
        batch = FootprintBatch.joined(self._pending)
        size = self.batch_rows
        # Batches of one size, whatever came in: equal footprints give equal files.
        stop = len(batch) if last else len(batch) // size * size
        for start in range(0, stop, size):
            part = batch.rows(start, min(start + size, stop))
            self._guarded(partial(self._put, part))
        self._pending = [batch.rows(stop, len(batch))] if stop < len(batch) else []
        self.count += stop

    def _guarded(self, step: Callable[[], object]) -> None:
        """Run a step; on failure abort, and say which file could not be written."""
        try:
            step()
        except GeosegError:
            self.abort()
            raise
        except Exception as error:
            self.abort()
            raise write_error(self.path, error) from error
        # Ctrl-C, for example: nothing may stay behind under the temporary name.
        except BaseException:
            self.abort()
            raise
