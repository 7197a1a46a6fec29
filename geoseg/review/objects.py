"""What a person edits: an object of an image, and its JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.projects.figures import LabeledObject, Tag, figure_from_json
from geoseg.projects.figures.types import Bitmap, Figure, Line, Point, Polygon, Rectangle, figure_bounds
from geoseg.typing import Array, BoolArray

__all__ = [
    "STEPS",
    "ReviewObject",
    "Rings",
    "Shape",
    "figure_of",
    "from_entry",
    "pack_bits",
    "polygon_of",
    "rings_of",
    "round_corners",
    "shape_bounds",
    "shape_json",
    "shape_of_json",
    "to_labeled",
    "unpack_bits",
    "unsealed",
]

#: Polygons as shapely geometries in pixel corners, all else as the figures of projects, in pixel indices.
Shape: TypeAlias = shapely.Polygon | shapely.MultiPolygon | Bitmap | Rectangle | Line | Point
#: Parts of rings of (n, 2) float64 corners, the last not a copy of the first; the first ring is the shell.
Rings: TypeAlias = list[list[Array]]

#: Corners are multiples of this part of a pixel. Sums and comparisons of such numbers are exact, in Python
#: and in a browser, so that two houses have the same corner or they don't.
STEPS = 1024


@dataclass(frozen=True, eq=False)
class ReviewObject:
    """A footprint or figure as a review holds it.

    Attributes
    ----------
    id
        Of the object for good; what is split off or drawn has a new one.
    image
        Number of its image.
    class_name
        Its class.
    shape
        On the image's pixels.
    tags
        Tags of the object.
    status
        "accepted", "rejected" or "".
    edited
        Whether a person changed it.
    order
        Place among the objects of the image, later on top.
    values
        Attributes of a footprint by column. Of a figure the other fields of its JSON; the whole entry as it
        was read, as long as nothing of it was changed.
    ground
        A footprint in the coordinates of its file. Corners that do not move keep theirs to the last bit,
        which a way through pixels and back would not.
    """

    id: int
    image: int
    class_name: str
    shape: Shape
    tags: tuple[Tag, ...] = ()
    status: str = ""
    edited: bool = False
    order: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)
    ground: Any = None

    @property
    def kind(self) -> str:
        """polygon, bitmap, rectangle, line or point."""
        return "polygon" if isinstance(self.shape, shapely.Geometry) else self.shape.kind

    @property
    def is_verbatim(self) -> bool:
        """Whether ``values`` is the whole entry of an annotation file."""
        return "classTitle" in self.values

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        head: dict[str, Any] = {"id": self.id, "image": self.image, "order": self.order}
        if self.is_verbatim:  # the entry tells the rest
            return {**head, "kind": self.kind, "status": self.status, "entry": dict(self.values)}
        tail = {} if self.ground is None else {"ground": shapely.to_wkb(self.ground, hex=True)}
        return {**head, **self.shown(), "values": dict(self.values), **tail}

    def shown(self) -> dict[str, Any]:
        """For the page: without values and ground."""
        return {
            "id": self.id,
            "image": self.image,
            "class": self.class_name,
            "tags": [tag.to_json() for tag in self.tags],
            "status": self.status,
            "edited": self.edited,
            "order": self.order,
            **shape_json(self.shape),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ReviewObject:
        """Read what :meth:`to_json` gives."""
        if "entry" in document:
            base = from_entry(document["entry"], document["kind"], document["id"], document["image"])
            return replace(base, order=document["order"], status=document["status"])
        ground = document.get("ground")
        return cls(
            document["id"],
            document["image"],
            document["class"],
            shape_of_json(document),
            tuple(Tag.from_json(tag) for tag in document["tags"]),
            document["status"],
            document["edited"],
            document["order"],
            document["values"],
            None if ground is None else shapely.from_wkb(bytes.fromhex(ground)),
        )


def from_entry(entry: Mapping[str, Any], kind: str, number: int, image: int) -> ReviewObject:
    """An object of an annotation file, kept as it stands there until it is edited."""
    # The entry itself is kept with it: what nobody edits is written back as it stands.
    figure = figure_from_json(kind, entry)
    shape: Shape
    if isinstance(figure, Polygon):
        shape = polygon_of([[ring + 0.5 for ring in figure.parts()]])
    else:
        shape = figure
    tags = tuple(Tag.from_json(tag) for tag in entry.get("tags") or [])
    return ReviewObject(number, image, entry["classTitle"], shape, tags, values=entry)


#: Fields of an annotation's entry that an object holds elsewhere.
_OWN = {"classTitle", "geometryType", "type", "tags", "points", "bitmap", "description", "shape"}


def unsealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's fields that an edited object keeps."""
    return {key: value for key, value in values.items() if key not in _OWN or key == "description"}


