"""The settings of a run as keyword arguments: the signature and the text that ``help()`` shows.

Editors and mypy know the keywords from :mod:`geoseg.config.keywords`, which this module writes::

    python -m geoseg.config.signature
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic.fields import FieldInfo

from geoseg.config.option import Caller, Option, plain_type, settings_of
from geoseg.config.run import RunSettings, SuggestedSettings

__all__ = ["default_text", "keyword_module", "takes_settings", "value_text"]

F = TypeVar("F", bound=Callable[..., Any])

#: No class for the command ``predict``: its function is ``geoseg.predict``, which takes what ``array`` takes.
_CLASSES: dict[Caller, str] = {
    "run": "RunKeywords",
    "segment": "SegmentKeywords",
    "vectorize": "VectorizeKeywords",
    "array": "PredictKeywords",
    "polygonize": "PolygonizeKeywords",
}

_HEAD = '''"""Keyword arguments of a run, for editors and type checkers.

Written by ``python -m geoseg.config.signature`` from the settings in geoseg/config; a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from geoseg.typing import PathLike
'''


def _type_text(field: FieldInfo, option: Option) -> str:
    """Type of the keyword argument, as Python source."""
    # The type of the field is what a value becomes; a caller may write it in shorter forms.
    if option.keyword:
        return f"{option.keyword} | None"
    (form,) = plain_type(field.annotation)
    if get_origin(form) is Literal:
        values = ", ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in get_args(form))
        return f"Literal[{values}] | None"
    return f"{form.__name__} | None"


def keyword_module() -> str:
    """Source of :mod:`geoseg.config.keywords`."""
    parts = [_HEAD.rstrip()]
    written: dict[str, set[str]] = {}
    # The smallest first, so that whoever takes all of it can inherit: each keyword then stands in few places.
    for caller, title in sorted(_CLASSES.items(), key=lambda pair: len(settings_of(RunSettings, pair[0]))):
        settings = settings_of(RunSettings, caller)
        bases: list[str] = []
        inherited: set[str] = set()
        for base, names in reversed(written.items()):
            if names <= settings.keys() and not names <= inherited:
                bases.append(base)
                inherited |= names
        function = title.removesuffix("Keywords").lower()
        lines = [f"class {title}({', '.join(bases or ['TypedDict'])}, total=False):"]
        lines += [f'    """Settings that geoseg.{function} takes."""', ""]
        for name, (field, option) in settings.items():
            if name not in inherited:
                lines.append(f"    {name}: {_type_text(field, option)}")
        written[title] = set(settings)
        parts.append("\n".join(lines))
    return "\n\n\n".join(parts) + "\n"


def value_text(value: Any) -> str:
    """A value as it is typed at the command line; of a pair of equal numbers, one.

    Examples
    --------
    >>> value_text((512, 512)), value_text(0.0), value_text(("geojson", "fgb"))
    ('512', '0', 'geojson,fgb')
    """
    if isinstance(value, tuple | list):
        return value_text(value[0]) if len(set(value)) == 1 else ",".join(map(value_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def default_text(name: str, field: FieldInfo, option: Option, caller: Caller) -> str:
    """What a caller does without a setting, in words."""
    default = option.unset or value_text(field.default)
    # polygonize is given labels, of which no model is known any more.
    if name not in SuggestedSettings.model_fields or caller == "polygonize":
        return default
    # A raster of probabilities says what its model's card suggested.
    return f"the {'raster' if caller == 'vectorize' else 'model'}'s, else {default}"


def takes_settings(caller: Caller) -> Callable[[F], F]:
    """Show the settings that a function takes as ``**settings`` in its signature and its docstring.

    Parameters
    ----------
    caller
        Which settings.
    """

    def decorate(function: F) -> F:
        options = settings_of(RunSettings, caller)
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_type_text(field, option)
            )
            for name, (field, option) in options.items()
        ]
        # For help() and notebooks; type checkers read the TypedDict, which can't be made at run time.
        function.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        # After the function's own parameters: NumPy style has a heading for those that few callers need.
        lines = ["", "Other Parameters", "----------------"]
        for name, (field, option) in options.items():
            lines.append(f"{name} : {_type_text(field, option).removesuffix(' | None')}")
            text = f"{option.help} None: {default_text(name, field, option, caller)}."
            lines += textwrap.wrap(text, 96, initial_indent="    ", subsequent_indent="    ")
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), *lines])
        return function

    return decorate


if __name__ == "__main__":
    Path(__file__).with_name("keywords.py").write_text(keyword_module(), encoding="utf-8")
