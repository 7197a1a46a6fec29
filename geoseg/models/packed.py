"""Convolutions that keep their weights in the order in which oneDNN reads them.

PyTorch keeps weights in an order of its own and brings them into oneDNN's at every call. For a U-Net of 14
million weights and two windows of 512 x 512 pixels on two cores that is 1 to 2 % of the time.
"""

from __future__ import annotations

import copy
import threading
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["PackedConvolution", "pack_convolutions"]

#: Fewer weights are not worth it: bringing them into order takes no time beside the convolution itself.
_WORTH = 1 << 18
#: Threads may share a network. Not a lock of each convolution: those are pickled.
_deciding = threading.Lock()


class PackedConvolution(nn.Conv2d):
    """A convolution that packs its weights at its first call, for inputs of that shape.

    It does so only where the packed weights give the same bits: oneDNN may choose other code for them than
    for weights in PyTorch's order. Inputs of another shape, as those of the last batch, are convolved as
    ever.
    """

    #: Shape of the inputs, and the weights packed for them; None for those where they give other bits.
    _choice: tuple[torch.Size, Tensor | None] | None = None
    _strides: tuple[int, ...] = ()

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> PackedConvolution:
        """The same convolution, which shares its weights until they are packed."""
        own = copy.copy(convolution)
        own._parameters = dict(convolution._parameters)
        own.__class__ = cls
        assert isinstance(own, PackedConvolution)
        return own

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """(K, C, h, w) float32, in PyTorch's order."""
        plain = self._parameters["weight"]
        if plain is not None:
            return plain
        assert self._choice is not None
        assert self._choice[1] is not None
        dense = self._choice[1].to_dense()
        # The order decides which code convolves.
        return torch.empty_strided(dense.shape, self._strides).copy_(dense)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, h, w) float32 to (N, K, h, w)."""
        if self._choice is None:
            with _deciding:
                if self._choice is None:
                    self._choose(input)
        shape, packed = cast("tuple[torch.Size, Tensor | None]", self._choice)
        if packed is None or input.shape != shape:
            return super().forward(input)
        return self._convolved(input, packed)

    def _choose(self, input: Tensor) -> None:
        weight = self.weight.detach()
        packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight, self.padding, self.stride, self.dilation, self.groups, list(input.shape)
        )
        # Noise and not the input: a blank first batch is equal either way, and what comes after it is not.
        noise = torch.rand(input.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        probe = torch.empty_like(input, dtype=torch.float32).copy_(noise)
        same = torch.equal(self._convolved(probe, packed), super().forward(probe))
        self._strides = weight.stride()
        self._choice = input.shape, packed if same else None
        if same:
            # Both would take twice the memory.
            self._parameters["weight"] = None

    def _convolved(self, input: Tensor, packed: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            input, packed, self.bias, self.padding, self.stride, self.dilation, self.groups, "none", [], ""
        )
        return result


def pack_convolutions(network: nn.Module) -> nn.Module:
    """The network with packed convolutions; the network itself where oneDNN does not carry them out.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU; it is not changed. What is not packed shares its weights.
    """
    # The operators are those that compiled networks use; PyTorch does not promise that they stay.
    operators = ("_reorder_convolution_weight", "_convolution_pointwise")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, n) for n in operators):
        return network
    try:
        state = [*network.parameters(), *network.buffers()]
        own = copy.deepcopy(network, {id(tensor): tensor for tensor in state})
    except Exception:  # noqa: BLE001  any network may come: what can't be copied runs as it is
        return network
    for name, module in list(own.named_modules()):
        # Of the kind itself: what a subclass does beside would be lost.
        if (
            name
            and type(module) is nn.Conv2d
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
            and module.weight.dtype == torch.float32
            and module.weight.numel() >= _WORTH
        ):
            own.set_submodule(name, PackedConvolution.of(module))
    return own
