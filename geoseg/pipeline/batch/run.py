"""Many scenes, one after the other: what is done is not done again, and what fails is listed."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from geoseg.config.run import RunSettings
from geoseg.errors import GeosegError, MissingFileError, ModelError, RunError, SceneError, StateMismatchError
from geoseg.files import DiskFullError, hold, plain_stem, results_folder
from geoseg.io.names import is_gone
from geoseg.io.references import Reference, SceneReference
from geoseg.io.sources import Renamed
from geoseg.io.stac_out import COLLECTION, StacAsset, check_stac, item_file, write_collection
from geoseg.pipeline.batch.ahead import worked_ahead
from geoseg.pipeline.batch.manifest import MANIFEST, STATES, Manifest, SceneRecord, State
from geoseg.pipeline.batch.merge import MERGED, MergeSummary, check_merge, earlier_merged, merge_scenes
from geoseg.pipeline.batch.plan import PlannedScene, check_settings, plan_batch
from geoseg.pipeline.batch.todo import (
    batch_key,
    check_same,
    decisive_facts,
    outcome_settings,
    scene_settings,
    sizes_of,
    sort_scenes,
    tried_key,
)
from geoseg.pipeline.extras import footprint_assets
from geoseg.pipeline.kept import way_on
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.store_state import remove_store
from geoseg.pipeline.summary import RunSummary
from geoseg.pipeline.workers import Workers, open_workers
from geoseg.typing import PathLike, Progress, no_progress
from geoseg.version import VERSION

__all__ = ["BatchSummary", "Told", "run_batch"]

#: What differs of a kept run whose scene was changed since.
_SCENE_KEYS = {"scene", "shape"}

#: Told of each scene that begins (state ``running``), is finished or failed: its record, how many are so far,
#: and how many there are.
Told: TypeAlias = Callable[[SceneRecord, int, int], None]


@dataclass(frozen=True)
class BatchSummary:
    """What a batch gave.

    Attributes
    ----------
    manifest
        The file with all of it.
    scenes
        Records of the scenes of this call, by name.
    kept
        How many of them were done before.
    seconds
        Wall time of this call.
    notes
        What the user should know about the whole; a scene's own notes are in its record.
    merged
        The data set of all scenes, where one was asked for.
    collection
        The STAC collection of all scenes, where one was asked for.
    """

    manifest: str
    scenes: list[SceneRecord]
    kept: int
    seconds: float
    notes: list[str] = field(default_factory=list)
    merged: MergeSummary | None = None
    collection: str | None = None

    @property
    def states(self) -> dict[State, int]:
        """How many scenes are in which state; those without a scene are left out."""
        counts = Counter(record.state for record in self.scenes)
        return {state: counts[state] for state in STATES if counts[state]}

    @property
    def footprints(self) -> int:
        """Footprints of all scenes that have a result."""
        return sum(record.footprints or 0 for record in self.scenes)

    @property
    def unsure(self) -> int:
        """Footprints of all scenes that were left out as too unsure."""
        return sum(record.unsure or 0 for record in self.scenes)

    @property
    def missing(self) -> list[SceneRecord]:
        """Scenes that have no result, or one that lacks regions."""
        return [record for record in self.scenes if record.state != "done"]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        counts = {"footprints": self.footprints, "unsure": self.unsure, "missing": len(self.missing)}
        return asdict(self) | {"states": self.states} | counts


def run_batch(
    words: Sequence[Reference],
    model: Any,
    out: PathLike,
    settings: RunSettings | None = None,
    *,
    progress: Progress = no_progress,
    told: Told = lambda record, done, total: None,
    client: Any = None,
) -> BatchSummary:
    """Turn many scenes into footprints, each in a folder of its own, OUT/NAME.

    What becomes of each scene is written to OUT/manifest.sqlite. The same call once more passes over scenes
    that are done, as long as their files, the model and the options are the same; goes on with those that
    were stopped; and leaves those alone that failed, unless ``retry_failed`` is set. A scene that fails does
    not keep the others from being done.

    Parameters
    ----------
    words
        What the scenes are found by; see :func:`geoseg.pipeline.batch.plan.plan_batch`.
    model
        As for :func:`geoseg.pipeline.run.run_scene`; it is loaded once.
    out
        Folder of the results; made if it is missing.
    settings
        Of each scene. ``max_failures`` ends the batch when more scenes than that have failed.
    progress
        Told of finished scenes, as stage ``scenes``, and of the stages of each scene.
    told
        See :data:`Told`.
    client
        A ``distributed.Client`` whose cluster does the work.

    Raises
    ------
    InputError
        Bad input; or another batch is at work in the folder.
    RunError
        The disk is full, or more scenes failed than ``max_failures``; what was done is kept.
    """
    from geoseg.models import as_predictor

    start = time.perf_counter()
    settings = settings or RunSettings()
    out = Path(out)
    check_settings(settings)
    check_merge(settings, out)
    if settings.stac:
        check_stac(out / COLLECTION, settings.overwrite)
    plan = plan_batch(words, settings, out=out, progress=progress)
    predictor = as_predictor(
        model,
        device=settings.main_device,
        engine=settings.engine,
        test_time=settings.given().get("test_time"),
        lazy=True,
    )
    key = batch_key(predictor, settings, progress)
    notes = list(plan.notes)
    with (
        results_folder(out),
        hold(out / MANIFEST),
        ExitStack() as hired,
        # Before the manifest: a cluster that does not answer, or can't do the job, leaves nothing behind.
        nullcontext(hired.enter_context(open_workers(settings, out, client))) as workers,
        Manifest.opened(out) as manifest,
    ):
        decisive = decisive_facts(predictor, settings)
        if not settings.restart:
            check_same(manifest, decisive, out)
        todo, kept, more = sort_scenes(plan.scenes, manifest, key, predictor, settings, out, progress)
        notes += more
        if kept_failed := [record for record in kept if record.state in ("failed", "incomplete")]:
            some = "1 scene that" if len(kept_failed) == 1 else f"{len(kept_failed)} scenes that"
            notes.append(f"{some} failed before: --retry-failed tries again")
        # A sheet that could not be read then is part of a mosaic now: no scene is missing any more.
        names = {scene.name for scene in plan.scenes}
        read = {path for scene in plan.scenes for path in scene.paths}
        manifest.drop(
            record.name
            for record in manifest.scenes()
            if record.name not in names and not record.files and read.issuperset(record.paths)
        )
        # Files that were moved, and looked at for that, need no second look.
        manifest.put(*kept)
        # Scenes of earlier calls stay in the folder and in the manifest, and are no part of this batch.
        manifest.list_only(names)
        manifest.put(*(record for _, record in todo))
        # After the records: a call that is killed in between has to be given --restart once more, no worse.
        card = predictor.card
        manifest.put_facts(
            {
                "geoseg": VERSION,
                "model": None if card is None else card.name,
                "model_fingerprint": predictor.fingerprint(),
                "options": outcome_settings(settings),
                "key": key,
                "decisive": decisive,
                "updated": _now(),
            }
        )
        total, failed = len(plan.scenes), 0
        progress("scenes", len(kept), total)
        first: list[SceneRecord] = []  # of the scenes at work, the one whose progress is told

        def work(item: tuple[PlannedScene, SceneRecord]) -> RunSummary:
            def tell(stage: str, done: float, total: float, **info: float) -> None:
                if first and first[-1] is item[1]:
                    progress(stage, done, total, **info)

            plain = scene_settings(settings).model_copy(update={"restart": False})
            return _run_changed(item[0], predictor, out, plain, tell, workers)

        with (
            _noting_stops(manifest, todo, kept, total, way_on(settings)),
            closing(worked_ahead(todo, lambda item: _begin(*item, manifest, out), work, workers)) as begun,
        ):
            for done, ((_, record), summary) in enumerate(begun, len(kept) + 1):
                first.append(record)
                told(replace(record, state="running"), done - 1, total)
                _finish(record, summary, manifest, out, settings)
                told(record, done, total)
                progress("scenes", done, total)
                failed += record.state == "failed"
                if settings.max_failures is not None and failed > settings.max_failures:
                    raise RunError(
                        f"{failed} failed, more than max_failures allows, so the batch was ended; the last "
                        f"is {record.name}: {record.error} geoseg status {out} lists all; "
                        f"{way_on(settings)} goes on."
                    )
        # The merging is this process's own, and may need the memory that their models take.
        hired.close()
        records = sorted([*kept, *(record for _, record in todo)], key=lambda record: record.name)
        merged = collection = None
        if settings.merge is not None and any(record.files for record in records):
            merged = merge_scenes(manifest, records, out, settings, progress=progress)
            notes += merged.notes
            others = sum(bool(record.files) and not record.listed for record in manifest.scenes())
            if others:
                some = "1 scene" if others == 1 else f"{others} scenes"
                notes.append(f"the merged data set holds the scenes of this call, not {some} of earlier ones")
        if earlier := earlier_merged(out, merged):
            verb = "is" if len(earlier) == 1 else "are"
            notes.append(f"{', '.join(earlier)} {verb} of an earlier call; --merge makes anew what it names")
        if settings.stac:
            collection = str(out / COLLECTION)
            # A scene that failed now may have the item of an earlier call beside it.
            whole = [record.name for record in records if record.state in ("done", "incomplete")]
            items = [item_file(out / name, name) for name in whole]
            assets = _batch_assets(out, merged)
            left_out = write_collection(out, [item for item in items if item.is_file()], VERSION, assets)
            notes += [
                f"left out of {COLLECTION}: {file}, which is no STAC item; remove it and give --restart"
                for file in left_out
            ]
    n_done = sum(record.state == "done" for record in kept)
    seconds = round(time.perf_counter() - start, 3)
    return BatchSummary(str(out / MANIFEST), records, n_done, seconds, notes, merged, collection)


def _batch_assets(out: Path, merged: MergeSummary | None) -> list[StacAsset]:
    """What the collection of a batch lists beside the items of its scenes."""
    kinds: dict[str, dict[str, Path]] = {}
    for key, file in ({} if merged is None else merged.files).items():
        kind, _, format = key.rpartition(".")
        kinds.setdefault(kind, {})[format] = out / file
    footprints = [footprint_assets(files, kind, MERGED) for kind, files in kinds.items()]
    return [*chain(*footprints), StacAsset("manifest", out / MANIFEST, "What became of each scene")]


def _begin(scene: PlannedScene, record: SceneRecord, manifest: Manifest, out: Path) -> None:
    """Note that a scene is at work, before it is: a killed batch leaves a trace of the scenes it was at."""
    record.state, record.started = "running", _now()
    # With its store goes what is known of it, in this order: from here on it goes on where it stops.
    if record.anew:
        remove_store(out / scene.name / f"{plain_stem(scene.name)}.geoseg")
        record.anew = False
    manifest.put(record)


def _finish(
    record: SceneRecord,
    summary: Callable[[], RunSummary],
    manifest: Manifest,
    out: Path,
    settings: RunSettings,
) -> None:
    """Wait for a scene; its record says what became of it."""
    start = time.perf_counter()
    try:
        _fill(record, summary(), out)
    except (DiskFullError, StateMismatchError):  # the next one would fare no better
        raise
    except (GeosegError, OSError, MemoryError) as error:
        record.state, record.error = "failed", " ".join(str(error).split()) or type(error).__name__
        # What the scene itself is at fault for stays as it is until its files or the options change. A full
        # disk, a disk that was pulled, a server, a lock or a right is put right elsewhere, and then the same
        # command tries again.
        gone = any(map(is_gone, record.paths))
        own_fault = isinstance(error, SceneError | ModelError | MissingFileError) and not gone
        record.key = tried_key(record.key, settings) if own_fault else ""
        record.seconds = round(time.perf_counter() - start, 3)
    record.finished = _now()
    manifest.put(record)


def _run_changed(
    scene: PlannedScene,
    predictor: Any,
    out: Path,
    settings: RunSettings,
    progress: Progress,
    workers: Workers | None,
) -> RunSummary:
    """Run a scene; one whose files were changed since it was begun is begun anew."""
    folder = out / scene.name
    reference: Reference = scene.reference
    own = reference.name if isinstance(reference, SceneReference) else Path(reference).stem
    if scene.name != plain_stem(own):
        reference = Renamed(scene.name, reference)
    try:
        return run_scene(reference, predictor, folder, settings, progress=progress, workers=workers)
    except StateMismatchError as error:
        # Only where the scene's files alone have changed: another model or option is for the user to decide.
        if not error.differing or not set(error.differing) <= _SCENE_KEYS:
            raise
    again = settings.model_copy(update={"restart": True})
    summary = run_scene(reference, predictor, folder, again, progress=progress, workers=workers)
    return replace(summary, notes=[*summary.notes, "its files have changed since, so it was begun anew"])


def _fill(record: SceneRecord, summary: RunSummary, out: Path) -> None:
    record.state = "incomplete" if summary.failures else "done"
    record.error = ""
    record.files = {kind: str(Path(file).relative_to(out)) for kind, file in summary.files.items()}
    record.extras = {kind: str(Path(file).relative_to(out)) for kind, file in summary.extras.items()}
    record.sizes = sizes_of(record.files, out)
    for name in (
        "footprints",
        "unsure",
        "windows",
        "windows_run",
        "seconds",
        "network_seconds",
        "mpx",
        "gsd",
    ):
        setattr(record, name, getattr(summary, name))
    record.acquired, record.bounds, record.crs = summary.acquired, summary.bounds, summary.crs
    record.failures, record.notes, record.changes = summary.failures, summary.notes, summary.changes
    record.provenance = summary.provenance


@contextmanager
def _noting_stops(
    manifest: Manifest,
    todo: Sequence[tuple[PlannedScene, SceneRecord]],
    kept: Sequence[SceneRecord],
    total: int,
    command: str,
) -> Iterator[None]:
    """Where the batch ends in the middle of scenes, their records say so."""
    try:
        yield
    except BaseException as error:
        records = [record for _, record in todo]
        stopped = [record for record in records if record.state == "running"]
        for record in stopped:
            record.state, record.finished = "stopped", _now()
        manifest.put(*stopped)
        if isinstance(error, KeyboardInterrupt):
            done = len(kept) + sum(record.state in ("done", "incomplete", "failed") for record in records)
            raise KeyboardInterrupt(
                f"{done} of {total} scenes are finished; {command} goes on from there"
            ) from None
        raise


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
