"""Scenes of every kind, read whole and in pieces."""

from __future__ import annotations

import logging
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasters import NORTH_UP, noise, save
from scipy.io import netcdf_file

from geoseg.errors import InputError, MissingFileError, SceneError
from geoseg.geo.windows import Window, iter_chunks
from geoseg.io.gdal_env import CACHE_BYTES
from geoseg.io.handles import cache_for_rows, thread_dataset
from geoseg.io.sources import open_raster
from geoseg.raster.source import RasterSource, SceneReadError

RGB = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]


def vrt(*sources: str, relative: int = 1, kinds: tuple[str, ...] = ("Byte", "Int16")) -> str:
    """A VRT of 4 x 4 pixels, one band a source."""
    bands = "".join(
        f"<VRTRasterBand dataType='{kind}' band='{band}'><SimpleSource>"
        f"<SourceFilename relativeToVRT='{relative}'>{source}</SourceFilename>"
        "</SimpleSource></VRTRasterBand>"
        for band, (source, kind) in enumerate(zip(sources, kinds), 1)
    )
    return f"<VRTDataset rasterXSize='4' rasterYSize='4'>{bands}</VRTDataset>"


def read_all(path: Path) -> np.ndarray:
    scene = open_raster(path)
    return scene.read(everything(scene))


def everything(scene: RasterSource) -> Window:
    return Window(row_off=0, col_off=0, height=scene.height, width=scene.width)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
)
def test_pixel_types_come_as_they_are(dtype: str, tmp_path: Path) -> None:
    pixels = noise(2, 20, 30, dtype)
    scene = open_raster(save(tmp_path / "a.tif", pixels))
    assert (scene.dtype, scene.count, scene.shape) == (dtype, 2, (2, 20, 30))
    np.testing.assert_array_equal(scene.read(everything(scene)), pixels)
    window = Window(row_off=3, col_off=5, height=7, width=11)
    np.testing.assert_array_equal(scene.read(window), pixels[:, 3:10, 5:16])
    assert scene.read_valid(window).all()
    assert scene.has_validity == (np.dtype(dtype).kind == "f")
    assert scene.geobox.transform == NORTH_UP
    assert scene.crs is not None
    assert scene.crs.to_epsg() == 32645


def test_complex_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.ones((1, 4, 4), "complex64"))
    with pytest.raises(SceneError, match=r"pixel type must be one of .* got complex64"):
        open_raster(path)


def test_bands_in_the_order_asked_for(tmp_path: Path) -> None:
    pixels = noise(4, 8, 8, "uint16")
    path = save(tmp_path / "a.tif", pixels, colorinterp=[ColorInterp.undefined] * 4)
    scene = open_raster(path, bands=[4, 1])
    assert scene.bands == (4, 1)
    np.testing.assert_array_equal(scene.read(everything(scene)), pixels[[3, 0]])
    assert open_raster(path).bands == (1, 2, 3, 4)
    with pytest.raises(SceneError, match=r"bands must be some of 1\.\.4, got 5"):
        open_raster(path, bands=[5])


def test_alpha_is_validity_and_no_band(tmp_path: Path) -> None:
    pixels = noise(4, 16, 16)
    pixels[3] = np.where(np.arange(16) < 4, 0, 200)
    path = save(tmp_path / "a.tif", pixels, colorinterp=[*RGB, ColorInterp.alpha])
    scene = open_raster(path)
    assert scene.bands == (1, 2, 3)
    assert scene.has_validity
    values, valid = scene.read_with_valid(everything(scene))
    np.testing.assert_array_equal(values, pixels[:3])
    np.testing.assert_array_equal(valid, pixels[3] > 0)
    np.testing.assert_array_equal(scene.read_valid(everything(scene)), valid)


@pytest.mark.parametrize("internal", [True, False])
def test_mask_beats_nodata(internal: bool, tmp_path: Path) -> None:
    pixels = noise(3, 16, 16)
    pixels[:, :2] = 0
    mask = np.full((16, 16), 255, "uint8")
    mask[:, 10:] = 0
    path = save(tmp_path / "a.tif", pixels, mask=mask, internal_mask=internal, nodata=None)
    assert (tmp_path / "a.tif.msk").exists() != internal
    scene = open_raster(path)
    assert scene.rule.mask == (1,)
    np.testing.assert_array_equal(scene.read_valid(everything(scene)), mask > 0)


