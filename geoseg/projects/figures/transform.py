"""Figures moved with their pixels: crop, mirror, right angles, scaling, any affine map.

Bitmaps move exactly as the pixels under them do; vertices move in the same frame, where a pixel's center has
its integer index. So a mirror takes x to width - 1 - x.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.geo.windows import Window
from geoseg.projects.figures.stored import LARGE, StoredMask
from geoseg.projects.figures.strips import picked, resampled
from geoseg.projects.figures.types import (
    Bitmap,
    Coords,
    Figure,
    Line,
    Point,
    Polygon,
    Rectangle,
    figure_bounds,
    open_ring,
    ring_area,
)
from geoseg.raster.mirror import contiguous

__all__ = [
    "affine_figure",
    "clip_figure",
    "crop_figure",
    "even_odd",
    "from_shapely",
    "map_vertices",
    "mirror_figure",
    "moved_figure",
    "repair_polygon",
    "scale_figure",
    "simplify_figure",
    "to_shapely",
    "transpose_figure",
]


def moved_figure(figure: Figure, dx: int, dy: int) -> Figure:
    """The figure shifted by whole pixels."""
    if isinstance(figure, Bitmap):
        return Bitmap((figure.origin[0] + dx, figure.origin[1] + dy), figure.pixels)
    return map_vertices(figure, lambda xy: xy + np.array([dx, dy]))


def mirror_figure(figure: Figure, size: int, axis: int) -> Figure:
    """The figure mirrored on an image of ``size`` pixels along ``axis`` (0: x, left-right; 1: y, up-down)."""
    if isinstance(figure, Bitmap):
        origin = list(figure.origin)
        origin[axis] = size - origin[axis] - figure.shape[1 - axis]
        pixels = figure.pixels
        if isinstance(pixels, StoredMask):
            return Bitmap((origin[0], origin[1]), pixels.mirrored(axis))
        return Bitmap((origin[0], origin[1]), np.flip(pixels, axis=1 - axis))

    def mirror(xy: Coords) -> Coords:
        out = xy.copy()
        out[:, axis] = size - 1 - out[:, axis]
        return out

    return map_vertices(figure, mirror)


def transpose_figure(figure: Figure) -> Figure:
    """The figure with x and y exchanged."""
    if isinstance(figure, Bitmap):
        pixels = figure.pixels
        laid = pixels.transposed() if isinstance(pixels, StoredMask) else pixels.T
        return Bitmap((figure.origin[1], figure.origin[0]), laid)
    return map_vertices(figure, lambda xy: xy[:, ::-1].copy())


def scale_figure(figure: Figure, shape: tuple[int, int], new_shape: tuple[int, int]) -> Figure | None:
    """The figure on an image resized from ``shape`` to ``new_shape`` (height, width), masks by nearest pixel.

    Returns None where no pixel of a bitmap is left.
    """
    # Along each axis the same integer rule as for pixels: the center of a new pixel falls into one old one.
    sy, sx = new_shape[0] / shape[0], new_shape[1] / shape[1]
    if isinstance(figure, Bitmap):
        cols, left = _nearest(figure.origin[0], figure.shape[1], shape[1], new_shape[1])
        rows, top = _nearest(figure.origin[1], figure.shape[0], shape[0], new_shape[0])
        return picked(figure, rows, cols, (left, top)).tight() if rows.size and cols.size else None
    if isinstance(figure, Rectangle):
        # The right column belongs to it, so its outline is one pixel further; it never shrinks to nothing.
        left, right = (
            np.round(figure.left * sx),
            max(np.round((figure.right + 1) * sx) - 1, np.round(figure.left * sx)),
        )
        top, bottom = (
            np.round(figure.top * sy),
            max(np.round((figure.bottom + 1) * sy) - 1, np.round(figure.top * sy)),
        )
        return Rectangle(float(left), float(top), float(right), float(bottom))
    return map_vertices(figure, lambda xy: (xy + 0.5) * (sx, sy) - 0.5)


def _nearest(start: int, length: int, size: int, new_size: int) -> tuple[np.ndarray, int]:
    """Which pixel of a mask each pixel of the resized axis shows, and the first such pixel's index."""
    # One pixel more at both ends than can be needed; exact integers decide below.
    first = max(0, int(np.floor(start * new_size / size)) - 1)
    last = min(new_size, int(np.ceil((start + length) * new_size / size)) + 1)
    source = ((2 * np.arange(first, last) + 1) * size) // (2 * new_size) - start
    inside = np.flatnonzero((source >= 0) & (source < length))
    return source[inside], first + int(inside[0]) if inside.size else first


