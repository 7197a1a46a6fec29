"""What a setting of a run is to those who give it: at the command line, in Python, in a model's card."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["Caller", "Option", "option_of", "plain_type", "rule_of", "settings_of"]

#: Who takes a setting. ``run``, ``predict`` and ``vectorize`` are commands, and ``run``, ``segment`` and
#: ``vectorize`` functions; ``array`` is the function ``geoseg.predict``, which gives a lazy array, and
#: ``polygonize`` the function that takes the settings of steps alone.
Caller: TypeAlias = Literal["run", "predict", "vectorize", "segment", "array", "polygonize"]

#: Headings of the help texts, in the order in which they stand there.
PANELS = ("Scene", "Network", "Footprints", "Files", "Work")
Panel: TypeAlias = Literal["Scene", "Network", "Footprints", "Files", "Work"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """Beside the type and the default of a setting: all that makes an option of it.

    Attributes
    ----------
    help
        One or two sentences; the default is added.
    takes
        Who takes it.
    panel
        Heading of its help text.
    rule
        Completes "NAME must be ..." in an error; empty: made from the type and its bounds.
    metavar
        Stands for the value in a help text; empty: made from the type.
    flag
        Spelling at the command line; empty: the name, with dashes.
    keyword
        Type of the keyword argument, as Python source; empty: that of the field.
    choices
        "module:name" of the object that knows the allowed values, which a help text lists.
    unset
        What the default does, in words; empty: the value itself.
    fingerprint
        Whether its value decides the stored pixels by itself. What decides them through the scene, the model
        or the area of interest is in the fingerprint of that.
    same_bytes
        Of an option of the scene, the network or the footprints: whether results are the same whatever its
        value, so that they do not state it.
    """

    help: str
    takes: tuple[Caller, ...]
    panel: Panel
    rule: str = ""
    metavar: str = ""
    flag: str = ""
    keyword: str = ""
    choices: str = ""
    unset: str = ""
    fingerprint: bool = False
    same_bytes: bool = False

    @property
    def is_stated(self) -> bool:
        """Whether results say in their metadata what it was."""
        # Files and work decide which results there are and when, not what they hold.
        return self.panel not in ("Files", "Work") and not self.same_bytes


def option_of(field: FieldInfo) -> Option | None:
    """The option that a field is annotated with."""
    return next((item for item in field.metadata if isinstance(item, Option)), None)


def settings_of(cls: type[BaseModel], caller: Caller | None = None) -> dict[str, tuple[FieldInfo, Option]]:
    """Settings that a caller takes (None: all), in the order of the help texts."""
    annotated = {name: (field, option_of(field)) for name, field in cls.model_fields.items()}
    # Fields without an Option, such as those that other classes add, are nobody's to give.
    taken = {
        name: (field, option)
        for name, (field, option) in annotated.items()
        if option is not None and (caller is None or caller in option.takes)
    }
    return dict(sorted(taken.items(), key=lambda item: PANELS.index(item[1][1].panel)))


def plain_type(annotation: Any) -> Iterator[Any]:
    """The forms a value may have, without what pydantic needs beside them and without None.

    Examples
    --------
    >>> list(plain_type(float | Literal["native"] | None))
    [<class 'float'>, typing.Literal['native']]
    """
    if get_origin(annotation) is Annotated:
        yield from plain_type(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for form in get_args(annotation):
            yield from plain_type(form)
    elif annotation is not type(None):
        yield annotation


def rule_of(field: FieldInfo, option: Option) -> str:
    """What a value must be, for errors and for ``--help``."""
    if option.rule:
        return option.rule
    (form,) = plain_type(field.annotation)
    if get_origin(form) is Literal:
        return f"one of {', '.join(map(str, get_args(form)))}"
    # Only a least number has words here; a setting with other limits says its rule itself.
    least = next((bound.ge for bound in field.metadata if isinstance(bound, annotated_types.Ge)), None)
    words = {bool: "true or false", int: "a whole number", float: "a number", Path: "a file", str: "a text"}
    return words[form] if least is None else f"{words[form]} of at least {least}"
