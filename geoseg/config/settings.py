"""JSON and TOML to typed, frozen settings; unknown keys are refused with their JSON path."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from geoseg.errors import ConfigError, MissingFileError
from geoseg.typing import PathLike

__all__ = ["Settings", "format_path", "parse_settings", "read_document"]


class Settings(BaseModel):
    """Base of every settings class: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


S = TypeVar("S", bound=BaseModel)


def format_path(location: tuple[int | str, ...]) -> str:
    """Write a location as a JSON path.

    Examples
    --------
    >>> format_path(("layers", 2, "settings"))
    '$.layers[2].settings'
    >>> format_path(())
    '$'
    """
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def read_document(path: PathLike) -> Any:
    """Read a JSON or TOML file (by its suffix; JSON unless ``.toml``).

    Raises
    ------
    MissingFileError
        The file does not exist.
    ConfigError
        The file is not valid JSON or TOML; the message names line and column.
    """
    path = Path(path)
    try:
        # Editors on Windows put a byte-order mark in front, which is no JSON.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingFileError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from None
    try:
        return tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers and depths without end are these, too
        raise ConfigError(
            f"{path} is not valid {'TOML' if path.suffix.lower() == '.toml' else 'JSON'}: {error}"
        ) from None


def parse_settings(
    cls: type[S],
    document: Mapping[str, Any] | Any,
    *,
    source: str = "settings",
    at: tuple[int | str, ...] = (),
) -> S:
    """Validate ``document`` as settings of class ``cls``.

    Parameters
    ----------
    cls
        The settings class.
    document
        What JSON or TOML gave.
    source
        What to call the document in an error, usually its file name.
    at
        Location of ``document`` inside its file, put before every path in an error.

    Raises
    ------
    ConfigError
        One line for each mistake, each with its JSON path.
    """
    try:
        return cls.model_validate(document)
    except ValidationError as error:
        lines = [
            f"{source}: {format_path((*at, *place))}: {message}"
            for place, message in _mistakes(cls, document, error)
        ]
        raise ConfigError("\n".join(lines)) from None


def _mistakes(
    cls: type[BaseModel], document: Any, error: ValidationError
) -> list[tuple[tuple[int | str, ...], str]]:
    """Mistakes of a document: the place of each in the document, and its message.

    Where one of several forms is allowed, pydantic tries each of them and reports each. The messages for one
    place become one. A place has no message where a mistake lies inside it: there a form fits, but for that.
    """
    messages_at: dict[tuple[int | str, ...], list[str]] = {}
    keys = {field.alias or name for name, field in cls.model_fields.items()}
    for item in error.errors():
        # The words that pydantic puts before the message of a validator of ours.
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = (
                f"unknown key; known keys are {', '.join(sorted(keys))}"
                # Of the outermost object alone: which class an inner one was meant for is not known here.
                if len(item["loc"]) == 1
                else "unknown key"
            )
        messages = messages_at.setdefault(_place(document, item["loc"], item["type"] == "missing"), [])
        if message not in messages:
            messages.append(message)
    inner = [
        place
        for place in messages_at
        if not any(place == other[: len(place)] != other for other in messages_at)
    ]
    return [(place, ", or: ".join(messages_at[place])) for place in inner]


def _place(document: Any, location: tuple[int | str, ...], missing: bool) -> tuple[int | str, ...]:
    """A location without the names of forms, which are no keys of the document."""
    value, place = document, list[int | str]()
    for step, part in enumerate(location):
        # pydantic puts the names of the forms it tried between the keys: only what is there is a key.
        if isinstance(value, Mapping):
            is_key = part in value
        else:
            is_key = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if is_key:
            place.append(part)
            value = value[part]
        elif isinstance(part, int):  # of a short form that has been written out
            return (*place, *location[step:])
        # A key that is missing is in no document, and still the place of the mistake.
        elif missing and step == len(location) - 1:
            place.append(part)
    return tuple(place)
