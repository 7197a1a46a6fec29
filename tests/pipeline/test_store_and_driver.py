"""The driver: stops anywhere and goes on to the same bytes, without running a window twice."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from affine import Affine
from zarr.codecs import Crc32cCodec, ZstdCodec

from geoseg.errors import InputError, RunError, SceneError, StateMismatchError
from geoseg.files import depot
from geoseg.geo.blocks import BlockPlan, plan_blocks
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.lazy.scene import ArrayScene
from geoseg.pipeline.predict import BlockReader, predict_to_store
from geoseg.pipeline.store import ProbStore
from geoseg.raster.stitch import INVALID, from_bytes

SHAPE = (150, 210)


def make_scene(valid: np.ndarray | None = None) -> ArrayScene:
    image = np.random.default_rng(1).integers(0, 255, (3, *SHAPE), dtype=np.uint8)
    return ArrayScene(image, valid, GeoBox(Affine.identity(), None, *SHAPE))


def make_plan(chunk: int = 48) -> BlockPlan:
    return plan_blocks(SHAPE, window=(32, 32), overlap=(8, 12), chunk=chunk)


def network(batch: np.ndarray) -> np.ndarray:
    """Depends on pixels, place and, deliberately, on the size of the batch (in the last bits)."""
    value = batch.astype(np.float32).mean(1, keepdims=True) / 255
    ramp = np.linspace(0, 0.5, batch.shape[3], dtype=np.float32)
    return np.clip(value * 0.5 + ramp + np.float32(1e-3) * len(batch), 0, 1)


def run(folder: Path, predict=network, valid: np.ndarray | None = None, **options: object):
    plan = make_plan()
    store = ProbStore.open(folder, plan, 1, {"model": "m"}, batch_size=5)
    try:
        done = predict_to_store(BlockReader(make_scene(valid), plan, **options), predict, store)
        return done, store.read(Window(row_off=0, col_off=0, height=SHAPE[0], width=SHAPE[1]))
    finally:
        store.close()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 4, 8])
@pytest.mark.parametrize("holes", [False, True])
def test_a_run_that_was_killed_ends_in_the_same_bytes(tmp_path: Path, at: int, holes: bool) -> None:
    valid = None
    if holes:
        valid = np.ones(SHAPE, bool)
        valid[20:90, 30:140] = False
    whole, expected = run(tmp_path / "whole", valid=valid)
    calls = 0

    def dies(batch: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls > at:
            raise Killed
        return network(batch)

    with pytest.raises(Killed):
        run(tmp_path / "cut", dies, valid)
    again, result = run(tmp_path / "cut", valid=valid)
    np.testing.assert_array_equal(result, expected)
    assert again.windows <= whole.windows
    for file in (tmp_path / "whole" / "prob").rglob("c/*/*/*"):
        other = tmp_path / "cut" / "prob" / file.relative_to(tmp_path / "whole" / "prob")
        assert other.read_bytes() == file.read_bytes()


def test_every_window_runs_once_and_a_second_run_none(tmp_path: Path) -> None:
    first, _ = run(tmp_path / "s")
    assert first.windows == make_plan().n_windows
    second, _ = run(tmp_path / "s")
    assert second.windows == 0


def test_invalid_pixels_are_marked_and_empty_windows_skipped(tmp_path: Path) -> None:
    valid = np.zeros(SHAPE, bool)
    valid[:30, :30] = True
    summary, stored = run(tmp_path / "s", valid=valid)
    assert summary.windows < 6
    np.testing.assert_array_equal(stored[0] == INVALID, ~valid)


def test_nothing_valid_runs_nothing(tmp_path: Path) -> None:
    summary, stored = run(tmp_path / "s", valid=np.zeros(SHAPE, bool))
    assert summary.windows == 0
    assert (stored == INVALID).all()


def test_a_constant_comes_back(tmp_path: Path) -> None:
    _, stored = run(tmp_path / "s", lambda b: np.full((len(b), 1, *b.shape[2:]), 0.5, np.float32))
    np.testing.assert_array_equal(from_bytes(stored), np.float32(0.5))


def test_another_model_is_refused_and_restart_begins_again(tmp_path: Path) -> None:
    run(tmp_path / "s")
    with pytest.raises(StateMismatchError, match="--restart"):
        ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "other"})
    store = ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "other"}, restart=True)
    assert store.missing().all()
    store.close()


def test_a_store_without_chunks_is_nobodys(tmp_path: Path) -> None:
    ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "m"}).close()
    ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "other"}).close()


def test_two_runs_do_not_share_a_store(tmp_path: Path) -> None:
    store = ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "m"})
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="another run"):
        pool.submit(ProbStore.open, tmp_path / "s", make_plan(), 1, {"model": "m"}).result()
    store.close()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "m"}).close()).result()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def put_a_folder(path: Path) -> None:
    path.unlink()
    (path / "in it").mkdir(parents=True)


def put_a_link(path: Path) -> None:
    """To a folder of somebody's, which stays as it is."""
    path.unlink()
    (path.parents[5] / "theirs").mkdir()
    path.symlink_to(path.parents[5] / "theirs")


