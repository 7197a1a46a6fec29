"""Files against files: formats, coordinate systems, cells, rasters, bad input."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from PIL import Image

import geoseg
from geoseg.errors import InputError, MissingFileError
from geoseg.io.geometry_heap import GeometryHeap
from geoseg.io.hints import SETTINGS_TAG
from geoseg.io.scene import Scene
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.pipeline.evaluation import files as module
from geoseg.pipeline.evaluation import vectors as evaluate_vectors
from geoseg.pipeline.evaluation.files import evaluate_files
from geoseg.scores.objects import evaluate_objects

UTM = "EPSG:32645"
ORIGIN = (366_000.0, 3_056_000.0)


def _town(n: int = 60, seed: int = 0) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Truth and prediction in UTM, 12 m apart; every seventh is missed, every fifth far off."""
    rng = np.random.default_rng(seed)
    k = np.arange(n)
    x, y = ORIGIN[0] + 12.0 * (k % 10), ORIGIN[1] + 12.0 * (k // 10)
    truth = shapely.box(x, y, x + 9, y + 8)
    shift = np.where(k % 5 == 0, 5.0, rng.normal(0, 0.4, n))
    pred = shapely.box(x + shift, y, x + shift + 9, y + 8)[k % 7 != 0]
    classes = np.where(k % 2 == 0, "house", "tank")
    return (
        gpd.GeoDataFrame({"kind": classes}, geometry=truth, crs=UTM),
        gpd.GeoDataFrame(
            {"kind": classes[k % 7 != 0], "confidence": rng.random(len(pred))}, geometry=pred, crs=UTM
        ),
    )


def _write(frame: gpd.GeoDataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, engine="pyogrio")
    return path


def _close(a: Any, b: Any, rel: float = 1e-9) -> None:
    for field in dataclasses.fields(a):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, float):
            assert one == pytest.approx(two, rel=rel, nan_ok=True), field.name
        elif field.name == "classes":
            for x, y in zip(one, two, strict=True):
                _close(x, y, rel)
        else:
            assert one == two, field.name


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".shp", ".parquet"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    truth, pred = _town()
    expected = evaluate_files(_write(pred, tmp_path / "p.gpkg"), _write(truth, tmp_path / "t.gpkg"))
    got = evaluate_files(_write(pred, tmp_path / f"a{suffix}"), _write(truth, tmp_path / f"b{suffix}"))
    assert got.objects is not None
    assert expected.objects is not None
    assert (got.objects.matched, got.objects.ap) == (expected.objects.matched, expected.objects.ap)
    assert got.score_column == ("confidence" if suffix != ".shp" else "confidence"[:10])
    assert 0.5 < got.objects.f1 < 0.9


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".shp", ".parquet"])
def test_empty_files(tmp_path: Path, suffix: str) -> None:
    truth, pred = _town()
    full = _write(truth, tmp_path / "t.gpkg")
    empty = _write(pred.iloc[:0], tmp_path / f"empty{suffix}")
    got = evaluate_files(empty, full)
    assert got.objects is not None
    assert (got.objects.predictions, got.objects.missed, got.pixels.iou) == (0, 60, 0.0)
    nothing = evaluate_files(empty, empty)
    assert nothing.objects is not None
    assert math.isnan(nothing.objects.f1)


def test_any_crs_gives_the_same_meters(tmp_path: Path) -> None:
    truth, pred = _town()
    base = evaluate_files(_write(pred, tmp_path / "p.gpkg"), _write(truth, tmp_path / "t.gpkg"))
    mixed = evaluate_files(
        _write(pred.to_crs(4326), tmp_path / "p.geojson"), _write(truth.to_crs(3857), tmp_path / "t3857.gpkg")
    )
    assert base.objects is not None
    assert mixed.objects is not None
    _close(base.objects, mixed.objects, rel=1e-3)
    assert mixed.objects.polis == pytest.approx(base.objects.polis, rel=1e-3)
    assert mixed.unit == "m"


def test_meters_are_true_where_mercator_stretches(tmp_path: Path) -> None:
    truth = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 20, 20)], crs="EPSG:32635").translate(
        500_000, 6_650_000
    )
    moved = truth.translate(2.0, 0.0)
    paths = [
        _write(gpd.GeoDataFrame(geometry=side.to_crs(3857)), tmp_path / f"{i}.gpkg")
        for i, side in enumerate((moved, truth))
    ]
    got = evaluate_files(*paths).objects
    assert got is not None
    assert got.hausdorff == pytest.approx(2.0, rel=2e-3)


@pytest.mark.parametrize(
    ("crs", "unit"), [("IAU_2015:30110", "m"), ('LOCAL_CS["drone",UNIT["metre",1]]', "px")]
)
def test_other_bodies_and_local_grids(tmp_path: Path, crs: str, unit: str) -> None:
    truth, pred = (frame.translate(-ORIGIN[0], -ORIGIN[1]) for frame in _town())
    files = [
        _write(gpd.GeoDataFrame(geometry=shapes.set_crs(crs, allow_override=True)), tmp_path / f"{name}.gpkg")
        for name, shapes in (("pred", pred), ("truth", truth))
    ]
    result = evaluate_files(*files)
    plain = evaluate_objects(truth.to_numpy(), pred.to_numpy())
    assert result.unit == unit
    assert result.objects is not None
    assert result.objects.matched == plain.matched
    assert result.objects.polis == pytest.approx(plain.polis, rel=1e-3)
    assert geoseg.compare(*files).unit == f"{unit}2"


