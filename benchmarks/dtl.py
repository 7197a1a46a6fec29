"""Transformation graphs: samples a second against albumentations, and bytes read of tiled scenes.

    python benchmarks/dtl.py                       # generated images; 10,000 x 10,000 scene
    python benchmarks/dtl.py --size 20000
    python benchmarks/dtl.py --project vessels     # an annotated project of one's own

Throughput: the graph mirrors and crops each image ``--copies`` times to 80 % of its sides and hands over
pixels and a class mask; albumentations does the same to the same images, decoded by the same reader. One
thread each, both orders of turns, best of the rounds. Without albumentations the graph is measured alone.

Bytes: random crops of 10 to 20 % of a tiled GeoTIFF. The ideal is the stored size of the file blocks that
each crop touches; what is read is the kernel's count for this process (Linux).
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
from PIL import Image
from rasterio.windows import Window as RasterioWindow

from geoseg.dtl import Sample, open_engine, parse_graph
from geoseg.geo.windows import Window
from geoseg.projects.figures import Annotation, Bitmap, ClassMeta, LabeledObject, ProjectMeta
from geoseg.projects.images import open_image
from geoseg.projects.project import open_project, read_annotation
from geoseg.projects.writer import ProjectWriter
from geoseg.raster.draw import draw_figures

BLOCK = 256
SHARE = 80


def make_project(folder: Path, images: int, size: int) -> Path:
    """JPEG photos of smooth noise with one mask each."""
    rng = np.random.default_rng(0)
    meta = ProjectMeta((ClassMeta("thing", "bitmap", (255, 0, 0)),))
    with ProjectWriter(folder / "photos", meta) as writer:
        for number in range(images):
            coarse = Image.fromarray(rng.integers(0, 255, (size // 16, size // 16, 3), dtype=np.uint8))
            picture = coarse.resize((size, size), Image.Resampling.BICUBIC)
            mask = np.asarray(picture)[..., 0] > 160
            objects = (LabeledObject("thing", bitmap),) if (bitmap := Bitmap((0, 0), mask).tight()) else ()
            annotation = Annotation(size, size, objects)
            writer.add("ds", f"{number:03}.jpg", annotation, lambda path, p=picture: p.save(path, quality=90))
    return folder / "photos"


def source(project: str) -> dict[str, Any]:
    """A data layer on all of a project."""
    return {
        "action": "data",
        "src": [f"{project}/*"],
        "dst": "$a",
        "settings": {"classes_mapping": "default"},
    }


def mirror_and_crop(project: str, copies: int) -> Any:
    """Half of the samples mirrored, all cropped to 80 % of their sides at a random place."""
    part = {"min_percent": SHARE, "max_percent": SHARE}
    return parse_graph(
        [
            {
                "action": "data",
                "src": [f"{project}/*"],
                "dst": "$a",
                "settings": {"classes_mapping": "default"},
            },
            {"action": "flip", "src": ["$a"], "dst": "$f", "settings": {"axis": "vertical"}},
            {"action": "multiply", "src": ["$a", "$f"], "dst": "$m", "settings": {"multiply": copies // 2}},
            {
                "action": "crop",
                "src": ["$m"],
                "dst": "$c",
                "settings": {"random_part": {"width": part, "height": part, "keep_aspect_ratio": False}},
            },
            {"action": "supervisely", "src": ["$c"], "dst": "result", "settings": {}},
        ]
    )


def run_graph(project: Path, copies: int) -> int:
    """All samples of the graph as arrays; returns their number."""
    engine = open_engine(mirror_and_crop(project.name, copies), project.parent)
    values = {title: index for index, title in enumerate(engine.plan.meta.class_names, 1)}
    count = 0
    for order in range(len(engine)):
        for sample in engine.samples(order):
            pixels, mask = sample.pixels.read(), class_mask(sample.annotation, values)
            assert pixels.shape[1:] == mask.shape
            count += 1
    return count


def run_albumentations(project: Path, copies: int, planar: bool) -> int:
    """The same by albumentations on images decoded once by the same reader.

    Its images are (H, W, C); ``planar`` brings them to (C, H, W) as a network wants them and the graph gives.
    """
    import albumentations
    import cv2

    cv2.setNumThreads(1)
    opened = open_project(project)
    values = {title: index for index, title in enumerate(opened.meta.class_names, 1)}
    count = 0
    for item in opened:
        image = open_image(item.image)
        height, width = image.shape
        whole = Window(row_off=0, col_off=0, height=height, width=width)
        pixels = np.ascontiguousarray(np.moveaxis(image.read(whole), 0, -1))
        mask = class_mask(read_annotation(item, opened.meta, image.shape), values)
        crop = albumentations.RandomCrop(height * SHARE // 100, width * SHARE // 100)
        pipeline = albumentations.Compose([albumentations.HorizontalFlip(p=0.5), crop], seed=0)
        for _ in range(copies):
            out = pipeline(image=pixels, mask=mask)
            picture = np.moveaxis(out["image"], -1, 0) if planar else out["image"]
            assert np.ascontiguousarray(picture).size == 3 * np.ascontiguousarray(out["mask"]).size
            count += 1
    return count


def class_mask(annotation: Annotation, values: dict[str, int]) -> np.ndarray:
    """The annotation drawn as class values."""
    window = Window(row_off=0, col_off=0, height=annotation.height, width=annotation.width)
    figures = [item.figure for item in annotation.objects]
    return draw_figures(figures, [values[item.class_name] for item in annotation.objects], window)


def throughput(project: Path, copies: int, rounds: int) -> None:
    """Print samples a second and the ratio."""
    runs: dict[str, Callable[[], int]] = {"graph": lambda: run_graph(project, copies)}
    if importlib.util.find_spec("albumentations") and importlib.util.find_spec("cv2"):
        runs["albumentations HWC"] = lambda: run_albumentations(project, copies, False)
        runs["albumentations CHW"] = lambda: run_albumentations(project, copies, True)
    else:
        print("albumentations left out: it is not installed")
    best = dict.fromkeys(runs, 0.0)
    for turn in range(rounds + 1):
        for name in runs if turn % 2 else reversed(runs):
            start = time.perf_counter()
            count = runs[name]()
            if turn:  # the first one warms up: compiled kernels, the file cache
                best[name] = max(best[name], count / (time.perf_counter() - start))
    for name, rate in best.items():
        print(f"{name:20} {rate:9.1f} samples/s   graph / this {best['graph'] / rate:.2f}")


def make_scene(folder: Path, size: int) -> Path:
    """A project with one tiled, compressed GeoTIFF."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": size, "width": size, "count": 1, "dtype": "uint8", "tiled": True}
    profile |= {
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "zlevel": 1,
    }
    transform = rasterio.transform.from_origin(331000, 3057000, 0.3, 0.3)

    def write(path: Path) -> None:
        with rasterio.open(path, "w", transform=transform, crs="EPSG:32645", **profile) as out:
            for row in range(0, size, BLOCK):
                rows = min(BLOCK, size - row)
                out.write(
                    rng.integers(0, 32, (1, rows, size), dtype=np.uint8),
                    window=((row, row + rows), (0, size)),
                )

    with ProjectWriter(folder / "scene") as writer:
        writer.add("ds", "scene.tif", Annotation(size, size), write)
    return folder / "scene"


