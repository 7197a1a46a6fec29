"""Ground of more continents for towns.py: roofs and soils of other places, and ways to build on open ground.

The generator of `geoseg demo` knows three places. Here are palettes of suburbs with shingles, red-tiled old
towns, dry towns, brick and slate, villages of thatch and rusty sheets, and one of any color; and four ways of
building that it does not draw: apartment slabs that lean away from the camera, flat halls among parking lots,
hamlets under trees, and detached houses on lawns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import shapely

from geoseg.demo.houses import build, shape_boxes
from geoseg.demo.plane import Box, Frame, box_corners, separate
from geoseg.demo.region import REGIONS, Region, pick, vary
from geoseg.demo.streets import car
from geoseg.demo.things import Building, Part, Plan, Rgb, Sun, Surface, Tree
from geoseg.typing import Array

__all__ = ["WORLD", "any_region", "lengthen_shadows", "rebuild", "shade_roofs"]

_LAWN: tuple[Rgb, ...] = ((96, 116, 70), (120, 132, 84), (74, 94, 56), (138, 140, 98), (88, 110, 78))
_DRY: tuple[Rgb, ...] = ((150, 138, 100), (128, 120, 86), (104, 104, 74))
_DARK: tuple[Rgb, ...] = ((40, 52, 34), (56, 68, 44), (72, 86, 54), (88, 92, 60))
_MEMBRANE: tuple[Rgb, ...] = (
    (226, 226, 222), (204, 204, 200), (176, 174, 170), (150, 148, 144), (96, 94, 92), (70, 68, 68),
    (186, 176, 158),
)  # fmt: skip
_SHINGLE: tuple[Rgb, ...] = (
    (92, 88, 86), (120, 112, 106), (74, 72, 74), (134, 122, 108), (108, 92, 80), (150, 142, 132),
    (86, 70, 62), (128, 128, 130), (104, 108, 114),
)  # fmt: skip
_RED: tuple[Rgb, ...] = (
    (186, 104, 76), (164, 88, 66), (206, 128, 96), (140, 76, 62), (122, 72, 60), (176, 120, 96), (96, 84, 80),
)  # fmt: skip
_SAND: tuple[Rgb, ...] = ((206, 190, 162), (222, 208, 184), (188, 168, 138), (176, 160, 140), (232, 222, 204))
_THATCH: tuple[Rgb, ...] = (
    (150, 132, 104), (128, 112, 88), (166, 148, 118), (108, 96, 80), (140, 120, 92), (92, 84, 74),
)  # fmt: skip

_VALLEY = REGIONS["valley"]
#: Palettes and habits of building of places that the demo does not show.
WORLD: dict[str, Region] = {
    "shingle": replace(
        _VALLEY, soils=((150, 148, 142), (128, 126, 122), (166, 160, 148)), grasses=_LAWN, crowns=_DARK,
        concrete=_MEMBRANE, tile=_SHINGLE, roofs=(0.12, 0.08, 0.8), storeys=(1, 2), trees=1.8,
    ),
    "red": replace(
        _VALLEY, soils=((158, 150, 140), (136, 130, 122), (176, 168, 156)), grasses=_LAWN, crowns=_DARK,
        concrete=_MEMBRANE, tile=_RED, roofs=(0.15, 0.1, 0.75), storeys=(1, 4), trees=1.3,
    ),
    "slate": replace(
        _VALLEY, soils=((120, 118, 116), (140, 136, 130)), grasses=_LAWN, crowns=_DARK, concrete=_MEMBRANE,
        tile=((92, 92, 98), (112, 110, 112), (132, 86, 72), (76, 78, 84)), roofs=(0.3, 0.1, 0.6),
        storeys=(2, 4), trees=0.9,
    ),
    "dry": replace(
        _VALLEY, soils=(*_SAND, (196, 164, 128)), grasses=_DRY, crowns=(*_DARK, (104, 108, 78)),
        concrete=_SAND, roofs=(0.7, 0.24, 0.06), storeys=(1, 3), trees=0.4,
    ),
    "village": replace(
        REGIONS["coast"], soils=(*_THATCH, (168, 150, 122), (120, 110, 90)), grasses=(*_DRY, *_LAWN),
        crowns=_DARK, tile=_THATCH, roofs=(0.05, 0.5, 0.45), storeys=(1, 1), trees=3.0,
    ),
}  # fmt: skip


def any_region(rng: np.random.Generator) -> Region:
    """A place whose roofs and soils have colors of no place in particular."""

    def colors(count: int, spread: float) -> tuple[Rgb, ...]:
        gray = rng.uniform(45, 225, (count, 1)) + rng.normal(0, spread, (count, 3))
        return tuple((float(r), float(g), float(b)) for r, g, b in gray.clip(20, 240))

    shares = rng.dirichlet((1, 1, 1)).tolist()
    return Region(
        soils=colors(4, 14), grasses=(*_LAWN, *colors(2, 18)), crowns=_DARK, concrete=colors(6, 10),
        metal=colors(8, 30), tile=colors(6, 24), roofs=(shares[0], shares[1], shares[2]),
        storeys=(1, int(rng.integers(1, 6))), trees=float(rng.uniform(0.3, 2.5)),
    )  # fmt: skip


def lengthen_shadows(rng: np.random.Generator, plan: Plan) -> None:
    """Give the plan a sun from near the zenith to low, instead of late morning."""
    plan.sun = Sun(plan.sun.dx, plan.sun.dy, float(np.exp(rng.uniform(np.log(0.2), np.log(1.8)))))


def shade_roofs(rng: np.random.Generator, plan: Plan, region: Region, share: float) -> None:
    """Crowns that cover the edge of a ``share`` of the houses; the label stays the whole house."""
    for building in plan.buildings:
        if rng.random() > share:
            continue
        for _ in range(int(rng.integers(1, 4))):
            u0, v0, u1, v1 = building.boxes[int(rng.integers(len(building.boxes)))]
            # On the wall line: half of the crown lies on the roof.
            along, side = rng.uniform(0, 1), int(rng.integers(4))
            u = (u0 + along * (u1 - u0), u1, u0 + along * (u1 - u0), u0)[side]
            v = (v0, v0 + along * (v1 - v0), v1, v0 + along * (v1 - v0))[side]
            x, y = building.frame.world(np.array(u), np.array(v))
            radius = float(rng.uniform(0.2, 0.45) * min(u1 - u0, v1 - v0) + rng.uniform(0.3, 1.2))
            height = building.height + float(rng.uniform(1.5, 5))
            salt = int(rng.integers(1 << 20))
            plan.trees.append(Tree(float(x), float(y), radius, height, pick(rng, region.crowns, 8), salt))


class _Site:
    """Boxes that are built on, none of them over another."""

    def __init__(self, rng: np.random.Generator, plan: Plan, region: Region) -> None:
        self.rng, self.plan, self.region = rng, plan, region
        self.taken: list[Array] = []

    def free(self, frame: Frame, box: Box, margin: float = 0.0) -> bool:
        """Take the box with a margin around it, where nothing else has."""
        u0, v0, u1, v1 = box
        corners = box_corners(frame, (u0 - margin, v0 - margin, u1 + margin, v1 + margin))
        if not separate(corners, np.array(self.taken).reshape(-1, 4, 2)):
            return False
        self.taken.append(corners)
        return True

    def house(self, frame: Frame, box: Box, shape: str = "rectangle", use: str = "suburb") -> None:
        """A house with the roof that is usual in the region."""
        boxes = shape_boxes(self.rng, shape, box)
        building, parts = build(self.rng, frame, boxes, shape, self.region, use)
        self.plan.buildings.append(building)
        self.plan.parts += parts


def _slabs(site: _Site, extent: float) -> None:
    """Rows of apartment slabs and towers; walls are seen on one side, and the roof is what counts."""
    rng = site.rng
    turn = rng.uniform(0, 2 * np.pi)
    lean, off = rng.uniform(0, 0.35), rng.uniform(0, 2 * np.pi)
    long, deep, floors = rng.uniform(14, 75), rng.uniform(10, 17), int(rng.integers(3, 19))
    gap = rng.uniform(8, 16) + 2.2 * floors
    surfaces: tuple[Surface, ...] = ("concrete", "plain", "metal")
    surface = surfaces[int(rng.integers(3))]
    wall = pick(rng, (*_SAND, *_MEMBRANE), 10)
    roof = pick(rng, (*_MEMBRANE, *_RED, (80, 110, 150)), 12)
    for row in np.arange(-extent, extent, deep + gap):
        for col in np.arange(-extent, extent, long + rng.uniform(5, 18)):
            middle = Frame.at(extent / 2, extent / 2, turn)
            x, y = middle.world(np.array(col + rng.normal(0, 3)), np.array(row))
            if rng.random() < 0.2 or not (-long < x < extent + long and -long < y < extent + long):
                continue
            # A few stand across.
            frame = Frame.at(float(x), float(y), turn + (np.pi / 2 if rng.random() < 0.1 else 0))
            box = (0.0, 0.0, long * rng.uniform(0.7, 1), deep)
            if not site.free(frame, box, 2.0):
                continue
            _tower(site, frame, box, (surface, vary(rng, roof, 10), wall), floors, (lean, off))


def _tower(
    site: _Site,
    frame: Frame,
    box: Box,
    look: tuple[Surface, Rgb, Rgb],
    floors: int,
    lean: tuple[float, float],
) -> None:
    """Storeys one over another, each moved a little further from the foot, and the roof on top."""
    (surface, roof, wall), rng = look, site.rng
    per_floor, off = 3.0 * lean[0], lean[1]
    dx, dy = per_floor * np.cos(off), per_floor * np.sin(off)
    steps = floors if per_floor else 1
    for floor in range(1, steps + 1):
        moved = replace(frame, x=frame.x + dx * floor, y=frame.y + dy * floor)
        shade = 0.72 if floor % 2 else 0.9
        color = (wall[0] * shade, wall[1] * shade, wall[2] * shade)
        site.plan.parts.append(Part(moved, box, 3.0 * floor, "plain", color))
    top = replace(frame, x=frame.x + dx * steps, y=frame.y + dy * steps)
    rim = float(rng.uniform(0.3, 0.6)) if surface == "concrete" else 0.0
    slope = float(rng.uniform(0.05, 0.25)) if surface == "metal" else 0.0
    height = 3.0 * floors
    site.plan.parts.append(
        Part(top, box, height, surface, roof, slope, rim=rim, salt=int(rng.integers(1 << 30)), footprint=True)
    )
    site.plan.parts += _units(rng, top, box, height, int(rng.integers(1, 6)))
    site.plan.buildings.append(Building(top, (box,), "rectangle", surface, height))


def _units(rng: np.random.Generator, frame: Frame, box: Box, height: float, count: int) -> list[Part]:
    """Machines, stair heads and skylights on a flat roof."""
    parts = []
    for _ in range(count):
        wide, deep = rng.uniform(0.8, 4.5, 2)
        u = rng.uniform(box[0] + 0.5, max(box[0] + 0.6, box[2] - 0.5 - wide))
        v = rng.uniform(box[1] + 0.5, max(box[1] + 0.6, box[3] - 0.5 - deep))
        unit = (u, v, min(u + wide, box[2] - 0.3), min(v + deep, box[3] - 0.3))
        gray = float(rng.uniform(60, 230))
        up = height + float(rng.uniform(0.05, 2.5))
        parts.append(Part(frame, unit, up, "plain", vary(rng, (gray, gray, gray), 8)))
    return parts


def _halls(site: _Site, extent: float) -> None:
    """Shops, depots and factories with flat or sheet-metal roofs, among parking lots."""
    rng = site.rng
    turn = rng.uniform(0, 2 * np.pi)
    lot = rng.uniform(45, 120)
    pavement = pick(rng, ((92, 92, 94), (120, 118, 114), (150, 148, 142), (72, 72, 76)), 12)
    first = len(site.plan.parts)
    ground: list[Part] = []
    for row in np.arange(-extent, extent, lot + rng.uniform(4, 14)):
        for col in np.arange(-extent, extent, lot * 1.3):
            x, y = Frame.at(extent / 2, extent / 2, turn).world(np.array(col), np.array(row))
            if not (-1.5 * lot < x < extent + 1.5 * lot and -1.5 * lot < y < extent + 1.5 * lot):
                continue
            frame = Frame.at(float(x), float(y), turn)
            ground.append(Part(frame, (0, 0, lot * 1.26, lot), 0.0, "concrete", vary(rng, pavement, 8)))
            if rng.random() < 0.12:
                ground += _parking(rng, frame, (2, 2, lot * 1.2, lot - 2))
                continue
            wide, deep = lot * rng.uniform(0.35, 1.15), lot * rng.uniform(0.3, 0.85)
            box = (2.0, 2.0, 2.0 + wide, 2.0 + deep)
            _hall(site, frame, box)
            if lot - deep > 16:
                ground += _parking(rng, frame, (2, deep + 6, lot * 1.2, lot - 1))
    site.plan.parts[first:first] = ground


def _hall(site: _Site, frame: Frame, box: Box) -> None:
    rng, height = site.rng, float(site.rng.uniform(4, 11))
    if rng.random() < 0.4:
        site.house(frame, box, ("rectangle", "L", "U")[int(rng.integers(3))], "hall")
        return
    boxes = shape_boxes(rng, ("rectangle", "rectangle", "L", "T", "courtyard")[int(rng.integers(5))], box)
    color, rim = pick(rng, _MEMBRANE, 10), float(rng.uniform(0.2, 0.6))
    for wing in boxes:
        salt = int(rng.integers(1 << 30))
        # Wings differ a little, as extensions do.
        shade = vary(rng, color, 4 if rng.random() < 0.7 else 25)
        site.plan.parts.append(
            Part(frame, wing, height, "concrete", shade, rim=rim, salt=salt, footprint=True)
        )
        area = (wing[2] - wing[0]) * (wing[3] - wing[1])
        site.plan.parts += _units(rng, frame, wing, height, int(rng.poisson(area / 160)))
    site.plan.buildings.append(Building(frame, boxes, "hall", "concrete", height))


def _parking(rng: np.random.Generator, frame: Frame, box: Box) -> list[Part]:
    """Rows of bays with white lines, some of them taken."""
    u0, v0, u1, v1 = box
    fill, parts = rng.uniform(0, 0.9), []
    for v in np.arange(v0, v1 - 5, rng.uniform(11, 17)):
        for u in np.arange(u0, u1 - 3, 2.7):
            parts.append(Part(frame, (u, v, u + 0.15, v + 5), 0.0, "plain", (214.0, 214.0, 210.0)))
            if rng.random() < fill:
                x, y = frame.world(np.array(u + 1.4), np.array(v + 0.3))
                turned = Frame(float(x), float(y), -frame.sin, frame.cos)
                parts.append(car(rng, turned, 0.0, 0.0))
    return parts


def _hamlet(site: _Site, extent: float) -> None:
    """Clusters of small huts and sheds, turned any way, under trees; some in the color of the ground."""
    rng = site.rng
    faint = rng.random() < 0.3
    for _ in range(int(rng.poisson(2.5 * (extent / 100) ** 2)) + 1):
        x, y = rng.uniform(0, extent, 2)
        turn = rng.uniform(0, np.pi)
        for _ in range(int(rng.integers(2, 14))):
            at = rng.normal((x, y), rng.uniform(6, 16))
            wide, deep = rng.uniform(2.5, 11), rng.uniform(2.5, 6.5)
            askew = turn + rng.integers(4) * np.pi / 2 + rng.normal(0, 0.12)
            frame, box = Frame.at(*at, askew), (0.0, 0.0, wide, deep)
            if not site.free(frame, box, 0.0 if rng.random() < 0.2 else 0.8):
                continue
            if faint:
                # The ground's, a little lighter or darker: what nobody could see teaches nothing.
                tone = rng.uniform(0.7, 0.88) if rng.random() < 0.5 else rng.uniform(1.12, 1.35)
                red, green, blue = pick(rng, site.region.soils, 8)
                color = (min(red * tone, 240.0), min(green * tone, 240.0), min(blue * tone, 240.0))
                salt = int(rng.integers(1 << 30))
                pitch = float(rng.uniform(0.05, 0.4))
                surface: Surface = "tile" if rng.random() < 0.7 else "metal"
                site.plan.parts.append(
                    Part(frame, box, 2.6, surface, color, pitch, salt=salt, footprint=True)
                )
                site.plan.buildings.append(Building(frame, (box,), "rectangle", surface, 2.6))
            else:
                site.house(frame, box)
        # A grove around the yard.
        for _ in range(int(rng.poisson(9 * rng.uniform(0, 2)))):
            spot, radius = rng.normal((x, y), 22), float(rng.lognormal(0.9, 0.4))
            salt, height = int(rng.integers(1 << 20)), float(rng.uniform(2.4, 10))
            color = pick(rng, site.region.crowns, 8)
            site.plan.trees.append(Tree(float(spot[0]), float(spot[1]), radius, height, color, salt))


def _lawns(site: _Site, extent: float) -> None:
    """Streets of detached houses on lawns, with garages, drives and pools."""
    rng = site.rng
    turn, wide, deep = rng.uniform(0, 2 * np.pi), rng.uniform(13, 32), rng.uniform(24, 45)
    street = float(rng.uniform(6, 11))
    middle, asphalt = Frame.at(extent / 2, extent / 2, turn), float(rng.uniform(70, 150))
    first = len(site.plan.parts)
    ground: list[Part] = []
    for number, row in enumerate(np.arange(-extent, extent, deep)):
        # Back to back: a street on every second line of lots.
        start = row + (street / 2 if number % 2 == 0 else 0)
        if number % 2 == 0:
            band = (-extent, row - street / 2, extent, row + street / 2)
            ground.append(Part(middle, band, 0.0, "plain", (asphalt, asphalt, asphalt)))
        for col in np.arange(-extent, extent, wide):
            w, d = wide * rng.uniform(0.5, 0.85), rng.uniform(8, min(18, deep - street))
            back = rng.uniform(3, max(3.5, deep - street / 2 - d - 3))
            v0 = start + back if number % 2 == 0 else row + deep - street / 2 - back - d
            box = (col + rng.uniform(0.5, wide - w), v0, 0.0, 0.0)
            box = (box[0], v0, box[0] + w, v0 + d)
            x, y = middle.world(np.array(box[0]), np.array(v0))
            if not (-30 < x < extent + 30 and -30 < y < extent + 30) or rng.random() < 0.06:
                continue
            site.house(middle, box, ("rectangle", "L", "L", "T", "U")[int(rng.integers(5))])
            gray = float(rng.uniform(130, 210))
            low, high = (row, v0) if number % 2 == 0 else (v0 + d, row + deep)
            drive = (box[0] + 0.5, low, box[0] + rng.uniform(3.5, 6.5), high)
            ground.append(Part(middle, drive, 0.0, "plain", vary(rng, (gray, gray, gray * 0.97), 6)))
    site.plan.parts[first:first] = ground


#: Ways to build on open ground, each given a plan without houses, and how often each is drawn.
LAYOUTS: dict[Callable[[_Site, float], None], float] = {
    _slabs: 0.22,
    _halls: 0.28,
    _hamlet: 0.28,
    _lawns: 0.22,
}


def rebuild(rng: np.random.Generator, plan: Plan, region: Region, extent: float, low_m: float) -> None:
    """Clear the plan of what stands on it and build in one of the other ways."""
    plan.buildings.clear()
    plan.parts[:] = [part for part in plan.parts if part.height < low_m]
    layouts = list(LAYOUTS)
    layout = layouts[int(rng.choice(len(layouts), p=list(LAYOUTS.values())))]
    layout(_Site(rng, plan, region), extent)
    # Trees of the old plan grow where they like, but not through the roof of a hall.
    shapes = shapely.union_all(
        [shapely.Polygon(box_corners(house.frame, box)) for house in plan.buildings for box in house.boxes]
    )
    shapely.prepare(shapes)
    plan.trees[:] = [tree for tree in plan.trees if not shapes.contains(shapely.Point(tree.x, tree.y))]
