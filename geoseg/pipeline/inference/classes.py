"""From the outputs of a region's windows to a bitmap for each class, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.geo.windows import Window
from geoseg.pipeline.inference.regions import PredictedRegion
from geoseg.projects.figures import Bitmap
from geoseg.projects.figures.stored import STRIP, StoredMask, pack_strip
from geoseg.raster.bilinear import bilinear_axis, stretch
from geoseg.typing import BoolArray, FloatArray

__all__ = ["Certainty", "Decision", "RegionClasses"]

#: No class: pixels without data.
_NONE = 255
#: Numbers of the sums of probabilities that are in memory at once, 64 MB of float64.
_MOST_SUMS = 2**23


@dataclass(frozen=True)
class Decision:
    """How probabilities become one class.

    Attributes
    ----------
    background
        Class of pixels that are of no other.
    implied
        The network has no output for the background, which then is class 0: it is as likely as the most
        likely other class is not.
    threshold
        Probability that a class other than the background must reach; None: the most likely class wins.
    """

    background: int = 0
    implied: bool = False
    threshold: float | None = None

    def __call__(self, mean: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Class of each pixel (h, w) from mean probabilities (K, h, w); of equals the first wins.

        Examples
        --------
        >>> Decision(0, implied=True)(np.array([[[0.4, 0.5, 0.6]]])).tolist()
        [[0, 0, 1]]
        >>> Decision(0, implied=True, threshold=0.5)(np.array([[[0.4, 0.5, 0.6]]])).tolist()
        [[0, 1, 1]]
        """
        if self.threshold is not None:
            objects = mean if self.implied else np.delete(mean, self.background, axis=0)
            winner = objects.argmax(axis=0)
            # Counted without the background; at and behind its place each is one further.
            winner += winner >= self.background
            return np.where(objects.max(axis=0) >= self.threshold, winner, self.background).astype(np.uint8)
        if self.implied:
            best = mean.max(axis=0)
            # The background is as likely as the likeliest class is not, so of equals it wins.
            return np.where(best > 1 - best, mean.argmax(axis=0) + 1, 0).astype(np.uint8)
        return mean.argmax(axis=0).astype(np.uint8)


@dataclass
class Certainty:
    """How sure a network is of what it found, summed over pixels; by it a review ranks images.

    Attributes
    ----------
    pixels, uncertain
        Pixels with data, and those whose probability of being an object lies between 1/4 and 3/4.
    both, either
        Sums of p m and of p + m - p m, of that probability p and the mask m of what was found.
    """

    pixels: int = 0
    uncertain: int = 0
    both: float = 0.0
    either: float = 0.0

    def add(self, prob: NDArray[np.float64], found: BoolArray, valid: BoolArray | None) -> None:
        """Add pixels: their probability of being an object, and whether they were found to be one."""
        if valid is not None:
            prob, found = prob[valid], found[valid]
        self.pixels += prob.size
        self.uncertain += int(np.count_nonzero((prob > 0.25) & (prob < 0.75)))
        both = float(prob[found].sum())
        self.both += both
        self.either += float(prob.sum()) + int(np.count_nonzero(found)) - both

    def join(self, other: Certainty) -> None:
        """Add those of another region."""
        self.pixels, self.uncertain = self.pixels + other.pixels, self.uncertain + other.uncertain
        self.both, self.either = self.both + other.both, self.either + other.either

    def values(self) -> dict[str, float]:
        """Share of uncertain pixels, and the IoU with the truth that the probabilities promise."""
        return {
            # Four digits: enough to rank by, and the same on machines that differ in the last bits.
            "uncertain": round(self.uncertain / max(self.pixels, 1), 4),
            "expected_iou": round(self.both / self.either, 4) if self.either else 1.0,
        }


