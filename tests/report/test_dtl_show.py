"""Graphs drawn from their layers, and contact sheets of one image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projects_made import make_project
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.dtl import open_engine, parse_graph
from geoseg.errors import InputError
from geoseg.report.dtl_show import (
    contact_sheet,
    graph_boxes,
    layer_samples,
    open_sample,
    show_graph,
    show_sample,
    small_picture,
)

DATA = {"action": "data", "src": ["town/*"], "dst": "$a", "settings": {"classes_mapping": "default"}}
SAVE = {"action": "supervisely", "src": ["$b", "$f"], "dst": "result", "settings": {}}
FLIP = {"action": "flip", "src": ["$a"], "dst": "$f", "settings": {"axis": "vertical"}}
MULTIPLY = {"action": "multiply", "src": ["$a"], "dst": "$m", "settings": {"multiply": 9}}


def branch(condition: object, dst: list[str]) -> dict[str, object]:
    return {"action": "if", "src": ["$m"], "dst": dst, "settings": {"condition": condition}}


DOCUMENT = [SAVE, DATA, FLIP, MULTIPLY, branch({"min_objects_count": 1}, ["$b", "null"])]


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    make_project(tmp_path / "projects" / "town")
    return tmp_path / "projects"


def test_boxes_and_arrows() -> None:
    boxes, arrows = graph_boxes(parse_graph(DOCUMENT))
    titles = [box.title for box in boxes]
    assert titles == ["1 supervisely", "2 data", "3 flip", "4 multiply", "5 if", "null"]
    assert [box.kind for box in boxes] == ["save", "source", "other", "other", "choice", "drop"]
    assert boxes[1].lines == ("town/*", "classes_mapping: default")
    assert boxes[3].lines == ("multiply: 9",)
    links = {(titles[a.source], titles[a.target], a.label) for a in arrows}
    assert links == {
        ("2 data", "3 flip", ""), ("2 data", "4 multiply", ""), ("3 flip", "1 supervisely", ""),
        ("4 multiply", "5 if", ""), ("5 if", "1 supervisely", "true"), ("5 if", "null", "false"),
    }  # fmt: skip


def test_loops_are_refused(tmp_path: Path) -> None:
    loop = [
        DATA,
        {**FLIP, "src": ["$a", "$g"]},
        {**FLIP, "src": ["$f"], "dst": "$g"},
        {**SAVE, "src": ["$f"]},
    ]
    with pytest.raises(InputError, match="loop"):
        show_graph(parse_graph(loop), tmp_path / "x.svg")
    assert not (tmp_path / "x.svg").exists()


def test_samples_at_each_layer(projects: Path) -> None:
    engine = open_engine(parse_graph(DOCUMENT), projects)
    rows = layer_samples(engine, 0, limit=3)
    assert {index: len(row.samples) for index, row in rows.items()} == {0: 3, 1: 1, 2: 1, 3: 3, 4: 3}
    original, flipped = rows[1].samples[0][1], rows[2].samples[0][1]
    np.testing.assert_array_equal(flipped.pixels.read(), original.pixels.read()[:, :, ::-1])
    empty = layer_samples(engine, 1, limit=3)  # b.png has no objects: all go to null
    assert [b for b, _ in empty[4].samples] == [1, 1, 1]
    assert len(empty[0].samples) == 1


def test_a_failing_layer_is_told_on_the_sheet(projects: Path) -> None:
    window = {"window": {"width": 500, "height": 500}, "min_overlap": {"x": 0, "y": 0}}
    document = [DATA, {"action": "sliding_window", "src": ["$a"], "dst": "$f", "settings": window}]
    engine = open_engine(parse_graph([*document, {**SAVE, "src": ["$f"]}]), projects)
    rows = layer_samples(engine, 0)
    assert "layer 2 (sliding_window)" in rows[1].failure
    texts = [text.get_text() for axes in contact_sheet(engine, rows).axes for text in axes.texts]
    assert any("sliding_window" in text and "500" in text for text in texts)


def test_rows_are_as_high_as_what_they_show(projects: Path) -> None:
    document = [DATA, {**FLIP, "dst": "$b"}, branch({"tags": ["no"]}, ["$x", "$f"]), MULTIPLY, SAVE]
    document.append({"action": "dummy", "src": ["$x"], "dst": "$f", "settings": {}})
    engine = open_engine(parse_graph(document), projects)
    figure = contact_sheet(engine, layer_samples(engine, 0))
    figure.draw_without_rendering()
    rows = [axes.get_window_extent().height for axes in figure.axes[::5]]
    names = [axes.texts[0].get_text() for axes in figure.axes[::5]]
    empty = names.index("6 dummy")
    assert rows[empty] < 0.5 * min(height for i, height in enumerate(rows) if i != empty)
    assert "(0 samples in, none out)" in figure.axes[5 * empty].texts[1].get_text()


def test_objects_are_laid_over(projects: Path) -> None:
    engine = open_engine(parse_graph(DOCUMENT), projects)
    sample = engine.open(0)
    picture = small_picture(sample, {"tree": (10, 90, 10)})
    pixel = sample.pixels.read()[:, 3, 3].astype(int)
    np.testing.assert_array_equal(picture[3, 3], (pixel + np.array([10, 90, 10])) // 2)


def test_images_larger_than_a_thumbnail_shrink(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((600, 900, 3), np.uint8)).save(tmp_path / "big.png")
    engine, order = open_sample(parse_graph(DOCUMENT), str(tmp_path / "big.png"), None)
    assert small_picture(engine.open(order), {}).shape == (171, 256, 3)


def test_sample_files(projects: Path, tmp_path: Path) -> None:
    graph = parse_graph(DOCUMENT)
    for name in ("town/two/c.tif", "c.tif", str(projects / "town" / "two" / "img" / "c.tif")):
        show_sample(graph, name, tmp_path / "sheet.png", projects, limit=2)
        with Image.open(tmp_path / "sheet.png") as image:
            assert image.height > image.width / 2
    show_sample(graph, str(projects / "town" / "one" / "img" / "a.png"), tmp_path / "bare.png")
    assert (tmp_path / "bare.png").is_file()
    with pytest.raises(InputError, match="one image that the graph reads"):
        show_sample(graph, "z.png", tmp_path / "no.png", projects)


class TestCommand:
    run = staticmethod(lambda *args: CliRunner().invoke(app, ["dtl", "show", *map(str, args)]))

    @pytest.mark.parametrize("suffix", ["svg", "png", "md", "mmd"])
    def test_formats(self, tmp_path: Path, suffix: str) -> None:
        graph = tmp_path / "graph.json"
        graph.write_text(json.dumps(DOCUMENT))
        result = self.run(graph, "-o", tmp_path / f"g.{suffix}")
        assert result.exit_code == 0, result.output
        data = (tmp_path / f"g.{suffix}").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n" if suffix == "png" else b"5 if" in data

    @pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "md", "mmd"])
    def test_a_drawing_is_drawn_anew_and_nothing_else_is_replaced(self, tmp_path: Path, suffix: str) -> None:
        graph, out = tmp_path / "graph.json", tmp_path / f"README.{suffix}"
        graph.write_text(json.dumps(DOCUMENT))
        for _ in range(2):
            assert self.run(graph, "-o", out).exit_code == 0
        out.write_text("mine")
        result = self.run(graph, "-o", out)
        assert result.exit_code == 2
        assert "Choose another name" in result.output
        assert out.read_text() == "mine"

    def test_mermaid_text_is_printed_without_a_file(self, tmp_path: Path) -> None:
        graph = tmp_path / "graph.json"
        graph.write_text(json.dumps(DOCUMENT))
        result = self.run(graph)
        assert result.exit_code == 0, result.output
        assert result.output.startswith("flowchart TD\n")
        assert "  n1 --> n2\n" in result.output
        assert '  n4 -->|"true"| n0\n' in result.output

    def test_sample(self, projects: Path, tmp_path: Path) -> None:
        graph = tmp_path / "graph.json"
        graph.write_text(json.dumps(DOCUMENT))
        result = self.run(graph, "-o", tmp_path / "g.svg", "--sample", "a.png", "--projects", projects)
        assert result.exit_code == 0, result.output
        assert (tmp_path / "g.sample.png").is_file()

    def test_mistakes(self, projects: Path, tmp_path: Path) -> None:
        graph = tmp_path / "graph.json"
        graph.write_text(json.dumps([DATA, SAVE]))
        result = self.run(graph, "-o", tmp_path / "g.svg")
        assert result.exit_code == 2
        assert "layer 2 (supervisely)" in result.output
        graph.write_text(json.dumps(DOCUMENT))
        assert self.run(graph, "-o", tmp_path / "g.gif").exit_code == 2
        assert self.run(graph, "-o", tmp_path / "g.svg", "--projects", projects).exit_code == 2
        assert self.run(graph, "--sample", "a.png", "--projects", projects).exit_code == 2
        assert self.run(tmp_path / "no.json", "-o", tmp_path / "g.svg").exit_code == 2


@pytest.mark.parametrize("name", ["roads_2", "inria_0", "kitti_0"])
def test_graphs_of_the_tutorials(tmp_path: Path, name: str) -> None:
    tutorial, step = name.split("_")
    path = Path(__file__).parents[2] / "examples" / "tutorials" / tutorial / f"{step}_dtl.json"
    document = json.loads(path.read_text())
    graph = parse_graph(document)
    show_graph(graph, tmp_path / "g.svg")
    text = (tmp_path / "g.svg").read_text()
    assert all(f"{index} {layer['action']}" in text for index, layer in enumerate(document, 1))
