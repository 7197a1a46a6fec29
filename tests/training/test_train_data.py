"""Data named by a config: what is opened, and what is refused with a reason."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.enums import ColorInterp
from train_samples import TINY, base_config, to_ground, town, write_project, write_scene
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.data.chips import cut_chip
from geoseg.data.dataset import ChipDataset
from geoseg.data.settings import TrainingDataSettings
from geoseg.data.sources import Wanted, open_areas
from geoseg.errors import ConfigError, InputError, MissingFileError
from geoseg.geo.windows import Window
from geoseg.models import write_bundle
from geoseg.models.architectures import build_network
from geoseg.models.card import ModelCard
from geoseg.models.options import ArchitectureSpec, GeosegOptions
from geoseg.models.scaling import ZScore
from geoseg.projects.figures import Rectangle
from geoseg.raster.classes import IGNORE
from geoseg.training.config import parse_train_settings
from geoseg.training.facts import Facts
from geoseg.training.setup import prepare


def prepared(tmp_path, **changes):
    return prepare(parse_train_settings(base_config(**changes)), tmp_path)


def whole(area):
    return cut_chip(area, Window(row_off=0, col_off=0, height=area.shape[0], width=area.shape[1]))


def expected(size, seed, edge=16):
    """Target of a town: houses, and unlabeled ground at the bottom."""
    target = np.zeros((size, size), np.uint8)
    for left, top, right, bottom in town(size, seed)[1]:
        target[top:bottom, left:right] = 1
    if edge:
        target[-edge:] = IGNORE
    return target


def test_labels_in_any_crs_fall_on_their_pixels(tmp_path):
    scene = write_scene(tmp_path, "a", 192, 1)
    frame = gpd.read_file(scene["labels"])
    assert frame.crs.to_epsg() == 4326
    for crs in (3857, 32645):
        frame.to_crs(crs).to_file(tmp_path / "labels.gpkg")
        found = prepared(tmp_path, data={"scenes": [{**scene, "labels": "labels.gpkg", "part": "train"},
                                                    {**scene, "part": "val"}]})  # fmt: skip
        for area in found.opened.areas:
            assert (whole(area).target != expected(192, 1)).mean() < 1e-3


def test_scenes_are_read_at_the_resolution_asked_for(tmp_path):
    scene = write_scene(tmp_path, "a", 192, 1)
    found = prepared(tmp_path, data={"scenes": scene}, resolution=1.0)
    area = found.opened.areas[0]
    assert area.shape == (96, 96)
    assert found.facts.gsd == pytest.approx((1.0, 1.0), rel=0.01)
    coarse = expected(192, 1)[1::2, 1::2]
    assert (whole(area).target != coarse).mean() < 0.05


def test_the_card_names_bands_as_the_scenes_do(tmp_path):
    scene = write_scene(tmp_path, "a", 192, 1)
    assert prepared(tmp_path, data={"scenes": scene}).facts.bands == ("red", "green", "blue")
    with rasterio.open(scene["path"], "r+") as file:
        file.descriptions = ("B02", "B03", "B04")
    facts = prepared(tmp_path, data={"scenes": scene}).facts
    assert facts.bands == ("blue", "green", "red")
    turned = prepared(tmp_path, data={"scenes": {**scene, "bands": [3, 2, 1]}}).facts
    assert turned.bands == ("red", "green", "blue")
    assert Facts.read(json.loads(json.dumps(facts.document()))) == facts
    # A run chooses bands by the names of the card.
    with pytest.raises(ConfigError, match=r"\$\.card\.bands: must be in the order .* blue, green, red, got"):
        prepared(tmp_path, data={"scenes": scene}, card={"bands": ["R", "G", "B"]})
    earlier = {name: value for name, value in facts.document().items() if name != "bands"}
    assert Facts.read(earlier).bands == ()


def test_classes_from_a_column_with_priorities_and_a_neutral_one(tmp_path):
    scene = write_scene(tmp_path, "a", 192, 1)
    frame = gpd.read_file(scene["labels"]).to_crs(32645)
    over = gpd.GeoDataFrame({"roof": ["tile", "tin", "hard"]}, crs=32645, geometry=[
        to_ground(0, 0, 20, 10), to_ground(10, 0, 30, 10), to_ground(25, 0, 40, 10)])  # fmt: skip
    gpd.pd.concat([over, frame]).to_file(tmp_path / "labels.gpkg")
    data = {"scenes": {"path": scene["path"], "labels": "labels.gpkg"}, "class_column": "roof"}
    classes = ["tin", "tile", {"name": "neutral", "values": ["hard"]}]
    found = prepared(tmp_path, data=data, classes=classes)
    assert found.facts.classes == ("bg", "tin", "tile")
    top = whole(found.opened.areas[0]).target[2]
    assert top[:45].tolist() == [2] * 20 + [1] * 5 + [IGNORE] * 15 + [0] * 5
    with pytest.raises(InputError, match=r"must belong to the classes tin, tile, got hard. List them"):
        prepared(tmp_path, data=data, classes=["tin", "tile"])
    ignored = prepared(tmp_path, data={**data, "other": "ignore"}, classes=["tin", "tile"])
    assert whole(ignored.opened.areas[0]).target[2, 30] == IGNORE
    with pytest.raises(ConfigError, match=r"\$\.data\.class_column: must name the column"):
        prepared(tmp_path, data={"scenes": data["scenes"]}, classes=["tin", "tile"])
    with pytest.raises(InputError, match=r"column must be one of labels.gpkg \(roof\), got 'kind'"):
        prepared(tmp_path, data={**data, "class_column": "kind"}, classes=["tin", "tile"])


def test_mask_rasters_and_folders_of_pairs(tmp_path):
    for folder in ("img", "ann"):
        (tmp_path / folder).mkdir()
    for i in range(4):
        picture, _ = town(96, i)
        Image.fromarray(np.moveaxis(picture, 0, -1)).save(tmp_path / "img" / f"p{i}.png")
        Image.fromarray(expected(96, i, edge=0) * 255).save(tmp_path / "ann" / f"p{i}.png")
    data = {"images": "img", "masks": "ann"}
    found = prepared(tmp_path, data=data, classes=["house"])
    assert len(found.facts.scenes["train"]) == 3
    assert len(found.facts.scenes["val"]) == 1
    assert np.array_equal(whole(found.opened.areas[2]).target, expected(96, 2, edge=0))
    by_value = {"scenes": [{"path": "img/p0.png", "labels": "ann/{stem}.png"}]}
    found = prepared(tmp_path, data=by_value, classes=[{"name": "house", "values": [255]}])
    assert np.array_equal(whole(found.opened.areas[0]).target, expected(96, 0, edge=0))
    # Archives of macOS spell an accent apart.
    (tmp_path / "img" / "p1.png").rename(tmp_path / "img" / "p\u00e9.png")
    (tmp_path / "ann" / "p1.png").rename(tmp_path / "ann" / "pe\u0301.png")
    assert len(prepared(tmp_path, data=data, classes=["house"]).opened.areas) == 4
    # One picture in two formats, or in two spellings, would be on both sides of the split.
    for own, other in (("p2.png", "p2.tif"), ("p\u00e9.png", "pe\u0301.png")):
        twin = tmp_path / "img" / other
        twin.write_bytes((tmp_path / "img" / own).read_bytes())
        with pytest.raises(InputError, match=f"own, got {' and '.join(sorted((own, other)))} in .*img"):
            prepared(tmp_path, data=data, classes=["house"])
        twin.unlink()
    # A mask of another kind with the same name: which one is meant can't be known.
    (tmp_path / "ann" / "p3.tif").write_bytes((tmp_path / "ann" / "p3.png").read_bytes())
    with pytest.raises(InputError, match=r"must have one mask, got p3.png and p3.tif in .* for p3.png"):
        prepared(tmp_path, data=data, classes=["house"])
    (tmp_path / "ann" / "p3.tif").unlink()
    (tmp_path / "ann" / "p3.png").unlink()
    with pytest.raises(MissingFileError, match=r"no mask named p3 in .* for p3.png"):
        prepared(tmp_path, data=data, classes=["house"])


def test_a_mask_on_another_grid_follows_its_georeferencing(tmp_path):
    scene = write_scene(tmp_path, "a", 192, 1)
    target = expected(192, 1, edge=0)
    with rasterio.open(scene["path"]) as file:
        profile = {**file.profile, "count": 1, "height": 384, "width": 384}
        profile["transform"] = file.transform * rasterio.Affine.scale(0.5)
    with rasterio.open(tmp_path / "mask.tif", "w", **profile) as file:
        file.write(np.kron(target, np.ones((2, 2), np.uint8)), 1)
    found = prepared(tmp_path, data={"scenes": {"path": scene["path"], "labels": "mask.tif"}})
    assert np.array_equal(whole(found.opened.areas[0]).target, target)


def test_an_aoi_limits_a_mask_and_keeps_two_scenes_of_one_file_apart(tmp_path, caplog):
    scene = write_scene(tmp_path, "a", 192, 1)
    with rasterio.open(scene["path"]) as file:
        profile, bounds, crs = {**file.profile, "count": 1}, file.bounds, file.crs
    with rasterio.open(tmp_path / "mask.tif", "w", **profile) as file:
        file.write(expected(192, 1, edge=0), 1)
    middle = (bounds.left + bounds.right) / 2
    halves = {
        "west": shapely.box(bounds.left, bounds.bottom, middle, bounds.top),
        "east": shapely.box(middle, bounds.bottom, bounds.right, bounds.top),
    }
    for name, half in halves.items():
        gpd.GeoSeries([half], crs=crs).to_crs(4326).to_file(tmp_path / f"{name}.geojson")
    entries = [
        {"path": scene["path"], "labels": "mask.tif", "aoi": "west.geojson", "part": "train"},
        {**scene, "aoi": "east.geojson", "part": "val"},
    ]
    found = prepared(tmp_path, data={"scenes": entries, "split": {"by": "file"}}, classes=["house"])
    west, east = (whole(area).target for area in found.opened.areas)
    wanted = expected(192, 1, edge=0)
    assert np.array_equal(west[:, :95], wanted[:, :95])
    assert (west[:, 97:] == 255).all()
    assert (east[:, :95] == 255).all()
    assert np.array_equal(east[:, 97:], wanted[:, 97:])
    assert "same labeled ground" not in caplog.text
    with pytest.raises(ConfigError, match=r"class_column: must name .* one class, without values"):
        prepared(tmp_path, data={"scenes": entries}, classes=[{"name": "house", "values": [1]}])


@pytest.mark.parametrize(
    ("crs", "shift", "message"),
    [
        (
            "EPSG:32644",
            0,
            r"scene's CRS \(EPSG:32645\), got EPSG:32644 .* gdalwarp -t_srs EPSG:32645 -r near",
        ),
        ("EPSG:32645", 5000, r"a mask must touch the scene, got .*over \(505000\.0, .* over \(500000\.0, "),
    ],
)
def test_a_mask_that_misses_its_scene_is_told(tmp_path, crs, shift, message):
    scene = write_scene(tmp_path, "a", 192, 1)
    with rasterio.open(scene["path"]) as file:
        moved = rasterio.Affine.translation(shift, 0) * file.transform
        profile = {**file.profile, "count": 1, "crs": crs, "transform": moved}
    with rasterio.open(tmp_path / "mask.tif", "w", **profile) as file:
        file.write(np.ones((192, 192), np.uint8), 1)
    with pytest.raises(InputError, match=message):
        prepared(tmp_path, data={"scenes": {"path": scene["path"], "labels": "mask.tif"}})


def test_scenes_with_their_bands_in_another_order_are_not_mixed(tmp_path):
    towns = [write_scene(tmp_path, name, 192, 1) for name in ("a", "b")]
    with rasterio.open(towns[1]["path"], "r+") as file:
        file.descriptions = ("blue", "green", "red")
    with pytest.raises(InputError, match=r"same order, got blue, green, red in .* and red, green, blue in"):
        prepared(tmp_path, data={"scenes": towns})
    # As the message advises; and who names the bands is not contradicted.
    for bands in ([3, 2, 1], [1, 2, 3]):
        prepared(tmp_path, data={"scenes": [towns[0], {**towns[1], "bands": bands}]})
    # Bands of which one scene knows other things than another are named by neither.
    with rasterio.open(towns[1]["path"], "r+") as file:
        file.descriptions = ("nir", "red", "green")
    assert prepared(tmp_path, data={"scenes": towns}).facts.bands == ("band_1", "band_2", "band_3")
    with rasterio.open(towns[1]["path"], "r+") as file:
        file.descriptions = ("", "", "")
        file.colorinterp = [ColorInterp.gray] * 3
    assert prepared(tmp_path, data={"scenes": towns}).facts.bands == ("red", "green", "blue")


def test_colors_of_other_than_three_bands_are_not_augmented(tmp_path, towns):
    one_band = [{**scene, "bands": [1]} for scene in towns]
    for name in ("hue", "saturation", "jpeg"):
        with pytest.raises(ConfigError, match=rf"\$\.augment\.{name}: must be 0 unless .* got 0\.5 for 1"):
            prepared(tmp_path, data={"scenes": one_band}, augment={name: 0.5})
        prepared(tmp_path, data={"scenes": towns}, augment={name: 0.5})


def test_measured_normalization_of_other_data_types(tmp_path):
    values = np.random.default_rng(0).normal(3000, 400, (2, 128, 128)).clip(0, 65535).astype(np.uint16)
    mask = (values[0] > 3000).astype(np.uint8)
    profile = {"driver": "GTiff", "height": 128, "width": 128}
    transform = rasterio.Affine.translation(500000, 3000000) * rasterio.Affine.scale(0.5, -0.5)
    with rasterio.open(
        tmp_path / "s.tif", "w", count=2, dtype="uint16", crs=32645, transform=transform, **profile
    ) as f:
        f.write(values)
    with rasterio.open(
        tmp_path / "m.tif", "w", count=1, dtype="uint8", crs=32645, transform=transform, **profile
    ) as f:
        f.write(mask, 1)
    found = prepared(tmp_path, data={"scenes": {"path": "s.tif", "labels": "m.tif"}})
    assert found.facts.mean == pytest.approx((3000, 3000), rel=0.02)
    assert found.facts.stddev == pytest.approx((400, 400), rel=0.05)
    chips = ChipDataset(found.opened.areas, (32, 32))
    assert chips[found.val[0]]["image"].float().mean() == pytest.approx(3000, rel=0.1)
    with pytest.raises(
        ConfigError, match=r"\$\.normalization: imagenet must go with 3 bands of uint8, got 2"
    ):
        prepared(tmp_path, data={"scenes": {"path": "s.tif", "labels": "m.tif"}}, normalization="imagenet")


def test_a_projects_own_classes_follow_the_tutorials_rule(tmp_path, house_project):
    found = prepared(tmp_path, data={"project": str(house_project)}, classes=[])
    assert found.facts.classes == ("bg", "house")
    chips = ChipDataset(found.opened.areas, (32, 32))
    target = chips[found.val[0]]["target"].numpy()
    assert target.shape == (32, 32)
    assert (target[28:, 28:] == IGNORE).all()
    assert (target == 1).any()
    assert len(found.epochs.refs) == 4
    assert len(found.val) == 2


def test_windows_of_a_project(tmp_path, house_project):
    found = prepared(tmp_path, data={"project": str(house_project), "fit": "crop"}, classes=[])
    refs = found.epochs.batches(0, 4, 1)[0]
    assert all((ref.height, ref.width) == (32, 32) for ref in refs)
    assert len(found.val) == 2 * 4


def test_samples_of_a_graph_are_those_of_its_project(tmp_path, house_project):
    """Training from a graph sees what training from the project that the graph writes would see."""
    from geoseg.dtl import read_graph, run_graph

    graph = [
        {"action": "data", "src": ["houses/*"], "dst": "$a", "settings": {"classes_mapping": "default"}},
        {"action": "flip", "src": ["$a"], "dst": "$b", "settings": {"axis": "vertical"}},
        {"action": "multiply", "src": ["$a", "$b"], "dst": "$c", "settings": {"multiply": 2}},
        {"action": "crop", "src": ["$c"], "dst": "$d", "settings": {"random_part": {
            "width": {"min_percent": 60, "max_percent": 90},
            "height": {"min_percent": 60, "max_percent": 90}}}},
        {"action": "supervisely", "src": ["$d"], "dst": "made", "settings": {}},
    ]  # fmt: skip
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    lazy = prepared(tmp_path, data={"dtl": "graph.json", "projects": str(house_project.parent)}, classes=[])
    config, out = tmp_path / "config.json", tmp_path / "chips.png"
    config.write_text(json.dumps(base_config(classes=[])))
    named = ["--dtl", str(tmp_path / "graph.json"), "--projects", str(house_project.parent)]
    for arguments in (["chips", str(config), "--out", str(out)], ["train", str(config), "--print-config"]):
        result = CliRunner().invoke(app, [*arguments, *named])
        assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["data"]["dtl"] == named[1]
    assert out.is_file()
    run_graph(read_graph(tmp_path / "graph.json"), house_project.parent, tmp_path, seed=3)
    made = prepared(tmp_path, data={"project": str(tmp_path / "made")}, classes=[])
    assert lazy.facts.classes == made.facts.classes == ("bg", "house")
    assert len(lazy.epochs.refs) == len(made.epochs.refs) == 4 * 4

    def contents(found, index=None):
        chips = [whole(found.opened.areas[ref.area]) for ref in found.epochs.refs]
        return sorted((chip.image.tobytes(), chip.target.tobytes()) for chip in chips)

    assert contents(lazy) == contents(made)


@pytest.mark.parametrize("kind", ["project", "graph", "pairs"])
def test_all_that_is_learned_from_is_known_by_its_file(kind, tmp_path, house_project):
    project = shutil.copytree(house_project, tmp_path / "houses")
    image, note = project / "ds" / "img" / "im2.png", project / "ds" / "ann" / "im2.png.json"
    if kind == "graph":
        graph = [
            {"action": "data", "src": ["houses/*"], "dst": "$a", "settings": {"classes_mapping": "default"}},
            {"action": "supervisely", "src": ["$a"], "dst": "made", "settings": {}},
        ]
        (tmp_path / "graph.json").write_text(json.dumps(graph))
        data, others = {"dtl": "graph.json", "projects": "."}, [note, tmp_path / "graph.json"]
    elif kind == "pairs":
        masks = tmp_path / "masks"
        masks.mkdir()
        for picture in image.parent.iterdir():
            Image.fromarray(np.eye(64, dtype=np.uint8)).save(masks / picture.name)
        data, others = {"images": str(image.parent), "masks": "masks"}, []
    else:
        data, others = {"project": "houses"}, [note]
    known = prepared(tmp_path, data=data, classes=[]).facts.files
    os.utime(image, (1, 1))
    for other in others:
        other.write_text(f"{other.read_text()} ")
    if kind == "pairs":
        others = [masks / image.name]
        Image.fromarray(np.eye(64, dtype=np.uint8)[::-1]).save(others[0])
    now = prepared(tmp_path, data=data, classes=[]).facts.files
    assert known.keys() == now.keys()
    changed = {name for name in now if known[name] != now[name]}
    assert changed == {str(path.relative_to(tmp_path)) for path in (image, *others)}


@pytest.mark.parametrize("objects", [0, 1])
def test_epochs_draw_a_graph_anew_but_not_its_validation(tmp_path, house_project, objects):
    """Whether the number of samples is known (every one has 0 objects or more) or depends on them."""
    part = {"min_percent": 40, "max_percent": 90}
    graph = [
        {"action": "data", "src": ["houses/*"], "dst": "$a", "settings": {"classes_mapping": "default"}},
        {"action": "multiply", "src": ["$a"], "dst": "$c", "settings": {"multiply": 3}},
        {"action": "crop", "src": ["$c"], "dst": "$d", "settings": {
            "random_part": {"width": part, "height": part}}},
        {"action": "if", "src": ["$d"], "dst": ["$e", "null"], "settings": {
            "condition": {"min_objects_count": objects}}},
        {"action": "supervisely", "src": ["$e"], "dst": "made", "settings": {}},
    ]  # fmt: skip
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    data = {"dtl": "graph.json", "projects": str(house_project.parent)}
    found, again = (prepared(tmp_path, data=data, classes=[]) for _ in range(2))

    def drawn(found, epoch):
        refs = sorted(ref for batch in found.epochs.batches(epoch, 4, 1) for ref in batch)
        areas = [found.opened.areas[ref.area].in_epoch(ref) for ref in refs]
        assert all(window.height == area.shape[0] for area, window in areas)
        return [(area.name, area.shape, cut_chip(area, window).target.tobytes()) for area, window in areas]

    epochs = [drawn(found, epoch) for epoch in (0, 1, 2)]
    assert [drawn(again, epoch) for epoch in (2, 0, 1)] == [epochs[2], epochs[0], epochs[1]]
    assert all([name for name, *_ in epoch] == [name for name, *_ in epochs[0]] for epoch in epochs)
    for one, other in itertools.pairwise(epochs):
        assert sum(a != b for a, b in zip(one, other, strict=True)) > len(one) / 2
    assert all(ref.epoch == 0 for ref in found.val)
    dataset = ChipDataset(found.opened.areas, (32, 32))
    assert dataset[found.epochs.batches(5, 4, 1)[0][0]]["target"].shape == (32, 32)


# ------------------------------------------------------------------ refused


def test_labels_that_miss_the_scene_are_told_with_both_extents(tmp_path):
    scene = write_scene(tmp_path, "a")
    far = gpd.GeoDataFrame(geometry=[shapely.box(10, 50, 11, 51)], crs=4326)
    far.to_file(tmp_path / "far.geojson")
    with pytest.raises(
        InputError,
        match=r"labels must touch the scene, got .*far.geojson over \(.* and .*a.tif over \(500000",
    ):
        prepared(tmp_path, data={"scenes": {**scene, "labels": "far.geojson"}})


def test_an_aoi_that_misses_the_scene_is_told_with_both_extents(tmp_path):
    scene = write_scene(tmp_path, "a")
    for name, shapes in (("far", [shapely.box(10, 50, 11, 51)]), ("none", [])):
        gpd.GeoDataFrame(geometry=shapes, crs=4326).to_file(tmp_path / f"{name}.gpkg")
        with pytest.raises(
            InputError,
            match=rf"aoi must touch the scene, got .*{name}.gpkg over .* and .*a.tif over \(500000",
        ):
            prepared(tmp_path, data={"scenes": {**scene, "aoi": f"{name}.gpkg"}})


def test_labels_beside_a_scene_without_crs_are_told_why_they_miss(tmp_path):
    scene = write_scene(tmp_path, "a", crs=None)
    data = {"scenes": {"path": scene["path"], "labels": scene["labels"]}}
    with pytest.raises(
        InputError, match=r"a.tif must have a CRS, as .*a.geojson has \(EPSG:4326\), got none"
    ):
        prepared(tmp_path, data=data)


def test_a_lone_class_with_a_column_takes_only_its_own_labels(tmp_path):
    data = {"scenes": write_scene(tmp_path, "a", 192, 1), "class_column": "roof"}
    with pytest.raises(InputError, match=r"must belong to the classes tin, got tile"):
        prepared(tmp_path, data=data, classes=["tin"])
    with pytest.raises(ConfigError, match=r"\$\.classes: must list the classes that data.class_column tells"):
        prepared(tmp_path, data=data, classes=[])
    tin = prepared(tmp_path, data={**data, "other": "background"}, classes=["tin"])
    both = prepared(tmp_path, data=data, classes=["tin", "tile"])
    found, every = (whole(p.opened.areas[0]).target for p in (tin, both))
    assert np.array_equal(found == 1, every == 1)
    assert (every == 2).any()


def test_nodata_of_a_mask_teaches_nothing(tmp_path):
    scene = write_scene(tmp_path, "a", 192, 1)
    target = expected(192, 1, edge=0)
    target[:64] = 9
    with rasterio.open(scene["path"]) as file:
        profile = {**file.profile, "count": 1}
    for nodata in (9, 0):
        with rasterio.open(tmp_path / "mask.tif", "w", **{**profile, "nodata": nodata}) as file:
            file.write(target, 1)
        data = {"scenes": {"path": scene["path"], "labels": "mask.tif"}}
        found = whole(prepared(tmp_path, data=data).opened.areas[0]).target
        assert (found[:64] == (IGNORE if nodata else 1)).all()
        assert np.array_equal(found[64:], target[64:])


def test_empty_labels_missing_crs_missing_classes(tmp_path):
    scene = write_scene(tmp_path, "a")
    gpd.GeoDataFrame(geometry=[], crs=4326).to_file(tmp_path / "none.gpkg")
    with pytest.raises(InputError, match="labels must hold polygons, got none"):
        prepared(tmp_path, data={"scenes": {**scene, "labels": "none.gpkg"}})
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)]).to_file(tmp_path / "bare.gpkg")
    with pytest.raises(InputError, match=r"must state its CRS, as .*a.tif does, got .*bare.gpkg"):
        prepared(tmp_path, data={"scenes": {**scene, "labels": "bare.gpkg"}})
    data = {"scenes": scene, "class_column": "roof"}
    with pytest.raises(InputError, match="must have pixels to train on, got none for straw"):
        prepared(tmp_path, data=data, classes=["tin", "tile", "straw"])
    with pytest.raises(MissingFileError, match=r"no such file|must exist"):
        prepared(tmp_path, data={"scenes": {**scene, "labels": "gone.geojson"}})
    with pytest.raises(InputError, match="data must name scenes"):
        prepared(tmp_path)


def write_kinds(folder: Path, aoi: tuple[int, ...]) -> dict:
    """A scene of 192 x 192 pixels with houses everywhere and one well, and what a config says of it."""
    scene = write_scene(folder, "a", 192, 1)
    houses = [(x, y, x + 6, y + 6) for x in range(10, 180, 24) for y in range(10, 180, 24)]
    kinds = ["house"] * len(houses) + ["well"]
    boxes = [to_ground(*corners) for corners in (*houses, (100, 100, 124, 124))]
    gpd.GeoDataFrame({"kind": kinds}, geometry=boxes, crs=32645).to_file(folder / "kinds.gpkg")
    gpd.GeoDataFrame(geometry=[to_ground(*aoi)], crs=32645).to_file(folder / "aoi.gpkg")
    scene |= {"labels": "kinds.gpkg", "aoi": "aoi.gpkg"}
    return {"scenes": [scene], "class_column": "kind"}


def test_a_class_that_is_validated_on_alone_is_refused(tmp_path):
    data = write_kinds(tmp_path, (0, 0, 192, 192))
    reasons = set()
    for seed in range(12):
        try:
            found = prepared(tmp_path, data=data, classes=["house", "well"], seed=seed)
        except InputError as error:
            reasons.add(str(error))
            continue
        forbidden = found.epochs.grounds[0].split.forbidden
        assert not ((forbidden[:, :2] <= 112) & (forbidden[:, 2:] > 112)).all(axis=1).any()
    assert reasons == {
        "every class must have pixels to train on, got none for well. All of it is validated on: "
        "label more of it, split otherwise, or use another seed."
    }


def test_a_class_at_the_edge_of_the_labeled_ground_is_found(tmp_path):
    # The middle of the well lies outside of the labeled ground, one of its corners inside.
    data = write_kinds(tmp_path, (0, 0, 108, 108))
    data["scenes"] = [{**data["scenes"][0], "part": part} for part in ("train", "val")]
    found = prepared(tmp_path, data=data, classes=["house", "well"])
    assert found.facts.classes == ("bg", "house", "well")


def test_tags_that_no_image_has(tmp_path, house_project):
    with pytest.raises(
        InputError, match=r"dataset_tags.val must be a tag of some image, got test. The data has train, val"
    ):
        prepared(tmp_path, data={"project": str(house_project)}, classes=[], dataset_tags={"val": "test"})


def test_a_project_with_a_class_nobody_drew(tmp_path):
    picture = np.zeros((32, 32, 3), np.uint8)
    images = [(n, picture, [("a", Rectangle(1, 1, 9, 9))], [n]) for n in ("train", "val")]
    project = write_project(tmp_path / "p", {"a": "rectangle", "b": "rectangle"}, images)
    with pytest.raises(InputError, match="got none for b"):
        prepared(tmp_path, data={"project": str(project)}, classes=[])


# ------------------------------------------------------------------ commands


def test_chips_command_draws_a_picture(towns, write_config, tmp_path):
    config = write_config(base_config(data={"scenes": towns}, augment={"flips": True, "scale": 0.5}))
    for extra in ([], ["--augment"]):
        out = tmp_path / f"chips{len(extra)}.png"
        result = CliRunner().invoke(app, ["chips", str(config), "--preview", "5", "--out", str(out), *extra])
        assert result.exit_code == 0, result.output
        sheet = np.array(Image.open(out))
        assert sheet.shape[1] == 4 * 36 + 4
        assert sheet.std() > 10


def test_scenes_given_as_options(towns, write_config, tmp_path):
    config = write_config({k: v for k, v in base_config(epochs=1).items() if k != "classes"})
    scene = towns[0]
    arguments = ["train", str(config), "--out", str(tmp_path / "run"), "--devices", "cpu"]
    options = ["--scenes", scene["path"], "--labels", scene["labels"], "--aoi", scene["aoi"]]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "facts.json").read_text())["classes"] == ["bg", "object"]
    assert result.stdout.strip().endswith("bundle")
    result = CliRunner().invoke(app, [*arguments, "--scenes", scene["path"]])
    assert result.exit_code == 2
    assert "--scenes must come with --labels" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "x.geojson"], "--labels must come with --scenes"),
        (["--data", "p", "--aoi", "x.gpkg"], "--aoi must come with --scenes"),
        (["--data", "p", "--scenes", "x.tif"], "--data and --scenes must not be given together"),
        (["--data", "p", "--dtl", "g.json"], "--data and --dtl and --projects must not be given together"),
        (["--dtl", "g.json"], "--dtl must come with --projects"),
        (["--scenes", "x.tif"], "--scenes must come with --labels"),
        (["--accept-changes"], "--accept-changes must come with --resume"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(options, message, write_config):
    result = CliRunner().invoke(app, ["train", str(write_config(base_config())), "--print-config", *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_every_scene_of_a_pattern_has_its_own_labels_and_aoi(towns):
    folder = Path(towns[0]["path"]).parent
    scenes = {"path": "*.tif", "labels": "{stem}.geojson", "aoi": "{stem}_aoi.gpkg"}
    found = prepared(folder, data={"scenes": scenes, "split": {"block_chips": 1, "buffer_px": 4}})
    assert [area.name for area in found.opened.areas] == ["north", "south"]
    assert all(area.truth.region().height == 176 for area in found.opened.areas)


def test_pairs_on_the_ground_have_a_resolution(tmp_path):
    for folder in ("img", "ann"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        scene = write_scene(tmp_path / "img", f"p{i}", 96, i)
        with rasterio.open(scene["path"]) as file:
            profile = {**file.profile, "count": 1}
        with rasterio.open(tmp_path / "ann" / f"p{i}.tif", "w", **profile) as file:
            file.write(expected(96, i, edge=0), 1)
    found = prepared(tmp_path, data={"images": "img", "masks": "ann"}, classes=["house"])
    assert found.facts.gsd == pytest.approx((0.5, 0.5), rel=1e-3)


def test_missing_extra_is_named(monkeypatch, write_config, tmp_path):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "tensorboard" else real(n, *a)
    )
    result = CliRunner().invoke(app, ["train", str(write_config({})), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "training needs tensorboard. Install it with: pip install 'geoseg[train]'" in result.stderr


def test_help_is_light():
    code = (
        "import sys; from typer.testing import CliRunner; from geoseg.cli import app;"
        "r = CliRunner().invoke(app, ['train', '--help']); assert r.exit_code == 0, r.output;"
        "assert '--resume' in r.output and 'torch' not in sys.modules and 'geopandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tiny_network_is_the_one_described():
    assert parse_train_settings(base_config()).architecture.encoder == TINY["encoder"]


@pytest.mark.parametrize("kind", ["scenes", "images"])
def test_photos_of_a_known_sampling_distance_are_read_at_the_wanted_one(kind, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            pixels = np.zeros((48, 64), np.uint8)
            pixels[8:16, 8:24] = 1
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    settings = {
        "images": {"images": "images", "masks": "masks", "gsd": 0.25},
        "scenes": {"scenes": ({"path": "images/*.png", "labels": "masks/{stem}.png", "gsd": 0.25},)},
    }[kind]
    opened = open_areas(Wanted(TrainingDataSettings(**settings), tmp_path, resolution=0.5))
    assert opened.gsd == (0.5, 0.5)
    assert [area.shape for area in opened.areas] == [(24, 32)] * 2
    chip = whole(opened.areas[0])
    assert chip.target[4:8, 4:12].all()
    assert chip.target.sum() == 32


def test_a_sampling_distance_for_no_images_is_refused():
    with pytest.raises(ValueError, match=r"gsd goes with images and masks.*data\.scenes\[\]\.gsd"):
        TrainingDataSettings(project="somewhere", gsd=0.3)


def test_images_with_bands_in_another_order_are_written_anew(tmp_path):
    """Folders of images list no bands: the advice for scenes can't be followed there."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    profile = {"driver": "GTiff", "height": 8, "width": 8, "dtype": "uint8", "crs": "EPSG:32645"}
    profile["transform"] = rasterio.Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)

    def write(name, names):
        with rasterio.open(tmp_path / "images" / name, "w", count=len(names), **profile) as file:
            file.descriptions = names
            file.write(np.ones((len(names), 8, 8), np.uint8))
        with rasterio.open(tmp_path / "masks" / name, "w", count=1, **profile) as file:
            file.write(np.ones((1, 8, 8), np.uint8))

    wanted = Wanted(TrainingDataSettings(images="images", masks="masks"), tmp_path)
    write("a.tif", ("red", "green", "blue"))
    for names, message in (
        (("blue", "green", "red"), "same order"),
        (("red", "green"), "same bands"),
    ):
        write("b.tif", names)
        with pytest.raises(InputError, match=rf"{message}.*gdal_translate -b") as told:
            open_areas(wanted)
        assert "data.scenes" not in str(told.value)
    write("b.tif", ("red", "green", "blue"))
    assert open_areas(wanted).channels == 3


