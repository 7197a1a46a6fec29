"""From a graph to a plan: connections, order and classes at every layer, checked before the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from geoseg.dtl.graph import NOWHERE, Graph, LayerSpec
from geoseg.errors import InputError
from geoseg.projects.figures import ProjectMeta

__all__ = ["GraphPlan", "plan_graph"]


@dataclass(frozen=True)
class GraphPlan:
    """A graph that can run.

    Attributes
    ----------
    graph
        The layers.
    order
        Indices of the layers, each after all that feed it.
    consumers
        For each layer and branch the indices of the layers fed, in the order of the file.
    metas
        Classes and tags that leave each layer; empty where no projects were given.
    """

    graph: Graph
    order: tuple[int, ...]
    consumers: tuple[tuple[tuple[int, ...], ...], ...]
    metas: Mapping[int, ProjectMeta] = field(default_factory=dict)

    @property
    def meta(self) -> ProjectMeta:
        """Classes and tags of the result."""
        return self.metas[self.graph.save.index]

    def route(self, project: str, dataset: str) -> int | None:
        """The data layer that takes a data set's images: the first that names it."""
        for spec in self.graph.of_role("data"):
            if any(matches(name, project, dataset) for name in spec.src):
                return spec.index
        return None

    @property
    def projects(self) -> tuple[str, ...]:
        """Projects the graph reads, in the order they are first named."""
        return project_names(self.graph)


def project_names(graph: Graph) -> tuple[str, ...]:
    """Projects a graph reads, in the order they are first named."""
    return tuple(dict.fromkeys(spec.src[0].partition("/")[0] for spec in graph.of_role("data")))


def matches(name: str, project: str, dataset: str) -> bool:
    """Whether ``project/dataset``, ``project/*`` or ``project`` names a data set.

    Examples
    --------
    >>> matches("a/*", "a", "x"), matches("a", "a", "x"), matches("a/y", "a", "x")
    (True, True, False)
    """
    own, _, wanted = name.partition("/")
    return own == project and wanted in ("", "*", dataset)


def plan_graph(graph: Graph, metas: Mapping[str, ProjectMeta] | None = None) -> GraphPlan:
    """Check a graph's connections and carry classes and tags through it.

    Parameters
    ----------
    graph
        From :func:`geoseg.dtl.graph.parse_graph`.
    metas
        Classes and tags of each project; None leaves them unchecked.

    Raises
    ------
    ConfigError
        The first mistake: a connection nobody writes, a loop, a layer nothing reaches, classes that do not
        fit.
    """
    writers: dict[str, list[int]] = {}
    for spec in graph.layers:
        for name in spec.dst if spec.kind.role != "save" else ():
            if name != NOWHERE and spec.index not in writers.setdefault(name, []):
                writers[name].append(spec.index)
    feeders = tuple(_feeders(graph, spec, writers) for spec in graph.layers)
    try:
        # Layers may stand in any order in the file.
        order = tuple(TopologicalSorter(dict(enumerate(feeders))).static_order())
    except CycleError as error:
        loop = [graph.layers[index] for index in error.args[1][1:]]
        titles = ", ".join(spec.title for spec in loop)
        raise graph.error(
            min(loop, key=lambda spec: spec.index), "", f"layers must not form a loop, got one of {titles}."
        ) from None
    consumers = tuple(
        tuple(
            # In the order of the file: it decides which sample comes first, and so which one keeps the name.
            tuple(other.index for other in graph.layers if name in other.src and other.kind.role != "data")
            for name in (spec.dst if spec.kind.role != "save" else ())
        )
        for spec in graph.layers
    )
    plan = GraphPlan(graph, order, consumers)
    return plan if metas is None else GraphPlan(graph, order, consumers, _carry(graph, order, feeders, metas))


def _feeders(graph: Graph, spec: LayerSpec, writers: Mapping[str, list[int]]) -> tuple[int, ...]:
    """Layers that feed a layer."""
    if spec.kind.role == "data":
        return ()
    feeders: list[int] = []
    for i, name in enumerate(spec.src):
        if name not in writers:
            known = ", ".join(sorted(writers)) or "none"
            raise graph.error(
                spec, f"src[{i}]", f"must be written by a layer, got {name!r}. Written are {known}."
            )
        feeders += writers[name]
    # Once each: a layer may write two names that the same one reads.
    return tuple(dict.fromkeys(feeders))


def _carry(
    graph: Graph,
    order: tuple[int, ...],
    feeders: tuple[tuple[int, ...], ...],
    metas: Mapping[str, ProjectMeta],
) -> dict[int, ProjectMeta]:
    # In this order what feeds a layer is known when the layer is reached.
    result: dict[int, ProjectMeta] = {}
    for index in order:
        spec = graph.layers[index]
        try:
            if spec.kind.role == "data":
                before = metas[spec.src[0].partition("/")[0]]
            else:
                before = ProjectMeta()
                for other in feeders[index]:
                    # Branches that join bring their classes together.
                    before = before.union(result[other])
        except InputError as error:
            raise graph.error(spec, "src", error) from None
        try:
            for title, shapes in spec.settings.plan_needs().items():
                known = before.find_class(title)
                if known is not None and known.shape not in (*shapes, "any"):
                    raise InputError(
                        f"class {title!r} must be of shape {' or '.join(shapes)} for {spec.action}, got "
                        f"{known.shape}. Convert it before, or leave it out."
                    )
            result[index] = spec.settings.plan_meta(before)
        except InputError as error:
            raise graph.error(spec, "settings", error) from None
    return result
