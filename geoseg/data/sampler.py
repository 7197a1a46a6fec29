"""What epochs are made of: which windows, in which order. Pure functions of a seed.

Windows are drawn anywhere (no grid), then put into an order in which each worker stays near where it has
just read, while every batch mixes scenes: the drawn windows are sorted by region, the sorted list is cut
into as many equal streams as there are places in a batch times workers, and each batch takes one window of
each of its worker's streams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geoseg.data.chips import Area, ChipRef
from geoseg.data.settings import SamplerSettings
from geoseg.data.splits import AreaSplit, labeled_points, touches
from geoseg.errors import InputError

__all__ = ["BatchSampler", "ImageEpochs", "WindowEpochs", "deal_streams"]

#: Draws per window wanted before giving up.
_TRIES = 60
#: Anchors that are compared with validation blocks at once.
_AT_ONCE = 4096


@dataclass(frozen=True)
class _Ground:
    """What windows are drawn from in one area."""

    area: Area
    split: AreaSplit
    chip: tuple[int, int]

    @cached_property
    def anchors(self) -> NDArray[np.int32]:
        """Points on objects, sorted by class."""
        points = self.area.truth.anchors()
        return points[np.argsort(points[:, 2], kind="stable")]

    def present(self) -> set[int]:
        """Classes with an anchor that a window may hold."""
        found, points = set[int](), self.anchors
        wanted = {*np.unique(points[:, 2]).tolist()}
        # In parts: most often the first of them has all classes, and there may be a million points.
        for start in range(0, len(points), _AT_ONCE):
            part = points[start : start + _AT_ONCE]
            inside = ~touches(part[:, :2].astype(np.int64), (1, 1), self.split.forbidden)
            found |= {*part[inside, 2].tolist()}
            if found == wanted:
                break
        return found

    @cached_property
    def labeled(self) -> tuple[NDArray[np.int64], float]:
        """Points on labeled ground, and its share of the region."""
        return labeled_points(self.area)

    @cached_property
    def pixels(self) -> float:
        """Labeled ground, about."""
        region = self.area.truth.region()
        return float(region.height * region.width) * self.labeled[1]

    def draw(
        self, count: int, foreground: float, min_known: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """``count`` window corners (n, 2)."""
        drawn: list[NDArray[np.int64]] = []
        left = count
        for _ in range(_TRIES):
            # More than needed, for some will fall on validation blocks or on unlabeled ground.
            points = self._points(2 * left + 8, foreground, rng)
            # The point lies anywhere in its window: objects always in the middle would be learned as such.
            offsets = np.floor(rng.random(points.shape) * self.chip).astype(np.int64)
            limits = np.maximum(np.array(self.area.shape) - self.chip, 0)
            corners = np.clip(points - offsets, 0, limits)
            clear = ~touches(corners, self.chip, self.split.forbidden)
            corners = corners[clear & (self._known(corners) >= min_known)][:left]
            drawn.append(corners)
            left -= len(corners)
            if not left:
                return np.concatenate(drawn)
        size = f"{self.chip[0]} x {self.chip[1]}"
        raise InputError(
            f"input_size must fit into the ground to train on, got {size} for {self.area.name}, where hardly "
            f"any such window lies outside the validation blocks. Use a smaller input_size or buffer_px."
        )

    def _points(self, count: int, foreground: float, rng: np.random.Generator) -> NDArray[np.int64]:
        region = self.area.truth.region()
        rows = rng.integers(region.row_off, max(region.row_end, region.row_off + 1), count)
        cols = rng.integers(region.col_off, max(region.col_end, region.col_off + 1), count)
        points = np.column_stack([rows, cols])
        labeled, share = self.labeled
        if len(labeled) and share < 1:
            # Points between plots would be refused, and windows on objects would be nearly all that is left.
            span = np.sqrt(region.height * region.width * share / len(labeled))
            around = np.floor((rng.random(points.shape) - 0.5) * span).astype(np.int64)
            points = labeled[rng.integers(0, len(labeled), count)] + around
        if foreground == 0 or not len(self.anchors):
            return points
        classes, first, sizes = np.unique(self.anchors[:, 2], return_index=True, return_counts=True)
        # First a class, then one of its points: rare classes are drawn as often as common ones.
        pick = rng.integers(0, len(classes), count)
        index = first[pick] + np.floor(rng.random(count) * sizes[pick]).astype(np.int64)
        on_object = rng.random(count) < foreground
        return np.where(on_object[:, None], self.anchors[index, :2], points)

    def _known(self, corners: NDArray[np.int64], points: int = 4) -> NDArray[np.float64]:
        """Share of each window that is labeled, on a lattice of points inside the area."""
        sides = np.minimum(self.chip, self.area.shape)
        steps = (np.arange(points) + 0.5) / points
        rows = (corners[:, :1, None] + np.floor(steps[:, None] * sides[0])).astype(np.int64)
        cols = (corners[:, 1:, None] + np.floor(steps[None, :] * sides[1])).astype(np.int64)
        rows, cols = np.broadcast_arrays(rows, cols)
        return self.area.truth.known(rows.ravel(), cols.ravel()).reshape(len(corners), -1).mean(axis=1)


def deal_streams(order: NDArray[np.int64], batch: int, batches: int, groups: int) -> NDArray[np.int64]:
    """Deal a list, near neighbors beside one another, into batches that mix it.

    Parameters
    ----------
    order
        At least ``batches * batch`` items.
    groups
        Workers; batch i is read by worker i modulo ``groups``.

    Returns
    -------
    (batches, batch) int64
        Along each column, every ``groups``-th entry walks on through one stream.

    Examples
    --------
    >>> deal_streams(np.arange(8), 2, 4, 2).tolist()
    [[0, 4], [2, 6], [1, 5], [3, 7]]
    """
    # np.resize repeats the list from its beginning where the streams hold a few more than it has.
    length = -(-batches // groups)
    streams = np.resize(order, batch * groups * length).reshape(batch, groups, length)
    return streams.transpose(2, 1, 0).reshape(length * groups, batch)[:batches]


@dataclass(frozen=True)
class WindowEpochs:
    """Random windows of areas.

    Attributes
    ----------
    grounds
        What to draw from.
    areas
        Index of each in the list of all areas.
    """

    grounds: tuple[_Ground, ...]
    areas: tuple[int, ...]
    settings: SamplerSettings
    seed: int

    @classmethod
    def of(
        cls,
        areas: Sequence[Area],
        splits: Sequence[AreaSplit],
        chip: tuple[int, int],
        settings: SamplerSettings,
        seed: int,
    ) -> WindowEpochs:
        """Epochs over the areas that are trained on."""
        used = tuple(i for i, split in enumerate(splits) if split.train)
        grounds = tuple(_Ground(areas[i], splits[i], chip) for i in used)
        return cls(grounds, used, settings, seed)

    def present(self) -> set[int]:
        """Classes that windows may hold, by their anchors."""
        return set[int]().union(*(ground.present() for ground in self.grounds))

    @property
    def chips(self) -> int:
        """Chips in an epoch."""
        if self.settings.chips_per_epoch:
            return self.settings.chips_per_epoch
        chip = self.grounds[0].chip
        # Twice the ground: windows that lie at random cover about 86 % of it then (1 - exp(-2)).
        return max(1, round(2 * sum(ground.pixels for ground in self.grounds) / (chip[0] * chip[1])))

    def batches(self, epoch: int, batch: int, groups: int) -> list[list[ChipRef]]:
        """All batches of an epoch."""
        count = -(-self.chips // batch)
        rng = np.random.default_rng((self.seed, epoch))
        refs, order = self._draw(count * batch, rng)
        dealt = deal_streams(order, batch, count, max(1, groups))
        return [[refs[index]._replace(epoch=epoch) for index in row] for row in dealt]

    def _draw(self, count: int, rng: np.random.Generator) -> tuple[list[ChipRef], NDArray[np.int64]]:
        settings = self.settings
        power = {"equal": 0.0, "sqrt": 0.5, "area": 1.0}[settings.balance]
        weights = np.array([ground.pixels**power * ground.area.weight for ground in self.grounds])
        counts = _round_shares(weights / weights.sum() * count, rng)
        refs: list[ChipRef] = []
        ranks: list[NDArray[np.float64]] = []
        for ground, area, number in zip(self.grounds, self.areas, counts, strict=True):
            corners = ground.draw(int(number), settings.foreground, settings.min_known, rng)
            refs += [ChipRef(area, int(row), int(col), *ground.chip) for row, col in corners]
            ranks.append(_region_ranks(corners, settings.region_px, rng))
        if not settings.region_px:
            return refs, rng.permutation(len(refs))
        keys = np.concatenate(ranks)
        # Areas stay apart (their ranks are drawn per area), so equal streams cover all of them.
        owner = np.repeat(np.arange(len(counts)), counts)
        return refs, np.lexsort((rng.random(len(refs)), keys, rng.permutation(len(counts))[owner]))


def _region_ranks(corners: NDArray[np.int64], region: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random rank of each window's region, the same within a region."""
    if not region or not len(corners):
        return np.zeros(len(corners))
    _, inverse = np.unique(corners // region, axis=0, return_inverse=True)
    return rng.random(int(inverse.max()) + 1)[inverse.ravel()]


def _round_shares(wanted: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Whole numbers of the same sum; what rounding leaves goes by lot."""
    base = np.floor(wanted).astype(np.int64)
    rest = round(float(wanted.sum())) - int(base.sum())
    if rest > 0:
        # Above 0 each, or there could be fewer areas to choose from than places left.
        rests = np.maximum(wanted - base, 1e-9)
        base[rng.choice(len(base), rest, replace=False, p=rests / rests.sum())] += 1
    return base


@dataclass(frozen=True)
class ImageEpochs:
    """Whole images, every one once an epoch, in random order; the last batch may be short."""

    refs: tuple[ChipRef, ...]
    seed: int

    @property
    def chips(self) -> int:
        """Images."""
        return len(self.refs)

    def batches(self, epoch: int, batch: int, groups: int) -> list[list[ChipRef]]:
        """All batches of an epoch; ``groups`` makes no difference."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.refs))
        refs = [self.refs[i]._replace(epoch=epoch) for i in order]
        return [refs[start : start + batch] for start in range(0, len(refs), batch)]


@dataclass
class BatchSampler:
    """Batches ``start`` .. ``stop`` of a training run, the share of one process.

    Every process deals the same global batches and takes its own part of each, so two processes of
    batch n see what one process of batch 2 n sees.

    Attributes
    ----------
    epochs
        What each epoch is made of.
    batch
        Chips of one process.
    groups
        Worker processes.
    start, stop
        Batches counted from the beginning of training, across epochs.
    """

    epochs: WindowEpochs | ImageEpochs
    batch: int
    groups: int
    start: int
    stop: int
    rank: int = 0
    world: int = 1

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return -(-self.epochs.chips // (self.batch * self.world))

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[ChipRef]]:
        per_epoch = self.per_epoch
        batches: list[list[ChipRef]] = []
        loaded = -1
        for index in range(self.start, self.stop):
            epoch, place = divmod(index, per_epoch)
            # One epoch at a time: all of a long run would be millions of windows.
            if epoch != loaded:
                batches, loaded = self.epochs.batches(epoch, self.batch * self.world, self.groups), epoch
            yield self._mine(batches[place])

    def _mine(self, refs: list[ChipRef]) -> list[ChipRef]:
        """This process's part; a short batch is dealt again from its beginning so that none is idle."""
        if self.world == 1:
            return refs
        share = -(-len(refs) // self.world)
        # Every process must take part in every step, or the others wait for its gradients.
        full = [refs[i % len(refs)] for i in range(share * self.world)]
        return full[self.rank * share : (self.rank + 1) * share]
