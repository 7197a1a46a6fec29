"""Layers that end a graph: what is written is their settings' matter, writing is the run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.errors import InputError
from geoseg.projects.figures import ProjectMeta
from geoseg.projects.figures.meta import Color

Output = Iterator[tuple[int, Sample]]
Channel = Annotated[int, Field(ge=0, le=255)]
Colors = Mapping[str, Color]


@dataclass(frozen=True)
class Parts:
    """What is written of each sample.

    Attributes
    ----------
    images, annotations
        Whether the project has them.
    visualize
        Also pictures of image and annotation side by side.
    machine, human
        Colors of the classes in masks for machines and for people, None where there are none.
    """

    images: bool = True
    annotations: bool = True
    visualize: bool = False
    # Colors and no switch: without them the masks would be of values that nobody chose.
    machine: Colors | None = None
    human: Colors | None = None


class SaveSettings(LayerSettings):
    """How changed images are written.

    Attributes
    ----------
    jpeg_quality
        Write changed JPEG images as JPEG again.
    """

    jpeg_quality: int | None = Field(default=None, ge=1, le=100)

    def parts(self) -> Parts:
        """What is written."""
        return Parts()


class ProjectSettings(SaveSettings):
    """Settings of ``supervisely``: only ``jpeg_quality`` is looked at."""

    # The original looked at no settings of this layer, so its graphs may hold any.
    model_config = ConfigDict(extra="ignore", frozen=True)


@layer("supervisely", ProjectSettings, "create_new_project", role="save")
def supervisely(sample: Sample, settings: ProjectSettings, rng: np.random.Generator) -> Output:
    """Save an annotated project.

    The first copy of an image keeps its name, further ones get ``_`` and ten random characters. Images no
    layer changed are copied byte for byte. Changed ones are written without loss: as GeoTIFF if the source is
    one or knows its place on the ground, else as PNG; ``jpeg_quality`` writes JPEG sources as JPEG again.
    """
    yield 0, sample


class ArchiveSettings(SaveSettings):
    """Which parts are written."""

    images: bool = True
    annotations: bool = True
    visualize: bool = False

    @model_validator(mode="after")
    def _some(self) -> ArchiveSettings:
        # A project of neither would be empty.
        if not (self.images or self.annotations):
            raise ValueError("at least one of images and annotations must be true")
        return self

    def parts(self) -> Parts:
        return Parts(self.images, self.annotations, self.visualize)


@layer("save", ArchiveSettings, "export_archive", role="save")
def save(sample: Sample, settings: ArchiveSettings, rng: np.random.Generator) -> Output:
    """Save images, annotations or both; ``visualize`` adds pictures of both side by side.

    The result is a folder of the project's layout; pack it where an archive is wanted.
    """
    yield 0, sample


class MasksSettings(SaveSettings):
    """Which masks are written, and their colors as [red, green, blue] by class."""

    images: bool = True
    annotations: bool = True
    visualize: bool = False
    masks_machine: bool = False
    masks_human: bool = False
    gt_machine_color: dict[str, tuple[Channel, Channel, Channel]] | None = None
    gt_human_color: dict[str, tuple[Channel, Channel, Channel]] | None = None

    def parts(self) -> Parts:
        machine = self.gt_machine_color if self.masks_machine else None
        human = self.gt_human_color if self.masks_human else None
        return Parts(self.images, self.annotations, self.visualize, machine, human)

    @model_validator(mode="after")
    def _colors(self) -> MasksSettings:
        for name in ("machine", "human"):
            if getattr(self, f"masks_{name}") and getattr(self, f"gt_{name}_color") is None:
                raise ValueError(f"gt_{name}_color must be given when masks_{name} is true")
        if not (self.images or self.annotations or self.masks_machine or self.masks_human):
            raise ValueError(
                "at least one of images, annotations, masks_machine and masks_human must be true"
            )
        return self

    def plan_meta(self, meta: ProjectMeta) -> ProjectMeta:
        given = {*(self.gt_machine_color or ()), *(self.gt_human_color or ())}
        missing = sorted(given - set(meta.class_names))
        if missing:
            known = ", ".join(meta.class_names) or "none"
            raise InputError(
                f"colors must be given for classes that arrive here ({known}), got {', '.join(missing)}. "
                "Correct or remove them."
            )
        return meta


@layer("save_masks", MasksSettings, "export_archive_with_masks", role="save")
def save_masks(sample: Sample, settings: MasksSettings, rng: np.random.Generator) -> Output:
    """Save as ``save`` does, and masks beside.

    ``masks_machine/NAME.png`` has each class in its color on black, in the order of the objects;
    ``masks_human/NAME.png`` the image, a green bar, and the image with the colors laid over it by half.
    """
    yield 0, sample