def to_labeled(item: ReviewObject) -> list[LabeledObject]:
    """The objects of an annotation file that an edited object becomes: one for each part of a polygon."""
    figures: list[Figure]
    if isinstance(item.shape, shapely.Geometry):
        figures = [
            Polygon(part[0] - 0.5, tuple(hole - 0.5 for hole in part[1:])) for part in rings_of(item.shape)
        ]
    else:
        figures = [item.shape]
    extra = {key: value for key, value in item.values.items() if key not in _OWN}
    description = str(item.values.get("description") or "")
    return [LabeledObject(item.class_name, figure, item.tags, description, extra) for figure in figures]


def round_corners(xy: Any) -> Array:
    """Coordinates on the lattice of 1/1024 pixel.

    Examples
    --------
    >>> round_corners([[0.1, 5.0000001]]).tolist()
    [[0.099609375, 5.0]]
    """
    # Plus 0.0: minus zero would be another key in a browser's text.
    return np.round(np.asarray(xy, np.float64) * STEPS) / STEPS + 0.0


def rings_of(geometry: Any) -> Rings:
    """Rings of a Polygon or MultiPolygon, part by part.

    Examples
    --------
    >>> [[len(ring) for ring in part] for part in rings_of(shapely.box(0, 0, 1, 1))]
    [[4]]
    """
    return [
        [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(part)]
        for part in shapely.get_parts(geometry)
    ]


def polygon_of(rings: Sequence[Sequence[Any]]) -> Any:
    """A Polygon, or a MultiPolygon of several parts.

    Raises
    ------
    InputError
        A shell of fewer than three corners.
    """
    for part in rings:
        if not len(part) or len(part[0]) < 3:
            raise InputError("a polygon must have at least 3 corners. Delete the object instead.")
    # shapely.polygons without holes=None: a list of no holes is refused by some of its releases
    parts = [shapely.Polygon(part[0], [hole for hole in part[1:] if len(hole) >= 3]) for part in rings]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def shape_bounds(shape: Shape) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixel corners; of pixels their outer sides."""
    if isinstance(shape, shapely.Geometry):
        left, top, right, bottom = shapely.bounds(shape).tolist()
        return left, top, right, bottom
    # Bounds of figures name the first and the last pixel.
    left, top, right, bottom = figure_bounds(shape)
    return left, top, right + 1, bottom + 1


def shape_json(shape: Shape) -> dict[str, Any]:
    """Kind and coordinates, in pixel corners."""
    if isinstance(shape, shapely.Geometry):
        return {"kind": "polygon", "parts": [[ring.tolist() for ring in part] for part in rings_of(shape)]}
    if isinstance(shape, Bitmap):
        height, width = shape.shape
        bitmap = {
            "origin": [int(side) for side in shape.origin],
            "size": [width, height],
            "bits": pack_bits(shape.mask),
        }
        return {"kind": "bitmap", "bitmap": bitmap}
    return {"kind": shape.kind, "points": (np.asarray(shape.parts()[0]) + 0.5).tolist()}


def shape_of_json(document: Mapping[str, Any]) -> Shape:
    """Read what :func:`shape_json` gives."""
    kind = document["kind"]
    if kind == "polygon":
        return polygon_of([[np.asarray(ring, np.float64) for ring in part] for part in document["parts"]])
    if kind == "bitmap":
        bitmap = document["bitmap"]
        width, height = bitmap["size"]
        column, row = bitmap["origin"]
        return Bitmap((column, row), unpack_bits(bitmap["bits"], height, width)).compact()
    return figure_of(kind, document["points"])


def figure_of(kind: str, points: Iterable[Sequence[float]]) -> Rectangle | Line | Point:
    """A rectangle, line or point from coordinates in pixel corners.

    Raises
    ------
    InputError
        Too few points.
    """
    xy = np.asarray(points, np.float64).reshape(-1, 2) - 0.5
    # A page may send any number; a shape of too few has no box to be found by.
    least = {"rectangle": 2, "line": 2, "point": 1}[kind]
    if len(xy) < least:
        raise InputError(f"a {kind} must have at least {least} points, got {len(xy)}. Draw more of it.")
    if kind == "point":
        return Point(float(xy[0, 0]), float(xy[0, 1]))
    if kind == "line":
        return Line(xy)
    (left, top), (right, bottom) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
    return Rectangle(left, top, right, bottom)


def pack_bits(mask: BoolArray) -> str:
    """A mask as base64: row after row without padding, eight pixels a byte, the first in the highest bit.

    Examples
    --------
    >>> unpack_bits(pack_bits(np.eye(3, dtype=bool)), 3, 3).tolist()[1]
    [False, True, False]
    """
    return base64.b64encode(np.packbits(mask.reshape(-1)).tobytes()).decode("ascii")


def unpack_bits(text: str, height: int, width: int) -> BoolArray:
    """A mask (height, width) of :func:`pack_bits`."""
    packed = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)
