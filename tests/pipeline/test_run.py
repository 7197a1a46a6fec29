"""The whole job on small scenes: what must not be lost, mixed up or passed over in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from rasters import save as save_raster

from geoseg import vectorize
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, ModelError, RunError, StateMismatchError
from geoseg.files import check_outputs, plain_stem, results_folder
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.describe import describe
from geoseg.io.handles import forget_dataset
from geoseg.io.hints import read_hints
from geoseg.io.sources import open_raster
from geoseg.io.vectors import pixel_transform
from geoseg.lazy.scene import ArrayScene
from geoseg.pipeline.job import _Inside
from geoseg.pipeline.predict_scene import predict_scene
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.vectorize_raster import vectorize_raster
from geoseg.raster.source import SceneReadError
from geoseg.vector.burn import PolygonIndex
from geoseg.version import VERSION

PLACE = Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
save = partial(save_raster, transform=PLACE)


def picture(height: int = 120, width: int = 150) -> np.ndarray:
    image = np.zeros((3, height, width), np.uint8)
    image[:, 20:60, 30:90] = 220
    image[:, 80:110, 20:50] = 120
    return image


def above(limit: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda batch: (batch[:, :1] > limit).astype(np.float32)


def options(**given: Any) -> RunSettings:
    return RunSettings(**{"window": (48, 48), "overlap": (16, 16), "chunk": 64, **given})


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return save(tmp_path / "scene.tif", picture())


class TestKeptRuns:
    def test_another_limit_in_the_closure_is_another_model(self, scene: Path, tmp_path: Path) -> None:
        assert run_scene(scene, above(100), tmp_path / "o", options()).footprints == 2
        with pytest.raises(StateMismatchError, match=r"model was .* fingerprint\(\)"):
            run_scene(scene, above(200), tmp_path / "o", options())
        assert run_scene(scene, above(200), tmp_path / "o", options(restart=True)).footprints == 1

    def test_the_batch_size_a_run_began_with_is_kept(self, scene: Path, tmp_path: Path) -> None:
        sizes: list[int] = []

        def network(batch: np.ndarray) -> np.ndarray:
            sizes.append(len(batch))
            return batch[:, :1] / 255

        run_scene(scene, Sized(network, 3), tmp_path / "o", options())
        chunks = sorted((tmp_path / "o" / "scene.geoseg" / "prob" / "c" / "0").rglob("*"))
        whole = {file: file.read_bytes() for file in chunks if file.is_file()}
        first = list(sizes)
        for asked, expected in ((None, 3), (2, 2), (None, 2)):  # None: by the memory that is free now
            for file in whole:
                file.unlink()
            sizes.clear()
            run_scene(scene, Sized(network, 1), tmp_path / "o", options(batch_size=asked))
            assert max(sizes) == expected
            if asked is None and expected == 3:
                assert sizes == first
                assert {file: file.read_bytes() for file in whole} == whole

    def test_another_runtime_is_named(self, scene: Path, tmp_path: Path) -> None:
        run_scene(scene, Sized(above(100), 1), tmp_path / "o", options())
        with pytest.raises(StateMismatchError, match=r"runtime was .torch on cuda., now .torch on cpu."):
            run_scene(scene, Sized(above(100), 1, "torch on cpu"), tmp_path / "o", options())

    @pytest.mark.parametrize("content", ["", "{", "[1]"])
    def test_a_broken_state_is_no_state(self, scene: Path, tmp_path: Path, content: str) -> None:
        run_scene(scene, above(100), tmp_path / "o", options())
        (tmp_path / "o" / "scene.geoseg" / "state.json").write_text(content)
        with pytest.raises(StateMismatchError, match="--restart"):
            run_scene(scene, above(100), tmp_path / "o", options())
        run_scene(scene, above(100), tmp_path / "o", options(restart=True))

    def test_a_state_without_its_array_begins_again(self, scene: Path, tmp_path: Path) -> None:
        import shutil

        run_scene(scene, above(100), tmp_path / "o", options())
        shutil.rmtree(tmp_path / "o" / "scene.geoseg" / "prob")
        assert run_scene(scene, above(100), tmp_path / "o", options()).footprints == 2


class TestPredictAgain:
    """The file itself says what it was made from."""

    @staticmethod
    def counting() -> Callable[[np.ndarray], np.ndarray]:
        calls: list[int] = []

        def network(batch: np.ndarray) -> np.ndarray:
            calls.append(len(batch))
            return np.stack([batch[:, 0], batch[:, 1]], axis=1) / np.float32(255)

        network.calls = calls  # type: ignore[attr-defined]
        network.fingerprint = lambda: "two bands"  # type: ignore[attr-defined]
        return network

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_the_same_call_calls_no_network(self, scene: Path, tmp_path: Path, dtype: str) -> None:
        network, out = self.counting(), tmp_path / "prob.tif"
        first = predict_scene(scene, network, out, options(dtype=dtype))
        before, stamp, calls = out.read_bytes(), out.stat().st_mtime_ns, len(network.calls)  # type: ignore[attr-defined]
        assert first.windows == calls > 1
        again = predict_scene(scene, network, out, options(dtype=dtype))
        assert len(network.calls) == calls  # type: ignore[attr-defined]
        assert (again.windows_run, again.files) == (0, first.files)
        assert "was made from this scene, model and options" in again.notes[-1]
        assert (out.read_bytes(), out.stat().st_mtime_ns) == (before, stamp)
        assert sorted(item.name for item in tmp_path.iterdir()) == ["prob.tif", "scene.tif"]

    def test_what_is_not_known_is_not_claimed(self, tmp_path: Path) -> None:
        """A scene on a server, or with links to other files, is known again by samples of it."""
        with rasterio.MemoryFile(save(tmp_path / "a.tif", picture()).read_bytes(), ext=".tif") as memory:
            for do, out in ((predict_scene, tmp_path / "p.tif"), (run_scene, tmp_path)):
                first = do(memory.name, self.counting(), out, options())
                again = do(memory.name, self.counting(), out, options())
                assert again.windows_run == 0
                assert "was compared with the scene of the earlier run by samples only" in again.notes[-1]
                assert "by samples" not in " ".join(first.notes)

    @pytest.mark.parametrize(
        "change",
        ["options", "dtype", "scene", "model", "restart", "cut", "other file", "kept run"],
    )
    def test_anything_else_predicts(self, scene: Path, tmp_path: Path, change: str) -> None:
        network, out = self.counting(), tmp_path / "prob.tif"
        predict_scene(scene, network, out, options())
        before, chosen = out.read_bytes(), options()
        if change == "options":
            chosen = options(overlap=(8, 8))
        elif change == "dtype":
            chosen = options(dtype="float32")
        elif change == "scene":
            save(scene, picture() // 2)
        elif change == "model":
            network.fingerprint = lambda: "another"  # type: ignore[attr-defined]
        elif change == "restart":
            chosen = options(restart=True)
        elif change == "cut":
            out.write_bytes(before[:-100])
        elif change == "other file":
            out.write_text("of somebody else")
            with pytest.raises(InputError, match=r"written by geoseg before, .*--overwrite"):
                predict_scene(scene, network, out, chosen)
            chosen = options(overwrite=True)
        else:
            (tmp_path / "prob.tif.geoseg").mkdir()
        summary = predict_scene(scene, network, out, chosen)
        assert summary.windows_run >= summary.windows - 1  # the first one may be known
        same = change in ("restart", "cut", "other file", "kept run")
        assert (out.read_bytes() == before) == same

    def test_a_plain_callable_and_another_format_predict_anew(
        self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "prob.tif"
        assert predict_scene(scene, above(100), out, options()).windows_run > 0
        assert predict_scene(scene, above(100), out, options()).windows_run > 0
        network = self.counting()
        predict_scene(scene, network, out, options())
        assert predict_scene(scene, network, out, options()).windows_run == 0
        monkeypatch.setattr("geoseg.pipeline.predict_scene.FORMAT", -1)
        assert predict_scene(scene, network, out, options()).windows_run > 0

    def test_restart_counts_the_outputs_anew(self, scene: Path, tmp_path: Path) -> None:
        def network(outputs: int) -> Callable[[np.ndarray], np.ndarray]:
            def run(batch: np.ndarray) -> np.ndarray:
                return np.repeat(batch[:, :1] / np.float32(255), outputs, 1)

            run.fingerprint = lambda: "same"  # type: ignore[attr-defined]
            return run

        run_scene(scene, network(1), tmp_path / "out", options())
        again = run_scene(scene, network(2), tmp_path / "out", options(restart=True, save_prob=True))
        with rasterio.open(again.files["prob"]) as prob:
            assert prob.count == 2

    def test_a_break_outside_of_the_area_of_interest_does_not_matter(self, tmp_path: Path) -> None:
        path = broken_at(tmp_path / "broken.tif", 0, 0)
        with rasterio.open(path) as src:
            left, bottom, right, top = src.bounds
        box = shapely.box(right - (right - left) / 8, bottom, right, bottom + (top - bottom) / 8)
        aoi = tmp_path / "area.gpkg"
        gpd.GeoDataFrame(geometry=[box], crs=32645).to_file(aoi)
        summary = run_scene(
            path, above(100), tmp_path / "out", options(aoi=aoi, window=32, overlap=8, chunk=64)
        )
        assert summary.windows_run > 0

    def test_what_lacks_regions_is_tried_again(self, tmp_path: Path) -> None:
        network, out = self.counting(), tmp_path / "prob.tif"
        path = broken_at(tmp_path / "scene.tif", 2, 3)
        for _ in range(2):
            summary = predict_scene(path, network, out, options(on_error="skip"))
            assert len(summary.failures) == 1
            assert summary.windows_run > 0

    def test_a_kept_run_of_a_callable_calls_it_no_more(self, scene: Path, tmp_path: Path) -> None:
        network = self.counting()
        run_scene(scene, network, tmp_path / "o", options())
        network.calls.clear()  # type: ignore[attr-defined]
        assert run_scene(scene, network, tmp_path / "o", options()).windows_run == 0
        assert network.calls == []  # type: ignore[attr-defined]


class Sized:
    """A predictor with a batch size and a runtime of its own."""

    classes, background, activation, in_channels, card = ("house",), None, "none", 3, None

    def __init__(
        self, network: Callable[[np.ndarray], np.ndarray], size: int, runtime: str = "torch on cuda"
    ):
        self.network, self.size, self.runtime = network, size, runtime

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.network(batch.astype(np.float32))

    def fill_values(self) -> np.ndarray:
        return np.zeros(3, np.float32)

    def fingerprint(self) -> str:
        return "sized"

    def batch_size_default(self, window: tuple[int, int]) -> int:
        return self.size


class TestNothingIsOverwritten:
    def test_the_area_of_interest(self, scene: Path, tmp_path: Path) -> None:
        aoi = tmp_path / "scene.geojson"
        box = shapely.box(350_000, 3_055_950, 350_050, 3_056_000)
        gpd.GeoDataFrame(geometry=[box], crs=32645).to_file(aoi, driver="GeoJSON")
        before = aoi.read_bytes()
        with pytest.raises(InputError, match=r"output must not be an input, got .*scene\.geojson"):
            run_scene(scene, above(100), tmp_path, options(aoi=aoi))
        with pytest.raises(InputError, match=r"scene\.geojson"):
            run_scene(scene, above(100), tmp_path, options(aoi=Path(f"{aoi}|scene")))
        assert aoi.read_bytes() == before
        assert not (tmp_path / "scene.geoseg").exists()

    def test_the_scene_and_the_sources_of_a_vrt(self, scene: Path, tmp_path: Path) -> None:
        from rasterio.shutil import copy

        copy(scene, tmp_path / "all.vrt", driver="VRT")
        before = scene.read_bytes()
        for path in (scene, tmp_path / "all.vrt"):
            with pytest.raises(InputError, match="must not be an input"):
                predict_scene(path, above(100), scene, options())
        assert scene.read_bytes() == before

    def test_a_folder_in_place_of_a_file_is_found_at_once(self, scene: Path, tmp_path: Path) -> None:
        def network(batch: np.ndarray) -> np.ndarray:
            raise AssertionError("nothing needs to be predicted to see this")

        (tmp_path / "scene.gpkg").mkdir()
        predictor = Sized(network, 1)
        with pytest.raises(InputError, match="is a folder"):
            run_scene(scene, predictor, tmp_path, options(formats=("gpkg",)))
        with pytest.raises(InputError, match="is a folder"):
            predict_scene(scene, predictor, tmp_path, options())

    def test_a_folder_of_the_stores_name_with_other_things_in_it(self, scene: Path, tmp_path: Path) -> None:
        mine = tmp_path / "o" / "scene.geoseg" / "thesis.txt"
        mine.parent.mkdir(parents=True)
        mine.write_text("two years")
        for restart in (False, True):
            with pytest.raises(InputError, match=r"thesis\.txt"):
                run_scene(scene, above(100), tmp_path / "o", options(restart=restart))
        assert mine.read_text() == "two years"

    def test_a_file_of_the_stores_name(self, scene: Path, tmp_path: Path) -> None:
        (tmp_path / "scene.geoseg").write_text("keep")
        with pytest.raises(InputError, match="must be a folder"):
            run_scene(scene, above(100), tmp_path, options())
        assert (tmp_path / "scene.geoseg").read_text() == "keep"


@pytest.mark.parametrize("name", ["../../out", "a/b", "..", 'x":y', ""])
def test_names_of_scenes_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    image = ArrayScene(picture(), None, GeoBox(Affine.identity(), None, 120, 150), name)
    summary = run_scene(image, above(100), tmp_path / "a" / "b", options(save_mask=True))
    assert {Path(file).parent for file in summary.files.values()} == {tmp_path / "a" / "b"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    found = json.loads(Path(summary.files["geojson"]).read_text())["features"]
    assert {item["properties"]["scene"] for item in found} == {name}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_gives_no_numbers_is_an_error(scene: Path, tmp_path: Path, bad: float) -> None:
    def network(batch: np.ndarray) -> np.ndarray:
        return np.where(batch[:, :1] > 100, np.float32(bad), np.float32(0))

    with pytest.raises(ModelError, match="must give finite numbers"):
        run_scene(scene, Sized(network, 1), tmp_path / "o", options())
    assert not list((tmp_path / "o").glob("*.geojson"))


def test_no_numbers_where_there_is_no_data_are_fine(tmp_path: Path) -> None:
    image = picture()
    image[:, :, 100:] = 7
    path = save(tmp_path / "scene.tif", image, nodata=7)

    def network(batch: np.ndarray) -> np.ndarray:
        return np.where(batch[:, :1] == 0, np.float32(0.1), np.float32(0.9)) / (batch[:, :1] != 7)

    with np.errstate(divide="ignore"):
        assert run_scene(path, Sized(network, 1), tmp_path / "o", options()).footprints == 2


def test_inside_an_area_of_interest_the_result_is_that_of_the_whole_scene(
    scene: Path, tmp_path: Path
) -> None:
    from scipy.ndimage import uniform_filter

    def blurred(batch: np.ndarray) -> np.ndarray:
        return uniform_filter(batch[:, :1] / np.float32(255), (1, 1, 25, 25))

    with rasterio.open(scene) as src:
        left, bottom, right, top = src.bounds
        box = shapely.box((left + right) / 2, bottom, right, (bottom + top) / 2)
        crs = src.crs
    aoi = tmp_path / "area.gpkg"
    gpd.GeoDataFrame(geometry=[box], crs=crs).to_file(aoi)
    probs = []
    for name, given in (("whole", {}), ("part", {"aoi": aoi})):
        predict_scene(scene, blurred, tmp_path / f"{name}.tif", options(dtype="float32", **given))
        with rasterio.open(tmp_path / f"{name}.tif") as src:
            probs.append(src.read(1))
    whole, part = probs
    inside = ~np.isnan(part)
    assert 0.2 < inside.mean() < 0.3
    assert np.array_equal(part[inside], whole[inside])


def test_an_area_of_interest_does_not_depend_on_the_window(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    box = GeoBox(Affine(0.1, 0, 350_000.05, 0, -0.1, 3_056_000.05), CRS.from_epsg(32645), 700, 700)
    for _ in range(20):  # edges through the centers of pixels
        left, right, top, bottom = rng.integers(0, 350, 4) + [0, 350, 0, 350] + 0.5
        x, y = 350_000.05, 3_056_000.05
        shape = shapely.box(x + left * 0.1, y - bottom * 0.1, x + right * 0.1, y - top * 0.1)
        pixels = shapely.transform([shape], pixel_transform(None, box), interleaved=False)
        inside = _Inside(PolygonIndex(pixels), "")
        whole = inside(Window(row_off=0, col_off=0, height=700, width=700))
        for row, col in rng.integers(0, 500, (5, 2)).tolist():
            window = Window(row_off=row, col_off=col, height=200, width=200)
            np.testing.assert_array_equal(inside(window), whole[window.rows, window.cols])


class TestFolders:
    def test_names(self) -> None:
        assert plain_stem("/a") == "_a"

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
    def test_a_folder_that_only_seems_writable(self, scene: Path) -> None:
        for call in (
            lambda: run_scene(scene, above(100), "/proc/self", options()),
            lambda: predict_scene(scene, above(100), "/proc/self/p.tif", options()),
            lambda: vectorize(scene, "/proc/self/a.gpkg"),
        ):
            with pytest.raises(InputError, match="/proc/self can't be written to"):
                call()

    def test_a_full_disk_is_no_bad_input(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(**_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempfile.TemporaryFile", full)
        with pytest.raises(RunError, match="No space left"), results_folder(tmp_path / "o"):
            pass
        assert not (tmp_path / "o").exists()

    def test_strange_inputs_are_no_files(self, tmp_path: Path) -> None:
        check_outputs([tmp_path / "a"], ["https://example.org/a.tif", "x" * 5000, "a\0b"])

    def test_what_was_made_goes_again_when_empty(self, tmp_path: Path) -> None:
        with pytest.raises(InputError), results_folder(tmp_path / "a" / "b"):
            raise InputError("no")
        assert not (tmp_path / "a").exists()


def test_a_store_can_be_looked_at(scene: Path, tmp_path: Path) -> None:
    run_scene(scene, Sized(above(100), 1), tmp_path / "p", options())
    (tmp_path / "p" / "scene.geoseg" / ".DS_Store").write_text("a file browser's")
    assert run_scene(scene, Sized(above(100), 1), tmp_path / "p", options()).windows_run == 0


def broken_at(path: Path, row: int, col: int) -> Path:
    """The picture in blocks of 32 x 32 pixels, of which one is garbage."""
    save(path, picture(), tiled=True, blockxsize=32, blockysize=32, compress="deflate", interleave="pixel")
    with rasterio.open(path) as file:
        start, size = (
            int(file.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", 1)) for what in ("OFFSET", "SIZE")
        )
    content = bytearray(path.read_bytes())
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    return path


class TestBrokenRegions:
    def test_a_jpeg_that_ends_too_early_is_not_read_as_gray(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (3, 400, 300), dtype=np.uint8)
        path = save(tmp_path / "photo.jpg", noise, driver="JPEG")
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        summary = run_scene(path, above(100), tmp_path / "o", options(on_error="skip", save_mask=True))
        listed = np.zeros((400, 300), bool)
        for item in summary.failures:
            rows = slice(item["row_off"], item["row_off"] + item["height"])
            listed[rows, item["col_off"] : item["col_off"] + item["width"]] = True
        assert listed[256:].all(), "half of the bytes are half of the rows"
        assert not listed[:64].any()
        assert len(summary.failures) < 10, "rows are taken together"
        with rasterio.open(summary.files["mask"]) as mask:
            np.testing.assert_array_equal(mask.read(1) == 255, listed)

    def test_the_rows_behind_the_break_of_a_jpeg_are_not_decoded_for_each_block(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (3, 900, 900), dtype=np.uint8)
        path = save(tmp_path / "photo.jpg", noise, driver="JPEG")
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 10])
        opened: list[str] = []
        monkeypatch.setattr(
            "geoseg.io.scene.forget_dataset", lambda name: opened.append(forget_dataset(name))
        )
        summary = run_scene(path, above(100), tmp_path / "o", options(on_error="skip"))
        assert sum(item["height"] for item in summary.failures) > 600
        assert 1 <= len(opened) <= 16, "a failed read decodes the file from its beginning"

    @pytest.mark.parametrize(
        "where", [{}, {"resolution": 0.7}, {"bbox": (350_011, 3_055_940, 350_070, 3_055_999)}]
    )
    def test_the_broken_block_of_the_file_is_named(self, tmp_path: Path, where: dict[str, Any]) -> None:
        path = broken_at(tmp_path / "scene.tif", 2, 3)
        with pytest.raises(SceneReadError) as caught:
            run_scene(path, above(100), tmp_path / "o", options(**where))
        message = str(caught.value)
        assert "cannot read rows 64..95, columns 96..127 of " in message
        assert re.search(r" 1 of the \d+ blocks under rows .* can't be read\. --on-error skip", message)

    def test_a_part_of_a_file_loses_no_more_than_the_broken_block(self, tmp_path: Path) -> None:
        path = broken_at(tmp_path / "scene.tif", 2, 3)
        chosen = options(on_error="skip", bbox=(350_005, 3_055_940, 350_070, 3_055_995))
        (lost,) = run_scene(path, above(100), tmp_path / "o", chosen).failures
        assert (lost["row_off"] + 10, lost["col_off"] + 10, lost["height"], lost["width"]) == (64, 96, 32, 32)

    def test_the_first_window_may_be_broken_too(self, tmp_path: Path) -> None:
        path = broken_at(tmp_path / "scene.tif", 0, 0)
        summary = run_scene(path, above(100), tmp_path / "o", options(on_error="skip"))
        assert [(item["row_off"], item["col_off"]) for item in summary.failures] == [(0, 0)]
        assert summary.footprints == 2

    def test_a_second_read_of_a_broken_jpeg_fails_as_the_first_did(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (3, 100, 100), dtype=np.uint8)
        path = save(tmp_path / "photo.jpg", noise, driver="JPEG")
        path.write_bytes(path.read_bytes()[:-3000])
        source = open_raster(path)
        for first in (0, 90, 95):
            with pytest.raises(SceneReadError):
                source.read(Window(row_off=first, col_off=0, height=100 - first, width=100))


def test_without_a_crs_it_says_which_coordinates_footprints_have(tmp_path: Path) -> None:
    plain = save(tmp_path / "plain.tif", picture(), crs=None, transform=Affine.identity())
    for path, words in (
        (plain, "pixel coordinates"),
        (save(tmp_path / "b.tif", picture(), crs=None), "its own coordinates"),
    ):
        summary = run_scene(path, above(100), tmp_path / "o", options())
        assert [words in note for note in summary.notes] == [True]


@pytest.mark.parametrize("stage", ["predict", "vectorize", "write"])
def test_a_stop_at_any_stage_says_how_to_go_on(scene: Path, tmp_path: Path, stage: str) -> None:
    def stop(at: str, done: float, total: float, **more: float) -> None:
        if at == stage:
            raise KeyboardInterrupt

    network = Sized(above(100), 1)
    chosen = options(formats=("geojson", "gpkg", "shp"), save_mask=True)
    run_scene(scene, network, tmp_path / "whole", chosen)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        run_scene(scene, network, tmp_path / "o", chosen, progress=stop)
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["scene.geoseg"]
    run_scene(scene, network, tmp_path / "o", chosen)
    for path in (tmp_path / "whole").iterdir():
        if path.is_file():
            assert (tmp_path / "o" / path.name).read_bytes() == path.read_bytes()


def test_chunks_do_not_change_a_byte(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 300, 400), dtype=np.uint8)
    path = save(tmp_path / "scene.tif", noise)

    def network(batch: np.ndarray) -> np.ndarray:
        ramp = np.sin(np.arange(batch.shape[2])[:, None] * 0.37 + np.arange(batch.shape[3]) * 0.11)
        return (batch[:, :1] / 425 + 0.2 + 0.2 * ramp).astype(np.float32)

    for chunk in (64, 150, 4000):
        chosen = options(window=(64, 64), overlap=(48, 48), chunk=chunk, save_prob=True)
        run_scene(path, Sized(network, 3), tmp_path / str(chunk), chosen)
    for name in ("scene.prob.tif", "scene.geojson"):
        assert len({(tmp_path / chunk / name).read_bytes() for chunk in ("64", "150", "4000")}) == 1


@pytest.mark.parametrize(
    ("format", "suffix"), [("geojson", ".geojson"), ("gpkg", ".gpkg"), ("mask", ".mask.tif")]
)
def test_labels_beside_the_scene_stay(scene: Path, format: str, suffix: str) -> None:
    """``run img/B.tif --out img``: a file of the user's is refused before the network runs."""
    labels = scene.with_name(f"{scene.stem}{suffix}")
    labels.write_text("labels of many weeks")
    calls = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return batch[:, :1]

    chosen = {"save_mask": True} if format == "mask" else {"formats": (format,)}
    with pytest.raises(InputError, match=r"written by geoseg before, got .*, which is neither.*--overwrite"):
        run_scene(scene, network, scene.parent, options(**chosen))
    assert sum(calls) <= 1  # one window tells how many classes a plain callable has
    assert labels.read_text() == "labels of many weeks"


