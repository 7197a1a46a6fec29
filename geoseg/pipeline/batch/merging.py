"""Footprints of scenes on their way into one data set: gathered, sorted by the ground, and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoseg.errors import InputError
from geoseg.files import Staged
from geoseg.geo.geobox import body_ellipsoid, to_lonlat
from geoseg.io.crs import same_crs
from geoseg.io.sorted_runs import KEY, SortedRuns
from geoseg.io.vectors import open_vector, reach
from geoseg.io.writers import FootprintBatch, decimals_of, open_writer, zooms_of
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.pipeline.batch.manifest import SceneRecord
from geoseg.pipeline.batch.overlaps import Owners, mean_confidence, rank_scenes, same_houses, settle
from geoseg.pipeline.ground import Ground, read_ground
from geoseg.pipeline.update import CHANGE, Changes, Known, find_changes
from geoseg.pipeline.update_files import ChangeWriters
from geoseg.typing import Array, BoolArray, IntArray, Overlaps, Progress

__all__ = ["Merging"]

#: Footprints in memory at a time, and in a file of a GeoParquet data set: some 30 MB of it.
_ROWS = 262_144
#: Read of a scene at a time.
_BATCH = 65_536
#: Grounds in memory at a time, of at most 16 MB.
_GROUNDS = 16
_METERS_A_DEGREE = 111_320.0
#: Columns of footprints while they wait to be written, and what is noted of each that is left out.
_SHAPE, _SCENE, _OWNER = "shape", "scene number", "owner"
_LEFT_OUT = np.dtype([("scene", np.int32), ("id", np.int64), ("owner", np.int32)])


class Merging:
    """Footprints of scenes on their way into one data set.

    Attributes
    ----------
    runs
        Those that go in.
    counts
        How many are left out of each scene.
    extents
        (n, 4) float64, bounds of each scene, a little too large.
    """

    def __init__(
        self, records: Sequence[SceneRecord], out: Path, crs: CRS, overlaps: Overlaps, scratch: Path
    ) -> None:
        self._records, self._out, self._crs, self._overlaps = records, out, crs, overlaps
        self._scratch = scratch
        self.extents = np.array([_extent(record, crs) for record in records])
        self.runs = SortedRuns(scratch, _ROWS, ("scene", "scene_id"))
        self.counts = [0] * len(records)
        self._left_out = scratch / "left_out"
        self._schema = pa.schema([])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Bounds of all scenes."""
        left, bottom = self.extents[:, :2].min(axis=0).tolist()
        right, top = self.extents[:, 2:].max(axis=0).tolist()
        return left, bottom, right, top

    def gather(self, progress: Progress) -> None:
        """Read all scenes, twice where the ground of several is to be shared out."""
        whole = self.extent
        owners = None
        if self._overlaps != "keep":
            files = [self._out / record.files["parquet"] for record in self._records]
            best = self._overlaps == "best"
            confidence = {r.name: mean_confidence(f) for r, f in zip(self._records, files)} if best else {}
            ranks = rank_scenes(self._records, self._overlaps, confidence)
            owners = Owners([self._out / r.files["valid"] for r in self._records], self.extents, ranks)
        total = sum(record.footprints or 0 for record in self._records) * (1 if owners is None else 2)
        done = 0
        lines: list[tuple[Array, IntArray]] = [(np.empty(0, object), np.empty(0, np.int64))]
        for scene, record in enumerate(self._records if owners is not None else ()):
            source = open_vector(self._out / record.files["parquet"])
            for geometry, _ in source.records(_BATCH):
                if owners is not None and source.crs is not None:
                    near = geometry[owners.of_footprints(scene, geometry, source.crs)[1]]
                    shapes = _moved(near, source.crs, self._crs, record.name)
                    lines.append((shapes, np.full(len(near), scene, np.int64)))
                done += len(geometry)
                progress("merge", done, 2 * total)
        line_shapes, line_scenes = (np.concatenate(part) for part in zip(*lines))
        on_lines: list[pa.Table] = []
        # In a file and not in memory: of scenes that overlap by half they are half of all footprints.
        with self._left_out.open("wb") as left_out:
            for scene, record in enumerate(self._records):
                source = open_vector(self._out / record.files["parquet"])
                own = _plain(source.schema().empty_table()).schema
                self._schema = pa.unify_schemas([self._schema, own], promote_options="permissive")
                for geometry, batch in source.records(_BATCH):
                    moved = _moved(geometry, source.crs, self._crs, record.name)
                    shapes = pa.array(shapely.to_wkb(moved), pa.large_binary())
                    rows = _plain(pa.table(batch)).append_column(_SHAPE, shapes)
                    # Along a Hilbert curve, so that what lies together on the ground lies together in the
                    # files.
                    rows = rows.append_column(KEY, pa.array(_hilbert(moved, whole)))
                    if owners is not None and source.crs is not None:
                        owner, is_near = owners.of_footprints(scene, geometry, source.crs)
                        # A small drawing may lie far from a line, by its size, that a large one of the same
                        # house lies on.
                        own = np.full(len(moved), scene, np.int64)
                        is_near[same_houses(moved, own, line_shapes, line_scenes)[0]] = True
                        gone = ~is_near & (owner != scene)
                        self._note(left_out, scene, rows.column("scene_id").to_numpy()[gone], owner[gone])
                        where = {_SCENE: np.full(len(rows), scene, np.int64), _OWNER: owner}
                        near = pa.table({name: rows.column(name) for name in rows.column_names} | where)
                        on_lines.append(near.filter(pa.array(is_near)))
                        rows = rows.filter(pa.array(~is_near & (owner == scene)))
                    if len(rows):
                        self.runs.add(rows)
                    done += batch.num_rows
                    progress("merge", done, 2 * total)
            if owners is not None and on_lines:
                self._settle(pa.concat_tables(on_lines, promote_options="permissive"), owners, left_out)

    def _settle(self, rows: pa.Table, owners: Owners, left_out: BinaryIO) -> None:
        """Decide on footprints near a line where the ground of scenes meets; all of these are in memory."""
        geometry = np.asarray(shapely.from_wkb(rows.column(_SHAPE).to_numpy()), object)
        scene, owner = rows.column(_SCENE).to_numpy(), rows.column(_OWNER).to_numpy().copy()
        is_cut = rows.column("touches_edge").to_numpy()
        taken, instead = settle(geometry, scene, owners.ranks[scene], scene == owner, is_cut)
        owner[instead >= 0] = scene[instead[instead >= 0]]
        number = rows.column("scene_id").to_numpy()
        for one in np.unique(scene[~taken]).tolist():
            gone = ~taken & (scene == one)
            self._note(left_out, one, number[gone], owner[gone])
        self.runs.add(rows.drop_columns([_SCENE, _OWNER]).filter(pa.array(taken)))

    def _note(self, left_out: BinaryIO, scene: int, numbers: IntArray, owner: IntArray) -> None:
        noted = np.zeros(len(numbers), _LEFT_OUT)
        noted["scene"], noted["id"], noted["owner"] = scene, numbers, owner
        left_out.write(noted.tobytes())
        self.counts[scene] += len(noted)

    def write(
        self,
        files: Mapping[str, Path],
        origin: Mapping[str, Any],
        progress: Progress,
        *,
        parts: Mapping[tuple[str, str], Path],
        known: Known | None = None,
        least_iou: float = 1.0,
    ) -> Changes | None:
        """Write what was gathered, numbered through, to all files in one pass.

        Parameters
        ----------
        files
            Format -> file, or folder of a GeoParquet data set.
        origin
            What the files say of their origin.
        progress
            Told of footprints.
        parts, known, least_iou
            See :mod:`geoseg.pipeline.update`; without ``known`` nothing is compared.

        Returns
        -------
        Changes or None
            What became of the footprints, where they were compared.
        """
        finest = min((record.gsd for record in self._records if record.gsd), default=None)
        # Each at its own latitude: web maps stretch what lies far from the equator.
        zooms = [zooms_of(record.gsd, _latitude(record)) for record in self._records if record.gsd]
        style: dict[str, Any] = {
            "crs": self._crs,
            "provenance": origin,
            # As the sharpest of the scenes needs them.
            "decimals": 7 if finest is None else decimals_of(finest / _METERS_A_DEGREE),
            "zooms": max(zooms, default=None),
            "repair": True,
        }
        schema = pa.schema([("id", pa.int64()), *self._schema])
        changes = None if known is None else self._changes(known, least_iou)
        plain = {name: path for name, path in files.items() if name != "parquet"}
        count, total = 0, len(self.runs)
        with ExitStack() as stack:
            writers = ChangeWriters(plain, parts, schema, style, compared=changes is not None)
            stack.enter_context(writers)
            folder = stack.enter_context(Staged.folder(files["parquet"])) if "parquet" in files else None
            # Without a footprint one empty file, so that readers find the columns.
            for number, (low, high) in enumerate(self.runs.ranges() or [(0, 0)]):
                batch = self._batch(self.runs.between(low, high), count)
                names = None if changes is None else changes.names(count, count + len(batch))
                batch = writers.write(batch, names)
                if folder is not None:
                    part = folder.path / f"part-{number:05}.parquet"
                    with open_writer("parquet", part, schema=writers.schema, is_part=True, **style) as writer:
                        writer.write(batch)
                count += len(batch)
                progress("merge", total + count, 2 * total)
            if changes is not None and known is not None:
                writers.write_gone(known, changes)
            if folder is not None:
                folder.commit(replace=True)
        return changes

    def _changes(self, known: Known, least_iou: float) -> Changes:
        shapes = (self._batch(self.runs.between(low, high), 0).geometry for low, high in self.runs.ranges())
        ground = lru_cache(_GROUNDS)(
            lambda scene: read_ground(self._out / self._records[scene].files["valid"])
        )

        def near(geometry: Array) -> Iterator[Ground]:
            x0, y0, x1, y1 = shapely.total_bounds(geometry)
            left, bottom, right, top = self.extents.T
            meet = np.flatnonzero((left <= x1) & (right >= x0) & (bottom <= y1) & (top >= y0))
            return map(ground, meet.tolist())  # one after the other: each may take 16 MB

        def is_seen(geometry: Array) -> BoolArray:
            # By any of the scenes: one that has seen nothing there takes nothing away.
            seen = np.zeros(len(geometry), bool)
            for one in near(geometry):
                seen |= one.holds(geometry, self._crs)
            return seen

        def seen_shares(geometry: Array) -> Iterator[Array]:
            return (one.shares(geometry, self._crs) for one in near(geometry))

        scratch = self._scratch / "compared"
        scratch.mkdir()
        return find_changes(shapes, len(self.runs), known, is_seen, least_iou, scratch, seen_shares)

    def _batch(self, rows: pa.Table | None, before: int) -> FootprintBatch:
        if rows is None:
            rows = pa.schema([*self._schema, (_SHAPE, pa.large_binary())]).empty_table()
        geometry = np.asarray(shapely.from_wkb(rows.column(_SHAPE).to_numpy()), object)
        known = set(rows.column_names)
        columns = {
            field.name: rows.column(field.name) if field.name in known else pa.nulls(len(rows), field.type)
            for field in self._schema
        }
        # Numbered through, for ids of two scenes are equal; those of the scene stay as scene_id.
        number = pa.array(np.arange(before + 1, before + len(rows) + 1, dtype=np.int64))
        return FootprintBatch.of_table(geometry, pa.table({"id": number, **columns}))

    def left_out(self) -> Iterator[tuple[str, int, str]]:
        """Scene, id and owner of each footprint that was left out."""
        names = [record.name for record in self._records]
        with self._left_out.open("rb") as file:
            while len(rows := np.fromfile(file, _LEFT_OUT, _BATCH)):
                for scene, number, owner in rows.tolist():
                    yield names[scene], number, names[owner]


