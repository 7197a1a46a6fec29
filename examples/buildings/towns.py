"""Generated ground to train on beside real places: chips of random towns in one scene, and their buildings.

    python examples/buildings/towns.py --out examples/buildings/generated/places

Roofs, soils, light, density and camera of each chip are drawn anew by the generator of `geoseg demo`. Every
house is a polygon of its own, also where two share a wall. Much of what is taken for a house and is none lies
about: furrowed plots, slabs, buses in a row, pools, courts, walls of ruins; and many chips have no house at
all. One scene is made for each sampling distance, `0.30/towns.tif` with `0.30/towns.geojson`; beside it
`world.tif` with `world.geojson`, where two chips of three show a place of world.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import shapely
from rasterio.transform import from_origin

sys.path.insert(0, str(Path(__file__).parent))
from world import WORLD, any_region, lengthen_shadows, rebuild, shade_roofs

from geoseg.demo.plane import Frame, box_corners
from geoseg.demo.region import REGIONS, Region
from geoseg.demo.scene import make_labeled_chip
from geoseg.demo.things import Part, Plan, Rgb, Surface, TownBlock
from geoseg.typing import FloatArray

CRS, ORIGIN = "EPSG:32645", (400_000.0, 3_050_000.0)
#: Meters per pixel, and chips from north to south and from west to east.
STEPS = {0.15: (5, 8), 0.3: (8, 10), 0.5: (5, 8)}
#: The same of world.tif, whose chips are larger: halls and slabs are to be seen whole.
WORLD_STEPS = {0.15: (5, 6), 0.3: (8, 12), 0.5: (5, 8)}
#: Share of the chips without any building, in towns.tif and in world.tif.
BARE, WORLD_BARE = 0.25, 0.1
#: Lower things than this are ground: streets, markings, paths.
LOW_M = 0.3


def make_towns(
    out: Path, rows: int, cols: int, chip: int, gsd: float, seed: int, world: bool = False
) -> tuple[Path, Path]:
    """Write towns.tif and towns.geojson, or world.tif and world.geojson; returns both."""
    image = np.zeros((3, rows * chip, cols * chip), np.uint8)
    transform = from_origin(*ORIGIN, gsd, gsd)
    to_degrees = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True)
    rng = np.random.default_rng(seed)
    features = []

    def to_ground(points: FloatArray) -> FloatArray:
        # A nanodegree is a tenth of a millimeter, and the same point always rounds to the same.
        x, y = transform * (points[:, 0], points[:, 1])
        return np.column_stack(to_degrees.transform(x, y)).round(9)

    for row in range(rows):
        for col in range(cols):
            region = draw_region(rng) if world else None
            change = clutter(rng, chip * gsd, region)
            pixels, _, houses = make_labeled_chip(chip, gsd, rng, change, region)
            image[:, row * chip : (row + 1) * chip, col * chip : (col + 1) * chip] = pixels
            corner = np.array([col * chip, row * chip])
            for house in houses:
                placed = shapely.transform(house, lambda points, corner=corner: to_ground(points + corner))
                geometry = shapely.geometry.mapping(placed)
                features.append({"type": "Feature", "properties": {}, "geometry": geometry})
    out.mkdir(parents=True, exist_ok=True)
    name = "world" if world else "towns"
    scene, labels = out / f"{name}.tif", out / f"{name}.geojson"
    profile = {
        "driver": "GTiff", "count": 3, "dtype": "uint8", "height": rows * chip, "width": cols * chip,
        "crs": CRS, "transform": transform, "tiled": True, "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(scene, "w", **profile) as file:
        file.write(image)
    labels.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return scene, labels


def draw_region(rng: np.random.Generator) -> Region:
    """A place of the demo, one of world.py, or one of any colors."""
    chance = rng.random()
    if chance < 0.3:
        return REGIONS[str(rng.choice(list(REGIONS)))]
    return WORLD[str(rng.choice(list(WORLD)))] if chance < 0.75 else any_region(rng)


def clutter(rng: np.random.Generator, extent: float, region: Region | None = None) -> Callable[[Plan], None]:
    """A change of a plan of ``extent`` meters: things on the ground that are no houses.

    With a ``region`` also its light, the shade of trees, and other ways to build.
    """

    def change(plan: Plan) -> None:
        if region is not None:
            if rng.random() < 0.5:
                rebuild(rng, plan, region, extent, LOW_M)
            lengthen_shadows(rng, plan)
            if rng.random() < 0.5:
                shade_roofs(rng, plan, region, float(rng.uniform(0, 0.6)))
        if rng.random() < (BARE if region is None else WORLD_BARE):
            plan.buildings.clear()
            plan.parts[:] = [part for part in plan.parts if part.height < LOW_M]
        area = (extent / 100) ** 2
        plan.blocks += [_furrowed(rng, extent) for _ in range(rng.poisson(2 * area))]
        things: list[Part] = []
        for make in (_slab, _buses, _pool, _court, _ruin):
            for _ in range(rng.poisson(1.5 * area)):
                at = Frame.at(*rng.uniform(0, extent, 2), rng.uniform(0, 2 * np.pi))
                things += make(rng, at)
        # After the streets and before the first house: nothing of this lies on a roof.
        houses = (number for number, part in enumerate(plan.parts) if part.height >= LOW_M)
        first = next(houses, len(plan.parts))
        plan.parts[first:first] = things

    return change


def _furrowed(rng: np.random.Generator, extent: float) -> TownBlock:
    """A bare plot with plow lines 0.6 to 3 m apart."""
    frame = Frame.at(*rng.uniform(0, extent, 2), rng.uniform(0, 2 * np.pi))
    wide, deep = rng.uniform(8, 45), rng.uniform(8, 45)
    turn, step = rng.uniform(0, np.pi), rng.uniform(0.6, 3)
    corners = box_corners(frame, (0.0, 0.0, wide, deep))
    wave = (float(np.cos(turn) / step), float(np.sin(turn) / step))
    soil = _color(rng, (150, 118, 90), 35)
    return TownBlock(
        corners, "plot", soil, _color(rng, (110, 122, 74), 25), float(rng.uniform(-1.4, 0.4)), wave
    )


def _color(rng: np.random.Generator, color: Rgb, spread: float) -> Rgb:
    red, green, blue = np.clip(
        np.array(color) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3), 15, 245
    )
    return float(red), float(green), float(blue)


def _flat(frame: Frame, size: tuple[float, float], surface: Surface, color: Rgb, height: float = 0.0) -> Part:
    return Part(frame, (0.0, 0.0, *size), height, surface, color, salt=int(1000 * size[0]))


def _slab(rng: np.random.Generator, at: Frame) -> list[Part]:
    """Concrete or dirt without a house on it."""
    size = float(rng.uniform(4, 18)), float(rng.uniform(4, 14))
    if rng.random() < 0.5:
        return [_flat(at, size, "dirt", _color(rng, (165, 140, 112), 30))]
    return [_flat(at, size, "concrete", _color(rng, (172, 168, 160), 25))]


def _buses(rng: np.random.Generator, at: Frame) -> list[Part]:
    """Buses, trucks or containers side by side."""
    length, height = float(rng.uniform(6, 13)), float(rng.uniform(2.2, 3.4))
    parts = []
    for number in range(int(rng.integers(1, 9))):
        color = _color(rng, (190, 185, 175), 60)
        box = (0.0, 3.4 * number, length, 3.4 * number + 2.5)
        parts.append(Part(at, box, height, "plain", color, salt=number))
    return parts


def _pool(rng: np.random.Generator, at: Frame) -> list[Part]:
    """A pool in its rim of stone."""
    wide, deep = float(rng.uniform(5, 14)), float(rng.uniform(3, 7))
    water = Part(
        at, (1.2, 1.2, 1.2 + wide, 1.2 + deep), 0.0, "plain", _color(rng, (80, 175, 205), 25),
        round=bool(rng.random() < 0.4),
    )  # fmt: skip
    return [_flat(at, (wide + 2.4, deep + 2.4), "concrete", _color(rng, (205, 198, 185), 20)), water]


def _court(rng: np.random.Generator, at: Frame) -> list[Part]:
    """A court with white lines."""
    wide, deep = float(rng.uniform(18, 36)), float(rng.uniform(10, 20))
    base: Rgb = ((70, 120, 80), (160, 80, 60), (70, 100, 150), (140, 140, 140))[int(rng.integers(4))]
    lines = [
        (1, 1, wide - 1, 1.2),
        (1, deep - 1.2, wide - 1, deep - 1),
        (wide / 2, 1, wide / 2 + 0.2, deep - 1),
    ]
    marks = [Part(at, line, 0.0, "plain", (225.0, 225.0, 220.0)) for line in lines]
    return [_flat(at, (wide, deep), "plain", _color(rng, base, 15)), *marks]


def _ruin(rng: np.random.Generator, at: Frame) -> list[Part]:
    """Walls without a roof."""
    wide, deep = float(rng.uniform(4, 12)), float(rng.uniform(4, 10))
    height, color = float(rng.uniform(0.8, 2.4)), _color(rng, (170, 140, 120), 25)
    walls = [
        (0, 0, wide, 0.35),
        (0, deep - 0.35, wide, deep),
        (0, 0, 0.35, deep),
        (wide - 0.35, 0, wide, deep),
    ]
    kept = [wall for wall in walls if rng.random() < 0.85]
    floor = _flat(at, (wide, deep), "dirt", _color(rng, (140, 125, 100), 25))
    return [floor, *(Part(at, wall, height, "concrete", color) for wall in kept)]


def main() -> None:
    """Make the scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chip", type=int, default=384, help="side of a chip in pixels")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the rows of chips, for a quick look"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for steps, chip, world in ((STEPS, args.chip, False), (WORLD_STEPS, args.chip * 4 // 3, True)):
        for number, (gsd, (rows, cols)) in enumerate(steps.items()):
            out, count = args.out / f"{gsd:.2f}", max(1, round(args.share * rows))
            seed = args.seed + number + (100 if world else 0)
            for path in make_towns(out, count, cols, chip, gsd, seed, world):
                print(path, flush=True)


if __name__ == "__main__":
    main()
