"""Wide pixel values (16 bits, floats) brought to 0..255, by numbers of the whole scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from geoseg.geo.windows import Window
from geoseg.raster.source import PixelSource, RasterSource, SceneReadError, fingerprint_of
from geoseg.raster.view import SameGrid
from geoseg.typing import Array, BoolArray

__all__ = ["Limits", "StretchedScene", "sample_values", "stretch_limits", "stretch_pixels"]

#: The values of one band that become 0 and 255.
Limits: TypeAlias = tuple[float, float]

#: A scene is sampled in at most this many squares along an axis. 64 squares hold 4 megapixels: read in a
#: second, and the 2nd percentile of houses, fields and shadow moves by less than a gray level with more.
_SQUARES = 8
_SQUARE = 256


def _starts(size: int) -> list[tuple[int, int]]:
    """(start, length) of the samples along an axis: all of a short one, else evenly spread to both ends."""
    # Both ends belong to it: what lies at a scene's edge, water or clouds, is often unlike its middle.
    if size <= _SQUARES * _SQUARE:
        return [(start, min(_SQUARE, size - start)) for start in range(0, size, _SQUARE)]
    return [(i * (size - _SQUARE) // (_SQUARES - 1), _SQUARE) for i in range(_SQUARES)]


def sample_values(source: PixelSource) -> list[Array]:
    """Valid, finite values of each band, from squares that depend on the size of the scene alone.

    The same scene gives the same numbers whatever part of it is read, in whatever chunks. A square that
    can't be read is left out: whether the run goes on without that region is decided where it is predicted.

    Returns
    -------
    list of arrays (n,)
        One a band, in the scene's dtype; empty where no pixel sampled is valid.
    """
    taken: list[list[Array]] = [[] for _ in range(source.count)]
    for row, height in _starts(source.geobox.height):
        for col, width in _starts(source.geobox.width):
            window = Window(row_off=row, col_off=col, height=height, width=width)
            try:
                pixels, valid = source.read_with_valid(window)
            except SceneReadError:
                continue
            for values, band in zip(taken, pixels, strict=True):
                values.append(band[valid & np.isfinite(band)])
    return [np.concatenate(values) if values else np.empty(0, source.dtype) for values in taken]


def stretch_limits(samples: Sequence[Array], low: str, high: str) -> tuple[Limits, ...]:
    """The limits of each band.

    Parameters
    ----------
    samples
        From :func:`sample_values`.
    low, high
        Percentiles, each as "P" and a number.

    Examples
    --------
    >>> stretch_limits([np.arange(101), np.array([100, 300])], "P2", "P98")
    ((2.0, 98.0), (104.0, 296.0))
    >>> stretch_limits([np.array([7, 7]), np.array([])], "P2", "P98")
    ((7.0, 8.0), (0.0, 255.0))
    """
    limits = []
    for values in samples:
        if not len(values):
            limits.append((0.0, 255.0))
            continue
        ends = np.percentile(values, [float(low[1:]), float(high[1:])]).astype(float)
        # A band of one value has no range; it becomes black, as its darkest pixels do in any other band
        limits.append((float(ends[0]), float(ends[1] if ends[1] > ends[0] else ends[0] + 1)))
    return tuple(limits)


def stretch_pixels(pixels: Array, limits: Sequence[Limits]) -> Array:
    """Pixels (C, h, w) as uint8, each band on a straight line between its limits, cut at both ends.

    NaN becomes 0; whether a pixel counts is told by its validity.

    Examples
    --------
    >>> stretch_pixels(np.array([[[100, 200, 300, 900]]], np.uint16), [(100, 300)])
    array([[[  0, 128, 255, 255]]], dtype=uint8)
    """
    stretched = np.empty(pixels.shape, np.uint8)
    for band, (low, high) in enumerate(limits):
        share = (pixels[band].astype(np.float64) - low) * (255 / (high - low))
        stretched[band] = np.rint(np.clip(np.nan_to_num(share, nan=0.0, posinf=255.0, neginf=0.0), 0, 255))
    return stretched


@dataclass(frozen=True)
class StretchedScene(SameGrid):
    """A source whose values are brought to 0..255.

    Attributes
    ----------
    base
        The source, at the resolution that is read.
    limits
        Of each band.
    """

    base: RasterSource
    limits: tuple[Limits, ...]

    @property
    def dtype(self) -> str:
        """Eight bits."""
        return "uint8"

    @property
    def nodata(self) -> float | None:
        """None: any stretched value may be a measurement. Validity tells what is not."""
        return None

    def fingerprint(self) -> str:
        """Of the base and the limits."""
        return fingerprint_of((self.base.fingerprint(), self.limits))

    def read(self, window: Window) -> Array:
        """Pixels uint8 (C, h, w) of a window."""
        return stretch_pixels(self.base.read(window), self.limits)

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""
        pixels, valid = self.base.read_with_valid(window)
        return stretch_pixels(pixels, self.limits), valid
