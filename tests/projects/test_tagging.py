"""Tags put on images in place."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from projects_made import make_project
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.errors import InputError
from geoseg.files import LockedError, hold
from geoseg.projects.figures import TagMeta
from geoseg.projects.project import open_project
from geoseg.projects.tagging import tag_images
from geoseg.review.targets import open_target


def tags(path: Path) -> dict[str, list[str]]:
    project = open_project(path)
    return {item.name: [tag.name for tag in project.annotation(item).tags] for item in project}


@pytest.mark.parametrize("legacy", [False, True])
def test_tags_go_on_and_off(tmp_path: Path, legacy: bool) -> None:
    project = make_project(tmp_path / "town", legacy=legacy)
    files = {item.name: item.annotation for item in open_project(project)}
    before = {name: json.loads(file.read_text()) for name, file in files.items() if file}
    command = ["project", "tag", str(project), "--tag", "corrected", "--names", "one/a, c.tif"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "tags of 2 images changed" in result.stdout
    assert tags(project) == {"a.png": ["train", "corrected"], "b.png": ["val"], "c.tif": ["corrected"]}
    assert open_project(project).meta.find_tag("corrected") is not None
    for name, document in before.items():
        file = files[name]
        assert file is not None
        assert json.loads(file.read_text())["objects"] == document["objects"]
    assert tag_images(project, {"corrected": ["a"]}) == 0
    assert tag_images(project, {"corrected": ["*"], "train": ["*"]}, remove=True) == 2
    assert tags(project) == {"a.png": [], "b.png": ["val"], "c.tif": []}


def test_brackets_in_a_name_are_letters(tmp_path: Path) -> None:
    project = make_project(tmp_path / "town")
    for folder, end in (("img", ""), ("ann", ".json")):
        (project / "one" / folder / f"b.png{end}").rename(project / "one" / folder / f"[a].png{end}")
    assert tag_images(project, {"corrected": ["one/[a].png"]}) == 1
    assert tags(project)["[a].png"] == ["val", "corrected"]
    assert tag_images(project, {"seen": ["[a]*"]}) == 1


def test_an_image_without_annotation_gets_one(tmp_path: Path) -> None:
    project = make_project(tmp_path / "town")
    (project / "one" / "ann" / "b.png.json").unlink()
    assert tag_images(project, {"corrected": ["b"]}) == 1
    assert tags(project)["b.png"] == ["corrected"]


def test_two_calls_at_once_do_not_take_back_each_others_tags(tmp_path: Path) -> None:
    project = make_project(tmp_path / "town")
    with hold(project), ThreadPoolExecutor(1) as other, pytest.raises(LockedError, match="another run"):
        other.submit(tag_images, project, {"corrected": ["*"]}).result()
    assert tags(project)["b.png"] == ["val"]
    with pytest.raises(InputError):
        tag_images(tmp_path / "none" / "such", {"corrected": ["*"]})
    assert not (tmp_path / "none").exists()


def test_nothing_changes_when_a_name_is_wrong(tmp_path: Path) -> None:
    project = make_project(tmp_path / "town")
    with pytest.raises(InputError, match="name must be that of an image"):
        tag_images(project, {"corrected": ["a", "nobody"]})
    (project / "two" / "ann" / "c.tif.json").write_text("{")
    with pytest.raises(InputError, match=r"c\.tif\.json"):
        tag_images(project, {"corrected": ["*"]})
    assert "corrected" not in [tag.name for tag in open_project(project).meta.tags]
    assert "corrected" not in (project / "one" / "ann" / "a.png.json").read_text()


def test_tags_from_a_review(tmp_path: Path) -> None:
    from geoseg.review import ProjectTarget, Review

    project = make_project(tmp_path / "town")
    folder = tmp_path / "town.review"
    command = ["project", "tag", str(project), "--from-review", str(folder)]
    with Review(folder, ProjectTarget(open_project(project))) as review:
        places = review.places()
    assert CliRunner().invoke(app, command).exit_code == 2
    with Review(folder, ProjectTarget(open_project(project))) as review:
        for place in places[:2]:
            mark = {"op": "mark", "place": place.id, "status": "accepted"}
            review.edit(review.revision, place.image, mark)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    kinds = {place.name.rsplit("/", 1)[1]: "qa" if place.qa else "corrected" for place in places[:2]}
    for name, own in tags(project).items():
        assert {"qa", "corrected"} & set(own) == ({kinds[name]} if name in kinds else set())
    assert CliRunner().invoke(app, [*command, "--names", "a"]).exit_code == 2
    # Those for measuring would be the only ones to get it.
    refused = CliRunner().invoke(app, [*command, "--tag", "qa"])
    assert (refused.exit_code, "Give another --tag" in refused.output) == (2, True)


@pytest.mark.parametrize("way", ["tag", "review"])
def test_a_meta_of_kinds_and_settings_keeps_them(way: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "town")
    file = project / "meta.json"
    document = json.loads(file.read_text())
    # As tools wrote it before they told the type of a project.
    del document["projectType"]
    quality = {
        "name": "quality", "value_type": "oneof_string", "color": "#FFFFFF", "applicable_type": "objectsOnly",
        "values": ["good", "bad"], "classes": [],
    }  # fmt: skip
    document |= {"tags": [quality], "projectSettings": {"multiView": {"enabled": True}}}
    file.write_text(json.dumps(document))
    for item in open_project(project):
        if item.annotation is not None:
            item.annotation.write_text(json.dumps(json.loads(item.annotation.read_text()) | {"tags": []}))
    if way == "tag":
        assert tag_images(project, {"checked": ["a"]}) == 1
    else:
        open_target(project, classes=["shed"])
    written = json.loads(file.read_text())
    assert written["tags"][0] == quality
    assert written["projectSettings"] == document["projectSettings"]


def test_a_tag_for_objects_becomes_one_for_images_as_well(tmp_path: Path) -> None:
    project = make_project(tmp_path / "town")
    meta = open_project(project).meta.with_tag(TagMeta("seen", applies_to="objectsOnly"))
    (project / "meta.json").write_text(json.dumps(meta.to_json()))
    assert tag_images(project, {"seen": ["a"]}) == 1
    known = open_project(project).meta.find_tag("seen")
    assert known is not None
    assert known.applies_to == "all"
