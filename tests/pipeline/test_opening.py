"""A scene as a model wants to see it: its bands by name, its values stretched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.enums import ColorInterp

import geoseg
from geoseg.config.resolve import parse_run_settings
from geoseg.config.run import RunSettings
from geoseg.errors import ConfigError, InputError, ModelError
from geoseg.geo.windows import Window
from geoseg.io.band_names import match_bands, stored_names
from geoseg.io.sources import open_raster
from geoseg.lazy.scene import ArrayScene
from geoseg.models.card import ModelCard
from geoseg.models.options import GeosegOptions
from geoseg.models.scaling import Scale
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.values import stretched
from geoseg.raster.source import RasterSource
from geoseg.raster.stretch import StretchedScene, sample_values, stretch_limits

WHOLE = Window(row_off=0, col_off=0, height=120, width=150)


class Bright:
    """A network for 8-bit red, green, blue: an object is where red is above 150."""

    classes = ("building",)
    background = None
    activation = "sigmoid"
    in_channels = 3

    def __init__(self, dtype: str = "uint8") -> None:
        self.card = ModelCard.create(
            "bright",
            classes=["building"],
            bands=["red", "green", "blue"],
            scaling=[Scale(value=255.0)],
            options=GeosegOptions(window=(48, 48), overlap=(16, 16)),
            data_type=dtype,
        )

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        batch = batch.astype(np.float32)
        return (batch[:, :1] > 150).astype(np.float32)

    def fill_values(self) -> np.ndarray:
        return np.zeros(3, np.float32)

    def fingerprint(self) -> str:
        return "bright"

    def batch_size_default(self, window: tuple[int, int]) -> int:
        return 4


def reds(dtype: str = "uint16", factor: float = 10) -> np.ndarray:
    """Ground of 100 to 140 (200 and 240 where there are two red roofs) in 8 bits, times a factor."""
    rng = np.random.default_rng(3)
    image = rng.integers(100, 140, (3, 120, 150)).astype(np.float64)
    image[0, 20:60, 30:90] = 240
    image[0, 80:110, 20:50] = 200
    return (image * factor).astype(dtype)


def save(path: Path, image: np.ndarray, names: tuple[str, ...] = (), **changes: Any) -> Path:
    profile = {
        "driver": "GTiff", "count": len(image), "height": image.shape[1], "width": image.shape[2],
        "dtype": image.dtype, "crs": "EPSG:32645", "transform": Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000),
        **changes,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        if names:
            out.descriptions = names
        out.write(image)
    return path


def opened(path: Path, **given: Any) -> tuple[RasterSource, list[str]]:
    return stretched(open_raster(path), Bright(), RunSettings(**given))


class TestStretch:
    def test_wide_scenes_get_the_footprints_of_their_eight_bits(self, tmp_path: Path) -> None:
        settings = RunSettings(resolution="native")
        wide = run_scene(save(tmp_path / "wide.tif", reds()), Bright(), tmp_path, settings)
        plain = run_scene(save(tmp_path / "plain.tif", reds("uint8", 1)), Bright(), tmp_path, settings)
        assert (wide.footprints, plain.footprints) == (2, 2)
        assert [note for note in wide.notes if "P2,P98" in note and "become 0 and 255" in note]
        assert not plain.notes
        raw = RunSettings(resolution="native", stretch="off")
        with pytest.raises(InputError, match="scene"):  # another scene to the run that is kept
            run_scene(tmp_path / "wide.tif", Bright(), tmp_path, raw)
        off = run_scene(tmp_path / "wide.tif", Bright(), tmp_path / "off", raw)
        assert "made for uint8 pixels, the scene holds uint16" in off.notes[0]

    def test_eight_bits_are_read_as_they_are(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", reds("uint8", 1))
        source, notes = opened(path)
        assert source == open_raster(path)
        assert notes == []
        assert source.fingerprint() == open_raster(path).fingerprint()

    @pytest.mark.parametrize(
        ("dtype", "factor", "changes"),
        [("uint16", 1, False), ("float32", 1, False), ("int16", 10, True), ("float32", 1 / 255, True)],
    )
    def test_only_values_that_can_not_be_bytes_are_stretched(
        self, tmp_path: Path, dtype: str, factor: float, changes: bool
    ) -> None:
        source, notes = opened(save(tmp_path / "a.tif", reds(dtype, factor)))
        assert isinstance(source, StretchedScene) is changes
        assert bool(notes) is changes

    def test_limits_are_those_of_the_whole_scene_whatever_is_read(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", reds())
        whole, _ = opened(path)
        box = (350_000, 3_055_950, 350_020, 3_055_960)
        part, _ = stretched(open_raster(path, bbox=box, resolution=1.0), Bright(), RunSettings())
        assert isinstance(whole, StretchedScene)
        assert isinstance(part, StretchedScene)
        expected = np.percentile(reds().reshape(3, -1), [2, 98], axis=1).T
        assert np.array_equal(whole.limits, expected)
        assert part.limits == whole.limits
        low, high = whole.limits[0]
        line = np.rint(np.clip((reds()[0] - low) / (high - low), 0, 1) * 255)
        assert np.array_equal(whole.read(WHOLE)[0], line)
        window = Window(row_off=30, col_off=41, height=7, width=9)
        assert np.array_equal(whole.read(window), whole.read(WHOLE)[:, 30:37, 41:50])

    def test_what_is_no_data_does_not_count(self, tmp_path: Path) -> None:
        image = reds("float32", 10)
        image[:, :30] = -9999
        image[:, 30:40] = np.nan
        source, _ = opened(save(tmp_path / "a.tif", image, nodata=-9999))
        assert isinstance(source, StretchedScene)
        expected = np.percentile(image[:, 40:].reshape(3, -1), [2, 98], axis=1).T
        assert np.allclose(source.limits, expected)
        pixels, valid = source.read_with_valid(WHOLE)
        assert pixels.dtype == np.uint8
        assert not valid[:40].any()
        assert valid[40:].all()

    def test_limits_by_hand(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", reds())
        source, _ = opened(path, stretch="1000,2000")
        assert isinstance(source, StretchedScene)
        assert source.limits == ((1000.0, 2000.0),) * 3
        other, _ = opened(path, stretch=("p5", "P90"))
        assert isinstance(other, StretchedScene)
        assert np.allclose(other.limits, np.percentile(reds().reshape(3, -1), [5, 90], axis=1).T)
        assert len({source.fingerprint(), other.fingerprint(), open_raster(path).fingerprint()}) == 3

    @pytest.mark.parametrize("stretch", ["P98,P2", "5", "3000,0", "P2,3000", "P2,P101", "much", (1, 2, 3)])
    def test_limits_that_are_none_are_refused(self, stretch: Any) -> None:
        with pytest.raises(ConfigError, match=r"stretch must be auto, off, two values or two percentiles"):
            parse_run_settings({"stretch": stretch}, caller="run")

    def test_a_network_for_wide_pixels_gets_them(self, tmp_path: Path) -> None:
        source = open_raster(save(tmp_path / "a.tif", reds()))
        assert stretched(source, Bright("uint16"), RunSettings()) == (source, [])
        with pytest.raises(InputError, match="stretch must be off for a model that is made for uint16"):
            stretched(source, Bright("uint16"), RunSettings(stretch="P2,P98"))

    def test_a_large_scene_is_sampled_at_squares_that_lie_still(self) -> None:
        image = np.broadcast_to(np.arange(5000, dtype=np.uint16)[:, None], (1, 5000, 4000))
        samples = sample_values(ArrayScene(image, None, open_box(5000, 4000)))
        assert samples[0].size == 64 * 256 * 256
        assert (samples[0].min(), samples[0].max()) == (0, 4999)
        ((low, high),) = stretch_limits(samples, "P2", "P98")
        assert low < 50
        assert high > 4950

    def test_arrays_and_files_in_python(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", reds())
        settings = {"resolution": "native", "window": 48, "overlap": 16}
        by_file = geoseg.predict(path, Bright(), **settings)
        by_array = geoseg.predict(geoseg.open_scene(path), Bright(), **settings)
        plain = geoseg.predict(xr.DataArray(reds("uint8", 1), dims=("band", "y", "x")), Bright(), window=48)
        assert np.array_equal(by_file.values, by_array.values)
        assert np.array_equal(by_file.values, plain.values)
        assert "P2,P98" in by_file.attrs["notes"][0]
        assert "notes" not in plain.attrs


@pytest.mark.parametrize("by", ["band", "long_name"])
def test_an_array_that_names_its_bands_in_another_order_is_told(by: str) -> None:
    colors = {"red": 200, "green": 20, "blue": 20}

    def array(*names: str) -> xr.DataArray:
        pixels = np.stack([np.full((60, 60), colors[name], np.uint8) for name in names])
        coords, attrs = ({"band": list(names)}, {}) if by == "band" else ({"band": [1, 2, 3]}, {by: names})
        return xr.DataArray(pixels, dims=("band", "y", "x"), coords=coords, attrs=attrs)

    good = geoseg.predict(array("red", "green", "blue"), Bright())
    assert good.values.all()
    wrong = array("blue", "green", "red")
    with pytest.warns(
        UserWarning, match=r"blue, green, red, the network wants red.*isel\(band=\[2, 1, 0\]\)"
    ):
        assert not geoseg.predict(wrong, Bright()).values.any()
    # As the message advises.
    assert geoseg.predict(wrong.isel(band=[2, 1, 0]), Bright()).values.all()


def open_box(height: int, width: int) -> Any:
    from geoseg.geo.geobox import GeoBox

    return GeoBox(Affine.identity(), None, height, width)


class TestBands:
    @pytest.mark.parametrize(
        ("names", "bands"),
        [
            (("B02", "B03", "B04", "B08"), (3, 2, 1)),
            (("B2", "B3", "B4", "B8"), (3, 2, 1)),
            (("Blue", "Green", "Red", "NIR"), (3, 2, 1)),
            (("nir", "red", "green", "blue"), (2, 3, 4)),
            (("red", "green", "blue", "red"), None),
            (("B1", "B2", "B3", "B4"), None),  # of Landsat 7 blue, green, red, of Sentinel-2 no colors so far
            (("B4", "B3", "B2", "B5"), None),  # of Landsat 7 near infrared, red, green
            (("SR_B2", "SR_B3", "SR_B4", "B11"), (3, 2, 1)),
            (("a", "b", "c", "d"), None),
        ],
    )
    def test_by_description(
        self, tmp_path: Path, names: tuple[str, ...], bands: tuple[int, ...] | None
    ) -> None:
        image = np.zeros((4, 8, 8), np.uint16)
        source = open_raster(save(tmp_path / "a.tif", image, names, photometric="minisblack"))
        assert match_bands(("red", "green", "blue"), stored_names(source)) == bands

    @pytest.mark.parametrize(
        ("sensor", "bands"),
        [
            ({"SPACECRAFT_ID": "LANDSAT_7"}, None),
            ({"SATELLITE": "Sentinel-2A"}, (1, 2, 3)),
            ({"sensor": "OLI_TIRS"}, (1, 2, 3)),
            ({"note": "like Sentinel-2"}, None),
        ],
    )
    def test_numbers_mean_what_the_sensor_says(
        self, tmp_path: Path, sensor: dict[str, str], bands: tuple[int, ...] | None
    ) -> None:
        path = save(tmp_path / "a.tif", reds("uint8", 1), ("B4", "B3", "B2"), photometric="minisblack")
        with rasterio.open(path, "r+") as out:
            out.update_tags(**sensor)
        names = stored_names(open_raster(path))
        assert match_bands(("red", "green", "blue"), names) == bands
        if bands is not None:
            assert run_scene(path, Bright(), tmp_path, RunSettings(resolution="native")).footprints == 2
        elif "note" in sensor:
            with pytest.raises(InputError, match="bands of a must be known by their colors, got b4, b3, b2"):
                run_scene(path, Bright(), tmp_path, RunSettings(resolution="native"))
            chosen = RunSettings(resolution="native", bands=(1, 2, 3))  # as the message advises
            assert run_scene(path, Bright(), tmp_path, chosen).footprints == 2
        else:
            assert names == ("nir", "red", "green")
            (note,) = run_scene(path, Bright(), tmp_path, RunSettings(resolution="native")).notes
            assert "a calls its bands nir, red, green, the network wants red, green, blue" in note

    def test_by_color_in_any_order_and_told(self, tmp_path: Path) -> None:
        image = reds("uint8", 1)[::-1]
        path = save(tmp_path / "bgr.tif", image, photometric="minisblack")
        with rasterio.open(path, "r+") as out:
            out.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red)
        summary = run_scene(path, Bright(), tmp_path, RunSettings(resolution="native"))
        assert summary.footprints == 2
        (note,) = summary.notes
        assert note.startswith("bands 3,2,1 of bgr are read as red, green, blue, by the names in the file")
        as_asked = RunSettings(resolution="native", bands=(1, 2, 3), restart=True)
        assert run_scene(path, Bright(), tmp_path, as_asked).footprints == 0

    def test_without_names_the_first_ones_are_read(self, tmp_path: Path) -> None:
        image = np.concatenate([reds("uint8", 1), reds("uint8", 1)[:1]])
        path = save(tmp_path / "a.tif", image, photometric="minisblack")
        summary = run_scene(path, Bright(), tmp_path, RunSettings(resolution="native"))
        assert (summary.footprints, summary.notes) == (2, [])

    def test_too_few_bands_are_refused(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", reds("uint8", 1)[:2], ("red", "blue"))
        with pytest.raises(ModelError, match="3 bands"):
            run_scene(path, Bright(), tmp_path, RunSettings())