def test_meters_are_true_on_both_sides_of_180_degrees(tmp_path: Path) -> None:
    plane = "+proj=laea +lat_0=-17 +lon_0=180 +datum=WGS84 +units=m"
    truth, pred = (
        frame.set_crs(plane, allow_override=True).translate(-ORIGIN[0] - 61, -ORIGIN[1]) for frame in _town()
    )
    files = {}
    for name, shapes in (("truth", truth), ("pred", pred)):
        # One house lies on the line, and a GeoJSON has it in two parts.
        cut = split_at_antimeridian(shapes.to_crs("EPSG:4326").to_numpy(), continuous=False)
        for suffix, geometry, crs in (("gpkg", shapes.to_numpy(), plane), ("geojson", cut, "EPSG:4326")):
            path = tmp_path / f"{name}.{suffix}"
            files[name, suffix] = _write(gpd.GeoDataFrame(geometry=geometry, crs=crs), path)
    whole, split = (
        evaluate_files(files["pred", suffix], files["truth", suffix]).objects
        for suffix in ("gpkg", "geojson")
    )
    assert whole is not None
    assert split is not None
    assert split.matched == whole.matched
    assert split.polis == pytest.approx(whole.polis, rel=1e-3)
    assert split.boundary_iou == pytest.approx(whole.boundary_iou, rel=1e-3)


def test_cells_and_spilling_have_no_influence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, pred = _town(300)
    truth.loc[len(truth)] = ["house", shapely.box(ORIGIN[0], ORIGIN[1] - 3, ORIGIN[0] + 120, ORIGIN[1] + 1)]
    t, p = _write(truth, tmp_path / "t.gpkg"), _write(pred, tmp_path / "p.gpkg")
    aoi = gpd.GeoDataFrame(
        geometry=[shapely.box(*ORIGIN, ORIGIN[0] + 100, ORIGIN[1] + 333).buffer(2)], crs=UTM
    )
    area = _write(aoi, tmp_path / "aoi.gpkg")
    whole = evaluate_files(p, t, aoi=area, class_column="kind")
    compare = evaluate_vectors.compare_sides
    monkeypatch.setattr(module, "compare_sides", lambda *a, **k: compare(*a, **k, cell=11))
    monkeypatch.setattr(module, "IN_MEMORY", 10)
    parts = evaluate_files(p, t, aoi=area, class_column="kind")
    assert whole.objects is not None
    assert parts.objects is not None
    _close(whole.objects, parts.objects)
    _close(whole.pixels, parts.pixels)
    assert list(parts.objects_by_class) == ["house", "tank"]
    assert sum(one.matched for one in parts.objects_by_class.values()) == parts.objects.matched


