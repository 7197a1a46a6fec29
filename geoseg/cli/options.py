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
from geoseg.config.resolve import origin_of, parse_run_settings, resolve
from geoseg.config.run import RunSettings
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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option that is given twice: the last would win, and formats be lost without a word."""
        # Parsed twice, here only to see the order: click itself keeps just the last value of an option.
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in order:
            flag = getattr(option, "is_flag", False) or getattr(option, "multiple", False)
            if order.count(option) > 1 and option.param_type_name == "option" and not flag:
                ctx.fail(f"{option.opts[0]} must be given once; several values are separated by commas.")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in the choices and the shipped network's settings."""
        from geoseg.models import open_bundle, shipped_model

        suggested = open_bundle(shipped_model()).card.options.suggested()
        settings = settings_of(RunSettings)
        for parameter in self.params:
            # --json, --config and their like are no settings.
            field, option = settings.get(str(parameter.name), (None, None))
            if field is None or option is None:
                continue
            if option.choices:
                module, _, name = option.choices.partition(":")
                choices = ", ".join(getattr(importlib.import_module(module), name))
                parameter.help = f"{option.help} Known: {choices}."  # type: ignore[attr-defined]
            # vectorize runs no network, so what the shipped one suggests says nothing about it.
            if parameter.name in suggested and ctx.info_name != "vectorize":
                shipped = value_text(suggested[parameter.name])
                default = default_text(str(parameter.name), field, option, "run")
                parameter.show_default = f"{default}; the shipped one sets {shipped}"  # type: ignore[attr-defined]
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
        signature = inspect.signature(command, eval_str=True)

        @functools.wraps(command)
        def wrapped(config: Path | None, print_config: bool, **arguments: Any) -> None:
            texts = {name: arguments.pop(name) for name in options}
            settings, origins = _collect(caller, texts, config)
            if print_config:
                _print_toml(caller, settings, suggest(arguments), origins)
            else:
                command(settings=settings, **arguments)

        kind = inspect.Parameter.KEYWORD_ONLY
        own = [one.replace(kind=kind) for one in signature.parameters.values() if one.name != "settings"]
        # The default of every flag is None, not the setting's own: what nobody typed is left to the model.
        flags = [
            inspect.Parameter(name, kind, default=None, annotation=_annotation(caller, name, field, option))
            for name, (field, option) in options.items()
        ]
        flags += [
            inspect.Parameter("config", kind, default=None, annotation=Annotated[Path | None, _CONFIG]),
            inspect.Parameter("print_config", kind, default=False, annotation=Annotated[bool, _PRINT]),
        ]
        # typer reads the parameters from here.
        wrapped.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _annotation(caller: Caller, name: str, field: FieldInfo, option: Option) -> Any:
    """Type and typer's option of a setting's flag."""
    flag = _flag(name, option)
    if field.annotation is bool:
        default = "yes" if field.default else "no"
        # With --no-FLAG, so that a switch that the model or --config turns on can be turned off.
        switch = typer.Option(
            f"{flag}/--no-{flag[2:]}", help=option.help, rich_help_panel=option.panel, show_default=default
        )
        return Annotated[bool | None, switch]
    metavar = option.metavar
    if not metavar:
        (form,) = plain_type(field.annotation)
        placeholders = {int: "N", float: "X", str: "NAME"}
        metavar = placeholders[form] if form in placeholders else "|".join(map(str, get_args(form)))
    # Always text: click's types know neither a pair nor "native", and their errors are not the settings'.
    return Annotated[
        str | None,
        typer.Option(
            flag,
            help=option.help,
            rich_help_panel=option.panel,
            metavar=metavar,
            show_default=default_text(name, field, option, caller),
        ),
    ]


def _collect(
    caller: Caller, texts: Mapping[str, Any], config: Path | None
) -> tuple[RunSettings, dict[str, str]]:
    """Settings of the command line over those of a file, and where each comes from."""
    known = settings_of(RunSettings, caller)
    typed = {name: _value(text, *known[name]) for name, text in texts.items() if text is not None}
    origins = dict.fromkeys(typed, "this command")
    # Of the file only what no flag says: a flag wins over it, key by key.
    filed: dict[str, Any] = {}
    if config is not None:
        document = read_document(config)
        if not isinstance(document, dict):
            raise ConfigError(f"{config} must hold settings by name, got {type(document).__name__}.")
        filed = {name: value for name, value in document.items() if name not in typed}
        origins |= dict.fromkeys(filed, str(config))
        # Parsed by themselves first, so that a mistake is called as its file or its flag has it.
        parse_run_settings(filed, caller=caller, spelling=lambda name: f"{config}: {name}")
        # Of all settings only this one is a path, and paths in a file start from the file's folder.
        if filed.get("aoi") is not None:
            filed["aoi"] = config.parent / filed["aoi"]
    spelling = {name: _flag(name, option) for name, (_, option) in known.items()}
    parse_run_settings(typed, caller=caller, spelling=spelling.__getitem__)
    return parse_run_settings({**filed, **typed}, caller=caller), origins


def _value(text: Any, field: FieldInfo, option: Option) -> Any:
    """What the text of a flag stands for: numbers where the setting has numbers, else the text itself."""
    forms = list(plain_type(field.annotation))
    # A switch comes as a bool; a class or a file whose name is 12 stays a text.
    if not isinstance(text, str) or not any(_holds_number(form) for form in forms):
        return text
    if "=" in text:
        pairs = (pair.partition("=") for pair in text.split(","))
        return {name.strip(): _number(value) for name, _, value in pairs}
    values = tuple(map(_number, text.split(",")))
    # Pairs are typed in the order of x and y, and kept in that of rows and columns.
    values = values[::-1] if option.metavar in ("N|W,H", "N|X,Y") else values
    return values[0] if len(values) == 1 else values


def _holds_number(form: Any) -> bool:
    """Whether a form, or one inside it, is a number; Literal[4, 8] is one as well."""
    return (
        form in (int, float)
        or any(_holds_number(inner) for part in get_args(form) for inner in plain_type(part))
        or any(isinstance(value, int) for value in get_args(form))
    )


def _number(text: str) -> Any:
    """A number, whole where it is written so; what is none stays text, which the setting may refuse."""
    # Whole numbers first: 3 and 3.0 are two values to a setting that counts.
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def _print_toml(
    caller: Caller, given: RunSettings, suggested: Mapping[str, Any], origins: Mapping[str, str]
) -> None:
    """Settings as TOML that ``--config`` reads; what is not set stands in a comment."""
    chosen = resolve(given, suggested)
    print(f"# geoseg {caller}: settings, and where each comes from")
    source = "the raster" if caller == "vectorize" else "the model"
    for name, (field, option) in settings_of(RunSettings, caller).items():
        value = getattr(chosen, name)
        texts = {"given": origins.get(name, ""), "model": source, "default": "the default"}
        origin = texts[origin_of(name, given, suggested)]
        # TOML has no null: a line without a value would be refused when the file is read back.
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