def swap(path: Path) -> None:
    other = path.with_name("1")
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "chunks"),
    [
        (cut, 1),
        (flip, 1),
        (put_a_folder, 1),
        (put_a_link, 1),
        (swap, 2),
        (Path.unlink, 1),
        (empty, 1),
    ],
)
def test_a_chunk_that_does_not_verify_is_predicted_again(
    tmp_path: Path, harm: Callable[[Path], object], chunks: int
) -> None:
    _, expected = run(tmp_path / "s")
    path = tmp_path / "s" / "prob" / "c" / "0" / "1" / "2"
    content = path.read_bytes()
    harm(path)
    store = ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "m"})
    assert store.damaged == store.missing().sum() == chunks
    with pytest.raises(RunError, match=r"chunk at .* vanished from .*/s during the run"):
        store.read(make_plan().chunk_window(1, 2))
    store.close()
    again, result = run(tmp_path / "s")
    assert 0 < again.windows < make_plan().n_windows
    np.testing.assert_array_equal(result, expected)
    assert path.read_bytes() == content
    assert harm is not put_a_link or (tmp_path / "theirs").is_dir()


@pytest.mark.parametrize(
    ("harm", "words"), [(flip, "is not what was written"), (Path.unlink, "vanished from")]
)
def test_a_chunk_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, harm: Callable[[Path], object], words: str
) -> None:
    run(tmp_path / "s")
    store = ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "m"})
    store.check_complete()
    harm(tmp_path / "s" / "prob" / "c" / "0" / "1" / "2")
    with pytest.raises(RunError, match=f"chunk at .*{words}.*same command again"):
        store.read(Window(row_off=0, col_off=0, height=SHAPE[0], width=SHAPE[1]))
    store.close()


@pytest.mark.parametrize("line", [0, 3])
def test_a_cut_or_changed_record_costs_its_chunk_only(tmp_path: Path, line: int) -> None:
    _, expected = run(tmp_path / "s")
    log = tmp_path / "s" / "chunks.log"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"[", b"{", 1)
    odd = b'{"a": 1}'
    lines.insert(1, f"{zlib.crc32(odd):08x} ".encode() + odd + b"\n")
    log.write_bytes(b"".join(lines)[:-5])  # the last one is cut
    store = ProbStore.open(tmp_path / "s", make_plan(), 1, {"model": "m"})
    assert store.missing().sum() == 2
    store.close()
    np.testing.assert_array_equal(run(tmp_path / "s")[1], expected)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_metadata_are_those_that_zarr_writes(tmp_path: Path, dtype: str) -> None:
    plan = make_plan()
    ProbStore.open(tmp_path / "s", plan, 2, {"model": "m"}, dtype=dtype).close()
    written: dict[str, Any] = {}
    zarr.create_array(
        written,
        shape=(2, *plan.shape),
        chunks=(2, *plan.chunk_shape),
        dtype=dtype,
        fill_value=255 if dtype == "uint8" else np.nan,
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        dimension_names=("class", "y", "x"),
    )
    assert (tmp_path / "s" / "prob" / "zarr.json").read_bytes() == written["zarr.json"].to_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b'{"shape": [1, 2]}'])
