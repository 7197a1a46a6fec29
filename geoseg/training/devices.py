"""From the devices a config asks for to those there are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from geoseg.errors import InputError

__all__ = ["Devices", "choose_devices"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Devices:
    """Where a run's processes work.

    Attributes
    ----------
    accelerator
        ``cpu`` or ``gpu``.
    numbers
        GPU numbers, or as many zeros as there are CPU processes.
    """

    accelerator: str
    numbers: tuple[int, ...]

    @property
    def world(self) -> int:
        """Processes."""
        return len(self.numbers)


def choose_devices(
    wanted: Sequence[int], override: str | None = None, available: int | None = None
) -> Devices:
    """Devices to train on.

    Parameters
    ----------
    wanted
        ``gpu_devices`` of the config.
    override
        ``cpu``, ``cpu:2`` (two processes) or GPU numbers such as ``0,1``.
    available
        GPUs there are; asked of torch by default.

    Raises
    ------
    InputError
        An override that is none of these.

    Examples
    --------
    >>> choose_devices([0, 1, 2], available=2)
    Devices(accelerator='gpu', numbers=(0, 1))
    >>> choose_devices([0], "cpu:2", available=1)
    Devices(accelerator='cpu', numbers=(0, 0))
    """
    present = torch.cuda.device_count() if available is None else available
    if override is not None:
        kind, _, count = override.partition(":")
        if kind == "cpu" and (not count or (count.isdigit() and int(count) > 0)):
            return Devices("cpu", (0,) * int(count or 1))
        if not all(part.strip().isdigit() for part in override.split(",")):
            raise InputError(f"--devices must be cpu, cpu:N or GPU numbers such as 0,1, got {override}.")
        wanted = [int(part) for part in override.split(",")]
    # Configs travel between machines: the tutorials' name GPU 0, and must train on a laptop without one.
    usable = tuple(number for number in wanted if number < present)
    missing = [str(number) for number in wanted if number >= present]
    if missing:
        instead = f"GPU {', '.join(map(str, usable))}" if usable else "the CPU"
        logger.warning("GPU %s asked for but absent: training on %s", ", ".join(missing), instead)
    return Devices("gpu", usable) if usable else Devices("cpu", (0,))