def affine_figure(figure: Figure, forward: Affine, new_shape: tuple[int, int]) -> Figure | None:
    """The figure under an affine map of pixel corners to pixel corners, masks by nearest pixel.

    A rectangle becomes the upright rectangle around the turned one. Parts outside ``new_shape`` are cut
    from bitmaps; vertices are left where they fall.

    Returns None where no pixel of a bitmap is left.
    """
    if isinstance(figure, Bitmap):
        (x, y), (h, w) = figure.origin, figure.shape
        xs, ys = zip(*(forward * p for p in ((x, y), (x + w, y), (x + w, y + h), (x, y + h))), strict=True)
        left, right = max(0, int(np.floor(min(xs)))), min(new_shape[1], int(np.ceil(max(xs))))
        top, bottom = max(0, int(np.floor(min(ys)))), min(new_shape[0], int(np.ceil(max(ys))))
        if left >= right or top >= bottom:
            return None
        a, b, c, d, e, f = (~forward)[:6]

        # Backward, from each new pixel's center to the old pixel it falls into: forward, holes would be left.
        def source_of(tile: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            cols = np.arange(tile.col_off, tile.col_end) + 0.5
            rows = np.arange(tile.row_off, tile.row_end)[:, None] + 0.5
            source_x, source_y = a * cols + b * rows + c, d * cols + e * rows + f
            return np.floor(source_x).astype(np.int64), np.floor(source_y).astype(np.int64)

        window = Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
        return resampled(figure, window, source_of)

    # The map is one of pixel corners, half a pixel from the centers that vertices count from.
    def move(xy: Coords) -> Coords:
        x, y = xy[:, 0] + 0.5, xy[:, 1] + 0.5
        a, b, c, d, e, f = forward[:6]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1) - 0.5

    return map_vertices(figure, move)


def crop_figure(figure: Figure, window: Window) -> list[Figure]:
    """What of the figure lies in the window, in the window's own coordinates.

    A polygon may fall into several pieces and a line into several runs; pieces without area vanish (unless
    the window is one pixel wide or high, where every piece is).
    """
    return [moved_figure(piece, -window.col_off, -window.row_off) for piece in clip_figure(figure, window)]


def clip_figure(figure: Figure, window: Window) -> list[Figure]:
    """What of the figure lies in the window, in the coordinates it had.

    Examples
    --------
    >>> w = Window(row_off=0, col_off=0, height=4, width=4)
    >>> clip_figure(Rectangle(2, 2, 9, 9), w)
    [Rectangle(left=2, top=2, right=3, bottom=3)]
    >>> clip_figure(Point(4, 0), w)
    []
    """
    if window.height < 1 or window.width < 1:
        return []
    left, top, right, bottom = figure_bounds(figure)
    x0, y0, x1, y1 = window.col_off, window.row_off, window.col_end - 1, window.row_end - 1
    # A point belongs to the pixel it lies in, and goes where that pixel goes.
    if isinstance(figure, Point):
        left, top = np.floor(left + 0.5), np.floor(top + 0.5)
        return [figure] if x0 <= left <= x1 and y0 <= top <= y1 else []
    # Most objects lie inside or far outside: shapely is asked for the few on the edge only.
    if left >= x0 and top >= y0 and right <= x1 and bottom <= y1:
        return [figure]
    if left >= x1 + 0.5 or top >= y1 + 0.5 or right < x0 - 0.5 or bottom < y0 - 0.5:
        return []
    if isinstance(figure, Bitmap):
        return _clip_bitmap(figure, window)
    if isinstance(figure, Rectangle):
        return [
            Rectangle(
                *(
                    min(max(v, lo), hi)
                    for v, lo, hi in ((left, x0, x1), (top, y0, y1), (right, x0, x1), (bottom, y0, y1))
                )
            )
        ]
    return _clip_vertices(figure, window)


