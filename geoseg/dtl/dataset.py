"""A graph's output as a data set, without writing it."""

from __future__ import annotations

import bisect
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from geoseg.dtl.counts import Counter, warnings_of
from geoseg.dtl.engine import GraphEngine, open_engine
from geoseg.dtl.epochs import SharedEpoch
from geoseg.dtl.graph import Graph, read_graph
from geoseg.dtl.sample import Sample
from geoseg.errors import GeosegError, RunError
from geoseg.io.notes import SharedNotes
from geoseg.projects.figures import ProjectMeta
from geoseg.projects.images import ImageFile, open_image
from geoseg.typing import PathLike

__all__ = ["GraphSamples", "MappedSamples", "open_graph"]

logger = logging.getLogger(__name__)


class GraphSamples:
    """The samples a graph saves, made when they are asked for; pixels are read by ``sample.pixels.read()``.

    Parameters
    ----------
    engine
        Plan and images.
    transform
        Applied to each sample before it is handed out, to make arrays or tensors of it.
    """

    def __init__(self, engine: GraphEngine, transform: Callable[[Sample], Any] | None = None) -> None:
        self.transform = transform
        self._engine = engine
        # Workers of a loader keep their copy of the data set: the epoch must reach them in shared memory.
        self._epoch = SharedEpoch(engine.epoch)
        self._failures = SharedNotes()

    @property
    def engine(self) -> GraphEngine:
        """Plan and images, at the epoch that was set."""
        if self._engine.epoch != self._epoch.value:
            self._engine = self._engine.at_epoch(self._epoch.value)
        return self._engine

    @property
    def meta(self) -> ProjectMeta:
        """Classes and tags of the samples."""
        return self.engine.plan.meta

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(image, reason) of what was left while iterating, here and in workers, each once."""
        return self._failures.read()

    def set_epoch(self, epoch: int) -> None:
        """Draw random layers anew; what ``if`` and ``split_spatial`` decided stays.

        Workers that were started with these samples follow; what is being iterated stays as it is.
        """
        self._epoch.value = epoch

    def __iter__(self) -> Iterator[Any]:
        return self.shard(0, 1)

    def shard(self, index: int, count: int) -> Iterator[Any]:
        """Every ``count``-th image's samples, from image ``index`` on: a worker's share.

        A sample whose pixels can't be read, or that ``transform`` refuses by a :class:`GeosegError`, is left
        too.
        """
        for sample in self.samples(index, count):
            try:
                out = self._out(sample)
            except GeosegError as error:
                self._note(sample.origin.order, error)
                continue
            yield out

    def samples(self, index: int = 0, count: int = 1) -> Iterator[Sample]:
        """The samples themselves; what fails is told by a warning, noted in ``failures`` and left."""
        engine = self.engine
        # Every count-th and not a run of them: neighbors in a folder are alike, and workers would end at
        # different times.
        for order in range(index, len(engine), count):
            try:
                yield from engine.samples(order, failed=lambda error: self._note(order, error))  # noqa: B023
            except GeosegError as error:
                self._note(order, error)

    def _note(self, order: int, error: Exception) -> None:
        name, reason = str(self._engine.items[order][1]), str(error)
        if self._failures.add(name, reason):
            logger.warning("%s left out: %s", name, reason)

    def _out(self, sample: Sample) -> Any:
        return sample if self.transform is None else self.transform(sample)


class MappedSamples(GraphSamples):
    """Samples of a graph whose counts are known: any can be asked for by its number.

    Parameters
    ----------
    counts
        Samples of each image.
    keep_open
        Images whose annotations, and decoded pixels of PNG and JPEG files, stay in memory.
    """

    def __init__(
        self,
        engine: GraphEngine,
        counts: list[int],
        transform: Callable[[Sample], Any] | None = None,
        keep_open: int = 8,
    ) -> None:
        super().__init__(engine, transform)
        self.keep_open = keep_open
        # Sums from the beginning on: a search among them finds the image of a sample.
        self._ends = list(itertools.accumulate(counts))
        self._open: OrderedDict[int, Sample] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Any:
        return self._out(self.sample(index))

    def sample(self, index: int) -> Sample:
        """One sample; those before it are not made.

        Raises
        ------
        IndexError
            There are not so many.
        RunError
            The image, or a layer on it, failed.
        """
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        # To the right: images that give no sample have the end of the one before, and are passed over.
        order = bisect.bisect_right(self._ends, index)
        skip = index - (self._ends[order - 1] if order else 0)
        sample = next(self.engine.samples(order, skip=skip, entered=self._entered(order)), None)
        if sample is None:
            raise RunError(f"{self.engine.items[order][1]} gave fewer samples than its graph promised.")
        return sample

    def _entered(self, order: int) -> Sample:
        """The image behind its data layer, from the few kept open."""
        if order not in self._open:
            self._open[order] = self.engine.enter(order)
            # The image that was not asked for the longest time goes.
            while len(self._open) > self.keep_open:
                source = self._open.popitem(last=False)[1].pixels.source
                if isinstance(source, ImageFile):
                    source.forget()
        self._open.move_to_end(order)
        return self._open[order]

    def __getstate__(self) -> dict[str, Any]:
        # Workers open their own images; decoded pixels would be copied to each.
        return {**self.__dict__, "_open": OrderedDict()}


def open_graph(
    graph: PathLike | Graph,
    projects: PathLike,
    *,
    seed: int = 0,
    transform: Callable[[Sample], Any] | None = None,
    keep_open: int = 8,
) -> GraphSamples:
    """Open a graph's output as a data set.

    Parameters
    ----------
    graph
        A JSON file, or a graph read already. Its save layer is not run.
    projects
        Folder that holds the projects it reads.
    seed
        Everything random follows from it.
    transform
        Applied to each sample before it is handed out.
    keep_open
        Images kept in memory for random access; see :class:`MappedSamples`.

    Returns
    -------
    MappedSamples
        With ``len`` and indexing, where the number of samples is known: no condition that depends on pixels
        or objects decides over it.
    GraphSamples
        Otherwise; can be iterated, whole or in shards.

    Raises
    ------
    ConfigError, MissingFileError
        The graph is wrong, or does not fit the projects.
    """
    engine = open_engine(graph if isinstance(graph, Graph) else read_graph(graph), projects, seed=seed)
    for note in warnings_of(engine.plan):
        logger.warning("%s", note)
    counts = known_counts(engine)
    if counts is None:
        return GraphSamples(engine, transform)
    return MappedSamples(engine, counts, transform, keep_open)


def known_counts(engine: GraphEngine) -> list[int] | None:
    """Samples of each image, where the graph tells; None if it does not for one of them.

    Headers of images are read only where sizes matter.
    """
    counter = Counter(engine.plan)
    counts = []
    for order, (layer, item) in enumerate(engine.items):
        origin = engine.origin(order)
        # Without the size first: for most graphs it does not matter, and opening images takes far longer than
        # counting.
        least, most = counter.saved(layer, None, origin)
        if least != most:
            least, most = counter.saved(layer, open_image(item.image).shape, origin)
        if least != most:
            return None
        counts.append(least)
    return counts
