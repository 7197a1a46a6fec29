"""Lazy pixels: views compose to one window, and files give up just the blocks that are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from dtl_projects import array_sample, only
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.dtl.pixels import FilePixels, Oriented, Padded, Resized
from geoseg.dtl.warp import Warped
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.image_output import result_suffix, write_image
from geoseg.projects.images import open_image

steps = st.lists(st.sampled_from(["x", "y", "t", "crop"]), max_size=8)


@given(steps, st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_views_of_views_are_one_view(names, seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 255, (2, 9, 13), np.uint8)
    sample = array_sample(array)
    pixels, expected = sample.pixels, array
    for name in names:
        height, width = expected.shape[1:]
        if name == "crop":
            top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
            window = Window(
                row_off=top,
                col_off=left,
                height=int(rng.integers(1, height - top + 1)),
                width=int(rng.integers(1, width - left + 1)),
            )
            pixels, expected = pixels.cropped(window), expected[:, window.rows, window.cols]
        elif name == "t":
            pixels, expected = pixels.transposed(), expected.swapaxes(1, 2)
        else:
            axis = "xy".index(name)
            pixels, expected = pixels.mirrored(axis), np.flip(expected, 2 - axis)
    assert isinstance(pixels, FilePixels) or (
        isinstance(pixels, Oriented) and isinstance(pixels.base, FilePixels)
    )
    assert np.array_equal(pixels.read(), expected)
    # each pixel's center goes where the affine says it came from
    height, width = expected.shape[1:]
    for row, col in ((0, 0), (height - 1, width - 1), (height // 2, width // 2)):
        x, y = pixels.to_source * (col + 0.5, row + 0.5)
        assert np.array_equal(array[:, int(y), int(x)], expected[:, row, col])
    seen = pixels.source_window
    assert seen.height * seen.width == expected[0].size


def test_what_comes_back_to_the_file_is_the_file():
    sample = array_sample(np.zeros((1, 5, 7), np.uint8))
    assert sample.mirrored(0).mirrored(0).pixels is sample.pixels
    assert sample.turned(1).turned(3).pixels is sample.pixels


def test_only_the_needed_part_is_read():
    array = np.random.default_rng(0).integers(0, 255, (1, 400, 600), np.uint8)
    sample = array_sample(array)
    out = sample.resized((200, 300)).cropped(Window(row_off=10, col_off=20, height=30, width=40)).mirrored(0)
    out.pixels.read()
    assert out.pixels.source.windows == [Window(row_off=20, col_off=40, height=60, width=80)]
    assert out.pixels.source_window == Window(row_off=20, col_off=40, height=60, width=80)


def test_nothing_is_read_before_the_end():
    sample = array_sample(np.zeros((1, 50, 60), np.uint8))
    sample = only("flip", {"axis": "vertical"}, sample)
    sample = only("resize", {"width": 30, "height": 30, "aspect_ratio": {"keep": True}}, sample)
    sample = only("noise", {"mean": 0, "std": 1}, sample)
    assert sample.pixels.source.windows == []


def test_geobox_follows():
    box = GeoBox(Affine(2, 0, 1000, 0, -2, 5000), CRS.from_epsg(32633), 40, 60)
    sample = array_sample(np.zeros((1, 40, 60), np.uint8), box=box)
    cut = sample.cropped(Window(row_off=10, col_off=5, height=20, width=30))
    assert cut.geobox.bounds() == (1010, 4940, 1070, 4980)
    assert cut.mirrored(0).geobox.bounds() == cut.geobox.bounds()
    assert cut.turned(1).resized((60, 40)).geobox.bounds() == pytest.approx(cut.geobox.bounds())
    padded = Padded(cut.pixels, (24, 34), (2, 2))
    assert padded.geobox.bounds() == (1006, 4936, 1074, 4984)
    warped = Warped(cut.pixels, (20, 30), Affine.identity())
    assert warped.geobox == cut.geobox


def test_lanczos_keeps_constants_and_interpolates():
    flat = array_sample(np.full((2, 20, 30), 77, np.uint16))
    turned = only(
        "rotate",
        {"rotate_angles": {"min_degrees": 30, "max_degrees": 30}, "black_regions": {"mode": "crop"}},
        flat,
    )
    assert (turned.pixels.read() == 77).all()
    rows, cols = np.mgrid[:40, :40]
    smooth = (np.sin(rows / 6) + np.cos(cols / 7)).astype(np.float32)[None]
    shifted = Warped(array_sample(smooth).pixels, (40, 40), Affine.translation(0.5, 0.25)).read()[0]
    expected = np.sin((rows + 0.25) / 6) + np.cos((cols + 0.5) / 7)
    assert np.abs(shifted - expected)[4:-4, 4:-4].max() < 0.01


def test_quarter_turns_of_rotate_are_rot90():
    array = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    for angle, quarters in ((90, 1), (180, 2), (-90, 3), (270, 3), (360, 0)):
        settings = {
            "rotate_angles": {"min_degrees": angle, "max_degrees": angle},
            "black_regions": {"mode": "keep"},
        }
        out = only("rotate", settings, array_sample(array))
        assert np.array_equal(out.pixels.read()[0], np.rot90(array[0], quarters)), angle


def test_small_angles_turn_the_way_right_angles_do():
    array = np.zeros((1, 61, 61), np.uint8)
    array[0, 30, 30:60] = 255  # a hand to the right; counter-clockwise lifts it
    settings = {
        "rotate_angles": {"min_degrees": 20, "max_degrees": 20},
        "black_regions": {"mode": "preserve_size"},
    }
    rows, cols = np.nonzero(only("rotate", settings, array_sample(array)).pixels.read()[0] > 100)
    assert rows[np.argmax(cols)] < 24


def tiled(path: Path, size: int, block: int = 512) -> Path:
    """A tiled GeoTIFF of noise in columns; the first pixels of each block tell its number."""
    columns = np.random.default_rng(0).integers(0, 251, (16, block), np.uint8)
    noise = np.tile(columns, (block // 16, 1))
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint8", "tiled": True,
        "blockxsize": block,
        "blockysize": block, "compress": "deflate", "zlevel": 1,
        "transform": Affine(2, 0, 500_000, 0, -2, 5_000_000), "crs": "EPSG:32633",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        for index, (_, window) in enumerate(out.block_windows(1)):
            values = (noise + index % 251) % 251
            out.write(values[None, : window.height, : window.width].astype(np.uint8), window=window)
    return path


def bytes_read() -> int:
    """Bytes this process asked the system for so far."""
    return int(Path("/proc/self/io").read_text().splitlines()[0].split()[1])


def read_crops(path: Path, count: int) -> tuple[int, int]:
    """Read random crops of 10 to 20 percent: bytes read, and bytes of the blocks under them."""
    image = open_image(path)
    rng = np.random.default_rng(0)
    with rasterio.open(path) as source:
        block = source.block_shapes[0][0]
        size = source.width
        lengths = {
            (i, j): int(source.get_tag_item(f"BLOCK_SIZE_{j}_{i}", "TIFF", bidx=1) or 0)
            for i in range(-(-size // block))
            for j in range(-(-size // block))
        }
    image.read(Window(row_off=0, col_off=0, height=1, width=1))
    ideal, before = 0, bytes_read()
    for _ in range(count):
        part = {"min_percent": 10, "max_percent": 20}
        sample = array_like(image)
        out = only(
            "crop", {"random_part": {"width": part, "height": part}}, sample, int(rng.integers(1 << 30))
        )
        window = out.pixels.source_window
        pixels = out.pixels.read()
        assert pixels.shape[1:] == out.shape
        assert np.ptp(pixels) > 100
        ideal += sum(
            lengths[i, j]
            for i in range(window.row_off // block, (window.row_end - 1) // block + 1)
            for j in range(window.col_off // block, (window.col_end - 1) // block + 1)
        )
    return bytes_read() - before, ideal


def array_like(image):
    """A sample of an image file."""
    from geoseg.dtl.sample import Origin, Sample
    from geoseg.projects.figures import Annotation

    return Sample(FilePixels(image), Annotation(*image.shape), Origin("p", "d", "a.tif"), "d")


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes by /proc")
@pytest.mark.parametrize(("size", "count"), [(4_000, 20), (20_000, 50)])
def test_crops_of_a_tiled_scene_read_their_own_blocks(tmp_path, size, count):
    path = tiled(tmp_path / "scene.tif", size)
    read, ideal = read_crops(path, count)
    # besides the blocks, GDAL reads its file's index: 16 bytes a block, in pages
    assert read <= ideal * 1.02 + 65_536 + 16 * (size // 512 + 1) ** 2


def test_a_jpeg_is_decoded_once(tmp_path, monkeypatch):
    array = np.random.default_rng(0).integers(0, 255, (3, 64, 80), np.uint8)
    write_image(tmp_path / "a.jpg", array, GeoBox(Affine.identity(), None, 64, 80), jpeg_quality=90)
    image = open_image(tmp_path / "a.jpg")
    reads = []
    whole = image.scene.read
    monkeypatch.setattr(type(image.scene), "read", lambda self, window: reads.append(window) or whole(window))
    for col in range(5):
        image.read(Window(row_off=3, col_off=col, height=9, width=9))
    assert len(reads) == 1
    monkeypatch.setattr("geoseg.projects.images._MOST_DECODED", 1000)
    large = open_image(tmp_path / "a.jpg")
    window = Window(row_off=3, col_off=5, height=9, width=9)
    assert np.array_equal(large.read(window), image.read(window))
    assert reads[-1] == window  # too large to be kept: read by window


@pytest.mark.parametrize(("dtype", "count", "suffix"), [
    ("uint8", 3, ".png"), ("uint16", 1, ".png"), ("uint8", 4, ".png"), ("uint16", 6, ".tif"),
    ("float32", 2, ".tif"),
])  # fmt: skip
def test_pixels_survive_writing(tmp_path, dtype, count, suffix):
    array = (np.random.default_rng(0).random((count, 30, 20)) * 200).astype(dtype)
    box = GeoBox(Affine.identity(), None, 30, 20)
    assert result_suffix(".png", dtype, count, False, None) == suffix
    write_image(tmp_path / f"a{suffix}", array, box)
    image = open_image(tmp_path / f"a{suffix}")
    assert np.array_equal(image.read(Window(row_off=0, col_off=0, height=30, width=20)), array)


@pytest.mark.parametrize(("arguments", "expected"), [
    ((".tif", "uint16", 8, True, None), ".tif"),
    ((".TIFF", "uint8", 3, False, None), ".TIFF"),
    ((".jpg", "uint8", 3, False, None), ".png"),
    ((".jpg", "uint8", 3, False, 90), ".jpg"),
    ((".jpg", "uint8", 3, True, 90), ".tif"),
    ((".jpeg", "uint8", 4, False, 90), ".png"),
    ((".bmp", "uint8", 3, False, 90), ".png"),
    ((".jp2", "uint16", 4, True, None), ".tif"),
    ((".png", "float32", 1, False, None), ".tif"),
])  # fmt: skip
def test_formats_of_changed_images(arguments, expected):
    assert result_suffix(*arguments) == expected


def test_resizing_is_exact_on_constants():
    assert (Resized(array_sample(np.full((1, 7, 9), 13, np.uint8)).pixels, (20, 3)).read() == 13).all()
