"""A directed graph of boxes with text, as SVG, PNG or Mermaid in Markdown."""

from __future__ import annotations

import json
import os
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import InputError
from geoseg.report.graph_layout import layered_layout
from geoseg.typing import PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Arrow", "Box", "draw_graph", "mermaid", "setting_lines", "write_figure", "write_graph"]

_FONT_PT = 7.5
_CHAR_IN = 0.625 * _FONT_PT / 72
_LINE_IN = 1.35 * _FONT_PT / 72
_PAD_IN = 0.09
_WRAP = 40
_MAX_LINES = 14
_MAX_SIDE_IN = 300.0
_FACES = {"source": "#dbeafe", "save": "#dcfce7", "choice": "#fef3c7", "drop": "#f3f4f6", "other": "#ffffff"}
_EDGES = {"source": "#1d4ed8", "save": "#15803d", "choice": "#b45309", "drop": "#9ca3af", "other": "#475569"}


@dataclass(frozen=True)
class Box:
    """One box: a title, lines of text, and a kind that decides its color."""

    title: str
    lines: tuple[str, ...] = ()
    kind: str = "other"


@dataclass(frozen=True)
class Arrow:
    """From box ``source`` to box ``target`` (indices), with a label."""

    source: int
    target: int
    label: str = ""


def setting_lines(settings: Mapping[str, Any], *, limit: int = _MAX_LINES) -> tuple[str, ...]:
    """Settings as wrapped ``key: value`` lines; what does not fit is counted, not hidden.

    Examples
    --------
    >>> setting_lines({"window": {"width": 512, "height": 512}, "keep": True})
    ('window: {width: 512, height: 512}', 'keep: true')
    >>> setting_lines({})
    ()
    """
    lines = _lines_of(settings, "")
    if len(lines) > limit:
        lines = [*lines[: limit - 1], f"... {len(lines) - limit + 1} more lines"]
    return tuple(lines)


def _lines_of(settings: Mapping[str, Any], indent: str) -> list[str]:
    """One line a key; a mapping that is too long for its line is opened below it."""
    lines: list[str] = []
    for key, value in settings.items():
        text = f"{indent}{key}: {_plain(value)}"
        if len(text) > _WRAP and isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_lines_of(value, indent + "  ")]
        else:
            lines += textwrap.wrap(text, _WRAP, subsequent_indent=f"{indent}    ", break_on_hyphens=False)
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


def mermaid(boxes: Sequence[Box], arrows: Sequence[Arrow], *, title: str = "") -> str:
    """The graph as a Mermaid flowchart inside a Markdown document.

    Examples
    --------
    >>> print(mermaid([Box("a"), Box("b", ("x: 1",))], [Arrow(0, 1, "true")]))
    ```mermaid
    flowchart TD
      n0["<b>a</b>"]
      n1["<b>b</b><br/>x: 1"]
      n0 -->|"true"| n1
    ```
    """
    lines = ([f"# {title}", ""] if title else []) + ["```mermaid", "flowchart TD"]
    for index, box in enumerate(boxes):
        text = "<br/>".join([f"<b>{_escape(box.title)}</b>", *map(_escape, box.lines)])
        lines.append(f'  n{index}["{text}"]')
    for arrow in arrows:
        label = f'|"{_escape(arrow.label)}"|' if arrow.label else ""
        lines.append(f"  n{arrow.source} -->{label} n{arrow.target}")
    for kind in sorted({box.kind for box in boxes} - {"other"}):
        members = ",".join(f"n{i}" for i, box in enumerate(boxes) if box.kind == kind)
        lines.append(f"  classDef {kind} fill:{_FACES[kind]},stroke:{_EDGES[kind]}")
        lines.append(f"  class {members} {kind}")
    return "\n".join([*lines, "```"])


def _escape(text: str) -> str:
    for char, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(char, code)
    return text


