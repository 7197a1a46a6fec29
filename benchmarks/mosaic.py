"""Sheets of one picture: how long they take to open, and to read, against plain GDAL on the same files.

    python benchmarks/mosaic.py                # 4,000 sheets of 256 x 256 pixels
    python benchmarks/mosaic.py --sheets 100

Opening is compared with the header of every file read by rasterio, and reading with GDAL's own VRT of the
same sheets. Times are of the processor, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window as RasterioWindow

from geoseg.geo.windows import Window
from geoseg.io.mosaic import Mosaic, Sheets, sort_files

SIDE = 256
READ = 1536


def make_sheets(folder: Path, count: int) -> list[str]:
    """Sheets in a square, each of noise."""
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    across = math.ceil(math.sqrt(count))
    profile = {
        "driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8", "crs": "EPSG:25832",
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    paths = []
    for number in range(count):
        row, col = divmod(number, across)
        place = Affine(0.2, 0, 350_000 + col * SIDE * 0.2, 0, -0.2, 5_600_000 - row * SIDE * 0.2)
        paths.append(str(folder / f"sheet_{number:05}.tif"))
        with rasterio.open(paths[-1], "w", transform=place, **profile) as out:
            out.write(tile)
    return paths


def write_vrt(path: Path, mosaic: Mosaic) -> None:
    """The same sheets as GDAL's VRT."""
    height, width = mosaic.geobox.shape
    bands = []
    for band in (1, 2, 3):
        sources = [
            f"<SimpleSource><SourceFilename>{sheet.scene.path}</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SourceProperties RasterXSize="{SIDE}" RasterYSize="{SIDE}" DataType="Byte" BlockXSize="256" '
            'BlockYSize="256"/>'
            f'<SrcRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}"/>'
            f'<DstRect xOff="{place.col_off}" yOff="{place.row_off}" xSize="{SIDE}" ySize="{SIDE}"/>'
            "</SimpleSource>"
            for sheet, place in zip(mosaic.sheets, mosaic.windows, strict=True)
        ]
        bands.append(f'<VRTRasterBand dataType="Byte" band="{band}">{"".join(sources)}</VRTRasterBand>')
    place = ", ".join(map(str, mosaic.geobox.transform.to_gdal()))
    head = f'rasterXSize="{width}" rasterYSize="{height}"><GeoTransform>{place}</GeoTransform>'
    path.write_text(f"<VRTDataset {head}{''.join(bands)}</VRTDataset>")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def measure(count: int) -> dict[str, float]:
    """All figures, seconds but where the name says otherwise."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["GEOSEG_CACHE"] = str(Path(name) / "cache")
        (folder := Path(name) / "sheets").mkdir()
        paths = make_sheets(folder, count)
        time.sleep(2.1)  # the index keeps nothing of files that were written just now
        floor, _ = timed(lambda: [rasterio.open(path).close() for path in paths])
        first, done = timed(lambda: sort_files(paths))
        again, done = timed(lambda: sort_files(paths))
        (sheets,) = done.scenes
        assert isinstance(sheets, Sheets)
        opening, mosaic = timed(sheets.open)
        content, _ = timed(mosaic.fingerprint)
        unchanged, _ = timed(mosaic.fingerprint)
        write_vrt(Path(name) / "all.vrt", mosaic)
        height, width = mosaic.geobox.shape
        side = min(READ, height, width)
        rows, cols = range(0, height - side + 1, side), range(0, width - side + 1, side)
        spots = list(itertools.product(rows, cols))[:12]

        def read_mosaic() -> None:
            for row, col in spots:
                mosaic.read(Window(row_off=row, col_off=col, height=side, width=side))

        def read_vrt() -> None:
            with rasterio.open(Path(name) / "all.vrt") as vrt:
                for row, col in spots:
                    vrt.read(window=RasterioWindow(col, row, side, side))

        vrt_time, _ = timed(read_vrt)
        reading, _ = timed(read_mosaic)
        return {
            "headers by rasterio": floor,
            "first time": first,
            "again": again,
            "opening the mosaic": opening,
            "content of all": content,
            "content, unchanged": unchanged,
            "reading / VRT": reading / vrt_time,
            "pickled MB": len(pickle.dumps(mosaic)) / 1e6,
            "open files": float(len(list(Path("/proc/self/fd").iterdir()))),
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sheets", type=int, default=4000)
    count = parser.parse_args().sheets
    figures = measure(count)
    floor = figures["headers by rasterio"]
    print(f"{count} sheets of {SIDE} x {SIDE} pixels")
    for name, value in figures.items():
        ratio = (
            f"  {value / floor:5.2f} x headers"
            if name in ("first time", "again", "opening the mosaic")
            else ""
        )
        print(f"{name:24} {value:8.2f}{ratio}")


if __name__ == "__main__":
    main()