class RegionClasses:
    """Class of each pixel of a region.

    Rows of windows come from top to bottom. Pixels that no later row covers are decided at once, so what is
    in memory is some rows of outputs and, compressed, a bit a pixel and class.

    Parameters
    ----------
    region
        The rectangle and its windows.
    decide
        From mean probabilities to classes.
    kept
        Indices of the classes that bitmaps are wanted of.
    valid
        Validity of a window of the image; None where all pixels have data.
    """

    def __init__(
        self,
        region: PredictedRegion,
        decide: Decision,
        kept: Sequence[int],
        valid: Callable[[Window], BoolArray] | None = None,
    ) -> None:
        self.region, self.decide, self.valid = region, decide, valid
        self._counts = region.counts()
        self._starts = region.grid.starts_y
        self._outputs: dict[int, list[FloatArray]] = {}
        self._done = 0
        self._strips: dict[int, list[bytes]] = {index: [] for index in kept}
        self._strip = np.empty((min(STRIP, region.bounds.height), region.bounds.width), np.uint8)
        self._filled = 0
        self.certainty = Certainty()

    def add(self, row: int, outputs: list[FloatArray]) -> None:
        """Add a row of windows: probabilities (K, h, w) of each from left to right, of any size."""
        self._outputs[row] = outputs
        last = row + 1 == len(self._starts)
        # Down to where the next row of windows begins, no other window will cover a pixel.
        ready = self.region.bounds.height if last else self._starts[row + 1]
        classes, width = len(outputs[0]), self.region.bounds.width
        # A few rows at a time, for the sums take eight bytes a pixel and class.
        step = max(1, _MOST_SUMS // (classes * width))
        while self._done < ready:
            stop = min(self._done + step, ready)
            self._put(self._decided(self._done, stop))
            self._done = stop
        height = self.region.window[0]
        for passed in [r for r in self._outputs if self._starts[r] + height <= self._done]:
            del self._outputs[passed]

    def _decided(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Classes of some rows."""
        (height, width), starts_x = self.region.window, self.region.grid.starts_x
        total: NDArray[np.float64] | None = None
        for row, outputs in sorted(self._outputs.items()):
            top, bottom = max(first, self._starts[row]), min(stop, self._starts[row] + height)
            if top >= bottom:
                continue
            if total is None:
                total = np.zeros((len(outputs[0]), stop - first, self.region.bounds.width))
            _, inner_height, inner_width = outputs[0].shape
            rows = bilinear_axis(top - self._starts[row], bottom - self._starts[row], inner_height, height)
            cols = bilinear_axis(0, width, inner_width, width)
            for col, output in zip(starts_x, outputs, strict=True):
                total[:, top - first : bottom - first, col : col + width] += stretch(output, rows, cols)
        assert total is not None  # each row of pixels has a window
        down, across = self._counts
        # Without overlap there is nothing to average, and no division that could change a last bit.
        if down.max() > 1 or across.max() > 1:
            total /= down[first:stop, None] * across
        classes = self.decide(total)
        valid: BoolArray | None = None
        if self.valid is not None:
            bounds = self.region.bounds
            window = Window(
                row_off=bounds.row_off + first,
                col_off=bounds.col_off,
                height=stop - first,
                width=bounds.width,
            )
            valid = self.valid(window)
        prob = total.max(axis=0) if self.decide.implied else 1 - total[self.decide.background]
        self.certainty.add(prob, classes != self.decide.background, valid)
        if valid is not None:
            classes[~valid] = _NONE
        return classes

    def _put(self, classes: NDArray[np.uint8]) -> None:
        """Keep rows of classes, compressed as soon as a strip is full."""
        while len(classes):
            count = min(len(classes), len(self._strip) - self._filled)
            self._strip[self._filled : self._filled + count] = classes[:count]
            self._filled, classes = self._filled + count, classes[count:]
            if self._filled == len(self._strip):
                self._pack()

    def _pack(self) -> None:
        rows = self._strip[: self._filled]
        for index, strips in self._strips.items():
            strips.append(pack_strip(np.packbits(rows == index, axis=1)))
        self._filled = 0

    def bitmaps(self) -> dict[int, Bitmap]:
        """The bitmap of each wanted class that has a pixel, when all rows of windows are added."""
        if self._filled:
            self._pack()
        bounds = self.region.bounds
        box = (0, 0, bounds.height, bounds.width)
        origin = bounds.col_off, bounds.row_off
        bitmaps = {}
        for index, strips in self._strips.items():
            bitmap = Bitmap(origin, StoredMask(tuple(strips), -(-bounds.width // 8), box)).tight()
            if bitmap is not None:
                bitmaps[index] = bitmap
        return bitmaps
