"""Fill a ground plan with houses, cars, walls, trees and clutter."""

from __future__ import annotations

from itertools import pairwise
from math import atan2, cos, hypot, pi, sin

import numpy as np

from geoseg.demo.houses import build, shape_boxes
from geoseg.demo.plane import Box, Frame, box_corners, inside_convex, polygon_area, separate
from geoseg.demo.region import Region, pick, vary
from geoseg.demo.streets import car, pave
from geoseg.demo.things import Part, Plan, Rgb, Sun, TownBlock, Tree
from geoseg.demo.town import Density, block_use, divide, finish_block, plots
from geoseg.typing import Array

__all__ = ["make_plan"]


def make_plan(rng: np.random.Generator, land: Array, density: Density, region: Region) -> Plan:
    """Everything on the convex polygon ``land`` (meters), at random."""
    # Late morning to early afternoon; the shadows of a picture all fall the same way.
    angle = rng.uniform(0, 2 * pi)
    plan = Plan(sun=Sun(cos(angle), sin(angle), float(rng.uniform(0.35, 0.9))))
    pieces, streets = divide(rng, land, density)
    lots = _Lots(rng, plan, region)
    for points in pieces:
        dense = density(*map(float, points.mean(axis=0)))
        use = block_use(rng, dense, polygon_area(points))
        block = finish_block(rng, points, use, region)
        plan.blocks += plots(rng, block, region) if use == "field" else [block]
        lots.fill(block, dense)
    plan.street = finish_block(rng, land, "open", region)
    # Streets and ground first, under all that stands on them.
    plan.parts[:0] = pave(rng, streets, region) + lots.ground
    return plan


