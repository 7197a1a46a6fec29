"""Plane geometry in meters, x to the right and y down: frames, boxes, convex polygons."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, sin

import numpy as np

from geoseg.typing import Array, BoolArray

__all__ = [
    "Box",
    "Frame",
    "box_corners",
    "clip_convex",
    "inside_convex",
    "longest_edge",
    "polygon_area",
    "separate",
]


@dataclass(frozen=True, slots=True)
class Frame:
    """A turned coordinate system: origin (x, y) and the unit vector (cos, sin) of its u axis."""

    x: float
    y: float
    cos: float
    sin: float

    @classmethod
    def at(cls, x: float, y: float, angle: float) -> Frame:
        """The frame at (x, y) turned by ``angle`` radians, from x towards y."""
        return cls(float(x), float(y), cos(angle), sin(angle))

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """From world to (u, v)."""
        dx, dy = x - self.x, y - self.y
        return dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin

    def world(self, u: Array, v: Array) -> tuple[Array, Array]:
        """From (u, v) to world."""
        return self.x + u * self.cos - v * self.sin, self.y + u * self.sin + v * self.cos

    def turn(self, dx: float, dy: float) -> tuple[float, float]:
        """A world vector in this frame's axes."""
        return dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin


#: (u0, v0, u1, v1), half-open: a pixel center on u0 is inside, one on u1 is not.
Box = tuple[float, float, float, float]


def box_corners(frame: Frame, box: Box) -> Array:
    """The four corners of ``box`` in world coordinates, float64 (4, 2)."""
    u0, v0, u1, v1 = box
    return np.stack(frame.world(np.array([u0, u1, u1, u0]), np.array([v0, v0, v1, v1])), axis=1)


def separate(corners: Array, others: Array, slack: float = 0.02) -> bool:
    """Whether a rectangle meets none of ``others`` by more than ``slack`` meters.

    The separating axis theorem on the edges of both rectangles.

    Parameters
    ----------
    corners : float64 (4, 2)
    others : float64 (n, 4, 2)
    """
    if not len(others):
        return True
    # Two convex shapes are apart if they are on one of the axes across their edges.
    apart = _apart_on(corners[None], others, _axes(corners[None]), slack)
    apart |= _apart_on(corners[None], others, _axes(others), slack)
    return bool(apart.all())


def _axes(corners: Array) -> Array:
    edges = corners[:, 1:3] - corners[:, 0:2]
    return edges / np.linalg.norm(edges, axis=2, keepdims=True)


def _apart_on(a: Array, b: Array, axes: Array, slack: float) -> BoolArray:
    first = axes @ a.transpose(0, 2, 1)
    second = axes @ b.transpose(0, 2, 1)
    gap = np.maximum(first.min(2) - second.max(2), second.min(2) - first.max(2))
    return (gap >= -slack).any(axis=1)


def polygon_area(points: Array) -> float:
    """Signed area of a polygon; positive when it turns from x towards y."""
    x, y = points[:, 0], points[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def clip_convex(points: Array, origin: Array, normal: Array) -> Array:
    """The part of a convex polygon on the side of the line that ``normal`` points to."""
    side = (points - origin) @ normal
    kept: list[Array] = []
    for corner, following, a, b in zip(points, np.roll(points, -1, axis=0), side, np.roll(side, -1)):
        if a >= 0:
            kept.append(corner)
        # The edge crosses the line: the crossing is a corner.
        if (a >= 0) != (b >= 0):
            kept.append(corner + (following - corner) * (a / (a - b)))
    return np.array(kept).reshape(-1, 2)


def inside_convex(points: Array, x: Array, y: Array, margin: float = 0.0) -> BoolArray:
    """Whether (x, y) lie in a convex polygon of positive area, ``margin`` meters from its edges."""
    inside = np.ones(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    corners = points.tolist()
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
        length = hypot(bx - ax, by - ay)
        if length > 1e-9:  # an edge of no length has no sides
            inside &= (y - ay) * ((bx - ax) / length) - (x - ax) * ((by - ay) / length) >= margin
    return inside


def longest_edge(points: Array) -> tuple[Array, float]:
    """Unit direction and length of the longest edge."""
    edges = np.roll(points, -1, axis=0) - points
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    best = int(lengths.argmax())
    return edges[best] / lengths[best], float(lengths[best])
