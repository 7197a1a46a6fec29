"""What is known before a graph runs: how many samples reach each layer, and what looks like a mistake."""

from __future__ import annotations

from typing import TypeAlias

from geoseg.dtl.graph import NOWHERE, LayerSpec
from geoseg.dtl.layers.conditions import IfSettings
from geoseg.dtl.layers.routing import DatasetSettings, TagSettings
from geoseg.dtl.pixels import Shape
from geoseg.dtl.plan import GraphPlan
from geoseg.dtl.registry import Count
from geoseg.dtl.sample import Origin
from geoseg.projects.figures import ProjectMeta

__all__ = ["Counter", "warnings_of"]

#: Of each ``if`` in the order of the file, where its answer is known.
Answers: TypeAlias = tuple[bool | None, ...]


class Counter:
    """Counts samples along a plan without making any; results are remembered by layer, size and answers.

    Parameters
    ----------
    plan
        The plan.
    """

    def __init__(self, plan: GraphPlan) -> None:
        self.plan = plan
        self._known: dict[tuple[int, int, Shape | None, Answers], Count] = {}
        self._ifs = [spec for spec in plan.graph.layers if isinstance(spec.settings, IfSettings)]

    def reaching(self, target: int, layer: int, shape: Shape | None, origin: Origin | None) -> Count:
        """Least and most samples that enter ``target`` for one that enters ``layer``.

        Parameters
        ----------
        target, layer
            Indices of layers.
        shape
            (height, width) of the sample, None if unknown.
        origin
            Its image, None if unknown; conditions on names are answered by it.
        """
        # What an image's name decides is part of the key, so images that go one way share their counts.
        answers = tuple(
            spec.settings.known_answer(origin)
            if origin is not None and isinstance(spec.settings, IfSettings)
            else None
            for spec in self._ifs
        )
        # A list of what is still to be counted, not recursion: a graph of some thousand layers would reach
        # Python's limit.
        waiting = [(layer, shape)]
        while waiting:
            index, size = waiting[-1]
            fed = self._fed(index, size)
            unknown = [
                step for branch in fed for step in branch if (target, *step, answers) not in self._known
            ]
            if unknown and index != target:
                waiting += unknown
                continue
            waiting.pop()
            key = (target, index, size, answers)
            if key not in self._known:
                self._known[key] = (1, 1) if index == target else self._count(target, index, size, answers)
        return self._known[target, layer, shape, answers]

    def saved(self, layer: int, shape: Shape | None, origin: Origin | None) -> Count:
        """Least and most samples saved for one that enters ``layer``."""
        return self.reaching(self.plan.graph.save.index, layer, shape, origin)

    def refusals(self) -> list[str]:
        """What fails of the sizes counted so far, one line a layer and size."""
        layers = self.plan.graph.layers
        lines = {
            (
                index,
                shape,
            ): f"{layers[index].title} will fail on samples of {shape[1]} x {shape[0]} pixels: {why}"
            for _, index, shape, _ in self._known
            if shape is not None and (why := layers[index].settings.plan_refusal(shape)) is not None
        }
        return [lines[key] for key in sorted(lines)]

    def _fed(self, layer: int, shape: Shape | None) -> list[list[tuple[int, Shape | None]]]:
        """For each branch the layers fed, with the size of the samples they get."""
        after = self.plan.graph.layers[layer].settings.plan_shape(shape)
        return [[(other, after) for other in branch] for branch in self.plan.consumers[layer]]

    def _count(self, target: int, layer: int, shape: Shape | None, answers: Answers) -> Count:
        """The count of a layer whose consumers' counts are known."""
        spec = self.plan.graph.layers[layer]
        branches = []
        for fed in self._fed(layer, shape):
            parts = [self._known[target, other, size, answers] for other, size in fed]
            # A branch may feed several layers, and each gets every sample: their counts add up.
            mosts = [most for _, most in parts if most is not None]
            branches.append((sum(p[0] for p in parts), sum(mosts) if len(mosts) == len(parts) else None))
        if isinstance(spec.settings, IfSettings):
            answer = answers[self._ifs.index(spec)]
            if answer is not None:
                branches = [branches[0 if answer else 1]]
        if not branches:
            return 0, 0
        # Of several branches a sample takes one, which is not known here: the least and the most of them
        # bound it.
        least = min(b[0] for b in branches)
        most = None if any(b[1] is None for b in branches) else max(b[1] or 0 for b in branches)
        own_least, own_most = spec.settings.plan_count(shape)
        if 0 in (own_most, most):  # nothing, even where the other has no bound
            return own_least * least, 0
        return own_least * least, None if own_most is None or most is None else own_most * most


