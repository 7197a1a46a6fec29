"""Lazy ids of split objects: those of the whole raster in one piece, for any chunks of mask and height."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import geoseg
from geoseg.errors import InputError
from geoseg.lazy.split import split_by_height
from geoseg.raster.split import SplitRule

RULE = SplitRule(persistence=0.04, sigma=0.8, min_pixels=3)


def field(seed: int, shape: tuple[int, int]) -> np.ndarray:
    height = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    return (height - height.min()) / max(np.ptp(height), 1e-9)


@settings(max_examples=25)
@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 30), st.integers(1, 20), st.integers(1, 20))
def test_chunks_do_not_change_the_ids(seed: int, rows: int, cols: int, first: int, second: int) -> None:
    height = field(seed, (rows, cols))
    mask = height > 0.4
    whole = split_by_height(mask, height, RULE).compute()
    lazy = split_by_height(
        da.from_array(mask, chunks=(first, second)), da.from_array(height, chunks=(second, first)), RULE
    )
    assert lazy.compute().tolist() == whole.tolist()
    assert ((whole > 0) == mask).all()


def test_two_roofs_with_a_low_seam_are_two_objects_and_one_without_a_height() -> None:
    mask = np.ones((40, 80), bool)
    height = np.full(mask.shape, 0.95, np.float32)
    height[:, 36:44] = 0.6
    array = xr.DataArray(mask, dims=("y", "x"))
    assert int(geoseg.split_masks(array).max()) == 1
    labels = geoseg.split_masks(array, height=height, persistence=0.1)
    assert int(labels.max()) == 2
    assert int(array.geoseg.split_masks(height=array * height, persistence=0.1).max()) == 2
    assert int(geoseg.split_masks(array, height=height, persistence=0.4).max()) == 1
    # the seam falls to the sides in equal shares
    assert abs(int((labels == 1).sum()) - int((labels == 2).sum())) <= 40


def test_where_the_network_is_unsure_the_same_fall_of_probability_is_no_seam() -> None:
    mask = np.ones((40, 80), bool)

    def objects(roof: float, seam: float) -> int:
        height = np.full(mask.shape, roof, np.float32)
        height[:, 36:44] = seam
        return int(geoseg.split_masks(mask, height=height).max())

    assert objects(0.98, 0.75) == 2
    assert objects(0.83, 0.60) == 1


def test_what_does_not_fit_is_refused() -> None:
    mask = np.ones((4, 4), bool)
    with pytest.raises(InputError, match=r"height must have the shape of the mask, \(4, 4\), got \(4, 5\)"):
        geoseg.split_masks(mask, height=np.ones((4, 5)))
    with pytest.raises(InputError, match="height must be uint8"):
        geoseg.split_masks(mask, height=np.ones((4, 4), np.int32))
    with pytest.raises(InputError, match="persistence must be above 0"):
        geoseg.split_masks(mask, height=np.ones((4, 4)), persistence=0)
