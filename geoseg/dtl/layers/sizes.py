"""Amounts in pixels or percent, as graphs write them: ``"12px"``, ``"5%"``."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from geoseg.config import Settings

__all__ = ["LARGEST_SIDE", "Amount", "Range", "Sides", "SignedAmount", "to_pixels"]

#: Pixels of the longest side of an image that a graph may ask for.
LARGEST_SIDE = 1_000_000

# Digits are limited: a number of a thousand digits would become infinity.
_AMOUNT = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)(px|%)", re.ASCII)


def to_pixels(amount: str, size: int) -> int:
    """Whole pixels of an amount; percent of ``size`` are floored.

    Examples
    --------
    >>> to_pixels("12px", 50), to_pixels("5%", 50)
    (12, 2)
    """
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        raise ValueError(f"an amount must be like '12px' or '5%', got {amount!r}")
    value = float(match[1])
    # Floored as in the original; rounding would give other crops at 50 % of odd sizes.
    return math.floor(value) if match[2] == "px" else math.floor(value * size / 100)


def _signed(amount: str) -> str:
    to_pixels(amount, 0)
    return amount


def _unsigned(amount: str) -> str:
    if _signed(amount).startswith("-"):
        raise ValueError(f"an amount must not be negative, got {amount!r}")
    return amount


Amount = Annotated[str, AfterValidator(_unsigned)]
SignedAmount = Annotated[str, AfterValidator(_signed)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Sides(Settings):
    """An amount for each side; a side left out counts as none."""

    left: SignedAmount = "0px"
    top: SignedAmount = "0px"
    right: SignedAmount = "0px"
    bottom: SignedAmount = "0px"

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels."""
        return (
            to_pixels(self.left, width),
            to_pixels(self.top, height),
            to_pixels(self.right, width),
            to_pixels(self.bottom, height),
        )


class Range(Settings):
    """Smallest and largest percent."""

    min_percent: Percent
    max_percent: Percent
