"""geoseg vectorize: what a raster's values mean, where files go, and the command itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

import geoseg
from geoseg import vectorize
from geoseg.cli import app
from geoseg.config.run import RunSettings
from geoseg.errors import InputError, SceneError
from geoseg.files.locks import side_folder
from geoseg.io.hints import SETTINGS_TAG
from geoseg.pipeline.class_readers import decide_kind
from geoseg.pipeline.vectorize_raster import chunk_shape, output_files, vectorize_raster
from geoseg.raster.source import RasterHints
from geoseg.vector.ragged import RaggedPolygons

TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)


def write(path: Path, bands: np.ndarray, **profile: Any) -> Path:
    """A GeoTIFF of (K, H, W) or (H, W) pixels."""
    bands = bands[None] if bands.ndim == 2 else bands
    scale, names = profile.pop("scale", None), profile.pop("names", None)
    offset = profile.pop("offset", 0)
    tags = profile.pop("tags", {})
    options = {
        "driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2],
        "dtype": bands.dtype, "crs": "EPSG:32645", "transform": TRANSFORM,
    } | profile  # fmt: skip
    with rasterio.open(path, "w", **options) as target:
        target.write(bands)
        target.update_tags(**tags)
        if scale is not None:
            target.scales = (scale,) * len(bands)
            target.offsets = (offset,) * len(bands)
        if names is not None:
            target.descriptions = names
    return path


def mask() -> np.ndarray:
    """Two houses and a speck."""
    values = np.zeros((40, 50), np.uint8)
    values[5:15, 5:20] = values[20:30, 30:45] = values[35, 2] = 1
    return values


def read(path: Path, out: Path, **options: Any) -> gpd.GeoDataFrame:
    summary = vectorize(path, out / "out.parquet", **options)
    return gpd.read_parquet(summary.files["parquet"])


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "threshold", "expected"),
    [
        ("uint8", 1, 0, False, "values"),
        ("int32", 1, 0, False, "values"),
        ("uint8", 1, 0, True, "scaled"),
        ("uint8", 1 / 254, 0, False, "stored"),
        ("uint8", 1 / 254, 0, True, "stored"),
        ("uint8", 1 / 254, 0.1, False, "scaled"),
        ("uint8", 0.01, 0, False, "scaled"),
        ("uint8", 1, -0.5, False, "scaled"),
        ("uint16", 1e-4, 0, False, "scaled"),
        ("float32", 1, 0, False, "float"),
        ("float64", 1, 0, True, "float"),
    ],
)
def test_meaning_of_values(dtype: str, scale: float, offset: float, threshold: bool, expected: str) -> None:
    assert decide_kind(dtype, RasterHints(scale, ("",), (), offset=offset), threshold) == expected


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "inside", "outside"),
    [
        ("int16", 0.005, 0.5, 80, -80),  # 0.9 and 0.1
        ("uint8", 0.01, -1.0, 190, 110),
        ("float32", 0.01, 0.0, 90, 10),
        ("float32", 0.5, 0.5, 0.8, -0.8),
    ],
)
def test_true_values_decide_where_a_scale_and_an_offset_are_stated(
    tmp_path: Path, dtype: str, scale: float, offset: float, inside: float, outside: float
) -> None:
    house = np.full((20, 30), outside, dtype)
    house[5:15, 5:15] = inside
    path = write(tmp_path / "p.tif", house, scale=scale, offset=offset)
    frame = read(path, tmp_path)
    assert frame.geometry[0].area == pytest.approx(100 * TRANSFORM.a**2)
    assert frame.confidence[0] == pytest.approx(0.9)
    assert len(read(path, tmp_path, threshold=0.95)) == 0
    scores = geoseg.evaluate(path, write(tmp_path / "t.tif", (house == inside).astype(np.uint8)))
    assert scores.pixels.iou == 1


def test_bands_of_other_scales_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tif", np.zeros((2, 9, 9), np.uint8), scale=0.01)
    with rasterio.open(path, "r+") as file:
        file.scales = (0.01, 0.1)
    with pytest.raises(SceneError, match="bands must state one scale and offset"):
        vectorize(path, tmp_path / "out.parquet")
    assert len(read(path, tmp_path, bands=1, threshold=0.5)) == 0  # what the message advises


@pytest.mark.parametrize(
    ("block", "shape", "chunk", "expected"),
    [
        ((512, 512), (5000, 5000), 2048, (2048, 2048)),
        ((512, 512), (5000, 5000), 100, (100, 100)),
        ((1, 5000), (9000, 5000), 2000, (800, 5000)),
        ((16, 5000), (9000, 5000), 100, (16, 5000)),
        ((1, 50), (40, 50), 2048, (2048, 2050 - 2)),
        ((9000, 5000), (9000, 5000), 1000, (1000, 1000)),
        ((4500, 5000), (9000, 5000), 2048, (2048, 2048)),
        ((500, 5000), (9000, 5000), 100, (500, 5000)),
        ((800, 5000), (9000, 5000), 1000, (800, 5000)),
    ],
)
def test_chunks_fit_storage_blocks(block: Any, shape: Any, chunk: int, expected: tuple[int, int]) -> None:
    height, width = chunk_shape(block, shape, chunk)
    assert height == expected[0]
    assert width == expected[1] or (width % block[1] == 0 and width >= shape[1])


def test_mask(tmp_path: Path) -> None:
    found = read(write(tmp_path / "mask.tif", mask() * 255), tmp_path, class_names=["building"])
    assert found["class"].tolist() == ["building"] * 3
    assert list(found.columns) == ["id", "class", "area_m2", "touches_edge", "scene", "geometry"]
    assert found.area.tolist() == [37.5, 37.5, 0.25]
    assert found.crs == "EPSG:32645"
    assert set(found["scene"]) == {"mask"}


def test_class_map(tmp_path: Path) -> None:
    values = mask()
    values[5:15, 12:20] = 2
    path = write(tmp_path / "map.tif", values)
    assert read(path, tmp_path)["class"].tolist() == ["1", "2", "1", "1"]
    assert read(path, tmp_path, class_names=["a", "b"])["class"].tolist() == ["a", "b", "a", "a"]
    tagged = write(tmp_path / "tagged.tif", values, tags={"class_1": "house", "class_2": "shed"})
    assert read(tagged, tmp_path)["class"].tolist() == ["house", "shed", "house", "house"]


def test_palette_indices_are_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "palette.tif", mask())
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})
    assert len(read(path, tmp_path)) == 3


def test_large_labels_and_negative_values(tmp_path: Path) -> None:
    labels = mask().astype(np.int32) * 70_000
    labels[0, 0] = -3
    assert read(write(tmp_path / "labels.tif", labels), tmp_path)["class"].tolist() == ["-3"] + ["70000"] * 3


def test_nodata_is_no_object_and_marks_neighbors(tmp_path: Path) -> None:
    values = mask()
    values[5:15, 20:25] = 255
    found = read(write(tmp_path / "mask.tif", values, nodata=255), tmp_path)
    assert found["touches_edge"].tolist() == [True, False, False]
    assert len(found) == 3


def test_nodata_0_is_background(tmp_path: Path) -> None:
    found = read(write(tmp_path / "mask.tif", mask(), nodata=0), tmp_path)
    assert found["touches_edge"].tolist() == [False] * 3


def test_float_probabilities(tmp_path: Path) -> None:
    prob = mask() * np.float32(0.75)
    prob[20:30, 30:45] = 0.5
    prob[0, 0] = np.nan
    path = write(tmp_path / "prob.tif", prob)
    found = read(path, tmp_path)
    assert found["confidence"].tolist() == [0.75, 0.5, 0.75]
    assert found["class"].tolist() == ["object"] * 3
    assert len(read(path, tmp_path, threshold=0.6)) == 2


def test_stored_probabilities(tmp_path: Path) -> None:
    stored = np.where(mask(), np.uint8(200), np.uint8(20))
    stored[0, :] = 255
    path = write(tmp_path / "prob.tif", stored, scale=1 / 254, nodata=255, names=["building"])
    found = read(path, tmp_path)
    assert found["class"].tolist() == ["building"] * 3
    assert found["confidence"].tolist() == [200 / 254] * 3
    assert len(read(path, tmp_path, threshold=0.8)) == 0


def test_unsure_objects_of_probabilities_are_left_out(tmp_path: Path) -> None:
    """Of two houses that touch, the one that the network doubts goes where they are split, else neither."""
    prob = np.zeros((40, 60), np.float32)
    prob[10:30, 5:28], prob[10:30, 28:31], prob[10:30, 31:55] = 0.95, 0.35, 0.65
    house = ndimage.gaussian_filter(prob, 1)
    path = write(tmp_path / "prob.tif", house)
    pair, parts = read(path, tmp_path, threshold=0.3), read(path, tmp_path, threshold=0.3, split=0.05)
    assert (len(pair), len(parts)) == (1, 2)
    assert parts["confidence"][1] < 0.7 < pair["confidence"][0] < parts["confidence"][0]
    sure = {"threshold": 0.3, "min_confidence": 0.7}
    assert len(read(path, tmp_path, **sure)) == 1
    for chunk in (8, 2048):
        left = read(path, tmp_path, split=0.05, chunk=chunk, **sure)
        assert left.geometry.to_wkb().tolist() == parts.geometry.to_wkb().tolist()[:1]
    assert vectorize(path, tmp_path / "none.geojson", min_confidence=1).unsure == 2
    # The advice of the error for a mask: a threshold says that whole numbers are probabilities.
    plain = write(tmp_path / "plain.tif", np.rint(house * 255).astype(np.uint8))
    with pytest.raises(InputError, match=r"must be 0 for a mask .* where a threshold is given"):
        read(plain, tmp_path, min_confidence=0.7)
    assert len(read(plain, tmp_path, **sure)) == 1


def test_a_lower_threshold_finds_more_only_where_no_least_confidence_holds(tmp_path: Path) -> None:
    prob = np.zeros((40, 60), np.float32)
    prob[8:32, 5:29], prob[12:28, 9:25] = 0.35, 0.7  # a house with a wide and doubtful edge
    prob[10:30, 35:55] = 0.35
    path = write(tmp_path / "prob.tif", prob)
    for least, counts in ((0, (1, 2)), (0.6, (1, 0))):
        found = [read(path, tmp_path, threshold=p, min_confidence=least) for p in (0.5, 0.3)]
        assert tuple(map(len, found)) == counts


def test_a_mask_with_the_tags_of_the_probabilities_that_it_was_made_of(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.tif", mask())
    plain = vectorize(path, tmp_path / "plain.geojson")
    kept = {"threshold": [0.4], "min_confidence": 0.6, "simplify_m": 0.1}
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{SETTINGS_TAG: json.dumps(kept)})
    done = vectorize(path, tmp_path / "tagged.geojson")
    assert (done.footprints, done.unsure) == (plain.footprints, 0)
    assert done.notes[-1] == "as in the raster's own run: simplify_m 0.1; options win over them"
    with pytest.raises(InputError, match=r"min_confidence must be 0 for a mask .*got 0\.7\. Leave it out"):
        vectorize(path, tmp_path / "refused.geojson", min_confidence=0.7)


def test_8_bit_probabilities_without_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "prob.tif", mask() * np.uint8(51) * 3)
    assert len(read(path, tmp_path, threshold=0.6)) == 3
    assert len(read(path, tmp_path, threshold=0.61)) == 0


def test_background_band_competes(tmp_path: Path) -> None:
    building, road = mask() * np.float32(0.45), np.zeros((40, 50), np.float32)
    road[5:15, 5:10] = 0.46
    background = np.where(mask(), np.float32(0.1), np.float32(0.9))
    path = write(tmp_path / "p.tif", np.stack([background, building, road]), names=["background", "b", "r"])
    assert read(path, tmp_path)["class"].tolist() == ["r", "b", "b", "b"]
    assert len(read(path, tmp_path, threshold=0.5)) == 0
    with pytest.raises(InputError, match="one a band"):
        read(path, tmp_path, class_names=["x", "y", "z"])


def test_band_of_a_mask_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "two.tif", np.stack([np.zeros_like(mask()), mask()]))
    with pytest.raises(
        InputError, match=r"one value a pixel, .* as of colors. Choose the band .* --bands 1,"
    ):
        read(path, tmp_path)
    assert len(read(path, tmp_path, bands=[1])) == 0
    assert len(read(path, tmp_path, bands=[2])) == 3
    gray = write(tmp_path / "gray.tif", np.stack([mask()] * 3))
    assert len(read(gray, tmp_path)) == 3
    with pytest.raises(InputError, match="single"):
        read(path, tmp_path, bands=[1, 2])


def test_values_that_are_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0 \.\. 1"):
        read(write(tmp_path / "heights.tif", mask() * np.float32(37.5)), tmp_path)
    with pytest.raises(InputError, match="without one"):
        read(write(tmp_path / "map.tif", mask().astype(np.uint16)), tmp_path, threshold=0.5)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".tif", ".tif"]


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_no_crs(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.png", mask(), driver="PNG", crs=None, transform=None)
    summary = vectorize(path, tmp_path / "out.geojson")
    assert "no CRS" in summary.notes[0]
    features = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert features[0]["properties"]["area_px"] == 150


@pytest.mark.parametrize("chunk", [7, 16, 2048])
def test_same_bytes_for_any_chunk(tmp_path: Path, chunk: int) -> None:
    rng = np.random.default_rng(0)
    path = write(tmp_path / "n.tif", (rng.random((60, 70)) < 0.55).astype(np.uint8))
    vectorize(path, tmp_path / "a.geojson")
    vectorize(path, tmp_path / "b" / "a.geojson", chunk=chunk)
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b" / "a.geojson").read_bytes()


def test_where_files_go(tmp_path: Path) -> None:
    assert output_files(tmp_path / "x.fgb", None, "s") == {"fgb": tmp_path / "x.fgb"}
    assert output_files(tmp_path / "x.fgb", ["fgb"], "s") == {"fgb": tmp_path / "x.fgb"}
    assert output_files(tmp_path, None, "s") == {"geojson": tmp_path / "s.geojson"}
    assert output_files(tmp_path / "v1.2", ["gpkg"], "s") == {"gpkg": tmp_path / "v1.2" / "s.gpkg"}
    (tmp_path / "v1.3").mkdir()
    assert output_files(tmp_path / "v1.3", None, "s") == {"geojson": tmp_path / "v1.3" / "s.geojson"}
    with pytest.raises(InputError, match=r"\.geojson"):
        output_files(tmp_path / "x.kml", None, "s")
    with pytest.raises(InputError, match="folder"):
        output_files(tmp_path / "x.fgb", ["gpkg", "fgb"], "s")
    with pytest.raises(InputError, match="one of"):
        output_files(tmp_path, ["kml"], "s")


def test_command(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.tif", mask())
    arguments = ["vectorize", str(path), "-o", str(tmp_path / "out"), "--format", "geojson,gpkg",
                 "--class-names", "building", "--min-area-m2", "1", "--json"]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["footprints"], summary["too_small"]) == (2, 1)
    assert len(gpd.read_file(tmp_path / "out" / "mask.gpkg")) == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mask.geojson", "mask.gpkg", "mask.qml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.tif", "-o", "x.geojson"], "missing.tif"),
        (["mask.tif", "-o", "x.kml"], "output must end in"),
        (["mask.tif", "-o", "x", "--format", "kml"], "format must be one of"),
        (["mask.tif", "-o", "x", "--connectivity", "6"], "--connectivity must be one of 4, 8"),
        (["mask.tif", "-o", "x", "--threshold", "1.5"], "threshold must be"),
        (["mask.tif", "-o", "x", "--min-confidence", "0.6"], "for a mask or a class map"),
        (["mask.tif", "-o", "x", "--bands", "a"], "--bands must be"),
        (["mask.tif", "-o", "x", "--bands", "2"], "bands must be"),
        (["mask.tif", "-o", "mask.tif/x.geojson"], "written to"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mask.tif", mask())
    result = CliRunner().invoke(app, ["vectorize", *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mask.tif"]


@pytest.mark.parametrize("kind", ["mask", "named", "stored", "float"])
def test_a_damaged_raster_fails_or_is_done_as_far_as_it_goes(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).random((128, 160))
    values = (noise > 0.5).astype(np.uint8)
    profile: dict[str, Any] = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    if kind == "stored":
        values = np.rint(noise * 254).astype(np.uint8)
        profile |= {"scale": 1 / 254, "nodata": 255}
    elif kind == "float":
        values = noise.astype(np.float32)
    whole = write(tmp_path / "whole.tif", values, **profile)
    content = bytearray(whole.read_bytes())
    path = tmp_path / "cut.tif"
    middle = slice(len(content) * 3 // 10, len(content) * 6 // 10)
    content[middle] = b"\xff" * (middle.stop - middle.start)
    path.write_bytes(content)
    names = ["--class-names", "house"] if kind == "named" else []
    words = [
        "vectorize",
        str(path),
        "-o",
        str(tmp_path / "o"),
        "--format",
        "parquet",
        "--chunk",
        "64",
        *names,
    ]
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 2
    assert re.search(
        r"cannot read rows (\d+)\.\.\d+, columns \d+\.\.\d+ of .*, a block of the file", failed.stderr
    )
    assert "--on-error skip" in failed.stderr
    assert not (tmp_path / "o").exists()
    done = CliRunner().invoke(app, [*words, "--on-error", "skip", "--json"])
    assert done.exit_code == 1
    assert "could not be read" in done.stderr
    summary = json.loads(done.stdout)
    assert json.loads((tmp_path / "o" / "cut.parquet.failures.json").read_text()) == summary["failures"]
    # the same as of a raster without those blocks
    lost = np.zeros(values.shape, bool)
    for item in summary["failures"]:
        assert item["height"] == item["width"] == 32
        lost[item["row_off"] : item["row_off"] + 32, item["col_off"] : item["col_off"] + 32] = True
    assert 0.1 < lost.mean() < 0.7
    kept = values.copy()
    kept[lost] = 0
    expected = read(write(tmp_path / "kept.tif", kept, **profile), tmp_path, class_names=names[1:] or None)
    found = gpd.read_parquet(tmp_path / "o" / "cut.parquet")
    assert len(found) > 50
    assert (found.geometry == expected.geometry).all()
    assert (found["class"] == expected["class"]).all()
    beside = found.touches_edge & ~expected.touches_edge
    assert beside.any()


def test_nothing_is_written_over_the_raster(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.gpkg", mask(), driver="GPKG")
    before = path.read_bytes()
    with pytest.raises(InputError, match="must not be an input"):
        vectorize(path, path)
    assert path.read_bytes() == before


def test_a_run_that_was_killed_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    spill = side_folder(tmp_path / "out.parquet")
    spill.mkdir()
    (spill / "corners.bin").write_bytes(b"old")
    read(write(tmp_path / "mask.tif", mask()), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif", "out.parquet"]


@pytest.mark.parametrize("side", [0.13, 0.02, 0.01, 0.003])
def test_pixels_of_a_drone_stay_apart_in_geojson(tmp_path: Path, side: float) -> None:
    noise = (np.random.default_rng(0).random((60, 80)) > 0.5).astype(np.uint8)
    path = write(tmp_path / "mask.tif", noise, transform=Affine(side, 0, 350_000, 0, -side, 3_056_000))
    vectorize(path, tmp_path, formats=["geojson", "parquet"])
    degrees, exact = gpd.read_file(tmp_path / "mask.geojson"), gpd.read_parquet(tmp_path / "mask.parquet")
    assert degrees.is_valid.all()
    back = degrees.to_crs(exact.crs)
    np.testing.assert_allclose(back.area, exact.area, rtol=0.2)
    assert (back.geometry.hausdorff_distance(exact.geometry) < side / 8).all()


@pytest.mark.parametrize("simplify_m", [0.7, 1.5])
def test_simplified_footprints_are_valid_in_every_format(tmp_path: Path, simplify_m: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((300, 300)), 1.2) > 0.5
    path = write(tmp_path / "mask.tif", noise.astype(np.uint8))
    vectorize(path, tmp_path, formats=["geojson", "parquet"], simplify_m=simplify_m)
    degrees, exact = gpd.read_file(tmp_path / "mask.geojson"), gpd.read_parquet(tmp_path / "mask.parquet")
    assert exact.is_valid.all()
    assert degrees.is_valid.all(), degrees[~degrees.is_valid].is_valid_reason().tolist()
    np.testing.assert_allclose(degrees.to_crs(exact.crs).area, exact.area, rtol=0.05)


def test_each_result_keeps_its_own_list_of_failures(tmp_path: Path) -> None:
    """A clean run into the same folder removed the list of another result of the same stem."""
    values = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8)
    path = write(tmp_path / "s.tif", values, tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    whole = path.read_bytes()
    content = bytearray(whole)
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    skip = RunSettings(formats=("geojson", "fgb"), on_error="skip")
    summary = vectorize_raster(path, tmp_path / "out", skip)
    lists = [tmp_path / "out" / f"s.{suffix}.failures.json" for suffix in ("geojson", "fgb")]
    assert summary.failures
    assert [json.loads(text.read_text()) for text in lists] == [summary.failures] * 2
    assert summary.files["failures"] == str(lists[0])
    path.write_bytes(whole)
    vectorize_raster(path, tmp_path / "out" / "s.fgb")
    assert [text.exists() for text in lists] == [True, False]


@pytest.mark.parametrize("split", ["off", 0.5])
def test_a_mask_whose_objects_are_its_nodata_value_is_told(tmp_path: Path, split: Any) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:15] = 255
    path, out, wanted = tmp_path / "m.tif", tmp_path / "m.fgb", RunSettings(split=split, overwrite=True)
    shape = {"count": 1, "height": 20, "width": 30, "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32645", transform=TRANSFORM, **shape) as file:
        file.write(mask, 1)
    told = vectorize_raster(path, out, wanted)
    assert told.footprints == 0
    assert "m has no object besides pixels of its nodata value 255" in " ".join(told.notes)
    assert f"rio edit-info {path} --unset-nodata" in " ".join(told.notes)
    # A map that names its classes knows what it calls nodata.
    with rasterio.open(path, "r+") as file:
        file.update_tags(class_1="building")
    assert "nodata" not in " ".join(vectorize_raster(path, out, wanted).notes)
    with rasterio.open(path, "r+") as file:
        file.update_tags(class_1="")
        file.nodata = None  # what rio does
    found = vectorize_raster(path, out, wanted)
    assert (found.footprints, "nodata" in " ".join(found.notes)) == (1, False)
    # Nor a word where there is an object, or nothing was left out.
    for value, pixel in ((255, 1), (7, 0)):
        mask[0, 0] = pixel
        with rasterio.open(path, "r+") as file:
            file.write(mask, 1)
            file.nodata = value
        assert "nodata" not in " ".join(vectorize_raster(path, out, wanted).notes)


@pytest.mark.parametrize(("mode", "band"), [("RGBA", 4), ("LA", 2)])
def test_a_mask_in_the_alpha_band_alone_is_told(tmp_path: Path, mode: str, band: int) -> None:
    hidden = np.zeros((20, 30), np.uint8)
    hidden[4:9, 5:15] = 255
    pixels = np.stack([*[np.zeros_like(hidden)] * (band - 1), hidden], -1)
    Image.fromarray(pixels, mode).save(tmp_path / "a.png")
    told = vectorize_raster(tmp_path / "a.png", tmp_path / "a.geojson")
    assert told.footprints == 0
    assert f"no object where its alpha band shows data; --bands {band} takes" in told.notes[-1]
    found = vectorize_raster(tmp_path / "a.png", tmp_path / "b.geojson", RunSettings(bands=(band,)))
    assert found.footprints == 1  # as the note advises
    assert "alpha" not in " ".join(found.notes)


@pytest.mark.parametrize("format", ["geojson", "parquet", "gpkg", "fgb", "shp"])
def test_outlines_that_nobody_moved_become_no_geometries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """One object with 2.25 million holes took 3 GB as a geometry of GEOS; as arrays a third of that."""
    holes = np.ones((301, 301), np.uint8)
    holes[1::2, 1::2] = 0
    path = write(tmp_path / "holes.tif", holes)

    def refuse(*given: Any) -> Any:
        raise AssertionError("a geometry was made")

    with monkeypatch.context() as patch:
        patch.setattr(RaggedPolygons, "geometries", refuse)
        patch.setattr("shapely.from_ragged_array", refuse)
        vectorize_raster(path, tmp_path / f"o.{format}")
    out = tmp_path / f"o.{format}"
    (shape,) = (gpd.read_parquet(out) if format == "parquet" else gpd.read_file(out)).geometry
    (part,) = getattr(shape, "geoms", [shape])
    assert (len(part.interiors), part.is_valid) == (150 * 150, True)
    if format != "geojson":  # which is in degrees
        assert shapely.area(part) == holes.sum() * 0.25


def test_an_option_given_twice_is_refused(tmp_path: Path) -> None:
    """Of --format gpkg --format shp the first was not written, with exit status 0."""
    path = str(write(tmp_path / "mask.tif", mask()))
    words = ["vectorize", path, "-o", str(tmp_path / "o")]
    twice = CliRunner().invoke(app, [*words, "--format", "gpkg", "--format", "fgb"])
    assert twice.exit_code == 2
    assert "--format must be given once; several values are separated by commas" in twice.stderr
    assert not (tmp_path / "o").exists()
    assert CliRunner().invoke(app, [*words, "--format", "gpkg,fgb", "--overwrite"]).exit_code == 0
    assert sorted(file.name for file in (tmp_path / "o").iterdir()) == ["mask.fgb", "mask.gpkg", "mask.qml"]
