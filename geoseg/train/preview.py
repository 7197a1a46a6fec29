"""A picture of training chips with their targets."""

from __future__ import annotations

from pathlib import Path

import torch

from geoseg.data.augment import Augment
from geoseg.data.dataset import Batch, join_chips
from geoseg.train.checkpoints import write_file
from geoseg.train.config import TrainSettings
from geoseg.train.module import Pixelwise
from geoseg.train.pictures import chip_sheet, overlay, to_picture
from geoseg.train.setup import pixelwise_of, prepare

__all__ = ["preview_chips"]


def preview_chips(
    settings: TrainSettings, base: Path, count: int, out: Path, *, augment: bool = False
) -> None:
    """Write a PNG of the first chips of the first epoch, bare and with the target over them.

    Parameters
    ----------
    count
        Chips.
    augment
        As augmentation leaves them.
    """
    prepared = prepare(settings, base)
    data = prepared.chips(settings)
    refs = [ref for batch in prepared.plan.epoch(0, settings.batch_size.train, 1) for ref in batch][:count]
    pixelwise = pixelwise_of(prepared.facts)
    batch = join_chips([data[ref] for ref in refs])
    if augment:
        batch = _augmented(batch, settings, pixelwise)
    cells = []
    for image, target in zip(batch.image.numpy(), batch.target.numpy(), strict=True):
        picture = to_picture(image, pixelwise.dark, pixelwise.bright)
        cells += [picture, overlay(picture, target)]
    across = 2 * max(1, round((count / 2) ** 0.5))
    write_file(out, chip_sheet([cells[i : i + across] for i in range(0, len(cells), across)]))


def _augmented(batch: Batch, settings: TrainSettings, pixelwise: Pixelwise) -> Batch:
    dark, bright = (torch.tensor(v).view(1, -1, 1, 1) for v in (pixelwise.dark, pixelwise.bright))
    unit = (batch.image.float() - dark) / (bright - dark)
    unit, target, extra = Augment(settings.augment)(unit, batch.target, batch.auxiliary, seed=settings.seed)
    return Batch(unit * (bright - dark) + dark, target, extra, batch.names)
