"""Mixed precision on the CPU: grouped convolutions stay in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["spare_grouped"]


def spare_grouped(network: nn.Module) -> None:
    """Let grouped (depthwise) convolutions compute in float32 under CPU autocast.

    Their bfloat16 gradient is several times slower than that in float32 there, which makes mixed precision
    slower than none in networks that are built of them.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    >>> spare_grouped(network)
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     inner = network[0](torch.ones(1, 4, 8, 8))
    ...     inner.dtype, network[1](inner).dtype
    (torch.float32, torch.bfloat16)
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.register_forward_pre_hook(_leave)
            module.register_forward_hook(_return)


def _leave(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
    # Kept on the module for the hook behind it; autocast itself has no place for it.
    module._under_autocast = torch.is_autocast_enabled("cpu")  # type: ignore[assignment]
    if not module._under_autocast:
        return None
    torch.set_autocast_enabled("cpu", False)
    return (inputs[0].float(),)


def _return(module: nn.Module, inputs: Any, output: Any) -> None:
    if module._under_autocast:
        torch.set_autocast_enabled("cpu", True)
