"""``geoseg run`` as a user gives it: kills, bad input, odd rasters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasters import save as save_raster
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app

PLACE = Affine(0.3, 0, 350_000, 0, -0.3, 3_056_000)
save = partial(save_raster, transform=PLACE)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOSEG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny network that finds bright things."""
    import torch

    from geoseg.models import ArchitectureSpec, GeosegOptions, ModelCard, write_bundle
    from geoseg.models.architectures import build_network
    from geoseg.models.scaling import ZScore

    spec = ArchitectureSpec(
        name="unet", encoder="mobilenet_v2", kwargs={"encoder_depth": 3, "decoder_channels": [16, 8, 8]}
    )
    torch.manual_seed(3)
    network = build_network(spec, in_channels=3, classes=1).eval()
    options = GeosegOptions.model_validate(
        {"gsd": 0.3, "window": 64, "overlap": 16, "multiple": 8, "architecture": spec}
    )
    bands = ["red", "green", "blue"]
    card = ModelCard.create(
        "tiny", classes=("building",), bands=bands, scaling=[ZScore(mean=120, stddev=60)], options=options
    )
    return write_bundle(tmp_path_factory.mktemp("model") / "tiny", network, card)


def picture(height: int = 200, width: int = 260, bands: int = 3) -> np.ndarray:
    """Dark ground with bright blocks."""
    image = np.random.default_rng(0).integers(20, 60, (bands, height, width)).astype(np.uint8)
    image[:, 30:90, 40:120] = 220
    image[:, 120:180, 90:200] = 160
    return image


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def go(scene: Path, bundle: Path, out: Path, *more: object) -> dict[str, Any]:
    # the network is untrained and says about 0.5: the threshold is what splits its answers
    result = run("run", scene, "--model", bundle, "--out", out, "--engine", "torch", "--json", *more)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def complains(result: Any, *words: str, status: int = 2) -> None:
    assert result.exit_code == status, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


