"""Generated ground to train on beside real places: chips of random towns in one scene, and their buildings.

    python examples/buildings/towns.py --out examples/buildings/generated

Roofs, soils, light, density and camera of each chip are drawn anew by the generator of `geoseg demo`.
Buildings that touch are one polygon.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

import geoseg
from geoseg.demo.scene import make_chip

CRS, ORIGIN = "EPSG:32645", (400_000.0, 3_050_000.0)


def make_towns(out: Path, rows: int, cols: int, chip: int, gsd: float, seed: int) -> tuple[Path, Path]:
    """Write towns.tif and towns.geojson; returns both."""
    image = np.zeros((3, rows * chip, cols * chip), np.uint8)
    mask = np.zeros((rows * chip, cols * chip), bool)
    rng = np.random.default_rng(seed)
    for row in range(rows):
        for col in range(cols):
            at = slice(row * chip, (row + 1) * chip), slice(col * chip, (col + 1) * chip)
            image[:, *at], mask[at] = make_chip(chip, gsd, rng)
    transform = from_origin(*ORIGIN, gsd, gsd)
    out.mkdir(parents=True, exist_ok=True)
    scene, labels = out / "towns.tif", out / "towns.geojson"
    profile = {
        "driver": "GTiff", "count": 3, "dtype": "uint8", "height": mask.shape[0], "width": mask.shape[1],
        "crs": CRS, "transform": transform, "tiled": True, "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(scene, "w", **profile) as file:
        file.write(image)
    buildings = geoseg.polygonize(mask, transform=transform, crs=CRS)
    buildings.to_crs(4326).to_file(labels, driver="GeoJSON")
    return scene, labels


def main() -> None:
    """Make the scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=8, help="chips from north to south")
    parser.add_argument("--cols", type=int, default=10, help="chips from west to east")
    parser.add_argument("--chip", type=int, default=384, help="side of a chip in pixels")
    parser.add_argument("--gsd", type=float, default=0.3, help="meters per pixel")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for path in make_towns(args.out, args.rows, args.cols, args.chip, args.gsd, args.seed):
        print(path)


if __name__ == "__main__":
    main()
