"""A directed graph of boxes with text, as SVG, PNG or Mermaid in Markdown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import InputError
from geoseg.files import Staged, write_text
from geoseg.typing import PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Arrow", "Box", "draw_graph", "mermaid", "setting_lines", "write_figure", "write_graph"]

_FONT_PT = 7.5
#: Width of a letter and height of a line, inches (72 points): of a monospaced font both are known without
#: drawing.
_CHAR_IN = 0.625 * _FONT_PT / 72
_LINE_IN = 1.35 * _FONT_PT / 72
#: Inches around the text of a box, and between boxes across and down.
_PAD_IN = 0.09
_GAP_IN = (0.4, 0.6)
#: Letters of a line and lines of a box: longer settings, such as mappings of a hundred classes, are cut.
_WRAP = 40
_MAX_LINES = 14
#: What each drawing says of who made it, so that it may be drawn anew.
_MARK = "geoseg drawing"
#: A longer picture gets fewer dots an inch, or it would have more pixels than viewers open.
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


def mermaid(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> str:
    """The graph as a Mermaid flowchart, which GitHub, GitLab and many editors draw.

    Examples
    --------
    >>> print(mermaid([Box("a"), Box("b", ("x: 1",))], [Arrow(0, 1, "true")]))
    flowchart TD
      n0["<b>a</b>"]
      n1["<b>b</b><br/>x: 1"]
      n0 -->|"true"| n1
    """
    lines = ["flowchart TD"]
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
    return "\n".join(lines)


def _escape(text: str) -> str:
    for char, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(char, code)  # "#" first: the codes begin with it
    return text


def draw_graph(boxes: Sequence[Box], arrows: Sequence[Arrow], *, title: str = "") -> Figure:
    """The graph as a matplotlib figure: boxes in rows, arrows downwards, one unit an inch of paper."""
    from matplotlib.figure import Figure

    sizes = [
        (
            max(map(len, (box.title, *box.lines))) * _CHAR_IN + 2 * _PAD_IN,
            (1 + len(box.lines)) * _LINE_IN + 2 * _PAD_IN,
        )
        for box in boxes
    ]
    rows = _rows(len(boxes), arrows)
    centers, width, height = _centers(rows, sizes)
    margin, head = 0.3, 0.35 if title else 0.0
    figure = Figure(figsize=(max(width + 2 * margin, 1.0), max(height + 2 * margin + head, 1.0)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin - head))
    axes.axis("off")
    if title:
        axes.text(0, -head / 2, title, va="center", fontsize=11, fontweight="bold", parse_math=False)
    row_of = {index: number for number, row in enumerate(rows) for index in row}
    for arrow in arrows:
        between = [index for row in rows[row_of[arrow.source] + 1 : row_of[arrow.target]] for index in row]
        (x0, y0), (x1, y1) = centers[arrow.source], centers[arrow.target]
        y0, y1 = y0 + sizes[arrow.source][1] / 2, y1 - sizes[arrow.target][1] / 2
        middle = (x0 + x1) / 2
        # An arrow that skips rows goes around the boxes that stand in its way, on the side that is nearer.
        spans = [(centers[i][0] - sizes[i][0] / 2, centers[i][0] + sizes[i][0] / 2) for i in between]
        spans = [span for span in spans if span[0] <= max(x0, x1) and span[1] >= min(x0, x1)]
        if spans:
            left, right = min(span[0] for span in spans), max(span[1] for span in spans)
            middle = left - _PAD_IN if middle - left < right - middle else right + _PAD_IN
        _draw_arrow(axes, arrow.label, (x0, y0), (x1, y1), middle)
    # Boxes last: they lie over the ends of arrows.
    for box, center, size in zip(boxes, centers, sizes, strict=True):
        _draw_box(axes, box, (center[0] - size[0] / 2, center[1] - size[1] / 2), size)
    return figure


def _rows(count: int, arrows: Sequence[Arrow]) -> list[list[int]]:
    """Boxes by the longest path that ends at them, in a row by the middle of what leads to them."""
    before: list[list[int]] = [[] for _ in range(count)]
    for arrow in arrows:
        before[arrow.target].append(arrow.source)
    rank = [0] * count
    for index in TopologicalSorter(dict(enumerate(before))).static_order():
        rank[index] = max((rank[source] + 1 for source in before[index]), default=0)
    rows = [[i for i in range(count) if rank[i] == number] for number in range(max(rank, default=-1) + 1)]
    # From -1 to 1 in the row. What comes from the left stays on the left, so that few arrows cross.
    place: dict[int, float] = {}
    for row in rows:
        row.sort(key=lambda i: sum(place[source] for source in before[i]) / max(len(before[i]), 1))
        place |= {index: (2 * column + 1) / len(row) - 1 for column, index in enumerate(row)}
    return rows


def _centers(
    rows: list[list[int]], sizes: Sequence[tuple[float, float]]
) -> tuple[list[tuple[float, float]], float, float]:
    """(x, y) of the middle of each box, and width and height of all, which begin at (0, 0); y downwards."""
    widths = [sum(sizes[i][0] for i in row) + _GAP_IN[0] * (len(row) - 1) for row in rows]
    width = max(widths, default=0.0)
    centers = [(0.0, 0.0)] * len(sizes)
    top = 0.0
    for row, row_width in zip(rows, widths, strict=True):
        left, height = (width - row_width) / 2, max(sizes[i][1] for i in row)
        for i in row:
            centers[i] = (left + sizes[i][0] / 2, top + height / 2)
            left += sizes[i][0] + _GAP_IN[0]
        top += height + _GAP_IN[1]
    return centers, width, max(top - _GAP_IN[1], 0.0)


def _draw_box(axes: Axes, box: Box, corner: tuple[float, float], size: tuple[float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.06"
    face, edge = _FACES[box.kind], _EDGES[box.kind]
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, fc=face, ec=edge, lw=1.0, zorder=2))
    for index, line in enumerate((box.title, *box.lines)):
        axes.text(
            corner[0] + _PAD_IN,
            corner[1] + _PAD_IN + (index + 0.5) * _LINE_IN,
            line,
            va="center",
            family="monospace",
            fontsize=_FONT_PT,
            fontweight="bold" if index == 0 else "normal",
            parse_math=False,
            zorder=3,
        )


def _draw_arrow(
    axes: Axes, label: str, begin: tuple[float, float], end: tuple[float, float], middle: float
) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    # A cubic is at an eighth of its ends and three quarters of its controls half way.
    bow = (8 * middle - begin[0] - end[0]) / 6
    height = end[1] - begin[1]
    controls = [(bow, begin[1] + height / 4), (bow, end[1] - height / 4)]
    path = Curve([begin, *controls, end], [Curve.MOVETO, *[Curve.CURVE4] * 3])
    axes.add_patch(
        FancyArrowPatch(
            path=path, arrowstyle="-|>", mutation_scale=7, color="#64748b", lw=0.9, fill=False, zorder=1
        )
    )
    # Near the beginning, where the two branches of one box are still beside each other.
    if label:
        x, y = begin[0] + 0.25 * (end[0] - begin[0]), begin[1] + 0.25 * (end[1] - begin[1])
        axes.text(
            x, y, label, fontsize=6.5, color="#475569", ha="center", va="center",
            parse_math=False, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}, zorder=4,
        )  # fmt: skip


def check_drawing(path: PathLike) -> None:
    """Refuse a file that is there and that geoseg did not draw: it would be lost.

    Raises
    ------
    InputError
        It is such a file, or no file.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() and _MARK.encode() in path.read_bytes()):
        raise InputError(
            f"output must be a new file or an earlier drawing of geoseg, got {path}, which is neither. "
            "Choose another name."
        )


