"""UNetV2: a VGG16-BN encoder, a dilated bottleneck and a nearest-upsampling decoder."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from geoseg.errors import InputError

__all__ = ["UNetV2"]

#: Output channels of the VGG16 convolutions, block by block; a pool opens every block but the first.
_VGG16_BLOCKS: Final = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _conv_bn_relu(inputs: int, outputs: int, dilation: int = 1) -> list[nn.Module]:
    # With a bias though a batch norm follows: ImageNet's VGG16-BN has one, and its weights must fit.
    conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _vgg16_layers(in_channels: int) -> tuple[nn.Sequential, tuple[int, ...]]:
    """Layers of VGG16-BN up to the last ReLU, numbered as ImageNet weights name them, and block ends."""
    layers: list[nn.Module] = []
    ends: list[int] = []
    inputs = in_channels
    for number, block in enumerate(_VGG16_BLOCKS):
        # The last pool of VGG16 is left out: the bottleneck works at stride 16.
        if number:
            layers.append(nn.MaxPool2d(2))
        for outputs in block:
            layers += _conv_bn_relu(inputs, outputs)
            inputs = outputs
        ends.append(len(layers))
    return nn.Sequential(*layers), tuple(ends)


class _DecoderStep(nn.Module):
    """Double the size, take the skip in, mix with three convolutions."""

    def __init__(self, inputs: int, skip: int) -> None:
        super().__init__()
        # Nearest, then a 1 x 1 convolution, as the tutorials' network has it.
        self.up = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inputs, skip, 1))
        self.mix = nn.Sequential(
            *_conv_bn_relu(2 * skip, skip), *_conv_bn_relu(skip, skip), *_conv_bn_relu(skip, skip)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.mix(torch.cat([self.up(x), skip], dim=1))


class UNetV2(nn.Module):
    """The tutorials' U-Net.

    Five VGG16-BN blocks at strides 1, 2, 4, 8 and 16 (64, 128, 256, 512, 512 channels); two 3 x 3
    convolutions of dilation 2 whose output is stacked on their input (1024 channels); four decoder
    steps; a 1 x 1 convolution to the classes.

    Parameters
    ----------
    in_channels
        Bands of the input.
    classes
        Output channels.

    References
    ----------
    Ronneberger et al., U-Net, https://arxiv.org/abs/1505.04597;
    Simonyan and Zisserman, VGG, https://arxiv.org/abs/1409.1556.

    Examples
    --------
    >>> network = UNetV2(in_channels=4, classes=2).eval()
    >>> tuple(network(torch.zeros(1, 4, 32, 48)).shape)
    (1, 2, 32, 48)
    """

    #: Input sides must be multiples of this.
    input_multiple: Final = 16

    def __init__(self, in_channels: int = 3, classes: int = 2) -> None:
        super().__init__()
        self.features, self._ends = _vgg16_layers(in_channels)
        # Dilation 2 widens what a pixel sees without another loss of resolution.
        self.bottleneck = nn.Sequential(*_conv_bn_relu(512, 512, 2), *_conv_bn_relu(512, 512, 2))
        skips = (512, 256, 128, 64)
        self.decoder = nn.ModuleList(
            # 1024: the bottleneck's output stacked on its input.
            _DecoderStep(inputs, skip)
            for inputs, skip in zip((1024, *skips), skips, strict=False)
        )
        self.last_conv = nn.Conv2d(skips[-1], classes, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features of the five blocks, finest first."""
        features = []
        for index, layer in enumerate(self.features, start=1):
            x = layer(x)
            if index in self._ends:
                features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, h, w) normalized pixels to (N, K, h, w) logits."""
        if x.shape[-1] % self.input_multiple or x.shape[-2] % self.input_multiple:
            size = f"{x.shape[-2]} x {x.shape[-1]}"
            raise InputError(
                f"input must have sides that are multiples of {self.input_multiple}, got {size}."
            )
        *skips, x = self.encode(x)
        x = torch.cat([x, self.bottleneck(x)], dim=1)
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            x = step(x, skip)
        return self.last_conv(x)
