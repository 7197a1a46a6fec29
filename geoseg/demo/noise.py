"""Periodic noise that can be read at any pixel: the same value whatever the window around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from geoseg.typing import Array, FloatArray, IntArray

__all__ = ["Noise", "Textures", "make_textures"]

#: The same noise for all scenes: what differs between them is the plan, and where it is read (``shift``).
_SEED = 20240521


@dataclass(frozen=True)
class Noise:
    """A periodic field of zero mean and unit variance, stored every ``step`` pixels."""

    values: FloatArray
    step: int

    def sample(self, rows: IntArray, cols: IntArray) -> FloatArray:
        """Values at the pixels ``rows`` x ``cols``; bilinear between stored values.

        Parameters
        ----------
        rows, cols : int64 (h,), int64 (w,)
            Pixel numbers, at least zero.

        Returns
        -------
        float32 (h, w)
        """
        size = self.values.shape[0]
        if self.step == 1:
            return self.values[np.ix_(rows % size, cols % size)]
        top, fraction_v = _cells(rows, self.step, size)
        left, fraction_h = _cells(cols, self.step, size)
        upper = self.values[top]
        lines = upper + (self.values[(top + 1) % size] - upper) * fraction_v[:, None]
        near = lines[:, left]
        return near + (lines[:, (left + 1) % size] - near) * fraction_h[None, :]


def _cells(index: IntArray, step: int, size: int) -> tuple[IntArray, FloatArray]:
    cell, rest = np.divmod(index, step)
    return cell % size, (rest / step).astype(np.float32)


@dataclass(frozen=True)
class Textures:
    """Noise at the feature sizes of the ground, from fields to the sensor's pixels."""

    broad: Noise
    middle: Noise
    fine: Noise
    grit: Noise
    pixel: Noise


def _field(rng: np.random.Generator, feature_px: float, size: int) -> Noise:
    sigma = feature_px / 2.5
    # Smooth fields are stored coarsely, two values a sigma, and read bilinearly between.
    step = max(1, int(sigma / 2))
    white = rng.standard_normal((size, size)).astype(np.float32)
    smooth: Array = ndimage.gaussian_filter(white, sigma / step, mode="wrap") if sigma >= 0.3 else white
    smooth -= smooth.mean()
    return Noise(np.ascontiguousarray(smooth / smooth.std(), dtype=np.float32), step)


@lru_cache(maxsize=16)
def make_textures(gsd: float) -> Textures:
    """Noise fields for pixels of ``gsd`` meters; always the same ones, kept for reuse."""
    rng = np.random.default_rng(_SEED)
    return Textures(
        # Sizes that have no common factor: the fields repeat at other places, and no pattern shows.
        broad=_field(rng, 70 / gsd, 251),
        middle=_field(rng, 14 / gsd, 383),
        fine=_field(rng, 3.0 / gsd, 509),
        grit=_field(rng, 0.7 / gsd, 487),
        pixel=_field(rng, 0.0, 463),
    )
