"""The Python interface: numpy, dask and xarray in; lazy arrays, frames and files out."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from PIL import Image
from scipy import ndimage

import geoseg
from geoseg.errors import InputError, ModelError

PLACE = Affine(0.3, 0, 350_000, 0, -0.3, 3_056_000)


class Bright:
    """Says how bright the first channel is, and counts its windows."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32
        self.windows += len(batch)
        return batch[:, :1] / 255


def picture(height: int = 150, width: int = 230) -> np.ndarray:
    image = np.zeros((3, height, width), np.uint8)
    image[:, 20:60, 30:90] = 255
    image[:, 60:80, 30:50] = 255
    image[:, 100:130, 100:230] = 255
    return image


@pytest.fixture
def file(tmp_path: Path) -> Path:
    profile = {
        "driver": "GTiff",
        "count": 3,
        "height": 150,
        "width": 230,
        "dtype": "uint8",
        "crs": "EPSG:32645",
    }
    with rasterio.open(tmp_path / "scene.tif", "w", transform=PLACE, **profile) as out:
        out.write(picture())
        out.write_mask(np.tile(np.arange(230) < 220, (150, 1)))
    return tmp_path / "scene.tif"


def test_open_scene_is_lazy_and_placed(file: Path) -> None:
    scene = geoseg.open_scene(file, chunks=64)
    assert scene.dims == ("band", "y", "x")
    assert scene.chunks is not None
    assert scene.rio.crs.to_epsg() == 32645
    assert scene.rio.transform() == PLACE
    np.testing.assert_array_equal(scene.values, picture())
    np.testing.assert_array_equal(scene.valid.values, np.broadcast_to(np.arange(230) < 220, (150, 230)))


def test_predict_is_lazy_and_runs_each_window_once(file: Path) -> None:
    model = Bright()
    prob = geoseg.predict(geoseg.open_scene(file, chunks=50), model, window=64, overlap=16)
    assert model.windows <= 1, "only what tells the number of classes may run before it is asked for"
    assert prob.dims == ("class", "y", "x")
    assert prob.dtype == np.float32
    values = prob.values
    assert model.windows == 3 * 5
    expected = np.where(np.arange(230) < 220, picture()[:1] / 255, np.nan)
    np.testing.assert_allclose(values, expected, atol=2e-6)
    assert prob.rio.transform() == PLACE


@pytest.mark.parametrize("kind", ["numpy", "dask", "xarray"])
def test_split_and_polygonize_take_any_array(kind: str) -> None:
    mask = picture()[0] > 0
    given = {"numpy": mask, "dask": da.from_array(mask, chunks=(37, 41)), "xarray": xr.DataArray(mask)}[kind]
    labels = geoseg.split_masks(given)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels.values, ndimage.label(mask, np.ones((3, 3)))[0])
    for frame in (geoseg.polygonize(given), geoseg.polygonize(labels)):
        assert frame.id.tolist() == [1, 2]
        assert frame.area.tolist() == [40 * 60 + 20 * 20, 30 * 130]
    placed = geoseg.polygonize(given, transform=PLACE, crs=32645)
    assert placed.area.tolist() == pytest.approx([2800 * 0.09, 3900 * 0.09])
    assert placed.crs.to_epsg() == 32645


def test_values_choose_classes() -> None:
    classes = np.array([[1, 1, 0, 2], [0, 0, 0, 2]], np.uint8)
    assert geoseg.polygonize(classes).value.tolist() == [1, 2]
    assert geoseg.polygonize(classes, values=[2]).area.tolist() == [2]


