"""Figures that draw just the pixels whose centers a polygon of the ground holds.

Vertices of figures are pixels, and drawing takes the border with it (:mod:`geoseg.raster.draw`), while a
label on the ground covers the pixels whose centers lie inside. Vertices moved by half a pixel would therefore
draw a label one pixel too wide and too high. So the pixels are found first, then the polygons around them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from geoseg.compiled import kernel
from geoseg.geo.windows import Window
from geoseg.projects.figures.parts import connected_parts
from geoseg.projects.figures.strips import made_of_rows
from geoseg.projects.figures.trace import part_rings
from geoseg.projects.figures.types import Bitmap, Coords, Polygon
from geoseg.typing import BoolArray
from geoseg.vector.burn import PolygonIndex

__all__ = ["covered_bitmap", "covered_figures", "covered_polygons"]

#: How far vertices of thin parts are moved out of their pixels' centers: less than half a pixel, which would
#: be another pixel.
_APART = 0.2
#: Pixels ahead that are tried: longer lines are cut in two. Every pixel up to there is tried as an end, so
#: the time grows with this number.
_AHEAD = 256


def covered_bitmap(polygons: Sequence[shapely.Geometry], shape: tuple[int, int]) -> Bitmap | None:
    """The pixels of an image whose centers lie in any of some polygons, tight; None where there are none.

    Parameters
    ----------
    polygons
        In pixel corners of the image.
    shape
        (H, W) of the image.

    Examples
    --------
    >>> bitmap = covered_bitmap([shapely.box(1, 1, 3, 2)], (9, 9))
    >>> bitmap.origin, bitmap.shape
    ((1, 1), (1, 2))
    >>> covered_bitmap([shapely.box(10, 10, 12, 12)], (9, 9)) is None
    True
    """
    index = PolygonIndex(polygons)
    if not len(index):
        return None
    left, top, right, bottom = shapely.total_bounds(index.polygons)
    if not (left < shape[1] and top < shape[0] and right > 0 and bottom > 0):
        return None
    # The box of the polygons on the image: a label of a scene is small beside it.
    row, col = max(0, int(np.floor(top))), max(0, int(np.floor(left)))
    height, width = min(shape[0], int(np.ceil(bottom))) - row, min(shape[1], int(np.ceil(right))) - col

    def rows(first: int, last: int) -> BoolArray:
        return index.mask(Window(row_off=row + first, col_off=col, height=last - first, width=width))

    return made_of_rows((col, row), (height, width), rows).tight()


def covered_figures(
    polygons: Sequence[shapely.Geometry], shape: tuple[int, int], *, bitmaps: bool = False
) -> list[Bitmap] | list[Polygon]:
    """Figures that draw just the pixels of :func:`covered_bitmap`: itself, or polygons.

    Parameters
    ----------
    polygons, shape
        As there.
    bitmaps
        One bitmap for all, in place of a polygon for each 8-connected part.
    """
    bitmap = covered_bitmap(polygons, shape)
    if bitmap is None:
        return []
    return [bitmap] if bitmaps else covered_polygons(bitmap)


def covered_polygons(bitmap: Bitmap) -> list[Polygon]:
    """Polygons of few vertices that draw just the pixels of a mask, one for each 8-connected part.

    Vertices are pixels of the border. One is left out where the line that is drawn without it has the same
    pixels.

    Examples
    --------
    >>> [house] = covered_polygons(Bitmap((4, 4), np.ones((2, 3), bool)))
    >>> house.exterior.tolist()
    [[4.0, 4.0], [4.0, 5.0], [6.0, 5.0], [6.0, 4.0]]
    """
    polygons = []
    for part in connected_parts(bitmap):
        rings = [_squared(ring, part) for _, ring in part_rings(part)]
        straight = [_straightened(ring) for ring in rings]
        # The two sides of a part one pixel wide lie on one another, or, straightened, cross.
        valid = (
            all(len(ring) >= 3 for ring in straight) and shapely.Polygon(straight[0], straight[1:]).is_valid
        )
        chosen = straight if valid else [_moved_apart(ring) for ring in rings]
        polygons.append(Polygon(chosen[0], tuple(chosen[1:])))
    return polygons


def _squared(ring: Coords, part: Bitmap) -> Coords:
    """A ring with right angles where its path, which may go from pixel to pixel over a corner, cuts them off.

    That is at the concave corners of an object and at all corners of its holes.
    """
    # A part of scene size is compressed, and can't be asked for single pixels.
    if len(ring) < 4 or not isinstance(part.pixels, np.ndarray):
        return ring
    before, step = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    after = np.roll(step, -1, axis=0)
    # A turn by a right angle, cut off by one step: along an axis, askew, and along the other one. Runs of one
    # pixel are those of slanted edges.
    runs = [(np.abs(edge).max(axis=1) > 1) & ((edge * step).sum(axis=1) > 0) for edge in (before, after)]
    angle = (np.count_nonzero(before, axis=1) == 1) & (np.count_nonzero(after, axis=1) == 1)
    angle &= ((before * after) == 0).all(axis=1) & (np.abs(step) == 1).all(axis=1)
    cut = np.flatnonzero(runs[0] & runs[1] & angle)
    corners = np.where(before[cut] != 0, np.roll(ring, -1, axis=0)[cut], ring[cut])
    cols, rows = (corners - part.origin).astype(int).T
    on_object = part.pixels[rows, cols]
    squared = ring.copy()
    squared[cut[on_object]] = corners[on_object]
    return np.delete(squared, (cut[on_object] + 1) % len(ring), axis=0)


def _straightened(ring: Coords) -> Coords:
    """A ring on pixels without the vertices that change nothing of what is drawn."""
    if len(ring) < 4:
        return ring
    # From an extreme vertex, which every ring of the same pixels has, whatever its first one.
    start = int(np.lexsort((ring[:, 0], ring[:, 1]))[0])
    turned = np.roll(ring, -start, axis=0)
    # Every pixel of the path: a line's first and last runs are half as long as those between, so it starts
    # within one and not where the path turns.
    step = np.roll(turned, -1, axis=0) - turned
    length = np.abs(step).max(axis=1).astype(np.int64)
    along = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    path = np.repeat(turned, length, axis=0) + along[:, None] * np.repeat(
        step / length[:, None], length, axis=0
    )
    path = np.concatenate([path, turned[:1]]).astype(np.int64)
    kept = path[_ends(path)]
    before, after = kept - np.roll(kept, 1, axis=0), np.roll(kept, -1, axis=0) - kept
    # A vertex between two parts of one line goes; one where the ring turns back on itself stays.
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return kept[turns | ((before * after).sum(axis=1) < 0)].astype(np.float64)


def _moved_apart(ring: Coords) -> Coords:
    """A ring whose vertices are moved to the outer side of the object, each within its pixel."""
    if len(ring) == 1:
        # A single pixel becomes a small triangle around its center.
        return ring + np.array([[-_APART, -_APART], [_APART, -_APART], [0, _APART]])
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    steps = [edge / np.abs(edge).max(axis=1, keepdims=True) for edge in (before, after)]
    sides = [np.stack([-edge[:, 1], edge[:, 0]], axis=1) for edge in steps]
    # Outside is on the right of a ring that is followed counterclockwise on the screen.
    out = sides[0] + sides[1]
    # Where the ring turns back on itself, the two sides cancel out: the tip gets two corners.
    tips = ~out.any(axis=1)
    moved = []
    for vertex, shift, forward, side, tip in zip(ring, out, steps[0], sides[0], tips, strict=True):
        shifts = [forward + side, forward - side] if tip else [shift]
        moved += [vertex + _APART * one / np.abs(one).max() for one in shifts]
    return np.array(moved)


@kernel
def _same_line(points, first, last):  # type: ignore[no-untyped-def] # numba
    """Whether the line drawn between two points has just the pixels of the path between them."""
    x0, y0, x1, y1 = points[first, 0], points[first, 1], points[last, 0], points[last, 1]
    flat = abs(x1 - x0) >= abs(y1 - y0)
    # The drawing goes from left to right, which decides what becomes of a half.
    if x1 < x0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    dx, dy = x1 - x0, abs(y1 - y0)
    down = 1 if y1 >= y0 else -1
    for i in range(first, last):
        x, y = points[i, 0], points[i, 1]
        if flat:
            if dx == 0 or y != y0 + down * ((2 * (x - x0) * dy + dx - 1) // (2 * dx)):
                return False
        elif x != x0 + (2 * abs(y - y0) * dx + dy - 1) // (2 * dy):
            return False
    return last - first == max(dx, dy)


@kernel
def _ends(points):  # type: ignore[no-untyped-def] # numba
    """Which points of a closed path are needed, going as far as one line has the same pixels each time."""
    kept = []
    at = 0
    while at < len(points) - 1:
        kept.append(at)
        reach = at + 1
        # Not up to the first failure: a line to a later point may have the same pixels again.
        for last in range(at + 2, min(at + _AHEAD, len(points))):
            if _same_line(points, at, last):
                reach = last
        at = reach
    return np.array(kept)
