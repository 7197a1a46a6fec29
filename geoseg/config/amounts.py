"""Amounts in pixels or percent, as graphs and configs of inference write them: ``"12px"``, ``"5%"``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from geoseg.config.settings import Settings

__all__ = ["Amount", "Sides", "SignedAmount", "to_pixels"]

# Digits are limited: a number of a thousand digits would become infinity.
_AMOUNT = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)(px|%)", re.ASCII)


def to_pixels(amount: str, size: int) -> int:
    """Whole pixels of an amount, percent of ``size``; fractions are cut off toward zero.

    Examples
    --------
    >>> to_pixels("12px", 50), to_pixels("5%", 50), to_pixels("-5%", 50)
    (12, 2, -2)
    """
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        raise ValueError(f"an amount must be like '12px' or '5%', got {amount!r}")
    value = float(match[1])
    # Cut off as in the original; rounding would give other crops at 50 % of odd sizes.
    return int(value if match[2] == "px" else value * size / 100)


def _signed(amount: str) -> str:
    to_pixels(amount, 0)
    return amount


def _unsigned(amount: str) -> str:
    if _signed(amount).startswith("-"):
        raise ValueError(f"an amount must not be negative, got {amount!r}")
    return amount


Amount = Annotated[str, AfterValidator(_unsigned)]
SignedAmount = Annotated[str, AfterValidator(_signed)]


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