def draw_graph(boxes: Sequence[Box], arrows: Sequence[Arrow], *, title: str = "") -> Figure:
    """The graph as a matplotlib figure, one inch of layout an inch of paper."""
    from matplotlib.figure import Figure

    layout = layered_layout([_box_size(box) for box in boxes], [(a.source, a.target) for a in arrows])
    margin, head = 0.2, 0.35 if title else 0.0
    width, height = layout.width + 2 * margin, layout.height + 2 * margin + head
    figure = Figure(figsize=(max(width, 1.0), max(height, 1.0)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-margin, width - margin), ylim=(height - margin - head, -margin - head))
    axes.axis("off")
    if title:
        axes.text(0, -head / 2, title, va="center", fontsize=11, fontweight="bold", parse_math=False)
    for arrow, route in zip(arrows, layout.routes, strict=True):
        _draw_arrow(axes, arrow, route)
    for box, center in zip(boxes, layout.centers, strict=True):
        _draw_box(axes, box, center)
    return figure


def _box_size(box: Box) -> tuple[float, float]:
    longest = max(map(len, (box.title, *box.lines)))
    lines = 1 + len(box.lines)
    return longest * _CHAR_IN + 2 * _PAD_IN, lines * _LINE_IN + 2 * _PAD_IN


def _draw_box(axes: Axes, box: Box, center: tuple[float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    width, height = _box_size(box)
    left, top = center[0] - width / 2, center[1] - height / 2
    face, edge = _FACES[box.kind], _EDGES[box.kind]
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch((left, top), width, height, boxstyle=style, fc=face, ec=edge, lw=1.0, zorder=2)
    )
    for index, line in enumerate((box.title, *box.lines)):
        axes.text(
            left + _PAD_IN,
            top + _PAD_IN + (index + 0.5) * _LINE_IN,
            line,
            va="center",
            family="monospace",
            fontsize=_FONT_PT,
            fontweight="bold" if index == 0 else "normal",
            parse_math=False,
            zorder=3,
        )


def _draw_arrow(axes: Axes, arrow: Arrow, route: list[tuple[float, float]]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    vertices, codes = [route[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(route):
        middle = (y0 + y1) / 2
        vertices += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    path = Curve(vertices, codes)
    axes.add_patch(
        FancyArrowPatch(
            path=path, arrowstyle="-|>", mutation_scale=7, color="#64748b", lw=0.9, fill=False, zorder=1
        )
    )
    if arrow.label:
        x, y = route[0]
        side = 0.25 * (route[1][0] - x)
        axes.text(
            x + side, y + 0.2, arrow.label, fontsize=6.5, color="#475569", ha="center", va="center",
            parse_math=False, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}, zorder=4,
        )  # fmt: skip


def write_figure(figure: Figure, path: PathLike, *, dpi: int = 150) -> None:
    """Write a figure by its suffix, under a temporary name until it is whole, without a date in it.

    Raises
    ------
    InputError
        The suffix is none of svg, png and pdf.
    """
    import matplotlib as mpl

    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"svg", "png", "pdf"}:
        raise InputError(f"picture must end in .svg, .png or .pdf, got {path.name!r}.")
    longest = max(figure.get_size_inches())
    stamp = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
    with _temporary(path) as temporary, mpl.rc_context({"svg.hashsalt": "geoseg", "svg.fonttype": "none"}):
        figure.savefig(temporary, format=kind, dpi=min(dpi, _MAX_SIDE_IN * 100 / longest), metadata=stamp)


class _temporary:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends well."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.temporary.chmod(0o644)
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def write_graph(boxes: Sequence[Box], arrows: Sequence[Arrow], path: PathLike, *, title: str = "") -> None:
    """Write the graph as ``.svg``, ``.png``, ``.pdf`` or ``.md`` (Mermaid).

    Raises
    ------
    InputError
        Another suffix.
    """
    path = Path(path)
    if path.suffix.lower() in {".md", ".markdown"}:
        with _temporary(path) as temporary:
            temporary.write_text(mermaid(boxes, arrows, title=title) + "\n", encoding="utf-8")
    elif path.suffix.lower() in {".svg", ".png", ".pdf"}:
        write_figure(draw_graph(boxes, arrows, title=title), path)
    else:
        raise InputError(f"output must end in .svg, .png, .pdf or .md, got {path.name!r}.")
