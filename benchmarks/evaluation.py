"""Evaluation of two vector files: time and peak memory, beside the least that any comparison must do.

    python benchmarks/evaluation.py                    # 100,000 against 100,000 polygons
    python benchmarks/evaluation.py --count 5000       # a quick try

The floor reads both files with pyogrio, finds the pairs by an STRtree and takes the areas of their
intersections, in one process and in memory; no matching, no outlines, no coverage. Each way is a process of
its own, and its memory is counted above that of a process that only imports. The files are written by one
more process, because the system counts the memory of the starting process in that of the started one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import shapely

IMPORTS = "import numpy, pyogrio, shapely, geoseg.pipeline.evaluation.files\n"
FLOOR = """
import sys
truth, pred = (shapely.force_2d(pyogrio.read_dataframe(path).geometry.to_numpy()) for path in sys.argv[1:3])
p, t = shapely.STRtree(truth).query(pred, predicate="intersects")
area = shapely.area(shapely.intersection(truth[t], pred[p]))
print("pairs", int((area > 0).sum()))
"""
EVALUATE = """
import sys
found = geoseg.pipeline.evaluation.files.evaluate_files(sys.argv[2], sys.argv[1])
print("matched", found.objects.matched, "F1", round(found.objects.f1, 3), "IoU", round(found.pixels.iou, 3))
"""


def houses(count: int, seed: int) -> np.ndarray:
    """L-shaped houses about 16 m apart, turned; another seed moves their corners a little."""
    fixed, moved = np.random.default_rng(0), np.random.default_rng(seed)
    place = np.arange(count)
    side = int(np.ceil(np.sqrt(count)))
    width, height, turn = (
        fixed.uniform(6, 14, count),
        fixed.uniform(6, 14, count),
        fixed.uniform(0, 0.5, count),
    )
    x = np.outer(width, [0, 1, 1, 0.5, 0.5, 0]) + moved.normal(0, 0.4, (count, 6))
    y = np.outer(height, [0, 0, 0.5, 0.5, 1, 1]) + moved.normal(0, 0.4, (count, 6))
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    left, bottom = (600_000 + 16.0 * (place % side))[:, None], (3_000_000 + 16.0 * (place // side))[:, None]
    return np.asarray(shapely.polygons(np.stack([x * cos - y * sin + left, x * sin + y * cos + bottom], -1)))


def write_houses(path: Path, count: int, seed: int) -> None:
    """Houses as a vector file."""
    import geopandas as gpd

    gpd.GeoDataFrame(geometry=houses(count, seed), crs="EPSG:32645").to_file(path)


def measure(code: str, *paths: Path) -> tuple[float, float, str]:
    """Wall seconds, peak memory in MB, and what is printed, of Python code in a process of its own."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-c", IMPORTS + code, *map(str, paths)]
        child = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit("a measured process failed")
        output.seek(0)
        return seconds, usage.ru_maxrss / 1024, output.read().strip()


def main() -> None:
    """Print one line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="polygons in each file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.fgb" for name in ("truth", "pred")]
        for seed, path in enumerate(paths):
            writer = multiprocessing.get_context("spawn").Process(
                target=write_houses, args=(path, given.count, seed)
            )
            writer.start()
            writer.join()
            if writer.exitcode:
                raise SystemExit("the houses could not be written")
        base_seconds, base_memory, _ = min(measure("") for _ in range(3))
        print(f"{given.count:,} against {given.count:,} polygons; imports take {base_seconds:.1f} s")
        floor = 0.0
        for name, code in (("floor", FLOOR), ("geoseg", EVALUATE)):
            seconds, memory, text = measure(code, *paths)
            seconds -= base_seconds
            floor = floor or seconds
            ratio = f"{seconds / floor:.1f} x the floor" if floor > 0 else ""
            print(f"{name:8} {seconds:6.1f} s  +{memory - base_memory:.0f} MB  {ratio}  {text}")


if __name__ == "__main__":
    main()
