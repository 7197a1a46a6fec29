"""Many files as one scene: which are one, what is read of them, and that it is what the whole would give."""

from __future__ import annotations

import importlib
import itertools
import json
import pickle
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS, Transformer
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.config.run import RunSettings
from geoseg.errors import MissingFileError, SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io import handles
from geoseg.io.mosaic import Mosaic, Sheets, index, sort_files
from geoseg.io.mosaic.grouping import SheetFacts, find_pictures
from geoseg.io.scene_lists import list_scenes
from geoseg.io.sources import open_raster
from geoseg.pipeline.run import run_scene
from geoseg.raster.source import SceneReadError
from geoseg.raster.warped import warp

#: A step that no float holds, so that adding and subtracting columns does not come out even.
PLACE = Affine(0.13, 0, 350_000.07, 0, -0.13, 3_056_000.02)
ROWS = (0, 31, 64, 75, 120, 150, 155, 190)
COLS = (0, 17, 90, 100, 161, 230)
ALL = Window(row_off=0, col_off=0, height=ROWS[-1], width=COLS[-1])
OPTIONS = RunSettings(window=(80, 80), overlap=(16, 16), chunk=128)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GEOSEG_CACHE", str(folder))
    monkeypatch.setattr(index, "_UNSURE_NS", -(10**18))  # what was written just now is kept, too
    return folder


