"""Splitting chunk by chunk from a reader: the same objects for any chunks, threads and room in memory."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

import geoseg
from geoseg.errors import RunError
from geoseg.files import FolderDepot
from geoseg.geo.windows import Window, iter_chunks
from geoseg.pipeline import split as module
from geoseg.pipeline.outlines import iter_outlines
from geoseg.pipeline.split import split_raster
from geoseg.pipeline.workers import Workers
from geoseg.raster.split import SplitRule
from geoseg.vector.chunk import ChunkValues

RULE = SplitRule(persistence=0.05, sigma=1.0, min_pixels=4)


def scene(seed: int, shape: tuple[int, int], dtype: str) -> ChunkValues:
    rng = np.random.default_rng(seed)
    prob = ndimage.gaussian_filter(rng.random(shape), 1.5)
    prob = (prob - prob.min()) / max(np.ptp(prob), 1e-9)
    values = np.where(prob > 0.35, rng.integers(1, 3) + (np.arange(shape[1]) > shape[1] // 2), 0)
    stored = np.round(prob * 254).astype(np.uint8) if dtype == "uint8" else prob.astype(np.float32)
    return ChunkValues(values.astype(np.uint8), np.where(values > 0, stored, 0), rng.random(shape) < 0.02)


def cut(whole: ChunkValues, window: Window) -> ChunkValues:
    return ChunkValues(
        whole.values[window.rows, window.cols],
        None if whole.prob is None else whole.prob[window.rows, window.cols],
        None if whole.invalid is None else whole.invalid[window.rows, window.cols],
    )


def labels_of(whole: ChunkValues, chunk: int | tuple[int, int], folder: Path, threads: int = 1) -> tuple:
    shape = whole.values.shape
    split = split_raster(
        lambda window: cut(whole, window), shape, chunk, 8, RULE, FolderDepot(folder), threads=threads
    )  # fmt: skip
    labels = np.zeros(shape, np.int32)
    for window in iter_chunks(*shape, split.step):
        labels[window.rows, window.cols] = split.read(window).values
    objects = split.objects
    return labels.tolist(), objects.value.tolist(), objects.total.tolist(), objects.marked.tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.integers(0, 99), st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 30),
    st.sampled_from(["uint8", "float32"]),
)  # fmt: skip
def test_chunks_and_threads_do_not_change_the_objects(tmp_path, seed, rows, cols, high, wide, dtype):
    whole = scene(seed, (rows, cols), dtype)
    expected = labels_of(whole, (rows, cols), tmp_path)
    assert labels_of(whole, (high, wide), tmp_path, threads=3) == expected


def test_chunks_are_read_once_with_room_and_twice_without(tmp_path, monkeypatch):
    whole = scene(0, (40, 40), "uint8")
    seen: list[tuple[int, int]] = []

    def read(window: Window) -> ChunkValues:
        seen.append((window.row_off, window.col_off))
        return cut(whole, window)

    first = split_raster(read, (40, 40), 8, 8, RULE, FolderDepot(tmp_path), threads=2)
    assert len(seen) == 25
    monkeypatch.setattr(module, "_KEPT", 0)
    second = split_raster(read, (40, 40), 8, 8, RULE, FolderDepot(tmp_path), threads=2)
    assert 25 + 25 < len(seen) <= 25 + 2 * 25
    assert second.objects.total.tolist() == first.objects.total.tolist()


class Unremovable(FolderDepot):
    """A depot that can't remove, and notes which of its threads were to."""

    def remove(self, name: str) -> None:
        (self.folder / name).with_suffix(f".{threading.current_thread().name}").touch()
        raise RunError(f"{name} can't be removed")


def test_workers_remove_what_is_used_and_a_failure_to_do_so_is_no_error(tmp_path):
    whole = scene(1, (40, 60), "uint8")
    depot, read = Unremovable(tmp_path), partial(cut, whole)
    (tmp_path / "plain").mkdir()
    plain = split_raster(read, (40, 60), 10, 8, RULE, FolderDepot(tmp_path / "plain"))
    with Workers(lambda: ThreadPoolExecutor(1, "worker"), 1, apart=True) as workers:
        split = split_raster(read, (40, 60), 10, 8, RULE, depot, workers=workers)
        outlines = iter_outlines(read, (40, 60), 10, workers=workers, depot=depot)
        keys = [batch.key.tolist() for batch in outlines]
    assert split.objects.total.tolist() == plain.objects.total.tolist()
    assert keys == [batch.key.tolist() for batch in iter_outlines(read, (40, 60), 10)]
    # Each of 24 chunks once for both; the command removes only what no task came after.
    assert len(list(tmp_path.glob("held-*.npz"))) == 2 * 24
    assert len(list(tmp_path.glob("*.worker*"))) == 2 * (24 - workers.in_flight)
    assert len(list(tmp_path.glob("*.MainThread"))) == 2 * workers.in_flight


