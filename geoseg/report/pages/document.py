"""One HTML file that opens from disk: nothing in it asks the network, and only its own script runs."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from geoseg.files import Staged, page_head, write_error
from geoseg.pipeline.record import REPORT_MAKER
from geoseg.typing import Array

__all__ = ["Block", "bar_chart", "escape", "overlay_image", "table", "write_document"]

#: A block of data in the page: its id and its content. No program: the browser leaves it alone.
Block = tuple[str, str]


def escape(value: object) -> str:
    """Text as HTML, also between quotes; what is no Unicode is replaced."""
    text = str(value).encode(errors="replace").decode()
    return html.escape(text)


@lru_cache(1)
def _viewer() -> tuple[str, str, str]:
    """Script, style and licenses of the map."""
    folder = files("geoseg.report") / "static"
    script, style, licenses = (
        (folder / name).read_text(encoding="utf-8") for name in ("viewer.js", "viewer.css", "THIRD_PARTY.txt")
    )
    return script, style, licenses


def write_document(
    path: Path, title: str, body: Iterable[str], page: Mapping[str, Any], blocks: Iterable[Block]
) -> int:
    """Write a report, whole or not at all.

    Parameters
    ----------
    path
        The file.
    title
        Text.
    body
        HTML of the page, with an element ``#map``.
    page
        What the script of the map asks for.
    blocks
        Further data, by id.

    Returns
    -------
    int
        Bytes of the file.

    Raises
    ------
    RunError
        It can't be written.
    """
    script, style, licenses = _viewer()
    # The only script and style that may run: an escape that was missed in a name can do nothing.
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (script, style)
    ]
    policy = (
        f"default-src 'none'; script-src {hashes[0]}; style-src {hashes[1]}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    with Staged.file(path) as staged:
        try:
            # Part by part: tiles of some megabytes are not joined in memory first.
            with staged.path.open("w", encoding="utf-8", newline="\n") as out:
                out.write(
                    f'{page_head(REPORT_MAKER)}<meta http-equiv="Content-Security-Policy" content="{policy}">'
                    '<meta name="referrer" content="no-referrer">'
                    '<meta name="viewport" content="width=device-width">'
                    f"<title>{escape(title)}</title><style>{style}</style></head><body>\n"
                )
                out.writelines(f"{part}\n" for part in body)
                out.write(
                    f"<details><summary>Licenses of what is in this file</summary><pre>{escape(licenses)}"
                    "</pre></details>\n"
                )
                # Of "</script>" and "<!--" in a text the page would end in the middle.
                content = json.dumps(page, separators=(",", ":")).replace("<", "\\u003c")
                for name, text in [("page", content), *blocks]:
                    out.write(f'<script type="text/plain" id="{name}">{text}</script>\n')
                out.write(f"<script>{script}</script></body></html>\n")
            staged.commit()
        except OSError as error:
            raise write_error(path, error) from error
    return path.stat().st_size


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = (), numbers: Sequence[int] = ()) -> str:
    """Rows of text as a table; columns of ``numbers`` are set to the right."""
    kinds = dict.fromkeys(numbers, " class=number")

    def line(cells: Sequence[object], tag: str) -> str:
        inner = "".join(f"<{tag}{kinds.get(k, '')}>{escape(cell)}</{tag}>" for k, cell in enumerate(cells))
        return f"<tr>{inner}</tr>"

    return f"<table>{line(head, 'th') if head else ''}{''.join(line(row, 'td') for row in rows)}</table>"


def bar_chart(counts: Sequence[int], edges: Sequence[str], caption: str) -> str:
    """A histogram as SVG.

    Parameters
    ----------
    counts
        Of each bin.
    edges
        Text at the edges of the bins, one more than there are bins; empty ones are left out.
    caption
        Below it.
    """
    width, height, top, foot = 420, 160, 14, 18
    step, most = width / max(1, len(counts)), max(counts, default=0)
    parts = []
    for k, count in enumerate(counts):
        tall = 0.0 if not most else (height - top) * count / most
        parts.append(
            f'<rect x="{20 + k * step + 1:.1f}" y="{height - tall:.1f}" width="{step - 2:.1f}" '
            f'height="{tall:.1f}" fill="#3b7dc4"><title>{count:,}</title></rect>'
        )
    for k, text in enumerate(edges):
        if text:
            parts.append(
                f'<text x="{20 + k * step:.1f}" y="{height + 14}" text-anchor="middle">{escape(text)}</text>'
            )
    return (
        f'<figure><svg viewBox="0 0 {width + 40} {height + foot}" width="{width + 40}" role="img">'
        f'<text x="20" y="10">{most:,}</text>{"".join(parts)}'
        f'<line x1="20" y1="{height}" x2="{width + 20}" y2="{height}" stroke="#99a"/></svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def overlay_image(levels: Array, color: tuple[int, int, int], opacities: Sequence[int]) -> str:
    """A picture of one color as a ``data:`` address of a PNG.

    Parameters
    ----------
    levels : (h, w) uint8
        Which of the opacities a pixel has.
    color
        Red, green, blue.
    opacities
        From 0 to 255; at most 16.
    """
    picture = Image.fromarray(np.ascontiguousarray(levels), "P")
    picture.putpalette(list(color) * len(opacities))
    buffer = io.BytesIO()
    # Four bits a pixel, or it would be twice as large.
    picture.save(buffer, "PNG", bits=4, transparency=bytes(opacities), optimize=False)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
