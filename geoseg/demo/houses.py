"""Buildings: footprint shapes, and the roofs, parapets, cabins and tanks on top."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from geoseg.demo.plane import Box, Frame
from geoseg.demo.region import Region, pick, vary
from geoseg.demo.things import Building, Part, Rgb, Surface

__all__ = ["SHAPES", "Roof", "build", "choose_roof", "shape_boxes"]

#: Height of a storey, meters.
STOREY_M = 3.0


@dataclass(frozen=True, slots=True)
class Roof:
    """Material, color and pitch shared by the wings of one building."""

    surface: Surface
    color: Rgb
    slope: float
    ridge: Literal["along", "hip", "shed"]


def _rectangle(rng: np.random.Generator, w: float, d: float) -> list[Box]:
    return [(0, 0, w, d)]


def _ell(rng: np.random.Generator, w: float, d: float) -> list[Box]:
    a, b = w * rng.uniform(0.35, 0.65), d * rng.uniform(0.4, 0.65)
    wing = (0.0, b, a, d) if rng.random() < 0.5 else (w - a, b, w, d)
    return [(0, 0, w, b), wing]


def _tee(rng: np.random.Generator, w: float, d: float) -> list[Box]:
    b, a = d * rng.uniform(0.4, 0.6), w * rng.uniform(0.2, 0.35)
    return [(0, 0, w, b), (a, b, w - w * rng.uniform(0.2, 0.35), d)]


def _you(rng: np.random.Generator, w: float, d: float) -> list[Box]:
    b, a, c = d * rng.uniform(0.35, 0.5), w * rng.uniform(0.25, 0.36), w * rng.uniform(0.25, 0.36)
    return [(0, 0, w, b), (0, b, a, d), (w - c, b, w, d)]


def _court(rng: np.random.Generator, w: float, d: float) -> list[Box]:
    t = min(w, d) * rng.uniform(0.24, 0.33)
    return [(0, 0, w, t), (0, d - t, w, d), (0, t, t, d - t), (w - t, t, w, d - t)]


#: Shape name -> boxes in a w x d rectangle whose corner is the origin; no two overlap.
SHAPES = {"rectangle": _rectangle, "L": _ell, "T": _tee, "U": _you, "courtyard": _court}


def shape_boxes(rng: np.random.Generator, name: str, box: Box) -> tuple[Box, ...]:
    """Boxes of the shape ``name`` inside ``box``, turned by half a turn at random."""
    u0, v0, u1, v1 = box
    # Shapes are made with their open side at the back; half of them turn it to the street.
    flip = rng.random() < 0.5
    wings = SHAPES[name](rng, u1 - u0, v1 - v0)
    if flip:
        return tuple((u0 + a, v1 - d, u0 + c, v1 - b) for a, b, c, d in wings)
    return tuple((u0 + a, v0 + b, u0 + c, v0 + d) for a, b, c, d in wings)


def choose_roof(rng: np.random.Generator, region: Region, area: float, use: str) -> Roof:
    """A roof as usual in ``region`` for a building of ``area`` square meters."""
    # Halls and sheds have sheet metal wherever they stand, villas more often tiles.
    weights = np.array(region.roofs)
    if use == "hall" or area > 320:
        weights = weights * (0.3, 2.5, 0.6)
    elif area < 22:
        weights = weights * (0.4, 2.0, 0.3)
    elif use == "suburb":
        weights = weights * (0.8, 1.0, 1.8)
    kind = int(rng.choice(3, p=weights / weights.sum()))
    if kind == 0:
        return Roof("concrete", pick(rng, region.concrete, 11), 0.0, "along")
    if kind == 1:
        ridge: Literal["along", "shed"] = "shed" if rng.random() < 0.45 else "along"
        return Roof("metal", pick(rng, region.metal, 9), float(rng.uniform(0.08, 0.28)), ridge)
    hip: Literal["along", "hip"] = "hip" if rng.random() < 0.55 else "along"
    return Roof("tile", pick(rng, region.tile, 9), float(rng.uniform(0.28, 0.5)), hip)


def build(
    rng: np.random.Generator, frame: Frame, boxes: tuple[Box, ...], shape: str, region: Region, use: str
) -> tuple[Building, list[Part]]:
    """A building on ``boxes`` and the parts to paint, the lower ones first."""
    area = sum((c - a) * (d - b) for a, b, c, d in boxes)
    roof = choose_roof(rng, region, area, use)
    # The order of all that is drawn from rng is part of the scene: the same seed has to give the same pixels.
    height = _height(rng, region, area, use, roof)
    rim = float(rng.uniform(0.25, 0.5)) if roof.surface == "concrete" and rng.random() < 0.8 else 0.0
    parts: list[Part] = []
    for box in boxes:
        # The ridge runs along the longer side, as rafters span the shorter one.
        wide = box[2] - box[0] >= box[3] - box[1]
        ridge: Literal["u", "v", "hip", "shed"] = "u" if wide else "v"
        if roof.ridge in ("hip", "shed"):
            ridge = roof.ridge
        salt = int(rng.integers(1 << 30))
        parts.append(
            Part(
                frame, box, height, roof.surface, roof.color, roof.slope, ridge,
                rim=rim, salt=salt, footprint=True,
            )
        )  # fmt: skip
    # After all wings, so that nothing on one of them is painted over by the next.
    for box in boxes:
        parts += _on_top(rng, parts[0], box, region)
    return Building(frame, boxes, shape, roof.surface, height), parts


def _height(rng: np.random.Generator, region: Region, area: float, use: str, roof: Roof) -> float:
    if area < 22 or use == "hall":
        return float(rng.uniform(2.2, 3.2) if area < 22 else rng.uniform(4.5, 8))
    low, high = region.storeys
    # Tall houses have flat roofs of concrete.
    if roof.surface != "concrete":
        high = max(low, high - 2)
    return float(rng.integers(low, high + 1)) * STOREY_M + float(rng.uniform(0, 1))


def _on_top(rng: np.random.Generator, base: Part, box: Box, region: Region) -> list[Part]:
    """Cabins, sheds of sheet metal, lower terraces, tanks and chimneys of one wing."""
    w, d = box[2] - box[0], box[3] - box[1]
    wing = replace(base, box=box, footprint=False)
    if base.surface != "concrete":
        if min(w, d) > 5 and rng.random() < 0.35 and base.surface == "tile":
            box = _inside(rng, wing.box, 0.8, 0.8, 1.0)
            brick: Rgb = (120, 96, 84)
            up = wing.height + 2.5
            return [replace(wing, box=box, height=up, surface="plain", color=brick, slope=0.0, rim=0.0)]
        return _patches(rng, wing, region)
    parts: list[Part] = []
    if min(w, d) < 3.5:
        return parts
    if rng.random() < 0.45:
        parts.append(_half(rng, wing, region))
    if rng.random() < 0.75:
        parts.append(_cabin(rng, wing, region))
    # About one tank for every 45 square meters: a flat roof holds the water of a flat below.
    for _ in range(int(rng.integers(1, 3 + int(w * d / 45)))):
        parts.append(_tank(rng, wing))
    return parts


def _inside(rng: np.random.Generator, box: Box, w: float, d: float, gap: float = 0.4) -> Box:
    u = rng.uniform(box[0] + gap, max(box[0] + gap, box[2] - gap - w))
    v = rng.uniform(box[1] + gap, max(box[1] + gap, box[3] - gap - d))
    return (u, v, min(u + w, box[2] - gap / 2), min(v + d, box[3] - gap / 2))


def _half(rng: np.random.Generator, wing: Part, region: Region) -> Part:
    """A higher part of the house: a room more on one side, leaving a terrace."""
    u0, v0, u1, v1 = wing.box
    share = rng.uniform(0.35, 0.7)
    options: tuple[Box, ...] = (
        (u0, v0, u0 + (u1 - u0) * share, v1), (u1 - (u1 - u0) * share, v0, u1, v1),
        (u0, v0, u1, v0 + (v1 - v0) * share), (u0, v1 - (v1 - v0) * share, u1, v1),
    )  # fmt: skip
    box = options[int(rng.integers(4))]
    up = wing.height + float(rng.uniform(2.2, 3.0))
    if rng.random() < 0.4:
        return _under_metal(rng, wing, region, box, up)
    # Another salt: its stains are not those of the roof below.
    return replace(wing, box=box, height=up, color=vary(rng, wing.color, 12), salt=wing.salt + 1)


def _cabin(rng: np.random.Generator, wing: Part, region: Region) -> Part:
    box = _inside(rng, wing.box, rng.uniform(2, 3.6), rng.uniform(2, 4.2), 0.1)
    up = wing.height + float(rng.uniform(2.2, 5.2))
    if rng.random() < 0.35:
        return _under_metal(rng, wing, region, box, up)
    return replace(wing, box=box, height=up, color=vary(rng, wing.color, 22), rim=0.2, salt=wing.salt + 2)


def _under_metal(rng: np.random.Generator, wing: Part, region: Region, box: Box, height: float) -> Part:
    """A part under sheets of metal that fall to one side."""
    color = pick(rng, region.metal, 8)
    return replace(
        wing, box=box, height=height, surface="metal", color=color, slope=0.1, ridge="shed", rim=0.0
    )


#: Black and white plastic, steel, concrete, rust.
_TANKS: tuple[Rgb, ...] = (
    (36, 38, 42), (206, 208, 208), (70, 110, 150), (48, 56, 80), (150, 140, 128), (90, 84, 78), (170, 90, 70),
    (120, 138, 110),
)  # fmt: skip


def _tank(rng: np.random.Generator, wing: Part) -> Part:
    size = rng.uniform(0.7, 1.7)
    box = _inside(rng, wing.box, size, size * rng.uniform(0.8, 1.8), 0.4)
    color = _TANKS[int(rng.integers(len(_TANKS)))]
    up = wing.height + float(rng.uniform(0.3, 1.8))
    return replace(wing, box=box, height=up, surface="plain", color=vary(rng, color, 8), rim=0.0,
                   slope=0.0, round=bool(rng.random() < 0.5))  # fmt: skip


def _patches(rng: np.random.Generator, wing: Part, region: Region) -> list[Part]:
    """Sheets of another color on a metal roof, as repairs leave them."""
    if wing.surface != "metal" or rng.random() < 0.5:
        return []
    parts: list[Part] = []
    for _ in range(int(rng.integers(1, 4))):
        box = _inside(rng, wing.box, rng.uniform(0.8, 2.5), rng.uniform(1.5, 4), 0.0)
        color = pick(rng, region.metal, 9) if rng.random() < 0.4 else vary(rng, wing.color, 18)
        # A hair above the roof, so that it is painted over it and throws no shadow.
        parts.append(replace(wing, box=box, color=color, slope=0.0, height=wing.height + 0.05))
    return parts