def test_neighbors_add_up_over_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Houses of 5 m in a row: 20 shared walls of 8 m, 20 gaps of half a meter, an overlap of 1 m."""
    lefts = [5.0 * k for k in range(21)] + [105.5 + 5.5 * k for k in range(20)] + [214.0]
    row = gpd.GeoDataFrame(geometry=[shapely.box(x, 0, x + 5, 8) for x in lefts], crs=UTM)
    row = row.set_geometry(row.translate(*ORIGIN))
    alone = row.iloc[:1]
    paths = _write(row, tmp_path / "row.gpkg"), _write(alone, tmp_path / "alone.gpkg")
    assert evaluate_files(*paths).neighbors is None
    whole = evaluate_files(*paths, coverage=True).neighbors
    assert whole is not None
    compare = evaluate_vectors.compare_sides
    monkeypatch.setattr(module, "compare_sides", lambda *a, **k: compare(*a, **k, cell=3))
    parts = evaluate_files(*paths, coverage=True)
    assert parts.neighbors is not None
    for found in (whole["pred"], parts.neighbors["pred"]):
        assert found.overlap == pytest.approx(8, rel=2e-3)
        assert found.gap == pytest.approx(20 * 0.5 * 8, rel=2e-3)
        assert found.shared == pytest.approx(20 * 8, rel=2e-3)
        assert 20 * 8 <= found.apart <= 21 * 10
    assert math.isnan(whole["truth"].shared_share)
    told = parts.to_dict()["neighbors"]
    assert told["truth"]["shared_share"] is None
    assert 0.4 < told["pred"]["shared_share"] < 0.5


def test_cells_hold_a_bounded_number_of_polygons() -> None:
    shapes = shapely.box(*np.random.default_rng(0).random((2, 500)) * 100, 100, 100)
    heap = GeometryHeap()
    side = evaluate_vectors.VectorSide(
        heap,
        None,
        np.zeros(500),
        shapely.bounds(shapes),
        np.zeros(500, np.int64),  # type: ignore[arg-type]
    )
    cells = list(evaluate_vectors._cells(side, side, 64))
    assert max(len(cell.truths) for cell in cells) <= 64
    np.testing.assert_array_equal(np.sort(np.concatenate([cell.truths for cell in cells])), np.arange(500))


def test_polygons_on_one_spot_end_the_halving() -> None:
    same = np.tile([[0.0, 0.0, 1.0, 1.0]], (40, 1))
    side = evaluate_vectors.VectorSide(
        GeometryHeap(),
        None,
        np.zeros(40),
        same,
        np.zeros(40, np.int64),  # type: ignore[arg-type]
    )
    assert [len(cell.truths) for cell in evaluate_vectors._cells(side, side, 8)] == [40]


def test_pixel_coordinates(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(geometry=[shapely.box(500, 700, 520, 730)])
    path = tmp_path / "p.geojson"
    path.write_text(frame.to_json())
    got = evaluate_files(path, path)
    assert (got.unit, got.pixels.unit) == ("px", "px2")
    assert got.pixels.classes[0].tp == 600
    known = _write(_town()[0], tmp_path / "t.gpkg")
    with pytest.raises(InputError, match="crs must be known for both files or for none"):
        evaluate_files(path, known)


def test_solaris_sample(data_dir: Path) -> None:
    folder = data_dir / "spacenet_solaris"
    got = evaluate_files(folder / "pred.geojson", folder / "gt.geojson").objects
    assert got is not None
    assert (got.matched, got.false, got.missed) == (8, 20, 20)


def test_two_annotators_against_the_slow_reference(data_dir: Path, reference: Any) -> None:
    folder = data_dir / "ramp_samples" / "interannotator_check"
    paths = [folder / f"{name}-labels.geojson" for name in ("matt", "seamus")]
    got = evaluate_files(*paths)
    shapes = [gpd.read_file(path).to_crs("EPSG:32646").geometry for path in paths]
    found = reference.match(list(shapes[1]), list(shapes[0]), 0.5)
    assert got.objects is not None
    assert got.objects.matched == len(found)
    pairs = [(shapes[1].iloc[t], shapes[0].iloc[p]) for p, t in found.items()]
    assert got.objects.polis == pytest.approx(np.mean([reference.polis(a, b) for a, b in pairs]), rel=1e-3)
    a, b = (side.union_all() for side in shapes)
    assert got.pixels.iou == pytest.approx(a.intersection(b).area / a.union(b).area, rel=1e-6)


def _raster(
    path: Path, values: np.ndarray, step: float = 0.5, nodata: float | None = None, **more: Any
) -> Path:
    box = {"transform": Affine(step, 0, ORIGIN[0] - 5, 0, -step, ORIGIN[1] + 80), "crs": UTM} | more
    height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=values.dtype,
        nodata=nodata,
        **box,
    ) as file:
        file.write(values, 1)
    return path


def _burn(frame: gpd.GeoDataFrame, step: float = 0.5, values: Any = None) -> np.ndarray:
    transform = Affine(step, 0, ORIGIN[0] - 5, 0, -step, ORIGIN[1] + 80)
    shape = (int(100 / step), int(140 / step))
    pairs = zip(frame.geometry, np.ones(len(frame), int) if values is None else values, strict=True)
    return np.asarray(rasterio.features.rasterize(pairs, shape, transform=transform, dtype="uint8"))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_raster_against_raster_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, pred = _town()
    a, b = _burn(truth), _burn(pred)
    monkeypatch.setattr("geoseg.pipeline.evaluation.rasters.CHUNK", 37)
    got = evaluate_files(_raster(tmp_path / "p.tif", b * 255), _raster(tmp_path / "t.tif", a)).pixels
    assert got.iou == pytest.approx(_iou(a > 0, b > 0))
    assert got.total == a.size
    assert got.accuracy == pytest.approx((a == b).mean())


def test_vector_against_raster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, pred = _town()
    a, b = _burn(truth), _burn(pred)
    monkeypatch.setattr("geoseg.pipeline.evaluation.rasters.CHUNK", 50)
    raster, vector = _raster(tmp_path / "t.tif", a), _write(pred.to_crs(4326), tmp_path / "p.geojson")
    got = evaluate_files(vector, raster)
    assert got.pixels.iou == pytest.approx(_iou(a > 0, b > 0), abs=2e-3)
    back = evaluate_files(raster, vector)
    assert back.pixels.iou == pytest.approx(got.pixels.iou)
    assert back.pixels.precision == pytest.approx(got.pixels.recall)
    assert got.pixel_method == "pixels of t.tif"


def test_rasters_of_other_grids_are_sampled(tmp_path: Path) -> None:
    truth, pred = _town()
    fine, coarse = _burn(pred, 0.25), _burn(truth)
    p = _raster(tmp_path / "p.tif", fine, 0.25)
    t = _raster(tmp_path / "t.tif", coarse)
    got = evaluate_files(p, t).pixels
    assert got.iou == pytest.approx(_iou(coarse > 0, fine[1::2, 1::2] > 0), abs=5e-3)
    half = _raster(tmp_path / "half.tif", fine[:200], 0.25)
    assert evaluate_files(half, t).pixels.total == 100 * 280, "what lies outside one raster is not compared"


def test_classes_probabilities_and_nodata(tmp_path: Path) -> None:
    truth, pred = _town()
    values = {"house": 1, "tank": 2}
    a = _burn(truth, values=[values[k] for k in truth.kind])
    b = _burn(pred, values=[values[k] for k in pred.kind])
    got = evaluate_files(_raster(tmp_path / "p.tif", b), _raster(tmp_path / "t.tif", a)).pixels
    assert [entry.name for entry in got.classes] == ["1", "2"]
    assert got.classes[1].iou == pytest.approx(_iou(a == 2, b == 2))
    prob = _raster(tmp_path / "prob.tif", (b > 0) * np.float32(0.7))
    with pytest.raises(InputError, match="--threshold"):
        evaluate_files(prob, tmp_path / "t.tif")
    one = _raster(tmp_path / "one.tif", (a > 0).astype(np.uint8))
    assert evaluate_files(prob, one, threshold=0.5).pixels.iou == pytest.approx(_iou(a > 0, b > 0))
    assert evaluate_files(prob, one, threshold=0.5).pixels.total == a.size
    holes = a.copy()
    holes[:30] = 255
    assert (
        evaluate_files(
            _raster(tmp_path / "p.tif", b), _raster(tmp_path / "h.tif", holes, nodata=255)
        ).pixels.total
        == a[30:].size
    )
    zero = _raster(tmp_path / "z.tif", a, nodata=0)
    assert evaluate_files(tmp_path / "p.tif", zero).pixels.total == a.size, (
        "nodata 0 of a class map is background"
    )


def test_class_maps_with_colors_keep_their_classes(tmp_path: Path) -> None:
    """A palette is for looking at: it neither makes three bands of a class map nor moves its values."""
    truth, pred = _town()
    a, b = _burn(truth), _burn(pred)
    paths = [_raster(tmp_path / f"{name}.tif", values) for name, values in (("p", b), ("t", a))]
    for path in paths:
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {0: (9, 9, 9, 255), 1: (255, 0, 0, 255)})
    got = evaluate_files(*paths).pixels
    assert got.iou == pytest.approx(_iou(a > 0, b > 0))
    assert got.total == a.size


def _bands(path: Path, bands: np.ndarray, texts: list[str], scale: float = 1, **tags: str) -> Path:
    """A raster of several bands with descriptions, a scale and tags."""
    box = {"transform": Affine(0.5, 0, ORIGIN[0] - 5, 0, -0.5, ORIGIN[1] + 80), "crs": UTM}
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=bands.dtype, **box
    ) as file:
        file.write(bands)
        file.descriptions = texts
        file.scales = [scale] * count
        file.update_tags(**tags)
    return path


def test_stored_probabilities_are_what_they_mean(tmp_path: Path) -> None:
    """Bytes of ``geoseg predict`` are probabilities, not 254 classes, and not all of them above 0.5."""
    truth, pred = _town()
    a, b = _burn(truth), _burn(pred)
    vector = _write(truth, tmp_path / "t.gpkg")
    stored = np.where(b > 0, 200, 60).astype(np.uint8)[None]  # 0.79 and 0.24
    prob = _bands(tmp_path / "p.tif", stored, ["house"], 1 / 254)
    for threshold in (None, 0.5, 0.7):
        got = evaluate_files(prob, vector, threshold=threshold).pixels
        assert [entry.name for entry in got.classes] == ["object"]
        assert got.iou == pytest.approx(_iou(a > 0, b > 0), abs=2e-3), threshold
    assert evaluate_files(prob, vector, threshold=0.2).pixels.precision == pytest.approx((a > 0).mean())
    with pytest.raises(InputError, match="threshold must be above 0 and at most 1"):
        evaluate_files(prob, vector, threshold=128)


@pytest.mark.parametrize("kept", [0.2, [0.2]])
def test_probabilities_have_the_threshold_of_their_run(tmp_path: Path, kept: float | list[float]) -> None:
    truth, _ = _town()
    a = _burn(truth)
    stored = np.where(a > 0, 60, 40).astype(np.uint8)[None]  # 0.24 and 0.16
    tags = {SETTINGS_TAG: json.dumps({"threshold": kept})}
    prob = _bands(tmp_path / "p.tif", stored, ["house"], 1 / 254, **tags)
    mask = _raster(tmp_path / "mask.tif", (a > 0).astype(np.uint8))
    assert evaluate_files(prob, mask).pixels.iou == 1
    assert evaluate_files(prob, mask, threshold=0.5).pixels.recall == 0


def test_probabilities_of_several_classes(tmp_path: Path) -> None:
    truth, pred = _town()
    a, b = (_burn(f, values=[{"house": 1, "tank": 2}[k] for k in f.kind]) for f in (truth, pred))
    prob = np.stack([(b == k) * 0.6 + 0.1 for k in (0, 2, 1)]).astype(np.float32)
    _bands(tmp_path / "p.tif", prob, ["background", "tank", "house"])
    got = evaluate_files(tmp_path / "p.tif", _write(truth, tmp_path / "t.gpkg"), class_column="kind").pixels
    found = {entry.name: entry.iou for entry in got.classes}
    assert found == pytest.approx({"house": _iou(a == 1, b == 1), "tank": _iou(a == 2, b == 2)}, abs=5e-3)


def test_values_go_by_their_names(tmp_path: Path) -> None:
    truth, pred = _town()
    a = _burn(truth, values=[{"house": 1, "tank": 2}[k] for k in truth.kind])
    b = _burn(pred, values=[{"house": 2, "tank": 1}[k] for k in pred.kind])
    t = _bands(tmp_path / "t.tif", a[None], [""], class_1="house", class_2="tank")
    p = _bands(tmp_path / "p.tif", b[None], [""], class_1="tank", class_2="house")
    got = evaluate_files(p, t).pixels
    assert {entry.name: entry.iou for entry in got.classes} == {
        "house": _iou(a == 1, b == 2), "tank": _iou(a == 2, b == 1),
    }  # fmt: skip
    vector = _write(pred, tmp_path / "p.gpkg")
    again = evaluate_files(vector, t, class_column="kind").pixels
    assert [entry.name for entry in again.classes] == ["house", "tank"]
    assert again.iou == pytest.approx(got.iou, abs=2e-3)
    bare = _raster(tmp_path / "bare.tif", a)
    with pytest.raises(InputError, match=r"integer values \(it names no classes\), got 'tank'"):
        evaluate_files(vector, bare, class_column="kind")


def _kinds(frame: gpd.GeoDataFrame) -> np.ndarray:
    """1 for a house, 2 for a tank."""
    return _burn(frame, values=[{"house": 1, "tank": 2}[k] for k in frame.kind])


def test_a_threshold_leaves_class_maps_beside_probabilities(tmp_path: Path) -> None:
    a = _kinds(_town()[0])
    t = _raster(tmp_path / "t.tif", a)
    prob = np.stack([(a == k) * 0.6 + 0.1 for k in (1, 2)]).astype(np.float32)
    p = _bands(tmp_path / "p.tif", prob, ["", ""])
    for pred, truth in ((p, t), (t, p)):
        got = evaluate_files(pred, truth, threshold=0.6).pixels
        assert [(entry.name, entry.iou) for entry in got.classes] == [("1", 1.0), ("2", 1.0)]


def test_a_threshold_makes_one_class_of_a_class_map(tmp_path: Path) -> None:
    truth = _town()[0]
    t = _bands(tmp_path / "t.tif", _kinds(truth)[None], [""], class_1="house", class_2="tank")
    got = evaluate_files(t, t, threshold=1).pixels
    assert [(entry.name, entry.iou) for entry in got.classes] == [("object", 1.0)]
    vector = _write(truth, tmp_path / "t.gpkg")
    assert evaluate_files(t, vector, threshold=1).pixels.iou == pytest.approx(1, abs=2e-3)
    with pytest.raises(InputError, match=r"class column must not go with a threshold that makes one class"):
        evaluate_files(t, vector, threshold=1, class_column="kind")


def test_a_share_as_threshold_of_whole_numbers_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of p * 255 that does not say so: each value but 0 reaches 0.4."""
    town = _burn(_town()[0])
    mask = _raster(tmp_path / "mask.tif", town * 255)
    prob = _raster(tmp_path / "prob.tif", np.where(town > 0, 200, 50).astype(np.uint8))
    got = evaluate_files(prob, mask, threshold=0.4).pixels
    assert got.precision == pytest.approx((town > 0).mean())
    assert "prob.tif holds whole numbers up to 200: the threshold 0.4 takes all but 0" in caplog.text
    caplog.clear()
    # As the message advises, and a mask is not meant.
    assert evaluate_files(prob, mask, threshold=102).pixels.iou == 1
    assert evaluate_files(mask, mask, threshold=0.5).pixels.iou == 1
    assert caplog.text == ""


