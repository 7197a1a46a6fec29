"""Outlines with right angles: how near they come to known houses, against Douglas-Peucker and a peer.

    python benchmarks/regularize.py                     # 2,000 free-standing houses, 450 in terraces
    python benchmarks/regularize.py --size 1024 --rows 20
    python benchmarks/regularize.py --data DATA         # and four labeled areas; GEOSEG_DATA is DATA, too

Free-standing houses are drawn at 0.3 m, blurred and roughened as a network would give them. Terraces are
rows of houses that share walls, whose labels are displaced smoothly; pieces of less than 4 m2 are left out,
as the building network's card says. Labeled areas (oam_banepa, oam_kampala_A, oam_nepal2_A, oam_bicol_A) are
what the network that ships makes of them, split at 0.3; all tools get these same masks, and houses that a
traced outline meets with an IoU above 0.5 are measured. PoLiS is given once more for those above 0.7: below,
most masks cover two houses, or one and a yard, and the fewer corners a tool gives such a mask, the farther
they lie from one of the two.

``buildingregulariser`` is measured where it is installed (pip install buildingregulariser).

Seconds are what 10,000 objects take: as many copies as that needs lie side by side. One thread: seconds of
the processor, the least of three runs. Two threads: seconds on the clock, the least of three, which mean
little while others use the machine. The peer draws the objects once, in one process, and its seconds are
scaled. All start from traced outlines; none reads, traces, finds what touches or writes. The geoseg rows end
with all that a file needs: valid polygons placed on the ground that overlap no other, their areas, and, of
regular ones, how well they agree with the pixels. Douglas-Peucker is the making of polygons and
shapely.simplify alone: what it makes overlap stays so, and nothing is measured; "geoseg --simplify-m" is the
same with neighbors kept together. The peer makes and squares polygons, and leaves overlaps, too.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from masks import degrade, houses
from pyproj import CRS
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter, map_coordinates

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.pipeline.outlines import iter_outlines
from geoseg.pipeline.steps import Batch, Ground, Steps
from geoseg.scores.boundaries import outline_distances
from geoseg.scores.shapes import corner_turns
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.forest import Groups
from geoseg.vector.geometry import object_geometries
from geoseg.vector.rings import Outlines, concat_outlines, take_objects

PIXEL = 0.3
#: Columns of one thread and of two.
SECONDS = ("s / 10,000", "two threads")
PEER = "buildingregulariser"
#: Decimals of columns that need other than two.
DIGITS = {"IoU": 3, "right %": 1, "invalid": 0, "overlap m2": 1, "gaps m2": 1, "walls %": 1}
#: Folder, scene and truth of each labeled area.
AREAS = (
    ("oam_banepa", "scene_banepa_13cm.tif", "buildings_dev.geojson"),
    ("oam_kampala_A", "kampala_A_15cm.tif", "kampala_A_buildings.geojson"),
    ("oam_nepal2_A", "nepal2_A_15cm.tif", "nepal2_A_buildings.geojson"),
    ("oam_bicol_A", "bicol_A_15cm.tif", "bicol_A_buildings.geojson"),
)


def terraces(rows: int, seed: int = 0) -> tuple[list[shapely.Polygon], list[tuple[int, int]], int]:
    """Rows of houses: their plans in pixels, the pairs that share a wall, the side of the scene."""
    rng = np.random.default_rng(seed)
    pitch = 200
    per_line = math.ceil(math.sqrt(rows))
    found, walls = [], []
    for row in range(rows):
        count = int(rng.integers(2, 7))
        widths, depth = rng.uniform(16, 27, count), rng.uniform(27, 42)
        # a fifth of the houses stand back or forward by 1.8 m or more, a fifth have a wing behind
        front = np.where(rng.random(count) < 0.2, rng.choice([-1, 1], count) * rng.uniform(6, 10, count), 0)
        wing = np.where(rng.random(count) < 0.2, rng.uniform(8, 14, count), 0)
        angle, x = rng.uniform(0, math.pi / 2), -widths.sum() / 2
        center = (np.array([row % per_line, row // per_line]) + 0.5) * pitch
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        for k in range(count):
            y, right = front[k], x + widths[k]
            ring = [(x, y), (right, y), (right, depth), (x, depth)]
            if wing[k]:
                middle = x + widths[k] / 2
                ring = [(x, y), (right, y), (right, depth), (middle, depth), (middle, depth + wing[k])]
                ring.append((x, depth + wing[k]))
            found.append(shapely.Polygon((np.array(ring) - [0, depth / 2]) @ turn + center))
            if k:
                walls.append((len(found) - 2, len(found) - 1))
            x = right
    return found, walls, per_line * pitch


def wobbly(labels: np.ndarray, seed: int = 1, amplitude: float = 1.5, smooth: float = 5.0) -> np.ndarray:
    """Labels whose outlines wobble together: a smooth random displacement, in pixels."""
    rng = np.random.default_rng(seed)
    shift = [gaussian_filter(rng.standard_normal(labels.shape), smooth) for _ in range(2)]
    grid = np.indices(labels.shape, dtype=float)
    moved = [axis + amplitude * s / s.std() for axis, s in zip(grid, shift)]
    return map_coordinates(labels, moved, order=0)


def traced(labels: np.ndarray) -> Outlines:
    """Outlines with their groups, in raster order."""

    def read(window: Window) -> ChunkValues:
        return ChunkValues(labels[window.rows, window.cols])

    groups = Groups()
    found = concat_outlines(list(iter_outlines(read, labels.shape, 1024, 4, groups=groups)))
    found = take_objects(found, np.argsort(found.key))
    return replace(found, group=groups.final(found.group))


def copies(outlines: Outlines, count: int) -> Outlines:
    """At least so many objects: the same ones over and over, side by side."""
    side = int(outlines.xy.max()) + 40
    many = -(-count // len(outlines))
    per_line = math.ceil(math.sqrt(many))
    groups = int(outlines.group.max()) + 1
    moved = []
    for k in range(many):
        x, y = side * (k % per_line), side * (k // per_line)
        group = np.where(outlines.group < 0, -1, outlines.group + k * groups)
        xy = outlines.xy + np.array([x, y], outlines.xy.dtype)
        moved.append(replace(outlines, key=outlines.key + (y << 32) + x, group=group, xy=xy))
    both = concat_outlines(moved)
    return take_objects(both, np.argsort(both.key))


class Stepped:
    """What some steps make of outlines, in pixels."""

    def __init__(self, **settings: object) -> None:
        self._steps = Steps(**settings)
        self._ground = Ground(
            GeoBox(Affine(PIXEL, 0, 300_000, 0, -PIXEL, 3_000_000), CRS.from_epsg(32645), 8192, 8192)
        )

    def __call__(self, outlines: Outlines) -> np.ndarray:
        return object_geometries(self.batch(outlines, 1).outlines)

    def batch(self, outlines: Outlines, threads: int) -> Batch:
        """The same with all that a file needs."""
        done = self._steps.all_at_once(Batch(outlines, self._ground), threads)
        assert len(done.area) == len(outlines)  # measured when it is asked for
        return done


def peer(**settings: object) -> Callable[[Outlines], np.ndarray] | None:
    """buildingregulariser, where it is installed; its lengths are pixels here, since it needs no CRS."""
    try:
        from buildingregulariser import regularize_geodataframe
    except ImportError:
        return None
    import geopandas as gpd

    def run(outlines: Outlines) -> np.ndarray:
        shapes = list(object_geometries(outlines))
        frame = gpd.GeoDataFrame({"row": range(len(shapes))}, geometry=shapes, crs=32645)
        done = regularize_geodataframe(frame, num_cores=1, **settings)
        drawn = np.full(len(shapes), shapely.Polygon(), object)
        # It leaves rows out, and gives several for an object of several parts.
        for row, shape in zip(done["row"], done.geometry):
            drawn[row] = shape if drawn[row].is_empty else shapely.union(drawn[row], shape)
        return drawn

    return run


def largest(polygons: np.ndarray) -> np.ndarray:
    """The largest part of each, repaired where it is invalid."""
    fixed = shapely.make_valid(polygons)
    out = []
    for shape in fixed:
        parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
        out.append(max(parts, key=shapely.area) if parts else shapely.Polygon())
    return np.array(out, object)


def agreement(drawn: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Columns that need no neighbors."""
    invalid = int((~shapely.is_valid(drawn)).sum())
    sound = largest(drawn)
    turn = corner_turns(sound)
    both = shapely.area(shapely.intersection(sound, truth))
    either = shapely.area(sound) + shapely.area(truth) - both
    return {
        "IoU": float((both / either).mean()),
        "PoLiS m": float(np.mean(outline_distances(sound, truth)[0])) * PIXEL,
        "right %": 100 * float((np.abs(turn - 90) <= 2).mean()),
        "vertices": turn.size / corner_turns(truth).size,
        "invalid": invalid,
    }


