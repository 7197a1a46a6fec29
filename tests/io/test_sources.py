"""The registry of sources, views over them, known sampling distances, and other bodies than the Earth."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasters import NORTH_UP, noise, save
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.data.ground import place_of
from geoseg.errors import InputError, SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io import sources
from geoseg.io.sources import open_raster
from geoseg.raster.source import RasterHints, SceneReadError, Shaped
from geoseg.raster.view import SceneView

BOX = GeoBox(NORTH_UP, None, 60, 80)
MARS, MOON = "IAU_2015:49910", "IAU_2015:30110"


@dataclass(frozen=True)
class Checker(Shaped):
    """A kind of source of its own: a checkerboard that no file holds."""

    path: str
    bands: tuple[int, ...]
    geobox: GeoBox = BOX
    name: str = "checker"
    dtype: str = "uint8"
    nodata: float | None = None
    alpha: int | None = None
    acquired: str | None = None
    has_validity: bool = False
    file_block: tuple[int, int] = (16, 16)
    offset: tuple[int, int] = (0, 0)

    def read(self, window: Window) -> np.ndarray:
        if window.row_off <= 50 < window.row_end:
            raise SceneReadError("row 50 is broken", self.path, window, "no row 50")
        rows, cols = np.ogrid[window.rows, window.cols]
        return np.stack([((rows // 2 + cols // 2) % 2 * 200 + band).astype(np.uint8) for band in self.bands])

    def read_valid(self, window: Window) -> np.ndarray:
        return np.ones((window.height, window.width), bool)

    def read_with_valid(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        return self.read(window), self.read_valid(window)

    def hints(self) -> RasterHints:
        return RasterHints(1.0, ("",) * self.count, ())

    def files(self) -> list[Path]:
        return []

    def facts(self) -> dict[str, Any]:
        return {"kind": "checkerboard"}

    def fingerprint(self) -> str:
        return "checker"

    def locate_damage(self, window: Window) -> SceneReadError | None:
        return None


def open_checker(reference: str, *, bands: Sequence[int] | None, expand_palette: bool) -> Checker | None:
    return Checker(reference, tuple(bands or (1, 2))) if reference.startswith("checker:") else None


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sources, "OPENERS", (open_checker, *sources.OPENERS))
    return "checker:1"


def test_a_new_kind_of_source_is_one_class_and_one_line(checker: str, tmp_path: Path) -> None:
    source = open_raster(checker, bands=[2], bbox=(340_002, 3_059_980, 340_012, 3_059_999))
    assert (source.count, source.geobox.shape, source.offset) == (1, (38, 20), (2, 4))
    window = Window(row_off=0, col_off=0, height=8, width=8)
    np.testing.assert_array_equal(
        source.read(window), Checker(checker, (2,)).read(Window(row_off=2, col_off=4, height=8, width=8))
    )
    assert geoseg.open_scene(checker).shape == (2, 60, 80)
    assert pickle.loads(pickle.dumps(source)) == source
    info = CliRunner().invoke(app, ["info", checker, "--json", "--gsd", "0.25"])
    facts = json.loads(info.stdout)
    assert (facts["kind"], facts["ground_resolution_m"]) == ("checkerboard", [0.25, 0.25])

    def bright(batch: np.ndarray) -> np.ndarray:
        return (batch[:, :1] > 100).astype(np.float32)

    frame = geoseg.segment(
        checker, bright, window=32, overlap=8, connectivity=4, bbox=(340_000, 3_059_976, 340_040, 3_060_000)
    )
    assert len(frame) == 24 * 40 / 2  # blocks of 2 x 2 pixels, every other one
    assert frame.area_px.sum() == 48 * 80 / 2


def test_an_error_below_a_view_is_told_in_its_pixels(checker: str) -> None:
    source = open_raster(checker, bbox=(340_000, 3_059_970, 340_040, 3_059_980))
    with pytest.raises(SceneReadError, match=r"rows 5\.\.11, .* \(in the file: rows 45\.\.51") as caught:
        source.read(Window(row_off=5, col_off=0, height=7, width=3))
    assert caught.value.reason == "no row 50"
    coarse = open_raster(checker, gsd=0.5, resolution=1.0)
    assert isinstance(coarse, SceneView)
    assert coarse.geobox.shape == (30, 40)
    with pytest.raises(SceneReadError, match=r"in the file: rows 50\.\.51"):
        coarse.read(Window(row_off=25, col_off=0, height=1, width=3))


# ------------------------------------------------------------------ sampling distance


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.zeros((1, 40, 60), np.uint8)
    pixels[0, 8:20, 10:30] = 255
    return save(tmp_path / "photo.png", pixels, driver="PNG", crs=None, transform=None)


def test_known_distance_is_followed_by_the_resolution(photo: Path) -> None:
    source = open_raster(photo, gsd=0.25, resolution=0.5)
    assert source.geobox.shape == (20, 30)
    assert source.geobox.ground_resolution() == (0.5, 0.5)
    assert source.geobox.bounds() == (0, 0, 60, 40)
    assert source.read(Window(row_off=4, col_off=5, height=6, width=10)).min() == 255
    part = open_raster(photo, gsd=0.25, bbox=(10, 8, 30, 20))
    assert part.geobox.ground_resolution() == (0.25, 0.25)
    assert (
        open_raster(photo, gsd=0.25).fingerprint()
        != open_raster(photo, gsd=0.25, resolution=0.5).fingerprint()
    )


def test_known_distance_in_arrays(photo: Path) -> None:
    array = geoseg.open_scene(photo, gsd=0.25, resolution=0.5)
    for thinned, step in ((array, 0.5), (array[:, ::2, ::2], 1.0)):
        frame = geoseg.segment(thinned, lambda batch: batch / 255, window=16, overlap=4)
        assert frame.area_m2.tolist() == [15.0], step  # 20 x 12 pixels of 0.25 m
    plain = np.asarray(geoseg.open_scene(photo))
    assert "area_px" in geoseg.segment(plain, lambda batch: batch / 255, window=16, overlap=4)


@pytest.mark.parametrize(("least", "count"), [(14.9, 1), (15.1, 0)])
def test_vectorize_measures_in_meters(photo: Path, least: float, count: int, tmp_path: Path) -> None:
    out = tmp_path / "out.geojson"
    command = ["vectorize", str(photo), "-o", str(out), "--gsd", "0.25", "--min-area-m2", str(least)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    features = json.loads(out.read_text())["features"]
    assert [feature["properties"]["area_m2"] for feature in features] == [15.0] * count


def test_run_reads_at_the_distance_of_the_network(photo: Path, tmp_path: Path) -> None:
    summary = geoseg.run(photo, lambda batch: batch / 255, out=tmp_path / "out", gsd=0.25, resolution=0.5)
    assert (summary.gsd, summary.mpx) == (0.5, 0.001)
    frame = gpd.read_file(summary.files["geojson"])
    assert frame.total_bounds.tolist() == [10, 8, 30, 20]
    assert frame.area_m2.tolist() == [15.0]
    assert not any("areas in pixels" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("gsd", "crs", "message"),
    [
        (0, None, "gsd must be meters per pixel above 0, got 0"),
        (float("nan"), None, "gsd must be meters per pixel above 0"),
        (
            0.3,
            32645,
            r"gsd must be given for scenes without a CRS only, got 0.3 m .* states 0.5 m in EPSG",
        ),
    ],
)
def test_distance_that_is_refused(gsd: float, crs: int | None, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(1, 8, 8), crs=crs)
    with pytest.raises(SceneError, match=message):
        open_raster(path, gsd=gsd)


@pytest.mark.parametrize("stated", [0, float("inf"), (1, -1)])
def test_distance_of_an_array_that_is_refused(stated: Any, photo: Path) -> None:
    array = geoseg.open_scene(photo).assign_attrs(gsd=stated)
    with pytest.raises(InputError, match=r'attrs\["gsd"\] must be meters per unit of x and y above 0'):
        geoseg.segment(array, lambda batch: batch / 255, window=16, overlap=4)


@pytest.mark.parametrize(("meters", "fits"), [(2.5, True), (2.6, False), (1e9, False)])
def test_a_resolution_that_leaves_no_scene_is_refused(meters: float, fits: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(1, 20, 30))  # 10 x 15 m
    if fits:
        assert open_raster(path, resolution=meters).geobox.shape == (4, 6)
        return
    with pytest.raises(
        SceneError, match=r"resolution must leave at least 4 pixels a side, .* covers 15 x 10 m"
    ):
        open_raster(path, resolution=meters)


# ------------------------------------------------------------------ other bodies


@pytest.mark.parametrize("crs", [MARS, MOON])
def test_areas_on_another_body(crs: str, tmp_path: Path) -> None:
    pixels = np.zeros((1, 100, 120), "uint8")
    pixels[0, 20:40, 30:60] = 1
    transform = Affine(2, 0, 100_000, 0, -2, 2_000_000)
    path = save(tmp_path / "a.tif", pixels, crs=crs, transform=transform)
    source = open_raster(path)
    center = source.geobox.center_lonlat()
    assert center is not None
    radius = 3_396_190 if crs == MARS else 1_737_400
    assert center[1] == pytest.approx(np.degrees((2_000_000 - 100) / radius), abs=1e-9)
    shrink = np.cos(np.radians(center[1]))  # an equirectangular map stretches along the parallels
    assert source.geobox.ground_resolution() == pytest.approx((2 * shrink, 2), rel=1e-4)
    for suffix in ("gpkg", "fgb", "shp", "parquet"):
        out = tmp_path / f"a.{suffix}"
        geoseg.vectorize(path, out)
        frame = gpd.read_parquet(out) if suffix == "parquet" else gpd.read_file(out)
        assert frame.crs.ellipsoid.semi_major_metre == radius
        assert frame.total_bounds.tolist() == [100_060, 1_999_920, 100_120, 1_999_960]
        assert frame.area_m2[0] == pytest.approx(60 * 40 * shrink, rel=1e-4)


def test_geojson_of_another_body_is_refused_before_the_network_runs(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(1, 40, 40), crs=MARS)

    calls: list[int] = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return batch / 255

    with pytest.raises(InputError, match=r"format must be one of gpkg, .*, got geojson, which holds"):
        geoseg.run(path, network, out=tmp_path / "out", window=16, overlap=4)
    assert calls == [1]  # which tells how many outputs it has
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="got geojson"):
        geoseg.vectorize(path, tmp_path / "a.geojson")
    info = CliRunner().invoke(app, ["info", str(path)])
    assert info.exit_code == 0
    assert "Mars" in info.stdout


def test_a_place_that_is_nowhere_on_another_body_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(1, 8, 8), crs="IAU_2015:49900", transform=NORTH_UP)
    with pytest.raises(SceneError, match="scene must lie on its celestial body"):
        open_raster(path)


def test_places_of_training_are_on_the_earth() -> None:
    @dataclass(frozen=True)
    class Placed:
        pixels: Any

    for crs, placed in ((32645, True), (MARS, False), (None, False)):
        box = GeoBox(NORTH_UP, None if crs is None else CRS.from_user_input(crs), 4, 4)
        area = Placed(Checker("checker:1", (1,), box))
        assert (place_of(area) is not None) == placed  # type: ignore[arg-type]


def test_formats_whose_headers_name_other_files_are_not_opened(tmp_path: Path) -> None:
    """GDAL would open what an ERS or PCIDSK header names by any driver, on any host."""
    pixels = np.ones((1, 4, 4), np.uint8)
    box = {"width": 4, "height": 4, "count": 1, "dtype": "uint8", "transform": Affine(1, 0, 0, 0, -1, 4)}
    for driver, name in (("ERS", "a.ers"), ("PCIDSK", "a.pix")):
        with rasterio.open(tmp_path / name, "w", driver=driver, **box) as out:
            out.write(pixels)
        with pytest.raises(SceneError):
            open_raster(tmp_path / name)
        vrt = tmp_path / f"{name}.vrt"
        vrt.write_text(
            '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1">'
            "<SimpleSource>"
            f'<SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
        with pytest.raises(SceneError):
            open_raster(vrt)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gdalg.json", '{"type": "gdal_streamed_alg", "command_line": "gdal raster pipeline ! read x"}'),
        ("a.tif", '{"command_line": "gdal raster pipeline ! read x", "type": "gdal_streamed_alg"}'),
        ("a.json", ' {"stac_version": "1.0.0", "type": "Feature"}'),
        ("a.map", "OziExplorer Map Data File Version 2.2"),
        ("a.gti.fgb", "fgb"),
        ("a.bin", "padding <GDAL_WMS><Service/></GDAL_WMS>"),
    ],
)
def test_a_vrt_names_no_file_that_names_others(tmp_path: Path, name: str, content: str) -> None:
    """GDAL 3.11 and later would run the command of a GDALG file; others lead to files on any host."""
    (tmp_path / name).write_text(content)
    vrt = tmp_path / "a.vrt"
    for source in (name, content):
        vrt.write_text(
            '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1">'
            f'<SimpleSource><SourceFilename relativeToVRT="1">{escape(source)}</SourceFilename>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
        if source == name or source.startswith("{"):
            with pytest.raises(SceneError, match="sources of a VRT must be local files"):
                open_raster(vrt)
    # As a scene or, with the suffix of a tile index, as a vector file.
    with pytest.raises(InputError):
        open_raster(tmp_path / name)


def test_overviews_that_lie_elsewhere_are_not_looked_for(tmp_path: Path) -> None:
    box = {"width": 4, "height": 4, "count": 1, "dtype": "uint8", "transform": Affine(1, 0, 0, 0, -1, 4)}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **box) as out:
        out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "elsewhere.ovr"))
    assert open_raster(tmp_path / "a.tif").facts()["overviews"] == []


def test_damaged_georeferencing_is_no_scene_without_any(tmp_path: Path) -> None:
    """GDAL warns and gives pixel coordinates: footprints lay at the wrong place, with exit status 0."""
    path = save(tmp_path / "a.tif", noise(1, 8, 8))
    content = path.read_bytes()
    name = content.index(b"WGS 84")
    path.write_bytes(content[:name] + bytes(len(content) - name))
    with pytest.raises(SceneError, match=r"georeferencing of a scene must be readable, got .*a\.tif"):
        open_raster(path)
    path.write_bytes(content)
    assert open_raster(path).crs is not None