def town(height: int = ROWS[-1], width: int = COLS[-1]) -> np.ndarray:
    """Houses everywhere, also across the borders and corners of sheets."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 90, (3, height, width)).astype(np.uint8)
    for _ in range(90):
        row, col = int(rng.integers(0, height - 6)), int(rng.integers(0, width - 6))
        tall, wide = rng.integers(4, 22, 2)
        image[:, row : row + tall, col : col + wide] = 250
    return image


def save(path: Path, image: np.ndarray, col: int = 0, row: int = 0, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = PLACE * Affine.translation(col, row)
    x, y = PLACE * (col, row)
    profile = {
        "driver": "GTiff", "count": len(image), "height": image.shape[1], "width": image.shape[2],
        "dtype": image.dtype, "crs": "EPSG:32645", "transform": Affine(place.a, 0, x, 0, place.e, y),
        "tiled": True, "blockxsize": 16, "blockysize": 16, **changes,
    }  # fmt: skip
    valid = profile.pop("valid", None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as out:
        out.write(image)
        if valid is not None:
            out.write_mask(valid)
    return path


def place(i: int, j: int) -> Window:
    """Where a sheet lies; two reach into their neighbors by a few pixels."""
    more = (i, j) in ((2, 2), (4, 1))
    top, bottom = ROWS[i] - 5 * more, ROWS[i + 1] + 4 * more
    left, right = COLS[j] - 3 * more, COLS[j + 1] + 6 * more
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)


def cut(image: np.ndarray, folder: Path, **changes: Any) -> dict[tuple[int, int], Path]:
    """7 x 5 uneven sheets."""
    sheets = {}
    for i, j in itertools.product(range(7), range(5)):
        part = place(i, j)
        pixels = image[:, part.rows, part.cols]
        sheets[i, j] = save(folder / f"sheet_{i}_{j}.tif", pixels, part.col_off, part.row_off, **changes)
    return sheets


def ground(*missing: tuple[int, int]) -> np.ndarray:
    """Bool (H, W): where sheets lie, but for those that are missing."""
    known = np.zeros((ROWS[-1], COLS[-1]), bool)
    for i, j in itertools.product(range(7), range(5)):
        if (i, j) not in missing:
            known[place(i, j).rows, place(i, j).cols] = True
    return known


def network(batch: np.ndarray) -> np.ndarray:
    """A smooth answer, so that each pixel depends on its neighbors."""
    total = batch[:, :1].cumsum(axis=2).cumsum(axis=3)
    total = np.pad(total, ((0, 0), (0, 0), (5, 0), (5, 0)))
    mean = total[:, :, 5:, 5:] - total[:, :, :-5, 5:] - total[:, :, 5:, :-5] + total[:, :, :-5, :-5]
    return np.asarray(mean / (25 * 255), np.float32)


def results(summary: Any) -> dict[str, bytes]:
    """Footprints to the byte, but for the fingerprint of the files that they are made of."""
    fingerprint = summary.provenance["scene"]["fingerprint"].encode()
    return {"geojson": Path(summary.files["geojson"]).read_bytes().replace(fingerprint, b"")}


class TestOneScene:
    def test_sheets_give_the_footprints_of_the_whole(self, tmp_path: Path) -> None:
        whole = run_scene(save(tmp_path / "town.tif", town()), network, tmp_path / "a", OPTIONS)
        cut(town(), tmp_path / "town")
        pieces = run_scene(tmp_path / "town", network, tmp_path / "b", OPTIONS)
        assert whole.footprints is not None
        assert whole.footprints > 20
        assert results(pieces) == results(whole)
        assert open_raster(tmp_path / "town").geobox == open_raster(tmp_path / "town.tif").geobox

    def test_a_missing_sheet_is_ground_without_data(self, tmp_path: Path) -> None:
        sheets = cut(town(), tmp_path / "town")
        sheets[3, 2].unlink()
        valid = ground((3, 2))
        save(tmp_path / "town.tif", town(), valid=valid)
        whole = run_scene(tmp_path / "town.tif", network, tmp_path / "a", OPTIONS)
        pieces = run_scene(tmp_path / "town", network, tmp_path / "b", OPTIONS)
        assert results(pieces) == results(whole)
        np.testing.assert_array_equal(open_raster(tmp_path / "town").read_valid(ALL), valid)

    def test_any_window_is_that_of_the_whole(self, tmp_path: Path) -> None:
        sheets = cut(town(), tmp_path / "town", nodata=250)
        sheets[1, 1].unlink()
        whole = save(tmp_path / "town.tif", town(), nodata=250)
        mosaic, scene = open_raster(tmp_path / "town"), open_raster(whole)
        rng = random.Random(3)
        for _ in range(40):
            top, left = rng.randrange(ROWS[-1]), rng.randrange(COLS[-1])
            window = Window(row_off=top, col_off=left, height=rng.randrange(90), width=rng.randrange(120))
            window = window.clipped(ROWS[-1], COLS[-1])
            pixels, valid = mosaic.read_with_valid(window)
            expected, usable = scene.read_with_valid(window)
            known = ground((1, 1))[window.rows, window.cols]
            np.testing.assert_array_equal(valid, usable & known)
            np.testing.assert_array_equal(pixels[:, valid], expected[:, valid])
            np.testing.assert_array_equal(mosaic.read_valid(window), valid)

    def test_it_is_a_value(self, tmp_path: Path) -> None:
        cut(town(), tmp_path / "town")
        mosaic = open_raster(tmp_path / "town")
        again = pickle.loads(pickle.dumps(mosaic))
        assert again == mosaic
        assert len(pickle.dumps(mosaic)) < 35 * 1500
        np.testing.assert_array_equal(again.read(ALL), town())
        assert (mosaic.name, mosaic.has_validity) == ("town", False)

    def test_large_sheets_that_were_written_since_are_doubted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cut(town(), tmp_path / "town")
        mosaic = open_raster(tmp_path / "town")
        assert mosaic.doubt(0) is None  # each byte is looked at
        monkeypatch.setattr("geoseg.io.mosaic.source.CONTENT_BYTES", 100)
        assert mosaic.doubt(time.time() + 60) is None
        assert "was written since, and is too large to be read whole" in str(mosaic.doubt(0))

    def test_the_order_of_names_does_not_matter(self, tmp_path: Path) -> None:
        paths = [str(path) for path in cut(town(), tmp_path / "town").values()]
        first = sort_files(paths).scenes
        random.Random(1).shuffle(paths)
        assert sort_files(paths).scenes == first
        assert len(first) == 1

    def test_at_another_resolution_and_in_part(self, tmp_path: Path) -> None:
        cut(town(), tmp_path / "town")
        whole = save(tmp_path / "town.tif", town())
        x, y = PLACE * (20, 100)
        given = {"resolution": 0.26, "bbox": (x, y, x + 12, y + 10)}
        mosaic, scene = open_raster(tmp_path / "town", **given), open_raster(whole, **given)
        window = Window(row_off=0, col_off=0, height=scene.height, width=scene.width)
        np.testing.assert_array_equal(mosaic.read(window), scene.read(window))

    def test_few_files_are_open_however_many_there_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cut(town(), tmp_path / "town")
        mosaic = open_raster(tmp_path / "town")
        mosaic.read(ALL)
        assert len(handles._handles.datasets) <= 4

    def test_info_describes_it(self, tmp_path: Path) -> None:
        cut(town(), tmp_path / "town")
        for word in (tmp_path / "town" / "*.tif", tmp_path / "town"):
            done = CliRunner().invoke(app, ["info", str(word), "--json"])
            facts = json.loads(done.stdout)
            assert (facts["sheets"], facts["width"], facts["height"]) == (35, COLS[-1], ROWS[-1])


class TestOnTop:
    @pytest.mark.parametrize(
        ("on_top", "value"), [("last", 30), ("first", 20), ("newest", 10)]
    )  # c, a, b are the last name, the first and the newest
    def test_who_is_seen(self, tmp_path: Path, on_top: Any, value: int) -> None:
        names = {"c": (30, "2020:01:01"), "a": (20, "2019:01:01"), "b": (10, "2021:05:05")}
        paths = []
        for name, (level, date) in names.items():
            path = save(tmp_path / f"{name}.tif", np.full((1, 16, 32), level, np.uint8))
            with rasterio.open(path, "r+") as out:
                out.update_tags(TIFFTAG_DATETIME=f"{date} 00:00:00")
            paths.append(str(path))
        for order in itertools.permutations(paths):
            mosaic = Sheets("m", order, on_top).open()
            assert mosaic.read(Window(row_off=0, col_off=0, height=9, width=9)).min() == value

    def test_what_lies_below_is_seen_where_the_top_has_no_data(self, tmp_path: Path) -> None:
        upper = np.full((1, 16, 32), 7, np.uint8)
        upper[:, :, 8:20] = 0
        save(tmp_path / "m" / "b.tif", upper, nodata=0)
        # 7 is no data below, and a measurement above
        lower = np.full((1, 16, 32), 3, np.uint8)
        lower[:, 4] = 7
        save(tmp_path / "m" / "a.tif", lower, nodata=7)
        pixels, valid = open_raster(tmp_path / "m").read_with_valid(
            Window(row_off=0, col_off=0, height=16, width=32)
        )
        assert valid.sum() == 16 * 32 - 12
        assert not valid[4, 8:20].any()
        assert (pixels[0][valid] == np.where(upper[0] == 0, 3, 7)[valid]).all()


def box(col: float = 0, row: float = 0, step: float = 1, crs: int | None = 32645, side: int = 4) -> GeoBox:
    place = Affine(step, 0, 100 + col, 0, -step, 200 - row)
    return GeoBox(place, None if crs is None else CRS.from_epsg(crs), side, side)


def sorted_names(files: Sequence[SheetFacts]) -> list[str]:
    return ["".join(files[k].name for k in picture.members) for picture in find_pictures(files)]


class TestWhichFilesAreOne:
    @pytest.mark.parametrize(
        ("second", "expected"),
        [
            (box(4), ["ab"]),  # side by side
            (box(4, 4), ["ab"]),  # at a corner
            (box(3), ["ab"]),  # overlapping
            (box(5), ["a", "b"]),  # a gap between them
            (box(4.01), ["ab"]),  # a rounded header
            (box(4.5), ["a", "b"]),
            (box(4, 0.3), ["a", "b"]),
            (box(4, step=2), ["a", "b"]),
            (box(4, step=1.001), ["ab"]),  # 0.004 pixels over the sheet
            (box(4, crs=32646), ["a", "b"]),
            (box(4, crs=None), ["a", "b"]),
            (box(1), ["ab"]),  # moved back flush with the edge
            (box(0), ["a", "b"]),  # the same ground, and nothing says which is which
            (GeoBox(Affine.identity(), None, 4, 4), ["a", "b"]),
        ],
    )
    def test_two(self, second: GeoBox, expected: list[str]) -> None:
        files = [SheetFacts("b", second), SheetFacts("a", box())]
        assert sorted_names(files) == expected
        assert sorted_names(files[::-1]) == expected

    def test_photos_without_a_place_stay_alone(self) -> None:
        photo = GeoBox(Affine.identity(), None, 4, 4)
        assert sorted_names([SheetFacts(name, photo) for name in "abc"]) == ["a", "b", "c"]

    def test_dates_of_one_place_are_parted(self) -> None:
        files = [
            SheetFacts(f"{day}{col}", box(col), acquired=f"2020-01-0{day}")
            for day in (2, 1)
            for col in (0, 4)
        ]
        assert sorted_names(files) == ["1014", "2024"]
        shifted = [
            SheetFacts("a", box(), acquired="2020-01-01"),
            SheetFacts("b", box(1), acquired="2020-01-02"),
        ]
        assert sorted_names(shifted) == ["a", "b"]

    def test_the_whole_beside_its_sheets(self) -> None:
        sheets = [SheetFacts(f"{row}{col}", box(4 * col, 4 * row)) for row in range(2) for col in range(2)]
        whole = SheetFacts("w", GeoBox(box().transform, box().crs, 8, 8))
        assert sorted_names([whole, *sheets]) == ["00011011", "w"]
        assert sorted_names([*sheets, SheetFacts("c", box())]) == ["00", "011011", "c"]  # which one is it?

    def test_a_long_chain_is_one(self) -> None:
        files = [SheetFacts(f"{k:03}", box(4 * (k % 20), 4 * (k // 20))) for k in range(400)]
        random.Random(2).shuffle(files)
        assert len(find_pictures(files)) == 1

    def test_kinds_do_not_mix(self, tmp_path: Path) -> None:
        save(tmp_path / "a.tif", town()[:, :20, :20])
        save(tmp_path / "b.tif", town()[:, :20, :20], 20)
        save(tmp_path / "c.tif", town()[:2, :20, :20], 40)
        save(tmp_path / "d.tif", town()[:, :20, :20].astype(np.uint16), 0, 20)
        save(tmp_path / "e.tif", town()[:, :20, :20], 20, 20, crs="EPSG:32646")
        done = sort_files([str(path) for path in tmp_path.glob("*.tif")])
        assert [scene.name if isinstance(scene, Sheets) else Path(scene).name for scene in done.scenes] == [
            tmp_path.name, "c.tif", "d.tif", "e.tif",
        ]  # fmt: skip
        told = "\n".join(done.notes)
        for words in (
            "c.tif is no part of the largest mosaic: it has bands 1, 2, not 1, 2, 3",
            "d.tif is no part of the largest mosaic: it has pixels of type uint16, not uint8",
            "e.tif is no part of the largest mosaic: its CRS is EPSG:32646, not EPSG:32645",
        ):
            assert words in told
        with pytest.raises(
            SceneError, match=r"must be of one kind and on one grid, got .*c\.tif: it has bands"
        ):
            open_raster(tmp_path / "*.tif")

    def test_two_mosaics_of_a_folder_have_names_of_their_own(self, tmp_path: Path) -> None:
        for name, col in (("a", 0), ("b", 20), ("c", 100), ("d", 120)):
            save(tmp_path / "m" / f"{name}.tif", town()[:, :20, :20], col)
        done = sort_files(list_scenes(tmp_path / "m").scenes)
        assert [scene.name for scene in done.scenes if isinstance(scene, Sheets)] == ["m-a", "m-c"]
        assert (
            sort_files(list_scenes(tmp_path / "m").scenes, mosaic="off").scenes
            == list_scenes(tmp_path / "m").scenes
        )


class TestWarp:
    """Files off the grid, resampled onto it."""

    def ramp(self, box: GeoBox) -> np.ndarray:
        """A picture that is linear in x and y of one CRS: interpolation gives it back."""
        cols, rows = np.meshgrid(np.arange(box.width) + 0.5, np.arange(box.height) + 0.5)
        x, y = box.transform.a * cols + box.transform.c, box.transform.e * rows + box.transform.f
        return (1000 + 3 * (x - 350_000) + 2 * (y - 3_056_000))[None].astype(np.float32)

    def shifted(self, tmp_path: Path, step: float = 0.13, off: float = 0.5) -> tuple[Mosaic, GeoBox]:
        first = GeoBox(PLACE, CRS.from_epsg(32645), 60, 50)
        x, y = PLACE * (50 - off, 3.25)
        other = GeoBox(
            Affine(step, 0, x, 0, -step, y), first.crs, round(52 * 0.13 / step), round(40 * 0.13 / step)
        )
        below = first.window(Window(row_off=60, col_off=0, height=10, width=50))  # two files on the grid
        for name, own in (("a", first), ("b", other), ("c", below)):
            save(tmp_path / "m" / f"{name}.tif", self.ramp(own), transform=own.transform)
        done = sort_files([str(path) for path in (tmp_path / "m").iterdir()], mosaic="warp")
        (sheets,) = done.scenes
        assert isinstance(sheets, Sheets)
        return sheets.open(), first

    @pytest.mark.parametrize("step", [0.13, 0.15, 0.26, 0.05])
    def test_a_linear_picture_stays_the_same(self, tmp_path: Path, step: float) -> None:
        mosaic, first = self.shifted(tmp_path, step)
        assert mosaic.geobox.transform == first.transform
        window = Window(row_off=0, col_off=0, height=mosaic.height, width=mosaic.width)
        pixels, valid = mosaic.read_with_valid(window)
        assert valid[:60, :50].all()
        assert valid[8:50, 55:85].all()
        # within half a pixel of a file's edge its outermost values are taken: 3 and 2 a meter
        np.testing.assert_allclose(pixels[0][valid], self.ramp(mosaic.geobox)[0][valid], atol=0.6)
        np.testing.assert_allclose(
            pixels[0, 10:50, 55:85], self.ramp(mosaic.geobox)[0, 10:50, 55:85], atol=1e-2
        )

    def test_any_window_is_a_part_of_the_whole(self, tmp_path: Path) -> None:
        mosaic, _ = self.shifted(tmp_path)
        whole, valid = mosaic.read_with_valid(
            Window(row_off=0, col_off=0, height=mosaic.height, width=mosaic.width)
        )
        rng = random.Random(4)
        for _ in range(20):
            window = Window(
                row_off=rng.randrange(60), col_off=rng.randrange(90), height=rng.randrange(40), width=25
            ).clipped(mosaic.height, mosaic.width)
            pixels, usable = mosaic.read_with_valid(window)
            np.testing.assert_array_equal(usable, valid[window.rows, window.cols])
            np.testing.assert_array_equal(pixels, whole[:, window.rows, window.cols])

    def test_another_crs(self, tmp_path: Path) -> None:
        first = GeoBox(Affine(10, 0, 350_000, 0, -10, 3_056_000), CRS.from_epsg(32645), 60, 50)
        lonlat = CRS.from_epsg(4326)
        x, y = Transformer.from_crs(32645, 4326, always_xy=True).transform(350_480, 3_055_980)
        other = GeoBox(Affine(1e-4, 0, x, 0, -1e-4, y), lonlat, 50, 45)
        cols, rows = np.meshgrid(np.arange(45) + 0.5, np.arange(50) + 0.5)
        to_utm = Transformer.from_crs(4326, 32645, always_xy=True)
        xs, ys = to_utm.transform(x + 1e-4 * cols, y - 1e-4 * rows)
        values = (1000 + 3 * (xs - 350_000) + 2 * (ys - 3_056_000))[None].astype(np.float32)
        save(tmp_path / "m" / "a.tif", self.ramp(first), transform=first.transform)
        save(tmp_path / "m" / "b.tif", values, crs=4326, transform=other.transform)
        paths = [str(path) for path in (tmp_path / "m").iterdir()]
        assert len(sort_files(paths).scenes) == 2
        (sheets,) = sort_files(paths, mosaic="warp").scenes
        assert isinstance(sheets, Sheets)
        mosaic = sheets.open()
        assert mosaic.geobox.crs == first.crs
        window = Window(row_off=12, col_off=55, height=30, width=25)
        pixels, valid = mosaic.read_with_valid(window)
        assert valid.all()
        expected = self.ramp(mosaic.geobox)[:, window.rows, window.cols]
        np.testing.assert_allclose(pixels, expected, atol=0.02)  # 0.001 pixel of 10 m, 3 a meter
        assert pickle.loads(pickle.dumps(mosaic)) == mosaic
        assert mosaic.fingerprint() != Sheets("m", (str(tmp_path / "m" / "a.tif"),)).open().fingerprint()

    def test_a_crs_that_can_not_place_a_file(self, tmp_path: Path) -> None:
        save(
            tmp_path / "a.tif",
            np.zeros((3, 60, 60), np.uint8),
            transform=Affine(10, 0, 350_000, 0, -10, 3_056_000),
        )
        save(
            tmp_path / "world.tif",
            np.zeros((3, 9, 18), np.uint8),
            crs=4326,
            transform=Affine(20, 0, -180, 0, -20, 90),
        )
        paths = [str(path) for path in tmp_path.iterdir() if path.suffix == ".tif"]
        with pytest.raises(SceneError, match=r"got one in EPSG:4326 .* for EPSG:32645\. .* --mosaic auto"):
            sort_files(paths, mosaic="warp")
        assert len(sort_files(paths, mosaic="auto").scenes) == 2

    def test_what_a_pixel_draws_on_must_be_valid(self, tmp_path: Path) -> None:
        image = np.full((1, 20, 20), 7, np.uint8)
        image[0, 10, 10] = 0
        save(tmp_path / "a.tif", image, nodata=0)
        scene = open_raster(tmp_path / "a.tif")
        window = Window(row_off=0, col_off=0, height=20, width=20)
        for off, lost in (((0, 0), 1), ((0.5, 0), 2), ((0.5, 0.25), 4)):
            seen = warp(scene, GeoBox(PLACE * Affine.translation(*off), scene.geobox.crs, 20, 20))
            pixels, valid = seen.read_with_valid(window)
            inside = valid[:19, :19]
            assert (~inside).sum() == lost
            assert set(np.unique(pixels[0][valid])) == {7}


class TestDamage:
    def test_a_broken_sheet_is_named_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        sheets = cut(town(), tmp_path / "town", compress="deflate")
        mosaic = open_raster(tmp_path / "town")
        content = sheets[3, 2].read_bytes()
        sheets[3, 2].write_bytes(content[: len(content) // 3])
        with pytest.raises(SceneReadError, match=r"sheet_3_2\.tif"):
            mosaic.read(ALL)
        with pytest.raises(SceneError, match=r"sheet_3_2\.tif"):
            run_scene(mosaic, network, tmp_path / "a", OPTIONS)
        skipping = OPTIONS.model_copy(update={"on_error": "skip"})
        done = run_scene(mosaic, network, tmp_path / "b", skipping)
        lost = np.zeros((ROWS[-1], COLS[-1]), bool)
        for item in done.failures:
            assert "sheet_3_2.tif" in item["reason"]
            rows = slice(item["row_off"], item["row_off"] + item["height"])
            lost[rows, item["col_off"] : item["col_off"] + item["width"]] = True
        assert lost.any()
        lost[place(3, 2).rows, place(3, 2).cols] = False
        assert not lost.any()

    def test_a_sheet_that_vanishes_is_skipped_when_asked(self, tmp_path: Path) -> None:
        sheets = cut(town(), tmp_path / "town")
        mosaic = open_raster(tmp_path / "town")
        mosaic.read(ALL)
        sheets[1, 1].unlink()
        window = Window(row_off=20, col_off=10, height=60, width=100)
        with pytest.raises(SceneReadError, match=r"sheet_1_1\.tif"):
            mosaic.read(window)
        parts = list(mosaic.storage_parts(window))
        covered = np.zeros((60, 100), int)
        lost = np.zeros((60, 100), bool)
        for part, _ in parts:
            inside = part.shifted(-20, -10)
            covered[inside.rows, inside.cols] += 1
            try:
                mosaic.read(part)
            except SceneReadError:
                lost[inside.rows, inside.cols] = True
        assert (covered == 1).all()
        np.testing.assert_array_equal(lost, ~ground((1, 1))[window.rows, window.cols])


class TestIndex:
    def test_headers_are_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sheets = cut(town(), tmp_path / "town")
        first = open_raster(tmp_path / "town")
        first_print = first.fingerprint()
        opened: list[str] = []
        read, hashed = index.opened_header, index.hash_file
        monkeypatch.setattr(index, "opened_header", lambda path: (opened.append(path), read(path))[1])
        monkeypatch.setattr(
            index, "hash_file", lambda d, path, n: (opened.append(str(path)), hashed(d, path, n))[1]
        )
        again = open_raster(tmp_path / "town")
        assert again == first
        assert again.fingerprint() == first_print
        assert opened == []
        image = town()[:, ROWS[3] : ROWS[4], COLS[1] : COLS[2]]
        save(sheets[3, 1], 255 - image, COLS[1], ROWS[3])
        changed = open_raster(tmp_path / "town")
        assert set(opened) == {str(sheets[3, 1])}
        assert changed.fingerprint() != first_print
        assert first.fingerprint() != first_print  # of what the files hold now

    def test_a_mask_that_comes_later_is_seen(self, tmp_path: Path) -> None:
        sheets = cut(town(), tmp_path / "town")
        before = open_raster(tmp_path / "town")
        prints = before.fingerprint()
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(sheets[0, 0], "r+") as out:
            out.write_mask(np.zeros((out.height, out.width), np.uint8))
        assert (tmp_path / "town" / "sheet_0_0.tif.msk").is_file()
        after = open_raster(tmp_path / "town")
        assert after.has_validity
        assert not after.read_valid(Window(row_off=0, col_off=0, height=9, width=9)).any()
        assert before.fingerprint() != prints

    def test_where_files_lie_does_not_count(self, tmp_path: Path) -> None:
        cut(town(), tmp_path / "town")
        before = open_raster(tmp_path / "town").fingerprint()
        (tmp_path / "town").rename(tmp_path / "moved")
        assert open_raster(tmp_path / "moved").fingerprint() == before

    @pytest.mark.parametrize("trouble", ["file", "garbage"])
    def test_an_index_that_can_not_be_used_costs_time_only(
        self, tmp_path: Path, cache: Path, trouble: str
    ) -> None:
        if trouble == "file":
            cache.write_text("no folder")
        else:
            cache.mkdir()
            (cache / "sheets.sqlite").write_text("no database " * 100)
        cut(town(), tmp_path / "town")
        mosaic = open_raster(tmp_path / "town")
        assert isinstance(mosaic, Mosaic)
        assert mosaic.fingerprint() == mosaic.fingerprint()


def test_the_benchmark_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    module = importlib.import_module("mosaic")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    figures = module.measure(9)
    assert figures["reading / VRT"] > 0
    assert figures["open files"] < 100


class TestLists:
    def test_what_a_folder_holds(self, tmp_path: Path) -> None:
        folder = tmp_path / "delivery"
        save(folder / "north" / "a.tif", town()[:, :20, :20])
        save(folder / "b.TIF", town()[:, :20, :20], 20)
        save(folder / "results" / "old.tif", town()[:, :20, :20])
        save(folder / "b.prob.tif", town()[:, :20, :20])
        for name in ("contract.pdf", "b.tfw", "b.TIF.aux.xml", ".hidden.tif"):
            (folder / name).write_text("text")
        (folder / "all.vrt").write_text(
            '<VRTDataset rasterXSize="40" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1">'
            '<SimpleSource><SourceFilename relativeToVRT="1">b.TIF</SourceFilename></SimpleSource>'
            "</VRTRasterBand></VRTDataset>"
        )
        found = list_scenes(folder, without=[folder / "results"])
        assert [Path(scene).name for scene in found.scenes] == ["b.TIF", "a.tif"]
        assert found.name == "delivery"
        assert [note.partition(": ")[2] for note in found.notes] == [
            "contract.pdf",
            "all.vrt, whose sources are there",
        ]

    def test_a_text_list(self, tmp_path: Path) -> None:
        save(tmp_path / "s" / "a.tif", town()[:, :20, :20])
        save(tmp_path / "s" / "b.tif", town()[:, :20, :20], 20)
        text = tmp_path / "sheets.txt"
        text.write_text("\ufeff# sheets\ns/b.tif\n\ns/a.tif\ns/*.tif\n", encoding="utf-8")
        for word in (str(text), f"@{text}"):
            mosaic = open_raster(word)
            assert (mosaic.name, mosaic.geobox.shape) == ("sheets", (20, 40))

    @pytest.mark.parametrize(
        ("word", "error", "message"),
        [
            ("none/*.tif", MissingFileError, "which matches none"),
            ("@none.txt", MissingFileError, "a list of scenes must be a text file, got .*none.txt: No such"),
            ("empty", SceneError, "got .* without any"),
        ],
    )
    def test_nothing_there(
        self, tmp_path: Path, word: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "contract.pdf").write_text("text")
        with pytest.raises(error, match=message):
            open_raster(word)

    def test_a_list_that_names_itself_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a.txt\n")
        with pytest.raises(Exception, match="must not name other lists"):
            open_raster(tmp_path / "a.txt")
