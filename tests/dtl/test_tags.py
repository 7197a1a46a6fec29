"""Tags with values: one kind a name, known before the run or settled by it."""

from __future__ import annotations

import json
import re

import pytest
from dtl_projects import data_layer, save_layer, step

from geoseg.dtl import parse_graph, run_graph
from geoseg.dtl.check import check_graph
from geoseg.errors import ConfigError
from geoseg.projects.check import check_project
from geoseg.projects.figures import TagMeta
from geoseg.projects.project import open_project


def declare(project, *tags):
    path = project / "meta.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "tags": list(tags)}))


def carry(project, name, tags=(), of_object=()):
    """Give an image, and its object, tags with values."""
    path = project / f"ds/ann/{name}.json"
    document = json.loads(path.read_text())
    document["tags"] = [{"name": key, "value": value} for key, value in dict(tags).items()]
    document["objects"][0]["tags"] = [{"name": key, "value": value} for key, value in dict(of_object).items()]
    path.write_text(json.dumps(document))


def number(name):
    return {"name": name, "value_type": "any_number"}


def text(name):
    return {"name": name, "value_type": "any_string"}


def add(name, value=None, src="$in", dst="$out"):
    return step("tag", {"tag": {"name": name, "value": value}, "action": "add"}, src, dst)


def mapped(project, mapping):
    settings = {"classes_mapping": "default", "tags_mapping": mapping}
    return {**data_layer(project), "settings": settings}


def refused(graph, root, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        check_graph(parse_graph(graph), root)
    assert "\n" not in str(caught.value)


def test_one_name_for_tags_of_two_kinds_is_refused_in_the_mapping(make_project):
    project = make_project("p")
    declare(project, number("score"), text("remark"))
    refused(
        [mapped("p", {"score": "remark"}), save_layer("$in")],
        project.parent,
        "layer 1 (data): $[0].settings: tags_mapping must give one name to tags of one kind only: tag "
        "'remark' must keep one kind of value, got any_string where any_number exists.",
    )
    check_graph(parse_graph([mapped("p", {"score": "remark", "remark": "score"}), save_layer("$in")]))


def test_projects_and_layers_must_agree_on_a_kind(make_project):
    root = make_project("p").parent
    declare(root / "p", number("score"))
    declare(make_project("q"), text("score"))
    refused(
        [data_layer("p", "$p"), data_layer("q", "$q"), save_layer("$p", "$q")],
        root,
        "layer 3 (supervisely): $[2].src: tag 'score' must keep one kind of value, got any_string",
    )
    refused(
        [data_layer("p"), add("score", "good"), save_layer("$out")],
        root,
        "layer 2 (tag): $[1].settings: value of tag 'score' must be a number, since it is of kind any_number",
    )
    branches = [add("grade", 3, dst="$a"), add("grade", "good", dst="$b")]
    refused(
        [data_layer("p"), *branches, save_layer("$a", "$b")], root, "layer 4 (supervisely): $[3].src: tag"
    )


def test_a_listed_value_is_asked_for(make_project, tmp_path):
    project = make_project("p")
    declare(project, {"name": "roof", "value_type": "oneof_string", "values": ["flat", "hip"], "id": 7})
    carry(project, "a.png", {"roof": "hip"})
    bad = [data_layer("p"), add("roof", "flt"), save_layer("$out")]
    refused(
        bad, project.parent, "value of tag 'roof' must be one of flat, hip, since it is of kind oneof_string"
    )
    good = [data_layer("p"), add("roof", "flat"), save_layer("$out")]
    report = run_graph(parse_graph(good), project.parent, tmp_path / "a")
    assert check_project(report.project) == []
    renamed = [mapped("p", {"roof": "kind"}), save_layer("$in")]
    report = run_graph(parse_graph(renamed), project.parent, tmp_path / "b")
    (tag,) = open_project(report.project).meta.tags
    assert (tag, tag.values) == (TagMeta("kind", "oneof_string", color=tag.color), ("flat", "hip"))
    assert "id" not in tag.extra
    assert check_project(report.project) == []


def test_tags_of_one_kind_are_joined():
    roof = TagMeta("roof", "oneof_string", "imagesOnly", extra={"values": ["flat"], "classes": ["a"]})
    other = TagMeta(
        "roof", "oneof_string", "objectsOnly", extra={"values": ["hip", "flat"], "classes": ["b"]}
    )
    joined = roof.joined(other)
    assert (joined.values, joined.applies_to, joined.extra["classes"]) == (("flat", "hip"), "all", ["a", "b"])
    assert roof.joined(TagMeta("roof", "oneof_string")).extra["classes"] == []
    assert roof.joined(roof) is roof


@pytest.mark.parametrize("workers", [1, 2])
def test_undeclared_values_of_two_kinds_become_text(make_project, tmp_path, workers, caplog):
    project = make_project("p", ["a.png", "b.png", "c.png"])
    carry(project, "a.png", {"who": 3, "deep": [1, 2], "same": 1})
    carry(project, "b.png", {"who": "me", "same": 2.5}, {"who": None, "done": None})
    carry(project, "c.png", {"who": 2.5})
    report = run_graph(
        parse_graph([data_layer("p"), save_layer("$in")]), project.parent, tmp_path, workers=workers
    )
    kinds = {tag.name: tag.value_type for tag in open_project(report.project).meta.tags}
    assert kinds == {"deep": "any_string", "same": "any_number", "who": "any_string", "done": "none"}
    documents = {p.name[0]: json.loads(p.read_text()) for p in report.project.glob("p__ds/ann/*.json")}
    found = {name: {t["name"]: t["value"] for t in doc["tags"]} for name, doc in documents.items()}
    assert found == {
        "a": {"who": "3", "deep": "[1, 2]", "same": 1},
        "b": {"who": "me", "same": 2.5},
        "c": {"who": "2.5"},
    }
    assert {t["name"]: t["value"] for t in documents["b"]["objects"][0]["tags"]} == {"who": "", "done": None}
    assert check_project(report.project) == []
    assert "tag 'who' has values of several kinds" in caplog.text
    assert "'same'" not in caplog.text


def test_values_that_a_declared_kind_does_not_fit(make_project, tmp_path):
    project = make_project("p", ["a.png", "b.png"])
    declare(project, number("score"), {"name": "roof", "value_type": "oneof_string", "values": ["flat"]})
    carry(project, "a.png", {"score": 1, "roof": "flat"})
    carry(project, "b.png", {"score": "none", "roof": "hip", "grade": 5})
    layers = [data_layer("p"), add("grade", "good"), save_layer("$out")]
    report = run_graph(parse_graph(layers), project.parent, tmp_path)
    tags = open_project(report.project).meta.tags
    assert {(tag.name, tag.value_type, tag.values) for tag in tags} == {
        ("score", "any_string", ()),
        ("roof", "any_string", ()),
        ("grade", "any_string", ()),
    }
    assert check_project(report.project) == []
    assert json.loads((report.project / "p__ds/ann/b.png.json").read_text())["tags"][2]["value"] == "5"


def test_a_meta_of_both_forms(make_project):
    project = make_project("p")
    path = project / "meta.json"
    document = {**json.loads(path.read_text()), "tags": [number("score")], "tags_images": ["score", "done"]}
    path.write_text(json.dumps(document))
    tags = open_project(project).meta.tags
    assert [(tag.name, tag.value_type) for tag in tags] == [("score", "any_number"), ("done", "none")]
    path.write_text(json.dumps({**document, "tags": [number("score"), text("score")]}))
    with pytest.raises(ConfigError, match=r"meta\.json: tag 'score' must keep one kind"):
        open_project(project)