def test_sums_and_marks_are_those_of_the_pixels(tmp_path):
    whole = scene(3, (30, 50), "uint8")
    labels, values, totals, marked = (np.array(part) for part in labels_of(whole, 9, tmp_path))
    inside = (whole.values > 0) & ~whole.invalid
    assert ((labels > 0) == inside).all()
    beside = ndimage.binary_dilation(whole.invalid, np.ones((3, 3)))
    for label in range(1, labels.max() + 1):
        pixels = labels == label
        assert totals[label] == whole.prob[pixels].astype(int).sum()
        assert marked[label] == beside[pixels].any()
        assert set(whole.values[pixels].tolist()) == {values[label]}


def test_a_mask_is_split_where_it_is_narrow(tmp_path):
    mask = np.zeros((30, 60), np.uint8)
    mask[5:25, 5:25] = mask[5:25, 35:55] = 1
    mask[14:16, 25:35] = 1
    labels, *_ = labels_of(ChunkValues(mask), 16, tmp_path)
    assert np.array(labels).max() == 2
    mask[5:25, 25:35] = 1
    labels, *_ = labels_of(ChunkValues(mask), 16, tmp_path)
    assert np.array(labels).max() == 1


def test_changed_temporary_files_are_noticed(tmp_path):
    whole = scene(1, (20, 20), "uint8")
    split = split_raster(lambda window: cut(whole, window), (20, 20), 20, 8, RULE, FolderDepot(tmp_path))
    path = next(tmp_path.glob("basins-*.npz"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(RunError, match="temporary files must stay"):
        split.read(Window(row_off=0, col_off=0, height=20, width=20))


@pytest.mark.parametrize("simplify_m", [0.0, 0.6])
def test_split_footprints_are_the_same_bytes_for_any_chunks_and_a_coverage(tmp_path, simplify_m):
    prob = ndimage.gaussian_filter(np.random.default_rng(0).random((200, 260)), 4)
    prob = ((prob - prob.min()) / np.ptp(prob)).astype(np.float32)
    profile = {"driver": "GTiff", "height": 200, "width": 260, "count": 1, "dtype": "float32"}
    transform = Affine(0.3, 0, 350_000, 0, -0.3, 3_056_000)
    with rasterio.open(tmp_path / "p.tif", "w", crs="EPSG:32645", transform=transform, **profile) as out:
        out.write(prob, 1)
    results = []
    for chunk in (64, 100, 300):
        file = tmp_path / str(chunk) / "p.gpkg"
        given = {"threshold": 0.45, "simplify_m": simplify_m, "chunk": chunk}
        summary = geoseg.vectorize(tmp_path / "p.tif", out=file, split=0.05, **given)
        results.append(gpd.read_file(file))
    whole = geoseg.vectorize(tmp_path / "p.tif", out=tmp_path / "whole.gpkg", **given)
    assert summary.footprints > 2 * whole.footprints
    for frame in results[1:]:
        assert frame.equals(results[0])
    frame = results[0]
    assert frame.is_valid.all()
    assert shapely.coverage_is_valid(frame.geometry.array)
    assert frame.area.sum() == pytest.approx(frame.union_all().area)
    assert set(frame["class"]) == {"object"}
    mask = prob >= np.float32(0.45)
    if not simplify_m:
        assert frame.area_m2.sum() == pytest.approx(mask.sum() * 0.09, rel=1e-3)
    assert frame.confidence.between(0.45, 1).all()


class Eager(Workers):
    """Two threads, before which many tasks wait."""

    in_flight = 12

    def __init__(self) -> None:
        super().__init__(lambda: ThreadPoolExecutor(2), 2, apart=False)


def test_no_read_begins_while_tasks_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, far, waiting = scene(3, (64, 384), "uint8"), list[Window](), threading.Event()

    def read(window: Window) -> ChunkValues:
        # No chunk before the first result needs these, but twenty of them are given by then.
        if window.col_off >= 14 * 16:
            far.append(window)
            waiting.wait(60)
        return cut(whole, window)

    def interrupt(stage: str, done: float, total: float, **info: float) -> None:
        raise KeyboardInterrupt

    with Eager() as workers, monkeypatch.context() as waits:

        def until_ended(futures: list[Future[Any]]) -> None:
            waiting.set()
            wait(futures)
            # Tasks begin in order: by now each that was not taken back has begun.
            workers.submit(int).result()

        waits.setattr("geoseg.pipeline.workers.base.wait", until_ended)
        with pytest.raises(KeyboardInterrupt):
            split_raster(
                read, (64, 384), 16, 8, RULE, FolderDepot(tmp_path), workers=workers, progress=interrupt
            )
    assert waiting.is_set()
    # At most one for each thread.
    assert len(far) <= 2
