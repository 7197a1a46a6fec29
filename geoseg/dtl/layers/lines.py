"""Layers for lines, boxes along outlines, and hints: points inside and outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field, model_validator

from geoseg.config import Settings
from geoseg.config.amounts import Amount, to_pixels
from geoseg.dtl.layers.drawing import need, row_windows
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.geo.windows import Window
from geoseg.projects.figures import ClassMeta, LabeledObject, ProjectMeta, color_of
from geoseg.projects.figures.transform import even_odd, from_shapely, to_shapely
from geoseg.projects.figures.types import (
    Bitmap,
    Bounds,
    Figure,
    Line,
    Point,
    Polygon,
    Rectangle,
    ShapeName,
    figure_bounds,
)
from geoseg.raster.draw import draw_figures
from geoseg.typing import BoolArray

Output = Iterator[tuple[int, Sample]]


class LineLengthSettings(LayerSettings):
    """Which lines are kept."""

    lines_class: str = Field(min_length=1)
    min_length: float | None = Field(default=None, ge=0)
    max_length: float | None = Field(default=None, ge=0)
    invert: bool = False
    resolution_compensation: bool = Field(
        default=False, description="Lengths are for an image 1000 pixels wide."
    )

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return {self.lines_class: ("line",)}

    @model_validator(mode="after")
    def _some(self) -> LineLengthSettings:
        if self.min_length is None and self.max_length is None:
            raise ValueError("min_length or max_length must be given")
        return self


@layer("drop_lines_by_length", LineLengthSettings)
def drop_lines_by_length(sample: Sample, settings: LineLengthSettings, rng: np.random.Generator) -> Output:
    """Drop lines shorter than min_length or longer than max_length; with invert those between."""
    scale = sample.shape[1] / 1000 if settings.resolution_compensation else 1.0
    low, high = settings.min_length or 0.0, settings.max_length if settings.max_length is not None else np.inf
    objects = []
    for item in sample.objects:
        if item.class_name == settings.lines_class:
            need(item.figure, (Line,), item.class_name, "drop_lines_by_length")
            length = float(np.hypot(*np.diff(item.figure.parts()[0], axis=0).T).sum())
            if (low * scale <= length <= high * scale) == settings.invert:
                continue
        objects.append(item)
    yield 0, sample.with_objects(objects)


class UnderPolygonSettings(LayerSettings):
    """Classes of the lines and of the polygons."""

    lines_class: str = Field(min_length=1)
    polygons_class: str = Field(min_length=1)

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return {self.lines_class: ("line",), self.polygons_class: ("polygon",)}


@layer("drop_lines_under_polygon", UnderPolygonSettings)
def drop_lines_under_polygon(
    sample: Sample, settings: UnderPolygonSettings, rng: np.random.Generator
) -> Output:
    """Cut away the parts of lines that lie under polygons."""
    polygons = []
    for item in sample.objects:
        if item.class_name == settings.polygons_class:
            need(item.figure, (Polygon,), item.class_name, "drop_lines_under_polygon")
            # The union of polygons that cross themselves would raise.
            polygons.append(even_odd(to_shapely(item.figure)))
    cover = shapely.union_all(polygons) if polygons else shapely.Polygon()
    objects = []
    for item in sample.objects:
        if item.class_name != settings.lines_class or not polygons:
            objects.append(item)
            continue
        need(item.figure, (Line,), item.class_name, "drop_lines_under_polygon")
        rest = from_shapely(shapely.difference(to_shapely(item.figure), cover), "line")
        objects += [item.with_figure(piece) for piece in rest]
    yield 0, sample.with_objects(objects)


class BoxSize(Settings):
    """Sides of a box."""

    width: Amount
    height: Amount


class ContourBoxSettings(LayerSettings):
    """Boxes and their distance; percent of the image's sides, for the distance of the shorter."""

    box: BoxSize
    distance: Amount
    classes: list[str]
    box_class: str = Field(min_length=1)

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return dict.fromkeys(self.classes, ("polygon",))

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        return meta.with_class(ClassMeta(self.box_class, "rectangle", color_of(self.box_class)))