def write_figure(figure: Figure, path: PathLike, *, dpi: int = 150) -> None:
    """Write a figure by its suffix, under a temporary name until it is whole, without a date in it.

    Raises
    ------
    InputError
        The suffix is none of svg, png and pdf, or a file that geoseg did not draw is there.
    """
    import matplotlib as mpl

    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"svg", "png", "pdf"}:
        raise InputError(f"picture must end in .svg, .png or .pdf, got {path.name!r}.")
    longest = max(figure.get_size_inches())
    check_drawing(path)
    # No date and no version: the same graph gives the same bytes.
    stamp = {
        "svg": {"Date": None, "Creator": _MARK},
        "png": {"Software": _MARK},
        "pdf": {"CreationDate": None, "Creator": _MARK},
    }[kind]
    with Staged.file(path) as staged, mpl.rc_context({"svg.hashsalt": "geoseg", "svg.fonttype": "none"}):
        figure.savefig(staged.path, format=kind, dpi=min(dpi, _MAX_SIDE_IN * 100 / longest), metadata=stamp)


def write_graph(boxes: Sequence[Box], arrows: Sequence[Arrow], path: PathLike, *, title: str = "") -> None:
    """Write the graph as a picture (``.svg``, ``.png``, ``.pdf``) or as Mermaid text (``.md``, ``.mmd``).

    Raises
    ------
    InputError
        Another suffix, or a file that geoseg did not draw is there.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind in {".svg", ".png", ".pdf"}:
        write_figure(draw_graph(boxes, arrows, title=title), path)
    elif kind in {".md", ".mmd"}:
        check_drawing(path)
        text = f"%% {_MARK}\n{mermaid(boxes, arrows)}"
        if kind == ".md":
            text = "\n".join([*([f"# {title}", ""] if title else []), "```mermaid", text, "```"])
        write_text(path, text + "\n")
    else:
        raise InputError(f"output must end in .svg, .png, .pdf, .md or .mmd, got {path.name!r}.")
