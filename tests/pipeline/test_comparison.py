"""Comparing two predictions: counts by hand, a page that asks nobody, and errors that say what to do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.errors import InputError
from geoseg.pipeline.comparison.projects import number_objects
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta, Tag, TagMeta
from geoseg.projects.figures.types import Bitmap, Polygon
from geoseg.projects.writer import ProjectWriter
from geoseg.scores.changes import median_interval, share_interval
from geoseg.scores.polygons import own_ground


def mask(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """(60, 80) with boxes (left, top, right, bottom) set."""
    out = np.zeros((60, 80), bool)
    for left, top, right, bottom in boxes:
        out[top:bottom, left:right] = True
    return out


def write(path: Path, title: str, masks: dict[str, np.ndarray], tags: dict[str, str] | None = None) -> Path:
    meta = ProjectMeta(
        (ClassMeta("bg_unet", "bitmap", (0, 0, 0)), ClassMeta(title, "bitmap", (255, 0, 0))), (TagMeta("qa"),)
    )
    with ProjectWriter(path, meta) as writer:
        for name, pixels in masks.items():
            bitmaps = [("bg_unet", Bitmap((0, 0), ~pixels)), (title, Bitmap((0, 0), pixels).tight())]
            objects = tuple(LabeledObject(t, b) for t, b in bitmaps if b is not None)
            marked = (Tag("qa"),) if tags and name in tags else ()

            def picture(file: Path, name: str = name) -> None:
                Image.fromarray(np.full((60, 80, 3), len(name) * 20, np.uint8)).save(file)

            writer.add("ds", f"{name}.png", Annotation(60, 80, objects, marked), picture)
    return path


@pytest.fixture
def projects(tmp_path: Path) -> tuple[Path, Path, Path]:
    before = {
        "same": mask((5, 5, 15, 15)),
        "less": mask((0, 0, 10, 10), (20, 20, 40, 40)),
        "split": mask((0, 0, 40, 10)),
        "empty": mask(),
    }
    after = {
        "same": mask((5, 5, 15, 15)),
        "less": mask((20, 20, 40, 40), (50, 50, 60, 60), (70, 0, 80, 10)),
        "split": mask((0, 0, 18, 10), (22, 0, 40, 10)),
        "empty": mask(),
    }
    truth = {
        "same": after["same"],
        "less": mask((20, 20, 40, 40), (50, 50, 60, 60)),
        "split": before["split"],
    }
    return (
        write(tmp_path / "before", "road_unet", before),
        write(tmp_path / "after", "road_unet", after),
        write(tmp_path / "truth", "road", truth, {"less": "qa"}),
    )


def test_changes_counted_by_hand(projects: tuple[Path, Path, Path]) -> None:
    before, after, truth = projects
    result = geoseg.compare(before, after, truth=truth)
    assert [place.name for place in result.places] == ["ds/less", "ds/split", "ds/empty", "ds/same"]
    less, split, empty, same = result.places
    assert less.iou == pytest.approx(400 / 700)
    assert (less.objects.gone, less.objects.new, less.objects.split) == (1, 2, 0)
    assert split.iou == pytest.approx(0.9)
    assert (split.objects.gone, split.objects.new, split.objects.split, split.objects.merged) == (0, 0, 1, 0)
    assert (empty.iou, same.iou) == (1, 1)
    assert empty.before is None  # the truth does not have it
    assert result.classes == (("road_unet", "road"),)
    assert less.before is not None
    assert less.after is not None
    assert less.before.iou == pytest.approx(400 / 600)
    assert (less.after.matched, less.after.false, less.after.missed) == (2, 1, 0)
    assert less.after.f1 == pytest.approx(2 * 500 / (600 + 500))
    assert result.fits is not None
    assert result.fits[0].iou == pytest.approx((100 + 400 + 400) / (100 + 600 + 400))
    assert not result.worse
    assert geoseg.compare(after, before, truth=truth).worse
    swapped = geoseg.compare(after, before).objects
    assert (swapped.gone, swapped.new, swapped.merged) == (2, 1, 1)


def test_images_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    def project(name: str, images: dict[str, np.ndarray]) -> Path:
        with ProjectWriter(
            tmp_path / name, ProjectMeta((ClassMeta("road", "bitmap", (255, 0, 0)),))
        ) as writer:
            for path, pixels in images.items():
                road = LabeledObject("road", Bitmap((0, 0), pixels))
                writer.add(
                    *path.split("/"),
                    Annotation(60, 80, (road,)),
                    lambda file: Image.new("RGB", (80, 60)).save(file),
                )
        return tmp_path / name

    here, there = mask((0, 0, 10, 10)), mask((50, 50, 60, 60))
    before = project("before", {"one/1.png": here, "two/1.png": here, "two/2.png": there})
    truth = project("truth", {"one/1.png": here, "checked/2.png": there})
    result = geoseg.compare(before, before, truth=truth)
    # Image 1 of the other data set is another picture, and the truth has none of it.
    judged = {place.name: place.before.iou for place in result.places if place.before is not None}
    assert judged == {"one/1": 1, "two/2": 1}
    # Two images of one data set that differ in the suffix alone; other programs write such projects.
    for folder, pixels in (("before", here), ("after", there)):
        made = project(f"more_{folder}", {"one/1.png": here, "two/1.png": pixels})
        for kind in ("img", "ann"):
            (old,) = (made / "two" / kind).iterdir()
            old.rename(made / "one" / kind / old.name.replace("1.png", "1.jpg"))
    result = geoseg.compare(tmp_path / "more_before", tmp_path / "more_after")
    assert {place.name: place.iou for place in result.places} == {"one/1.jpg": 0, "one/1.png": 1}


def test_titles_are_matched_up_to_a_sign_and_what_is_left_out_is_noted(
    projects: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    before, after, truth = projects
    for project in (before, after):
        meta = project / "meta.json"
        document = json.loads(meta.read_text())
        document["classes"].append({**document["classes"][0], "title": "roadside"})
        meta.write_text(json.dumps(document))
    result = geoseg.compare(before, after, truth=truth)
    assert result.classes == (("road_unet", "road"),)
    assert result.notes == ("class roadside is not compared: the truth has no such class. Use --class.",)
    assert geoseg.compare(before, after).classes == (("road_unet", None), ("roadside", None))
    only = geoseg.compare(before, after, classes={"road_unet": "road_unet"})
    assert only.notes == ()


def test_quality_with_exact_intervals(projects: tuple[Path, Path, Path]) -> None:
    before, after, truth = projects
    result = geoseg.compare(before, after, truth=truth, tag="qa")
    assert result.judged == 1
    assert result.quality is not None
    quality = result.quality[1]
    assert (quality.precision.value, quality.precision.count) == (pytest.approx(2 / 3), 3)
    exact = stats.binomtest(2, 3).proportion_ci(0.95, method="exact")
    assert (quality.precision.low, quality.precision.high) == pytest.approx((exact.low, exact.high))
    assert (quality.recall.value, quality.recall.high) == (1, 1)
    assert quality.area_error.value == pytest.approx(600 / 500 - 1)
    assert quality.area_error.low is None  # one image tells no interval
    with pytest.raises(InputError, match="tag must be on an image"):
        geoseg.compare(before, after, truth=truth, tag="nothing")


@pytest.mark.parametrize(("hits", "total"), [(0, 7), (7, 7), (3, 11), (950, 1000)])
def test_share_interval_is_clopper_pearson(hits: int, total: int) -> None:
    exact = stats.binomtest(hits, total).proportion_ci(0.95, method="exact")
    assert share_interval(hits, total) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("count", [6, 17, 40])
def test_median_interval_has_its_level(count: int) -> None:
    rng = np.random.default_rng(count)
    limits = [median_interval(rng.exponential(size=count)) for _ in range(2000)]
    held = np.mean([low <= np.log(2) <= high for low, high in limits if low is not None])
    assert 0.945 <= held <= 0.99


def test_objects_are_numbered_as_they_are_drawn() -> None:
    square = np.array([[0.0, 0], [9, 0], [9, 9], [0, 9]])
    objects = (
        LabeledObject("a", Bitmap((20, 0), np.array([[1, 0, 1]], bool))),
        LabeledObject("a", Polygon(square)),
        LabeledObject("a", Polygon(square + 1)),
        LabeledObject("b", Polygon(square + 30)),
    )
    numbers = number_objects(Annotation(50, 50, objects), "a")
    assert np.unique(numbers).tolist() == [0, 1, 2, 3, 4]
    assert numbers[5, 5] == 4
    assert numbers[0, 0] == 3
    assert not number_objects(Annotation(50, 50, objects), "c").any()


def test_footprints(tmp_path: Path) -> None:
    x, y = 350_000, 3_056_000

    def write_boxes(name: str, *boxes: tuple[float, float, float, float], crs: str = "EPSG:32645") -> Path:
        shapes = [shapely.box(x + a, y + b, x + c, y + d) for a, b, c, d in boxes]
        frame = gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32645").to_crs(crs)
        frame.to_file(tmp_path / name)
        return tmp_path / name

    near = [(10, 10, 20, 20), (30, 10, 40, 20), (60, 10, 80, 20)]
    before = write_boxes("before.gpkg", *near, (1000, 1000, 1010, 1010))
    far = (1000, 1000, 1010, 1010)
    after = write_boxes("after.geojson", near[0], (60, 10, 69, 20), (71, 10, 80, 20), far, crs="EPSG:4326")
    truth = write_boxes("truth.fgb", *near)
    result = geoseg.compare(before, after, truth=truth)
    assert result.unit == "m2"
    assert (result.objects.gone, result.objects.new, result.objects.split) == (1, 0, 1)
    assert result.iou == pytest.approx((100 + 180 + 100) / (100 + 100 + 200 + 100), abs=0.01)
    assert sum(place.objects.before for place in result.places) == 4
    assert result.places[-1].iou == pytest.approx(1, abs=0.01)
    assert result.worse
    inside = write_boxes("aoi.gpkg", (0, 0, 100, 100))
    judged = geoseg.compare(before, after, truth=truth, aoi=inside)
    assert judged.objects.before == 3
    assert judged.quality is not None
    assert judged.quality[0].precision.value == judged.quality[0].recall.value == 1
    # Of no ground at all, two files would agree wholly.
    for places, rule in (((), "hold at least one polygon"), (((5000, 5000, 5010, 5010),), "meet the files")):
        nowhere = write_boxes("nowhere.gpkg", *places)
        with pytest.raises(InputError, match=rule):
            geoseg.compare(before, after, aoi=nowhere)
    between = geoseg.compare(before, after, aoi=write_boxes("between.gpkg", (500, 500, 510, 510)))
    assert (between.objects.before, between.iou) == (0, 1.0)
    page = tmp_path / "changes.html"
    run = CliRunner().invoke(
        app, ["compare", str(before), str(after), "--truth", str(truth), "--html", str(page)]
    )
    assert run.exit_code == 0, run.output
    assert "the second is worse than the first" in run.output
    drawn = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page.read_text())
    assert len(drawn) == sum(place.iou < 0.999 for place in result.places)
    svg = base64.b64decode(drawn[0]).decode()
    assert svg.count("<path") == 3
    with pytest.raises(InputError, match="tag must go with projects"):
        geoseg.compare(before, after, tag="qa")
    with pytest.raises(InputError, match="all must be projects or all vector files"):
        geoseg.compare(before, tmp_path)


def test_ground_that_several_footprints_cover_counts_once(tmp_path: Path) -> None:
    def write_boxes(name: str, *boxes: tuple[float, float, float, float]) -> Path:
        frame = gpd.GeoDataFrame(geometry=[shapely.box(*box) for box in boxes], crs="EPSG:32645")
        frame.geometry = frame.translate(350_000, 3_056_000)
        frame.to_file(tmp_path / name)
        return tmp_path / name

    one = write_boxes("one.gpkg", (0, 0, 10, 10), (30, 0, 40, 10))
    # One house twice, and four tenths of the other one, twice as well, with ground beside it.
    twice = write_boxes("twice.gpkg", (0, 0, 10, 10), (0, 0, 10, 10), (36, 0, 46, 10), (36, 0, 46, 10))
    result = geoseg.compare(one, twice, truth=one)
    assert result.iou == pytest.approx(140 / 260, abs=1e-3)
    assert (result.objects.gone, result.objects.new, result.objects.split) == (1, 2, 1)
    assert result.fits is not None
    assert result.fits[1].iou == pytest.approx(140 / 260, abs=1e-3)
    assert (result.fits[1].matched, result.fits[1].false, result.fits[1].missed) == (1, 3, 1)
    back = geoseg.compare(twice, one)
    assert back.iou == pytest.approx(result.iou)
    assert (back.objects.gone, back.objects.new, back.objects.merged) == (2, 1, 1)


def test_the_largest_of_overlapping_footprints_keeps_its_ground(tmp_path: Path) -> None:
    """Cut by all houses on it, a parcel took a minute to compare; counts do not depend on the order."""
    rng = np.random.default_rng(5)
    left, top = rng.uniform(0, 90, (2, 60))
    houses = shapely.box(left, top, left + rng.uniform(2, 20, 60), top + rng.uniform(2, 20, 60))
    parcel = shapely.box(10, 10, 100, 100)
    before = np.array([*houses[:40], parcel], object)
    own = own_ground(before)
    assert own[-1] is parcel
    assert shapely.area(own).sum() == pytest.approx(shapely.union_all(before).area)
    after = houses[20:]
    expected = shapely.union_all(before).intersection(shapely.union_all(after)).area
    expected /= shapely.union_all([*before, *after]).area
    results = []
    for order in (np.arange(41), np.arange(41)[::-1], rng.permutation(41)):
        files = tmp_path / "before.fgb", tmp_path / "after.fgb"
        for path, shapes in zip(files, (before[order], after), strict=True):
            frame = gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32645").translate(350_000, 3_056_000)
            frame.to_file(path)
        results.append(geoseg.compare(*files))
        assert results[-1].iou == pytest.approx(expected, abs=1e-6)
    assert results[0].objects == results[1].objects == results[2].objects


def test_the_page_needs_no_network(projects: tuple[Path, Path, Path], tmp_path: Path) -> None:
    before, after, truth = projects
    page = tmp_path / "page.html"
    command = ["compare", str(before), str(after), "--truth", str(truth), "--tag", "qa", "--html", str(page)]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["worse"] is False
    assert told["places"][0]["name"] == "ds/less"
    assert told["quality"]["after"]["precision"]["count"] == 3
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert not re.search(r"https?://", text)
    assert "<script" not in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    assert text.count("data:image/jpeg") == 2  # of the two images that changed
    shown = CliRunner().invoke(app, [*command])
    assert "precision 0.667 (0.094 to 0.992)" in shown.stdout


def test_a_page_replaces_neither_an_input_nor_what_is_no_page(tmp_path: Path) -> None:
    before, after = tmp_path / "old.geojson", tmp_path / "new.geojson"
    for path in (before, after):
        gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=4326).to_file(path)
    notes, page = tmp_path / "notes.html", tmp_path / "page.html"
    notes.write_text("<!doctype html>my notes")
    kept = {path: path.read_bytes() for path in (before, after, notes)}
    for output, reason in ((after, "must not be an input"), (notes, "new file or an earlier page")):
        result = CliRunner().invoke(app, ["compare", str(before), str(after), "--html", str(output)])
        assert result.exit_code == 2
        assert reason in " ".join(result.output.split())
    assert {path: path.read_bytes() for path in kept} == kept
    for _ in range(2):  # its own page is written anew
        assert (
            CliRunner().invoke(app, ["compare", str(before), str(after), "--html", str(page)]).exit_code == 0
        )
    assert b"Before and after" in page.read_bytes()


def test_what_can_not_be_compared(projects: tuple[Path, Path, Path], tmp_path: Path) -> None:
    before, after, truth = projects
    with pytest.raises(InputError, match="projects must share a class"):
        geoseg.compare(before, truth)
    with pytest.raises(InputError, match="Give --class TITLE=TITLE_IN_THE_TRUTH"):
        geoseg.compare(before, after, truth=truth, classes={"road_unet": "street"})
    same = geoseg.compare(before, after, truth=truth, classes={"road_unet": "road"})
    assert same == geoseg.compare(before, after, truth=truth)
    (after / "ds" / "img" / "same.png").unlink()
    (after / "ds" / "ann" / "less.png.json").write_text("{")
    result = CliRunner().invoke(app, ["compare", str(before), str(after)])
    assert result.exit_code == 1
    assert "2 could not be compared" in result.output
    assert "ds/same: not in" in result.output


def test_a_truth_of_other_images_is_refused(projects: tuple[Path, Path, Path], tmp_path: Path) -> None:
    before, after, _ = projects
    other = write(tmp_path / "other", "road", {"elsewhere": mask((0, 0, 9, 9))})
    with pytest.raises(InputError, match="truth must have an image that is compared, got none"):
        geoseg.compare(before, after, truth=other)
