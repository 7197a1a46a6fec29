"""Layers that turn one shape into another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from pydantic import Field

from geoseg.dtl.layers.drawing import VERTICES, as_bitmap, converted, need, stroke_bitmap, without
from geoseg.dtl.layers.sizes import LARGEST_SIDE
from geoseg.dtl.mapping import convert_classes
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.projects.figures import LabeledObject, ProjectMeta
from geoseg.projects.figures.paths import longest_paths
from geoseg.projects.figures.trace import trace_bitmap
from geoseg.projects.figures.transform import simplify_figure
from geoseg.projects.figures.types import Bitmap, Figure, Line, Polygon, Rectangle, ShapeName, figure_bounds
from geoseg.raster.draw import round_half_up

Output = Iterator[tuple[int, Sample]]


class MappingSettings(LayerSettings):
    """From the title of a class to that of the new one."""

    classes_mapping: dict[str, str]


class ToBitmapSettings(MappingSettings):
    """Classes that become bitmaps."""

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        return convert_classes(meta, self.classes_mapping, "bitmap")


@layer("poly2bitmap", ToBitmapSettings, "polygon_to_mask")
def poly2bitmap(sample: Sample, settings: ToBitmapSettings, rng: np.random.Generator) -> Output:
    """Draw objects of any shape as bitmaps, by the rule of the training targets; empty ones are dropped.

    The border is inclusive, and the outline of a hole stays object.
    """

    def draw(figure: Figure) -> Iterable[Figure]:
        bitmap = as_bitmap(figure, sample.canvas)
        return () if bitmap is None else (bitmap,)

    yield 0, sample.with_objects(converted(sample.objects, settings.classes_mapping, draw))


class ToRectangleSettings(MappingSettings):
    """Classes that become rectangles."""

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        return convert_classes(meta, self.classes_mapping, "rectangle")


@layer("bbox", ToRectangleSettings)
def bbox(sample: Sample, settings: ToRectangleSettings, rng: np.random.Generator) -> Output:
    """Replace objects by the rectangles around them.

    A bitmap's rectangle ends at its last pixel (the original's reached one pixel further).
    """

    def box(figure: Figure) -> Iterable[Figure]:
        return (Rectangle(*figure_bounds(figure)),)

    yield 0, sample.with_objects(converted(sample.objects, settings.classes_mapping, box))


class ToPolygonSettings(MappingSettings):
    """Classes that become polygons."""

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        return convert_classes(meta, self.classes_mapping, "polygon")


class BoxesSettings(ToPolygonSettings):
    """Classes of rectangles that become polygons."""

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return dict.fromkeys(self.classes_mapping, ("rectangle",))


@layer("bbox2poly", BoxesSettings, "bbox_to_polygon")
def bbox2poly(sample: Sample, settings: BoxesSettings, rng: np.random.Generator) -> Output:
    """Turn rectangles into polygons of four vertices; another shape is an error."""

    def corners(figure: Rectangle) -> Iterable[Figure]:
        left, top, right, bottom = figure_bounds(figure)
        return (Polygon(np.array([[left, top], [right, top], [right, bottom], [left, bottom]])),)

    only = (Rectangle, "bbox2poly")
    yield 0, sample.with_objects(converted(sample.objects, settings.classes_mapping, corners, only))


class ContoursSettings(ToPolygonSettings):
    """Classes that become polygons, and how far outlines may be simplified."""

    approx_epsilon: float | None = Field(default=None, ge=0, description="Pixels.")

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return dict.fromkeys(self.classes_mapping, ("bitmap",))


@layer("find_contours", ContoursSettings, "bitmap2poly", "mask_to_polygon")
def find_contours(sample: Sample, settings: ContoursSettings, rng: np.random.Generator) -> Output:
    """Turn bitmaps into polygons with holes, one for each 8-connected part.

    Vertices are the border pixels themselves, so that poly2bitmap gives the same bitmap again (the original
    added one half to them, and its own raster rule then moved the outline). Parts of fewer than three
    vertices are dropped.
    """

    def trace(figure: Bitmap) -> Iterable[Figure]:
        polygons: list[Figure] = list(trace_bitmap(figure))
        if settings.approx_epsilon:
            # After the tracing and only where asked for: simplified, an outline no longer gives its bitmap
            # again.
            polygons = [simplify_figure(polygon, settings.approx_epsilon) for polygon in polygons]
        return polygons

    only = (Bitmap, "find_contours")
    yield 0, sample.with_objects(converted(sample.objects, settings.classes_mapping, trace, only))


class LineToBitmapSettings(ToBitmapSettings):
    """Classes whose contours become bitmaps."""

    width: int = Field(ge=1, le=LARGEST_SIDE, description="Pixels of the pen.")


@layer("line2bitmap", LineToBitmapSettings, "line_to_mask")
def line2bitmap(sample: Sample, settings: LineToBitmapSettings, rng: np.random.Generator) -> Output:
    """Draw the contours of objects of any shape with a pen of a given width."""

    def stroke(figure: Figure) -> Iterable[Figure]:
        bitmap = stroke_bitmap(figure, settings.width, sample.canvas)
        return () if bitmap is None else (bitmap,)

    yield 0, sample.with_objects(converted(sample.objects, settings.classes_mapping, stroke))


class ToLinesSettings(MappingSettings):
    """Classes that become lines."""

    min_points_cnt: int = Field(ge=2, description="Pixels of the shortest line kept.")
    approx_epsilon: float | None = Field(default=None, ge=0, description="Pixels.")

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        return convert_classes(meta, self.classes_mapping, "line")

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return dict.fromkeys(self.classes_mapping, ("bitmap",))


@layer("bitmap2lines", ToLinesSettings, "mask_to_lines")
def bitmap2lines(sample: Sample, settings: ToLinesSettings, rng: np.random.Generator) -> Output:
    """Turn (skeletonized) bitmaps into lines: the longest path of the pixels' spanning tree, again and again.

    Paths of fewer than min_points_cnt pixels are dropped. The lines are of shape line, in the class and in
    the object (the original wrote polygon in the latter).
    """

    def lines(figure: Bitmap) -> Iterable[Figure]:
        for path in longest_paths(figure.pixels, settings.min_points_cnt):
            line = Line(path + np.array(figure.origin, np.float64))
            yield simplify_figure(line, settings.approx_epsilon) if settings.approx_epsilon else line

    only = (Bitmap, "bitmap2lines")
    yield 0, sample.with_objects(converted(sample.objects, settings.classes_mapping, lines, only))


class ApproxSettings(LayerSettings):
    """Classes to simplify, and by how much."""

    classes: list[str]
    epsilon: float = Field(gt=0, description="Pixels.")

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return dict.fromkeys(self.classes, ("polygon", "line"))


@layer("approx_vector", ApproxSettings)
def approx_vector(sample: Sample, settings: ApproxSettings, rng: np.random.Generator) -> Output:
    """Simplify polygons and lines by Douglas and Peucker's rule, on whole pixels.

    A ring that would fall below three vertices stays as it was, as in later versions (the original of 2018
    lost it).
    """
    objects = []
    for item in sample.objects:
        if item.class_name in settings.classes:
            # Checked at the object too: a class of shape "any" passes the plan.
            need(item.figure, VERTICES, item.class_name, "approx_vector")
            simple = simplify_figure(item.figure, settings.epsilon)
            first, *holes = (round_half_up(part).astype(np.float64) for part in simple.parts())
            item = item.with_figure(
                Polygon(first, tuple(holes)) if isinstance(simple, Polygon) else Line(first)
            )
        objects.append(item)
    yield 0, sample.with_objects(objects)


class RasterizeSettings(ToBitmapSettings):
    """Classes drawn onto one canvas."""


@layer("rasterize", RasterizeSettings)
def rasterize(sample: Sample, settings: RasterizeSettings, rng: np.random.Generator) -> Output:
    """Draw objects as bitmaps so that no pixel belongs to two: later ones cut earlier ones.

    Objects of other classes are kept, below the bitmaps (the original of 2018 dropped them). No canvas of the
    whole image is made: each bitmap is cut by the later ones that reach into its box.
    """
    mapping = settings.classes_mapping
    kept = [item for item in sample.objects if item.class_name not in mapping]
    drawn: list[tuple[LabeledObject, Bitmap]] = []
    for item in sample.objects:
        bitmap = as_bitmap(item.figure, sample.canvas) if item.class_name in mapping else None
        if bitmap is not None:
            # By rows, since later bitmaps are cut out of it row by row.
            drawn.append((item.renamed(mapping[item.class_name]), bitmap.by_rows()))
    yield 0, sample.with_objects((*kept, *_cut_by_later(drawn)))


def _cut_by_later(drawn: list[tuple[LabeledObject, Bitmap]]) -> Iterator[LabeledObject]:
    boxes = np.array([figure_bounds(bitmap) for _, bitmap in drawn]).reshape(-1, 4)
    for index, (item, bitmap) in enumerate(drawn):
        left, top, right, bottom = boxes[index]
        later = boxes[index + 1 :]
        # Objects of a scene are spread out: nearly all boxes meet few others, and pixels are looked at for
        # those alone.
        near = (later[:, 0] <= right) & (later[:, 2] >= left) & (later[:, 1] <= bottom) & (later[:, 3] >= top)
        if not near.any():
            yield item.with_figure(bitmap)
            continue
        rest = without(bitmap, [drawn[other][1] for other in np.flatnonzero(near) + index + 1])
        if rest is not None:
            yield item.with_figure(rest)
