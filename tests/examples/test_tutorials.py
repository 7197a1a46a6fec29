"""The five tutorials: each runs whole at a small size; the pictures they paint hold what they teach."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TUTORIALS = Path(__file__).resolve().parents[2] / "examples" / "tutorials"

#: Options of a quick try, and words that the script must say.
SMALL = {
    "vessels": (["--generated", "--images", "1", "--epochs", "1"], "IoU"),
    "kitti": (["--generated", "--images", "1", "--epochs", "1"], "statistics"),
    "powerlines": (["--images", "1", "--epochs", "1"], "IoU"),
    "inria": (["--images", "1", "--epochs", "1"], "splitting"),
    "roads": (["--images", "10", "--epochs", "1", "1"], "corrected"),
}


@pytest.mark.slow  # each trains a network: a minute or two
@pytest.mark.parametrize("name", SMALL)
def test_a_tutorial_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options, words = SMALL[name]
    small = ["--set", "input_size.width=64", "--set", "input_size.height=64", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [name, *options, *small])
    runpy.run_path(str(TUTORIALS / name / "run.py"), run_name="__main__")
    assert words in capsys.readouterr().out
    with Image.open(tmp_path / f"{name}.jpg") as picture:
        assert picture.width > 500


def painter(name: str, function: str, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", [name])
    return runpy.run_path(str(TUTORIALS / name / "run.py"), run_name="module")[function]


@pytest.mark.parametrize(
    ("name", "function"),
    [("vessels", "paint_retina"), ("kitti", "paint_street"), ("powerlines", "paint_line")],
)
def test_painted_objects_lie_where_they_are_drawn(
    name: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint = painter(name, function, monkeypatch)
    pixels, objects = paint(np.random.default_rng(1))  # type: ignore[operator]
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
    paint = painter("roads", "paint_road", monkeypatch)
    rng = np.random.default_rng(0)
    day = np.mean([paint(rng, strange=False)[0].mean() for _ in range(4)])  # type: ignore[operator]
    dusk = np.mean([paint(rng, strange=True)[0].mean() for _ in range(4)])  # type: ignore[operator]
    assert dusk < 0.8 * day


def test_the_json_is_that_of_the_tutorials() -> None:
    train = {path.parent.name: json.loads(path.read_text()) for path in TUTORIALS.glob("*/[12]_train.json")}
    epochs = {name: config["epochs"] for name, config in train.items()}
    assert epochs == {"vessels": 15, "kitti": 15, "powerlines": 10, "inria": 5, "roads": 20}
    again = json.loads((TUTORIALS / "roads" / "3_train.json").read_text())
    assert (again["epochs"], again["weights_init_type"]) == (10, "continue_training")
