"""The scripts in examples/ run on a small generated town."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import geopandas as gpd
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_script(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_main_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script("main_job.py", ["--out", str(tmp_path), "--size", "640"], monkeypatch)
    steps = gpd.read_file(tmp_path / "small-town.steps.gpkg")
    whole = gpd.read_parquet(tmp_path / "small-town.parquet")
    assert len(whole) > 5
    union, other = steps.union_all(), whole.union_all()
    assert union.intersection(other).area > 0.9 * union.union(other).area  # outlines are simplified in one
    assert "F1 of objects" in capsys.readouterr().out


def test_readme_picture_is_small(tmp_path: Path) -> None:
    from geoseg.demo.run import run_demo

    module = runpy.run_path(str(EXAMPLES / "readme_picture.py"))
    run_demo(tmp_path / "demo", size=512)
    from functools import partial

    module["make_picture"].__globals__["run_demo"] = partial(run_demo, size=512)
    module["make_picture"](tmp_path / "demo", tmp_path / "docs" / "demo.png")
    target = tmp_path / "docs" / "demo.png"
    assert target.stat().st_size <= module["MAX_BYTES"]
    with Image.open(target) as picture:
        assert picture.width > picture.height > 300


def test_places_left_out_and_the_bundle_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import geoseg
    from geoseg.demo.run import prepare_scene
    from geoseg.models import load_model

    monkeypatch.syspath_prepend(str(EXAMPLES / "buildings"))
    run_script(
        "buildings/towns.py", ["--out", str(tmp_path), "--rows=1", "--cols=2", "--chip=96"], monkeypatch
    )
    for seed, name in enumerate(("east", "west")):
        prepare_scene(tmp_path / f"{name}.tif", tmp_path / f"{name}.geojson", size=256, seed=seed, gsd=0.6)
    entries = [
        {"path": f"{name}.tif", "labels": f"{name}.geojson", "part": part}
        for name, part in (("east", "train"), ("west", "val"), ("towns", "train"))
    ]
    config = {
        "epochs": 1, "val_every": 1, "classes": ["building"], "resolution": 0.6, "loss": ["cross_entropy"],
        "special_classes": {"background": "background", "neutral": "neutral"},
        "input_size": {"width": 64, "height": 64}, "batch_size": {"train": 2, "val": 8},
        "architecture": {"name": "unet", "encoder": "tu-tf_efficientnet_lite0",
                         "kwargs": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}},
        "auxiliary": {"kinds": ["contact"]}, "sampler": {"chips_per_epoch": 4},
        "data": {"scenes": entries, "split": {"by": "file"}},
        "card": {"name": "Small", "license": "CC0-1.0"},
    }  # fmt: skip
    path = tmp_path / "train.json"
    path.write_text(json.dumps(config))
    places = tmp_path / "places"
    run_script("buildings/leave_one_out.py", [str(path), "--out", str(places)], monkeypatch)
    table = json.loads((places / "places.json").read_text())
    assert list(table) == ["east", "west"]
    assert all(0 <= row["iou"] <= 1 and row["batches"] == 2 for row in table.values())
    capsys.readouterr()

    bundle = tmp_path / "shipped"
    arguments = [str(places / "west"), "--config", str(path), "--places", str(places / "places.json")]
    run_script("buildings/ship.py", [*arguments, "--hardware", "a test", "--out", str(bundle)], monkeypatch)
    assert "validation_block_with_8_turns" in capsys.readouterr().out
    shipped, trained = load_model(bundle), load_model(places / "west" / "last")
    assert shipped.card is not None
    training = shipped.card.options.training
    assert training is not None
    assert training["places_left_out"]["east"] == table["east"]
    assert training["validation_block"]["iou"] == pytest.approx(table["west"]["iou"], abs=0.02)
    pixels = geoseg.open_scene(tmp_path / "west.tif").values[None, :3, :64, :64]
    want = trained(pixels)[:, 1]
    assert shipped.classes == ("building",)
    assert abs(shipped(pixels)[:, 0] - want).max() < 0.01  # float16