def test_one_class_rasters_that_name_it_differently(tmp_path: Path) -> None:
    mask = (_kinds(_town()[0]) > 0).astype(np.uint8)[None]
    house, tank = (_bands(tmp_path / f"{name}.tif", mask, [""], class_1=name) for name in ("house", "tank"))
    got = evaluate_files(house, tank).pixels
    assert sorted((entry.name, entry.iou) for entry in got.classes) == [("house", 0.0), ("tank", 0.0)]
    bare = _raster(tmp_path / "bare.tif", mask[0] * 255)
    for one in (house, bare):
        assert [(entry.name, entry.iou) for entry in evaluate_files(one, house).pixels.classes] == [
            ("object", 1.0)
        ]


def test_made_up_names_are_not_known_names(tmp_path: Path) -> None:
    truth = _town()[0]
    stored = np.where(_burn(truth) > 0, 200, 60).astype(np.uint8)[None]
    prob = _bands(tmp_path / "p.tif", stored, [""], 1 / 254)
    vector = _write(truth, tmp_path / "t.gpkg")
    with pytest.raises(InputError, match=r"\(it names no classes\), got 'house'"):
        evaluate_files(prob, vector, class_column="kind")


@pytest.mark.parametrize(("value", "text"), [(1.7, r"'1\.7'"), (None, "an empty value")])
def test_class_columns_hold_whole_numbers(tmp_path: Path, value: float | None, text: str) -> None:
    truth = _town()[0]
    raster = _raster(tmp_path / "t.tif", _burn(truth))
    vector = _write(truth.assign(kind=[1.0] * 59 + [value]), tmp_path / "p.gpkg")
    with pytest.raises(InputError, match=rf"integer values \(it names no classes\), got {text}\. "):
        evaluate_files(vector, raster, class_column="kind")
    whole = _write(truth.assign(kind=1.0), tmp_path / "whole.gpkg")
    assert evaluate_files(whole, raster, class_column="kind").pixels.iou == pytest.approx(1, abs=2e-3)


