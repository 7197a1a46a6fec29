"""One writer a target, one scene a run, and lists before results."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from typer.testing import CliRunner

from geoseg.config.run import RunSettings
from geoseg.errors import RunError, SceneError
from geoseg.files import LockedError, hold, locks
from geoseg.pipeline.predict_scene import predict_scene
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.vectorize_raster import vectorize_raster

SETTINGS = RunSettings(window=(32, 32), overlap=(8, 8), chunk=32)


def save(path: Path, seed: int = 0) -> Path:
    values = np.random.default_rng(seed).integers(0, 2, (1, 12, 15), np.uint8).repeat(8, 1).repeat(8, 2) * 255
    profile = {
        "driver": "GTiff", "count": 1, "height": 96, "width": 120, "dtype": "uint8", "crs": "EPSG:32645",
        "transform": Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(values)
    return path


class Bright:
    """A network that is known again."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch[:, :1] / np.float32(255)

    def fingerprint(self) -> str:
        return "bright"


@contextmanager
def held_elsewhere(target: Path) -> Iterator[None]:
    """Another run that works on ``target``."""
    begun, done = threading.Event(), threading.Event()

    def work() -> None:
        with hold(target):
            begun.set()
            done.wait()

    other = threading.Thread(target=work)
    other.start()
    begun.wait()
    try:
        yield
    finally:
        done.set()
        other.join()


@pytest.mark.parametrize("name", ["scene.geojson", "scene.geoseg", "scene.mask.tif"])
def test_two_runs_of_one_target(tmp_path: Path, name: str) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"
    settings = SETTINGS.model_copy(update={"save_mask": True})
    with held_elsewhere(out / name), pytest.raises(LockedError, match=f"another run is working on .*{name}"):
        run_scene(scene, Bright(), out, settings)
    assert list(out.iterdir()) == []
    assert run_scene(scene, Bright(), out, settings).footprints


@pytest.mark.parametrize("name", ["p.tif", "p.tif.geoseg"])
def test_two_predictions_of_one_target(tmp_path: Path, name: str) -> None:
    scene = save(tmp_path / "scene.tif")
    with held_elsewhere(tmp_path / name), pytest.raises(LockedError, match="another run is working on"):
        predict_scene(scene, Bright(), tmp_path / "p.tif", SETTINGS)


def test_two_rasters_of_one_name_into_one_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rasters = [save(tmp_path / "a" / "town.tif"), save(tmp_path / "b" / "town.tif", 1)]
    out, errors = tmp_path / "out", []

    def second(stage: str, *_: float, **__: float) -> None:
        def work() -> None:
            try:
                vectorize_raster(rasters[1], out)
            except LockedError as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    summary = vectorize_raster(rasters[0], out, progress=second)
    assert errors
    assert len(gpd.read_file(out / "town.geojson")) == summary.footprints
    assert sorted(path.name for path in out.iterdir()) == ["town.geojson", "town.qml"]


def test_the_second_command_says_so_in_one_line(tmp_path: Path) -> None:
    from geoseg.cli import app

    raster, target = save(tmp_path / "mask.tif"), tmp_path / "houses.gpkg"
    with held_elsewhere(target):
        result = CliRunner().invoke(app, ["vectorize", str(raster), "-o", str(target)])
    assert result.exit_code == 2
    assert (
        result.stderr == f"error: another run is working on {target}. Wait for it, or give another output.\n"
    )


def swap_at(stage: str, scene: Path) -> Callable[..., None]:
    """A progress that replaces the scene when a stage begins."""
    return doing_at(stage, lambda: save(scene.with_name("new.tif"), 1).replace(scene))


@pytest.mark.parametrize("stage", ["predict", "vectorize"])
def test_a_scene_that_is_replaced_during_a_run(tmp_path: Path, stage: str) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"
    first = run_scene(scene, Bright(), tmp_path / "first", SETTINGS).footprints
    words = "was replaced or changed during the run"
    with pytest.raises(RunError, match=words) as error:
        run_scene(scene, Bright(), out, SETTINGS, progress=swap_at(stage, scene))
    assert not (out / "scene.geoseg").exists()
    if stage == "predict":
        assert not out.exists()
    else:  # all pixels were predicted by then
        assert str(out / "scene.geojson") in str(error.value)
        assert len(gpd.read_file(out / "scene.geojson")) == first
    again = run_scene(scene, Bright(), out, SETTINGS)
    assert again.windows_run == again.windows - 1  # the first one ran to count the outputs
    assert again.footprints != first