OPTIONS = ("--chunk", 96, "--format", "geojson,gpkg,parquet", "--save-mask")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of some hundred windows."""
    return save(tmp_path_factory.mktemp("scene") / "town.tif", picture(900, 1100))


@pytest.fixture(scope="module")
def whole(town: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    go(town, bundle, out, *OPTIONS)
    return out


class TestKills:
    """A process of its own is stopped, and the same command ends in the same bytes."""

    def start(self, scene: Path, bundle: Path, out: Path) -> subprocess.Popen[str]:
        words = ["run", scene, "--model", bundle, "--out", out, "--engine", "torch", *OPTIONS]
        command = [sys.executable, "-m", "geoseg", *map(str, words)]
        # tests that run in the background of a shell hand on that Ctrl-C is ignored
        return subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    @staticmethod
    def wait_for_chunks(out: Path, count: int, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.geoseg/prob/c/0/*/*"))) < count and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)

    def test_kill_9_at_several_moments(self, town: Path, bundle: Path, whole: Path, tmp_path: Path) -> None:
        for chunks in (1, 30):
            process = self.start(town, bundle, tmp_path)
            self.wait_for_chunks(tmp_path, chunks, process)
            process.kill()
            process.communicate()
        summary = go(town, bundle, tmp_path, *OPTIONS)
        assert 0 < summary["windows_run"] < summary["windows"]
        for file in sorted(whole.iterdir()):
            if file.is_file():
                assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
        assert {f.name for f in tmp_path.iterdir()} == {f.name for f in whole.iterdir()}
        again = go(town, bundle, tmp_path, *OPTIONS)
        assert again["windows_run"] == 0

    def test_ctrl_c_keeps_the_state_and_says_how_to_go_on(
        self, town: Path, bundle: Path, tmp_path: Path
    ) -> None:
        process = self.start(town, bundle, tmp_path)
        self.wait_for_chunks(tmp_path, 2, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "the same command goes on" in errors
        assert "Traceback" not in errors
        assert list(tmp_path.glob("*.geoseg/prob/c/0/*/*"))


class TestScenes:
    """Rasters that are not plain 8-bit RGB in UTM."""

    @pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
    def test_pixel_types(self, dtype: str, bundle: Path, tmp_path: Path) -> None:
        image = picture().astype(dtype)
        if dtype == "float32":
            image[:, 50:60, 60:90] = np.nan
        scene = save(tmp_path / "scene.tif", image)
        go(scene, bundle, tmp_path / "out", "--save-prob")
        with rasterio.open(tmp_path / "out" / "scene.prob.tif") as prob:
            holes = prob.read(1) == 255
        np.testing.assert_array_equal(holes, np.isnan(image[0]) if dtype == "float32" else False)

    def test_alpha_is_validity_not_a_band(self, bundle: Path, tmp_path: Path) -> None:
        image = picture(bands=4)
        image[3] = 255
        image[3, :, 130:] = 0
        scene = save(tmp_path / "scene.tif", image, photometric="RGB", alpha="yes")
        summary = go(scene, bundle, tmp_path / "out", "--save-mask", "--threshold", 0.01)
        with rasterio.open(tmp_path / "out" / "scene.mask.tif") as mask:
            assert ((mask.read(1) == 255) == (image[3] == 0)).all()
        frame = gpd.read_file(summary["files"]["geojson"])
        assert frame.touches_edge.all()

    def test_palette_and_one_bit(self, bundle: Path, tmp_path: Path) -> None:
        index = (picture(bands=1) > 100).astype(np.uint8)
        scene = save(tmp_path / "palette.tif", index)
        with rasterio.open(scene, "r+") as out:
            out.write_colormap(1, {0: (10, 20, 30, 255), 1: (200, 210, 220, 255)})
        go(scene, bundle, tmp_path / "out")
        bits = save(tmp_path / "bit.tif", index, nbits=1)  # GDAL gives it a black and white palette
        go(bits, bundle, tmp_path / "bits")

    def test_no_crs_works_in_pixels_and_says_so(self, bundle: Path, tmp_path: Path) -> None:
        scene = save(tmp_path / "photo.png", picture(), driver="PNG", crs=None, transform=None)
        summary = go(scene, bundle, tmp_path / "out", "--threshold", 0.01)
        assert any("no CRS" in note for note in summary["notes"])
        bounds = json.loads((tmp_path / "out" / "photo.geojson").read_text())["features"][0]["geometry"]
        assert np.max([p for ring in bounds["coordinates"] for p in np.ravel(ring)]) <= 260

    @pytest.mark.parametrize(
        "transform",
        [
            Affine(0.3, 0, 350_000, 0, 0.3, 3_056_000),
            Affine.translation(350_000, 3_056_000) * Affine.rotation(30) * Affine.scale(0.3, -0.3),
        ],
        ids=["south-up", "rotated"],
    )
    def test_odd_geotransforms(self, transform: Affine, bundle: Path, tmp_path: Path) -> None:
        scene = save(tmp_path / "scene.tif", picture(), transform=transform)
        summary = go(scene, bundle, tmp_path / "out", "--threshold", 0.01, "--format", "gpkg")
        frame = gpd.read_file(summary["files"]["gpkg"])
        assert frame.geometry.is_valid.all()
        whole = np.prod(picture().shape[1:]) * 0.09
        assert frame.area_m2.sum() == pytest.approx(whole, rel=2e-3)
        corners = np.array([transform * c for c in ((0, 0), (260, 0), (260, 200), (0, 200))])
        np.testing.assert_allclose(frame.total_bounds, [*corners.min(axis=0), *corners.max(axis=0)], atol=0.5)

    def test_ground_control_points_work_or_say_what_to_do(self, bundle: Path, tmp_path: Path) -> None:
        scene = tmp_path / "scene.tif"
        corners = [(0, 0), (0, 260), (200, 260), (200, 0)]
        gcps = [GroundControlPoint(r, c, *(PLACE * (c, r))) for r, c in corners]
        with rasterio.open(
            scene,
            "w",
            driver="GTiff",
            count=3,
            height=200,
            width=260,
            dtype="uint8",
            gcps=gcps,
            crs="EPSG:32645",
        ) as out:
            out.write(picture())
        summary = go(scene, bundle, tmp_path / "out", "--threshold", 0.01, "--format", "gpkg")
        bounds = gpd.read_file(summary["files"]["gpkg"]).total_bounds
        assert bounds[0] == pytest.approx(350_000, abs=0.5)

    def test_all_nodata_gives_empty_valid_files(self, bundle: Path, tmp_path: Path) -> None:
        scene = save(tmp_path / "scene.tif", np.zeros((3, 80, 80), np.uint8), nodata=0)
        formats = "geojson,gpkg,parquet,fgb,shp"
        summary = go(scene, bundle, tmp_path / "out", "--format", formats)
        assert (summary["footprints"], summary["windows_run"]) == (0, 0)
        for name, path in summary["files"].items():
            frame = gpd.read_parquet(path) if name == "parquet" else gpd.read_file(path)
            assert len(frame) == 0

    def test_zero_is_data_unless_the_scene_says_otherwise(self, bundle: Path, tmp_path: Path) -> None:
        scene = save(tmp_path / "scene.tif", np.zeros((3, 80, 80), np.uint8))
        assert go(scene, bundle, tmp_path / "out")["windows_run"] == 4

    def test_chunks_do_not_change_the_footprints(self, bundle: Path, tmp_path: Path) -> None:
        scene = save(tmp_path / "scene.tif", picture(400, 500))
        for chunk in (64, 4096):
            go(scene, bundle, tmp_path / str(chunk), "--chunk", chunk, "--threshold", 0.45)
        small, large = ((tmp_path / str(c) / "scene.geojson").read_text() for c in (64, 4096))
        assert len(json.loads(small)["features"]) == len(json.loads(large)["features"])


class TestBadInput:
    """One clear line, exit status 2, nothing left behind."""

    @pytest.fixture
    def scene(self, tmp_path: Path) -> Path:
        return save(tmp_path / "scene.tif", picture())

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--overlap", 64), ("overlap", "smaller")),
            (("--blend", "hann"), ("--blend must be one of smooth, uniform",)),
            (("--format", "xyz"), ("format must be one of geojson", "xyz")),
            (("--connectivity", 5), ("connectivity",)),
            (("--batch-size", "many"), ("batch-size",)),
            (("--batch-size", "2,3"), ("--batch-size", "one whole number")),
            (("--batch-size", 0), ("--batch-size must be at least 1", "got 0")),
            (("--resolution", "0.3,0.5"), ("resolution", "one number")),
            (("--window", "64,64,64"), ("--window must be a whole number of pixels, or two",)),
            (("--bbox", "1,2,3"), ("bbox", "four numbers")),
            (("--format", ""), ("--format", "names of output formats")),
            (("--threshold", "0.2,0.3"), ("threshold", "one for each")),
            (("--threshold", 2), ("threshold",)),
            (("--bands", "1,2,9"), ("band",)),
            (("--bands", "1,2"), ("3 bands",)),
            (("--bbox", "0,0,1,1"), ("bbox",)),
            (("--bbox", "a,b"), ("bbox",)),
            (("--engine", "steam"), ("engine",)),
            (("--device", "cuda:7"), ("cuda",)),
            (("--resolution", "-1"), ("resolution",)),
            (("--aoi", "nowhere.geojson"), ("nowhere.geojson",)),
            (("--on-error", "ignore"), ("--on-error must be one of fail, skip, got 'ignore'",)),
        ],
    )
    def test_options(
        self, options: tuple[Any, ...], words: tuple[str, ...], scene: Path, bundle: Path
    ) -> None:
        out = scene.parent / "new" / "out"
        complains(run("run", scene, "--model", bundle, "--out", out, *options), *words)
        assert not out.parent.exists()

    def test_missing_file(self, bundle: Path, tmp_path: Path) -> None:
        complains(run("run", tmp_path / "no.tif", "--model", bundle, "--out", tmp_path / "o"), "no.tif")
        assert not (tmp_path / "o").exists()

    def test_not_a_raster(self, bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "a.tif").write_text("hello")
        complains(run("run", tmp_path / "a.tif", "--model", bundle, "--out", tmp_path / "o"), "a.tif")
        assert not (tmp_path / "o").exists()

    def test_out_is_a_file(self, scene: Path, bundle: Path) -> None:
        (scene.parent / "o").write_text("keep me")
        complains(run("run", scene, "--model", bundle, "--out", scene.parent / "o"), "--out")
        assert (scene.parent / "o").read_text() == "keep me"

    def test_out_below_a_file(self, scene: Path, bundle: Path) -> None:
        (scene.parent / "o").write_text("keep me")
        for out in (scene.parent / "o" / "p", scene.parent / "o" / "p" / "q"):
            complains(run("run", scene, "--model", bundle, "--out", out), "--out", str(out))
            complains(run("predict", scene, "--model", bundle, "-o", out / "p.tif"), "--out", str(out))
            complains(run("vectorize", scene, "-o", out / "p.gpkg"), "--out", str(out))
        assert (scene.parent / "o").read_text() == "keep me"

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions stop")
    def test_out_without_permission_to_write(self, scene: Path, bundle: Path) -> None:
        out = scene.parent / "o"
        out.mkdir()
        (out / "scene.geojson").write_text("of an earlier run")
        out.chmod(0o555)
        try:
            for path in (out, out / "new"):
                complains(run("run", scene, "--model", bundle, "--out", path), str(path), "ermission denied")
                complains(run("predict", scene, "--model", bundle, "-o", path / "p.tif"), "ermission denied")
                complains(run("vectorize", scene, "-o", path / "p.gpkg"), "ermission denied")
        finally:
            out.chmod(0o755)
        assert [file.name for file in out.iterdir()] == ["scene.geojson"]

    def test_no_such_model(self, scene: Path) -> None:
        complains(run("run", scene, "--model", scene.parent / "m.zip", "--out", scene.parent / "o"), "m.zip")

    def test_corrupt_and_missing_weights(self, scene: Path, bundle: Path, tmp_path: Path) -> None:
        import shutil

        broken = tmp_path / "broken"
        shutil.copytree(bundle, broken)
        weights = next(broken.glob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-100] + bytes(100))
        complains(run("run", scene, "--model", broken, "--out", tmp_path / "o"), weights.name)
        weights.unlink()
        complains(run("run", scene, "--model", broken, "--out", tmp_path / "o"), weights.name)
        assert not (tmp_path / "o").exists()

    def test_pickled_checkpoint(self, scene: Path, tmp_path: Path) -> None:
        import torch

        torch.save({"a": torch.zeros(1)}, tmp_path / "m.pth")
        complains(run("run", scene, "--model", tmp_path / "m.pth", "--out", tmp_path / "o"), "pickle")

    def test_other_options_on_a_kept_run(self, scene: Path, bundle: Path, tmp_path: Path) -> None:
        go(scene, bundle, tmp_path / "o")
        words = ("run", scene, "--model", bundle, "--out", tmp_path / "o", "--engine=torch", "--overlap", 0)
        complains(run(*words), "--restart")
        assert run(*words, "--restart").exit_code == 0

    def test_truncated_scene(self, bundle: Path, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (3, 512, 512), dtype=np.uint8)
        scene = save(
            tmp_path / "scene.tif", noise, tiled=True, blockxsize=128, blockysize=128, compress="deflate"
        )
        content = scene.read_bytes()
        scene.write_bytes(content[: len(content) * 7 // 10])
        words = ("run", scene, "--model", bundle, "--out", tmp_path / "o", "--engine=torch", "--chunk", 128)
        complains(run(*words), "rows", "columns")
        result = run(*words, "--on-error", "skip", "--save-mask")
        assert result.exit_code == 1
        assert "could not be read" in result.stderr
        assert str(tmp_path / "o" / "scene.geojson.failures.json") in result.stderr
        failures = json.loads((tmp_path / "o" / "scene.geojson.failures.json").read_text())
        assert failures
        with rasterio.open(tmp_path / "o" / "scene.mask.tif") as mask:
            invalid = mask.read(1) == 255
        listed = np.zeros_like(invalid)
        for item in failures:
            rows = slice(item["row_off"], item["row_off"] + item["height"])
            listed[rows, item["col_off"] : item["col_off"] + item["width"]] = True
        np.testing.assert_array_equal(invalid, listed)

    @pytest.mark.parametrize("more", [(), ("--on-error", "skip")])
    def test_truncated_png(self, bundle: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
        scene = save(tmp_path / "scene.png", picture(), driver="PNG")
        scene.write_bytes(scene.read_bytes()[:-1000])
        for words in (
            ("run", scene, "--model", bundle, "--out", tmp_path / "o"),
            ("predict", scene, "--model", bundle, "-o", tmp_path / "p.tif"),
            ("vectorize", scene, "-o", tmp_path / "a.gpkg"),
        ):
            complains(run(*words, *more), "truncated PNG", "can't be read in part")
        assert [item for item in tmp_path.iterdir() if not item.name.startswith("scene.")] == []

    def test_truncated_jpeg(self, bundle: Path, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (3, 300, 200), dtype=np.uint8)
        scene = save(tmp_path / "scene.jpg", noise, driver="JPEG")
        scene.write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
        words = ("run", scene, "--model", bundle, "--out", tmp_path / "o", "--engine", "torch")
        complains(run(*words), "cannot read rows 128..191, columns 0..199", "--on-error skip")
        assert run(*words, "--on-error", "skip").exit_code == 1
        failures = json.loads((tmp_path / "o" / "scene.geojson.failures.json").read_text())
        assert [(item["row_off"], item["height"]) for item in failures] == [(128, 64), (192, 64), (256, 44)]


#: Runs commands in one process, each with a limit for files: a write beyond it fails as on a full disk.
LIMITED = """
import json, resource, signal, sys
from typer.testing import CliRunner
from geoseg.cli import app
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
done = []
for limit, words in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    result = CliRunner().invoke(app, words)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    done.append((result.exit_code, result.stderr, repr(result.exception)))
print(json.dumps(done))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits of a process")
def test_a_full_disk(bundle: Path, tmp_path: Path) -> None:
    """One clear line, status 1, earlier outputs untouched, no temporary files; with room it goes on."""
    noise = np.random.default_rng(0).integers(0, 255, (3, 300, 400), dtype=np.uint8)
    scene, mask = (
        save(tmp_path / "scene.tif", noise),
        save(tmp_path / "mask.tif", (noise[:1] > 127) * noise[:1]),
    )
    old = [tmp_path / "o" / "scene.geojson", tmp_path / "o" / "p.tif", tmp_path / "o" / "mask.gpkg"]
    old[0].parent.mkdir()
    for file in old:
        file.write_text("of an earlier run")
    model = ["--model", bundle, "--engine", "torch", "--chunk", 128, "--overwrite"]
    start = ["run", scene, *model, "--out", tmp_path / "o"]
    predict = ["predict", scene, *model, "-o", old[1]]
    commands: list[tuple[int, list[Any]]] = [
        (10, start),  # the store can't be begun
        (2000, start),  # a chunk
        (16_000, start),  # footprints
        (10, predict),
        (16_000, predict),
        (100, ["vectorize", mask, "-o", old[2], "--overwrite"]),
        (100_000, ["vectorize", mask, "-o", old[2], "--overwrite"]),
    ]
    plain = json.dumps([(limit, list(map(str, words))) for limit, words in commands])
    child = subprocess.run([sys.executable, "-c", LIMITED, plain], capture_output=True, text=True, check=True)
    for (limit, words), (status, message, error) in zip(commands, json.loads(child.stdout), strict=True):
        assert status == 1, (limit, words[0], message, error)
        assert message.startswith("error: "), (limit, words[0], message, error)
        assert len(message.splitlines()) == 1, message
        assert "File too large" in message or "incomplete" in message, message
    assert {file.read_text() for file in old} == {"of an earlier run"}
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.glob("**/*") if "prob" not in file.parts}
    stores = {"o/scene.geoseg", "o/p.tif.geoseg"}
    kept = {f"{store}/{name}" for store in stores for name in ("state.json", "chunks.log")}
    assert left == stores | kept | {
        "scene.tif", "mask.tif", "o", *(f"o/{file.name}" for file in old)
    }  # fmt: skip
    assert go(scene, bundle, tmp_path / "o", "--chunk", 128, "--overwrite")["footprints"] is not None
    assert len(gpd.read_file(old[0]))


