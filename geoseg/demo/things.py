"""What a scene is made of: parts (boxes with a surface and a height), trees, blocks, buildings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from geoseg.demo.plane import Box, Frame
from geoseg.typing import Array

__all__ = ["Building", "Part", "Plan", "Rgb", "Sun", "Surface", "TownBlock", "Tree"]

Rgb = tuple[float, float, float]
Surface = Literal["concrete", "metal", "tile", "plain", "asphalt", "dirt"]


@dataclass(frozen=True, slots=True)
class Sun:
    """Unit vector on the ground away from the sun, and meters of shadow a meter of height."""

    dx: float
    dy: float
    reach: float


@dataclass(frozen=True, slots=True)
class Part:
    """A box on the ground or on a roof.

    ``slope`` is the rise of a pitched roof (0 flat), ``ridge`` the axis its ridge follows;
    ``rim`` the width in meters of a parapet; ``footprint`` marks what counts as building.
    """

    frame: Frame
    box: Box
    height: float
    surface: Surface
    color: Rgb
    slope: float = 0.0
    ridge: Literal["u", "v", "hip", "shed"] = "u"
    rim: float = 0.0
    salt: int = 0
    round: bool = False
    footprint: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """A crown: a lumpy disc of ``radius`` meters, ``height`` meters up."""

    x: float
    y: float
    radius: float
    height: float
    color: Rgb
    salt: int


@dataclass(frozen=True, slots=True)
class TownBlock:
    """A convex piece of ground between streets, and how it is covered.

    ``green`` shifts the balance of vegetation and soil; ``furrow`` is the wave vector (per meter)
    of plough lines, (0, 0) for none.
    """

    points: Array
    use: str
    soil: Rgb
    grass: Rgb
    green: float
    furrow: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Building:
    """One building: disjoint boxes in one frame, whose union is its footprint."""

    frame: Frame
    boxes: tuple[Box, ...]
    shape: str
    roof: str
    height: float


@dataclass
class Plan:
    """Everything in a scene, in the order it is painted. Meters from the top left corner."""

    sun: Sun
    blocks: list[TownBlock] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    street: TownBlock | None = None
