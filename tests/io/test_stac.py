"""STAC metadata and tile indexes on disk: which scenes they stand for, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from rasters import NORTH_UP, noise, save

import geoseg
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, MissingFileError, SceneError
from geoseg.geo.windows import Window
from geoseg.io.mosaic import Sheets
from geoseg.io.scene_lists import is_scene_list, list_scenes
from geoseg.io.sources import open_raster
from geoseg.io.stac import SceneQuery, StacScene, choose_assets, read_stac
from geoseg.pipeline.batch import plan_batch

ALL = Window(row_off=0, col_off=0, height=20, width=20)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "cache"))


def picture(path: Path, seed: int = 0, col: int = 0, count: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, noise(count, 20, 20, seed=seed), transform=NORTH_UP * Affine.translation(col, 0))


def item(name: str, assets: dict[str, Any], **properties: Any) -> dict[str, Any]:
    properties.setdefault("datetime", "2024-05-06T10:20:30Z")
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None,
        "properties": properties, "assets": assets, "links": [],
    }  # fmt: skip


def asset(href: str, *roles: str, media: str = "image/tiff; application=geotiff") -> dict[str, Any]:
    return {"href": href, "roles": list(roles), "type": media}


def write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A catalog of a collection of three items, with their pictures beside them."""
    folder = tmp_path / "catalog"
    for k, (name, cover, day) in enumerate((("a", 5, "01"), ("b", 60, "02"), ("c", None, "03"))):
        picture(folder / "items" / name / f"{name}_rgb.tif", k, 100 * k)
        facts = {} if cover is None else {"eo:cloud_cover": cover}
        assets = {
            "visual": asset(f"./{name}_rgb.tif", "data"),
            "thumbnail": asset("./small.png", "thumbnail", media="image/png"),
        }
        write(
            folder / "items" / name / f"{name}.json",
            item(name, assets, **facts, datetime=f"2024-06-{day}T00:00:00Z"),
        )
    links = [{"rel": "item", "href": f"./{name}/{name}.json"} for name in "abc"]
    links += [{"rel": "parent", "href": "../catalog.json"}, {"rel": "root", "href": "../catalog.json"}]
    write(
        folder / "items" / "collection.json",
        {"type": "Collection", "stac_version": "1.0.0", "id": "items", "links": links},
    )
    links = [{"rel": "child", "href": "./items/collection.json"}]
    return write(
        folder / "catalog.json", {"type": "Catalog", "stac_version": "1.0.0", "id": "all", "links": links}
    )


