"""The page about graphs: its graphs are valid, its commands and code run, its tables are those of the layers.

``python tests/dtl/test_dtl_page.py`` writes the tables anew.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
from affine import Affine
from pydantic import BaseModel
from pyproj import CRS
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.dtl import parse_graph
from geoseg.dtl.catalog import registry
from geoseg.dtl.layers.conditions import _EXTRA, Condition
from geoseg.dtl.plan import plan_graph
from geoseg.geo.geobox import GeoBox
from geoseg.projects.image_output import write_image

FILE = Path(__file__).resolve().parents[2] / "docs" / "dtl.md"
PAGE = FILE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

#: Headings of the modules of layers, in the order of the table; others have their own name.
GROUPS = {
    "sources": "Read",
    "routing": "Route, copy, tag",
    "conditions": "Route, copy, tag",
    "geometry": "Cut and mirror",
    "scaling": "Resize and turn",
    "photometric": "Change values",
    "classes": "Classes and objects",
    "conversion": "Shapes",
    "masks": "Bitmaps",
    "lines": "Lines, boxes, points",
    "scenes": "Scenes",
    "saving": "Save",
}


def shape_of(kind: Any) -> str:
    """What a setting looks like in JSON."""
    options = [arg for arg in get_args(kind) if arg is not type(None)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "{" + ", ".join(settings_of(kind)) + "}"
    if get_origin(kind) is Literal:
        return " / ".join(str(option) for option in options)
    if get_origin(kind) in (Union, UnionType):
        return " / ".join(dict.fromkeys(shape for option in options if (shape := shape_of(option))))
    if get_origin(kind) is dict:
        return "{...: " + (shape_of(options[1]) or "...") + "}"
    if get_origin(kind) in (list, tuple):
        return "[...]"
    return ""


def settings_of(model: type[BaseModel]) -> Iterator[str]:
    """Settings of a class, in brackets where they may be left out."""
    for name, field in model.model_fields.items():
        shape = "one question" if name == "condition" else shape_of(field.annotation)
        text = f"{field.alias or name}{': ' if shape else ''}{shape}"
        yield text if field.is_required() else f"[{text}]"


def layer_table() -> str:
    """All layers that geoseg brings."""
    rows = ["| layer | settings | what it does |", "|---|---|---|"]
    kinds = [kind for kind in registry.kinds() if kind.apply.__module__.startswith("geoseg.")]
    modules = [kind.apply.__module__.rpartition(".")[2] for kind in kinds]
    groups = GROUPS | {module: module.capitalize() for module in modules if module not in GROUPS}
    for group in dict.fromkeys(groups.values()):
        rows.append(f"| **{group}** | | |")
        for kind, module in zip(kinds, modules, strict=True):
            if groups[module] == group:
                names = "<br>".join(f"`{name}`" for name in (kind.name, *kind.aliases))
                settings = "<br>".join(f"`{text}`" for text in settings_of(kind.settings))
                rows.append(f"| {names} | {settings} | {kind.summary} |".replace("``", "`"))
    return "\n".join(rows)


def condition_table() -> str:
    """All conditions of ``if``."""
    rows = ["| condition | true when |", "|---|---|"]
    for name, field in Condition.model_fields.items():
        if name not in _EXTRA.values():
            further = f" with `{_EXTRA[name]}`" if name in _EXTRA else ""
            rows.append(f"| `{name}`{further} | {field.description} |")
    return "\n".join(rows)


TABLES = {"layers": layer_table, "conditions": condition_table}


def place_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_layers(name):
    (found,) = place_of(name).findall(PAGE)
    assert found[1] == TABLES[name]() + "\n", f"run python {Path(__file__).name} to write the tables anew"


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "json"])
def test_graphs_are_valid(text):
    plan_graph(parse_graph(json.loads(text)))


def write_scene(folder: Path, name: str, left: float) -> list[Any]:
    """A scene with some houses; their outlines."""
    box = GeoBox(Affine(0.5, 0, left, 0, -0.5, 5_000_000), CRS.from_epsg(32633), 700, 1100)
    rng = np.random.default_rng(int(left))
    pixels = rng.integers(0, 90, (3, 700, 1100)).astype(np.uint8)
    rings = []
    for x, y in np.column_stack([rng.integers(10, 1050, 80), rng.integers(10, 660, 80)]):
        pixels[:, y : y + 30, x : x + 40] += 120
        corners = [(x, y), (x + 40, y), (x + 40, y + 30), (x, y + 30), (x, y)]
        rings.append([box.transform @ (float(c), float(r)) for c, r in corners])
    write_image(folder / f"{name}.tif", pixels, box)
    return rings


def write_labels(path: Path, rings: list[Any]) -> None:
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in rings
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))


#: Makes training quick.
CONFIG = {
    "epochs": 1, "lr": 0.01, "architecture": {"name": "unet", "encoder": "resnet18"},
    "input_size": {"width": 32, "height": 32}, "batch_size": {"train": 8, "val": 8},
    "special_classes": {"background": "bg", "neutral": "neutral"},
}  # fmt: skip


def test_commands_and_code_run(tmp_path, monkeypatch):
    (tmp_path / "scenes").mkdir()
    scenes = tmp_path / "scenes"
    write_labels(
        tmp_path / "labels.geojson",
        write_scene(scenes, "north", 500_000) + write_scene(scenes, "south", 501_000),
    )
    graphs = [json.loads(text) for kind, text in BLOCKS if kind == "json"]
    (tmp_path / "train.json").write_text(json.dumps(graphs[0]))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    assert len(lines) >= 9
    for line in lines:
        words = shlex.split(line)[1:]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (line, result.output)
        assert words[0] == "train" or "warning" not in result.stderr, (line, result.stderr)
    assert (tmp_path / "train.sample.png").is_file()
    assert (tmp_path / "projects" / "town_train" / "meta.json").is_file()
    made = {}
    for text in (text for kind, text in BLOCKS if kind == "python"):
        exec(compile(text, FILE.name, "exec"), made)
    assert made["image"].shape[1:] == made["target"].shape == made["where"].shape
    assert made["tags"] <= {"train", "val"}
    images = list((tmp_path / "projects" / "town_train").glob("*/img/*.tif"))
    assert made["count"] == len(images) > 20


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", PAGE):
        assert (FILE.parent / target).exists(), target


if __name__ == "__main__":
    for one, make in TABLES.items():
        PAGE = place_of(one).sub(lambda match, make=make: f"{match[1]}{make()}\n{match[3]}", PAGE)
    FILE.write_text(PAGE, encoding="utf-8")
