"""Layers that move image and objects together: flip, crop, sliding_window, instances_crop."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from geoseg.config import Settings
from geoseg.config.amounts import Sides
from geoseg.dtl.layers.sizes import Range
from geoseg.dtl.mapping import require_classes
from geoseg.dtl.pixels import Shape
from geoseg.dtl.registry import Count, LayerSettings, layer
from geoseg.dtl.sample import Sample, crop_annotation
from geoseg.errors import InputError
from geoseg.geo.windows import Grid, Window
from geoseg.projects.boxes import inner_window, padded_box
from geoseg.projects.figures import ProjectMeta

logger = logging.getLogger(__name__)
Output = Iterator[tuple[int, Sample]]


class FlipSettings(LayerSettings):
    """The axis mirrored about."""

    axis: Literal["vertical", "horizontal"] = Field(
        description="vertical mirrors left and right (about a vertical axis), horizontal up and down."
    )


@layer("flip", FlipSettings, pixels=True)
def flip(sample: Sample, settings: FlipSettings, rng: np.random.Generator) -> Output:
    """Mirror a sample: ``vertical`` left to right, ``horizontal`` upside down.

    The axis is the one mirrored about, as in the graphs of 2018; later versions turned the words round.
    Vertices move exactly with their pixels (x to width - 1 - x; the original's width - x drew them one pixel
    off).
    """
    yield 0, sample.mirrored(0 if settings.axis == "vertical" else 1)


class RandomPart(Settings):
    """Size of a random crop."""

    width: Range
    height: Range
    keep_aspect_ratio: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> RandomPart:
        for name, side in (("width", self.width), ("height", self.height)):
            if side.min_percent > side.max_percent:
                raise ValueError(f"min_percent must be at most max_percent for {name}")
        # One draw decides both sides then, so two ranges would be a choice that nobody reads.
        if self.keep_aspect_ratio and self.width != self.height:
            raise ValueError("height and width must be equal when keep_aspect_ratio is true")
        return self


class CropSettings(LayerSettings):
    """Exactly one of ``random_part`` and ``sides``."""

    random_part: RandomPart | None = None
    sides: Sides | None = Field(default=None, description="Amounts cut off each side.")

    @model_validator(mode="after")
    def _one(self) -> CropSettings:
        if (self.random_part is None) == (self.sides is None):
            raise ValueError("exactly one of random_part and sides must be given")
        return self

    def plan_refusal(self, shape: Shape) -> str | None:
        try:
            if self.sides is not None:
                inner_window(shape, self.sides)
        except InputError as error:
            return str(error)
        return None

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None or self.sides is None:
            return None
        left, top, right, bottom = self.sides.pixels(*shape)
        return shape[0] - top - bottom, shape[1] - left - right

    def plan_count(self, shape: Shape | None) -> Count:
        if self.random_part is not None:
            part = self.random_part
            # Sure only where even the smallest part drawn has a pixel: an empty crop gives no sample.
            ways = (part.width, part.height)
            sure = shape is not None and all(
                math.floor(size * way.min_percent / 100) > 0
                for size, way in zip(shape[::-1], ways, strict=True)
            )
            return int(sure), 1
        if shape is None:
            return 0, 1
        planned = self.plan_shape(shape)
        sure = planned is not None and min(planned) > 0 and self.plan_refusal(shape) is None
        return int(sure), int(sure)


def crop_window(shape: Shape, settings: CropSettings, rng: np.random.Generator) -> Window:
    """The window a crop keeps, drawn if it is a random one; empty where nothing is left.

    Raises
    ------
    InputError
        It reaches out of the image.
    """
    height, width = shape
    if settings.random_part is not None:
        part = settings.random_part
        # Width before height, and sizes before places: the order of draws is part of what a seed gives.
        percent_x = rng.uniform(part.width.min_percent, part.width.max_percent)
        percent_y = (
            percent_x
            if part.keep_aspect_ratio
            else rng.uniform(part.height.min_percent, part.height.max_percent)
        )
        new_w, new_h = math.floor(width * percent_x / 100), math.floor(height * percent_y / 100)
        left = int(rng.integers(0, width - new_w, endpoint=True))
        top = int(rng.integers(0, height - new_h, endpoint=True))
        return Window(row_off=top, col_off=left, height=new_h, width=new_w)
    assert settings.sides is not None  # one of the two, by validation
    return inner_window(shape, settings.sides)


@layer("crop", CropSettings, pixels=True)
def crop(sample: Sample, settings: CropSettings, rng: np.random.Generator) -> Output:
    """Cut out a random part, or cut off the sides.

    A side of zero pixels gives nothing and a warning in the log. Polygons that cross themselves are repaired
    before they are cut (the original of 2018 dropped the image).
    """
    window = crop_window(sample.shape, settings, rng)
    if window.height and window.width:
        yield 0, sample.cropped(window)
    else:
        logger.warning("an empty crop of %s was left out", sample.origin.name)


class CropAnnotationSettings(CropSettings):
    """The part of the image that objects are cut to."""

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        return shape


@layer("crop_annotation", CropAnnotationSettings)
def crop_annotation_layer(
    sample: Sample, settings: CropAnnotationSettings, rng: np.random.Generator
) -> Output:
    """Cut the objects to a part of the image and leave the image as it is; objects keep their place on it."""
    sample.check_frame()
    window = crop_window(sample.shape, settings, rng)
    if window.height and window.width:
        yield 0, replace(sample, annotation=crop_annotation(sample.annotation, window, shift=False))


class WindowSize(Settings):
    """Pixels of a window."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)


