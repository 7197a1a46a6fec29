"""Weights of pixels in a loss, by where they lie among the objects of a target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.raster.classes import IGNORE

__all__ = ["boundary_weights", "gap_weights"]


def boundary_weights(target: Tensor, extra: float, radius: int = 2) -> Tensor:
    """Weights (N,h,w) of 1, and 1 + extra within ``radius`` pixels of a border between two classes.

    Borders with pixels of 255 do not count.

    Examples
    --------
    >>> boundary_weights(torch.tensor([[[0, 0, 0, 1, 1, 1]]]), 2.0, radius=1)
    tensor([[[1., 1., 3., 3., 1., 1.]]])
    """
    valid = target != IGNORE
    values = target.float().unsqueeze(1)
    size, pad = 2 * radius + 1, radius
    # Where the largest and the smallest class around a pixel differ there is a border; unknown pixels can be
    # neither.
    high = F.max_pool2d(torch.where(valid.unsqueeze(1), values, -1.0), size, 1, pad)
    low = -F.max_pool2d(torch.where(valid.unsqueeze(1), -values, -256.0), size, 1, pad)
    near = (high > low).squeeze(1)
    return 1.0 + extra * (near & valid).float()


def gap_weights(target: Tensor, extra: float, radius: int = 3) -> Tensor:
    """Weights (N,h,w) of 1, and 1 + extra on background that lies between objects, at most 2 radius wide.

    Such ground is what a closing of the objects with a square fills.

    Examples
    --------
    >>> gap_weights(torch.tensor([[[0, 0, 1, 0, 1, 1, 0, 0, 0]]]), 2.0, radius=1)
    tensor([[[1., 1., 1., 3., 1., 1., 1., 1., 1.]]])
    """
    size, objects = 2 * radius + 1, ((target != 0) & (target != IGNORE)).float().unsqueeze(1)

    def widen(x: Tensor) -> Tensor:
        # One axis at a time: a square is as good as its sides, and a tenth of the work.
        return F.max_pool2d(F.max_pool2d(x, (size, 1), 1, (radius, 0)), (1, size), 1, (0, radius))

    closed = -widen(-widen(objects))
    return 1.0 + extra * ((closed.squeeze(1) > 0) & (target == 0)).float()