def test_values_without_a_name_are_kept_apart(tmp_path: Path) -> None:
    """A value 3 that has no name is not the third of all names."""
    a = _kinds(_town()[0])
    three = np.where(a == 2, 3, a)
    t = _bands(tmp_path / "t.tif", three[None], [""], class_1="house", class_2="road")
    p = _bands(tmp_path / "p.tif", a[None], [""], class_1="house", class_2="tank")
    got = evaluate_files(p, t).pixels
    assert {entry.name: entry.iou for entry in got.classes} == {"house": 1.0, "tank": 0.0, "3": 0.0}
    for other in (t, _raster(tmp_path / "bare.tif", three)):  # by value, where there is no name
        got = evaluate_files(other, t).pixels
        assert {entry.name: entry.iou for entry in got.classes} == {"house": 1.0, "3": 1.0}
        assert evaluate_files(t, other).pixels.iou == 1
    names = {f"class_{k}": f"kind {k}" for k in range(1, 1024)}
    with pytest.raises(InputError, match="classes must be at most 1023 in both files together"):
        evaluate_files(_bands(tmp_path / "many.tif", a[None], [""], **names), t)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint32", "float32"])
def test_class_maps_above_255(tmp_path: Path, dtype: str) -> None:
    """Land cover is often numbered like 111, 112, ... 523."""
    truth = _town()[0].assign(
        kind=[(112, 311, 523, 70_000 if dtype != "uint16" else 999)[k % 4] for k in range(60)]
    )
    a = np.zeros((200, 280), dtype)
    for value in truth.kind.unique():
        a[_burn(truth[truth.kind == value]) > 0] = value
    t = _raster(tmp_path / "t.tif", a)
    p = _raster(tmp_path / "p.tif", np.where(a == 311, 112, a).astype(dtype))
    scores = {entry.name: entry.iou for entry in evaluate_files(p, t).pixels.classes}
    assert list(scores) == ["112", "311", "523", str(truth.kind.max())]
    assert [scores["311"], scores["523"]] == [0, 1]
    assert scores["112"] == (a == 112).sum() / np.isin(a, (112, 311)).sum()
    vector = _write(truth, tmp_path / "t.gpkg")
    found = evaluate_files(vector, t, class_column="kind").pixels
    assert [entry.name for entry in found.classes] == list(scores)
    assert found.iou == 1


