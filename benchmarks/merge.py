"""Merging and comparing very many footprints: seconds and peak memory, and how they grow with the number.

    python benchmarks/merge.py --footprints 250000 1000000

Footprints are generated: houses of eight corners, 2,500 a km2, in scenes of 100,000. ``merge`` makes one data
set of all scenes (GeoParquet in parts). ``update`` compares as many footprints with as many known ones, of
which a third was moved, and writes one GeoParquet file. Each runs in a process of its own, whose peak memory
is told beside what the libraries take when they are loaded; seconds are those of the processor, so that other
work on the machine matters less.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS

from geoseg.io.writers import FootprintBatch, open_writer
from geoseg.pipeline.batch.manifest import SceneRecord
from geoseg.pipeline.batch.merging import Merging
from geoseg.pipeline.update import known_footprints
from geoseg.pipeline.update_files import write_updated
from geoseg.typing import no_progress

#: Of one scene, and written at a time; meters from one house to the next.
SCENE, BATCH, PITCH = 100_000, 20_000, 20.0
COLUMNS = pa.schema(
    [
        ("id", pa.int64()),
        ("class", pa.string()),
        ("area_m2", pa.float64()),
        ("confidence", pa.float64()),
        ("scene", pa.string()),
    ]
)
STYLE: dict[str, Any] = {"crs": CRS.from_epsg(32645), "repair": False, "zooms": (10, 16)}


def houses(numbers: np.ndarray, seed: int, moved: float = 0.0) -> np.ndarray:
    """Footprints of eight corners on a lattice, 1000 in a row; a part of them moved away."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(3, 8, (len(numbers), 2, 1))
    unit = np.array([[-1, 0, 1, 1, 0.3, 0.3, -1, -1], [-1, -1, -1, 0, 0, 1, 1, 0]])
    corners = unit * size + np.stack([numbers % 1000, numbers // 1000], axis=1)[:, :, None] * PITCH
    corners[:, 0] += 350_000 + (rng.random(len(numbers)) < moved)[:, None] * PITCH / 2
    corners[:, 1] += 3_000_000
    return shapely.polygons(np.moveaxis(corners, 1, 2))


def write(path: Path, start: int, stop: int, moved: float = 0.0) -> None:
    """A GeoParquet file of some of them."""
    with open_writer("parquet", path, schema=COLUMNS, **STYLE) as writer:
        for first in range(start, stop, BATCH):
            numbers = np.arange(first, min(first + BATCH, stop))
            shapes = houses(numbers, first, moved)
            columns = {
                "id": numbers - start + 1,
                "class": np.full(len(numbers), "building", object),
                "area_m2": shapely.area(shapes),
                "confidence": np.full(len(numbers), 0.9),
                "scene": np.full(len(numbers), path.stem, object),
            }
            writer.write(FootprintBatch(shapes, columns))


def bounds(start: int, stop: int) -> tuple[float, float, float, float]:
    """Where they lie."""
    low, high = start // 1000, -(-stop // 1000)
    return 349_900.0, 2_999_900 + low * PITCH, 350_100 + 1000 * PITCH, 3_000_100 + high * PITCH


def merge(folder: Path, count: int) -> int:
    """Scenes to one data set."""
    records = []
    for number, start in enumerate(range(0, count, SCENE)):
        stop = min(start + SCENE, count)
        record = SceneRecord(f"scene-{number}", "done")
        record.files, record.footprints = {"parquet": f"scene-{number}.parquet"}, stop - start
        record.bounds, record.crs, record.gsd = bounds(start, stop), "EPSG:32645", 0.3
        records.append(record)
    scratch = folder / "scratch"
    scratch.mkdir()
    merging = Merging(records, folder, STYLE["crs"], "keep", scratch)
    merging.gather(no_progress)
    merging.write({"parquet": folder / "merged.parquet"}, {}, no_progress, parts={})
    return len(merging.runs)


def update(folder: Path, count: int) -> int:
    """Footprints and known ones, compared."""
    known = known_footprints(folder / "known.parquet", STYLE["crs"], bounds(0, count), "all")
    scratch = folder / "compared"
    scratch.mkdir()
    changes = write_updated(
        folder / "new.parquet",
        {"parquet": folder / "told.parquet"},
        {},
        known,
        lambda geometry: np.ones(len(geometry), bool),
        lambda geometry: (),
        0.5,
        scratch,
        STYLE,
    )
    return sum(changes.counts.values())


def measured(job: Callable[[Path, int], int], folder: Path, count: int, answers: Any) -> None:
    """In a process of its own: what it took."""
    loaded = peak_memory()
    start, wall = time.process_time(), time.perf_counter()
    job(folder, count)
    answers.put((time.process_time() - start, time.perf_counter() - wall, loaded, peak_memory()))


def peak_memory() -> float:
    """MB of this process at its peak so far; getrusage would count its parent's as well."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--footprints", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="for temporary files")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for count in given.footprints:
        with tempfile.TemporaryDirectory(dir=given.folder) as place:
            folder = Path(place)
            for number, start in enumerate(range(0, count, SCENE)):
                write(folder / f"scene-{number}.parquet", start, min(start + SCENE, count))
            write(folder / "new.parquet", 0, count)
            write(folder / "known.parquet", 0, count, moved=1 / 3)
            for job in (merge, update):
                answers = context.Queue()
                process = context.Process(target=measured, args=(job, folder, count, answers))
                process.start()
                seconds, wall, loaded, peak = answers.get()
                process.join()
                print(
                    f"{job.__name__}, {count} footprints: {seconds:.1f} s of the processor "
                    f"({seconds / count * 1e6:.0f} us each), {wall:.1f} s; peak memory {peak:.0f} MB, "
                    f"{loaded:.0f} MB of it libraries",
                    flush=True,
                )


if __name__ == "__main__":
    main()
