"""A trained network whose probabilities another one learns from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from geoseg.errors import ConfigError
from geoseg.models.bundle import open_bundle
from geoseg.models.loading import load_model
from geoseg.models.normalize import Normalize
from geoseg.models.scaling import band_ramps, fill_values
from geoseg.models.state import load_module

__all__ = ["TeacherNetwork", "open_teacher"]


class TeacherNetwork(nn.Module):
    """From raw pixels (N, C, h, w) to probabilities (N, K, h, w); it never learns.

    Attributes
    ----------
    fingerprint
        Of the bundle, as runs of inference tell one model from another.
    bands
        What its card calls the bands that it takes.
    """

    def __init__(
        self, normalize: Normalize, network: nn.Module, fingerprint: str, bands: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.fingerprint, self.bands = fingerprint, bands
        self.normalize = normalize
        self.network = network.to(memory_format=torch.channels_last).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> TeacherNetwork:
        """Stay in evaluation mode, whatever the network beside it does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, raw: Tensor) -> Tensor:
        """Softmax over the classes, float32."""
        probabilities: Tensor = self.network(self.normalize(raw)).float().softmax(1)
        return probabilities


def open_teacher(path: Path, classes: tuple[str, ...], channels: int, dtype: str) -> TeacherNetwork:
    """The network of a bundle.

    Raises
    ------
    MissingFileError, ModelError
        No bundle there, or a broken one.
    ConfigError
        A bundle that says nothing about these classes of such pixels, or not one class for each pixel.
    """
    bundle = open_bundle(path)
    card = bundle.card
    if bundle.kind != "safetensors":
        raise ConfigError(
            f"$.teacher.bundle: must hold safetensors, got {bundle.label}. Name the bundle of a training run."
        )
    if card.classes != classes or card.in_channels != channels:
        raise ConfigError(
            f"$.teacher.bundle: must have the classes {', '.join(classes)} of {channels} bands, got "
            f"{', '.join(card.classes)} of {card.in_channels}. Name the bundle of a run on such data."
        )
    # Its scaling is of such values: of others its probabilities would mean nothing.
    if card.scaling is not None and card.dtype not in (dtype, "other"):
        raise ConfigError(
            f"$.teacher.bundle: must take {dtype} pixels, as the scenes hold, got one for {card.dtype}. "
            "Name the bundle of a run on such data."
        )
    if card.activation != "softmax":
        raise ConfigError(
            f"$.teacher.bundle: must have the activation softmax, got {card.activation}. "
            "Name the bundle of a training run."
        )
    ramps = band_ramps(card.scaling, channels)
    fingerprint = load_model(path, device="cpu", engine="torch").fingerprint()
    return TeacherNetwork(
        Normalize(ramps, fill_values(ramps)), load_module(bundle), fingerprint, tuple(card.bands)
    )
