"""The scripts in examples/ run on a small generated town."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import from_origin

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


def test_pseudo_labels_are_what_the_network_is_sure_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import geoseg
    from geoseg.demo.run import prepare_scene
    from geoseg.models import shipped_model

    scene, target = tmp_path / "town.tif", tmp_path / "out" / "town_pseudo.tif"
    prepare_scene(scene, tmp_path / "town.geojson", size=256, seed=3, gsd=0.3)
    with rasterio.open(scene) as src:
        pixels, profile = src.read(), src.profile
    pixels[:, :40, :60] = 0
    exact = {"nodata": 0, "compress": "deflate", "photometric": "rgb"}  # JPEG would blur the edge
    with rasterio.open(scene, "w", **{**profile, **exact}) as dst:
        dst.write(pixels)
    arguments = [str(shipped_model()), str(scene), "--out", str(target)]
    run_script("buildings/pseudo_labels.py", [*arguments, "--background=0.2", "--building=0.7"], monkeypatch)
    assert "unsure" in capsys.readouterr().out
    with rasterio.open(target) as src:
        mask = src.read(1)
        assert src.nodata == 255
    again = geoseg.run(scene, out=tmp_path / "again", test_time="d4", save_prob=True)
    with rasterio.open(again.files["prob"]) as src:
        known, share = src.read_masks(1) > 0, src.read(1) * src.scales[0]
    assert {0, 1, 255} == set(np.unique(mask))
    high, low = known & (share > 0.7), known & (share < 0.2)
    assert np.array_equal(mask == 0, low | (high & (mask != 1)))
    assert np.array_equal(mask == 255, ~high & ~low)
    assert (mask == 1).sum() > 0.95 * high.sum()
    assert (mask[:30, :50] == 255).all()
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    with pytest.raises(SystemExit, match=r"must rise from 0 to 1, got 0\.8 and 0\.6"):
        run_script("buildings/pseudo_labels.py", [*arguments, "--background=0.8"], monkeypatch)
    with pytest.raises(SystemExit, match=r"must end in _pseudo\.tif"):
        run_script("buildings/pseudo_labels.py", [*arguments[:3], str(tmp_path / "mask.tif")], monkeypatch)


def test_houses_that_touch_are_parted_where_the_probability_dips(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy import ndimage

    monkeypatch.syspath_prepend(str(EXAMPLES / "buildings"))
    sure_classes = runpy.run_path(str(EXAMPLES / "buildings/pseudo_labels.py"))["sure_classes"]
    share = np.full((40, 60), 0.05, np.float32)
    share[10:30, 5:55] = 0.95
    share[10:30, 29:32] = (0.8, 0.7, 0.8)  # two houses, a dip between them
    share[2:5, 2:5] = 0.7  # too small and too faint for a core of its own
    share[35:, :] = np.nan
    mask = sure_classes(share, 0.3, 0.6)
    count = ndimage.label(mask == 1, np.ones((3, 3)))[1]
    assert count == 3
    line = (share > 0.6) & (mask == 0)
    assert line[10:30].any(axis=1).all()
    assert set(np.nonzero(line)[1]) <= {29, 30, 31}
    assert (mask[35:] == 255).all()
    assert (mask[2:5, 2:5] == 1).all()


#: The generated ground of two sampling distances.
TOWNS = ["towns.geojson"] * 2


def test_the_mean_of_networks_holds_the_share_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch import nn

    monkeypatch.syspath_prepend(str(EXAMPLES / "buildings"))
    mean = runpy.run_path(str(EXAMPLES / "buildings/ship.py"))["mean_network"]
    one, other, third = (nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)) for _ in range(3))
    with torch.no_grad():
        for value, filled in ((1.0, one), (5.0, other), (9.0, third)):
            for tensor in filled.state_dict().values():
                tensor.fill_(value)
    mixed = mean(one, [(other, 0.25), (third, 0.125)])
    assert mixed is one
    values = {name: set(value.flatten().tolist()) for name, value in mixed.state_dict().items()}
    counters = {name for name in values if name.endswith("num_batches_tracked")}
    assert len(counters) == 1
    assert all(found == {3.0} for name, found in values.items() if name not in counters)
    assert set(other.state_dict()["0.weight"].flatten().tolist()) == {5.0}


def trained_on(run: Path) -> list[str]:
    """File names of the labels that a run was trained on."""
    scenes = json.loads((run / "config.json").read_text())["data"]["scenes"]
    return [Path(scene["labels"]).name for scene in scenes if scene["part"] == "train"]


def test_places_left_out_and_the_bundle_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import geoseg
    from geoseg.demo.run import prepare_scene
    from geoseg.models import load_model

    monkeypatch.syspath_prepend(str(EXAMPLES / "buildings"))
    run_script("buildings/towns.py", ["--out", str(tmp_path), "--share=0.1", "--chip=96"], monkeypatch)
    steps = {"0.15": 0.15, "0.30": 0.3, "0.50": 0.5}
    names = ("towns", "world")
    made = [(step, tmp_path / folder / f"{name}.tif") for folder, step in steps.items() for name in names]
    for step, scene in made:
        with rasterio.open(scene) as src:
            assert src.res == pytest.approx((step, step))
            bounds = src.bounds
        houses = gpd.read_file(scene.with_suffix(".geojson")).to_crs(src.crs)
        assert len(houses) > 5
        assert shapely.box(*bounds).buffer(0.01).covers(houses.union_all())
    towns, world = ((tmp_path / "0.30" / f"{name}.geojson").read_text() for name in names)
    assert towns != world
    for seed, name in enumerate(("east", "west")):
        prepare_scene(tmp_path / f"{name}.tif", tmp_path / f"{name}.geojson", size=256, seed=seed, gsd=0.6)
    entries = [
        {"path": f"{name}.tif", "labels": f"{name}.geojson", "part": part}
        for name, part in (
            ("east", "train"),
            ("west", "val"),
            ("0.30/towns", "train"),
            ("0.50/towns", "train"),
        )
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
    # The config's own weights may have seen the place, and so may the network that made pseudo-labels.
    config["weights"] = "elsewhere"
    entries.append({"path": "east.tif", "labels": "east_pseudo.tif", "part": "train"})
    path, places = tmp_path / "train.json", tmp_path / "places"
    path.write_text(json.dumps(config))
    arguments = [str(path), "--out", str(places)]
    first = [*arguments, "--place", "west"]
    run_script("buildings/leave_one_out.py", first, monkeypatch)
    start = ["--place", "east", "--start", str(places / "west" / "bundle"), "--start-for", "east"]
    run_script("buildings/leave_one_out.py", [*arguments, *start, "--threshold", "0.25"], monkeypatch)
    assert trained_on(places / "west") == trained_on(places / "all") == ["east.geojson", *TOWNS]
    assert trained_on(places / "east") == ["west.geojson", *TOWNS]
    begun = json.loads((places / "east" / "config.json").read_text())
    assert (begun["weights"], begun["pretrained"]) == (str(places / "west" / "bundle"), "none")
    table = json.loads((places / "places.json").read_text())
    assert [(name, row["start"], row["threshold"]) for name, row in table.items()] == [
        ("west", "imagenet", 0.5),
        ("east", "bundle", 0.25),
    ]
    for row in table.values():
        assert all(
            0 <= row[name]["iou"] <= 1 and row[name]["batches"] == 2 for name in ("left_out", "learned")
        )
    told = capsys.readouterr().out
    assert f"west         IoU and object F1: left_out {table['west']['left_out']['iou']:.3f}" in told
    fresh = [str(path), "--out", str(tmp_path / "fresh")]
    for words, message in (
        (["--place", "north"], "--place must be one of east, west"),
        (["--start", "first"], "--start and --start-for must be given together"),
        (["--start", "first", "--start-for", "south"], "--start-for must be one of east, west"),
    ):
        with pytest.raises(SystemExit):
            run_script("buildings/leave_one_out.py", [*fresh, *words], monkeypatch)
        assert message in capsys.readouterr().err
    early = ["--set", 'early_stopping={"patience": 1}']
    with pytest.raises(SystemExit, match="goes by the loss on the place left out"):
        run_script("buildings/leave_one_out.py", [*fresh, *early], monkeypatch)
    assert not (tmp_path / "fresh").exists()
    capsys.readouterr()

    words = [str(path), "--model", f"west={places / 'west' / 'last'}", "--out", str(tmp_path / "defaults")]
    words += ["--threshold", "0.5", "--min-confidence", "0", "--min-confidence", "1"]
    run_script("buildings/defaults.py", words, monkeypatch)
    any_confidence, certain = json.loads((tmp_path / "defaults/defaults.json").read_text())["places"]
    left_out = table["west"]["left_out"]
    assert {name: any_confidence.get(name) for name in left_out if name != "batches"} == {
        name: value for name, value in left_out.items() if name != "batches"
    }
    assert certain["iou"] == 0
    capsys.readouterr()

    bundle = tmp_path / "shipped"
    arguments = [str(places / "west"), "--config", str(path), "--places", str(places / "places.json")]
    arguments += ["--split", "off", "--split", "0.5", "--hardware", "a test", "--out", str(bundle)]
    run_script("buildings/ship.py", arguments, monkeypatch)
    assert "with_8_turns" in capsys.readouterr().out
    shipped, trained = load_model(bundle), load_model(places / "west" / "last")
    assert shipped.card is not None
    training = shipped.card.options.training
    assert training is not None
    assert training["places_left_out"]["east"] == table["east"]
    block, threshold = training["validation_block"], str(shipped.card.options.threshold)
    ways = {name: row for name, row in training["splits"].items() if name != "what"}
    for row in ways.values():
        assert row["mean"] == pytest.approx((row["east"] + row["west"]) / 2, abs=1e-4)
    assert ways[str(shipped.card.options.split)]["mean"] == max(row["mean"] for row in ways.values())
    # What the card tells is what its own defaults give.
    again = runpy.run_path(str(EXAMPLES / "buildings/scores.py"))
    scene = again["Scored"](tmp_path / "west.tif", tmp_path / "west.geojson")
    told = {
        name: value for name, value in block.items() if name not in ("what", "with_8_turns", "thresholds")
    }
    assert again["score_scenes"](bundle, [scene]) == told
    assert block["iou"] == block["thresholds"][threshold]["iou"]
    gsd = shipped.card.options.gsd_range
    assert gsd == pytest.approx(trained.card.options.gsd_range, abs=0.001)  # nothing was zoomed
    pixels = geoseg.open_scene(tmp_path / "west.tif").values[None, :3, :64, :64]
    want = trained(pixels)[:, 1]
    assert shipped.classes == ("building",)
    assert abs(shipped(pixels)[:, 0] - want).max() < 0.01  # float16


def write_photo(folder: Path, name: str, size: int) -> None:
    """A photo with a house, and its mask: 255 building, 0 background, 127 not known."""
    rng = np.random.default_rng(size)
    pixels, mask = rng.integers(60, 120, (size, size, 3), dtype=np.uint8), np.zeros((size, size), np.uint8)
    house = slice(size // 4, size // 2)
    pixels[house, house], mask[house, house], mask[-size // 8 :] = (190, 80, 60), 255, 127
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=95)
    Image.fromarray(mask).save(folder / f"{name}_mask.png")


def test_places_are_written_at_the_distances_that_are_trained_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photo(tmp_path / "data" / "opencities_accra", "accra_west_10cm", 300)
    write_photo(tmp_path / "data" / "spacenet2_vegas", "vegas_2400", 120)
    arguments = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "places")]
    run_script("buildings/places.py", arguments, monkeypatch)
    told = capsys.readouterr()
    assert "accra: 3 scenes" in told.out
    assert "banepa: no oam_banepa/scene_banepa_13cm.tif, left out" in told.err
    for folder, side in (("0.15", 200), ("0.30", 100), ("0.50", 60)):
        with rasterio.open(tmp_path / "places" / folder / "accra_00.tif") as scene:
            assert scene.shape == (side, side)
            assert scene.crs is None
            pixels = scene.read()
        with rasterio.open(tmp_path / "places" / folder / "masks" / "accra_00.tif") as labels:
            assert labels.nodata == 255
            mask = labels.read(1)
        assert mask.shape == (side, side)
        assert (mask == 1).mean() == pytest.approx(1 / 16, abs=0.01)
        assert (mask == 255).mean() == pytest.approx(1 / 8, abs=0.02)
        assert pixels[0][mask == 1].mean() > pixels[0][mask == 0].mean() + 60
    # A chip that is known to be finer than the others, and has no detail at 0.15 m.
    with rasterio.open(tmp_path / "places" / "0.30" / "vegas_00.tif") as scene:
        assert scene.shape == (120, 120)
    assert not (tmp_path / "places" / "0.15" / "vegas_00.tif").exists()


def test_the_table_adds_up_the_scenes_of_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from geoseg.demo.scene import make_chip
    from geoseg.models import shipped_model

    folder = tmp_path / "china_apartments"
    folder.mkdir()
    for seed in (0, 1):
        image, mask = make_chip(128, 0.6, np.random.default_rng(seed))
        codes = np.where(np.arange(128)[:, None] < 16, 127, mask * 255).astype(np.uint8)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"china_{seed}.png")
        Image.fromarray(codes).save(folder / f"china_{seed}_mask.png")
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "table"), "--place", "china_apartments"]
    model = ["--model", f"one={shipped_model()}"]
    run_script("buildings/table.py", [*arguments, *model, "--set", "threshold=0.3"], monkeypatch)
    row = json.loads((tmp_path / "table" / "scores.json").read_text())["one"]["china_apartments"]
    assert row["scenes"] == 2
    assert 0.2 < row["iou"] < 1
    assert 0 < row["object_f1"] < 1
    assert f"IoU {row['iou']:.3f}" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr("geoseg.run", None)  # what is there is not run again
        run_script("buildings/table.py", [*arguments, *model, "--set", "threshold=0.3"], patch)
        assert f"IoU {row['iou']:.3f}" in capsys.readouterr().out
        # Another setting under the same name is another row.
        with pytest.raises(TypeError):
            run_script("buildings/table.py", [*arguments, *model], patch)
    run_script("buildings/table.py", [*arguments, *model], monkeypatch)
    other = json.loads((tmp_path / "table" / "scores.json").read_text())["one"]["china_apartments"]
    assert other["key"] != row["key"]
    assert other["iou"] != row["iou"]


def test_what_is_false_is_shown_and_what_nobody_labeled_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from geoseg.demo.scene import make_chip
    from geoseg.models import shipped_model

    monkeypatch.syspath_prepend(str(EXAMPLES / "buildings"))
    image, mask = make_chip(192, 0.3, np.random.default_rng(2))
    labels = mask.astype(np.uint8)
    labels[:, :64] = 0  # houses that the truth lacks
    labels[:, 64:128] = 255  # nobody has looked there
    ground = {"crs": "EPSG:32645", "transform": from_origin(400_000, 3_000_000, 0.3, 0.3)}
    exact = {"driver": "GTiff", "height": 192, "width": 192, "dtype": "uint8", **ground}
    for name, bands, more in (("town", image, {}), ("labels", labels[None], {"nodata": 255})):
        with rasterio.open(tmp_path / f"{name}.tif", "w", count=len(bands), **exact, **more) as dst:
            dst.write(bands)
    scenes = [{"path": "town.tif", "labels": "labels.tif", "part": "train"}]
    (tmp_path / "config.json").write_text(json.dumps({"data": {"scenes": scenes}}))
    arguments = [str(shipped_model()), "--config", str(tmp_path / "config.json")]
    arguments += ["--out", str(tmp_path / "false.jpg")]
    run_script("buildings/false_buildings.py", [*arguments, "--each", "3"], monkeypatch)
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert 0 < len(names) <= 3
    module = runpy.run_path(str(EXAMPLES / "buildings/false_buildings.py"))
    middles = [tuple(map(int, name.removeprefix("town:").split(","))) for name in names]
    assert all(labels[row - 2 : row + 3, column - 2 : column + 3].max() == 0 for column, row in middles)
    assert any(mask[row, column] for column, row in middles)  # a house that the truth lacks
    with Image.open(tmp_path / "false.jpg") as picture:
        assert picture.format == "JPEG"
        assert picture.height == module["SIDE"] * module["ZOOM"]
        strong = (np.asarray(picture.convert("HSV"))[..., 1] > 200).sum()
        assert strong > 20 * len(names)  # outlines in strong colors, of houses of some 20 pixels at least
    scene = module["Scored"](tmp_path / "town.tif", tmp_path / "labels.tif")
    found = module["false_ones"](scene, shipped_model())
    assert all(module["shows"](one, module["name_of"](one)) for one in found)
    assert not module["shows"](found[0], "elsewhere:1,1")
    with pytest.raises(SystemExit, match="nothing to show"):
        run_script("buildings/false_buildings.py", arguments, monkeypatch)
    with pytest.raises(SystemExit):
        run_script(
            "buildings/false_buildings.py", [*arguments[:-1], str(tmp_path / "false.png")], monkeypatch
        )
    assert "--out must end in .jpg" in capsys.readouterr().err


def test_every_step_of_the_recipe_is_a_command_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from geoseg.config import read_document
    from geoseg.training.config import apply_overrides, parse_train_settings

    module = runpy.run_path(str(EXAMPLES / "buildings/make.py"))
    configs = sorted((EXAMPLES / "buildings").glob("*.toml"))
    assert len(configs) >= 8
    for config in configs:
        document = apply_overrides(read_document(config), module["QUICK"])
        assert parse_train_settings(document, config.name).epochs == 1
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "runs"), "--quick", "--dry-run"]
    run_script("buildings/make.py", arguments, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 6  # places, towns and labels may lie there already
    names = [Path(line.split()[1]) for line in lines if line.split()[1] != "-m"]
    assert all(name.is_file() for name in names)
    assert "--quick" in lines[-1]
