"""Files of footprints that say what became of each, and files of those that are new, changed and gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer

from geoseg.geo.geobox import is_earth
from geoseg.io.vectors import class_name, open_vector
from geoseg.io.writers import FootprintBatch, open_writer
from geoseg.pipeline.update import CHANGE, Changes, Known, find_changes
from geoseg.typing import Array, BoolArray

__all__ = ["ChangeWriters", "write_updated"]


class ChangeWriters:
    """Files of footprints with the column ``change``, and files of those that are new, changed and gone.

    Parameters
    ----------
    files
        Format -> file of all footprints.
    parts
        (kind, format) -> file of those of one kind.
    schema
        Columns of the footprints, without ``change``.
    style
        Other arguments of :func:`geoseg.io.writers.open_writer`.
    compared
        Whether footprints are compared: without, there is no such column.

    Attributes
    ----------
    schema
        Columns that are written.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        parts: Mapping[tuple[str, str], Path],
        schema: pa.Schema,
        style: Mapping[str, Any],
        *,
        compared: bool = True,
    ) -> None:
        self._open, self._style = ExitStack(), dict(style)
        self.schema = pa.schema([*schema, (CHANGE, pa.string())]) if compared else schema
        self._gone = {format: path for (kind, format), path in parts.items() if kind == "gone"}
        # Those that are gone have other columns, which are known with their file only.
        wanted = {("", format): path for format, path in files.items()}
        wanted |= {key: path for key, path in parts.items() if key[0] != "gone"}
        # Opened all or none: of files that appear together none may be left when the next can't be opened.
        with ExitStack() as opening:
            self._writers = {
                (kind, format): opening.enter_context(open_writer(format, path, schema=self.schema, **style))
                for (kind, format), path in wanted.items()
            }
            self._open = opening.pop_all()

    def __enter__(self) -> ChangeWriters:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def write(self, batch: FootprintBatch, change: Array | None) -> FootprintBatch:
        """Add footprints and what became of each, where they are compared; gives them with that column."""
        if change is not None:
            batch = FootprintBatch(batch.geometry, batch.columns | {CHANGE: change})
        for (kind, _), writer in self._writers.items():
            if not kind:
                writer.write(batch)
                continue
            chosen = change == kind
            columns = {name: column[chosen] for name, column in batch.columns.items()}
            writer.write(FootprintBatch(batch.geometry[chosen], columns))
        return batch

    def write_gone(self, known: Known, changes: Changes) -> None:
        """Write known footprints that are gone, with all that was known of them."""
        gone, start, count = changes.gone, 0, 0
        schema = _described(np.empty(0, object), known.source.schema().empty_table(), known.crs, 0).schema
        with ExitStack() as files:
            writers = [
                files.enter_context(open_writer(format, path, schema=schema, **self._style))
                for format, path in self._gone.items()
            ]
            for geometry, columns in known.batches():
                chosen = gone[start : start + len(geometry)]
                start += len(geometry)
                table = _described(geometry[chosen], columns.filter(pa.array(chosen)), known.crs, count)
                count += table.num_rows
                batch = FootprintBatch.of_table(geometry[chosen], table)
                for writer in writers:
                    writer.write(batch)


