"""Masks as labels: which values and colors stand for which class, and which pixels they lie on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

import geoseg
from geoseg.data.chips import cut_chip
from geoseg.data.classes import class_table
from geoseg.data.mask_codes import REFUSED, MaskCodes
from geoseg.data.sampler import WindowEpochs
from geoseg.data.settings import ClassSettings, SamplerSettings, SplitSettings, TrainingDataSettings
from geoseg.data.sources import Wanted, open_areas
from geoseg.data.splits import block_split
from geoseg.errors import ConfigError, InputError
from geoseg.geo.windows import Window
from geoseg.raster.classes import IGNORE

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
PLACE = Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
HEIGHT, WIDTH = 40, 60


def save(path: Path, pixels: np.ndarray, **changes: Any) -> Path:
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    count, height, width = pixels.shape
    profile = {
        "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype,
        "crs": "EPSG:32645", "transform": PLACE, **changes,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return save(tmp_path / "scene.tif", np.ones((3, HEIGHT, WIDTH), np.uint8))


def target(
    folder: Path, labels: Path, classes: tuple[Any, ...] = (), scene: str = "scene.tif", **data: Any
) -> np.ndarray:
    """Class index of each pixel of the scene, as training gets it."""
    listed = tuple(
        ClassSettings(name=item) if isinstance(item, str) else ClassSettings(**item) for item in classes
    )
    settings = TrainingDataSettings(scenes=({"path": scene, "labels": labels.name},), **data)
    area = open_areas(Wanted(settings, folder, listed)).areas[0]
    assert area.truth.anchors() is not None  # what training reads first
    window = Window(row_off=0, col_off=0, height=area.shape[0], width=area.shape[1])
    return cut_chip(area, window).target


def house(value: float = 1, dtype: str = "uint8", other: float = 0) -> np.ndarray:
    values = np.full((HEIGHT, WIDTH), other, dtype)
    values[5:15, 10:40] = value
    return values


HOUSE = house()


class TestValues:
    @pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float32"])
    def test_a_negative_nodata_value_teaches_nothing(self, tmp_path: Path, scene: Path, dtype: str) -> None:
        values = house(1, dtype)
        values[20:] = -9999
        mask = save(tmp_path / "mask.tif", values, nodata=-9999)
        for classes in (("house",), ({"name": "house", "values": (1,)},)):
            found = target(tmp_path, mask, classes)
            assert (found[20:] == IGNORE).all()
            assert np.array_equal(found[:20], HOUSE[:20])

    @pytest.mark.parametrize("value", [np.finfo(np.float32).min, np.finfo(np.float32).max, np.inf])
    @pytest.mark.parametrize("stated", [True, False])
    def test_the_lowest_float_teaches_nothing(
        self, tmp_path: Path, scene: Path, value: float, stated: bool
    ) -> None:
        values = house(2, "float32")
        values[20:] = value
        mask = save(tmp_path / "mask.tif", values, nodata=float(value) if stated else None)
        for classes in (("house",), ({"name": "house", "values": (2,)},)):
            assert np.array_equal(
                target(tmp_path, mask, classes), np.where(values == value, IGNORE, values > 0)
            )

    @pytest.mark.parametrize("value", [70_000, 2**31 - 1, -5])
    def test_any_whole_number_may_stand_for_a_class(self, tmp_path: Path, scene: Path, value: int) -> None:
        mask = save(tmp_path / "mask.tif", house(value, "int32"))
        assert np.array_equal(target(tmp_path, mask, ({"name": "house", "values": (value,)},)), HOUSE)

    @pytest.mark.parametrize("value", [70_000, -5, 7])
    def test_each_piece_of_advice_helps(self, tmp_path: Path, scene: Path, value: int) -> None:
        mask = save(tmp_path / "mask.tif", house(value, "int32", other=1))
        one = ({"name": "ground", "values": (1,)},)
        with pytest.raises(
            InputError, match=rf"belong to a class, got {value} in .*mask.tif. List them under"
        ):
            target(tmp_path, mask, one)
        listed = target(tmp_path, mask, (*one, {"name": "house", "values": (value,)}))
        assert np.array_equal(listed, HOUSE + 1)
        assert np.array_equal(target(tmp_path, mask, one, other="background"), 1 - HOUSE)
        assert np.array_equal(target(tmp_path, mask, one, other="ignore") == IGNORE, HOUSE == 1)

    def test_a_negative_value_that_nobody_explains_is_no_object(self, tmp_path: Path, scene: Path) -> None:
        mask = save(tmp_path / "mask.tif", house(70_000, "int32", other=-9999))
        with pytest.raises(InputError, match="must belong to a class, got -9999"):
            target(tmp_path, mask)
        found = target(tmp_path, mask, other="ignore")
        assert np.array_equal(found, np.where(HOUSE, 1, IGNORE))

    def test_floats_may_be_class_numbers_but_no_shares(self, tmp_path: Path, scene: Path) -> None:
        values = house(2, "float32")
        values[30:] = np.nan
        found = target(tmp_path, save(tmp_path / "mask.tif", values), ({"name": "house", "values": (2,)},))
        assert np.array_equal(found, np.where(np.isnan(values), IGNORE, HOUSE))
        shares = save(tmp_path / "shares.tif", house(0.7, "float32"))
        with pytest.raises(InputError, match=r"whole numbers, got values from 0 to 0.7 .* value >= 0.5"):
            target(tmp_path, shares)
        values = house(0.7, "float32") >= 0.5
        assert np.array_equal(target(tmp_path, save(tmp_path / "m.tif", values.astype(np.uint8))), HOUSE)


def colors(roof: tuple[int, int, int] = (255, 0, 0)) -> np.ndarray:
    """A red house and a green one on black."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[5:15, 10:40] = roof
    picture[20:30, 10:40] = (0, 128, 0)
    return picture


