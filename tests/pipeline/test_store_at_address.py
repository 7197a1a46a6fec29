"""A store at an address: the bytes of one beside the results, whatever fails on the way."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from shared_towns import brightness, results, save, settings, town

import geoseg
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, RunError, StateMismatchError
from geoseg.files import DiskFullError, address_depot, depot, json_digest, locks, write_text
from geoseg.pipeline.batch import dry_run, run_batch
from geoseg.pipeline.predict_scene import predict_scene
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.store_state import array_place
from geoseg.pipeline.vectorize_raster import vectorize_raster
from geoseg.pipeline.workers import Workers
from geoseg.report.pages.certainty import read_cells
from geoseg.report.pages.results import find_result
from geoseg.report.pages.scene_page import write_scene_report

#: Less to write, for most of these tests run a scene several times.
LIGHT: dict[str, Any] = {"formats": ("fgb",), "save_prob": False, "save_mask": False, "split": "off"}


class Faulty(MemoryFileSystem):
    """An object store in memory that fails as it is told to."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False
    #: Error of the puts of names that hold a word, after so many; tries of each request that fail before one
    #: does not.
    puts, word, error, passing = 0, "", None, 0
    tries: ClassVar[Counter[tuple[str, str, int]]] = Counter()
    guard = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("faulty://", "memory://"))

    def _fault(self, action: str, path: str) -> None:
        with Faulty.guard:
            tried = action, path, threading.get_ident()
            Faulty.tries[tried] += 1
            if Faulty.tries[tried] % (Faulty.passing + 1):
                raise ConnectionError("the server closed the connection")

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self._fault("pipe_file", path)
        with Faulty.guard:
            Faulty.puts -= Faulty.word in path
            if Faulty.error is not None and Faulty.puts < 0:
                raise Faulty.error
        super().pipe_file(path, value, mode, **kwargs)

    def cat_file(
        self,
        path: str,
        version_id: str | None = None,
        start: int | None = None,
        end: int | None = None,
        **kwargs: Any,
    ) -> bytes:
        # With an argument in between, as object stores have it.
        assert version_id is None
        self._fault(f"cat_file {start} {end}", path)
        return super().cat_file(path, start=start, end=end, **kwargs)


@pytest.fixture(autouse=True)
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faulty]]:
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    monkeypatch.setattr(address_depot, "_WAITS", (0.001, 0.001, 0.001))
    for name, value in {"puts": 0, "word": "", "error": None, "passing": 0}.items():
        monkeypatch.setattr(Faulty, name, value)
    Faulty.store.clear()
    Faulty.tries.clear()
    MemoryFileSystem.store.clear()
    yield Faulty
    Faulty.store.clear()
    MemoryFileSystem.store.clear()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("scene") / "town.tif", town())


