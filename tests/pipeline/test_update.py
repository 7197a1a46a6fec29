"""Footprints compared with those of yesterday: by the ground, exactly, in bounded pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from batch_scenes import OPTIONS, PLACE, Network, run, save
from pyproj import CRS
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import iter_chunks
from geoseg.io.vectors import open_vector
from geoseg.io.writers import FORMATS
from geoseg.io.writers.pmtiles import read_header
from geoseg.pipeline import update
from geoseg.pipeline.batch import dry_run
from geoseg.pipeline.batch import run_batch as run_words
from geoseg.pipeline.ground import ALL, NONE, SOME, count_valid, read_ground, save_ground
from geoseg.pipeline.update import Known, find_changes, known_footprints

#: Kept, of another extent, gone, without data there, over the edge of the scene, far away.
KNOWN = (
    (4, 8, 16, 21),
    (24, 8, 28, 20),
    (24, 32, 36, 44),
    (52, 8, 60, 20),
    (30, -5, 38, 4),
    (900, 900, 910, 910),
)
FOUND = {"new": 1, "kept": 1, "changed": 1, "gone": 1, "unseen": 2}


pytestmark = pytest.mark.usefixtures("cache")


def boxes(*places: tuple[float, float, float, float]) -> np.ndarray:
    """Rectangles by columns and rows of the scene's pixels."""
    a, b, c, d, e, f = PLACE[:6]
    drawn = [shapely.box(*place) for place in places]
    moved = shapely.transform(drawn, lambda x, y: (a * x + b * y + c, d * x + e * y + f), interleaved=False)
    return np.array(moved)


