"""Which way edges run in a map of probabilities, in numbers that a loss can compare."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.raster.classes import IGNORE

__all__ = ["REACH", "edge_directions", "wholly_known"]

_BLOCK: Final = 4
#: Side in pixels of the square that the direction of a block depends on: 7 of a slope, on 4 x 4 pixels.
REACH: Final = _BLOCK + 6
# The square of a slope of 0.03 a pixel; a hard border has 0.06. On flatter ground directions are noise, and
# without this their gradient would grow as the slope shrinks.
_FLAT: Final = 1e-3


def edge_directions(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Direction (N,2,C,i,j) of the edges in maps (N,C,h,w) float32, and their strength (N,C,i,j).

    One for each block of 4 x 4 pixels, from 3 pixels within the map's rim on, so i = (h - 6) // 4. Slopes are
    Sobel's after a binomial filter of 5 pixels (on a hard mask Sobel alone sees steps of a staircase, not the
    wall), J is the block's mean of their products, the structure tensor. The direction (Jxx - Jyy, 2 Jxy) /
    (Jxx + Jyy) has twice the angle of the edge, so that both sides of a wall agree; its length is 1 along a
    straight edge, less at a corner, 0 where there is no edge. The strength is Jxx + Jyy.

    References
    ----------
    Bigun and Granlund, Optimal Orientation Detection of Linear Symmetry, ICCV 1987.

    Examples
    --------
    >>> wall = (torch.arange(18) < 9).float().expand(1, 1, 18, 18)
    >>> direction, strength = edge_directions(wall)
    >>> direction[0, :, 0, 1, 1].round(decimals=1).tolist(), round(float(strength[0, 0, 1, 1]), 2)
    ([1.0, 0.0], 0.06)
    """
    # Sums and differences of neighbors: with so few channels convolutions take torch some 20 times as long on
    # a CPU. The filter is four means of 2 x 2 pixels, Sobel's a fifth, then differences along the diagonals.
    for _ in range(5):
        maps = maps[..., 1:] + maps[..., :-1]
        maps = (maps[..., 1:, :] + maps[..., :-1, :]) / 4
    down, up = maps[..., 1:, 1:] - maps[..., :-1, :-1], maps[..., :-1, 1:] - maps[..., 1:, :-1]
    # The slopes are (down + up) / 2 along x and (down - up) / 2 along y.
    down2, up2, both = (F.avg_pool2d(product, _BLOCK) for product in (down * down, up * up, down * up))
    strength = (down2 + up2) / 2
    direction = torch.stack((both, (down2 - up2) / 2), 1) / (strength + _FLAT).unsqueeze(1)
    return direction, strength


def wholly_known(target: Tensor) -> Tensor:
    """Blocks (N,i,j) of :func:`edge_directions` that depend on labeled pixels alone.

    Examples
    --------
    >>> wholly_known(torch.tensor([[0] * 13 + [255]] * 10).unsqueeze(0))
    tensor([[[ True, False]]])
    """
    return F.max_pool2d((target == IGNORE).float(), REACH, _BLOCK) == 0
