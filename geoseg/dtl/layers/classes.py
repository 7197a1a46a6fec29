"""Layers about classes and whole objects: background, rename, drop, duplicate, filter, colors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from geoseg.config import Settings
from geoseg.dtl.mapping import expand, map_classes, map_objects, require_classes
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.errors import InputError
from geoseg.projects.figures import ClassMeta, LabeledObject, ProjectMeta, color_of, parse_color
from geoseg.projects.figures.types import Rectangle, figure_bounds, filled_area

Output = Iterator[tuple[int, Sample]]


class BackgroundSettings(LayerSettings):
    """Title of the background's class."""

    class_name: str = Field(alias="class", min_length=1)

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        return meta.with_class(ClassMeta(self.class_name, "rectangle", color_of(self.class_name)))


@layer("background", BackgroundSettings)
def background(sample: Sample, settings: BackgroundSettings, rng: np.random.Generator) -> Output:
    """Put a rectangle over the whole image below all objects.

    It is an object like any other: ``min_objects_count`` behind this layer counts it.
    """
    height, width = sample.shape
    # The last column and row, not the width: rectangles cover the pixels of their corners.
    below = LabeledObject(settings.class_name, Rectangle(0, 0, width - 1, height - 1))
    yield 0, sample.with_objects((below, *sample.objects))


class RenameSettings(LayerSettings):
    """From title to title, ``__default__`` or ``__ignore__``; titles not named are kept."""

    classes_mapping: dict[str, str]

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        return map_classes(meta, expand(self.classes_mapping, meta.class_names, complete=False))


@layer("rename", RenameSettings, "rename_classes")
def rename(sample: Sample, settings: RenameSettings, rng: np.random.Generator) -> Output:
    """Rename, merge or drop classes."""
    names = tuple(dict.fromkeys(item.class_name for item in sample.objects))
    # expand refuses titles that are not there, and one image need not have objects of all classes.
    known = {k: v for k, v in settings.classes_mapping.items() if k in names or k == "__other__"}
    yield 0, sample.with_objects(map_objects(sample.objects, expand(known, names, complete=False)))


class ClassesSettings(LayerSettings):
    """Titles of classes."""

    classes: list[str]


class DropSettings(ClassesSettings):
    """Titles of the classes to drop."""

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        require_classes(meta, self.classes)
        return replace(meta, classes=tuple(c for c in meta.classes if c.name not in self.classes))


@layer("drop_obj_by_class", DropSettings, "drop_object_by_class")
def drop_obj_by_class(sample: Sample, settings: DropSettings, rng: np.random.Generator) -> Output:
    """Drop classes and their objects."""
    yield 0, sample.with_objects(item for item in sample.objects if item.class_name not in settings.classes)


class DuplicateSettings(LayerSettings):
    """From a title to that of the copy."""

    classes_mapping: dict[str, str]

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        require_classes(meta, self.classes_mapping)
        result = meta
        for old, new in self.classes_mapping.items():
            source = meta.find_class(old)
            assert source is not None  # required above
            result = result.with_class(replace(source, name=new, extra={}))
        return result


@layer("duplicate_objects", DuplicateSettings)
def duplicate_objects(sample: Sample, settings: DuplicateSettings, rng: np.random.Generator) -> Output:
    """Add a copy of each object under another class, right above it."""
    objects = []
    for item in sample.objects:
        objects.append(item)
        new = settings.classes_mapping.get(item.class_name)
        if new is not None:
            # Without the original's number and author: it is another object.
            objects.append(replace(item, class_name=new, extra={}))
    yield 0, sample.with_objects(objects)


