"""Many workers: the same bytes for any number, any order and any deaths; what they can't do is refused."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from affine import Affine

from geoseg import cpus
from geoseg.cpus import respect_quota
from geoseg.errors import InputError, RunError
from geoseg.files import DiskFullError, FolderDepot, depot
from geoseg.geo.blocks import plan_blocks
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.lazy.scene import ArrayScene
from geoseg.models.predictor import CallablePredictor
from geoseg.pipeline.predict import BlockReader, PredictSummary, predict_to_store
from geoseg.pipeline.store import ProbStore
from geoseg.pipeline.strips import driver, predict_with_workers, tasks
from geoseg.pipeline.strips.todo import Pace
from geoseg.pipeline.workers import Shared, Workers, processes
from geoseg.pipeline.workers import shared as shared_module

SHAPE = (150, 210)
WHOLE = Window(row_off=0, col_off=0, height=SHAPE[0], width=SHAPE[1])


def network(batch: np.ndarray) -> np.ndarray:
    """Depends on the pixels, the place and, in the last bits, on the size of the batch."""
    value = batch.astype(np.float32).mean(1, keepdims=True) / 255
    ramp = np.linspace(0, 0.5, batch.shape[3], dtype=np.float32)
    return np.clip(value * 0.5 + ramp + np.float32(1e-3) * len(batch), 0, 1)


def make_reader(seed: int = 1, chunk: int = 48, overlap: tuple[int, int] = (8, 12), **options) -> BlockReader:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (3, *SHAPE), dtype=np.uint8)
    valid = np.ones(SHAPE, bool)
    valid[20:90, 30:140] = False
    valid[130:, :60] = rng.random((20, 60)) < 0.5
    scene = ArrayScene(image, valid, GeoBox(Affine.identity(), None, *SHAPE))
    return BlockReader(scene, plan_blocks(SHAPE, window=(32, 32), overlap=overlap, chunk=chunk), **options)


def opened(folder: Path, reader: BlockReader, dtype: str = "float32") -> ProbStore:
    return ProbStore.open(folder, reader.plan, 1, {"model": "m"}, batch_size=5, dtype=dtype)


def by_workers(folder: Path, reader: BlockReader, workers: Workers, predict=network) -> PredictSummary:
    store = opened(folder, reader)
    try:
        return predict_with_workers(reader, CallablePredictor(predict), store, workers)
    finally:
        store.close()


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files of a store, the record by its lines, which come in any order."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files["chunks.log"] = b"\n".join(sorted(files["chunks.log"].split(b"\n")))
    return files


def threads(count: int) -> Workers:
    """Threads that are treated as other processes are: all goes through files."""
    return Workers(lambda: ThreadPoolExecutor(count), count, apart=True)


@pytest.fixture(scope="module", params=[(48, (8, 12)), (32, (20, 24))])
def alone(request, tmp_path_factory) -> tuple[dict[str, Any], Path, PredictSummary]:
    """What one process gives."""
    options = {"chunk": request.param[0], "overlap": request.param[1]}
    folder, reader = tmp_path_factory.mktemp("alone") / "s", make_reader(**options)
    store = opened(folder, reader)
    done = predict_to_store(reader, network, store)
    store.close()
    return options, folder, done


class Shuffled(ThreadPoolExecutor):
    """Does what it was given in any order."""

    def __init__(self, seed: int) -> None:
        super().__init__(1)
        self.rng, self.calls = random.Random(seed), []

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future:
        future: Future = Future()
        self.calls.append((future, function, args))
        super().submit(self.work_on_any)
        return future

    def work_on_any(self) -> None:
        future, function, args = self.calls.pop(self.rng.randrange(len(self.calls)))
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_any_number_of_workers_gives_the_bytes_of_one_process(tmp_path, alone, count: int) -> None:
    options, folder, done = alone
    with threads(count) as workers:
        summary = by_workers(tmp_path / "s", make_reader(**options), workers)
    assert contents(tmp_path / "s") == contents(folder)
    assert (summary.windows, summary.skipped) == (done.windows, done.skipped)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_completion_gives_the_same_bytes(tmp_path, alone, seed: int) -> None:
    options, folder, _ = alone
    with Workers(lambda: Shuffled(seed), 4, apart=True) as workers:
        by_workers(tmp_path / "s", make_reader(**options), workers)
    assert contents(tmp_path / "s") == contents(folder)


class Dying(ThreadPoolExecutor):
    """Breaks as a pool of processes does when one is killed: all that is not done is lost."""

    def __init__(self, after: int) -> None:
        super().__init__(2)
        self.left, self.broken, self.given, self.gate = after, False, [], threading.Lock()

    def submit(self, function, /, *args):
        if self.broken:
            raise BrokenExecutor("a child process terminated abruptly")
        outer: Future = Future()
        self.given.append(outer)
        super().submit(self._do, outer, function, args)
        return outer

    def _do(self, outer, function, args):
        with self.gate:
            if self.broken:
                return
            self.left -= 1
            if self.left == 0:
                self.broken = True
                for other in self.given:
                    if not other.done():
                        other.set_exception(BrokenExecutor("a child process terminated abruptly"))
                return
        try:
            result = function(*args)
        except BaseException as error:
            result = error
        with self.gate:
            if not outer.done():
                outer.set_exception(result) if isinstance(result, BaseException) else outer.set_result(result)


def test_tasks_of_dead_workers_are_given_again(tmp_path, alone, caplog) -> None:
    options, folder, _ = alone
    lives = iter([3, 7, 10_000])
    with Workers(lambda: Dying(next(lives)), 2, apart=True) as workers:
        by_workers(tmp_path / "s", make_reader(**options), workers)
        assert len(workers.take_notes()) == 1
    assert contents(tmp_path / "s") == contents(folder)
    assert sum("a worker died" in record.message for record in caplog.records) == 2


def test_workers_that_die_again_and_again_end_the_run(tmp_path, caplog) -> None:
    with (
        Workers(lambda: Dying(1), 2, apart=True) as workers,
        pytest.raises(RunError, match="again and again"),
    ):
        by_workers(tmp_path / "s", make_reader(), workers)


def test_a_run_that_was_stopped_goes_on_with_workers_and_without(tmp_path, alone) -> None:
    options, folder, _ = alone
    calls = []

    def dies(batch):
        calls.append(len(batch))
        if len(calls) > 4:
            raise RunError("stopped")
        return network(batch)

    with threads(2) as workers, pytest.raises(RunError, match="stopped"):
        by_workers(tmp_path / "s", make_reader(**options), workers, dies)
    assert not (tmp_path / "s" / "parts").exists()
    reader = make_reader(**options)
    store = opened(tmp_path / "s", reader)
    predict_to_store(reader, network, store)
    store.close()
    assert contents(tmp_path / "s") == contents(folder)


def test_a_full_disk_of_one_worker_says_so_and_the_run_goes_on_later(tmp_path, alone, monkeypatch) -> None:
    options, folder, _ = alone
    original, written = depot.place_bytes, []

    def full(path, content, aside):
        written.append("prob" in path.parts)
        if written[-1] and sum(written) == 4:
            raise OSError(28, "No space left on device")
        original(path, content, aside)

    monkeypatch.setattr(depot, "place_bytes", full)
    with threads(2) as workers:
        with pytest.raises(DiskFullError, match="No space left on device") as caught:
            by_workers(tmp_path / "s", make_reader(**options), workers)
        assert caught.value.exit_code == 1
        by_workers(tmp_path / "s", make_reader(**options), workers)
    assert contents(tmp_path / "s") == contents(folder)


def test_tasks_in_flight_are_bounded(tmp_path) -> None:
    most = 0
    with threads(2) as workers:
        submit = workers.submit

        def counted(*args, **options):
            nonlocal most
            pending = submit(*args, **options)
            most = max(most, len(workers._pending))
            return pending

        workers.submit = counted  # type: ignore[method-assign]
        by_workers(tmp_path / "s", make_reader(chunk=32), workers)
    assert most <= workers.in_flight == 8


class AtOnce(Executor):
    """Does what it is given when it is given."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future:
        future: Future = Future()
        future.set_result(function(*args))
        return future


