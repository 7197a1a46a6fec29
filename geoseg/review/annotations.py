"""Annotation files of a project that is reviewed: read when an image is looked at, written at each edit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from geoseg.config import read_document
from geoseg.files import json_text
from geoseg.projects.figures import Annotation, Tag
from geoseg.review.objects import ReviewObject, to_labeled

__all__ = ["annotation_text", "tags_json", "text_sha"]


def annotation_text(
    path: Path, shape: tuple[int, int], objects: Iterable[ReviewObject], tags: Sequence[Any], *, legacy: bool
) -> str:
    """The annotation file of an image after an edit.

    What nobody edited stands in it as it was read, and so does what is not of the objects and tags.

    Parameters
    ----------
    path
        The file as it is, if it is.
    shape
        (height, width) of the image.
    objects
        In their order.
    tags
        JSON of the image's tags.
    legacy
        Whether the file has the form of 2018.
    """
    # Read again at each edit: other fields of the file, such as those of a labeling tool, are not ours to
    # drop.
    document = read_document(path) if path.is_file() else Annotation(*shape).to_json(legacy=legacy)
    entries: list[Any] = []
    for item in objects:
        # A project has no place for a status. The object stays in the journal, and comes back with an undo.
        if item.status == "rejected":
            continue
        if item.is_verbatim:
            # As it was read, to the last digit: a rewritten polygon would differ in how its numbers are
            # spelled.
            entries.append(item.values)
        else:
            entries += [labeled.to_json(legacy=legacy) for labeled in to_labeled(item)]
    return json_text({**document, "tags": list(tags), "objects": entries})


def tags_json(tags: Iterable[Tag], *, legacy: bool) -> list[Any]:
    """Tags as the file has them."""
    return [tag.to_json(legacy=legacy) for tag in tags]


def text_sha(text: str) -> str:
    """SHA-256 of a text's file."""
    return sha256(text.encode()).hexdigest()
