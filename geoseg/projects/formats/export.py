"""What all exporters share: one image at a time into a folder, and a count of what could not be expressed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from geoseg.geo.windows import Window
from geoseg.projects.figures import Annotation, LabeledObject
from geoseg.projects.formats.names import UniqueNames
from geoseg.projects.images import ImageFile
from geoseg.projects.project import Item

__all__ = ["ExportItem", "Exporter", "FlatNames", "LeftOut", "objects_in"]


class LeftOut(Counter[str]):
    """Why objects were left out, and how many."""

    def notes(self) -> list[str]:
        """One line a reason.

        Examples
        --------
        >>> LeftOut({"points": 2}).notes()
        ['2 objects left out: points']
        """
        return [f"{count} objects left out: {reason}" for reason, count in sorted(self.items())]


def objects_in(annotation: Annotation, window: Window) -> list[LabeledObject]:
    """Objects whose bounds meet a window, in z-order; the others need not be drawn there.

    Examples
    --------
    >>> objects_in(Annotation(4, 4), Window(row_off=0, col_off=0, height=4, width=4))
    []
    """
    # A pixel more all round: vertices are rounded when they are drawn.
    left, top, right, bottom = annotation.bounds.T
    near = (right >= window.col_off - 1) & (left <= window.col_end)
    near &= (bottom >= window.row_off - 1) & (top <= window.row_end)
    return [annotation.objects[index] for index in np.flatnonzero(near)]


class FlatNames:
    """One safe folder name for each data set, nested ones too.

    Examples
    --------
    >>> names = FlatNames()
    >>> names("a/b"), names("a_b"), names("a/b")
    ('a_b', 'a_b_2', 'a_b')
    """

    def __init__(self) -> None:
        self._names = UniqueNames()
        self._known: dict[str, str] = {}

    def __call__(self, dataset: str) -> str:
        """The name, the same at every call."""
        if dataset not in self._known:
            self._known[dataset] = self._names(dataset)
        return self._known[dataset]


@dataclass(frozen=True)
class ExportItem:
    """One image of a project, opened."""

    item: Item
    image: ImageFile
    annotation: Annotation

    @property
    def dataset(self) -> Path:
        """Data set as a relative path; a nested one is a path of several parts."""
        return Path(*self.item.dataset.split("/"))


class Exporter(Protocol):
    """Writes one format; begun on an empty folder."""

    left_out: LeftOut

    def add(self, entry: ExportItem) -> None:
        """Write one image and its objects. May raise InputError: the image is listed as failed."""

    def finish(self) -> None:
        """Write what belongs to all images together."""