ROOF, TREE = {"name": "roof", "color": "#ff0000"}, {"name": "tree", "color": "#008000"}


class TestColors:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
    def test_colors_stand_for_classes(self, tmp_path: Path, scene: Path, mode: str) -> None:
        path = tmp_path / "mask.png"
        image = Image.fromarray(colors())
        (image.quantize(4) if mode == "P" else image.convert(mode)).save(path)
        expected = HOUSE.copy()
        expected[20:30, 10:40] = 2
        assert np.array_equal(target(tmp_path, path, (ROOF, TREE)), expected)
        neutral = target(tmp_path, path, (ROOF, {"name": "neutral", "color": "#008000"}))
        assert np.array_equal(neutral, np.where(expected == 2, IGNORE, expected))

    def test_colors_without_a_mapping_are_refused_with_the_option(self, tmp_path: Path, scene: Path) -> None:
        path = tmp_path / "mask.png"
        Image.fromarray(colors()).save(path)
        for classes in ((), ({"name": "roof", "values": (255,)},)):
            with pytest.raises(
                InputError, match=r'bands that differ, as of colors. .*color = "#rrggbb" under'
            ):
                target(tmp_path, path, classes)
        gray = tmp_path / "gray.png"
        Image.fromarray(np.stack([HOUSE * 255] * 3, -1)).save(gray)
        assert np.array_equal(target(tmp_path, gray), HOUSE)

    def test_a_color_of_no_class_is_named_and_the_advice_helps(self, tmp_path: Path, scene: Path) -> None:
        path = tmp_path / "mask.png"
        Image.fromarray(colors()).save(path)
        with pytest.raises(InputError, match=r"must belong to a class, got #008000 .* with color under"):
            target(tmp_path, path, (ROOF,))
        assert np.array_equal(target(tmp_path, path, (ROOF,), other="background"), HOUSE)
        assert (target(tmp_path, path, (ROOF,), other="ignore")[20:30, 10:40] == IGNORE).all()
        with pytest.raises(ConfigError, match="#ff0000 must stand for one class, got two"):
            target(tmp_path, path, (ROOF, {"name": "b", "color": "#ff0000"}))

    def test_no_command_takes_one_band_of_colors(self, tmp_path: Path) -> None:
        red = save(tmp_path / "red.tif", np.moveaxis(colors((0, 200, 0)), -1, 0))
        with pytest.raises(InputError, match="bands that differ, as of colors"):
            geoseg.vectorize(red, tmp_path / "out.geojson")
        assert not (tmp_path / "out.geojson").exists()
        with pytest.raises(InputError, match="bands that differ, as of colors"):
            geoseg.evaluate(red, save(tmp_path / "t.tif", HOUSE))
        gray = save(tmp_path / "gray.tif", np.stack([HOUSE] * 3))
        assert geoseg.vectorize(gray, tmp_path / "out.geojson").footprints == 1
        assert geoseg.evaluate(gray, tmp_path / "t.tif").pixels.iou == 1


