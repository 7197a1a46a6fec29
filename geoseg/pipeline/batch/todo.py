"""Which scenes of a batch need work: what was done with the same files, model and options stays."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from geoseg.config.resolve import resolve
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, RunError, StateMismatchError
from geoseg.files import json_digest
from geoseg.io.fingerprint import hash_file
from geoseg.io.mosaic import files_stamps
from geoseg.io.names import is_remote
from geoseg.io.vectors.formats import belonging_files, split_layer
from geoseg.io.writers import read_provenance
from geoseg.pipeline.batch.manifest import Manifest, SceneRecord, State
from geoseg.pipeline.batch.plan import PlannedScene
from geoseg.pipeline.opening import open_for_model
from geoseg.pipeline.store import FORMAT
from geoseg.raster.source import SceneReadError
from geoseg.typing import Progress, no_progress
from geoseg.version import VERSION

__all__ = [
    "batch_key",
    "check_same",
    "decisive_facts",
    "edited_note",
    "is_whole",
    "outcome_settings",
    "scene_settings",
    "sizes_of",
    "sort_scenes",
    "tried_key",
]

#: Settings that change how a scene is worked on, and nothing of what comes out.
_WORK_ONLY = (
    "restart", "overwrite", "on_error", "batch_size", "device", "engine", "retry_failed", "max_failures",
    "mosaic", "max_cloud", "dates", "remote", "report", "workers", "scheduler", "devices", "store",
    "merge", "merge_crs", "overlaps",
)  # fmt: skip
#: Those of them by which a scene that failed may fare better: it is tried again with others.
_REMEDIES = ("overwrite", "on_error", "batch_size", "device", "engine")


def scene_settings(settings: RunSettings) -> RunSettings:
    """Settings of each scene of a batch: what is merged of all is made of exact files and of their ground."""
    if settings.merge is None:
        return settings
    wanted: dict[str, Any] = {"merge": None, "merge_crs": None, "overlaps": "keep"}
    if "parquet" not in settings.formats:
        wanted["formats"] = (*settings.formats, "parquet")
    if settings.overlaps != "keep" or settings.update is not None:
        wanted["save_valid"] = True
    return settings.model_copy(update=wanted)


def outcome_settings(settings: RunSettings) -> dict[str, Any]:
    """What the user gave of all that decides what comes out."""
    return {name: value for name, value in settings.given().items() if name not in _WORK_ONLY}


def batch_key(predictor: Any, settings: RunSettings, progress: Progress = no_progress) -> str:
    """Digest of the options and the model: a scene that was done with the same need not be done again."""
    settings = scene_settings(settings)
    # An area and known footprints are named by their files, which may be changed.
    named = (file for file in (settings.aoi, settings.update) if isinstance(file, (str, os.PathLike)))
    places = [split_layer(file)[0] for file in named]
    files = itertools.chain.from_iterable(map(belonging_files, places))
    content = hashlib.sha256()
    for file in dict.fromkeys(files):
        if file.is_file():
            content.update(file.name.encode())
            # Whole, for an edit may lie between samples; times would change with a copy, a link or chmod.
            hash_file(content, file, progress=progress)
    return json_digest([FORMAT, predictor.fingerprint(), outcome_settings(settings), content.hexdigest()])


def tried_key(key: str, settings: RunSettings) -> str:
    """Digest of all that decides whether a scene fails as before, but for its files."""
    given = settings.given()
    return json_digest([key, {name: given[name] for name in _REMEDIES if name in given}])


def sort_scenes(
    scenes: Sequence[PlannedScene],
    manifest: Manifest,
    key: str,
    predictor: Any,
    settings: RunSettings,
    out: Path,
    progress: Progress = no_progress,
) -> tuple[list[tuple[PlannedScene, SceneRecord]], list[SceneRecord], list[str]]:
    """Scenes to work on, with new records; the records of those that are left as they are; notes."""
    known = {record.name: record for record in manifest.scenes()}
    todo, kept, unseen = [], [], []
    stamps = files_stamps([scene.paths for scene in scenes])
    for number, (scene, (files_digest, changed)) in enumerate(zip(scenes, stamps, strict=True), 1):
        # A date that STAC or an index gives decides which sheet is on top, and is written to footprints.
        digest = json_digest([files_digest, scene.dates]) if any(scene.dates) else files_digest
        stamp = f"{digest} {changed}"
        record = known.get(scene.name)
        if record is not None and not settings.restart:
            before = record.stamp
            is_other = digest != before.partition(" ")[0]
            if not is_other and _stays(record, key, settings, out):
                # Earlier versions knew of no time of change.
                unchanged = True
                if before not in (stamp, digest):
                    try:
                        unchanged = _is_unchanged(scene, record, predictor, settings)
                    except (RunError, SceneReadError, OSError) as error:
                        # That it can't be looked at now says nothing about it: the next call looks again.
                        unseen.append(f"{scene.name}: {' '.join(str(error).split())}")
                        stamp = before
                    except InputError:
                        # It was looked at, and is no raster any more, or does not suit the model.
                        unchanged = False
                    progress("look again", number, len(scenes))
                if unchanged:
                    record.stamp = stamp
                    kept.append(record)
                    continue
                # Files of one size and time may be of two scenes, as those of an archive. One that failed has
                # nothing to compare, and no results to lose.
                is_other = bool(record.provenance)
            if is_other:
                _check_place(scene, record, out)
        begun = record is not None and record.state in ("running", "stopped")
        state: State = "stopped" if begun and not settings.restart else "waiting"
        # Kept until the work on the scene begins: a batch that is killed before that still knows of it.
        anew = settings.restart or (record is not None and record.anew)
        paths = [_absolute(path) for path in scene.paths]
        new = SceneRecord(scene.name, state, paths, key=key, stamp=stamp, geoseg=VERSION, anew=anew)
        todo.append((scene, new))
    notes = edited_note([name for record in kept for name in _grown(record, out)])
    if unseen:
        some = (
            "1 scene was written or moved"
            if len(unseen) == 1
            else f"{len(unseen)} scenes were written or moved"
        )
        notes.append(
            f"{some} and can't be looked at, to see what changed: what was done of it before is kept; "
            f"{unseen[0]}"
        )
    return todo, kept, notes


def _is_unchanged(scene: PlannedScene, record: SceneRecord, predictor: Any, settings: RunSettings) -> bool:
    """Whether files that are as large and as old as they were still show the scene, as its run knows it."""
    if not record.provenance:  # of a scene that failed
        return False
    suggested = {} if predictor.card is None else predictor.card.options.suggested()
    source, _ = open_for_model(scene.reference, predictor, settings, resolve(settings, suggested))
    return bool(source.fingerprint() == record.provenance.get("scene", {}).get("fingerprint"))


def _absolute(path: str) -> str:
    """A path as it can be found from any folder; what is no plain local file stays as it is."""
    return os.path.abspath(path) if Path(path).exists() else path  # noqa: PTH100 - links stay links


def _check_place(scene: PlannedScene, record: SceneRecord, out: Path) -> None:
    """Refuse a scene that has the name of another one, whose results it would replace."""

    def places(paths: Sequence[str]) -> set[str]:
        # The key of a signed address changes from day to day.
        return {path.partition("?")[0] if is_remote(path) else os.path.realpath(path) for path in paths}

    before, now = places(record.paths), places(scene.paths)
    # Files that are gone have been moved, or replaced by these: then it is the same scene.
    if before & now or not any(is_remote(path) or Path(path).exists() for path in record.paths):
        return
    raise InputError(
        f"scenes must have names of their own in {out}, got {scene.paths[0]}, whose results would replace "
        f"those of {record.paths[0]}: both are called {scene.name}. Name both in one command, which tells "
        "them apart; or give another --out, or --restart to replace them."
    )


def _stays(record: SceneRecord, key: str, settings: RunSettings, out: Path) -> bool:
    """Whether a scene of the same files needs no work: it is done and whole, or not to be tried again."""
    # Made with another model or options.
    if record.key != (tried_key(key, settings) if record.state == "failed" else key):
        return False
    if record.state == "failed":
        return not settings.retry_failed
    if record.state == "incomplete" and settings.retry_failed:
        return False
    if record.state not in ("done", "incomplete") or not is_whole(record.sizes, sizes_of(record.files, out)):
        return False
    # Edits leave what a file says of its origin; another call, on this scene alone, has put its own there. By
    # the time, for a GeoPackage of other footprints is often as large.
    finished = datetime.fromisoformat(record.finished).timestamp() + 1 if record.finished else 0.0
    places = [out / record.files[kind] for kind in record.sizes]
    origins = (read_provenance(place) for place in places if place.stat().st_mtime > finished)
    return all(origin in (None, record.provenance) for origin in origins)


def _grown(record: SceneRecord, out: Path) -> list[str]:
    """Files of a scene that are larger than they were written."""
    now = sizes_of(record.files, out)
    return [record.files[kind] for kind, size in record.sizes.items() if now.get(kind, 0) > size]


def is_whole(written: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether, by the bytes of each, all files are there that were written, and none was cut off.

    One that has grown was edited, as a GeoPackage is for: to make it anew would lose that.
    """
    return all(now.get(name, -1) >= size for name, size in written.items())