def test_ground_without_data_is_no_object(tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    classes = np.zeros((40, 50), np.uint8)
    classes[5:15, 5:15], classes[20:30, 20:40], classes[:, 45:] = 1, 2, 255
    path = tmp_path / "classes.tif"
    shape = {"count": 1, "height": 40, "width": 50, "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32645", transform=PLACE, **shape) as out:
        out.write(classes, 1)
    assert geoseg.vectorize(path, tmp_path / "classes.gpkg").classes == {"1": 1, "2": 1}
    array = rioxarray.open_rasterio(path)
    height = array.astype("float32") / 2  # the nodata value stays an attribute of what is computed
    wide = array.astype("int32").rio.write_nodata(255)
    for given in (array, wide, array.chunk(x=16), geoseg.open_scene(path)):
        assert geoseg.polygonize(given).value.tolist() == [1, 2]
        assert geoseg.split_masks(given).max() == 2
        assert geoseg.split_masks(given, height=height.where(array != 255)).max() == 2
    # 255 is a number like any other where objects are numbered, and true is no value of missing data.
    many = np.pad(np.eye(300, dtype=bool), 1)
    mask = xr.DataArray(many, dims=("y", "x"), attrs={"_FillValue": 255})
    labels = geoseg.split_masks(mask, connectivity=4)
    assert labels.rio.nodata is None
    assert len(geoseg.polygonize(labels)) == 300


@pytest.mark.parametrize("stated", [255, np.uint8(255), np.int64(255), np.float32(255)])
def test_labels_do_not_inherit_a_nodata_value(stated: object) -> None:
    labels = np.diag(np.arange(300, dtype=np.int32))
    array = xr.DataArray(labels, dims=("y", "x"), attrs={"_FillValue": stated})
    assert 255 in geoseg.polygonize(array).value.tolist()
    assert geoseg.split_masks(array, connectivity=4).max() == 299
    # A text is no number; one above 255 comes from no image of 8 bits.
    for text, dtype in (("255", np.uint8), (65535, np.uint16)):
        plain = xr.DataArray(
            np.array([[1, 0, int(text)]], dtype), dims=("y", "x"), attrs={"_FillValue": text}
        )
        assert geoseg.polygonize(plain).value.tolist() == [1]
    # Stated of the labels themselves it counts, and so does what can be no object.
    labels[0] = -1
    for own in (np.int32(255), -1):
        values = geoseg.polygonize(array.assign_attrs(_FillValue=own)).value.tolist()
        assert (255 in values, -1 in values) == (own == -1, own != -1)


@pytest.mark.parametrize("chunk", [False, True])
def test_a_mask_whose_objects_are_all_nodata_is_told(tmp_path: Path, chunk: bool) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    image = np.zeros((40, 50), np.uint8)
    image[5:15, 5:15], image[20:30, 20:40] = 200, 200
    path = tmp_path / "image.tif"
    shape = {"count": 1, "height": 40, "width": 50, "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32645", transform=PLACE, **shape) as out:
        out.write(image, 1)
    array = rioxarray.open_rasterio(path).squeeze()
    with xr.set_options(keep_attrs=True):
        mask = ((array > 100) * 255).astype("uint8")
    mask = mask.chunk(x=16) if chunk else mask
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not len(geoseg.polygonize(mask))
        # Nothing lazy is computed for a warning.
        assert not geoseg.split_masks(mask).max()
    told = [warning for warning in caught if warning.category is UserWarning]
    assert len(told) == (1 if chunk else 2)
    for warning in told:
        assert "pixels of 255 were left out" in str(warning.message)
        assert 'array.attrs.pop("_FillValue")' in str(warning.message)
        assert Path(warning.filename) == Path(__file__)
    scene = geoseg.open_scene(path)
    known = scene.isel(band=0).assign_coords(valid=(("y", "x"), image == 0))
    with pytest.warns(UserWarning, match=r'array\.drop_vars\("valid"\)'):
        geoseg.polygonize(known.compute())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(geoseg.polygonize(known.drop_vars("valid"))) == 2
        assert not len(geoseg.polygonize(mask, values=[7]))
        assert not len(geoseg.polygonize(array * 0))
        # The work of a network is not done twice for a warning.
        assert not len(geoseg.polygonize(known))
        mask.attrs.pop("_FillValue")
        assert len(geoseg.polygonize(mask)) == geoseg.split_masks(mask).max() == 2


def test_the_accessor_does_the_same(file: Path) -> None:
    scene = geoseg.open_scene(file)
    prob = scene.geoseg.predict(Bright(), window=64, overlap=16)
    labels = (prob[0] > 0.5).geoseg.split_masks()
    frame = labels.geoseg.polygonize()
    assert len(frame) == 2
    assert frame.crs.to_epsg() == 32645


def test_segment_gives_footprints_of_files_and_arrays(file: Path, tmp_path: Path) -> None:
    from_file = geoseg.segment(file, Bright(), window=64, overlap=16, threshold=0.5)
    assert from_file["class"].tolist() == ["class_1", "class_1"]
    assert from_file.area_m2.tolist() == pytest.approx([2800 * 0.09, 3600 * 0.09], rel=2e-3)
    assert from_file.confidence.tolist() == [1, 1]
    assert from_file.touches_edge.tolist() == [False, True]
    from_array = geoseg.segment(picture(), Bright(), window=64, overlap=16, threshold=0.5)
    assert from_array.area.tolist() == [2800, 3900]
    summary = geoseg.run(file, Bright(), out=tmp_path / "out", window=64, overlap=16, formats=("fgb",))
    assert Path(summary.files["fgb"]).exists()


def test_what_could_not_be_read_is_told(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (150, 230, 3), dtype=np.uint8)
    path = tmp_path / "scene.jpg"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"regions? could not be read and (is|are) missing") as caught:
        frame = geoseg.segment(path, Bright(), window=64, overlap=16, on_error="skip")
    assert frame.attrs["failures"]
    assert set(frame.attrs["failures"][0]) == {"row_off", "col_off", "height", "width", "reason"}
    assert "has no CRS" in " ".join(frame.attrs["notes"])
    assert [one.filename for one in caught if "could not be read" in str(one.message)] == [__file__]


