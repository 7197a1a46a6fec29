"""From the scene's own pixels to the network's numbers, on the network's device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.models.card import ModelCard
from geoseg.models.scaling import Ramp, band_ramps, fill_values
from geoseg.typing import Array, FloatArray

__all__ = ["Normalize", "to_tensor"]

#: What torch computes with directly; other types are widened on the host first.
_DIRECT = {"uint8", "int8", "uint16", "int16", "int32", "float16", "float32"}


def to_tensor(batch: Array, device: torch.device) -> Tensor:
    """A batch as tensor on ``device``, in its own type where torch can compute with it.

    Raw integers travel: an 8-bit scene crosses to the GPU as a quarter of its float32 bytes, from pinned
    memory and without waiting.
    """
    if batch.dtype == np.bool_:
        batch = batch.view(np.uint8)
    elif batch.dtype.name not in _DIRECT:
        batch = batch.astype(np.float32)
    elif not batch.dtype.isnative:
        batch = batch.astype(batch.dtype.newbyteorder("="))
    tensor = torch.from_numpy(np.require(batch, requirements=["C", "W"]))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Normalize(nn.Module):
    """Clip and scale each channel; not-a-number becomes the fill value first.

    Parameters
    ----------
    ramps
        One a channel, from :func:`geoseg.models.scaling.band_ramps`.
    fill
        Raw value of each channel that stands for "no data", (C,).

    Examples
    --------
    >>> half = Normalize([Ramp(gain=0.5)], np.zeros(1, np.float32))
    >>> half(torch.full((1, 1, 1, 2), 8, dtype=torch.uint8)).flatten().tolist()
    [4.0, 4.0]
    """

    gain: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor
    fill: Tensor

    def __init__(self, ramps: Sequence[Ramp], fill: FloatArray) -> None:
        super().__init__()
        for name in ("gain", "offset", "low", "high"):
            values = torch.tensor([getattr(ramp, name) for ramp in ramps], dtype=torch.float32)
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("fill", torch.from_numpy(fill.copy()).view(1, -1, 1, 1), persistent=False)
        self._clips = bool(torch.isfinite(self.low).any() or torch.isfinite(self.high).any())
        self._plain = not self._clips and all(ramp.gain == 1 and ramp.offset == 0 for ramp in ramps)

    @classmethod
    def from_card(cls, card: ModelCard) -> Normalize:
        """The normalization a card asks for."""
        ramps = band_ramps(card.scaling, card.in_channels)
        return cls(ramps, fill_values(ramps, card.options.fill))

    def forward(self, raw: Tensor) -> Tensor:
        """(N, C, h, w) of any type to float32, a tensor of its own with its channels last in memory."""
        # A tensor of its own, for the steps below write into it.
        x = torch.empty(raw.shape, dtype=torch.float32, device=raw.device, memory_format=torch.channels_last)
        # Channel by channel: a copy of all at once takes three times as long.
        for channel in range(raw.shape[1]):
            x[:, channel] = raw[:, channel]
        # Integers hold neither NaN nor infinity.
        if raw.dtype.is_floating_point:
            x = torch.where(torch.isfinite(x), x, self.fill)
        if self._clips:
            x = torch.clamp(x, self.low, self.high)
        # In place: a batch of large windows takes hundreds of megabytes.
        return x if self._plain else x.mul_(self.gain).add_(self.offset)
