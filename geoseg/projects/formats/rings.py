"""Outlines of figures as rings and polygons, in pixel corners."""

from __future__ import annotations

import numpy as np
import rasterio.features
import shapely

from geoseg.projects.figures import Bitmap, Figure, Line, Point, Polygon, Rectangle, figure_area
from geoseg.projects.figures.parts import connected_parts
from geoseg.projects.figures.stored import LARGE
from geoseg.projects.figures.transform import even_odd
from geoseg.raster.draw import round_half_up
from geoseg.typing import Array

__all__ = ["bridged", "drawn_area", "figure_outline", "figure_rings", "mask_rings"]


def figure_rings(figure: Figure) -> list[Array]:
    """Rings in pixel corners, (N, 2), that together cover a figure; none for lines and points.

    Holes are joined to their ring by a bridge without width; a mask gives one ring a connected part.

    Examples
    --------
    >>> [ring] = figure_rings(Rectangle(2, 3, 5, 7))
    >>> ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
    ([2.0, 3.0], [6.0, 8.0])
    """
    if isinstance(figure, Line | Point):
        return []
    if isinstance(figure, Rectangle):
        box = shapely.box(figure.left, figure.top, figure.right + 1, figure.bottom + 1)
        return [shapely.get_coordinates(box)[:-1]]
    if isinstance(figure, Bitmap):
        return [bridged(*rings) for rings in mask_rings(figure)]
    rings = []
    for part in shapely.get_parts(figure_outline(figure)):
        if not part.is_empty:
            exterior, *holes = (shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(part))
            rings.append(bridged(exterior, *holes))
    return rings


def mask_rings(bitmap: Bitmap) -> list[list[Array]]:
    """Outlines of a mask's four-connected parts in pixel corners: exterior, then holes, of each."""
    rings = []
    for part in connected_parts(bitmap) if bitmap.pixels.size > LARGE else [bitmap]:
        # Part by part, so that of a large mask no more than one part is unpacked at a time.
        mask, origin = part.mask, np.array(part.origin, np.float64)
        for geometry, _ in rasterio.features.shapes(mask.view(np.uint8), mask=mask, connectivity=4):
            rings.append([np.array(ring[:-1]) + origin for ring in geometry["coordinates"]])
    return rings


def bridged(exterior: Array, *holes: Array) -> Array:
    """One ring that goes around the exterior and, over bridges without width, around each hole.

    Holes are taken from left to right; a bridge goes from a hole's leftmost vertex to the ring's nearest.

    Examples
    --------
    >>> square = np.array([[0.0, 0], [9, 0], [9, 9], [0, 9]])
    >>> len(bridged(square, square / 3 + 3))
    10
    """
    ring = np.asarray(exterior, np.float64)
    outer = _turn(ring)
    for hole in sorted(holes, key=lambda h: float(np.min(h[:, 0]))):
        start = int(np.argmin(hole[:, 0]))
        nearest = int(((ring - hole[start]) ** 2).sum(axis=1).argmin())
        around = np.roll(hole, -start, axis=0)
        # Against the ring's own direction, so that the area of the hole counts as outside.
        around = around if _turn(around) != outer else np.roll(around[::-1], 1, axis=0)
        ring = np.concatenate([ring[: nearest + 1], around, around[:1], ring[nearest:]])
    return ring


def _turn(ring: Array) -> bool:
    """Whether a ring turns clockwise (y down)."""
    x, y = ring.T
    return bool(np.dot(x, np.roll(y, -1)) > np.dot(y, np.roll(x, -1)))


def figure_outline(figure: Figure) -> shapely.Geometry:
    """A valid Polygon or MultiPolygon in pixel corners; empty for lines, points and what has no area.

    Parts of a mask that touch at a corner only are parts of one MultiPolygon.

    Examples
    --------
    >>> figure_outline(Bitmap((0, 0), np.eye(2, dtype=bool))).area
    2.0
    >>> figure_outline(Point(1, 1)).is_empty
    True
    """
    if isinstance(figure, Bitmap):
        polygons = [shapely.Polygon(rings[0], rings[1:]) for rings in mask_rings(figure)]
        return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    if isinstance(figure, Polygon):
        return _around_pixels(figure)
    rings = figure_rings(figure)  # one for a rectangle, none for lines and points
    return shapely.Polygon(rings[0]) if rings else shapely.Polygon()


def drawn_area(figure: Figure) -> float:
    """Area in pixels of what a figure draws, alike for a polygon and a mask of the same pixels; 0 for lines.

    Examples
    --------
    >>> drawn_area(Polygon(np.array([[0.0, 0], [19, 0], [19, 9], [0, 9]])))
    200.0
    """
    return float(figure_outline(figure).area) if isinstance(figure, Polygon) else figure_area(figure)


def _around_pixels(figure: Polygon) -> shapely.Geometry:
    """The outline around the pixels that a polygon draws, border included.

    Edges along the axes lie on the borders of these pixels, so that a label comes back to its place; slanted
    ones stay straight, half a pixel out.
    """
    rings = [round_half_up(part) + 0.5 for part in figure.parts() if len(part) >= 3]
    if not rings:
        return shapely.Polygon()
    outline = shapely.Polygon(rings[0], rings[1:])
    # At a right angle a corner reaches out 1.41 times as far as its edges; sharper ones are cut off.
    reach = {"distance": 0.5, "join_style": "mitre", "mitre_limit": 1.5}
    if outline.is_valid:
        return shapely.buffer(outline, **reach)
    # Where a polygon is one pixel thin it has no area, but its vertices and lines have pixels.
    corners = np.concatenate(rings)
    pixels = shapely.box(*(corners - 0.5).T, *(corners + 0.5).T)
    edges = [np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings]
    lines = shapely.buffer(shapely.linestrings(np.concatenate(edges)), 0.5, cap_style="flat")
    return shapely.union_all([shapely.buffer(even_odd(outline), **reach), *pixels, *lines])
