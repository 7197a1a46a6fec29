"""Runs a plan on images, one at a time and depth first, so memory holds one sample a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geoseg.dtl.counts import Counter
from geoseg.dtl.graph import Graph, LayerSpec
from geoseg.dtl.pixels import FilePixels
from geoseg.dtl.plan import GraphPlan, plan_graph, project_names
from geoseg.dtl.randomness import derive, generator, root_key
from geoseg.dtl.sample import Listing, Origin, Sample
from geoseg.errors import GeosegError, MissingFileError, RunError
from geoseg.projects.figures import ProjectMeta
from geoseg.projects.images import open_image
from geoseg.projects.project import Item, open_project, read_annotation
from geoseg.typing import PathLike

__all__ = ["GraphEngine", "LayerError", "open_engine"]


class LayerError(RunError):
    """A layer could not treat a sample; the message names it."""


@dataclass(frozen=True)
class GraphEngine:
    """A plan and the images it reads.

    Attributes
    ----------
    plan
        The plan, its classes checked.
    items
        (data layer, image) in the order they are run: projects as the graph names them, data sets and images
        by name.
    metas
        Classes and tags of each project.
    root
        Folder of the projects.
    seed
        Everything random follows from it.
    epoch
        Draws the random layers anew, choices of ``if`` and ``split_spatial`` excepted.
    listing
        Names of all images.
    """

    plan: GraphPlan
    items: tuple[tuple[int, Item], ...]
    metas: dict[str, ProjectMeta]
    root: Path
    seed: int
    listing: Listing
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def origin(self, order: int) -> Origin:
        """The image at a position."""
        item = self.items[order][1]
        # By names and not by position: an image added to a project changes no draw of the others.
        key = root_key(self.seed, item.project, item.dataset, item.name)
        return Origin(item.project, item.dataset, item.name, key, order, self.listing, self.root)

    def open(self, order: int) -> Sample:
        """The image at a position with its annotation, before any layer; pixels are not read.

        Raises
        ------
        InputError
            The image or its annotation can't be used.
        """
        item = self.items[order][1]
        image = open_image(item.image)
        annotation = read_annotation(item, self.metas[item.project], image.shape)
        origin = self.origin(order)
        # The name that the original of 2018 gives a data set of the result.
        dataset = f"{item.project}__{item.dataset}".replace("/", "__")
        return Sample(FilePixels(image), annotation, origin, dataset, origin.key)

    def samples(
        self,
        order: int,
        *,
        skip: int = 0,
        entered: Sample | None = None,
        failed: Callable[[LayerError], None] | None = None,
    ) -> Iterator[Sample]:
        """What the graph makes of one image, in the order it is saved.

        Parameters
        ----------
        order
            Position of the image.
        skip
            Leave out so many samples at the beginning; branches whose counts are known are not even run.
        entered
            The image behind its data layer, from :meth:`enter`, if it is at hand.
        failed
            Told of each sample that a layer fails on, which is then left out; None raises instead.

        Raises
        ------
        GeosegError
            The image is bad, or a layer fails on a sample and ``failed`` is None.
        """
        first = entered if entered is not None else self.enter(order)
        steps = self.plan.consumers[self.items[order][0]][0]
        yield from self.flow([(layer, first) for layer in steps], skip, failed)

    def enter(self, order: int) -> Sample:
        """The image at a position behind its data layer.

        Raises
        ------
        GeosegError
            The image or its annotation can't be used.
        """
        spec = self.plan.graph.layers[self.items[order][0]]
        # A data layer makes one sample of an image.
        ((_, sample),) = self.apply(spec, self.open(order))
        return sample

    def flow(
        self,
        start: Sequence[tuple[int, Sample]],
        skip: int = 0,
        failed: Callable[[LayerError], None] | None = None,
    ) -> Iterator[Sample]:
        """Run samples, each from a layer, to the end of the graph, as :meth:`samples` does."""
        save = self.plan.graph.save.index
        counter = Counter(self.plan) if skip else None
        # Depth first, a generator for each layer on the way: names are given out in this order, and memory
        # holds one sample a layer whatever multiply and sliding_window make of it.
        stack: list[Iterator[tuple[int, Sample]]] = [iter(start)]
        while stack:
            try:
                step = next(stack[-1], None)
            except LayerError as error:
                if failed is None:
                    raise
                failed(error)
                step = None
            if step is None:
                stack.pop()
                continue
            index, current = step
            if skip and counter is not None:
                # A whole branch is left out without being run where it is known how many samples it gives.
                least, most = counter.saved(index, current.shape, current.origin)
                if least == most and least <= skip:
                    skip -= least
                    continue
            if index != save:
                stack.append(self._spread(self.plan.graph.layers[index], current))
            elif skip:
                skip -= 1
            else:
                yield current

    def _spread(self, spec: LayerSpec, sample: Sample) -> Iterator[tuple[int, Sample]]:
        """What a layer makes of a sample, with the layers it goes to."""
        for branch, out in self.apply(spec, sample):
            for consumer in self.plan.consumers[spec.index][branch]:
                yield consumer, out

    def apply(self, spec: LayerSpec, sample: Sample) -> Iterator[tuple[int, Sample]]:
        """What a layer makes of a sample, by branch; each has its own key.

        Raises
        ------
        LayerError
            The layer fails.
        """
        key = derive(sample.key, spec.identity.hex())
        # The key, not the epoch, names the samples that follow: only draws change from epoch to epoch.
        epoch = 0 if spec.settings.same_every_epoch else self.epoch
        try:
            outputs = spec.kind.apply(sample, spec.settings, generator(derive(key, "epoch", epoch)))
            for number, (branch, out) in enumerate(outputs):
                # Copies of one sample differ by their number, or multiply would give the same crop n times.
                yield branch, replace(out, key=derive(key, number))
        except GeosegError as error:
            raise LayerError(f"{spec.title}: {error}") from error
        # Layers are written by others, too: whatever one raises fails its sample, not the run.
        except Exception as error:
            raise LayerError(f"{spec.title}: {type(error).__name__}: {error}") from error

    def at_epoch(self, epoch: int) -> GraphEngine:
        """The same with other draws."""
        return replace(self, epoch=epoch)


def open_engine(graph: Graph, projects: PathLike, *, seed: int = 0) -> GraphEngine:
    """Open the projects a graph reads, plan it with their classes and list its images.

    Parameters
    ----------
    graph
        The graph.
    projects
        Folder that holds the projects.
    seed
        Everything random follows from it.

    Raises
    ------
    ConfigError, MissingFileError
        The graph does not fit the projects, or one of them is not there.
    """
    root = Path(projects)
    if not root.is_dir():
        raise MissingFileError(f"projects must be a folder, got {root}, which is not there.")
    opened = {}
    # Connections first: a loop is told without opening a project, which may lie on a slow disk.
    plan_graph(graph)
    for name in project_names(graph):
        try:
            opened[name] = open_project(root / name)
        except MissingFileError as error:
            spec = next(s for s in graph.of_role("data") if s.src[0].partition("/")[0] == name)
            raise graph.error(spec, "src[0]", error) from None
    metas = {name: project.meta for name, project in opened.items()}
    plan = plan_graph(graph, metas)
    for spec in graph.of_role("data"):
        for i, name in enumerate(spec.src):
            project_name, _, dataset = name.partition("/")
            known = sorted(one.name for one in opened[project_name].datasets)
            if dataset not in ("", "*", *known):
                raise graph.error(
                    spec,
                    f"src[{i}]",
                    f"data set must be one of {', '.join(known) or 'none'}, got {dataset!r}. "
                    "Correct the name.",
                )
    items = []
    for project in opened.values():
        for item in project:
            # The first data layer that names it has an image, so none comes into the graph twice.
            layer = plan.route(item.project, item.dataset)
            if layer is not None:
                items.append((layer, item))
    listing = Listing(item.stem for _, item in items)
    return GraphEngine(plan, tuple(items), metas, root, seed, listing)
