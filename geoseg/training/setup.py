"""From a config to what a run needs: areas, epochs, network, normalization."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geoseg.data.chips import ChipRef
from geoseg.data.dataset import ChipDataset
from geoseg.data.sampler import ImageEpochs, WindowEpochs
from geoseg.data.settings import TrainingDataSettings
from geoseg.data.sources import Opened, Wanted, open_areas, present_classes
from geoseg.data.splits import AreaSplit, block_split, file_split, grid_windows
from geoseg.errors import ConfigError, InputError
from geoseg.files import json_digest
from geoseg.geo.windows import Window
from geoseg.io.band_names import band_names, stored_names
from geoseg.io.scene import Scene
from geoseg.models.architectures import build_network, input_multiple
from geoseg.models.pretrained import load_imagenet
from geoseg.models.scaling import ZScore, band_ramps
from geoseg.raster.classes import IGNORE
from geoseg.raster.view import View
from geoseg.training.config import TrainSettings
from geoseg.training.facts import Facts
from geoseg.training.graphs import open_graph_areas
from geoseg.training.learner import Pixelwise
from geoseg.training.teacher import TeacherNetwork, open_teacher

__all__ = ["Prepared", "build", "check_order", "check_size", "pixelwise_of", "prepare"]

logger = logging.getLogger(__name__)

# Of the pictures that pretrained encoders learned from, as shares of 255; the tutorials use them, too.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Batches whose pixels are measured for the statistics of the bands.
_LOOKED_AT = 64
#: Windows that are searched for a class without an anchor.
_SEARCHED = 4096
#: Headers that are read for the names of bands, which are the same in a set of scenes.
_NAMED = 8


@dataclass(frozen=True)
class Prepared:
    """All that training draws from."""

    opened: Opened
    epochs: WindowEpochs | ImageEpochs
    val: tuple[ChipRef, ...]
    facts: Facts
    teacher: TeacherNetwork | None = None

    @property
    def patchy(self) -> tuple[str, ...]:
        """Names of the areas whose labeled ground does not fill its bounds."""
        if isinstance(self.epochs, ImageEpochs):
            return ()
        return tuple(ground.area.name for ground in self.epochs.grounds if ground.labeled[1] < 1)

    @property
    def spare(self) -> tuple[ChipRef, ...]:
        """Chips that may stand in for unreadable ones."""
        if isinstance(self.epochs, ImageEpochs):
            return self.epochs.refs
        # The first windows of the first epoch serve: any readable chip does.
        return tuple(self.epochs.batches(0, 16, 1)[0])

    def chips(self, settings: TrainSettings, corrupted: int = 0, *, train: bool = True) -> ChipDataset:
        """Chips to train on, or to validate on by the labels as they are; a number may be unreadable."""
        return ChipDataset(
            self.opened.areas,
            settings.chip,
            settings.auxiliary,
            self.facts.mean,
            # Gaps teach the network to part touching objects; scores are those against the labels as they
            # are.
            settings.data.gap and train,
            corrupted,
            self.spare if corrupted else (),
        )


def prepare(settings: TrainSettings, base: Path) -> Prepared:
    """Open the data, split it, plan the epochs, measure the bands.

    Raises
    ------
    InputError
        Data that can't be used; see :mod:`geoseg.data.sources` and :mod:`geoseg.data.splits`.
    """
    special = settings.special_classes
    data = settings.data
    wanted = Wanted(
        data, base, settings.classes, settings.resolution, special.background, special.neutral or ""
    )
    opened = open_graph_areas(wanted, settings.seed) if data.dtl else open_areas(wanted)
    names = settings.card.bands
    if names and len(names) != opened.channels:
        raise ConfigError(
            f"$.card.bands: must name the {opened.channels} bands of the scenes, got {', '.join(names)}."
        )
    _check_colors(settings, opened.channels)
    epochs, val = _split(settings, data, opened)
    if not val:
        raise InputError("validation must have chips, got none with labeled ground. Change data.split.")
    trained = set(epochs.areas) if isinstance(epochs, WindowEpochs) else {ref.area for ref in epochs.refs}
    _check_classes(opened, epochs)
    mean, stddev = _statistics(settings, opened, epochs)
    area_names = [area.name for area in opened.areas]
    scenes = {
        "train": sorted({area_names[i] for i in trained}),
        "val": sorted({area_names[ref.area] for ref in val}),
    }
    table, bands = opened.table, _band_names(opened)
    # A run chooses bands by the names of the card, and would give the network another order than it learned.
    check_order(names, bands, "$.card.bands:", "Name them in that order, or choose")
    teacher = None
    if settings.teacher is not None:
        bundle = base / settings.teacher.bundle
        teacher = open_teacher(bundle, table.names, opened.channels, opened.dtype)
        check_order(teacher.bands, names or bands, "$.teacher.bundle: bands", "Choose")
    facts = Facts(
        table.names,
        opened.dtype,
        mean,
        stddev,
        opened.gsd,
        scenes,
        bands,
        table.shown,
        teacher=teacher.fingerprint if teacher else None,
        # From the config's folder, with which data may be moved.
        files={path.removeprefix(f"{base}{os.sep}"): digest for path, digest in opened.files.items()},
        validation=json_digest([[int(number) for number in ref] for ref in val]),
    )
    return Prepared(opened, epochs, val, facts, teacher)


def check_order(given: Sequence[str], bands: Sequence[str], what: str, advice: str) -> None:
    """Refuse the bands of the scenes in another order: blue would be taken for red.

    Raises
    ------
    ConfigError
        Both name the same bands, in two orders.
    """
    meant, stored = (band_names([{"description": name} for name in some]) for some in (given, bands))
    if meant != stored and sorted(meant) == sorted(stored):
        raise ConfigError(
            f"{what} must be in the order of the scenes' bands, {', '.join(stored)}, got "
            f"{', '.join(given)}. {advice} another with data.scenes[].bands."
        )


def _band_names(opened: Opened) -> tuple[str, ...]:
    """What the scenes call the bands that are read; of the first few, those count that name theirs."""
    sources = [area.pixels for area in opened.areas[:_NAMED] if isinstance(area.pixels, (Scene, View))]
    every = {tuple(stored_names(source)[band - 1] for band in source.bands) for source in sources}
    names = {some for some in every if all(some) and len(set(some)) == len(some)}
    if len(names) > 1:
        # A card would say red, green, blue of three bands without a name; these are known to be others.
        return tuple(f"band_{number}" for number in range(1, opened.channels + 1))
    return names.pop() if names else ()


def _check_colors(settings: TrainSettings, channels: int) -> None:
    """Refuse augmentation that means red, green and blue where there are other bands."""
    for name in ("hue", "saturation", "gray", "jpeg"):
        strength = getattr(settings.augment, name)
        if strength and channels != 3:
            raise ConfigError(
                f"$.augment.{name}: must be 0 unless there are three bands, got {strength} for {channels}. "
                "Leave it out."
            )


def _check_classes(opened: Opened, epochs: WindowEpochs | ImageEpochs) -> None:
    names = opened.table.names
    present: Set[int]
    if isinstance(epochs, ImageEpochs):
        present = present_classes([opened.areas[ref.area] for ref in epochs.refs])
    else:
        present, every = epochs.present(), set(range(1, len(names)))
        # A class may lie at an edge, its anchor beyond: then the windows themselves have the answer.
        many = epochs.settings.model_copy(update={"chips_per_epoch": _SEARCHED})
        for (ref,) in [] if present >= every else replace(epochs, settings=many).batches(0, 1, 1):
            area = opened.areas[ref.area]
            target = area.truth.burn(ref.window.clipped(*area.shape)).target
            present = present | ({*np.unique(target).tolist()} - {0, IGNORE})
            if present >= every:
                break
    # A network trained on background alone says "nothing here" everywhere, with the best of scores.
    if not present - {0}:
        raise InputError("labels must hold objects where training looks, got none. Check classes and aoi.")
    missing = [i for i in range(1, len(names)) if i not in present]
    if missing:
        everywhere = present_classes(opened.areas)
        advice = (
            "All of it is validated on: label more of it, split otherwise, or use another seed."
            if {*missing} <= everywhere
            else "Label it, or leave it out of classes."
        )
        raise InputError(
            "every class must have pixels to train on, got none for "
            f"{', '.join(names[i] for i in missing)}. {advice}"
        )


def _split(
    settings: TrainSettings, data: TrainingDataSettings, opened: Opened
) -> tuple[WindowEpochs | ImageEpochs, tuple[ChipRef, ...]]:
    by: str = data.split.by
    if by == "auto":
        # Whole files where somebody has named them or they are separate pictures. Scenes are cut into blocks,
        # since there may be one only.
        named = data.split.val or any(part != "auto" for part in opened.parts)
        by = "tags" if data.project or data.dtl else "file" if named or data.images else "blocks"
    if by == "tags":
        train, val = _tagged(opened, settings)
        if data.stretches:
            epochs = ImageEpochs(tuple(_whole(opened, i) for i in train), settings.seed)
            return epochs, tuple(_whole(opened, i) for i in val)
        nothing = np.zeros((0, 4), np.int64)
        splits = [AreaSplit(i in set(train), nothing, ()) for i in range(len(opened.areas))]
        grid = [(i, w) for i in val for w in grid_windows(opened.areas[i], settings.chip)]
        val_grid = tuple(ChipRef(i, w.row_off, w.col_off, w.height, w.width) for i, w in grid)
        return _windows(settings, opened, splits), val_grid
    split = file_split if by == "file" else block_split
    splits = split(opened.areas, settings.chip, data.split, opened.parts, settings.seed)
    if data.stretches:
        if by != "file":
            raise ConfigError("$.data.fit: resize must go with a split by tags or file, got blocks.")
        train_refs = tuple(_whole(opened, i) for i, s in enumerate(splits) if s.train)
        val_refs = tuple(_whole(opened, i) for i, s in enumerate(splits) if not s.train)
        return ImageEpochs(train_refs, settings.seed), val_refs
    refs = [ChipRef(i, w.row_off, w.col_off, w.height, w.width) for i, s in enumerate(splits) for w in s.val]
    return _windows(settings, opened, splits), tuple(refs)


def _windows(settings: TrainSettings, opened: Opened, splits: list[AreaSplit]) -> WindowEpochs:
    if not any(split.train for split in splits):
        raise InputError("training must have scenes, got none left by data.split.")
    return WindowEpochs.of(opened.areas, splits, settings.chip, settings.sampler, settings.seed)


def _whole(opened: Opened, index: int) -> ChipRef:
    return ChipRef(index, 0, 0, *opened.areas[index].shape)


def _tagged(opened: Opened, settings: TrainSettings) -> tuple[list[int], list[int]]:
    """Images with the training and with the validation tag."""
    sides = []
    for name, tag in (("train", settings.dataset_tags.train), ("val", settings.dataset_tags.val)):
        images = [i for i, tags in enumerate(opened.tags) if tag == "__all__" or tag in tags]
        if not images:
            tags = ", ".join(sorted(frozenset().union(*opened.tags))) or "no tags"
            raise InputError(
                f"dataset_tags.{name} must be a tag of some image, got {tag}. The data has {tags}."
            )
        sides.append(images)
    return sides[0], sides[1]


def _statistics(
    settings: TrainSettings, opened: Opened, epochs: WindowEpochs | ImageEpochs
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each band: given, ImageNet's for 8-bit RGB, or measured."""
    given, bands = settings.normalization, opened.channels
    rgb = bands == 3 and opened.dtype == "uint8"
    if given == "imagenet" and not rgb:
        raise ConfigError(
            f"$.normalization: imagenet must go with 3 bands of uint8, got {bands} of {opened.dtype}."
        )
    # Pretrained encoders expect these numbers; the tutorials' network gets them whatever it starts from.
    if rgb and given in ("auto", "imagenet"):
        mean, stddev = _IMAGENET
        return tuple(round(255 * v, 6) for v in mean), tuple(round(255 * v, 6) for v in stddev)
    if not isinstance(given, str):
        if len(given.mean) != bands or len(given.stddev) != bands:
            raise ConfigError(
                f"$.normalization: must hold {bands} values, one a band, got {len(given.mean)}."
            )
        return given.mean, given.stddev
    return _measured(opened, epochs)


