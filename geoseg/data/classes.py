"""From what a label says to a class index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.data.settings import ClassSettings
from geoseg.errors import ConfigError, InputError
from geoseg.io.vectors.values import class_name
from geoseg.raster.classes import IGNORE

__all__ = ["ClassTable", "class_table", "project_table"]


@dataclass(frozen=True)
class ClassTable:
    """Classes of a network and what stands for them in labels.

    Attributes
    ----------
    names
        Title of each class index; 0 is the background.
    values
        Class index, or 255 for neutral, of each label by its :func:`~geoseg.io.vectors.class_name`; None
        stands for labels without one.
    every
        Class index of all labels, where one class takes them all.
    other
        What a value of no class means: ``error``, ``background`` or ``ignore``.
    colors
        Class index, or 255 for neutral, of each color of a mask: red * 65536 + green * 256 + blue.
    shown
        Color that each class is shown in, six hexadecimal digits; empty where none are known.
    """

    names: tuple[str, ...]
    values: Mapping[str | None, int] = field(default_factory=dict)
    every: int | None = None
    other: str = "error"
    colors: Mapping[int, int] = field(default_factory=dict)
    shown: tuple[str | None, ...] = ()

    def indices(self, values: Iterable[Any], source: str = "labels") -> NDArray[np.uint8]:
        """Class index of each label value.

        Raises
        ------
        InputError
            Values of no class, where that is an error; they are named.

        Examples
        --------
        >>> ClassTable(("bg", "road"), {"road": 1, "track": 1}).indices(["track", "road"]).tolist()
        [1, 1]
        """
        names = [class_name(value) for value in values]
        if self.every is not None:
            return np.array([self.values.get(name, self.every) for name in names], np.uint8)
        unknown = sorted({name or "labels without a class" for name in names if name not in self.values})
        if unknown and self.other == "error":
            raise InputError(
                f"values of {source} must belong to the classes {', '.join(self.names[1:])}, "
                f"got {', '.join(unknown[:8])}{' ...' if len(unknown) > 8 else ''}. "
                "List them under classes[].values, or set data.other to background or ignore."
            )
        rest = IGNORE if self.other == "ignore" else 0
        return np.array([self.values.get(name, rest) for name in names], np.uint8)


def class_table(
    classes: Sequence[ClassSettings], background: str, neutral: str, other: str, *, by_value: bool
) -> ClassTable:
    """Table of the classes of a config.

    Parameters
    ----------
    classes
        In order of priority: where labels overlap, the later class wins. Background and neutral may be
        among them, to say which values stand for them.
    by_value
        Labels carry a value (a column, a mask). Otherwise the only class takes every label.

    Raises
    ------
    ConfigError
        No class, one named twice, a value in two classes, or several classes without values to tell them.
    """
    titles = [item.name for item in classes]
    real = [title for title in titles if title not in (background, neutral)]
    if not real:
        raise ConfigError("$.classes: must name at least one class besides the background.")
    if len(set(titles)) < len(titles):
        raise ConfigError(f"$.classes: names must differ, got {', '.join(titles)}.")
    # A target is one byte a pixel, and 255 means unknown.
    if len(real) > IGNORE - 1:
        raise ConfigError(f"$.classes: must be at most {IGNORE - 1}, got {len(real)}.")
    names = (background, *real)
    codes = {**{name: index for index, name in enumerate(names)}, neutral: IGNORE}
    values: dict[str | None, int] = {}
    for item in classes:
        for value in [item.name] if item.values is None else item.values:
            # Compared by the name that a reader of vector files gives it: 1 and 1.0 are one value.
            if values.setdefault(class_name(value), codes[item.name]) != codes[item.name]:
                raise ConfigError(f"$.classes: {value} must stand for one class, got two.")
    colors: dict[int, int] = {}
    for item in classes:
        if item.color is None:
            continue
        color = int(item.color[1:], 16)
        if colors.setdefault(color, codes[item.name]) != codes[item.name]:
            raise ConfigError(f"$.classes: {item.color} must stand for one class, got two.")
    # A single class without values is what all labels are, whatever their column says.
    alone = len(real) == 1 and next(item for item in classes if item.name == real[0]).values is None
    if not by_value and not alone:
        raise ConfigError(
            "$.data.class_column: must name the column that tells the classes apart. "
            "Without it there is one class, without values."
        )
    return ClassTable(names, values, 1 if alone else None, other, colors)


def project_table(titles: Iterable[str], background: str, neutral: str) -> ClassTable:
    """Table of a project's classes by the tutorials' rule: background 0, the others sorted by title.

    Examples
    --------
    >>> project_table(["road", "bg", "car", "neutral"], "bg", "neutral").names
    ('bg', 'car', 'road')
    """
    # Sorted, so that the same project always gives the same outputs in the same order.
    real = sorted(set(titles) - {background, neutral})
    if not real:
        raise InputError(
            f"a project must have classes besides {background} and {neutral}, got {', '.join(titles)}."
        )
    names = (background, *real)
    return ClassTable(
        names,
        {
            **{class_name(name): index for index, name in enumerate(names)},
            class_name(neutral): IGNORE,
        },
    )
