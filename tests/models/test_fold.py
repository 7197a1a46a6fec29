"""Folded networks give what the network gives, or the network itself comes back."""

from __future__ import annotations

import copy

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from geoseg.models.engines import TorchEngine
from geoseg.models.fold import fold_batch_norms


def trained(network: nn.Module) -> nn.Module:
    """Batch norms as after training: none is the identity."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("encoder", "unused"), [("resnet18", 0), ("tu-tf_efficientnet_lite0", 0), ("efficientnet-b0", 1)]
)
def test_every_norm_of_known_networks_is_folded(encoder: str, unused: int) -> None:
    network = trained(smp.Unet(encoder, encoder_weights=None, classes=2)).double()
    before = copy.deepcopy(network.state_dict())
    x = torch.rand(2, 3, 96, 64, dtype=torch.float64)
    with torch.inference_mode():
        wanted = network(x)
        folded = fold_batch_norms(network, x[:1, :, :64, :64])
        got = folded(x)
    assert norms(network) > norms(folded) == unused
    assert torch.allclose(got, wanted, atol=1e-9 * float(wanted.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Branch(nn.Module):
    """The convolution's output is used beside its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + self.norm(y)


class Twice(Branch):
    """One norm for two inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.norm(x)


class Picky(Branch):
    """Does not take the sample."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < 32:
            raise ValueError("too small")
        return self.norm(self.conv(x))


@pytest.mark.parametrize("kind", [Branch, Twice, Picky])
def test_what_can_not_be_folded_stays(kind: type[Branch]) -> None:
    network = trained(kind())
    assert fold_batch_norms(network, torch.rand(1, 3, 8, 8)) is network


def test_hooks_are_not_lost() -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    seen = []
    network[1].register_forward_hook(lambda *_: seen.append(1))
    assert fold_batch_norms(network, torch.rand(1, 3, 8, 8)) is network
    assert seen


def test_engine_folds_and_matches() -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()))
    engine = TorchEngine(network, torch.device("cpu"))
    x = torch.rand(2, 3, 40, 24)
    with torch.inference_mode():
        wanted = network(x)
    assert torch.allclose(engine(x), wanted, atol=1e-5)
    assert norms(engine._run) == 0 < norms(network)
