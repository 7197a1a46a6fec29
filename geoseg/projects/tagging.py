"""Tags put on images of a project, and taken off, in place."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from geoseg.config import read_document
from geoseg.errors import InputError
from geoseg.files import hold, json_text, write_text
from geoseg.projects.figures import Tag, TagMeta, color_of, is_of_2018
from geoseg.projects.images import open_image
from geoseg.projects.project import Item, Project, open_project, read_annotation
from geoseg.projects.writer import rewrite_meta
from geoseg.typing import PathLike

__all__ = ["find_images", "tag_images"]


def find_images(project: Project, names: Iterable[str]) -> list[Item]:
    """Images by name, in the order of the project.

    Parameters
    ----------
    project
        The project.
    names
        ``NAME`` or ``DATASET/NAME``, with or without suffix; ``*`` and ``?`` stand for any letters, where no
        image has the very name.

    Raises
    ------
    InputError
        A name that no image has.
    """
    items = list(project)
    own_names = [
        (index, (item.name, item.stem, f"{item.dataset}/{item.name}", f"{item.dataset}/{item.stem}"))
        for index, item in enumerate(items)
    ]
    chosen: set[int] = set()
    for name in names:
        # Brackets are common in names of photos ("IMG (1) [2].jpg"): they are letters like any other.
        pattern = name.replace("[", "[[]")
        fitting = {index for index, own in own_names if name in own} or {
            index for index, own in own_names if any(fnmatch.fnmatchcase(one, pattern) for one in own)
        }
        if not fitting:
            some = ", ".join(f"{item.dataset}/{item.name}" for item in items[:3]) or "no images"
            raise InputError(f"name must be that of an image of {project.path}, got {name!r}. It has {some}.")
        chosen |= fitting
    return [items[index] for index in sorted(chosen)]


def tag_images(project: PathLike, names: Mapping[str, Iterable[str]], *, remove: bool = False) -> int:
    """Put tags on images, or take them off; each annotation is written whole or not at all.

    Parameters
    ----------
    project
        Folder of the project.
    names
        Images of each tag, as :func:`find_images` takes them.
    remove
        Take the tags off.

    Returns
    -------
    int
        How many images were changed.

    Raises
    ------
    InputError
        A name that no image has, a tag whose kind asks for a value, or an annotation that can't be read; no
        file has been changed.
    LockedError
        Another run writes to the project.
    RunError
        The disk is full.
    """
    folder = open_project(
        project
    ).path.resolve()  # what is no project is refused before a lock lies beside it
    # From reading to writing: of two calls at once, one would take back what the other did.
    with hold(folder):
        opened = open_project(project)
        meta, tags_of = opened.meta, dict[Item, list[str]]()
        for tag, wanted in names.items():
            if not tag.strip():
                raise InputError("tag must have a name, got none.")
            known = meta.find_tag(tag)
            if known is not None and known.value_type != "none" and not remove:
                raise InputError(
                    f"tag must be one without values, got {tag!r}, whose values are {known.wanted}. "
                    "Name another."
                )
            if not remove:
                # One for objects alone is for images, too, from now on.
                meta = meta.with_tag(TagMeta(tag, applies_to="imagesOnly", color=color_of(tag)))
            for item in find_images(opened, wanted):
                tags_of.setdefault(item, []).append(tag)
        # All are read before the first is written: a broken one must not leave the others half done.
        changes: list[tuple[Path, Any]] = []
        for item, tags in tags_of.items():
            annotation = read_annotation(item, opened.meta, open_image(item.image).shape)
            file = item.annotation or item.image.parents[1] / "ann" / f"{item.name}.json"
            # All but the tags stays as it is in the file, whatever wrote it.
            document = annotation.to_json() if item.annotation is None else read_document(item.annotation)
            entries = document.get("tags") or []
            if remove:
                kept = [entry for entry in entries if Tag.from_json(entry).name not in tags]
            else:
                legacy = file.name != f"{item.name}.json" and is_of_2018(document)
                new = [Tag(tag).to_json(legacy=legacy) for tag in tags if not annotation.has_tag(tag)]
                kept = [*entries, *new]
            if kept != entries:
                changes.append((file, {**document, "tags": kept}))
        if meta != opened.meta and changes:
            rewrite_meta(opened.path, meta)
        for file, document in changes:
            file.parent.mkdir(exist_ok=True)
            write_text(file, json_text(document))
        return len(changes)
