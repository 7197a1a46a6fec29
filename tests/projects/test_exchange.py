"""Projects as a whole: import, export, and the way there and back."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from projects_made import META, OBJECTS, TRANSFORM, make_project, write_png, write_tif

from geoseg.errors import InputError
from geoseg.files import LockedError, hold
from geoseg.geo.windows import Window
from geoseg.io.writers.pmtiles import read_header
from geoseg.projects.exchange import (
    EXPORTS,
    IMPORTS,
    ImportOptions,
    export_project,
    import_source,
    read_source,
)
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta
from geoseg.projects.figures.types import Bitmap, Polygon, Rectangle, same_figure
from geoseg.projects.formats.contents import ImportContents, ImportImage, plain_class
from geoseg.projects.formats.rings import bridged, figure_outline, figure_rings
from geoseg.projects.project import open_project, read_annotation
from geoseg.projects.writer import ProjectWriter
from geoseg.raster.draw import draw_figures

WHOLE = Window(row_off=0, col_off=0, height=40, width=60)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "town")


def image(path: Path) -> Path:
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)
    return path


class TestImport:
    def source(self, folder: Path, *names: str) -> ImportContents:
        path = image(folder / "x.png")
        return ImportContents(
            [plain_class("a", "polygon")], [ImportImage("d", name, path, lambda _: []) for name in names]
        )

    def test_names_never_lead_out_and_are_never_lost(self, tmp_path: Path) -> None:
        names = ["../../x.png", "a/x.png", "x.png", "X.png", "x.jpg", "con.png"]
        summary = import_source(self.source(tmp_path, *names), tmp_path / "out" / "p")
        stored = sorted(item.name for item in open_project(tmp_path / "out" / "p"))
        assert stored == ["X_2.png", "_con.png", "a_x.png", "x.png", "x_3.jpg", "x_4.png"] or len(stored) == 6
        assert {Path(name).stem.casefold() for name in stored} == {
            Path(n).stem.casefold() for n in set(stored)
        }
        assert summary.renamed["d/../../x.png"] == "d/x.png"
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["p"]

    def test_images_are_the_same_bytes_with_their_companions(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, "renamed.png")
        (tmp_path / "x.pgw").write_text("1\n0\n0\n-1\n0\n0\n")
        (tmp_path / "x.png.aux.xml").write_text("<PAMDataset/>")
        import_source(source, tmp_path / "p")
        folder = tmp_path / "p" / "d" / "img"
        assert (folder / "renamed.png").read_bytes() == (tmp_path / "x.png").read_bytes()
        assert (folder / "renamed.pgw").is_file()
        assert (folder / "renamed.png.aux.xml").is_file()

    def test_links_take_no_space(self, tmp_path: Path) -> None:
        import_source(self.source(tmp_path, "a.png"), tmp_path / "p", link=True)
        assert (tmp_path / "p" / "d" / "img" / "a.png").samefile(tmp_path / "x.png")

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
    def test_images_cut_short_are_listed_not_copied(self, tmp_path: Path, suffix: str) -> None:
        good = self.source(tmp_path, "b.png")
        path = tmp_path / f"a{suffix}"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:-400])
        images = [ImportImage("d", path.name, path, lambda _: []), *good.images]
        summary = import_source(ImportContents(good.classes, images), tmp_path / "p")
        assert [(failure.image, summary.images) for failure in summary.failures] == [(f"d/a{suffix}", 1)]

    def test_failures_are_listed_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        def broken(shape: tuple[int, int]) -> list[LabeledObject]:
            raise InputError("no such class")

        path = image(tmp_path / "x.png")
        cut = tmp_path / "cut.png"
        cut.write_bytes(path.read_bytes()[:60])
        images = [
            ImportImage("d", "good.png", path, lambda _: []),
            ImportImage("d", "bad.png", path, broken),
            ImportImage("d", "cut.png", cut, lambda _: []),
            ImportImage("d", "gone.png", tmp_path / "gone.png", lambda _: []),
        ]
        summary = import_source(ImportContents([], images, [("d/lost.png", "lost")]), tmp_path / "p")
        assert summary.images == 1
        listed = json.loads((tmp_path / "p.failures.json").read_text())
        names = ["d/lost.png", "d/bad.png", "d/cut.png", "d/gone.png"]
        assert [entry["image"] for entry in listed] == names
        assert "truncated" in listed[2]["reason"]

    def test_nothing_is_left_where_nothing_worked(self, tmp_path: Path) -> None:
        source = ImportContents([], [ImportImage("d", "a.png", tmp_path / "no.png", lambda _: [])])
        with pytest.raises(InputError, match=r"imported, got 1 that can't.*no.png"):
            import_source(source, tmp_path / "p")
        assert list(tmp_path.iterdir()) == []

    def test_labels_made_for_other_images_are_told(self, tmp_path: Path) -> None:
        summary = import_source(self.source(tmp_path, "a.png"), tmp_path / "p")
        assert summary.notes == ("no image has an object: are the labels made for these images?",)

    def test_a_project_that_exists_is_kept(self, project: Path) -> None:
        with pytest.raises(InputError, match="exists"):
            import_source(ImportContents([], []), project)
        assert len(open_project(project)) == 3

    def test_two_imports_or_exports_of_one_name_do_not_meet(self, project: Path, tmp_path: Path) -> None:
        source = self.source(tmp_path, "a.png")
        with ThreadPoolExecutor(1) as other, hold(tmp_path / "p"):
            for job in (
                other.submit(import_source, source, tmp_path / "p"),
                other.submit(export_project, project, "coco", tmp_path / "p"),
            ):
                with pytest.raises(LockedError, match="another run is working on"):
                    job.result()
        assert not (tmp_path / "p").exists()
        assert import_source(source, tmp_path / "p").images == 1

    def test_options_of_other_formats_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="labels must be given with format vector only"):
            read_source("kitti", tmp_path, ImportOptions(labels="x"))
        with pytest.raises(InputError, match="format must be one of"):
            read_source("pascal", tmp_path)
        assert set(IMPORTS) == {"binary_masks", "kitti", "coco", "vector", "images"}


class TestExport:
    def test_machine_masks_are_what_is_drawn(self, project: Path, tmp_path: Path) -> None:
        summary = export_project(project, "masks", tmp_path / "out")
        assert (summary.images, summary.objects) == (3, 12)
        classes = json.loads((tmp_path / "out" / "classes.json").read_text())
        values = {name: entry["value"] for name, entry in classes.items()}
        assert values == {"bg": 0, "mask": 1, "road": 2, "roof": 3, "tree": 4, "unused": 5}
        expected = draw_figures([o.figure for o in OBJECTS], [values[o.class_name] for o in OBJECTS], WHOLE)
        png = np.asarray(Image.open(tmp_path / "out" / "one" / "masks_machine" / "a.png"))
        np.testing.assert_array_equal(png, expected)
        with rasterio.open(tmp_path / "out" / "two" / "masks_machine" / "c.tif") as tif:
            np.testing.assert_array_equal(tif.read(1), expected)
            assert (tif.transform, tif.crs.to_epsg()) == (TRANSFORM, 32645)
        human = np.asarray(Image.open(tmp_path / "out" / "one" / "masks_human" / "a.png"))
        original = np.asarray(Image.open(project / "one" / "img" / "a.png"))
        assert human.shape == (40, 124, 3)
        np.testing.assert_array_equal(human[:, :60], original)
        assert (human[:, 60:64] == (0, 255, 0)).all()
        tree = np.array([10, 90, 10])
        np.testing.assert_array_equal(human[3, 67], (original[3, 3] + tree) // 2)

    def test_masks_of_large_images_are_drawn_piecewise(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        export_project(project, "masks", tmp_path / "whole")
        monkeypatch.setattr("geoseg.projects.formats.masks_export._CHUNK", 16)
        monkeypatch.setattr("geoseg.projects.formats.masks_export._HUMAN_SIDE", 30)
        export_project(project, "masks", tmp_path / "pieces")
        name = "two/masks_machine/c.tif"
        with (
            rasterio.open(tmp_path / "whole" / name) as one,
            rasterio.open(tmp_path / "pieces" / name) as two,
        ):
            np.testing.assert_array_equal(one.read(), two.read())
        one = np.asarray(Image.open(tmp_path / "whole" / "one" / "masks_human" / "a.png"))
        half = np.asarray(Image.open(tmp_path / "pieces" / "one" / "masks_human" / "a.png"))
        np.testing.assert_array_equal(half[:, 34:], one[::2, 64::2])

    def test_coco_comes_back(self, project: Path, tmp_path: Path) -> None:
        summary = export_project(project, "coco", tmp_path / "coco")
        assert summary.notes == ("4 objects left out: COCO has no lines and points",)
        import_source(read_source("coco", tmp_path / "coco"), tmp_path / "back")
        back = open_project(tmp_path / "back")
        [item] = [item for item in back if item.name == "a.png"]
        annotation = read_annotation(item, back.meta, (40, 60))
        assert annotation.has_tag("train")
        found = [(o.class_name, o.figure) for o in annotation.objects]
        assert [name for name, _ in found] == ["bg", "roof", "roof", "mask"]
        drawn = [draw_figures([figure], [1], WHOLE) for _, figure in found]
        for mine, other in zip(drawn[1:], OBJECTS[1:4], strict=True):
            np.testing.assert_array_equal(mine, draw_figures([other.figure], [1], WHOLE))
        assert same_figure(found[3][1], OBJECTS[3].figure)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside pycocotools
    def test_pycocotools_reads_it(self, project: Path, tmp_path: Path) -> None:
        coco = pytest.importorskip("pycocotools.coco")
        export_project(project, "coco", tmp_path / "coco")
        data = coco.COCO(str(tmp_path / "coco" / "annotations" / "instances_one.json"))
        annotations = data.loadAnns(data.getAnnIds(imgIds=[1]))
        assert [data.cats[a["category_id"]]["name"] for a in annotations] == ["bg", "roof", "roof", "mask"]
        np.testing.assert_array_equal(data.annToMask(annotations[0]), 1)
        for annotation, item in zip(annotations, OBJECTS[:4], strict=True):
            mask = data.annToMask(annotation).astype(bool)
            rows, cols = np.nonzero(mask)
            x, y, w, h = annotation["bbox"]
            assert (cols.min() >= x - 0.5, cols.max() < x + w + 0.5) == (True, True)
            assert (rows.min() >= y - 0.5, rows.max() < y + h + 0.5) == (True, True)
            if isinstance(item.figure, Bitmap):
                assert annotation["area"] == mask.sum()

    def test_yolo_has_no_line_for_what_lies_outside(self, tmp_path: Path) -> None:
        inside, outside = Rectangle(50, 30, 80, 35), Rectangle(100, 5, 120, 9)
        objects = (LabeledObject("bg", inside), LabeledObject("bg", outside))
        with ProjectWriter(tmp_path / "p", META) as writer:
            writer.add("d", "a.png", Annotation(40, 60, objects), write_png)
        summary = export_project(tmp_path / "p", "yolo-seg", tmp_path / "yolo")
        assert summary.notes == ("1 objects left out: no area inside the image",)
        [line] = (tmp_path / "yolo" / "labels" / "train" / "d_a.txt").read_text().splitlines()
        shares = np.array(line.split()[1:], float).reshape(-1, 2)
        np.testing.assert_allclose(shares.min(axis=0), (50 / 60, 30 / 40), atol=1e-5)
        np.testing.assert_allclose(shares.max(axis=0), (1, 36 / 40), atol=1e-5)

    def test_yolo_rings_cover_the_objects(self, project: Path, tmp_path: Path) -> None:
        summary = export_project(project, "yolo-seg", tmp_path / "yolo")
        assert summary.notes == ("4 objects left out: YOLO has no lines and points",)
        root = tmp_path / "yolo"
        text = (root / "data.yaml").read_text()
        assert 'train: images/train\nval: images/val\nnames:\n  0: "roof"' in text
        assert sorted(p.name for p in (root / "images" / "train").iterdir()) == ["one_a.png", "two_c.tif"]
        assert (root / "labels" / "val" / "one_b.txt").read_text() == ""
        lines = (root / "labels" / "train" / "one_a.txt").read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["2", "0", "0", "1", "1"]
        ring = np.array(lines[1].split()[1:], float).reshape(-1, 2) * (60, 40)
        assert shapely.Polygon(ring).buffer(0).area == pytest.approx(
            21 * 21 - 9 * 9, abs=0.1
        )  # of the pixels drawn

    @pytest.mark.parametrize("format", ["geojson", "gpkg", "parquet"])
    def test_vector_files_lie_on_the_ground(self, project: Path, tmp_path: Path, format: str) -> None:
        summary = export_project(project, format, tmp_path / "out")
        assert [f.image for f in summary.failures] == ["one/a.png", "one/b.png"]
        assert summary.notes == ("2 objects left out: without area (lines, points)",)
        path = tmp_path / "out" / "two" / f"c.tif.{format}"
        table = geopandas.read_parquet(path) if format == "parquet" else geopandas.read_file(path)
        table = table.to_crs(32645).sort_values("id")
        assert table["class"].tolist() == ["bg", "roof", "roof", "mask"]
        areas = [60 * 40, 21 * 21 - 9 * 9, 11 * 11, MASK_AREA]  # of the pixels drawn
        np.testing.assert_allclose(table.geometry.area, np.array(areas) / 4, rtol=5e-3)  # GeoJSON keeps 1 cm
        np.testing.assert_allclose(table.total_bounds, [331000, 3056980, 331030, 3057000], atol=0.01)

    def test_the_way_to_vector_and_back_keeps_vertices(self, project: Path, tmp_path: Path) -> None:
        export_project(project, "gpkg", tmp_path / "out")
        options = ImportOptions(labels=tmp_path / "out" / "two" / "c.tif.gpkg", class_column="class")
        import_source(read_source("vector", project / "two" / "img", options), tmp_path / "back")
        back = open_project(tmp_path / "back")
        [item] = list(back)
        roof = next(o for o in read_annotation(item, back.meta, (40, 60)).objects if o.class_name == "roof")
        before, after = figure_outline(OBJECTS[1].figure), figure_outline(roof.figure)
        assert before.symmetric_difference(after).area < 1e-6

    def test_refusals_leave_nothing(self, project: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="format must be one of masks"):
            export_project(project, "voc", tmp_path / "out")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "x").touch()
        with pytest.raises(InputError, match="new folder"):
            export_project(project, "coco", tmp_path / "full")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "town"]
        assert "coco" in EXPORTS

    def test_unknown_classes_and_sizes_fail_alone(self, project: Path, tmp_path: Path) -> None:
        first, second = (project / "one" / "ann" / name for name in ("a.png.json", "b.png.json"))
        first.write_text(first.read_text().replace('"classTitle": "road"', '"classTitle": "river"'))
        second.write_text(second.read_text().replace('"height": 40', '"height": 41'))
        summary = export_project(project, "coco", tmp_path / "out")
        assert summary.images == 1
        reasons = [failure.reason for failure in summary.failures]
        assert "'river'" in reasons[0]
        assert "60 x 41" in reasons[1]


MASK_AREA = int(OBJECTS[3].figure.mask.sum())


def test_rings_of_masks_add_up() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((9, 11)) < 0.6
        bitmap = Bitmap((3, 4), mask)
        area = sum(shapely.Polygon(ring).buffer(0).area for ring in figure_rings(bitmap))
        outline = figure_outline(bitmap)
        assert outline.area == mask.sum()
        assert area == pytest.approx(mask.sum())
        assert outline.is_valid or mask.sum() == 0


def test_bridges_have_no_area() -> None:
    square = np.array([[0.0, 0], [30, 0], [30, 30], [0, 30]])
    holes = [square / 10 + (5 * i, 3 * i) for i in range(1, 5)]
    x, y = bridged(square, *holes).T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(900 - 4 * 9)


def test_self_crossing_polygons_become_valid_outlines() -> None:
    bow = Polygon(np.array([[0.0, 0], [4, 4], [4, 0], [0, 4]]))
    outline = figure_outline(bow)
    assert outline.is_valid
    assert len(shapely.get_parts(outline)) == 1  # half a pixel out, the two halves meet
    assert 16 < outline.area < 20


def crowded(folder: Path, count: int) -> Path:
    corners = np.random.default_rng(0).uniform(0, 36, (count, 1, 2))
    rings = corners + np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    objects = tuple(LabeledObject("roof", Polygon(ring)) for ring in rings.round(2))
    with ProjectWriter(folder / "p", META) as writer:
        writer.add("d", "a.tif", Annotation(40, 60, objects), write_tif)
    return folder / "p"


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_objects_in_one_file(tmp_path: Path, count: int) -> None:
    path = crowded(tmp_path, count)
    start = time.process_time()
    for format in ("coco", "geojson", "masks-machine"):
        assert export_project(path, format, tmp_path / format).objects == count
    assert time.process_time() - start < 3 + count * 6e-4  # linear: far below a second a thousand


@pytest.mark.parametrize("legacy", [False, True])
def test_the_platforms_own_library_opens_projects(tmp_path: Path, legacy: bool) -> None:
    """Meta, images and every figure as the supervisely SDK reads them."""
    pytest.importorskip("supervisely")
    import subprocess
    import sys

    project = make_project(tmp_path / "town", legacy=legacy)
    script = (
        "import json, sys, supervisely as sly\n"
        "project = sly.Project(sys.argv[1], sly.OpenMode.READ)\n"
        "out = {}\n"
        "for dataset in project.datasets:\n"
        "    for name in dataset.get_items_names():\n"
        "        ann = sly.Annotation.load_json_file(dataset.get_ann_path(name), project.meta)\n"
        "        out[f'{dataset.name}/{name}'] = [[l.obj_class.name, l.geometry.geometry_name(), l.area]"
        " for l in ann.labels] + [t.name for t in ann.img_tags]\n"
        "print(json.dumps(out))\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(project)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert set(found) == {"one/a.png", "one/b.png", "two/c.tif"}
    names = [(entry[0], entry[1]) for entry in found["one/a.png"][:-1]]
    shapes = {c.name: c.shape for c in META.classes}
    assert names == [
        (o.class_name, {"line": "line"}.get(shapes[o.class_name], shapes[o.class_name])) for o in OBJECTS
    ]
    assert found["one/a.png"][-1] == "train"
    mask = next(entry for entry in found["one/a.png"] if entry[0] == "mask")
    assert mask[2] == MASK_AREA


def test_meta_of_an_import_declares_tags(tmp_path: Path) -> None:
    path = image(tmp_path / "x.png")
    source = ImportContents(
        [ClassMeta("a", "any", (1, 2, 3))],
        [ImportImage("d", "x.png", path, lambda _: [], ("t",))],
        object_tags=("crowd",),
    )
    import_source(source, tmp_path / "p", legacy=True)
    meta: ProjectMeta = open_project(tmp_path / "p").meta
    assert {t.name: t.applies_to for t in meta.tags} == {"t": "imagesOnly", "crowd": "objectsOnly"}
    assert (tmp_path / "p" / "d" / "ann" / "x.json").is_file()


def test_outlines_of_fine_pixels_keep_their_shape_in_every_format(tmp_path: Path) -> None:
    """Of pixels of 5 mm, GeoJSON's usual digits are two, and a tile at the usual levels has none of them."""
    square = LabeledObject("house", Polygon(np.array([[3.0, 3], [20, 3], [20, 12], [3, 12]])))

    def write(path: Path) -> None:
        place = rasterio.transform.from_origin(350_000.123, 3_056_000.456, 0.005, 0.005)
        with rasterio.open(
            path, "w", driver="GTiff", width=64, height=64, count=3, dtype="uint8", crs=32645, transform=place
        ) as file:
            file.write(np.zeros((3, 64, 64), np.uint8))

    with ProjectWriter(tmp_path / "fine", ProjectMeta((ClassMeta("house", "any", (1, 2, 3)),))) as writer:
        writer.add("ds", "a.tif", Annotation(64, 64, (square,)), write)
    for format in ("geojson", "gpkg", "pmtiles"):
        export_project(tmp_path / "fine", format, tmp_path / format)
    exact = geopandas.read_file(tmp_path / "gpkg" / "ds" / "a.tif.gpkg").geometry[0]
    text = geopandas.read_file(tmp_path / "geojson" / "ds" / "a.tif.geojson").to_crs(32645).geometry[0]
    assert text.symmetric_difference(exact).area < 0.02 * exact.area
    assert read_header(tmp_path / "pmtiles" / "ds" / "a.tif.pmtiles").tiles > 0
