"""Footprint files: the same bytes for any chunks and threads, right columns, always valid."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from scipy import ndimage

import geoseg
from geoseg import cpus
from geoseg.errors import InputError, RunError
from geoseg.files import FolderDepot
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io import spill
from geoseg.io.writers import FORMATS
from geoseg.pipeline import steps
from geoseg.pipeline.steps import Batch, Steps
from geoseg.pipeline.vectorize import ChunkValues, VectorizeSummary, vectorize_classes
from geoseg.pipeline.workers import base
from geoseg.raster.split import SplitRule

SHAPE = (150, 130)
UTM = GeoBox(Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000), CRS.from_epsg(32645), *SHAPE)


def scene(seed: int = 0) -> dict[str, np.ndarray]:
    """Smooth classes, bytes of probability, a hole in the data."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    invalid = np.zeros(SHAPE, bool)
    invalid[40:60, 90:120] = True
    return {
        "values": np.digitize(noise, [0.08, 0.16]).astype(np.uint8),
        "prob": rng.integers(127, 255, SHAPE).astype(np.uint8),
        "invalid": invalid,
    }


def vectorize(
    folder: Path, rasters: dict[str, np.ndarray], formats: tuple[str, ...] = ("parquet",), **options: Any
) -> tuple[VectorizeSummary, dict[str, Path]]:
    def read(window: Window) -> ChunkValues:
        return ChunkValues(**{name: raster[window.rows, window.cols] for name, raster in rasters.items()})

    spill_dir = folder / "spill"
    spill_dir.mkdir(parents=True)
    out = {name: folder / f"scene{FORMATS[name]}" for name in formats}
    settings: dict[str, Any] = {
        "chunk": 64, "connectivity": 8, "class_names": ("building", "road"), "geobox": UTM, "scene": "scene",
    } | options  # fmt: skip
    chosen = {
        name: settings.pop(name) for name in ("min_area_m2", "simplify_m", "regularize") if name in settings
    }
    settings.setdefault("steps", Steps(**chosen))
    height, width = rasters["values"].shape
    summary = vectorize_classes(read, height, width, out=out, spill_dir=spill_dir, **settings)
    assert list(spill_dir.iterdir()) == []
    return summary, out


def frame(folder: Path, rasters: dict[str, np.ndarray], **options: Any) -> gpd.GeoDataFrame:
    _, out = vectorize(folder, rasters, **options)
    return gpd.read_parquet(out["parquet"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"simplify_m": 0.8, "min_area_m2": 3.0, "acquired": "2024-05-01"},
        {"regularize": True, "min_confidence": 0.75},
        {"min_confidence": 0.75, "split": SplitRule(0.1, 1.0, 4)},
    ],
)
def test_same_bytes_for_any_chunks_and_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    formats = tuple(FORMATS)
    _, whole = vectorize(tmp_path / "whole", scene(), formats, chunk=200, threads=1, **options)
    monkeypatch.setattr(steps, "_SHARE_CORNERS", 200)  # several shares, which threads take at once
    for number, (chunk, threads) in enumerate([(64, 2), (17, 3), ((9, 130), 1)]):
        _, parts = vectorize(
            tmp_path / str(number), scene(), formats, chunk=chunk, threads=threads, **options
        )
        for name in formats:
            assert parts[name].read_bytes() == whole[name].read_bytes(), name


def test_objects_that_touch_have_equal_walls_in_every_format(tmp_path: Path) -> None:
    """Where a third object ends on a wall, too; in longitude and latitude, as well."""
    values = np.kron(np.random.default_rng(0).integers(0, 3, (30, 26)), np.ones((5, 5), int)).astype(np.uint8)
    _, out = vectorize(tmp_path, {"values": values}, tuple(FORMATS))
    for name, path in out.items():
        if name == "pmtiles":  # whose corners are moved to the units of tiles
            continue
        found = gpd.read_parquet(path) if name == "parquet" else gpd.read_file(path)
        assert shapely.coverage_is_valid(found.geometry.to_numpy()), name


def test_a_disk_that_is_pulled_does_not_hide_what_ended_the_run(tmp_path: Path) -> None:
    """What splitting keeps can't be removed any more; that is not what the user has to know."""
    disk = tmp_path / "disk"
    (disk / "store").mkdir(parents=True)

    def read(window: Window) -> ChunkValues:
        if disk.exists():
            disk.rename(tmp_path / "pulled")
        raise RunError("the scene can't be read")

    with pytest.raises(RunError, match="the scene can't be read"):
        vectorize_classes(
            read, 64, 64, chunk=64, connectivity=8, class_names=("building",), geobox=UTM, scene="scene",
            out={}, spill_dir=tmp_path, depot=FolderDepot(disk / "store"), split=SplitRule(0.1, 1.0, 4),
        )  # fmt: skip


