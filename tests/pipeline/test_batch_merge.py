"""One data set of all scenes: order, ids, CRS, and which of several scenes owns a piece of ground."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine
from batch_scenes import OPTIONS, PLACE, Network, run, save, states
from pyproj import CRS, Transformer
from scipy import ndimage
from typer.testing import CliRunner

import geoseg
import geoseg.pipeline.batch.merging as merging
from geoseg.cli import app
from geoseg.errors import InputError, RunError
from geoseg.files.locks import side_folder
from geoseg.io.crs import same_crs
from geoseg.io.describe import describe
from geoseg.io.sorted_runs import KEY, SortedRuns
from geoseg.io.writers.pmtiles import read_header, zooms_of
from geoseg.pipeline.batch import MANIFEST, read_manifest

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Four scenes around a corner, with a gap between them."""
    for k, name in enumerate("abcd"):
        save(tmp_path / "in" / f"{name}.tif", 500 * (k % 2), 500 * (k // 2))
    return tmp_path / "in"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("overlaps", ["keep", "newest"])
@pytest.mark.parametrize("crs", [4326, 32601])
def test_scenes_on_both_sides_of_180_degrees_are_on_the_same_ground(
    tmp_path: Path, crs: int, overlaps: str
) -> None:
    """One in longitudes that run on beyond 180, the other one in those from -180 on, or in meters."""
    step, lat = 5e-6, -17.0
    left = 180 - 34 * step  # the house is cut at 180
    save(tmp_path / "in" / "a.tif", crs="EPSG:4326", transform=Affine(step, 0, left, 0, -step, lat))
    if crs == 4326:
        place = Affine(step, 0, left - 360, 0, -step, lat)
    else:
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(left, lat)
        place = Affine(0.53, 0, x, 0, -0.55, y)
    save(tmp_path / "in" / "b.tif", crs=f"EPSG:{crs}", transform=place)
    out = tmp_path / "out"
    settings: dict[str, Any] = {"merge": ("parquet", "geojson"), "overlaps": overlaps, "mosaic": "off"}
    done = run(tmp_path / "in", Network(), out, merge_crs="EPSG:4326", **settings)
    assert done.merged.footprints == (2 if overlaps == "keep" else 1)
    merged = gpd.read_parquet(out / "merged.parquet")
    assert merged.total_bounds[[0, 2]].tolist() == [-180, 180]
    assert (shapely.area(merged.geometry) < 30 * 30 * step**2).all()
    done = run(tmp_path / "in", Network(), tmp_path / "again", update=out / "merged.geojson", **settings)
    assert done.merged.changes["kept"] == done.merged.footprints


class TestSortedRuns:
    def test_as_sorted_in_memory(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        keys = rng.integers(0, 2**32, 5000, dtype=np.uint32)
        keys[::7] = keys[0]  # more of one key than fit in memory
        tables = [
            pa.table({KEY: keys[k : k + 300], "row": np.arange(k, min(k + 300, 5000))})
            for k in range(0, 5000, 300)
        ]
        runs = SortedRuns(tmp_path, 700, ("row",))
        for table in tables:
            runs.add(table)
        assert len(runs) == 5000
        parts = [runs.between(low, high) for low, high in runs.ranges()]
        whole = pa.concat_tables([part for part in parts if part is not None])
        assert whole.column("row").to_pylist() == np.lexsort((np.arange(5000), keys)).tolist()
        sizes = [len(part) for part in parts if part is not None]
        assert sum(size > 700 for size in sizes) == 1
        assert len(sizes) < 12
        for low, high in (
            (0, 2**32),
            (2**32 - 2**20, 2**32),
            (int(keys[0]), int(keys[0]) + 1),
            (7, 7),
            (9, 5),
        ):
            part = runs.between(low, high)
            expected = np.sort(keys[(keys >= low) & (keys < high)]).tolist()
            assert ([] if part is None else part.column(KEY).to_pylist()) == expected

    def test_nothing(self, tmp_path: Path) -> None:
        runs = SortedRuns(tmp_path, 700)
        assert (len(runs), runs.ranges(), runs.between(0, 5)) == (0, [], None)


class TestMerge:
    def test_one_data_set_that_is_read_in_part(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        done = run(scenes, Network(), out, merge=("parquet", "gpkg"))
        assert done.merged is not None
        assert (done.merged.footprints, done.merged.crs) == (4, "EPSG:32645")
        assert done.merged.files == {"parquet": "merged.parquet", "gpkg": "merged.gpkg"}
        whole = gpd.read_parquet(out / "merged.parquet")
        assert whole.id.tolist() == [1, 2, 3, 4]
        assert sorted(whole.scene) == list("abcd")
        assert whole.scene_id.tolist() == [1, 1, 1, 1]
        assert whole.crs == CRS.from_epsg(32645)
        for name in "abcd":
            own = gpd.read_parquet(out / name / f"{name}.parquet")
            (row,) = whole[whole.scene == name].itertuples()
            assert row.geometry.equals(own.geometry[0])
            assert row.confidence == own.confidence[0]
        # Along the curve, each step leads to a neighbor.
        at = whole.geometry.centroid
        steps = np.hypot(np.diff(at.x), np.diff(at.y))
        assert steps.max() < 260
        x, y, _, _ = PLACE * (500, 0) + (0, 0)
        part = gpd.read_parquet(out / "merged.parquet", bbox=(x, y - 40, x + 40, y))
        assert part.scene.tolist() == ["b"]
        again = gpd.read_file(out / "merged.gpkg")
        assert again.id.tolist() == [1, 2, 3, 4]
        about = json.loads(pq.read_schema(out / "merged.parquet" / "part-00000.parquet").metadata[b"geo"])
        assert about["columns"]["geometry"]["covering"]

    def test_many_parts_in_order(self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = run(scenes, Network(), tmp_path / "out", merge="parquet").merged
        assert whole is not None
        table = gpd.read_parquet(tmp_path / "out" / "merged.parquet")
        monkeypatch.setattr(merging, "_ROWS", 1)
        monkeypatch.setattr(merging, "_BATCH", 1)
        run(sorted(scenes.iterdir(), reverse=True), Network(), tmp_path / "parts", merge="parquet")
        parts = content(tmp_path / "parts" / "merged.parquet")
        assert list(parts) == [f"part-{k:05}.parquet" for k in range(4)]
        again = gpd.read_parquet(tmp_path / "parts" / "merged.parquet")
        assert again.equals(table)

    def test_duckdb_reads_a_part(self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(merging, "_ROWS", 1)
        run(scenes, Network(), tmp_path / "out", merge="parquet")
        whole = gpd.read_parquet(tmp_path / "out" / "merged.parquet")
        west, south, east, north = whole.geometry.iloc[2].bounds
        # Its own columns of bounds are enough: the spatial extension is not needed, and not loaded here.
        query = (
            f"FROM '{tmp_path / 'out' / 'merged.parquet' / '*.parquet'}' WHERE bbox.xmax >= {west} "
            f"AND bbox.xmin <= {east} AND bbox.ymax >= {south} AND bbox.ymin <= {north}"
        )
        connection = duckdb.connect()
        assert connection.sql(f"SELECT id, scene, confidence {query}").fetchall() == [
            tuple(whole.loc[2, ["id", "scene", "confidence"]])
        ]
        (plan,) = connection.sql(f"EXPLAIN ANALYZE SELECT id {query}").fetchall()
        scanned = re.search(r"Row Groups Scanned: (\d+) / (\d+)", plan[1])
        assert scanned is not None, plan[1]
        assert scanned.groups() == ("1", "4")

    def test_map_tiles_are_as_fine_as_the_latitude_of_the_scenes_needs(self, tmp_path: Path) -> None:
        # At 69 degrees north a unit of a tile is less than half of what it is at the equator.
        place = Affine(0.5, 0, 500_000, 0, -0.5, 7_660_000)
        north = save(tmp_path / "in" / "a.tif", crs="EPSG:32633", transform=place)
        done = run(north, Network(), tmp_path / "out", merge="pmtiles", formats="pmtiles")
        (own, merged) = (read_header(tmp_path / "out" / name) for name in ("a/a.pmtiles", "merged.pmtiles"))
        assert done.merged.footprints == 1
        assert merged.zooms == own.zooms == zooms_of(0.5, 69)
        assert zooms_of(0.5, 69)[1] < zooms_of(0.5)[1]

    def test_a_file_that_was_cut_off_is_made_anew(self, scenes: Path, tmp_path: Path) -> None:
        merged = tmp_path / "out" / "merged.geojson"
        run(scenes, Network(), tmp_path / "out", merge="geojson")
        whole = merged.read_bytes()
        merged.write_bytes(whole[:-300])
        done = run(scenes, Network(), tmp_path / "out", merge="geojson")
        assert done.merged is not None
        assert (done.kept, done.merged.made, merged.read_bytes()) == (4, True, whole)

    def test_it_is_made_anew_only_when_a_scene_was(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out, merge="parquet")
        before = content(out / "merged.parquet")
        time = (out / "merged.parquet" / "part-00000.parquet").stat().st_mtime_ns
        done = run(sorted(scenes.iterdir(), reverse=True), Network(), out, merge="parquet")
        assert done.merged is not None
        assert not done.merged.made
        assert done.merged.footprints == 4
        assert (out / "merged.parquet" / "part-00000.parquet").stat().st_mtime_ns == time
        save(scenes / "b.tif", 700)
        done = run(scenes, Network(), out, merge="parquet")
        assert done.merged is not None
        assert done.merged.made
        assert done.kept == 3
        assert content(out / "merged.parquet") != before
        (scenes / "b.tif").unlink()
        assert run(scenes, Network(), out, merge="parquet").merged.footprints == 3
        assert set(gpd.read_parquet(out / "merged.parquet").scene) == set("acd")

    def test_the_same_bytes_elsewhere_and_another_day(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, Network(), tmp_path / "out", merge=("parquet", "fgb"))
        moved = scenes.rename(tmp_path / "moved")
        for file in moved.iterdir():
            os.utime(file, (1, 1))
        run(moved, Network(), tmp_path / "other", merge=("parquet", "fgb"))
        merged = content(tmp_path / "out" / "merged.parquet")
        assert content(tmp_path / "other" / "merged.parquet") == merged
        files = [tmp_path / name / "merged.fgb" for name in ("out", "other")]
        assert files[0].read_bytes() == files[1].read_bytes()
        origin = describe(tmp_path / "out" / "merged.parquet")["provenance"]
        assert origin == describe(files[0])["provenance"]
        assert origin["merge"]["scenes"] == 4
        # Another picture of one name is another data set, though the outlines are the same.
        run(moved, Network(110), tmp_path / "third", merge="fgb")
        assert (
            describe(tmp_path / "third" / "merged.fgb")["provenance"]["scenes_digest"]
            != origin["scenes_digest"]
        )

    def test_scenes_of_several_crss(self, tmp_path: Path) -> None:
        save(tmp_path / "in" / "a.tif")
        save(tmp_path / "in" / "b.tif", crs="EPSG:32644")
        done = run(tmp_path / "in", Network(), tmp_path / "out", merge="parquet")
        assert done.merged is not None
        assert done.merged.crs == "EPSG:4326"
        assert "scenes are in 2 CRSs" in done.notes[-1]
        found = gpd.read_parquet(tmp_path / "out" / "merged.parquet")
        assert np.round(sorted(found.geometry.bounds.minx), 1).tolist() == [79.5, 85.5]
        chosen = run(tmp_path / "in", Network(), tmp_path / "out", merge="parquet", merge_crs="EPSG:32645")
        assert chosen.merged.crs == "EPSG:32645"
        assert not any("2 CRSs" in note for note in chosen.notes)
        own = gpd.read_parquet(tmp_path / "out" / "b" / "b.parquet").to_crs(32645)
        found = gpd.read_parquet(tmp_path / "out" / "merged.parquet")
        assert found[found.scene == "b"].geometry.iloc[0].equals_exact(own.geometry[0], 1e-6)

    def test_the_grid_of_a_site_that_is_tied_to_a_projection(self, scenes: Path, tmp_path: Path) -> None:
        base = CRS.from_epsg(32645).to_json_dict()
        affine = {"A0": -300_000, "A1": 1, "A2": 0, "B0": -3_000_000, "B1": 0, "B2": 1}
        site = CRS.from_json_dict({
            "type": "DerivedProjectedCRS", "name": "site", "base_crs": base,
            "coordinate_system": base["coordinate_system"],
            "conversion": {
                "name": "shift",
                "method": {"name": "", "id": {"authority": "EPSG", "code": 9624}},
                "parameters": [
                    {"name": name, "value": value, "unit": "metre" if name.endswith("0") else "unity"}
                    for name, value in affine.items()
                ],
            },
        }).to_wkt()  # fmt: skip
        settings: dict[str, Any] = {"merge_crs": site, "merge": ("parquet", "gpkg", "geojson")}
        done = run(scenes, Network(), tmp_path / "out", **settings)
        assert done.merged.footprints == 4
        own = gpd.read_parquet(tmp_path / "out" / "d" / "d.parquet").geometry[0]
        shifted = shapely.transform(own, lambda xy: xy - [300_000, 3_000_000])
        files = (
            gpd.read_parquet(tmp_path / "out" / "merged.parquet"),
            gpd.read_file(tmp_path / "out" / "merged.gpkg"),
        )
        for found in files:
            assert same_crs(found.crs, CRS(site))
            (house,) = found[found.scene == "d"].explode().geometry
            assert house.equals_exact(shifted, 1e-6, normalize=True)
        with pytest.raises(InputError, match=r"CRS \(site\), got shp, which would give it back changed"):
            run(scenes, Network(), tmp_path / "out", **{**settings, "merge": "shp"})

    def test_scenes_of_another_body(self, tmp_path: Path) -> None:
        moon = "+proj=eqc +R=1737400 +units=m +lon_0={} +y_0=3000000 +type=crs"
        for k, name in enumerate("ab"):
            save(tmp_path / "in" / f"{name}.tif", 500 * k, crs=moon.format(k))
        out = tmp_path / "out"
        settings: dict[str, Any] = {"formats": "parquet", "merge": "parquet"}
        done = run(tmp_path / "in", Network(), out, **settings)
        assert "merged in longitude and latitude" in done.notes[-1]
        found = gpd.read_parquet(out / "merged.parquet")
        own = gpd.read_parquet(out / "b" / "b.parquet").to_crs(found.crs)
        assert found[found.scene == "b"].geometry.iloc[0].equals_exact(own.geometry[0], 1e-9, normalize=True)
        assert found.crs.ellipsoid.semi_major_metre == 1_737_400
        save(tmp_path / "in" / "c.tif")
        with pytest.raises(
            InputError, match=r"must lie on one celestial body, got c in WGS 84 / UTM zone 45N"
        ):
            run(tmp_path / "in", Network(), out, **settings)
        assert states(out) == dict.fromkeys("abc", "done")

    def test_no_footprint_at_all(self, scenes: Path, tmp_path: Path) -> None:
        done = run(scenes, Network(240), tmp_path / "out", merge=("parquet", "geojson"))
        assert done.merged is not None
        assert done.merged.footprints == 0
        assert len(gpd.read_parquet(tmp_path / "out" / "merged.parquet")) == 0
        assert json.loads((tmp_path / "out" / "merged.geojson").read_text())["features"] == []

    def test_what_failed_or_has_no_crs_is_missing(self, scenes: Path, tmp_path: Path) -> None:
        (scenes / "b.tif").write_text("no raster")
        save(scenes / "c.tif", crs=None)
        done = run(scenes, Network(), tmp_path / "out", merge="parquet")
        assert done.merged is not None
        assert done.merged.scenes == ["a", "d"]
        assert "c has no CRS, so the merged data set leaves it out" in done.notes

    def test_what_was_edited_in_a_result_is_not_lost(self, scenes: Path, tmp_path: Path) -> None:
        out, settings = tmp_path / "out", {"formats": "gpkg", "merge": "gpkg"}
        run(scenes / "b.tif", Network(), out, **settings)
        places = out / "b" / "b.gpkg", out / "merged.gpkg"
        for place in places:
            with closing(sqlite3.connect(place)) as database, database:
                database.execute("CREATE TABLE notes AS SELECT zeroblob(100000)")
        edited = [place.read_bytes() for place in places]
        done = run(scenes / "b.tif", Network(), out, **settings)
        assert [place.read_bytes() for place in places] == edited
        assert (done.kept, done.merged.made) == (1, False)
        assert [note.partition(";")[0] for note in done.notes] == [
            f"edited since it was made, and left as it is: {name}" for name in ("b/b.gpkg", "merged.gpkg")
        ]
        for place in places:
            place.unlink()
        assert run(scenes / "b.tif", Network(), out, **settings).merged.made
        assert [len(gpd.read_file(place)) for place in places] == [1, 1]

    @pytest.mark.parametrize("overwrite", [True, False])
    def test_an_edited_geopackage_is_not_lost_to_other_options(
        self, scenes: Path, tmp_path: Path, overwrite: bool
    ) -> None:
        out, settings = tmp_path / "out", {"formats": "gpkg"}
        run(scenes / "b.tif", Network(), out, **settings)
        place = out / "b" / "b.gpkg"
        with closing(sqlite3.connect(place)) as database, database:
            database.execute("UPDATE gpkg_contents SET last_change = '2026-05-01T12:00:00.000Z'")  # as QGIS
        edited = place.read_bytes()
        settings["min_area_m2"] = 1.0
        failed = run(scenes / "b.tif", Network(), out, **settings)
        assert "edited since. Choose another name, or give --overwrite" in str(failed.missing[0].error)
        assert place.read_bytes() == edited
        if not overwrite:
            place.rename(tmp_path / "edited.gpkg")
        assert run(scenes / "b.tif", Network(), out, **settings, overwrite=overwrite).missing == []
        assert states(out) == {"b": "done"}
        assert place.read_bytes() != edited

    @pytest.mark.parametrize("format", ["geojson", "gpkg"])
    def test_a_result_that_another_call_has_replaced_is_made_anew(
        self, scenes: Path, tmp_path: Path, format: str
    ) -> None:
        out, place = tmp_path / "out", tmp_path / "out" / "b" / f"b.{format}"
        run([scenes / "b.tif", scenes / "a.tif"], Network(), out, formats=format)
        before = place.read_bytes()
        geoseg.run(scenes / "b.tif", Network(), out=out / "b", threshold=0.4, formats=format, **OPTIONS)
        after = place.read_bytes()
        assert after != before
        assert len(after) == len(before) or format == "geojson"
        os.utime(place, (time.time() + 9, time.time() + 9))  # as some time later
        done = run([scenes / "b.tif", scenes / "a.tif"], Network(), out, formats=format)
        assert (done.kept, place.read_bytes(), done.notes) == (1, before, [])

    def test_what_a_killed_merge_left_goes_with_the_next(self, scenes: Path, tmp_path: Path) -> None:
        left = side_folder(tmp_path / "out" / "merged")
        left.mkdir(parents=True)
        (left / "rows").write_bytes(b"large")
        assert run(scenes / "b.tif", Network(), tmp_path / "out", merge="parquet").merged.made
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "b", "manifest.sqlite", "merged.parquet"
        ]  # fmt: skip

    def test_scenes_of_earlier_calls_are_told_to_be_missing(self, scenes: Path, tmp_path: Path) -> None:
        assert not run(scenes, Network(), tmp_path / "out", merge="parquet").notes
        done = run(scenes / "b.tif", Network(), tmp_path / "out", merge="gpkg")
        assert done.merged.scenes == ["b"]
        assert done.notes == [
            "the merged data set holds the scenes of this call, not 3 scenes of earlier ones",
            "merged.parquet is of an earlier call; --merge makes anew what it names",
        ]
        done = run(scenes / "b.tif", Network(), tmp_path / "out")
        assert done.notes[-1].startswith("merged.gpkg, merged.parquet are of an earlier call; --merge")

    def test_no_scene_to_merge(self, tmp_path: Path) -> None:
        save(tmp_path / "in" / "a.tif", crs=None)
        done = run(tmp_path / "in", Network(), tmp_path / "out", merge="parquet")
        assert done.notes[-1] == "there is no scene to merge"
        assert not (tmp_path / "out" / "merged.parquet").exists()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"merge": "docx"}, "must be one of geojson"),
            ({"merge": "parquet", "merge_crs": "EPSG:0"}, "merge_crs must be a coordinate reference system"),
            ({"merge": "parquet", "merge_crs": "EPSG:4978"}, "must be a geographic or projected CRS"),
            (
                {"merge": "gpkg", "merge_crs": "EPSG:5773"},
                r"or projected CRS, got EPSG:5773 \(EGM96 height\)",
            ),
            ({"overlaps": "newest"}, "overlaps must come with merge"),
            ({"merge_crs": "EPSG:4326"}, "merge_crs must come with merge"),
        ],
    )
    def test_bad_input(self, settings: dict[str, Any], message: str, scenes: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=message):
            run(scenes, Network(), tmp_path / "out", **settings)
        assert not (tmp_path / "out").exists()
        if "merge" not in settings:  # nor does one scene leave it out without a word
            with pytest.raises(InputError, match=message):
                geoseg.run(scenes / "a.tif", Network(), out=tmp_path / "out", **OPTIONS, **settings)

    def test_one_scene_alone_has_nothing_to_merge(self, scenes: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"Call geoseg\.run_batch"):
            geoseg.run(scenes / "a.tif", Network(), out=tmp_path / "out", merge="parquet", **OPTIONS)
        done = run(scenes / "a.tif", Network(), tmp_path / "out", merge="parquet")
        assert done.merged.footprints == 1

    def test_nobody_s_files_are_lost(self, scenes: Path, tmp_path: Path) -> None:
        place = tmp_path / "out" / "merged.parquet"
        place.mkdir(parents=True)
        (place / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match=r"got notes\.txt in it"):
            run(scenes, Network(), tmp_path / "out", merge="parquet")
        assert (place / "notes.txt").read_text() == "mine"
        assert states(tmp_path / "out") == dict.fromkeys("abcd", "done")
        run(scenes, Network(), tmp_path / "out", merge="parquet", overwrite=True)
        assert list(content(place)) == ["part-00000.parquet"]

    def test_a_failed_write_leaves_the_old_one(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out, merge="parquet")
        before = content(out / "merged.parquet")
        save(scenes / "b.tif", 700)

        def full(*words: Any) -> None:
            raise RunError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(SortedRuns, "between", full)
            with pytest.raises(RunError):
                run(scenes, Network(), out, merge="parquet")
        assert content(out / "merged.parquet") == before
        assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
        assert run(scenes, Network(), out, merge="parquet").merged.made


class TestOverlaps:
    """Two scenes of one place: the newer one lacks data on the right, and sees a house the other has not."""

    @pytest.fixture
    def dates(self, tmp_path: Path) -> Path:
        for name, date in (("old", "2023:01:02"), ("new", "2024:01:02")):
            path = save(tmp_path / "in" / f"{name}.tif")
            image = np.full((3, 64, 64), 10, np.uint8)
            image[:, 4:12, 4:12] = 200  # both see it
            if name == "old":
                image[:, 30:38, 4:12] = 200  # gone since
                image[:, 30:38, 50:58] = 220  # where the newer one has no data
            else:
                image[:, 48:56, 4:12] = 200  # built since
                image[:, :, 40:] = 0
            with rasterio.open(path, "r+") as file:
                file.write(image)
                file.nodata = 0
                file.update_tags(TIFFTAG_DATETIME=f"{date} 10:00:00")
        return tmp_path / "in"

    def test_newest(self, dates: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        kept = run(dates, Network(), tmp_path / "all", merge="parquet").merged
        assert kept is not None
        assert (kept.footprints, kept.left_out) == (5, {})
        merged = run(dates, Network(), out, merge="parquet", overlaps="newest").merged
        assert merged is not None
        found = gpd.read_parquet(out / "merged.parquet")
        assert sorted(found.scene) == ["new", "new", "old"]
        assert merged.left_out == {"old": 2}
        old = found[found.scene == "old"].geometry.iloc[0]
        assert ~PLACE * (old.centroid.x, old.centroid.y) == pytest.approx((54, 34))
        with sqlite3.connect(out / MANIFEST) as database:
            rows = database.execute("SELECT * FROM left_out ORDER BY id").fetchall()
        database.close()
        assert [(scene, owner) for scene, _, owner in rows] == [("old", "new")] * 2
        own = gpd.read_parquet(out / "old" / "old.parquet").set_index("id")
        gone = own.loc[[number for _, number, _ in rows]].geometry.centroid
        assert (~PLACE * (gone.iloc[0].x, gone.iloc[0].y))[0] == pytest.approx(8)
        # Nothing is merged geometrically, and the files of the scenes are whole.
        assert len(own) == 3

    def test_sheets_of_one_picture_are_told_not_to_be_decided_on(self, tmp_path: Path) -> None:
        for k, name in enumerate("ab"):
            save(tmp_path / "in" / f"{name}.tif", 40 * k)
        done = run(tmp_path / "in", Network(), tmp_path / "out", merge="parquet", overlaps="newest")
        (note,) = [note for note in done.notes if "--overlaps" in note]
        assert note.startswith("in is one scene of 2 files, among which --overlaps decides nothing")
        done = run(
            tmp_path / "in", Network(), tmp_path / "two", merge="parquet", overlaps="newest", mosaic="off"
        )
        assert len(done.scenes) == 2
        assert not [note for note in done.notes if "--overlaps" in note]

    @pytest.mark.parametrize("shift", [-6, -2, 0, 2, 6])
    def test_a_house_on_the_line_between_scenes_comes_once(self, shift: int, tmp_path: Path) -> None:
        # The newer scene has data up to column 32; both see the house, the newer one a little aside.
        for name, date, aside in (("old", "2023:01:02", 0), ("new", "2024:01:02", shift)):
            image = np.full((3, 64, 64), 10, np.uint8)
            image[:, 20:40, 22 + aside : 42 + aside] = 200
            if name == "new":
                image[:, :, 36:] = 0
            path = save(tmp_path / "in" / f"{name}.tif", nodata=0)
            with rasterio.open(path, "r+") as file:
                file.write(image)
                file.update_tags(TIFFTAG_DATETIME=f"{date} 10:00:00")
        merged = run(
            tmp_path / "in", Network(), tmp_path / "out", merge="parquet", overlaps="newest", mosaic="off"
        ).merged
        assert merged is not None
        assert (merged.footprints, sum(merged.left_out.values())) == (1, 1)

    @pytest.mark.parametrize("seed", [2, 7])
    def test_each_house_of_a_town_comes_once_and_whole(self, seed: int, tmp_path: Path) -> None:
        """Scenes of uneven sizes show the same town; what one of them cuts, another one may have whole."""
        rng = np.random.default_rng(seed)
        town = np.full((120, 160), 10, np.uint8)
        for row, col in zip(*np.nonzero(rng.random((8, 10)) < 0.7)):
            height, width = rng.integers(2, 14, 2)
            top, left = 15 * row + rng.integers(0, 15 - height), 16 * col + rng.integers(0, 15 - width)
            town[top : top + height, left : left + width] = 200
        for name, (top, left, bottom, right) in {
            "a": (0, 0, 120, int(rng.integers(70, 120))),
            "b": (0, int(rng.integers(20, 60)), 120, 160),
            "c": (int(rng.integers(0, 60)), int(rng.integers(0, 60)), 101, 131),
        }.items():
            pixels = np.broadcast_to(town[top:bottom, left:right], (3, bottom - top, right - left))
            path = tmp_path / "in" / f"{name}.tif"
            path.parent.mkdir(exist_ok=True)
            profile = {
                "driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32645",
                "height": bottom - top, "width": right - left,
                "transform": PLACE * Affine.translation(left, top),
            }  # fmt: skip
            with rasterio.open(path, "w", **profile) as file:
                file.write(pixels)
                file.update_tags(ACQUISITIONDATETIME=f"2021-01-0{rng.integers(1, 4)}")
        run(tmp_path / "in", Network(), tmp_path / "out", merge="parquet", overlaps="newest", mosaic="off")
        houses, _ = ndimage.label(town == 200, np.ones((3, 3)))
        whole = geoseg.polygonize(houses.astype(np.int32), transform=PLACE, crs=32645)
        merged = gpd.read_parquet(tmp_path / "out" / "merged.parquet")
        assert sorted(merged.normalize().to_wkt()) == sorted(whole.normalize().to_wkt())

    def test_best(self, dates: Path, tmp_path: Path) -> None:
        class Sure(Network):
            def __call__(self, batch: np.ndarray) -> np.ndarray:
                return (batch[:, :1] / 255).astype(np.float32)

        merged = run(dates, Sure(), tmp_path / "out", merge="parquet", overlaps="best").merged
        assert merged is not None
        assert merged.left_out == {"new": 2}  # 220 is surer than 200
        assert set(gpd.read_parquet(tmp_path / "out" / "merged.parquet").scene) == {"old"}

    def test_another_rule_does_no_scene_again(self, dates: Path, tmp_path: Path) -> None:
        run(dates, Network(), tmp_path / "out", merge="parquet", overlaps="newest")
        done = run(dates, Network(), tmp_path / "out", merge="parquet", overlaps="best")
        assert done.merged is not None
        assert (done.kept, done.merged.made) == (2, True)

    def test_scenes_without_a_date_are_told_and_older(self, dates: Path, tmp_path: Path) -> None:
        save(dates / "x.tif")
        done = run(dates, Network(), tmp_path / "out", merge="parquet", overlaps="newest")
        assert done.merged is not None
        assert "1 scene has no date, and counts as older than all others" in done.notes
        assert done.merged.left_out == {"old": 2, "x": 1}

    def test_the_command(self, dates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from geoseg.pipeline.batch import run_batch

        def quick(words: Any, model: Any, out: Any, settings: Any, **rest: Any) -> Any:
            plain = settings.model_copy(update={"window": (48, 48), "overlap": (16, 16), "chunk": 64})
            return run_batch(words, Network(), out, plain, **rest)

        monkeypatch.setattr("geoseg.pipeline.batch.run_batch", quick)
        command = [
            "run",
            str(dates),
            "-o",
            str(tmp_path / "out"),
            "--merge",
            "parquet",
            "--overlaps",
            "newest",
        ]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.stderr
        assert "merged: 3 footprints of 2 scenes in EPSG:32645, 2 left out" in done.stdout
        told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
        assert told["merged"]["left_out"] == {"old": 2}
        with read_manifest(tmp_path / "out") as manifest:
            assert manifest.facts["merged"]["left_out"] == {"old": 2}
