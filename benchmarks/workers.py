"""Many workers: two against one process, and how many one driver can feed.

    python benchmarks/workers.py pair                    # two processes against one, on one generated scene
    python benchmarks/workers.py pair --scene scene.tif
    python benchmarks/workers.py feed --workers 64       # a network that only sleeps, 0.2 s a block
    python benchmarks/workers.py feed --workers 64 --dask
    python benchmarks/workers.py feed --workers 512 --dask --seconds 20
    python benchmarks/workers.py trace                   # the driver's own work for a chunk and a footprint

``pair`` alternates the two and compares wall times after the workers have started; it needs a machine with
nothing else to do. ``feed`` replaces what workers do by sleeping, so that only the driver (and, with
``--dask``, a scheduler in another process) works: efficiency is the time of the sleeps over the wall time.
All sleepers are threads of one process, or the measurement would be that of many Python processes on few
CPUs.
What the driver's and the scheduler's processes take of a processor tells how many workers they could feed
with a CPU each, which does not depend on what else the machine does.
``trace`` counts the processor's time of the driver alone, so that other work on the machine matters less.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geoseg.config.run import RunSettings
from geoseg.geo.blocks import plan_blocks
from geoseg.geo.geobox import GeoBox
from geoseg.lazy.scene import ArrayScene
from geoseg.models.predictor import CallablePredictor
from geoseg.pipeline.predict import BlockReader
from geoseg.pipeline.run import run_scene
from geoseg.pipeline.store import ProbStore
from geoseg.pipeline.strips import driver
from geoseg.pipeline.strips.tasks import StripSummary
from geoseg.pipeline.vectorize_raster import vectorize_raster
from geoseg.pipeline.workers import Workers, open_workers
from geoseg.pipeline.workers.processes import process_workers

#: Pixels of a default chunk.
CHUNK = 1536


def save(path: Path, image: np.ndarray, **changes: Any) -> Path:
    """A tiled GeoTIFF of 0.3 m pixels."""
    profile = {
        "driver": "GTiff", "count": len(image), "height": image.shape[1], "width": image.shape[2],
        "dtype": image.dtype, "crs": "EPSG:32645", "transform": Affine(0.3, 0, 350_000, 0, -0.3, 3_056_000),
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1, **changes,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(image)
    return path


def town(side: int, houses_km2: float = 1500) -> np.ndarray:
    """A mask (1, side, side) of houses of 6 to 20 m, some of which touch."""
    rng = np.random.default_rng(0)
    mask = np.zeros((1, side, side), np.uint8)
    for _ in range(int(houses_km2 * (side * 0.3 / 1000) ** 2)):
        height, width = rng.integers(20, 66, 2)
        row, col = rng.integers(0, side - 66, 2)
        mask[:, row : row + height, col : col + width] = 1
    return mask


def pair(scene: Path | None, count: int, repeat: int) -> None:
    """Wall time of the same run by one process and by workers that have started."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if scene is None:
            noise = np.random.default_rng(0).integers(0, 60, (3, 2 * CHUNK + 128, 2 * CHUNK + 128), np.uint8)
            scene = save(place / "scene.tif", noise + town(noise.shape[1]) * np.uint8(150))
        settings = RunSettings(resolution="native")
        warm = save(place / "warm.tif", np.zeros((3, 600, 600), np.uint8))
        with open_workers(RunSettings(workers=count), place) as workers:
            walls: dict[str, list[float]] = {"one process": [], f"{count} workers": []}
            for turn in range(-1, repeat):
                for name, crew in (("one process", None), (f"{count} workers", workers)):
                    out = place / f"{name}-{turn}"
                    start = time.perf_counter()
                    run_scene(warm if turn < 0 else scene, None, out, settings, workers=crew)
                    if turn >= 0:
                        walls[name].append(time.perf_counter() - start)
            one, many = (min(values) for values in walls.values())
            same = _results(place / "one process-0") == _results(place / f"{count} workers-0")
    for name, values in walls.items():
        print(f"{name:<12} {', '.join(f'{value:.1f}' for value in values)} s")
    print(f"ratio {many / one:.2f}, same bytes: {same}, {os.cpu_count()} CPUs")


def _results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _sleeping_strips(shared: Any, given: Any) -> Any:
    blocks = sum(len(strip.wanted) for strip in given)
    time.sleep(0.2 * blocks)
    return StripSummary(windows=16 * blocks), len(given), 0.2 * blocks


def _no_finish(shared: Any, chunks: Any, used: Any) -> tuple[list[int], float]:
    # As long as it would take, by which tasks of several are made.
    return [0] * len(chunks), 0.05 * len(chunks)