def coverage(drawn: np.ndarray, truth: np.ndarray, walls: list[tuple[int, int]]) -> dict[str, float]:
    """Columns about neighbors: overlap, gaps narrower than 1.2 m, walls that both sides draw alike."""
    sound = largest(drawn)
    whole = shapely.union_all(sound)
    closed = shapely.buffer(
        shapely.buffer(whole, 0.6 / PIXEL, join_style="mitre"), -0.6 / PIXEL, join_style="mitre"
    )
    shared = total = 0.0
    for a, b in walls:
        wall = shapely.intersection(truth[a].boundary, truth[b].boundary)
        both = shapely.intersection(sound[a].boundary, sound[b].boundary)
        lines = [part for part in shapely.get_parts(both) if part.geom_type == "LineString"]
        near = shapely.buffer(shapely.union_all(lines), 1.2 / PIXEL)
        shared += shapely.intersection(wall, near).length
        total += wall.length
    square = PIXEL * PIXEL
    return {
        "overlap m2": float(shapely.area(sound).sum() - whole.area) * square,
        "gaps m2": float(shapely.difference(closed, whole).area) * square,
        "walls %": 100 * shared / total,
    }


def tools() -> dict[str, Callable[[Outlines], np.ndarray]]:
    """All that is compared."""
    found = {
        "as traced": object_geometries,
        "Douglas-Peucker 0.45 m": lambda outlines: shapely.simplify(object_geometries(outlines), 1.5),
        "Douglas-Peucker 0.75 m": lambda outlines: shapely.simplify(object_geometries(outlines), 2.5),
        "geoseg --simplify-m 0.75": Stepped(simplify_m=0.75),
        "geoseg --regularize": Stepped(regularize=True),
        f"{PEER} 1.5": peer(simplify_tolerance=1.5),
        f"{PEER} 2.5": peer(simplify_tolerance=2.5, parallel_threshold=4.0),
    }
    return {name: run for name, run in found.items() if run is not None}


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one table in Markdown."""
    names = list(next(iter(rows.values())))
    print(f"\n{title}\n\n| | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for tool, row in rows.items():
        # Rounded before they are printed, and 0 added: else an overlap of -1e-9 is -0.0.
        rounded = [(round(row[name], DIGITS.get(name, 2)) + 0.0, DIGITS.get(name, 2)) for name in names]
        texts = ["" if math.isnan(value) else f"{value:.{digits}f}" for value, digits in rounded]
        print(f"| {tool} | " + " | ".join(texts) + " |")


def free_standing(size: int, objects: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Measure on known houses that touch no other."""
    plans = np.array(houses(size, seed=seed), object)
    tree = shapely.STRtree(plans)
    one, _ = tree.query(plans, "dwithin", 12.0)
    alone = np.bincount(one, minlength=len(plans)) == 1
    inside = shapely.within(plans, shapely.box(8, 8, size - 8, size - 8))
    plans = plans[alone & inside]
    rng = np.random.default_rng(seed + 1)
    noise = gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), 1)
    mask = degrade(rasterize(plans, out_shape=(size, size), dtype="uint8"), rng, noise / noise.std())
    outlines = traced(mask)
    raw = object_geometries(outlines)
    at, house = shapely.STRtree(raw).query(plans, "intersects")[::-1]
    area = shapely.area(shapely.intersection(raw[at], plans[house]))
    best = np.full(len(plans), -1)
    for k in np.argsort(area, kind="stable"):
        best[house[k]] = at[k]
    # In raster order, as steps give objects back.
    met = np.flatnonzero(best >= 0)
    met = met[np.argsort(best[met])]
    plans, outlines = plans[met], take_objects(outlines, best[met])
    return measured(outlines, lambda drawn: agreement(drawn, plans), objects)


