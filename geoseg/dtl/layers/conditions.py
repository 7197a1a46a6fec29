"""The layer ``if``: samples go one of two ways."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from geoseg.config import Settings
from geoseg.dtl.name_patterns import NamePattern
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Origin, Sample
from geoseg.projects.figures import filled_area

#: Questions that need a second key, and which.
_EXTRA = {"sum_object_area": "classes", "name_in_range": "frame_step", "class_share": "classes"}


# A graph asks each of its patterns of every image.
@lru_cache(256)
def _compiled(pattern: str) -> NamePattern:
    return NamePattern(pattern)


def _checked(pattern: str) -> str:
    _compiled(pattern)
    return pattern


Pattern = Annotated[str, AfterValidator(_checked)]
SourceName = Annotated[str, Field(pattern=r"^[^/]+/.+$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Condition(Settings):
    """Exactly one question, with its further part where it has one."""

    probability: Share | None = Field(default=None, description="A draw for each sample says so.")
    tags: list[str] | None = Field(default=None, description="The image carries any of these.")
    regex_names: list[Pattern] | None = Field(
        default=None, description="Any is found in the source image's name without extension."
    )
    project_datasets: list[SourceName] | None = Field(
        default=None, description="The source is any of these; * stands for any project or data set."
    )
    min_objects_count: int | None = Field(
        default=None, ge=0, description="There are so many objects, of any class."
    )
    include_classes: list[str] | None = Field(default=None, description="An object is of any of these.")
    min_height: int | None = Field(default=None, ge=0, description="The sample has so many rows.")
    min_width: int | None = Field(default=None, ge=0, description="The sample has so many columns.")
    min_area: int | None = Field(default=None, ge=0, description="The sample has so many pixels.")
    sum_object_area: float | None = Field(
        default=None, ge=0, description="Objects of the classes have so many pixels together."
    )
    name_in_range: tuple[str, str] | None = Field(
        default=None,
        description="The source's name, as text, is from the first to the second; of such images each "
        "frame_step-th is taken, from the first on.",
    )
    min_valid_share: Share | None = Field(default=None, description="Such a share of the pixels has data.")
    class_share: Share | None = Field(
        default=None, description="Objects of the classes have such a share of the pixels."
    )
    classes: list[str] | None = None
    frame_step: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one(self) -> Condition:
        further = set(_EXTRA.values())
        given = sorted(self._given - further)
        if len(given) != 1:
            known = ", ".join(sorted(set(type(self).model_fields) - further))
            raise ValueError(f"exactly one of {known} must be given, got {', '.join(given) or 'none'}")
        need = {_EXTRA[given[0]]} if given[0] in _EXTRA else set()
        if self._given & further != need:
            raise ValueError(f"{given[0]} needs {', '.join(need) or 'no further key'}")
        return self

    @property
    def _given(self) -> set[str]:
        # A null is as good as nothing: programs that write graphs name every key.
        return {name for name in self.model_fields_set if getattr(self, name) is not None}

    @property
    def kind(self) -> str:
        """The question asked."""
        return next(iter(self._given - set(_EXTRA.values())))


class IfSettings(LayerSettings):
    """The condition."""

    branches: ClassVar[int] = 2
    # An image that changed sides between epochs would be trained on and validated on.
    same_every_epoch: ClassVar[bool] = True
    condition: Condition

    def plan_titles(self) -> Sequence[str]:
        return *(self.condition.include_classes or ()), *(self.condition.classes or ())

    @property
    def by_chance(self) -> bool:
        """Whether the answer is drawn, anew for each copy of an image."""
        return self.condition.probability is not None and 0 < self.condition.probability < 1

    def known_answer(self, origin: Origin) -> bool | None:
        """The answer where it follows from the image's name alone."""
        condition = self.condition
        # Never and always are no draws: counts behind them are known before the run.
        if condition.probability in (0, 1):
            return condition.probability == 1
        if condition.regex_names is not None:
            return any(_compiled(p).found_in(origin.stem) for p in condition.regex_names)
        if condition.project_datasets is not None:
            names = (name.partition("/")[::2] for name in condition.project_datasets)
            return any(
                project in ("*", origin.project) and dataset in ("*", origin.dataset)
                for project, dataset in names
            )
        if condition.name_in_range is not None and condition.frame_step is not None:
            # Names are compared as text: image_10 lies before image_2, so numbers want zeros in front.
            first, last = condition.name_in_range
            rank = origin.listing.rank(origin.order, (first, last))
            return first <= origin.stem <= last and rank % condition.frame_step == 0
        return None


@layer("if", IfSettings)
def if_(sample: Sample, settings: IfSettings, rng: np.random.Generator) -> Iterator[tuple[int, Sample]]:
    """Send a sample to the first name in ``dst`` if the condition holds, else to the second.

    ``probability`` is drawn anew for each sample, so copies of one image may fall on both sides; where that
    matters split before copying, or by ``split_spatial``. ``name_in_range`` counts the images in the range in
    the order of their names and keeps each ``frame_step``-th, the first among them.
    """
    yield (0 if answer(sample, settings, rng) else 1), sample


def answer(sample: Sample, settings: IfSettings, rng: np.random.Generator) -> bool:
    """Whether the condition holds."""
    known = settings.known_answer(sample.origin)
    if known is not None:
        return known
    condition: Any = settings.condition
    value = getattr(condition, condition.kind)
    height, width = sample.shape
    match condition.kind:
        case "probability":
            return bool(rng.random() < value)
        case "tags":
            return any(sample.annotation.has_tag(tag) for tag in value)
        case "min_objects_count":
            return len(sample.objects) >= value
        case "include_classes":
            return any(item.class_name in value for item in sample.objects)
        case "min_height":
            return height >= value
        case "min_width":
            return width >= value
        case "min_area":
            return height * width >= value
        case "sum_object_area":
            return _total_area(sample, condition.classes) >= value
        case "class_share":
            return _total_area(sample, condition.classes) >= value * height * width
        case "min_valid_share":
            return bool(sample.pixels.valid().mean() >= value)
        case _:
            raise AssertionError(condition.kind)


def _total_area(sample: Sample, classes: list[str]) -> float:
    """Pixels of objects, overlaps counted twice and holes of polygons with them, as the original counts."""
    return math.fsum(filled_area(item.figure) for item in sample.objects if item.class_name in classes)
