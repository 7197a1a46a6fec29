"""Annotated objects: figures, classes, tags, and their JSON. Values and arrays, no files."""

from geoseg.projects.figures.annotation import (
    Annotation,
    LabeledObject,
    Tag,
    figure_from_json,
    figure_to_json,
    is_of_2018,
)
from geoseg.projects.figures.bitmaps import decode_mask, encode_mask
from geoseg.projects.figures.meta import ClassMeta, ProjectMeta, TagMeta, color_of, format_color, parse_color
from geoseg.projects.figures.types import (
    SHAPES,
    Bitmap,
    Figure,
    Line,
    Point,
    Polygon,
    Rectangle,
    figure_area,
    figure_bounds,
    filled_area,
    same_figure,
)

__all__ = [
    "SHAPES",
    "Annotation",
    "Bitmap",
    "ClassMeta",
    "Figure",
    "LabeledObject",
    "Line",
    "Point",
    "Polygon",
    "ProjectMeta",
    "Rectangle",
    "Tag",
    "TagMeta",
    "color_of",
    "decode_mask",
    "encode_mask",
    "figure_area",
    "figure_bounds",
    "figure_from_json",
    "figure_to_json",
    "filled_area",
    "format_color",
    "is_of_2018",
    "parse_color",
    "same_figure",
]