def _plain(table: pa.Table) -> pa.Table:
    """Attributes of footprints; their number in the scene makes room for that in the whole."""
    others = [name for name in table.column_names if name not in ("id", "bbox", CHANGE)]
    return table.select(others).append_column("scene_id", table.column("id"))


def _extent(record: SceneRecord, crs: CRS) -> tuple[float, float, float, float]:
    """Bounds of a scene in the CRS of the whole, a little too large."""
    x0, y0, x1, y1 = record.bounds or (0.0, 0.0, 0.0, 0.0)
    own = CRS.from_user_input(record.crs)
    try:
        extent = reach((x0, y0, x1, y1), own, crs)
    except ProjError:
        if body_ellipsoid(own) == body_ellipsoid(crs):
            raise _unshown(record.name, crs) from None
        raise InputError(
            f"scenes that are merged must lie on one celestial body, got {record.name} in {own.name}, which "
            f"{crs.name} can't show. Merge those of each body in an --out of their own."
        ) from None
    if not np.isfinite(extent).all():
        raise _unshown(record.name, crs)
    left, bottom, right, top = extent
    # Of a scene on both sides of 180 degrees it is once around the Earth, and no further.
    return (max(left, -180.0), bottom, min(right, 180.0), top) if crs.is_geographic else extent


