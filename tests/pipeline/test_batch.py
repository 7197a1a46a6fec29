"""Many scenes in one call: what is planned, what is done once, what fails, and what the manifest says."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from batch_scenes import OPTIONS, Network, run, save, states
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, MissingFileError, RunError, SceneError, StateMismatchError
from geoseg.files import DiskFullError, LockedError
from geoseg.geo.windows import Window
from geoseg.io import fingerprint, local_files
from geoseg.io.mosaic import Sheets, index
from geoseg.io.scene import Scene
from geoseg.io.sources import open_raster
from geoseg.io.stac import read_stac
from geoseg.io.writers import read_provenance
from geoseg.models import as_predictor
from geoseg.pipeline.batch import MANIFEST, dry_run, plan_batch, read_manifest
from geoseg.pipeline.batch import run as batch_run
from geoseg.pipeline.batch import run_batch as run_words
from geoseg.pipeline.batch.todo import batch_key
from geoseg.raster.source import SceneReadError

pytestmark = pytest.mark.usefixtures("cache")


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix == ".geojson"}


class TestPlan:
    def names(self, words: list[Any], **settings: Any) -> list[str]:
        return [scene.name for scene in plan_batch(words, RunSettings(**settings)).scenes]

    def test_files_folders_patterns_and_lists(self, scenes: Path, tmp_path: Path) -> None:
        save(tmp_path / "more" / "d.tif", 3000)
        (tmp_path / "list.txt").write_text("more/d.tif\n")
        words = [str(scenes), str(tmp_path / "more" / "*.tif"), f"@{tmp_path / 'list.txt'}"]
        plan = plan_batch(words, RunSettings())
        assert [scene.name for scene in plan.scenes] == ["a", "b", "c", "d"]
        again = plan_batch([str(scenes / "a.tif"), str(scenes / ".." / "in" / "a.tif")], RunSettings())
        assert len(again.scenes) == 1
        assert "is named twice, and taken once" in again.notes[0]
        link = tmp_path / "more" / "link.tif"
        link.symlink_to(scenes / "a.tif")
        both = [str(scenes / "a.tif"), str(link)]
        assert self.names(both) == self.names(both[::-1]) == ["a"]

    def test_files_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        words = [save(tmp_path / side / "a.tif", col) for side, col in (("north", 0), ("south", 500))]
        plan = plan_batch(words, RunSettings())
        assert [scene.name for scene in plan.scenes] == ["north_a", "south_a"]
        assert plan.notes == ("files of one name are told apart by their folders: north_a, south_a",)

    def test_names_that_folders_do_not_tell_apart_are_numbered(self, tmp_path: Path) -> None:
        words = [
            save(tmp_path / name, 500 * k) for k, name in enumerate(("x/1_a.tif", "x/1/a.tif", "y/a.tif"))
        ]
        names = self.names(words)
        assert len(set(names)) == 3
        assert self.names(words[::-1]) == names

    def test_items_of_one_collection_without_the_asset_are_each_listed(self, tmp_path: Path) -> None:
        items = [
            {"type": "Feature", "stac_version": "1.0.0", "id": name, "properties": {}, "assets": {}}
            for name in "ab"
        ]
        file = tmp_path / "items.json"
        file.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        assert self.names([file]) == ["a", "b"]
        assert self.names(list(read_stac(file)[0])) == ["a", "b"]

    def test_mosaics(self, tmp_path: Path) -> None:
        for k, name in enumerate("abc"):
            save(tmp_path / "ortho" / f"{name}.tif", 64 * k)
        save(tmp_path / "ortho" / "far.tif", 5000)
        assert self.names([tmp_path / "ortho"]) == ["far", "ortho"]
        assert self.names([tmp_path / "ortho"], mosaic="off") == ["a", "b", "c", "far"]
        plan = plan_batch([tmp_path / "ortho"], RunSettings(on_top="first"))
        (sheets,) = (scene.reference for scene in plan.scenes if isinstance(scene.reference, Sheets))
        assert (sheets.on_top, len(sheets.paths)) == ("first", 3)

    def test_a_broken_sheet_is_no_silent_hole(self, tmp_path: Path) -> None:
        for k, name in enumerate("abcd"):
            save(tmp_path / "ortho" / f"{name}.tif", 64 * (k % 2), 64 * (k // 2))
        (tmp_path / "ortho" / "b.tif").write_text("no raster")
        with pytest.raises(SceneError, match=r"got .*b\.tif: .* --on-error skip goes on without them"):
            plan_batch([tmp_path / "ortho"], RunSettings())
        done = run(tmp_path / "ortho", Network(), tmp_path / "out", on_error="skip")
        assert (done.states, done.footprints) == ({"done": 1, "failed": 1}, 3)
        assert [record.name for record in done.missing] == ["b"]
        # Once it can be read it is part of the mosaic, and no scene is missing.
        save(tmp_path / "ortho" / "b.tif", 64)
        done = run(tmp_path / "ortho", Network(), tmp_path / "out", on_error="skip")
        assert (done.states, done.footprints) == ({"done": 1}, 4)
        assert states(tmp_path / "out") == {"ortho": "done"}

    def test_results_in_the_folder_of_the_scenes_are_no_scenes(self, scenes: Path) -> None:
        run(scenes, Network(), scenes / "out", save_mask=True)
        assert run(scenes, Network(), scenes / "out", save_mask=True).kept == 3


class TestGoingOn:
    def test_each_scene_has_a_folder_and_is_done_once(self, scenes: Path, tmp_path: Path) -> None:
        out, network = tmp_path / "out", Network()
        first = run(scenes, network, out)
        assert (first.states, first.footprints, first.kept) == ({"done": 3}, 3, 0)
        assert gpd.read_file(out / "b" / "b.geojson").scene.tolist() == ["b"]
        written, network.windows = times(out), 0
        again = run(scenes, network, out)
        assert (again.kept, network.windows, times(out)) == (3, 0, written)
        with read_manifest(out) as manifest:
            record = manifest.get("b")
            assert manifest.facts["options"]["window"] == [48, 48]
        assert record is not None
        assert (record.footprints, record.files, record.crs) == (1, {"geojson": "b/b.geojson"}, "EPSG:32645")
        assert record.bounds == [350_250, 3_055_968, 350_282, 3_056_000]
        assert record.provenance == read_provenance(out / "b" / "b.geojson")
        assert record.provenance["scene"] == {
            "name": "b",
            "fingerprint": open_raster(scenes / "b.tif").fingerprint(),
        }

    def test_what_is_lost_or_changed_is_done_again(self, scenes: Path, tmp_path: Path) -> None:
        out, network = tmp_path / "out", Network()
        run(scenes, network, out)
        (out / "a" / "a.geojson").unlink()
        image = np.zeros((3, 64, 64), np.uint8)
        image[:, 2:10, 3:11] = image[:, 30:40, 30:40] = 200
        with rasterio.open(scenes / "c.tif", "r+") as file:
            file.write(image)
        network.windows = 0
        again = run(scenes, network, out)
        assert (again.kept, again.footprints, again.states) == (1, 4, {"done": 3})
        assert network.windows == 5  # of c alone, the first one twice: a had all its chunks
        (changed,) = (record for record in again.scenes if record.name == "c")
        assert "its files have changed since, so it was begun anew" in changed.notes

    def test_other_options_for_footprints_predict_nothing_again(self, scenes: Path, tmp_path: Path) -> None:
        out, network = tmp_path / "out", Network()
        run(scenes, network, out)
        network.windows = 0
        assert run(scenes, network, out, min_area_m2=5000).footprints == 0
        assert network.windows == 0

    def test_what_is_done_stays_wherever_the_store_was(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out, store=str(tmp_path / "store"))
        assert [run(scenes, Network(), out, store=store).kept for store in (None, str(tmp_path / "b"))] == [
            3,
            3,
        ]

    def test_another_area_in_the_same_file_is_seen(self, scenes: Path, tmp_path: Path) -> None:
        area, out = tmp_path / "area.geojson", tmp_path / "out"
        for side in (30, 2000):
            place = shapely.box(350_000, 3_056_000 - side, 350_000 + side, 3_056_000)
            gpd.GeoSeries([place], crs="EPSG:32645").to_file(area)
            if side == 30:
                settings = {"aoi": str(area), "on_error": "skip"}
                before = run(scenes / "*.tif", Network(), out, **settings).states
                assert run(scenes / "*.tif", Network(), out, **settings).states == before
        with pytest.raises(StateMismatchError):
            run(scenes / "*.tif", Network(), out, **settings)

    def test_another_model_is_refused(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, Network(), tmp_path / "out")
        before = states(tmp_path / "out")
        with pytest.raises(StateMismatchError, match=r"model was .*, now .* Give --restart"):
            run(scenes, Network(200), tmp_path / "out")
        assert states(tmp_path / "out") == before
        assert run(scenes, Network(230), tmp_path / "out", restart=True).footprints == 0

    def test_a_folder_is_listed_once_however_many_scenes_it_holds(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed: list[str] = []
        scandir = os.scandir
        monkeypatch.setattr(
            local_files.os, "scandir", lambda place: (listed.append(str(place)), scandir(place))[1]
        )
        plan = plan_batch([scenes], RunSettings(mosaic="off"))
        stamps = index.files_stamps([scene.paths for scene in plan.scenes])
        assert len(set(stamps)) == 3
        assert listed.count(str(scenes)) == 1

    def test_a_stop_in_the_middle(self, scenes: Path, tmp_path: Path) -> None:
        out, whole = tmp_path / "out", tmp_path / "whole"

        class Stopping(Network):
            def __call__(self, batch: np.ndarray) -> np.ndarray:
                if self.windows >= 6:
                    raise KeyboardInterrupt
                return super().__call__(batch)

        with pytest.raises(KeyboardInterrupt, match="1 of 3 scenes are finished"):
            run(scenes, Stopping(), out)
        assert states(out) == {"a": "done", "b": "stopped", "c": "waiting"}
        network = Network()
        assert run(scenes, network, out).states == {"done": 3}
        run(scenes, Network(), whole)
        for name in "abc":
            file = f"{name}/{name}.geojson"
            assert (out / file).read_bytes() == (whole / file).read_bytes()

    def test_a_manifest_of_before_there_were_extras(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)
        with closing(sqlite3.connect(out / MANIFEST)) as database:
            database.execute("ALTER TABLE scenes DROP COLUMN extras")
        assert states(out) == dict.fromkeys("abc", "done")
        assert run(scenes, Network(), out).kept == 3

    def test_one_killed_before_the_manifest_was_whole(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / MANIFEST).touch()
        assert run(scenes, Network(), out).states == {"done": 3}

    def test_what_the_whole_was_made_with(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, Network(), tmp_path / "out", threshold=0.4)
        with read_manifest(tmp_path / "out") as manifest:
            facts, records = manifest.facts, manifest.scenes()
        assert facts["geoseg"] == geoseg.__version__
        assert facts["options"]["threshold"] == 0.4
        assert {record.key for record in records} == {facts["key"]}
        assert {record.geoseg for record in records} == {geoseg.__version__}
        assert facts["model_fingerprint"] == facts["decisive"]["model"]

    def test_addresses_of_one_file_name_are_not_one_scene(self) -> None:
        words = [[f"https://example.org/{year}/a.tif"] for year in (2023, 2024)]
        assert len(set(index.files_stamps(words))) == 2

    def test_a_killed_batch_is_told_from_one_at_work(self, scenes: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(scenes, Network(), out)
        with sqlite3.connect(out / MANIFEST) as database:
            database.execute("UPDATE scenes SET state = 'running' WHERE name = 'b'")
        database.close()
        done = CliRunner().invoke(app, ["status", str(out), "--json"])
        assert (done.exit_code, json.loads(done.stdout)["states"]["stopped"]) == (1, 1)
        assert run(scenes, Network(), out).kept == 2

    def test_two_batches_do_not_share_a_folder(self, scenes: Path, tmp_path: Path) -> None:
        out, seen = tmp_path / "out", []

        class Nested(Network):
            def __call__(self, batch: np.ndarray) -> np.ndarray:
                with ThreadPoolExecutor(1) as pool:  # a lock belongs to a thread
                    error = pool.submit(run, scenes, Network(), out).exception()
                    status = pool.submit(CliRunner().invoke, app, ["status", str(out), "--json"]).result()
                seen.append((type(error), json.loads(status.stdout)["at_work"]))
                return super().__call__(batch)

        run(scenes / "a.tif", Nested(), out)
        assert set(seen[1:]) == {(LockedError, True)}  # the first window is tried before the folder is taken


class TestFailures:
    @pytest.fixture
    def broken(self, scenes: Path) -> Path:
        content = (scenes / "b.tif").read_bytes()
        (scenes / "b.tif").write_bytes(content[: len(content) // 2])
        (scenes / "d.tif").write_text("no raster")
        return scenes

    def test_the_rest_goes_on(self, broken: Path, tmp_path: Path) -> None:
        out, network = tmp_path / "out", Network()
        done = run(broken, network, out)
        assert done.states == {"done": 2, "failed": 2}
        assert [record.name for record in done.missing] == ["b", "d"]
        assert "scene must be a raster file" in done.missing[1].error
        assert "Traceback" not in done.missing[0].error
        network.windows = 0
        again = run(broken, network, out)
        assert (again.kept, network.windows) == (2, 0)
        assert again.notes[-1] == "2 scenes that failed before: --retry-failed tries again"
        save(broken / "b.tif", 500)  # mended: no need to ask for it
        assert run(broken, network, out).states == {"done": 3, "failed": 1}
        assert run(broken, network, out, retry_failed=True).states == {"done": 3, "failed": 1}

    def test_regions_that_are_skipped_make_it_incomplete(self, broken: Path, tmp_path: Path) -> None:
        (broken / "d.tif").unlink()
        done = run(broken, Network(), tmp_path / "out", on_error="skip")
        assert done.states == {"done": 2, "incomplete": 1}
        assert done.missing[0].failures
        assert run(broken, Network(), tmp_path / "out", on_error="skip").missing[0].state == "incomplete"

    def test_regions_that_could_not_be_read_for_a_while_are_read_again(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(scene: Scene, window: Window) -> None:
            raise SceneReadError(f"cannot read {window}", scene.path, window, "Input/output error")

        with monkeypatch.context() as busy:
            busy.setattr(Scene, "read", fail)
            done = run(scenes / "a.tif", Network(), tmp_path / "out", on_error="skip", retry_failed=True)
        assert done.states == {"incomplete": 1}
        again = run(scenes / "a.tif", Network(), tmp_path / "out", on_error="skip")
        assert again.notes[-1] == "1 scene that failed before: --retry-failed tries again"
        again = run(scenes / "a.tif", Network(), tmp_path / "out", on_error="skip", retry_failed=True)
        assert again.states == {"done": 1}
        assert len(gpd.read_file(tmp_path / "out" / "a" / "a.geojson")) == 1

    def test_a_scene_that_failed_is_tried_again_with_other_options(
        self, broken: Path, tmp_path: Path
    ) -> None:
        (broken / "d.tif").unlink()
        for _ in range(2):
            assert run(broken, Network(), tmp_path / "out").states == {"done": 2, "failed": 1}
        # What the error advises is done without a further word.
        done = run(broken, Network(), tmp_path / "out", on_error="skip")
        assert (done.states, done.kept) == ({"done": 2, "incomplete": 1}, 2)

    def test_too_many_failures_end_it(self, broken: Path, tmp_path: Path) -> None:
        (broken / "a.tif").write_text("no raster")
        with pytest.raises(RunError, match="2 failed, more than max_failures allows"):
            run(broken, Network(), tmp_path / "out", max_failures=1, mosaic="off")
        assert states(tmp_path / "out") == {"a": "failed", "b": "failed", "c": "waiting", "d": "waiting"}

    def test_a_full_disk_ends_it(self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*words: Any, **settings: Any) -> None:
            raise DiskFullError("no room")

        monkeypatch.setattr(batch_run, "run_scene", full)
        with pytest.raises(DiskFullError):
            run(scenes, Network(), tmp_path / "out")
        assert states(tmp_path / "out")["a"] == "stopped"

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"text" * 1000, "must be a manifest of geoseg"), (None, "must be a manifest")],
    )
    def test_another_file_of_the_manifest_s_name(
        self, scenes: Path, tmp_path: Path, content: bytes | None, message: str
    ) -> None:
        (tmp_path / "out").mkdir()
        place = tmp_path / "out" / MANIFEST
        if content is None:
            with sqlite3.connect(place) as database:
                database.execute("CREATE TABLE other (x)")
            database.close()
        else:
            place.write_bytes(content)
        before = place.read_bytes()
        with pytest.raises(InputError, match=message):
            run(scenes, Network(), tmp_path / "out")
        assert place.read_bytes() == before

    def test_no_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"must hold manifest\.sqlite"), read_manifest(tmp_path):
            pass


class TestDryRun:
    def test_it_says_what_would_be_done_and_does_nothing(self, scenes: Path, tmp_path: Path) -> None:
        (scenes / "b.tif").write_text("no raster")
        settings = RunSettings(**OPTIONS)
        found = dry_run([scenes], Network(), tmp_path / "out", settings)
        assert not (tmp_path / "out").exists()
        a, b, _ = found.scenes
        assert (a.name, a.height, a.width, a.windows, a.store_bytes) == ("a", 64, 64, 4, 64 * 64)
        assert a.gsd == pytest.approx(0.5, rel=1e-3)
        assert "scene must be a raster file" in b.error
        assert found.totals["windows"] == 8
        assert found.totals["failing"] == 1
        assert found.window_seconds > 0
        run(scenes, Network(), tmp_path / "out")
        save(scenes / "d.tif", 2000)
        again = dry_run([scenes], Network(), tmp_path / "out", settings)
        assert ([one.name for one in again.scenes], again.kept) == (["d"], 3)

    def test_a_scene_that_would_never_end_fails(self, tmp_path: Path) -> None:
        (tmp_path / "huge.vrt").write_text(
            '<VRTDataset rasterXSize="1000000000" rasterYSize="1000000000">'
            '<VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
        )
        found = dry_run([tmp_path / "huge.vrt"], Network(), tmp_path / "out", RunSettings(**OPTIONS))
        assert "small enough to end in" in found.scenes[0].error
        assert found.totals["failing"] == 1

    def test_a_disk_that_is_too_small_is_told(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
        found = dry_run([scenes], Network(), tmp_path / "out", RunSettings(**OPTIONS))
        assert "probabilities may take up to 0.0 GB, and 0.0 GB are free" in found.notes[-1]

    def test_the_command(self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def quick(words: Any, model: Any, out: Any, settings: Any, **rest: Any) -> Any:
            return dry_run(words, Network(), out, RunSettings(**OPTIONS), **rest)

        monkeypatch.setattr("geoseg.pipeline.batch.dry_run", quick)
        command = ["run", str(scenes / "a.tif"), "--out", str(tmp_path / "out"), "--dry-run"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.stderr
        assert "a: 64 x 64 pixels of 0.5 m, 4 windows, about 0 s" in done.stdout
        assert "1 scene to do: 0.0 Mpx, 4 windows" in done.stdout
        assert json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["totals"]["windows"] == 4

    def test_networks_that_run_at_a_time_share_the_windows(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The package has a function of the module's name.
        monkeypatch.setattr(sys.modules[dry_run.__module__], "networks_at_once", lambda settings: 8)
        found = dry_run([scenes], Network(), tmp_path / "out", RunSettings(**OPTIONS))
        assert found.networks == 8
        for scene in found.scenes:
            assert scene.seconds == round(scene.windows * found.window_seconds / 8, 2)
        assert not (tmp_path / "out").exists()


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command, with a network that costs nothing."""

    def quick(words: Any, model: Any, out: Any, settings: Any, **rest: Any) -> Any:
        plain = settings.model_copy(update={"window": (48, 48), "overlap": (16, 16), "chunk": 64})
        return run_words(words, Network(), out, plain, **rest)

    monkeypatch.setattr("geoseg.pipeline.batch.run_batch", quick)
    return None