class _Lots:
    """Puts buildings and small things on blocks, so that no two buildings overlap."""

    def __init__(self, rng: np.random.Generator, plan: Plan, region: Region) -> None:
        self.rng, self.plan, self.region = rng, plan, region
        self.taken: list[Array] = []
        self.ground: list[Part] = []

    def fill(self, block: TownBlock, density: float) -> None:
        """Everything that stands on one block."""
        self.taken = []
        ground: list[Part] = []
        if block.use in ("dense", "town"):
            self._rows(block, density)
        elif block.use == "suburb":
            self._villas(block, ground)
        elif block.use in ("hall", "court"):
            self._large(block)
        elif block.use == "field" and self.rng.random() < 0.5:
            self._farms(block)
        self._paths(block, ground)
        self._clutter(block, ground)
        self.ground += ground
        self._trees(block)

    def _rows(self, block: TownBlock, density: float) -> None:
        """Rows of houses along each edge, many sharing walls, then rows behind them."""
        # Long edges first: they are the streets with the most houses, and what is taken is taken.
        order = np.argsort(-_edge_lengths(block.points))
        attached = float(np.clip(0.2 + 0.8 * density + self.rng.normal(0, 0.12), 0.05, 0.95))
        for edge in order:
            frame, length = _edge_frame(block.points, int(edge))
            offset, rows = 0.3, 1 + int(np.sum(self.rng.random(3) < (density, density - 0.1, density - 0.3)))
            for _ in range(rows):
                depth = self.rng.uniform(6.5, 11.5)
                # A degree or so off the street: nothing in an old town is quite parallel.
                angle = atan2(frame.sin, frame.cos) + self.rng.normal(0, 0.02)
                self._row(block, Frame.at(frame.x, frame.y, angle), length, offset, depth, attached)
                # Back to back, or with a yard between the rows.
                offset += depth + (
                    0.0
                    if self.rng.random() < attached * 0.7
                    else self.rng.uniform(0.8, 3.2 if density > 0.6 else 5.0)
                )

    def _row(
        self, block: TownBlock, frame: Frame, length: float, offset: float, depth: float, attached: float
    ) -> None:
        rng = self.rng
        position = rng.uniform(0.2, 2.0)
        while position < length - 3:
            # About 7 m: the middle of a log-normal distribution is e to its first number.
            width = rng.lognormal(1.95, 0.28)
            front = offset + (0.0 if rng.random() < 0.65 else rng.uniform(0, 1.6))
            back = offset + depth * (1.0 if rng.random() < 0.6 else rng.uniform(0.65, 1.0))
            if not self._place(block, frame, (position, front, position + width, back)):
                # Another try a little further: the corner of a block may be too narrow here.
                position += 1.4
                continue
            position += width
            if rng.random() > attached:
                position += rng.uniform(0.6, 2.0) if rng.random() < 0.6 else rng.uniform(2, 9)

    def _place(self, block: TownBlock, frame: Frame, box: Box, grow: float = 0.2) -> bool:
        """Build on ``box`` when it lies in the block and overlaps no building."""
        corners = box_corners(frame, box)
        if not inside_convex(block.points, corners[:, 0], corners[:, 1], grow).all():
            return False
        # Exact truth: two footprints never overlap, though they may share a wall.
        if not separate(corners, np.array(self.taken).reshape(-1, 4, 2)):
            return False
        self.taken.append(corners)
        shape = self._shape(box, block.use)
        boxes = shape_boxes(self.rng, shape, box)
        building, parts = build(self.rng, frame, boxes, shape, self.region, block.use)
        self.plan.buildings.append(building)
        self.plan.parts += parts
        return True

    def _shape(self, box: Box, use: str) -> str:
        w, d = box[2] - box[0], box[3] - box[1]
        if use == "court" and min(w, d) > 16:
            return "courtyard"
        if min(w, d) < 7.5 or self.rng.random() < 0.62:
            return "rectangle"
        # L twice: it is the usual one. A courtyard needs room for wings around it.
        names = ["L", "L", "T", "U"] + (["courtyard"] if min(w, d) > 13 else [])
        return names[int(self.rng.integers(len(names)))]

    def _villas(self, block: TownBlock, ground: list[Part]) -> None:
        """Detached houses in walled gardens."""
        for edge in np.argsort(-_edge_lengths(block.points)):
            frame, length = _edge_frame(block.points, int(edge))
            position = 1.0
            while position < length - 9:
                lot = self.rng.uniform(13, 24)
                depth = self.rng.uniform(14, 26)
                w, d = self.rng.uniform(7, min(15.5, lot - 2)), self.rng.uniform(6.5, 12.5)
                left = position + self.rng.uniform(0.8, max(0.9, lot - w - 0.8))
                front = self.rng.uniform(2, max(2.5, depth - d - 3))
                if self._place(block, frame, (left, front, left + w, front + d), 0.6):
                    if self.rng.random() < 0.6:
                        # A shed in the back corner of the garden.
                        w, d = self.rng.uniform(2.5, 6), self.rng.uniform(2.5, 4.5)
                        left = position + self.rng.uniform(0.4, lot - w - 0.4)
                        self._place(block, frame, (left, depth - d - 0.5, left + w, depth - 0.5))
                    self._wall(ground, frame, (position, 0.3, position + lot, depth))
                position += lot

    def _wall(self, ground: list[Part], frame: Frame, box: Box) -> None:
        if self.rng.random() < 0.35:
            return
        # A wall, or a hedge.
        color: Rgb = (170, 160, 146) if self.rng.random() < 0.6 else (60, 78, 44)
        u0, v0, u1, v1 = box
        sides: tuple[Box, ...] = (
            (u0, v0, u0 + 0.35, v1),
            (u0, v1, u1, v1 + 0.35),
            (u0, v0, u1 - 4, v0 + 0.35),  # a gate to the street
        )
        shade = vary(self.rng, color, 14)
        ground += [Part(frame, side, 1.7, "plain", shade) for side in sides]

    def _large(self, block: TownBlock) -> None:
        """Halls, schools and courtyard houses, a few to a block."""
        for edge in np.argsort(-_edge_lengths(block.points))[:3]:
            frame, length = _edge_frame(block.points, int(edge))
            position = self.rng.uniform(1, 5)
            while position < length - 12:
                w, d = self.rng.uniform(14, 42), self.rng.uniform(9, 20)
                if block.use == "court":
                    w, d = self.rng.uniform(18, 34), self.rng.uniform(17, 30)
                self._place(block, frame, (position, 2.0, position + w, 2.0 + d), 0.5)
                position += w + (0 if self.rng.random() < 0.3 else self.rng.uniform(3, 18))

    def _farms(self, block: TownBlock) -> None:
        edge = int(self.rng.integers(len(block.points)))
        frame, length = _edge_frame(block.points, edge)
        position = self.rng.uniform(0, max(1.0, length - 25))
        for _ in range(int(self.rng.integers(1, 4))):
            w, d = self.rng.uniform(6, 12), self.rng.uniform(6, 10)
            self._place(block, frame, (position, 2.0, position + w, 2.0 + d))
            position += w + self.rng.choice([0.0, 2.0, 6.0])

    def _spots(self, block: TownBlock, count: int, margin: float) -> Array:
        low, high = block.points.min(axis=0), block.points.max(axis=0)
        spots = self.rng.uniform(low, high, (count, 2))
        return spots[inside_convex(block.points, spots[:, 0], spots[:, 1], margin)]

    def _paths(self, block: TownBlock, ground: list[Part]) -> None:
        """Trodden paths across open ground and fields."""
        if block.use not in ("open", "field", "court", "suburb") or self.rng.random() < 0.3:
            return
        # Twelve tries, of which those inside are taken: a narrow block has fewer paths.
        spots = self._spots(block, 12, 1.0)
        color = vary(self.rng, block.soil, 10)
        for (ax, ay), (bx, by) in pairwise(spots[:4]):
            length, wide = hypot(bx - ax, by - ay), float(self.rng.uniform(0.6, 1.5))
            frame = Frame.at(ax, ay, atan2(by - ay, bx - ax))
            ground.append(Part(frame, (-wide, -wide, length + wide, wide), 0.0, "dirt", color))

    def _clutter(self, block: TownBlock, ground: list[Part]) -> None:
        """Heaps, sheets, tanks, parked cars: what lies around, and counts as no building."""
        # Things a square meter; what has no rate here, fields, has few.
        rate = {"dense": 0.03, "town": 0.02, "suburb": 0.007, "hall": 0.006, "court": 0.004, "open": 0.004}
        count = self.rng.poisson(_box_area(block.points) * rate.get(block.use, 0.0006))
        for x, y in self._spots(block, int(count), 0.5):
            frame = Frame.at(x, y, self.rng.uniform(0, pi))
            if self.rng.random() < 0.05:
                ground.append(car(self.rng, frame, 0.0, 0.0))
                continue
            w, d = self.rng.uniform(0.4, 2.1, 2)
            gray = float(self.rng.uniform(40, 190))
            color = (
                pick(self.rng, self.region.metal)
                if self.rng.random() < 0.25
                else (gray, gray * 0.96, gray * 0.88)
            )
            ground.append(Part(frame, (0, 0, w, d), self.rng.uniform(0.2, 1.4), "plain", color))

    def _trees(self, block: TownBlock) -> None:
        rate = {
            "dense": 0.0022,
            "town": 0.005,
            "suburb": 0.009,
            "open": 0.006,
            "court": 0.004,
            "field": 0.0012,
        }
        rough = self.region.trees * self.rng.lognormal(-0.2, 0.7)
        count = self.rng.poisson(_box_area(block.points) * rate.get(block.use, 0.003) * rough)
        taken = np.array(self.taken).reshape(-1, 4, 2).mean(axis=1)
        for x, y in self._spots(block, int(count), 0.0):
            radius = float(self.rng.lognormal(0.75, 0.42))
            near = np.hypot(*(taken - (x, y)).T).min(initial=99.0)
            # Houses have little room for trees, and a footprint hidden under a crown would be no fair truth.
            if near < 3.5 + radius * 0.6:
                continue
            for _ in range(1 + int(self.rng.random() < 0.35) * int(self.rng.integers(1, 4))):
                dx, dy = self.rng.normal(0, radius * 0.9, 2)
                size = radius * self.rng.uniform(0.6, 1.1)
                color = pick(self.rng, self.region.crowns, 8)
                height = size * float(self.rng.uniform(1.2, 2.2)) + 0.8
                salt = int(self.rng.integers(1 << 20))
                self.plan.trees.append(Tree(float(x + dx), float(y + dy), float(size), height, color, salt))


def _edge_lengths(points: Array) -> Array:
    edges = np.roll(points, -1, axis=0) - points
    return np.hypot(edges[:, 0], edges[:, 1])


def _edge_frame(points: Array, edge: int) -> tuple[Frame, float]:
    """The frame whose u axis follows an edge and whose v axis points into the polygon."""
    (ax, ay), (bx, by) = points[edge], points[(edge + 1) % len(points)]
    return Frame.at(ax, ay, atan2(by - ay, bx - ax)), float(hypot(bx - ax, by - ay))


def _box_area(points: Array) -> float:
    return float(np.prod(np.ptp(points, axis=0)))
