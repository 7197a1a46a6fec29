"""Runs: one result for any number of workers, names, routes, failures, and files that survive."""

from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from affine import Affine
from dtl_projects import data_layer, save_layer, step, tutorial_graph
from PIL import Image
from pyproj import CRS

from geoseg.dtl import MappedSamples, open_graph, parse_graph, read_graph, run_graph
from geoseg.errors import InputError, RunError
from geoseg.files import LockedError, hold
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta
from geoseg.projects.figures.types import Bitmap
from geoseg.projects.image_output import write_image
from geoseg.projects.images import open_image
from geoseg.projects.project import open_project
from geoseg.projects.writer import ProjectWriter

RANDOM = {"min_percent": 50, "max_percent": 90}
CROP = {"random_part": {"width": RANDOM, "height": RANDOM}}


def graph(*middle, src="$out"):
    return parse_graph([data_layer("p"), *middle, save_layer(src)])


def contents(folder):
    """Hash of every file below a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_same_seed_same_result_for_any_number_of_workers(make_project, tmp_path):
    root = make_project("roads_annotated", ["0.png", "1.png", "2.png"], titles=["road"]).parent
    one = read_graph(tutorial_graph("roads_0"))
    runs = {}
    for name, seed, workers in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        report = run_graph(one, root, tmp_path / name, seed=seed, workers=workers)
        assert report.samples == 66
        runs[name] = contents(tmp_path / name)
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]


def one_scene(root, array, meters):
    """A project of one scene without objects."""
    height, width = array.shape[1:]
    box = GeoBox(Affine(meters, 0, 500_000, 0, -meters, 5_000_000), CRS.from_epsg(32633), height, width)
    with ProjectWriter(root / "p", ProjectMeta()) as writer:
        writer.add("ds", "s.tif", Annotation(height, width), lambda path: write_image(path, array, box))


def test_one_scene_is_shared_by_the_workers(tmp_path):
    root = tmp_path / "projects"
    one_scene(root, np.random.default_rng(0).integers(0, 255, (3, 200, 200), np.uint8), 1)
    layers = [
        data_layer("p"),
        step(
            "sliding_window",
            {"window": {"width": 50, "height": 50}, "min_overlap": {"x": 0, "y": 0}},
            dst="$w",
        ),
        step("crop", CROP, src="$w"),
        step(
            "sliding_window",
            {"window": {"width": 40, "height": 1}, "min_overlap": {"x": 0, "y": 0}},
            "$out",
            "$x",
        ),
        save_layer("$out", "$x"),
    ]
    reports = [run_graph(parse_graph(layers), root, tmp_path / str(n), seed=1, workers=n) for n in (1, 2)]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert reports[0].failures == reports[1].failures != ()
    assert reports[0].samples == reports[1].samples > 16


def test_a_sample_that_fails_does_not_stop_the_others(make_project, tmp_path):
    root = make_project("p", ["a.png"]).parent
    windows = {"window": {"width": 40, "height": 10}, "min_overlap": {"x": 0, "y": 0}}
    layers = [
        data_layer("p"), step("multiply", {"multiply": 20}, dst="$m"), step("crop", CROP, src="$m", dst="$c"),
        step("dummy", {}, "$c", "$d"), step("sliding_window", windows, "$d"), save_layer("$c", "$out"),
    ]  # fmt: skip
    report = run_graph(parse_graph(layers), root, tmp_path)
    assert report.samples > 20
    assert {failure.image for failure in report.failures} == {"p/ds/a.png"}
    assert 0 < sum(failure.samples for failure in report.failures) < 20


def test_a_layer_of_another_package(make_project, tmp_path, monkeypatch):
    import importlib.metadata

    from geoseg.dtl.registry import ENTRY_POINTS, registry

    (tmp_path / "extra_layers.py").write_text(EXTRA)
    monkeypatch.syspath_prepend(tmp_path)
    point = importlib.metadata.EntryPoint("extra", "extra_layers", ENTRY_POINTS)
    real = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **k: [point] if k == {"group": ENTRY_POINTS} else real(**k)
    )
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    monkeypatch.setattr(registry, "_extended", False)
    root = make_project("p", ["a.png", "b.png", "c.png"]).parent
    report = run_graph(graph(step("invert", {"but": "b.png"})), root, tmp_path)
    assert report.samples == 1
    reasons = {failure.image: failure.reason for failure in report.failures}
    assert reasons == {
        "p/ds/b.png": "layer 2 (invert): ZeroDivisionError: division by zero",
        "p/ds/c.png": "KeyError: 'while pixels are read'",
    }
    source = np.asarray(Image.open(root / "p/ds/img/a.png"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/p__ds/img/a.png")), 255 - source)


EXTRA = """
from geoseg.dtl import LayerSettings, layer