def test_broken_metadata_is_written_anew(tmp_path: Path, content: bytes) -> None:
    _, expected = run(tmp_path / "s")
    path = tmp_path / "s" / "prob" / "zarr.json"
    before = path.read_bytes()
    path.write_bytes(content)
    again, result = run(tmp_path / "s")
    assert again.windows == 0
    np.testing.assert_array_equal(result, expected)
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", ["many", 3, -1, None])
def test_a_state_that_was_changed_is_no_state(tmp_path: Path, size: object) -> None:
    run(tmp_path / "s")
    path = tmp_path / "s" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "batch_size": size}))
    with pytest.raises(StateMismatchError, match=r"nothing is known\. Give --restart"):
        run(tmp_path / "s")


def test_a_store_of_an_older_format_is_refused_for_its_format(tmp_path: Path) -> None:
    run(tmp_path / "s")
    (tmp_path / "s" / "state.json").write_text(json.dumps({"format": 3, "model": "m", "batch_size": 5}))
    with pytest.raises(StateMismatchError, match="format was 3, now 4"):
        run(tmp_path / "s")


@pytest.mark.parametrize("moved", [False, True])
def test_a_folder_that_vanishes_ends_the_run(tmp_path: Path, moved: bool) -> None:
    folder, calls = tmp_path / "s", []

    def vanishes(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 4 and moved:
            folder.rename(tmp_path / "elsewhere")
        elif len(calls) == 4:
            shutil.rmtree(folder)
        return network(batch)

    with pytest.raises(RunError, match=r"the folder vanished from .*/s during the run"):
        run(folder, vanishes)
    assert not folder.exists()
    run(folder)


class Broken(ArrayScene):
    """A scene with one unreadable file block."""

    @property
    def file_block(self) -> tuple[int, int]:
        return 16, 16

    def read(self, window: Window) -> np.ndarray:
        if window.row_off < 80 and window.row_end > 64 and window.col_off < 112 and window.col_end > 96:
            raise SceneError(f"can't read {window}")
        return super().read(window)


def test_broken_regions_fail_or_are_listed(tmp_path: Path) -> None:
    sound = make_scene()
    scene = Broken(sound.image, None, sound.geobox)
    plan = make_plan()
    store = ProbStore.open(tmp_path / "s", plan, 1, {})
    with pytest.raises(SceneError, match="rows"):
        predict_to_store(BlockReader(scene, plan), network, store)
    predict_to_store(BlockReader(scene, plan, on_error="skip"), network, store)
    assert [(f["row_off"], f["col_off"], f["height"], f["width"]) for f in store.failures()] == [
        (64, 96, 16, 16)
    ]
    stored = store.read(Window(row_off=0, col_off=0, height=SHAPE[0], width=SHAPE[1]))[0]
    expected = np.zeros(SHAPE, bool)
    expected[64:80, 96:112] = True
    np.testing.assert_array_equal(stored == INVALID, expected)
    store.close()


def test_holes_of_a_run_that_skipped_them_are_read_again_by_one_that_does_not(tmp_path: Path) -> None:
    plan, fine = make_plan(), make_scene()
    broken = Broken(fine.image, fine.valid, fine.geobox, fine.name)
    store = ProbStore.open(tmp_path / "store", plan, 2, {"a": 1}, batch_size=2)
    predict_to_store(BlockReader(broken, plan, on_error="skip"), network, store)
    assert store.failures()
    with pytest.raises(SceneError):
        predict_to_store(BlockReader(broken, plan, on_error="fail"), network, store)
    predict_to_store(BlockReader(fine, plan, on_error="fail"), network, store)
    assert store.failures() == []
    whole = Window(row_off=0, col_off=0, height=plan.shape[0], width=plan.shape[1])
    result = store.read(whole)
    store.close()
    plain = ProbStore.open(tmp_path / "plain", plan, 2, {"a": 1}, batch_size=2)
    predict_to_store(BlockReader(fine, plan), network, plain)
    assert (result == plain.read(whole)).all()
    plain.close()


def test_a_full_disk_says_so_and_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan()
    store = ProbStore.open(tmp_path / "s", plan, 1, {})
    original, writes = depot.place_bytes, []

    def full(path: Path, content: bytes, aside: Path | None) -> None:
        writes.append(path)
        if len(writes) > 3:
            raise OSError(28, "No space left on device")
        original(path, content, aside)

    monkeypatch.setattr(depot, "place_bytes", full)
    with pytest.raises(RunError, match="No space left on device"):
        predict_to_store(BlockReader(make_scene(), plan), network, store)
    store.close()
    assert store.missing().sum() == np.prod(plan.n_chunks) - 3