def feed(
    folder: Path, side: int, workers: Workers, monkeypatch: pytest.MonkeyPatch, predict: Callable[..., Any]
) -> int:
    """Let workers do side x side chunks that are not really predicted; bytes of the driver at its peak."""
    monkeypatch.setattr(driver, "predict_strips", predict)
    monkeypatch.setattr(driver, "finish_chunks", lambda _, chunks, used: ([7] * len(chunks), 0.1))
    shape = (16 * side, 16 * side)
    plan = plan_blocks(shape, window=(8, 8), overlap=(2, 2), chunk=16)
    assert np.prod(plan.n_chunks) > side**2 / 2
    # Never read, and no array as large as the scene.
    scene = ArrayScene(np.zeros((1, 1, 1), np.uint8), None, GeoBox(Affine.identity(), None, 1, 1))
    store = ProbStore.open(folder, plan, 1, {}, batch_size=2)
    tracemalloc.start()
    driver.predict_with_workers(BlockReader(scene, plan), CallablePredictor(np.copy), store, workers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.records.finished.all()
    store.close()
    return peak


def a_fifth_of_a_second(_: Any, strips: Any) -> tuple[tasks.StripSummary, int, float]:
    return tasks.StripSummary(16), len(strips), 0.2 * len(strips)


def test_the_memory_of_the_driver_does_not_grow_with_the_scene(tmp_path, monkeypatch) -> None:
    with Workers(AtOnce, 4, apart=True) as workers:
        _, small, large = (
            feed(tmp_path / str(side), side, workers, monkeypatch, a_fifth_of_a_second)
            for side in (4, 10, 60)  # the first loads what is loaded once
        )
    # Flags and a checksum of each chunk, and some for each row; objects would take 700 bytes a chunk.
    assert (large - small) / (60**2 - 10**2) < 20


def test_a_slow_task_holds_up_nobody(tmp_path, monkeypatch) -> None:
    calls, enough, waited = itertools.count(), threading.Event(), []
    with threads(2) as workers:

        def predict(*args: Any) -> tuple[tasks.StripSummary, int, float]:
            number = next(calls)
            if number == 0:  # until more is done than is ever in flight
                waited.append(enough.wait(30))
            if number == 2 * workers.in_flight:
                enough.set()
            return tasks.StripSummary(16), len(args[1]), 1.0 * len(args[1])

        feed(tmp_path / "s", 10, workers, monkeypatch, predict)
    assert waited == [True]


def test_a_task_that_takes_longer_than_thought_leaves_strips_to_others(tmp_path, alone, monkeypatch) -> None:
    options, folder, done = alone
    # Each task stops after its first strip, though it was given all that are left.
    monkeypatch.setattr(tasks, "TASK_SECONDS", -1.0)
    monkeypatch.setattr(driver, "Pace", lambda *_: SimpleNamespace(count=50, note=lambda done, seconds: None))
    given = []
    plain = driver.predict_strips

    def counted(work, strips):
        given.append(len(strips))
        return plain(work, strips)

    monkeypatch.setattr(driver, "predict_strips", counted)
    with Workers(AtOnce, 1, apart=True) as workers:
        summary = by_workers(tmp_path / "s", make_reader(**options), workers)
    assert max(given) > 1
    assert contents(tmp_path / "s") == contents(folder)
    assert (summary.windows, summary.skipped) == (done.windows, done.skipped)


@pytest.mark.parametrize(("seconds", "count"), [(0.2, 5), (0.001, 64), (3.0, 1)])
def test_tasks_hold_as_many_strips_as_take_a_second(seconds: float, count: int) -> None:
    pace = Pace(1)
    for _ in range(3):
        pace.note(4, 4 * seconds)
    assert pace.count == count


def test_what_all_tasks_need_goes_through_a_file_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shared_module, "_cache", type(shared_module._cache)())
    sent = pickle.dumps(Shared(list(range(10_000)), FolderDepot(tmp_path)))
    assert len(sent) < 400
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first.value is second.value
    (file,) = tmp_path.iterdir()
    file.write_bytes(pickle.dumps("something else"))
    shared_module._cache.clear()
    with pytest.raises(RunError, match="must stay as the command wrote it"):
        _ = pickle.loads(sent).value
    file.unlink()
    with pytest.raises(
        InputError, match=r"workers must see where they meet, got one that does not see .*--store"
    ):
        _ = pickle.loads(sent).value