def random_crops(project: str, crops: int) -> Any:
    """Crops of 10 to 20 % of the sides."""
    part = {"min_percent": 10, "max_percent": 20}
    settings = {"random_part": {"width": part, "height": part}}
    return parse_graph(
        [
            {
                "action": "data",
                "src": [f"{project}/*"],
                "dst": "$a",
                "settings": {"classes_mapping": "default"},
            },
            {"action": "multiply", "src": ["$a"], "dst": "$m", "settings": {"multiply": crops}},
            {"action": "crop", "src": ["$m"], "dst": "$c", "settings": settings},
            {"action": "supervisely", "src": ["$c"], "dst": "result", "settings": {}},
        ]
    )


class Peak:
    """Highest resident memory above the start, sampled every 5 ms."""

    def __enter__(self) -> Peak:
        self._process = psutil.Process()
        self.start = self.top = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.top = max(self.top, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def megabytes(self) -> float:
        return (self.top - self.start) / 1e6


def bytes_read() -> int:
    """Bytes this process has read by system calls."""
    counters: Any = psutil.Process().io_counters()
    return int(counters.read_chars)


def block_bytes(dataset: Any, window: Window) -> int:
    """Stored size of the file blocks a window touches."""
    touched = RasterioWindow(window.col_off, window.row_off, window.width, window.height)
    (top, bottom), (left, right) = touched.toranges()
    total = 0
    for row in range(top // BLOCK, -(-bottom // BLOCK)):
        for col in range(left // BLOCK, -(-right // BLOCK)):
            total += int(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
    return total


def economy(project: Path, crops: int) -> None:
    """Print bytes read against the ideal, and memory against the largest crop."""
    engine = open_engine(random_crops(project.name, crops), project.parent, seed=1)
    samples: list[Sample] = list(engine.samples(0))
    with rasterio.open(project / "ds" / "img" / "scene.tif") as dataset:
        ideal = sum(block_bytes(dataset, sample.pixels.source_window) for sample in samples)
    size = (project / "ds" / "img" / "scene.tif").stat().st_size
    largest = max(sample.shape[0] * sample.shape[1] for sample in samples)
    samples[0].pixels.read()
    before, start = bytes_read(), time.perf_counter()
    with Peak() as peak:
        for sample in samples:
            sample.pixels.read()
    read, seconds = bytes_read() - before, time.perf_counter() - start
    print(f"{crops} crops of {engine.open(0).shape[0]} px: {crops / seconds:.1f} samples/s")
    print(f"read {read / 1e6:.1f} MB, blocks of the crops {ideal / 1e6:.1f} MB, file {size / 1e6:.1f} MB")
    print(f"ratio {read / ideal:.3f} (read / ideal)")
    print(f"memory +{peak.megabytes:.0f} MB; largest crop {largest / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", type=Path, help="annotated project for the throughput [generated]")
    parser.add_argument("--images", type=int, default=8, help="generated images")
    parser.add_argument("--image-size", type=int, default=1024, help="side of a generated image")
    parser.add_argument("--copies", type=int, default=20, help="samples an image (even)")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--size", type=int, default=10_000, help="side of the tiled scene")
    parser.add_argument("--crops", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generated = options.project or make_project(Path(folder), options.images, options.image_size)
        throughput(generated.resolve(), options.copies, options.rounds)
        economy(make_scene(Path(folder), options.size), options.crops)


if __name__ == "__main__":
    main()
