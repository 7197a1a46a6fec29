"""Layers for bitmaps: split_masks, merge_bitmap_masks, bitwise_masks, drop_noise, skeletonize."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field
from skimage import morphology

from geoseg.config.amounts import Amount
from geoseg.dtl.layers.drawing import combined, need, union_bitmap
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.projects.figures import Bitmap, LabeledObject
from geoseg.projects.figures.necks import parts_at_necks
from geoseg.projects.figures.parts import connected_parts, without_small_parts
from geoseg.projects.figures.stored import LARGE
from geoseg.projects.figures.thin import thinned
from geoseg.projects.figures.types import ShapeName
from geoseg.typing import BoolArray

Output = Iterator[tuple[int, Sample]]


class MaskClassesSettings(LayerSettings):
    """Titles of classes of bitmaps; titles that are not there are ignored."""

    classes: list[str]

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return dict.fromkeys(self.classes, ("bitmap",))


def _bitmap(item: LabeledObject, layer_name: str) -> Bitmap:
    need(item.figure, (Bitmap,), item.class_name, layer_name)
    assert isinstance(item.figure, Bitmap)  # needed above
    return item.figure


def _each(
    sample: Sample, classes: list[str], name: str, change: Callable[[Bitmap], Iterable[Bitmap]]
) -> Sample:
    """The sample with each bitmap of the classes replaced in place."""
    objects: list[LabeledObject] = []
    for item in sample.objects:
        if item.class_name in classes:
            objects += [item.with_figure(bitmap) for bitmap in change(_bitmap(item, name))]
        else:
            objects.append(item)
    return sample.with_objects(objects)


class SplitMasksSettings(MaskClassesSettings):
    """Titles of classes of bitmaps, and where their parts are cut further."""

    neck: float | None = Field(default=None, gt=0, lt=1)
    """A part is cut where it is at most this share as wide as on either side; None: nowhere."""


@layer("split_masks", SplitMasksSettings)
def split_masks(sample: Sample, settings: SplitMasksSettings, rng: np.random.Generator) -> Output:
    """Replace each bitmap by its 8-connected parts, in the order of their first pixels; cut at narrow necks.

    Tags and descriptions go to every part, as in later versions (the original of 2018 lost them).
    """
    neck = settings.neck
    parts = connected_parts if neck is None else partial(parts_at_necks, neck=neck)
    yield 0, _each(sample, settings.classes, "split_masks", parts)


class MergeSettings(LayerSettings):
    """Title of the class."""

    class_name: str = Field(alias="class")

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return {self.class_name: ("bitmap",)}


@layer("merge_bitmap_masks", MergeSettings, "merge_masks")
def merge_bitmap_masks(sample: Sample, settings: MergeSettings, rng: np.random.Generator) -> Output:
    """Join all bitmaps of a class into one, on top of the other objects."""
    mine = [item for item in sample.objects if item.class_name == settings.class_name]
    if not mine:  # a class need not have objects in every image
        yield 0, sample
        return
    merged = union_bitmap([_bitmap(item, "merge_bitmap_masks") for item in mine])
    others = [item for item in sample.objects if item.class_name != settings.class_name]
    # Tags of the first one go to all: one object can't have those of several.
    yield 0, sample.with_objects((*others, mine[0].with_figure(merged)))


class BitwiseSettings(LayerSettings):
    """The operation, the class of the mask, and the classes it changes."""

    type: Literal["or", "and", "nor"]
    class_mask: str
    classes_to_correct: list[str]

    def plan_needs(self) -> Mapping[str, tuple[ShapeName, ...]]:
        return dict.fromkeys((self.class_mask, *self.classes_to_correct), ("bitmap",))


_OPERATIONS: dict[str, Callable[[BoolArray, BoolArray], BoolArray]] = {
    "or": np.logical_or,
    "and": np.logical_and,
    # Not a slip: what the original calls nor is an exclusive or, and graphs rely on it.
    "nor": np.logical_xor,
}


@layer("bitwise_masks", BitwiseSettings)
def bitwise_masks(sample: Sample, settings: BitwiseSettings, rng: np.random.Generator) -> Output:
    """Join the first bitmap of one class with each bitmap of others; ``nor`` means exclusive or.

    Without an object of class_mask nothing changes; bitmaps that become empty are dropped.
    """
    mask = next((item for item in sample.objects if item.class_name == settings.class_mask), None)
    if mask is None:
        yield 0, sample
        return
    other = _bitmap(mask, "bitwise_masks")
    operation = _OPERATIONS[settings.type]

    def join(bitmap: Bitmap) -> list[Bitmap]:
        joined = combined(bitmap, other, operation)
        return [] if joined is None else [joined]

    yield 0, _each(sample, settings.classes_to_correct, "bitwise_masks", join)


class DropNoiseSettings(MaskClassesSettings):
    """How small a part must be to go; percent of the image or of the object's box."""

    min_area: Amount
    src_type: Literal["image", "bbox"]


@layer("drop_noise", DropNoiseSettings)
def drop_noise(sample: Sample, settings: DropNoiseSettings, rng: np.random.Generator) -> Output:
    """Remove the 4-connected parts of bitmaps that have fewer pixels than a limit."""
    height, width = sample.shape

    def clean(bitmap: Bitmap) -> list[Bitmap]:
        base = height * width if settings.src_type == "image" else bitmap.pixels.size
        value = settings.min_area
        limit = float(value[:-2]) if value.endswith("px") else float(value[:-1]) * base / 100
        left = without_small_parts(bitmap, limit)
        return [] if left is None else [left]

    yield 0, _each(sample, settings.classes, "drop_noise", clean)


class SkeletonizeSettings(MaskClassesSettings):
    """The method."""

    method: Literal["skeletonization", "medial_axis", "thinning"]


_METHODS: dict[str, Callable[[BoolArray], BoolArray]] = {
    "skeletonization": morphology.skeletonize,
    # Ties are broken at random there; a fixed seed gives the same lines in every run.
    "medial_axis": lambda mask: morphology.medial_axis(mask, rng=0),
    "thinning": morphology.thin,
}


@layer("skeletonize", SkeletonizeSettings)
def skeletonize(sample: Sample, settings: SkeletonizeSettings, rng: np.random.Generator) -> Output:
    """Thin bitmaps to lines of one pixel.

    A large bitmap is thinned strip by strip, or, by the other methods, one connected part after the other.
    The result is the same, but for ties on the medial axis.
    """
    yield 0, _each(sample, settings.classes, "skeletonize", lambda bitmap: _skeleton(bitmap, settings.method))


def _skeleton(bitmap: Bitmap, method: str) -> list[Bitmap]:
    if bitmap.pixels.size <= LARGE:
        lines = [_lines(bitmap, method)]
    elif method == "thinning":
        lines = [thinned(bitmap)]
    else:
        # Neither method works in strips, so a large bitmap is taken apart: parts do not change one another.
        thin = [line for part in connected_parts(bitmap) if (line := _lines(part, method)) is not None]
        lines = [union_bitmap(thin).tight()] if thin else []
    return [line for line in lines if line is not None]


def _lines(bitmap: Bitmap, method: str) -> Bitmap | None:
    # A rim of background: scikit-image takes the edge of the array for the edge of the object.
    lines = _METHODS[method](np.pad(bitmap.mask, 1))[1:-1, 1:-1]
    return Bitmap(bitmap.origin, np.asarray(lines, bool)).tight()
