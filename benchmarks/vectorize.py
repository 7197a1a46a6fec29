"""Masks to polygons: time against GDAL and every peer that is installed, and memory on a streamed scene.

    python benchmarks/vectorize.py                      # 16384 x 16384, then 49152 x 49152 streamed
    python benchmarks/vectorize.py --size 4096 --stream 8192
    python benchmarks/vectorize.py --only split         # with touching objects taken apart, against without

Every figure is the best of a few runs; ratios are taken within one run on one machine. Peers that are not
installed (contourrs, cv2, cc3d) are left out and named.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import shapely
from affine import Affine
from masks import building_mask, road_mask
from pyproj import CRS
from rasterio import features
from scipy import ndimage

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.pipeline.outlines import iter_outlines
from geoseg.pipeline.vectorize import vectorize_classes
from geoseg.raster.labels import label_chunk
from geoseg.raster.split import SplitRule
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.geometry import object_geometries

CHUNK = 2048


def best(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Shortest wall time in seconds, and the last result."""
    times, result = [], None
    for _ in range(repeats):
        result = None
        gc.collect()
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return min(times), result


class Peak:
    """Highest resident memory above the start, sampled every 5 ms."""

    def __enter__(self) -> Peak:
        gc.collect()
        self._process = psutil.Process()
        self.start = self.top = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.top = max(self.top, self._process.memory_info().rss)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def megabytes(self) -> float:
        """Peak above the start."""
        return (self.top - self.start) / 1e6


def ours(mask: np.ndarray, connectivity: int, threads: int) -> np.ndarray:
    """All polygons of a mask."""

    def read(window: Window) -> ChunkValues:
        return ChunkValues(mask[window.rows, window.cols])

    found = iter_outlines(read, mask.shape, CHUNK, connectivity, threads=threads)
    return np.concatenate([object_geometries(batch) for batch in found])


def gdal(mask: np.ndarray) -> np.ndarray:
    """The same through rasterio.features.shapes."""
    shapes = features.shapes(mask, mask=mask.view(bool), connectivity=4)
    rings = (shape["coordinates"] for shape, _ in shapes)
    return np.array([shapely.Polygon(shell, holes) for shell, *holes in rings])


