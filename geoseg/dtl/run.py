"""Runs a graph on annotated projects and saves what comes out, on one process or several, with one result."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path

from geoseg.dtl.counts import warnings_of
from geoseg.dtl.engine import GraphEngine, open_engine
from geoseg.dtl.graph import Graph, read_graph
from geoseg.dtl.layers.saving import SaveSettings
from geoseg.dtl.save import SavedSample, further_name, write_sample
from geoseg.dtl.tags import gather, settled_tags, surprises, values_to_text
from geoseg.errors import GeosegError, InputError, RunError
from geoseg.files import DiskFullError, stop_if_full, write_failures
from geoseg.projects.formats.transfer import Failure
from geoseg.projects.image_output import companions
from geoseg.projects.writer import ProjectWriter
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["GraphSummary", "run_graph"]

logger = logging.getLogger(__name__)

#: Neighboring samples that one process treats: they read the same blocks of a file.
_RUN = 8


@dataclass(frozen=True)
class GraphSummary:
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
class _Setup:
    """What a process needs to treat images."""

    engine: GraphEngine
    settings: SaveSettings
    staging: Path
    legacy: bool


@dataclass
class _Treated:
    """What became of one image, or of a share of its samples.

    Failures are counted by reason: those of the graph, which every share meets, and those of its own samples.
    ``tags`` are the kinds of values of those that the plan did not know, or not so.
    """

    image: str
    saved: dict[int, SavedSample] = field(default_factory=dict)
    shared: Counter[str] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    tags: dict[str, set[str]] = field(default_factory=dict)

    @property
    def reasons(self) -> Counter[str]:
        """All failures."""
        return self.shared + self.own

    def join(self, other: _Treated) -> _Treated:
        """Add another share of the same image."""
        self.saved |= other.saved
        self.shared |= other.shared
        self.own += other.own
        self.repaired = max(self.repaired, other.repaired)
        gather(self.tags, other.tags)
        return self


def run_graph(
    graph: PathLike | Graph,
    projects: PathLike,
    out: PathLike,
    *,
    seed: int = 0,
    workers: int = 1,
    legacy: bool = False,
    overwrite: bool = False,
    jpeg_quality: int | None = None,
    progress: Progress = no_progress,
) -> GraphSummary:
    """Run a graph and save the result as the project OUT/NAME.

    Samples that fail, and images that can't be used, are listed and left; the rest goes on. The result is
    written under a temporary name and renamed when it is complete. The same seed gives the same result for
    any number of workers.

    Parameters
    ----------
    graph
        A JSON file, or a graph read already.
    projects
        Folder that holds the projects it reads.
    out
        Folder the result goes to; may be the same.
    seed
        Everything random follows from it.
    workers
        Processes. Layers of other packages must be known to them by an entry point.
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
    RunError
        The disk is full, or a worker was killed; what had been written is removed.
    """
    if not isinstance(graph, Graph):
        graph = read_graph(graph)
    engine = open_engine(graph, projects, seed=seed)
    for note in warnings_of(engine.plan):
        logger.warning("%s", note)
    settings = graph.save.settings
    assert isinstance(settings, SaveSettings)  # all save layers have these
    if jpeg_quality is not None:
        settings = settings.model_copy(update={"jpeg_quality": jpeg_quality})
    target = Path(out) / graph.name
    _check_target(target, engine)
    repaired, samples, failures = 0, 0, list[Failure]()
    tags: dict[str, set[str]] = {}
    with ProjectWriter(target, engine.plan.meta, legacy=legacy, overwrite=overwrite) as writer:
        # In the folder of the result: on the same file system, so a finished sample is renamed to its place.
        setup = _Setup(engine, settings, writer.folder / ".staging", legacy)
        for done, treated in enumerate(_treat_all(setup, workers), 1):
            repaired += treated.repaired
            gather(tags, treated.tags)
            # Names are given out here, in one process and in order: the result is the same for any number of
            # workers.
            for number in sorted(treated.saved):
                error = _adopt(treated.saved[number], writer)
                samples += error is None
                treated.own.update([] if error is None else [error])
            failures += [Failure(treated.image, reason, n) for reason, n in treated.reasons.items()]
            progress("images", done, len(engine), samples=samples)
        # Inside the result until now, so that moving a sample to its place never copies it. What can't be
        # removed would stay a part of the project: then the run fails.
        if setup.staging.exists():
            shutil.rmtree(setup.staging)
        writer.meta, as_text = settled_tags(writer.meta, tags)
        if as_text and not legacy:
            values_to_text(writer.folder.glob("*/ann/*.json"), as_text)
        write_failures([target], [asdict(f) for f in failures])
    return GraphSummary(target, len(engine), samples, repaired, tuple(failures))


def _treat_all(setup: _Setup, workers: int) -> Iterator[_Treated]:
    """Results image by image, in their order, with a bounded number in flight.

    Where there are fewer images than would keep the processes busy, each image's samples are shared out:
    every process runs the graph, which costs little, and reads and writes the pixels of its own samples.
    """
    count = len(setup.engine)
    if workers <= 1 or not count:
        for order in range(count):
            yield _treat(setup, order, 0, 1)
        return
    # From four images a worker on, dealing out whole images keeps all of them busy.
    shares = workers if count < 4 * workers else 1
    # Never fork: GDAL and the threads of numerical libraries do not survive it.
    context = get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(setup, stop)) as pool:
        waiting: deque[list[Future[_Treated]]] = deque()
        try:
            for order in range(count):
                with _no_interrupt():
                    waiting.append(
                        [pool.submit(_treat_here, order, share, shares) for share in range(shares)]
                    )
                # Two tasks a worker: one being done and one to take up at once. More would only fill memory
                # with results.
                if len(waiting) * shares >= 2 * workers:
                    yield _joined(waiting.popleft())
            while waiting:
                yield _joined(waiting.popleft())
        finally:
            stop.set()
            for future in (future for futures in waiting for future in futures):
                future.cancel()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Hold interrupts back, for good in processes started meanwhile: the parent tells them when to stop."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _joined(futures: list[Future[_Treated]]) -> _Treated:
    try:
        first, *others = (future.result() for future in futures)
    except BrokenProcessPool:
        raise RunError(
            "a worker was ended from outside, by a lack of memory perhaps. Use fewer --workers."
        ) from None
    for other in others:
        first.join(other)
    return first


_here: list[tuple[_Setup, Callable[[], bool]]] = []


def _start(setup: _Setup, stop: Event) -> None:
    """Prepare a worker."""
    # Ctrl-C reaches the whole group; the parent tells the workers to stop, and says so once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _here[:] = [(setup, stop.is_set)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave when the process that hands out work is gone: killed, it can't tell its workers."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        # No clean end: nothing may be written any more, and handlers could wait for the parent.
        os._exit(1)


def _treat_here(order: int, share: int, shares: int) -> _Treated:
    setup, stopped = _here[0]
    return _treat(setup, order, share, shares, stopped)


def _treat(
    setup: _Setup, order: int, share: int, shares: int, stopped: Callable[[], bool] = lambda: False
) -> _Treated:
    """Run one image and write its samples, or a share of them, to the staging folder."""
    item = setup.engine.items[order][1]
    treated = _Treated(str(item))
    folder, meta = setup.staging / str(order), setup.engine.plan.meta
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for number, sample in enumerate(
            setup.engine.samples(order, failed=lambda error: treated.shared.update([_line(error)]))
        ):
            if stopped():
                break
            treated.repaired = sample.repaired
            if number // _RUN % shares == share:
                try:
                    treated.saved[number] = write_sample(
                        sample, folder, number, setup.settings, meta, legacy=setup.legacy
                    )
                    gather(treated.tags, surprises(sample, meta))
                except Exception as error:  # noqa: BLE001 - pixels are made here, by layers of any author
                    stop_if_full(error, setup.staging.parent.parent)
                    treated.own[_line(error)] += 1
    # All further samples would fail the same way: the run ends.
    except DiskFullError:
        raise
    except (GeosegError, OSError, MemoryError) as error:
        treated.shared[_line(error)] += 1
    for reason in treated.reasons:
        logger.warning("%s: %s", item, reason)
    return treated


def _line(error: BaseException) -> str:
    # Errors of libraries come in several lines; the list of failures has one a reason.
    text = " ".join(str(error).split())
    if isinstance(error, GeosegError | OSError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _check_target(target: Path, engine: GraphEngine) -> None:
    """Refuse a result that would take the place of a project the graph reads, or lie in it."""
    own = target.resolve()
    for name in engine.metas:
        source = (engine.root / name).resolve()
        # The result replaces its folder as a whole, and with it whatever it is read from.
        if own == source or source in own.parents or own in source.parents:
            raise InputError(
                f"out must not be a project that the graph reads, got {target}. "
                "Name another folder in --out, or another project in the save layer."
            )


def _adopt(saved: SavedSample, writer: ProjectWriter) -> str | None:
    """Move a sample's files from staging to their place in the project, under a name that is free.

    Returns why it can't be, or None.
    """
    stem, attempt = saved.stem, 0
    while not writer.is_free(saved.dataset, stem):
        stem, attempt = further_name(saved.stem, saved.key, attempt), attempt + 1
    try:
        writer.reserve(saved.dataset, f"{stem}{saved.suffix}")
    except InputError as error:
        return str(error)
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
        beside = companions(file, folder / name) if part == "img" else []
        for old, new in ((file, folder / name), *beside):
            os.replace(old, new)

    return move
