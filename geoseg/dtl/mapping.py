"""Mappings of classes: from title to title, with the words that graphs use for keep, drop and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from geoseg.errors import InputError
from geoseg.projects.figures import ClassMeta, LabeledObject, ProjectMeta, Tag, TagMeta, color_of
from geoseg.projects.figures.meta import tag_kind

__all__ = [
    "DEFAULT",
    "DROP",
    "OTHER",
    "convert_classes",
    "expand",
    "map_classes",
    "map_objects",
    "map_tags",
    "rename_tags",
    "require_classes",
    "tag_meta",
]

#: The class stays as it is.
DEFAULT: Final = "__default__"
#: The class is left out, and its objects with it.
DROP: Final = "__ignore__"
#: Every class that the mapping does not name.
OTHER: Final = "__other__"


def require_classes(meta: ProjectMeta, names: Mapping[str, object] | list[str] | tuple[str, ...]) -> None:
    """Refuse classes that do not arrive at a layer.

    Raises
    ------
    InputError
        With the classes there are.
    """
    missing = [name for name in names if meta.find_class(name) is None]
    if missing:
        known = ", ".join(meta.class_names) or "none"
        raise InputError(
            f"class must be one of those that arrive here ({known}), got {', '.join(missing)}. "
            "Correct the name, or see what the layers before make of this class."
        )


def expand(mapping: Mapping[str, str], names: tuple[str, ...], *, complete: bool) -> dict[str, str]:
    """A mapping for exactly the classes there are.

    Parameters
    ----------
    mapping
        From title to title, ``__default__`` or ``__ignore__``; ``__other__`` stands for titles not named.
    names
        Titles that arrive.
    complete
        Each title must be covered; otherwise those not named are kept.

    Raises
    ------
    InputError
        A title is not covered, or one is renamed or dropped that does not arrive.
    """
    _refuse_absent(mapping, names, "classes_mapping must name classes that arrive here")
    rest = mapping.get(OTHER)
    missing = [name for name in names if name not in mapping]
    if missing and rest is None and complete:
        raise InputError(
            f"classes_mapping must cover every class, got none for {', '.join(missing)}. "
            f'Add them, or "{OTHER}": "{DEFAULT}".'
        )
    return {name: mapping.get(name, rest if rest is not None else DEFAULT) for name in names}


def _refuse_absent(mapping: Mapping[str, str], names: tuple[str, ...], rule: str) -> None:
    # To keep what is not there asks for nothing: graphs often list more classes than each project has.
    absent = [old for old, new in mapping.items() if old != OTHER and old not in names and new != DEFAULT]
    if absent:
        raise InputError(
            f"{rule} ({', '.join(names) or 'none'}), got {', '.join(absent)}. Correct or remove them."
        )


def map_classes(meta: ProjectMeta, full: Mapping[str, str]) -> ProjectMeta:
    """Classes after an expanded mapping: renamed ones go to the end of the list and keep their color.

    Raises
    ------
    InputError
        Classes of different shapes are merged.
    """
    # Renamed classes move to the end of the list, as in the original.
    result = replace(meta, classes=tuple(c for c in meta.classes if full[c.name] in (DEFAULT, c.name)))
    for one in meta.classes:
        new = full[one.name]
        if new not in (DEFAULT, DROP, one.name):
            result = result.with_class(replace(one, name=new, extra={}))
    return result


def map_objects(objects: tuple[LabeledObject, ...], full: Mapping[str, str]) -> tuple[LabeledObject, ...]:
    """Objects after an expanded mapping; titles it does not know are kept."""
    mapped = []
    for item in objects:
        new = full.get(item.class_name, DEFAULT)
        if new != DROP:
            mapped.append(item if new == DEFAULT else item.renamed(new))
    return tuple(mapped)


def map_tags(meta: ProjectMeta, mapping: Mapping[str, str]) -> ProjectMeta:
    """Tags after a mapping; those not named are kept.

    Raises
    ------
    InputError
        The mapping names a tag that is not there, or gives tags of different kinds one name.
    """
    names = tuple(tag.name for tag in meta.tags)
    _refuse_absent(mapping, names, "tags_mapping must name tags of the project")
    result = replace(meta, tags=())
    for tag in meta.tags:
        new = _new_name(tag.name, mapping)
        if new is None:
            continue
        try:
            # Under another name a tag keeps what its kind needs; its number and key were the old name's.
            extra = {k: v for k, v in tag.extra.items() if k in ("values", "classes")}
            result = result.with_tag(tag if new == tag.name else replace(tag, name=new, extra=extra))
        except InputError as error:
            raise InputError(f"tags_mapping must give one name to tags of one kind only: {error}") from None
    return result


def rename_tags(tags: tuple[Tag, ...], mapping: Mapping[str, str]) -> tuple[Tag, ...]:
    """An image's or an object's tags after a mapping; each name once."""
    renamed: dict[str, Tag] = {}
    for tag in tags:
        new = _new_name(tag.name, mapping)
        if new is not None:
            # Of tags that get one name the first stays: tags are a set.
            renamed.setdefault(new, tag if new == tag.name else Tag(new, tag.value))
    return tuple(renamed.values())


def _new_name(name: str, mapping: Mapping[str, str]) -> str | None:
    new = mapping.get(name, mapping.get(OTHER, DEFAULT))
    return None if new == DROP else name if new == DEFAULT else new


def tag_meta(tag: Tag) -> TagMeta:
    """What a project says of a tag, as far as one use of it tells."""
    return TagMeta(tag.name, tag_kind(tag.value) or "any_string", color=color_of(tag.name))


def convert_classes(meta: ProjectMeta, mapping: Mapping[str, str], shape: str) -> ProjectMeta:
    """Classes after objects of ``mapping``'s keys became objects of another shape under its values.

    Raises
    ------
    InputError
        A key that does not arrive, or a new title that another shape has.
    """
    require_classes(meta, mapping)
    result = meta
    # All old ones first: one of them may give its title to another's objects.
    for old in mapping:
        result = result.without_class(old)
    for old, new in mapping.items():
        same = meta.find_class(new)
        if same is not None and same.shape not in (shape, "any"):
            raise InputError(
                f"the new class must be new or of shape {shape}, got {new!r}, which is a {same.shape}. "
                "Give it another title."
            )
        source = meta.find_class(old)
        result = result.with_class(ClassMeta(new, shape, source.color if source else color_of(new)))
    return result