def yesterday(path: Path, geometry: Any, crs: Any = 32645, **columns: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    table = {"name": [f"n{k}" for k in range(len(geometry))], **columns}
    gpd.GeoDataFrame(table, geometry=list(geometry), crs=crs).to_file(path)
    return path


def draw(path: Path) -> None:
    """Houses at columns 4 and 24, without data from column 48 on."""
    image = np.full((3, 64, 64), 10, np.uint8)
    image[:, 8:20, 4:16] = image[:, 8:20, 24:36] = image[:, 32:44, 4:16] = 200
    image[:, :, 48:] = 0
    with rasterio.open(path, "r+") as file:
        file.write(image)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = save(tmp_path / "in" / "a.tif", nodata=0)
    draw(path)
    return path


class TestScene:
    def test_column_and_files(self, scene: Path, tmp_path: Path) -> None:
        known = yesterday(tmp_path / "known.gpkg", boxes(*KNOWN), id=np.arange(6) + 50)
        out = tmp_path / "out"
        done = geoseg.run(scene, Network(), out=out, update=known, formats=("gpkg", "parquet"), **OPTIONS)
        assert done.changes == FOUND
        table = gpd.read_file(out / "a.gpkg")
        assert sorted(table.change) == ["changed", "kept", "new"]
        plain = geoseg.run(scene, Network(), out=tmp_path / "plain", formats="gpkg", **OPTIONS)
        assert table.drop(columns="change").equals(gpd.read_file(plain.files["gpkg"]))
        for kind in ("new", "changed"):
            part = gpd.read_file(out / f"a.{kind}.gpkg")
            assert part.equals(table[table.change == kind].reset_index(drop=True))
        gone = gpd.read_parquet(out / "a.gone.parquet")
        assert gone.columns[:4].tolist() == ["id", "class", "area_m2", "change"]
        assert (gone.name.tolist(), gone.known_id.tolist(), gone.change.tolist()) == (["n2"], [52], ["gone"])
        assert gone.geometry[0].equals(boxes(KNOWN[2])[0])
        assert gone.area_m2[0] == pytest.approx(36, rel=1e-2)
        assert done.files["gone.gpkg"] == str(out / "a.gone.gpkg")

    def test_what_is_gone_keeps_all_columns_whatever_they_are_called(
        self, scene: Path, tmp_path: Path
    ) -> None:
        known = tmp_path / "known.parquet"
        columns = {
            "Class": ["hut"] * 6, "fid": np.arange(10, 16), "Change": ["2019"] * 6,
            "class": [1.0, 2, 3, 4, 5, 6],
            "cell": np.full(6, 2**63 + 5, np.uint64),
        }  # fmt: skip
        gpd.GeoDataFrame(columns, geometry=list(boxes(*KNOWN)), crs=32645).to_parquet(known)
        done = geoseg.run(
            scene, Network(), out=tmp_path / "out", update=known, formats=("gpkg", "parquet"), **OPTIONS
        )
        for kind, read in (("gpkg", gpd.read_file), ("parquet", gpd.read_parquet)):
            [gone] = read(done.files[f"gone.{kind}"]).to_dict("records")
            assert (gone["class"], gone["known_Class"], gone["known_fid"]) == ("3", "hut", 12)
            assert (gone["known_Change"], gone["cell"]) == ("2019", str(2**63 + 5))

    def test_a_scene_that_runs_on_beyond_the_antimeridian(self, tmp_path: Path) -> None:
        """Its GeoJSON has longitudes from -180 on, and is known again."""
        place = rasterio.Affine(3e-6, 0, 180 - 34 * 3e-6, 0, -3e-6, -17)  # the house is cut at 180
        scene = save(tmp_path / "in" / "fiji.tif", crs="EPSG:4326", transform=place)
        known = geoseg.run(scene, Network(), out=tmp_path / "known", **OPTIONS).files["geojson"]
        assert gpd.read_file(known).geom_type.tolist() == ["MultiPolygon"]
        done = geoseg.run(scene, Network(), out=tmp_path / "out", update=known, aoi=known, **OPTIONS)
        assert (done.footprints, done.changes["kept"], done.changes["gone"]) == (1, 1, 0)

    def test_a_house_that_the_scene_or_its_area_cuts_has_not_changed(
        self, scene: Path, tmp_path: Path
    ) -> None:
        image = np.full((3, 64, 64), 10, np.uint8)
        image[:, 8:20, 0:4] = image[:, 24:40, 20:36] = image[:, 44:56, 0:4] = 200
        image[:, :, 48:] = 0
        with rasterio.open(scene, "r+") as file:
            file.write(image)
        # The second is cut by the area, the third was twice as high: what is seen of it has changed.
        drawn = boxes((-10, 8, 4, 20), (20, 24, 36, 40), (-10, 32, 4, 64))
        known = yesterday(tmp_path / "known.gpkg", drawn)
        area = yesterday(tmp_path / "area.gpkg", boxes((0, 0, 21, 64)))
        settings: dict[str, Any] = {"update": known, "aoi": area, "update_iou": 0.5, **OPTIONS}
        done = geoseg.run(scene, Network(), out=tmp_path / "out", formats="gpkg", **settings)
        table = gpd.read_file(done.files["gpkg"])
        from_the_top = table.loc[table.geometry.centroid.y.sort_values(ascending=False).index]
        assert from_the_top.change.tolist() == ["kept", "kept", "changed"]
        del settings["update_iou"]
        merged = geoseg.run_batch([scene], Network(), out=tmp_path / "all", merge="gpkg", **settings).merged
        assert (merged.changes["kept"], merged.changes["changed"]) == (2, 1)

    def test_polygons_in_collections_of_collections_are_known(self, scene: Path, tmp_path: Path) -> None:
        known = boxes(*KNOWN)
        inner = shapely.geometrycollections([shapely.multipolygons(known[:3]), shapely.Point(0, 0)])
        outer = [shapely.geometrycollections([inner]), *known[3:]]
        nested = yesterday(tmp_path / "known.gpkg", np.array(outer, object))
        plain = yesterday(tmp_path / "plain.gpkg", np.array([shapely.multipolygons(known[:3]), *known[3:]]))
        found = [
            geoseg.run(scene, Network(), out=tmp_path / path.stem, update=path, **OPTIONS).changes
            for path in (nested, plain)
        ]
        assert found[0] == found[1]
        assert found[0]["kept"] + found[0]["changed"] > 0

    def test_the_same_command_again_in_every_format(self, scene: Path, tmp_path: Path) -> None:
        shapes = gpd.GeoSeries(boxes(*KNOWN), crs=32645).to_crs(4326)
        known = yesterday(tmp_path / "known.geojson", shapes, crs=4326)
        settings: dict[str, Any] = {"out": tmp_path / "out", "update": known, "formats": tuple(FORMATS)}
        for _ in range(2):
            done = geoseg.run(scene, Network(), **settings, **OPTIONS)
        assert done.changes == FOUND
        for name in FORMATS:
            if name == "pmtiles":  # which hold each object many times
                kinds = (name, f"new.{name}", f"changed.{name}", f"gone.{name}")
                assert all(read_header(Path(done.files[kind])).tiles for kind in kinds)
                continue
            assert open_vector(done.files[name]).count == 3
            for kind in ("new", "changed", "gone"):
                assert open_vector(done.files[f"{kind}.{name}"]).count == 1

    def test_results_of_the_day_before_are_known_ones(self, scene: Path, tmp_path: Path) -> None:
        first = geoseg.run(scene, Network(), out=tmp_path / "a", formats="parquet", **OPTIONS)
        done = geoseg.run(scene, Network(), out=tmp_path / "b", update=first.files["parquet"], **OPTIONS)
        assert done.changes == {"new": 0, "kept": 3, "changed": 0, "gone": 0, "unseen": 0}
        assert open_vector(done.files["new.geojson"]).count == 0

    def test_an_unsure_footprint_stays_where_a_known_one_stands(self, scene: Path, tmp_path: Path) -> None:
        class Doubtful(Network):
            def __call__(self, batch: np.ndarray) -> np.ndarray:
                return (batch[:, :1] / 255).astype(np.float32)

            def fingerprint(self) -> str:
                return "doubtful"

        image = np.full((3, 64, 64), 10, np.uint8)
        # Three that it doubts, of which one is known as it is and one of another extent, and a sure one.
        image[:, 4:16, 4:16] = image[:, 8:20, 24:36] = image[:, 32:44, 4:16] = 140
        image[:, 48:60, 24:36] = 230
        # A speck that it doubts where a known one was torn down.
        image[:, 36:40, 44:48] = 140
        with rasterio.open(scene, "r+") as file:
            file.write(image)
        houses = boxes((4, 32, 16, 44), (24, 8, 28, 20), (44, 4, 56, 16), (40, 28, 60, 48))
        known = yesterday(tmp_path / "known.gpkg", houses)
        out, settings = tmp_path / "out", {"formats": ("gpkg",), "stretch": "off", **OPTIONS}
        done = geoseg.run(scene, Doubtful(), out=out, update=known, min_confidence=0.6, **settings)
        assert done.changes == {"new": 1, "kept": 1, "changed": 1, "gone": 2, "unseen": 0}
        assert (done.footprints, done.unsure) == (3, 2)
        table = gpd.read_file(done.files["gpkg"])
        assert table.id.tolist() == [1, 2, 3]
        assert table.change.tolist() == ["changed", "kept", "new"]
        assert (table.confidence < 0.6).tolist() == [True, True, False]
        assert gpd.read_file(done.files["new.gpkg"]).id.tolist() == [3]
        merged = geoseg.run_batch(
            [scene],
            Doubtful(),
            out=tmp_path / "all",
            update=known,
            min_confidence=0.6,
            merge="gpkg",
            **settings,
        ).merged
        assert merged.changes == done.changes
        # Nobody's word but the network's: they are left out.
        assert geoseg.run(scene, Doubtful(), out=out, min_confidence=0.6, **settings).footprints == 1

    def test_nothing_there_before_or_now(self, scene: Path, tmp_path: Path) -> None:
        nothing = yesterday(tmp_path / "nothing.gpkg", boxes(KNOWN[5]))
        done = geoseg.run(scene, Network(), out=tmp_path / "a", update=nothing, **OPTIONS)
        assert done.changes == {"new": 3, "kept": 0, "changed": 0, "gone": 0, "unseen": 0}
        known = yesterday(tmp_path / "known.gpkg", boxes(*KNOWN))
        done = geoseg.run(scene, Network(240), out=tmp_path / "b", update=known, **OPTIONS)
        assert done.changes == {"new": 0, "kept": 0, "changed": 0, "gone": 3, "unseen": 2}

    def test_bad_input(self, scene: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with pytest.raises(InputError, match=r"none\.gpkg"):
            geoseg.run(scene, Network(), out=out, update=tmp_path / "none.gpkg", **OPTIONS)
        assert not out.exists()
        with pytest.raises(InputError, match=r"none\.gpkg"):
            run(scene, Network(), out, update=tmp_path / "none.gpkg")
        assert not out.exists()
        known = yesterday(tmp_path / "known.gpkg", boxes(KNOWN[0]))
        with pytest.raises(InputError, match="update_iou must be"):
            geoseg.run(scene, Network(), out=out, update=known, update_iou=0, **OPTIONS)
        mine = yesterday(out / "a.gone.gpkg", boxes(KNOWN[0]))
        with pytest.raises(InputError, match="new or written by geoseg"):
            geoseg.run(scene, Network(), out=out, update=known, formats="gpkg", **OPTIONS)
        with pytest.raises(InputError, match="output must not be an input"):
            geoseg.run(scene, Network(), out=out, update=mine, formats="gpkg", **OPTIONS)

    def test_polygons_in_collections_are_known_and_a_file_without_any_is_refused(
        self, scene: Path, tmp_path: Path
    ) -> None:
        drawn = boxes(*KNOWN)
        mixed = [shapely.GeometryCollection([one, one.centroid]) for one in drawn]
        known = yesterday(tmp_path / "mixed.gpkg", mixed)
        assert geoseg.run(scene, Network(), out=tmp_path / "a", update=known, **OPTIONS).changes == FOUND
        walls = yesterday(tmp_path / "walls.gpkg", shapely.boundary(drawn))
        with pytest.raises(InputError, match=r"update must hold polygons, got none .* 6 .*walls\.gpkg"):
            geoseg.run(scene, Network(), out=tmp_path / "b", update=walls, **OPTIONS)
        assert not (tmp_path / "b").exists()


class TestBatch:
    def test_each_scene_and_the_merged_data_set(self, scene: Path, tmp_path: Path) -> None:
        save(scene.with_name("b.tif"), 500)
        known = yesterday(tmp_path / "known.gpkg", boxes(*KNOWN, (524, 20, 544, 40)))
        out = tmp_path / "out"
        done = run(scene.parent, Network(), out, update=known, merge="parquet")
        assert [record.changes["kept"] for record in done.scenes] == [1, 1]
        assert done.merged.changes == {"new": 1, "kept": 2, "changed": 1, "gone": 1, "unseen": 2}
        table = gpd.read_parquet(out / "merged.parquet")
        assert sorted(table.change) == ["changed", "kept", "kept", "new"]
        assert gpd.read_parquet(out / "merged.gone.parquet").name.tolist() == ["n2"]
        again = run(scene.parent, Network(), out, update=known, merge="parquet")
        assert (again.kept, again.merged.made) == (2, False)
        assert again.merged.changes == done.merged.changes
        # The data set of last year is a folder, and is read as one file.
        assert open_vector(out / "merged.parquet").count == 4
        later = run(scene.parent, Network(), tmp_path / "later", update=out / "merged.parquet", merge="gpkg")
        assert later.merged.changes == {"new": 0, "kept": 4, "changed": 0, "gone": 0, "unseen": 0}
        with pytest.raises(InputError, match="no file that the merged data set replaces"):
            run(scene.parent, Network(), out, update=out / "merged.parquet", merge="parquet")
        assert "of an earlier call" in run(scene.parent, Network(), out, update=known).notes[-1]
        # Another file of the same name is seen.
        known.unlink()
        yesterday(known, boxes(KNOWN[0]))
        again = run(scene.parent, Network(), out, update=known, merge="parquet")
        assert (again.kept, again.merged.changes["new"]) == (0, 3)

    def test_a_data_set_of_which_one_file_was_written_anew_is_seen(self, scene: Path, tmp_path: Path) -> None:
        known = tmp_path / "known.parquet"
        known.mkdir()
        for place, kept in ((KNOWN[0], 1), (KNOWN[2], 0)):
            table = gpd.GeoDataFrame({"name": ["n"]}, geometry=list(boxes(place)), crs=32645)
            table.to_parquet(known / "part.parquet")
            done = run(scene.parent, Network(), tmp_path / "out", update=known, merge="gpkg")
            assert (done.scenes[0].changes["kept"], done.merged.changes["kept"]) == (kept, kept)

    def test_what_one_scene_did_not_see_another_may(self, scene: Path, tmp_path: Path) -> None:
        with rasterio.open(save(scene.with_name("b.tif")), "r+") as file:
            file.write(np.full((3, 64, 64), 10, np.uint8))
        known = yesterday(tmp_path / "known.gpkg", boxes(KNOWN[3], (40, 50, 47, 56)))
        done = run(scene.parent, Network(), tmp_path / "out", update=known, merge="parquet", mosaic="off")
        assert [record.changes["gone"] for record in done.scenes] == [1, 2]
        assert done.merged.changes["gone"] == 2

    def test_the_command(self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def quick(words: Any, model: Any, out: Any, settings: Any, **rest: Any) -> Any:
            plain = settings.model_copy(update={"window": (48, 48), "overlap": (16, 16), "chunk": 64})
            return run_words(words, Network(), out, plain, **rest)

        monkeypatch.setattr("geoseg.pipeline.batch.run_batch", quick)
        known = yesterday(tmp_path / "known.gpkg", boxes(*KNOWN[:4]))
        command = ["run", str(scene), "-o", str(tmp_path / "out"), "--merge", "gpkg", "--update", str(known)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.stderr
        told = "3 footprints of 1 scene in EPSG:32645 (1 new, 1 kept, 1 changed, 1 gone, 1 unseen)"
        assert f"merged: {told}" in done.stdout
        settings = RunSettings(merge=("gpkg",), update=known, **OPTIONS)
        assert dry_run([scene], Network(), tmp_path / "out", settings).kept == 1
        assert gpd.read_file(tmp_path / "out" / "merged.gone.gpkg").name.tolist() == ["n2"]


class TestFindChanges:
    def pair_by_pair(
        self, new: np.ndarray, old: np.ndarray, least_iou: float
    ) -> tuple[list[str], list[bool]]:
        names, met = ["new"] * len(new), [False] * len(old)
        for i, one in enumerate(new):
            for j, other in enumerate(old):
                area = one.intersection(other).area
                iou = area / one.union(other).area
                if iou >= least_iou or (area > 0 and area >= 0.2 * min(one.area, other.area)):
                    met[j] = True
                    if names[i] != "kept":
                        names[i] = "kept" if iou >= least_iou else "changed"
        return names, met

    @pytest.mark.parametrize("together", [5, 40, 100_000])
    def test_in_squares_as_pair_by_pair(
        self, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(7)
        sides = []
        for count in (120, 150):
            corner, size = rng.uniform(0, 100, (count, 2)), rng.uniform(1, 12, (count, 2))
            size[::40] = 60  # across many squares
            sides.append(shapely.box(*corner.T, *(corner + size).T))
        new, old = sides
        file = yesterday(tmp_path / "known.gpkg", old)
        known = Known(open_vector(file), CRS.from_epsg(32645), (0, 0, 100, 100))
        monkeypatch.setattr(update, "_TOGETHER", together)
        scratch = tmp_path / "scratch"
        scratch.mkdir()

        def is_seen(geometry: np.ndarray) -> np.ndarray:
            return np.asarray(shapely.bounds(geometry)[:, 0] > 30)

        found = find_changes(iter([new[:50], new[50:]]), len(new), known, is_seen, 0.5, scratch)
        # An index gives them in an order of its own.
        order = [int(name[1:]) for _, rows in known.batches() for name in rows.column("name").to_pylist()]
        assert sorted(order) == list(range(len(old)))
        old = old[order]
        names, met = self.pair_by_pair(new, old, 0.5)
        assert found.names(0, len(new)).tolist() == names
        assert found.met.tolist() == met
        assert found.seen.tolist() == is_seen(old).tolist()
        assert set(names) == {"new", "kept", "changed"}

    def test_no_crs_on_one_side(self, tmp_path: Path) -> None:
        file = yesterday(tmp_path / "known.gpkg", boxes(KNOWN[0]))
        with pytest.raises(InputError, match="must have a CRS"):
            known_footprints(file, None, (0, 0, 1, 1), "photo")


class TestGround:
    @pytest.mark.parametrize("chunk", [13, 16, 100])
    def test_cells(self, chunk: int, tmp_path: Path) -> None:
        valid = np.ones((45, 70), bool)
        valid[3, 60:] = valid[16:24, 8:16] = valid[40:, :] = False
        stored = np.where(valid, 7, 255).astype(np.uint8)[None]
        box = GeoBox(PLACE, CRS.from_epsg(32645), 45, 70)
        ground = count_valid(lambda w: stored[:, w.rows, w.cols], iter_chunks(45, 70, chunk), box)
        expected = np.full((6, 9), ALL)
        expected[0, 7:] = SOME
        expected[2, 1] = expected[5] = NONE
        assert ground.cells.tolist() == expected.tolist()
        save_ground(tmp_path / "valid.tif", ground)
        again = read_ground(tmp_path / "valid.tif")
        assert again.cells.tolist() == expected.tolist()
        places = {(62, 2): SOME, (1, 1): ALL, (10, 20): NONE, (-1, 3): NONE, (73, 3): NONE, (71, 9): NONE}
        x, y = np.array([PLACE * place for place in places]).T
        assert again.at(x, y, box.crs).tolist() == list(places.values())
        held = {
            (0, 0, 7, 7): True,
            (5, 5, 9, 9): True,  # over four whole cells
            (10, 10, 20, 20): False,  # on a hole
            (57, 1, 59, 5): False,  # in a cell seen in part
            (-1, 0, 5, 5): False,
            (64, 30, 70, 40): True,
            (64, 30, 71, 40): False,  # over the edge, in a cell that ends beyond it
        }
        asked = boxes(*held)
        assert again.holds(asked, box.crs).tolist() == list(held.values())
        # The digits of GeoJSON may move what ends at the edge over it.
        lonlat = shapely.set_precision(gpd.GeoSeries(asked, crs=box.crs).to_crs(4326).values, 1e-7)
        assert again.holds(np.asarray(lonlat), CRS.from_epsg(4326)).tolist() == list(held.values())
