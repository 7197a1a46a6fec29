"""Packed weights change no bit, for any shape."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from geoseg.models import packed
from geoseg.models.engines import TorchEngine
from geoseg.models.packed import PackedConvolution, pack_convolutions


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of any size are worth packing."""
    monkeypatch.setattr(packed, "_WORTH", 1)


def packable(network: nn.Module) -> int:
    return sum(isinstance(module, PackedConvolution) for module in network.modules())


@pytest.mark.parametrize("encoder", ["resnet18", "tu-tf_efficientnet_lite0"])
def test_the_same_bits_for_any_shape(encoder: str) -> None:
    torch.manual_seed(0)
    network = smp.Unet(encoder, encoder_weights=None, classes=2).eval().to(memory_format=torch.channels_last)
    before = copy.deepcopy(network.state_dict())
    x = torch.rand(3, 3, 96, 64).contiguous(memory_format=torch.channels_last)
    fast = pack_convolutions(network)
    assert packable(network) == 0 < packable(fast)
    with torch.inference_mode():
        for part in (x, x, x[:1], x[:, :, :64], x):
            assert torch.equal(fast(part), network(part))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"padding": 2, "dilation": 2}, {"groups": 4}, {"bias": False}, {"padding": (1, 0)}],
)
def test_every_kind_of_convolution(options: dict[str, object]) -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3, **options)).eval()  # type: ignore[arg-type]
    fast = pack_convolutions(network)
    assert packable(fast) == 1
    with torch.inference_mode():
        for size in ((2, 4, 20, 33), (2, 4, 20, 33), (1, 4, 9, 9)):
            x = torch.rand(size)
            assert torch.equal(fast(x), network(x))
    assert torch.equal(fast[0].weight, network[0].weight)


def test_other_bits_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PackedConvolution._convolved
    monkeypatch.setattr(PackedConvolution, "_convolved", lambda *given: plain(*given) + 1e-6)
    network = nn.Sequential(nn.Conv2d(4, 8, 3)).eval()
    fast = pack_convolutions(network)
    x = torch.rand(2, 4, 20, 33)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(fast(x), network(x))
    assert fast[0]._choice == (x.shape, None)


def test_a_blank_first_batch_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PackedConvolution._convolved
    # Other bits wherever there is anything to add up.
    monkeypatch.setattr(PackedConvolution, "_convolved", lambda *given: plain(*given) * (1 + 1e-6))
    network = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False)).eval()
    fast = pack_convolutions(network)
    with torch.inference_mode():
        fast(torch.zeros(2, 4, 20, 33))
        x = torch.rand(2, 4, 20, 33)
        assert torch.equal(fast(x), network(x))


def test_many_threads_at_once() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3)).eval()
    inputs = [torch.rand(2, 4, 20, 33), torch.rand(1, 4, 20, 33)] * 8
    with torch.inference_mode():
        wanted = [network(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            fast = pack_convolutions(network)
            for got, right in zip(pool.map(torch.inference_mode()(fast), inputs), wanted, strict=True):
                assert torch.equal(got, right)


class Own(nn.Conv2d):
    """A convolution with something of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


def test_what_is_more_than_a_convolution_stays() -> None:
    network = nn.Sequential(
        Own(3, 3, 1),
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 3, 1).double(),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)),
    )
    assert packable(pack_convolutions(network)) == 0


def test_hooks_are_not_lost() -> None:
    seen = []
    network = nn.Sequential(nn.Conv2d(3, 3, 1)).eval()
    network[0].register_forward_hook(lambda *_: seen.append(1))
    fast = pack_convolutions(network)
    with torch.inference_mode():
        fast(torch.rand(2, 3, 8, 8))
        fast(torch.rand(2, 3, 8, 8))
    assert len(seen) == 2


def test_the_engine_packs_and_still_pickles() -> None:
    engine = TorchEngine(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), torch.device("cpu"))
    x = torch.rand(2, 3, 40, 24)
    wanted = engine(x)
    assert isinstance(engine._run, nn.Module)
    assert packable(engine._run) == 1
    assert torch.equal(pickle.loads(pickle.dumps(engine))(x), wanted)


def test_without_the_operators_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert pack_convolutions(network) is network