class InvertSettings(LayerSettings):
    but: str

@layer("invert", InvertSettings, pixels=True)
def invert(sample, settings, rng):
    if sample.origin.name == settings.but:
        1 / 0

    def treat(pixels, window):
        if sample.origin.name == "c.png":
            raise KeyError("while pixels are read")
        return 255 - pixels

    yield 0, sample.treated(treat)
"""


def test_order_of_layers_in_the_file_does_not_change_the_draws(make_project, tmp_path):
    root = make_project("p", ["a.png", "b.png"]).parent
    layers = [data_layer("p"), step("crop", CROP), save_layer("$out")]
    run_graph(parse_graph(layers), root, tmp_path / "a", seed=1)
    run_graph(parse_graph(layers[::-1]), root, tmp_path / "b", seed=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_defaults_written_out_do_not_change_the_draws(make_project, tmp_path):
    root = make_project("p", ["a.png"]).parent
    full = {"random_part": {**CROP["random_part"], "keep_aspect_ratio": False}}
    for name, settings in (("a", CROP), ("b", full)):
        run_graph(graph(step("crop", settings)), root, tmp_path / name, seed=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_depth_first_names(make_project, tmp_path):
    # the flip stands first in the file, so its copy is saved first and keeps the name
    root = make_project("p").parent
    one = parse_graph([data_layer("p"), step("flip", {"axis": "vertical"}), save_layer("$in", "$out")])
    run_graph(one, root, tmp_path)
    source = np.asarray(Image.open(root / "p" / "ds" / "img" / "a.png"))
    project = open_project(tmp_path / "out")
    plain = next(item for item in project if item.stem == "a")
    further = next(item for item in project if item.stem != "a")
    assert np.array_equal(np.asarray(Image.open(plain.image)), source[:, ::-1])
    assert further.image.read_bytes() == (root / "p" / "ds" / "img" / "a.png").read_bytes()
    assert len(further.stem) == len("a_") + 10
    assert further.stem[2:].isalnum()


def test_names_are_unique_in_a_data_set(tmp_path):
    meta = ProjectMeta()
    with ProjectWriter(tmp_path / "p" / "p", meta) as writer:
        for dataset in ("x", "y"):
            writer.add(dataset, "a.png", Annotation(4, 4), lambda path: Image.new("RGB", (4, 4)).save(path))
    shutil.copy(tmp_path / "p/p/x/img/a.png", tmp_path / "p/p/x/img/A.bmp")
    run_graph(graph(step("dataset", {"name": "all"})), tmp_path / "p", tmp_path)
    names = [item.stem for item in open_project(tmp_path / "out")]
    assert len(names) == len({name.lower() for name in names}) == 3
    run_graph(graph(src="$in"), tmp_path / "p", tmp_path / "second")
    project = open_project(tmp_path / "second" / "out")
    assert [d.name for d in project.datasets] == ["p__x", "p__y"]


def test_only_the_first_data_layer_gets_a_data_set(make_project, tmp_path):
    root = make_project("p").parent
    layers = [
        data_layer("p"), step("tag", {"tag": "one", "action": "add"}),
        data_layer("p", "$b"), step("tag", {"tag": "two", "action": "add"}, "$b", "$c"),
        save_layer("$out", "$c"),
    ]  # fmt: skip
    run_graph(parse_graph(layers), root, tmp_path)
    (item,) = open_project(tmp_path / "out")
    assert json.loads(item.annotation.read_text())["tags"][0]["name"] == "one"


def test_null_swallows(make_project, tmp_path):
    root = make_project("p", ["a.png", "b.png"]).parent
    condition = {"condition": {"regex_names": ["a"]}}
    assert run_graph(graph(step("if", condition, dst=["$out", "null"])), root, tmp_path).samples == 1


def test_unchanged_files_are_copied_and_unknown_fields_kept(make_project, tmp_path):
    root = make_project("p", ["a.png"]).parent
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(root / "p/ds/img/b.jpg", quality=60)
    path = root / "p/ds/ann/a.png.json"
    document = json.loads(path.read_text())
    document["objects"][0] |= {"id": 7, "labelerLogin": "me", "customData": {"x": 1}}
    path.write_text(json.dumps(document))
    run_graph(graph(step("tag", {"tag": "t", "action": "add"})), root, tmp_path)
    out = tmp_path / "out" / "p__ds"
    for name in ("a.png", "b.jpg"):
        assert (out / "img" / name).read_bytes() == (root / "p/ds/img" / name).read_bytes()
    saved = json.loads((out / "ann" / "a.png.json").read_text())["objects"][0]
    assert saved == document["objects"][0]


@pytest.mark.parametrize(("name", "world"), [("a.png", "a.pgw"), ("a.TIF", "a.tfw"), ("a.jpg", "a.jgw")])
def test_an_unchanged_image_keeps_its_world_file(make_project, tmp_path, name, world):
    project = make_project("p", [name])
    image = project / "ds" / "img" / name
    image.with_name(world).write_text("0.5\n0\n0\n-0.5\n331000\n3057000\n")
    image.with_name(f"{name}.aux.xml").write_text("<PAMDataset/>")
    report = run_graph(graph(step("multiply", {"multiply": 2})), project.parent, tmp_path / "result")
    images = sorted((report.project / "p__ds" / "img").iterdir())
    assert len(images) == 6
    assert [open_image(path).geobox.transform.c for path in images if path.suffix == image.suffix] == [
        330999.75,
        330999.75,
    ]


def test_changed_jpegs_are_written_without_loss_unless_asked(tmp_path):
    root = tmp_path / "projects"
    with ProjectWriter(root / "p", ProjectMeta()) as writer:
        noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
        writer.add(
            "ds", "a.jpg", Annotation(40, 60), lambda path: Image.fromarray(noise).save(path, quality=60)
        )
    decoded = open_image(root / "p/ds/img/a.jpg").read(Window(row_off=0, col_off=0, height=40, width=60))
    one = graph(step("flip", {"axis": "vertical"}))
    run_graph(one, root, tmp_path)
    (item,) = open_project(tmp_path / "out")
    assert item.name == "a.png"
    written = open_image(item.image).read(Window(row_off=0, col_off=0, height=40, width=60))
    assert np.array_equal(written, decoded[..., ::-1])
    run_graph(one, root, tmp_path, overwrite=True, jpeg_quality=95)
    (item,) = open_project(tmp_path / "out")
    assert item.name == "a.jpg"


def test_georeference_bit_depth_and_bands_survive(tmp_path):
    root = tmp_path / "projects"
    array = np.random.default_rng(0).integers(0, 60_000, (5, 80, 100)).astype(np.uint16)
    one_scene(root, array, 10)
    layers = [
        data_layer("p"),
        step(
            "sliding_window",
            {"window": {"width": 50, "height": 40}, "min_overlap": {"x": 0, "y": 0}},
            dst="$w",
        ),
        step("flip", {"axis": "horizontal"}, src="$w"),
        save_layer("$out"),
    ]
    assert run_graph(parse_graph(layers), root, tmp_path).samples == 4
    bounds = set()
    for item in open_project(tmp_path / "out"):
        image = open_image(item.image)
        assert (image.scene.dtype, image.count, image.geobox.crs.to_epsg()) == ("uint16", 5, 32633)
        bounds.add(image.geobox.bounds())
    assert (500_000, 4_999_600, 500_500, 5_000_000) in bounds
    assert len(bounds) == 4
    first = open_image(next(iter(open_project(tmp_path / "out"))).image)
    assert np.array_equal(
        first.read(Window(row_off=0, col_off=0, height=40, width=50)), array[:, :40, :50][:, ::-1]
    )


def test_legacy_layout(make_project, tmp_path):
    root = make_project("p", ["a.png"], legacy=True).parent
    run_graph(graph(step("tag", {"tag": "t", "action": "add"})), root, tmp_path, legacy=True)
    document = json.loads((tmp_path / "out/p__ds/ann/a.json").read_text())
    assert document["tags"] == ["t"]
    assert json.loads((tmp_path / "out/meta.json").read_text())["tags_images"] == ["t"]


def test_settings_of_the_plain_save_layer_are_not_looked_at(make_project, tmp_path):
    root = make_project("p", ["a.png"]).parent
    save = {**save_layer("$in"), "settings": {"images": "no", "visualize": True, "masks_machine": 1}}
    run_graph(parse_graph([data_layer("p"), save]), root, tmp_path)
    assert sorted(p.name for p in (tmp_path / "out/p__ds").iterdir()) == ["ann", "img"]
    assert (tmp_path / "out/p__ds/img/a.png").is_file()


def test_masks(make_project, tmp_path):
    root = make_project("p", shapes=["rectangle", "polygon"]).parent
    settings = {
        "images": True, "annotations": False, "masks_machine": True, "masks_human": True,
        "gt_machine_color": {"rectangle": [1, 1, 1]}, "gt_human_color": {"polygon": [255, 0, 0]},
    }  # fmt: skip
    layers = [data_layer("p"), {"action": "save_masks", "src": ["$in"], "dst": "out", "settings": settings}]
    run_graph(parse_graph(layers), root, tmp_path)
    machine = np.asarray(Image.open(tmp_path / "out/p__ds/masks_machine/a.png"))
    assert machine.shape == (40, 60, 3)
    assert machine[10, 10].tolist() == [1, 1, 1]
    assert machine.any(axis=2).sum() == 21 * 25
    human = np.asarray(Image.open(tmp_path / "out/p__ds/masks_human/a.png"))
    assert human.shape == (40, 60 + 8 + 60, 3)
    assert not list((tmp_path / "out/p__ds/ann").iterdir())


def test_failures_are_listed_and_the_rest_goes_on(make_project, tmp_path):
    names = [f"{n}.png" for n in range(8)]
    root = make_project("p", names).parent
    img, ann = root / "p/ds/img", root / "p/ds/ann"
    (img / "0.png").write_bytes((img / "0.png").read_bytes()[:900])
    (img / "1.png").write_bytes(b"no image")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(img / "8.jpg")
    (img / "8.jpg").write_bytes((img / "8.jpg").read_bytes()[:2000])
    change(ann / "2.png.json", lambda d: d.update(size={"height": 4, "width": 4}))
    change(ann / "3.png.json", lambda d: d["objects"][0].update(classTitle="nobody"))
    bitmap = {
        "classTitle": "polygon",
        "geometryType": "polygon",
        "points": {"exterior": [[0, 0], [1, "x"], [1, 1]]},
    }
    change(ann / "4.png.json", lambda d: d["objects"].append(bitmap))
    (ann / "5.png.json").write_text("{")
    bow = {
        "classTitle": "polygon",
        "points": {"exterior": [[0, 0], [20, 20], [20, 0], [0, 20]], "interior": []},
    }
    change(ann / "6.png.json", lambda d: d["objects"].append(bow))
    report = run_graph(graph(step("flip", {"axis": "vertical"})), root, tmp_path)
    assert sorted(item.name for item in open_project(tmp_path / "out")) == ["6.png", "7.png"]
    assert report.repaired == 1
    listed = json.loads((tmp_path / "out.failures.json").read_text())
    assert [entry["image"] for entry in listed] == [*(f"p/ds/{n}.png" for n in range(6)), "p/ds/8.jpg"]
    reasons = [entry["reason"] for entry in listed]
    for reason, words in zip(
        reasons,
        ("cut short", "raster", "size must be", "nobody", "pairs", "not valid JSON", "cut short"),
        strict=True,
    ):
        assert words in reason
    assert len(report.failures) == 7
    for file in [*root.rglob("[0-5].png*"), img / "8.jpg"]:
        file.unlink()
    run_graph(graph(step("flip", {"axis": "vertical"})), root, tmp_path, overwrite=True)
    assert not (tmp_path / "out.failures.json").exists()


def test_a_project_that_is_read_is_not_replaced(make_project, tmp_path):
    root = make_project("out", ["1.png"], titles=["road"]).parent
    before = contents(root / "out")
    graph_of_itself = parse_graph([data_layer("out"), step("flip", {"axis": "vertical"}), save_layer("$out")])
    with pytest.raises(InputError, match="must not be a project that the graph reads"):
        run_graph(graph_of_itself, root, root, overwrite=True)
    assert contents(root / "out") == before


def change(path, how):
    document = json.loads(path.read_text())
    how(document)
    path.write_text(json.dumps(document))


def test_broken_base64_fails_one_image_only(make_project, tmp_path):
    root = make_project("p", ["a.png", "b.png"], shapes=["bitmap"]).parent
    change(root / "p/ds/ann/a.png.json", lambda d: d["objects"][0]["bitmap"].update(data="???"))
    report = run_graph(graph(step("flip", {"axis": "vertical"})), root, tmp_path)
    assert report.samples == 1
    assert "$.objects[0]" in report.failures[0].reason


def test_text_that_is_no_unicode_is_kept(make_project, tmp_path):
    root = make_project("p", ["a.png", "b.png"]).parent
    path = root / "p/ds/ann/a.png.json"
    change(path, lambda d: d["objects"][0].update(description="half \ud83d"))
    change(root / "p/ds/ann/b.png.json", lambda d: d["objects"][0].update(classTitle="half \ud83d"))
    report = run_graph(graph(src="$in"), root, tmp_path)
    assert report.samples == len(report.failures) == 1
    saved = json.loads((tmp_path / "out/p__ds/ann/a.png.json").read_text())
    assert saved["objects"][0]["description"] == "half \ud83d"
    assert json.loads((tmp_path / "out.failures.json").read_text())[0]["image"] == "p/ds/b.png"


def test_what_was_saved_before_a_failure_stays(make_project, tmp_path):
    root = make_project("p", ["a.png"]).parent
    windows = {"window": {"width": 30, "height": 99}, "min_overlap": {"x": 0, "y": 0}}
    layers = [data_layer("p"), save_layer("$in", "$out"), step("sliding_window", windows)]
    report = run_graph(parse_graph(layers), root, tmp_path)
    assert report.samples == 1
    assert "layer 3 (sliding_window): window must not be larger" in report.failures[0].reason


def test_a_truncated_tiff_is_not_copied(make_project, tmp_path):
    root = make_project("p", ["cut.tif", "whole.tif"]).parent
    file = root / "p/ds/img/cut.tif"
    file.write_bytes(file.read_bytes()[:4000])
    report = run_graph(parse_graph([data_layer("p"), save_layer("$in")]), root, tmp_path)
    assert [(f.image, "cut short" in f.reason) for f in report.failures] == [("p/ds/cut.tif", True)]
    assert [p.name for p in (report.project / "p__ds" / "img").iterdir()] == ["whole.tif"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_a_truncated_image_is_not_copied(make_project, tmp_path, suffix):
    root = make_project("p", ["a.png"]).parent
    whole, cut = root / f"p/ds/img/b.{suffix}", root / f"p/ds/img/c.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 99, 3), np.uint8)).save(whole)
    cut.write_bytes(whole.read_bytes()[:-900])
    report = run_graph(parse_graph([data_layer("p"), save_layer("$in")]), root, tmp_path)
    assert [(f.image, "cut short" in f.reason) for f in report.failures] == [(f"p/ds/{cut.name}", True)]
    assert sorted(p.name for p in (report.project / "p__ds/img").iterdir()) == ["a.png", whole.name]


def test_a_full_disk_stops_the_run(make_project, tmp_path, monkeypatch):
    import errno

    import geoseg.dtl.save

    root = make_project("p", ["a.png", "b.png"]).parent
    calls = []

    def full(path, *_arguments, **_options):
        calls.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(geoseg.dtl.save, "write_image", full)
    with pytest.raises(RunError, match=r"the disk of .*out is full"):
        run_graph(graph(step("flip", {"axis": "vertical"})), root, tmp_path / "out")
    assert len(calls) == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_images_that_no_memory_holds_fail_before_they_are_made(make_project, tmp_path):
    root = make_project("p").parent
    for side, message in ((1_000_000, "size must be at most"), (50_000, "must be a GeoTIFF")):
        settings = {"width": side, "height": side, "aspect_ratio": {"keep": False}}
        graph = parse_graph([data_layer("p"), step("resize", settings), save_layer("$out")])
        report = run_graph(graph, root, tmp_path / str(side))
        assert len(report.failures) == 1
        assert message in report.failures[0].reason


def test_an_existing_result_is_kept(make_project, tmp_path):
    root = make_project("p").parent
    run_graph(graph(src="$in"), root, tmp_path)
    with pytest.raises(InputError, match="exists"):
        run_graph(graph(src="$in"), root, tmp_path)


def test_a_stopped_run_leaves_nothing(make_project, tmp_path):
    root = make_project("p", ["a.png", "b.png"]).parent

    def stop(*_args, **_info):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_graph(graph(src="$in"), root, tmp_path / "out", progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_does_not_grow_with_multiply(make_project):
    root = make_project("p", size=(400, 600)).parent
    samples = open_graph(
        graph(step("multiply", {"multiply": 5000}, dst="$m"), step("crop", CROP, src="$m")), root
    )
    peaks = []
    stream = iter(samples)
    next(stream).pixels.read()
    tracemalloc.start()
    for _ in range(3):
        for _ in range(60):
            next(stream).pixels.read()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
    tracemalloc.stop()
    assert max(peaks) < 4_000_000
    assert peaks[2] < peaks[0] * 1.2


def test_a_bitmap_of_a_scene_is_not_copied_for_each_crop():
    mask = np.zeros((6000, 6000), bool)
    mask[::50] = True
    annotation = Annotation(6000, 6000, (LabeledObject("m", Bitmap((0, 0), mask)),))
    from geoseg.dtl.sample import crop_annotation

    tracemalloc.start()
    for start in range(0, 5000, 500):
        crop_annotation(annotation, Window(row_off=start, col_off=start, height=300, width=300))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_twenty_thousand_objects(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 3990, (20_000, 2))
    ring = np.array([[0, 0], [4, 0], [4, 4], [0, 4]])
    objects = [
        {"classTitle": "h", "points": {"exterior": (ring + corner).tolist(), "interior": []}}
        for corner in corners
    ]
    with ProjectWriter(tmp_path / "p", ProjectMeta((ClassMeta("h", "polygon", (0, 0, 0)),))) as writer:
        writer.add(
            "ds", "a.png", Annotation(4000, 4000), lambda path: Image.new("L", (4000, 4000)).save(path)
        )
    document = {"size": {"height": 4000, "width": 4000}, "tags": [], "objects": objects}
    (tmp_path / "p/ds/ann/a.png.json").write_text(json.dumps(document))
    samples = open_graph(
        graph(step("multiply", {"multiply": 50}, dst="$m"), step("crop", CROP, src="$m")), tmp_path
    )
    first = samples.sample(0)
    window = first.pixels.source_window
    inside = (corners[:, 0] + 4 >= window.col_off) & (corners[:, 0] < window.col_end)
    inside &= (corners[:, 1] + 4 >= window.row_off) & (corners[:, 1] < window.row_end)
    assert 0.97 * inside.sum() <= len(first.objects) <= inside.sum()


def test_two_runs_of_one_result_do_not_meet(make_project, tmp_path):
    root = make_project("p").parent
    with ThreadPoolExecutor(1) as other, hold(tmp_path / "out"):
        run = other.submit(run_graph, graph(step("multiply", {"multiply": 2})), root, tmp_path)
        with pytest.raises(LockedError, match=r"another run is working on .*out"):
            run.result()
    assert not (tmp_path / "out").exists()
    assert run_graph(graph(step("multiply", {"multiply": 2})), root, tmp_path).samples == 2


# straight into training


def test_mapped_samples_are_the_saved_ones_in_order(make_project, tmp_path):
    names = [f"{n}.png" for n in range(3)]
    root = make_project("vessels", names, titles=["vessel"]).parent
    path = tutorial_graph("vessels_0")
    samples = open_graph(path, root, seed=2)
    assert isinstance(samples, MappedSamples)
    assert len(samples) == 3 * 44
    streamed = list(samples)
    for index in (0, 1, 43, 44, 100, 131, -1):
        one, other = samples[index], streamed[index]
        assert one.key == other.key
        assert one.annotation.to_json() == other.annotation.to_json()
        assert np.array_equal(one.pixels.read(), other.pixels.read())
    with pytest.raises(IndexError):
        samples[132]
    report = run_graph(read_graph(path), root, tmp_path, seed=2)
    saved = sorted(open_image(item.image).shape for item in open_project(report.project))
    assert saved == sorted(sample.shape for sample in streamed)


def test_epochs_redraw_crops_but_not_the_split(make_project):
    root = make_project("vessels", ["a.png", "b.png"], titles=["vessel"]).parent
    samples = open_graph(tutorial_graph("vessels_0"), root)
    first = [(s.annotation.tags, s.pixels.source_window) for s in samples]
    samples.set_epoch(1)
    second = [(s.annotation.tags, s.pixels.source_window) for s in samples]
    assert [t for t, _ in first] == [t for t, _ in second]
    assert [w for _, w in first] != [w for _, w in second]
    samples.set_epoch(0)
    assert [(s.annotation.tags, s.pixels.source_window) for s in samples] == first


def test_unknown_counts_give_a_stream_and_shards_part_it(make_project):
    root = make_project("p", [f"{n}.png" for n in range(5)]).parent
    condition = {"condition": {"min_objects_count": 1}}
    samples = open_graph(
        graph(step("if", condition, dst=["$out", "null"])), root, transform=lambda s: s.origin.name
    )
    assert not isinstance(samples, MappedSamples)
    assert sorted([*samples.shard(0, 2), *samples.shard(1, 2)]) == sorted(samples)
    assert len(list(samples)) == 5


def test_samples_can_be_sent_to_workers(make_project):
    import pickle

    root = make_project("p", ["a.png", "b.png"]).parent
    samples = open_graph(graph(step("crop", CROP)), root)
    before = samples[1].pixels.read()
    assert np.array_equal(pickle.loads(pickle.dumps(samples))[1].pixels.read(), before)


def test_a_target_is_drawn_with_later_objects_on_top(make_project):
    root = make_project("p", shapes=["rectangle", "polygon"]).parent
    sample = next(iter(open_graph(graph(src="$in"), root)))
    target = sample.target({"rectangle": 1, "polygon": 2})
    assert target.dtype == np.uint8
    assert set(np.unique(target)) == {0, 1, 2}
    assert (target == 2).sum() == (sample.target({"polygon": 1}) == 1).sum()


def test_a_project_written_here_opens_in_the_sdk(make_project, tmp_path):
    sly = pytest.importorskip("supervisely")
    root = make_project("p", ["a.png"], shapes=["polygon", "bitmap", "rectangle", "line", "point"]).parent
    run_graph(graph(step("flip", {"axis": "vertical"})), root, tmp_path)
    project = sly.Project(str(tmp_path / "out"), sly.OpenMode.READ)
    for dataset in project.datasets:
        for name in dataset:
            annotation = dataset.get_ann(name, project.meta)
            assert annotation.img_size == (40, 60)
            assert len(annotation.labels) == 5


def test_a_large_scene_is_written_window_by_window(tmp_path, monkeypatch):
    import geoseg.dtl.save

    monkeypatch.setattr(geoseg.dtl.save, "_LARGE", 1000)
    root = tmp_path / "projects"
    array = np.random.default_rng(0).integers(0, 255, (2, 2500, 2100), np.uint8)
    box = GeoBox(Affine(1, 0, 500_000, 0, -1, 5_000_000), CRS.from_epsg(32633), 2500, 2100)
    with ProjectWriter(root / "p", ProjectMeta()) as writer:
        writer.add("ds", "s.tif", Annotation(2500, 2100), lambda path: write_image(path, array, box))
    run_graph(graph(step("flip", {"axis": "vertical"})), root, tmp_path)
    image = open_image(tmp_path / "out/p__ds/img/s.tif")
    whole = Window(row_off=0, col_off=0, height=2500, width=2100)
    assert np.array_equal(image.read(whole), array[..., ::-1])
    assert image.geobox.bounds() == box.bounds()


def test_a_vrt_is_saved_as_its_pixels(make_project, tmp_path):
    from rasterio.shutil import copy as raster_copy

    root = make_project("p", ["a.png"]).parent
    folder = root / "p/ds/img"
    shutil.move(folder / "a.png", root / "hidden.png")
    raster_copy(root / "hidden.png", folder / "a.vrt", driver="VRT")
    (root / "p/ds/ann/a.png.json").rename(root / "p/ds/ann/a.vrt.json")
    report = run_graph(graph(src="$in"), root, tmp_path)
    assert report.failures == ()
    saved = np.asarray(Image.open(tmp_path / "out/p__ds/img/a.png"))
    assert np.array_equal(saved, np.asarray(Image.open(root / "hidden.png")))


def test_names_that_some_system_refuses_are_made_safe(make_project, tmp_path):
    root = make_project("p", ["a.png"]).parent
    (root / "p/ds/img/a.png").rename(root / "p/ds/img/we:ird?.png")
    (root / "p/ds").rename(root / "p/d:s")
    report = run_graph(graph(src="$in"), root, tmp_path)
    assert report.failures == ()
    (item,) = open_project(tmp_path / "out")
    assert (item.dataset, item.name) == ("p__d_s", "we_ird_.png")
