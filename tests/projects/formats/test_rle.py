"""Run-length masks: round trips, the known form, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.errors import InputError
from geoseg.projects.formats.rle import decode_counts, encode_counts, pack_counts, unpack_counts

masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(np.bool_, shape))


def dense_counts(mask: np.ndarray) -> list[int]:
    """The definition, pixel by pixel."""
    counts, value = [0], False
    for pixel in mask.ravel(order="F"):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


@given(masks)
def test_counts_are_those_of_the_definition(mask: np.ndarray) -> None:
    assert encode_counts(mask, (0, 0), mask.shape).tolist() == dense_counts(mask)


@given(masks, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_tight_mask_round_trip(mask: np.ndarray, top: int, left: int, bottom: int, right: int) -> None:
    dense = np.pad(mask, ((top, bottom), (left, right)))
    counts = encode_counts(mask, (top, left), dense.shape)
    assert counts.tolist() == dense_counts(dense)
    tight, (row, col) = decode_counts(counts, dense.shape)
    again = np.zeros_like(dense)
    again[row : row + tight.shape[0], col : col + tight.shape[1]] = tight
    np.testing.assert_array_equal(again, dense)
    if dense.any():
        assert tight.any(axis=0)[[0, -1]].all()
        assert tight.any(axis=1)[[0, -1]].all()


@given(st.lists(st.integers(0, 2**40), max_size=12))
def test_compressed_round_trip(counts: list[int]) -> None:
    assert unpack_counts(pack_counts(counts)).tolist() == counts


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside pycocotools
def test_compressed_form_is_that_of_the_coco_api() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (5, 7), (64, 33), (300, 200)]:
        mask = rng.random(shape) < 0.3
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert pack_counts(encode_counts(mask, (0, 0), shape)) == theirs["counts"].decode()
        ours = {"size": list(shape), "counts": pack_counts(encode_counts(mask, (0, 0), shape))}
        np.testing.assert_array_equal(coco.decode(ours).astype(bool), mask)


def test_known_string() -> None:
    assert pack_counts([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"
    assert unpack_counts("61X13mN000`0").tolist() == [6, 1, 40, 4, 5, 4, 5, 4, 21]


@pytest.mark.parametrize("text", ["P", "1\x00", "é", "o" * 20 + "0"])
def test_broken_strings_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="compressed RLE"):
        unpack_counts(text)


@pytest.mark.parametrize("counts", [[5], [-1, 7], [3, 4]])
def test_counts_that_do_not_fit_are_refused(counts: list[int]) -> None:
    with pytest.raises(InputError, match="sum"):
        decode_counts(counts, (2, 3))
