"""Mixed precision on the CPU."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from geoseg.training.precision import spare_grouped


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))


@pytest.mark.parametrize(
    "carry", [lambda net: net, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_grouped_convolutions_stay_in_float32_others_do_not(carry):
    network = make_network()
    spare_grouped(network)
    network, dtypes = carry(network), []
    for layer in network:
        layer.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    image = torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(image).float().square().mean()
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    loss.backward()
    assert dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in network.parameters())


def test_without_mixed_precision_nothing_changes():
    plain, spared = make_network(), make_network()
    spare_grouped(spared)
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(plain(image), spared(image))
    assert not torch.is_autocast_enabled("cpu")


def test_chips_are_augmented_in_full_precision_under_autocast():
    from geoseg.data.augment import Augment
    from geoseg.data.dataset import ChipBatch
    from geoseg.data.settings import AugmentSettings
    from geoseg.training.learner import augmented_chips

    change = Augment(AugmentSettings(hue=30, blur=1.0, coarse=1.0, noise=0.05, jpeg=0.5, share=0.6))
    image = torch.randint(
        0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    batch = ChipBatch(image, torch.zeros(6, 32, 32, dtype=torch.uint8), torch.zeros(6, 0, 32, 32), ["a"] * 6)
    dark, bright = torch.zeros(1, 3, 1, 1), torch.full((1, 3, 1, 1), 255.0)
    plain, *_ = augmented_chips(change, batch, dark, bright, seed=5)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, *_ = augmented_chips(change, batch, dark, bright, seed=5)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)
