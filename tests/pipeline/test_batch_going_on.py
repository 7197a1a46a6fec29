"""A batch that is given again: after --restart, damage, write errors, and with other scenes than before."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from batch_scenes import PLACE, Network, run, save, states
from rasterio.io import MemoryFile
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, RunError, StateMismatchError
from geoseg.io import fingerprint, scene
from geoseg.pipeline.batch import MANIFEST, plan_batch, read_manifest
from geoseg.pipeline.batch import run as batch_run

pytestmark = pytest.mark.usefixtures("cache")


class Stopping(Network):
    """Stops after some windows, as Ctrl-C does."""

    def __init__(self, limit: int, after: int) -> None:
        super().__init__(limit)
        self.after = after

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self.windows >= self.after:
            raise KeyboardInterrupt
        return super().__call__(batch)


class TestRestart:
    def test_one_that_was_stopped_goes_on_with_the_new_model(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)
        message = "1 of 3 scenes are finished; the same command without --restart goes on from there"
        with pytest.raises(KeyboardInterrupt, match=message):
            run(scenes, Stopping(150, after=7), out, restart=True)
        assert states(out) == {"a": "done", "b": "stopped", "c": "waiting"}
        with read_manifest(out) as manifest:
            assert [record.anew for record in manifest.scenes()] == [False, False, True]
        with pytest.raises(StateMismatchError):
            run(scenes, Network(), out)
        network = Network(150)
        done = run(scenes, network, out)
        assert (done.states, done.kept, done.footprints) == ({"done": 3}, 1, 3)
        assert network.windows == 8  # of the old model's chunks nothing is taken
        whole = tmp_path / "whole"
        run(scenes, Network(150), whole)
        for name in "abc":
            file = f"{name}/{name}.geojson"
            assert (out / file).read_bytes() == (whole / file).read_bytes()
        assert run(scenes, Network(150), out).kept == 3

    def test_one_killed_before_its_first_scene_takes_nothing_of_the_old_run(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)

        def killed(*words: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(batch_run, "remove_store", killed)
            with pytest.raises(KeyboardInterrupt):
                run(scenes, Network(), out, restart=True)
        network = Network()
        run(scenes, network, out)
        assert network.windows == 3 * 4


class TestPulledDisk:
    def test_a_scene_that_was_not_there_is_tried_again(self, scenes: Path, tmp_path: Path) -> None:
        pulled = tmp_path / "pulled"

        class Pulling(Network):
            def __call__(self, batch: np.ndarray) -> np.ndarray:
                if self.windows == 4:
                    scenes.rename(pulled)
                return super().__call__(batch)

        done = run(scenes, Pulling(), tmp_path / "out", on_error="skip")
        assert done.states == {"done": 1, "failed": 2}
        pulled.rename(scenes)
        done = run(scenes, Network(), tmp_path / "out", on_error="skip")
        assert (done.states, done.kept) == ({"done": 3}, 1)

    def test_one_that_is_there_is_left_alone_however_it_is_named(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(scenes)
        with zipfile.ZipFile("z.zip", "w") as archive:
            archive.write("a.tif")
        own_faults = ["zip://z.zip!a.tif", "zip://z.zip/x.tif", "SENTINEL2_L1C:a.tif:10m:EPSG_32632"]
        gone = ["zip://none.zip!a.tif", "zip://none.zip/a.tif"]
        for number, name in enumerate([*own_faults, *gone]):
            out = tmp_path / str(number)
            assert run(name, Network(), out).states == {"failed": 1}
            left_alone = ["1 scene that failed before: --retry-failed tries again"]
            assert run(name, Network(), out).notes == ([] if name in gone else left_alone), name


class TestNames:
    @pytest.mark.parametrize("alike", [False, True])
    def test_a_scene_does_not_replace_another_one_of_its_name(self, tmp_path: Path, alike: bool) -> None:
        out = tmp_path / "out"
        north, south = (
            save(tmp_path / side / "a.tif", c, compress="none") for side, c in (("north", 0), ("south", 500))
        )
        if alike:  # of one size and time, as what comes out of an archive
            assert north.stat().st_size == south.stat().st_size
            for scene in (north, south):
                os.utime(scene, (1_000_000_000, 1_000_000_000))
        other = save(tmp_path / "b.tif", 1000)
        run([north, other], Network(), out)
        before = (out / "a" / "a.geojson").read_bytes()
        with pytest.raises(InputError, match=r"would replace those of .*north.*Name both in one command"):
            run([south, other], Network(), out)
        assert (out / "a" / "a.geojson").read_bytes() == before
        # The three ways that the message names.
        assert run([north, south, other], Network(), out).states == {"done": 3}
        assert run([south, other], Network(), tmp_path / "elsewhere").states == {"done": 2}
        assert run([south, other], Network(), out, restart=True).states == {"done": 2}
        assert gpd.read_file(out / "a" / "a.geojson").total_bounds[0] != pytest.approx(85.4)
        with read_manifest(out) as manifest:
            record = manifest.get("a")
        assert record is not None
        assert record.paths == [str(south)]

    def test_a_scene_that_was_moved_is_the_same(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, Network(), tmp_path / "out")
        shutil.move(scenes, tmp_path / "moved")
        assert run(tmp_path / "moved", Network(), tmp_path / "out").kept == 3
        save(tmp_path / "moved" / "b.tif", 700)
        assert run(tmp_path / "moved", Network(), tmp_path / "out").states == {"done": 3}

    def test_from_another_folder(self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        run(Path("in"), Network(), tmp_path / "out")
        monkeypatch.chdir(scenes)
        save(scenes / "b.tif", 700)
        assert run(Path(), Network(), tmp_path / "out").kept == 2

    def test_results_do_not_go_to_the_folder_of_the_scenes(self, scenes: Path) -> None:
        with pytest.raises(InputError, match="must be another folder than that of the scenes") as error:
            run(scenes, Network(), scenes)
        advised = str(error.value).rpartition("--out ")[2].removesuffix(".")
        assert run(scenes, Network(), Path(advised)).states == {"done": 3}
        assert run(scenes, Network(), Path(advised)).kept == 3

    def test_results_do_not_go_to_links_in_a_circle(self, scenes: Path, tmp_path: Path) -> None:
        (tmp_path / "out").symlink_to(tmp_path / "out")
        with pytest.raises(InputError, match="can't be made or written to"):
            run(scenes, Network(), tmp_path / "out")


def write_anew(path: Path, content: bytes) -> None:
    """Write a file in place, with the size and the time that it had."""
    stat = path.stat()
    assert len(content) == stat.st_size
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class TestFilesAsLargeAndAsOldAsBefore:
    @pytest.mark.parametrize("mosaic", [False, True])
    def test_one_that_shows_something_else_is_done_again(self, tmp_path: Path, mosaic: bool) -> None:
        folder, out = tmp_path / "in", tmp_path / "out"
        scenes = [save(folder / f"{k}.tif", 60 * k, compress=None) for k in range(2)]
        for path in scenes:  # old enough for their headers and contents to be kept
            os.utime(path, (1e9, 1e9))
        settings: dict[str, Any] = {"mosaic": "auto" if mosaic else "off"}
        run(folder, Network(), out, **settings)
        before = {path: path.read_bytes() for path in out.rglob("*.geojson")}
        write_anew(scenes[1], scenes[1].read_bytes().replace(b"\xdc" * 20, b"\x00" * 20, 10))
        again = run(folder, Network(), out, **settings)
        assert again.kept == (0 if mosaic else 1)
        changed = [path for path, content in before.items() if path.read_bytes() != content]
        assert len(changed) == 1

    def test_one_that_was_moved_is_looked_at_once(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)
        copied = tmp_path / "copied"
        shutil.copytree(scenes, copied)  # with their times
        shutil.rmtree(scenes)
        looked: list[str] = []
        digest = scene.fingerprint_files
        monkeypatch.setattr(scene, "fingerprint_files", lambda *of: (looked.append(of[0]), digest(*of))[1])
        for _ in range(2):
            assert run(copied, Network(), out).kept == 3
        assert len(looked) == 3
        with read_manifest(out) as manifest:
            assert all(record.listed for record in manifest.scenes())

    def test_one_of_a_manifest_without_times_of_change_is_not_looked_at(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)
        with closing(sqlite3.connect(out / MANIFEST)) as database, database:
            database.execute("UPDATE scenes SET stamp = substr(stamp, 1, instr(stamp, ' ') - 1)")
        with monkeypatch.context() as patch:
            patch.setattr(scene, "fingerprint_files", None)
            assert run(scenes, Network(), out).kept == 3
        with read_manifest(out) as manifest:  # from here on a change is seen
            assert all(" " in record.stamp for record in manifest.scenes())

    @pytest.mark.parametrize("error", [RunError("The server did not answer."), PermissionError(13, "Denied")])
    def test_one_that_can_not_be_looked_at_stays_done(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        out, network, stages = tmp_path / "out", Network(), []
        run(scenes, network, out)
        write_anew(scenes / "b.tif", (scenes / "b.tif").read_bytes())
        network.windows = 0

        def failing(*words: Any) -> str:
            raise error

        def progress(stage: str, done: float, total: float, **info: float) -> None:
            stages.append((stage, done, total))

        with monkeypatch.context() as patch:
            patch.setattr(scene, "fingerprint_files", failing)
            again = run(scenes, network, out, progress=progress)
        assert (again.kept, network.windows) == (3, 0)
        assert "1 scene was written or moved and can't be looked at" in again.notes[-1]
        assert again.notes[-1].endswith(f"b: {error}")
        assert ("look again", 2, 3) in stages
        # It is looked at as soon as it can be, and then no more.
        stages.clear()
        for _ in range(2):
            assert run(scenes, network, out, progress=progress).notes == []
        assert [stage for stage, *_ in stages].count("look again") == 1

    @pytest.mark.parametrize("harm", ["no raster", "one band"])
    def test_one_that_can_be_looked_at_and_is_no_scene_any_more_fails(
        self, scenes: Path, tmp_path: Path, harm: str
    ) -> None:
        out, place = tmp_path / "out", scenes / "b.tif"
        run(scenes, Network(), out, bands=(1, 2, 3))
        content, other = place.read_bytes(), b"no raster"
        if harm == "one band":
            with MemoryFile() as memory:
                with memory.open(driver="GTiff", width=9, height=9, count=1, dtype="uint8", transform=PLACE):
                    pass
                other = memory.read()
        write_anew(place, other.ljust(len(content), b"\0"))
        again = run(scenes, Network(), out, bands=(1, 2, 3))
        assert (again.states, again.kept, again.notes) == ({"done": 2, "failed": 1}, 2, [])
        assert states(out)["b"] == "failed"
        write_anew(place, content)
        assert run(scenes, Network(), out, bands=(1, 2, 3)).states == {"done": 3}

    def test_one_of_a_record_without_a_fingerprint_is_done_again(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)
        with closing(sqlite3.connect(out / MANIFEST)) as database, database:
            database.execute("UPDATE scenes SET provenance = '{\"scene\": {}}' WHERE name = 'b'")
        write_anew(scenes / "b.tif", (scenes / "b.tif").read_bytes())
        done = run(scenes, Network(), out)
        assert (done.states, done.kept) == ({"done": 3}, 2)

    def test_an_area_that_was_written_anew_counts(self, scenes: Path, tmp_path: Path) -> None:
        out, area = tmp_path / "out", tmp_path / "area.geojson"
        ring = "[[85, 27], [86, 27], [86, 28], [85, 28], [85, 27]]"
        area.write_text(f'{{"type": "Polygon", "coordinates": [{ring}]}}')
        run(scenes, Network(), out, aoi=area)
        os.utime(area, (1e9, 1e9))
        assert run(scenes, Network(), out, aoi=area).kept == 3
        write_anew(area, area.read_bytes().replace(b"[86,", b"[87,"))
        with pytest.raises(StateMismatchError, match="aoi was"):
            run(scenes, Network(), out, aoi=area)

    def test_one_too_large_to_be_hashed_whole_counts_too(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fingerprint, "_WHOLE_BYTES", 0)
        out, known = tmp_path / "out", tmp_path / "known.geojson"
        gpd.GeoSeries([shapely.box(85, 27, 86, 28)], crs=4326).to_file(known)
        # What is edited lies between the pieces that are hashed.
        before, after = known.read_bytes().replace(b"85.0", b"84.0", 1), known.read_bytes()
        spaces = b" " * 200_000
        known.write_bytes(before.replace(b'"features"', spaces + b'"features"', 1) + spaces)
        run(scenes, Network(), out, update=known)
        known.chmod(0o600)  # changes the time of its change
        os.utime(known, (1e9, 1e9))
        assert run(scenes, Network(), out, update=known).kept == 3
        write_anew(known, after.replace(b'"features"', spaces + b'"features"', 1) + spaces)
        assert run(scenes, Network(), out, update=known).kept == 0


class TestWhatLeftTheInput:
    def test_it_is_told_apart_and_fails_nothing(self, scenes: Path, tmp_path: Path) -> None:
        (scenes / "d.tif").write_text("no raster")
        out = tmp_path / "out"
        run(scenes, Network(), out)
        assert CliRunner().invoke(app, ["status", str(out)]).exit_code == 1
        (scenes / "d.tif").unlink()
        (scenes / "c.tif").unlink()
        assert run(scenes, Network(), out).states == {"done": 2}
        done = CliRunner().invoke(app, ["status", str(out), "--all"])
        assert done.exit_code == 0
        lines = done.stdout.splitlines()
        assert lines[0] == "2 scenes: 2 done; 2 footprints"
        assert lines[3] == "2 scenes of earlier calls, which the last one did not name"
        assert lines[4].startswith("  c: 1 footprint")
        assert lines[5].startswith("  d: failed: ")
        told = json.loads(CliRunner().invoke(app, ["status", str(out), "--json"]).stdout)
        assert [one["listed"] for one in told["scenes"]] == [True, True, False, False]
        # Named again, they are part of it again.
        save(scenes / "c.tif", 1000)
        assert run(scenes, Network(), out).states == {"done": 3}


class TestDates:
    def items(self, folder: Path, dates: dict[str, str]) -> Path:
        features = [
            {
                "type": "Feature", "stac_version": "1.0.0", "id": name, "properties": {"datetime": date},
                "assets": {"visual": {"href": f"./{name}.tif", "type": "image/tiff"}},
            }
            for name, date in dates.items()
        ]  # fmt: skip
        file = folder / "items.json"
        file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return file

    def test_a_newer_date_is_seen(self, scenes: Path, tmp_path: Path) -> None:
        dates = dict.fromkeys("abc", "2023-05-06T00:00:00Z")
        out = tmp_path / "out"
        run(self.items(scenes, dates), Network(), out)
        assert run(self.items(scenes, dates), Network(), out).kept == 3
        network = Network()
        done = run(self.items(scenes, dates | {"b": "2024-05-06T00:00:00Z"}), network, out)
        assert (done.kept, done.states) == (2, {"done": 3})
        assert network.windows == 0
        assert gpd.read_file(out / "b" / "b.geojson").acquired.astype(str).tolist() == ["2024-05-06"]

    def test_it_puts_another_sheet_on_top(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        save(folder / "a.tif")
        bare = save(folder / "b.tif", 60)
        dates = {"a": "2023-05-06T00:00:00Z", "b": "2024-05-06T00:00:00Z"}
        settings: dict[str, Any] = {"on_top": "newest"}
        stamps = []
        for changed in (dates, dates | {"a": "2025-01-01T00:00:00Z"}):
            run(self.items(folder, changed), Network(), tmp_path / "out", **settings)
            with read_manifest(tmp_path / "out") as manifest:
                (record,) = manifest.scenes()
            stamps.append(record.stamp)
        assert bare.exists()
        assert stamps[0] != stamps[1]

    def test_of_a_tile_index(self, scenes: Path, tmp_path: Path) -> None:
        places = gpd.GeoSeries.from_wkt([f"POLYGON (({k} 0, {k} 1, {k + 1} 1, {k} 0))" for k in (0, 5)])
        files, dates = [str(scenes / f"{name}.tif") for name in "ab"], ["2021-01-02", "2022-01-02"]
        table = {"location": files, "datetime": dates}
        index = tmp_path / "index.gti.gpkg"
        gpd.GeoDataFrame(table, geometry=places, crs=4326).to_file(index)
        plan = plan_batch([index], RunSettings())
        assert [scene.dates for scene in plan.scenes] == [("2021-01-02",), ("2022-01-02",)]
        run(index, Network(), tmp_path / "out")
        with read_manifest(tmp_path / "out") as manifest:
            assert [record.acquired for record in manifest.scenes()] == ["2021-01-02", "2022-01-02"]


class TestFaults:
    def test_after_a_write_error_the_same_command_tries_again(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = batch_run.run_scene

        def failing(reference: Any, *words: Any, **settings: Any) -> Any:
            if "b.tif" in str(reference):
                raise RunError("b can't be written. Put that right and give the same command again.")
            return real(reference, *words, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(batch_run, "run_scene", failing)
            assert run(scenes, Network(), tmp_path / "out").states == {"done": 2, "failed": 1}
        done = run(scenes, Network(), tmp_path / "out")
        assert (done.states, done.kept) == ({"done": 3}, 2)

    @pytest.mark.parametrize("harm", ["pages", "json", "table"])
    def test_a_damaged_manifest(self, harm: str, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)
        place = out / MANIFEST
        if harm == "pages":
            content = place.read_bytes()
            place.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        else:
            with sqlite3.connect(place) as database:
                database.execute(
                    "UPDATE scenes SET files = '{' WHERE name = 'b'"
                    if harm == "json"
                    else "DROP TABLE scenes"
                )
            database.close()
        message = (
            r"manifest\.sqlite must be whole, got a damaged file.* Move it away and run the scenes again"
        )
        with pytest.raises(InputError, match=message):
            run(scenes, Network(), out)
        done = CliRunner().invoke(app, ["status", str(out)])
        assert done.exit_code == 2
        assert "must be whole" in done.stderr
        place.unlink()
        network = Network()
        assert run(scenes, network, out).states == {"done": 3}
        assert network.windows == 0
