"""Chips for training, cut from scenes as they are asked for; no tile is ever written to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg.late import offer_late

if TYPE_CHECKING:
    from geoseg.data.stream import SampleStream

__all__ = ["SampleStream"]

__getattr__, __dir__ = offer_late(__name__, {"SampleStream": "geoseg.data.stream"})
