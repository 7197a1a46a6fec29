"""Graphs and plans: every mistake is one line with layer, action and JSON path."""

from __future__ import annotations

import json
import re

import pytest
from dtl_projects import data_layer, save_layer, step

from geoseg.dtl import open_engine, parse_graph, read_graph, run_graph
from geoseg.dtl.plan import plan_graph
from geoseg.errors import ConfigError, InputError, MissingFileError
from geoseg.projects.project import open_project

FLIP = {"axis": "vertical"}


def graph(*middle, src="$in", name="out"):
    return [data_layer("p"), *middle, save_layer(src, name=name)]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, r"\$: a graph must be a list of layers, got an object"),
        ([], "an empty list"),
        ([data_layer("p")], "exactly one save layer, got 0"),
        ([data_layer("p"), save_layer("$in"), save_layer("$in")], "exactly one save layer, got 2"),
        ([save_layer("$in")], "must have a data layer"),
        (graph(7), r"layer 2: \$\[1\]: a layer must be an object"),
        (graph(step("flop", FLIP)), r"layer 2 \(flop\): \$\[1\]\.action: .*Did you mean flip\?"),
        (graph({**step("flip", FLIP), "extra": 1}), r"\$\[1\]\.extra: unknown key"),
        (graph({"action": "flip", "src": ["$in"], "dst": "$a"}), r"\$\[1\]\.settings: must be given, \{\}"),
        (graph(step("flip", {"axis": "up"})), r"layer 2 \(flip\): \$\[1\]\.settings\.axis: .*'vertical'"),
        (graph(step("flip", [])), r"\$\[1\]\.settings: must be an object"),
        (graph({**step("flip", FLIP), "src": "$in"}), r"\$\[1\]\.src: must be a list of names"),
        (graph(step("flip", FLIP, src="null")), r"\$\[1\]\.src\[0\]: must be a connection"),
        (graph(step("flip", FLIP, dst=["$a"])), r"\$\[1\]\.dst: must be one name"),
        (graph(step("flip", FLIP, dst="a")), r"\$\[1\]\.dst: must be a connection"),
        (
            graph(step("if", {"condition": {"probability": 1}}, dst="$a")),
            r"\$\[1\]\.dst: must be a list of 2 names",
        ),
        (graph(step("if", {"condition": {"probability": 2}}, dst=["$a", "$b"])), r"condition\.probability"),
        (
            graph(step("if", {"condition": {"probability": 1, "tags": []}}, dst=["$a", "$b"])),
            "exactly one of",
        ),
        (graph(step("if", {"condition": {"probability": None}}, dst=["$a", "$b"])), "exactly one of"),
        (graph(step("crop", {"sides": {"left": "9" * 400 + "px"}})), r"sides\.left: .*'12px'"),
        (graph(step("line2bitmap", {"classes_mapping": {}, "width": 10**40})), r"settings\.width"),
        (graph(step("rasterize_vector", {"file": "a\0b", "class": "a"})), r"settings\.file: "),
        (
            graph(step("if", {"condition": {"names_in_range": 1}}, dst=["$a", "$b"])),
            "names_in_range: unknown key",
        ),
        (graph(step("if", {"condition": {"regex_names": ["("]}}, dst=["$a", "$b"])), "regular expression"),
        (graph(step("if", {"condition": {"sum_object_area": 3}}, dst=["$a", "$b"])), "needs classes"),
        (graph(step("multiply", {"multiply": 0})), r"settings\.multiply"),
        (graph(step("multiply", {"multiply": 2.5})), r"settings\.multiply"),
        (graph(step("crop", {})), "exactly one of random_part and sides"),
        (graph(step("crop", {"sides": {"left": "5"}})), r"sides\.left: .*'12px'"),
        (graph(step("dataset", {"name": "a/b"})), r"settings\.name"),
        (
            graph(step("resize", {"width": -1, "height": 5, "aspect_ratio": {"keep": False}})),
            "keep must be true",
        ),
        (
            graph(step("resize", {"width": 10**9, "height": 10**9, "aspect_ratio": {"keep": False}})),
            "less than or equal to 1000000",
        ),
        (graph(step("blur", {"name": "median", "kernel": 4})), "odd"),
        (graph(step("rasterize_vector", {"file": "{nam}.gpkg", "class": "a"})), r"settings\.file: .*{name}"),
        (graph(step("rasterize_vector", {"file": "{name:99999999}", "class": "a"})), r"settings\.file: "),
        (graph(step("rasterize_vector", {"file": "{name", "class": "a"})), r"settings\.file: "),
        (graph(step("noise", {"mean": float("nan"), "std": 1})), r"\$\[1\]\.settings\.mean: .* finite"),
        (graph(step("dummy", {"a": [1, {"b": float("inf")}]})), r"\$\[1\]\.settings\.a\[1\]\.b: "),
        (
            [data_layer("p"), {**save_layer("$in"), "action": "save", "settings": {"masks_machine": True}}],
            r"settings\.masks_machine: unknown key",
        ),
        (graph(src="$nobody"), r"layer 2 \(supervisely\): \$\[1\]\.src\[0\]: must be written by a layer"),
        (graph(name="../evil"), r"\$\[1\]\.dst: project must be"),
        ([{**data_layer("p"), "src": ["../p/*"]}, save_layer("$in")], r"\$\[0\]\.src\[0\]: project must be"),
        ([{**data_layer("p"), "src": ["p/a", "q/b"]}, save_layer("$in")], "data sets of one project"),
        (
            graph(step("flip", FLIP, src="$b", dst="$a"), step("flip", FLIP, src="$a", dst="$b")),
            r"layer 2 \(flip\): \$\[1\]: layers must not form a loop",
        ),
    ],
)
def test_bad_graphs(document, message):
    with pytest.raises(ConfigError, match=message) as caught:
        plan_graph(parse_graph(document, source="g.json"))
    assert str(caught.value).startswith("g.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tags_mapping": None},
            ".tags_mapping: Input should be 'default', or: Input should be a valid dict",
        ),
        ({"tags_mapping": {"a": 3}}, ".tags_mapping.a: Input should be a valid string"),
        ({"classes_mapping": ["a"]}, ".classes_mapping: Input should be 'default', or: Input should be"),
        ({"tag": "a"}, ".tag: unknown key"),
    ],
)
def test_paths_are_those_of_the_file(settings, message):
    """Also where one of several forms is allowed; null is no mapping, here as in the original."""
    data = {**data_layer("p"), "settings": {"classes_mapping": "default", **settings}}
    with pytest.raises(ConfigError, match=re.escape(f"$[0].settings{message}")) as caught:
        parse_graph([data, save_layer("$in")])
    assert "\n" not in str(caught.value)


