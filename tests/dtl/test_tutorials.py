"""The tutorials' graphs, verbatim, on small projects that match them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from dtl_projects import tutorial_graph

from geoseg.dtl import MappedSamples, open_graph, read_graph, run_graph
from geoseg.dtl.check import check_graph
from geoseg.projects.figures import Bitmap, Rectangle
from geoseg.projects.images import open_image
from geoseg.projects.project import open_project, read_annotation


def run(graph: str, root: Path):
    """Run a graph and return the result and its annotations."""
    report = run_graph(read_graph(tutorial_graph(graph)), root, root, seed=5)
    assert report.failures == ()
    project = open_project(report.project)
    assert len(project) == report.samples
    found = [(item, read_annotation(item, project.meta, open_image(item.image).shape)) for item in project]
    return project, found


def tags(found) -> Counter:
    """How many images carry each tag."""
    return Counter(tag.name for _, annotation in found for tag in annotation.tags)


def test_roads_first(make_project):
    root = make_project("roads_annotated", [f"i{n}.png" for n in range(10)], titles=["road"]).parent
    project, found = run("roads_0", root)
    assert len(found) == 220
    assert [(c.name, c.shape) for c in project.meta.classes] == [("road", "polygon"), ("bg", "rectangle")]
    assert tags(found)["train"] + tags(found)["val"] == 220
    assert 190 <= tags(found)["train"] <= 219
    assert [d.name for d in project.datasets] == ["roads_annotated__ds"]
    for item, annotation in found:
        height, width = annotation.shape
        assert annotation.objects[0].figure == Rectangle(0, 0, width - 1, height - 1), item
    assert {f"i{n}" for n in range(10)} <= {item.stem for item, _ in found}
    assert all(len(item.stem) in (2, 13) for item, _ in found)


def test_roads_second(make_project):
    root = make_project("roads_annotated", [f"i{n}.png" for n in range(10)], titles=["road"]).parent
    make_project(
        "inf_01_annotated",
        [f"j{n}.png" for n in range(8)],
        shapes=["bitmap", "polygon"],
        titles=["road_unet", "other"],
        tags=lambda n: ["corrected"] if n < 5 else [],
    )
    project, found = run("roads_2", root)
    assert len(found) == 440
    assert {(c.name, c.shape) for c in project.meta.classes} == {("road", "bitmap"), ("bg", "rectangle")}
    assert [d.name for d in project.datasets] == ["iteration_00", "iteration_01"]
    assert [len(d.items) for d in project.datasets] == [220, 220]
    assert tags(found)["corrected"] == 220
    assert all(isinstance(o.figure, Bitmap) for _, a in found for o in a.objects if o.class_name == "road")


def test_kitti(make_project):
    vehicles = ["bus", "car", "train", "truck", "caravan", "trailer"]
    make_project(
        "kitti-semseg-train",
        [f"k{n:02}.png" for n in range(20)],
        size=(60, 200),
        shapes=["bitmap"] * 7,
        titles=[*vehicles, "sky"],
        dataset="training",
    )
    project, found = run("kitti_0", make_project("unused").parent)
    assert len(found) == 240
    assert [(c.name, c.shape) for c in project.meta.classes] == [("vehicle", "bitmap")]
    assert [d.name for d in project.datasets] == ["training"]
    # the split comes before the copies: no image is on both sides
    sides: dict[str, set[str]] = {}
    for item, annotation in found:
        sides.setdefault(item.stem[:3], set()).update(tag.name for tag in annotation.tags)
        assert 0.27 * 200 - 1 <= annotation.width <= 0.3 * 200
        assert 0.9 * 60 - 1 <= annotation.height <= 60
    assert all(len(side) == 1 for side in sides.values())


def test_powerlines(make_project):
    make_project(
        "powerlines_annotated",
        [f"p{n}.png" for n in range(4)],
        size=(200, 300),
        shapes=["polygon", "polygon", "line"],
        titles=["Isolator", "neutral", "wire"],
    )
    project, found = run("powerlines_0", make_project("unused").parent)
    assert 0 < len(found) <= 4 * 50 * 2
    assert len(found) % 2 == 0
    assert project.meta.class_names == ("Isolator", "neutral")
    assert all(annotation.objects for _, annotation in found)
    assert all(30 - 1 <= a.width <= 60 and 20 - 1 <= a.height <= 40 for _, a in found)


def test_inria_tags(make_project):
    towns = ["austin", "chicago", "kitsap", "tyrol-w", "vienna"]
    names = [f"{town}{n}.png" for town in towns for n in range(1, 8)]
    root = make_project("INRIA", [*names, *(f"bellingham{n}.png" for n in range(7))], titles=["b"]).parent
    _project, found = run("inria_0", root)
    assert len(found) == 35
    count = tags(found)
    assert all(count[town] == 7 for town in towns)
    assert count["trainval"] + count["test"] == 35
    for item, annotation in found:
        assert annotation.has_tag(item.stem.rstrip("0123456789"))
        source = root / "INRIA" / "ds" / "img" / item.name
        assert item.image.read_bytes() == source.read_bytes()


def test_inria_windows(make_project):
    make_project(
        "INRIA_TAGGED",
        ["a.png", "b.png", "c.png"],
        size=(1000, 1100),
        titles=["b"],
        tags=lambda n: ["trainval"] * (n < 2),
    )
    _project, found = run("inria_1", make_project("unused").parent)
    # 6 windows x 4 variants an image; only the window with the object is kept
    assert len(found) == 2 * 4
    assert all(annotation.shape == (512, 512) for _, annotation in found)
    assert {item.stem[:1] for item, _ in found} == {"a", "b"}


def test_inria_objects(make_project):
    root = make_project("inf_INRIA_test_part", ["a.png"], shapes=["bitmap"], titles=["untitled_dl"]).parent
    project, found = run("inria_4", root)
    assert len(found) == 1
    assert len(found[0][1].objects) > 1
    assert project.meta.class_names == ("untitled_dl",)


def test_vessels(make_project):
    root = make_project("vessels", [f"v{n}.png" for n in range(6)], titles=["vessel"]).parent
    _project, found = run("vessels_0", root)
    assert len(found) == 264
    assert tags(found)["train"] + tags(found)["val"] == 264


@pytest.mark.parametrize(("graph", "project", "images", "count"), [
    ("roads_0", "roads_annotated", 10, 220),
    ("vessels_0", "vessels", 6, 264),
    ("inria_4", "inf_INRIA_test_part", 3, 3),
])  # fmt: skip
def test_counts_are_known_before_the_run(make_project, graph, project, images, count):
    title = "untitled_dl" if graph == "inria_4" else "x"
    shape = "bitmap" if graph == "inria_4" else "polygon"
    root = make_project(project, [f"{n}.png" for n in range(images)], shapes=[shape], titles=[title]).parent
    checked = check_graph(read_graph(tutorial_graph(graph)), root)
    assert checked.layers[-1].count == (count, count)
    samples = open_graph(tutorial_graph(graph), root)
    assert isinstance(samples, MappedSamples)
    assert len(samples) == count


@pytest.mark.parametrize(("graph", "leaks"), [
    ("roads_0", True), ("roads_2", True), ("powerlines_0", True), ("inria_1", True), ("vessels_0", True),
    ("kitti_0", False), ("inria_0", False), ("inria_4", False),
])  # fmt: skip
def test_leaks_into_validation_are_told(graph, leaks):
    checked = check_graph(read_graph(tutorial_graph(graph)))
    assert any("different sides" in warning for warning in checked.warnings) == leaks
