"""Layers that change values and leave geometry alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy import ndimage

from geoseg.config import Settings
from geoseg.dtl.randomness import derive, generator
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.sample import Sample
from geoseg.geo.windows import Window
from geoseg.typing import Array

Output = Iterator[tuple[int, Sample]]
# As large as the blocks of most files; a whole scene's noise is never made at once.
_BLOCK = 256


def _unit(dtype: np.dtype[Any]) -> float:
    """What one step of an 8-bit image is for a pixel type: settings are written in steps of 0 to 255."""
    return np.iinfo(dtype).max / 255 if dtype.kind in "iu" else 1.0


def _stored(values: Array, dtype: np.dtype[Any]) -> Array:
    """Floating point values as pixels of a type: rounded and clipped."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    # Clipped before the cast, which would wrap 256 round to 0.
    return np.clip(np.rint(values), info.min, info.max).astype(dtype)


class FloatRange(Settings):
    """Smallest and largest value drawn."""

    min: float
    max: float

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        if self.min > self.max:
            raise ValueError("min must be at most max")
        return self


class Sigma(FloatRange):
    """Standard deviation in pixels."""

    min: float = Field(ge=0.01)
    max: float = Field(ge=0.01, le=100)


class BlurSettings(LayerSettings):
    """A gaussian of random width, or a median."""

    name: Literal["gaussian", "median"]
    sigma: Sigma | None = None
    kernel: int | None = Field(default=None, ge=3, le=99)

    @model_validator(mode="after")
    def _fits(self) -> BlurSettings:
        if self.name == "gaussian" and (self.sigma is None or self.kernel is not None):
            raise ValueError("gaussian needs sigma and nothing else")
        if self.name == "median" and (self.kernel is None or self.sigma is not None):
            raise ValueError("median needs kernel and nothing else")
        if self.kernel is not None and self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        return self


@layer("blur", BlurSettings, pixels=True)
def blur(sample: Sample, settings: BlurSettings, rng: np.random.Generator) -> Output:
    """Blur the image, by a gaussian whose width is drawn anew for each sample or by a median."""
    if settings.kernel is not None:
        size = settings.kernel

        def median(pixels: Array, window: Window) -> Array:
            # Band by band: a median over all of them would mix colors.
            return np.stack([ndimage.median_filter(channel, size, mode="nearest") for channel in pixels])

        yield 0, sample.treated(median, size // 2)
        return
    assert settings.sigma is not None  # by validation
    sigma = float(rng.uniform(settings.sigma.min, settings.sigma.max))
    # scipy's own reach; stated, so that the halo is the filter's.
    reach = max(1, round(4 * sigma))

    def gaussian(pixels: Array, window: Window) -> Array:
        smooth = ndimage.gaussian_filter(
            pixels.astype(np.float64), (0, sigma, sigma), mode="nearest", radius=(0, reach, reach)
        )
        return _stored(smooth, pixels.dtype)

    yield 0, sample.treated(gaussian, reach)


class NoiseSettings(LayerSettings):
    """Mean and standard deviation, in steps of an 8-bit image."""

    mean: float
    std: float = Field(ge=0)


@layer("noise", NoiseSettings, pixels=True)
def noise(sample: Sample, settings: NoiseSettings, rng: np.random.Generator) -> Output:
    """Add gaussian noise to each channel, and clip.

    Values are in steps of an 8-bit image (0 to 255); wider pixel types scale them, floating point takes them
    as they are. The noise of a pixel depends on its place, so a part of the image has the noise of the whole.
    """
    key = rng.bytes(16)

    def add(pixels: Array, window: Window) -> Array:
        unit = _unit(pixels.dtype)
        field = np.empty(pixels.shape, np.float64)
        minus = -window.row_off, -window.col_off
        # Noise is made for whole blocks of a fixed grid, each from a key of its own: a part of a sample gets
        # the noise that the whole has there, whatever is read first.
        for row in range(window.row_off // _BLOCK, (window.row_end - 1) // _BLOCK + 1):
            for col in range(window.col_off // _BLOCK, (window.col_end - 1) // _BLOCK + 1):
                block = Window(row_off=row * _BLOCK, col_off=col * _BLOCK, height=_BLOCK, width=_BLOCK)
                values = generator(derive(key, row, col)).normal(
                    settings.mean, settings.std, (len(pixels), _BLOCK, _BLOCK)
                )
                part = window.intersection(block)
                own, here = part.shifted(-block.row_off, -block.col_off), part.shifted(*minus)
                field[:, here.rows, here.cols] = values[:, own.rows, own.cols]
        return _stored(pixels + field * unit, pixels.dtype)

    yield 0, sample.treated(add)


class Contrast(FloatRange):
    """Factor."""

    min: float = Field(ge=0, le=10)
    max: float = Field(ge=0, le=10)
    center_grey: bool = False


class Brightness(FloatRange):
    """Steps of an 8-bit image added."""

    min: float = Field(ge=-255, le=255)
    max: float = Field(ge=-255, le=255)


class ContrastBrightnessSettings(LayerSettings):
    """Ranges of both; one that is left out changes nothing."""

    contrast: Contrast | None = None
    brightness: Brightness | None = None


@layer("contrast_brightness", ContrastBrightnessSettings, pixels=True)
def contrast_brightness(
    sample: Sample, settings: ContrastBrightnessSettings, rng: np.random.Generator
) -> Output:
    """Stretch values about black (or mid-gray, with center_grey) and shift them, by random amounts."""
    contrast, brightness = settings.contrast, settings.brightness
    factor = float(rng.uniform(contrast.min, contrast.max)) if contrast else 1.0
    shift = float(rng.uniform(brightness.min, brightness.max)) if brightness else 0.0
    # The original's number, though the middle of 0 to 255 is 127.5.
    center = 128.0 if contrast and contrast.center_grey else 0.0

    def change(pixels: Array, window: Window) -> Array:
        unit = _unit(pixels.dtype)
        values = (pixels.astype(np.float64) - center * unit) * factor + (center + shift) * unit
        return _stored(values, pixels.dtype)

    yield 0, sample.treated(change)


class RandomColorSettings(LayerSettings):
    """How far colors are mixed."""

    strength: float = Field(default=0.25, ge=0, le=1)


@layer("random_color", RandomColorSettings, pixels=True)
def random_color(sample: Sample, settings: RandomColorSettings, rng: np.random.Generator) -> Output:
    """Mix the channels by a random matrix near identity; works for any number of bands."""
    key = rng.bytes(16)

    def mix(pixels: Array, window: Window) -> Array:
        count = len(pixels)
        spread = generator(derive(key, "mix")).normal(size=(count, count)) * settings.strength / 5
        # About the identity: with strength 0 nothing changes, and a fifth of it is the standard deviation.
        matrix = np.eye(count) + spread
        return _stored(np.einsum("dc,chw->dhw", matrix, pixels.astype(np.float64)), pixels.dtype)

    yield 0, sample.treated(mix)