@pytest.mark.parametrize("use", ["weights", "teacher"])
def test_networks_of_the_same_bands_in_another_order_are_refused(tmp_path, use):
    spec = ArchitectureSpec(**TINY)
    scene = write_scene(tmp_path, "a", 192, 1)
    for name, bands in (("same", ("red", "green", "blue")), ("other", ("blue", "green", "red"))):
        card = ModelCard.create(
            name,
            classes=("bg", "house"),
            bands=bands,
            scaling=[ZScore(mean=100, stddev=50)],
            options=GeosegOptions(architecture=spec, multiple=8, window=(32, 32), overlap=(0, 0)),
        )
        bundle = write_bundle(tmp_path / name, build_network(spec, in_channels=3, classes=2), card)
        wanted = {"weights": str(bundle)} if use == "weights" else {"teacher": {"bundle": str(bundle)}}
        config = base_config(data={"scenes": scene}, epochs=1, **wanted)
        if name == "same":
            prepare(parse_train_settings(config), tmp_path)
            continue
        with pytest.raises(
            ConfigError,
            match=r"scenes' bands, red, green, blue, got blue, green, red. Choose another with data",
        ):
            geoseg.train(config, tmp_path / "run", devices="cpu")
    config["data"]["scenes"] = [{**scene, "bands": [3, 2, 1]}]  # as the message advises
    assert prepare(parse_train_settings(config), tmp_path).facts.bands == ("blue", "green", "red")


def test_a_teacher_of_other_values_is_refused(tmp_path):
    spec = ArchitectureSpec(**TINY)
    card = ModelCard.create(
        "wide",
        classes=("bg", "house"),
        bands=("red", "green", "blue"),
        scaling=[ZScore(mean=1000, stddev=500)],
        options=GeosegOptions(architecture=spec, multiple=8, window=(32, 32), overlap=(0, 0)),
        data_type="uint16",
    )
    bundle = write_bundle(tmp_path / "wide", build_network(spec, in_channels=3, classes=2), card)
    config = base_config(data={"scenes": write_scene(tmp_path, "a", 192, 1)}, teacher={"bundle": str(bundle)})
    with pytest.raises(ConfigError, match="must take uint8 pixels, as the scenes hold, got one for uint16"):
        prepare(parse_train_settings(config), tmp_path)
