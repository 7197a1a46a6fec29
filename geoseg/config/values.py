"""Forms that the value of a setting may have: what a user writes in short, written out and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Number
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

__all__ = [
    "Length",
    "Limit",
    "Share",
    "Side",
    "Threshold",
    "Words",
    "as_limits",
    "as_pair",
    "as_tuple",
    "check_order",
]


def as_pair(value: Any) -> Any:
    """One number stands for both axes; numpy's integers are integers too."""
    values = (value, value) if isinstance(value, Integral) else value
    # What is neither is given back as it is: pydantic refuses it, in the words of the setting's rule.
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        return value
    return tuple(int(side) if isinstance(side, Integral) else side for side in values)


def as_tuple(value: Any) -> Any:
    """One value stands for a list of one; a text is split at its commas."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return (value,) if isinstance(value, Number) else value


def as_limits(value: Any) -> Any:
    """Two limits as numbers or percentiles: a text is split at its comma, "p2" is "P2"."""
    if value == "off":
        return value
    ends = as_tuple(value)
    # A single number, or nothing at all, is no pair of limits; pydantic says so.
    if not isinstance(ends, Iterable):
        return value
    return tuple(end.strip().upper() if isinstance(end, str) else end for end in ends)


def check_order(ends: Any) -> Any:
    """Refuse two limits of which one is a value and one a percentile, or that do not rise."""
    if isinstance(ends, tuple):
        low, high = (float(end[1:]) if isinstance(end, str) else end for end in ends)
        if type(ends[0]) is not type(ends[1]) or low >= high:
            raise ValueError("must be of one kind and rise")
    return ends


Side: TypeAlias = Annotated[int, Field(gt=0)]
Length: TypeAlias = Annotated[int, Field(ge=0)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
#: One for all classes, one a class in the model's order, or by the name of the class.
Threshold: TypeAlias = Share | tuple[Share, ...] | dict[str, Share]

#: A value, or "P" and a percentile of the whole scene.
Limit: TypeAlias = (
    Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(pattern=r"^P(100|\d?\d)(\.\d+)?$")]
)