def test_numbers_of_objects_are_no_classes(tmp_path: Path) -> None:
    ids = _raster(tmp_path / "ids.tif", np.arange(2000, dtype=np.int32).reshape(40, 50))
    with pytest.raises(InputError, match=r"classes must be at most 1023 .* make a mask"):
        evaluate_files(ids, ids)
    below = _raster(tmp_path / "below.tif", np.full((40, 50), -1, np.int16))
    with pytest.raises(InputError, match="must hold classes, whole numbers from 0 on, got values from -1"):
        evaluate_files(below, below)


def test_one_missing_class_changes_no_other(tmp_path: Path) -> None:
    """It makes floats of a column of whole numbers, in one of the two files."""
    truth = _town()[0].assign(kind=[1 + k % 2 for k in range(60)])
    holes = truth.assign(kind=[None, *truth.kind[1:].astype(float)])
    for suffix in (".gpkg", ".geojson", ".fgb"):
        t, p = _write(truth, tmp_path / f"t{suffix}"), _write(holes, tmp_path / f"p{suffix}")
        found = evaluate_files(p, t, class_column="kind")
        assert list(found.objects_by_class) == ["1", "2", "(no class)"]
        assert found.objects is not None
        assert (found.objects.matched, found.objects.false, found.objects.missed) == (59, 1, 1)


def test_an_area_of_interest_elsewhere_is_refused(tmp_path: Path) -> None:
    truth, pred = _town()
    far = gpd.GeoDataFrame(geometry=[shapely.box(*ORIGIN, ORIGIN[0] + 9, ORIGIN[1] + 9)], crs=UTM)
    far = _write(far.translate(50_000).to_frame("geometry"), tmp_path / "far.gpkg")
    t, p = _write(truth, tmp_path / "t.gpkg"), _write(pred.to_crs(4326), tmp_path / "p.geojson")
    with pytest.raises(InputError, match=r"aoi must meet the files, got .*far.gpkg, which lies outside of"):
        evaluate_files(p, t, aoi=far)
    mask = _raster(tmp_path / "m.tif", _burn(truth))
    for one, other in ((mask, mask), (p, mask), (mask, t)):
        with pytest.raises(InputError, match=r"pixels in common, .* that both know lies in .*far.gpkg"):
            evaluate_files(one, other, aoi=far)
    elsewhere = _raster(tmp_path / "e.tif", _burn(truth), transform=Affine(1, 0, 0, 0, -1, 80))
    with pytest.raises(InputError, match="pred and truth must have pixels in common"):
        evaluate_files(elsewhere, mask)