def warnings_of(plan: GraphPlan) -> list[str]:
    """What looks like a mistake: what nobody reads or finds, and leaks into validation."""
    graph = plan.graph
    notes = []
    data = graph.of_role("data")
    for later, spec in enumerate(data):
        for name in spec.src:
            project = name.partition("/")[0]
            # The first data layer that names a data set takes all its images, as in the original.
            first = next((s for s in data[:later] if {name, project, f"{project}/*"} & {*s.src}), None)
            if first is not None:
                notes.append(f"{spec.title} gets no image of {name}: {first.title} takes them all.")
    read = {name for spec in graph.layers if spec.kind.role != "data" for name in spec.src}
    for spec in graph.layers:
        for name in spec.dst if spec.kind.role != "save" else ():
            if name != NOWHERE and name not in read:
                notes.append(
                    f"{spec.title} writes {name}, which no layer reads: what is sent there vanishes."
                )
    return notes + _absent(plan) + _leaks(plan)


def _absent(plan: GraphPlan) -> list[str]:
    """Classes and tags that layers look for and that no project or layer before them has."""
    notes = []
    for spec in plan.graph.layers if plan.metas else ():
        arriving = ProjectMeta()
        for feeder, branches in enumerate(plan.consumers):
            if any(spec.index in branch for branch in branches):
                arriving = arriving.union(plan.metas[feeder])
        settings = spec.settings
        asked = settings.condition.tags or () if isinstance(settings, IfSettings) else ()
        looked_for = (
            ("class", settings.plan_titles(), arriving.class_names),
            ("tag", asked, tuple(tag.name for tag in arriving.tags)),
        )
        notes += [
            f"{spec.title} looks for the {kind} {name!r}, which does not arrive there: it will find none. "
            f"There {'are' if known else 'is'} {', '.join(known) or 'none'}."
            for kind, names, known in looked_for
            for name in names
            if name not in known
        ]
    return notes


def _leaks(plan: GraphPlan) -> list[str]:
    """Random choices that tag or name, behind layers that make several samples of one image."""
    counter = Counter(plan)
    notes = []
    for spec in plan.graph.layers:
        if not (isinstance(spec.settings, IfSettings) and spec.settings.by_chance and _marks(plan, spec)):
            continue
        # More than one sample of an image behind it: those of one image may be dealt to both sides.
        most = [
            counter.reaching(spec.index, data.index, None, None)[1] for data in plan.graph.of_role("data")
        ]
        if any(count is None or count > 1 for count in most):
            notes.append(
                f"{spec.title} draws for each sample, but several samples of one image reach it and may "
                "fall on different sides: training would see what validation is measured on. Split before "
                "copying, or use split_spatial."
            )
    return notes


def _marks(plan: GraphPlan, spec: LayerSpec) -> bool:
    """Whether just one side of a choice passes layers that tag or name: then it is a split."""
    # Both sides are saved, but a layer that tags or names lies on one only: the choice is a split.
    sides = [_behind(plan, branch) for branch in plan.consumers[spec.index]]
    save = plan.graph.save.index
    if not all(save in side for side in sides):
        return False
    return any(
        isinstance(plan.graph.layers[index].settings, TagSettings | DatasetSettings)
        for index in sides[0] ^ sides[1]
    )


def _behind(plan: GraphPlan, start: tuple[int, ...]) -> set[int]:
    """Layers that samples from ``start`` may reach."""
    seen, waiting = set(start), list(start)
    while waiting:
        for branch in plan.consumers[waiting.pop()]:
            waiting += [index for index in branch if index not in seen]
            seen.update(branch)
    return seen
