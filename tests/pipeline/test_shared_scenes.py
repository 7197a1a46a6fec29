"""Whole jobs by many workers: the files are those of one process, to the byte."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_towns import SHAPE, brightness, results, save, settings, town

from geoseg.config.run import RunSettings
from geoseg.pipeline import run as run_module
from geoseg.pipeline.batch import read_manifest, run_batch
from geoseg.pipeline.batch import run as batch_module
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.vectorize_raster import vectorize_raster
from geoseg.pipeline.workers import Workers, open_workers


def threads(count: int = 3) -> Workers:
    """Threads that are treated as other processes are: all goes through files."""
    return Workers(lambda: ThreadPoolExecutor(count), count, apart=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("scene") / "town.tif", town())


@pytest.fixture(scope="module")
def alone(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Results of one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert run_scene(scene, brightness(), folder, settings()).footprints > 20
    return results(folder)


def test_a_run_by_workers_gives_the_files_of_one_process(scene, alone, tmp_path) -> None:
    with threads() as workers:
        summary = run_scene(scene, brightness(), tmp_path, settings(), workers=workers)
    assert results(tmp_path) == alone
    assert summary.windows_run == summary.windows - 1  # the first one was run to count the outputs
    assert not list(tmp_path.rglob("*held*")) + list(tmp_path.rglob("*shared*"))


@pytest.mark.parametrize("options", [{"split": "off"}, {"split": 0.2}, {"regularize": True}])
def test_vectorize_by_workers_gives_the_files_of_one_process(tmp_path, options) -> None:
    raster = save(tmp_path / "mask.tif", (town()[:1] > 100).astype(np.uint8))
    for name, count in (("alone", 0), ("shared", 3)):
        given = RunSettings(chunk=64, formats=("geojson",), **options)
        if count:
            with threads(count) as workers:
                vectorize_raster(raster, tmp_path / name, given, workers=workers)
        else:
            vectorize_raster(raster, tmp_path / name, given)
    assert results(tmp_path / "shared") == results(tmp_path / "alone")


@pytest.mark.parametrize("split", ["off", 0.2])
def test_what_workers_can_not_read_is_listed(tmp_path, split) -> None:
    noise = np.random.default_rng(1).integers(1, 3, (1, *SHAPE), dtype=np.uint8)
    raster = save(tmp_path / "cut.tif", noise, compress="deflate")
    raster.write_bytes(raster.read_bytes()[: raster.stat().st_size * 3 // 4])
    given = RunSettings(chunk=64, on_error="skip", split=split)
    one = vectorize_raster(raster, tmp_path / "alone", given)
    with threads() as workers:
        many = vectorize_raster(raster, tmp_path / "shared", given, workers=workers)
    assert many.failures == one.failures != []
    assert results(tmp_path / "shared") == results(tmp_path / "alone")


def test_processes_share_a_scene_and_two_of_four_may_be_killed(scene, alone, tmp_path) -> None:
    killed: list[int] = []
    with open_workers(settings(devices=("cpu",) * 4), tmp_path) as workers:
        assert workers is not None

        def kill(stage: str, done: float, total: float, **_: float) -> None:
            if stage == "predict" and not killed:
                killed.extend(list(workers._executor._processes)[:2])  # type: ignore[attr-defined]
                for process in killed:
                    os.kill(process, signal.SIGKILL)

        summary = run_scene(scene, brightness(), tmp_path, settings(), progress=kill, workers=workers)
    assert len(killed) == 2
    assert any("a worker died" in note for note in summary.notes)
    assert results(tmp_path) == alone


def test_scenes_follow_one_another_while_the_last_one_is_written(tmp_path, monkeypatch) -> None:
    """The second scene is predicted before the first one is finished, and the results are those of each."""
    names = [save(tmp_path / f"{name}.tif", town(seed)) for seed, name in enumerate("abc")]
    given, began, network = settings(formats=("geojson",), mosaic="off"), threading.Event(), brightness()
    run_batch(names, network, tmp_path / "alone", given)
    plain = run_module.vectorize_classes

    def waits(*args: Any, scene: str, **options: Any) -> Any:
        assert scene != "a" or began.wait(60)  # until there is something of the next scene
        return plain(*args, scene=scene, **options)

    def watch(scene: str, *args: Any, **options: Any) -> Any:
        done = predict(scene, *args, **options)
        if done.source.name == "b":
            began.set()
        return done

    predict = run_module.prepare
    monkeypatch.setattr(run_module, "vectorize_classes", waits)
    monkeypatch.setattr(run_module, "prepare", watch)
    monkeypatch.setattr(batch_module, "open_workers", lambda *_: threads(2))
    summary = run_batch(names, network, tmp_path / "shared", given)
    assert summary.states == {"done": 3}
    for name in "abc":
        assert results(tmp_path / "shared" / name) == results(tmp_path / "alone" / name)


def test_a_batch_that_ends_says_which_scenes_were_stopped(tmp_path, monkeypatch) -> None:
    names = [save(tmp_path / f"{name}.tif", town(seed)) for seed, name in enumerate("abc")]
    begun = threading.Event()

    def told(record: Any, done: int, total: int) -> None:
        if record.state == "done":
            begun.wait(60)
            raise KeyboardInterrupt

    def network(batch: np.ndarray) -> np.ndarray:
        return batch[:, :1] / 255

    monkeypatch.setattr(batch_module, "open_workers", lambda *_: threads(2))
    plain = run_module.prepare

    def watch(*args: Any) -> Any:
        job = plain(*args)
        if job.source.name == "b":
            begun.set()
        return job

    monkeypatch.setattr(run_module, "prepare", watch)
    given = settings(formats=("geojson",), mosaic="off")
    with pytest.raises(KeyboardInterrupt, match="1 of 3 scenes are finished"):
        run_batch(names, network, tmp_path / "o", given, told=told)
    with read_manifest(tmp_path / "o") as manifest:
        states = {record.name: record.state for record in manifest.scenes()}
    assert states["a"] == "done"
    assert states["b"] == "stopped"
    monkeypatch.undo()
    assert run_batch(names, network, tmp_path / "o", given).states == {"done": 3}
