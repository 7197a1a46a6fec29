"""Batch norms folded into the convolutions before them: the same network with fewer passes over memory."""

from __future__ import annotations

import copy
import logging
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold_batch_norms"]

_LOG = logging.getLogger(__name__)

#: Largest difference that rounding may make, as a share of the largest output.
_TOLERANCE = 1e-3


def fold_batch_norms(network: nn.Module, sample: Tensor) -> nn.Module:
    """The network with each batch norm that follows a convolution folded into it.

    Which ones do is seen by running ``sample``, and the result is run beside the original: where they
    differ by more than rounding (a convolution's output that is used elsewhere too), or where the network
    can't be copied or does not take the sample, the original comes back.

    Parameters
    ----------
    network
        In evaluation mode; it is not changed. What is not folded shares its weights.
    sample
        (1, C, h, w) float32, on the network's device.

    References
    ----------
    Conv-bn fusion: Jacob et al., section 3.2, https://arxiv.org/abs/1712.05877.
    """
    try:
        # What follows what is seen in a run, for the order of modules in a network need not be that of its
        # calls.
        output, pairs = _find_pairs(network, sample)
        if not pairs:
            return network
        state = [*network.parameters(), *network.buffers()]
        # The memo makes the copy share its tensors: a second set of weights would double the memory.
        folded = copy.deepcopy(network, {id(tensor): tensor for tensor in state})
        for convolution, norm in pairs:
            before, after = folded.get_submodule(convolution), folded.get_submodule(norm)
            folded.set_submodule(convolution, fuse_conv_bn_eval(before, after))  # type: ignore[type-var,arg-type]
            folded.set_submodule(norm, _what_follows(after))
        with torch.inference_mode():
            got = _outputs(folded(sample))
    except Exception as error:  # noqa: BLE001  any network may come: what can't be folded runs as it is
        _LOG.debug("batch norms are not folded: %s", error)
        return network
    wanted = _outputs(output)
    same = len(got) == len(wanted) and all(map(_close, got, wanted))
    return folded if same else network


def _outputs(output: object) -> list[Tensor]:
    """All tensors of what a network returns."""
    if isinstance(output, Tensor):
        return [output]
    items = (
        output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    )
    return [tensor for item in items for tensor in _outputs(item)]


def _close(got: Tensor, wanted: Tensor) -> bool:
    if got.shape != wanted.shape:
        return False
    largest = float(wanted.abs().amax()) if wanted.numel() else 0.0
    # The 1e-7 is for outputs that are zero all over.
    return bool(((got - wanted).abs() <= _TOLERANCE * largest + 1e-7).all())


def _find_pairs(network: nn.Module, sample: Tensor) -> tuple[object, list[tuple[str, str]]]:
    """The network's output, and names of a convolution and of the batch norm after it, each called once."""
    calls: Counter[str] = Counter()
    made: dict[int, tuple[str, Tensor]] = {}
    taken: list[tuple[str, str]] = []
    hooks = []

    def after_convolution(name: str, output: Tensor) -> None:
        calls[name] += 1
        made[id(output)] = (name, output)  # the tensor is kept, so that its id stays its own

    def after_norm(name: str, given: Tensor) -> None:
        calls[name] += 1
        if id(given) in made:
            taken.append((made[id(given)][0], name))

    for name, module in network.named_modules():
        if _plain(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, __, out, n=name: after_convolution(n, out)))
        elif _plain(module, nn.BatchNorm2d) and module.running_mean is not None:
            hooks.append(module.register_forward_hook(lambda _, given, __, n=name: after_norm(n, given[0])))
    try:
        with torch.inference_mode():
            output = network(sample)
    finally:
        for hook in hooks:
            hook.remove()
    # A layer that is used twice has two neighbors; folding would change the other use.
    return output, [pair for pair in taken if all(calls[name] == 1 for name in pair)]


def _plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Of a kind, without hooks or parametrizations that replacing it would drop."""
    return (
        isinstance(module, kind)
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not hasattr(module, "parametrizations")
    )


def _what_follows(norm: nn.Module) -> nn.Module:
    """What is left of a batch norm: nothing, or the activation that timm's kind carries with it."""
    rest = [
        getattr(norm, name) for name in ("drop", "act") if isinstance(getattr(norm, name, None), nn.Module)
    ]
    return nn.Sequential(*rest) if rest else nn.Identity()
