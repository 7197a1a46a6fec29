"""What a model says about its own use: the ``geoseg`` object of a model card.

The STAC MLM extension describes bands, scaling, shapes and classes. What it has no field for (how far
apart the pixels should be, how windows overlap, where to threshold) stands in one object under
``mlm:hyperparameters``; docs/model-bundle.md lists its keys.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, JsonValue, field_validator, model_validator

from geoseg.config import Settings
from geoseg.typing import Blend

__all__ = ["Activation", "ArchitectureSpec", "GeosegOptions", "TestTime"]

#: How logits become probabilities; ``none`` where the network already returns them.
Activation: TypeAlias = Literal["sigmoid", "softmax", "none"]

#: Turned and mirrored copies averaged at inference: 1, 4 or 8 runs of each window.
TestTime: TypeAlias = Literal["none", "flips", "d4"]

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Side: TypeAlias = Annotated[int, Field(gt=0)]
Length: TypeAlias = Annotated[int, Field(ge=0)]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: No colon and no slash: ``tu-hf_hub:user/net`` would ask a host, ``tu-local-dir:/path`` read files.
_ENCODER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
#: Arguments that make a network's constructor fetch or read weights of its own.
_FETCHES = re.compile(r"pretrained|checkpoint|weights|cache|path|file|url|hub", re.IGNORECASE)


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


class GeosegOptions(Settings):
    """Everything a run needs to know of a model beyond the MLM fields.

    Examples
    --------
    >>> GeosegOptions(window=512).window
    (512, 512)
    """

    version: Literal[1] = 1
    """Version of this object."""
    gsd: float | None = Field(default=None, gt=0)
    """Ground sampling distance the network expects, metres per pixel."""
    gsd_range: tuple[float, float] | None = None
    """Smallest and largest distance it was trained on, metres per pixel."""
    fill: float | Literal["mean"] = "mean"
    """Raw value put in place of invalid pixels; ``mean``: the centre of the scaling of each band."""
    window: tuple[Side, Side] = (512, 512)
    """Window (height, width) in pixels."""
    overlap: tuple[Length, Length] = (128, 128)
    """Overlap (vertical, horizontal) in pixels."""
    blend: Blend = "smooth"
    """How overlapping windows are weighted."""
    multiple: int = Field(default=1, ge=1, le=4096)
    """The network's input sides must be multiples of this; other windows are padded and cut back."""
    activation: Activation | None = None
    """From the network's output to probabilities; None: sigmoid for one output, else softmax."""
    test_time: TestTime = "none"
    """Turned and mirrored copies averaged at inference."""
    threshold: Share | dict[str, Share] = 0.5
    """Probability from which a pixel belongs to an object; one number or one for each class."""
    min_area_m2: float = Field(default=0, ge=0)
    """Smaller footprints are dropped, square metres."""
    simplify_m: float = Field(default=0, ge=0)
    """Tolerance of simplification, metres."""
    class_priority: tuple[str, ...] = ()
    """Classes from strongest to weakest, where several claim a pixel."""
    architecture: ArchitectureSpec | None = None
    """The network; needed when the weights are safetensors."""
    auxiliary: tuple[str, ...] = ()
    """Outputs that safetensors weights hold after the classes, such as ``boundary``; used on request."""
    training: dict[str, Any] | None = None
    """Free record of how the network was trained and what it scores."""

    @field_validator("window", "overlap", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else value

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