def polygon_peers(mask: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Other ways from a mask to polygons, of what is installed."""
    peers: dict[str, Callable[[], Any]] = {}
    if importlib.util.find_spec("contourrs"):
        import contourrs

        peers["contourrs.shapes_arrow"] = lambda: contourrs.shapes_arrow(
            mask, mask=mask.view(bool), connectivity=4
        )
        peers["contourrs.shapes -> shapely"] = lambda: [
            shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:])
            for shape, _ in contourrs.shapes(mask, mask=mask.view(bool), connectivity=4)
        ]
    if importlib.util.find_spec("cv2"):
        import cv2

        peers["cv2.findContours -> shapely (not exact)"] = lambda: [
            shapely.Polygon(ring[:, 0])
            for ring in cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
            if len(ring) > 2
        ]
    if importlib.util.find_spec("skimage") and mask.size <= 8192**2:
        from skimage.measure import find_contours

        peers["skimage.find_contours (not exact)"] = lambda: find_contours(mask, 0.5)
    return peers


def label_peers(mask: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Labelers of one array, of what is installed."""
    peers: dict[str, Callable[[], Any]] = {
        "scipy.ndimage.label": lambda: ndimage.label(mask, np.ones((3, 3)))
    }
    if importlib.util.find_spec("cc3d"):
        import cc3d

        peers["cc3d"] = lambda: cc3d.connected_components(mask, connectivity=8, out_dtype=np.uint32)
    if importlib.util.find_spec("cv2"):
        import cv2

        peers["cv2.connectedComponents"] = lambda: cv2.connectedComponents(mask, connectivity=8)
    if importlib.util.find_spec("skimage") and mask.size <= 4096**2:
        from skimage.measure import label

        peers["skimage.measure.label"] = lambda: label(mask, connectivity=2)
    return peers


def compare_labels(mask: np.ndarray, repeats: int) -> None:
    """Label one chunk."""
    seconds, (labels, count) = best(lambda: label_chunk(mask, 8), repeats)
    print(f"\nlabels, {mask.shape[0]} x {mask.shape[1]}, {count} components, one thread")
    print(f"  {'geoseg.label_chunk':42} {seconds:8.4f} s")
    for name, run in label_peers(mask).items():
        other, _ = best(run, repeats)
        print(f"  {name:42} {other:8.4f} s   geoseg is {other / seconds:5.2f} x as fast")
    np.testing.assert_array_equal(labels, ndimage.label(mask, np.ones((3, 3)))[0])


def compare_polygons(mask: np.ndarray, repeats: int, threads: int) -> dict[str, float]:
    """Polygons of a whole mask; returns each one's time as a multiple of ours."""
    ours(mask[:CHUNK, :CHUNK], 4, 1)
    seconds, found = best(lambda: ours(mask, 4, threads), repeats)
    alone, _ = best(lambda: ours(mask, 4, 1), repeats)
    joined, objects = best(lambda: ours(mask, 8, threads), repeats)
    print(f"\npolygons, {mask.shape[0]} x {mask.shape[1]}, {len(found)} (4-connected), {len(objects)} (8)")
    print("  (behind each peer: the time of geoseg with threads as a part of its time)")
    print(f"  {f'geoseg, {threads} threads':42} {seconds:8.3f} s")
    print(f"  {'geoseg, 1 thread':42} {alone:8.3f} s")
    print(f"  {f'geoseg, {threads} threads, 8-connected':42} {joined:8.3f} s")
    ratios = {}
    for name, run in {
        "rasterio.features.shapes -> shapely": lambda: gdal(mask),
        **polygon_peers(mask),
    }.items():
        other, result = best(run, min(repeats, 2) if mask.size > 8192**2 else repeats)
        ratios[name] = other / seconds
        print(f"  {name:42} {other:8.3f} s   {seconds / other:6.3f} (1 / {other / seconds:.1f})")
        if name.startswith("rasterio"):
            same = sorted(shapely.to_wkb(shapely.normalize(found)).tolist()) == sorted(
                shapely.to_wkb(shapely.normalize(result)).tolist()
            )
            print(
                f"  identical to rasterio after normalizing: {same}; valid: {shapely.is_valid(found).all()}"
            )
            if not same:
                raise SystemExit("the polygons differ")
        del result
    return ratios


def stream(
    base: np.ndarray, size: int, threads: int, split: SplitRule | None = None
) -> tuple[float, float, float]:
    """Vectorize a scene made of copies of ``base`` to GeoParquet.

    Returns the peak memory in MB above the start, seconds, and seconds of the processors.
    """
    period = base.shape[0]

    def read(window: Window) -> ChunkValues:
        rows = np.arange(window.row_off, window.row_end) % period
        cols = np.arange(window.col_off, window.col_end) % period
        if (np.diff(rows) == 1).all() and (np.diff(cols) == 1).all():
            values = base[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        else:
            values = base[np.ix_(rows, cols)]
        return ChunkValues(values, values * np.uint8(200))

    geobox = GeoBox(Affine(0.1, 0, 300_000, 0, -0.1, 3_000_000), CRS.from_epsg(32645), size, size)
    with tempfile.TemporaryDirectory() as name, Peak() as peak:
        folder = Path(name)
        start, busy = time.perf_counter(), time.process_time()
        summary = vectorize_classes(
            read, size, size, chunk=CHUNK, connectivity=8, class_names=("building",), geobox=geobox,
            scene="streamed", out={"parquet": folder / "out.parquet"}, spill_dir=folder, threads=threads,
            split=split,
        )  # fmt: skip
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(
        f"\nstreamed {size} x {size} to GeoParquet{', split' if split else ''}: "
        f"{summary.footprints} footprints in {seconds:.1f} s "
        f"({size * size / seconds / 1e6:.0f} Mpx/s, {busy:.1f} s of the processors), "
        f"peak memory {peak.megabytes:.0f} MB above the start"
    )
    return peak.megabytes, seconds, busy


def compare_split(base: np.ndarray, size: int, streamed: int, threads: int, repeats: int) -> None:
    """Splitting at 0.25 against the plain run, and the memory that it takes."""
    rule = SplitRule.on(0.25, (0.1, 0.1))
    for split in (None, rule):
        stream(base, CHUNK, threads, split)  # compiled code, PROJ, Arrow
    runs = [(stream(base, size, threads), stream(base, size, threads, rule)) for _ in range(repeats)]
    for name, which in (("wall", 1), ("processor", 2)):
        plain, split = (min(run[side][which] for run in runs) for side in (0, 1))
        ratio = f"{split:.1f} s / {plain:.1f} s = {split / plain:.2f}"
        print(f"  split / plain, {name} time: {ratio} (target <= 2.5)")
    if streamed:
        peak, *_ = stream(base, streamed, threads, rule)
        print(f"  target <= 450 MB: {'met' if peak <= 450 else 'missed'}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument("--stream", type=int, default=49152, help="side of the streamed scene; 0: none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["split"], help="this part alone")
    given = parser.parse_args()
    start = time.perf_counter()
    base = building_mask(given.size)
    print(
        f"made a mask of {given.size} x {given.size} in {time.perf_counter() - start:.1f} s, "
        f"{base.mean():.1%} of it building"
    )
    if given.only == "split":
        compare_split(base, given.size, given.stream, given.threads, given.repeats)
        return
    missing = [name for name in ("contourrs", "cv2", "cc3d") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    compare_labels(np.ascontiguousarray(base[:4096, :4096]), given.repeats)
    ratios = compare_polygons(base, given.repeats, given.threads)
    slower = [name for name, ratio in ratios.items() if ratio < (4 if name.startswith("rasterio") else 1)]
    verdict = f"missed: {', '.join(slower)}" if slower else "met"
    print(f"  target (1/4 of rasterio, faster than every peer): {verdict}")
    small = min(given.size, 8192)
    print("\nroads: objects that span the scene, with very many holes")
    compare_polygons(road_mask(small), given.repeats, given.threads)
    if given.stream:
        stream(base, min(given.stream, CHUNK), given.threads)  # warm up: compiled code, PROJ, Arrow
        peak, *_ = stream(base, given.stream, given.threads)
        print(f"  target <= 300 MB: {'met' if peak <= 300 else 'missed'}")


if __name__ == "__main__":
    main()
