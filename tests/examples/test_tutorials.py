"""The five tutorials: each runs whole at a small size; the pictures they paint hold what they teach."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import typer
from PIL import Image

import geoseg
from geoseg.cli import app
from geoseg.dtl import read_graph
from geoseg.dtl.check import check_graph
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, Polygon, ProjectMeta
from geoseg.projects.project import open_project
from geoseg.projects.writer import ProjectWriter

TUTORIALS = Path(__file__).resolve().parents[2] / "examples" / "tutorials"

#: Options of a quick try: too little to learn much, enough to go all the way.
SMALL = {
    "vessels": ["--generated", "--learned", "2", "--images", "1"],
    "kitti": ["--generated", "--learned", "2", "--images", "1"],
    "powerlines": ["--learned", "2", "--images", "1", "--side", "1280"],
    "inria": ["--learned", "5", "--images", "1", "--side", "520"],
    "roads": ["--learned", "2", "--images", "8", "--no-browser"],
}
#: The least that each must reach at its defaults; what it did reach is in docs/tutorials.md.
REACHED = {"vessels": 0.38, "kitti": 0.35, "powerlines": 0.7, "inria": 0.65, "roads": 0.9}


def run_script(name: str, options: list[str], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *options, "--out", str(out)])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(TUTORIALS / name / "run.py"), run_name="__main__")


def printed_iou(text: str) -> float:
    """The last number of the line that tells it: of the second round where there are two."""
    [line] = [line for line in text.splitlines() if line.startswith("IoU ")]
    return float(re.findall(r"\d\.\d{3}", line)[-1])


@pytest.mark.parametrize("name", SMALL)
def test_a_tutorial_goes_all_the_way(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some seconds each: two networks are trained in one, and graphs, inference and a review are in all."""
    epochs = ["--epochs", *["1"] * (2 if name == "roads" else 1)]
    chips = ["--set", "input_size.width=64", "--set", "input_size.height=64"]
    run_script(name, [*SMALL[name], *epochs, *chips], tmp_path, monkeypatch)
    assert 0 <= printed_iou(capsys.readouterr().out) <= 1
    with Image.open(tmp_path / f"{name}.jpg") as picture:
        assert picture.width > 500