def test_counting_through_the_whole_job(file: Path) -> None:
    model = Bright()
    geoseg.segment(file, model, window=64, overlap=16)
    assert model.windows == 3 * 5


def test_a_module_and_its_chunks_agree() -> None:
    import torch

    torch.manual_seed(0)
    module = torch.nn.Conv2d(3, 2, 3, padding=1)
    one = geoseg.predict(xr.DataArray(picture(), dims=("band", "y", "x")), module, window=64, overlap=32)
    many = geoseg.predict(
        xr.DataArray(picture(), dims=("band", "y", "x")).chunk({"y": 17, "x": 23}),
        module,
        window=64,
        overlap=32,
    )
    np.testing.assert_array_equal(one.values, many.values)
    assert one.sizes["class"] == 2


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="overlap"):
        geoseg.predict(xr.DataArray(picture(), dims=("band", "y", "x")), Bright(), window=64, overlap=64)
    with pytest.raises(InputError, match=r"dimensions.*array\.isel\(dim_0=0\)"):
        geoseg.split_masks(np.zeros((2, 2, 2, 2)))
    dated = xr.DataArray(picture(), dims=("band", "y", "x")).expand_dims("time")
    with pytest.raises(InputError, match=r"\(time, band, y, x\).*array\.isel\(time=0\)"):
        geoseg.predict(dated, Bright())
    geoseg.predict(dated.isel(time=0), Bright())
    with pytest.raises(ModelError, match="bands"):
        geoseg.predict(xr.DataArray(picture()[:2], dims=("band", "y", "x")), geoseg.load_model())
    with pytest.raises(InputError, match="model"):
        geoseg.segment(picture(), 5)
    with pytest.raises(InputError, match="windows"):
        geoseg.segment(picture(), Bright(), windows=3)


def test_results_of_two_models_never_share_a_name() -> None:
    image = xr.DataArray(np.ones((1, 64, 64), np.uint8), dims=("band", "y", "x"))

    def constant(value: float) -> xr.DataArray:
        def model(batch: np.ndarray) -> np.ndarray:
            return np.full((len(batch), 1, *batch.shape[2:]), value, np.float32)

        return geoseg.predict(image, model, window=32, overlap=0).persist()

    results = [constant(k / 50) for k in range(50)]  # persisted: the models themselves are gone
    assert len({result.data.name for result in results}) == 50


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_validity_of_an_array_is_that_of_the_file_it_came_from(tmp_path: Path, dtype: str) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    image = picture().astype(dtype)
    image[:, :10] = 7
    image[1, 40:50, 100:120] = 7  # in one band only
    if dtype == "float32":
        image[0, 60:70, 60:70] = np.nan
        image[2, 80:90, 60:70] = np.inf
    path = tmp_path / "scene.tif"
    shape = {"count": 3, "height": 150, "width": 230, "dtype": dtype, "nodata": 7}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32645", transform=PLACE, **shape) as out:
        out.write(image)
    expected = geoseg.open_scene(path).coords["valid"].values
    seen = []

    def model(batch: np.ndarray) -> np.ndarray:
        seen.append(np.isfinite(batch).all())
        return np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)

    for chunks in (None, 64):
        array = rioxarray.open_rasterio(path, chunks=chunks)
        found = geoseg.predict(array, model, window=64, overlap=16)
        np.testing.assert_array_equal(np.isfinite(found[0].values), expected)
    assert all(seen)


def test_any_array_can_be_predicted() -> None:
    expected = geoseg.predict(
        xr.DataArray(picture(), dims=("band", "y", "x")), Bright(), window=64, overlap=8
    ).values
    for scene in (picture(), da.from_array(picture(), chunks=50)):
        found = geoseg.predict(scene, Bright(), window=np.int64(64), overlap=(8, 8))
        np.testing.assert_array_equal(found.values, expected)
    assert geoseg.predict(picture()[0], Bright(), window=64, overlap=0).shape == (1, 150, 230)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "512"}, "window must be a whole number"),
        ({"window": (64, 64, 64)}, "window must be a whole number"),
        ({"overlap": 1.5}, "overlap must be a whole number"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": -1}, "batch_size must be at least 1"),
        ({"blend": "hann"}, "blend must be one of"),
    ],
)
def test_options_of_predict_are_checked_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        geoseg.predict(picture(), Bright(), **options)  # type: ignore[arg-type]


