"""The ground plan: streets that cut the land into convex blocks, and what each block is used for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot

import numpy as np

from geoseg.demo.plane import Frame, clip_convex, longest_edge, polygon_area
from geoseg.demo.region import Region, pick, vary
from geoseg.demo.things import TownBlock
from geoseg.typing import Array

__all__ = ["Density", "Street", "block_use", "divide", "finish_block", "plots"]

#: How built-up the town is at (x, y), from 0 (fields) to 1 (old town).
Density = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Street:
    """A straight street: u runs along it from 0 to ``length``, v across, the middle at 0."""

    frame: Frame
    length: float
    width: float


def divide(rng: np.random.Generator, land: Array, density: Density) -> tuple[list[Array], list[Street]]:
    """Cut convex ``land`` by streets until each piece is as small as its density asks.

    Returns
    -------
    blocks : list of float64 (n, 2)
        Convex polygons of positive area, without the streets.
    streets : list of Street
    """
    blocks: list[Array] = []
    streets: list[Street] = []
    pending = [land]
    while pending:
        piece = pending.pop()
        area = polygon_area(piece)
        x, y = piece.mean(axis=0)
        # Square meters of a block: small in the old town, wide in the fields.
        usual = 1900 + 15000 * (1 - density(float(x), float(y))) ** 1.6
        if area < usual * rng.uniform(0.7, 1.6):
            blocks.append(piece)
            continue
        halves, street = _cut(rng, piece, _street_width(rng, area))
        streets.append(street)
        pending += [half for half in halves if len(half) >= 3 and polygon_area(half) > 60]
    return blocks, streets


def _street_width(rng: np.random.Generator, area: float) -> float:
    if area > 500_000:
        return float(rng.uniform(15, 20))
    if area > 90_000:
        return float(rng.uniform(7, 10))
    if area > 20_000:
        return float(rng.uniform(4.5, 7.5))
    return float(rng.uniform(2.2, 4.5))


def _cut(rng: np.random.Generator, piece: Array, width: float) -> tuple[list[Array], Street]:
    # Across the longest edge, somewhere near its middle and a little askew, so that no piece becomes a strip.
    along, _ = longest_edge(piece)
    angle = rng.normal(0, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    normal = turn @ along
    reach = piece @ normal
    middle = reach.min() + (reach.max() - reach.min()) * rng.uniform(0.36, 0.64)
    origin = normal * middle
    halves = [
        clip_convex(piece, origin + normal * width / 2, normal),
        clip_convex(piece, origin - normal * width / 2, -normal),
    ]
    direction = np.array([-normal[1], normal[0]])
    line = np.abs((piece - origin) @ normal)
    cross = _crossings(piece, origin, normal) @ direction if line.size else np.zeros(2)
    start = origin + direction * (cross.min() - (origin @ direction))
    frame = Frame(float(start[0]), float(start[1]), float(direction[0]), float(direction[1]))
    return halves, Street(frame, float(cross.max() - cross.min()), width)


def _crossings(piece: Array, origin: Array, normal: Array) -> Array:
    side = (piece - origin) @ normal
    points = [
        corner + (following - corner) * (a / (a - b))
        for corner, following, a, b in zip(piece, np.roll(piece, -1, axis=0), side, np.roll(side, -1))
        if (a >= 0) != (b >= 0)
    ]
    return np.array(points)


def block_use(rng: np.random.Generator, density: float, area: float) -> str:
    """What a block is used for: dense, town, suburb, hall, court, open or field."""
    # One number for all questions, so that the answers do not depend on how many were asked.
    chance = rng.random()
    if density < 0.2:
        return "field" if chance < 0.8 else "suburb"
    if area > 2500 and chance < 0.07:
        return "hall"
    if area > 3500 and chance < 0.1:
        return "court"
    if chance < (0.11 if density > 0.62 else 0.17):
        return "open"
    if density > 0.62:
        return "dense"
    return "town" if density > 0.4 else "suburb"


_GREEN = {"dense": -0.75, "town": -0.1, "suburb": 0.3, "hall": -0.6, "court": -0.5, "open": 0.0, "field": 0.7}


def finish_block(rng: np.random.Generator, points: Array, use: str, region: Region) -> TownBlock:
    """Give a block its soil, its vegetation and their balance."""
    soil = pick(rng, region.soils)
    if use in ("dense", "hall", "court") and rng.random() < 0.6:
        gray = sum(soil) / 3 * 0.8
        soil = vary(rng, (gray, gray, gray * 0.96), 8)
    green = _GREEN[use] + rng.normal(0, 0.35)
    return TownBlock(points, use, soil, pick(rng, region.grasses), float(green))


def plots(rng: np.random.Generator, block: TownBlock, region: Region) -> list[TownBlock]:
    """Cut a field into plots, some ploughed, with bunds of grass between."""
    done: list[TownBlock] = []
    pending = [block.points]
    target = rng.uniform(350, 1600)
    while pending:
        piece = pending.pop()
        if polygon_area(piece) < target * rng.uniform(0.7, 2):
            done.append(_plot(rng, piece, region))
            continue
        halves, _ = _cut(rng, piece, rng.uniform(0.5, 1.6))
        pending += [half for half in halves if len(half) >= 3 and polygon_area(half) > 20]
    return done


def _plot(rng: np.random.Generator, points: Array, region: Region) -> TownBlock:
    along, _ = longest_edge(points)
    if rng.random() < 0.5:
        along = np.array([-along[1], along[0]])
    per_meter = 1 / rng.uniform(1.2, 3.2) if rng.random() < 0.55 else 0.0
    green = rng.choice([1.3, 0.9, 0.3, -0.9], p=[0.35, 0.3, 0.2, 0.15])
    length = hypot(along[0], along[1])
    wave = (float(along[0] / length * per_meter), float(along[1] / length * per_meter))
    return TownBlock(
        points, "plot", pick(rng, region.soils), pick(rng, region.grasses, 10), float(green), wave
    )
