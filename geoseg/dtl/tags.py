"""Kinds of tags that only a run shows: the list of tags of the result is made to fit the values saved."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from geoseg.config import read_document
from geoseg.dtl.sample import Sample
from geoseg.files import json_text
from geoseg.projects.figures import ProjectMeta, TagMeta, color_of
from geoseg.projects.figures.meta import tag_kind

__all__ = ["gather", "settled_tags", "surprises", "values_to_text"]

logger = logging.getLogger(__name__)

_TEXT = frozenset({"any_string", "oneof_string", "date"})
#: Stands for values that no kind of tag has, like lists.
_OTHER = "other"


def surprises(sample: Sample, meta: ProjectMeta) -> dict[str, set[str]]:
    """Kinds of values that the tags in ``meta`` do not allow, by the name of the tag.

    Tags of the image and of its objects are looked at. A tag that ``meta`` does not have allows nothing.
    """
    known = {tag.name: tag for tag in meta.tags}
    kinds: dict[str, set[str]] = {}
    for tag in itertools.chain(sample.annotation.tags, *(item.tags for item in sample.objects)):
        declared = known.get(tag.name)
        if declared is None or not declared.fits(tag.value):
            kinds.setdefault(tag.name, set()).add(tag_kind(tag.value) or _OTHER)
    return kinds


def gather(kinds: dict[str, set[str]], more: Mapping[str, set[str]]) -> None:
    """Add the kinds of further samples to ``kinds``, in place."""
    for name in sorted(more):
        kinds.setdefault(name, set()).update(more[name])


def settled_tags(meta: ProjectMeta, kinds: Mapping[str, set[str]]) -> tuple[ProjectMeta, frozenset[str]]:
    """Classes and tags of the result, with kinds of tags that allow every value saved.

    A tag that nobody declared gets the kind of its values. One with values of several kinds becomes text,
    since no kind allows both numbers and text.

    Parameters
    ----------
    meta
        What the graph knew before it ran.
    kinds
        Joined :func:`surprises` of all samples.

    Returns
    -------
    meta
        With these tags.
    names
        Tags whose values have to be written as text, see :func:`values_to_text`.
    """
    as_text = set()
    for name, saved in kinds.items():
        known = meta.find_tag(name)
        # The kind that was declared counts even where no value of it was saved: it is a promise to the user.
        every = saved | ({known.value_type} if known is not None else set())
        kind = next(iter(every)) if len(every) == 1 and _OTHER not in every else "any_string"
        if not every <= _TEXT and kind == "any_string":
            as_text.add(name)
            logger.warning("tag %r has values of several kinds, which are written as text", name)
        if known is None:
            meta = meta.with_tag(TagMeta(name, kind, color=color_of(name)))
        else:
            wider = replace(
                # A list of allowed values would refuse the text that now stands there.
                known,
                value_type=kind,
                extra={k: v for k, v in known.extra.items() if k != "values"},
            )
            meta = replace(meta, tags=tuple(wider if tag is known else tag for tag in meta.tags))
    return meta, frozenset(as_text)


def values_to_text(files: Iterable[Path], names: frozenset[str]) -> None:
    """Write the values of some tags as text, in annotation files of today's form: no value is empty text."""
    # All files are read, changed or not: which samples have a value is not kept, for there may be millions.
    for path in files:
        document = read_document(path)
        places = [document, *document["objects"]]
        changed = [tag for place in places for tag in place["tags"] if tag["name"] in names]
        for tag in changed:
            value = tag["value"] if tag["value"] is not None else ""
            tag["value"] = value if isinstance(value, str) else json.dumps(value)
        if changed:
            path.write_text(json_text(document), encoding="utf-8")
