"""One data set of all scenes of a batch: in the order of the ground, numbered through, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.files import hold, json_digest, scratch_folder
from geoseg.geo.geobox import body_ellipsoid, is_earth
from geoseg.io.crs import same_crs
from geoseg.io.metadata import surface_crs
from geoseg.io.vectors.formats import split_layer
from geoseg.io.writers import FORMATS, check_formats, check_unowned, output_path
from geoseg.pipeline.batch.manifest import Manifest, SceneRecord
from geoseg.pipeline.batch.todo import edited_note, is_whole
from geoseg.pipeline.extras import PARTS
from geoseg.typing import Progress, no_progress
from geoseg.version import VERSION

__all__ = ["MERGED", "MergeSummary", "check_merge", "earlier_merged", "merge_scenes"]

#: Name of the data set in the folder of the results, before the suffix of its format.
MERGED = "merged"
#: WGS 84, which shows every scene of the Earth.
_EVERYWHERE = 4326


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
    changes
        How many are new, kept, changed and gone, and how many known ones stand where nothing was seen; empty
        without ``update``.
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
    changes: dict[str, int] = field(default_factory=dict)
    made: bool = True
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check_merge(settings: RunSettings, out: Path) -> CRS | None:
    """Refuse, before any work, what can't be merged; gives the CRS that was asked for.

    Raises
    ------
    InputError
        No CRS, or a format that can't hold it; or known footprints that the merged ones would replace.
    """
    if settings.merge is None:
        return None
    if settings.update is not None:
        known = split_layer(settings.update)[0].resolve()
        files, parts = _places(settings, out)
        if any(path.resolve() in (known, *known.parents) for path in (*files.values(), *parts.values())):
            raise InputError(
                f"update must be no file that the merged data set replaces, got {settings.update}. Give "
                "another --out, or move it."
            )
    if settings.merge_crs is None:
        check_formats(settings.merge, CRS.from_epsg(_EVERYWHERE))
        return None
    try:
        crs = CRS.from_user_input(settings.merge_crs)
    except CRSError:
        raise InputError(
            f"merge_crs must be a coordinate reference system, such as EPSG:3035, got {settings.merge_crs}."
        ) from None
    # PROJ goes to heights and to places from the center of the Earth as well, and x and y of these are none.
    if surface_crs(crs) is None:
        raise InputError(
            f"merge_crs must be a geographic or projected CRS, got {settings.merge_crs} ({crs.name}). Name "
            "one such as EPSG:3035."
        )
    check_formats(settings.merge, crs)
    return crs


def _places(settings: RunSettings, out: Path) -> tuple[dict[str, Path], dict[tuple[str, str], Path]]:
    """Files of the data set by format, and those of what is new, changed and gone by kind and format."""
    formats = settings.merge or ()
    files = {name: output_path(out, MERGED, name) for name in formats}
    if settings.update is None:
        return files, {}
    return files, {
        (kind, name): output_path(out, f"{MERGED}.{kind}", name) for name in formats for kind in PARTS
    }


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
    # Loads geopandas, two seconds that a batch without merging does without.
    from geoseg.pipeline.batch.merging import Merging
    from geoseg.pipeline.update import known_footprints

    formats = settings.merge or ()
    crs = check_merge(settings, out)
    usable = [record for record in records if "parquet" in record.files and record.crs]
    notes = [
        f"{record.name} has no CRS, so the merged data set leaves it out"
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
        some = (
            "1 scene has no date, and counts" if undated == 1 else f"{undated} scenes have no date, and count"
        )
        notes.append(f"{some} as older than all others")
    files, parts = _places(settings, out)
    # All that decides what comes out: a scene that was done anew has another time in its record.
    scenes = [[one.name, one.key, one.stamp, one.sizes, one.finished] for one in usable]
    key = json_digest([VERSION, crs.to_wkt(), settings.overlaps, sorted(formats), scenes])
    before = manifest.facts.get("merged")
    now = _sizes(out, [*files.values(), *parts.values()])
    if before is not None and before["key"] == key and is_whole(before.get("sizes", {"": 0}), now):
        notes += edited_note([name for name, size in before["sizes"].items() if now[name] > size])
        same = ("files", "footprints", "crs", "scenes", "left_out", "changes")
        return MergeSummary(
            **{name: before[name] for name in same if name in before}, made=False, notes=notes
        )
    _check_places(files, settings, records)
    for (_, name), path in parts.items():
        check_unowned({name: path}, settings.overwrite)
    facts = manifest.facts
    origin = {
        "geoseg": VERSION,
        "model": {"name": facts["model"], "fingerprint": facts["model_fingerprint"]},
        "merge": {"crs": crs.to_string(), "overlaps": settings.overlaps, "scenes": len(usable)},
        # By their own origins: times and places would make the same scenes another data set.
        "scenes_digest": json_digest([[one.name, one.provenance] for one in usable]),
    }
    # The first for the scratch folder, which goes by its name where a run was killed.
    with hold(out / MERGED, *files.values(), *parts.values()), scratch_folder(out / MERGED) as scratch:
        merging = Merging(usable, out, crs, settings.overlaps, scratch)
        merging.gather(progress)
        known = None
        if settings.update is not None:
            origin |= {"update": {"name": Path(settings.update).name, "iou": settings.update_iou}}
            known = known_footprints(
                settings.update, crs, merging.extent, "the merged data set", settings.aoi
            )
        changes = merging.write(
            files, origin, progress, parts=parts, known=known, least_iou=settings.update_iou
        )
        counts = {record.name: count for record, count in zip(usable, merging.counts, strict=True) if count}
        summary = MergeSummary(
            {name: str(path.relative_to(out)) for name, path in files.items()}
            | {f"{kind}.{name}": str(path.relative_to(out)) for (kind, name), path in parts.items()},
            len(merging.runs),
            crs.to_string(),
            [record.name for record in usable],
            counts,
            {} if changes is None else changes.counts,
            notes=notes,
        )
        # After the files: a run that is killed in between makes them once more.
        sizes = _sizes(out, [*files.values(), *parts.values()])
        manifest.put_merged(summary.as_dict() | {"key": key, "sizes": sizes}, merging.left_out())
    return summary


def earlier_merged(out: Path, summary: MergeSummary | None) -> list[str]:
    """Names of merged data sets in the folder of the results that the present call has not made."""
    stems = (MERGED, *(f"{MERGED}.{kind}" for kind in PARTS))
    places = [output_path(out, stem, name) for stem in stems for name in FORMATS]
    made = {out / file for file in summary.files.values()} if summary else set()
    return [place.name for place in dict.fromkeys(places) if place not in made and place.exists()]


def _common_crs(records: Sequence[SceneRecord]) -> tuple[CRS, list[str]]:
    """The CRS of all scenes, at least one, or longitude and latitude where they have several."""
    several = [CRS.from_user_input(text) for text in dict.fromkeys(record.crs for record in records)]
    if all(same_crs(one, several[0]) for one in several):
        return several[0], []
    named = ", ".join(one.name for one in several[:3]) + (", ..." if len(several) > 3 else "")
    if is_earth(several[0]):
        whole, name = CRS.from_epsg(_EVERYWHERE), "WGS 84"
    else:
        whole = CRS(f"+proj=longlat {body_ellipsoid(several[0])} +no_defs +type=crs")
        name = "longitude and latitude"
    told = f"scenes are in {len(several)} CRSs ({named}): merged in {name}; --merge-crs chooses another"
    return whole, [told]


def _check_places(files: Mapping[str, Path], settings: RunSettings, records: Sequence[SceneRecord]) -> None:
    """Refuse places that hold what others wrote, or the results of a scene."""
    for name, path in files.items():
        if any(record.name.casefold() == path.name.casefold() for record in records):
            raise InputError(
                f"no scene may be called {path.name}, as the merged data set is. Rename its file."
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


def _sizes(out: Path, places: Sequence[Path]) -> dict[str, int]:
    """Bytes of the files that are there, by which one is noticed that was removed or cut off."""
    files = [file for place in places for file in (place.iterdir() if place.is_dir() else [place])]
    return {str(file.relative_to(out)): file.stat().st_size for file in sorted(files) if file.exists()}