def test_layers_of_one_file(tmp_path: Path) -> None:
    truth, pred = _town()
    path = tmp_path / "both.gpkg"
    truth.to_file(path, layer="truth")
    pred.to_file(path, layer="found", mode="a")
    apart = evaluate_files(_write(pred, tmp_path / "p.gpkg"), _write(truth, tmp_path / "t.gpkg"))
    with pytest.raises(InputError, match=r"layer of both.gpkg must be chosen, got 2 of them: truth, found"):
        evaluate_files(path, path)
    together = evaluate_files(f"{path}|found", f"{path}|truth")
    assert together.to_dict()["objects"] == apart.to_dict()["objects"]
    assert (together.pred, together.truth) == (f"{path}|found", f"{path}|truth")


def test_the_four_pairings_agree(tmp_path: Path) -> None:
    """With classes and without; without a class column all objects are of one class, also a raster's."""
    truth = _town()[0].assign(kind=[1 + k % 2 for k in range(60)])
    pred = truth.assign(
        kind=[1 + k % 2 if k % 9 else 3 for k in range(60)], geometry=truth.translate(1.2, 0.7)
    )
    sides = [
        (
            _write(frame, tmp_path / f"{name}.gpkg"),
            _raster(tmp_path / f"{name}.tif", _burn(frame, 0.1, frame.kind), 0.1),
        )
        for name, frame in (("p", pred[5:]), ("t", truth))
    ]
    exact = evaluate_files(sides[0][0], sides[1][0]).pixels
    by_class = evaluate_files(sides[0][0], sides[1][0], class_column="kind").pixels
    assert [entry.name for entry in by_class.classes] == ["1", "2", "3"]
    for p, t in ((sides[0][0], sides[1][1]), (sides[0][1], sides[1][0])):
        assert evaluate_files(p, t).pixels.iou == pytest.approx(exact.iou, abs=2e-3)
    for p, t in ((sides[0][0], sides[1][1]), (sides[0][1], sides[1][0]), (sides[0][1], sides[1][1])):
        column = None if p.suffix == t.suffix == ".tif" else "kind"
        found = evaluate_files(p, t, class_column=column).pixels
        assert [entry.name for entry in found.classes] == ["1", "2", "3"]
        assert found.iou == pytest.approx(by_class.iou, abs=2e-3)


def test_a_much_finer_raster_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, pred = _town()
    fine, coarse = _burn(pred, 0.25), _burn(truth, 2.0)
    p, t = _raster(tmp_path / "p.tif", fine, 0.25), _raster(tmp_path / "t.tif", coarse, 2.0)
    whole = evaluate_files(p, t).pixels
    sizes: list[int] = []
    read = Scene.read
    monkeypatch.setattr(Scene, "read", lambda self, w: sizes.append(w.height * w.width) or read(self, w))
    monkeypatch.setattr("geoseg.pipeline.evaluation.readers.MOST", 9_000)
    pieces = evaluate_files(p, t).pixels
    _close(whole, pieces)
    assert max(sizes) <= 9_000


def test_nothing_in_an_area_of_interest(tmp_path: Path) -> None:
    """Two files without polygons are all right inside an area without any."""
    none = _write(_town()[0].iloc[:0], tmp_path / "none.gpkg")
    square = shapely.box(ORIGIN[0], ORIGIN[1], ORIGIN[0] + 50, ORIGIN[1] + 40)
    area = _write(gpd.GeoDataFrame(geometry=[square], crs=UTM), tmp_path / "aoi.gpkg")
    got = evaluate_files(none, none, aoi=area)
    assert got.pixels.accuracy == 1
    assert got.pixels.total == pytest.approx(2000, rel=2e-3)
    raster = _raster(tmp_path / "t.tif", _burn(_town()[0]))
    with pytest.raises(InputError, match="aoi must hold at least one polygon"):
        evaluate_files(raster, raster, aoi=none)


def test_area_of_interest_of_rasters(tmp_path: Path) -> None:
    truth, pred = _town()
    a, b = _burn(truth), _burn(pred)
    area = gpd.GeoDataFrame(
        geometry=[shapely.box(ORIGIN[0], ORIGIN[1], ORIGIN[0] + 50, ORIGIN[1] + 40)], crs=UTM
    )
    got = evaluate_files(
        _raster(tmp_path / "p.tif", b),
        _raster(tmp_path / "t.tif", a),
        aoi=_write(area, tmp_path / "aoi.gpkg"),
    ).pixels
    assert got.total == 100 * 80
    inside = _burn(area) > 0
    assert got.iou == pytest.approx(_iou((a > 0) & inside, (b > 0) & inside))


def test_an_area_of_interest_makes_no_mask_of_a_class_map(tmp_path: Path) -> None:
    truth, _ = _town()
    area = gpd.GeoDataFrame(
        geometry=[shapely.box(ORIGIN[0], ORIGIN[1], ORIGIN[0] + 50, ORIGIN[1] + 40)], crs=UTM
    )
    inside = (_burn(area) > 0) & (_burn(truth) > 0)
    # The same objects, roads in one map and houses in the other; elsewhere both maps know both classes.
    maps = [np.where(inside, here, _burn(truth, values=np.arange(len(truth)) % 2 + 1)) for here in (1, 2)]
    files = [_raster(tmp_path / f"{k}.tif", values) for k, values in enumerate(maps)]
    got = evaluate_files(*files, aoi=_write(area, tmp_path / "aoi.gpkg")).pixels
    assert {entry.name: entry.iou for entry in got.classes} == {"1": 0, "2": 0}


