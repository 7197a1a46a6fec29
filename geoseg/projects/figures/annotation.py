"""What is drawn on one image: objects in z-order, tags, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.projects.figures.bitmaps import MOST_PIXELS, decode_pixels, encode_mask, mask_limit
from geoseg.projects.figures.meta import ProjectMeta
from geoseg.projects.figures.types import (
    SHAPES,
    Bitmap,
    Figure,
    Line,
    Point,
    Polygon,
    Rectangle,
    as_coords,
    figure_bounds,
    open_ring,
)

__all__ = [
    "Annotation",
    "LabeledObject",
    "Tag",
    "figure_from_json",
    "figure_to_json",
    "is_of_2018",
    "size_from_json",
]

Json: TypeAlias = Mapping[str, Any]

_OBJECT_KEYS = {"classTitle", "geometryType", "type", "tags", "points", "bitmap", "description"}
_ANNOTATION_KEYS = {"description", "tags", "size", "objects"}


@dataclass(frozen=True)
class Tag:
    """A tag on an image or an object, with its value if its kind has one."""

    name: str
    value: Any = None
    extra: Json = field(default_factory=dict, compare=False)

    def to_json(self, *, legacy: bool = False) -> Any:
        """Today an object, in 2018 the bare name."""
        return self.name if legacy else {"name": self.name, "value": self.value, **self.extra}

    @classmethod
    def from_json(cls, entry: Any) -> Tag:
        """Read either form."""
        if isinstance(entry, str):
            return cls(entry)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise InputError(f"a tag must be a name or an object with a name, got {entry!r}.")
        return cls(
            entry["name"], entry.get("value"), {k: v for k, v in entry.items() if k not in ("name", "value")}
        )


@dataclass(frozen=True, eq=False)
class LabeledObject:
    """One object: its class, its figure, its tags.

    Attributes
    ----------
    class_name
        Title of the class.
    figure
        Shape and coordinates.
    extra
        Other fields of its JSON (ids, authors, dates); kept while the figure is the one they were made for.
    """

    class_name: str
    figure: Figure
    tags: tuple[Tag, ...] = ()
    description: str = ""
    extra: Json = field(default_factory=dict)

    def with_figure(self, figure: Figure) -> LabeledObject:
        """The object with another figure; fields that told of the old one are dropped."""
        return self if figure is self.figure else replace(self, figure=figure, extra={})

    def renamed(self, class_name: str) -> LabeledObject:
        """The object under another class."""
        if class_name == self.class_name:
            return self
        # The id is that of the old class, and a tool would go by it rather than by the name.
        return replace(
            self, class_name=class_name, extra={k: v for k, v in self.extra.items() if k != "classId"}
        )

    def to_json(self, *, legacy: bool = False) -> dict[str, Any]:
        """The object as an entry of an annotation file."""
        kind = "type" if legacy else "geometryType"
        entry: dict[str, Any] = {
            **({} if legacy else self.extra),
            "classTitle": self.class_name,
            kind: self.figure.kind,
            "description": self.description,
            "tags": [tag.to_json(legacy=legacy) for tag in self.tags],
        }
        return {**entry, **figure_to_json(self.figure, legacy=legacy)}

    @classmethod
    def from_json(
        cls, entry: Any, meta: ProjectMeta | None = None, most_pixels: int = MOST_PIXELS
    ) -> LabeledObject:
        """Read an object; the class's shape in ``meta`` decides how, unless it is ``any``.

        A bitmap of more than ``most_pixels`` is refused.

        Raises
        ------
        InputError
            An unknown class or shape, or coordinates that are none.
        """
        if not isinstance(entry, Mapping) or not isinstance(entry.get("classTitle"), str):
            raise InputError("an object must have a classTitle. Correct the annotation.")
        name = entry["classTitle"]
        known = meta.find_class(name) if meta is not None else None
        if meta is not None and known is None:
            raise InputError(f"class of an object must be in meta.json, got {name!r}. Add it there.")
        # Today's key, then that of 2018.
        own = entry.get("geometryType", entry.get("type", ""))
        shape = own if known is None or known.shape == "any" else known.shape
        tags = tuple(Tag.from_json(tag) for tag in _entries(entry, "tags"))
        extra = {k: v for k, v in entry.items() if k not in _OBJECT_KEYS}
        return cls(
            name,
            figure_from_json(shape, entry, most_pixels),
            tags,
            str(entry.get("description") or ""),
            extra,
        )


@dataclass(frozen=True, eq=False)
class Annotation:
    """Objects and tags of one image.

    Attributes
    ----------
    height, width
        Pixels of the image.
    objects
        In z-order, later on top.
    tags
        Tags of the image as a whole.
    """

    height: int
    width: int
    objects: tuple[LabeledObject, ...] = ()
    tags: tuple[Tag, ...] = ()
    description: str = ""
    extra: Json = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @cached_property
    def bounds(self) -> NDArray[np.float64]:
        """(N, 4) left, top, right, bottom of each object, inclusive pixel indices."""
        if not self.objects:
            return np.zeros((0, 4))
        return np.array([figure_bounds(item.figure) for item in self.objects], np.float64)

    def has_tag(self, name: str) -> bool:
        """Whether the image carries the tag."""
        return any(tag.name == name for tag in self.tags)

    def to_json(self, *, legacy: bool = False) -> dict[str, Any]:
        """The annotation file."""
        return {
            **({} if legacy else self.extra),
            "description": self.description,
            "tags": [tag.to_json(legacy=legacy) for tag in self.tags],
            "size": {"height": self.height, "width": self.width},
            "objects": [item.to_json(legacy=legacy) for item in self.objects],
        }

    @classmethod
    def from_json(cls, document: Any, meta: ProjectMeta | None = None) -> Annotation:
        """Read an annotation file of either form.

        Raises
        ------
        InputError
            With the position of the object that is wrong.
        """
        height, width = size_from_json(document)
        # A few bytes of a bitmap may unfold to gigabytes; the image says what can be meant.
        objects, most = [], mask_limit(height, width)
        for index, entry in enumerate(_entries(document, "objects")):
            try:
                objects.append(LabeledObject.from_json(entry, meta, most))
            except InputError as error:
                raise InputError(f"$.objects[{index}]: {error}") from None
        tags = tuple(Tag.from_json(tag) for tag in _entries(document, "tags"))
        extra = {k: v for k, v in document.items() if k not in _ANNOTATION_KEYS}
        return cls(height, width, tuple(objects), tags, str(document.get("description") or ""), extra)


def _entries(document: Json, key: str) -> list[Any]:
    """A list of a document; empty where it is not there."""
    entries = document.get(key)
    if entries is not None and not isinstance(entries, list):
        raise InputError(f"{key} must be a list, got {type(entries).__name__}. Correct the annotation.")
    return entries or []


def is_of_2018(document: Any) -> bool:
    """Whether an annotation has nothing that the form of 2018 lacks: today's key of shapes, values of tags.

    By its content, for files were named STEM.json for years after.

    Examples
    --------
    >>> is_of_2018({"tags": ["seen"]}), is_of_2018({"tags": [{"name": "lanes", "value": 2}]})
    (True, False)
    """
    if not isinstance(document, Mapping):
        return True
    listed = document.get("objects")
    objects = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    tags = [tag for one in (document, *objects) if isinstance(one.get("tags"), list) for tag in one["tags"]]
    return not any("geometryType" in one for one in objects) and all(isinstance(tag, str) for tag in tags)


def size_from_json(document: Any) -> tuple[int, int]:
    """(height, width) of an annotation file.

    Raises
    ------
    InputError
        No annotation, or a size that is not in whole pixels.
    """
    if not isinstance(document, Mapping):
        raise InputError("an annotation must be a JSON object.")
    size = document.get("size")
    if not isinstance(size, Mapping):
        raise InputError("size must be an object with height and width. Correct the annotation.")
    sides = size.get("height"), size.get("width")
    # True is an integer to Python. Larger sides are more than any raster file can have.
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 2**31 for side in sides):
        raise InputError(
            f"size must hold whole pixels, got {sides[0]!r} x {sides[1]!r}. Correct the annotation."
        )
    if not isinstance(document.get("objects") or [], list):
        raise InputError("objects must be a list. Correct the annotation.")
    return sides[0], sides[1]  # type: ignore[return-value]


def figure_to_json(figure: Figure, *, legacy: bool = False) -> dict[str, Any]:
    """``points`` or ``bitmap`` of an object's JSON."""
    if isinstance(figure, Bitmap):
        bitmap = {"origin": [int(v) for v in figure.origin], "data": encode_mask(figure.pixels)}
        # The form of 2018 has both keys in every object.
        return {"bitmap": bitmap, **({"points": {"exterior": [], "interior": []}} if legacy else {})}
    rings: list[list[list[float]]] = []
    for coords in figure.parts():
        # Whole numbers as integers, as labeling tools write them: half the text, and files compare equal.
        if np.array_equal(coords, np.round(coords)):
            rings.append(coords.astype(np.int64).tolist())
        else:
            pairs = coords.tolist()
            rings.append([[int(v) if v == int(v) else round(v, 6) for v in pair] for pair in pairs])
    points = {"points": {"exterior": rings[0], "interior": rings[1:]}}
    return {**points, "bitmap": {"origin": [], "data": []}} if legacy else points