def write_updated(
    footprints: Path,
    files: Mapping[str, Path],
    parts: Mapping[tuple[str, str], Path],
    known: Known,
    is_seen: Callable[[Array], BoolArray],
    seen_shares: Callable[[Array], Iterable[Array]],
    least_iou: float,
    scratch: Path,
    style: Mapping[str, Any],
    min_confidence: float = 0,
) -> Changes:
    """Write the footprints of a GeoParquet file anew, with what became of them; see :func:`find_changes`.

    They are numbered anew, 1, 2, ..., where some are left out.

    Parameters
    ----------
    footprints
        The file.
    files, parts, style
        As for :class:`ChangeWriters`.
    known, is_seen, seen_shares, least_iou, scratch
        As for :func:`find_changes`.
    min_confidence
        New footprints of a lower confidence are left out. Of those that stand where a known one does, and
        share enough of it, that one is a witness, and they stay.

    Returns
    -------
    Changes
        Of the footprints that were written.
    """
    source = open_vector(footprints)
    unsure = np.zeros(source.count, bool)

    def polygons() -> Iterator[Array]:
        start = 0
        for geometry, columns in source.records():
            if min_confidence:
                part = slice(start, start + len(geometry))
                unsure[part] = columns.column("confidence").to_numpy(zero_copy_only=False) < min_confidence
            start += len(geometry)
            yield geometry

    # Two passes over the file: what became of a footprint is known only when all have been compared.
    changes = find_changes(polygons(), source.count, known, is_seen, least_iou, scratch, seen_shares, unsure)
    fields = [field for field in source.schema() if field.name != "bbox"]
    done, count = 0, 0
    is_taken = np.ones(source.count, bool)
    with ChangeWriters(files, parts, pa.schema(fields), style) as writers:
        for geometry, columns in source.records():
            batch = FootprintBatch.of_table(geometry, columns.select([field.name for field in fields]))
            names = changes.names(done, done + len(batch))
            taken = is_taken[done : done + len(batch)]
            done += len(batch)
            if min_confidence:
                taken[:] = (names != "new") | ~unsure[done - len(batch) : done]
                rows = {name: column[taken] for name, column in batch.columns.items()}
                rows["id"] = np.arange(count + 1, count + 1 + int(taken.sum()), dtype=np.int64)
                batch, names = FootprintBatch(batch.geometry[taken], rows), names[taken]
            count += len(batch)
            writers.write(batch, names)
        writers.write_gone(known, changes)
    return replace(changes, codes=changes.codes[is_taken])


def _described(geometry: Array, columns: pa.RecordBatch | pa.Table, crs: CRS | None, before: int) -> pa.Table:
    """Columns of known footprints: first those that all footprints have, then what the file says of them.

    Of a column that both have, the file's is called ``known_NAME``.
    """
    count = len(geometry)
    area = shapely.area(geometry)
    if crs is not None and is_earth(crs):
        # Equal-area, wherever it is.
        flat = Transformer.from_crs(crs, 6933, always_xy=True).transform
        area = shapely.area(shapely.transform(geometry, flat, interleaved=False))
    classes = columns.column("class") if "class" in columns.schema.names else pa.nulls(count)
    own: dict[str, Any] = {
        "id": pa.array(np.arange(before + 1, before + count + 1)),
        "class": pa.array([class_name(value) for value in classes.to_pylist()], pa.string()),
        "area_m2" if crs is not None else "area_px": pa.array(area),
        CHANGE: pa.array(["gone"] * count, pa.string()),
    }
    # Without regard to case, for SQL has none: a GeoPackage takes ID and id for one column. The others are
    # names that formats use themselves.
    taken = {name.casefold() for name in own} | {"geometry", "geom", "bbox", "fid", "ogc_fid"}
    for field, column in zip(columns.schema, columns.columns, strict=True):
        name = field.name
        # The bounds that GeoParquet has beside its geometries are no attribute.
        if name in ("class", CHANGE) or (name == "bbox" and pa.types.is_nested(field.type)):
            continue
        while name.casefold() in taken:
            name = f"known_{name}"
        taken.add(name.casefold())
        own[name] = _simple(column)
    return pa.table(own)


def _simple(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A column as every format can hold it: truths, whole and other numbers, texts."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return column
    # Some formats have whole numbers of 64 bits with a sign and no others, which large ones do not fit into.
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind):
        return column.cast(pa.float64())
    texts = (
        value if value is None or isinstance(value, str) else _text_of(value) for value in column.to_pylist()
    )
    return pa.array(texts, pa.string())


def _text_of(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
