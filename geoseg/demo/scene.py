"""Make scenes with known footprints: a whole georeferenced town, or one chip for training."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, exp, pi
from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from PIL import Image
from shapely import affinity

from geoseg.demo.plan import make_plan
from geoseg.demo.plane import Box, Frame, box_corners
from geoseg.demo.region import REGIONS, Region
from geoseg.demo.render import Look, Renderer, in_box
from geoseg.demo.things import Building, Plan
from geoseg.demo.town import Density
from geoseg.errors import InputError
from geoseg.files import write_text
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.photo import write_photo
from geoseg.typing import Array, BoolArray, PathLike, Progress, no_progress

__all__ = [
    "CRS", "GENERATOR", "PARAMETERS_TAG", "Town", "make_chip", "make_labeled_chip", "make_scene",
    "scene_parameters",
]  # fmt: skip

#: Raised whenever the same seed makes other pixels or footprints than before.
GENERATOR = 1
#: Where the town lies: UTM 45N, in the hills of Nepal, whose roofs its colors are of.
CRS = "EPSG:32645"
ORIGIN = (366000.0, 3058000.0)
#: Metadata item of the file that holds :func:`scene_parameters`.
PARAMETERS_TAG = "GEOSEG_DEMO"


def scene_parameters(*, size: int = 5120, seed: int = 0, gsd: float = 0.3) -> dict[str, Any]:
    """What decides every pixel of a scene; stored in the file, so that it can be used again."""
    return {"generator": GENERATOR, "size": size, "seed": seed, "gsd": gsd}


def make_scene(
    path: PathLike,
    truth_path: PathLike,
    *,
    size: int = 5120,
    seed: int = 0,
    gsd: float = 0.3,
    progress: Progress = no_progress,
) -> None:
    """Write a generated aerial scene (GeoTIFF, RGB, internal mask) and its footprints (GeoJSON).

    The scene is painted tile by tile in bounded memory; the same parameters give the same
    pixels. Each file appears only when it is complete, the scene last.

    Parameters
    ----------
    path, truth_path : path
        GeoTIFF and GeoJSON to write; the GeoJSON is in the CRS of the scene (UTM 45N).
    size : int
        Rows and columns, at least 64.
    seed : int
        Of everything random.
    gsd : float
        Meters per pixel, from 0.05 to 2.

    Raises
    ------
    InputError
        If ``size`` or ``gsd`` is out of range, or a path can't be written.
    RunError
        Writing failed, for example on a full disk.
    """
    town = Town(size=size, seed=seed, gsd=gsd)
    # The truth first: a scene that is there has its truth.
    write_text(truth_path, json.dumps(town.truth()))

    def read(window: Window) -> tuple[Array, BoolArray]:
        image, _, valid = town.render(window)
        return image, valid

    tags = {PARAMETERS_TAG: json.dumps(scene_parameters(size=size, seed=seed, gsd=gsd))}
    write_photo(path, read, town.geobox, tags=tags, progress=progress)


def make_chip(size: int, gsd: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """A small generated picture of a random place, with its building mask.

    Parameters
    ----------
    size : int
        Rows and columns.
    gsd : float
        Meters per pixel.
    rng : numpy.random.Generator
        Decides the place, the light and the camera.

    Returns
    -------
    image : uint8 (3, size, size)
    mask : uint8 (size, size)
        1 = building.

    Examples
    --------
    >>> import numpy as np
    >>> image, mask = make_chip(64, 0.3, np.random.default_rng(0))
    >>> image.shape, mask.shape, int(mask.max())
    ((3, 64, 64), (64, 64), 1)
    """
    image, mask, _ = make_labeled_chip(size, gsd, rng)
    return image, mask


def make_labeled_chip(
    size: int,
    gsd: float,
    rng: np.random.Generator,
    change: Callable[[Plan], None] | None = None,
    region: Region | None = None,
) -> tuple[Array, Array, list[Any]]:
    """Like :func:`make_chip`, with the footprint of each building.

    Parameters
    ----------
    change
        Given the plan of the place before it is painted, to add things to it or take them away.
    region
        Its colors and habits of building; None: drawn from :data:`~geoseg.demo.region.REGIONS`.

    Returns
    -------
    image : uint8 (3, size, size)
    mask : uint8 (size, size)
    footprints : list of shapely polygons
        In pixels of the chip, cut at its edge. Buildings that touch are polygons of their own.
    """
    _check(size, gsd, least=1)
    if region is None:
        region = REGIONS[str(rng.choice(list(REGIONS), p=[0.5, 0.25, 0.25]))]
    # More dense places than sparse ones: of fields there is little to learn about houses.
    built = float(np.clip(rng.beta(1.6, 1.1), 0.05, 0.98))
    extent = size * gsd
    land = box_corners(Frame.at(extent / 2, extent / 2, rng.uniform(0, 2 * pi)), _square(extent * 0.72 + 40))
    plan = make_plan(rng, land, lambda x, y: built, region)
    if change is not None:
        change(plan)
    look = Look(
        gain=float(rng.uniform(0.75, 1.15)),
        haze=float(rng.uniform(0, 18)),
        blur=float(rng.uniform(0.35, 0.95)),
        noise=float(rng.uniform(0.5, 4)),
        color=float(rng.uniform(0.6, 1.1)),
    )
    shift = int(rng.integers(100_000))
    image, mask = Renderer(plan, gsd, look=look, shift=shift).render(
        Window(row_off=0, col_off=0, height=size, width=size)
    )
    # Most aerial imagery has been through JPEG, and its blocks are part of what a network has to see through.
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        quality = int(rng.integers(60, 96))
        Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG", quality=quality)
        image = np.ascontiguousarray(np.asarray(Image.open(buffer)).transpose(2, 0, 1))
    whole = shapely.box(0, 0, extent, extent)
    cut = shapely.intersection([_footprint(building) for building in plan.buildings], whole)
    # The plan is wider than the chip; and of a house that only touches the edge, a line is left.
    pieces = [piece for piece in shapely.get_parts(cut) if piece.geom_type == "Polygon" and piece.area]
    footprints = [affinity.scale(piece, 1 / gsd, 1 / gsd, origin=(0, 0)) for piece in pieces]
    return image, mask, footprints


@dataclass(frozen=True)
class Town:
    """A scene before it is a file: any window of it, and its footprints."""

    size: int = 5120
    seed: int = 0
    gsd: float = 0.3

    def __post_init__(self) -> None:
        _check(self.size, self.gsd, least=64)

    @property
    def geobox(self) -> GeoBox:
        """Where the scene lies: UTM 45N."""
        transform = Affine(self.gsd, 0, ORIGIN[0], 0, -self.gsd, ORIGIN[1])
        return GeoBox(transform, pyproj.CRS(CRS), self.size, self.size)

    @cached_property
    def plan(self) -> Plan:
        """Everything in the scene."""
        rng = np.random.default_rng(self.seed)
        extent = self.size * self.gsd
        # Larger than the scene and turned, so that streets run aslant and off its edges.
        turned = Frame.at(extent / 2, extent / 2, rng.uniform(0.1, 0.5))
        land = box_corners(turned, _square(extent * 0.71 + 60))
        return make_plan(rng, land, _density(rng, extent), REGIONS["valley"])

    @cached_property
    def gaps(self) -> list[tuple[Frame, Box]]:
        """Boxes without imagery: a hole, and the ragged ends of flight strips at two edges."""
        # A stream of its own, so that gaps leave the town as it is.
        rng = np.random.default_rng(self.seed + 1)
        return _gaps(rng, self.size * self.gsd)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.plan, self.gsd, shift=self.seed * 7919)

    def render(self, window: Window) -> tuple[Array, Array, BoolArray]:
        """Image uint8 (3, h, w), building mask uint8 (h, w), valid bool (h, w) of a window.

        Invalid pixels are 0 in the image and in the mask.
        """
        image, mask = self._renderer.render(window)
        y = ((np.arange(window.row_off, window.row_off + window.height) + 0.5) * self.gsd)[:, None]
        x = ((np.arange(window.col_off, window.col_off + window.width) + 0.5) * self.gsd)[None, :]
        valid = np.ones(mask.shape, dtype=bool)
        for frame, box in self.gaps:
            low, high = box_corners(frame, box).min(axis=0), box_corners(frame, box).max(axis=0)
            if (low < (x[0, -1], y[-1, 0])).all() and (high > (x[0, 0], y[0, 0])).all():
                valid &= ~in_box(frame, box, x, y)
        return image * valid, mask * valid, valid

    def footprints(self) -> list[tuple[Building, Any]]:
        """Buildings with their footprint (shapely, meters from the corner), cut to what is imaged."""
        extent = self.size * self.gsd
        gaps = shapely.union_all([shapely.Polygon(box_corners(*gap)) for gap in self.gaps])
        imaged = shapely.difference(shapely.box(0, 0, extent, extent), gaps)
        shapely.prepare(imaged)
        shapes: list[tuple[Building, Any]] = []
        for building in self.plan.buildings:
            shape = _footprint(building)
            # Few houses lie at an edge, and an intersection moves corners in the last digits.
            if not imaged.contains(shape):
                shape = imaged.intersection(shape)
            pieces = [piece for piece in shapely.get_parts(shape) if piece.geom_type == "Polygon"]
            # A sliver at a gap is no house that anybody could find.
            shapes += [(building, piece) for piece in pieces if piece.area > 1.0]
        return shapes

    def truth(self) -> dict[str, Any]:
        """The footprints as a GeoJSON FeatureCollection in UTM 45N."""
        features = []
        for number, (building, shape) in enumerate(self.footprints(), start=1):
            placed = shapely.transform(shape, self._to_crs)
            properties = {
                "id": number,
                "shape": building.shape,
                "roof": building.roof,
                "height_m": round(building.height, 1),
            }
            geometry = shapely.geometry.mapping(placed)
            features.append({"type": "Feature", "properties": properties, "geometry": geometry})
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32645"}}
        return {"type": "FeatureCollection", "name": "truth", "crs": crs, "features": features}

    def _to_crs(self, points: Array) -> Array:
        # Rounded to a tenth of a millimeter: the same digits on every machine.
        return np.round(np.stack([ORIGIN[0] + points[:, 0], ORIGIN[1] - points[:, 1]], axis=1), 4)


def _check(size: int, gsd: float, least: int) -> None:
    if size < least:
        raise InputError(
            f"size must be at least {least}, got {size}. Give the rows of the picture in pixels."
        )
    if not 0.05 <= gsd <= 2:
        raise InputError(f"gsd must be from 0.05 to 2 meters per pixel, got {gsd}. Choose for example 0.3.")


def _square(half: float) -> Box:
    return (-half, -half, half, half)


def _footprint(building: Building) -> Any:
    """Union of the boxes, made in the frame of the building, where equal walls are equal numbers."""
    shape = shapely.union_all([shapely.box(*box) for box in building.boxes])
    return shapely.transform(shape, lambda p: np.stack(building.frame.world(p[:, 0], p[:, 1]), axis=1))


def _density(rng: np.random.Generator, extent: float) -> Density:
    """An old town near the middle, smaller centers around it, fields at the edge."""
    centers = [(extent * rng.uniform(0.4, 0.6), extent * rng.uniform(0.4, 0.6), 0.95, 0.3)]
    centers += [(*(extent * rng.uniform(0.1, 0.9, 2)), rng.uniform(0.4, 0.75), 0.14) for _ in range(4)]
    noise = rng.standard_normal((8, 8)) * 0.09

    def density(x: float, y: float) -> float:
        peaks = [
            top * exp(-((x - cx) ** 2 + (y - cy) ** 2) / (extent * w) ** 2) for cx, cy, top, w in centers
        ]
        cell = noise[int(np.clip(y / extent * 8, 0, 7)), int(np.clip(x / extent * 8, 0, 7))]
        return float(np.clip(max(peaks) + cell + 0.08, 0, 1))

    return density


def _gaps(rng: np.random.Generator, extent: float) -> list[tuple[Frame, Box]]:
    # In parts of the usual scene, 5120 pixels of 0.3 m, so that small scenes have small gaps.
    unit = extent / 1536
    hole = Frame.at(extent * rng.uniform(0.6, 0.72), extent * rng.uniform(0.28, 0.4), rng.uniform(0.2, 0.5))
    gaps: list[tuple[Frame, Box]] = []
    for strip in range(4):
        start, long = rng.uniform(-60, -20) * unit, rng.uniform(70, 130) * unit
        gaps.append((hole, (start, strip * 24 * unit, start + long, (strip + 1) * 24 * unit)))
    strip_m = 46 * unit
    corner = Frame.at(extent, -0.1 * extent, 0.06)
    for strip in range(ceil(1.3 * extent / strip_m)):
        depth = max(0.0, rng.normal(14, 16)) * unit
        gaps.append((corner, (-depth, strip * strip_m, extent, (strip + 1) * strip_m)))
    return gaps