class ColorSettings(LayerSettings):
    """From title to ``#RRGGBB``."""

    classes_color_mapping: dict[str, str]

    @field_validator("classes_color_mapping")
    @classmethod
    def _colors(cls, value: dict[str, str]) -> dict[str, str]:
        for color in value.values():
            parse_color(color)
        return value

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        require_classes(meta, self.classes_color_mapping)
        colors = {name: parse_color(color) for name, color in self.classes_color_mapping.items()}
        return replace(
            meta, classes=tuple(replace(c, color=colors.get(c.name, c.color)) for c in meta.classes)
        )


@layer("color_class", ColorSettings, "change_class_color")
def color_class(sample: Sample, settings: ColorSettings, rng: np.random.Generator) -> Output:
    """Change colors of classes; objects are untouched."""
    yield 0, sample


class AreaPercent(Settings):
    """Share of the image's area."""

    percent: float = Field(ge=0, le=100)


class AreaBox(Settings):
    """Sides of an object's box, in pixels."""

    width: int
    height: int


class Remap(Settings):
    """The class that objects get."""

    remap_class: str


class PolygonSizes(Settings):
    """Which objects are too small or too large."""

    filtering_classes: list[str]
    area_size: AreaPercent | AreaBox
    action: Literal["delete"] | Remap
    comparator: Literal["less", "greater"]


class FilterBy(Settings):
    """Exactly one of ``polygon_sizes`` and ``names``."""

    polygon_sizes: PolygonSizes | None = None
    names: list[str] | None = Field(default=None, description="Keep objects of these classes only.")

    @model_validator(mode="after")
    def _one(self) -> FilterBy:
        if (self.polygon_sizes is None) == (self.names is None):
            raise ValueError("exactly one of polygon_sizes and names must be given")
        return self


class ObjectsFilterSettings(LayerSettings):
    """What to filter by."""

    filter_by: FilterBy

    def plan_titles(self) -> Sequence[str]:
        sizes = self.filter_by.polygon_sizes
        return self.filter_by.names or () if sizes is None else sizes.filtering_classes

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        sizes = self.filter_by.polygon_sizes
        if sizes is None or not isinstance(sizes.action, Remap):
            return meta
        new = sizes.action.remap_class
        for name in sizes.filtering_classes:
            old = meta.find_class(name)
            if old is None:
                raise InputError(
                    f"filtering_classes must arrive here, got {name!r}. Remapping needs its shape."
                )
            meta = meta.with_class(replace(old, name=new, extra={}))
        return meta


@layer("objects_filter", ObjectsFilterSettings)
def objects_filter(sample: Sample, settings: ObjectsFilterSettings, rng: np.random.Generator) -> Output:
    """Delete or reclass objects smaller or larger than a limit, or keep named classes only.

    By percent the area (holes filled) is compared with the image's, strictly; by size an object counts if its
    box's width *or* height does. Giving another class was announced by the original but never written.
    """
    by = settings.filter_by
    if by.names is not None:
        yield 0, sample.with_objects(item for item in sample.objects if item.class_name in by.names)
        return
    assert by.polygon_sizes is not None  # by validation
    objects = []
    for item in sample.objects:
        if not _selected(item, by.polygon_sizes, sample.shape):
            objects.append(item)
        elif isinstance(by.polygon_sizes.action, Remap):
            objects.append(item.renamed(by.polygon_sizes.action.remap_class))
    yield 0, sample.with_objects(objects)


def _selected(item: LabeledObject, sizes: PolygonSizes, shape: tuple[int, int]) -> bool:
    if item.class_name not in sizes.filtering_classes:
        return False
    if isinstance(sizes.area_size, AreaPercent):
        # Holes count as covered: a ring of a house around its court is as large as the house.
        values = [(100 * filled_area(item.figure) / (shape[0] * shape[1]), sizes.area_size.percent)]
    else:
        left, top, right, bottom = figure_bounds(item.figure)
        # Bounds name the first and the last pixel.
        values = [(right - left + 1, sizes.area_size.width), (bottom - top + 1, sizes.area_size.height)]
    return any(value < limit if sizes.comparator == "less" else value > limit for value, limit in values)
