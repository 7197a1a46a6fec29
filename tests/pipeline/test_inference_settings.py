"""Configs of inference: both dialects, defaults, mistakes by their JSON path, classes of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geoseg.errors import ConfigError, MissingFileError
from geoseg.geo.windows import Window
from geoseg.pipeline.inference.plan import plan_result
from geoseg.pipeline.inference.regions import find_regions
from geoseg.pipeline.inference.settings import InferenceSettings, SlidingWindow, read_inference
from geoseg.projects.figures import Annotation, ClassMeta, ProjectMeta

CONFIGS = Path(__file__).parents[2] / "examples" / "tutorials"


def titles(config: Any, project: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    meta = ProjectMeta(tuple(ClassMeta(name, "bitmap", (1, 2, 3)) for name in project))
    return plan_result(read_inference(config), meta, names, [None] * len(names)).meta.class_names


def test_the_defaults_of_both_dialects() -> None:
    empty = read_inference({})
    assert empty == InferenceSettings()
    assert empty.mode.source == "full_image"
    assert (empty.model.add_suffix, empty.existing.save_classes) == ("_unet", ())
    nested = read_inference({"model": {"gpu_device": 2}})
    assert (nested.model.add_suffix, nested.existing.save_classes, nested.gpu) == ("_unet", "__all__", 2)
    assert read_inference({"mode": {"name": "roi"}}).model.add_suffix == ""
    assert read_inference({"mode": {"name": "full_image", "model_classes": {"add_suffix": ""}}}).model == (
        read_inference({"mode": {"name": "roi"}}).model
    )
    part = read_inference({"mode": {"source": "sliding_window", "window": {"width": 9}}})
    assert isinstance(part.mode, SlidingWindow)
    assert (part.mode.window.width, part.mode.window.height) == (9, 128)
    assert read_inference({"existing_objects": {"add_suffix": "_x"}}).existing.save_classes == ()
    assert read_inference({"model_classes": {"save_classes": []}}).model.add_suffix == "_unet"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"modus": {}}, r"\$\.modus: unknown key"),
        ({"mode": {"source": "tiles"}}, r"\$\.mode\.source: must be one of full_image, roi, bboxes, sli"),
        ({"mode": {"save": True}}, r"\$\.mode\.save: unknown key"),
        (
            {"mode": {"source": "roi", "bounds": {"left": "5em"}}},
            r"\$\.mode\.bounds\.left: an amount mus",
        ),
        ({"mode": {"source": "roi", "save": "yes"}}, r"\$\.mode\.save"),
        ({"mode": {"source": "bboxes", "from_classes": "car"}}, r"\$\.mode\.from_classes: must be a list of"),
        ({"mode": {"source": "sliding_window", "window": {"width": 0}}}, r"\$\.mode\.window\.width"),
        ({"mode": {"source": "sliding_window", "window": {"width": 1.5}}}, r"\$\.mode\.window\.width"),
        (
            {"mode": {"source": "sliding_window", "min_overlap": {"x": 128, "y": 0}}},
            r"\$\.mode\.min_overlap: must be smaller than the window of 128 x 128, got 128 along x",
        ),
        ({"gpu_devices": [0, 1]}, r"\$\.gpu_devices"),
        ({"gpu_devices": ["0"]}, r"\$\.gpu_devices\[0\]"),
        ({"model": {"gpu_device": 0}, "existing_objects": {}}, r"\$\.existing_objects: unknown key"),
        ({"model": {}, "mode": {"source": "roi"}}, r"\$\.mode\.source: must not stand beside model"),
        ({"mode": {"source": "roi", "name": "roi"}}, r"\$\.mode\.source: must not stand beside mode\.name"),
        ({"mode": {"name": "full_image", "model_classes": {"suffix": ""}}}, r"\$\.mode\.model_classes\.suf"),
        ({"mode": 3}, r"\$\.mode"),
        ([], r"\$: must be an object"),
    ],
)
def test_mistakes_are_told_by_their_path(config: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "infer.json"
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=message) as error:
        read_inference(file)
    assert "infer.json" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_inference(tmp_path / "no.json")


def test_the_four_tutorials() -> None:
    assert titles(CONFIGS / "kitti/2_infer.json", ("vehicle", "road"), ("bg", "vehicle")) == ("vehicle_dl",)
    assert titles(CONFIGS / "powerlines/2_infer.json", ("x",), ("bg", "Isolator")) == ("Isolator_unet",)
    assert titles(CONFIGS / "inria/3_infer.json", ("untitled",), ("bg", "untitled")) == (
        "bg_dl",
        "untitled_dl",
    )
    vessels = CONFIGS / "vessels/2_infer.json"
    again = titles(vessels, ("vessel",), ("bg", "vessel"))
    assert again == ("vessel", "bg_unet", "vessel_unet")
    with pytest.raises(ConfigError, match="'bg_unet', 'vessel_unet' more than once"):
        titles(vessels, again, ("bg", "vessel"))


@pytest.mark.parametrize(
    ("size", "columns", "rows"),
    [((1242, 375), [*range(0, 841, 70), 872], [0, 5]), ((1224, 370), [*range(0, 841, 70), 854], [0])],
)
def test_windows_of_the_wide_images(size: tuple[int, int], columns: list[int], rows: list[int]) -> None:
    mode = read_inference(CONFIGS / "kitti/2_infer.json").mode
    [region], saved = find_regions(mode, Annotation(size[1], size[0]))
    windows = [window for row in region.rows() for window in row]
    assert windows == [Window(row_off=y, col_off=x, height=370, width=370) for y in rows for x in columns]
    assert not saved


def test_names_that_nothing_has_are_noted() -> None:
    config = {
        "model_classes": {"save_classes": ["car", "bike"]},
        "mode": {"source": "bboxes", "from_classes": ["x"]},
    }
    plan = plan_result(read_inference(config), ProjectMeta(), ("bg", "car"), (None, (1, 2, 3)))
    assert [note.split(" names ")[1] for note in plan.notes] == [
        "'bike', which the model does not have",
        "'x', which the project does not have",
    ]
    assert plan.meta.classes == (ClassMeta("car_unet", "bitmap", (1, 2, 3)),)


def test_later_titles_lie_on_top_whatever_the_suffix() -> None:
    plan = plan_result(InferenceSettings(), ProjectMeta(), ("bg", "Road", "Isolator"), (None,) * 3)
    assert plan.kept == ((2, "Isolator_unet"), (1, "Road_unet"), (0, "bg_unet"))
