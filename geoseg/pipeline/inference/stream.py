"""Images through the network in full batches across windows and images, with reading and writing beside it.

One thread runs the network. Others decode images and cut and stretch windows before it, and turn its outputs
into objects after it. What is in flight is bounded. An image's objects depend on its own windows, which are
summed in their order, so they are the same for any number of threads and any size of batches.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from geoseg.errors import GeosegError, InputError, ModelError
from geoseg.geo.windows import Window
from geoseg.pipeline.inference.classes import Certainty, RegionClasses
from geoseg.pipeline.inference.inputs import NetworkInput
from geoseg.pipeline.inference.network import Network
from geoseg.pipeline.inference.plan import ResultPlan
from geoseg.pipeline.inference.regions import find_regions
from geoseg.projects.figures import Annotation, Bitmap, LabeledObject, ProjectMeta
from geoseg.projects.project import Item, read_annotation
from geoseg.typing import Array, FloatArray

__all__ = ["ImageResult", "Stream"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ImageResult:
    """What became of one image.

    Attributes
    ----------
    item
        The image.
    annotation
        Its objects in the result; None where it failed.
    reason
        Why it failed.
    """

    item: Item
    annotation: Annotation | None = None
    reason: str = ""


@dataclass(eq=False)
class _Region:
    """A region on its way: rows of outputs, put together in order by whichever thread comes first."""

    classes: RegionClasses
    columns: int
    outputs: list[FloatArray] = field(default_factory=list)
    waiting: deque[list[FloatArray]] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock)
    rows: int = 0
    left: int = 0
    bitmaps: dict[int, Bitmap] | None = None

    def settle(self) -> bool:
        """Put waiting rows together; whether this call made the region complete."""
        # Several threads may be at one region: rows go in by their order, so one of them does it.
        with self.lock:
            while self.waiting:
                self.classes.add(self.rows, self.waiting.popleft())
                self.rows, self.left = self.rows + 1, self.left - 1
                if not self.left:
                    self.bitmaps = self.classes.bitmaps()
                    return True
        return False


@dataclass(eq=False)
class _Image:
    """An image on its way."""

    item: Item
    source: NetworkInput | None = None
    annotation: Annotation | None = None
    saved: list[LabeledObject] = field(default_factory=list)
    regions: list[_Region] = field(default_factory=list)
    windows: int = 0
    predicted: int = 0
    open_regions: int = 0
    failed: str = ""


@dataclass(frozen=True)
class _Task:
    """A window to run."""

    image: _Image
    region: _Region
    window: Window


class Stream:
    """Runs images through a network.

    Parameters
    ----------
    network, plan
        The model, and what the result keeps.
    meta
        Classes of the project.
    workers
        Threads beside the one that runs the network.
    batch_size
        Windows of a batch; None: as the network likes it.
    report
        Told how many images are done, in parts, too.
    """

    def __init__(
        self,
        network: Network,
        plan: ResultPlan,
        meta: ProjectMeta,
        *,
        workers: int,
        batch_size: int | None,
        report: Callable[[float], None],
    ) -> None:
        self.network, self.plan, self.meta = network, plan, meta
        self.workers, self.batch_size, self.report = workers, batch_size, report
        self.windows, self.network_seconds = 0, 0.0
        self.notes: dict[str, None] = {}
        self._done = 0.0
        self._batches: dict[tuple[tuple[int, ...], str], list[tuple[_Task, Array]]] = {}
        self._finished: list[ImageResult] = []
        self._settling: deque[tuple[_Image, Future[Annotation | None]]] = deque()

    def run(self, items: Iterable[Item]) -> Iterator[ImageResult]:
        """Results in the order they get ready."""
        ahead = 2 * self.workers
        with ThreadPoolExecutor(self.workers, thread_name_prefix="geoseg-infer") as self._pool:
            try:
                images = _read_ahead(self._pool, self._open, items, self.workers)
                # A batch more than is being gathered, so that the network never waits for pixels.
                size = self.network.size
                batch = self.batch_size or (self.network.batch_size(size) if size else 1)
                tasks = _read_ahead(self._pool, self._read, self._tasks(images), ahead + batch)
                for task, pixels in tasks:
                    if isinstance(pixels, GeosegError):
                        self._fail(task.image, pixels)
                    elif not task.image.failed:
                        self._gather(task, pixels)
                    self._collect(2 * ahead)
                    yield from self._take()
                # What never found enough of its like to fill a batch.
                while self._batches:
                    self._predict(next(iter(self._batches)))
                self._collect(0)
                yield from self._take()
            finally:
                for _, future in self._settling:
                    future.cancel()

    # ------------------------------------------------------------------ before the network

    def _open(self, item: Item) -> _Image:
        """Read what an image needs before its windows; what goes wrong is kept in it."""
        image = _Image(item)
        try:
            source = NetworkInput.open(item.image, self.network.predictor)
            annotation = read_annotation(item, self.meta, source.image.shape)
            regions, image.saved = find_regions(
                self.plan.settings.mode, annotation, None if self.network.size else self.network.native
            )
            valid = source.image.read_valid if source.image.has_validity else None
            kept = [index for index, _ in self.plan.kept]
            for region in regions:
                grid = region.grid
                classes = RegionClasses(region, self.network.decide, kept, valid)
                image.regions.append(_Region(classes, len(grid.starts_x), left=len(grid.starts_y)))
                image.windows += len(grid)
            image.source, image.annotation, image.open_regions = source, annotation, len(regions)
        except (InputError, OSError) as error:
            image.failed = _line(error)
        return image

    def _tasks(self, images: Iterator[tuple[Item, _Image]]) -> Iterator[_Task]:
        """Windows of images that can be predicted; the others are done with here."""
        for _, image in images:
            if image.source is not None:
                self.notes.update(dict.fromkeys(image.source.notes))
            if image.failed or not image.regions:
                annotation = None if image.failed else self._annotate(image)
                self._finished.append(ImageResult(image.item, annotation, image.failed))
                self._advance(1)
                continue
            for region in image.regions:
                for row in region.classes.region.rows():
                    for window in row:
                        if image.failed:
                            break
                        yield _Task(image, region, window)

    def _read(self, task: _Task) -> Array | GeosegError:
        # An image may fail while its windows wait: they are passed over, and not read.
        if task.image.failed or task.image.source is None:
            return np.zeros((0, 0, 0))
        try:
            return np.ascontiguousarray(task.image.source.stretched(task.window, self.network.size))
        except GeosegError as error:
            return error

    # ------------------------------------------------------------------ the network

    def _gather(self, task: _Task, pixels: Array) -> None:
        # Images of one type and windows of one size can run together, whatever image they are of.
        key = pixels.shape, str(pixels.dtype)
        batch = self._batches.setdefault(key, [])
        batch.append((task, pixels))
        size = self.batch_size or self.network.batch_size((pixels.shape[1], pixels.shape[2]))
        if len(batch) >= size:
            self._predict(key)
        # Boxes that are not stretched have many shapes: what waits for its like must not fill memory.
        elif sum(map(len, self._batches.values())) > 4 * size:
            self._predict(max(self._batches, key=lambda key: len(self._batches[key])))

    def _predict(self, key: tuple[tuple[int, ...], str]) -> None:
        batch = self._batches.pop(key)
        start = time.perf_counter()
        outputs = self.network.predictor(np.stack([pixels for _, pixels in batch]))
        self.network_seconds += time.perf_counter() - start
        self.windows += len(batch)
        if outputs.shape[:2] != (len(batch), self.network.outputs):
            raise ModelError(
                f"the model must return {self.network.outputs} probabilities a pixel, one for each class, "
                f"got {outputs.shape[1]}. Name its classes with classes."
            )
        for (task, _), output in zip(batch, outputs, strict=True):
            image, region = task.image, task.region
            if image.failed:
                continue
            region.outputs.append(output)
            image.predicted += 1
            # In parts of an image, or the bar would stand still in a scene of ten thousand windows.
            self._advance(1 / image.windows)
            if len(region.outputs) == region.columns:
                region.waiting.append(region.outputs)
                region.outputs = []
                self._settling.append((image, self._pool.submit(self._settle, image, region)))

    # ------------------------------------------------------------------ after the network

    def _settle(self, image: _Image, region: _Region) -> Annotation | None:
        """Put rows of a region together; the annotation when that was the image's last."""
        if not region.settle():
            return None
        # Two regions of an image may end at once, in two threads: one of them is the last.
        with _counting:
            image.open_regions -= 1
            last = not image.open_regions
        return self._annotate(image) if last else None

    def _annotate(self, image: _Image) -> Annotation:
        """Existing objects, then saved regions, then predictions, which lie on top."""
        source = image.annotation
        assert source is not None  # it was read before the regions were found
        objects = [*self.plan.existing(source), *image.saved]
        certainty = Certainty()
        for region in image.regions:
            certainty.join(region.classes.certainty)
            bitmaps = region.bitmaps or {}
            objects += [
                LabeledObject(title, bitmaps[index]) for index, title in self.plan.kept if index in bitmaps
            ]
        tags = self.plan.tags(source, certainty)
        return Annotation(source.height, source.width, tuple(objects), tags, source.description, source.extra)

    def _collect(self, most: int) -> None:
        """Take up what threads have put together, waiting until at most ``most`` pieces are left."""
        while self._settling and (len(self._settling) > most or self._settling[0][1].done()):
            image, future = self._settling.popleft()
            try:
                annotation = future.result()
            except InputError as error:  # validity is read there
                self._fail(image, error)
                continue
            if annotation is not None and not image.failed:
                self._finished.append(ImageResult(image.item, annotation))

    def _fail(self, image: _Image, error: GeosegError) -> None:
        if not image.failed:
            image.failed = _line(error)
            self._finished.append(ImageResult(image.item, reason=image.failed))
            # Its windows that ran have been counted; all of it is done now.
            self._advance(1 - image.predicted / image.windows)

    def _take(self) -> Iterator[ImageResult]:
        finished, self._finished = self._finished, []
        yield from finished

    def _advance(self, images: float) -> None:
        self._done += images
        self.report(self._done)


_counting = threading.Lock()


def _read_ahead(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], count: int
) -> Iterator[tuple[T, R]]:
    """Items in order, each with what a thread made of it; ``count`` more are under way."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > count:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