def _clip_bitmap(figure: Bitmap, window: Window) -> list[Figure]:
    x, y = figure.origin
    part = Window(
        row_off=window.row_off - y, col_off=window.col_off - x, height=window.height, width=window.width
    )
    part = part.clipped(*figure.shape)
    pixels = figure.pixels
    if isinstance(pixels, StoredMask) and part.height * part.width > LARGE:
        place = x + part.col_off, y + part.row_off
        kept = Bitmap(place, pixels.window(part.rows, part.cols)).tight()
        return [] if kept is None else [kept]
    mask = figure.part(part.rows, part.cols)
    laid = contiguous(mask)
    # In memory of its own: a view of a few pixels would keep the whole bitmap.
    if not isinstance(pixels, StoredMask) and np.may_share_memory(laid, mask):
        laid = laid.copy()
    cut = Bitmap((x + part.col_off, y + part.row_off), laid).tight()
    return [] if cut is None else [cut]


def _clip_vertices(figure: Polygon | Line, window: Window) -> list[Figure]:
    x0, y0, x1, y1 = window.col_off, window.row_off, window.col_end - 1, window.row_end - 1
    # Cut at the corners of pixels, half a pixel out: at the centers, a pixel's half would be lost all round.
    box = shapely.box(x0 - 0.5, y0 - 0.5, x1 + 0.5, y1 + 0.5)
    geometry = to_shapely(figure)
    if not geometry.is_valid:
        geometry = _made_valid(geometry)
    pieces = from_shapely(shapely.intersection(geometry, box), figure.kind)
    # Back onto the centers of the outer pixels, since a vertex outside would draw outside the window.
    moved = [map_vertices(piece, lambda xy: np.clip(xy, (x0, y0), (x1, y1))) for piece in pieces]
    if figure.kind == "line" or x0 == x1 or y0 == y1:
        return moved
    parts: list[Figure] = []
    for polygon in moved:
        # What fell flat on the edge is left out.
        if ring_area(polygon.parts()[0]) <= 0:
            continue
        geometry = to_shapely(polygon)
        parts += [polygon] if geometry.is_valid else from_shapely(_made_valid(geometry), "polygon")
    return parts


def repair_polygon(figure: Polygon) -> list[Figure] | None:
    """Polygons without self-crossings that cover the same pixels by the even-odd rule; None if it is valid.

    Examples
    --------
    >>> bow = Polygon(np.array([[0.0, 0], [4, 4], [4, 0], [0, 4]]))
    >>> len(repair_polygon(bow))
    2
    """
    geometry = to_shapely(figure)
    if geometry.is_valid:
        return None
    return from_shapely(_made_valid(geometry), "polygon")


def _made_valid(geometry: shapely.Geometry) -> shapely.Geometry:
    """Without self-crossings; empty where all vertices of a polygon lie on one line."""
    if geometry.geom_type != "Polygon":
        return shapely.make_valid(geometry)
    # make_valid would give lines for it, which are no polygon.
    return shapely.Polygon() if shapely.convex_hull(geometry.exterior).area == 0 else even_odd(geometry)


def even_odd(polygon: shapely.Polygon) -> shapely.Geometry:
    """What the rings of a polygon enclose an odd number of times: the pixels that are drawn of it, valid.

    Examples
    --------
    >>> court = shapely.box(2, 0, 4, 2).exterior
    >>> even_odd(shapely.Polygon(shapely.box(0, 0, 6, 6).exterior, [court])).area
    32.0
    """
    if polygon.is_valid:
        return polygon
    # Ring by ring: make_valid of the whole loses a hole that shares a piece of its edge with the outline.
    rings = shapely.make_valid(shapely.polygons(shapely.get_rings(polygon)))
    # Repairing may leave lines and points beside polygons.
    areas = [
        shapely.union_all([piece for piece in shapely.get_parts(shapely.get_parts(ring)) if piece.area > 0])
        for ring in rings
    ]
    # In pairs, then pairs of these: one by one, each would go through the outline with all holes before it
    # (51 s instead of 0.4 s for 1,600 holes).
    while len(areas) > 1:
        paired = shapely.symmetric_difference(areas[:-1:2], areas[1::2])
        areas = [*paired, *areas[2 * len(paired) :]]
    return areas[0]


