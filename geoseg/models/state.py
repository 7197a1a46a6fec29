"""Weights as safetensors: out of a bundle into the network that its card names, and out of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from geoseg.errors import ModelError

if TYPE_CHECKING:  # a card is read without torch, which takes seconds to load
    from torch import Tensor, nn

    from geoseg.models.bundle import Bundle
    from geoseg.models.card import ModelCard

__all__ = ["AGAIN", "cut_outputs", "fill_network", "load_module", "read_state", "state_bytes"]

#: What to do about a broken bundle.
AGAIN = "Get the bundle again."


def load_module(bundle: Bundle, *, auxiliary: bool = False) -> nn.Module:
    """The network of a safetensors bundle, float32, in evaluation mode.

    Parameters
    ----------
    auxiliary
        With the auxiliary outputs of ``options.auxiliary`` after those of the classes. Without them the
        last layer is cut, so that they cost nothing.

    Raises
    ------
    ModelError
        Weights are missing, corrupt, or of another network than the card names.
    """
    from geoseg.models.architectures import build_network

    spec = bundle.card.options.architecture
    if spec is None:
        raise ModelError(f"{bundle.path}: card must name an architecture in its geoseg object, got none")
    state = read_state(bundle.weights(), bundle.label)
    extra, classes = len(bundle.card.options.auxiliary), len(bundle.card.classes)
    outputs = classes + extra if auxiliary else classes
    network = build_network(spec, in_channels=bundle.card.in_channels, classes=outputs)
    if not auxiliary:
        state = cut_outputs(state, network.state_dict(), extra)
    fill_network(network, state, bundle.label)
    return network


def cut_outputs(state: Mapping[str, Tensor], own: Mapping[str, Tensor], extra: int) -> dict[str, Tensor]:
    """Weights without ``extra`` auxiliary outputs, which come last in the last layer.

    Examples
    --------
    >>> import torch
    >>> cut_outputs({"last": torch.arange(4.0)}, {"last": torch.zeros(2)}, 2)
    {'last': tensor([0., 1.])}
    """

    def longer(key: str, value: Tensor) -> bool:
        return bool(extra and key in own and value.ndim and len(value) == len(own[key]) + extra)

    return {key: value[:-extra] if longer(key, value) else value for key, value in state.items()}


def read_state(content: bytes, label: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises
    ------
    ModelError
        The file is broken.
    """
    from safetensors.torch import load

    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{label} is corrupt: {error}. {AGAIN}") from None


def fill_network(network: nn.Module, state: Mapping[str, Tensor], label: str) -> None:
    """Put weights into a network, widened to its own types.

    Raises
    ------
    ModelError
        Names or shapes differ.
    """
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    # Older PyTorch kept no such counters, and in evaluation they count nothing.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    wrong = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or wrong:
        differences = "; ".join(
            f"{len(names)} {what}, such as {min(names)}"
            for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
            if names
        )
        raise ModelError(f"{label} does not fit the network its card names: {differences}")
    network.load_state_dict({**own, **state})


def state_bytes(network: nn.Module, card: ModelCard, dtype: str) -> bytes:
    """Weights of a network as a safetensors file, floating-point ones as ``dtype``.

    Raises
    ------
    ModelError
        The card names no architecture, or float16 can't hold the weights.
    """
    if card.options.architecture is None:
        raise ModelError("the card must name an architecture when weights are kept as safetensors, got none")
    import torch
    from safetensors.torch import save

    target = torch.float16 if dtype == "float16" else torch.float32
    state: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        value = value.detach().cpu()
        # A clone each: safetensors refuses tensors that share memory, as tied weights do.
        state[name] = (value.to(target) if value.is_floating_point() else value).contiguous().clone()
        if value.is_floating_point() and bool((torch.isfinite(value) & ~torch.isfinite(state[name])).any()):
            raise ModelError(f"{name} holds weights too large for float16. Write float32.")
    return save(state)