class TestItems:
    @pytest.mark.parametrize(
        ("query", "expected", "left_out"),
        [
            (SceneQuery(), "abc", {}),
            (SceneQuery(max_cloud=20), "a", {"too cloudy": 1, "without a cloud cover": 1}),
            (SceneQuery(first="2024-06-02", last="2024-06-02"), "b", {"of other dates": 2}),
            (SceneQuery(first="2024-06-02"), "bc", {"of other dates": 1}),
            (SceneQuery(last="2024-05"), "", {"of other dates": 3}),
        ],
    )
    def test_which_are_taken(
        self, catalog: Path, query: SceneQuery, expected: str, left_out: dict[str, int]
    ) -> None:
        scenes, others = read_stac(catalog, query)
        assert ("".join(scene.name for scene in scenes), others) == (expected, left_out)

    def test_a_catalog_is_run(self, catalog: Path, tmp_path: Path) -> None:
        def network(batch: np.ndarray) -> np.ndarray:
            return (batch[:, :1] > 100).astype(np.float32)

        done = geoseg.run_batch(catalog, network, out=tmp_path / "out", window=16, overlap=4, max_cloud=20)
        assert done.states == {"done": 1}
        (record,) = done.scenes
        assert (record.name, record.acquired) == ("a", "2024-06-01")
        assert Path(record.paths[0]).name == "a_rgb.tif"
        frame = gpd.read_file(tmp_path / "out" / "a" / "a.geojson")
        assert set(frame.scene) == {"a"}
        assert set(frame.acquired.astype(str).str[:10]) == {"2024-06-01"}
        assert any("1 of its items, too cloudy" in note for note in done.notes)

    def test_an_item_opens_wherever_a_raster_does(self, catalog: Path) -> None:
        source = open_raster(catalog.parent / "items" / "b" / "b.json")
        assert (source.name, source.acquired) == ("b", "2024-06-02")
        np.testing.assert_array_equal(source.read(ALL), noise(3, 20, 20, seed=1))

    def test_items_that_are_sheets_of_one_picture(self, tmp_path: Path) -> None:
        features = []
        for k, day in enumerate(("2024-01-02", "2024-01-01")):
            picture(tmp_path / "sheets" / f"{k}.tif", k, 18 * k)
            features.append(item(f"s{k}", {"image": asset(f"sheets/{k}.tif")}, datetime=f"{day}T00:00:00Z"))
        path = write(tmp_path / "ortho.json", {"type": "FeatureCollection", "features": features})
        plan = plan_batch([path], RunSettings(on_top="newest"))
        (scene,) = plan.scenes
        assert isinstance(scene.reference, Sheets)
        assert scene.name == "ortho"
        mosaic = scene.reference.open()
        assert mosaic.geobox.shape == (20, 38)
        np.testing.assert_array_equal(mosaic.read(ALL), noise(3, 20, 20, seed=0))  # of the newest date
        assert open_raster(path).geobox == mosaic.geobox

    def test_bands_in_several_files(self, tmp_path: Path) -> None:
        for k, name in enumerate(("red", "green", "nir")):
            picture(tmp_path / f"{name}.tif", k, count=1)
        bands = {name: asset(f"{name}.tif", "data") for name in ("green", "nir", "red")}
        path = write(tmp_path / "scene.json", item("scene", bands))
        with pytest.raises(SceneError, match=r"several rasters among green, nir, red\. --asset names"):
            open_raster(path)
        (scene,) = read_stac(path, SceneQuery(("red", "green", "nir")))[0]
        source = scene.open()
        assert source.count == 3
        expected = np.concatenate([noise(1, 20, 20, seed=k) for k in range(3)])
        np.testing.assert_array_equal(source.read(ALL), expected)
        np.testing.assert_array_equal(scene.open(bands=[3, 1]).read_with_valid(ALL)[0], expected[[2, 0]])
        stored = source.facts()["stored_bands"]
        assert [band["description"] for band in stored] == ["red", "green", "nir"]
        assert source.fingerprint() != scene.open(bands=[3, 1]).fingerprint()
        save(tmp_path / "nir.tif", noise(1, 10, 10), transform=NORTH_UP * Affine.scale(2))
        with pytest.raises(SceneError, match="must have the same pixels, got nir with 10 x 10 and red with"):
            scene.open()

    @pytest.mark.parametrize(
        ("assets", "wanted", "expected"),
        [
            ({"a": asset("a.tif", "data"), "b": asset("b.tif", "overview")}, (), ["a"]),
            ({"a": asset("a.tif"), "b": asset("b.xml", media="application/xml")}, (), ["a"]),
            ({"visual": asset("v.tif", "data"), "red": asset("r.tif", "data")}, (), ["visual"]),
            ({"a": {"href": "a.tif"}}, (), ["a"]),
            ({"a": asset("a.tif", "data"), "b": asset("b.tif", "mask")}, ("mask", "a"), ["b", "a"]),
        ],
    )
    def test_which_asset(self, assets: dict[str, Any], wanted: tuple[str, ...], expected: list[str]) -> None:
        assert choose_assets(assets, wanted) == expected

    @pytest.mark.parametrize(
        ("assets", "wanted", "message"),
        [
            ({}, (), "got no raster among no asset"),
            ({"a": asset("a.tif")}, ("b",), "asset must be one of a, got b, which it has not"),
            (
                {"a": asset("a.tif", "data"), "b": asset("b.tif", "data")},
                ("data",),
                "got data, which 2 of them have as a role",
            ),
        ],
    )
    def test_no_asset(self, assets: dict[str, Any], wanted: tuple[str, ...], message: str) -> None:
        with pytest.raises(SceneError, match=message):
            choose_assets(assets, wanted)


