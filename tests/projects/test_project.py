"""Projects on disk: both layouts, safe names, atomic writing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from geoseg.errors import InputError, MissingFileError
from geoseg.projects.exchange import export_project
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta, Rectangle, Tag, TagMeta
from geoseg.projects.project import check_name, open_project, read_annotation, safe_join
from geoseg.projects.writer import ProjectWriter

META = ProjectMeta((ClassMeta("car", "rectangle", (1, 2, 3)),), (TagMeta("train"),))
ANNOTATION = Annotation(4, 6, (LabeledObject("car", Rectangle(0, 0, 2, 2)),), (Tag("train"),))


def png(path):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path, "PNG")


def write(path, legacy=False, names=("a.png", "b.png")):
    with ProjectWriter(path, META, legacy=legacy) as writer:
        for name in names:
            writer.add("ds", name, ANNOTATION, png)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_round_trip(tmp_path, legacy):
    path = write(tmp_path / "p", legacy)
    files = sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.is_file())
    ann = ["ds/ann/a.json", "ds/ann/b.json"] if legacy else ["ds/ann/a.png.json", "ds/ann/b.png.json"]
    assert files == [*ann, "ds/img/a.png", "ds/img/b.png", "meta.json"]
    project = open_project(path)
    assert project.meta == (ProjectMeta(META.classes, (TagMeta("train", color=project.meta.tags[0].color),)))
    assert [str(item) for item in project] == ["p/ds/a.png", "p/ds/b.png"]
    back = project.annotation(next(iter(project)))
    assert back.objects[0].figure == Rectangle(0, 0, 2, 2)
    assert back.has_tag("train")


def test_images_without_annotation_and_files_that_are_none(tmp_path):
    path = write(tmp_path / "p")
    (path / "ds" / "ann" / "a.png.json").unlink()
    (path / "ds" / "img" / "notes.txt").write_text("x")
    first, _second = open_project(path)
    assert first.annotation is None
    assert read_annotation(first, None, (4, 6)).objects == ()


def test_oldest_form_and_nested_datasets(tmp_path):
    path = write(tmp_path / "p")
    (path / "meta.json").rename(path / "classes.json")
    (path / "classes.json").write_text(json.dumps([{"title": "car", "shape": "rectangle"}]))
    inner = path / "ds" / "datasets" / "inner" / "img"
    inner.mkdir(parents=True)
    png(inner / "c.png")
    assert [d.name for d in open_project(path).datasets] == ["ds", "ds/inner"]


def test_what_has_an_annotation_is_an_image_of_any_ending(tmp_path):
    path = write(tmp_path / "p")
    (path / "ds" / "img" / "c.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (path / "ds" / "ann" / "c.heic.json").write_text((path / "ds" / "ann" / "a.png.json").read_text())
    (path / "ds" / "img" / "a.tfw").write_text("1")
    assert [item.name for item in open_project(path)] == ["a.png", "b.png", "c.heic"]
    summary = export_project(path, "coco", tmp_path / "out")
    assert [failure.image for failure in summary.failures] == ["ds/c.heic"]


@pytest.mark.parametrize("legacy", [False, True])
def test_an_accent_may_be_spelled_apart(tmp_path, legacy):
    path = write(tmp_path / "p", legacy, names=("caf\u00e9.png",))
    for file in (path / "ds" / "ann").iterdir():
        file.rename(file.with_name(file.name.replace("\u00e9", "e\u0301")))
    project = open_project(path)
    assert [len(project.annotation(item).objects) for item in project] == [1]


def test_size_must_be_the_image_s(tmp_path):
    item = next(iter(open_project(write(tmp_path / "p"))))
    with pytest.raises(InputError, match="size must be that of the image, 7 x 4, got 6 x 4"):
        read_annotation(item, META, (4, 7))


@pytest.mark.parametrize("text", ["{", "[]", '{"size": {}}', '{"size": {"height": -1, "width": 2}}'])
def test_bad_annotations_name_their_file(tmp_path, text):
    item = next(iter(open_project(write(tmp_path / "p"))))
    item.annotation.write_text(text)
    with pytest.raises(InputError, match=r"a\.png\.json"):
        read_annotation(item, META, (4, 6))


def test_meta_that_is_no_json_is_named_once(tmp_path):
    (tmp_path / "meta.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is not valid JSON") as error:
        open_project(tmp_path)
    assert str(error.value).count("meta.json") == 1


def test_missing_projects(tmp_path):
    with pytest.raises(MissingFileError, match="must be a folder"):
        open_project(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match=r"meta\.json"):
        open_project(tmp_path)


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail():
        with ProjectWriter(tmp_path / "p", META) as writer:
            writer.add("ds", "a.png", ANNOTATION, png)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_project_is_kept_unless_told(tmp_path):
    path = write(tmp_path / "p")
    with pytest.raises(InputError, match="exists"):
        ProjectWriter(path)
    with ProjectWriter(path, META, overwrite=True) as writer:
        writer.add("ds", "c.png", ANNOTATION, png)
    assert [item.name for item in open_project(path)] == ["c.png"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_project_that_is_replaced_goes_last(tmp_path, monkeypatch):
    path, there = write(tmp_path / "p"), []
    remove = shutil.rmtree

    def seen(folder, **options):
        there.append([item.name for item in open_project(path)])
        remove(folder, **options)

    monkeypatch.setattr("shutil.rmtree", seen)
    with ProjectWriter(path, META, overwrite=True) as writer:
        writer.add("ds", "c.png", ANNOTATION, png)
    assert there == [["c.png"]]


@pytest.mark.parametrize(
    "name", ["../x.png", "a/b.png", "a\\b.png", "", ".", "..", "a\0.png", "x" * 300, " a", "a."]
)
def test_unsafe_names_are_refused(tmp_path, name):
    with pytest.raises(InputError):
        check_name(name, "image")
    with pytest.raises(InputError), ProjectWriter(tmp_path / "p", META) as writer:
        writer.add("ds", name, ANNOTATION, png)
    dataset = name.replace("a/", "../")  # a data set may be nested: a/b is one
    with pytest.raises(InputError), ProjectWriter(tmp_path / "p", META) as writer:
        writer.add(dataset, "a.png", ANNOTATION, png)
    assert list(tmp_path.iterdir()) == []


def test_names_are_unique_whatever_extension_and_case(tmp_path):
    with ProjectWriter(tmp_path / "p", META) as writer:
        writer.add("ds", "a.png", ANNOTATION, png)
        assert not writer.is_free("ds", "A")
        assert writer.is_free("other", "a")
        with pytest.raises(InputError, match="unique"):
            writer.add("ds", "A.jpg", ANNOTATION, png)


def test_paths_stay_inside(tmp_path):
    assert safe_join(tmp_path, "a/b", "file") == tmp_path.resolve() / "a" / "b"
    for relative in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(InputError, match="stay inside"):
            safe_join(tmp_path, relative, "file")


@pytest.mark.parametrize("name", ["a\0.png", "a\ud800.png", "a" * 5000])
def test_paths_that_no_file_can_have(tmp_path, name):
    with pytest.raises(InputError, match="file_name must be the name of a file"):
        safe_join(tmp_path, name, "file_name")