def test_columns(tmp_path: Path) -> None:
    rasters = scene()
    found = frame(tmp_path, rasters, acquired="2024-05-01")
    assert list(found.columns) == [
        "id", "class", "area_m2", "confidence", "touches_edge", "scene", "acquired", "geometry",
    ]  # fmt: skip
    assert found["id"].tolist() == list(range(1, len(found) + 1))
    assert set(found["class"]) == {"building", "road"}
    assert set(found["scene"]) == {"scene"}
    assert found.crs == UTM.crs
    assert found.is_valid.all()


def test_values_of_the_columns(tmp_path: Path) -> None:
    rasters = scene()
    found = frame(tmp_path, rasters)
    kept = np.where(rasters["invalid"], 0, rasters["values"])
    near = ndimage.binary_dilation(rasters["invalid"], np.ones((3, 3)))
    near[[0, -1]] = near[:, [0, -1]] = True
    expected = []
    for value, name in ((1, "building"), (2, "road")):
        labels, count = ndimage.label(kept == value, np.ones((3, 3)))
        for k in range(1, count + 1):
            inside = labels == k
            mean = float(rasters["prob"][inside].sum()) / (254 * int(inside.sum()))
            expected.append((np.flatnonzero(inside)[0], name, inside.sum(), mean, near[inside].any()))
    expected.sort()
    assert found["class"].tolist() == [row[1] for row in expected]
    pixels = np.array([row[2] for row in expected])
    assert found["confidence"].tolist() == [row[3] for row in expected]
    assert found["touches_edge"].tolist() == [row[4] for row in expected]
    np.testing.assert_allclose(found["area_m2"], pixels * 0.25 / 0.9996**2, rtol=1e-6)
    np.testing.assert_allclose(found.area, pixels * 0.25)


def test_small_objects_are_left_out_before_numbering(tmp_path: Path) -> None:
    everything = frame(tmp_path / "all", scene())
    summary, out = vectorize(tmp_path / "large", scene(), min_area_m2=5.0)
    large = gpd.read_parquet(out["parquet"])
    expected = everything[everything["area_m2"] >= 5.0]
    assert 0 < len(expected) < len(everything)
    assert large["id"].tolist() == list(range(1, len(expected) + 1))
    assert large.geometry.to_wkb().tolist() == expected.geometry.to_wkb().tolist()
    assert (summary.footprints, summary.too_small) == (len(expected), len(everything) - len(expected))
    assert sum(summary.classes.values()) == len(expected)