@pytest.mark.parametrize(
    "fault", [OSError(errno.ESTALE, "Stale file handle"), SceneError("code: 403"), RunError("code: 503")]
)
@pytest.mark.parametrize("stage", ["predict", "vectorize"])
def test_a_scene_that_can_not_be_looked_at_again_costs_no_kept_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, fault: Exception
) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"

    def fail(*_: object) -> str:
        raise fault

    def report(at: str, *_: float, **__: float) -> None:
        if at == stage:
            monkeypatch.setattr("geoseg.io.scene.fingerprint_files", fail)

    with pytest.raises(RunError, match=r"can't be looked at again.* is kept: the same command goes on"):
        run_scene(scene, Bright(), out, SETTINGS, progress=report)
    assert (out / "scene.geojson").exists() == (stage == "vectorize")
    monkeypatch.undo()
    assert run_scene(scene, Bright(), out, SETTINGS).windows_run <= 1  # to count the outputs


def doing_at(stage: str, work: Callable[[], object]) -> Callable[..., None]:
    """A progress that does something when a stage begins."""
    left = [stage]

    def report(at: str, *_: float, **__: float) -> None:
        if at in left:
            left.clear()
            work()

    return report


def vrt_of(scene: Path, folder: Path) -> Path:
    """A VRT elsewhere that draws on a scene."""
    source = (
        f"<SimpleSource><SourceFilename>{scene}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    )
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    path = folder / "scene.vrt"
    path.write_text(f'<VRTDataset rasterXSize="120" rasterYSize="96">{band}</VRTDataset>')
    return path


@pytest.mark.parametrize("kind", ["folder", "mount", "vrt"])
def test_a_scene_on_a_disk_that_is_pulled_costs_no_kept_run(tmp_path: Path, kind: str) -> None:
    disk, out, pulled = tmp_path / "disk", tmp_path / "out", tmp_path / "pulled"
    disk.mkdir()
    scene = save(disk / "scene.tif")
    named = vrt_of(scene, tmp_path) if kind == "vrt" else scene

    def pull() -> None:
        disk.rename(pulled)
        if kind == "mount":  # the folder that a disk is mounted on stays
            disk.mkdir()

    with pytest.raises(RunError, match=r"scene.tif isn't there.* is kept: the same command goes on"):
        run_scene(named, Bright(), out, SETTINGS, progress=doing_at("vectorize", pull))
    if kind == "mount":
        disk.rmdir()
    pulled.rename(disk)
    assert run_scene(named, Bright(), out, SETTINGS).windows_run == 0


def test_a_scene_that_is_read_again_without_its_mask_is_another_one(tmp_path: Path) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"
    mask = scene.with_name("scene.tif.msk")
    save(mask)
    with pytest.raises(RunError, match="replaced or changed during the run"):
        run_scene(scene, Bright(), out, SETTINGS, progress=doing_at("vectorize", mask.unlink))
    assert not (out / "scene.geoseg").exists()
    assert run_scene(scene, Bright(), out, SETTINGS).windows_run > 0


def test_what_was_skipped_while_a_scene_was_not_there_is_read_again(tmp_path: Path) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"
    content = scene.read_bytes()
    settings = SETTINGS.model_copy(update={"on_error": "skip"})
    scene.write_bytes(content[: len(content) * 3 // 4])
    damaged = run_scene(scene, Bright(), tmp_path / "damaged", settings)
    assert damaged.failures
    with pytest.raises(
        RunError, match=r"isn't there.* goes on from there. Regions that were skipped are read"
    ):
        run_scene(scene, Bright(), out, settings, progress=doing_at("vectorize", scene.unlink))
    scene.write_bytes(content[: len(content) * 3 // 4])
    assert 0 < run_scene(scene, Bright(), out, settings).windows_run < damaged.windows_run


def stat_failing(scene: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError) -> None:
    """Make every look at a scene fail."""
    plain = os.stat

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if isinstance(path, (str, Path)) and Path(path) == scene:
            raise fault
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)


def test_why_a_scene_can_not_be_looked_at_again_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"
    fault = PermissionError(errno.EACCES, "Permission denied", str(scene))
    fail = doing_at("vectorize", lambda: stat_failing(scene, monkeypatch, fault))
    with pytest.raises(RunError, match=r"Permission denied.* is kept: the same command") as error:
        run_scene(scene, Bright(), out, SETTINGS, progress=fail)
    assert "isn't there" not in str(error.value)


def mounted_anew(scene: Path) -> None:
    """Give a file another inode, as some disks do when they are mounted anew; size and time stay."""
    stat = scene.stat()
    # The old one has to live meanwhile, or its number is given again.
    other = scene.with_suffix(".new")
    other.write_bytes(scene.read_bytes())
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(scene)
    assert scene.stat().st_ino != stat.st_ino


def test_a_disk_that_is_mounted_anew_and_busy_costs_no_kept_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"

    def fail(*_: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    def remount() -> None:
        mounted_anew(scene)
        monkeypatch.setattr("geoseg.io.scene.fingerprint_files", fail)

    with pytest.raises(RunError, match=r"Input/output error.* is kept: the same command goes on"):
        run_scene(scene, Bright(), out, SETTINGS, progress=doing_at("vectorize", remount))
    monkeypatch.undo()
    assert run_scene(scene, Bright(), out, SETTINGS).windows_run == 0


@pytest.mark.parametrize("stage", ["predict", "vectorize"])
def test_what_was_skipped_is_read_again_where_the_store_was_on_the_same_disk(
    tmp_path: Path, stage: str
) -> None:
    """A disk with scene and chunks is pulled before anybody can note anything on it, and comes back."""
    disk, pulled = tmp_path / "disk", tmp_path / "pulled"
    disk.mkdir()
    scene = save(disk / "scene.tif")
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) * 3 // 4])
    settings = SETTINGS.model_copy(update={"on_error": "skip"})
    damaged = run_scene(scene, Bright(), tmp_path / "damaged", settings)
    settings = settings.model_copy(update={"store": str(disk / "work")})

    def pull(name: str, done: int, total: int, **_: Any) -> None:
        if name == stage and done == total and disk.is_dir() and not pulled.exists():
            disk.rename(pulled)
            (disk / "work").mkdir(parents=True)  # as where a disk is mounted on a folder that is not empty

    with pytest.raises(RunError, match=r"isn't there|vanished|can't be written"):
        run_scene(scene, Bright(), tmp_path / "out", settings, progress=pull)
    shutil.rmtree(disk)
    pulled.rename(disk)
    again = run_scene(scene, Bright(), tmp_path / "out", settings)
    assert 0 < again.windows_run < damaged.windows_run
    assert again.failures == damaged.failures
    assert run_scene(scene, Bright(), tmp_path / "out", settings).windows_run == 0


def test_a_scene_that_is_being_written_anew_is_begun_anew(tmp_path: Path) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"

    def begin_to_write() -> None:
        scene.write_bytes(b"II")

    with pytest.raises(RunError, match="replaced or changed during the run"):
        run_scene(scene, Bright(), out, SETTINGS, progress=doing_at("vectorize", begin_to_write))
    assert not (out / "scene.geoseg").exists()


def test_a_raster_that_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    raster = save(tmp_path / "mask.tif")
    with pytest.raises(RunError, match="replaced or changed while it was read, so nothing is written"):
        vectorize_raster(raster, tmp_path / "out", progress=swap_at("vectorize", raster))
    assert not (tmp_path / "out").exists()


def test_a_prediction_killed_while_it_removes_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, target = save(tmp_path / "scene.tif"), tmp_path / "p.tif"
    with monkeypatch.context() as killed:
        killed.setattr(locks.shutil, "rmtree", lambda *_, **__: None)
        predict_scene(scene, Bright(), target, SETTINGS)
    assert any(path.name.startswith(".p.tif.geoseg.run-") for path in tmp_path.iterdir())
    summary = predict_scene(scene, Bright(), target, SETTINGS)
    assert summary.windows_run == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.tif", "scene.tif"]


def test_damaged_chunks_are_said(tmp_path: Path) -> None:
    scene, out = save(tmp_path / "scene.tif"), tmp_path / "out"
    run_scene(scene, Bright(), out, SETTINGS)
    expected = (out / "scene.geojson").read_bytes()
    (out / "scene.geoseg" / "prob" / "c" / "0" / "1" / "1").write_bytes(b"")
    summary = run_scene(scene, Bright(), out, SETTINGS)
    assert any("1 kept chunk was damaged or gone from" in note for note in summary.notes)
    assert (out / "scene.geojson").read_bytes() == expected
    assert not run_scene(scene, Bright(), out, SETTINGS).notes