def in_terraces(rows: int, objects: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Measure on known houses that share walls."""
    plans, walls, side = terraces(rows, seed)
    truth = np.array(plans, object)
    labels = rasterize(zip(plans, range(1, len(plans) + 1)), out_shape=(side, side), dtype="int32")
    outlines = traced(wobbly(labels, seed + 1))
    outlines = take_objects(outlines, np.flatnonzero(outlines.pixels * PIXEL * PIXEL >= 4))
    # an object may come in several pieces: the largest is the house
    order = np.lexsort((outlines.pixels, outlines.value))
    last = np.append(np.flatnonzero(np.diff(outlines.value[order])), len(order) - 1)
    houses_at = order[last]

    def measure(drawn: np.ndarray) -> dict[str, float]:
        return agreement(drawn[houses_at], truth) | coverage(drawn[houses_at], truth, walls)

    return measured(outlines, measure, objects)


def labeled_areas(data: Path, objects: int) -> dict[str, dict[str, float]]:
    """Measure on what the network that ships makes of labeled areas, one below the other in one raster."""
    import geopandas as gpd

    import geoseg

    model = geoseg.load_model()
    areas, plans, top = [], [], 0
    for name, scene, truth in AREAS:
        box = None
        if name == "oam_banepa":
            box = tuple(gpd.read_file(data / name / "aoi_dev.geojson").to_crs(3857).total_bounds)
        prob = geoseg.predict(geoseg.open_scene(data / name / scene, resolution=PIXEL, bbox=box), model)
        prob = prob.sel({"class": "building"}).compute()
        labels = geoseg.split_masks(prob > 0.5, height=prob, persistence=0.3).values
        to_pixels = ~prob.rio.transform()
        footprints = np.asarray(gpd.read_file(data / name / truth).to_crs(prob.rio.crs).geometry, object)
        footprints = shapely.transform(footprints, lambda xy, a=to_pixels: np.stack(a * xy.T, axis=1))
        plans += list(shapely.transform(footprints, lambda xy, y=top: xy + np.array([0, y])))
        areas.append(np.where(labels > 0, labels + sum(int(area.max()) for area in areas), 0))
        top += labels.shape[0] + 20
    raster = np.zeros((top, max(area.shape[1] for area in areas)), np.int32)
    top = 0
    for area in areas:
        raster[top : top + area.shape[0], : area.shape[1]] = area
        top += area.shape[0] + 20
    outlines = traced(raster)
    outlines = take_objects(outlines, np.flatnonzero(outlines.pixels * PIXEL * PIXEL >= 4))
    raw, truth = object_geometries(outlines), largest(np.array(plans, object))
    at, house = shapely.STRtree(truth).query(raw, "intersects")
    both = shapely.area(shapely.intersection(raw[at], truth[house]))
    iou = both / (shapely.area(raw[at]) + shapely.area(truth[house]) - both)
    at, house, iou = at[iou > 0.5], house[iou > 0.5], iou[iou > 0.5]

    def measure(drawn: np.ndarray) -> dict[str, float]:
        found = agreement(drawn[at], truth[house])
        fits = outline_distances(largest(drawn[at[iou > 0.7]]), truth[house[iou > 0.7]])[0]
        found["PoLiS m, IoU > 0.7"] = float(np.mean(fits)) * PIXEL
        found["invalid"] = int((~shapely.is_valid(drawn)).sum())
        sound = shapely.make_valid(drawn)
        overlap = shapely.area(sound).sum() - shapely.union_all(sound).area
        return found | {"overlap m2": float(overlap) * PIXEL * PIXEL}

    return measured(outlines, measure, objects)


def measured(
    outlines: Outlines, measure: Callable[[np.ndarray], dict[str, float]], objects: int
) -> dict[str, dict[str, float]]:
    """Every tool's columns and its seconds for 10,000 objects."""
    found, many = {}, copies(outlines, objects)
    for name, run in tools().items():
        start = time.process_time()
        drawn = run(outlines)  # kernels are compiled, too
        one, two = (time.process_time() - start) * 1e4 / len(outlines), math.nan
        if isinstance(run, Stepped):
            one = least_seconds(time.process_time, partial(run.batch, many, 1), len(many))
            two = least_seconds(time.perf_counter, partial(run.batch, many, 2), len(many))
        elif not name.startswith(PEER):
            one = least_seconds(time.process_time, partial(run, many), len(many))
        found[name] = measure(drawn) | dict(zip(SECONDS, (one, two)))
    return found


def least_seconds(clock: Callable[[], float], run: Callable[[], object], objects: int) -> float:
    """The least of three runs, for 10,000 objects."""
    runs = []
    for _ in range(3):
        start = clock()
        run()
        runs.append(clock() - start)
    return min(runs) * 1e4 / objects


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="side of the scene of free-standing houses")
    parser.add_argument("--rows", type=int, default=120, help="terraces")
    parser.add_argument("--objects", type=int, default=10_000, help="objects that are timed")
    parser.add_argument("--data", type=Path, default=os.environ.get("GEOSEG_DATA"), help="labeled areas")
    options = parser.parse_args()
    if peer() is None:
        print("left out: buildingregulariser, which is not installed")
    table("Free-standing houses", free_standing(options.size, options.objects))
    table("Terraces", in_terraces(options.rows, options.objects))
    if options.data is None:
        print("left out: labeled areas, without --data")
    else:
        table("Labeled areas", labeled_areas(Path(options.data), options.objects))


if __name__ == "__main__":
    main()
