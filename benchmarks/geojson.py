"""GeoJSON: features a second, next to GDAL's own driver on the same footprints.

    python benchmarks/geojson.py                    # 200,000 footprints
    python benchmarks/geojson.py --count 20000

Footprints lie in UTM; both bring them to longitude and latitude and write seven digits (RFC 7946). Every
figure is the best of a few runs. GDAL is fed the same batches as one Arrow stream, its fastest way.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyproj import CRS

from geoseg.io.writers import FootprintBatch, open_writer

UTM = CRS.from_epsg(32645)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("class", pa.string()),
        ("area_m2", pa.float64()),
        ("confidence", pa.float64()),
        ("touches_edge", pa.bool_()),
        ("scene", pa.string()),
    ]
)
BATCH = 16384


def houses(count: int, steps: int) -> FootprintBatch:
    """Outlines of pixels along a stair of so many steps."""
    rng = np.random.default_rng(0)
    level = np.repeat(np.arange(steps + 1), 2) * 0.5
    stair = np.stack([level[1:], level[:-1]], axis=1)
    corner = rng.integers(0, 100_000, (count, 2)) * 0.5 + (300_000, 3_060_000)
    shapes = shapely.polygons(np.concatenate([stair, [[0, level[-1]]]])[None] + corner[:, None])
    columns = {
        "id": np.arange(1, count + 1),
        "class": np.full(count, "building", object),
        "area_m2": shapely.area(shapes) * 1.0003,
        "confidence": rng.uniform(0.5, 1, count),
        "touches_edge": rng.random(count) < 0.1,
        "scene": np.full(count, "scene", object),
    }
    return FootprintBatch(shapes, columns)


def batches(whole: FootprintBatch) -> Iterator[FootprintBatch]:
    """The footprints in pieces, as a run makes them."""
    return (whole.rows(start, min(start + BATCH, len(whole))) for start in range(0, len(whole), BATCH))


def ours(path: Path, whole: FootprintBatch) -> None:
    """Through geoseg's writer."""
    with open_writer("geojson", path, schema=SCHEMA, crs=UTM) as writer:
        for batch in batches(whole):
            writer.write(batch)


def gdal(path: Path, whole: FootprintBatch) -> None:
    """Through GDAL's driver."""
    fields = pa.schema([*SCHEMA, pa.field("geom", pa.binary())])

    def stream() -> Iterator[pa.RecordBatch]:
        for batch in batches(whole):
            yield pa.record_batch(
                [*batch.arrays(SCHEMA), pa.array(shapely.to_wkb(batch.geometry), pa.binary())], schema=fields
            )

    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(fields, stream()),
        path,
        driver="GeoJSON",
        geometry_name="geom",
        geometry_type="Polygon",
        crs=UTM.to_wkt(),
        layer_options={"RFC7946": "YES", "COORDINATE_PRECISION": "7"},
    )


def best(
    write: Callable[[Path, FootprintBatch], None], path: Path, whole: FootprintBatch, runs: int
) -> float:
    """Shortest wall time in seconds; the file of the last run stays."""
    times = []
    for _ in range(runs):
        path.unlink(missing_ok=True)
        start = time.perf_counter()
        write(path, whole)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mine, theirs = Path(folder) / "geoseg.geojson", Path(folder) / "gdal.geojson"
        ours(mine, houses(100, 1))  # compile
        for steps in (1, 12):
            whole = houses(given.count, steps)
            corners = shapely.get_num_coordinates(whole.geometry[:1])[0]
            seconds, other = best(ours, mine, whole, given.repeats), best(gdal, theirs, whole, given.repeats)
            before = mine.read_bytes()
            ours(mine, whole)
            if mine.read_bytes() != before:
                raise SystemExit("the same footprints gave other bytes")
            print(
                f"{given.count} footprints of {corners} points: geoseg {given.count / seconds:,.0f} "
                f"a second, GDAL {given.count / other:,.0f}: geoseg is {other / seconds:.1f} x as fast"
            )


if __name__ == "__main__":
    main()
