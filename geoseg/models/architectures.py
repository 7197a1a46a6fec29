"""Networks by name: what a card's ``architecture`` may say."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.options import ArchitectureSpec

__all__ = ["SMP_DECODERS", "architecture_names", "build_network", "input_multiple"]

#: Name in a card -> class of segmentation-models-pytorch.
SMP_DECODERS: dict[str, str] = {
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
    "manet": "MAnet",
    "linknet": "Linknet",
    "fpn": "FPN",
    "pspnet": "PSPNet",
    "deeplabv3": "DeepLabV3",
    "deeplabv3plus": "DeepLabV3Plus",
    "pan": "PAN",
    "upernet": "UPerNet",
    "segformer": "Segformer",
}

#: Networks of geoseg itself: name -> "module:class"; the class takes (in_channels, classes, **kwargs).
OWN: dict[str, str] = {"unet_v2": "geoseg.models.unet_v2:UNetV2"}


def architecture_names() -> tuple[str, ...]:
    """Every name that a card may give.

    Examples
    --------
    >>> "unet" in architecture_names()
    True
    """
    return (*OWN, *SMP_DECODERS)


def build_network(spec: ArchitectureSpec, *, in_channels: int, classes: int) -> nn.Module:
    """A network with random weights, in evaluation mode. Needs no network connection.

    The global random state is left as it was.

    Raises
    ------
    ModelError
        The name, the encoder or an argument is not known.
    """
    build: Any
    arguments: dict[str, Any] = {"in_channels": in_channels, "classes": classes}
    if spec.name in OWN:
        if spec.encoder is not None:
            raise ModelError(f"architecture.encoder must be left out for {spec.name}, got {spec.encoder}")
        module, _, name = OWN[spec.name].partition(":")
        build = getattr(importlib.import_module(module), name)
    elif spec.name in SMP_DECODERS:
        import segmentation_models_pytorch as smp

        if spec.encoder is None:
            raise ModelError(
                f"architecture.encoder must be given for {spec.name}, got none. Name one, such as resnet18."
            )
        build = getattr(smp, SMP_DECODERS[spec.name])
        # Without weights of its own: building a network never asks a hub.
        arguments |= {"encoder_name": spec.encoder, "encoder_weights": None}
    else:
        raise ModelError(
            f"architecture.name must be one of {', '.join(architecture_names())}, got {spec.name}"
        )
    # Constructors draw random weights, which real ones replace: a caller's seed must not move by that.
    with torch.random.fork_rng(devices=[]):
        try:
            network: nn.Module = build(**arguments, **spec.kwargs)
            return network.eval()
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"architecture {describe(spec)} can't be built: {error}") from error


def input_multiple(spec: ArchitectureSpec, network: nn.Module) -> int:
    """What the sides of the network's input must be multiples of."""
    if spec.name in OWN:
        return int(getattr(network, "input_multiple", 1))
    stride = getattr(getattr(network, "encoder", None), "output_stride", None)
    # Encoders that do not say halve their input five times, nearly all of them.
    return int(stride) if stride else 32


def describe(spec: ArchitectureSpec) -> str:
    """One line for messages: ``unet(resnet18)``."""
    return f"{spec.name}({spec.encoder})" if spec.encoder else spec.name
