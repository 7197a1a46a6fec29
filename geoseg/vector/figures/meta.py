"""Classes and tags a project knows, and their JSON, today's form and that of 2018."""

from __future__ import annotations

import colorsys
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from geoseg.errors import InputError
from geoseg.vector.figures.types import SHAPES

__all__ = ["ClassMeta", "Color", "ProjectMeta", "TagMeta", "color_of", "format_color", "parse_color"]

Color: TypeAlias = tuple[int, int, int]
Json: TypeAlias = Mapping[str, Any]

_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


def parse_color(text: str) -> Color:
    """Read ``#RRGGBB``.

    Examples
    --------
    >>> parse_color("#FF8000")
    (255, 128, 0)
    """
    match = _HEX.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"color must be #RRGGBB, got {text!r}.")
    red, green, blue = bytes.fromhex(match.group(1))
    return red, green, blue


def format_color(color: Iterable[int]) -> str:
    """Write ``#RRGGBB``."""
    return "#" + "".join(f"{int(v):02X}" for v in color)


def color_of(name: str) -> Color:
    """A lively color that always belongs to the same name."""
    hue = (zlib.crc32(name.encode(errors="surrogatepass")) % 3600) / 3600
    red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.75, 0.95))
    return red, green, blue


@dataclass(frozen=True)
class ClassMeta:
    """A class of objects.

    Attributes
    ----------
    name
        Title, unique in its project.
    shape
        One of SHAPES, or ``any``: then each object tells its own.
    color
        Red, green, blue.
    extra
        Other fields of its JSON, kept.
    """

    name: str
    shape: str
    color: Color
    extra: Json = field(default_factory=dict, compare=False)

    def to_json(self, *, legacy: bool = False) -> dict[str, Any]:
        """The class as an entry of meta.json."""
        entry = {"title": self.name, "shape": self.shape, "color": format_color(self.color)}
        return entry if legacy else {**entry, "geometry_config": {}, **self.extra}


@dataclass(frozen=True)
class TagMeta:
    """A tag that images or objects may carry.

    Attributes
    ----------
    name
        Unique in its project.
    value_type
        ``none``, ``any_number``, ``any_string``, ``oneof_string`` or ``date``.
    applies_to
        ``all``, ``imagesOnly`` or ``objectsOnly``.
    """

    name: str
    value_type: str = "none"
    applies_to: str = "all"
    color: Color = (255, 255, 255)
    extra: Json = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The tag as an entry of meta.json."""
        return {
            "name": self.name,
            "value_type": self.value_type,
            "color": format_color(self.color),
            "applicable_type": self.applies_to,
            "classes": [],
            **self.extra,
        }


@dataclass(frozen=True)
class ProjectMeta:
    """Classes and tags of a project, in order, names unique."""

    classes: tuple[ClassMeta, ...] = ()
    tags: tuple[TagMeta, ...] = ()

    def find_class(self, name: str) -> ClassMeta | None:
        """The class of this name."""
        return next((c for c in self.classes if c.name == name), None)

    def find_tag(self, name: str) -> TagMeta | None:
        """The tag of this name."""
        return next((t for t in self.tags if t.name == name), None)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Titles in order."""
        return tuple(c.name for c in self.classes)

    def with_class(self, new: ClassMeta) -> ProjectMeta:
        """With one more class; a class of that name and shape is left as it is.

        Raises
        ------
        InputError
            A class of that name has another shape.
        """
        old = self.find_class(new.name)
        if old is None:
            return replace(self, classes=(*self.classes, new))
        if "any" in (old.shape, new.shape) or old.shape == new.shape:
            return self
        raise InputError(
            f"class {new.name!r} must keep one shape, got {new.shape} where {old.shape} exists. "
            "Give one of the two another name."
        )

    def without_class(self, name: str) -> ProjectMeta:
        """Without the class of that name."""
        return replace(self, classes=tuple(c for c in self.classes if c.name != name))

    def with_tag(self, new: TagMeta) -> ProjectMeta:
        """With one more tag; a tag of that name is left as it is."""
        return self if self.find_tag(new.name) else replace(self, tags=(*self.tags, new))

    def without_tag(self, name: str) -> ProjectMeta:
        """Without the tag of that name."""
        return replace(self, tags=tuple(t for t in self.tags if t.name != name))

    def union(self, other: ProjectMeta) -> ProjectMeta:
        """Both metas together: this one's colors win, shapes must agree."""
        merged = self
        for one in other.classes:
            merged = merged.with_class(one)
        for tag in other.tags:
            merged = merged.with_tag(tag)
        return merged

    def to_json(self, *, legacy: bool = False) -> dict[str, Any]:
        """meta.json, today's form or that of 2018."""
        classes = [c.to_json(legacy=legacy) for c in self.classes]
        if not legacy:
            return {"classes": classes, "tags": [t.to_json() for t in self.tags], "projectType": "images"}
        images = [t.name for t in self.tags if t.applies_to != "objectsOnly"]
        objects = [t.name for t in self.tags if t.applies_to != "imagesOnly"]
        return {"classes": classes, "tags_images": images, "tags_objects": objects}

    @classmethod
    def from_json(cls, document: Any) -> ProjectMeta:
        """Read meta.json of either form, or a bare list of classes.

        Raises
        ------
        InputError
            The document is of neither form, a title is there twice, a color is none.
        """
        if isinstance(document, list):
            document = {"classes": document}
        if not isinstance(document, Mapping) or not isinstance(document.get("classes", []), list):
            raise InputError("meta.json must be an object with a list of classes.")
        classes = tuple(_class_from(entry) for entry in document.get("classes", []))
        names = [c.name for c in classes]
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise InputError(
                f"class titles must be unique, got {', '.join(map(repr, twice))} more than once."
            )
        meta = cls(classes)
        for tag in _tags_from(document):
            meta = meta.with_tag(tag)
        return meta


_CLASS_KEYS = {"title", "shape", "color"}
_TAG_KEYS = {"name", "value_type", "color", "applicable_type"}


def _class_from(entry: Any) -> ClassMeta:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("title"), str):
        raise InputError(f"a class must be an object with a title, got {entry!r}.")
    name, shape = entry["title"], entry.get("shape", "any")
    if not isinstance(shape, str):
        raise InputError(f"shape of class {name!r} must be one of {', '.join(SHAPES)} or any, got {shape!r}.")
    color = parse_color(entry["color"]) if entry.get("color") else color_of(name)
    return ClassMeta(name, shape, color, {k: v for k, v in entry.items() if k not in _CLASS_KEYS})


def _tags_from(document: Json) -> Iterable[TagMeta]:
    """Tags of either form; a name that images and objects share becomes one tag for both."""
    for entry in _list(document, "tags"):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise InputError(f"a tag must be an object with a name, got {entry!r}.")
        color = parse_color(entry["color"]) if entry.get("color") else color_of(entry["name"])
        extra = {k: v for k, v in entry.items() if k not in _TAG_KEYS}
        kind, applies = entry.get("value_type", "none"), entry.get("applicable_type", "all")
        yield TagMeta(entry["name"], str(kind), str(applies), color, extra)
    images, objects = _list(document, "tags_images"), _list(document, "tags_objects")
    for name in dict.fromkeys([*images, *objects]):
        applies = (
            "all" if name in images and name in objects else "imagesOnly" if name in images else "objectsOnly"
        )
        yield TagMeta(str(name), applies_to=applies, color=color_of(str(name)))


def _list(document: Json, key: str) -> list[Any]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise InputError(f"{key} must be a list, got {type(value).__name__}.")
    return value