def test_arrays_that_are_no_scenes(file: Path) -> None:
    for scene in (5, None, np.zeros(3)):
        with pytest.raises(InputError, match="scene must be a file or an array"):
            geoseg.predict(scene, Bright())
    with pytest.raises(InputError, match="pixel type must be one of"):
        geoseg.predict(np.zeros((3, 8, 8), complex), Bright())
    for chunks in (0, (-1, 5)):
        with pytest.raises(InputError, match="chunks must be at least 1 pixel"):
            geoseg.open_scene(file, chunks=chunks)


class Made:
    """A bundle's predictor without its network: made for a ground sampling distance and three bands."""

    classes, background, activation, in_channels, runtime = ("bright",), None, "none", 3, "test"

    def __init__(
        self,
        gsd: float | None,
        known: tuple[float, float] | None = None,
        resize: tuple[int, int] | None = None,
    ) -> None:
        from geoseg.models import GeosegOptions, ModelCard

        options = GeosegOptions(gsd=gsd, gsd_range=known, training_resize=resize)
        self.card = ModelCard.create(
            "made", classes=self.classes, bands=["r", "g", "b"], scaling=None, options=options
        )

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch[:, :1].astype(np.float32) / 255

    def fill_values(self) -> np.ndarray:
        return np.zeros(3, np.float32)

    def fingerprint(self) -> str:
        return "made"

    def batch_size_default(self, window: tuple[int, int]) -> int:
        return 2


