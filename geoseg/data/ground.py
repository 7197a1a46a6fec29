"""Where areas show the same ground, so that no side of a split sees the other's through another scene."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.data.chips import Area
from geoseg.geo.geobox import GeoBox, is_earth
from geoseg.geo.windows import Window
from geoseg.typing import BoolArray

__all__ = ["carry", "neighbors", "place_of", "rect_of", "share_ground"]

_LONLAT = CRS.from_epsg(4326)
#: Points along an edge of a rectangle, because edges bend between coordinate reference systems.
_EDGE = 9
#: Part of a pixel that is rounding, not ground.
_SLACK = 1e-3
# Points along each side of what two areas share: blocks of labeled ground under a 24th of it may be missed.
_LATTICE = 24


def place_of(area: Area) -> GeoBox | None:
    """Where an area lies on the Earth; None without georeferencing, or elsewhere."""
    box = area.pixels.geobox
    return None if box.crs is None or not is_earth(box.crs) else box


def rect_of(window: Window) -> tuple[int, int, int, int]:
    """(row, column, row end, column end)."""
    return window.row_off, window.col_off, window.row_end, window.col_end


def neighbors(places: Sequence[GeoBox | None]) -> list[tuple[int, ...]]:
    """For each area, the others that overlap it or nearly touch it; those without a place have none."""
    placed = [i for i, place in enumerate(places) if place is not None]
    # Boxes in longitude and latitude serve for a first look only, for scenes of any CRS in one index.
    boxes = np.array([_reach(place) for place in places if place is not None]).reshape(-1, 4)
    overlapping: list[list[int]] = [[] for _ in places]
    shapes = shapely.box(*boxes.T)
    for a, b in shapely.STRtree(shapes).query(shapes, "intersects").T.tolist():
        if a != b:
            overlapping[placed[a]].append(placed[b])
    return [tuple(sorted(others)) for others in overlapping]


def _reach(place: GeoBox) -> NDArray[np.float64]:
    """Bounds in longitude and latitude, a tenth wider on each side; NaN where there are none."""
    # Wider, because blocks keep training at a distance: scenes that nearly touch matter, too.
    rows, cols = place.height / 10, place.width / 10
    rect = np.array([[-rows, -cols, place.height + rows, place.width + cols]])
    xy = np.stack(_projector(place.crs, _LONLAT).transform(*_ground(_outline(rect)[0], place).T), -1)
    good = xy[np.isfinite(xy).all(axis=1)]
    return np.concatenate([good.min(0), good.max(0)]) if len(good) else np.full(4, np.nan)


def carry(rects: NDArray[np.int64], source: GeoBox, target: GeoBox) -> NDArray[np.int64]:
    """Rectangles of one raster in the pixels of another.

    Parameters
    ----------
    rects
        (n, 4) of row, column, row end, column end; they may reach beyond the raster.

    Returns
    -------
    (m, 4) int64
        Bounds of what touches the target, not clipped to it.

    Examples
    --------
    >>> from affine import Affine
    >>> fine = GeoBox(Affine(1, 0, 0, 0, -1, 80), CRS.from_epsg(32645), 80, 80)
    >>> coarse = GeoBox(Affine(2, 0, 10, 0, -2, 80), CRS.from_epsg(32645), 40, 40)
    >>> carry(np.array([[0, 20, 8, 40], [0, 0, 8, 8]]), fine, coarse).tolist()
    [[0, 5, 4, 15]]
    """
    if not len(rects):
        return np.zeros((0, 4), np.int64)
    moved = _move(_outline(rects).reshape(-1, 2), source, target).reshape(len(rects), -1, 2)
    # PROJ gives infinity outside the domain of a projection.
    moved = moved[np.isfinite(moved).all(axis=(1, 2))]
    # Without the slack a common edge would count as a pixel of common ground, by the last digits of a
    # projection.
    low = np.floor(moved.min(axis=1, initial=np.inf) + _SLACK)
    high = np.ceil(moved.max(axis=1, initial=-np.inf) - _SLACK)
    meets = (high > 0).all(axis=1) & (low < (target.height, target.width)).all(axis=1)
    return np.concatenate([low, high], axis=1)[meets].astype(np.int64)


def share_ground(one: Area, other: Area) -> bool:
    """Whether labeled ground of one area is labeled in the other too, judged on a lattice of points."""
    source, target = place_of(one), place_of(other)
    if source is None or target is None:
        return False
    moved = carry(np.array([rect_of(one.truth.region())]), source, target)
    theirs = np.array(rect_of(other.truth.region()))
    if not len(moved):
        return False
    low, high = np.maximum(moved[0, :2], theirs[:2]), np.minimum(moved[0, 2:], theirs[2:])
    if (high <= low).any():
        return False
    axes = [a + (np.arange(_LATTICE) + 0.5) * (b - a) / _LATTICE for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    return bool((_labeled(other, points) & _labeled(one, _move(points, target, source))).any())


def _labeled(area: Area, points: NDArray[np.float64]) -> BoolArray:
    good = np.asarray(np.isfinite(points).all(axis=1))
    cells = np.floor(np.where(good[:, None], points, -1)).astype(np.int64)
    inside = (cells >= 0).all(axis=1) & (cells < area.shape).all(axis=1)
    return inside & area.truth.known(cells[:, 0], cells[:, 1])


def _outline(rects: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, points, 2) of row, column around rectangles."""
    step = np.linspace(0, 1, _EDGE)
    zero, one = np.zeros(_EDGE), np.ones(_EDGE)
    unit = np.stack([np.r_[zero, one, step, step], np.r_[step, step, zero, one]], -1)
    return np.asarray(rects[:, None, :2] + unit * (rects[:, None, 2:] - rects[:, None, :2]), np.float64)


def _move(points: NDArray[np.float64], source: GeoBox, target: GeoBox) -> NDArray[np.float64]:
    """(n, 2) row, column of one raster in pixels of another."""
    xy = _ground(points, source)
    if source.crs != target.crs:
        xy = np.stack(_projector(source.crs, target.crs).transform(*xy.T), -1)
    a, b, c, d, e, f = (~target.transform)[:6]
    return np.stack([d * xy[:, 0] + e * xy[:, 1] + f, a * xy[:, 0] + b * xy[:, 1] + c], -1)


def _ground(points: NDArray[np.float64], place: GeoBox) -> NDArray[np.float64]:
    a, b, c, d, e, f = place.transform[:6]
    rows, cols = points.T
    return np.stack([a * cols + b * rows + c, d * cols + e * rows + f], -1)


@lru_cache(maxsize=256)
def _projector(source: CRS, target: CRS) -> Transformer:
    # Cached: making a transformer takes far longer than moving the few corners of a rectangle.
    return Transformer.from_crs(source, target, always_xy=True)
