"""STAC metadata of results: valid by the specification's own schemas, relative, the same for the same run."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.io.sources import open_raster
from geoseg.io.stac import read_stac
from geoseg.io.stac_out import COLLECTION, stac_item
from geoseg.models import open_bundle, shipped_model
from geoseg.models.predictor import CallablePredictor
from geoseg.pipeline.batch import run_batch
from geoseg.pipeline.ground import read_ground
from geoseg.pipeline.run import run_scene

ORIGIN = {"geoseg": "0.1.0", "model": {"fingerprint": "ab" * 32}, "options": {}}


def options(**given: Any) -> RunSettings:
    return RunSettings(**{"window": (48, 48), "overlap": (16, 16), "chunk": 64, "stac": True, **given})


def network(batch: np.ndarray) -> np.ndarray:
    return (batch[:, :1] > 100).astype(np.float32)


def save(path: Path, left: float = 350_000, date: str | None = "2024:05:06 10:20:30", **more: Any) -> Path:
    pixels = np.zeros((3, 60, 80), np.uint8)
    pixels[:, 10:30, 10:30] = 200
    path.parent.mkdir(exist_ok=True, parents=True)
    profile = {"driver": "GTiff", "count": 3, "height": 60, "width": 80, "dtype": "uint8", **more}
    with rasterio.open(
        path, "w", crs="EPSG:32645", transform=Affine(0.5, 0, left, 0, -0.5, 3_056_000), **profile
    ) as out:
        out.write(pixels)
        if date is not None:
            out.update_tags(TIFFTAG_DATETIME=date)
    return path


def check(path: Path) -> dict[str, Any]:
    """Valid by the schemas that come with pystac (without extensions); every link and file is there."""
    document = dict(json.loads(path.read_text(encoding="utf-8")))
    pystac.validation.validate_dict({**document, "stac_extensions": []})
    pystac.read_dict(document)
    hrefs = [link["href"] for link in document["links"]]
    for href in [*hrefs, *(asset["href"] for asset in document.get("assets", {}).values())]:
        assert href.startswith(("./", "../")), href
        assert (path.parent / href).exists(), href
    return document


def test_an_item_of_a_scene(tmp_path: Path) -> None:
    scene = save(tmp_path / "north.tif")
    chosen = options(formats=("gpkg", "shp", "pmtiles"), save_prob=True, save_mask=True)
    summary = run_scene(scene, network, tmp_path / "out", chosen)
    path = Path(summary.extras["stac"])
    assert path.name == "north.stac.json"
    item = check(path)
    assert item["id"] == "north"
    properties = item["properties"]
    assert properties["datetime"] == "2024-05-06T00:00:00Z"
    assert properties["proj:code"] == "EPSG:32645"
    assert properties["proj:shape"] == [60, 80]
    assert properties["geoseg:footprints"] == summary.footprints == 1
    assert properties["geoseg:provenance"] == json.loads(json.dumps(summary.provenance))
    assert properties["processing:software"] == {"geoseg": summary.provenance["geoseg"]}
    names = {"gpkg", "shp", "shp_shx", "shp_dbf", "shp_prj", "shp_cpg", "pmtiles", "prob", "mask"}
    assert set(item["assets"]) == names
    for asset in item["assets"].values():
        content = (path.parent / asset["href"]).read_bytes()
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    classes = item["assets"]["mask"]["classification:classes"]
    assert [entry["name"] for entry in classes] == ["background", "class_1"]
    prefixes = {url.split("/")[3] for url in item["stac_extensions"]}
    assert prefixes == {"processing", "projection", "file", "classification", "raster"}
    # The outline holds the footprints, and the scene's own corners.
    outline = shapely.geometry.shape(item["geometry"])
    assert outline.exterior.is_ccw
    assert tuple(item["bbox"]) == pytest.approx(outline.bounds)
    center = open_raster(scene).geobox.center_lonlat()
    assert center is not None
    assert outline.contains(shapely.Point(center))
    before = path.read_bytes()
    run_scene(scene, network, tmp_path / "out", chosen)
    assert path.read_bytes() == before
    # With what became of known footprints: files of new, changed and gone ones are results like the others.
    known = shutil.copy(summary.files["gpkg"], tmp_path / "known.gpkg")
    compared = options(formats=("gpkg", "shp"), update=known)
    item = check(Path(run_scene(scene, network, tmp_path / "out2", compared).extras["stac"]))
    assert {"new_gpkg", "gone_shp", "changed_shp_dbf"} <= set(item["assets"])
    assert item["assets"]["gone_gpkg"]["type"] == "application/geopackage+sqlite3"
    assert item["assets"]["gone_shp_dbf"]["type"] == "application/octet-stream"
    plain = run_scene(
        scene, network, tmp_path / "out2", options(formats=("gpkg",), stac=False, threshold=0.6)
    )
    (note,) = [note for note in plain.notes if "of an earlier call" in note]
    named = set(note.split(" tell ")[0].split(", "))
    assert {"north.stac.json", "north.gone.gpkg", "north.new.shp"} <= named
    # What somebody else put there, and results of a scene of that very name, are not named.
    (tmp_path / "out2" / "north.stac.json").write_text("{}")
    (tmp_path / "out2" / "north.gone.geoseg").mkdir()
    other = run_scene(scene, network, tmp_path / "out2", options(formats=("gpkg",), stac=False))
    (note,) = [note for note in other.notes if "of an earlier call" in note]
    assert "stac" not in note
    assert "gone" not in note
    assert "north.new.gpkg" in note
    (tmp_path / "out2" / "north.stac.json").unlink()
    again = run_scene(scene, network, tmp_path / "out2", compared)
    assert not [note for note in again.notes if "of an earlier call" in note]


def test_a_collection_of_many_scenes(tmp_path: Path) -> None:
    for name, left, date in (("a", 350_000, "2024:05:06 00:00:00"), ("b", 360_000, "2023:01:02 00:00:00")):
        save(tmp_path / "in" / f"{name}.tif", left, date)
    out = tmp_path / "many"
    run_batch([str(tmp_path / "in")], network, out, options(mosaic="off"))
    collection = check(out / COLLECTION)
    items = [check(out / name / f"{name}.stac.json") for name in "ab"]
    assert collection["id"] == "many"
    assert [item["collection"] for item in items] == ["many", "many"]
    hrefs = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert hrefs == ["./a/a.stac.json", "./b/b.stac.json"]
    (interval,) = collection["extent"]["temporal"]["interval"]
    assert interval == ["2023-01-02T00:00:00Z", "2024-05-06T00:00:00Z"]
    (west, south, east, north), (a, b) = collection["extent"]["spatial"]["bbox"][0], items
    assert (west, east) == (a["bbox"][0], b["bbox"][2])
    assert (south, north) == (min(a["bbox"][1], b["bbox"][1]), max(a["bbox"][3], b["bbox"][3]))
    # Moved as a whole, other programs find their way from the collection to the files and back.
    moved = out.rename(tmp_path / "elsewhere")
    read = pystac.Collection.from_file(str(moved / COLLECTION))
    files = [item.assets["geojson"].get_absolute_href() for item in read.get_items()]
    assert files == [str(moved / name / f"{name}.geojson") for name in "ab"]
    before = {path: path.read_bytes() for path in moved.rglob("*.json")}
    moved.rename(out)
    run_batch([str(tmp_path / "in")], network, out, options(mosaic="off"))
    assert {moved / path.relative_to(out): path.read_bytes() for path in out.rglob("*.json")} == before


def test_an_item_covers_ground_with_data_and_names_its_model(tmp_path: Path) -> None:
    # Nodata is 0: of the scene the house alone is there.
    scene = save(tmp_path / "north.tif", nodata=0)
    model = CallablePredictor(network, classes=("building",))
    model.card = open_bundle(shipped_model()).card
    out = tmp_path / "out"
    chosen = options(resolution="native", save_valid=True)
    summary = run_scene(scene, model, out, chosen)
    path = Path(summary.extras["stac"])
    item = check(path)
    seen = read_ground(Path(summary.files["valid"]))
    outline = shapely.geometry.shape(item["geometry"])
    whole = shapely.geometry.shape(stac_item(out, "x", seen.geobox, None, ORIGIN, [])["geometry"])
    # Three cells of 8 pixels a side hold the house from 10 to 30, of 60 x 80 pixels; cells cover 64 x 80.
    assert outline.area / whole.area == pytest.approx(9 / 80, rel=1e-3)
    assert tuple(item["bbox"]) == pytest.approx(outline.bounds)

    kept = check_link(path, item, "Buildings 30 cm")
    assert kept.name == "north.model.json" == Path(summary.extras["model"]).name
    document = json.loads(kept.read_text())
    own = json.loads((shipped_model() / "model.json").read_text())
    (asset,) = document["assets"].values()
    fingerprint = item["properties"]["geoseg:provenance"]["model"]["fingerprint"]
    assert asset == {**own["assets"]["model"], "href": f"urn:geoseg:model:{fingerprint}"}
    assert {**document, "assets": None} == {**own, "assets": None}
    before = {file: file.read_bytes() for file in (path, kept)}
    run_scene(scene, model, out, chosen)
    assert {file: file.read_bytes() for file in before} == before
    # A model's own card is not ours, whatever its name; ours is told where it is of an earlier call.
    (note,) = [n for n in run_scene(scene, model, out, chosen.model_copy(update={"stac": False})).notes
               if "of an earlier call" in n]  # fmt: skip
    assert note.startswith("north.stac.json, north.model.json tell")
    kept.write_text(json.dumps(own))
    with pytest.raises(InputError, match=r"output must be new or written by geoseg before, .*model\.json"):
        run_scene(scene, model, out, chosen)
    run_scene(scene, model, out, chosen.model_copy(update={"overwrite": True}))
    assert kept.read_bytes() == before[kept]


def check_link(path: Path, item: dict[str, Any], name: str) -> Path:
    """The card of the model that an item names, as the MLM extension has it; the item is no model itself."""
    (link,) = [link for link in item["links"] if "mlm:name" in link]
    assert (link["rel"], link["mlm:name"]) == ("derived_from", name)
    properties = item["properties"]
    assert properties["processing:expression"] == {"format": "stac-mlm", "expression": link["href"]}
    assert properties["processing:level"] == "L4"
    assert item["assets"]["model"]["roles"] == ["metadata"]
    assert item["assets"]["model"]["href"] == link["href"]
    assert not any("/mlm/" in url for url in item["stac_extensions"])
    kept = path.parent / link["href"]
    pystac.validation.validate_dict({**json.loads(kept.read_text()), "stac_extensions": []})
    return kept


def test_a_collection_lists_the_merged_data_set(tmp_path: Path) -> None:
    for k, name in enumerate("ab"):
        save(tmp_path / "in" / f"{name}.tif", 350_000 + 10_000 * k)
    out = tmp_path / "many"

    def again(**given: Any) -> dict[str, Any]:
        run_batch([str(tmp_path / "in")], network, out, options(mosaic="off", **given))
        collection = check(out / COLLECTION)
        pystac.Collection.from_file(str(out / COLLECTION))
        return dict(collection["assets"])

    assert list(again()) == ["manifest"]
    assets = again(merge=("parquet", "shp"))
    sides = ["merged_shp_shx", "merged_shp_dbf", "merged_shp_prj", "merged_shp_cpg"]
    assert list(assets) == ["merged_parquet", "merged_shp", *sides, "manifest"]
    folder = assets["merged_parquet"]
    assert folder["href"] == "./merged.parquet"
    assert folder["title"] == "Footprints (merged) (parquet): a folder of 1 file"
    assert folder["file:size"] == (out / "merged.parquet" / "part-00000.parquet").stat().st_size
    assert assets["manifest"]["roles"] == ["metadata"]
    before = (out / COLLECTION).read_bytes()
    assert again(merge=("parquet", "shp")) == assets
    assert (out / COLLECTION).read_bytes() == before
    known = shutil.copy(out / "a" / "a.geojson", tmp_path / "known.geojson")
    assert "merged_gone_fgb" in again(merge=("fgb",), update=known)


def test_a_collection_leaves_out_failed_scenes_and_what_is_no_item(tmp_path: Path) -> None:
    for k, name in enumerate("abc"):
        save(tmp_path / "in" / f"{name}.tif", 350_000 + 10_000 * k)
    out = tmp_path / "many"

    def again(**given: Any) -> tuple[list[str], list[str]]:
        done = run_batch([str(tmp_path / "in")], network, out, options(mosaic="off", **given))
        links = json.loads((out / COLLECTION).read_text())["links"]
        return [link["href"] for link in links if link["rel"] == "item"], done.notes

    items = [f"./{name}/{name}.stac.json" for name in "abc"]
    assert again() == (items, [])
    for content in ("{}", "no JSON", "[1]", '{"properties": {"datetime": null}, "links": ["x"]}'):
        (out / "a" / "a.stac.json").write_text(content)
        listed, notes = again()
        assert listed == items[1:]
        assert notes == [
            f"left out of {COLLECTION}: {out / 'a' / 'a.stac.json'}, which is no STAC item; "
            "remove it and give --restart"
        ]
    (out / "a" / "a.stac.json").unlink()
    assert again(restart=True) == (items, [])
    (tmp_path / "in" / "b.tif").write_bytes(b"II*\0")
    assert again()[0] == [items[0], items[2]]
    assert (out / "b" / "b.stac.json").is_file()


def test_a_scene_of_a_stac_item_is_what_it_is_derived_from(tmp_path: Path) -> None:
    first = run_scene(save(tmp_path / "a.tif"), network, tmp_path / "one", options(save_mask=True))
    # Our own item is one that we read as well: here its mask is the scene.
    (scene,), _ = read_stac(first.extras["stac"])
    other = run_scene(scene, lambda batch: (batch[:, :1] == 1) * 1.0, tmp_path / "two", options(bands=(1,)))
    item = check(Path(other.extras["stac"]))
    assert [(link["rel"], link["href"]) for link in item["links"]] == [("derived_from", "../one/a.stac.json")]
    assert item["properties"]["datetime"] == "2024-05-06T00:00:00Z"


def test_a_scene_without_date_or_place(tmp_path: Path) -> None:
    item = stac_item(tmp_path, "plain", GeoBox(Affine.identity(), None, 20, 30), None, ORIGIN, [])
    pystac.validation.validate_dict({**item, "stac_extensions": []})
    assert item["geometry"] is None
    assert "bbox" not in item
    assert item["properties"]["datetime"] is None
    assert item["properties"]["start_datetime"] < item["properties"]["end_datetime"]
    moon = CRS.from_user_input("+proj=longlat +a=1737400 +b=1737400 +no_defs")
    item = stac_item(tmp_path, "moon", GeoBox(Affine(1, 0, 0, 0, -1, 0), moon, 20, 30), None, ORIGIN, [])
    pystac.validation.validate_dict({**item, "stac_extensions": []})
    assert item["geometry"] is None
    assert item["properties"]["proj:code"] is None
    assert item["properties"]["proj:wkt2"].startswith("GEOG")


def test_a_scene_across_the_antimeridian(tmp_path: Path) -> None:
    box = GeoBox(Affine(10, 0, 1_080_000, 0, -10, 8_000_000), CRS.from_epsg(32660), 500, 9000)
    item = stac_item(tmp_path, "fiji", box, "2024-01-01", ORIGIN, [])
    pystac.validation.validate_dict({**item, "stac_extensions": []})
    box = GeoBox(Affine(0.1, 0, 179, 0, -0.1, -16), CRS.from_epsg(4326), 20, 20)
    item = stac_item(tmp_path, "fiji", box, "2024-01-01", ORIGIN, [])
    assert item["geometry"]["type"] == "MultiPolygon"
    assert item["bbox"] == [179, -18, -179, -16]


@pytest.mark.parametrize("content", ['{"type": "Feature", "properties": {}}', "no json", "[]"])
def test_metadata_of_others_are_not_written_over(content: str, tmp_path: Path) -> None:
    scene, out = save(tmp_path / "in" / "a.tif"), tmp_path / "out"
    out.mkdir()
    for name in ("a.stac.json", COLLECTION):
        (out / name).write_text(content)
    for call in (
        lambda **more: run_scene(scene, network, out, options(**more)),
        lambda **more: run_batch([str(scene.parent)], network, out, options(**more)),
    ):
        with pytest.raises(
            InputError, match=r"output must be new or written by geoseg before, .*--overwrite"
        ):
            call()
        call(overwrite=True)
    assert check(out / COLLECTION)["type"] == "Collection"
