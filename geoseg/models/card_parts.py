"""Parts of a model card: objects of STAC and its MLM extension, typed."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from geoseg.models.options import GeosegOptions
from geoseg.models.scaling import BandScaling, band_ramps

__all__ = ["NAME_PATTERN", "Asset", "ClassObject", "OpenModel", "Properties"]

_CHANNEL_NAMES = ("bands", "band", "channel", "channels")
#: Names that the MLM extension allows.
NAME_PATTERN = r"^[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]$"


class OpenModel(BaseModel):
    """Base of the STAC parts: frozen, and keys of other tools are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)


class Tensor(OpenModel):
    """Shape of an input or a result; -1 stands for any length."""

    shape: list[int] = Field(min_length=1)
    dim_order: list[str] = Field(min_length=1)
    data_type: str

    @model_validator(mode="after")
    def _same_length(self) -> Tensor:
        if len(self.shape) != len(self.dim_order):
            raise ValueError(
                f"shape and dim_order must have equal length, got {len(self.shape)} and {len(self.dim_order)}"
            )
        return self

    def size(self, names: Sequence[str]) -> int | None:
        """Length along the first dimension called one of ``names``; None when free or absent."""
        sizes = dict(zip(self.dim_order, self.shape))
        # The first name that has a length: tools call one dimension channel, band or bands.
        return next((sizes[name] for name in names if sizes.get(name, -1) > 0), None)


class BandReference(OpenModel):
    """A band by name, perhaps computed."""

    name: str = Field(min_length=1)


class ModelInput(OpenModel):
    """The MLM "Model Input Object"."""

    name: str = Field(min_length=1)
    bands: list[str | BandReference] = []
    input: Tensor
    value_scaling: list[BandScaling | None] | None = None

    @model_validator(mode="after")
    def _scaling_fits(self) -> ModelInput:
        if self.channels is None:
            raise ValueError("the number of bands must be given, in bands or in input.shape beside 'bands'")
        if self.bands and self.channels != len(self.bands):
            raise ValueError(
                f"input.shape must hold one channel a band, got {self.channels} and {len(self.bands)}"
            )
        # Only to be refused here, where the JSON path is known, and not in the middle of a run.
        band_ramps(self.value_scaling, self.channels)
        return self

    @property
    def channels(self) -> int | None:
        """Number of channels."""
        return self.input.size(_CHANNEL_NAMES) or len(self.bands) or None


class ClassObject(OpenModel):
    """One class of the Classification extension; value 0 is background."""

    value: int = Field(ge=0)
    name: str = Field(min_length=1)
    color_hint: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f]{6}$")
    """Red, green and blue as six hexadecimal digits."""


class ModelOutput(OpenModel):
    """The MLM "Model Output Object"."""

    name: str = Field(min_length=1)
    tasks: list[str] = Field(min_length=1)
    result: Tensor
    classes: list[ClassObject] = Field(default=[], alias="classification:classes")

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: list[ClassObject]) -> list[ClassObject]:
        # Outputs are found by both: a name twice would be one column of two classes.
        for what in ("value", "name"):
            seen = [getattr(item, what) for item in classes]
            if len(set(seen)) < len(seen):
                raise ValueError(f"classes must have distinct {what}s, got {seen}")
        return classes

    @property
    def outputs(self) -> int | None:
        """Number of channels of the result."""
        return self.result.size(("class", "classes", "category", *_CHANNEL_NAMES))


class Hyperparameters(OpenModel):
    """``mlm:hyperparameters``: free, but for the ``geoseg`` object."""

    geoseg: GeosegOptions = GeosegOptions()


class Properties(OpenModel):
    """Item properties with the MLM fields that geoseg reads."""

    name: str = Field(alias="mlm:name", pattern=NAME_PATTERN)
    architecture: str = Field(alias="mlm:architecture", min_length=1)
    tasks: list[str] = Field(alias="mlm:tasks", min_length=1)
    input: list[ModelInput] = Field(alias="mlm:input", min_length=1, max_length=1)
    output: list[ModelOutput] = Field(alias="mlm:output", min_length=1, max_length=1)
    hyperparameters: Hyperparameters = Field(default=Hyperparameters(), alias="mlm:hyperparameters")


class Asset(OpenModel):
    """A file of the bundle; ``href`` is relative to the card."""

    href: str = Field(min_length=1)
    roles: list[str] = []
    artifact_type: str | None = Field(default=None, alias="mlm:artifact_type")
    checksum: str | None = Field(default=None, alias="file:checksum")
    size: int | None = Field(default=None, alias="file:size", ge=0)
