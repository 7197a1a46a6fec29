"""Runs a graph on annotated projects and saves what comes out, on one process or several, with one result."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from geoseg.dtl.engine import Engine, open_engine
from geoseg.dtl.graph import Graph
from geoseg.dtl.layers.saving import SaveSettings
from geoseg.dtl.save import SavedSample, further_name, write_sample
from geoseg.errors import GeosegError, InputError
from geoseg.io.project import ProjectWriter
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["Failure", "Report", "run_graph"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """An image that could not be treated to its end."""

    image: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes
    ----------
    project
        The result.
    images, samples
        Read, and saved.
    repaired
        Polygons that crossed themselves.
    failures
        In the order of the images; also in ``PROJECT.failures.json`` beside the result.
    """

    project: Path
    images: int
    samples: int
    repaired: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Job:
    """What a process needs to treat images."""

    engine: Engine
    settings: SaveSettings
    staging: Path
    legacy: bool


@dataclass
class _Treated:
    """What became of one image."""

    saved: list[SavedSample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    repaired: int = 0


def run_graph(
    graph: Graph,
    projects: PathLike,
    out: PathLike,
    *,
    seed: int = 0,
    workers: int = 1,
    legacy: bool = False,
    overwrite: bool = False,
    jpeg_quality: int | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Run a graph and save the result as the project OUT/NAME.

    Images that fail are listed and left; what was saved of them before stays. The result is written under a
    temporary name and renamed when it is complete. The same seed gives the same result for any number of
    workers.

    Parameters
    ----------
    graph
        From :func:`geoseg.dtl.graph.read_graph`.
    projects
        Folder that holds the projects it reads.
    out
        Folder the result goes to; may be the same.
    seed
        Everything random follows from it.
    workers
        Processes; each treats whole images. Layers of other packages must be known to them by an entry point.
    legacy
        Write the layout of 2018.
    overwrite
        Replace a result that is there.
    jpeg_quality
        Write changed JPEG images as JPEG again.
    progress
        Told how many images are done.

    Raises
    ------
    ConfigError, InputError
        The graph does not fit the projects, or the result exists; nothing has been written.
    """
    engine = open_engine(graph, projects, seed=seed)
    settings = graph.save.settings
    assert isinstance(settings, SaveSettings)  # all save layers have these
    if jpeg_quality is not None:
        settings = settings.model_copy(update={"jpeg_quality": jpeg_quality})
    target = Path(out) / graph.name
    repaired, samples, failures = 0, 0, list[Failure]()
    with ProjectWriter(target, engine.plan.meta, legacy=legacy, overwrite=overwrite) as writer:
        job = _Job(engine, settings, writer.folder / ".staging", legacy)
        for done, treated in enumerate(_treat_all(job, workers), 1):
            failures += treated.failures
            repaired += treated.repaired
            for saved in treated.saved:
                failure = _adopt(saved, writer)
                samples += failure is None
                failures += [] if failure is None else [failure]
            progress("images", done, len(engine), samples=samples)
        shutil.rmtree(job.staging, ignore_errors=True)
    _write_failures(target.with_name(f"{graph.name}.failures.json"), failures)
    return Report(target, len(engine), samples, repaired, tuple(failures))


def _treat_all(job: _Job, workers: int) -> Iterator[_Treated]:
    """Results image by image, in their order, with a bounded number of images in flight."""
    count = len(job.engine)
    if workers <= 1 or count <= 1:
        for order in range(count):
            yield _treat(job, order)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(min(workers, count), context, initializer=_start, initargs=(job,)) as pool:
        waiting: deque[Future[_Treated]] = deque()
        try:
            for order in range(count):
                waiting.append(pool.submit(_treat_here, order))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


_here: list[_Job] = []


def _start(job: _Job) -> None:
    _here[:] = [job]


def _treat_here(order: int) -> _Treated:
    return _treat(_here[0], order)


def _treat(job: _Job, order: int) -> _Treated:
    """Run one image and write its samples to the staging folder."""
    treated = _Treated()
    item = job.engine.items[order][1]
    folder = job.staging / str(order)
    folder.mkdir(parents=True)
    try:
        for number, sample in enumerate(job.engine.samples(order)):
            treated.repaired = sample.repaired
            treated.saved.append(
                write_sample(sample, folder, number, job.settings, job.engine.plan.meta, legacy=job.legacy)
            )
    except (GeosegError, OSError, MemoryError) as error:
        logger.warning("%s was left: %s", item, error)
        treated.failures.append(Failure(str(item), " ".join(str(error).split())))
    return treated


def _adopt(saved: SavedSample, writer: ProjectWriter) -> Failure | None:
    """Move a sample's files from staging to their place in the project, under a name that is free."""
    stem, attempt = saved.stem, 0
    while not writer.is_free(saved.dataset, stem):
        stem, attempt = further_name(saved.stem, saved.key, attempt), attempt + 1
    try:
        writer.reserve(saved.dataset, f"{stem}{saved.suffix}")
    except InputError as error:
        return Failure(f"{saved.dataset}/{stem}", str(error))
    for part, file in saved.files.items():
        _place(part, stem, saved, writer)(file)
    return None


def _place(part: str, stem: str, saved: SavedSample, writer: ProjectWriter) -> Callable[[Path], object]:
    folder = writer.folder / saved.dataset / part
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{stem}{saved.suffix}"
    if part == "ann":
        name = f"{stem}.json" if writer.legacy else f"{name}.json"
    elif part != "img":
        name = f"{stem}.png"

    def move(file: Path) -> None:
        os.replace(file, folder / name)
        for beside in file.parent.glob(f"{file.name}.*") if part == "img" else ():
            os.replace(beside, folder / (name + beside.name[len(file.name) :]))

    return move


def _write_failures(path: Path, failures: list[Failure]) -> None:
    """Write the list beside the result; an old one is removed where there is none now."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    entries = [{"image": failure.image, "reason": failure.reason} for failure in failures]
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(entries, ensure_ascii=False, indent=2), encoding="utf-8")
    os.replace(temporary, path)