class TestBadInput:
    def test_an_item_without_the_asset_fails_alone(self, catalog: Path) -> None:
        path = catalog.parent / "items" / "b" / "b.json"
        content = json.loads(path.read_text())
        del content["assets"]["visual"]
        write(path, content)
        plan = plan_batch([catalog], RunSettings(asset="visual"))
        assert [scene.name for scene in plan.scenes] == ["a", "b", "c"]
        reference = plan.scenes[1].reference
        assert isinstance(reference, StacScene)
        with pytest.raises(SceneError, match="b: asset must be one of thumbnail, got visual, which"):
            reference.open()

    def test_a_catalog_with_a_cycle(self, catalog: Path) -> None:
        path = catalog.parent / "items" / "collection.json"
        content = json.loads(path.read_text())
        content["links"].append({"rel": "child", "href": "../catalog.json"})
        write(path, content)
        with pytest.raises(SceneError, match="must not lead back to itself"):
            list_scenes(catalog)

    def test_an_item_by_two_ways_is_one(self, catalog: Path) -> None:
        content = json.loads(catalog.read_text())
        content["links"].append({"rel": "item", "href": "./items/a/a.json"})
        write(catalog, content)
        assert len(read_stac(catalog)[0]) == 3

    @pytest.mark.parametrize(
        ("href", "message"),
        [
            ("https://example.org/a.tif", "--remote reads it from there"),
            ("/vsicurl/https://example.org/a.tif", "--remote reads it from there"),
            ("ftp://example.org/a.tif", "--remote reads it from there"),
            ("/vsisparse/a.xml", "must be a file or an address"),
            ("file:///vsi%63url/https://example.com/a.tif", "--remote reads it from there"),
            ("file:service:tiles.xml", "--remote reads it from there"),
            ("https://[", "must be a file or an address"),
        ],
    )
    def test_hosts_are_asked_only_where_the_user_says_so(
        self, tmp_path: Path, href: str, message: str
    ) -> None:
        path = write(tmp_path / "a.json", item("a", {"image": asset(href)}))
        with pytest.raises(SceneError, match=message):
            open_raster(path)
        if "example.org" in href:
            assert read_stac(path, SceneQuery(remote=True))[0][0].hrefs == (href,)

    def test_links_to_hosts_are_not_followed(self, catalog: Path) -> None:
        content = json.loads(catalog.read_text())
        content["links"].append({"rel": "child", "href": "https://example.org/catalog.json"})
        write(catalog, content)
        found = list_scenes(catalog)
        assert len(found.scenes) == 3
        assert "1 of its items, on other hosts" in found.notes[0]

    @pytest.mark.parametrize("text", ['{"stac_version": 1, "type": "Map"}', '{"stac_version": "1.0.0", '])
    def test_no_stac(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(SceneError, match="STAC metadata must be"):
            list_scenes(tmp_path / "a.json")

    @pytest.mark.parametrize(
        "changes",
        [
            {"assets": [1], "properties": "none"},
            {"assets": {"a": "a.tif"}},
            {"assets": {"a": {"href": "a.tif", "roles": [{}]}}},
            {"assets": {"a": {"href": ["a"], "type": 5, "roles": 5}}},
            {"type": "FeatureCollection", "features": 5},
            {"type": "Catalog", "links": 5},
            {"type": "Catalog", "links": [{"rel": "item", "href": "a\0.json"}]},
        ],
    )
    def test_metadata_of_another_form(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        path = write(tmp_path / "a.json", item("a", {}) | changes)
        with pytest.raises((SceneError, MissingFileError)):
            open_raster(path)

    def test_a_version_behind_many_assets(self, tmp_path: Path) -> None:
        content = item("a", {f"a{k}": asset("./a.tif") for k in range(100)})
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content, sort_keys=True))
        assert is_scene_list(path)

    def test_other_json_is_no_stac(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('{"type": "FeatureCollection", "features": []}')
        assert not is_scene_list(tmp_path / "a.json")

    def test_nothing_that_fits(self, catalog: Path) -> None:
        with pytest.raises(SceneError, match=r"an item that fits, got .* without any \(left out of"):
            plan_batch([catalog], RunSettings(dates="2020"))

    @pytest.mark.parametrize("dates", ["yesterday", "2024-5", "2024-05-01/then"])
    def test_dates_that_are_none(self, catalog: Path, dates: str) -> None:
        with pytest.raises(InputError, match="dates must be a date or two"):
            plan_batch([catalog], RunSettings(dates=dates))


class TestTileIndex:
    @pytest.fixture
    def index(self, tmp_path: Path) -> Path:
        rows = []
        for k in range(3):
            picture(tmp_path / "d" / "sheets" / f"{k}.tif", k, 20 * k)
            box = shapely.box(340_000 + 10 * k, 3_059_990, 340_010 + 10 * k, 3_060_000)
            rows.append({"location": f"sheets/{k}.tif", "datetime": f"2024-01-0{k + 1}", "geometry": box})
        frame = gpd.GeoDataFrame(rows, crs=32645)
        frame.to_file(tmp_path / "d" / "city.gti.gpkg")
        frame.rename(columns={"location": "place"}).to_file(tmp_path / "d" / "other.fgb")
        return tmp_path / "d" / "city.gti.gpkg"

    def test_it_is_a_mosaic(self, index: Path) -> None:
        plan = plan_batch([index], RunSettings())
        (scene,) = plan.scenes
        assert scene.name == "city"
        for word in (str(index), f"GTI:{index}"):
            mosaic = open_raster(word)
            assert (mosaic.name, mosaic.geobox.shape) == ("city", (20, 60))
            np.testing.assert_array_equal(mosaic.read(ALL), noise(3, 20, 20))

    def test_the_file_that_describes_one(self, index: Path) -> None:
        path = index.with_name("town.gti")
        path.write_text(
            "<GDALTileIndexDataset><IndexDataset>other.fgb</IndexDataset>"
            "<LocationField>place</LocationField></GDALTileIndexDataset>"
        )
        assert open_raster(path).geobox.shape == (20, 60)
        path.write_text(
            "<GDALTileIndexDataset><IndexDataset>http://h/a</IndexDataset></GDALTileIndexDataset>"
        )
        with pytest.raises(SceneError, match="must name a local IndexDataset"):
            open_raster(path)

    def test_a_file_that_is_missing_is_told(self, index: Path) -> None:
        (index.parent / "sheets" / "0.tif").unlink()
        with pytest.raises(SceneError, match=r"got .*0\.tif: .* --on-error skip goes on without"):
            plan_batch([index], RunSettings())
        plan = plan_batch([index], RunSettings(on_error="skip"))
        assert [scene.name for scene in plan.scenes] == ["0", "city"]

    def test_another_vector_file_is_refused(self, index: Path) -> None:
        with pytest.raises(SceneError, match=r"a column location, got .*other\.fgb with place, datetime"):
            open_raster(f"GTI:{index.with_name('other.fgb')}")

    def test_hosts_are_asked_only_where_the_user_says_so(self, tmp_path: Path) -> None:
        frame = gpd.GeoDataFrame(
            {"location": ["https://example.org/a.tif"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326
        )
        frame.to_file(tmp_path / "far.gti.fgb")
        with pytest.raises(SceneError, match="--remote reads it there"):
            open_raster(tmp_path / "far.gti.fgb")
        found = list_scenes(tmp_path / "far.gti.fgb", query=SceneQuery(remote=True))
        assert found.scenes == ("https://example.org/a.tif",)
