"""The ``value_scaling`` objects of the STAC MLM extension and what they do to a pixel.

Each object is one step for one band, and each is a clip followed by a straight line, so that any list of
them becomes four numbers a band.

References
----------
STAC Machine Learning Model extension 1.5, "Value Scaling Object".
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from geoseg.typing import FloatArray

__all__ = ["BandScaling", "Ramp", "Scaling", "ZScore", "band_ramps", "fill_values"]

_INF = float("inf")


@dataclass(frozen=True, slots=True)
class Ramp:
    """``y = clip(x, low, high) * gain + offset`` and the raw value in the middle of it."""

    gain: float = 1.0
    offset: float = 0.0
    low: float = -_INF
    high: float = _INF
    center: float = 0.0


class _Step(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    @abstractmethod
    def ramp(self) -> Ramp: ...


class ZScore(_Step):
    """(x - mean) / stddev."""

    type: Literal["z-score"] = "z-score"
    mean: float
    stddev: float = Field(gt=0)

    def ramp(self) -> Ramp:
        """Four numbers of this step."""
        return Ramp(1 / self.stddev, -self.mean / self.stddev, center=self.mean)


class MinMax(_Step):
    """(x - minimum) / (maximum - minimum), not clipped."""

    type: Literal["min-max"] = "min-max"
    minimum: float
    maximum: float

    def ramp(self) -> Ramp:
        """Four numbers of this step."""
        span = self.maximum - self.minimum
        return Ramp(1 / span, -self.minimum / span, center=(self.minimum + self.maximum) / 2)

    @model_validator(mode="after")
    def _spans(self) -> MinMax:
        if self.maximum <= self.minimum:
            raise ValueError(f"maximum must be above minimum {self.minimum}, got {self.maximum}")
        return self


class Clip(_Step):
    """x limited to minimum .. maximum."""

    type: Literal["clip"] = "clip"
    minimum: float
    maximum: float

    def ramp(self) -> Ramp:
        """Four numbers of this step."""
        return Ramp(low=self.minimum, high=self.maximum, center=(self.minimum + self.maximum) / 2)


class ClipMin(_Step):
    """x, at least minimum."""

    type: Literal["clip-min"] = "clip-min"
    minimum: float

    def ramp(self) -> Ramp:
        """Four numbers of this step."""
        return Ramp(low=self.minimum, center=self.minimum)


class ClipMax(_Step):
    """x, at most maximum."""

    type: Literal["clip-max"] = "clip-max"
    maximum: float

    def ramp(self) -> Ramp:
        """Four numbers of this step."""
        return Ramp(high=self.maximum, center=self.maximum)


class Offset(_Step):
    """x - value."""

    type: Literal["offset"] = "offset"
    value: float

    def ramp(self) -> Ramp:
        """Four numbers of this step."""
        return Ramp(offset=-self.value, center=self.value)


class Scale(_Step):
    """x / value."""

    type: Literal["scale"] = "scale"
    value: float

    def ramp(self) -> Ramp:
        """Four numbers of this step."""
        return Ramp(gain=1 / self.value)

    @field_validator("value")
    @classmethod
    def _divides(cls, value: float) -> float:
        if value == 0:
            raise ValueError("value must not be 0")
        return value


BandScaling: TypeAlias = Annotated[
    ZScore | MinMax | Clip | ClipMin | ClipMax | Offset | Scale, Field(discriminator="type")
]
Scaling: TypeAlias = Sequence[BandScaling | None]


def band_ramps(scaling: Scaling | None, channels: int) -> tuple[Ramp, ...]:
    """One ramp a channel; a single scaling holds for every channel, none leaves pixels as they are.

    Examples
    --------
    >>> band_ramps([Scale(value=255)], 2)[1].gain * 255
    1.0
    >>> band_ramps(None, 1)
    (Ramp(gain=1.0, offset=0.0, low=-inf, high=inf, center=0.0),)
    """
    steps = list(scaling or [None])
    if len(steps) == 1:
        steps *= channels
    if len(steps) != channels:
        raise ValueError(
            f"value_scaling must have 1 entry or one for each of {channels} bands, got {len(steps)}"
        )
    return tuple(step.ramp() if step is not None else Ramp() for step in steps)


def fill_values(ramps: Sequence[Ramp], fill: float | Literal["mean"] = "mean") -> FloatArray:
    """Raw value that stands for "no data" in each channel, float32 (C,).

    Examples
    --------
    >>> fill_values([Ramp(center=7.0), Ramp(center=8.0)])
    array([7., 8.], dtype=float32)
    >>> fill_values([Ramp(center=7.0)], 0)
    array([0.], dtype=float32)
    """
    return np.array([ramp.center if fill == "mean" else fill for ramp in ramps], np.float32)