def simplify_figure(figure: Figure, epsilon: float) -> Figure:
    """A polygon or line with fewer vertices, none farther than ``epsilon`` pixels from the old outline.

    A ring that would fall below three vertices is kept as it is. Other shapes are returned unchanged.
    """
    if isinstance(figure, Line):
        return Line(_simplified(figure.points, epsilon, 2))
    if isinstance(figure, Polygon):
        rings = [_simplified_ring(ring, epsilon) for ring in (figure.exterior, *figure.holes)]
        return Polygon(rings[0], tuple(rings[1:]))
    return figure


def _simplified(coords: Coords, epsilon: float, at_least: int) -> Coords:
    if len(coords) <= at_least:
        return coords
    # Without topology: it is kept for a whole polygon only, and rings come here in halves.
    line = shapely.simplify(shapely.LineString(coords), epsilon, preserve_topology=False)
    simple = shapely.get_coordinates(line)
    return simple if len(simple) >= at_least else coords


def _simplified_ring(ring: Coords, epsilon: float) -> Coords:
    """Simplified from the two vertices that lie farthest apart, so that the beginning does not matter."""
    if len(ring) <= 3:
        return ring
    first = int(np.argmax(((ring - ring.mean(axis=0)) ** 2).sum(axis=1)))
    turned = np.roll(ring, -first, axis=0)
    middle = int(np.argmax(((turned - turned[0]) ** 2).sum(axis=1)))
    halves = turned[: middle + 1], np.concatenate([turned[middle:], turned[:1]])
    kept = [_simplified(half, epsilon, 2) for half in halves]
    result = np.concatenate([kept[0][:-1], kept[1][:-1]])
    return result if len(result) >= 3 else ring


def to_shapely(figure: Figure) -> shapely.Geometry:
    """The figure as a geometry; rectangles as their corners, bitmaps are refused by shapely."""
    if isinstance(figure, Polygon):
        if len(figure.exterior) < 3:
            return shapely.Polygon()
        return shapely.Polygon(figure.exterior, [hole for hole in figure.holes if len(hole) >= 3])
    if isinstance(figure, Line):
        return shapely.LineString(figure.points)
    if isinstance(figure, Rectangle):
        return shapely.box(figure.left, figure.top, figure.right, figure.bottom)
    if isinstance(figure, Point):
        return shapely.Point(figure.x, figure.y)
    raise TypeError("a bitmap has no vertices")


def from_shapely(geometry: shapely.Geometry, kind: str) -> list[Figure]:
    """The parts of a geometry that are of a kind, ``polygon`` or ``line``; lesser parts are left out."""
    figures: list[Figure] = []
    for part in shapely.get_parts(geometry, return_index=False):
        if part.geom_type.startswith(("Multi", "GeometryCollection")):
            figures += from_shapely(part, kind)
        elif kind == "polygon" and part.geom_type == "Polygon" and part.area > 0:
            rings = [open_ring(shapely.get_coordinates(ring)) for ring in (part.exterior, *part.interiors)]
            figures.append(Polygon(rings[0], tuple(rings[1:])))
        elif kind == "line" and part.geom_type == "LineString" and part.length > 0:
            figures.append(Line(shapely.get_coordinates(part)))
    return figures


def map_vertices(figure: Figure, call: Callable[[Coords], Coords]) -> Figure:
    """A figure with its vertices moved; a rectangle becomes the upright one around its moved corners."""
    if isinstance(figure, Polygon):
        return Polygon(call(figure.exterior), tuple(call(hole) for hole in figure.holes))
    if isinstance(figure, Line):
        return Line(call(figure.points))
    if isinstance(figure, Point):
        x, y = call(figure.parts()[0])[0]
        return Point(float(x), float(y))
    if isinstance(figure, Rectangle):
        left, top, right, bottom = figure.left, figure.top, figure.right, figure.bottom
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
        return Rectangle(*figure_bounds(Polygon(call(corners))))
    raise TypeError("a bitmap has no vertices")
