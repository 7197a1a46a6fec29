"""Edits of polygons that share walls: pure functions of corners on the lattice of 1/1024 pixel.

What is computed (crossings, squared corners) is rounded to the lattice, and then put into the neighbors as
well: see :func:`stitch`. A wall that two polygons share before an edit is shared after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import shapely

from geoseg.errors import InputError
from geoseg.review.objects import Rings, polygon_of, rings_of, round_corners
from geoseg.review.walls import TOUCH, stitch
from geoseg.typing import Array

__all__ = [
    "Key",
    "check_polygon",
    "cut_polygon",
    "fill_hole",
    "insert_corner",
    "merge_polygons",
    "move_corners",
    "remove_corners",
    "split_polygon",
    "square_corners",
]

#: A corner as a key.
Key: TypeAlias = tuple[float, float]


def check_polygon(geometry: Any, before: Any = None) -> Any:
    """The polygon, if it is one.

    Parameters
    ----------
    geometry
        What came of an edit.
    before
        What it was: one that was broken already may stay so, or it could not be mended corner by corner.

    Raises
    ------
    InputError
        With the reason.
    """
    if geometry.is_empty or not geometry.area > 0:
        raise InputError("a polygon must have an area, got none. Delete the object instead.")
    if not geometry.is_valid and (before is None or before.is_valid):
        reason = shapely.is_valid_reason(geometry)
        raise InputError(f"a polygon must not cross itself, got one that does: {reason}. Draw it otherwise.")
    return geometry


def move_corners(rings: Rings, moves: Mapping[Key, Key]) -> Rings | None:
    """Rings with some corners elsewhere; None where they have none of them."""
    return _mapped(rings, moves, set())


def remove_corners(rings: Rings, corners: Iterable[Key]) -> Rings | None:
    """Rings without some corners; None where they have none of them. A hole of less than three is gone."""
    return _mapped(rings, {}, set(corners))


def _mapped(rings: Rings, moves: Mapping[Key, Key], gone: set[Key]) -> Rings | None:
    out: Rings = []
    changed = False
    for part in rings:
        new_part = []
        for number, ring in enumerate(part):
            # Exact keys: corners on the lattice are equal or they are not.
            keys = [tuple(corner) for corner in ring.tolist()]
            kept = [moves.get(key, key) for key in keys if key not in gone]
            if kept != keys:
                changed = True
                # One that was moved onto the next one is one with it.
                kept = [key for key, last in zip(kept, kept[-1:] + kept[:-1]) if key != last]
            if len(kept) < 3 and number:
                continue
            new_part.append(np.array(kept, np.float64).reshape(-1, 2))
        out.append(new_part)
    return out if changed else None


def insert_corner(rings: Rings, edge: tuple[Key, Key], at: Key) -> Rings | None:
    """Rings with one more corner on an edge, whichever way they go along it; None without that edge."""
    changed = False
    out: Rings = []
    for part in rings:
        new_part = []
        for ring in part:
            following = np.roll(ring, -1, axis=0)
            one, other = np.array(edge[0]), np.array(edge[1])
            along = (ring == one).all(axis=1) & (following == other).all(axis=1)
            against = (ring == other).all(axis=1) & (following == one).all(axis=1)
            places = np.flatnonzero(along | against)
            changed |= places.size > 0
            new_part.append(np.insert(ring, places + 1, at, axis=0))
        out.append(new_part)
    return out if changed else None


def fill_hole(geometry: Any, at: Key) -> Any | None:
    """The polygon without the hole that a point lies in; None where there is no hole."""
    point = shapely.Point(at)
    rings = rings_of(geometry)
    for part in rings:
        for number, hole in enumerate(part[1:], 1):
            # Covers, not contains: a click on the edge of a hole means the hole.
            if shapely.Polygon(hole).covers(point):
                del part[number]
                return polygon_of(rings)
    return None


def cut_polygon(geometry: Any, tool: Any) -> list[Any]:
    """What is left of a polygon outside of another one, piece by piece, the largest first.

    Raises
    ------
    InputError
        A piece that is no polygon once its corners are on the lattice.
    """
    parts = shapely.get_parts(_rounded(shapely.difference(geometry, tool)))
    # Where the two only touch, lines and points are left, too.
    polygons = [check_polygon(part) for part in parts if part.geom_type == "Polygon" and part.area > 0]
    return sorted(polygons, key=lambda part: -part.area)


def merge_polygons(geometries: list[Any]) -> Any:
    """Polygons that touch as one.

    Raises
    ------
    InputError
        They do not touch along a wall.
    """
    shapes = dict(enumerate(geometries))
    # Where the wall of one has a corner that the other lacks, the union would be two parts with a slit.
    stitched = stitch({number: rings_of(shape) for number, shape in shapes.items()}, set(shapes))
    shapes |= {number: polygon_of(rings) for number, rings in stitched.items()}
    # Each pair that touches takes one part away, so this many are left where all hang together.
    parts = sum(shapely.get_num_geometries(shape) for shape in shapes.values()) - len(shapes) + 1
    merged = _rounded(shapely.union_all(list(shapes.values())))
    if shapely.get_num_geometries(merged) > parts:
        raise InputError("objects must touch along a wall to be merged, got some that don't. Move them.")
    return check_polygon(merged)


def _rounded(geometry: Any) -> Any:
    return shapely.transform(geometry, round_corners)


def split_polygon(geometry: Any, line: Array) -> list[Any]:
    """The pieces that a line cuts a polygon into, the largest first; none where it does not cut it.

    Parameters
    ----------
    geometry
        Polygon or MultiPolygon; parts that the line leaves whole stay with the largest piece.
    line : (k, 2) float64
        It may end on the outline, and beyond it.

    Raises
    ------
    InputError
        The line runs so close to the outline that the pieces would not be polygons.
    """
    whole, pieces = [], []
    for part in rings_of(geometry):
        faces = _split_part(part, line)
        if len(faces) > 1:
            pieces += faces
        else:
            whole.append(part)
    if not pieces:
        return []
    pieces.sort(key=lambda piece: -piece.area)
    if whole:
        pieces[0] = polygon_of([*rings_of(pieces[0]), *whole])
    return pieces


def _split_part(part: list[Array], line: Array) -> list[Any]:
    rings, nodes = [], [(float(i), tuple(corner)) for i, corner in enumerate(round_corners(line).tolist())]
    for ring in part:
        noded, crossings = _crossed(ring, line)
        rings.append(noded)
        nodes += crossings
    # Along the line: between two nodes a piece of it lies inside or outside as a whole.
    nodes.sort()
    path = np.array([corner for _, corner in nodes], np.float64)
    noded = polygon_of([rings])
    middle = shapely.points((path[:-1] + path[1:]) / 2)
    inner = shapely.contains(noded, middle) & (path[:-1] != path[1:]).any(axis=1)
    cuts = [shapely.LineString([a, b]) for a, b in zip(path[:-1][inner], path[1:][inner])]
    if not cuts:
        return []
    outline = [shapely.LinearRing(ring) for ring in rings]
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(shapely.union_all([*outline, *cuts]))))
    # Holes become faces too, and are none of the object.
    faces = [face for face in faces if noded.contains(face.representative_point())]
    # Within this distance a corner counts as lying on an edge: a thinner piece would fold onto itself. What
    # was as thin before may stay so.
    before = shapely.minimum_clearance(polygon_of([part]))
    thinnest = min(map(shapely.minimum_clearance, faces)) if len(faces) > 1 else before
    if thinnest <= TOUCH and thinnest < before:
        raise InputError("a line must leave pieces that can be seen, got a thin one. Draw it elsewhere.")
    for face in faces:
        check_polygon(face)
        corners = shapely.get_coordinates(face)
        if not np.array_equal(corners, round_corners(corners)):
            raise InputError("a line must cross the outline clearly, got one along it. Draw it elsewhere.")
    return faces


def _crossed(ring: Array, line: Array) -> tuple[Array, list[tuple[float, Key]]]:
    """A ring with a corner wherever a line crosses it; and the crossings by their place along the line."""
    following = np.roll(ring, -1, axis=0)
    # Edges are looked at from their lower end: both sides of a wall find the very same crossing.
    swap = (ring[:, 0] > following[:, 0]) | ((ring[:, 0] == following[:, 0]) & (ring[:, 1] > following[:, 1]))
    low = np.where(swap[:, None], following, ring)
    high = np.where(swap[:, None], ring, following)
    edge, crossings, added = high - low, [], []
    for number, (start, end) in enumerate(pairwise(line)):
        step = end - start
        across = edge[:, 0] * step[1] - edge[:, 1] * step[0]
        away = start - low
        with np.errstate(divide="ignore", invalid="ignore"):
            along_edge = (away[:, 0] * step[1] - away[:, 1] * step[0]) / across
            along_line = (away[:, 0] * edge[:, 1] - away[:, 1] * edge[:, 0]) / across
        hit = (across != 0) & (along_edge >= 0) & (along_edge <= 1) & (along_line >= 0) & (along_line <= 1)
        for i in np.flatnonzero(hit):
            corner = tuple(round_corners(low[i] + along_edge[i] * edge[i]).tolist())
            crossings.append((number + float(along_line[i]), corner))
            if corner not in (tuple(ring[i]), tuple(following[i])):
                place = 1 - along_edge[i] if swap[i] else along_edge[i]
                added.append((int(i), float(place), corner))
    added.sort()
    where = [i + 1 for i, _, _ in added]
    corners = np.array([corner for _, _, corner in added], np.float64).reshape(-1, 2)
    return np.insert(ring, where, corners, axis=0), crossings


def square_corners(rings: Rings) -> tuple[Rings, dict[Key, Key]]:
    """Rings with right angles along their main direction, and where each old corner went.

    Edges that follow each other in one direction become one line, at their mean weighted by length.

    Raises
    ------
    InputError
        A ring has no four sides.
    """
    corners = np.concatenate([ring for part in rings for ring in part])
    edges = np.concatenate([np.roll(ring, -1, axis=0) - ring for part in rings for ring in part])
    # Four turns in one: edges at right angles to each other point the same way then.
    angles = 4 * np.arctan2(edges[:, 1], edges[:, 0])
    weights = np.hypot(edges[:, 0], edges[:, 1])
    turn = math.atan2(float(weights @ np.sin(angles)), float(weights @ np.cos(angles))) / 4
    cos, sin = math.cos(turn), math.sin(turn)
    # About the middle: far from the origin a rotation would cost digits.
    rotation, center = np.array([[cos, -sin], [sin, cos]]), corners.mean(axis=0)
    moves: dict[Key, Key] = {}
    out: Rings = []
    for part in rings:
        new_part = []
        for ring in part:
            squared, is_corner = _squared((ring - center) @ rotation)
            placed = round_corners(squared @ rotation.T + center)
            moves |= {tuple(old): tuple(new) for old, new in zip(ring.tolist(), placed.tolist())}
            new_part.append(placed[is_corner])
        out.append(new_part)
    return out, moves


def _squared(ring: Array) -> tuple[Array, Array]:
    """Corners of an upright ring at right angles, and which of them are corners still."""
    following = np.roll(ring, -1, axis=0)
    edge = following - ring
    level = np.abs(edge[:, 0]) >= np.abs(edge[:, 1])
    if level.all() or not level.any():
        raise InputError("an object must have four sides to be squared, got fewer. Move its corners.")
    # Begin where the direction changes, so that no run goes over the end.
    first = int(np.flatnonzero(level != np.roll(level, 1))[0])
    order = np.roll(np.arange(len(ring)), -first)
    run = np.empty(len(ring), np.int64)
    run[order] = np.concatenate([[0], np.cumsum(level[order][1:] != level[order][:-1])])
    if run.max() < 3:
        raise InputError("an object must have four sides to be squared, got fewer. Move its corners.")
    axis = np.where(level, 1, 0)  # a level edge has one y
    middle = (ring + following)[np.arange(len(ring)), axis] / 2
    length = np.hypot(edge[:, 0], edge[:, 1])
    line = np.bincount(run, middle * length) / np.maximum(np.bincount(run, length), 1e-12)
    before = np.roll(np.arange(len(ring)), 1)
    out = ring.copy()
    for number in (np.arange(len(ring)), before):  # the edge that leaves a corner, and the one that comes
        out[np.arange(len(ring)), axis[number]] = line[run[number]]
    return out, run != run[before]
