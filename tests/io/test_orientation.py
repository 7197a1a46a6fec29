"""Photos are turned upright by their EXIF orientation, in every place that opens one."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from rasters import save

import geoseg
from geoseg.geo.windows import Window
from geoseg.io.exif import read_orientation
from geoseg.io.scene import open_file
from geoseg.io.sources import open_raster
from geoseg.pipeline.salvage import read_pixels
from geoseg.projects.images import open_image
from geoseg.raster.source import SceneReadError
from geoseg.raster.turn import TurnedScene
from geoseg.raster.view import SceneView

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
ORIENTATIONS = range(1, 9)


def photo(path: Path, orientation: int | None, height: int = 23, width: int = 37) -> Path:
    """A picture without any symmetry; JPEG is the only format here that changes its pixels."""
    rows, cols = np.mgrid[:height, :width]
    image = Image.fromarray(np.stack([rows * 5, cols * 4, rows + cols], -1).astype(np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    if path.suffix == ".tif":
        image.save(path, tiffinfo=exif)
    else:
        image.save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def upright(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.moveaxis(np.asarray(ImageOps.exif_transpose(image)), -1, 0)


def whole(source: TurnedScene) -> Window:
    return Window(row_off=0, col_off=0, height=source.height, width=source.width)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_pixels_are_those_that_a_viewer_shows(tmp_path: Path, suffix: str) -> None:
    for orientation in ORIENTATIONS:
        path = photo(tmp_path / f"{orientation}{suffix}", orientation)
        source, expected = open_raster(path), upright(path)
        assert source.geobox.shape == expected.shape[1:]
        pixels = source.read(whole(source))
        tolerance = 8 if suffix == ".jpg" else 0  # two decoders of JPEG
        assert np.abs(pixels.astype(int) - expected).max() <= tolerance
        window = Window(row_off=3, col_off=5, height=11, width=7)
        assert np.array_equal(source.read(window), pixels[:, window.rows, window.cols])
        assert source.read_valid(window).shape == (11, 7)
        assert len({open_file(str(path)).fingerprint(), source.fingerprint()}) == 1 + (orientation > 1)
        assert source.facts().get("exif_orientation", 1) == orientation


def test_windows_reach_to_the_edge_and_not_beyond(tmp_path: Path) -> None:
    source = open_raster(photo(tmp_path / "a.png", 6))
    assert source.read(Window(row_off=30, col_off=20, height=7, width=3)).shape == (3, 7, 3)
    with pytest.raises(ValueError, match="inside the scene of 37 x 23"):
        source.read(Window(row_off=0, col_off=0, height=23, width=37))


def test_what_is_placed_on_the_ground_is_not_turned(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 6)
    path.with_suffix(".pgw").write_text("0.5\n0\n0\n-0.5\n350000\n3056000\n")
    assert open_raster(path).geobox.shape == (23, 37)
    path = photo(tmp_path / "b.tif", 6)
    path.with_suffix(".tfw").write_text("0.5\n0\n0\n-0.5\n350000\n3056000\n")
    assert open_raster(path).geobox.shape == (23, 37)


def test_odd_tags_are_no_orientation(tmp_path: Path) -> None:
    for value in (None, 0, 9, 77):
        path = photo(tmp_path / f"{value}.png", value)
        assert read_orientation(path) == 1
        assert open_raster(path) == open_file(str(path))
    whole_file = photo(tmp_path / "a.webp", 6).read_bytes()
    assert read_orientation(tmp_path / "a.webp") == 6
    for end in range(0, len(whole_file), 7):  # a file that ends too early is whoever's reads the pixels
        (tmp_path / "cut.webp").write_bytes(whole_file[:end])
        assert read_orientation(tmp_path / "cut.webp") in (1, 6)
    claims = b"II*\0" + struct.pack("<I", 2**32 - 1) + bytes(8)
    (tmp_path / "far.tif").write_bytes(claims)
    assert read_orientation(tmp_path / "far.tif") == 1


def test_footprints_and_project_images_are_upright(tmp_path: Path) -> None:
    image = np.zeros((40, 64, 3), np.uint8)
    image[5:15, 8:30] = 255  # stored: near the top left; turned clockwise: near the top right
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path, exif=exif)
    frame = geoseg.segment(path, lambda batch: batch[:, :1] / 255, window=32, overlap=8)
    assert frame.geometry.iloc[0].bounds == (25, 8, 35, 30)
    assert "of the photo turned upright by its EXIF" in frame.attrs["notes"][0]
    opened = open_image(path)
    assert opened.shape == (64, 40)
    part = opened.read(Window(row_off=8, col_off=25, height=22, width=10))
    assert (part == 255).all()
    with_gsd = geoseg.open_scene(path, gsd=0.5, resolution=1.0)
    assert with_gsd.shape == (3, 32, 20)
    assert (with_gsd.values[:, 4:15, 13:17] == 255).all()


def cut_short(path: Path) -> tuple[Path, np.ndarray]:
    """A file whose last block is damaged, rows 64 to 70 and columns 48 to 64; and its pixels."""
    image = np.random.default_rng(0).integers(0, 255, (1, 70, 64), np.uint8)
    save(path, image, crs=None, transform=None, tiled=True, blockxsize=16, blockysize=16)
    path.write_bytes(path.read_bytes()[:-200])
    return path, image


def test_what_is_broken_is_found_where_it_lies(tmp_path: Path) -> None:
    path, image = cut_short(tmp_path / "a.tif")
    source = TurnedScene(open_file(str(path)), 4)
    assert source.offset == (10, 0)
    # mirrored, it is the first rows: six of them, as the last block of the file is cut
    with pytest.raises(SceneReadError):
        source.read(Window(row_off=0, col_off=48, height=6, width=16))
    below = Window(row_off=6, col_off=0, height=64, width=64)
    assert np.array_equal(source.read(below), image[:, ::-1][:, 6:])
    damage = source.locate_damage(Window(row_off=0, col_off=0, height=70, width=64))
    assert damage is not None
    assert "rows 64..69, columns 48..63" in str(damage)


def test_blocks_of_a_part_lie_where_those_of_the_photo_lie(tmp_path: Path) -> None:
    """A part of a mirrored photo took its own corner for one of the file: wrong regions were listed."""
    path, _ = cut_short(tmp_path / "a.tif")
    mirrored = TurnedScene(open_file(str(path)), 4)
    view = SceneView(mirrored, mirrored.geobox, mirrored.geobox.shape)
    assert view.offset == (10, 0)
    part = SceneView(mirrored, replace(mirrored.geobox, height=66), mirrored.geobox.shape, (4, 0))
    assert part.offset == (14, 0)
    whole = Window(row_off=0, col_off=0, height=66, width=64)
    _, valid, failures = read_pixels(part, whole, "skip")
    assert [(item["row_off"], item["height"], item["col_off"]) for item in failures] == [(0, 2, 48)]
    assert valid is not None
    assert (~valid).sum() == 2 * 16