@pytest.mark.usefixtures("shipped")
class TestCommand:
    def test_it_ends_with_a_list_of_what_is_missing(self, scenes: Path, tmp_path: Path) -> None:
        (scenes / "b.tif").write_text("no raster")
        out = tmp_path / "out"
        done = CliRunner().invoke(app, ["run", str(scenes), "--out", str(out)])
        assert done.exit_code == 1
        assert "3 scenes: 2 done, 1 failed; 2 footprints" in done.stdout
        lines = done.stderr.splitlines()
        assert lines[0] == "3 scenes"
        assert lines[1].startswith("[1/3] a: 1 footprint, 0.0 Mpx in ")
        assert any(line.startswith("failed: b: scene must be a raster file") for line in lines)
        assert lines[-1].startswith(f"error: 1 scene of 3 is not complete; geoseg status {out}")
        status = CliRunner().invoke(app, ["status", str(out)])
        assert status.exit_code == 1
        assert "b: failed: scene must be a raster file" in status.stdout
        save(scenes / "b.tif", 500)
        done = CliRunner().invoke(app, ["run", str(scenes), "-o", str(out), "--json"])
        assert done.exit_code == 0
        assert json.loads(done.stdout)["states"] == {"done": 3}
        assert json.loads(done.stdout)["collection"] is None
        told = CliRunner().invoke(app, ["info", str(out)])
        assert (told.exit_code, told.stdout) == (2, "")
        assert f"geoseg status {out} tells of them." in told.stderr
        status = CliRunner().invoke(app, ["status", str(out), "--all"])
        assert (status.exit_code, status.stdout.count("1 footprint,")) == (0, 3)
        # One of the scenes alone is that of the folder, and not a second one beside the manifest.
        done = CliRunner().invoke(app, ["run", str(scenes / "b.tif"), "-o", str(out)])
        assert done.stdout.splitlines()[0].startswith("1 scene: 1 done; 1 footprint")
        assert not (out / "b.geojson").exists()
        # What lies beside the results of all is named in the end, and that of each scene with the scene.
        command = ["run", str(scenes), "-o", str(out), "--restart", "--format", "geojson,gpkg", "--json"]
        done = CliRunner().invoke(app, [*command, "--stac", "--qgs", "--report", "--save-mask"])
        for record in json.loads(done.stdout)["scenes"]:
            listed = {out / file for file in (record["files"] | record["extras"]).values()}
            assert listed == {path for path in (out / record["name"]).glob("*.*") if path.is_file()}
        told = json.loads(CliRunner().invoke(app, ["status", str(out), "--json"]).stdout)
        assert set(told["scenes"][0]["extras"]) >= {"style", "qgs", "stac"}
        done = CliRunner().invoke(app, ["run", str(scenes), "-o", str(out), "--merge", "fgb", "--stac"])
        names = ["merged.fgb", "manifest.sqlite", "collection.json"]
        assert done.stdout.splitlines()[-3:] == [str(out / name) for name in names]
        assert all((out / name).is_file() for name in names)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["none/*.tif"], "which matches none"),
            (["a.tif", "none.tif"], "scene must be an existing file, got none.tif"),
            (["."], "without any"),
            # Wrong for every scene, so it is no failure of each.
            (
                ["a*.tif", "--format", "foo"],
                "format must be one of",
            ),
            (["a*.tif", "--aoi", "none.gpkg"], "must exist, got none.gpkg"),
            (["a*.tif", "--format", "foo", "--dry-run"], "format must be one of"),
            (["a*.tif", "--update-iou", "0.4"], "update_iou must come with update"),
            (["a.tif", "--update-iou", "0.4"], "update_iou must come with update"),
            (
                ["a.tif", "--update", "a.gpkg", "--update-iou", "2"],
                "must be a number above 0 and at most 1, got 2",
            ),
        ],
    )
    def test_bad_input(
        self, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        if words != ["."]:
            save(tmp_path / "a.tif")
        done = CliRunner().invoke(app, ["run", *words, "--out", "out"])
        assert done.exit_code == 2
        assert message in done.stderr
        assert not (tmp_path / "out").exists()


def test_known_footprints_that_take_long_to_look_at_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "known.geojson"
    known.write_bytes(b"x" * 3_000_000)
    predictor, told = as_predictor(Network()), []
    monkeypatch.setattr(fingerprint, "_WHOLE_BYTES", 2_000_000)
    key = batch_key(predictor, RunSettings(update=str(known)), lambda *report, **_: told.append(report))
    assert [(stage, total) for stage, _, total in told] == [("read known.geojson", 3_000_000)] * 3
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1] == 3_000_000
    monkeypatch.undo()
    assert key == batch_key(predictor, RunSettings(update=str(known)), lambda *_, **__: pytest.fail("short"))
