"""What a model says about its own use: the ``geoseg`` object of a model card.

The STAC MLM extension describes bands, scaling, shapes and classes. What it has no field for (the ground
sampling distance, how windows overlap, where to threshold) stands in one object under
``mlm:hyperparameters``; docs/model-bundle.md lists its keys.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from pydantic import Field, JsonValue, field_validator, model_validator

from geoseg.config import Settings
from geoseg.config.run import SuggestedSettings

__all__ = ["Activation", "ArchitectureSpec", "GeosegOptions"]

#: How logits become probabilities; ``none`` where the network already returns them.
Activation: TypeAlias = Literal["sigmoid", "softmax", "none"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: No colon and no slash: ``tu-hf_hub:user/net`` would ask a host, ``tu-local-dir:/path`` read files.
_ENCODER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
#: Arguments that make a network's constructor fetch or read weights of its own.
_FETCHES = re.compile(r"pretrained|checkpoint|weights|cache|path|file|url|hub", re.IGNORECASE)


#: Names of :class:`GeosegOptions` that its version 1 did not have in the beginning.
_LATER = {"min_confidence"}


class ArchitectureSpec(Settings):
    """A network by name, as :func:`geoseg.models.architectures.build_network` takes it.

    Examples
    --------
    >>> ArchitectureSpec(name="unet", encoder="resnet18").kwargs
    {}
    """

    name: str
    """``unet_v2`` or a decoder of segmentation-models-pytorch, such as ``unet``."""
    encoder: str | None = None
    """Encoder of an smp decoder, such as ``resnet18`` or ``tu-tf_efficientnet_lite0``."""
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of the network's constructor."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"must be lower-case letters, digits and underscores, got {name!r}")
        return name

    @field_validator("encoder")
    @classmethod
    def _plain_encoder(cls, encoder: str | None) -> str | None:
        if encoder is not None and not _ENCODER.fullmatch(encoder):
            raise ValueError(f"must be letters, digits, dots, dashes and underscores, got {encoder!r}")
        return encoder

    @field_validator("kwargs")
    @classmethod
    def _builds_only(cls, kwargs: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if fetching := sorted(name for name in kwargs if _FETCHES.search(name)):
            raise ValueError(
                f"must not make the network load anything, got {', '.join(fetching)}; "
                "the bundle's own weights are loaded"
            )
        return kwargs


class GeosegOptions(SuggestedSettings):
    """Everything a run needs to know of a model beyond the MLM fields.

    The settings that a card may suggest are those of :class:`geoseg.config.run.SuggestedSettings`; a run
    takes what its user gives instead.

    Examples
    --------
    >>> GeosegOptions(window=512).window
    (512, 512)
    """

    version: Literal[1] = 1
    """Version of this object."""
    gsd: float | None = Field(default=None, gt=0)
    """Ground sampling distance the network expects, meters per pixel."""
    gsd_range: tuple[float, float] | None = None
    """Smallest and largest ground sampling distance it was trained on, meters per pixel."""
    fill: float | Literal["mean"] = "mean"
    """Raw value put in place of invalid pixels; ``mean``: the center of the scaling of each band."""
    multiple: int = Field(default=1, ge=1, le=4096)
    """The network's input sides must be multiples of this; other windows are padded and cut back."""
    activation: Activation | None = None
    """From the network's output to probabilities; None: sigmoid for one output, else softmax."""
    class_priority: tuple[str, ...] = ()
    """Classes from strongest to weakest, where several claim a pixel."""
    training_resize: tuple[int, int] | None = None
    """Size (height, width) in pixels that whole images were stretched to in training; None: none were."""
    architecture: ArchitectureSpec | None = None
    """The network; needed when the weights are safetensors."""
    auxiliary: tuple[str, ...] = ()
    """Outputs that safetensors weights hold after the classes, such as ``boundary``; used on request."""
    training: dict[str, Any] | None = None
    """Free record of how the network was trained and what it scores."""

    @field_validator("gsd_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1]:
            raise ValueError(f"must be two distances, smallest first, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _overlap_fits(self) -> GeosegOptions:
        if any(overlap >= window for overlap, window in zip(self.overlap, self.window)):
            raise ValueError(
                f"overlap must be smaller than window {list(self.window)}, got {list(self.overlap)}"
            )
        return self

    def document(self) -> dict[str, Any]:
        """As it stands in a card, for JSON."""
        # All others are stated, so that a later default changes no card. A version refuses names that it does
        # not know, so what came later stands only in cards that have a use for it.
        return self.model_dump(mode="json", exclude=_LATER - self.model_fields_set)

    def suggested(self) -> dict[str, Any]:
        """Settings of a run that the card suggests, by their names there."""
        chosen = {name: getattr(self, name) for name in SuggestedSettings.model_fields}
        chosen = {name: value for name, value in chosen.items() if name in self.model_fields_set}
        # the network's own ground sampling distance is a fact; reading the scene at it is a setting
        chosen["resolution"] = self.gsd
        return {name: value for name, value in chosen.items() if value is not None}