def test_nodata_means_all_selected_bands(tmp_path: Path) -> None:
    pixels = np.full((3, 4, 4), 9, "uint8")
    pixels[:, 0] = 0  # nothing
    pixels[0, 1] = 0  # a color without red
    path = save(tmp_path / "a.tif", pixels, nodata=0)
    scene = open_raster(path)
    valid = scene.read_valid(everything(scene))
    assert valid.all(axis=1).tolist() == [False, True, True, True]
    red = open_raster(path, bands=[1])
    assert red.read_valid(everything(red)).all(axis=1).tolist() == [False, False, True, True]


def test_black_is_a_color(tmp_path: Path) -> None:
    scene = open_raster(save(tmp_path / "a.tif", np.zeros((3, 4, 4), "uint8")))
    assert not scene.has_validity
    assert scene.read_valid(everything(scene)).all()


def test_floats_with_nan_and_nodata(tmp_path: Path) -> None:
    pixels = noise(2, 4, 4, "float32")
    pixels[0, 0] = np.nan
    pixels[1, 1] = -9999
    pixels[1, 2] = np.inf
    scene = open_raster(save(tmp_path / "a.tif", pixels, nodata=-9999))
    assert scene.read_valid(everything(scene)).all(axis=1).tolist() == [False, False, False, True]
    assert scene.nodata == -9999


def test_palette_becomes_colors(tmp_path: Path) -> None:
    index = np.array([[[0, 1], [2, 1]]], "uint8")
    colors = {0: (10, 20, 30, 255), 1: (200, 100, 50, 255), 2: (1, 2, 3, 0)}
    path = save(tmp_path / "a.png", index, colormap=colors, driver="PNG", crs=None, transform=None)
    scene = open_raster(path)
    assert (scene.count, scene.dtype) == (3, "uint8")
    values, valid = scene.read_with_valid(everything(scene))
    assert values[:, 0, 0].tolist() == [10, 20, 30]
    assert values[:, 1, 1].tolist() == [200, 100, 50]
    assert valid.tolist() == [[True, True], [False, True]]
    blue = open_raster(path, bands=[3])
    assert blue.read(everything(blue)).tolist() == [[[30, 50], [3, 50]]]
    classes = open_raster(path, expand_palette=False)
    np.testing.assert_array_equal(classes.read(everything(classes)), index)


