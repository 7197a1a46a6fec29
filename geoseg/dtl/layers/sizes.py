"""Sizes that graphs may ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from geoseg.config import Settings

__all__ = ["LARGEST_SIDE", "Range"]

#: Pixels of the longest side of an image that a graph may ask for.
LARGEST_SIDE = 1_000_000

Percent = Annotated[float, Field(ge=0, le=100)]


class Range(Settings):
    """Smallest and largest percent."""

    min_percent: Percent
    max_percent: Percent
