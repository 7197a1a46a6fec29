"""What is known of a graph before it runs, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoseg.dtl.counts import Counter, warnings_of
from geoseg.dtl.engine import open_engine
from geoseg.dtl.graph import Graph
from geoseg.dtl.plan import plan_graph
from geoseg.dtl.registry import Count
from geoseg.errors import InputError
from geoseg.projects.images import open_image
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["CheckedGraph", "LayerCount", "check_graph"]


@dataclass(frozen=True)
class LayerCount:
    """One layer of a checked graph.

    Attributes
    ----------
    number
        From 1, as errors count.
    count
        Least and most samples that enter, None where there is no bound; None as a whole without projects.
    classes
        Titles that leave the layer.
    """

    number: int
    action: str
    src: tuple[str, ...]
    dst: tuple[str, ...]
    count: Count | None
    classes: tuple[str, ...] | None

    @property
    def count_text(self) -> str:
        """``220``, ``0 to 40``, ``at least 3``, or nothing."""
        if self.count is None:
            return ""
        least, most = self.count
        if most is None:
            return f"at least {least}"
        return str(least) if least == most else f"{least} to {most}"


@dataclass(frozen=True)
class CheckedGraph:
    """A graph that may run: its layers, what is unusual about it, and images that can't be read."""

    name: str
    layers: tuple[LayerCount, ...]
    warnings: tuple[str, ...]
    images: int | None


def check_graph(
    graph: Graph, projects: PathLike | None = None, *, progress: Progress = no_progress
) -> CheckedGraph:
    """Check connections, and with projects classes and counts too; reads headers of images, no pixels.

    Raises
    ------
    ConfigError, MissingFileError
        The first mistake.
    """
    if projects is None:
        plan = plan_graph(graph)
        rows = tuple(LayerCount(s.index + 1, s.action, s.src, s.dst, None, None) for s in graph.layers)
        return CheckedGraph(graph.name, rows, tuple(warnings_of(plan)), None)
    engine = open_engine(graph, Path(projects))
    notes = list(warnings_of(engine.plan))
    counter = Counter(engine.plan)
    totals: list[Count] = [(0, 0)] * len(graph.layers)
    for order, (layer, item) in enumerate(engine.items):
        try:
            # Counts depend on sizes (how many windows fit), which only the header tells.
            shape = open_image(item.image).shape
        except InputError as error:
            notes.append(f"{item} can't be read and will be left: {error}")
            continue
        origin = engine.origin(order)
        for target, (least, most) in enumerate(totals):
            fewest, largest = counter.reaching(target, layer, shape, origin)
            # One image without a bound makes the whole without one.
            totals[target] = least + fewest, None if most is None or largest is None else most + largest
        progress("images", order + 1, len(engine))
    # At the end: all images of one size are told in one line.
    notes += counter.refusals()
    rows = tuple(
        LayerCount(
            s.index + 1, s.action, s.src, s.dst, totals[s.index], engine.plan.metas[s.index].class_names
        )
        for s in graph.layers
    )
    return CheckedGraph(graph.name, rows, tuple(notes), len(engine))
