"""Masks kept compressed are the arrays they were made of."""

from __future__ import annotations

import base64
import io
import pickle
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoseg.errors import InputError
from geoseg.projects.figures import bitmaps, types
from geoseg.projects.figures.bitmaps import decode_mask, decode_pixels, encode_mask
from geoseg.projects.figures.stored import StoredMask, store_mask
from geoseg.projects.figures.types import Bitmap


def mask_of(seed, height=600, width=43):
    return np.random.default_rng(seed).random((height, width)) < 0.02


@given(seed=st.integers(0, 9999), steps=st.lists(st.sampled_from("xytw"), max_size=6))
def test_views_of_views(seed, steps):
    rng = np.random.default_rng(seed)
    array = mask_of(seed, int(rng.integers(1, 600)), int(rng.integers(1, 60)))
    stored = store_mask(array)
    for step in steps:
        if step == "t":
            array, stored = array.T, stored.transposed()
        elif step == "w":
            (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in array.shape)
            rows, cols = slice(int(top), int(bottom)), slice(int(left), int(right))
            array, stored = array[rows, cols], stored.window(rows, cols)
        else:
            axis = "xy".index(step)
            array, stored = np.flip(array, 1 - axis), stored.mirrored(axis)
    assert stored.shape == array.shape
    assert stored.size == array.size
    np.testing.assert_array_equal(np.asarray(stored), array)
    np.testing.assert_array_equal(stored[1:, :-2], array[1:, :-2])
    assert stored.count() == array.sum()
    for mine, other in zip(stored.any_by_axis(), (array.any(axis=1), array.any(axis=0)), strict=True):
        np.testing.assert_array_equal(mine, other)
    tight, expected = Bitmap((3, 4), stored).tight(), Bitmap((3, 4), array).tight()
    assert (tight is None) == (expected is None)
    if tight is not None and expected is not None:
        assert tight.origin == expected.origin
        np.testing.assert_array_equal(tight.mask, expected.mask)


def text_of(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def written(kind, mask):
    """The mask as some program writes it."""
    values = mask.astype(np.uint8)
    if kind == "gray":
        return text_of(Image.fromarray(values * 200))
    if kind == "alpha":
        return text_of(Image.fromarray(np.dstack([values * 0, values * 0, values * 0, values * 255])))
    if kind == "one bit":
        return text_of(Image.fromarray(values * 255).convert("1"))
    if kind == "palette":
        return encode_mask(mask)
    if kind == "strips":
        return encode_mask(store_mask(mask))
    palette = Image.new("P", values.shape[::-1])
    palette.frombytes((1 - values).tobytes())
    palette.putpalette([255, 255, 255, 0, 0, 0])
    return text_of(palette, transparency=1, bits=1)


@pytest.mark.parametrize("step", [-1, 2])
def test_steps_are_refused(step):
    stored = store_mask(mask_of(0))
    for place in ((slice(None, None, step), slice(None)), (slice(0, 5), slice(3, 9, step))):
        with pytest.raises(ValueError, match="steps of a window must be 1"):
            stored[place]
    assert np.array_equal(stored[2:9:1, :], mask_of(0)[2:9])


@pytest.mark.parametrize("kind", ["palette", "strips", "inverted", "one bit", "gray", "alpha"])
def test_whoever_wrote_a_mask_it_is_read_the_same(monkeypatch, kind):
    monkeypatch.setattr(bitmaps, "LARGE", 0)
    mask = mask_of(5)
    text = written(kind, mask)
    stored = decode_pixels(text)
    assert isinstance(stored, StoredMask)
    np.testing.assert_array_equal(np.asarray(stored), mask)
    np.testing.assert_array_equal(decode_mask(text), mask)
    np.testing.assert_array_equal(np.asarray(decode_pixels(encode_mask(stored))), mask)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(stored.mirrored(0)))), mask[:, ::-1])


def filtered(mask, kind):
    """A one-bit PNG whose rows all have one of the five filters, by the formulas of the specification."""
    rows = np.packbits(mask, axis=1).astype(int)
    left, up = np.pad(rows, ((0, 0), (1, 0)))[:, :-1], np.pad(rows, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(rows, ((1, 0), (1, 0)))[:-1, :-1]
    distance = np.stack([abs(left + up - corner - one) for one in (left, up, corner)])
    paeth = np.choose(distance.argmin(axis=0), (left, up, corner))
    guess = (0, left, up, (left + up) // 2, paeth)[kind]
    stored = np.pad((rows - guess) % 256, ((0, 0), (1, 0)), constant_values=((0, 0), (kind, 0)))
    header = struct.pack(">IIBBBBB", *mask.shape[::-1], 1, 0, 0, 0, 0)
    data = zlib.compress(stored.astype(np.uint8).tobytes())
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


@pytest.mark.parametrize("kind", range(5))
def test_filters_of_png_are_undone(monkeypatch, kind):
    monkeypatch.setattr(bitmaps, "LARGE", 0)
    mask = np.random.default_rng(kind).random((600, 99)) < 0.4
    text = filtered(mask, kind)
    np.testing.assert_array_equal(decode_mask(text), mask)  # Pillow agrees
    np.testing.assert_array_equal(np.asarray(decode_pixels(text)), mask)


def test_broken_masks_are_told(monkeypatch):
    monkeypatch.setattr(bitmaps, "LARGE", 0)
    png = zlib.decompress(base64.b64decode(encode_mask(mask_of(5))))
    data = png.index(b"IDAT")
    for broken in (
        png[: data + 20],
        png[:data] + b"IDAX" + png[data + 4 :],
        png[: data + 9] + png[data + 30 :],
        png[:30],
    ):
        with pytest.raises(InputError, match="bitmap data must be a PNG"):
            decode_pixels(base64.b64encode(broken).decode())


def test_a_mask_of_a_scene_is_never_a_byte_a_pixel(monkeypatch):
    rows = np.zeros((3000, 3000), bool)
    rows[::7] = rows[:, ::11] = True
    text = encode_mask(rows)
    monkeypatch.setattr(types, "LARGE", 2**20)
    monkeypatch.setattr(bitmaps, "LARGE", 2**20)
    tracemalloc.start()
    kept = [Bitmap((0, 0), decode_pixels(text)).tight() for _ in range(3)]
    assert all(isinstance(bitmap.pixels, StoredMask) for bitmap in kept)
    assert kept[0].part(slice(700, 710), slice(5, 500)).sum() > 0
    encode_mask(kept[0].pixels.mirrored(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.size / 3
    assert isinstance(Bitmap((0, 0), rows).compact().pixels, StoredMask)
