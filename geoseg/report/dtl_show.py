"""Pictures of a transformation graph: its layers as boxes, and what each of them does to one image."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.dtl.engine import GraphEngine, open_engine
from geoseg.dtl.graph import NOWHERE, Graph
from geoseg.dtl.plan import plan_graph
from geoseg.dtl.sample import Listing, Sample
from geoseg.dtl.save import painted
from geoseg.errors import GeosegError, InputError, MissingFileError
from geoseg.geo.windows import Window
from geoseg.projects.figures import ProjectMeta, color_of
from geoseg.projects.preview import laid_over, preview_pixels
from geoseg.projects.project import Item
from geoseg.report.graph_draw import Arrow, Box, setting_lines, write_figure, write_graph
from geoseg.typing import Array, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "LayerSamples",
    "contact_sheet",
    "graph_boxes",
    "layer_samples",
    "open_sample",
    "show_graph",
    "show_sample",
    "small_picture",
]

#: Kind of box for a role of a layer; the rest is told by the number of branches.
_KINDS = {"data": "source", "save": "save"}
#: What samples leave a layer of two branches by: if, and the layers like it.
_BRANCHES = ("true", "false")
#: Longest side of a picture on a contact sheet, pixels.
_THUMBNAIL = 256
#: Longest side of what a picture is made of: a whole scene would be read for a thumbnail.
_LARGEST = 4096
#: Lines of settings, and of an error, beside a row of pictures, and their length: what fits into its column.
_MOST_LINES = 9
_TEXT_COLUMNS = 48


def graph_boxes(graph: Graph) -> tuple[list[Box], list[Arrow]]:
    """One box a layer in the order of the file, then one for each place where samples vanish.

    Raises
    ------
    ConfigError
        The connections do not fit (a loop, a name nobody writes).
    """
    consumers = plan_graph(graph).consumers
    boxes = []
    for spec in graph.layers:
        kind = _KINDS.get(spec.kind.role, "choice" if spec.settings.branches > 1 else "other")
        names = spec.src if kind == "source" else spec.dst if kind == "save" else ()
        lines = setting_lines(spec.settings.model_dump(exclude_unset=True, by_alias=True, mode="json"))
        boxes.append(Box(f"{spec.index + 1} {spec.action}", (*names, *lines), kind))
    arrows = []
    for spec in graph.layers:
        for branch, targets in enumerate(consumers[spec.index]):
            label = _BRANCHES[branch] if spec.settings.branches == len(_BRANCHES) else ""
            # Where samples vanish is drawn too: a branch that nobody reads is a usual mistake.
            if not targets:
                name = spec.dst[branch]
                boxes.append(Box(name if name == NOWHERE else f"{name} (unused)", (), "drop"))
                targets = (len(boxes) - 1,)
            arrows += [Arrow(spec.index, target, label) for target in targets]
    return boxes, arrows


def show_graph(graph: Graph, path: PathLike) -> None:
    """Draw a graph to ``.svg``, ``.png``, ``.pdf`` or ``.md``.

    Raises
    ------
    InputError
        Another suffix, or connections that do not fit.
    """
    boxes, arrows = graph_boxes(graph)
    write_graph(boxes, arrows, path, title=graph.name)


@dataclass
class LayerSamples:
    """What left a layer.

    Attributes
    ----------
    samples
        The first few, with the branch each left by.
    seen
        Samples that entered.
    failure
        Why the layer failed, if it did.
    """

    samples: list[tuple[int, Sample]] = field(default_factory=list)
    seen: int = 0
    failure: str = ""


def layer_samples(engine: GraphEngine, order: int = 0, *, limit: int = 4) -> dict[int, LayerSamples]:
    """Send one image through a graph, a few samples a layer.

    Parameters
    ----------
    engine
        Graph and images.
    order
        Position of the image.
    limit
        At each layer, the samples let in and the samples kept.

    Returns
    -------
    dict
        From the index of a layer to what left it; layers that nothing reached have no samples.
    """
    rows = {spec.index: LayerSamples() for spec in engine.plan.graph.layers}
    waiting = [(engine.items[order][0], engine.open(order))]
    while waiting:
        index, sample = waiting.pop(0)
        spec, row = engine.plan.graph.layers[index], rows[index]
        # All that enter are counted, the first few run: behind a sliding window there may be thousands.
        row.seen += 1
        if row.seen > limit:
            continue
        if spec.kind.role == "save":
            row.samples.append((0, sample))
            continue
        try:
            outputs = list(islice(engine.apply(spec, sample), limit))
        except GeosegError as error:
            row.failure = str(error)
            continue
        row.samples += outputs[: limit - len(row.samples)]
        for branch, out in outputs:
            waiting += [(consumer, out) for consumer in engine.plan.consumers[index][branch]]
    return rows


def open_sample(
    graph: Graph, image: str, projects: PathLike | None, *, seed: int = 0
) -> tuple[GraphEngine, int]:
    """Graph and image to show.

    Parameters
    ----------
    graph
        The graph.
    image
        With ``projects`` an image the graph reads: ``PROJECT/DATASET/NAME``, its name, or its path. Without,
        any image file; it then has no objects.
    projects
        Folder of the projects.
    seed
        Of the random layers.

    Raises
    ------
    MissingFileError, InputError
        No such image, or several of that name.
    """
    if projects is None:
        path = Path(image)
        if not path.is_file():
            raise MissingFileError(f"no such file: {path}")
        # Any image, as if the first source had it: with no objects, but all that layers do to pixels is seen.
        data = graph.of_role("data")[0]
        project, _, dataset = data.src[0].partition("/")
        item = Item(project, dataset.replace("*", "") or "sample", path, None)
        metas = {name.src[0].partition("/")[0]: ProjectMeta() for name in graph.of_role("data")}
        listing = Listing([item.stem])
        return GraphEngine(plan_graph(graph), ((data.index, item),), metas, path.parent, seed, listing), 0
    engine = open_engine(graph, projects, seed=seed)
    path = Path(image)
    orders = [
        order
        for order, (_, item) in enumerate(engine.items)
        if image in (str(item), item.name) or (path.is_file() and path.samefile(item.image))
    ]
    if len(orders) != 1:
        examples = ", ".join(str(item) for _, item in engine.items[:3]) or "none"
        raise InputError(
            f"sample must be one image that the graph reads, got {image!r}, which is {len(orders)} of them. "
            f"They are named like {examples}."
        )
    return engine, orders[0]


def show_sample(
    graph: Graph,
    image: str,
    path: PathLike,
    projects: PathLike | None = None,
    *,
    seed: int = 0,
    limit: int = 4,
) -> None:
    """Write a contact sheet of what each layer does to one image (svg, png or pdf).

    Parameters are those of :func:`open_sample` and :func:`layer_samples`.
    """
    engine, order = open_sample(graph, image, projects, seed=seed)
    write_figure(contact_sheet(engine, layer_samples(engine, order, limit=limit), limit), path)


def contact_sheet(engine: GraphEngine, rows: dict[int, LayerSamples], limit: int = 4) -> Figure:
    """One row a layer, in the order of the plan: its settings, then samples that leave it."""
    from matplotlib.figure import Figure

    order = engine.plan.order
    boxes, _ = graph_boxes(engine.plan.graph)
    metas = [*engine.metas.values(), *engine.plan.metas.values()]
    # Of all classes that any project or layer has; those of the projects go before those that layers made up.
    colors = {known.name: known.color for meta in reversed(metas) for known in meta.classes}
    pictures: dict[int, list[Array]] = {}
    texts: dict[int, list[str]] = {}
    heights: list[float] = []
    for index in order:
        row = rows[index]
        pictures[index] = [small_picture(sample, colors) for _, sample in row.samples]
        # The settings, and what to say where the layer gave nothing.
        none = "" if row.samples else f"({row.seen} sample{'s' * (row.seen != 1)} in, none out)"
        wrapped = textwrap.wrap(row.failure or none, _TEXT_COLUMNS)
        lines = (*boxes[index].lines[:_MOST_LINES], *wrapped[:_MOST_LINES])
        texts[index] = [line for line in lines if line]
        # Inches: the tallest picture with its caption, or the text, whichever needs more.
        tallest = max((len(picture) / picture.shape[1] for picture in pictures[index]), default=0.0)
        with_caption = min(2.05 * tallest, 2.6) + 0.3 * bool(pictures[index])
        heights.append(max(with_caption, 0.35 + 0.105 * len(texts[index])))
    figure = Figure(figsize=(2.6 + 2.2 * limit, sum(heights)), layout="constrained")
    grid = figure.subplots(
        len(order), limit + 1, squeeze=False, width_ratios=[1.3] + [1] * limit, height_ratios=heights
    )
    for axes, index in zip(grid, order, strict=True):
        for place in axes:
            place.axis("off")
            # To the top left, so that pictures of unlike shapes begin on one line.
            place.set_anchor("NW")
        # Without mathematics: a dollar sign in a setting is no formula.
        style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
        style["parse_math"] = False
        axes[0].annotate(boxes[index].title, (0, 1), (0, 0), fontsize=9, fontweight="bold", **style)
        text = "\n".join(texts[index])
        axes[0].annotate(text, (0, 1), (0, -14), fontsize=6, family="monospace", **style)
        several = engine.plan.graph.layers[index].settings.branches > 1
        for place, (branch, sample), picture in zip(
            axes[1:], rows[index].samples, pictures[index], strict=False
        ):
            place.imshow(picture)
            place.set_title(_caption(sample, branch, several), fontsize=6.5, parse_math=False)
    return figure


def _caption(sample: Sample, branch: int, several: bool) -> str:
    height, width = sample.shape
    tags = ", ".join(tag.name for tag in sample.annotation.tags)
    parts = [f"{_BRANCHES[branch]}: " if several else "", f"{width} x {height}"]
    count = len(sample.objects)
    parts += [f", {count} object{'s' * (count > 1)}" if count else "", f", {tags}" if tags else ""]
    return "".join(parts)


def small_picture(sample: Sample, colors: dict[str, tuple[int, int, int]]) -> Array:
    """(h, w, 3) uint8 of at most 256 pixels a side; of a sample above 4096 pixels its middle."""
    height, width = sample.shape
    if max(height, width) > _LARGEST:
        part = Window(
            row_off=max(0, (height - _LARGEST) // 2),
            col_off=max(0, (width - _LARGEST) // 2),
            height=min(height, _LARGEST),
            width=min(width, _LARGEST),
        )
        sample = sample.cropped(part)
        height, width = sample.shape
    scale = min(1.0, _THUMBNAIL / max(height, width))
    small = sample.resized((max(1, round(height * scale)), max(1, round(width * scale))))
    shown = preview_pixels(small.pixels.read())
    # A class that no project declares, as a layer may make one, still has its color.
    known = {item.class_name: color_of(item.class_name) for item in small.objects} | colors
    return np.moveaxis(laid_over(shown, *painted(small, known)), 0, -1)
