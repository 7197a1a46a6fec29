"""A dask cluster: the files of one process, workers that die and come, and clusters that can't do the job."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import fsspec
import numpy as np
import pytest
from affine import Affine
from fsspec.implementations.memory import MemoryFileSystem
from geopandas.testing import assert_geodataframe_equal
from servers import served
from shared_towns import brightness, results, save, settings, town
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, RunError
from geoseg.files import DiskFullError
from geoseg.pipeline.batch import dry_run, run_batch
from geoseg.pipeline.predict_scene import predict_scene
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.vectorize_raster import vectorize_raster
from geoseg.pipeline.workers import cluster as cluster_module
from geoseg.pipeline.workers import networks_at_once, open_workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """Two processes; slow to start, so one cluster serves all tests."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(cluster: distributed.LocalCluster) -> Iterator[distributed.Client]:
    with distributed.Client(cluster, set_as_default=False) as opened:
        yield opened


def test_a_cluster_gives_the_files_of_one_process_though_workers_die_and_join(
    tmp_path, cluster, client, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = save(Path("town.tif"), town())
    run_scene(scene, brightness(), "alone", settings())
    first, killed = list(client.run(os.getpid).values()), []

    def change(stage: str, done: float, total: float, **_: float) -> None:
        if stage == "predict" and not killed:
            # From here on all is done by workers that were not there when the run began.
            cluster.scale(3)
            for process in first:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    with open_workers(settings(), Path(), client) as workers:
        run_scene(scene, brightness(), "shared", settings(), progress=change, workers=workers)
    assert len(killed) == 2
    assert results(tmp_path / "shared") == results(tmp_path / "alone")
    assert client.status == "running"  # it belongs to the caller


def test_the_address_of_a_scheduler_is_enough_and_names_may_be_relative(
    tmp_path, cluster, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the workers are not
    raster = save(Path("mask.tif"), (town()[:1] > 100).astype(np.uint8))
    given = RunSettings(chunk=64, split=0.2)
    vectorize_raster(raster, "alone", given)
    shared = given.model_copy(update={"scheduler": cluster.scheduler_address})
    vectorize_raster(raster, "shared", shared)
    assert results(tmp_path / "shared") == results(tmp_path / "alone")


def test_a_cluster_that_can_not_be_reached_is_one_line(tmp_path, nobody) -> None:
    raster = save(tmp_path / "mask.tif", np.ones((1, 20, 20), np.uint8))
    words = ["vectorize", str(raster), "-o", str(tmp_path / "o"), "--scheduler", nobody]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: scheduler must be the address of a dask cluster, such as")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_a_worker_of_another_version_is_refused(tmp_path, client) -> None:
    one = next(iter(client.nthreads()))

    def become(version: str) -> str:
        from geoseg.pipeline.workers import cluster

        before, cluster.VERSION = cluster.VERSION, version
        return before

    (before,) = client.run(become, "0.0.9", workers=[one]).values()
    try:
        with pytest.raises(InputError, match=rf"workers must run geoseg .* got 0\.0\.9 at {one}\. Install"):
            cluster_module.cluster_workers(client, str(tmp_path))
    finally:
        client.run(become, before, workers=[one])
    assert not list(tmp_path.iterdir())


def test_a_worker_without_geoseg_is_told_as_such(tmp_path, cluster, client) -> None:
    one = next(iter(client.nthreads()))

    def hide(name: str, hidden: bool) -> None:
        import sys

        if hidden:
            sys.modules["kept of the test"] = sys.modules.pop(name)
            sys.modules[name] = None  # so that importing it fails
        else:
            sys.modules[name] = sys.modules.pop("kept of the test")

    client.run(__import__, cluster_module.__name__)
    client.run(hide, cluster_module.__name__, True, workers=[one])
    given = RunSettings(scheduler=cluster.scheduler_address)
    scene = save(tmp_path / "town.tif", town())
    message = rf"must have geoseg \S+ installed like the command, got none or another at {one} \(.*Install it"
    try:
        for job in (
            lambda: cluster_module.cluster_workers(client, str(tmp_path)),
            lambda: dry_run([scene], brightness(), tmp_path / "o", given),
        ):
            with pytest.raises(InputError, match=message):
                job()
    finally:
        client.run(hide, cluster_module.__name__, False, workers=[one])
    assert networks_at_once(given) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            Exception("ModuleNotFoundError(\"No module named 'geoseg'\")"),
            "must have geoseg .* Install it there",
        ),
        (AttributeError("Can't get attribute '_look'"), "must have geoseg .* Install it there"),
        (Exception("OSError('Timed out')"), "must answer, got an error of .* Start it anew"),
    ],
)
def test_errors_of_workers_are_told_in_a_line(tmp_path, monkeypatch, error, message) -> None:
    client = FakeClient([{}, {}])
    monkeypatch.setattr(client, "run", lambda *_, on_error: dict.fromkeys(client.nthreads(), error))
    for ask in (
        lambda: cluster_module.networks_of(client),
        lambda: cluster_module.cluster_workers(client, str(tmp_path)),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    assert not list(tmp_path.iterdir())


def test_tasks_that_workers_go_on_with_are_waited_for_after_an_error(tmp_path, client) -> None:
    scene, meeting = save(tmp_path / "town.tif", town()), tmp_path / "meeting"
    begun, failed, ended = (tmp_path / name for name in ("begun", "failed", "ended"))

    command = os.getpid()

    def network(batch: np.ndarray) -> np.ndarray:
        if os.getpid() == command:  # a first look at what it gives
            return batch[:, :1] / 255
        try:
            begun.mkdir()
        except FileExistsError:
            if not failed.exists():
                failed.touch()
                raise RunError("this batch can't be predicted") from None
        else:
            # The other worker fails meanwhile, and the run has its error long before this one is done.
            give_up = time.monotonic() + 20
            while not failed.exists() and time.monotonic() < give_up:
                time.sleep(0.01)
            time.sleep(1)
            ended.touch()
        return batch[:, :1] / 255

    given = {name: getattr(settings(), name) for name in ("window", "overlap", "chunk", "threshold")}
    with pytest.raises(RunError, match="this batch can't be predicted"):
        geoseg.segment(scene, network, client=client, store=str(meeting), **given)
    assert ended.exists()
    assert [path for path in meeting.rglob("*") if path.is_file()] == []


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which no scheduler answers."""
    monkeypatch.setattr(cluster_module, "_TIMEOUT", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def test_nothing_is_made_or_lost_where_the_cluster_does_not_answer(tmp_path, nobody) -> None:
    scene, out = save(tmp_path / "town.tif", town()), tmp_path / "o"
    given, network = settings(scheduler=nobody, restart=True), brightness()
    for job in (
        lambda: run_batch([scene], network, out, given),
        lambda: run_scene(scene, network, out, given),
        lambda: predict_scene(scene, network, out / "prob.tif", given),
        lambda: dry_run([scene], network, out, given),
    ):
        with pytest.raises(InputError, match="can't be reached"):
            job()
        assert not out.exists()
    run_scene(scene, network, out, settings())
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="can't be reached"):
        run_scene(scene, network, out, given)  # --restart would throw the kept chunks away
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == kept


def test_segment_gives_the_same_frame(tmp_path, client) -> None:
    scene = save(tmp_path / "town.tif", town())
    given = {name: getattr(settings(), name) for name in ("window", "overlap", "chunk", "threshold", "split")}
    alone = geoseg.segment(scene, brightness(), **given)
    # The folder in which the frame is made is one that workers on other machines would not see.
    shared = geoseg.segment(scene, brightness(), client=client, store=str(tmp_path / "meet"), **given)
    assert len(shared) > 20
    assert_geodataframe_equal(shared, alone)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="another process has other open files")
def test_workers_that_do_not_see_the_folder_are_refused_before_any_window(tmp_path, client) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    # The same path leads somewhere else in each process.
    place = f"/proc/self/fd/{folder}"
    address = next(iter(client.nthreads()))
    try:
        with pytest.raises(
            InputError, match=rf"workers must see .* does not see {place}: {address} on .*--store"
        ):
            cluster_module.cluster_workers(client, place)
    finally:
        os.close(folder)
    assert not list(tmp_path.iterdir())


def test_workers_meet_in_a_folder_elsewhere_and_not_in_the_memory_of_the_command(tmp_path, client) -> None:
    scene = save(tmp_path / "town.tif", town())
    run_scene(scene, brightness(), tmp_path / "alone", settings())
    given = settings(store=f"file://{tmp_path}/meeting")
    run_scene(scene, brightness(), tmp_path / "shared", given, client=client)
    assert results(tmp_path / "shared") == results(tmp_path / "alone")
    (part,) = (tmp_path / "meeting").iterdir()
    assert [path.name for path in part.iterdir()] == ["prob"]
    address = next(iter(client.nthreads()))
    # One that each process has for itself, and one for which the workers lack the package.
    fsspec.register_implementation("here", MemoryFileSystem, clobber=True)
    for place, why in (("memory://work", ""), ("here://work", r".*Protocol not known: here")):
        elsewhere = given.model_copy(update={"store": place})
        with pytest.raises(InputError, match=rf"does not see {place}: {address} on {why}.*--store"):
            run_scene(scene, brightness(), tmp_path / "other", elsewhere, client=client)
    assert not (tmp_path / "other").exists()


def test_a_full_disk_of_one_worker_ends_the_run_and_the_same_command_goes_on(tmp_path, client) -> None:
    one = next(iter(client.nthreads()))

    def limit(size: int) -> int:
        import resource

        before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        return before

    given = settings(formats=("fgb",), save_prob=False, save_mask=False, split="off")
    scene = save(tmp_path / "town.tif", town())
    run_scene(scene, brightness(), tmp_path / "alone", given)
    # For the system it is a file that is too large: no more fits, as on a full disk.
    (before,) = client.run(limit, 2000, workers=[one]).values()
    try:
        with pytest.raises(DiskFullError, match=r"cannot write .*File too large") as caught:
            run_scene(scene, brightness(), tmp_path / "shared", given, client=client)
        assert caught.value.exit_code == 1
        assert not results(tmp_path / "shared")
    finally:
        client.run(limit, before, workers=[one])
    run_scene(scene, brightness(), tmp_path / "shared", given, client=client)
    assert results(tmp_path / "shared") == results(tmp_path / "alone")


def test_workers_read_from_a_server_that_drops_every_third_request(tmp_path, client, monkeypatch) -> None:
    (tmp_path / "served").mkdir()
    image, place = town(), Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
    # A mosaic of two sheets, and an item whose asset is a third file.
    save(tmp_path / "served" / "west.tif", image[:, :, :128])
    save(tmp_path / "served" / "east.tif", image[:, :, 128:], transform=place * Affine.translation(128, 0))
    save(tmp_path / "served" / "item.tif", town(4), transform=place * Affine.translation(900, 900))
    waits = {"GDAL_HTTP_RETRY_DELAY": "0.02", "GDAL_HTTP_MAX_RETRY": "6"}

    def set_waits(values: dict[str, str]) -> None:
        import os

        os.environ.update(values)

    client.run(set_waits, waits)
    for name, value in waits.items():
        monkeypatch.setenv(name, value)
    given = settings(
        asset="visual", remote=True, save_prob=False, save_mask=False, formats=("fgb",), split="off"
    )
    with served(tmp_path / "served") as server:
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": "item", "geometry": None, "links": [],
            "properties": {"datetime": "2024-06-01T00:00:00Z"},
            "assets": {"visual": {"href": f"{server.root}/item.tif", "type": "image/tiff"}},
        }  # fmt: skip
        (tmp_path / "item.json").write_text(json.dumps(item))
        words = [f"{server.root}/west.tif", f"{server.root}/east.tif", str(tmp_path / "item.json")]
        run_batch(words, brightness(), tmp_path / "alone", given)
        server.behave("drop3")
        done = run_batch(words, brightness(), tmp_path / "shared", given, client=client)
    assert [record.state for record in done.scenes] == ["done"] * 2, [r.error for r in done.missing]
    assert sum(len(record.paths) for record in done.scenes) == 3
    for record in done.scenes:
        assert results(tmp_path / "shared" / record.name) == results(tmp_path / "alone" / record.name)


class FakeClient:
    """What is asked of a client before any task is given."""

    def __init__(self, resources: list[dict[str, float]]) -> None:
        self.resources, self.asked = resources, []
        self.scheduler = self
        self.address = "tcp://scheduler:8786"

    def nthreads(self) -> dict[str, int]:
        return {f"tcp://host-{k // 2}:{8000 + k}": 2 for k in range(len(self.resources))}

    def run(self, function: Any, *args: Any, on_error: str = "raise") -> dict[str, Any]:
        """As distributed does it: the worker is handed to a function that asks for it by this name."""
        states = [
            SimpleNamespace(state=SimpleNamespace(total_resources=offered)) for offered in self.resources
        ]
        return {
            address: function(*args, dask_worker=worker)
            for address, worker in zip(self.nthreads(), states, strict=True)
        }

    def get_executor(self, **options: Any) -> Any:
        self.asked.append(options)
        return self


@pytest.mark.parametrize(
    ("resources", "tracing", "network"),
    [
        ([{}, {}], {}, {}),
        ([{"GPU": 1}, {}], {}, {"resources": {"GPU": 1}}),
        ([{"GPU": 1}, {"CPU": 4}], {"resources": {"CPU": 1}}, {"resources": {"GPU": 1}}),
    ],
)
def test_networks_go_where_gpus_are(tmp_path: Path, resources, tracing, network) -> None:
    client = FakeClient(resources)
    workers = cluster_module.cluster_workers(client, str(tmp_path))
    assert client.asked == [{"pure": False, **tracing}, {"pure": False, **network}]
    assert workers.count == 4


@pytest.mark.parametrize(
    ("resources", "count"), [([{}] * 4, 2), ([{"GPU": 2}, {"GPU": 1}, {"CPU": 4}], 2), ([], 1)]
)
def test_networks_that_run_at_a_time_on_a_cluster(resources, count: int) -> None:
    assert cluster_module.networks_of(FakeClient(resources)) == count


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"workers": 4}, 1),  # they share the CPUs, or the one GPU
        ({"devices": ("cuda:0", "cuda:1", "cuda:1")}, 2),
        ({"devices": ("cpu", "cpu")}, 1),
    ],
)
def test_networks_that_run_at_a_time_on_this_machine(given, count: int) -> None:
    assert networks_at_once(RunSettings(**given)) == count


def test_a_cluster_without_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at least one worker.* dask worker tcp://scheduler:8786"):
        cluster_module.cluster_workers(FakeClient([]), str(tmp_path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scheduler": "tcp://host:8786", "workers": 2}, "workers must be 1 with a cluster"),
        ({"devices": ("cpu", "cuda:0")}, "devices must be of one kind.* cpu and cuda"),
    ],
)
def test_settings_that_exclude_each_other(tmp_path: Path, given, message) -> None:
    with pytest.raises(InputError, match=message), open_workers(RunSettings(**given), tmp_path):
        pass
