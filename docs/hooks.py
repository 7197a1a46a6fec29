"""Hook of the documentation's build: pages made from the command line, and from READMEs of examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

#: Where the page asks for the commands.
PLACE = "<!-- commands -->"
#: Where a page in ``docs/tutorials`` asks for the README of a tutorial.
TUTORIAL = re.compile(r"<!-- tutorial (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands, and READMEs, where a page asks for them."""
    markdown = TUTORIAL.sub(lambda match: tutorial_page(match[1]), markdown)
    return markdown.replace(PLACE, command_pages()) if PLACE in markdown else markdown


def tutorial_page(name: str) -> str:
    """A tutorial's README, whose links lead from the page to pictures and pages."""
    readme = Path(__file__).parents[1] / "examples" / "tutorials" / name / "README.md"
    return readme.read_text(encoding="utf-8").replace("../../../docs/", "../")


def command_pages() -> str:
    """Markdown of every command: what it does, its arguments and options, its examples."""
    import typer

    from geoseg.cli import app

    return "\n\n".join(_sections(typer.main.get_command(app), ("geoseg",)))


def _sections(command: Any, path: tuple[str, ...]) -> list[str]:
    names = sorted(getattr(command, "commands", {}) or _listed(command))
    if names:
        sections = [] if len(path) == 1 else [f"## {' '.join(path)}\n\n{_prose(command.help)}"]
        for name in names:
            sections += _sections(command.get_command(None, name), (*path, name))
        return sections
    usage = " ".join([*path, *(_metavar(param) for param in command.params if _is_argument(param))])
    rows = [_row(param) for param in command.params if param.name != "help"]
    table = "| argument or option | meaning | default |\n|---|---|---|\n" + "\n".join(rows)
    return [
        f"{'#' * min(len(path), 3)} {' '.join(path)}\n\n{_prose(command.help)}\n\n"
        f"    {usage} [OPTIONS]\n\n{table}{_examples(command.epilog)}"
    ]


def _listed(command: Any) -> list[str]:
    """Names of a group that imports its commands when they are used."""
    return command.list_commands(None) if hasattr(command, "list_commands") else []


def _is_argument(param: Any) -> bool:
    return param.param_type_name == "argument"


def _metavar(param: Any) -> str:
    name = param.name.upper()
    name = f"{name}..." if param.nargs != 1 else name
    return name if param.required else f"[{name}]"


def _row(param: Any) -> str:
    if _is_argument(param):
        name, default = f"`{_metavar(param)}`", ""
    else:
        name = ", ".join(f"`{spelling}`" for spelling in [*param.opts, *param.secondary_opts])
        value = param.default() if callable(param.default) else param.default
        unset = value is None or isinstance(value, bool) or "UNSET" in repr(value).upper() or value == ()
        default = "required" if param.required else "" if unset else f"`{value}`"
    help_text = getattr(param, "help", None) or ""
    return f"| {name} | {_prose(help_text).replace('|', chr(92) + '|')} | {default} |"


def _prose(text: str | None) -> str:
    """Help text without the markup of the terminal."""
    paragraphs = re.split(r"\n\s*\n", re.sub(r"\[/?(?:bold|italic|dim|green|cyan|yellow)\]", "", text or ""))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).strip()


def _examples(epilog: str | None) -> str:
    lines = [line.strip() for line in (epilog or "").splitlines()]
    commands = [line for line in lines if line.startswith("geoseg ")]
    return "\n\n```console\n" + "\n".join(f"$ {line}" for line in commands) + "\n```" if commands else ""
