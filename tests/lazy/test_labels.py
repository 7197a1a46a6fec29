"""split_masks: chunked equals whole, whole equals scipy."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.errors import InputError
from geoseg.lazy.labels import split_masks
from geoseg.raster.labels import label_chunk

from .masks import class_maps, hard_masks, masks

CHUNKS = [1, 3, (2, 7), (11, 4)]


def computed(labels: da.Array) -> np.ndarray:
    return labels.compute(scheduler="synchronous")


@settings(max_examples=25)
@given(masks(side=18), st.sampled_from(CHUNKS), st.sampled_from([4, 8]))
def test_chunked_equals_scipy(mask: np.ndarray, chunks: int | tuple[int, int], connectivity: int) -> None:
    labels = split_masks(da.from_array(mask, chunks=chunks), connectivity)
    expected, _ = ndimage.label(mask, np.ones((3, 3)) if connectivity == 8 else None)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(computed(labels), expected)


@settings(max_examples=20)
@given(class_maps(), st.sampled_from([(5, 4), 7]), st.sampled_from([4, 8]))
def test_chunked_equals_whole_with_classes(values: np.ndarray, chunks: object, connectivity: int) -> None:
    labels = split_masks(da.from_array(values, chunks=chunks), connectivity)
    np.testing.assert_array_equal(computed(labels), label_chunk(values, connectivity)[0])


@pytest.mark.parametrize("name", hard_masks())
@pytest.mark.parametrize("connectivity", [4, 8])
def test_hard_masks(name: str, connectivity: int) -> None:
    mask = hard_masks()[name]
    labels = split_masks(da.from_array(mask, chunks=(13, 9)), connectivity)
    np.testing.assert_array_equal(computed(labels), label_chunk(mask, connectivity)[0])


def test_irregular_and_empty_chunks() -> None:
    mask = np.random.default_rng(0).random((20, 15)) < 0.6
    plane = da.from_array(mask, chunks=((1, 7, 12), (15,)))[:, :15]
    np.testing.assert_array_equal(computed(split_masks(plane)), label_chunk(mask)[0])
    with_empty = plane.rechunk(((5, 0, 15), (15,)))
    assert 0 in with_empty.chunks[0]
    np.testing.assert_array_equal(computed(split_masks(with_empty)), label_chunk(mask)[0])


def test_terraced_houses_on_a_chunk_border() -> None:
    """Two 10 x 10 houses that meet at a border, one house of 20 x 10: the same pixels, the same object."""
    scene = np.zeros((30, 40), bool)
    scene[5:15, 10:20] = scene[5:15, 20:30] = True
    for chunks in (20, 40, 7):
        labels = computed(split_masks(da.from_array(scene, chunks=chunks)))
        assert labels.max() == 1
        np.testing.assert_array_equal(labels == 1, scene)
    apart = scene.copy()
    apart[:, 19] = False
    for chunks in (20, 40, 7):
        assert computed(split_masks(da.from_array(apart, chunks=chunks))).max() == 2


def test_numpy_and_empty_input() -> None:
    assert computed(split_masks(np.ones((2, 2), bool))).tolist() == [[1, 1], [1, 1]]
    assert computed(split_masks(np.zeros((0, 3), bool))).shape == (0, 3)


def test_every_chunk_of_the_mask_is_read_once_and_forgotten() -> None:
    calls = []

    def block(values: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        if block_info:
            calls.append(block_info[0]["chunk-location"])
        return values

    source = da.from_array(np.ones((8, 8), np.uint8), chunks=4)
    labels = split_masks(source.map_blocks(block, dtype=np.uint8))
    with dask.config.set(scheduler="synchronous"):
        labels.compute()
    assert sorted(calls) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_only_part_of_the_result() -> None:
    mask = np.random.default_rng(5).random((16, 16)) < 0.6
    labels = split_masks(da.from_array(mask, chunks=4))
    np.testing.assert_array_equal(computed(labels[3:9, 5:7]), label_chunk(mask)[0][3:9, 5:7])


def test_bad_input() -> None:
    with pytest.raises(InputError, match="two dimensions"):
        split_masks(da.zeros((1, 4, 4), dtype=bool))
    with pytest.raises(InputError, match="threshold"):
        split_masks(da.zeros((4, 4), dtype=np.float32))
    with pytest.raises(InputError, match="connectivity"):
        split_masks(da.zeros((4, 4), dtype=bool), 5)
    unknown = da.zeros((4, 4), chunks=2, dtype=bool)
    with pytest.raises(InputError, match="compute_chunk_sizes"):
        split_masks(unknown[da.ones(4, chunks=2, dtype=bool)])
