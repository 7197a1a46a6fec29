"""One data set of all scenes of a batch: in the order of the ground, numbered through, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.files import Staged, hold, json_digest, scratch_folder
from geoseg.io.crs import same_crs
from geoseg.io.sorted_runs import KEY, SortedRuns
from geoseg.io.vectors import open_vector
from geoseg.io.writers import (
    FootprintBatch,
    check_formats,
    check_unowned,
    decimals_of,
    open_writer,
    output_path,
)
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.pipeline.batch.manifest import Manifest, SceneRecord
from geoseg.pipeline.batch.overlaps import Owners, mean_confidence, rank_scenes
from geoseg.typing import Array, Overlaps, Progress, no_progress
from geoseg.version import VERSION

__all__ = ["MERGED", "MergeSummary", "check_merge", "merge_scenes"]

#: Name of the data set in the folder of the results, before the suffix of its format.
MERGED = "merged"
#: Footprints in memory at a time, and in a file of a GeoParquet data set: some 30 MB of it.
_ROWS = 262_144
#: Read of a scene at a time.
_BATCH = 65_536
#: WGS 84, which shows every scene of the Earth.
_EVERYWHERE = 4326
_METERS_A_DEGREE = 111_320.0
#: Column of geometries while they wait to be written, and what is noted of each footprint that is left out.
_SHAPE = "shape"
_LEFT_OUT = np.dtype([("scene", np.int32), ("id", np.int64), ("owner", np.int32)])


@dataclass(frozen=True)
class MergeSummary:
    """What merging gave.

    Attributes
    ----------
    files
        Format -> file, or folder of a GeoParquet data set.
    footprints
        In each of them.
    crs
        That all are in, but for GeoJSON.
    scenes
        Names of the scenes that went in.
    left_out
        Scene -> footprints left out of it, because another scene owns their ground.
    made
        Whether it was made now; False where it was the same before.
    notes
        What the user should know.
    """

    files: dict[str, str]
    footprints: int
    crs: str
    scenes: list[str]
    left_out: dict[str, int] = field(default_factory=dict)
    made: bool = True
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check_merge(settings: RunSettings) -> CRS | None:
    """Refuse, before any work, what can't be merged; gives the CRS that was asked for.

    Raises
    ------
    InputError
        No CRS, or a format that can't hold it; or an option that needs ``merge`` without it.
    """
    if settings.merge is None:
        for name in ("merge_crs", "overlaps"):
            if name in settings.given() and getattr(settings, name) != "keep":
                raise InputError(
                    f"{name} must come with merge, which makes one data set of all scenes. Give --merge "
                    "parquet as well."
                )
        return None
    if settings.merge_crs is None:
        check_formats(settings.merge, CRS.from_epsg(_EVERYWHERE))
        return None
    try:
        crs = CRS.from_user_input(settings.merge_crs)
    except CRSError:
        raise InputError(
            f"merge_crs must be a coordinate reference system, such as EPSG:3035, got {settings.merge_crs}."
        ) from None
    check_formats(settings.merge, crs)
    return crs


def merge_scenes(
    manifest: Manifest,
    records: Sequence[SceneRecord],
    out: Path,
    settings: RunSettings,
    *,
    progress: Progress = no_progress,
) -> MergeSummary:
    """Make one data set of the footprints of scenes; it is made anew only when one of them was.

    Footprints come in the order of a Hilbert curve over the ground, and are numbered so: the same whatever
    the order in which scenes are named or were done. One that is left out is listed in the manifest.

    Parameters
    ----------
    manifest
        Of the batch; takes what was made of what.
    records
        Scenes of the batch; those without footprints are passed over.
    out
        Folder of the results.
    settings
        ``merge`` says the formats, ``merge_crs`` the CRS, ``overlaps`` who owns ground of several scenes.
    progress
        Told of footprints, as stage ``merge``.

    Raises
    ------
    InputError
        A place that holds what geoseg did not write, or a CRS that can't show a scene.
    RunError
        The disk is full; what was there before stays.
    """
    formats = settings.merge or ()
    crs = check_merge(settings)
    usable = [record for record in records if "parquet" in record.files and record.crs]
    notes = [
        f"{record.name} has no CRS, so it is in no merged data set"
        for record in records
        if record.files and not record.crs
    ]
    if not usable:
        return MergeSummary({}, 0, "", [], made=False, notes=[*notes, "there is no scene to merge"])
    if crs is None:
        crs, told = _common_crs(usable)
        notes += told
    check_formats(formats, crs)
    undated = sum(record.acquired is None for record in usable)
    if settings.overlaps == "newest" and undated:
        scenes = "1 scene has" if undated == 1 else f"{undated} scenes have"
        notes.append(f"{scenes} no date, and counts as older than all others")
    files = {name: output_path(out, MERGED, name) for name in formats}
    _check_places(files, settings, records)
    # All that decides what comes out: a scene that was done anew has another time in its record.
    parts = [[one.name, one.key, one.stamp, one.sizes, one.finished] for one in usable]
    key = json_digest([VERSION, crs.to_wkt(), settings.overlaps, sorted(formats), parts])
    before = manifest.facts.get("merged")
    if before is not None and before["key"] == key and all(map(_exists_whole, files.values())):
        known = {name: before[name] for name in ("files", "footprints", "crs", "scenes", "left_out")}
        return MergeSummary(**known, made=False, notes=notes)
    facts = manifest.facts
    origin = {
        "geoseg": VERSION,
        "model": {"name": facts["model"], "fingerprint": facts["model_fingerprint"]},
        "merge": {"crs": crs.to_string(), "overlaps": settings.overlaps, "scenes": len(usable)},
        "scenes_digest": json_digest(parts),
    }
    with hold(*files.values()), scratch_folder(out / MERGED) as scratch:
        merging = _Merging(usable, out, crs, settings.overlaps, scratch)
        merging.gather(progress)
        merging.write(files, origin, progress)
        counts = {record.name: count for record, count in zip(usable, merging.counts, strict=True) if count}
        summary = MergeSummary(
            {name: str(path.relative_to(out)) for name, path in files.items()},
            len(merging.runs),
            crs.to_string(),
            [record.name for record in usable],
            counts,
            notes=notes,
        )
        # After the files: a run that is killed in between makes them once more.
        manifest.put_merged(summary.as_dict() | {"key": key}, merging.left_out())
    return summary


def _common_crs(records: Sequence[SceneRecord]) -> tuple[CRS, list[str]]:
    """The CRS of all scenes, at least one, or WGS 84 where they have several."""
    several = [CRS.from_user_input(text) for text in dict.fromkeys(record.crs for record in records)]
    if all(same_crs(one, several[0]) for one in several):
        return several[0], []
    named = ", ".join(one.name for one in several[:3]) + (", ..." if len(several) > 3 else "")
    told = f"scenes are in {len(several)} CRSs ({named}): merged in WGS 84; --merge-crs chooses another"
    return CRS.from_epsg(_EVERYWHERE), [told]


def _check_places(files: Mapping[str, Path], settings: RunSettings, records: Sequence[SceneRecord]) -> None:
    """Refuse places that hold what others wrote, or the results of a scene."""
    for name, path in files.items():
        if any(record.name.casefold() == path.name.casefold() for record in records):
            raise InputError(
                f"no scene must be called {path.name}, as the merged data set is. Rename its file."
            )
        if name != "parquet" or not path.is_dir():
            check_unowned({name: path}, settings.overwrite)
            continue
        for part in sorted(path.iterdir()):
            if part.suffix == ".parquet":
                check_unowned({name: part}, settings.overwrite)
            elif not settings.overwrite:
                raise InputError(
                    f"{path} must hold a data set of geoseg and nothing else, got {part.name} in it. Move "
                    "that, or give --overwrite."
                )


def _exists_whole(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file()


class _Merging:
    """Footprints of scenes on their way into one data set.

    Attributes
    ----------
    runs
        Those that go in.
    counts
        How many are left out of each scene.
    """

    def __init__(
        self, records: Sequence[SceneRecord], out: Path, crs: CRS, overlaps: Overlaps, scratch: Path
    ) -> None:
        self._records, self._out, self._crs, self._overlaps = records, out, crs, overlaps
        self.runs = SortedRuns(scratch, _ROWS, ("scene", "scene_id"))
        self.counts = [0] * len(records)
        self._left_out = scratch / "left_out"
        self._schema = pa.schema([])

    def gather(self, progress: Progress) -> None:
        """Read all scenes once."""
        extents = np.array([_extent(record, self._crs) for record in self._records])
        whole = (*extents[:, :2].min(axis=0), *extents[:, 2:].max(axis=0))
        owners = None
        if self._overlaps != "keep":
            files = [self._out / record.files["parquet"] for record in self._records]
            best = self._overlaps == "best"
            confidence = {r.name: mean_confidence(f) for r, f in zip(self._records, files)} if best else {}
            ranks = rank_scenes(self._records, self._overlaps, confidence)
            owners = Owners([self._out / r.files["valid"] for r in self._records], extents, ranks)
        total = sum(record.footprints or 0 for record in self._records)
        done = 0
        with self._left_out.open("wb") as left_out:
            for scene, record in enumerate(self._records):
                source = open_vector(self._out / record.files["parquet"])
                for geometry, batch in source.records(_BATCH):
                    rows = _plain(batch)
                    if owners is not None and source.crs is not None:
                        owner = owners.of(scene, geometry, source.crs)
                        keep = owner == scene
                        gone = np.zeros(int((~keep).sum()), _LEFT_OUT)
                        gone["scene"], gone["owner"] = scene, owner[~keep]
                        gone["id"] = rows.column("scene_id").to_numpy()[~keep]
                        gone.tofile(left_out)
                        self.counts[scene] += len(gone)
                        geometry, rows = geometry[keep], rows.filter(pa.array(keep))
                    self._schema = pa.unify_schemas([self._schema, rows.schema], promote_options="permissive")
                    moved = _moved(geometry, source.crs, self._crs, record.name)
                    self.runs.add(
                        rows.append_column(KEY, pa.array(_hilbert(moved, whole))).append_column(
                            _SHAPE, pa.array(shapely.to_wkb(moved), pa.large_binary())
                        )
                    )
                    done += batch.num_rows
                    progress("merge", done, 2 * total)

    def write(self, files: Mapping[str, Path], origin: Mapping[str, Any], progress: Progress) -> None:
        """Write what was gathered, numbered through, to all files in one pass."""
        style: dict[str, Any] = {
            "schema": pa.schema([("id", pa.int64()), *self._schema]),
            "crs": self._crs,
            "provenance": origin,
            "decimals": max(
                (decimals_of(record.gsd / _METERS_A_DEGREE) for record in self._records if record.gsd),
                default=7,
            ),
            "repair": True,
        }
        count, total = 0, len(self.runs)
        with ExitStack() as stack:
            writers = [
                stack.enter_context(open_writer(name, path, **style))
                for name, path in files.items()
                if name != "parquet"
            ]
            folder = None
            if "parquet" in files:
                folder = stack.enter_context(Staged.folder(files["parquet"]))
            # Without a footprint one empty file, so that readers find the columns.
            for number, (low, high) in enumerate(self.runs.ranges() or [(0, 0)]):
                batch = self._batch(self.runs.between(low, high), count)
                for writer in writers:
                    writer.write(batch)
                if folder is not None:
                    part = folder.path / f"part-{number:05}.parquet"
                    with open_writer("parquet", part, is_part=True, **style) as writer:
                        writer.write(batch)
                count += len(batch)
                progress("merge", total + count, 2 * total)
            if folder is not None:
                folder.commit(replace=True)

    def _batch(self, rows: pa.Table | None, before: int) -> FootprintBatch:
        if rows is None:
            empty: dict[str, Array] = {name: np.empty(0, object) for name in ("id", *self._schema.names)}
            return FootprintBatch(np.empty(0, object), empty)
        geometry = shapely.from_wkb(rows.column(_SHAPE).to_numpy())
        columns: dict[str, Array] = {"id": np.arange(before + 1, before + len(rows) + 1, dtype=np.int64)}
        for name in self._schema.names:
            if name not in rows.column_names:  # of other scenes
                columns[name] = np.full(len(rows), None, object)
                continue
            column = rows.column(name)
            # Through NumPy whole numbers would become broken ones where some are missing.
            columns[name] = np.array(column.to_pylist(), object) if column.null_count else column.to_numpy()
        return FootprintBatch(geometry, columns)

    def left_out(self) -> Iterator[tuple[str, int, str]]:
        """Scene, id and owner of each footprint that was left out."""
        names = [record.name for record in self._records]
        with self._left_out.open("rb") as file:
            while len(rows := np.fromfile(file, _LEFT_OUT, _BATCH)):
                for scene, number, owner in rows.tolist():
                    yield names[scene], number, names[owner]


def _plain(batch: pa.RecordBatch) -> pa.Table:
    """Attributes of footprints; their number in the scene makes room for that in the whole."""
    table = pa.table(batch)
    number = table.column("id")
    return table.drop_columns([name for name in ("id", "bbox") if name in table.column_names]).append_column(
        "scene_id", number
    )


def _extent(record: SceneRecord, crs: CRS) -> tuple[float, float, float, float]:
    """Bounds of a scene in the CRS of the whole, a little too large."""
    x0, y0, x1, y1 = record.bounds or (0.0, 0.0, 0.0, 0.0)
    to_whole = Transformer.from_crs(record.crs, crs, always_xy=True)
    left, bottom, right, top = to_whole.transform_bounds(x0, y0, x1, y1)
    if not np.isfinite((left, bottom, right, top)).all():
        raise _unshown(record.name, crs)
    if left > right:  # over the antimeridian
        left, right = -180.0, 180.0
    # Edges are curves in another CRS, of which only some points were looked at.
    across, up = (right - left) / 50, (top - bottom) / 50
    return left - across, bottom - up, right + across, top + up


def _moved(geometry: Array, crs: CRS | None, target: CRS, name: str) -> Array:
    if crs is None or same_crs(crs, target):
        return geometry
    project = Transformer.from_crs(crs, target, always_xy=True).transform
    moved = shapely.transform(geometry, project, interleaved=False)
    if not np.isfinite(shapely.bounds(moved)).all():
        raise _unshown(name, target)
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