def edited_note(names: Sequence[str]) -> list[str]:
    """A note on files that have grown since they were written."""
    if not names:
        return []
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"edited since it was made, and left as it is: {shown}; what is removed is made anew"]


def sizes_of(files: dict[str, str], out: Path) -> dict[str, int]:
    """Bytes of the files that are there."""
    places = {kind: out / name for kind, name in files.items()}
    return {kind: place.stat().st_size for kind, place in places.items() if place.exists()}


def decisive_facts(predictor: Any, settings: RunSettings) -> dict[str, Any]:
    """What decides the pixels that are kept of each scene, but for the scene: it must be the same of all."""
    given = settings.given()
    names = (
        *settings.fingerprint(),
        "test_time",
        "chunk",
        "bands",
        "stretch",
        "resolution",
        "gsd",
        "bbox",
        "aoi",
    )
    facts = {"model": predictor.fingerprint()} | {name: given[name] for name in names if name in given}
    return dict(json.loads(json.dumps(facts, default=str)))  # as the manifest gives it back


def check_same(manifest: Manifest, decisive: dict[str, Any], out: Path) -> None:
    """Refuse to mix scenes of two models, before any of them is touched."""
    # By what is known of the first call: the model and options that all scenes in the folder share.
    known = manifest.facts.get("decisive", decisive)
    differing = tuple(sorted(name for name in {*known, *decisive} if known.get(name) != decisive.get(name)))
    if not differing or all(record.state == "waiting" for record in manifest.scenes()):
        return
    details = ", ".join(
        f"{name} was {str(known.get(name))[:40]}, now {str(decisive.get(name))[:40]}" for name in differing
    )
    raise StateMismatchError(
        f"{out} holds scenes of another model or options ({details}). Give --restart to begin again, or "
        "another --out.",
        differing,
    )