def test_workers_of_another_version_are_refused(tmp_path, monkeypatch) -> None:
    sent = pickle.dumps(Shared("value", FolderDepot(tmp_path)))
    monkeypatch.setattr(shared_module, "VERSION", "0.0.9")
    with pytest.raises(InputError, match=r"workers must run geoseg .* got 0\.0\.9"):
        pickle.loads(sent)


class Lost(ThreadPoolExecutor):
    """A cluster whose scheduler ends: what is in flight is cancelled, and later nothing is taken."""

    def __init__(self, closed: int) -> None:
        super().__init__(2)
        self.given, self.closed = 0, closed

    def submit(self, function, /, *args):
        self.given += 1
        if self.given >= self.closed:
            raise RuntimeError("client closed")
        if self.given < 7:
            return super().submit(function, *args)
        cancelled: Future = Future()
        cancelled.cancel()
        cancelled.set_running_or_notify_cancel()
        return cancelled


@pytest.mark.parametrize("closed", [10, 1000])
def test_a_scheduler_that_ends_is_told_and_the_command_goes_on(tmp_path, alone, closed: int) -> None:
    options, folder, _ = alone
    workers = Workers(lambda: Lost(closed), 2, apart=True, is_cluster=True)
    with workers, pytest.raises(RunError, match="can't be reached any more"):
        by_workers(tmp_path / "s", make_reader(**options), workers)
    with threads(2) as workers:
        by_workers(tmp_path / "s", make_reader(**options), workers)
    assert contents(tmp_path / "s") == contents(folder)