def _measured(
    opened: Opened, epochs: WindowEpochs | ImageEpochs
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    refs = [ref for batch in epochs.batches(0, 1, 1)[:_LOOKED_AT] for ref in batch]
    total, squares, count = np.zeros(opened.channels), np.zeros(opened.channels), 0
    for ref in refs:
        area = opened.areas[ref.area]
        window: Window = ref.window.clipped(*area.shape)
        image, valid = area.pixels.read_with_valid(window)
        # float64: in float32 the sum of squares of 16-bit pixels loses the small differences that matter.
        pixels = image[:, valid].astype(np.float64)
        total, squares = total + pixels.sum(1), squares + (pixels**2).sum(1)
        count += pixels.shape[1]
    if not count:
        raise InputError("scenes must hold valid pixels where they are labeled, got none.")
    mean = total / count
    # Rounding can make the variance of a constant band a little negative.
    stddev = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    # Rounded before the run uses them, not only for the card: prediction then divides by the same numbers. A
    # constant band must not divide by zero.
    return tuple(float(f"{v:.6g}") for v in mean), tuple(float(f"{max(v, 1e-6):.6g}") for v in stddev)


def pixelwise_of(facts: Facts) -> Pixelwise:
    """Normalization of a run's data; 8-bit bands are dark at 0 and bright at 255."""
    scaling = [ZScore(mean=m, stddev=s) for m, s in zip(facts.mean, facts.stddev, strict=True)]
    ramps = band_ramps(scaling, len(scaling))
    if facts.dtype == "uint8":
        dark, bright = (0.0,) * len(ramps), (255.0,) * len(ramps)
    else:
        # Other dtypes have no natural range: two and a half deviations hold nearly all pixels.
        dark = tuple(m - 2.5 * s for m, s in zip(facts.mean, facts.stddev, strict=True))
        bright = tuple(m + 2.5 * s for m, s in zip(facts.mean, facts.stddev, strict=True))
    return Pixelwise(ramps, facts.mean, dark, bright)


def build(settings: TrainSettings, channels: int, classes: int) -> nn.Module:
    """The network with its auxiliary outputs, random but for ImageNet weights where they are asked for.

    Raises
    ------
    ModelError
        An unknown network, or weights that can't be had.
    ConfigError
        A chip size that it can't divide.
    """
    extra = len(settings.auxiliary.kinds) if settings.auxiliary else 0
    spec = settings.architecture
    # Right before the network is built, so that nothing done to the data shifts its random weights.
    torch.manual_seed(settings.seed)
    network = build_network(spec, in_channels=channels, classes=classes + extra)
    check_size(settings.chip, input_multiple(spec, network))
    if settings.pretrained == "imagenet":
        load_imagenet(network, spec.encoder, channels)
    return network


def check_size(chip: tuple[int, int], multiple: int) -> None:
    """Refuse a chip that the network's strides do not divide; the nearest sizes that fit are named.

    Examples
    --------
    >>> check_size((250, 256), 32)
    Traceback (most recent call last):
    ...
    geoseg.errors.ConfigError: $.input_size: must be a multiple of 32, got height 250. Use 224 or 256.
    """
    for name, side in zip(("height", "width"), chip, strict=True):
        if side % multiple:
            low = side // multiple * multiple
            near = f"{low} or {low + multiple}" if low else f"{multiple}"
            raise ConfigError(
                f"$.input_size: must be a multiple of {multiple}, got {name} {side}. Use {near}."
            )
