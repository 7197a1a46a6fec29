"""A picture of training chips with their targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.data.augment import Augment
from geoseg.data.dataset import ChipBatch, join_chips
from geoseg.errors import InputError
from geoseg.files import write_bytes
from geoseg.training.config import TrainSettings
from geoseg.training.learner import augmented_chips, step_seed
from geoseg.training.pictures import captioned, chip_sheet, is_chip_sheet, overlay, to_picture
from geoseg.training.setup import pixelwise_of, prepare

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
        As augmentation leaves them in training by one process.

    Raises
    ------
    InputError
        ``out`` is no PNG, or a file that would be lost.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"picture must end in .png, got {out.name!r}.")
    # A scene or a mask that is trained on may be a PNG, too.
    if out.exists() and not is_chip_sheet(out):
        raise InputError(
            f"picture must be a new file or an earlier one of geoseg chips, got {out}, which is neither. "
            "Choose another name."
        )
    prepared = prepare(settings, base)
    data = prepared.chips(settings)
    pixelwise = pixelwise_of(prepared.facts)
    cells: list[NDArray[np.uint8]] = []
    batches = prepared.epochs.batches(0, settings.batch_size.train, settings.data_workers.train)
    for step, refs in enumerate(batches):
        # A chip is two cells, bare and with its target.
        wanted = count - len(cells) // 2
        if wanted <= 0:
            break
        # Augmentation draws by the whole batch (paste takes objects of other chips), so all of it is read.
        batch = join_chips([data[ref] for ref in (refs if augment else refs[:wanted])])
        if augment:
            dark, bright = (torch.tensor(v).view(1, -1, 1, 1) for v in (pixelwise.dark, pixelwise.bright))
            seed = step_seed(settings.seed, step)
            raw, _, moved = augmented_chips(Augment(settings.augment), batch, dark, bright, seed)
            batch = ChipBatch(raw, moved.target, moved.auxiliary, batch.names)
        shown = list(zip(batch.image.numpy(), batch.target.numpy(), batch.names, strict=True))
        for image, target, name in shown[:wanted]:
            picture = to_picture(image, pixelwise.dark, pixelwise.bright)
            cells += [captioned(picture, name), overlay(picture, target)]
    # About as many rows as columns of chips.
    across = 2 * max(1, round((count / 2) ** 0.5))
    rows = [cells[i : i + across] for i in range(0, len(cells), across)]
    write_bytes(out, chip_sheet(rows, prepared.facts.classes))