class Placed:
    """A predictor that runs on devices."""

    runtime = "torch on cuda"

    def __init__(self, device: str = "cuda:0") -> None:
        self.device = device

    def on_device(self, device: str) -> Placed:
        return Placed(device)

    def fingerprint(self) -> str:
        return "weights"


def test_a_worker_runs_the_network_of_the_command_on_its_device(monkeypatch) -> None:
    monkeypatch.setattr(tasks, "worker_device", lambda: "cuda:1")
    assert tasks.Network(Placed(), "weights", "torch on cuda").here.device == "cuda:1"
    with pytest.raises(InputError, match=r"workers must run the same model .* another one \(torch on cuda\)"):
        _ = tasks.Network(Placed(), "other weights", "torch on cuda").here


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Begins a worker of ``process_workers`` in this process, which has the CPU time of 8 of its 64 CPUs."""
    monkeypatch.setattr(cpus, "_seen_cpus", lambda: 64)
    monkeypatch.setattr(cpus, "_quota", lambda: 8.0)
    monkeypatch.setattr(cpus, "_by_quota", {})
    for name in cpus._THREADS:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(processes, "_device", None)
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)
    monkeypatch.setattr(processes, "_end_with_driver", lambda: None)
    monkeypatch.setattr("geoseg.models.tune_malloc", lambda: True)

    def begin(count: int, devices: Sequence[str] = ()) -> None:
        def start(*_: Any, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> ThreadPoolExecutor:
            initializer(*initargs)
            return ThreadPoolExecutor(1)

        monkeypatch.setattr(processes, "ProcessPoolExecutor", start)
        processes.process_workers(count, devices).submit(int).result()

    return begin


def test_each_process_takes_a_device_of_its_own(begun: Callable[..., None]) -> None:
    begun(2, ["cuda:0", "cuda:1"])
    assert processes.worker_device() == "cuda:0"


@pytest.mark.parametrize("quota", [False, True])
def test_processes_share_the_cpus(begun: Callable[..., None], monkeypatch, quota: bool) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    if quota:
        respect_quota()  # as the command line does; a worker inherits what it sets
        assert os.environ["MKL_NUM_THREADS"] == "8"
    begun(4)
    assert os.environ["MKL_NUM_THREADS"] == os.environ["NUMBA_NUM_THREADS"] == "2"
    assert os.environ["OMP_NUM_THREADS"] == "7"  # somebody's own choice


class Broken(Executor):
    """Each task breaks it."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("a process died"))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to be ended."""


def test_each_of_several_that_wait_is_told_when_workers_keep_dying(caplog) -> None:
    with Workers(Broken, 2, apart=True) as workers:
        pending = [workers.submit(int) for _ in range(3)]
        errors: list[BaseException | None] = []
        with ThreadPoolExecutor(3) as pool:
            errors += pool.map(lambda one: _error_of(one.result), pending, timeout=20)
    assert [type(error) for error in errors] == [RunError] * 3
    assert all("__main__" in str(error) for error in errors)


def test_a_task_that_was_taken_back_is_not_waited_for_when_its_worker_dies(caplog) -> None:
    with Workers(Broken, 2, apart=True) as workers:
        pending = workers.submit(int)
        workers.stop()
        with pytest.raises(RunError, match="was stopped"):
            pending.result()


def test_a_system_without_processes_is_not_told_as_a_lost_cluster() -> None:
    class Full(Broken):
        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise OSError(12, "Cannot allocate memory")

    with Workers(Full, 2, apart=True) as workers:
        task = workers.submit(int)
        with pytest.raises(RunError, match=r"could not be started \(Cannot allocate memory\)"):
            task.result()


def test_each_that_waits_is_told_when_no_workers_can_be_started_anew(caplog) -> None:
    starts = iter([Broken()])

    def start() -> Executor:
        for executor in starts:
            return executor
        raise OSError(24, "Too many open files")

    with Workers(start, 2, apart=True) as workers:
        pending = [workers.submit(int) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            errors = list(pool.map(lambda one: _error_of(one.result), pending, timeout=20))
    assert ["Too many open files" in str(error) for error in errors] == [True, True]


def _error_of(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except RunError as error:
        return error
    return None
