"""From JSON to a graph of layers with typed settings; nothing is planned or run here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.config import format_path, parse_settings, read_document
from geoseg.dtl.catalog import LayerKind, registry
from geoseg.dtl.randomness import root_key
from geoseg.dtl.registry import LayerSettings
from geoseg.errors import ConfigError, InputError
from geoseg.projects.project import check_name
from geoseg.typing import PathLike

__all__ = ["NOWHERE", "Graph", "LayerSpec", "graph_schema", "parse_graph", "read_graph"]

#: A destination where samples vanish.
NOWHERE = "null"

_KEYS = ("action", "src", "dst", "settings")
# Far beyond any graph that a person writes; a file of millions of layers would be planned for hours.
_MAX_LAYERS = 10_000


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a graph.

    Attributes
    ----------
    index
        Position in the file, from 0.
    action
        As written.
    kind
        The registered layer.
    src, dst
        Names of connections; of a data layer ``src`` are projects and data sets, of a save layer ``dst`` is
        the name of the result.
    settings
        Validated.
    identity
        Hash of what the layer is, wherever it stands in the file.
    """

    index: int
    action: str
    kind: LayerKind
    src: tuple[str, ...]
    dst: tuple[str, ...]
    settings: LayerSettings
    identity: bytes

    @property
    def title(self) -> str:
        """``layer 3 (flip)``: how errors and tables call it, counted from 1."""
        return f"layer {self.index + 1} ({self.action})"


@dataclass(frozen=True)
class Graph:
    """A graph as written: all layers known, all settings valid; connections are the plan's matter.

    Attributes
    ----------
    source
        What to call it in messages, usually its file.
    layers
        In the order of the file.
    """

    source: str
    layers: tuple[LayerSpec, ...]

    def error(self, spec: LayerSpec, where: str, message: object) -> ConfigError:
        """An error at a place of a layer, like ``src[0]``."""
        path = format_path((spec.index,)) + (f".{where}" if where else "")
        return ConfigError(f"{self.source}: {spec.title}: {path}: {message}")

    def of_role(self, role: str) -> tuple[LayerSpec, ...]:
        """Layers of a role: data, step or save."""
        return tuple(spec for spec in self.layers if spec.kind.role == role)

    @property
    def save(self) -> LayerSpec:
        """The save layer."""
        return self.of_role("save")[0]

    @property
    def name(self) -> str:
        """Name of the result project."""
        return self.save.dst[0]


def read_graph(path: PathLike) -> Graph:
    """Read a graph from a JSON file.

    Raises
    ------
    MissingFileError, ConfigError
        No such file, or one line that names layer, action and JSON path of the first mistake.
    """
    return parse_graph(read_document(path), source=Path(path).name)


def parse_graph(document: Any, *, source: str = "graph") -> Graph:
    """Validate the layers of a graph one by one.

    Parameters
    ----------
    document
        What JSON gave: a list of layers.
    source
        Its name in messages.

    Raises
    ------
    ConfigError
        The first mistake.

    Examples
    --------
    >>> graph = parse_graph([
    ...     {"action": "data", "src": ["p/*"], "dst": "$a", "settings": {"classes_mapping": "default"}},
    ...     {"action": "supervisely", "src": ["$a"], "dst": "out", "settings": {}},
    ... ])
    >>> graph.name, [spec.title for spec in graph.layers]
    ('out', ['layer 1 (data)', 'layer 2 (supervisely)'])
    """
    if not isinstance(document, list) or not document:
        raise ConfigError(f"{source}: $: a graph must be a list of layers, got {_kind(document)}.")
    if len(document) > _MAX_LAYERS:
        raise ConfigError(
            f"{source}: $: a graph must have at most {_MAX_LAYERS} layers, got {len(document)}."
        )
    twins: dict[bytes, int] = {}
    graph = Graph(source, tuple(_parse_layer(entry, i, source, twins) for i, entry in enumerate(document)))
    saves = graph.of_role("save")
    if not graph.of_role("data"):
        raise ConfigError(f"{source}: $: a graph must have a data layer, got none.")
    if len(saves) != 1:
        raise ConfigError(f"{source}: $: a graph must have exactly one save layer, got {len(saves)}.")
    return graph


def _kind(value: Any) -> str:
    return "an empty list" if value == [] else {dict: "an object"}.get(type(value), type(value).__name__)


