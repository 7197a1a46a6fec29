"""Pictures of a project's statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from geoseg.projects.figures import ProjectMeta, color_of
from geoseg.projects.stats import ProjectStats
from geoseg.report.graph_draw import write_figure
from geoseg.typing import PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_stats", "stats_figure"]

#: Classes shown: more bars have labels that can't be read.
_MOST = 40

Colors: TypeAlias = dict[str, tuple[float, float, float]]
_UNLABELED = "(unlabeled)"


def plot_stats(stats: ProjectStats, path: PathLike, meta: ProjectMeta | None = None) -> None:
    """Write the four pictures as one file: svg, png or pdf.

    Raises
    ------
    InputError
        Another suffix.
    """
    write_figure(stats_figure(stats, meta), path)


def stats_figure(stats: ProjectStats, meta: ProjectMeta | None = None) -> Figure:
    """Objects per class, shares of the area, sizes of objects, what occurs together.

    Of more than 40 classes those with the largest area are shown.
    """
    from matplotlib.figure import Figure

    classes = stats.total.classes
    titles = sorted(classes, key=lambda t: (-classes[t].area_px, -classes[t].objects, t))
    shown = [title for title in titles if classes[title].objects][:_MOST] or titles[:_MOST]
    known = {one.name: one.color for one in meta.classes} if meta is not None else {}
    # matplotlib counts colors from 0 to 1.
    colors: Colors = {}
    for title in shown:
        red, green, blue = known.get(title) or color_of(title)
        colors[title] = red / 255, green / 255, blue / 255
    # A quarter of an inch a bar, so that the labels of 40 classes do not run into one another.
    height = max(3.2, 0.24 * len(shown) + 1.4)
    figure = Figure(figsize=(13, 2 * height), layout="constrained")
    (objects, areas), (sizes, pairs) = figure.subplots(2, 2)
    _bars(objects, shown, [classes[t].objects for t in shown], colors, "objects")
    shares = {title: classes[title].area_px / max(stats.total.pixels, 1) for title in shown}
    shares[_UNLABELED] = stats.total.unlabeled_share
    _bars(areas, [*shown, _UNLABELED], [100 * s for s in shares.values()], colors, "% of all pixels")
    _sizes(sizes, stats, shown, colors)
    _pairs(pairs, stats, shown)
    images, total = stats.total.images, stats.total.objects
    figure.suptitle(f"{stats.project}: {images:,} images, {total:,} objects, {len(classes)} classes")
    return figure


def _bars(
    axes: Axes,
    titles: list[str],
    values: list[float],
    colors: Colors,
    what: str,
) -> None:
    faces = [colors.get(title, (0.85, 0.85, 0.85)) for title in titles]
    places = np.arange(len(titles))
    axes.barh(places, values, color=faces, edgecolor="#475569", linewidth=0.5)
    axes.set_yticks(places, titles, parse_math=False)
    axes.invert_yaxis()  # the first class on top
    axes.set_xlabel(what)
    for place, value in enumerate(values):
        text = f" {value:,.0f}" if what == "objects" else f" {value:.2f}"
        axes.text(value, place, text, va="center", fontsize=8)
    axes.margins(x=0.15)


def _sizes(axes: Axes, stats: ProjectStats, titles: list[str], colors: Colors) -> None:
    """Stacked histogram over powers of two."""
    octaves = sorted({octave for title in titles for octave in stats.sizes[title].octaves})
    bottom = np.zeros(len(octaves))
    for title in titles:
        counts = np.array([stats.sizes[title].octaves.get(octave, 0) for octave in octaves], float)
        axes.bar(range(len(octaves)), counts, bottom=bottom, color=colors[title], edgecolor="#475569", lw=0.3)
        bottom += counts
    axes.set_xticks(range(len(octaves)), [f"{octave:,}" for octave in octaves], rotation=60, fontsize=8)
    axes.set_xlabel("object area from ... pixels (to twice that)")
    axes.set_ylabel("objects")


def _pairs(axes: Axes, stats: ProjectStats, titles: list[str]) -> None:
    axes.set_title("images that have both classes", fontsize=10)
    if not titles:
        return
    table = np.array([[stats.co_occurrence[a][b] for b in titles] for a in titles])
    axes.imshow(table, cmap="Blues", vmin=0, aspect="auto")
    places = range(len(titles))
    axes.set_xticks(places, titles, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(places, titles, fontsize=8, parse_math=False)
    # More numbers than that can't be read in their cells.
    if len(titles) <= 20:
        for (row, col), value in np.ndenumerate(table):
            # White on the dark half of the color scale.
            color = "white" if value > table.max() / 2 else "#334155"
            axes.text(col, row, str(value), ha="center", va="center", fontsize=7, color=color)