def test_classes_without_a_value_in_common_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The prediction says 255, the truth 1, and 2 on ground that is not compared: no class has a score."""
    values = _burn(_town()[0])
    area = gpd.GeoDataFrame(
        geometry=[shapely.box(ORIGIN[0], ORIGIN[1], ORIGIN[0] + 50, ORIGIN[1] + 40)], crs=UTM
    )
    inside, aoi = _burn(area) > 0, _write(area, tmp_path / "aoi.gpkg")
    pred = _raster(tmp_path / "pred.tif", ((values > 0) * 255).astype(np.uint8))
    truth = _raster(tmp_path / "truth.tif", np.where(inside, values > 0, 2).astype(np.uint8))
    got = evaluate_files(pred, truth, aoi=aoi).pixels
    assert {entry.name: entry.iou for entry in got.classes} == {"1": 0, "255": 0}
    assert "truth.tif (1)" in caplog.text
    assert "pred.tif (255) have no value in common; give --threshold 1 to compare objects" in caplog.text
    caplog.clear()
    assert evaluate_files(pred, truth, aoi=aoi, threshold=1).pixels.iou == 1
    evaluate_files(truth, truth)
    evaluate_files(pred, pred, aoi=aoi)
    assert not caplog.text
    # A threshold would leave these two their names.
    house, tank = (
        _bands(tmp_path / f"{name}.tif", (values > 0).astype(np.uint8)[None], [""], class_1=name)
        for name in ("house", "tank")
    )
    evaluate_files(house, tank)
    assert "have no value in common" in caplog.text
    assert "threshold" not in caplog.text


def test_bad_input(tmp_path: Path) -> None:
    truth, _ = _town()
    good = _write(truth, tmp_path / "t.gpkg")
    with pytest.raises(MissingFileError, match="vector file must exist"):
        evaluate_files(tmp_path / "absent.geojson", good)
    (tmp_path / "broken.geojson").write_text("{ not json")
    with pytest.raises(InputError, match="vector file must be readable"):
        evaluate_files(tmp_path / "broken.geojson", good)
    with pytest.raises(InputError, match=r"column must be one of t\.gpkg \(kind\), got 'class'"):
        evaluate_files(good, good, class_column="class")
    with pytest.raises(InputError, match="must hold numbers"):
        evaluate_files(good, good, score_column="kind")
    with pytest.raises(InputError, match="aoi must hold at least one polygon"):
        evaluate_files(good, good, aoi=_write(truth.iloc[:0], tmp_path / "none.gpkg"))
    with pytest.raises(InputError, match="iou must be"):
        evaluate_files(good, good, iou=1.5)
    with pytest.raises(InputError, match="boundary must be greater than 0"):
        evaluate_files(good, good, boundary_distance=0)
    with pytest.raises(InputError, match="threshold must go with a raster"):
        evaluate_files(good, good, threshold=0.5)
    mask = _raster(tmp_path / "mask.tif", _burn(truth))
    with pytest.raises(InputError, match="score column must go with two vector files"):
        evaluate_files(good, mask, score_column="confidence")
    with pytest.raises(InputError, match="class column must go with a vector file, got 'nonsense'"):
        evaluate_files(mask, mask, class_column="nonsense")
    with pytest.raises(InputError, match="threshold must be a finite number, got nan"):
        evaluate_files(mask, mask, threshold=math.nan)
    many = tmp_path / "rgb.tif"
    with rasterio.open(many, "w", driver="GTiff", height=4, width=4, count=3, dtype="uint8", crs=UTM,
                       transform=Affine(1, 0, ORIGIN[0], 0, -1, ORIGIN[1])) as file:  # fmt: skip
        file.write(np.stack([np.zeros((4, 4)), np.eye(4), np.zeros((4, 4))]).astype(np.uint8))
    with pytest.raises(
        InputError, match=r"one value a pixel, got bands that differ, as of colors. Save class"
    ):
        evaluate_files(many, good)


def test_json_has_no_nan(tmp_path: Path) -> None:
    truth, pred = _town()
    empty = _write(pred.iloc[:0], tmp_path / "p.gpkg")
    result = evaluate_files(empty, _write(truth, tmp_path / "t.gpkg")).to_dict()
    assert result["objects"]["precision"] is None
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_mask_in_the_alpha_band_alone_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All that alpha shows has the value 0: the truth had no object, and nobody said so."""
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:15] = 255
    Image.fromarray(np.stack([np.zeros_like(mask), mask], -1)).save(tmp_path / "truth.png")
    Image.fromarray(mask).save(tmp_path / "pred.png")
    evaluate_files(tmp_path / "pred.png", tmp_path / "truth.png")
    assert "truth.png has no object where its alpha band shows data" in caplog.text
    assert "gdal_translate -b 2" in caplog.text
    caplog.clear()
    evaluate_files(tmp_path / "pred.png", tmp_path / "pred.png")
    assert caplog.text == ""
