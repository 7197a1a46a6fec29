"""Statistics and validation of projects, and the commands around them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projects_made import META, OBJECTS, make_project, write_png
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.geo.windows import Window
from geoseg.projects.check import Problem, check_project
from geoseg.projects.figures import Annotation, Bitmap, LabeledObject, Polygon, ProjectMeta, Rectangle
from geoseg.projects.formats.rings import drawn_area
from geoseg.projects.project import open_project
from geoseg.projects.stats import project_stats, size_stats
from geoseg.projects.writer import ProjectWriter
from geoseg.raster.draw import draw_figures
from geoseg.report.project_plots import plot_stats

WHOLE = Window(row_off=0, col_off=0, height=40, width=60)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "town")


def test_figures_of_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = project_stats(project)
    total = stats.total
    assert (total.images, total.objects, total.labeled_images, total.pixels) == (3, 12, 2, 7200)
    assert total.unlabeled_share == pytest.approx(1 / 3)
    drawn = draw_figures([o.figure for o in OBJECTS], list(range(1, 7)), WHOLE)
    assert total.classes["roof"].area_px == 2 * int(np.isin(drawn, [2, 3]).sum())
    assert (total.classes["roof"].images, total.classes["roof"].objects) == (2, 4)
    assert total.classes["unused"].objects == 0
    assert sum(c.area_px for c in total.classes.values()) + total.unlabeled_px == total.pixels
    assert stats.datasets["two"].unlabeled_px == 0
    assert stats.sizes["roof"].count == 4
    roof = draw_figures([OBJECTS[1].figure], [1], WHOLE)
    assert stats.sizes["roof"].largest == roof.sum() == 360
    assert stats.sizes["road"].count == 0
    assert stats.co_occurrence["roof"] == {"roof": 2, "mask": 2, "bg": 2, "road": 2, "tree": 2, "unused": 0}
    assert stats.tags == {"train": 1, "val": 1}
    json.dumps(stats.to_dict())
    monkeypatch.setattr("geoseg.projects.stats._CHUNK", 7)
    assert project_stats(project).to_dict() == stats.to_dict()


def test_an_object_has_one_size_whatever_it_is_stored_as() -> None:
    rectangle, mask = Rectangle(5, 3, 24, 12), Bitmap((5, 3), np.ones((10, 20), bool))
    polygon = Polygon(np.array([[5.0, 3], [24, 3], [24, 12], [5, 12]]))
    drawn = draw_figures([polygon], [1], Window(row_off=0, col_off=0, height=20, width=30))
    assert drawn_area(polygon) == drawn_area(rectangle) == drawn_area(mask) == drawn.sum() == 200


def test_broken_images_count_nowhere_and_are_listed(project: Path) -> None:
    path = project / "one" / "ann" / "a.png.json"
    path.write_text("{")
    stats = project_stats(project)
    assert stats.total.images == 2
    assert [f.image for f in stats.failures] == ["one/a.png"]


def test_polygons_without_vertices_cover_nothing(tmp_path: Path) -> None:
    objects = (LabeledObject("roof", Polygon(np.zeros((0, 2)))), OBJECTS[1])
    with ProjectWriter(tmp_path / "town", META) as writer:
        writer.add("ds", "a.png", Annotation(40, 60, objects), write_png)
    total = project_stats(tmp_path / "town").total
    assert (total.objects, total.classes["roof"].area_px) == (2, 360)


def test_octaves_hold_every_object() -> None:
    areas = np.random.default_rng(0).uniform(0.5, 5000, 300)
    stats = size_stats(areas)
    assert sum(stats.octaves.values()) == stats.count == 300
    assert all(
        stats.octaves[k] == ((np.maximum(areas, 1) >= k) & (np.maximum(areas, 1) < 2 * k)).sum()
        for k in stats.octaves
    )


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_plot(project: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"stats{suffix}"
    plot_stats(project_stats(project), path, open_project(project).meta)
    if suffix == ".svg":
        assert "town: 3 images, 12 objects, 6 classes" in path.read_text()
    else:
        with Image.open(path) as image:
            assert (200, 40, 40) in {color for _, color in image.convert("RGB").getcolors(1 << 24)}


def test_plot_of_a_project_without_objects(tmp_path: Path) -> None:
    with ProjectWriter(tmp_path / "p", ProjectMeta()) as writer:
        writer.add("d", "a.png", Annotation(40, 60), write_png)
    plot_stats(project_stats(tmp_path / "p"), tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000


def rewrite(path: Path, change: dict[str, str]) -> None:
    text = path.read_text()
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)


class TestCheck:
    def messages(self, project: Path, **options: bool) -> list[str]:
        return [str(problem) for problem in check_project(project, **options)]

    def test_good_projects_have_no_problems(self, project: Path, tmp_path: Path) -> None:
        assert check_project(project) == []
        assert check_project(make_project(tmp_path / "old", legacy=True)) == []

    @pytest.mark.parametrize("kept", [0.3, 0.9])
    @pytest.mark.parametrize("name", ["one/img/a.png", "two/img/c.tif"])
    def test_truncated_images(self, project: Path, name: str, kept: float) -> None:
        data = (project / name).read_bytes()
        (project / name).write_bytes(data[: int(len(data) * kept)])
        [message] = [m for m in self.messages(project) if not m.startswith(f"{name[:3]}/ann")]
        assert message.startswith(f"{name}: ")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({'"height": 40': '"height": 30'}, "size is 60 x 30, the image has 60 x 40 pixels"),
            (
                {'"classTitle": "tree"': '"classTitle": "shrub"'},
                "$.objects[5]: class of an object",
            ),
            ({'"name": "train"': '"name": "test"'}, "$.tags: tag 'test' is not in meta.json"),
            ({'"data": "e': '"data": "!e'}, "$.objects[3]: bitmap data must be base64"),
            ({'"data": "e': '"data": "f'}, "$.objects[3]: bitmap data must be"),
            ({"[[3, 3]]": "[[300, 3]]"}, "$.objects[5]: wholly outside the image"),
            ({"[20, 39]": "[61, 39]"}, "$.objects[4]: reaches out of the image"),
            ({"[[3, 3]]": '[["x", 3]]'}, "$.objects[5]: points of a point must be"),
            ({'{"height"': "[1, {"}, "not valid JSON"),
            ({'"objects": [': '"objekts": ['}, "must be an object with size and objects"),
            ({'"height": 40': '"height": 40.0'}, "size must hold whole pixels, got 40.0 x 60"),
        ],
    )
    def test_broken_annotations(self, project: Path, change: dict[str, str], message: str) -> None:
        rewrite(project / "one" / "ann" / "a.png.json", change)
        [found] = self.messages(project)
        assert found.startswith("one/ann/a.png.json")
        assert message in found

    def test_self_crossing_polygons(self, tmp_path: Path) -> None:
        bow = LabeledObject("roof", Polygon(np.array([[0.0, 0], [4, 4], [4, 0], [0, 4]])))
        with ProjectWriter(tmp_path / "p", META) as writer:
            writer.add("d", "a.png", Annotation(40, 60, (bow,)), write_png)
        [message] = self.messages(tmp_path / "p")
        assert "invalid polygon: Self-intersection" in message

    @pytest.mark.parametrize(
        ("kind", "value", "wanted"),
        [
            ({"value_type": "none"}, 3, "no value, got 3"),
            ({"value_type": "any_number"}, "3", "a number, got '3'"),
            ({"value_type": "any_number"}, None, "a number, got None"),
            ({"value_type": "any_string"}, 2.5, "text, got 2.5"),
            ({"value_type": "oneof_string", "values": ["a", "b"]}, "c", "one of a, b, got 'c'"),
            ({"value_type": "date"}, "soon", "a date like 2024-05-31, got 'soon'"),
        ],
    )
    def test_values_of_tags(self, project: Path, kind: dict[str, object], value: object, wanted: str) -> None:
        meta = json.loads((project / "meta.json").read_text())
        meta["tags"].append({"name": "age", **kind})
        (project / "meta.json").write_text(json.dumps(meta))
        path = project / "one" / "ann" / "a.png.json"
        document = json.loads(path.read_text())
        fitting = {"none": None, "any_number": 1, "any_string": "", "date": "2024-05-31T10:00:00.000Z"}
        document["tags"].append({"name": "age", "value": fitting.get(str(kind["value_type"]), "b")})
        path.write_text(json.dumps(document))
        assert check_project(project) == []
        document["tags"][-1]["value"] = value
        document["objects"][1]["tags"] = [{"name": "age", "value": value}]
        path.write_text(json.dumps(document))
        what = f"value of tag 'age' must be {wanted}"
        where = "one/ann/a.png.json: "
        assert self.messages(project) == [f"{where}$.tags: {what}", f"{where}$.objects[1]: {what}"]

    def test_tags_without_a_kind(self, tmp_path: Path) -> None:
        tags = [{"name": "a", "value_type": "color"}, {"name": "b", "value_type": "oneof_string"}]
        (tmp_path / "meta.json").write_text(json.dumps({"classes": [], "tags": tags}))
        first, second, _ = self.messages(tmp_path)
        assert "value_type of tag 'a' must be one of none, any_number" in first
        assert second == "meta.json: tag 'b' is oneof_string and lists no values"

    def test_names_and_lost_files(self, project: Path) -> None:
        folder = project / "one"
        (folder / "img" / "A.jpg").write_bytes((folder / "img" / "a.png").read_bytes())
        (folder / "img" / "notes.txt").touch()
        (folder / "ann" / "lost.png.json").write_text("{}")
        found = {problem.where: problem.what for problem in check_project(project)}
        assert found["one/ann/lost.png.json"] == "annotation without image"
        assert found["one/img/notes.txt"] == "not an image"
        assert "another image" in found["one/img/A.jpg"]
        assert "another image" in found["one/img/a.png"]

    def test_unknown_shapes_and_empty_projects(self, tmp_path: Path) -> None:
        (tmp_path / "meta.json").write_text('{"classes": [{"title": "a", "shape": "blob"}]}')
        what = "shape of class 'a' must be one of polygon, bitmap, rectangle, line, point, any, got 'blob'"
        assert check_project(tmp_path) == [
            Problem("meta.json", what),
            Problem(".", "no images (DATASET/img/NAME)"),
        ]


class TestCommands:
    run = staticmethod(lambda *args: CliRunner().invoke(app, ["project", *map(str, args)]))

    def test_import_export_stats_validate(self, data_dir: Path, tmp_path: Path) -> None:
        project = tmp_path / "vessels"
        result = self.run(
            "import", "binary_masks", data_dir / "chase_db1", "--class", "vessel=255", "--out", project
        )
        assert result.exit_code == 0, result.output
        assert "10 images, 10 objects" in result.output
        result = self.run("stats", project, "--json", "--plot", tmp_path / "s.svg")
        assert json.loads(result.stdout)["total"]["classes"]["vessel"]["images"] == 10
        assert (tmp_path / "s.svg").is_file()
        assert "vessel" in self.run("stats", project).output
        result = self.run("validate", project)
        assert (result.exit_code, "no problems" in result.output) == (0, True)
        result = self.run("export", project, "masks-machine", "--out", tmp_path / "masks")
        assert result.exit_code == 0
        mask = np.asarray(Image.open(tmp_path / "masks" / "ds" / "masks_machine" / "Image_01L.png"))
        truth = np.asarray(Image.open(data_dir / "chase_db1" / "masks" / "Image_01L.png"))
        np.testing.assert_array_equal(mask > 0, truth > 0)

    @pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
    def test_names_that_the_terminal_does_not_have(self, project: Path, encoding: str) -> None:
        meta = project / "meta.json"
        meta.write_text(meta.read_text().replace('"unused"', '"caf\\u00e9 \\ud800"'))
        runner = CliRunner(charset=encoding)
        table = runner.invoke(app, ["project", "stats", str(project), "-q"])
        assert table.exit_code == 0, table.output
        assert "\\ud800" in table.stdout
        document = json.loads(runner.invoke(app, ["project", "stats", str(project), "--json"]).stdout)
        assert "caf\xe9 \ud800" in document["sizes"]

    @pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
    def test_an_image_whose_name_is_no_text_is_listed_and_the_others_go_on(
        self, project: Path, tmp_path: Path
    ) -> None:
        img, ann = project / "one" / "img", project / "one" / "ann"
        name = os.fsdecode(b"b\xfcro.png")
        (img / "a.png").rename(img / name)
        (ann / "a.png.json").rename(ann / f"{name}.json")
        [problem] = check_project(project)
        assert problem.where == f"one/img/{name}"
        assert problem.what.startswith("path of a scene must be UTF-8, got ")
        assert problem.what.endswith("b\\udcfcro.png'. Rename that file or folder.")
        result = self.run("validate", project)
        assert (result.exit_code, "1 problem" in result.output) == (2, True)
        result = self.run("stats", project, "--json")
        assert result.exit_code == 1
        assert "failed: one/b\\udcfcro.png: path of a scene" in result.stderr
        document = json.loads(result.stdout)
        assert (document["total"]["images"], document["failures"][0]["image"]) == (2, f"one/{name}")
        result = self.run("export", project, "coco", "--out", tmp_path / "x")
        assert (result.exit_code, "x: 2 images" in result.stdout) == (1, True)
        [row] = json.loads((tmp_path / "x.failures.json").read_text())
        assert row["image"] == f"one/{name}"
        # What the message advises.
        (img / name).rename(img / "buero.png")
        (ann / f"{name}.json").rename(ann / "buero.png.json")
        assert self.run("validate", project).exit_code == 0

    def test_exit_status(self, project: Path, tmp_path: Path) -> None:
        assert self.run("export", project, "voc", "--out", tmp_path / "x").exit_code == 2
        result = self.run("export", project, "geojson", "--out", tmp_path / "x")
        assert result.exit_code == 1
        assert "failed: one/a.png" in result.output
        assert (tmp_path / "x.failures.json").is_file()
        assert self.run("stats", tmp_path / "none").exit_code == 2
        wrong = ("binary_masks", tmp_path, "--class", "a")
        assert self.run("import", *wrong, "--out", tmp_path / "y").exit_code == 2
        (project / "one" / "ann" / "a.png.json").write_text("{}")
        result = self.run("validate", project, "--json", "--headers")
        assert result.exit_code == 2
        assert json.loads(result.stdout)[0]["where"] == "one/ann/a.png.json"
        result = self.run("validate", project)
        assert (result.exit_code, "1 problem" in result.output) == (2, True)
        assert self.run("stats", project).exit_code == 1
