"""Options of a command from the settings of a run, ``--config`` and ``--print-config``."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from geoseg.config import read_document
from geoseg.config.option import Caller, Option, plain_type, settings_of
from geoseg.config.run import RunSettings, origin_of, parse_run_settings, resolve
from geoseg.config.signature import default_text, value_text
from geoseg.errors import ConfigError

__all__ = ["SettingsCommand", "with_settings"]

_CONFIG = typer.Option(
    "--config", help="TOML or JSON file with settings; options win over it.", rich_help_panel="Settings"
)
_PRINT = typer.Option(
    "--print-config",
    help="Print all settings as TOML, with where each comes from, and do nothing.",
    rich_help_panel="Settings",
)

#: From the other arguments of a command to the settings that its model or its raster suggests.
Suggest = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def _flag(name: str, option: Option) -> str:
    return option.flag or f"--{name.replace('_', '-')}"


class SettingsCommand(TyperCommand):
    """A command whose help lists what is only known where it is asked for: formats, the shipped network."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in the choices and the shipped network's settings."""
        from geoseg.models import open_bundle, shipped_model

        suggested = open_bundle(shipped_model()).card.options.suggested()
        known = settings_of(RunSettings)
        for parameter in self.params:
            field, option = known.get(str(parameter.name), (None, None))
            if field is None or option is None:
                continue
            if option.choices:
                module, _, name = option.choices.partition(":")
                listed = ", ".join(getattr(importlib.import_module(module), name))
                parameter.help = f"{option.help} Known: {listed}."  # type: ignore[attr-defined]
            if parameter.name in suggested and ctx.info_name != "vectorize":
                shipped = value_text(suggested[parameter.name])
                words = default_text(str(parameter.name), field, option, "run")
                parameter.show_default = f"{words}; the shipped one sets {shipped}"  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def with_settings(caller: Caller, suggest: Suggest) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting that it takes; it gets them as ``settings``.

    Parameters
    ----------
    caller
        The command.
    suggest
        What ``--print-config`` asks for the settings between the user's and the defaults.
    """
    options = settings_of(RunSettings, caller)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        plain = inspect.signature(command, eval_str=True)
        own = [one for one in plain.parameters.values() if one.name != "settings"]

        @functools.wraps(command)
        def wrapped(config: Path | None, print_config: bool, **given: Any) -> None:
            words = {name: given.pop(name) for name in options}
            settings, origins = _collect(caller, words, config)
            if print_config:
                _print(caller, settings, suggest(given), origins)
            else:
                command(settings=settings, **given)

        kind = inspect.Parameter.KEYWORD_ONLY
        flags = [
            inspect.Parameter(name, kind, default=None, annotation=_annotation(caller, name, field, option))
            for name, (field, option) in options.items()
        ]
        flags += [
            inspect.Parameter("config", kind, default=None, annotation=Annotated[Path | None, _CONFIG]),
            inspect.Parameter("print_config", kind, default=False, annotation=Annotated[bool, _PRINT]),
        ]
        parameters = [one.replace(kind=kind) for one in own]
        wrapped.__signature__ = plain.replace(parameters=[*parameters, *flags])  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _annotation(caller: Caller, name: str, field: FieldInfo, option: Option) -> Any:
    flag = _flag(name, option)
    if field.annotation is bool:
        switch = typer.Option(
            f"{flag}/--no-{flag[2:]}", help=option.help, rich_help_panel=option.panel, show_default="no"
        )
        return Annotated[bool | None, switch]
    return Annotated[
        str | None,
        typer.Option(
            flag,
            help=option.help,
            rich_help_panel=option.panel,
            metavar=option.metavar or _metavar(field),
            show_default=default_text(name, field, option, caller),
        ),
    ]


def _metavar(field: FieldInfo) -> str:
    (form,) = plain_type(field.annotation)
    names = {int: "N", float: "X", str: "NAME"}
    return names[form] if form in names else "|".join(map(str, get_args(form)))


def _collect(
    caller: Caller, words: Mapping[str, Any], config: Path | None
) -> tuple[RunSettings, dict[str, str]]:
    """Settings of the command line over those of a file, and where each comes from."""
    known = settings_of(RunSettings, caller)
    typed = {name: _value(word, *known[name]) for name, word in words.items() if word is not None}
    origins = dict.fromkeys(typed, "this command")
    filed: dict[str, Any] = {}
    if config is not None:
        document = read_document(config)
        if not isinstance(document, dict):
            raise ConfigError(f"{config} must hold settings by name, got {type(document).__name__}.")
        filed = {name: value for name, value in document.items() if name not in typed}
        origins |= dict.fromkeys(filed, str(config))
        # each file names its mistakes itself; what both give is looked at in either
        parse_run_settings(filed, caller=caller, spelling=lambda name: f"{config}: {name}")
        if filed.get("aoi") is not None:
            filed["aoi"] = config.parent / filed["aoi"]
    spelling = {name: _flag(name, option) for name, (_, option) in known.items()}
    parse_run_settings(typed, caller=caller, spelling=spelling.__getitem__)
    return parse_run_settings({**filed, **typed}, caller=caller), origins


def _value(word: Any, field: FieldInfo, option: Option) -> Any:
    """What a word of the command line stands for: numbers where the setting has numbers, else text."""
    forms = list(plain_type(field.annotation))
    if not isinstance(word, str) or not any(_holds_number(form) for form in forms):
        return word
    if "=" in word:
        return {
            name.strip(): _number(text) for name, _, text in (pair.partition("=") for pair in word.split(","))
        }
    values = tuple(map(_number, word.split(",")))
    # pairs are typed in the order of x and y, and kept in that of rows and columns
    values = values[::-1] if option.metavar in ("N|W,H", "N|X,Y") else values
    return values[0] if len(values) == 1 else values


def _holds_number(form: Any) -> bool:
    return (
        form in (int, float)
        or any(_holds_number(inner) for part in get_args(form) for inner in plain_type(part))
        or any(isinstance(value, int) for value in get_args(form))
    )


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def _print(
    caller: Caller, given: RunSettings, suggested: Mapping[str, Any], origins: Mapping[str, str]
) -> None:
    """Settings as TOML that ``--config`` reads; what is not set stands in a comment."""
    chosen = resolve(given, suggested)
    print(f"# geoseg {caller}: settings, and where each comes from")
    for name, (field, option) in settings_of(RunSettings, caller).items():
        value = getattr(chosen, name)
        source = "the raster" if caller == "vectorize" else "the model"
        origin = {"given": origins.get(name, ""), "model": source, "default": "the default"}[
            origin_of(name, given, suggested)
        ]
        if value is None:
            print(f"# {name}: {default_text(name, field, option, caller)}")
        else:
            print(f"{name} = {_toml(value)}  # {origin}")


def _toml(value: Any) -> str:
    """A value as TOML, whose texts, numbers and lists are those of JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