@pytest.mark.parametrize("split", [None, SplitRule(0.1, 1.0, 4)])
def test_unsure_objects_are_left_out_before_numbering(tmp_path: Path, split: SplitRule | None) -> None:
    """Exactly those whose column says less than asked for: of split objects each part by its own pixels."""
    everything = frame(tmp_path / "all", scene(), split=split)
    least = float(everything["confidence"].sort_values().iloc[len(everything) // 2])
    summary, out = vectorize(tmp_path / "sure", scene(), min_confidence=least, split=split)
    sure = gpd.read_parquet(out["parquet"])
    expected = everything[everything["confidence"] >= least]
    assert 1 < len(expected) < len(everything)
    assert sure["id"].tolist() == list(range(1, len(expected) + 1))
    assert sure["confidence"].min() == least  # an object that is as sure as asked for stays
    assert sure.geometry.to_wkb().tolist() == expected.geometry.to_wkb().tolist()
    assert (summary.footprints, summary.too_small) == (len(expected), 0)
    assert summary.unsure == len(everything) - len(expected)


def test_simplified_footprints(tmp_path: Path) -> None:
    rasters = scene()
    rasters["values"] = (rasters["values"] > 0).astype(np.uint8)
    raw, simple = frame(tmp_path / "raw", rasters), frame(tmp_path / "simple", rasters, simplify_m=0.6)
    assert simple.is_valid.all()
    assert simple["class"].tolist() == raw["class"].tolist()
    assert simple.count_coordinates().sum() < 0.6 * raw.count_coordinates().sum()
    np.testing.assert_allclose(simple["area_m2"], simple.area / 0.9996**2, rtol=1e-6)


@pytest.mark.parametrize("limit", [3, 1 << 14])
def test_classes_that_touch_share_simplified_walls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """In raster order as without steps, and no two overlap; however few objects a batch may have."""
    monkeypatch.setattr(spill, "_BATCH_OBJECTS", limit)
    raw, simple = frame(tmp_path / "raw", scene()), frame(tmp_path / "simple", scene(), simplify_m=0.6)
    assert simple["id"].tolist() == raw["id"].tolist()
    assert simple["class"].tolist() == raw["class"].tolist()
    np.testing.assert_array_equal(simple["confidence"], raw["confidence"])
    # More are left than of free-standing objects (0.6 above): a quarter of these corners are ends of walls,
    # which stay.
    assert simple.count_coordinates().sum() < 0.7 * raw.count_coordinates().sum()
    np.testing.assert_allclose(simple["area_m2"], simple.area / 0.9996**2, rtol=1e-6)
    assert simple.sindex.query(simple.geometry, predicate="overlaps").size == 0


def test_steps_add_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of one function and one setting: what it finds out reaches the file, past the groups too."""

    def shift(batch: Batch, meters: float) -> Batch:
        outlines = replace(batch.outlines, xy=batch.outlines.xy + meters / batch.ground.scale[0])
        kind = np.where(batch.area > 5, "large", "small").astype("U5")
        return batch.reshaped(outlines, outline=kind)

    mine = steps.Step("shift_m", shift, moves_walls=True, columns={"outline": "U5"})
    monkeypatch.setattr(steps, "STEPS", (*steps.STEPS, mine))
    raw = frame(tmp_path / "raw", scene())
    for name, rasters in {
        "groups": scene(),
        "mask": {"values": (scene()["values"] > 0).astype(np.uint8)},
    }.items():
        moved = frame(tmp_path / name, rasters, steps=Steps(shift_m=0.5))
        assert set(moved["outline"]) == {"large", "small"}
    moved = gpd.read_parquet(tmp_path / "groups" / "scene.parquet")
    assert moved["outline"].tolist() == np.where(raw["area_m2"] > 5, "large", "small").tolist()
    ground = UTM.ground_resolution()
    assert ground is not None
    shift_x = 0.5 / ground[0] * 0.5
    np.testing.assert_allclose(moved.bounds["minx"], raw.bounds["minx"] + shift_x, rtol=0, atol=1e-6)


def test_without_crs_areas_are_pixels(tmp_path: Path) -> None:
    geobox = GeoBox(Affine.identity(), None, *SHAPE)
    found = frame(tmp_path, scene(), geobox=geobox, min_area_m2=4)
    assert "area_px" in found.columns
    assert found["area_px"].min() >= 4
    np.testing.assert_array_equal(found["area_px"], found.area)
    # Of what is written, as with a CRS, and not of the pixels that were traced.
    steps = ({"simplify_m": 2.0}, {"regularize": True}, {"min_hole_m2": 20.0, "simplify_m": 2.0})
    for number, step in enumerate(steps):
        drawn = frame(tmp_path / str(number), scene(), geobox=geobox, steps=Steps(**step))
        np.testing.assert_allclose(drawn["area_px"], drawn.area, rtol=1e-9)


def test_without_probabilities_there_is_no_confidence(tmp_path: Path) -> None:
    found = frame(tmp_path, {"values": scene()["values"]})
    assert "confidence" not in found.columns


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    values = np.zeros(SHAPE, np.int32)
    values[3, 4], values[9, 9] = 70_000, -2
    assert frame(tmp_path, {"values": values}, class_names=None)["class"].tolist() == ["70000", "-2"]


def test_a_value_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="value 3"):
        vectorize(tmp_path, {"values": np.full(SHAPE, 3, np.uint8)})
    assert [path.name for path in tmp_path.iterdir()] == ["spill"]


@pytest.mark.parametrize("format", FORMATS)
def test_empty_scene_gives_valid_files(tmp_path: Path, format: str) -> None:
    summary, out = vectorize(tmp_path, {"values": np.zeros(SHAPE, np.uint8)}, (format,))
    assert summary.footprints == 0
    if format == "geojsonseq":
        assert out[format].read_bytes() == b""
    else:
        read = gpd.read_parquet if format == "parquet" else gpd.read_file
        assert len(read(out[format])) == 0


@pytest.mark.parametrize(
    "transform", [Affine(2, 0, 100, 0, 2, 50), Affine(0, 2, 100, 2, 0, 50), Affine(1.5, 1, 7, 1, -1.5, 9)]
)
def test_south_up_and_rotated_scenes(tmp_path: Path, transform: Affine) -> None:
    values = np.zeros(SHAPE, np.uint8)
    values[10:20, 30:50] = 1
    found = frame(tmp_path, {"values": values}, class_names=("a",), geobox=GeoBox(transform, UTM.crs, *SHAPE))
    corners = [transform * point for point in [(30, 10), (50, 10), (50, 20), (30, 20)]]
    assert found.geometry[0].equals(shapely.Polygon(corners))
    assert found.geometry[0].exterior.is_ccw


def test_progress_tells_both_stages(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    summary, _ = vectorize(
        tmp_path, scene(), progress=lambda stage, done, total: told.append((stage, done, total))
    )
    assert told[0] == ("vectorize", 1, 9)
    assert told[-1] == ("write", summary.footprints, summary.footprints)


def test_regularized_files_do_not_depend_on_chunks(tmp_path: Path) -> None:
    """Houses that touch, houses a pixel apart, holes with and without a house in them."""
    rng = np.random.default_rng(5)
    values = np.zeros(SHAPE, np.uint8)
    for k in range(60):
        height, width = rng.integers(6, 30, 2)
        row, col = rng.integers(0, SHAPE[0] - height), rng.integers(0, SHAPE[1] - width)
        values[row : row + height, col : col + width] = k % 3
    values[20:50, 20:50], values[24:46, 24:46], values[26:44, 26:44] = 1, 0, 2
    values = ndimage.median_filter(values, 3)
    written = set()
    for k, chunk in enumerate((1000, 64, (37, 51))):
        chosen = Steps(regularize=True, min_hole_m2=200.0, min_area_m2=1.0)
        _, out = vectorize(tmp_path / str(k), {"values": values}, steps=chosen, chunk=chunk, connectivity=4)
        written.add(out["parquet"].read_bytes())
    assert len(written) == 1
    frame = gpd.read_parquet(out["parquet"])
    assert {"regular"} <= {*frame["outline"]} <= {"regular", "simplified", "raw"}
    assert frame["outline_iou"].between(0.75, 1).all()
    np.testing.assert_allclose(frame["area_m2"], frame.area, rtol=1e-2)
    one, other = frame.sindex.query(frame.geometry, predicate="intersects")
    pairs = one < other
    shared = shapely.intersection(
        frame.geometry.to_numpy()[one[pairs]], frame.geometry.to_numpy()[other[pairs]]
    )
    assert shapely.area(shared).max() < 1e-6


def test_simplified_files_do_not_depend_on_chunks(tmp_path: Path) -> None:
    """Free-standing objects that would overlap once simplified lie in different chunks."""
    noise = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal((200, 200)), 2)
    values, written = (noise > 0.05).astype(np.uint8), set()
    box = replace(UTM, height=200, width=200)
    for k, chunk in enumerate((1000, 64, (37, 51))):
        folder = tmp_path / str(k)
        _, out = vectorize(folder, {"values": values}, simplify_m=2.5, chunk=chunk, geobox=box)
        written.add(out["parquet"].read_bytes())
    assert len(written) == 1
    frame = gpd.read_parquet(out["parquet"])
    assert frame.is_valid.all()
    one, other = frame.sindex.query(frame.geometry, predicate="intersects")
    pairs = one < other
    houses = frame.geometry.to_numpy()
    assert shapely.area(shapely.intersection(houses[one[pairs]], houses[other[pairs]])).max(initial=0) < 1e-6


def test_small_holes_are_filled_where_nothing_lies_in_them(tmp_path: Path) -> None:
    values = np.zeros(SHAPE, np.uint8)
    values[10:60, 10:60] = 1
    values[20:24, 20:24] = 0  # 4 m2
    values[40:44, 40:44] = 2  # another object
    values[50:54, 20:24] = 0  # one that stands free in the hole
    values[51:53, 21:23] = 2
    values[30:40, 20:30] = 0  # 25 m2
    _, out = vectorize(tmp_path, {"values": values}, steps=Steps(min_hole_m2=5.0))
    frame = gpd.read_parquet(out["parquet"])
    house = frame.loc[frame["class"] == "building"].iloc[0]
    assert len(house.geometry.interiors) == 3
    assert house["area_m2"] == pytest.approx(house.geometry.area, rel=2e-3)
    assert len(frame) == 3


def test_threads_are_as_many_as_the_cpus_that_the_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container, or under a batch system, the machine has more."""
    started: list[int] = []

    def counted(count: int, **options: Any) -> ThreadPoolExecutor:
        started.append(count)
        return ThreadPoolExecutor(count, **options)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(cpus, "_GROUPS", tmp_path / "none")
    monkeypatch.setattr(base, "ThreadPoolExecutor", counted)
    monkeypatch.setattr(steps, "ThreadPoolExecutor", counted)
    monkeypatch.setattr(steps, "_SHARE_CORNERS", 20)
    rasters = scene()
    rule = SplitRule(sigma=1.0, persistence=0.1, min_pixels=3)
    vectorize(tmp_path, rasters, simplify_m=0.8, split=rule)
    assert {*started} == {3}
    assert len(started) > 2  # splitting, tracing, and the steps
    started.clear()
    geoseg.polygonize(rasters["values"], simplify_m=2.0)
    assert {*started} == {3}
