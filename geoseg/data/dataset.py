"""Chips as torch tensors: the dataset, batches, loaders."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geoseg.data.auxiliary import AuxiliarySettings
from geoseg.data.chips import Area, ChipRef, chip_tensors, cut_chip, fit_chip
from geoseg.data.sampler import BatchSampler
from geoseg.errors import GeosegError, RunError

__all__ = ["BatchLoader", "ChipBatch", "ChipDataset", "join_chips", "train_loader", "val_loader"]


@dataclass
class ChipBatch:
    """Chips of one step.

    Attributes
    ----------
    image
        (N, C, h, w) in the scene's dtype.
    target
        (N, h, w) uint8, 255 = unknown.
    auxiliary
        (N, A, h, w) float32, NaN = unknown.
    names
        Area and window of each chip.
    """

    image: Tensor
    target: Tensor
    auxiliary: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ChipBatch:
        """The batch on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return ChipBatch(move(self.image), move(self.target), move(self.auxiliary), self.names)

    def rolled(self) -> ChipBatch:
        """The batch with each chip in the place of the next."""
        image, target, auxiliary = (x.roll(1, 0) for x in (self.image, self.target, self.auxiliary))
        return ChipBatch(image, target, auxiliary, [*self.names[-1:], *self.names[:-1]])

    def pin_memory(self) -> ChipBatch:
        """The batch in page-locked memory."""
        image, target, auxiliary = self.image, self.target, self.auxiliary
        return ChipBatch(image.pin_memory(), target.pin_memory(), auxiliary.pin_memory(), self.names)


def join_chips(chips: Sequence[dict[str, Any]]) -> ChipBatch:
    """A batch of single chips."""
    image, target, auxiliary = (
        torch.stack([chip[key] for chip in chips]) for key in ("image", "target", "auxiliary")
    )
    return ChipBatch(image, target, auxiliary, [chip["name"] for chip in chips])


@dataclass
class ChipDataset(Dataset[dict[str, Any]]):
    """Chips by reference.

    Attributes
    ----------
    areas
        Where chips are cut from.
    size
        (height, width) of every chip; windows of another size are stretched to it.
    auxiliary
        Extra targets, if any.
    fill
        Value of invalid pixels, one a band.
    gap
        Whether touching objects are parted in the target.
    corrupted
        Chips that may fail to be read (in each worker) before training stops; each is replaced by a chip of
        ``spare``.
    spare
        References to choose replacements from.
    """

    areas: Sequence[Area]
    size: tuple[int, int]
    auxiliary: AuxiliarySettings | None = None
    fill: tuple[float, ...] = ()
    gap: bool = False
    corrupted: int = 0
    spare: Sequence[ChipRef] = ()
    _failed: list[str] = field(default_factory=list, init=False, repr=False)

    def __getitem__(self, ref: ChipRef) -> dict[str, Any]:
        try:
            chip = cut_chip(*self.areas[ref.area].in_epoch(ref), self.auxiliary, self.fill, self.gap)
        except GeosegError as error:
            return self._replace(ref, error)
        return chip_tensors(fit_chip(chip, *self.size))

    def _replace(self, ref: ChipRef, error: GeosegError) -> dict[str, Any]:
        # Counted in each worker by itself; they share no memory.
        self._failed.append(str(error))
        if len(self._failed) > self.corrupted or not self.spare:
            raise RunError(
                f"chips must be readable, got {len(self._failed)} that are not; the last: {error} "
                "Repair the file, or raise allow_corrupted_samples."
            ) from error
        # A checksum in place of chance: the same run replaces the same chip by the same one, in any worker.
        turn = zlib.crc32(f"{ref}{len(self._failed)}".encode())
        return self[self.spare[turn % len(self.spare)]]


def _ignore_interrupt(worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to workers too, to the process that they work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Sent(Dataset[Any]):
    """Chips, and errors as values: what a worker raises would arrive as the text of a traceback."""

    def __init__(self, chips: ChipDataset) -> None:
        self.chips = chips

    def __getitem__(self, ref: ChipRef) -> dict[str, Any] | GeosegError:
        try:
            return self.chips[ref]
        except GeosegError as error:
            return error


def _join_sent(chips: Sequence[dict[str, Any] | GeosegError]) -> ChipBatch | GeosegError:
    joined = list[dict[str, Any]]()
    for chip in chips:
        if isinstance(chip, GeosegError):
            return chip
        joined.append(chip)
    return join_chips(joined)


class BatchLoader(DataLoader[Any]):
    """Batches of chips, read by worker processes where there are any.

    Parameters
    ----------
    chips
        Where chips come from.
    batches
        The chips of each batch.
    workers
        Worker processes; 0 reads in this one.

    Raises
    ------
    GeosegError
        Whatever a chip raised, in whichever process.
    """

    def __init__(self, chips: ChipDataset, batches: Iterable[list[ChipRef]], workers: int) -> None:
        super().__init__(
            _Sent(chips),
            batch_sampler=batches,
            num_workers=workers,
            worker_init_fn=_ignore_interrupt,
            collate_fn=_join_sent,
            # From page-locked memory a batch travels to the GPU while the one before is still computed.
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[ChipBatch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, GeosegError):
                raise batch
            yield batch


def train_loader(dataset: ChipDataset, sampler: BatchSampler) -> BatchLoader:
    """Loader of training batches; its workers are as many as the sampler's groups."""
    return BatchLoader(dataset, sampler, sampler.groups)


def val_loader(
    dataset: ChipDataset, refs: Sequence[ChipRef], batch: int, workers: int, rank: int = 0, world: int = 1
) -> BatchLoader:
    """Loader of validation chips in order; each process takes every ``world``-th batch."""
    # Dealt by batches: all processes score the same chips together as one process would.
    batches = [list(refs[i : i + batch]) for i in range(0, len(refs), batch)]
    return BatchLoader(dataset, batches[rank::world], workers)
