"""Rows of the index: what a place, an image and an object are in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import shapely

from geoseg.files import json_text
from geoseg.projects.figures import Tag
from geoseg.review.objects import ReviewObject, shape_json, shape_of_json

__all__ = ["COLUMNS", "ImageRow", "Place", "object_of", "row_of"]

#: Columns of an object, in the order of its row.
COLUMNS = "id, image, kind, class, status, edited, ord, tags, vals, shape, ground"


@dataclass(frozen=True)
class Place:
    """What the list steps through: an image of a project, a block of a scene.

    Attributes
    ----------
    id, image, name
        Its number, that of its image, and what it is called.
    box
        (left, top, right, bottom) in pixel corners.
    rank
        Place in the list.
    qa
        Drawn at random: looked at for measuring, never for training.
    status
        "accepted", "rejected" or "".
    uncertain, expected_iou
        What the network says of itself there; None where it is not known.
    """

    id: int
    image: int
    name: str
    box: tuple[float, float, float, float]
    rank: int
    qa: bool
    status: str
    uncertain: float | None
    expected_iou: float | None


class ImageRow(NamedTuple):
    """An image.

    Attributes
    ----------
    name
        DATASET/NAME in a project.
    loaded
        Whether its objects are in.
    adopted
        Whether they stand in the journal, as of its first edit.
    sha, previous
        Of its annotation file as it is to be, and as it was before the last edit.
    tags
        JSON of its tags.
    """

    name: str
    loaded: bool
    adopted: bool
    sha: str | None
    previous: str | None
    tags: list[Any]


def row_of(item: ReviewObject) -> tuple[Any, ...]:
    """An object as a row of these columns."""
    is_polygon = item.kind == "polygon"
    # WKB keeps coordinates to the bit and is read many times faster than JSON; the figures of projects have
    # none.
    shape = shapely.to_wkb(item.shape) if is_polygon else json.dumps(shape_json(item.shape)).encode()
    ground = None if item.ground is None else shapely.to_wkb(item.ground)
    tags = json_text([tag.to_json() for tag in item.tags])
    return (
        item.id, item.image, item.kind, item.class_name, item.status, int(item.edited), item.order, tags,
        json_text(dict(item.values)), shape, ground,
    )  # fmt: skip


def object_of(row: Sequence[Any]) -> ReviewObject:
    """Read what :func:`row_of` gives."""
    number, image, kind, name, status, edited, order, tags, values, shape, ground = row
    return ReviewObject(
        number,
        image,
        name,
        shapely.from_wkb(shape) if kind == "polygon" else shape_of_json(json.loads(shape)),
        tuple(Tag.from_json(tag) for tag in json.loads(tags)),
        status,
        bool(edited),
        order,
        json.loads(values),
        None if ground is None else shapely.from_wkb(ground),
    )
