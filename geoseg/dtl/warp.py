"""Lazy pixels seen from other positions: turned or reprojected images, sampled by a Lanczos kernel."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from affine import Affine

from geoseg.compiled import kernel
from geoseg.dtl.pixels import Derived, Shape
from geoseg.geo.windows import Window
from geoseg.typing import Array, BoolArray

__all__ = ["Remapped", "Warped"]

# Three lobes of the kernel, as Pillow's Lanczos has them.
_REACH = 3


@dataclass(frozen=True, eq=False)
class Remapped(Derived):
    """The base seen from other positions, sampled with a Lanczos kernel of three lobes; zeros outside."""

    shape: Shape

    @abstractmethod
    def positions(self, window: Window) -> tuple[Array, Array]:
        """x and y on the base, in pixel indices, of the centers of a window's pixels; float64 (h, w) each."""

    def _needed(self, xs: Array, ys: Array) -> Window:
        # Three lobes look at three pixels on either side, and one more for the fraction.
        left, top = math.floor(xs.min()) - _REACH, math.floor(ys.min()) - _REACH
        right, bottom = math.ceil(xs.max()) + _REACH + 1, math.ceil(ys.max()) + _REACH + 1
        window = Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
        return window.clipped(*self.base.shape)

    def _read(self, window: Window) -> Array:
        xs, ys = self.positions(window)
        below = self._needed(xs, ys)
        values = self.base.read(below)
        out = np.zeros((len(values), window.height, window.width), values.dtype)
        if below.height and below.width:
            whole_numbers = values.dtype.kind in "iu"
            info = np.iinfo(values.dtype) if whole_numbers else None
            limits = (float(info.min), float(info.max), True) if info else (-np.inf, np.inf, False)
            _lanczos(values, xs, ys, below.row_off, below.col_off, *self.base.shape, *limits, out)
        return out

    def _valid(self, window: Window) -> BoolArray:
        xs, ys = self.positions(window)
        # Validity is taken from the nearest pixel: half valid is not a thing that callers could use.
        cols, rows = np.floor(xs + 0.5).astype(np.int64), np.floor(ys + 0.5).astype(np.int64)
        inside = (cols >= 0) & (rows >= 0) & (cols < self.base.shape[1]) & (rows < self.base.shape[0])
        below = self._needed(xs, ys)
        out = np.zeros(inside.shape, bool)
        out[inside] = self.base.valid(below)[rows[inside] - below.row_off, cols[inside] - below.col_off]
        return out


@dataclass(frozen=True, eq=False)
class Warped(Remapped):
    """The base under an affine map.

    Attributes
    ----------
    shape
        Of the result.
    to_base
        From pixel corners of the result to those of the base.
    """

    to_base: Affine

    @property
    def step(self) -> Affine:
        return self.to_base

    def positions(self, window: Window) -> tuple[Array, Array]:
        cols = np.arange(window.col_off, window.col_end) + 0.5
        rows = np.arange(window.row_off, window.row_end)[:, None] + 0.5
        a, b, c, d, e, f = self.to_base[:6]
        return a * cols + b * rows + c - 0.5, d * cols + e * rows + f - 0.5


@kernel
def _lanczos(values, xs, ys, top, left, height, width, low, high, integral, out):  # type: ignore[no-untyped-def]
    channels = values.shape[0]
    rows, cols = out.shape[1:]
    wx, wy = np.empty(6), np.empty(6)
    for i in range(rows):
        for j in range(cols):
            x, y = xs[i, j], ys[i, j]
            # Outside the image the canvas stays black.
            if x < -0.5 or y < -0.5 or x >= width - 0.5 or y >= height - 0.5:
                continue
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            total_x = total_y = 0.0
            for k in range(6):
                dx, dy = x - (x0 - 2 + k), y - (y0 - 2 + k)
                wx[k] = (
                    1.0 if dx == 0 else 3 * np.sin(np.pi * dx) * np.sin(np.pi * dx / 3) / (np.pi * dx) ** 2
                )
                wy[k] = (
                    1.0 if dy == 0 else 3 * np.sin(np.pi * dy) * np.sin(np.pi * dy / 3) / (np.pi * dy) ** 2
                )
                total_x += wx[k]
                total_y += wy[k]
            for c in range(channels):
                sum_ = 0.0
                for p in range(6):
                    # Border pixels are repeated outside, so that edges do not darken.
                    row = min(max(y0 - 2 + p, 0), height - 1) - top
                    for q in range(6):
                        col = min(max(x0 - 2 + q, 0), width - 1) - left
                        sum_ += wy[p] * wx[q] * values[c, row, col]
                # Divided by the sum of the weights, which is 1 only nearly: a constant image stays constant.
                # Lanczos overshoots at edges, so the result is limited to the type.
                value = min(max(sum_ / (total_x * total_y), low), high)
                out[c, i, j] = np.floor(value + 0.5) if integral else value
