"""Reports of results: what stands in them, how large they are, and what they never do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.errors import InputError, MissingFileError
from geoseg.files import page_head
from geoseg.geo.geobox import GeoBox
from geoseg.io.pyramid import shown_bands
from geoseg.pipeline.batch.manifest import Manifest, SceneRecord
from geoseg.report.pages import results
from geoseg.report.pages.batch_page import write_batch_report
from geoseg.report.pages.results import find_result
from geoseg.report.pages.scene_page import Budget, write_scene_report
from geoseg.report.pages.shapes import PackedShapes, PlacedRows, _varints
from geoseg.report.pages.tiles import TILE, tile_picture

PLACE = Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
OPTIONS = {"window": 96, "overlap": 16, "chunk": 256}
SIDE = 1100


class Network:
    """As bright as it is, a pixel is a house."""

    def __call__(self, batch: Any) -> Any:
        return (batch[:, :1] / 255).astype(np.float32)

    def fingerprint(self) -> str:
        return "brightness"


def save(path: Path, houses: Any, *, side: int = SIDE, seed: int = 0, **changes: Any) -> Path:
    """A scene with houses (top, left, side, brightness), and a corner without data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(10, 50, (3, side, side), dtype=np.uint8)
    for top, left, size, value in houses:
        image[:, top : top + size, left : left + size] = value
    image[:, : side // 4, : side // 4] = 0
    profile = {
        "driver": "GTiff", "count": 3, "height": side, "width": side, "dtype": "uint8", "nodata": 0,
        "crs": "EPSG:32645", "transform": PLACE, "tiled": True, "blockxsize": 256,
        "blockysize": 256, **changes,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(image)
    return path


HOUSES = [(400, 500, 40, 230), (700, 200, 30, 200), (900, 900, 60, 140), (500, 1000, 20, 240)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene and its result, for tests that only read them."""
    folder = tmp_path_factory.mktemp("made")
    geoseg.run(save(folder / "town.tif", HOUSES), Network(), out=folder / "out", **OPTIONS)
    return folder


@pytest.fixture
def town(made: Path, tmp_path: Path) -> Path:
    """A copy of the result, to be changed."""
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out"


class Page(HTMLParser):
    """A page taken apart as a browser does it."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.blocks, self._open = "", [], {}, ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = dict(attrs).get("id") or tag
            self.blocks[self._open] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.blocks[self._open] += data
        else:
            self.text += data

    @property
    def page(self) -> Any:
        return json.loads(self.blocks["page"])

    @property
    def policy(self) -> str:
        return next(a["content"] for tag, a in self.tags if a.get("http-equiv") == "Content-Security-Policy")


def read_varints(data: bytes) -> list[int]:
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    return numbers


def test_a_report_says_what_the_result_is(made: Path, tmp_path: Path) -> None:
    summary = write_scene_report(find_result(made / "out"), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert summary.bytes == (tmp_path / "r.html").stat().st_size < 20e6
    assert (summary.footprints, summary.unit, summary.drawn, summary.failures) == (4, "m2", "shapes", 0)
    area = sum(side**2 for _, _, side, _ in HOUSES) * 0.25
    assert summary.area == pytest.approx(area, rel=2e-3)  # on the ground, not in UTM
    valid = SIDE**2 - (SIDE // 4) ** 2
    assert summary.covered == pytest.approx(area * 4 / valid, rel=1e-3)
    assert summary.no_data == pytest.approx(1 - valid / SIDE**2, abs=1e-4)
    assert sum(count for *_, count in summary.areas) == 4
    assert sum(count for *_, count in summary.confidences) == 4
    # the one gray house is the only place where the network was unsure
    assert len(summary.places) == 1
    left, top, right, bottom = summary.places[0].box
    assert (right - left, bottom - top) == (512, 512)
    assert left <= 900 < right
    assert top <= 900 < bottom
    for text in ("town", "Least certain", "its digest", "overlap", "96, 96"):
        assert text in page.text
    assert page.text.count("% uncertain") == 1
    assert json.dumps(summary.as_dict())
    assert "gaps" in page.blocks
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert [src[:22] for src in pictures] == ["data:image/jpeg;base64"]
    assert '<path d="M' in page.source


def test_the_shapes_are_those_of_the_file(made: Path, tmp_path: Path) -> None:
    write_scene_report(find_result(made / "out"), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    numbers = iter(read_varints(zlib.decompress(base64.b64decode(page.blocks["shapes"]))))
    signed = lambda value: -(value + 1) // 2 if value % 2 else value // 2  # noqa: E731
    count = next(numbers)
    ids, classes, confidences, areas, parts = ([next(numbers) for _ in range(count)] for _ in range(5))
    rings = [next(numbers) for _ in range(sum(parts))]
    corners = [next(numbers) for _ in range(sum(rings))]
    assert (count, parts, rings) == (4, [1] * 4, [1] * 4)
    assert [page.page["classes"][k] for k in classes] == ["class_1"] * 4
    assert np.cumsum([signed(value) for value in ids]).tolist() == [1, 2, 3, 4]
    steps = np.array([signed(value) for value in numbers]).reshape(-1, 2)
    assert len(steps) == sum(corners)
    xy = np.cumsum(steps, axis=0) * page.page["step"]
    got = {shapely.box(*xy[k : k + 4].min(0), *xy[k : k + 4].max(0)).bounds for k in range(0, 16, 4)}
    assert got == {(float(c), float(r), float(c + s), float(r + s)) for r, c, s, _ in HOUSES}
    assert areas[0] == pytest.approx(10 * 40**2 / 4, rel=2e-3)
    assert confidences[0] == 1 + round(100 * 230 / 255)


def test_equal_results_give_equal_bytes(made: Path, tmp_path: Path) -> None:
    scene = save(tmp_path / "elsewhere" / "town.tif", HOUSES)
    geoseg.run(scene, Network(), out=tmp_path / "out", report=True, **OPTIONS)
    write_scene_report(find_result(made / "out"), tmp_path / "r.html")
    assert (tmp_path / "out" / "town.report.html").read_bytes() == (tmp_path / "r.html").read_bytes()
    text = (tmp_path / "r.html").read_text()
    assert str(made) not in text  # a report travels: folders are nobody's business
    assert "/tmp" not in text


def test_only_its_own_script_runs_and_nothing_leaves(made: Path, tmp_path: Path) -> None:
    write_scene_report(find_result(made / "out"), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    digests = {
        name: base64.b64encode(hashlib.sha256(page.blocks[name].encode()).digest()).decode()
        for name in ("script", "style")
    }
    assert page.policy == (
        f"default-src 'none'; script-src 'sha256-{digests['script']}'; "
        f"style-src 'sha256-{digests['style']}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert all(attributes.get(name, "data:").startswith("data:") for name in ("src", "href", "srcset"))
    assert "url(" not in re.sub(r"url\(data:", "", page.blocks["style"])
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert sum("type" not in attributes for attributes in scripts) == 1


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def test_text_of_files_stays_text(town: Path, tmp_path: Path) -> None:
    footprints = json.loads((town / "town.geojson").read_text())
    for feature in footprints["features"]:
        feature["properties"]["class"] = EVIL
    (town / "town.geojson").write_text(json.dumps(footprints))
    record = json.loads((town / "town.geoseg" / "run.json").read_text())
    region = {"row_off": 0, "col_off": 0, "height": 9, "width": 9, "reason": EVIL}
    record |= {"scene": EVIL, "failures": [region], "notes": [EVIL], "classes": [EVIL], "card": {"x": EVIL}}
    record["provenance"]["options"] |= {EVIL: EVIL}
    record["provenance"]["model"] = {"name": EVIL, "fingerprint": EVIL, "runtime": EVIL}
    (town / "town.geoseg" / "run.json").write_text(json.dumps(record))
    plain, evil = tmp_path / "plain.html", tmp_path / "evil.html"
    write_scene_report(find_result(town), evil)
    page = Page(evil)
    assert page.text.count(EVIL) >= 6
    assert page.page["classes"] == [EVIL]
    assert page.page["failures"][0]["text"] == EVIL
    assert not [a for tag, a in page.tags if tag == "img" and not a["src"].startswith("data:")]
    assert sum("type" not in a for tag, a in page.tags if tag == "script") == 1
    assert not plain.exists()


def test_a_report_keeps_within_its_budget(made: Path, tmp_path: Path) -> None:
    result, path = find_result(made / "out"), tmp_path / "r.html"
    full = write_scene_report(result, path)
    tiles = {name: text for name, text in Page(path).blocks.items() if name.startswith("tile-")}
    assert Page(path).page["finest"] == 0
    small = write_scene_report(result, path, budget=Budget(150_000, 4_000, 30_000, footprints=3))
    page = Page(path)
    kept = {name: text for name, text in page.blocks.items() if name.startswith("tile-")}
    assert 0 < sum(map(len, kept.values())) <= 150_000 < sum(map(len, tiles.values()))
    assert page.page["finest"] > 0
    assert page.page["step"] == 2 ** page.page["finest"] / 2
    assert "shapes" not in page.blocks
    assert page.blocks["density"].startswith("data:image/png;base64,")
    assert (small.drawn, small.footprints, small.area) == ("density", 4, full.area)
    crop = next(a["src"] for tag, a in page.tags if tag == "img")
    assert len(crop) <= 15_000
    assert small.bytes < full.bytes
    # bytes count, too, where there are few footprints
    write_scene_report(result, path, budget=Budget(shapes=10))
    assert "density" in Page(path).blocks


def test_a_level_that_turns_out_too_large_is_left_out(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 255, (3, SIDE, SIDE), dtype=np.uint8)
    profile = {"driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8"}
    path = tmp_path / "noise.tif"
    with rasterio.open(path, "w", transform=PLACE, crs="EPSG:32645", **profile) as out:
        out.write(noise)
    from geoseg.io.sources import open_raster

    source = open_raster(path)
    # noise takes several times the bytes that the choice of the finest level goes by
    budget = int(SIDE**2 * 0.45 * 4 / 3 * 1.01)
    picture = tile_picture(source, shown_bands(source), budget)
    assert (picture.finest, picture.levels) == (1, 3)
    assert sum(map(len, picture.tiles.values())) <= budget
    assert {place for place in picture.tiles if place[0] == 1} == {(1, x, y) for x in (0, 1) for y in (0, 1)}
    assert picture.valid_px == SIDE**2
    assert TILE == 512


def test_without_its_scene_a_report_has_no_picture_and_says_so(
    made: Path, town: Path, tmp_path: Path
) -> None:
    record = json.loads((town / "town.geoseg" / "run.json").read_text())
    record["reference"] = {"path": str(tmp_path / "gone.tif")}
    (town / "town.geoseg" / "run.json").write_text(json.dumps(record))
    summary = write_scene_report(find_result(town))
    assert "the scene is gone" in summary.notes[0]
    page = Page(town / "town.report.html")
    assert not page.page["hasPicture"]
    assert summary.notes[0] in page.text
    assert summary.footprints == 4
    assert len(summary.places) == 1
    found = write_scene_report(find_result(town), scene=made / "town.tif")
    assert found.notes == summary.notes[1:]
    assert Page(town / "town.report.html").page["hasPicture"]
    other = save(tmp_path / "other.tif", [], transform=PLACE @ Affine.translation(500, 0))
    with pytest.raises(InputError, match="scene must be the one of the run"):
        write_scene_report(find_result(town), scene=other)
    # an address is only asked where the user wants it
    record["reference"] = {"path": "https://example.invalid/town.tif"}
    (town / "town.geoseg" / "run.json").write_text(json.dumps(record))
    assert "lies on a server" in write_scene_report(find_result(town)).notes[0]


@pytest.mark.parametrize("kind", ["path", "at", "sheets", "renamed", "item"])
def test_a_list_leads_a_report_into_no_network(
    kind: str, town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any, **named: Any) -> Any:
        raise AssertionError("opened")

    listed = tmp_path / "l.txt"
    listed.write_text("https://example.invalid/a.tif\nhttps://example.invalid/b.tif\n")
    item = tmp_path / "item.json"
    asset = {"href": "https://example.invalid/a.tif", "type": "image/tiff"}
    item.write_text(json.dumps({"stac_version": "1.1.0", "type": "Feature", "assets": {"visual": asset}}))
    references: dict[str, Any] = {
        "path": {"path": str(listed)},
        "at": {"path": f"@{listed}"},
        "sheets": {"kind": "sheets", "name": "town", "paths": [str(listed)]},
        "renamed": {"kind": "renamed", "name": "town", "reference": {"path": str(listed)}},
        "item": {"path": str(item)},
    }
    record = json.loads((town / "town.geoseg" / "run.json").read_text())
    record["reference"] = references[kind]
    (town / "town.geoseg" / "run.json").write_text(json.dumps(record))
    monkeypatch.setattr(results, "open_raster", refused)
    assert "lies on a server" in write_scene_report(find_result(town)).notes[0]
    # A list of what is not there any more is a scene that is gone.
    listed.write_text("# nothing\n")
    item.write_text('{"stac_version"')
    assert "the scene is gone" in write_scene_report(find_result(town)).notes[0]


def test_a_scene_that_was_written_since_is_told(made: Path, tmp_path: Path) -> None:
    scene = save(tmp_path / "town.tif", HOUSES)
    geoseg.run(scene, Network(), out=tmp_path / "out", **OPTIONS)
    save(scene, HOUSES[:1], seed=1)
    assert "written since the run" in write_scene_report(find_result(tmp_path / "out")).notes[0]


def test_without_probabilities_the_confidence_tells_where_to_look(town: Path) -> None:
    shutil.rmtree(town / "town.geoseg" / "prob")
    summary = write_scene_report(find_result(town))
    assert "kept probabilities are gone" in summary.notes[0]
    left, top, right, bottom = summary.places[0].box
    assert left <= 930 < right
    assert top <= 930 < bottom


def test_results_of_no_house_or_without_coordinates_have_reports_too(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 60), 20, np.uint16)).save(tmp_path / "photo.png")
    network = lambda batch: np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)  # noqa: E731
    geoseg.run(tmp_path / "photo.png", network, out=tmp_path / "out", window=32, overlap=8)
    summary = write_scene_report(find_result(tmp_path / "out"))
    assert (summary.footprints, summary.unit, summary.places, summary.drawn) == (0, "px", [], "none")
    page = Page(tmp_path / "out" / "photo.report.html")
    assert "There are none." in page.text
    assert list(page.page["words"])


def test_of_footprints_that_can_not_be_read_again_no_area_is_told(town: Path) -> None:
    (town / "town.geojson").unlink()
    summary = write_scene_report(find_result(town))
    assert summary.footprints > 0
    assert (summary.area, summary.covered) == (None, None)
    assert "<b>unknown</b>of ground under them" in Path(summary.file).read_text(encoding="utf-8")


def test_what_is_no_result_is_refused_in_one_line(made: Path, town: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="result must be there"):
        find_result(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no NAME\.geoseg"):
        find_result(made / "town.tif")
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["report", str(tmp_path / "empty")])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    shutil.copytree(town / "town.geoseg", town / "other.geoseg")
    with pytest.raises(InputError, match=r"Name one of them, as in .*other\.geoseg"):
        find_result(town)
    assert find_result(town / "town.geoseg").record == find_result(made / "out" / "town.geojson").record
    (town / "town.geoseg" / "run.json").unlink()
    with pytest.raises(InputError, match="come to its end"):
        find_result(town / "town.geoseg")


def test_a_report_writes_over_nothing_of_others(made: Path, town: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<p>my notes")
    with pytest.raises(InputError, match="an earlier page of geoseg report"):
        write_scene_report(find_result(made / "out"), tmp_path / "mine.html")
    with pytest.raises(InputError, match="must not be an input"):
        write_scene_report(find_result(town), town / "town.geojson")
    # before the first window, not after the last one
    (tmp_path / "out2").mkdir()
    (tmp_path / "out2" / "town.report.html").write_text("mine")
    with pytest.raises(InputError, match="an earlier page of geoseg report"):
        geoseg.run(made / "town.tif", Network(), out=tmp_path / "out2", report=True, **OPTIONS)
    assert not list((tmp_path / "out2").glob("*.geojson"))


def test_a_record_does_not_lead_out_of_its_folder(town: Path) -> None:
    record = json.loads((town / "town.geoseg" / "run.json").read_text())
    record["files"] = {"geojson": "../town.geojson"}
    (town / "town.geoseg" / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="must lie in its folder"):
        write_scene_report(find_result(town))


def test_the_command_prints_numbers(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    done = CliRunner().invoke(app, ["report", str(made / "out"), "-o", str(target), "--json"])
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)
    assert (numbers["footprints"], numbers["file"]) == (4, str(target))
    assert target.read_bytes().startswith(page_head("geoseg report").encode())
    done = CliRunner().invoke(app, ["report", str(made / "out"), "--each"])
    assert done.exit_code == 2


def test_numbers_of_any_size_are_packed() -> None:
    values = np.array([0, 1, 127, 128, 16_383, 16_384, 2**40, 2**53])
    assert read_varints(_varints(values)) == values.tolist()
    packed = PackedShapes(1.0, 10, 10_000)
    square = shapely.box(0, 0, 4, 4)
    hole = shapely.Polygon(square.exterior.coords, [[(1, 1), (3, 1), (3, 3), (1, 3)]])
    shapes = np.array([hole, shapely.MultiPolygon([square, shapely.box(10, 10, 12, 12)])], object)
    nan = np.full(2, np.nan)
    packed.add(PlacedRows(shapes, np.array([2**40, 7]), ["a", "b"], nan, nan, 2))
    text = packed.text()
    assert text is not None
    numbers = read_varints(zlib.decompress(base64.b64decode(text)))
    count, ids, classes, confidences = numbers[0], numbers[1:3], numbers[3:5], numbers[5:7]
    assert (count, ids, classes, confidences) == (2, [2**41, 2 * (2**40 - 7) - 1], [0, 1], [0, 0])
    assert numbers[9:11] == [1, 2]
    assert numbers[11:14] == [2, 1, 1]
    assert numbers[14:18] == [4, 4, 4, 4]


def test_damaged_parts_leave_the_picture_empty_there(tmp_path: Path) -> None:
    from geoseg.io.sources import open_raster

    path = save(tmp_path / "cut.tif", HOUSES, compress="deflate")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = open_raster(path)
    picture = tile_picture(source, shown_bands(source), 10**7)
    assert picture.unreadable
    assert (0, 0, 0) in picture.tiles


def test_cells_count_whatever_the_chunks() -> None:
    from geoseg.report.pages.certainty import cell_counts

    values = np.random.default_rng(0).random((70, 90)) < 0.5
    whole, parts = np.zeros((5, 6), np.int64), np.zeros((5, 6), np.int64)
    cell_counts(whole, values, 0, 0, 16)
    for top in range(0, 70, 25):
        for left in range(0, 90, 37):
            cell_counts(parts, values[top : top + 25, left : left + 37], top, left, 16)
    assert np.array_equal(whole, parts)
    assert whole[1, 2] == values[16:32, 32:48].sum()


# --- many scenes ---


def batch(out: Path, **changes: Any) -> None:
    out.mkdir(parents=True, exist_ok=True)
    box = [350_000.0, 3_055_000.0, 351_000.0, 3_056_000.0]
    with Manifest.opened(out) as manifest:
        manifest.put_facts({"geoseg": "0.1.0", "model": "Buildings", "options": {"threshold": 0.5}})
        common = {"crs": "EPSG:32645", "bounds": box, "mpx": 1.0}
        manifest.put(
            SceneRecord("north", "done", footprints=3, **common),
            SceneRecord(
                "south", "failed", error="no such band", **(common | {"bounds": [b + 2000 for b in box]})
            ),
            SceneRecord("photo", "done", footprints=1, bounds=[0, 0, 9, 9], mpx=0.5),
            SceneRecord("later", "waiting"),
            SceneRecord("gone", "failed", listed=False),
            *changes.get("records", ()),
        )


def test_many_scenes_are_one_page(tmp_path: Path) -> None:
    batch(tmp_path / "out")
    (tmp_path / "out" / "north").mkdir()
    (tmp_path / "out" / "north" / "north.report.html").write_text("")
    report = write_batch_report(tmp_path / "out")
    assert report.states == {"done": 2, "failed": 1, "waiting": 1}
    assert (report.scenes, report.footprints, report.on_map) == (4, 4, 2)
    assert report.notes == [
        "1 scene has no coordinates, and is not on the map",
        "1 scene of an earlier call is in the folder, too",
    ]
    page = Page(tmp_path / "out" / "report.html")
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links == ["./north/north.report.html"]
    assert "no such band" in page.text
    assert "2 scenes are not complete." in page.text
    boxes = {entry["text"].partition(":")[0]: entry["box"] for entry in page.page["scenes"]}
    # the one that needs somebody comes first; y points down
    assert list(boxes) == ["south", "north"]
    assert boxes["south"][0] > boxes["north"][2]
    assert boxes["south"][3] < boxes["north"][1]
    first = (tmp_path / "out" / "report.html").read_bytes()
    write_batch_report(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_bytes() == first
    assert "One data set of all" not in page.text
    for name in ("merged.parquet", "merged.gpkg"):
        (tmp_path / "out" / name).mkdir() if name.endswith("parquet") else (tmp_path / "out" / name).touch()
    (tmp_path / "passwd").touch()
    files = {"parquet": "merged.parquet", "gpkg": "merged.gpkg", "fgb": "../passwd"}
    with Manifest.opened(tmp_path / "out") as manifest:
        merged = {"files": files, "footprints": 1234, "crs": "EPSG:32645", "scenes": ["north", "photo"]}
        manifest.put_facts({"merged": merged})
    write_batch_report(tmp_path / "out")
    page = Page(tmp_path / "out" / "report.html")
    assert "1,234 footprints of 2 scenes in EPSG:32645" in page.text
    assert "merged.parquet" in page.text
    # A folder is no page; and nothing leads out of the results.
    assert [a["href"] for tag, a in page.tags if tag == "a"] == ["./north/north.report.html", "./merged.gpkg"]


def test_scenes_of_several_systems_lie_on_one_map(tmp_path: Path) -> None:
    other = SceneRecord("utm46", "done", bounds=[200_000, 3_055_000, 201_000, 3_056_000], crs="EPSG:32646")
    batch(tmp_path / "out", records=[other])
    assert write_batch_report(tmp_path / "out").on_map == 3


def test_names_of_scenes_stay_text(tmp_path: Path) -> None:
    evil = SceneRecord("javascript:alert(1)", "failed", error=EVIL, crs="EPSG:32645", bounds=[0, 0, 1, 1])
    batch(tmp_path / "out", records=[evil])
    write_batch_report(tmp_path / "out")
    page = Page(tmp_path / "out" / "report.html")
    assert EVIL in page.text
    assert not [a for tag, a in page.tags if tag == "img"]
    assert sum("type" not in a for tag, a in page.tags if tag == "script") == 1


def test_a_run_of_many_scenes_writes_all_reports(tmp_path: Path) -> None:
    for k, name in enumerate("ab"):
        save(
            tmp_path / "in" / f"{name}.tif",
            [(40, 40, 20, 240)],
            side=100,
            transform=PLACE * Affine.translation(500 * k, 0),
        )
    out = tmp_path / "out"
    geoseg.run_batch(tmp_path / "in", Network(), out=out, report=True, **OPTIONS)
    page = Page(out / "report.html")
    assert [a["href"] for tag, a in page.tags if tag == "a"] == ["./a/a.report.html", "./b/b.report.html"]
    time = (out / "a" / "a.report.html").stat().st_mtime_ns
    (out / "b" / "b.report.html").unlink()
    done = CliRunner().invoke(app, ["report", str(out), "--each", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["scenes"] == 2
    assert (out / "b" / "b.report.html").is_file()
    assert (out / "a" / "a.report.html").stat().st_mtime_ns == time
    # the option changes no result: nothing is done again
    assert geoseg.run_batch(tmp_path / "in", Network(), out=out, **OPTIONS).kept == 2


# --- in a browser ---


def opened(browser: Any, path: Path) -> tuple[Any, list[str], list[str]]:
    context = browser.new_context(viewport={"width": 1000, "height": 900}, offline=True)
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    return page, [url for url in requests if not url.startswith("data:")], complaints


COLORS_SEEN = """(name) => {
  const canvas = document.querySelector(`.${name} canvas`) ?? document.querySelector(`canvas.${name}`);
  const { width, height } = canvas;
  const values = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  const seen = new Set();
  for (let at = 0; at < values.length; at += 4) if (values[at + 3]) seen.add(values.slice(at, at + 3).join());
  return seen.size;
}"""


def test_a_report_opens_from_disk_without_a_network(made: Path, tmp_path: Path, browser: Any) -> None:
    path = tmp_path / "a report.html"
    write_scene_report(find_result(made / "out"), path)
    page, requests, complaints = opened(browser, path)
    assert requests == [path.as_uri()]
    assert page.evaluate(COLORS_SEEN, "layer-picture") > 50
    assert page.evaluate(COLORS_SEEN, "layer-footprints") > 2
    assert page.evaluate(COLORS_SEEN, "layer-gaps") > 0
    # a click on a house says what it is
    page.click(".crop")
    page.evaluate("report.show([880, 880, 980, 980])")
    page.wait_for_timeout(300)
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("!document.getElementById('info').hidden")
    assert "footprint 4: class_1" in page.inner_text("#info")
    page.uncheck('input[data-layer="footprints"]')
    assert not page.evaluate(
        "report.map.getAllLayers().find((one) => one.getClassName() === 'layer-footprints').getVisible()"
    )
    assert complaints == []


def test_text_of_files_runs_in_no_browser(town: Path, tmp_path: Path, browser: Any) -> None:
    test_text_of_files_stays_text(town, tmp_path)
    page, requests, complaints = opened(browser, tmp_path / "evil.html")
    page.on("dialog", lambda dialog: complaints.append("a dialog"))
    page.evaluate("report.map.getView().fit([500, -440, 540, -400])")
    page.wait_for_timeout(300)
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("!document.getElementById('info').hidden")
    assert EVIL in page.inner_text("#info")
    assert (len(requests), complaints) == (1, [])


def test_the_page_of_many_scenes_opens_and_leads_on(tmp_path: Path, browser: Any) -> None:
    batch(tmp_path / "out")
    (tmp_path / "out" / "north").mkdir()
    (tmp_path / "out" / "north" / "north.report.html").write_text("<p>north")
    write_batch_report(tmp_path / "out")
    page, requests, complaints = opened(browser, tmp_path / "out" / "report.html")
    assert (len(requests), complaints) == (1, [])
    assert page.evaluate(COLORS_SEEN, "layer-scenes") > 1
    page.evaluate(
        "(box) => report.show(box)", Page(tmp_path / "out" / "report.html").page["scenes"][1]["box"]
    )
    page.wait_for_timeout(300)
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.click("#info a")
    page.wait_for_url("**/north.report.html")


def test_density_is_drawn_in_a_browser(made: Path, tmp_path: Path, browser: Any) -> None:
    path = tmp_path / "r.html"
    write_scene_report(find_result(made / "out"), path, budget=Budget(footprints=1))
    page, _, complaints = opened(browser, path)
    assert page.evaluate(COLORS_SEEN, "layer-density") > 0
    assert complaints == []


def test_frame_is_that_of_the_picture_where_the_run_read_another_resolution(tmp_path: Path) -> None:
    scene = save(tmp_path / "town.tif", HOUSES)
    geoseg.run(scene, Network(), out=tmp_path / "out", resolution=1.0, **OPTIONS)
    result = find_result(tmp_path / "out")
    assert result.record.geobox.shape == (550, 550)
    assert isinstance(result.record.geobox, GeoBox)
    summary = write_scene_report(result)
    assert Page(tmp_path / "out" / "town.report.html").page["width"] == SIDE
    left, top, right, bottom = summary.places[0].box
    assert (left <= 930 < right, top <= 930 < bottom, right - left) == (True, True, 512)
    assert summary.no_data == pytest.approx(1 / 16, abs=2e-3)