def test_a_format_that_loses_the_crs_is_refused_before_the_network_runs(scene: Path, tmp_path: Path) -> None:
    calls = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return batch[:, :1]

    crs = "+proj=utm +zone=33 +ellps=bessel +towgs84=570.8,85.7,462.8,4.998,1.587,5.261,3.56 +type=crs"
    with rasterio.open(scene, "r+") as raster:
        raster.crs = crs
    with pytest.raises(InputError, match=r"format must be one that can hold the scene's CRS .*got shp"):
        run_scene(scene, network, tmp_path / "out", options(formats=("shp",)))
    assert sum(calls) <= 1  # one window tells how many classes a plain callable has
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["prob.png", "prob", "prob.gpkg"])
def test_predict_writes_geotiffs_only(name: str, scene: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out must be a GeoTIFF, got .* ends in \.tif"):
        predict_scene(scene, above(100), tmp_path / name, options())
    assert sorted(path.name for path in tmp_path.iterdir()) == [scene.name]


class TestRunIsPredictAndVectorize:
    """The settings of the model's card go with the raster of probabilities."""

    @pytest.mark.parametrize("saved", [False, True])
    def test_the_same_footprints(self, scene: Path, tmp_path: Path, saved: bool) -> None:
        chosen = {"threshold": 0.8, "min_area_m2": 300.0, "simplify_m": 0.4}
        network = Sized(lambda batch: batch[:, :1] / np.float32(255), 4)
        with rasterio.open(scene, "r+") as file:
            file.update_tags(ACQUISITIONDATETIME="2021-02-03T04:05:06Z")
        whole = run_scene(scene, network, tmp_path / "whole", options(save_prob=saved, **chosen))
        if saved:
            raster = Path(whole.files["prob"])
        else:
            raster = tmp_path / "prob.tif"
            predict_scene(scene, network, raster, options(**chosen))
        made = vectorize(raster, tmp_path / "parts.geojson")
        expected, got = gpd.read_file(whole.files["geojson"]), gpd.read_file(made.files["geojson"])
        assert made.footprints == whole.footprints == len(expected) == 1
        columns = ["class", "area_m2", "confidence", "touches_edge", "acquired"]
        assert got[columns].to_dict("list") == expected[columns].to_dict("list")
        assert got.geometry.geom_equals(expected.geometry).all()
        (note,) = made.notes
        assert note.startswith("as in the raster's own run: threshold 0.8, min_area_m2 300, simplify_m 0.4;")
        other = vectorize(raster, tmp_path / "more.geojson", min_area_m2=0, threshold=0.4)
        assert other.footprints == 2
        assert other.notes == ["as in the raster's own run: simplify_m 0.4; options win over them"]

    def test_how_pixels_hang_together_goes_along(self, tmp_path: Path) -> None:
        image = np.zeros((3, 64, 64), np.uint8)
        image[:, 10:20, 10:20] = image[:, 20:30, 20:30] = 220
        scene = save(tmp_path / "corner.tif", image)
        whole = run_scene(scene, above(100), tmp_path, options(save_prob=True, connectivity=4))
        made = vectorize(whole.files["prob"], tmp_path / "parts.geojson")
        assert made.footprints == whole.footprints == 2
        assert made.notes == ["as in the raster's own run: connectivity 4; options win over them"]

    @pytest.mark.parametrize("saved", [False, True])
    def test_a_distance_that_the_user_knew_goes_along(self, tmp_path: Path, saved: bool) -> None:
        photo = save(tmp_path / "photo.tif", picture(), crs=None)
        chosen = {"gsd": 0.4, "min_area_m2": 200.0, "resolution": 0.8}
        whole = run_scene(photo, Sized(above(100), 4), tmp_path / "out", options(save_prob=saved, **chosen))
        raster = tmp_path / "out" / "photo.prob.tif"
        if not saved:
            predict_scene(photo, Sized(above(100), 4), raster, options(**chosen))
        made = vectorize(raster, tmp_path / "parts.geojson")
        expected, got = gpd.read_file(whole.files["geojson"]), gpd.read_file(made.files["geojson"])
        assert 0 < len(got) < vectorize(raster, tmp_path / "all.geojson", min_area_m2=0).footprints
        assert got["area_m2"].tolist() == expected["area_m2"].tolist()
        with rasterio.open(raster, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as out:
            out.crs = "EPSG:32645"
        assert "gsd" not in " ".join(vectorize(raster, tmp_path / "utm.geojson").notes)

    @pytest.mark.parametrize(
        "text", ["{", "[1]", '{"threshold": 7}', '{"min_area_m2": "much"}', '{"aoi": 1}']
    )
    def test_a_tag_that_says_nothing(self, text: str, scene: Path, tmp_path: Path) -> None:
        predict_scene(scene, Sized(above(100), 4), tmp_path / "p.tif", options())
        with rasterio.open(tmp_path / "p.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as out:
            out.update_tags(GEOSEG_SETTINGS=text)
        assert vectorize(tmp_path / "p.tif", tmp_path / "b.geojson").footprints == 2

    def test_with_another_threshold_in_the_card_it_is_written_anew(self, scene: Path, tmp_path: Path) -> None:
        network, out = Sized(above(100), 4), tmp_path / "p.tif"
        network.fingerprint = lambda: "it"  # type: ignore[attr-defined]
        predict_scene(scene, network, out, options(threshold=0.5))
        assert predict_scene(scene, network, out, options(threshold=0.5)).windows_run == 0
        assert predict_scene(scene, network, out, options(threshold=0.7)).windows_run > 0
        assert read_hints(out, [1]).settings == {"threshold": [0.7]}


@pytest.mark.parametrize("do", [predict_scene, run_scene, vectorize_raster])
def test_a_stop_before_anything_is_done_leaves_no_folder(
    do: Callable[..., Any], scene: Path, tmp_path: Path
) -> None:
    def stop(*at: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    out = tmp_path / "a" / "b" / ("p.tif" if do is predict_scene else "o")
    call = partial(do, scene, Sized(stop, 1), out, options())
    if do is vectorize_raster:
        chosen = options(formats=("geojson",), bands=(1,), threshold=0.5)
        call = partial(do, scene, out, chosen, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        call()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("count", [254, 255, 300])
def test_more_classes_than_a_byte_holds_are_refused(scene: Path, tmp_path: Path, count: int) -> None:
    """Class 261 of 300 became class 5, and class 256 no object."""

    def network(batch: np.ndarray) -> np.ndarray:
        out = np.zeros((len(batch), count, *batch.shape[2:]), np.float32)
        out[:, -1] = 1
        return out

    if count > 254:
        with pytest.raises(InputError, match=f"classes of objects must be at most 254, got {count}"):
            run_scene(scene, network, tmp_path / "o", options())
        assert not (tmp_path / "o").exists()
        return
    run_scene(scene, network, tmp_path / "o", options(formats=("parquet",)))
    assert gpd.read_parquet(tmp_path / "o" / "scene.parquet")["class"].tolist() == ["class_254"]


class TestProvenance:
    FORMATS = ("geojson", "gpkg", "shp", "pmtiles")

    def test_each_result_says_what_it_was_made_from(self, scene: Path, tmp_path: Path) -> None:
        network = Sized(above(100), 1)
        chosen: dict[str, Any] = {"formats": self.FORMATS, "save_prob": True, "save_mask": True}
        summary = run_scene(scene, network, tmp_path / "o", options(**chosen, min_area_m2=2))
        origin = summary.provenance
        assert origin["geoseg"] == VERSION
        assert origin["scene"] == {"name": "scene", "fingerprint": open_raster(scene).fingerprint()}
        assert origin["model"] == {"fingerprint": network.fingerprint(), "runtime": network.runtime}
        assert origin["options"]["min_area_m2"] == 2
        assert origin["options"]["bands"] == [1, 2, 3]
        told = [describe(file)["provenance"] for file in summary.files.values()]
        assert told == [json.loads(json.dumps(origin))] * 6
        # What changes no byte of a result must not be told by one.
        again = options(**chosen, min_area_m2=2, chunk=150, batch_size=3, on_error="skip", restart=True)
        other = run_scene(scene, network, tmp_path / "p", again)
        for name, file in summary.files.items():
            assert Path(file).read_bytes() == Path(other.files[name]).read_bytes(), name
        changed = run_scene(scene, network, tmp_path / "o", options(min_area_m2=3)).provenance
        assert changed["options_digest"] != origin["options_digest"]
        assert changed["scene"] == origin["scene"]

    def test_an_area_is_named_and_known_by_its_polygons(self, scene: Path, tmp_path: Path) -> None:
        area = tmp_path / "area.geojson"
        square = gpd.GeoSeries([shapely.box(350_000, 3_055_950, 350_050, 3_056_000)], crs=32645)
        square.to_crs(4326).to_file(area)
        origin = run_scene(scene, above(100), tmp_path / "o", options(aoi=area)).provenance
        assert origin["options"]["aoi"]["name"] == "area.geojson"
        assert len(origin["options"]["aoi"]["fingerprint"]) == 64
        assert str(tmp_path) not in json.dumps(origin)

    def test_footprints_of_probabilities_know_the_scene(self, scene: Path, tmp_path: Path) -> None:
        summary = predict_scene(scene, above(100), tmp_path / "prob.tif", options())
        made = vectorize_raster(tmp_path / "prob.tif", tmp_path / "houses.fgb")
        origin = describe(made.files["fgb"])["provenance"]
        assert origin["source"] == json.loads(json.dumps(summary.provenance))
        assert origin["scene"]["name"] == "prob"
        assert origin["options"]["connectivity"] == 8
        assert "window" not in origin["options"]
        assert "connectivity" not in origin["source"]["options"]
