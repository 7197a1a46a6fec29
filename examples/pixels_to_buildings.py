"""Make the pictures of the page "From pixels to buildings": scene, threshold, split, regularized, truth.

python examples/pixels_to_buildings.py DATA    # writes from-pixels-dense.png and -loose.png in docs/images

DATA holds the folders oam_banepa and oam_kampala_A: imagery of OpenAerialMap (CC BY 4.0), labels of
OpenStreetMap (ODbL).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import matplotlib as mpl
import numpy as np
import rasterio
from matplotlib import pyplot as plt
from PIL import Image
from pyproj import Transformer
from rasterio.windows import from_bounds
from shapely.geometry import box

import geoseg
from geoseg.config.run import RunSettings
from geoseg.pipeline.predict_scene import predict_scene

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images"
PANEL = 2.6  # inches; at 150 dots each panel has 390 pixels
SPLIT = 0.25  # parts a little more than the network's default of 0.35, so that there is something to see
COLORS = np.array(plt.get_cmap("tab10").colors)


class Place(NamedTuple):
    """A square of ground and where its truth lies."""

    name: str
    scene: str
    truth: str
    center: tuple[float, float]  # longitude and latitude
    side_m: float


PLACES = (
    Place(
        "dense",
        "oam_banepa/scene_banepa_13cm.tif",
        "oam_banepa/buildings_dev.geojson",
        (85.5210, 27.6330),
        80,
    ),
    Place(
        "loose",
        "oam_kampala_A/kampala_A_7cm.tif",
        "oam_kampala_A/kampala_A_buildings.geojson",
        (0.0, 0.0),
        80,
    ),
)


def square(place: Place, data: Path) -> tuple[float, float, float, float]:
    """Bounds in the scene's CRS; the middle of the scene where no center is given."""
    with rasterio.open(data / place.scene) as scene:
        if place.center == (0.0, 0.0):
            x = (scene.bounds.left + scene.bounds.right) / 2
            y = (scene.bounds.bottom + scene.bounds.top) / 2
        else:
            x, y = Transformer.from_crs(4326, scene.crs, always_xy=True).transform(*place.center)
        latitude = Transformer.from_crs(scene.crs, 4326, always_xy=True).transform(x, y)[1]
    half = place.side_m / 2 / np.cos(np.radians(latitude))  # Mercator is wider than the ground
    return x - half, y - half, x + half, y + half


def steps(place: Place, data: Path, bounds: tuple[float, float, float, float], work: Path) -> dict[str, Any]:
    """Footprints after each step, in the scene's CRS."""
    around = box(*bounds).buffer(20).bounds  # houses on the rim are seen whole
    prob = work / f"{place.name}.tif"
    predict_scene(data / place.scene, None, prob, RunSettings(bbox=around))
    plain = {"simplify_m": 0, "regularize": False}
    chosen = {
        "threshold": {"split": "off", **plain},
        "split": {"split": SPLIT, **plain},
        "regularized": {"split": SPLIT, "regularize": True},
    }
    found = {}
    for name, settings in chosen.items():
        out = work / f"{place.name}-{name}.gpkg"
        geoseg.vectorize(prob, out=out, **settings)
        found[name] = gpd.read_file(out)
    found["truth"] = gpd.read_file(data / place.truth).to_crs(found["split"].crs)
    return found


def picture(place: Place, data: Path, target: Path, work: Path) -> None:
    """Five panels beside each other."""
    bounds = square(place, data)
    with rasterio.open(data / place.scene) as scene:
        pixels = scene.read((1, 2, 3), window=from_bounds(*bounds, scene.transform))
    extent = (bounds[0], bounds[2], bounds[1], bounds[3])
    layers = {"scene": None, **steps(place, data, bounds, work)}
    figure, axes = plt.subplots(1, len(layers), figsize=(PANEL * len(layers), PANEL + 0.3), dpi=150)
    for axis, (name, frame) in zip(axes, layers.items(), strict=True):
        axis.imshow(np.moveaxis(pixels, 0, -1), extent=extent, interpolation="bilinear")
        title = name
        if frame is not None:
            inside = frame[frame.intersects(box(*bounds))].reset_index(drop=True)
            colors = COLORS[(np.arange(len(inside)) * 7) % len(COLORS)]
            inside.plot(ax=axis, color=[(*color, 0.45) for color in colors])
            inside.boundary.plot(ax=axis, color="white", linewidth=0.9)
            title = f"{name}: {len(inside)}"
        axis.set_xlim(bounds[0], bounds[2])
        axis.set_ylim(bounds[1], bounds[3])
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    figure.subplots_adjust(left=0.003, right=0.997, top=0.91, bottom=0.005, wspace=0.02)
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"from-pixels-{place.name}.png"
    figure.savefig(path)
    plt.close(figure)
    # 256 colors are a third of the bytes
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description="Make the pictures of the page From pixels to buildings.")
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=TARGET, help="folder of the PNGs")
    args = parser.parse_args()
    mpl.use("agg")
    with tempfile.TemporaryDirectory() as work:
        for place in PLACES:
            picture(place, args.data, args.out, Path(work))


if __name__ == "__main__":
    main()
