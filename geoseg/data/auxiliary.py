"""Targets drawn from object numbers: outlines, contacts, distance to the border, gaps between objects."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from geoseg.config import Settings
from geoseg.typing import Array, BoolArray

__all__ = [
    "AuxiliarySettings",
    "auxiliary_targets",
    "boundary_target",
    "contact_target",
    "distance_target",
    "gap_line",
]

Kind = Literal["boundary", "contact", "distance"]


class AuxiliarySettings(Settings):
    """Extra outputs that a network learns beside the classes.

    Attributes
    ----------
    kinds
        One output channel each: ``boundary`` (the rim of objects, inside), ``contact`` (ground near two
        objects), ``distance`` (to the object's border, 0 outside).
    boundary_px, contact_px
        Width of the rim; reach of a contact. Pixels of the chip.
    distance_px
        Distance that counts as 1; farther in stays 1.
    weight
        Of the auxiliary loss against the main one.
    """

    kinds: tuple[Kind, ...] = Field(min_length=1)
    boundary_px: int = Field(default=2, ge=1, le=32)
    contact_px: int = Field(default=3, ge=1, le=32)
    distance_px: int = Field(default=16, ge=2, le=128)
    weight: float = Field(default=0.5, gt=0)

    @property
    def halo(self) -> int:
        """Pixels around a chip that its targets depend on."""
        reach = {"boundary": self.boundary_px, "contact": self.contact_px, "distance": self.distance_px}
        # One more pixel than the reach: a rim is known by the pixel beyond it.
        return max(reach[kind] for kind in self.kinds) + 1


def auxiliary_targets(ids: Array, known: BoolArray, settings: AuxiliarySettings) -> NDArray[np.float32]:
    """Targets (A, h, w) float32 in 0..1 of object numbers (h, w); NaN where nothing is known."""
    makers = {
        "boundary": lambda: boundary_target(ids, settings.boundary_px),
        "contact": lambda: contact_target(ids, settings.contact_px),
        "distance": lambda: distance_target(ids, settings.distance_px),
    }
    targets = np.stack([makers[kind]().astype(np.float32) for kind in settings.kinds])
    # NaN and not 255: these targets are numbers, and the loss leaves NaN out.
    targets[:, ~known] = np.nan
    return targets


def _inner(ids: Array) -> BoolArray:
    """Object pixels whose four neighbors belong to the same object (outside the array counts as same)."""
    same = ids > 0
    for axis in (0, 1):
        equal = np.diff(ids, axis=axis) == 0
        before = [slice(None), slice(None)]
        after = [slice(None), slice(None)]
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        same[tuple(before)] &= equal
        same[tuple(after)] &= equal
    return same


def boundary_target(ids: Array, width: int) -> BoolArray:
    """The outermost ``width`` pixels of each object.

    Examples
    --------
    >>> boundary_target(np.array([[0, 1, 1, 1, 2, 2, 2, 0]]), 1).astype(int)
    array([[0, 1, 0, 1, 1, 0, 1, 0]])
    """
    return (ids > 0) & (_depth(ids) <= width)


def distance_target(ids: Array, reach: int) -> NDArray[np.float32]:
    """Distance from outside the object, in units of ``reach`` pixels and at most 1; 0 on background."""
    return np.minimum(_depth(ids) / reach, 1).astype(np.float32)


def _depth(ids: Array) -> NDArray[np.float32]:
    """1 on the outermost pixels of an object, growing inwards; 0 on background."""
    inner = _inner(ids)
    if inner.all():
        # Without a border in sight a distance has no end; more than any reach will do.
        return np.full(ids.shape, float(sum(ids.shape)), np.float32)
    # From the inner pixels, so that the outermost count as 1: the distance from one object to the next is
    # found where the two touch, which a mask of all objects does not show.
    depth = ndimage.distance_transform_edt(inner).astype(np.float32)
    return np.where(ids > 0, depth + 1, 0).astype(np.float32)


def contact_target(ids: Array, reach: int) -> BoolArray:
    """Pixels with two different objects within ``reach`` pixels (in a square).

    Examples
    --------
    >>> contact_target(np.array([[1, 1, 1, 0, 2, 2, 2, 0, 0]]), 1).astype(int)
    array([[0, 0, 0, 1, 0, 0, 0, 0, 0]])
    """
    size = 2 * reach + 1
    # Two objects are near where the highest and the lowest number differ: two filters, however many objects.
    highest = ndimage.maximum_filter(ids, size, mode="nearest")
    # Background must not be the lowest number of a square.
    big = np.where(ids == 0, ids.max(initial=0) + 1, ids)
    lowest = ndimage.minimum_filter(big, size, mode="nearest")
    return (highest > 0) & (lowest < highest)


def gap_line(ids: Array) -> BoolArray:
    """Pixels to take away so that no two objects touch, at a side or a corner: a line one pixel wide.

    They are those of the object with the lower number.

    Parameters
    ----------
    ids
        (h, w) object numbers, 0 background.

    Examples
    --------
    >>> gap_line(np.array([[1, 1, 2, 2, 0, 3]])).astype(int)
    array([[0, 1, 0, 0, 0, 0]])
    """
    line = np.zeros(ids.shape, bool)
    height, width = ids.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        # Half of the eight directions: each pair of neighbors is met once.
        pixels = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        beside = np.s_[down:, max(0, right) : width + min(0, right)]
        first, second = ids[pixels], ids[beside]
        line[pixels] |= (first > 0) & (first < second)
        line[beside] |= (second > 0) & (second < first)
    return line
