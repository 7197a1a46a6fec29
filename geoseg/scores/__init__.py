"""Kernels of evaluation on arrays: objects, pixels, boundaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg.late import offer_late

if TYPE_CHECKING:
    from geoseg.scores.objects import evaluate_objects, match_objects
    from geoseg.scores.pixels import evaluate_coverage, evaluate_pixels

__all__ = ["evaluate_coverage", "evaluate_objects", "evaluate_pixels", "match_objects"]

__getattr__, __dir__ = offer_late(
    __name__,
    {
        "evaluate_coverage": "geoseg.scores.pixels",
        "evaluate_objects": "geoseg.scores.objects",
        "evaluate_pixels": "geoseg.scores.pixels",
        "match_objects": "geoseg.scores.objects",
    },
)