@layer("contour_sliding_box", ContourBoxSettings)
def contour_sliding_box(sample: Sample, settings: ContourBoxSettings, rng: np.random.Generator) -> Output:
    """Add boxes along the outlines of polygons, one every ``distance`` pixels, kept inside the image."""
    height, width = sample.shape
    half = to_pixels(settings.box.width, width) // 2, to_pixels(settings.box.height, height) // 2
    # A percentage of a small image may come to no pixel at all, and the walk would never end.
    step = max(1, to_pixels(settings.distance, min(height, width)))
    objects = []
    for item in sample.objects:
        objects.append(item)
        if item.class_name in settings.classes:
            need(item.figure, (Polygon,), item.class_name, "contour_sliding_box")
            ring = item.figure.parts()[0]
            # Closed, or the last side would have no boxes. The first one lies a step from the beginning.
            line = shapely.LineString(np.concatenate([ring, ring[:1]]))
            stops = np.arange(step, line.length + 1e-9, step)
            for x, y in shapely.get_coordinates(shapely.line_interpolate_point(line, stops)):
                left, top = _inside(x, half[0], width), _inside(y, half[1], height)
                box = Rectangle(
                    left, top, min(left + 2 * half[0], width - 1), min(top + 2 * half[1], height - 1)
                )
                objects.append(LabeledObject(settings.box_class, box))
    yield 0, sample.with_objects(objects)


def _inside(center: float, half: int, size: int) -> float:
    """Start of a box about a center, moved into [0, size)."""
    # At the edge the box is moved and keeps its size.
    return float(max(0, min(np.floor(center + 0.5) - half, size - 1 - 2 * half)))


class HintsSettings(LayerSettings):
    """Class to hint at, classes of the points, and their smallest number."""

    class_name: str = Field(alias="class")
    positive_class: str = Field(min_length=1)
    negative_class: str = Field(min_length=1)
    min_points_number: int = Field(ge=0)

    def plan_titles(self) -> Sequence[str]:
        return (self.class_name,)

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        for name in (self.positive_class, self.negative_class):
            meta = meta.with_class(ClassMeta(name, "point", color_of(name)))
        return meta


@layer("generate_hints", HintsSettings)
def generate_hints(sample: Sample, settings: HintsSettings, rng: np.random.Generator) -> Output:
    """Add random points inside and outside the objects of a class.

    Of each kind there are min_points_number and, more, the whole part of an exponential draw of scale 2.
    """
    mine = [item.figure for item in sample.objects if item.class_name == settings.class_name]
    mine = [figure.by_rows() if isinstance(figure, Bitmap) else figure for figure in mine]
    figures = [(figure_bounds(figure), figure) for figure in mine]
    width = sample.shape[1]
    # Rows are counted first and single rows drawn again later: a mask of the whole image is never made.
    strips = [_covered(figures, strip).sum(axis=1) for strip in row_windows(sample.shape)]
    inside = np.concatenate(strips)
    objects = list(sample.objects)
    # Both numbers before any place: an order of draws that does not depend on the objects.
    wanted = [int(rng.exponential(2)) + settings.min_points_number for _ in range(2)]
    kinds = ((True, inside, settings.positive_class), (False, width - inside, settings.negative_class))
    for count, (value, counts, name) in zip(wanted, kinds, strict=True):
        for row, rank in _draw_places(counts, count, rng):
            drawn = _covered(figures, Window(row_off=row, col_off=0, height=1, width=width))
            col = np.flatnonzero(drawn[0] == value)[rank]
            objects.append(LabeledObject(name, Point(float(col), float(row))))
    yield 0, sample.with_objects(objects)


def _covered(figures: list[tuple[Bounds, Figure]], window: Window) -> BoolArray:
    """Where any of the figures is."""
    near = [
        figure
        for (_, top, _, bottom), figure in figures
        if top < window.row_end and bottom > window.row_off - 1
    ]
    return draw_figures(near, [True] * len(near), window, dtype=bool, fill=False)


def _draw_places(
    counts: NDArray[np.int64], count: int, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Different pixels drawn at random, all alike: row, and number among the ``counts`` of that row."""
    # Pixels are numbered through, row after row, so that a draw needs no list of them.
    ends = np.cumsum(counts)
    total = int(ends[-1])
    for rank in rng.choice(total, min(count, total), replace=False, shuffle=False) if total else ():
        row = int(np.searchsorted(ends, rank, side="right"))
        yield row, int(rank - (ends[row - 1] if row else 0))