class WindowOverlap(Settings):
    """Pixels that neighbors share."""

    x: int = Field(ge=0)
    y: int = Field(ge=0)


class SlidingWindowSettings(LayerSettings):
    """Size and overlap of the windows."""

    window: WindowSize
    min_overlap: WindowOverlap

    @model_validator(mode="after")
    def _stride(self) -> SlidingWindowSettings:
        if self.min_overlap.x >= self.window.width or self.min_overlap.y >= self.window.height:
            raise ValueError("min_overlap must be smaller than the window")
        return self

    def grid(self, shape: Shape) -> Grid:
        """The windows.

        Raises
        ------
        InputError
            The window is larger than the image.
        """
        if self.window.height > shape[0] or self.window.width > shape[1]:
            raise InputError(
                f"window must not be larger than the image of {shape[1]} x {shape[0]} pixels, "
                f"got {self.window.width} x {self.window.height}. Choose a smaller window."
            )
        return Grid(shape, (self.window.height, self.window.width), (self.min_overlap.y, self.min_overlap.x))

    def plan_refusal(self, shape: Shape) -> str | None:
        try:
            self.grid(shape)
        except InputError as error:
            return str(error)
        return None

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        return self.window.height, self.window.width

    def plan_count(self, shape: Shape | None) -> Count:
        if shape is None:
            return 0, None
        if self.window.height > shape[0] or self.window.width > shape[1]:
            return 0, 0  # such samples fail, and are told beforehand by plan_refusal
        # The grid itself is asked, never a formula beside it.
        count = len(self.grid(shape))
        return count, count


@layer("sliding_window", SlidingWindowSettings, pixels=True)
def sliding_window(sample: Sample, settings: SlidingWindowSettings, rng: np.random.Generator) -> Output:
    """Cut a sample into windows of one size, row by row; the last ones are moved back to the edge.

    An image smaller than the window is an error: nothing is invented outside it. Windows without objects are
    emitted too.
    """
    for window in settings.grid(sample.shape):
        yield 0, sample.cropped(window)


class Pad(Settings):
    """Margin around an object's box."""

    sides: Sides


class InstancesCropSettings(LayerSettings):
    """Which objects get an image of their own."""

    classes: list[str]
    pad: Pad
    save_classes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _apart(self) -> InstancesCropSettings:
        both = sorted({*self.classes} & {*self.save_classes})
        if both:
            raise ValueError(f"classes and save_classes must not share titles, got {', '.join(both)}")
        return self

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        kept = {*self.classes, *self.save_classes}
        require_classes(meta, [*self.classes, *self.save_classes])
        return replace(meta, classes=tuple(c for c in meta.classes if c.name in kept))

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        return None

    def plan_count(self, shape: Shape | None) -> Count:
        return 0, None


@layer("instances_crop", InstancesCropSettings, pixels=True)
def instances_crop(sample: Sample, settings: InstancesCropSettings, rng: np.random.Generator) -> Output:
    """One image for each object: its box with a margin, the object itself and those of save_classes."""
    height, width = sample.shape
    for index, item in enumerate(sample.objects):
        if item.class_name not in settings.classes:
            continue
        # Cut at the image's edges, since nothing is invented outside it.
        window = padded_box(item.figure, settings.pad.sides, (height, width))
        kept = (
            other
            # By position: two objects may be equal in all.
            for i, other in enumerate(sample.objects)
            if i == index or other.class_name in settings.save_classes
        )
        if window.height and window.width:
            yield 0, sample.with_objects(kept).cropped(window)
