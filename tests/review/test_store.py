"""Edits on a review: what stands where, and that nothing is ever lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from geoseg.errors import InputError, StateMismatchError
from geoseg.files import DiskFullError, LockedError, Staged
from geoseg.io.sources import open_raster
from geoseg.io.vectors import open_vector
from geoseg.projects.figures import Bitmap, TagMeta
from geoseg.projects.project import open_project
from geoseg.projects.tagging import tag_images
from geoseg.review import ProjectTarget, Review, SceneTarget, StaleError, export_review, read_marks
from geoseg.review.folder import default_folder
from geoseg.review.targets import open_target

EVERYTHING = (-1e6, -1e6, 1e6, 1e6)


def state(review: Review, image: int = 0) -> dict[int, Any]:
    items = review.objects(image, EVERYTHING, most=1000)
    assert not isinstance(items, int)
    return {item.id: item.to_json() for item in items}


def corners(review: Review, number: int) -> list[tuple[float, ...]]:
    return list(map(tuple, shapely.get_coordinates(review.object(number).shape)[:-1].tolist()))


def edit(review: Review, image: int = 0, **op: Any) -> Any:
    return review.edit(review.revision, image, op)


OPS: dict[str, dict[str, Any]] = {
    "move": {"op": "move", "moves": [[[30, 10], [33, 12]]]},
    "insert": {"op": "insert", "edge": [[30, 40], [30, 10]], "at": [30, 25]},
    "remove": {"op": "remove", "at": [[10, 60]]},
    "hole": {"op": "cut", "ids": [1], "ring": [[15, 15], [20, 15], [20, 20]]},
    "cut": {"op": "cut", "ids": [1], "ring": [[5, 20], [35, 20], [35, 25], [5, 25]]},
    "split": {"op": "split", "ids": [], "line": [[0, 20], [60, 30]]},
    "merge": {"op": "merge", "ids": [1, 2, 3]},
    "square": {"op": "square", "ids": [4]},
    "brush": {"op": "brush", "id": 4, "class": "house", "path": [[80, 40], [80, 50]], "size": 7},
    "erase": {"op": "brush", "id": 2, "class": "house", "path": [[50, 10]], "size": 8, "erase": True},
    "draw": {"op": "draw", "kind": "polygon", "class": "shed", "rings": [[[60, 70], [70, 70], [70, 80]]]},
    "class": {"op": "class", "ids": [1, 4], "class": "shed"},
    "delete": {"op": "delete", "ids": [2]},
    "status": {"op": "status", "ids": [3], "status": "rejected"},
    "mark": {"op": "mark", "place": 0, "status": "accepted"},
}


@pytest.mark.parametrize("name", OPS)
def test_undo_and_redo_give_back_the_very_same_state_across_restarts(
    name: str, tmp_path: Path, target: SceneTarget
) -> None:
    folder = tmp_path / "r"
    with Review(folder, target, block=50) as review:
        before = state(review)
        edit(review, **OPS[name])
        after, marks = state(review), [place.status for place in review.places()]
        assert name == "mark" or after != before
    with Review(folder, target) as review:
        assert state(review) == after
        review.undo(review.revision)
        assert state(review) == before
        assert {place.status for place in review.places()} == {""}
        assert review.can == (False, True)
    with Review(folder, target) as review:
        review.redo(review.revision)
        assert state(review) == after
        assert [place.status for place in review.places()] == marks
    for file in folder.glob("index.sqlite*"):
        file.unlink()
    with Review(folder, target) as review:
        assert (state(review), review.revision, review.can) == (after, 3, (True, False))


def test_undo_has_no_end(review: Review) -> None:
    states = [state(review)]
    for name in ("hole", "split", "square", "brush", "draw", "class", "move", "delete", "status", "mark"):
        review.edit(review.revision, 0, OPS[name])
        states.append(state(review))
    for expected in states[-2::-1]:
        review.undo(review.revision)
        assert state(review) == expected
    with pytest.raises(InputError, match="edit to undo"):
        review.undo(review.revision)
    for expected in states[1:]:
        review.redo(review.revision)
        assert state(review) == expected
    edit(review, op="delete", ids=[4])
    assert review.can == (True, False)


def test_a_shared_wall_moves_with_both_houses_and_other_corners_keep_their_last_bits(
    review: Review,
) -> None:
    ground = {number: shapely.get_coordinates(review.object(number).ground) for number in (1, 2, 3)}
    answer = edit(review, op="move", moves=[[[30, 40], [32, 41]]])
    assert [item.id for item in answer.change.new] == [1, 2, 3]
    assert all((32.0, 41.0) in corners(review, number) for number in (1, 2, 3))
    moved = {number: shapely.get_coordinates(review.object(number).ground) for number in (1, 2, 3)}
    at = [np.flatnonzero((moved[number] != ground[number]).any(axis=1)) for number in (1, 2, 3)]
    assert [len(places) for places in at] == [1, 1, 1]
    assert len({tuple(moved[number][places[0]]) for number, places in zip((1, 2, 3), at)}) == 1


def test_a_split_puts_its_ends_into_the_neighbors(review: Review) -> None:
    edit(review, op="split", ids=[1], line=[[20, 0], [20, 50]])
    assert sorted(state(review)) == [1, 2, 3, 4, 5]
    assert (20.0, 40.0) in corners(review, 3)
    assert not review.object(3).edited
    assert review.object(1).shape.area == review.object(5).shape.area == 300
    edit(review, op="move", moves=[[[20, 40], [20, 43]]])
    shapes = [review.object(number).shape for number in (1, 2, 3, 5)]
    assert shapely.area(shapely.union_all(shapes)) == shapely.area(shapes).sum()
    assert shapely.is_empty(shapely.coverage_invalid_edges(shapes)).all()


def test_what_is_split_and_merged_is_what_it_was(review: Review) -> None:
    before = review.object(4).shape
    edit(review, op="split", ids=[4], line=[[60, 30], [100, 35.5]])
    edit(review, op="merge", ids=[4, 5])
    after = review.object(4).shape
    assert after.is_valid
    assert after.symmetric_difference(before).area < 0.05
    assert set(shapely.get_coordinates(before).flat) <= set(shapely.get_coordinates(after).flat)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ({"op": "merge", "ids": [1, 4]}, "touch along a wall"),
        ({"op": "move", "moves": [[[10, 10], [40, 30]]]}, "cross itself"),
        ({"op": "split", "ids": [1], "line": [[60, 0], [60, 50]]}, "cross an object's outline twice"),
        (
            {"op": "draw", "kind": "polygon", "class": "pond", "rings": [[[0, 0], [1, 0], [1, 1]]]},
            "class must",
        ),
        (
            {"op": "draw", "kind": "polygon", "class": "shed", "rings": [[[0, 0], [4, 2], [4, 0], [0, 3]]]},
            "itself",
        ),
        ({"op": "delete", "ids": [99]}, "got 99"),
        ({"op": "remove", "at": [[10, 10], [30, 10]]}, "at least 3 corners"),
        ({"op": "fill", "id": 1, "at": [20, 20]}, "without effect"),
        ({"op": "tag", "ids": [1], "tag": "x"}, "meta.json"),
        ({"op": "move", "moves": [[[10, 10], [float("nan"), 0]]]}, r"\$\.op\.moves"),
        ({"op": "explode"}, r"\$\.op"),
        ({"op": "delete", "ids": [1], "force": True}, r"\$\.op\.force"),
    ],
)
def test_an_impossible_edit_is_refused_and_changes_nothing(
    op: dict[str, Any], reason: str, review: Review
) -> None:
    before, journal = state(review), (review.folder / "journal.jsonl").read_bytes()
    with pytest.raises(InputError, match=reason):
        review.edit(review.revision, 0, op)
    assert state(review) == before
    assert review.revision == 0
    assert (review.folder / "journal.jsonl").read_bytes() == journal


def test_a_stale_page_is_refused(review: Review) -> None:
    edit(review, op="delete", ids=[1])
    with pytest.raises(StaleError, match="another page"):
        review.edit(0, 0, {"op": "delete", "ids": [2]})
    with pytest.raises(StaleError):
        review.undo(0)
    assert sorted(state(review)) == [2, 3, 4]


def _full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["geoseg.review.journal._write", "os.fsync"])
def test_a_full_disk_leaves_nothing_half_written(
    call: str, review: Review, target: SceneTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(review, op="delete", ids=[1])
    before, journal = state(review), (review.folder / "journal.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(call, _full)
        with pytest.raises(DiskFullError, match="space"):
            edit(review, op="delete", ids=[2])
    assert (state(review), review.revision) == (before, 1)
    assert (review.folder / "journal.jsonl").read_bytes() == journal
    edit(review, op="delete", ids=[2])
    review.close()
    with Review(review.folder, target) as again:
        assert sorted(state(again)) == [3, 4]


def test_half_a_line_at_the_end_of_the_journal_was_never_answered(
    review: Review, target: SceneTarget
) -> None:
    edit(review, op="delete", ids=[1])
    review.close()
    with (review.folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"revision": 2, "image": 0, "op"')
    with Review(review.folder, target) as again:
        assert (again.revision, sorted(state(again))) == (1, [2, 3, 4])
        edit(again, op="delete", ids=[2])
    with Review(review.folder, target) as again:
        assert sorted(state(again)) == [3, 4]


def test_a_line_that_is_no_edit_is_told(review: Review, target: SceneTarget) -> None:
    review.close()
    (review.folder / "journal.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="at byte 0"):
        Review(review.folder, target)


def test_a_kill_between_journal_and_index_loses_nothing(review: Review, target: SceneTarget) -> None:
    edit(review, op="delete", ids=[1])
    copy = {file: file.read_bytes() for file in review.folder.glob("index.sqlite*")}
    edit(review, op="delete", ids=[2])
    expected = state(review)
    review.close()
    for file in review.folder.glob("index.sqlite*"):
        file.unlink()
    for file, content in copy.items():
        file.write_bytes(content)
    with Review(review.folder, target) as again:
        assert (state(again), again.revision) == (expected, 2)


def test_a_broken_index_is_made_anew(review: Review, target: SceneTarget) -> None:
    edit(review, op="delete", ids=[1])
    review.close()
    for file in review.folder.glob("index.sqlite-*"):
        file.unlink()
    (review.folder / "index.sqlite").write_bytes(b"nonsense" * 1000)
    with Review(review.folder, target) as again:
        assert sorted(state(again)) == [2, 3, 4]


def test_it_is_compared_with_another_prediction_each_time(
    review: Review, scene: Path, footprints: Path, tmp_path: Path
) -> None:
    from reviews_made import write_footprints

    edit(review, op="delete", ids=[1])
    review.close()
    wide = [(0, 0), (60, 0), (60, 9)]
    for houses in ([wide], [wide, [(0, 30), (9, 30), (9, 39)]], None):
        before = None
        if houses is not None:
            before = open_vector(write_footprints(tmp_path / f"old{len(houses)}.gpkg", houses=houses))
        with Review(review.folder, SceneTarget(open_raster(scene), open_vector(footprints), before)) as again:
            others = again.objects(0, (0, 0, 200, 200), before=True, most=99)
            assert isinstance(others, list)
            assert [item.id for item in others] == [-1, -2][: len(houses or ())]
            assert sorted(state(again)) == [2, 3, 4]
            assert again.can == (True, False)


def test_what_a_review_began_with_is_not_silently_another(
    review: Review, scene: Path, target: SceneTarget
) -> None:
    review.close()
    for options in ({"block": 64}, {"seed": 7}):
        with pytest.raises(StateMismatchError, match="with which the review"):
            Review(review.folder, target, **options)  # type: ignore[arg-type]
    other = SceneTarget(open_raster(scene), target.footprints, class_column="id")
    with pytest.raises(StateMismatchError, match="Give --class-column class"):
        Review(review.folder, other)
    with Review(review.folder, target, block=50, seed=0) as again:
        assert again.settings["block"] == 50


def test_a_folder_belongs_to_one_scene_and_one_file(
    review: Review, scene: Path, footprints: Path, tmp_path: Path
) -> None:
    from reviews_made import write_footprints, write_scene

    review.close()
    other = SceneTarget(open_raster(write_scene(tmp_path / "other.tif", 90)), open_vector(footprints))
    with pytest.raises(StateMismatchError, match="another target"):
        Review(review.folder, other)
    houses = write_footprints(tmp_path / "more.gpkg", houses=[[(0, 0), (9, 0), (9, 9)]])
    with pytest.raises(StateMismatchError, match="other footprints"):
        Review(review.folder, SceneTarget(open_raster(scene), open_vector(houses)))
    with pytest.raises(InputError, match="neither"):
        Review(tmp_path, SceneTarget(open_raster(scene), open_vector(footprints)))


def test_a_table_of_a_shapefile_that_changed_is_other_footprints(scene: Path, tmp_path: Path) -> None:
    from reviews_made import write_footprints

    houses = write_footprints(tmp_path / "houses.shp", "shp")
    folder, source = tmp_path / "s.review", open_raster(scene)
    Review(folder, SceneTarget(source, open_vector(houses))).close()
    settings = json.loads((folder / "review.json").read_text())
    table = houses.with_suffix(".dbf")
    content = table.read_bytes()
    table.write_bytes(content.replace(b"house", b"shed "))
    with pytest.raises(StateMismatchError, match="other footprints"):
        Review(folder, SceneTarget(source, open_vector(houses)))
    table.write_bytes(content)
    # One that was begun before tables counted goes on.
    del settings["footprints"]["beside"]
    (folder / "review.json").write_text(json.dumps(settings))
    Review(folder, SceneTarget(source, open_vector(houses))).close()


def test_footprints_may_be_a_data_set_in_a_folder(scene: Path, footprints: Path, tmp_path: Path) -> None:
    table = gpd.read_file(footprints)
    (tmp_path / "merged.parquet").mkdir()
    for part, rows in (("a", table.iloc[:2]), ("b", table.iloc[2:])):
        rows.to_parquet(tmp_path / "merged.parquet" / f"{part}.parquet")
    for _ in range(2):
        target = SceneTarget(open_raster(scene), open_vector(tmp_path / "merged.parquet"))
        with Review(tmp_path / "m.review", target) as review:
            assert review.facts(0)[0] == 4
    table.iloc[3:].to_parquet(tmp_path / "merged.parquet" / "b.parquet")
    target = SceneTarget(open_raster(scene), open_vector(tmp_path / "merged.parquet"))
    with pytest.raises(StateMismatchError, match="other footprints"):
        Review(tmp_path / "m.review", target)


def test_the_review_of_a_scene_on_a_server_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_folder("https://example.org/data/town.tif") == tmp_path / "town.review"
    assert default_folder("data/town.tif") == tmp_path / "data" / "town.review"


@pytest.mark.parametrize("stem", ["a.png", "a"])
@pytest.mark.parametrize("content", ['{"size": {"height": 60, "width": 80}}', "[]", '{"tags": 7}', "{"])
def test_an_annotation_without_objects_or_of_another_kind_stops_nobody(
    content: str, stem: str, project: Path, tmp_path: Path
) -> None:
    ann = project / "ds" / "ann"
    (ann / "a.png.json").rename(ann / f"{stem}.json")
    meta = open_project(project).meta.with_tag(TagMeta("uncertain", "any_number"))
    (project / "meta.json").write_text(json.dumps(meta.to_json()))
    [name] = (item.annotation for item in open_project(project) if item.annotation is not None)
    name.write_text(content)
    with Review(tmp_path / "k.review", ProjectTarget(open_project(project))) as review:
        if "size" in content:
            assert review.facts(0) == (0, [])
        else:
            with pytest.raises(InputError):
                review.facts(0)
        assert review.facts(1) == (0, [])


def test_values_of_tags_stay_where_files_of_today_are_named_as_in_2018(project: Path, tmp_path: Path) -> None:
    file = project / "ds" / "ann" / "a.json"
    (project / "ds" / "ann" / "a.png.json").rename(file)
    document = json.loads(file.read_text())
    lanes = {"name": "lanes", "value": 2, "labelerLogin": "ann"}
    document["tags"] = document["objects"][1]["tags"] = [lanes]
    document["objects"][1]["labelerLogin"] = "ann"
    file.write_text(json.dumps(document))
    with Review(tmp_path / "n.review", ProjectTarget(open_project(project))) as review:
        [house] = [one for one in review.objects(0, (0, 0, 80, 60), most=9) if one.kind == "polygon"]
        review.edit(review.revision, 0, {"op": "class", "ids": [house.id], "class": "any"})
        review.edit(review.revision, 0, {"op": "tag", "ids": [], "tag": "checked"})
    assert tag_images(project, {"seen": ["a"]}) == 1
    written = json.loads(file.read_text())
    assert written["tags"][0] == lanes
    assert [tag["name"] for tag in written["tags"]] == ["lanes", "checked", "seen"]
    edited = written["objects"][1]
    assert (edited["classTitle"], edited["geometryType"], edited["labelerLogin"]) == ("any", "polygon", "ann")
    assert edited["tags"] == [lanes]


@pytest.mark.parametrize("name", ["", ":polygon"])
def test_a_class_without_a_name_is_refused_and_not_written(name: str, project: Path) -> None:
    before = (project / "meta.json").read_bytes()
    with pytest.raises(InputError, match="an empty one"):
        open_target(project, classes=["house", name])
    assert (project / "meta.json").read_bytes() == before


def test_the_second_process_is_refused(review: Review, scene: Path, footprints: Path) -> None:
    code = (
        "import sys; from geoseg.review import *; from geoseg.io.sources import open_raster;"
        "from geoseg.io.vectors import open_vector;"
        "Review(sys.argv[1], SceneTarget(open_raster(sys.argv[2]), open_vector(sys.argv[3])))"
    )
    command = [sys.executable, "-c", code, str(review.folder), str(scene), str(footprints)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "which another one has open" in result.stderr
    assert LockedError.__name__ in result.stderr


def test_marks_are_read_beside_a_running_review(review: Review) -> None:
    edit(review, op="mark", place=3, status="accepted")
    edit(review, op="mark", place=4, status="rejected")
    marks = read_marks(review.folder)
    assert [mark.status for mark in marks] == ["", "", "", "accepted", "rejected", ""]
    assert sum(mark.qa for mark in marks) == 2
    review.close()
    assert read_marks(review.folder) == marks


def test_a_review_that_another_process_is_opening_can_not_be_read_yet(review: Review) -> None:
    review._index.put("identity", "")
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="another process is opening"):
        pool.submit(read_marks, review.folder).result()


# --- annotated projects ---


def annotation(project: Path, name: str = "a.png") -> Any:
    return json.loads((project / "ds" / "ann" / f"{name}.json").read_text())


def test_a_project_is_written_through_and_what_nobody_edited_stays_as_it_was(
    project: Path, project_review: Review
) -> None:
    before = annotation(project)
    [road, house] = state(project_review)
    edit(project_review, op="move", moves=[[[20.5, 12.5], [24.2, 15.9]]])
    after = annotation(project)
    assert after["objects"][0] == before["objects"][0]
    assert after["objects"][1]["points"]["exterior"] == [[3, 3], [20, 3], [24, 15], [3, 12]]
    edit(
        project_review,
        op="draw",
        kind="polygon",
        **{"class": "house"},
        rings=[[[40, 40], [50, 40], [50, 50]]],
    )
    assert len(annotation(project)["objects"]) == 3
    for _ in range(2):
        project_review.undo(project_review.revision)
    assert annotation(project) == before
    assert [road, house] == list(state(project_review))


def test_brush_and_eraser_on_a_bitmap_are_equal_to_numpy(project: Path, project_review: Review) -> None:
    [road, _] = state(project_review)
    path, size = [(10, 30), (33, 41), (70, 59)], 9

    def near(x: Any, y: Any) -> Any:
        hit = np.zeros((60, 80), bool)
        for (x0, y0), (x1, y1) in pairwise(path):
            t = np.clip(
                ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1
            )
            hit |= (x0 + t * (x1 - x0) - x) ** 2 + (y0 + t * (y1 - y0) - y) ** 2 <= (size / 2) ** 2
        return hit

    rows, cols = np.mgrid[:60, :80]
    expected = np.zeros((60, 80), bool)
    expected[11:15, 4:34] = True
    expected |= near(cols, rows)
    edit(project_review, op="brush", id=road, **{"class": "road"}, path=path, size=size)
    assert np.array_equal(drawn(project), expected)
    edit(project_review, op="brush", id=road, **{"class": "road"}, path=[(8, 12)], size=4, erase=True)
    expected &= (cols - 8) ** 2 + (rows - 12) ** 2 > 4
    assert np.array_equal(drawn(project), expected)


def drawn(project: Path) -> Any:
    opened = open_project(project)
    item = opened.datasets[0].items[0]
    [bitmap] = [o.figure for o in opened.annotation(item).objects if isinstance(o.figure, Bitmap)]
    canvas = np.zeros((60, 80), bool)
    (x, y), (height, width) = bitmap.origin, bitmap.shape
    canvas[y : y + height, x : x + width] = bitmap.mask
    return canvas


def test_an_image_without_annotation_gets_one(project: Path, project_review: Review) -> None:
    edit(project_review, 1, op="brush", id=None, **{"class": "road"}, path=[[5, 5]], size=3)
    assert annotation(project, "b.png")["objects"][0]["classTitle"] == "road"
    edit(project_review, 1, op="tag", ids=[], tag="lanes", value=2)
    edit(project_review, 1, op="tag", ids=[], tag="checked")
    assert annotation(project, "b.png")["tags"] == [
        {"name": "lanes", "value": 2},
        {"name": "checked", "value": None},
    ]
    project_review.undo(project_review.revision)
    assert annotation(project, "b.png")["tags"] == [{"name": "lanes", "value": 2}]
    with pytest.raises(InputError, match="a number"):
        edit(project_review, 1, op="tag", ids=[], tag="lanes", value="two")


def test_what_others_write_into_a_project_is_taken_up(project: Path, project_review: Review) -> None:
    edit(project_review, op="delete", ids=[list(state(project_review))[1]])
    document = annotation(project)
    document["objects"] = []
    (project / "ds" / "ann" / "a.png.json").write_text(json.dumps(document))
    revision = project_review.revision
    with pytest.raises(StaleError):
        project_review.edit(revision, 0, {"op": "draw", "kind": "point", "class": "any", "points": [[3, 3]]})
    assert state(project_review) == {}
    assert project_review.can == (False, False)
    edit(project_review, op="draw", kind="point", **{"class": "any"}, points=[[3, 3]])
    assert [one["geometryType"] for one in annotation(project)["objects"]] == ["point"]


def test_undo_of_other_images_outlives_a_file_that_others_changed(project: Path, tmp_path: Path) -> None:
    folder, path = tmp_path / "r", project / "ds" / "ann" / "a.png.json"
    with Review(folder, ProjectTarget(open_project(project))) as review:
        [road, house] = state(review)
        brush = {"op": "brush", "id": None, "class": "road", "size": 3}
        edit(review, 1, **brush, path=[[5, 5]])
        edit(review, op="delete", ids=[road])
        edit(review, 1, **brush, path=[[15, 5]])
        edit(review, op="delete", ids=[house])
        review.undo(review.revision)  # of the image that others change: not to be had again
        document = annotation(project)
        document["objects"] = []
        path.write_text(json.dumps(document, ensure_ascii=False))
        changed = state(review)
        assert review.can == (True, False)
        for left in (1, 0):
            review.undo(review.revision)
            assert len(state(review, 1)) == left
        assert not review.can[0]
        assert state(review) == changed
        for count in (1, 2):
            review.redo(review.revision)
            assert len(state(review, 1)) == count
        assert review.can == (True, False)
    for file in folder.glob("index.sqlite*"):
        file.unlink()
    with Review(folder, ProjectTarget(open_project(project))) as review:
        assert review.can == (True, False)
        assert len(state(review, 1)) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_between_journal_and_annotation_is_made_good(
    moment: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "r", ProjectTarget(open_project(project))
    with Review(folder, target) as review:
        [road, house] = state(review)
        before = annotation(project)
        edit(review, op="delete", ids=[road])
        after = annotation(project)
    if moment == "before":  # the journal has the line, the file does not have the edit
        (project / "ds" / "ann" / "a.png.json").write_text(json.dumps(before, ensure_ascii=False))
    with Review(folder, ProjectTarget(open_project(project))) as review:
        assert annotation(project) == after
        assert list(state(review)) == [house]
    for file in folder.glob("index.sqlite*"):
        file.unlink()
    with Review(folder, ProjectTarget(open_project(project))) as review:
        assert list(state(review)) == [house]
        review.undo(review.revision)
        assert annotation(project) == before


def test_a_full_disk_leaves_a_project_as_it_was(
    project: Path, project_review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, objects = annotation(project), state(project_review)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", _full)
        with pytest.raises(DiskFullError):
            edit(project_review, op="delete", ids=[next(iter(objects))])
    assert annotation(project) == before
    assert state(project_review) == objects
    assert not [file for file in (project / "ds" / "ann").iterdir() if file.name.startswith(".")]


def test_an_edit_whose_file_gets_no_name_is_not_taken_for_one_of_others(
    project: Path, project_review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    [road, house] = state(project_review)
    with monkeypatch.context() as patch:
        patch.setattr(Staged, "_commit_file", _full)
        with pytest.raises(DiskFullError):
            edit(project_review, op="delete", ids=[road])
    assert len(annotation(project)["objects"]) == 2
    assert list(state(project_review)) == [house]  # the journal has it, and now the file
    assert len(annotation(project)["objects"]) == 1
    assert project_review.can == (True, False)


def test_a_line_that_the_index_could_not_take_is_cut_off(
    project_review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = project_review.folder / "journal.jsonl"
    before, [road, _] = state(project_review), state(project_review)
    with monkeypatch.context() as patch:
        patch.setattr("geoseg.review.ledger.apply_line", _full)
        with pytest.raises(DiskFullError):
            edit(project_review, op="delete", ids=[road])
    assert journal.read_bytes() == b""
    assert state(project_review) == before


def test_a_refused_first_edit_does_not_make_the_page_stale(project_review: Review) -> None:
    [road, house] = state(project_review)
    with pytest.raises(InputError, match="a merge must have polygons only"):
        project_review.edit(0, 0, {"op": "merge", "ids": [road, house]})
    project_review.edit(0, 0, {"op": "delete", "ids": [road]})


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_that_json_lacks_is_no_value(value: float, project_review: Review) -> None:
    with pytest.raises(InputError, match="value of tag"):
        edit(project_review, op="tag", ids=[], tag="lanes", value=value)


def test_numbers_of_images_stay_when_others_join(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with Review(folder, ProjectTarget(open_project(project))) as review:
        edit(review, 1, op="mark", place=1, status="accepted")
        edit(review, 1, op="brush", id=None, **{"class": "road"}, path=[[5, 5]], size=3)
    image = project / "ds" / "img" / "b.png"
    (project / "ds" / "img" / "aa.png").write_bytes(image.read_bytes())
    with Review(folder, ProjectTarget(open_project(project))) as review:
        assert review.images.names == ["ds/a.png", "ds/b.png", "ds/aa.png"]
        assert len(state(review, 1)) == 1
        assert {mark.name: mark.status for mark in read_marks(folder)} == {
            "ds/a.png": "", "ds/b.png": "accepted", "ds/aa.png": "",
        }  # fmt: skip


def test_footprints_on_the_antimeridian_lie_on_a_scene_that_runs_on_beyond_it(tmp_path: Path) -> None:
    """GeoJSON cuts a house at 180 degrees, and begins anew at -180."""
    scene, step = tmp_path / "fiji.tif", 3e-6
    place = rasterio.Affine(step, 0, 180 - 34 * step, 0, -step, -17)
    with rasterio.open(
        scene, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8", crs=4326, transform=place
    ) as file:
        file.write(np.ones((1, 64, 64), np.uint8))
    top, bottom = -17 - 20 * step, -17 - 40 * step
    halves = shapely.box(180 - 10 * step, bottom, 180, top), shapely.box(-180, bottom, -180 + 10 * step, top)
    houses = tmp_path / "houses.geojson"
    gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.MultiPolygon(halves)], crs=4326).to_file(
        houses, COORDINATE_PRECISION=9
    )
    with Review(tmp_path / "f.review", SceneTarget(open_raster(scene), open_vector(houses))) as review:
        assert shapely.bounds(review.object(1).shape).tolist() == pytest.approx([24, 20, 44, 40], abs=0.01)
        corner = next(xy for xy in shapely.get_coordinates(review.object(1).shape).tolist() if xy[0] > 43)
        review.edit(0, 0, {"op": "move", "moves": [[corner, [50, corner[1]]]]})
        export_review(review.folder, tmp_path / "corrected.geojson")
    [west, east] = sorted(gpd.read_file(tmp_path / "corrected.geojson").geometry[0].geoms, key=shapely.area)[
        ::-1
    ]
    assert (west.bounds[0], east.bounds[2]) == (-180, 180)
    assert west.bounds[2] == pytest.approx(-180 + 16 * step)