@pytest.mark.slow  # each trains a network as its page tells: minutes
@pytest.mark.parametrize("name", SMALL)
def test_a_tutorial_shows_its_point(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(name, [], tmp_path, monkeypatch)
    text = capsys.readouterr().out
    assert printed_iou(text) >= REACHED[name]
    if name == "roads":
        assert "qa pictures: better" in text


#: Inference of each tutorial: its config, the classes of its network and of its result.
INFERENCE = {
    "roads": (None, ("bg", "road"), {"bg_unet", "road_unet"}),
    "kitti": ("2_infer.json", ("bg", "vehicle"), {"vehicle_dl"}),
    "powerlines": ("2_infer.json", ("bg", "Isolator"), {"Isolator_unet"}),
    "inria": ("3_infer.json", ("bg", "untitled"), {"bg_dl", "untitled_dl"}),
    "vessels": ("2_infer.json", ("bg", "vessel"), {"bg_unet", "vessel_unet"}),
}


def halves(batch: np.ndarray) -> np.ndarray:
    """Probabilities of two classes, of which each has about half of the pixels."""
    share = batch[:, 0] / np.float32(255)
    return np.stack([1 - share, share], axis=1)


@pytest.mark.parametrize("name", INFERENCE)
def test_classes_and_suffixes_are_those_of_the_tutorial(name: str, tmp_path: Path) -> None:
    file, classes, titles = INFERENCE[name]
    pixels = np.random.default_rng(0).integers(0, 255, (375, 1242, 3), dtype=np.uint8)
    if name in ("powerlines", "inria"):
        pixels = np.random.default_rng(0).integers(0, 255, (520, 600, 3), dtype=np.uint8)
    with ProjectWriter(tmp_path / "pictures", ProjectMeta()) as writer:
        writer.add("ds", "a.png", None, lambda path: Image.fromarray(pixels).save(path))
    config = TUTORIALS / name / file if file else {}
    summary = geoseg.infer(
        tmp_path / "pictures", halves, config, tmp_path / "result", classes=classes, input_size=(32, 32)
    )
    assert {one.name for one in open_project(tmp_path / "result").meta.classes} == titles
    # 14 columns of windows of 370 pixels on a picture of KITTI that overlap by 300, in 2 rows.
    assert summary.windows == {"kitti": 28, "powerlines": 4, "inria": 4}.get(name, 1)


@pytest.mark.parametrize(
    ("graph", "project", "titles", "images", "count"),
    [
        ("roads/0_dtl.json", "roads_annotated", ["road"], 10, 220),
        (
            "kitti/0_dtl.json",
            "kitti-semseg-train",
            ["bus", "car", "train", "truck", "caravan", "trailer"],
            200,
            2400,
        ),
        ("vessels/0_dtl.json", "vessels", ["vessel"], 6, 264),
    ],
)
def test_graphs_make_as_many_pictures_as_the_tutorials_tell(
    graph: str, project: str, titles: list[str], images: int, count: int, tmp_path: Path
) -> None:
    square = LabeledObject(titles[-1], Polygon(np.array([[2, 2], [9, 2], [9, 9.0]])))
    pixels = Image.new("RGB", (60, 20))
    meta = ProjectMeta(tuple(ClassMeta(title, "polygon", (200, 40, 40)) for title in titles))
    with ProjectWriter(tmp_path / project, meta) as writer:
        for number in range(images):
            writer.add("ds", f"{number}.png", Annotation(20, 60, (square,)), pixels.save)
    # That a run makes what is told of it beforehand is tested beside the graphs.
    checked = check_graph(read_graph(TUTORIALS / graph), tmp_path)
    assert checked.layers[-1].count == (count, count)


@pytest.mark.parametrize("steered", [False, True], ids=["requests", "browser"])
def test_roads_are_corrected_through_the_page(
    steered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some seconds: a server is started, and a browser."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = load_script("roads", monkeypatch)
    rng = np.random.default_rng(0)
    known = [(f"t{n}", *script["paint_road"](rng, strange=bool(n % 2))) for n in range(3)]
    wrong = np.zeros(known[0][1].shape[:2], bool)
    wrong[100:160, 50:200] = True
    predicted = [(name, pixels, [("bg_unet", ~wrong), ("road_unet", wrong)]) for name, pixels, _ in known]
    truth = script["write_project"](tmp_path / "truth", ["road"], known)
    project = script["write_project"](tmp_path / "predicted", ["bg_unet", "road_unet"], predicted)
    names, qa = script["correct"](project, truth, 1, tmp_path / "page.jpg", steered=steered)
    if steered and "browser     none" in capsys.readouterr().out:
        pytest.skip("corrections in a browser need playwright and chromium")
    assert steered == (tmp_path / "page.jpg").is_file()
    assert len(names) == 1
    assert not set(names) & set(qa)
    result = geoseg.compare(project, project, truth=truth, classes={"road_unet": "road"})
    for place in result.places:
        assert place.after is not None
        iou = place.after.both / (place.after.pred + place.after.truth - place.after.both)
        assert iou > 0.97 if f"{place.name}.png" in names else iou < 0.3


def load_script(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", [name])
    return runpy.run_path(str(TUTORIALS / name / "run.py"), run_name="module")


@pytest.mark.parametrize(
    ("name", "function"),
    [("vessels", "paint_retina"), ("kitti", "paint_street"), ("powerlines", "paint_line")],
)
def test_painted_objects_lie_where_they_are_drawn(
    name: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, objects = load_script(name, monkeypatch)[function](np.random.default_rng(1))
    assert pixels.dtype == np.uint8
    shapes = [shape for _, shape in objects] if isinstance(objects, list) else [objects]
    assert shapes
    for shape in shapes:
        if shape.dtype == bool:
            assert shape.shape == pixels.shape[:2]
        else:
            assert (shape >= 0).all()
            assert (shape < np.array(pixels.shape[1::-1])).all()


def test_the_second_round_of_roads_has_something_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    paint = load_script("roads", monkeypatch)["paint_road"]
    rng = np.random.default_rng(0)
    day = np.mean([paint(rng, strange=False)[0].mean() for _ in range(4)])
    dusk = np.mean([paint(rng, strange=True)[0].mean() for _ in range(4)])
    assert dusk < 0.8 * day


def test_the_json_is_that_of_the_tutorials() -> None:
    train = {path.parent.name: json.loads(path.read_text()) for path in TUTORIALS.glob("*/[12]_train.json")}
    epochs = {name: config["epochs"] for name, config in train.items()}
    assert epochs == {"vessels": 15, "kitti": 15, "powerlines": 10, "inria": 5, "roads": 20}
    again = json.loads((TUTORIALS / "roads" / "3_train.json").read_text())
    assert (again["epochs"], again["weights_init_type"]) == (10, "continue_training")


@pytest.mark.parametrize("name", SMALL)
def test_the_pages_show_pictures_and_commands_that_there_are(name: str) -> None:
    readme = (TUTORIALS / name / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", readme)
    assert pictures
    for picture in pictures:
        assert (TUTORIALS / name / picture).is_file()
    group = typer.main.get_command(app)
    lines = re.findall(r"^    geoseg (.+)$", readme.replace("\\\n", ""), re.MULTILINE)
    assert lines
    for line in lines:
        command, words = group, shlex.split(line)
        context = click.Context(command, info_name="geoseg")
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
            assert command is not None, line
            context = click.Context(command, parent=context)
        command.make_parser(context).parse_args(words)  # an unknown option is an error
        for word in words:
            if word.startswith("examples/"):
                assert (TUTORIALS.parents[1] / word).is_file(), line
