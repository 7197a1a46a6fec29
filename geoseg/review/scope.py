"""What an edit may look at, what it does, and how changed polygons reach their neighbors and the ground."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.projects.figures import Point, Tag
from geoseg.review.objects import (
    ReviewObject,
    Shape,
    polygon_of,
    rings_of,
    round_corners,
    shape_bounds,
    unsealed,
)
from geoseg.review.polygons import Key, check_polygon
from geoseg.review.walls import stitch
from geoseg.typing import Array

__all__ = [
    "Change",
    "Scope",
    "finish",
    "joined",
    "kept_values",
    "new_object",
    "polygons_of",
    "reshaped",
    "with_figures",
]


@dataclass(frozen=True)
class Scope:
    """What an edit may look at.

    Attributes
    ----------
    image, shape
        Number of the image, and its (height, width).
    objects
        By id, all that the edit names and all near it.
    next_id, next_order
        For objects that it makes.
    shapes
        Shape of each class, or "any".
    whole_pixels
        Whether corners that a person sets lie on pixel centers, as those of projects do.
    to_ground
        From pixel corners (n, 2) to the coordinates of the footprints' file; None where there is none.
    tags
        Tags of the image.
    """

    image: int
    shape: tuple[int, int]
    objects: Mapping[int, ReviewObject]
    next_id: int
    next_order: float
    shapes: Mapping[str, str]
    whole_pixels: bool = False
    to_ground: Callable[[Array], Array] | None = None
    tags: tuple[Tag, ...] = ()

    def place(self, corners: Iterable[tuple[float, float]]) -> Array:
        """Corners that a person set, (n, 2), where they may lie."""
        xy = np.asarray(list(corners), np.float64).reshape(-1, 2)
        # Annotations of projects are in whole pixels. Footprints take any place on the lattice.
        return np.floor(xy) + 0.5 if self.whole_pixels else round_corners(xy)

    def some(self, ids: Iterable[int]) -> list[ReviewObject]:
        """Objects by their ids.

        Raises
        ------
        InputError
            One that is not there.
        """
        ids = list(dict.fromkeys(ids))
        missing = [number for number in ids if number not in self.objects]
        if missing:
            raise InputError(f"an edit must name objects of this image, got {missing[0]}. Load them again.")
        return [self.objects[number] for number in ids]

    def class_shape(self, name: str) -> str:
        """Shape that objects of a class must have.

        Raises
        ------
        InputError
            No such class.
        """
        if name not in self.shapes:
            known = ", ".join(self.shapes)
            raise InputError(f"class must be one of {known}, got {name!r}. Name it with --classes.")
        return self.shapes[name]


@dataclass
class Change:
    """What an edit does.

    Attributes
    ----------
    gone, new
        Objects before and after; one that was changed is in both.
    marks
        (place, status before, status after).
    tags
        Tags of the image before and after, where they change.
    """

    gone: list[ReviewObject] = field(default_factory=list)
    new: list[ReviewObject] = field(default_factory=list)
    marks: list[tuple[int, str, str]] = field(default_factory=list)
    tags: tuple[tuple[Tag, ...], tuple[Tag, ...]] | None = None

    def reversed(self) -> Change:
        """The change that undoes it, tags of the image left aside."""
        return Change(self.new, self.gone, [(place, new, old) for place, old, new in self.marks])

    def bounds(self) -> list[float] | None:
        """[left, top, right, bottom] around all that changed; None where no object did."""
        boxes = np.array([shape_bounds(item.shape) for item in (*self.gone, *self.new)])
        return (
            [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()] if len(boxes) else None
        )


def finish(
    scope: Scope,
    changed: Mapping[int, Any],
    created: Iterable[tuple[ReviewObject, Any]] = (),
    gone: Iterable[ReviewObject] = (),
) -> Change:
    """Objects of new polygons.

    Parameters
    ----------
    changed
        New polygons of objects, by id.
    created
        Objects to take class and values from, and polygons of new objects.
    gone
        Objects taken away.
    """
    gone = list(gone)
    away = {item.id for item in gone}
    fresh = {scope.next_id + number: pair for number, pair in enumerate(created)}
    shapes = {
        number: item.shape
        for number, item in scope.objects.items()
        if item.kind == "polygon" and number not in away
    }
    shapes |= {**changed, **{number: polygon for number, (_, polygon) in fresh.items()}}
    edited = {*changed, *fresh}
    # After all shapes are as they will be: a corner that one gets must be in its neighbor as well.
    noded = stitch({number: rings_of(shape) for number, shape in shapes.items()}, edited)
    shapes |= {number: polygon_of(rings) for number, rings in noded.items()}
    # Corners that are there keep their coordinates in the file, also where another object takes them over.
    known: dict[Key, Key] = {}
    for item in scope.objects.values():
        known |= _ground_of(item)
    change = Change(gone)
    # A neighbor that only got a corner changes too, and is not called edited.
    for number in sorted({*changed, *noded} - fresh.keys()):
        old = scope.objects[number]
        polygon = check_polygon(shapes[number], old.shape)
        change.gone.append(old)
        change.new.append(reshaped(scope, old, polygon, known, edited=old.edited or number in edited))
    for number, (like, _) in fresh.items():
        polygon = check_polygon(shapes[number])
        order = scope.next_order + number - scope.next_id
        # A new object has been judged by nobody, whatever it was cut from.
        item = replace(like, id=number, image=scope.image, order=order, status="")
        change.new.append(reshaped(scope, item, polygon, known, edited=True))
    return change


def _ground_of(item: ReviewObject) -> dict[Key, Key]:
    if item.ground is None:
        return {}
    pixels, ground = (shapely.get_coordinates(shape).tolist() for shape in (item.shape, item.ground))
    return dict(zip(map(tuple, pixels), map(tuple, ground)))


def reshaped(
    scope: Scope, item: ReviewObject, shape: Shape, known: dict[Key, Key], *, edited: bool = True
) -> ReviewObject:
    ground = None
    if scope.to_ground is not None and isinstance(shape, shapely.Geometry):
        to_ground = scope.to_ground
        own = known | _ground_of(item)  # its own first: a neighbor's corner may differ in the last bits

        def placed(xy: Array) -> Array:
            computed = to_ground(xy).tolist()
            return np.array([own.get(tuple(key), new) for key, new in zip(xy.tolist(), computed)])

        ground = shapely.transform(shape, placed)
    values = item.values
    if item.is_verbatim or scope.to_ground is None:  # fields of an annotation told of the old figure
        values = {"description": values["description"]} if values.get("description") else {}
    return replace(item, shape=shape, ground=ground, values=values, edited=edited)


def kept_values(item: ReviewObject) -> Mapping[str, Any]:
    return unsealed(item.values) if item.is_verbatim else item.values


def new_object(scope: Scope, class_name: str) -> ReviewObject:
    return ReviewObject(0, scope.image, class_name, Point(0, 0), order=scope.next_order)


def polygons_of(scope: Scope) -> list[ReviewObject]:
    return [item for item in scope.objects.values() if item.kind == "polygon"]


def with_figures(scope: Scope, pairs: Iterable[tuple[ReviewObject, Shape | None]]) -> Change:
    """Figures that are no polygons: they share no walls."""
    change = Change()
    for item, shape in pairs:
        change.gone.append(item)
        if shape is not None:
            change.new.append(reshaped(scope, item, shape, {}))
    return change


def joined(*changes: Change) -> Change:
    return Change([o for c in changes for o in c.gone], [o for c in changes for o in c.new])