class TestDistance:
    """Of a path the card's ground sampling distance is read, as by ``geoseg run``; arrays are as they are."""

    @pytest.mark.parametrize("gsd", [None, 0.6, 0.28, 0.301])
    def test_a_path_is_read_as_segment_reads_it(self, file: Path, tmp_path: Path, gsd: float | None) -> None:
        prob = geoseg.predict(file, Made(gsd), window=64, overlap=16)
        summary = geoseg.run(
            file, Made(gsd), out=tmp_path, window=64, overlap=16, chunk=64, save_prob=True, blend="smooth"
        )
        with rasterio.open(summary.files["prob"]) as written:
            stored = written.read()
            assert written.transform.almost_equals(prob.rio.transform())
        assert prob.shape == stored.shape
        assert (prob.shape[1:] == (150, 230)) == (gsd in (None, 0.301)), "within 1 % it is read as it is"
        expected = np.where(np.isnan(prob), 255, np.rint(np.nan_to_num(prob) * 254)).astype(np.uint8)
        np.testing.assert_allclose(stored.astype(int), expected.astype(int), atol=1)

    def test_of_more_bands_the_first_are_read(self, tmp_path: Path) -> None:
        pixels = np.concatenate([picture(), picture()[:1]])
        profile = {
            "count": 4,
            "height": 150,
            "width": 230,
            "dtype": "uint8",
            "crs": 32645,
            "transform": PLACE,
        }
        with rasterio.open(
            tmp_path / "four.tif", "w", driver="GTiff", photometric="minisblack", **profile
        ) as out:
            out.write(pixels)
        assert geoseg.predict(tmp_path / "four.tif", Made(0.3), window=64, overlap=16).shape == (1, 150, 230)

    def test_an_array_that_is_off_gets_one_warning(self, file: Path) -> None:
        scene = geoseg.open_scene(file)
        for call in (
            lambda: geoseg.predict(scene, Made(0.6), window=64, overlap=16),
            lambda: scene.geoseg.predict(Made(0.6), window=64, overlap=16),
            lambda: geoseg.segment(scene, Made(0.6), window=64, overlap=16),
        ):
            with pytest.warns(
                UserWarning, match=r"has 0\.3 m a pixel, the network was trained on 0\.6 m: expect poor"
            ) as caught:
                call()
            (warning,) = (one for one in caught if one.category is UserWarning)
            assert "open_scene(path, resolution=0.6)" in str(warning.message)
            assert warning.filename == __file__

    @pytest.mark.parametrize(
        ("step", "read_at", "outcome"),
        [
            (0.07, None, None),  # averaged to 0.3 m
            (0.07, "native", "has 0.07 m a pixel"),
            (0.04, "native", "refused"),
            (0.4, None, None),
            (0.9, None, "has 0.9 m a pixel"),
            (10, None, "refused"),
            (10, "native", "refused"),
        ],
    )
    @pytest.mark.parametrize("how", ["run", "segment", "predict"])
    def test_pixels_unlike_those_of_the_training(
        self, step: float, read_at: str | None, outcome: str | None, how: str, tmp_path: Path
    ) -> None:
        """A note outside of the range of the card, a refusal beyond four times, the same words everywhere."""
        path, side = tmp_path / "scene.tif", 80
        place = Affine(step, 0, 350_000, 0, -step, 3_056_000)
        profile = {"count": 3, "height": side, "width": side, "dtype": "uint8", "crs": 32645}
        with rasterio.open(path, "w", driver="GTiff", transform=place, **profile) as out:
            out.write(picture(side, side))
        bounds = (350_000, 3_056_000 - 20 * step, 350_000 + 20 * step, 3_056_000)
        keep: dict[str, Any] = {"resolution": read_at, "window": 32, "overlap": 0, "bbox": bounds}

        def do(**more: Any) -> list[str]:
            model = Made(0.3, (0.2, 0.4))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                if how == "run":
                    return geoseg.run(path, model, out=tmp_path / "o", **keep, **more).notes
                getattr(geoseg, how)(path, model, **keep, **more)
            return [str(one.message) for one in caught if one.category is UserWarning]

        if outcome == "refused":
            with pytest.raises(InputError, match=r"about 0\.2 to 0\.4 m a pixel.*--any-resolution"):
                do()
            outcome = f"has {step:g} m a pixel, the network was trained on 0.2 to 0.4 m: expect poor results"
            keep["any_resolution"] = True
        notes = do()
        assert len(notes) == (outcome is not None), notes
        assert not notes or outcome in notes[0]

    def test_images_that_training_stretched(self, tmp_path: Path) -> None:
        """The note's advice, followed, is right."""
        Image.fromarray(np.moveaxis(picture(120, 160), 0, -1)).save(tmp_path / "photo.png")
        model = Made(None, resize=(60, 80))
        keep: dict[str, Any] = {"window": 32, "overlap": 0}
        first = geoseg.run(tmp_path / "photo.png", model, out=tmp_path / "a", **keep)
        (note,) = [note for note in first.notes if "stretched" in note]
        assert "stretched to 80 x 60 pixels, photo is read at 160 x 120: expect poor results" in note
        assert "--gsd 1 --resolution 2 reads it" in note
        again = geoseg.run(tmp_path / "photo.png", model, out=tmp_path / "b", gsd=1, resolution=2, **keep)
        assert not [note for note in again.notes if "stretched" in note]
        assert again.mpx == pytest.approx(first.mpx / 4, abs=1e-3)

    def test_no_warning_without_a_reason(self, file: Path) -> None:
        scene = geoseg.open_scene(file)
        geoseg.predict(scene, Made(0.32), window=64, overlap=16)
        geoseg.predict(scene, Made(None), window=64, overlap=16)
        geoseg.predict(scene, Bright(), window=64, overlap=16)
        geoseg.predict(picture(), Made(0.6), window=64, overlap=16)  # it is nowhere
        geoseg.predict(geoseg.open_scene(file, resolution=0.6), Made(0.6), window=64, overlap=16)
        geoseg.segment(scene, Made(0.6), window=64, overlap=16, resolution="native")

    @pytest.mark.parametrize("option", [{"bands": (1,)}, {"resolution": 0.6}, {"bbox": (0, 0, 1, 1)}])
    def test_what_only_a_file_can_do(self, option: dict[str, object]) -> None:
        with pytest.raises(InputError, match="are for files"):
            geoseg.segment(picture(), Bright(), window=64, overlap=16, **option)


def test_the_accessor_comes_with_xarray_even_after_somebody_only_looked_for_it():
    code = """
import importlib.util, sys
import geoseg
assert "xarray" not in sys.modules
assert importlib.util.find_spec("xarray") is not None
assert "xarray" not in sys.modules
import xarray
assert hasattr(xarray.DataArray, "geoseg")
assert type(xarray.__spec__.loader).__module__.startswith(("importlib", "_frozen_importlib"))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_train_takes_a_file_or_what_it_holds(tmp_path):
    from geoseg.errors import ConfigError

    config = tmp_path / "wrong.toml"
    config.write_text("epochs = -1\n")
    for given in (config, str(config), {"epochs": -1}):
        with pytest.raises(ConfigError, match=r"\$\.epochs"):
            geoseg.train(given, tmp_path / "run")
