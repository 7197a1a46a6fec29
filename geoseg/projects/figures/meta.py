"""Classes and tags a project knows, and their JSON, today's form and that of 2018."""

from __future__ import annotations

import colorsys
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from geoseg.errors import InputError
from geoseg.projects.figures.types import SHAPES

__all__ = [
    "TAG_KINDS",
    "ClassMeta",
    "Color",
    "ProjectMeta",
    "TagMeta",
    "color_of",
    "format_color",
    "parse_color",
    "tag_kind",
]

Color: TypeAlias = tuple[int, int, int]
Json: TypeAlias = Mapping[str, Any]

#: Kinds of tags, and what their values are.
TAG_KINDS: Final[Mapping[str, str]] = {
    "none": "no value",
    "any_number": "a number",
    "any_string": "text",
    "oneof_string": "one of the values it lists",
    "date": "a date like 2024-05-31",
}
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")
#: Keys that the fields below stand for; all others of an entry are kept as they are.
_CLASS_KEYS = {"title", "shape", "color"}
_TAG_KEYS = {"name", "value_type", "color", "applicable_type"}


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
    # A checksum: the same name has the same color in every run, unlike Python's own hash.
    hue = (zlib.crc32(name.encode(errors="surrogatepass")) % 3600) / 3600
    red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.75, 0.95))
    return red, green, blue


def tag_kind(value: Any) -> str | None:
    """The widest kind of tag that a value fits; None if it fits none.

    Examples
    --------
    >>> tag_kind(None), tag_kind(3), tag_kind("a"), tag_kind([1])
    ('none', 'any_number', 'any_string', None)
    """
    if value is None:
        return "none"
    if isinstance(value, int | float):
        return "any_number"
    return "any_string" if isinstance(value, str) else None


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

    @classmethod
    def from_json(cls, entry: Any) -> ClassMeta:
        """Read an entry of meta.json; a shape that is not known here is kept, and told by a check."""
        if not isinstance(entry, Mapping) or not isinstance(entry.get("title"), str):
            raise InputError(f"a class must be an object with a title, got {entry!r}.")
        name, shape = entry["title"], entry.get("shape", "any")
        if not isinstance(shape, str):
            raise InputError(
                f"shape of class {name!r} must be one of {', '.join(SHAPES)} or any, got {shape!r}."
            )
        color = parse_color(entry["color"]) if entry.get("color") else color_of(name)
        return cls(name, shape, color, {k: v for k, v in entry.items() if k not in _CLASS_KEYS})


@dataclass(frozen=True)
class TagMeta:
    """A tag that images or objects may carry.

    Attributes
    ----------
    name
        Unique in its project.
    value_type
        One of :data:`TAG_KINDS`.
    applies_to
        ``all``, ``imagesOnly`` or ``objectsOnly``.
    """

    name: str
    value_type: str = "none"
    applies_to: str = "all"
    color: Color = (255, 255, 255)
    extra: Json = field(default_factory=dict, compare=False)

    @property
    def values(self) -> tuple[str, ...]:
        """Those that a ``oneof_string`` lists."""
        listed = self.extra.get("values")
        return tuple(v for v in listed if isinstance(v, str)) if isinstance(listed, list) else ()

    def fits(self, value: Any) -> bool:
        """Whether a value is of the tag's kind; of kinds that are not known here any is.

        Examples
        --------
        >>> speed = TagMeta("speed", "any_number")
        >>> speed.fits(3.5), speed.fits("3.5"), speed.fits(None)
        (True, False, False)
        """
        if self.value_type == "oneof_string":
            return value in self.values
        if self.value_type == "date":
            try:
                datetime.fromisoformat(value)
            except (TypeError, ValueError):
                return False
            return True
        return self.value_type not in TAG_KINDS or tag_kind(value) == self.value_type

    @property
    def wanted(self) -> str:
        """What its values are, in words."""
        if self.value_type == "oneof_string":
            return f"one of {', '.join(self.values) or 'the values it lists, which are none'}"
        return TAG_KINDS.get(self.value_type, "any value")

    def joined(self, other: TagMeta) -> TagMeta:
        """One tag for what two projects, or layers, call by this name.

        It lists the values of both, and applies to what either applies to; the rest is this one's.

        Raises
        ------
        InputError
            Their values are of different kinds.
        """
        if self.value_type != other.value_type:
            raise InputError(
                f"tag {self.name!r} must keep one kind of value, got {other.value_type} where "
                f"{self.value_type} exists. Give one of the two another name."
            )
        # What applies to images here and to objects there has to apply to both.
        applies = self.applies_to if self.applies_to == other.applies_to else "all"
        extra = dict(self.extra)
        if self.value_type == "oneof_string":
            extra["values"] = list(dict.fromkeys((*self.values, *other.values)))
        classes = [tag.extra.get("classes") or [] for tag in (self, other)]
        # A tag that names no classes is for all of them.
        if classes[0] and classes[0] != classes[1]:
            extra["classes"] = list(dict.fromkeys((*classes[0], *classes[1]))) if classes[1] else []
        return (
            self
            if (applies, extra) == (self.applies_to, self.extra)
            else replace(self, applies_to=applies, extra=extra)
        )

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
        """With one more tag; a tag of that name is joined with it.

        Raises
        ------
        InputError
            A tag of that name has values of another kind.
        """
        old = self.find_tag(new.name)
        if old is None:
            return replace(self, tags=(*self.tags, new))
        joined = old.joined(new)
        return (
            self if joined is old else replace(self, tags=tuple(joined if t is old else t for t in self.tags))
        )

    def without_tag(self, name: str) -> ProjectMeta:
        """Without the tag of that name."""
        return replace(self, tags=tuple(t for t in self.tags if t.name != name))

    def union(self, other: ProjectMeta) -> ProjectMeta:
        """Both metas together: this one's colors win, shapes and kinds of tags must agree."""
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
        # The form of 2018 has two lists and no kinds.
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
        classes = tuple(ClassMeta.from_json(entry) for entry in document.get("classes", []))
        # Objects name their class by its title alone.
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
    declared = {entry if isinstance(entry, str) else entry["name"] for entry in _list(document, "tags")}
    for name in dict.fromkeys([*images, *objects]):
        # It came above already, with its kind, which the lists of 2018 do not know.
        if name in declared:
            continue
        applies = (
            "all" if name in images and name in objects else "imagesOnly" if name in images else "objectsOnly"
        )
        yield TagMeta(str(name), applies_to=applies, color=color_of(str(name)))


def _list(document: Json, key: str) -> list[Any]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise InputError(f"{key} must be a list, got {type(value).__name__}.")
    return value
