"""Where a run stands: how far it is, and what its validations have decided so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Standing", "rate_factor", "validation_points"]


@dataclass
class Standing:
    """What of a run must survive a restart, beside weights; plain numbers.

    Attributes
    ----------
    batches
        Training batches done, over all epochs.
    validations
        Validations done; the next checkpoint has this number.
    best, best_index
        Lowest validation loss so far and its checkpoint.
    cut_index
        Validations done when the rate was last divided.
    rate
        What the rate has been multiplied with by divisions.
    since_best
        Validations since one was better by the early stop's margin.
    stop_best
        Loss that the early stop compares with.
    """

    batches: int = 0
    validations: int = 0
    best: float = math.inf
    best_index: int = -1
    cut_index: int = 0
    rate: float = 1.0
    since_best: int = 0
    stop_best: float = math.inf

    def record(self, loss: float, patience: int, divisor: float, min_delta: float = 0.0) -> bool:
        """Take a validation loss in; True when the rate was divided.

        The rate is divided when the last ``patience`` validations held neither a new lowest loss nor a
        division.
        """
        if loss < self.best:
            self.best, self.best_index = loss, self.validations
        self.since_best += 1
        # Apart from best: a loss lower by less than the margin is the best checkpoint, and still no progress.
        if loss < self.stop_best - min_delta or not math.isfinite(self.stop_best):
            self.stop_best, self.since_best = loss, 0
        self.validations += 1
        # The rule of the tutorials: what starts the count anew is a new lowest loss or a division.
        if self.validations - max(self.best_index + 1, self.cut_index) < patience:
            return False
        self.rate /= divisor
        self.cut_index = self.validations
        return True


def validation_points(per_epoch: int, epochs: int, val_every: float) -> list[int]:
    """Batches after which to validate.

    After a batch, when ``floor(epochs done / val_every + 1e-9)`` exceeds the validations done; at most one
    a batch, so few batches make some of them late or leave them out. The end of the run is always one.

    Examples
    --------
    >>> validation_points(4, 2, 0.5)
    [2, 4, 6, 8]
    >>> validation_points(3, 2, 0.5)
    [2, 3, 5, 6]
    >>> validation_points(4, 3, 2)
    [8, 12]
    """
    points: list[int] = []
    for batch in range(1, per_epoch * epochs + 1):
        # The 1e-9 is the tutorials': 0.3 / 0.1 is a little under 3.
        if math.floor(batch / per_epoch / val_every + 1e-9) > len(points):
            points.append(batch)
    # Or the last batches would be trained and never scored nor kept.
    if not points or points[-1] != per_epoch * epochs:
        points.append(per_epoch * epochs)
    return points


def rate_factor(step: int, total: int, name: str, warmup: float | None, floor: float) -> float:
    """What the rate is multiplied with at a step.

    Parameters
    ----------
    step, total
        Batches done, and of the whole run.
    name
        ``constant``, ``cosine`` or ``one_cycle``.
    warmup
        Share of the run over which the rate rises.
    floor
        Last factor of ``cosine`` and ``one_cycle``.

    Examples
    --------
    >>> [round(rate_factor(step, 4, "cosine", None, 0.0), 2) for step in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    # The share that torch's OneCycleLR rises over, too.
    default = 0.3 if name == "one_cycle" else 0.0
    rise = math.ceil((default if warmup is None else warmup) * total)
    if step < rise:
        # Above 0 from the first step: a step at rate 0 would be lost.
        return (step + 1) / (rise + 1)
    if name == "constant":
        return 1.0
    share = (step - rise) / max(1, total - rise)
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, share))) / 2
