"""Graphs as pictures and as Mermaid text."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.transforms import Bbox
from PIL import Image

from geoseg.errors import InputError
from geoseg.report.graph_draw import Arrow, Box, draw_graph, mermaid, setting_lines, write_graph

BOXES = [
    Box("1 data", ("roads/*",), "source"),
    Box("2 if", ("condition: {regex_names: [^a$_b$]}",), "choice"),
    Box("3 save", (), "save"),
]
ARROWS = [Arrow(0, 1), Arrow(1, 2, "true"), Arrow(0, 2)]


def test_svg_holds_every_line_as_text(tmp_path: Path) -> None:
    write_graph(BOXES, ARROWS, tmp_path / "g.svg", title="t $x$")
    root = ElementTree.parse(tmp_path / "g.svg").getroot()
    text = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("}text"))
    for wanted in ["1 data", "roads/*", "[^a$_b$]", "3 save", "true", "t $x$"]:
        assert wanted in text


def extents(boxes: list[Box], arrows: list[Arrow]) -> tuple[list[Bbox], list[Bbox]]:
    patches = draw_graph(boxes, arrows).axes[0].patches
    of = {FancyBboxPatch: [], FancyArrowPatch: []}
    for patch in patches:
        of[type(patch)].append(patch.get_path().get_extents())
    return of[FancyBboxPatch], of[FancyArrowPatch]


def test_boxes_stand_apart_and_arrows_run_down() -> None:
    boxes = [Box("wide", ("x" * 40,)), Box("a", ("1",) * 5), Box("b"), Box("c"), Box("end")]
    arrows = [Arrow(3, 0), Arrow(3, 1), Arrow(3, 2), Arrow(1, 4)]
    places, curves = extents(boxes, arrows)
    assert len(places) == 5
    assert not any(a.overlaps(b) for a, b in combinations(places, 2))
    assert [curve.y0 for curve in curves] == pytest.approx([places[arrow.source].y1 for arrow in arrows])
    assert all(places[arrow.source].y1 < places[arrow.target].y0 for arrow in arrows)


def test_an_arrow_that_skips_a_row_goes_around_the_box_between() -> None:
    places, curves = extents([Box("a"), Box("b" * 30), Box("c")], [Arrow(0, 1), Arrow(1, 2), Arrow(0, 2)])
    assert curves[2].x1 > places[1].x1
    assert curves[0].x1 < places[1].x1


def test_files_are_reproducible(tmp_path: Path) -> None:
    for suffix in (".svg", ".png", ".md"):
        write_graph(BOXES, ARROWS, tmp_path / f"a{suffix}")
        write_graph(BOXES, ARROWS, tmp_path / f"b{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_png_has_the_colors_of_the_boxes(tmp_path: Path) -> None:
    write_graph(BOXES, ARROWS, tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as image:
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 24)}
    assert {(219, 234, 254), (254, 243, 199), (220, 252, 231)} <= colors


def test_other_suffixes_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must end in"):
        write_graph(BOXES, ARROWS, tmp_path / "g.gif")
    assert not list(tmp_path.iterdir())


def test_mermaid_escapes() -> None:
    text = mermaid([Box('a "b" <c>')], [])
    assert "a #quot;b#quot; #lt;c#gt;" in text


def test_long_settings_are_cut_with_a_count() -> None:
    lines = setting_lines({f"key{i}": i for i in range(30)}, limit=5)
    assert lines[-1] == "... 26 more lines"
    assert len(lines) == 5


def test_deep_settings_open_below_their_key() -> None:
    deep = {"random_part": {"width": {"min_percent": 70, "max_percent": 90}, "keep_aspect_ratio": False}}
    assert setting_lines(deep) == (
        "random_part:",
        "  width:",
        "    min_percent: 70",
        "    max_percent: 90",
        "  keep_aspect_ratio: false",
    )