def test_palette_in_tiff_is_opaque(tmp_path: Path) -> None:
    index = np.arange(16, dtype="uint8").reshape(1, 4, 4)
    path = save(tmp_path / "a.tif", index, colormap={i: (i, 2 * i, 3 * i, 255) for i in range(256 // 3)})
    scene = open_raster(path)
    assert not scene.has_validity
    np.testing.assert_array_equal(
        scene.read(everything(scene)), np.concatenate([index, 2 * index, 3 * index])
    )


def test_one_bit(tmp_path: Path) -> None:
    pixels = noise(1, 9, 17) & 1
    path = save(tmp_path / "a.tif", pixels, nbits=1)
    scene = open_raster(path)  # GDAL gives it a palette of black and white
    assert scene.dtype == "uint8"
    np.testing.assert_array_equal(scene.read(everything(scene)), np.repeat(255 * pixels, 3, axis=0))
    mask = open_raster(path, expand_palette=False)
    np.testing.assert_array_equal(mask.read(everything(mask)), pixels)


def test_bands_of_mixed_types_in_a_vrt(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", noise(1, 4, 4, "uint8"))
    save(tmp_path / "b.tif", noise(1, 4, 4, "int16", seed=1))
    path = tmp_path / "both.vrt"
    path.write_text(vrt("a.tif", "b.tif"))
    scene = open_raster(path)
    assert scene.dtype == "int16"
    np.testing.assert_array_equal(scene.read(everything(scene))[0], noise(1, 4, 4, "uint8")[0])
    np.testing.assert_array_equal(scene.read(everything(scene))[1], noise(1, 4, 4, "int16", seed=1)[0])


@pytest.mark.parametrize(("driver", "name"), [("PNG", "a.png"), ("JPEG", "a.jpg")])
def test_pictures_are_scenes_in_pixel_coordinates(driver: str, name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, np.full((3, 30, 40), 90, "uint8"), driver=driver, crs=None, transform=None)
    scene = open_raster(path)
    assert scene.crs is None
    assert scene.geobox.transform == Affine.identity()
    assert scene.geobox.bounds() == (0, 0, 40, 30)
    assert abs(scene.read(everything(scene)).astype(int) - 90).max() <= 2
    part = open_raster(path, bbox=(10.2, 5, 20, 7.5))
    assert part.offset == (5, 10)
    assert part.geobox.bounds() == (10, 5, 20, 8)


def test_world_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(3, 30, 40), driver="PNG", crs=None, transform=None)
    (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n1000.25\n1999.75\n")
    scene = open_raster(path)
    assert scene.geobox.transform == Affine(0.5, 0, 1000, 0, -0.5, 2000)
    assert scene.crs is None


@pytest.mark.parametrize(
    "transform",
    [
        Affine(0.5, 0, 340_000, 0, 0.5, 3_060_000),  # south-up
        Affine.translation(340_000, 3_060_000) * Affine.rotation(30) * Affine.scale(0.5, -0.5),
    ],
)
def test_south_up_and_rotated_keep_their_affine(transform: Affine, tmp_path: Path) -> None:
    pixels = noise(1, 40, 60)
    path = save(tmp_path / "a.tif", pixels, transform=transform)
    scene = open_raster(path)
    assert scene.geobox.transform.almost_equals(transform)
    np.testing.assert_array_equal(scene.read(everything(scene)), pixels)
    x, y = transform * (30.5, 20.5)
    part = open_raster(path, bbox=(x - 0.1, y - 0.1, x + 0.1, y + 0.1))
    assert part.read(everything(part)).tolist() == [[[pixels[0, 20, 30]]]]
    assert part.geobox.transform * (0.5, 0.5) == pytest.approx((x, y))


def with_points(path: Path, bend: float) -> Path:
    corners = [(0, 0), (0, 100), (100, 0), (100, 100), (50, 50)]
    gcps = [
        GroundControlPoint(row=r, col=c, x=340_000 + c / 2, y=3_060_000 - r / 2 + (bend if r == 50 else 0))
        for r, c in corners
    ]
    return save(path, noise(1, 100, 100), transform=None, crs=32645, gcps=gcps)


def test_control_points(tmp_path: Path) -> None:
    scene = open_raster(with_points(tmp_path / "a.tif", 0.1))
    assert scene.geobox.transform.almost_equals(NORTH_UP, precision=0.1)
    assert scene.crs is not None
    assert scene.crs.to_epsg() == 32645
    with pytest.raises(SceneError, match="gdalwarp"):
        open_raster(with_points(tmp_path / "b.tif", 20))


def test_rpc_only_comes_in_pixels_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = " ".join(["1"] + ["0"] * 19)
    rpcs = {f"{name}_COEFF": one for name in ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN")}
    for name in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT"):
        rpcs |= {f"{name}_OFF": "10", f"{name}_SCALE": "5"}
    path = tmp_path / "a.tif"
    save(path, noise(1, 8, 8), crs=None, transform=None, rpcs=rasterio.rpc.RPC.from_gdal(rpcs))
    with caplog.at_level(logging.WARNING):
        scene = open_raster(path)
    assert scene.crs is None
    assert "gdalwarp -rpc" in caplog.text


def test_netcdf_without_names_of_its_coordinates_comes_in_pixels_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def write(name: str, standard_names: bool) -> str:
        with netcdf_file(tmp_path / name, "w") as file:
            for axis, first, step in (("x", 350_000.25, 0.5), ("y", 3_056_000.25, 0.5)):
                file.createDimension(axis, 16)
                values = file.createVariable(axis, "d", (axis,))
                values[:] = first + step * np.arange(16)
                if standard_names:
                    values.standard_name, values.units = f"projection_{axis}_coordinate", "m"
            pixels = file.createVariable("band", "b", ("y", "x"))
            pixels[:] = np.arange(256).reshape(16, 16) % 100
            if standard_names:
                pixels.grid_mapping = "crs"
                file.createVariable("crs", "i", ()).crs_wkt = rasterio.CRS.from_epsg(32645).to_wkt()
        return f'NETCDF:"{tmp_path / name}":band'

    scene = open_raster(write("bare.nc", standard_names=False))
    assert (scene.geobox.transform.is_identity, scene.geobox.crs) == (True, None)
    assert "bare.nc" in caplog.text
    assert "standard_name projection_x_coordinate" in caplog.text
    # What it advises.
    scene = open_raster(write("named.nc", standard_names=True))
    assert scene.geobox.crs == CRS.from_epsg(32645)
    assert scene.geobox.bounds() == (350_000, 3_056_000, 350_008, 3_056_008)


def test_acquired_from_tags(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(1, 4, 4), tags={"TIFFTAG_DATETIME": "2021:03:04 05:06:07"})
    assert open_raster(path).acquired == "2021-03-04"


class TestResolution:
    """Reading at another resolution."""

    @pytest.mark.parametrize("meters", [0.2, 0.5, 0.77, 1.3, 4.0])
    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_pieces_equal_the_whole_bit_for_bit(self, meters: float, dtype: str, tmp_path: Path) -> None:
        pixels = noise(2, 61, 83, dtype)
        pixels[:, 10:20, 30:33] = 0
        scene = open_raster(save(tmp_path / "a.tif", pixels, nodata=0), resolution=meters)
        values, valid = scene.read_with_valid(everything(scene))
        assert scene.geobox.ground_resolution() == pytest.approx((meters, meters), rel=0.06)
        for chunk in ((7, 13), (1, 1000), (32, 9)):
            for window in iter_chunks(scene.height, scene.width, chunk):
                np.testing.assert_array_equal(scene.read(window), values[:, window.rows, window.cols])
                np.testing.assert_array_equal(scene.read_valid(window), valid[window.rows, window.cols])

    def test_bbox_does_not_move_the_pixels(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", noise(1, 61, 83))
        full = open_raster(path, resolution=1.3)
        values = full.read(everything(full))
        x, y = full.geobox.transform * (5, 4)
        part = open_raster(path, resolution=1.3, bbox=(x, y - 9, x + 10, y))
        assert part.offset == (4, 5)
        found = part.read(everything(part))
        np.testing.assert_array_equal(found, values[:, 4 : 4 + part.height, 5 : 5 + part.width])
        assert part.geobox.transform.almost_equals(full.geobox.window(
            Window(row_off=4, col_off=5, height=1, width=1)).transform)  # fmt: skip

    def test_same_ground(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", noise(1, 61, 83))
        native, other = open_raster(path), open_raster(path, resolution=1.3)
        assert other.geobox.bounds() == pytest.approx(native.geobox.bounds())
        assert open_raster(path, resolution="native") == native
        for close in (0.5, 0.496, 0.504):  # resampling would blur it for nothing
            assert open_raster(path, resolution=close) == native
            assert open_raster(path, resolution=close).fingerprint() == native.fingerprint()
        assert open_raster(path, resolution=0.49).resampled

    def test_large_reductions_are_read_in_pieces(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = save(tmp_path / "a.tif", noise(2, 300, 400))
        scene = open_raster(path, resolution=9.7)
        values = scene.read(everything(scene))
        monkeypatch.setattr("geoseg.raster.view._PIECE_PX", 500)
        np.testing.assert_array_equal(scene.read(everything(scene)), values)

    def test_web_mercator_counts_with_its_true_scale(self, tmp_path: Path) -> None:
        transform = Affine(0.15, 0, 9.5e6, 0, -0.15, 3.2e6)  # 27.6 degrees north: 0.133 m
        path = save(tmp_path / "a.tif", noise(1, 200, 200), crs=3857, transform=transform)
        scene = open_raster(path, resolution=0.266)
        assert scene.geobox.shape == pytest.approx((100, 100), abs=1)

    def test_degrees(self, tmp_path: Path) -> None:
        transform = Affine(1e-5, 0, 85, 0, -1e-5, 60)
        scene = open_raster(
            save(tmp_path / "a.tif", noise(1, 200, 200), crs=4326, transform=transform), resolution=2
        )
        assert scene.geobox.ground_resolution() == pytest.approx((2, 2), rel=0.01)
        assert scene.height == pytest.approx(2 * scene.width, abs=2)

    def test_invalid_pixels_hold_nodata(self, tmp_path: Path) -> None:
        pixels = np.full((1, 8, 8), 100, "int16")
        pixels[0, :3] = -9999
        scene = open_raster(save(tmp_path / "a.tif", pixels, nodata=-9999), resolution=1.0)
        values, valid = scene.read_with_valid(everything(scene))
        assert values[0, :, 0].tolist() == [-9999, -9999, 100, 100]
        assert valid[:, 0].tolist() == [False, False, True, True]

    @pytest.mark.parametrize("meters", [0, -1, float("nan"), "fine", 1e-6])
    def test_impossible(self, meters: float | str, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", noise(1, 8, 8))
        with pytest.raises(SceneError, match="resolution must be"):
            open_raster(path, resolution=meters)

    def test_without_crs_stays_native_and_says_so(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = save(tmp_path / "a.png", noise(3, 8, 8), driver="PNG", crs=None, transform=None)
        with caplog.at_level(logging.WARNING):
            assert open_raster(path, resolution=0.3).geobox.shape == (8, 8)
        assert "no CRS" in caplog.text


@pytest.mark.parametrize(
    ("bbox", "offset", "shape"),
    [
        ((340_001, 3_059_995, 340_004, 3_059_999), (2, 2), (8, 6)),
        ((340_001.1, 3_059_995.1, 340_003.9, 3_059_998.9), (2, 2), (8, 6)),
        ((0, 0, 1e7, 1e7), (0, 0), (20, 30)),
        ((340_014.9, 3_059_000, 350_000, 3_059_990.2), (19, 29), (1, 1)),
    ],
)
def test_bbox_is_widened_to_pixels_and_clipped(
    bbox: tuple[float, ...], offset: tuple[int, int], shape: tuple[int, int], tmp_path: Path
) -> None:
    pixels = noise(1, 20, 30)
    scene = open_raster(save(tmp_path / "a.tif", pixels), bbox=bbox)
    assert (scene.offset, scene.geobox.shape) == (offset, shape)
    rows, cols = (slice(o, o + n) for o, n in zip(offset, shape))
    np.testing.assert_array_equal(scene.read(everything(scene)), pixels[:, rows, cols])


@pytest.mark.parametrize("bbox", [(0, 0, 1, 1), (1, 1, 0, 0), (0, 0, 1), (0, 0, float("nan"), 1)])
def test_bbox_that_is_refused(bbox: tuple[float, ...], tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(1, 20, 30))
    with pytest.raises(SceneError, match="bbox must") as caught:
        open_raster(path, bbox=bbox)
    if bbox == (0, 0, 1, 1):
        assert "340000.0, 3059990.0, 340015.0, 3060000.0" in str(caught.value)


@pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, 0, 21, 1), (0, 29, 1, 2)])
def test_windows_must_lie_inside(window: tuple[int, ...], tmp_path: Path) -> None:
    scene = open_raster(save(tmp_path / "a.tif", noise(1, 20, 30)))
    row, col, height, width = window
    for read in (scene.read, scene.read_valid, scene.read_with_valid):
        with pytest.raises(InputError, match="window must lie inside the scene of 20 x 30 pixels"):
            read(Window(row_off=row, col_off=col, height=height, width=width))


def test_empty_window(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise(2, 20, 30))
    for scene in (open_raster(path), open_raster(path, resolution=2)):
        window = Window(row_off=3, col_off=3, height=0, width=4)
        assert scene.read(window).shape == (2, 0, 4)
        assert scene.read_valid(window).shape == (0, 4)


class TestBadFiles:
    """Each with one clear line."""

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"existing file, got .*none\.tif"):
            open_raster(tmp_path / "none.tif")
        with pytest.raises(MissingFileError):
            open_raster("")

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SceneError, match=r"scenes must be raster files .* without any"):
            open_raster(tmp_path)

    @pytest.mark.parametrize(
        "content", [b"", b"hello", b"II*\0garbage", b"<VRTDataset/>", b"<GDAL_WMS></GDAL_WMS>"]
    )
    @pytest.mark.parametrize("suffix", [".tif", ".dat"])
    def test_not_a_raster(self, content: bytes, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(SceneError, match="scene must be a raster file") as caught:
            open_raster(path)
        assert "\n" not in str(caught.value)

    def test_vrt_only_by_that_name(self, tmp_path: Path) -> None:
        save(tmp_path / "a.tif", noise(1, 4, 4))
        text = vrt("a.tif")
        (tmp_path / "b.vrt").write_text(text)
        (tmp_path / "c.png").write_text(text)
        scene = open_raster(tmp_path / "b.vrt")
        np.testing.assert_array_equal(scene.read(everything(scene)), noise(1, 4, 4))
        with pytest.raises(SceneError, match="none of the raster formats"):
            open_raster(tmp_path / "c.png")

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("/vsicurl/http://host.invalid/a.tif", "local files"),
            ("http://host.invalid/a.tif", "local files"),
            ("/vsis3/bucket/a.tif", "local files"),
            ("/vsizip//vsicurl/http://host.invalid/a.zip/a.tif", "local files"),
            ("&lt;GDAL_WMS&gt;&lt;/GDAL_WMS&gt;", "local files"),
            ("<![CDATA[<GDAL_WMS></GDAL_WMS>]]>", "local files"),
            ("inner.vrt", "local files"),
            ("web.tif", "local files"),
            ("PLMosaic:mosaic=a", "local files"),
            ("gone.tif</SourceFilename><A b='http://host.invalid'/><SourceFilename>", "local files"),
            ("gone.tif & more", "not well-formed"),
            ("&#47;vsicurl/http:&#47;/host.invalid/a.tif", "local files"),
        ],
    )
    def test_vrt_that_points_to_the_network(self, source: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "inner.vrt").write_text(vrt("/vsicurl/http://host.invalid/a.tif"))
        (tmp_path / "web.tif").write_text("<GDAL_WMS></GDAL_WMS>")
        (tmp_path / "a.vrt").write_text(vrt(source))
        with pytest.raises(SceneError, match=message):
            open_raster(tmp_path / "a.vrt")

    def test_vrt_with_code(self, tmp_path: Path) -> None:
        code = "<PixelFunctionLanguage>Python</PixelFunctionLanguage></VRTRasterBand>"
        (tmp_path / "a.vrt").write_text(vrt("a.tif").replace("</VRTRasterBand>", code))
        with pytest.raises(SceneError, match="Python"):
            open_raster(tmp_path / "a.vrt")

    def test_vrt_with_a_missing_source_fails_when_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.vrt").write_text(vrt("gone.tif"))
        with pytest.raises(SceneError, match=r"gone\.tif"):
            read_all(tmp_path / "a.vrt")

    @pytest.mark.parametrize("resolution", [None, 1.1])
    def test_truncated_geotiff_names_the_region(self, resolution: float | None, tmp_path: Path) -> None:
        pixels = noise(3, 512, 512)
        path = save(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 6 // 10])
        scene = open_raster(path, resolution=resolution)
        top = Window(row_off=0, col_off=0, height=64, width=64)
        scene.read(top)
        bottom = Window(row_off=scene.height - 30, col_off=5, height=20, width=20)
        with pytest.raises(SceneReadError) as caught:
            scene.read(bottom)
        message = str(caught.value)
        assert str(bottom) in message
        assert "a.tif" in message
        assert "\n" not in message
        assert (caught.value.window, caught.value.path) == (bottom, str(path))
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.window, again.path) == (message, bottom, str(path))
        scene.read(top)

    def test_truncated_png_is_no_black_picture(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", noise(3, 200, 200), driver="PNG", crs=None, transform=None)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(SceneError, match="cut short"):
            open_raster(path)

    def test_truncated_jpeg_is_no_gray_picture(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", noise(3, 200, 200), driver="JPEG", crs=None, transform=None)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(SceneError):
            read_all(path)


def test_scene_is_a_value(tmp_path: Path) -> None:
    scene = open_raster(save(tmp_path / "a.tif", noise(1, 20, 30)), resolution=0.7)
    copy = pickle.loads(pickle.dumps(scene))
    assert copy == scene
    assert hash(copy) == hash(scene)
    np.testing.assert_array_equal(copy.read(everything(scene)), scene.read(everything(scene)))
    with pytest.raises(AttributeError):
        scene.name = "other"  # type: ignore[misc]


def test_threads_have_their_own_handles(tmp_path: Path) -> None:
    pixels = noise(3, 300, 300)
    path = save(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64, compress="lzw")
    scene = open_raster(path)
    windows = list(iter_chunks(300, 300, 50))
    with ThreadPoolExecutor(4) as pool:
        for window, values in zip(windows, pool.map(scene.read, windows)):
            np.testing.assert_array_equal(values, pixels[:, window.rows, window.cols])
    handles: list[object] = []
    thread = threading.Thread(target=lambda: handles.append(thread_dataset(scene.path)))
    thread.start()
    thread.join()
    assert thread_dataset(scene.path) is not handles[0]
    assert thread_dataset(scene.path) is thread_dataset(scene.path)


def test_few_files_stay_open(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.tif", noise(1, 4, 4, seed=i)) for i in range(7)]
    handles = [thread_dataset(str(path)) for path in paths]
    assert [handle.closed for handle in handles] == [True] * 3 + [False] * 4


def test_no_handle_is_left_to_the_end_of_the_interpreter(tmp_path: Path) -> None:
    """rasterio closes a handle that is left over when its own modules are gone, and complains on stderr."""
    path = save(tmp_path / "a.tif", noise(1, 20, 20))
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(dataset.closed))\n"  # what is registered last is called first
        "from geoseg.io import handles\n"
        "dataset = handles.thread_dataset(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_file_written_anew_is_opened_anew(tmp_path: Path) -> None:
    scene = open_raster(save(tmp_path / "a.tif", noise(1, 4, 4)))
    before = scene.read(everything(scene))
    save(tmp_path / "a.tif", noise(1, 4, 4, seed=5), compress="lzw")
    assert (scene.read(everything(scene)) != before).any()


def test_block_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = open_raster(save(tmp_path / "a.tif", noise(1, 4, 4)))
    scene.read(everything(scene))
    with rasterio.Env():
        assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == CACHE_BYTES


@pytest.mark.parametrize(
    ("block", "width", "depth", "megabytes"),
    [(256, 50_000, 3, 32), (1024, 1024, 3, 32), (11_264, 11_264, 3, 82.5), (40_000, 40_000, 8, 512)],
)
def test_cache_for_rasters_stored_row_by_row(block: int, width: int, depth: int, megabytes: float) -> None:
    assert cache_for_rows(block, width, depth) == megabytes * 1024**2


def test_wide_striped_scene_gets_its_cache(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.zeros((1, 2, 30_000), "uint8"))
    thread_dataset(str(path))
    with rasterio.Env():
        assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") >= 30_000 * 2560
        rasterio.env.set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)


class TestFingerprint:
    """Says whether it is the same scene."""

    def test_path_and_time_do_not_count(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", noise(1, 40, 40))
        (tmp_path / "deep").mkdir()
        copy = shutil.copyfile(path, tmp_path / "deep" / "b.tif")
        assert open_raster(path).fingerprint() == open_raster(copy).fingerprint()

    def test_everything_else_counts(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", noise(3, 40, 40))
        x, y = NORTH_UP * (10, 10)
        scenes = [
            open_raster(path),
            open_raster(path, bands=[1, 2]),
            open_raster(path, bands=[2, 1]),
            open_raster(path, resolution=0.9),
            open_raster(path, bbox=(x, y - 5, x + 5, y)),
            open_raster(path, bbox=(x, y - 6, x + 5, y)),
            open_raster(save(tmp_path / "b.tif", noise(3, 40, 40, seed=1))),
            open_raster(save(tmp_path / "c.tif", noise(3, 40, 40), nodata=0)),
            open_raster(save(tmp_path / "d.tif", noise(3, 40, 40), crs=32644)),
        ]
        assert len({scene.fingerprint() for scene in scenes}) == len(scenes)

    def test_mask_beside_the_scene_counts(self, tmp_path: Path) -> None:
        mask = np.full((8, 8), 255, "uint8")
        path = save(tmp_path / "a.tif", noise(1, 8, 8), mask=mask, internal_mask=False)
        before = open_raster(path).fingerprint()
        mask[2:4] = 0
        save(path, noise(1, 8, 8), mask=mask, internal_mask=False)
        assert open_raster(path).fingerprint() != before

    def test_sources_of_a_vrt_count(self, tmp_path: Path) -> None:
        save(tmp_path / "a.tif", noise(1, 4, 4))
        (tmp_path / "b.vrt").write_text(vrt("a.tif"))
        scene = open_raster(tmp_path / "b.vrt")
        before = scene.fingerprint()
        save(tmp_path / "a.tif", noise(1, 4, 4, seed=3))
        assert scene.fingerprint() != before

    def test_large_files_are_sampled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geoseg.io.fingerprint._WHOLE_BYTES", 10_000)
        monkeypatch.setattr("geoseg.io.fingerprint._PIECE_BYTES", 100)
        path = save(tmp_path / "a.tif", noise(1, 200, 200))
        scene = open_raster(path)
        before = scene.fingerprint()
        content = bytearray(path.read_bytes())
        seen = 0
        for place in range(20_000, 40_000, 500):
            content[place] ^= 1
            path.write_bytes(content)
            seen += scene.fingerprint() != before
            content[place] ^= 1
        assert 0 < seen < 40
        content[-1] ^= 1
        path.write_bytes(content)
        assert scene.fingerprint() != before


def test_real_scene(data_dir: Path) -> None:
    scene = open_raster(data_dir / "oam_banepa" / "scene_banepa_13cm.tif")
    assert scene.shape == (3, 8704, 11264)
    assert scene.file_block == (256, 256)
    assert scene.geobox.ground_resolution() == pytest.approx((0.1325, 0.1325), abs=0.001)
    assert not scene.has_validity  # its white holes carry no tag, and white is a color
    coarse = open_raster(data_dir / "oam_banepa" / "scene_banepa_13cm.tif", resolution=0.5)
    window = Window(row_off=500, col_off=700, height=96, width=96)
    whole = coarse.read(window)
    parts = [coarse.read(Window(row_off=500 + i, col_off=700, height=32, width=96)) for i in (0, 32, 64)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (4326, NORTH_UP),  # meters called degrees
        (32645, Affine(1, 0, 1e12, 0, -1, 1e12)),
    ],
)
def test_a_place_that_is_nowhere_is_refused(tmp_path: Path, crs: int, transform: Affine) -> None:
    path = save(tmp_path / "scene.tif", noise(1, 20, 30), crs=crs, transform=transform)
    with pytest.raises(SceneError, match=r"must lie on the Earth.*gdal_edit"):
        open_raster(path)
    with pytest.raises(SceneError, match="must lie on the Earth"):
        open_raster(path, resolution=1.0)


def test_whole_earth_and_longitudes_to_360_are_fine(tmp_path: Path) -> None:
    for left in (-180, 0):
        transform = Affine(10, 0, left, 0, -10, 90)
        assert open_raster(save(tmp_path / "a.tif", noise(1, 18, 36), crs=4326, transform=transform)).crs