class TestPlace:
    def test_a_geotransform_without_a_crs_places_a_mask(
        self, tmp_path: Path, scene: Path, caplog: Any
    ) -> None:
        part = HOUSE[4:20, 8:44]  # at another place than the scene's corner, and of another shape
        mask = save(tmp_path / "mask.tif", part, crs=None, transform=PLACE * Affine.translation(8, 4))
        with caplog.at_level(logging.WARNING):
            found = target(tmp_path, mask)
        assert "states no CRS: its coordinates are taken for those of" in caplog.text
        assert np.array_equal(found[4:20, 8:44], part)
        assert (found[:4] == IGNORE).all()
        assert (found[:, 44:] == IGNORE).all()

    def test_so_does_a_world_file(self, tmp_path: Path, scene: Path) -> None:
        Image.fromarray(HOUSE[4:20, 8:44]).save(tmp_path / "mask.png")
        (tmp_path / "mask.pgw").write_text("0.5\n0\n0\n-0.5\n350004.25\n3055997.75\n")
        found = target(tmp_path, tmp_path / "mask.png")
        assert np.array_equal(found[4:20, 8:44], HOUSE[4:20, 8:44])
        Image.fromarray(np.ones((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "photo.png")
        with pytest.raises(InputError, match=r"with a geotransform for .*photo.png without one. Remove its"):
            target(tmp_path, tmp_path / "mask.png", scene="photo.png")

    def test_the_same_picture_in_another_size_is_scaled(self, tmp_path: Path, scene: Path) -> None:
        twice = HOUSE.repeat(2, 0).repeat(2, 1)
        Image.fromarray(twice).save(tmp_path / "mask.png")
        assert np.array_equal(target(tmp_path, tmp_path / "mask.png"), HOUSE)
        Image.fromarray(HOUSE[:, :59]).save(tmp_path / "mask.png")  # a third of 119 rows, rounded
        assert target(tmp_path, tmp_path / "mask.png").shape == HOUSE.shape

    @pytest.mark.parametrize("shape", [(60, 40), (40, 40), (40, 57), (512, 512)])
    def test_another_shape_is_refused(self, tmp_path: Path, scene: Path, shape: tuple[int, int]) -> None:
        Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / "mask.png")
        with pytest.raises(InputError, match=rf"scene's shape, got {shape[1]} x {shape[0]} pixels"):
            target(tmp_path, tmp_path / "mask.png")

    def test_a_photo_that_was_turned_fits_the_mask_that_was_drawn_on_it(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[274] = 8
        stored = np.ascontiguousarray(np.rot90(HOUSE, -1))
        Image.fromarray(np.stack([stored * 200] * 3, -1)).save(tmp_path / "photo.png", exif=exif)
        Image.fromarray(HOUSE).save(tmp_path / "mask.png")
        assert np.array_equal(target(tmp_path, tmp_path / "mask.png", scene="photo.png"), HOUSE)

    def test_sizes_without_georeferencing_are_not_compared(self, tmp_path: Path) -> None:
        Image.fromarray(HOUSE).save(tmp_path / "a.png")
        Image.fromarray(HOUSE[::2, ::2]).save(tmp_path / "b.png")
        with pytest.raises(InputError, match=r"b.png must be as large .* 60 x 40, got 30 x 20"):
            geoseg.evaluate(tmp_path / "b.png", tmp_path / "a.png")


def test_254_classes_are_not_taken_for_an_error() -> None:
    """Class index 254 was the code of values that are refused."""
    classes = [ClassSettings(name=f"c{value}", values=[value]) for value in range(1, 255)]
    table = class_table(classes, "background", "neutral", "error", by_value=True)
    values = np.array([[0, 1, 253, 254]])
    codes = MaskCodes(
        {0: 0, **{int(name): code for name, code in table.values.items() if name}}, REFUSED, REFUSED
    )
    for dtype in ("uint8", "int64"):
        pixels = values[None].astype(dtype)
        assert codes(pixels, np.ones(values.shape, bool)).tolist() == values.tolist()
    with pytest.raises(InputError, match="got 255"):
        codes(np.full((1, 1, 1), 255, np.uint8), np.ones((1, 1), bool))


def test_a_mask_half_a_pixel_off_is_read_column_by_column(tmp_path: Path) -> None:
    """Centers of pixels lie on its borders: the last bit took some columns twice and left others out."""
    place = Affine(0.3, 0, 350_000, 0, -0.3, 3_056_000)
    save(tmp_path / "scene.tif", np.ones((3, 40, 3000), np.uint8), transform=place)
    columns = np.tile(np.arange(3001) % 7 + 1, (41, 1)).astype(np.uint8)
    labels = save(tmp_path / "labels.tif", columns, transform=place * Affine.translation(-5.5, -0.5))
    classes = tuple({"name": f"c{value}", "values": [value]} for value in range(1, 8))
    found = target(tmp_path, labels, classes).astype(int)[:, :2990]
    assert set(np.unique(np.diff(found) % 7).tolist()) == {1}
    pred = save(tmp_path / "pred.tif", found.astype(np.uint8), transform=place)
    pixels = geoseg.evaluate(labels, pred).pixels
    assert {entry.iou for entry in pixels.classes} == {1.0}


@pytest.mark.parametrize("whole", [True, False])
def test_a_mask_of_a_part_of_its_scene_teaches_and_scores_there(tmp_path: Path, whole: bool) -> None:
    save(tmp_path / "scene.tif", np.ones((3, 512, 512), np.uint8))
    values = np.full((512, 512), 255, np.uint8)
    values[384:, 256:] = 0
    values[404:444, 276:316] = values[464:484, 406:456] = 1
    if whole:  # what is not labeled is the mask's nodata
        save(tmp_path / "mask.tif", values, nodata=255)
    else:
        save(tmp_path / "mask.tif", values[384:, 256:], transform=PLACE * Affine.translation(256, 384))
    settings = TrainingDataSettings(scenes=({"path": "scene.tif", "labels": "mask.tif"},))
    areas = open_areas(Wanted(settings, tmp_path, ())).areas
    for seed in range(3):
        parts = block_split(areas, (32, 32), SplitSettings(), ["auto"], seed)
        assert 4 <= len(parts[0].val) <= 12
        assert all((cut_chip(areas[0], window).target != IGNORE).all() for window in parts[0].val)
        epochs = WindowEpochs.of(areas, parts, (32, 32), SamplerSettings(min_known=0.5), seed)
        assert epochs.chips == 2 * 128 * 256 / 32**2
        for ref in epochs.batches(0, 8, 1)[0]:
            assert (cut_chip(areas[0], ref.window).target != IGNORE).mean() > 0.25