def _parse_layer(entry: Any, index: int, source: str, twins: dict[bytes, int]) -> LayerSpec:
    def fail(where: str, message: str) -> ConfigError:
        return ConfigError(f"{source}: {title}: $[{index}]{where}: {message}")

    title = f"layer {index + 1}"
    if not isinstance(entry, Mapping):
        raise fail("", f"a layer must be an object, got {_kind(entry)}.")
    action = entry.get("action")
    title = f"layer {index + 1} ({action})"
    kind = registry.find(action) if isinstance(action, str) else None
    if kind is None:
        # Most wrong actions are typing mistakes or names of another version.
        close = difflib.get_close_matches(str(action), registry.actions(), 1)
        hint = f"Did you mean {close[0]}?" if close else f"Known actions are {', '.join(registry.actions())}."
        raise fail(".action", f"action must be the name of a layer, got {action!r}. {hint}")
    for key in entry:
        if key not in _KEYS:
            raise fail(f".{key}", f"unknown key; known keys are {', '.join(_KEYS)}")
    for key in _KEYS:
        if key not in entry:
            raise fail(
                f".{key}", "must be given" + (", {} where there are none" if key == "settings" else "")
            )
    src = _parse_src(entry["src"], kind, fail)
    dst = _parse_dst(entry["dst"], kind, fail)
    if not isinstance(entry["settings"], Mapping):
        raise fail(".settings", f"must be an object, got {_kind(entry['settings'])}.")
    # Python's JSON reader takes NaN and Infinity, which pass comparisons with limits.
    endless = _endless(entry["settings"], (index, "settings"))
    if endless is not None:
        raise ConfigError(f"{source}: {title}: {format_path(endless)}: a number must be finite.")
    try:
        settings = parse_settings(
            kind.settings, entry["settings"], source=f"{source}: {title}", at=(index, "settings")
        )
    except ConfigError as error:
        # One line: the first mistake is enough, and commands print errors in a line.
        raise ConfigError(str(error).partition("\n")[0]) from None
    # Defaults are left out: a setting that a later version adds must not change what is drawn at random.
    written = settings.model_dump_json(exclude_defaults=True)
    # Sources sorted, for their order changes nothing. Position in the file is left out: layers may be listed
    # in any order with the same result.
    identity = root_key(0, kind.name, *sorted(src), "->", *dst, written)
    # Two layers that are equal in all must still draw apart from each other.
    twins[identity] = twins.get(identity, -1) + 1
    return LayerSpec(index, str(action), kind, src, dst, settings, identity + bytes([twins[identity] % 256]))


def _endless(value: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    """Where settings hold an infinite number, or one that is none."""
    # A list and no recursion: depth is the file's to choose.
    left = [(value, path)]
    while left:
        part, at = left.pop()
        if isinstance(part, float) and not math.isfinite(part):
            return at
        if isinstance(part, Mapping):
            left += [(item, (*at, key)) for key, item in part.items()]
        elif isinstance(part, list):
            left += [(item, (*at, key)) for key, item in enumerate(part)]
    return None


def _parse_src(value: Any, kind: LayerKind, fail: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise fail(".src", f"must be a list of names, got {value!r}.")
    for i, name in enumerate(value):
        if kind.role == "data":
            project, _, _dataset = name.partition("/")
            try:
                check_name(project, "project")
            except InputError as error:
                raise fail(f".src[{i}]", str(error)) from None
        elif not name.startswith("$"):
            raise fail(f".src[{i}]", f"must be a connection like $name, got {name!r}.")
    # The original took the last of several projects without a word.
    if kind.role == "data" and len({name.partition("/")[0] for name in value}) > 1:
        raise fail(
            ".src", f"must name data sets of one project, got {', '.join(value)}. Add a data layer for each."
        )
    return tuple(value)


def _parse_dst(value: Any, kind: LayerKind, fail: Any) -> tuple[str, ...]:
    branches = kind.settings.branches
    if branches > 1:
        if (
            not isinstance(value, list)
            or len(value) != branches
            or not all(isinstance(v, str) for v in value)
        ):
            raise fail(".dst", f"must be a list of {branches} names, got {value!r}.")
    elif not isinstance(value, str):
        raise fail(".dst", f"must be one name, got {value!r}.")
    names = tuple(value) if branches > 1 else (value,)
    if kind.role == "save":
        try:
            check_name(names[0], "project")
        except InputError as error:
            raise fail(".dst", str(error)) from None
        return names
    for name in names:
        if name != NOWHERE and (not name.startswith("$") or len(name) < 2):
            raise fail(".dst", f"must be a connection like $name, or null, got {name!r}.")
    return names


def graph_schema() -> dict[str, Any]:
    """JSON Schema of graphs, for editors: all layers with their settings."""
    definitions: dict[str, Any] = {}
    options = []
    for kind in registry.kinds():
        settings = kind.settings.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= settings.pop("$defs", {})
        names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        one = {"type": "string"} if kind.settings.branches == 1 else {**names, "minItems": 2, "maxItems": 2}
        options.append(
            {
                "type": "object",
                "title": kind.name,
                "description": kind.summary,
                "properties": {
                    "action": {"enum": [kind.name, *kind.aliases]},
                    "src": names,
                    "dst": one,
                    "settings": settings,
                },
                "required": list(_KEYS),
                "additionalProperties": False,
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "DTL graph",
        "type": "array",
        "minItems": 2,
        "items": {"oneOf": options},
        "$defs": definitions,
    }
