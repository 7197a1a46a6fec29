"""A tiny network, its card and its bundle, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.models.architectures import build_network
from geoseg.models.bundle import write_bundle
from geoseg.models.card import ModelCard
from geoseg.models.options import ArchitectureSpec, GeosegOptions
from geoseg.models.scaling import ZScore
from geoseg.typing import Array

TINY = ArchitectureSpec(
    name="unet", encoder="mobilenet_v2", kwargs={"encoder_depth": 3, "decoder_channels": [16, 8, 8]}
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep exports of these tests out of the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("GEOSEG_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """A U-Net of 60 thousand weights whose outputs differ from pixel to pixel."""
    torch.manual_seed(3)
    net = build_network(TINY, in_channels=3, classes=1)
    with torch.no_grad():
        for weights in net.parameters():
            if weights.ndim > 1:
                nn.init.kaiming_normal_(
                    weights, nonlinearity="relu", generator=torch.Generator().manual_seed(3)
                )
    return net.eval()


@pytest.fixture(scope="session")
def make_card() -> Callable[..., ModelCard]:
    """Card of the tiny network; options can be changed."""

    def make(classes: tuple[str, ...] = ("building",), **changes: object) -> ModelCard:
        options = GeosegOptions.model_validate(
            {"gsd": 0.3, "window": 64, "overlap": 16, "multiple": 8, "architecture": TINY, **changes}
        )
        scaling = [ZScore(mean=120, stddev=60), ZScore(mean=110, stddev=55), ZScore(mean=100, stddev=50)]
        return ModelCard.create(
            "tiny test network",
            classes=classes,
            bands=["red", "green", "blue"],
            scaling=scaling,
            options=options,
        )

    return make


@pytest.fixture(scope="session")
def bundle(
    tmp_path_factory: pytest.TempPathFactory, network: nn.Module, make_card: Callable[..., ModelCard]
) -> Path:
    """The tiny network as a bundle folder."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", network, make_card())


@pytest.fixture(scope="session")
def pixels() -> Array:
    """(2, 3, 64, 64) uint8."""
    return np.random.default_rng(5).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)


@pytest.fixture(scope="session")
def expected(network: nn.Module, pixels: Array) -> Array:
    """What plain torch gives for ``pixels``."""
    mean, std = np.array([120, 110, 100]).reshape(3, 1, 1), np.array([60, 55, 50]).reshape(3, 1, 1)
    x = torch.from_numpy(((pixels - mean) / std).astype(np.float32))
    with torch.inference_mode():
        return torch.sigmoid(network(x)).numpy()
