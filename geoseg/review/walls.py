"""Walls that polygons share: each has the corners that the other has on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely

from geoseg.review.objects import Rings, polygon_of
from geoseg.typing import Array, IntArray

__all__ = ["TOUCH", "stitch"]

#: How far off an edge, in pixels, a corner counts as lying on it: four steps of the lattice. Rounding moves a
#: point by 0.7 steps.
TOUCH = 4 / 1024
#: Distances between corners and edges that are computed at once.
_PAIRS = 1 << 22


def stitch(shapes: Mapping[int, Rings], changed: set[int]) -> dict[int, Rings]:
    """Give polygons the corners that others have on their edges, where one of the two was changed.

    A corner on another's edge that the other lacks is no gap yet; it becomes one once somebody moves it.

    Parameters
    ----------
    shapes
        Polygons near each other.
    changed
        Those that were edited.

    Returns
    -------
    dict
        The polygons that got corners.
    """
    current = dict(shapes)
    near = sorted((changed | _touching(shapes, changed)) & shapes.keys())
    boxes = {number: _bounds(shapes[number]) for number in near}
    # In the order of their ids, so that the same edit gives the same corners on every machine.
    touched: dict[int, Rings] = {}
    for number in sorted(changed):
        for other in near:
            if (
                other == number
                or (other in changed and other < number)
                or not _near(boxes[number], boxes[other])
            ):
                continue
            for one, two in ((number, other), (other, number)):
                noded = _with_corners_of(current[one], current[two])
                if noded is not None:
                    touched[one] = current[one] = noded
    return touched


def _touching(shapes: Mapping[int, Rings], changed: set[int]) -> set[int]:
    """Polygons that may get corners of changed ones, or give them some.

    By a tree: a network of roads has a hole for each block of houses, and each of its rings would be compared
    with all houses of a town.
    """
    mine, others = ([n for n in shapes if (n in changed) == own] for own in (True, False))
    if not mine or not others:
        return set()
    edges, _, corners = _edges_of(shapes, mine)
    other_edges, edge_owner, other_corners = _edges_of(shapes, others)
    # Each corner begins an edge, so both have one owner. An edge that got a corner lies a little elsewhere.
    reach = {"predicate": "dwithin", "distance": 3 * TOUCH}
    giving = shapely.STRtree(edges).query(shapely.points(other_corners), **reach)[0]
    # What is given to a changed one may lie on the edge of a third.
    handed = np.concatenate([corners, other_corners[np.unique(giving)]])
    taking = shapely.STRtree(other_edges).query(shapely.points(handed), **reach)[1]
    return set(edge_owner[np.concatenate([giving, taking])].tolist())


def _bounds(rings: Rings) -> tuple[float, float, float, float]:
    corners = np.concatenate([part[0] for part in rings])
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return left, top, right, bottom


def _near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(one[axis] <= other[axis + 2] + TOUCH for axis in (0, 1)) and all(
        other[axis] <= one[axis + 2] + TOUCH for axis in (0, 1)
    )


def _edges_of(shapes: Mapping[int, Rings], numbers: list[int]) -> tuple[Array, IntArray, Array]:
    """Edges of some polygons as lines, whose each is, and where each begins."""
    rings = [(number, ring) for number in numbers for part in shapes[number] for ring in part]
    starts = np.concatenate([ring for _, ring in rings])
    ends = np.concatenate([np.roll(ring, -1, axis=0) for _, ring in rings])
    owner = np.repeat([number for number, _ in rings], [len(ring) for _, ring in rings])
    return shapely.linestrings(np.stack([starts, ends], axis=1)), owner, starts


def _with_corners_of(rings: Rings, others: Rings) -> Rings | None:
    """Rings with those corners of other rings that lie on their edges; None where none does."""
    corners = np.unique(np.concatenate([ring for part in others for ring in part]), axis=0)
    low, high = corners.min(axis=0) - TOUCH, corners.max(axis=0) + TOUCH
    out, changed = [], False
    for part in rings:
        new_part = []
        for ring in part:
            is_near = bool((ring.max(axis=0) >= low).all() and (ring.min(axis=0) <= high).all())
            noded = _noded(ring, corners) if is_near else None
            # An edge that bends by a step of the lattice may meet a corner as close to it.
            if noded is not None and polygon_of([[noded]]).is_valid:
                ring, changed = noded, True
            new_part.append(ring)
        out.append(new_part)
    return out if changed else None


def _noded(ring: Array, corners: Array) -> Array | None:
    low, high = ring.min(axis=0) - TOUCH, ring.max(axis=0) + TOUCH
    corners = corners[((corners >= low) & (corners <= high)).all(axis=1)]
    own = set(map(tuple, ring.tolist()))
    corners = np.array([corner for corner in corners.tolist() if tuple(corner) not in own]).reshape(-1, 2)
    if not len(corners):
        return None
    edge = np.roll(ring, -1, axis=0) - ring
    norm = np.maximum((edge**2).sum(axis=1), 1e-12)
    added = []
    for start in range(0, len(corners), max(1, _PAIRS // len(ring))):
        some = corners[start : start + max(1, _PAIRS // len(ring))]
        away = some[:, None] - ring[None]
        place = (away * edge).sum(axis=2) / norm
        distance = np.abs(away[..., 0] * edge[:, 1] - away[..., 1] * edge[:, 0]) / np.sqrt(norm)
        hit = (place > 0) & (place < 1) & (distance <= TOUCH)
        for corner, at in zip(*np.nonzero(hit)):
            added.append((int(at), float(place[corner, at]), tuple(some[corner].tolist())))
    if not added:
        return None
    added.sort()
    return np.insert(ring, [at + 1 for at, _, _ in added], np.array([c for _, _, c in added]), axis=0)
