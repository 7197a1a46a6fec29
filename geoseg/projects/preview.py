"""Images to look at: eight bits, three channels, objects laid over them in color."""

from __future__ import annotations

import numpy as np

from geoseg.typing import Array, BoolArray

__all__ = ["beside", "laid_over", "preview_pixels"]


def preview_pixels(pixels: Array) -> Array:
    """Any image (C, H, W) as (3, H, W) uint8; types other than uint8 are stretched from 2 to 98 percent.

    Examples
    --------
    >>> preview_pixels(np.array([[[0, 1000]]], np.uint16))[:, 0].tolist()
    [[0, 255], [0, 255], [0, 255]]
    """
    bands = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    if bands.dtype == np.uint8:
        return bands
    values = bands.astype(np.float32)
    finite = values[np.isfinite(values)]
    # A few glaring roofs would otherwise leave all else black.
    low, high = np.percentile(finite, (2, 98)) if finite.size else (0.0, 1.0)
    # One stretch for all three bands: one each would shift the colors.
    scaled = (np.nan_to_num(values) - low) / max(high - low, 1e-9) * 255
    return np.clip(scaled, 0, 255).astype(np.uint8)


def laid_over(shown: Array, colors: Array, covered: BoolArray) -> Array:
    """The image with colors over half of its light, where it is covered; (3, H, W) uint8 each."""
    mixed = shown.copy()
    # In 16 bits: the sum of two bytes does not fit into one.
    mixed[:, covered] = (shown[:, covered].astype(np.uint16) + colors[:, covered]) // 2
    return mixed


def beside(shown: Array, colors: Array, covered: BoolArray, bar: int) -> Array:
    """The image, a green bar of ``bar`` columns, and the image with colors over it; (3, H, 2 W + bar)."""
    green = np.zeros((3, shown.shape[1], bar), np.uint8)
    green[1] = 255
    return np.concatenate([shown, green, laid_over(shown, colors, covered)], axis=2)
