"""The height field of a split: smooth log-odds as integers; the rule in meters on the ground.

Heights are log-odds, because a fall from 0.99 to 0.9 tells more of a wall than one from 0.8 to 0.7: summits
on ground that the network is unsure of are noise. Measured on places with footprints, that parts as many
houses in dense towns as depth in probability does, and cuts off half as many pieces where houses stand free.
What else was tried on top (width of the neck, relative size of the parts, how rectangular they are together)
no longer changed anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geoseg.compiled import kernel
from geoseg.typing import Array, IntArray

__all__ = ["FULL_HEIGHT", "SplitRule", "as_stored", "smooth_height", "smoothing_weights"]

#: Weights of the smoothing add up to this, along each axis.
_ONE = 1 << 12
#: Height of a pixel of value 254 (probability 1) amid its like: 254 * _ONE / 16 * _ONE fits into 32 bits.
FULL_HEIGHT = 254 * (_ONE >> 4) * _ONE
#: Standard deviation of the smoothing, meters: what is narrower than a wall or a gutter is no valley.
_SMOOTH_M = 0.45
#: Basins of less ground join a neighbor: no house is smaller.
_LEAST_M2 = 6.0
#: Without a known size pixels are taken to have this one, the middle of what roofs are recognized at.
_PIXEL_M = 0.3
#: Probabilities of height 0 and of full height. Below the first there are no objects to part; above the
#: second, stored probabilities are too coarse: log-odds of 253 / 254 and 1 are 5.5 and infinite.
_LOWEST, _HIGHEST = 0.1, 0.998
#: Side of the squares in which heights are computed, or left out where no object is near.
_SQUARE = 32


@dataclass(frozen=True)
class SplitRule:
    """When two parts of a mask are two objects.

    Attributes
    ----------
    persistence
        Share of the full height by which both must rise above the saddle between them. The full height is the
        step of log-odds from probability 0.1 to 0.998, 8.4.
    sigma
        Standard deviation of the smoothing of heights, pixels.
    min_pixels
        Fewest pixels of an object that touches another.
    """

    persistence: float
    sigma: float
    min_pixels: float

    @classmethod
    def on(cls, persistence: float, pixel: tuple[float, float] | None) -> SplitRule:
        """The rule on pixels of some width and height in meters on the ground; None: not known."""
        width, height = pixel or (_PIXEL_M, _PIXEL_M)
        return cls(persistence, _SMOOTH_M / math.sqrt(width * height), _LEAST_M2 / (width * height))

    @property
    def reach(self) -> int:
        """Pixels around a chunk that its basins depend on."""
        return len(smoothing_weights(self.sigma)) // 2 + 1


def _log_odds() -> Array:
    """Height of each stored probability, (256,) float32; 255, which means no data, counts as 254."""
    low, high = (math.log(p / (1 - p)) for p in (_LOWEST, _HIGHEST))
    heights = []
    for stored in range(256):
        p = min(max(stored / 254, _LOWEST), _HIGHEST)
        heights.append(round((math.log(p / (1 - p)) - low) / (high - low) * 254))
    return np.array(heights, np.float32)


_LOG_ODDS = _log_odds()


def as_stored(prob: Array) -> Array:
    """Probabilities as bytes, round(p * 254), uint8.

    Parameters
    ----------
    prob : (h, w)
        uint8, which is returned as it is, or floats from 0 to 1; NaN counts as 0.
    """
    if prob.dtype == np.uint8:
        return prob
    return np.rint(np.clip(np.nan_to_num(prob), 0, 1) * 254).astype(np.uint8)


def smoothing_weights(sigma: float) -> IntArray:
    """Weights of a Gaussian as integers that add up to 4096, cut off at three sigma.

    Parameters
    ----------
    sigma
        Standard deviation in pixels; below 0.3 nothing is smoothed.

    Returns
    -------
    (2 r + 1,) int64

    Examples
    --------
    >>> smoothing_weights(0).tolist()
    [4096]
    >>> weights = smoothing_weights(1.0)
    >>> len(weights), int(weights.sum()), bool((weights == weights[::-1]).all())
    (7, 4096, True)
    """
    if sigma < 0.3:
        return np.array([_ONE], np.int64)
    radius = math.ceil(3 * sigma)
    side = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1)]
    total = side[0] + 2 * sum(side[1:])
    # Two mathematical libraries differ far below the 2**-12 that is rounded to. The middle takes the rest.
    weights = [round(_ONE * value / total) for value in side]
    weights[0] = _ONE - 2 * sum(weights[1:])
    return np.array(weights[:0:-1] + weights, np.int64)


def smooth_height(stored: Array, values: Array, weights: IntArray) -> Array:
    """Smooth log-odds where objects are.

    Parameters
    ----------
    stored : (h + 2 r, w + 2 r) uint8
        Probabilities as of :func:`as_stored`, with a halo of the kernel's radius r on all sides.
    values : (h, w) integers
        Heights are needed where they are not 0.
    weights : (2 r + 1,) int64
        Of :func:`smoothing_weights`.

    Returns
    -------
    (h, w) int32
        0 .. ``FULL_HEIGHT``; anything where no object is.

    Examples
    --------
    >>> stored = as_stored(np.array([[0, 0.1, 0.5, 0.9, 0.99, 1]]))
    >>> heights = smooth_height(stored, np.ones((1, 6), np.uint8), smoothing_weights(0))
    >>> (heights // (FULL_HEIGHT // 254)).tolist()
    [[0, 0, 66, 133, 200, 254]]
    """
    out = np.empty(values.shape, np.int32)
    if out.size:
        _smooth(stored, values, weights.astype(np.int32), _LOG_ODDS, out)
    return out


@kernel
def _smooth(stored, values, weights, table, out):  # type: ignore[no-untyped-def]
    rows, cols = values.shape
    taps, radius = weights.size, weights.size // 2
    # The pixels under the smoothing of a square, row after row without gaps: sums along the rows run on from
    # one row into the next, because long loops are fast, and what they mix is not looked at.
    most = (_SQUARE + taps - 1) ** 2
    block, tall = np.empty(most, np.float32), np.empty(most, np.float32)
    line, total = np.zeros(most, np.int32), np.empty(most, np.int32)
    weight_of = weights.astype(np.float32)
    for top in range(0, rows, _SQUARE):
        for left in range(0, cols, _SQUARE):
            first_row, last_row, first_col, last_col = _extent(
                values[top : top + _SQUARE, left : left + _SQUARE]
            )
            if last_row < 0:
                continue
            high, wide = last_row - first_row + 1, last_col - first_col + taps
            y, x = top + first_row, left + first_col
            for r in range(high + taps - 1):
                for c in range(wide):
                    block[r * wide + c] = table[stored[y + r, x + c]]
            # Down the columns. Sums up to 254 * 4096 are exact in single precision, which is faster than
            # integers. The two pixels of one weight are added first: that is half of the work.
            size = high * wide
            middle = block[radius * wide : radius * wide + size]
            for i in range(size):
                tall[i] = weight_of[radius] * middle[i]
            for k in range(radius):
                weight, start, stop = weight_of[k], k * wide, (taps - 1 - k) * wide
                before, after = block[start : start + size], block[stop : stop + size]
                for i in range(size):
                    tall[i] += weight * (before[i] + after[i])
            for i in range(size):
                line[i] = np.int32(tall[i]) >> 4  # so that the second sum fits into 32 bits
            size -= taps - 1
            middle_line = line[radius : radius + size]
            for i in range(size):
                total[i] = weights[radius] * middle_line[i]
            for k in range(radius):
                times, last = weights[k], taps - 1 - k
                left_of, right_of = line[k : k + size], line[last : last + size]
                for i in range(size):
                    total[i] += times * (left_of[i] + right_of[i])
            for r in range(high):
                for c in range(wide - taps + 1):
                    if values[y + r, x + c] != 0:
                        out[y + r, x + c] = total[r * wide + c]


@kernel
def _extent(values):  # type: ignore[no-untyped-def]
    """First and last row and column of what is not 0; the last row is -1 where all is."""
    rows, cols = values.shape
    in_col = np.zeros(cols, values.dtype)
    first_row, last_row = rows, -1
    for y in range(rows):
        of_row = values[y, 0]
        for x in range(cols):
            of_row |= values[y, x]
            in_col[x] |= values[y, x]
        if of_row != 0:
            first_row, last_row = min(first_row, y), y
    first_col, last_col = cols, -1
    for x in range(cols):
        if in_col[x] != 0:
            first_col, last_col = min(first_col, x), x
    return first_row, last_row, first_col, last_col
