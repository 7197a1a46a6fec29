"""Layers that change the size or the angle: resize, resize_annotation, rotate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from affine import Affine
from pydantic import Field, model_validator

from geoseg.config import Settings
from geoseg.dtl.layers.sizes import LARGEST_SIDE
from geoseg.dtl.pixels import Shape
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.geo.windows import Window
from geoseg.projects.figures.transform import scale_figure

Output = Iterator[tuple[int, Sample]]


class AspectRatio(Settings):
    """Whether the ratio of the sides is kept."""

    keep: bool


class ResizeSettings(LayerSettings):
    """The new size; -1 derives a side from the other."""

    width: int = Field(ge=-1, le=LARGEST_SIDE)
    height: int = Field(ge=-1, le=LARGEST_SIDE)
    aspect_ratio: AspectRatio

    @model_validator(mode="after")
    def _sides(self) -> ResizeSettings:
        if 0 in (self.width, self.height):
            raise ValueError("width and height must be above 0, or -1")
        if self.width == self.height == -1:
            raise ValueError("width and height must not both be -1")
        if -1 in (self.width, self.height) and not self.aspect_ratio.keep:
            raise ValueError("aspect_ratio.keep must be true when width or height is -1")
        return self

    def content(self, shape: Shape) -> Shape:
        """Size of the image itself, without black margins."""
        height, width = shape
        # At least one pixel: of a strip a thousand times as long as it is wide something must be left.
        if self.width == -1:
            return self.height, max(1, round(width * self.height / height))
        if self.height == -1:
            return max(1, round(height * self.width / width)), self.width
        if not self.aspect_ratio.keep:
            return self.height, self.width
        # The tighter side decides: the whole image fits inside.
        ratio = min(self.width / width, self.height / height)
        return min(self.height, max(1, round(height * ratio))), min(self.width, max(1, round(width * ratio)))

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        if -1 not in (self.width, self.height):
            return self.height, self.width
        return self.content(shape) if shape is not None else None


@layer("resize", ResizeSettings, pixels=True)
def resize(sample: Sample, settings: ResizeSettings, rng: np.random.Generator) -> Output:
    """Resize a sample; with the ratio kept and both sides given it is centered on black.

    Going finer is linear as in the original; going coarser averages all the pixels covered, where the
    original looked at four only and so let fine patterns alias. Bitmaps take the nearest pixel.
    """
    # Resized once, to its size on the canvas: the margins are laid around it without another look at a pixel.
    height, width = settings.content(sample.shape)
    resized = sample.resized((height, width))
    full = settings.height, settings.width
    if -1 in full or full == (height, width):
        yield 0, resized
    else:
        yield 0, resized.padded(full, ((full[0] - height) // 2, (full[1] - width) // 2))


class ResizeAnnotationSettings(ResizeSettings):
    """The frame to draw objects in; without ``classes`` all of them."""

    classes: list[str] | None = None

    def plan_titles(self) -> Sequence[str]:
        return self.classes or ()

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        return shape


@layer("resize_annotation", ResizeAnnotationSettings)
def resize_annotation(sample: Sample, settings: ResizeAnnotationSettings, rng: np.random.Generator) -> Output:
    """Scale objects to another frame and leave the image; ``restore_annotation_scale`` brings them back."""
    # Of an annotation that was scaled before, from the frame that it is drawn in by now.
    before = sample.drawn_shape or sample.shape
    yield 0, _rescaled(sample, before, settings.content(before), settings.classes)


class RestoreSettings(LayerSettings):
    """Classes whose objects come back, all by default."""

    classes: list[str] | None = None

    def plan_titles(self) -> Sequence[str]:
        return self.classes or ()


@layer("restore_annotation_scale", RestoreSettings)
def restore_annotation_scale(sample: Sample, settings: RestoreSettings, rng: np.random.Generator) -> Output:
    """Bring objects that ``resize_annotation`` scaled back to the frame of the image."""
    if sample.drawn_shape is None:
        yield 0, sample
    else:
        yield (
            0,
            replace(_rescaled(sample, sample.drawn_shape, sample.shape, settings.classes), drawn_shape=None),
        )


def _rescaled(sample: Sample, before: Shape, after: Shape, classes: list[str] | None) -> Sample:
    objects = []
    for item in sample.objects:
        if classes is not None and item.class_name not in classes:
            objects.append(item)
            continue
        figure = scale_figure(item.figure, before, after)
        if figure is not None:
            objects.append(item.with_figure(figure))
    return replace(sample.with_objects(objects), drawn_shape=after)


class Degrees(Settings):
    """Smallest and largest angle."""

    min_degrees: float
    max_degrees: float

    @model_validator(mode="after")
    def _ordered(self) -> Degrees:
        if self.min_degrees > self.max_degrees:
            raise ValueError("min_degrees must be at most max_degrees")
        return self


class BlackRegions(Settings):
    """What becomes of the corners."""

    mode: Literal["keep", "crop", "preserve_size"]


class RotateSettings(LayerSettings):
    """Angles and corners."""

    rotate_angles: Degrees
    black_regions: BlackRegions

    def plan_shape(self, shape: Shape | None) -> Shape | None:
        return shape if self.black_regions.mode == "preserve_size" else None


@layer("rotate", RotateSettings, pixels=True)
def rotate(sample: Sample, settings: RotateSettings, rng: np.random.Generator) -> Output:
    """Turn a sample counter-clockwise by a random angle.

    ``keep`` grows the canvas, ``crop`` keeps the largest upright rectangle without black corners,
    ``preserve_size`` the middle of the size it had. Right angles are exact. The image is sampled with a
    Lanczos kernel, bitmaps with the nearest pixel; rectangles become the upright boxes around the turned ones
    (the original of 2018 failed on them).
    """
    angle = float(rng.uniform(settings.rotate_angles.min_degrees, settings.rotate_angles.max_degrees))
    mode = settings.black_regions.mode
    # Right angles move pixels instead of sampling them, so they lose nothing.
    quarters, rest = divmod(round(angle, 9), 90)
    if rest == 0:
        yield 0, _fitted(sample.turned(int(quarters)), sample.shape if mode == "preserve_size" else None)
        return
    shape = _rotated_shape(sample.shape, angle, mode)
    # About the centers. y points down, so a turn to the left on screen is by +angle from the result back to
    # the source.
    center = Affine.translation(sample.shape[1] / 2, sample.shape[0] / 2)
    turned = center * Affine.rotation(angle) * Affine.translation(-shape[1] / 2, -shape[0] / 2)
    yield 0, sample.warped(shape, turned)


def _rotated_shape(shape: Shape, angle: float, mode: str) -> Shape:
    height, width = shape
    sine, cosine = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
    if mode == "preserve_size":
        return shape
    if mode == "keep":
        # Without the 1e-9 an error of rounding would add a black row to some angles.
        return math.ceil(height * cosine + width * sine - 1e-9), math.ceil(
            width * cosine + height * sine - 1e-9
        )
    return _inner_shape(height, width, sine, cosine)


def _inner_shape(height: int, width: int, sine: float, cosine: float) -> Shape:
    """The largest upright rectangle inside a turned one."""
    long, short = max(height, width), min(height, width)
    # Two corners of the inner rectangle touch the long sides, or else all four touch a side each.
    if short <= 2 * sine * cosine * long or abs(sine - cosine) < 1e-10:
        half = short / 2
        inner_w, inner_h = (half / sine, half / cosine) if width >= height else (half / cosine, half / sine)
    else:
        double = cosine * cosine - sine * sine
        inner_w, inner_h = (
            (width * cosine - height * sine) / double,
            (height * cosine - width * sine) / double,
        )
    return max(1, math.floor(inner_h)), max(1, math.floor(inner_w))


def _fitted(sample: Sample, shape: Shape | None) -> Sample:
    """The middle of a sample on exactly ``shape``, black where it does not reach."""
    if shape is None or shape == sample.shape:
        return sample
    height, width = (min(a, b) for a, b in zip(sample.shape, shape, strict=True))
    window = Window(
        row_off=(sample.shape[0] - height) // 2,
        col_off=(sample.shape[1] - width) // 2,
        height=height,
        width=width,
    )
    return sample.cropped(window).padded(shape, ((shape[0] - height) // 2, (shape[1] - width) // 2))
