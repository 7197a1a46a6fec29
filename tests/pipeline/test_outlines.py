"""The streaming half: threads, bounded memory, sums and flags."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy import ndimage

from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.pipeline.outlines import iter_outlines
from geoseg.vector.chunk import ChunkValues, prepared
from geoseg.vector.rings import Outlines, concat_outlines


def outlines(mask: np.ndarray, chunk: object = 16, connectivity: int = 8, **rasters: np.ndarray) -> Outlines:
    """All outlines of a raster in raster order."""

    def read(window: Window) -> ChunkValues:
        cut = {name: raster[window.rows, window.cols] for name, raster in rasters.items()}
        return ChunkValues(mask[window.rows, window.cols], **cut)

    return concat_outlines(list(iter_outlines(read, mask.shape, chunk, connectivity, threads=2)))


def by_key(found: Outlines, field: str) -> list:
    return getattr(found, field)[np.argsort(found.key)].tolist()


@pytest.mark.parametrize("chunk", [5, 16, (7, 64), 64])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sums_do_not_depend_on_chunks(chunk: object, dtype: type) -> None:
    rng = np.random.default_rng(0)
    mask = (rng.random((50, 61)) < 0.5).astype(np.uint8)
    prob = rng.integers(0, 255, mask.shape, np.uint8) if dtype == np.uint8 else rng.random(mask.shape, dtype)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    units = prob.astype(np.int64) if dtype == np.uint8 else np.rint(prob.astype(np.float64) * 2**30)
    found = outlines(mask, chunk, prob=prob)
    assert by_key(found, "prob_sum") == [int(units[labels == k].sum()) for k in range(1, count + 1)]
    assert by_key(found, "pixels") == [int((labels == k).sum()) for k in range(1, count + 1)]


@pytest.mark.parametrize("chunk", [4, 9, 40])
def test_touches_edge_or_missing_data(chunk: int) -> None:
    rng = np.random.default_rng(1)
    mask = (rng.random((40, 33)) < 0.3).astype(np.uint8)
    invalid = ndimage.binary_dilation(rng.random(mask.shape) < 0.01, iterations=2)
    kept = mask * ~invalid
    labels, count = ndimage.label(kept, np.ones((3, 3)))
    near = ndimage.binary_dilation(invalid, np.ones((3, 3)))
    near[[0, -1]] = near[:, [0, -1]] = True
    found = outlines(mask, chunk, invalid=invalid)
    expected = [bool(near[labels == k].any()) for k in range(1, count + 1)]
    assert 0 < sum(expected) < count
    assert by_key(found, "touches_edge") == expected


def test_keys_are_first_pixels() -> None:
    mask = np.zeros((5, 9), np.uint8)
    mask[1, 4] = mask[3, 0] = 1
    found = outlines(mask, 2)
    assert sorted(found.key.tolist()) == [(1 << 32) + 4, 3 << 32]


def test_memory_holds_unfinished_objects_only() -> None:
    """Batches come row of chunks by row of chunks, and no more chunks are open than promised."""
    mask = np.zeros((400, 60), np.uint8)
    mask[2::10, 5:50] = 1
    open_chunks, most, lock = 0, 0, threading.Lock()

    def read(window: Window) -> ChunkValues:
        nonlocal open_chunks, most
        with lock:
            open_chunks += 1
            most = max(most, open_chunks)
        return ChunkValues(mask[window.rows, window.cols])

    sizes = []
    for batch in iter_outlines(read, mask.shape, 20, threads=2):
        sizes.append(len(batch))
        with lock:
            open_chunks = 0
    assert sizes[:-1] == [2] * 20
    assert most <= 3 * 3 + 3  # read ahead and waiting, and the chunks of one row


def test_reader_is_called_once_for_each_chunk() -> None:
    seen: list[tuple[int, int]] = []
    mask = np.ones((10, 10), np.uint8)

    def read(window: Window) -> ChunkValues:
        seen.append((window.row_off, window.col_off))
        return ChunkValues(mask[window.rows, window.cols])

    list(iter_outlines(read, mask.shape, 4, threads=3))
    assert sorted(seen) == [(r, c) for r in (0, 4, 8) for c in (0, 4, 8)]


def test_an_error_of_the_reader_comes_out() -> None:
    def read(window: Window) -> ChunkValues:
        if window.row_off:
            raise OSError("cable")
        return ChunkValues(np.zeros((window.height, window.width), np.uint8))

    with pytest.raises(OSError, match="cable"):
        list(iter_outlines(read, (30, 30), 10, threads=2))


def test_progress_counts_chunks() -> None:
    told = []
    mask = np.zeros((5, 5), np.uint8)
    list(
        iter_outlines(
            lambda w: ChunkValues(mask[w.rows, w.cols]),
            mask.shape,
            3,
            progress=lambda stage, done, total, **info: told.append((stage, done, total)),
        )
    )
    assert told == [("vectorize", k, 4) for k in range(1, 5)]


def test_bad_values() -> None:
    with pytest.raises(InputError, match="threshold"):
        prepared(ChunkValues(np.zeros((2, 2), np.float32)))
