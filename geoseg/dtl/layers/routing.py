"""Layers that copy, route, tag and name samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from geoseg.config import Settings
from geoseg.dtl.mapping import tag_meta
from geoseg.dtl.registry import Count, LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.errors import InputError
from geoseg.projects.figures import ProjectMeta, Tag

Output = Iterator[tuple[int, Sample]]


class DatasetSettings(LayerSettings):
    """Where samples go: exactly one of ``rule`` and ``name``."""

    rule: Literal["save_original"] | None = None
    name: str | None = Field(default=None, pattern=r"^[0-9a-zA-Z \-_]+$", max_length=2048)

    @model_validator(mode="after")
    def _one(self) -> DatasetSettings:
        if (self.rule is None) == (self.name is None):
            raise ValueError("exactly one of rule and name must be given")
        return self


@layer("dataset", DatasetSettings)
def dataset(sample: Sample, settings: DatasetSettings, rng: np.random.Generator) -> Output:
    """Choose the data set of the result: the source's own name, or a given one."""
    own = sample.origin.dataset.replace("/", "__")  # of a nested data set
    yield 0, replace(sample, dataset=settings.name or own)


class AnySettings(LayerSettings):
    """Settings that are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@layer("dummy", AnySettings)
def dummy(sample: Sample, settings: AnySettings, rng: np.random.Generator) -> Output:
    """Pass samples on: joins branches, or gives a name."""
    yield 0, sample


class MultiplySettings(LayerSettings):
    """How many of each."""

    # n in total, not n more: the tutorials' counts follow from it.
    multiply: int = Field(ge=1, strict=True, description="Samples in total for one that enters.")

    def plan_count(self, shape: tuple[int, int] | None) -> Count:
        return self.multiply, self.multiply


@layer("multiply", MultiplySettings)
def multiply(sample: Sample, settings: MultiplySettings, rng: np.random.Generator) -> Output:
    """Emit a sample n times, n in total."""
    # The same value each time: the engine gives each its own key, and so its own draws, by its number.
    for _ in range(settings.multiply):
        yield 0, sample


class TagValue(Settings):
    """A tag with a value."""

    name: str = Field(min_length=1)
    value: str | int | float | None = None


class TagSettings(LayerSettings):
    """Which tag, and whether it is added or deleted."""

    tag: str | TagValue
    action: Literal["add", "delete"]

    @property
    def given(self) -> Tag:
        """The tag."""
        return Tag(self.tag) if isinstance(self.tag, str) else Tag(self.tag.name, self.tag.value)

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        tag = self.given
        if self.action == "delete":
            return meta.without_tag(tag.name)
        known = meta.find_tag(tag.name)
        if known is None:
            return meta.with_tag(tag_meta(tag))
        if not known.fits(tag.value):
            raise InputError(
                f"value of tag {tag.name!r} must be {known.wanted}, since it is of kind {known.value_type} "
                f"already, got {tag.value!r}. Give that, or another name."
            )
        return meta.with_tag(replace(known, applies_to="imagesOnly"))


@layer("tag", TagSettings, "image_tag")
def tag(sample: Sample, settings: TagSettings, rng: np.random.Generator) -> Output:
    """Add a tag to an image, or take it away.

    Tags are a set: adding one that is there changes nothing and deleting one removes it wholly, from the
    project's list too (the original of 2018 kept duplicates, and deleted tags stayed in the list).
    """
    given, tags = settings.given, sample.annotation.tags
    if settings.action == "delete":
        yield 0, sample.with_tags(t for t in tags if t.name != given.name)
    else:
        yield 0, sample if sample.annotation.has_tag(given.name) else sample.with_tags((*tags, given))