@pytest.mark.skipif(os.name != "posix", reason="needs limits of a process")
def test_a_full_disk_under_a_geopackage_is_one_line_too(tmp_path: Path) -> None:
    """GDAL's SQLite prints lines of its own."""
    import resource

    mask = save(tmp_path / "mask.tif", np.uint8(picture()[:1] > 100))
    words = [sys.executable, "-m", "geoseg", "vectorize", str(mask), "-o", str(tmp_path / "a.gpkg")]

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = subprocess.run(words, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mask.tif"]


def test_the_whole_shape_of_a_summary(bundle: Path, tmp_path: Path) -> None:
    scene = save(tmp_path / "scene.tif", picture())
    with rasterio.open(scene, "r+") as out:
        out.update_tags(TIFFTAG_DATETIME="2021:03:04 10:00:00")
    formats = "geojson,gpkg,parquet,fgb,shp,geojsonseq"
    summary = go(scene, bundle, tmp_path / "out", "--format", formats, "--threshold", 0.01)
    assert sorted(summary["files"]) == sorted(formats.split(","))
    assert all(Path(path).stat().st_size for path in summary["files"].values())
    frame = gpd.read_parquet(summary["files"]["parquet"])
    columns = ["id", "class", "area_m2", "confidence", "touches_edge", "scene", "acquired", "geometry"]
    assert sorted(frame.columns.drop("bbox", errors="ignore")) == sorted(columns)
    assert (frame.acquired == "2021-03-04").all()
    assert frame.crs.to_epsg() == 32645
    assert gpd.read_file(summary["files"]["geojson"]).crs.to_epsg() == 4326


def test_what_was_left_out_as_unsure_is_told(bundle: Path, tmp_path: Path) -> None:
    """Else a scene that the network is not sure of is like one without houses."""
    scene, out = save(tmp_path / "a.tif", picture()), tmp_path / "out"
    words = ("--model", bundle, "--engine", "torch", "--threshold", 0.01)
    every = go(scene, bundle, out, "--threshold", 0.01)
    assert (every["footprints"] > 0, every["unsure"]) == (True, 0)
    count, least = every["footprints"], ("--min-confidence", 1)
    done = run("run", scene, "--out", out, *words, *least)
    assert done.stdout.startswith(f"0 footprints, {count} too unsure, 0.1 Mpx in ")
    assert f"{count} had a mean probability below 1 (min_confidence); 0 keeps them" in done.stderr
    summary = json.loads(run("run", scene, "--out", out, *words, *least, "--json").stdout)
    assert (summary["footprints"], summary["unsure"]) == (0, count)
    frame = geoseg.segment(scene, bundle, threshold=0.01, min_confidence=1, engine="torch")
    assert (len(frame), frame.attrs["unsure"]) == (0, count)

    save(tmp_path / "b.tif", picture())
    many = ("run", scene, tmp_path / "b.tif", "--mosaic", "off", "--out", tmp_path / "many", *words, *least)
    done = run(*many)
    assert f"; 0 footprints, {2 * count} too unsure in " in done.stdout
    assert f"] a: 0 footprints, {count} too unsure, " in done.stderr
    status = json.loads(run("status", tmp_path / "many", "--json").stdout)
    assert [status["unsure"], *(one["unsure"] for one in status["scenes"])] == [2 * count, count, count]
    assert json.loads(run(*many, "--json").stdout)["unsure"] == 2 * count
    assert f"b: 0 footprints, {count} too unsure, " in run("status", tmp_path / "many", "--all").stdout


def test_light_start() -> None:
    heavy = ("torch", "dask", "geopandas")
    code = f"import geoseg, geoseg.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [(), ("run",), ("predict",), ("vectorize",), ("info",), ("demo",)])
def test_help_has_examples(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"geoseg {command[0] if command else 'run'} " in result.stdout.split("Examples:")[1]


def test_the_summary_names_all_files(bundle: Path, tmp_path: Path) -> None:
    out, scene = tmp_path / "out", save(tmp_path / "a.tif", picture())
    words = ("run", scene, "--model", bundle, "--out", out, "--engine", "torch", "--format", "gpkg")
    words += ("--stac", "--qgs", "--report")
    done = run(*words)
    assert done.exit_code == 0, done.output
    names = ["a.gpkg", "a.qml", "a.qgs", "a.stac.json", "a.model.json", "a.report.html"]
    assert done.stdout.splitlines()[1:] == [str(out / name) for name in names]
    assert all((out / name).is_file() for name in names)
    summary = dict(json.loads(run(*words, "--json").stdout))
    assert list(summary["extras"]) == ["style", "qgs", "stac", "model", "report"]
    complains(run("info", out), "a folder of them", f"geoseg info {out / 'a.gpkg'}.")
    assert run("info", out / "a.gpkg").exit_code == 0
