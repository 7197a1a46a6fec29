"""Classes and tags as the page shows them, each with its color and its key."""

from __future__ import annotations

from typing import Any

from geoseg.projects.figures import color_of, format_color
from geoseg.review.store import Review
from geoseg.review.targets import ProjectTarget

__all__ = ["class_legend", "tag_legend"]

_DIGITS = "123456789"


def class_legend(review: Review) -> list[dict[str, str]]:
    """Name, color, shape and key of each class; the first eighteen have a key."""
    colors = {}
    if isinstance(review.target, ProjectTarget):
        colors = {one.name: one.color for one in review.target.meta.classes}
    # Digits that lie under one hand while the other has the mouse.
    keys = [*_DIGITS, *(f"Shift+{digit}" for digit in _DIGITS)]
    return [
        {
            "name": name,
            # The color of a project's class, else one that follows from the name: the same in every picture.
            "color": format_color(colors.get(name) or color_of(name)),
            "shape": shape,
            "key": keys[number] if number < len(keys) else "",
        }
        for number, (name, shape) in enumerate(review.class_shapes().items())
    ]


def tag_legend(review: Review) -> list[dict[str, Any]]:
    """Name, kind of value, values, what it applies to and key of each tag; the first nine have a key."""
    if not isinstance(review.target, ProjectTarget):
        return []
    return [
        {
            "name": tag.name,
            "type": tag.value_type,
            "values": list(tag.values),
            "applies": tag.applies_to,
            "key": f"Alt+{number}" if number <= len(_DIGITS) else "",
        }
        for number, tag in enumerate(review.target.meta.tags, 1)
    ]
