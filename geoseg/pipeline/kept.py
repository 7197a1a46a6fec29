"""The first stage of a run: a job's store from its opening to the last chunk, and what is kept of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from geoseg.config.run import RunSettings
from geoseg.errors import GeosegError, InputError, RunError
from geoseg.io.vrt import is_vrt
from geoseg.pipeline.job import Job
from geoseg.pipeline.predict import BlockReader, PredictSummary, predict_to_store
from geoseg.pipeline.store import ProbStore
from geoseg.pipeline.strips import predict_with_workers
from geoseg.pipeline.workers import Workers
from geoseg.typing import Progress

__all__ = ["check_scene", "doubts", "kept_store", "predict_job", "store_notes", "way_on"]


def way_on(settings: RunSettings) -> str:
    """The command that goes on with what is kept."""
    return "the same command without --restart" if settings.restart else "the same command"


@contextmanager
def kept_store(job: Job, folder: Path, dtype: str = "uint8") -> Iterator[ProbStore]:
    """The job's store while the run lasts; when bad input ends it before the first chunk, nothing stays."""
    store = ProbStore.open(
        folder,
        job.plan,
        len(job.classes),
        job.fingerprint,
        dtype=dtype,
        restart=job.settings.restart,
        batch_size=job.batch_size,
        keep_batch_size=job.settings.batch_size is None,
        store=job.settings.store,
    )
    try:
        yield store
    except InputError:
        # A message that asks for other input must not leave a store which refuses that other input.
        store.discard_if_empty()
        raise
    except KeyboardInterrupt as stop:
        store.discard_if_empty()
        # The first stage says itself how many chunks are kept.
        if stop.args:
            raise
        command = way_on(job.settings)
        raise KeyboardInterrupt(f"probabilities are kept; {command} goes on from there") from None
    finally:
        store.close()


def predict_job(job: Job, store: ProbStore, progress: Progress, workers: Workers | None) -> PredictSummary:
    """Predict what the store lacks, and look at what it holds then: all chunks, of one scene.

    Raises
    ------
    SceneError, RunError
        As :func:`geoseg.pipeline.predict.predict_to_store`; or the scene changed, or chunks vanished.
    KeyboardInterrupt
        With a message that says how much is kept.
    """
    if job.settings.retry_failed:
        store.drop_failures()
    try:
        reader = BlockReader(
            job.source, job.plan, job.predictor.fill_values(), job.inside, job.settings.on_error, job.first
        )
        if workers is None or not workers.apart:
            done = predict_to_store(reader, job.predictor, store, progress=progress)
        else:
            done = predict_with_workers(reader, job.predictor, store, workers, progress=progress)
    except KeyboardInterrupt:
        # As they are recorded: to ask a store on the network again, which may not answer, takes long.
        raise KeyboardInterrupt(
            f"{len(store.records)} of {math.prod(job.plan.n_chunks)} chunks are finished and kept; "
            f"{way_on(job.settings)} goes on from there"
        ) from None
    # Where nothing was read just now, the fingerprint was taken a moment ago.
    if done.windows or done.skipped:
        check_scene(job, store)
    store.check_complete()
    return done


def check_scene(job: Job, store: ProbStore, written: Sequence[Path] = ()) -> None:
    """Make sure that the scene is still the one the run began with.

    Chunks are predicted over hours. A scene that is replaced meanwhile would be mixed with the old one, and
    the mix would be kept under the fingerprint of the old one. An array in memory is left alone: to look at
    all of it once more would cost more than it is worth.

    Raises
    ------
    RunError
        It changed: what was predicted is thrown away. Or it isn't there, or can't be read now, while what is
        seen of it (size and time of each file) is as it was: what was predicted is kept.
    """
    if not job.stamps:
        return
    names = ", ".join(map(str, written))
    unread = lost = ""
    changed = False
    try:
        if job.source.fingerprint() == job.fingerprint["scene"]:
            return
        # A VRT can be read without its sources; any other scene that was read and differs is another one.
        changed = not any(is_vrt(path) for path in job.stamps if os.path.isfile(path))  # noqa: PTH113
    except (GeosegError, OSError) as error:
        # A server that is busy, a token that is too old, a disk of the network that does not answer; or half
        # of a file that is being written, which its size or time shows.
        unread = str(error).rstrip(".")
    for path, stamp in job.stamps.items():
        try:
            stat = path.stat()
        except FileNotFoundError:
            # Also of a disk that was pulled, whose folder may be there as an empty one. A link that led
            # nowhere at the start is no reason.
            lost = lost or ("" if stamp is None else f"{path} isn't there")
        except OSError as error:
            unread = unread or str(error)
        else:
            # Not the inode: where a disk is mounted anew, every file may have another one.
            changed |= stamp is None or (stat.st_size, stat.st_mtime_ns) != stamp[1:]
    if not changed and (lost or unread):
        results = f" {names} are written, but not checked." if written else ""
        # They may only not have been there to be read, and so don't count; see keep_failures().
        skipped = " Regions that were skipped are read again." if store.records.failures else ""
        raise RunError(
            f"{job.source.name} can't be looked at again, to see whether it changed during the run: "
            f"{lost or unread}.{results} What was predicted is kept: {way_on(job.settings)} goes on from "
            f"there.{skipped}"
        )
    # All of it: nobody can tell which chunks show the old scene.
    store.discard()
    results = f" {names} still show it as it was." if written else ""
    raise RunError(
        f"{job.source.name} was replaced or changed during the run, so what was predicted is not kept."
        f"{results} Give the same command again."
    )


def store_notes(job: Job, store: ProbStore) -> list[str]:
    """Notes on chunks that are kept of an earlier run."""
    notes = [] if store.kept_since is None else doubts(job, store.kept_since)
    if store.damaged:
        chunks = "1 kept chunk was" if store.damaged == 1 else f"{store.damaged} kept chunks were"
        notes.append(f"{chunks} damaged or gone from {store.files.depot}: predicted again")
    return notes


def doubts(job: Job, since: float) -> list[str]:
    """A note where nobody knows whether the scene is still the one that was predicted at a time (Unix)."""
    reason = job.source.doubt(since)
    if reason is None:
        return []
    return [
        f"{job.source.name} was compared with the scene of the earlier run by samples only, for {reason}: "
        "--restart predicts it anew"
    ]