def figure_from_json(shape: str, entry: Json, most_pixels: int = MOST_PIXELS) -> Figure:
    """Read the figure of an object's JSON as ``shape``; a bitmap of more than ``most_pixels`` is refused.

    Raises
    ------
    InputError
        An unknown shape, missing parts, or coordinates that are none.
    """
    if shape == "bitmap":
        bitmap: Any = entry.get("bitmap")
        if not isinstance(bitmap, Mapping) or "data" not in bitmap:
            raise InputError("a bitmap must have origin and data. Correct the annotation.")
        position: Any = bitmap.get("origin")
        origin = as_coords([position], "origin of a bitmap", 1)[0]
        return Bitmap((round(origin[0]), round(origin[1])), decode_pixels(bitmap["data"], most_pixels))
    if shape not in SHAPES:
        raise InputError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}.")
    points = entry.get("points")
    if not isinstance(points, Mapping):
        raise InputError(f"a {shape} must have points. Correct the annotation.")
    exterior: Any = points.get("exterior")
    if shape == "polygon":
        holes = _entries(points, "interior")
        # Polygons without vertices are in the wild; what they mean is for those to say who use them.
        rings = [as_coords(ring, "points of a polygon", 0) for ring in (exterior, *holes)]
        return Polygon(open_ring(rings[0]), tuple(open_ring(ring) for ring in rings[1:] if len(ring) >= 3))
    coords = as_coords(exterior, f"points of a {shape}", {"line": 1, "point": 1, "rectangle": 2}[shape])
    if shape == "line":
        return Line(coords)
    if shape == "point":
        return Point(float(coords[0, 0]), float(coords[0, 1]))
    # Any two opposite corners, in any order.
    (left, top), (right, bottom) = coords.min(axis=0).tolist(), coords.max(axis=0).tolist()
    return Rectangle(left, top, right, bottom)