def _latitude(record: SceneRecord) -> float:
    """Latitude of the center of a scene."""
    x0, y0, x1, y1 = record.bounds or (0.0, 0.0, 0.0, 0.0)
    to_degrees = to_lonlat(CRS.from_user_input(record.crs))
    latitude = float(to_degrees.transform((x0 + x1) / 2, (y0 + y1) / 2)[1])
    return latitude if np.isfinite(latitude) else 0.0


def _moved(geometry: Array, crs: CRS | None, target: CRS, name: str) -> Array:
    if crs is None or same_crs(crs, target):
        # Those of a scene in degrees may run on beyond 180, where those of another begin anew at -180.
        return split_at_antimeridian(geometry, continuous=True) if target.is_geographic else geometry
    project = Transformer.from_crs(crs, target, always_xy=True).transform
    moved = shapely.transform(geometry, project, interleaved=False)
    if not np.isfinite(shapely.bounds(moved)).all():
        raise _unshown(name, target)
    # In degrees a footprint on the antimeridian would else reach around the earth.
    return split_at_antimeridian(moved) if target.is_geographic else moved


def _unshown(name: str, crs: CRS) -> InputError:
    return InputError(
        f"merge_crs must be able to show all scenes, got {crs.name}, in which {name} has no place. Give "
        "another, such as EPSG:4326."
    )


def _hilbert(geometry: Array, extent: tuple[float, float, float, float]) -> NDArray[np.uint32]:
    """Place of each geometry along a Hilbert curve of 2^32 steps through the extent."""
    import geopandas  # takes a second to load

    return np.asarray(geopandas.GeoSeries(geometry).hilbert_distance(extent, level=16), np.uint32)