@pytest.fixture(scope="module")
def alone(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Results of one process, with the store beside them."""
    folder = tmp_path_factory.mktemp("alone")
    run_scene(scene, brightness(), folder, settings(**LIGHT))
    return results(folder)


def threads(count: int = 3) -> Workers:
    """Threads that are treated as other processes are: all goes through the store."""
    return Workers(lambda: ThreadPoolExecutor(count), count, apart=True)


def run(scene: Path, out: Path, crew: Workers | None = None, **given: Any) -> Any:
    options = LIGHT | {"store": "faulty://bucket/work"} | given
    return run_scene(scene, brightness(), out, settings(**options), workers=crew)


def chunks() -> list[str]:
    return [name for name in Faulty.store if "/prob/c/" in name]


def test_a_run_gives_the_files_of_one_with_its_store_beside_them(scene, tmp_path) -> None:
    run_scene(scene, brightness(), tmp_path / "alone", settings())
    with threads() as crew:
        given = settings(store="faulty://bucket/work")
        run_scene(scene, brightness(), tmp_path / "there", given, workers=crew)
    assert results(tmp_path / "there") == results(tmp_path / "alone")
    # What the driver alone needs is here, and what all need is there.
    folder = tmp_path / "there" / "town.geoseg"
    assert sorted(path.name for path in folder.iterdir()) == ["chunks.log", "run.json", "state.json"]
    place = json.loads((folder / "state.json").read_text())["store"].removeprefix("faulty:/")
    assert {name.removeprefix(f"{place}/").partition("/")[0] for name in Faulty.store} == {"prob"}
    # Any zarr reader opens the array.
    for name, file in Faulty.store.items():
        MemoryFileSystem.store[name] = file
    array: Any = zarr.open_array(f"memory:/{place}/prob", mode="r")
    assert array.shape == (1, 190, 230)
    assert np.asarray(array[:]).max() == 253


def test_a_run_that_was_stopped_goes_on_and_predicts_what_is_missing_alone(scene, alone, tmp_path) -> None:
    Faulty.puts, Faulty.word, Faulty.error = 10, "/prob/c/", RunError("stopped")
    with threads() as crew, pytest.raises(RunError, match="stopped"):
        run(scene, tmp_path, crew)
    Faulty.error = None
    kept = len((tmp_path / "town.geoseg" / "chunks.log").read_text().splitlines())
    assert not [name for name in Faulty.store if "/parts/" in name]
    # As a kill would leave it.
    place = chunks()[0].partition("/prob/")[0]
    fsspec.filesystem("faulty").pipe_file(f"{place}/parts/earlier/0-0.npz", b"half of a f")
    with threads() as crew:
        summary = run(scene, tmp_path, crew)
    assert not [name for name in Faulty.store if "/parts/" in name]
    assert 0 < kept < len(chunks())
    assert summary.windows_run < summary.windows
    assert results(tmp_path) == alone


@pytest.mark.parametrize("harm", ["gone", "cut", "changed"])
def test_a_chunk_that_does_not_verify_is_predicted_again(scene, alone, tmp_path, harm) -> None:
    run(scene, tmp_path)
    name = chunks()[3]
    content = Faulty.store[name].getvalue()
    if harm == "gone":
        del Faulty.store[name]
    else:
        new = content[: len(content) // 2] if harm == "cut" else content[:-9] + b"x" + content[-8:]
        fsspec.filesystem("faulty").pipe_file(name, new)
    summary = run(scene, tmp_path)
    assert 0 < summary.windows_run < summary.windows
    assert any(
        "1 kept chunk was damaged or gone from faulty://bucket/work/town" in note for note in summary.notes
    )
    assert Faulty.store[name].getvalue() == content
    assert results(tmp_path) == alone


@pytest.mark.parametrize("failing", [1, 3])
def test_faults_that_pass_are_waited_for(scene, alone, tmp_path, faulty, failing) -> None:
    faulty.passing = failing
    with threads() as crew:
        run(scene, tmp_path, crew)
    assert results(tmp_path) == alone


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError, "No space left on device"),
        (PermissionError(13, "Access Denied"), RunError, "Access Denied"),
        (ConnectionError("no route to host"), RunError, "no route to host"),
    ],
)
def test_a_store_that_fails_ends_the_run_and_the_same_command_goes_on(
    scene, alone, tmp_path, count, error, kind, words
) -> None:
    Faulty.puts, Faulty.error = 6, error
    with threads(count or 1) as crew:
        with pytest.raises(kind, match=rf"cannot write faulty://bucket/.*{words}.*same command") as caught:
            run(scene, tmp_path, crew if count else None)
        assert caught.value.exit_code == 1
        Faulty.error = None
        run(scene, tmp_path, crew if count else None)
    assert results(tmp_path) == alone


def test_a_place_that_may_not_be_listed_is_refused_before_any_work(scene, tmp_path, monkeypatch) -> None:
    def find(*_: Any, **__: Any) -> list[str]:
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(Faulty, "find", find)
    words = r"cannot list .*parts: Access Denied. Let the credentials list there \(on S3, s3:ListBucket\)"
    with pytest.raises(InputError, match=f"store must be .*{words}.*--store"):
        run(scene, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("faulty://bucket/work", "Access Denied"),
        ("nowhere://bucket", "Protocol not known: nowhere"),
        ("file:///proc/none", "No such file"),
    ],
)
def test_a_place_that_can_not_be_written_to_is_refused_and_nothing_is_left(
    scene, tmp_path, store, words
) -> None:
    Faulty.error = PermissionError(13, "Access Denied")
    with pytest.raises(InputError, match=rf"store must be .*{words}.*--store"):
        run(scene, tmp_path / "out", store=store)
    assert not (tmp_path / "out").exists()
    Faulty.error = None
    run(scene, tmp_path / "out", store=None)
    Faulty.error = PermissionError(13, "Access Denied")
    with pytest.raises(InputError, match=rf"store must be .*{words}.*--store"):
        run(scene, tmp_path / "out", store=store, restart=True)
    assert run(scene, tmp_path / "out", store=None).windows_run == 0  # what was kept is not thrown away


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("sftp://me:secret@host/work", r"sftp://\*\*\*@host/work \(give credentials by the environment"),
        ("sftp://me:se/cret@host/work", "give credentials by the environment"),
        ("simplecache::ftp://me:secret@host/work", "give credentials by the environment"),
        ("simplecache::s3://bucket/work", "chains"),
        ("s3:/bucket/work", "two slashes"),
        ("file://host/work", "no host"),
        ("s3://", "names no place"),
    ],
)
def test_an_address_that_means_something_else_is_refused(store, words) -> None:
    with pytest.raises(InputError, match=rf"store must be .*{words}.*--store") as caught:
        depot.depot_at(store)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("store", ["s3://box@account/work", "sftp://host:22/a@b", "sftp://me@host/work"])
def test_an_at_sign_is_no_password(store) -> None:
    assert depot.depot_at(store.replace("s", "S", 1) + "/").address == store


@pytest.mark.parametrize("folders", [True, False])
def test_folders_that_are_missing_are_made_where_a_file_system_has_some(monkeypatch, folders) -> None:
    made: list[str] = []
    monkeypatch.setattr(address_depot, "_WITH_FOLDERS", {"faulty"} if folders else set())

    def pipe_file(self: Any, path: str, value: bytes, **kwargs: Any) -> None:
        if not made:
            raise FileNotFoundError(path)
        MemoryFileSystem.store[path] = value

    monkeypatch.setattr(Faulty, "pipe_file", pipe_file)
    monkeypatch.setattr(Faulty, "makedirs", lambda self, path, exist_ok=False: made.append(path))
    place = depot.depot_at("faulty://host/work/deep")
    if folders:
        place.put("a", b"1")
        assert made == ["/host/work/deep"]
    else:  # s3fs would make the bucket
        with pytest.raises(RunError, match="cannot write"):
            place.put("a", b"1")
        assert made == []


def test_chunks_that_can_not_be_removed_are_named(scene, tmp_path, monkeypatch, caplog) -> None:
    place = tmp_path / "disk"
    run(scene, tmp_path / "out", store=str(place))

    def refuse(path: Path, ignore_errors: bool = False, onerror: Any = None) -> None:
        if onerror is not None:
            onerror(None, str(path), (PermissionError, PermissionError(13, "Permission denied"), None))

    monkeypatch.setattr(depot.shutil, "rmtree", refuse)
    run(scene, tmp_path / "out", store=str(place), restart=True)
    assert f"chunks of an earlier run are left in {place}" in caplog.text


def test_a_package_that_is_not_installed_is_named(scene, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(known_implementations, "s3", {"class": "none.S3", "err": "Install s3fs"})
    with pytest.raises(InputError, match=r"store s3://.* needs a package .*\(Install s3fs\)"):
        run(scene, tmp_path / "out", store="s3://bucket/work")
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_where_its_chunks_lie_and_nowhere_else(scene, alone, tmp_path) -> None:
    run(scene, tmp_path)
    for other in ("faulty://bucket/other", None):
        with pytest.raises(StateMismatchError, match=r"give --store faulty://bucket/work; --restart"):
            run(scene, tmp_path, store=other)
    assert run(scene, tmp_path, store="faulty://bucket/work/").windows_run == 0
    run(scene, tmp_path, store=None, restart=True)
    assert not chunks()  # thrown away with the run
    with pytest.raises(StateMismatchError, match="leave out --store"):
        run(scene, tmp_path)
    assert run(scene, tmp_path, store=None).windows_run == 0
    assert results(tmp_path) == alone


@pytest.mark.parametrize("place", ["faulty://bucket/work", "disk"])
def test_a_place_that_is_not_there_now_is_not_taken_for_an_empty_one(
    scene, alone, tmp_path, place, caplog
) -> None:
    place = place if "://" in place else str(tmp_path / place)
    run(scene, tmp_path / "out", store=place)
    kept = dict(Faulty.store)
    Faulty.store.clear()
    if "://" not in place:
        (tmp_path / "disk").rename(tmp_path / "unmounted")
        (tmp_path / "disk").mkdir()
    with pytest.raises(
        InputError, match=r"chunks lie in .*(work|disk).* isn't there now. Mount it .*--restart"
    ):
        run(scene, tmp_path / "out", store=place)
    copy = shutil.copytree(tmp_path / "out", tmp_path / "copy")
    run(scene, copy, store=None, restart=True)
    assert re.search(f"are not removed: {place}/town.geoseg-[0-9a-f]+ isn't there now", caplog.text)
    Faulty.store.update(kept)
    if "://" not in place:
        (tmp_path / "disk").rmdir()
        (tmp_path / "unmounted").rename(tmp_path / "disk")
    assert run(scene, tmp_path / "out", store=place).windows_run == 0
    assert results(tmp_path / "out") == alone


def test_without_its_state_a_kept_run_is_not_begun_anew(scene, tmp_path) -> None:
    run(scene, tmp_path)
    (tmp_path / "town.geoseg" / "state.json").write_text("{")
    with pytest.raises(StateMismatchError, match=r"of which nothing is known. Give --restart"):
        run(scene, tmp_path)
    assert chunks()


def test_a_run_with_nothing_to_predict_puts_no_network_into_the_store(scene, tmp_path, monkeypatch) -> None:
    def put(*_: object) -> None:
        raise AssertionError

    run(scene, tmp_path)
    monkeypatch.setattr("geoseg.pipeline.strips.driver.Network", put)
    with threads() as crew:
        assert run(scene, tmp_path, crew).windows_run == 0
        with pytest.raises(AssertionError):
            run(scene, tmp_path / "new", crew)


def test_an_interrupt_says_what_is_kept_without_asking_the_store(scene, tmp_path, monkeypatch) -> None:
    def stop(at: str, done: int, total: int, **_: float) -> None:
        if at == "predict" and done == total:
            monkeypatch.setattr(address_depot.AddressDepot, "names", lambda *_: pytest.fail("asked"))
            raise KeyboardInterrupt

    given = settings(**LIGHT, store="faulty://bucket/work")
    with pytest.raises(KeyboardInterrupt, match=r"^\d+ of 12 chunks are finished and kept; the same command"):
        run_scene(scene, brightness(), tmp_path, given, progress=stop)


def test_two_runs_of_one_name_share_an_address(scene, alone, tmp_path) -> None:
    run(scene, tmp_path / "a")
    first = set(Faulty.store)
    run(scene, tmp_path / "b")
    assert len(Faulty.store) == 2 * len(first)
    run(scene, tmp_path / "b", store=None, restart=True)
    assert set(Faulty.store) == first
    assert results(tmp_path / "a") == results(tmp_path / "b") == alone


def test_a_store_among_the_scenes_is_none_of_them(tmp_path) -> None:
    (tmp_path / "scenes").mkdir()
    scene = save(tmp_path / "scenes" / "town.tif", town())
    given = settings(**LIGHT, store=str(tmp_path / "scenes" / "store"))
    first = run_batch([str(scene.parent)], brightness(), tmp_path / "out", given)
    assert [path.name for path in (scene.parent / "store").glob("*/*")] == ["prob"]
    again = run_batch([str(scene.parent)], brightness(), tmp_path / "out", given)
    assert [record.name for record in again.scenes] == [record.name for record in first.scenes] == ["town"]
    assert again.kept == 1


def test_what_a_folder_says_of_a_place_removes_nothing_but_a_store(scene, tmp_path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    run(scene, tmp_path / "out")
    file = tmp_path / "out" / "town.geoseg" / "state.json"
    state = json.loads(file.read_text()) | {"store": str(theirs)}
    del state["check"]
    file.write_text(json.dumps(state | {"check": json_digest(state)}))
    run(scene, tmp_path / "out", restart=True)
    assert theirs.is_dir()


def test_predict_and_vectorize_leave_nothing_behind(scene, tmp_path) -> None:
    given = RunSettings(window=48, overlap=16, chunk=64, store="faulty://bucket/work")
    with threads() as crew:
        predict_scene(scene, brightness(), tmp_path / "a.tif", given, workers=crew)
        vectorize_raster(
            tmp_path / "a.tif", tmp_path / "a.geojson", RunSettings(store=given.store), workers=crew
        )
    predict_scene(scene, brightness(), tmp_path / "b.tif", given.model_copy(update={"store": None}))
    vectorize_raster(tmp_path / "b.tif", tmp_path / "b.geojson")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert not Faulty.store


#: A job that is killed while workers meet in a part of a store.
KILLED = """
import os, sys
from pathlib import Path
from geoseg.files import borrowed_depot, hold, scratch_folder
target = Path(sys.argv[1])
with hold(target), scratch_folder(target) as scratch, borrowed_depot(sys.argv[2], "a", scratch) as depot:
    depot.put("held", b"pixels")
    os._exit(9)
"""


def test_what_a_killed_vectorize_left_in_a_store_is_removed_by_the_next(scene, tmp_path) -> None:
    store, theirs = tmp_path / "store", tmp_path / "store" / "b.geoseg-01234567"
    theirs.mkdir(parents=True)
    predict_scene(scene, brightness(), tmp_path / "a.tif", RunSettings(window=48, overlap=16, chunk=64))
    killed = [sys.executable, "-c", KILLED, str(tmp_path / "a.geojson"), str(store)]
    assert subprocess.run(killed, check=False).returncode == 9
    assert len(list(store.iterdir())) == 2
    vectorize_raster(tmp_path / "a.tif", tmp_path / "a.geojson")
    assert list(store.iterdir()) == [theirs]


def test_what_a_killed_vectorize_left_in_a_store_is_removed_by_any_writer_as_soon_as_it_can_be(
    tmp_path, monkeypatch, caplog
) -> None:
    store, target = tmp_path / "store", tmp_path / "a.geojson"
    scratch = locks.side_folder(target)
    scratch.mkdir()
    borrowed = depot.borrowed_depot(str(store), "a", scratch)
    borrowed.__enter__().put("held", b"pixels")

    def fail(_: depot.FolderDepot) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as busy:
        busy.setattr(depot.FolderDepot, "clear", fail)
        write_text(target, "first")
    assert "Input/output error. The next run of the same output tries again." in caplog.text
    assert len(list(store.iterdir())) == 1
    write_text(target, "second")
    assert not list(store.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.geojson", "store"]


def test_what_a_killed_vectorize_left_on_a_disk_that_was_pulled_is_removed_later(tmp_path, caplog) -> None:
    store, target, pulled = tmp_path / "disk", tmp_path / "a.geojson", tmp_path / "pulled"
    scratch = locks.side_folder(target)
    scratch.mkdir()
    borrowed = depot.borrowed_depot(str(store), "a", scratch)
    borrowed.__enter__().put("held", b"pixels")
    store.rename(pulled)
    write_text(target, "first")
    assert f"{store} isn't there. The next run of the same output tries again." in caplog.text
    pulled.rename(store)
    write_text(target, "second")
    assert not list(store.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.geojson", "disk"]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_job_can_not_remove_itself_is_removed_by_the_next(
    tmp_path, monkeypatch, caplog, fails
) -> None:
    store, target = tmp_path / "store", tmp_path / "a.geojson"

    def fail(_: depot.FolderDepot) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def work() -> None:
        with (
            locks.hold(target),
            locks.scratch_folder(target) as scratch,
            depot.borrowed_depot(str(store), "a", scratch) as borrowed,
        ):
            borrowed.put("held", b"pixels")
            (scratch / "spill").mkdir()
            (scratch / "spill" / "rows").write_bytes(b"large")
            (scratch / "rows").write_bytes(b"large")
            if fails:
                raise ZeroDivisionError

    with monkeypatch.context() as busy:
        busy.setattr(depot.FolderDepot, "clear", fail)
        if fails:
            with pytest.raises(ZeroDivisionError):
                work()
        else:
            work()
            assert f"temporary files are left in {store}" in caplog.text
    (kept,) = tmp_path.glob(".a.geojson.run-*")
    assert [path.name for path in kept.iterdir()] == [locks.NOTE]
    assert len(list(store.iterdir())) == 1
    write_text(target, "next")
    assert not list(store.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.geojson", "store"]


def test_a_store_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch, caplog) -> None:
    target, answers = tmp_path / "a.geojson", threading.Event()
    scratch = locks.side_folder(target)
    scratch.mkdir()
    borrowed = depot.borrowed_depot(str(tmp_path / "store"), "a", scratch)
    borrowed.__enter__().put("held", b"pixels")
    monkeypatch.setattr(depot, "_PATIENCE_S", 0.05)
    with monkeypatch.context() as silent:
        silent.setattr(depot.FolderDepot, "clear", lambda _: answers.wait(30))
        write_text(target, "first")
    (part,) = (tmp_path / "store").iterdir()
    assert f"are left in {part}: no answer within 0.05 seconds. The next run" in caplog.text
    answers.set()
    write_text(target, "second")
    assert not part.exists()
    assert not scratch.exists()


def test_segment_leaves_nothing_behind_whether_it_ends_or_not(scene, monkeypatch) -> None:
    options = {"window": 48, "overlap": 16, "chunk": 64, "threshold": 0.3, "store": "faulty://bucket/work"}
    assert len(geoseg.segment(scene, brightness(), **options)) > 20
    assert not Faulty.store
    Faulty.puts, Faulty.error = 5, PermissionError(13, "Access Denied")
    with pytest.raises(RunError, match="Access Denied"):
        geoseg.segment(scene, brightness(), **options)
    assert not Faulty.store


def test_a_report_asks_for_probabilities_elsewhere_only_where_it_may(scene, tmp_path) -> None:
    for name, store in (("there", "memory://bucket/work"), ("here", None)):
        run(scene, tmp_path / name, store=store)
    there, here = (find_result(tmp_path / name) for name in ("there", "here"))
    place = array_place(there.store)
    assert place.startswith("memory://bucket/work/town.geoseg-")
    asked, beside = (read_cells(array_place(one.store), None) for one in (there, here))
    assert (asked.uncertain == beside.uncertain).all()
    assert beside.uncertain.any()
    note = f"the kept probabilities lie at {place}, which is not asked"
    assert note in write_scene_report(there).notes[0]
    assert not write_scene_report(there, remote=True).notes


def test_a_dry_run_does_not_ask_how_much_room_an_address_has(scene, tmp_path) -> None:
    def network(batch: np.ndarray) -> np.ndarray:
        return batch[:, :1] / 255

    for store, known in (("faulty://bucket/work", False), (str(tmp_path / "a" / "b"), True)):
        forecast = dry_run([str(scene)], network, tmp_path / "out", RunSettings(window=48, store=store))
        assert (forecast.free_bytes is not None) == known
    assert not Faulty.store
    assert not (tmp_path / "a").exists()


def test_processes_are_not_to_meet_in_the_memory_of_this_one(scene, tmp_path) -> None:
    given = settings(workers=2, store="memory://work")
    with pytest.raises(InputError, match=r"does not see memory://work: a process of this machine.*--store"):
        run_scene(scene, brightness(), tmp_path / "out", given)
    assert not (tmp_path / "out").exists()