def test_a_form_that_fits_so_far_is_meant():
    given = step("tag", {"tag": {"name": "a", "value": [1]}, "action": "add"})
    with pytest.raises(
        ConfigError, match=r"\$\[1\]\.settings\.tag\.value: Input should be a valid string, or: "
    ):
        parse_graph([data_layer("p"), given, save_layer("$out")])
    with pytest.raises(ConfigError, match=r"\$\[1\]\.settings\.tag\.name: Field required"):
        parse_graph([data_layer("p"), step("tag", {"tag": {}, "action": "add"}), save_layer("$out")])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (step("rename", {"classes_mapping": {"nobody": "x"}}), "classes_mapping must name classes"),
        (step("rename", {"classes_mapping": {"bitmap": "polygon"}}), "must keep one shape"),
        (step("background", {"class": "bitmap"}), "must keep one shape"),
        (step("poly2bitmap", {"classes_mapping": {"polygon": "polygon"}}), "the new class must be new"),
        (step("poly2bitmap", {"classes_mapping": {"nobody": "x"}}), "got nobody"),
        (step("drop_obj_by_class", {"classes": ["nobody"]}), "got nobody"),
        (step("reproject", {"crs": "EPSG:1"}), "crs must be known"),
        (step("split_masks", {"classes": ["bitmap", "polygon"]}), "class 'polygon' must be of shape bitmap"),
        (step("merge_masks", {"class": "polygon"}), "must be of shape bitmap for merge_masks, got polygon"),
        (
            step("bbox2poly", {"classes_mapping": {"bitmap": "x"}}),
            "class 'bitmap' must be of shape rectangle",
        ),
        (step("find_contours", {"classes_mapping": {"polygon": "x"}}), "must be of shape bitmap"),
        (step("approx_vector", {"classes": ["bitmap"], "epsilon": 1}), "must be of shape polygon or line"),
        (step("drop_lines_by_length", {"lines_class": "bitmap", "min_length": 1}), "must be of shape line"),
    ],
)
def test_classes_are_checked_before_a_pixel_is_read(make_project, tmp_path, layer, message):
    root = make_project("p", shapes=["polygon", "bitmap"]).parent
    document = graph(layer, src="$out")
    with pytest.raises(ConfigError, match=rf"layer 2 \({layer['action']}\): \$\[1\]\.settings: .*{message}"):
        run_graph(parse_graph(document), root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mapping_must_cover_every_class(make_project):
    root = make_project("p", shapes=["polygon", "bitmap"]).parent
    document = [data_layer("p", mapping={"polygon": "a"}), save_layer("$in")]
    with pytest.raises(
        ConfigError,
        match=re.escape("$[0].settings: classes_mapping must cover every class, got none for bitmap"),
    ):
        open_engine(parse_graph(document), root)
    document[0]["settings"]["classes_mapping"]["__other__"] = "__ignore__"
    assert open_engine(parse_graph(document), root).plan.meta.class_names == ("a",)


def test_tags_are_mapped_like_classes(make_project, tmp_path):
    root = make_project("p", ["a.png"], tags=lambda index: ("train", "old", "done")).parent
    mapping = {"train": "val", "old": "__ignore__"}
    data = {**data_layer("p"), "settings": {"classes_mapping": "default", "tags_mapping": mapping}}
    run_graph(parse_graph([data, save_layer("$in")]), root, tmp_path / "a")
    project = open_project(tmp_path / "a" / "out")
    assert {tag.name for tag in project.meta.tags} == {"val", "done"}
    (item,) = project
    assert [tag["name"] for tag in json.loads(item.annotation.read_text())["tags"]] == ["val", "done"]
    data["settings"]["tags_mapping"] = {"nobody": "x"}
    with pytest.raises(ConfigError, match=r"layer 1 \(data\): .*tags_mapping must name tags .*got nobody"):
        run_graph(parse_graph([data, save_layer("$in")]), root, tmp_path / "b")


def test_tags_that_nobody_declared_are_declared(make_project, tmp_path):
    root = make_project("p", ["a.png", "b.png"]).parent
    path = root / "p/ds/ann/b.png.json"
    document = json.loads(path.read_text())
    document["tags"] = [{"name": "who", "value": 3}]
    document["objects"][0]["tags"] = ["done"]
    path.write_text(json.dumps(document))
    delete = step("tag", {"tag": "done", "action": "delete"})
    for workers in (1, 2):
        out = tmp_path / str(workers)
        run_graph(parse_graph([data_layer("p"), delete, save_layer("$out")]), root, out, workers=workers)
        tags = open_project(out / "out").meta.tags
        assert [(tag.name, tag.value_type) for tag in tags] == [("done", "none"), ("who", "any_number")]


def test_missing_projects_and_data_sets(make_project, tmp_path):
    root = make_project("p").parent
    with pytest.raises(ConfigError, match=r"layer 1 \(data\): \$\[0\]\.src\[0\]: project must be a folder"):
        open_engine(parse_graph([data_layer("q"), save_layer("$in")]), root)
    with pytest.raises(ConfigError, match="data set must be one of ds, got 'other'"):
        open_engine(parse_graph([{**data_layer("p"), "src": ["p/other"]}, save_layer("$in")]), root)
    with pytest.raises(MissingFileError):
        open_engine(parse_graph(graph()), tmp_path / "nothing")


def test_order_in_the_file_does_not_matter_for_the_plan():
    layers = graph(step("flip", FLIP), src="$out")
    plan = plan_graph(parse_graph(layers[::-1]))
    assert [plan.graph.layers[i].kind.name for i in plan.order] == ["data", "flip", "supervisely"]


def test_later_spellings_are_the_same_layers():
    names = {
        "images_project": "data", "image_tag": "tag", "polygon_to_mask": "poly2bitmap",
        "mask_to_polygon": "find_contours", "bitmap2poly": "find_contours", "bbox_to_polygon": "bbox2poly",
        "line_to_mask": "line2bitmap", "mask_to_lines": "bitmap2lines", "rename_classes": "rename",
        "drop_object_by_class": "drop_obj_by_class", "change_class_color": "color_class",
        "merge_masks": "merge_bitmap_masks", "create_new_project": "supervisely", "export_archive": "save",
        "export_archive_with_masks": "save_masks",
    }  # fmt: skip
    from geoseg.dtl.catalog import registry

    assert {alias: registry.find(alias).name for alias in names} == names


def test_a_long_chain_does_not_overflow(make_project):
    count = 2000
    layers = [data_layer("p", "$0")]
    layers += [step("dummy", {}, f"${i}", f"${i + 1}") for i in range(count)]
    layers.append(save_layer(f"${count}"))
    engine = open_engine(parse_graph(layers), make_project("p").parent)
    assert len(list(engine.samples(0))) == 1
    from geoseg.dtl.counts import Counter

    assert Counter(engine.plan).saved(0, (40, 60), engine.origin(0)) == (1, 1)


def test_files(tmp_path):
    path = tmp_path / "g.json"
    with pytest.raises(MissingFileError):
        read_graph(path)
    path.write_text("[{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_graph(path)
    path.write_text(json.dumps(graph()))
    assert read_graph(path).name == "out"


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "1" * 10_000 + "]", "[1"])
def test_json_without_end_is_refused(tmp_path, text):
    (tmp_path / "g.json").write_text(text)
    with pytest.raises(ConfigError, match="not valid JSON"):
        read_graph(tmp_path / "g.json")