@contextmanager
def _sleepers(count: int, dask: bool) -> Iterator[tuple[Workers, Callable[[], dict[str, float]]]]:
    """Workers that sleep, and seconds of the processor that each process beside the sleepers' has taken."""
    if not dask:
        with Workers(lambda: ThreadPoolExecutor(count), count, apart=True) as workers:
            yield workers, lambda: {"driver": time.process_time()}
        return
    from distributed import Client, SubprocessCluster

    from geoseg.pipeline.workers.cluster import cluster_workers

    # One process for all of them, for they sleep; the scheduler has one of its own.
    with (
        SubprocessCluster(n_workers=1, worker_kwargs={"nthreads": count}) as cluster,
        Client(cluster) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        client.wait_for_workers(1)
        with cluster_workers(client, str(folder)) as workers:
            yield (
                workers,
                lambda: {
                    "driver": time.process_time(),
                    "scheduler": client.run_on_scheduler(time.process_time),
                },
            )


def feed(count: int, seconds: float, dask: bool) -> None:
    """Efficiency of workers that only sleep."""
    side = 64
    blocks = int(seconds * count / 0.2)
    columns = max(1, round(blocks**0.5))
    shape = (side * -(-blocks // columns), side * columns)
    # Four by four windows a block, as by default: so a strip is one block.
    plan = plan_blocks(shape, window=(side // 4, side // 4), overlap=(0, 0), chunk=side)
    scene = ArrayScene(np.zeros((1, *shape), np.uint8), None, GeoBox(Affine.identity(), None, *shape))
    reader = BlockReader(scene, plan)
    driver.predict_strips, driver.finish_chunks = _sleeping_strips, _no_finish
    with tempfile.TemporaryDirectory() as folder, _sleepers(count, dask) as (workers, clocks):
        store = ProbStore.open(Path(folder) / "s", plan, 1, {}, batch_size=2)
        # Workers start, and import what they need.
        for pending in [workers.submit(time.sleep, 0.2) for _ in range(2 * count)]:
            pending.result()
        before, start = clocks(), time.perf_counter()
        driver.predict_with_workers(reader, CallablePredictor(np.copy), store, workers)
        wall, after = time.perf_counter() - start, clocks()
        store.close()
    n_blocks = plan.n_blocks[0] * plan.n_blocks[1]
    used = {name: (after[name] - before[name]) / n_blocks for name in before}
    print(
        f"{count} workers, {n_blocks} blocks of 0.2 s: {wall:.1f} s, {n_blocks / wall:.0f} blocks/s, "
        f"efficiency {0.2 * n_blocks / count / wall:.2f}; of a processor a block: "
        f"{', '.join(f'{name} {seconds * 1e3:.2f} ms' for name, seconds in used.items())}: enough for "
        f"{0.2 / max(used.values()):.0f} workers"
    )


def trace(side: int) -> None:
    """The driver's own work on outlines."""
    with tempfile.TemporaryDirectory() as folder, process_workers(2) as workers:
        place = Path(folder)
        raster, small = save(place / "mask.tif", town(side)), save(place / "small.tif", town(600))
        for split, name in (("off", "fgb"), (0.25, "fgb"), ("off", "geojson"), ("off", "parquet")):
            settings = RunSettings(chunk=CHUNK, split=split, formats=(name,))
            vectorize_raster(small, place / "o", settings, workers=workers)  # what is loaded is loaded
            start, process = time.perf_counter(), time.process_time()
            done = vectorize_raster(raster, place / "o", settings, workers=workers)
            wall, process = time.perf_counter() - start, time.process_time() - process
            chunks = (side / CHUNK) ** 2
            print(
                f"split {split}, {name}: {chunks:.0f} chunks, {done.footprints} footprints, {wall:.1f} s; "
                f"processor of the driver {process:.2f} s, {process / chunks * 1e3:.0f} ms a chunk, "
                f"{process / max(1, done.footprints) * 1e6:.0f} us a footprint"
            )


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pair", "feed", "trace"))
    parser.add_argument("--scene", type=Path, help="scene of pair")
    parser.add_argument("--workers", type=int, default=0, help="default: 2 for pair, 64 for feed")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each kind for pair")
    parser.add_argument("--seconds", type=float, default=10, help="ideal wall time of feed")
    parser.add_argument("--dask", action="store_true", help="feed through a dask scheduler")
    parser.add_argument("--side", type=int, default=6 * CHUNK, help="pixels of trace")
    given = parser.parse_args()
    if given.what == "pair":
        pair(given.scene, given.workers or 2, given.repeat)
    elif given.what == "feed":
        feed(given.workers or 64, given.seconds, given.dask)
    else:
        trace(given.side)


if __name__ == "__main__":
    main()
