"""Where results lie, in longitude and latitude as STAC wants it: outlines and bounding boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rasterio.features
import shapely
from pyproj import Transformer

from geoseg.geo.geobox import GeoBox, is_earth
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.typing import Array, BoolArray

__all__ = ["around", "bbox_of", "outline_of"]

#: Straight edges of a scene are curves in degrees: each is drawn with so many corners.
_CORNERS = 8
#: Cells along the longer side that an outline of valid ground is drawn from; its vertices at most, about; and
#: its rings. An item is there to be searched by, and an index holds thousands of them.
_CELLS, _VERTICES, _RINGS = 512, 256, 16
#: Part of the valid ground below which a piece of it, or a hole in it, is left out.
_SPECK = 0.001


def outline_of(
    geobox: GeoBox, seen: BoolArray | None = None, cells: GeoBox | None = None
) -> shapely.Geometry | None:
    """Outline of a raster in longitude and latitude, or of what was seen of it.

    Parameters
    ----------
    geobox
        Place of the raster.
    seen : (h, w) bool, optional
        Cells in which something was seen; None: all of it was. Where nothing was, the outline is that of the
        raster too, for a place is better than none.
    cells
        Place of the cells, each of which is a square of pixels; without it they are pixels.

    Returns
    -------
    Polygon or MultiPolygon or None
        None where the raster lies nowhere on the Earth.

    Examples
    --------
    >>> from affine import Affine
    >>> from pyproj import CRS
    >>> box = GeoBox(Affine(0.5, 0, 10, 0, -0.5, 50), CRS.from_epsg(4326), 1, 2)
    >>> outline_of(box).bounds, outline_of(box, np.array([[True, False]])).bounds
    ((10.0, 49.5, 11.0, 50.0), (10.0, 49.5, 10.5, 50.0))
    """
    if geobox.crs is None or not is_earth(geobox.crs):
        return None
    if seen is None or seen.all() or not seen.any():
        steps = np.linspace(0, 1, _CORNERS, endpoint=False)
        zero = np.zeros(_CORNERS)
        x = np.concatenate([zero, steps, zero + 1, 1 - steps]) * geobox.width
        y = np.concatenate([steps, zero + 1, 1 - steps, zero]) * geobox.height
        shape: shapely.Geometry = shapely.Polygon(np.column_stack([x, y]))
    else:
        pixels = 1 if cells is None else round((~geobox.transform * cells.transform).a)
        shape = _outline_of_cells(seen, pixels, geobox)
    a, b, c, d, e, f = geobox.transform[:6]
    to_lonlat = Transformer.from_crs(geobox.crs, 4326, always_xy=True)

    def moved(x: Array, y: Array) -> tuple[Array, Array]:
        lon, lat = to_lonlat.transform(a * x + b * y + c, d * x + e * y + f)
        return np.round(lon, 7), np.round(lat, 7)

    outline = shapely.transform(shape, moved, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(outline)).all():
        return None
    parts = split_at_antimeridian(shapely.get_parts(outline), continuous=geobox.crs.is_geographic)
    whole = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    return shapely.orient_polygons(whole)


def bbox_of(outline: shapely.Geometry) -> list[float]:
    """West, south, east, north; west is the larger one where the antimeridian lies between."""
    west, south, east, north = outline.bounds
    parts = shapely.bounds(shapely.get_parts(outline))
    if west == -180 and east == 180 and len(parts) > 1:
        west, east = parts[parts[:, 2] == 180, 0].min(), parts[parts[:, 0] == -180, 2].max()
    return [float(west), float(south), float(east), float(north)]


def around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The box around several; the whole world without any, or where one crosses the antimeridian."""
    if not boxes:
        return [-180.0, -90.0, 180.0, 90.0]
    crosses = any(west > east for west, _, east, _ in boxes)
    return [
        -180.0 if crosses else min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        180.0 if crosses else max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    ]


def _outline_of_cells(seen: BoolArray, pixels: int, geobox: GeoBox) -> shapely.Geometry:
    """Outline of cells, in pixels of the raster, simplified until it has few vertices."""
    together = -(-max(seen.shape) // _CELLS)
    for axis in (0, 1):
        seen = np.logical_or.reduceat(seen, np.arange(0, seen.shape[axis], together), axis=axis)
    side = pixels * together
    found = rasterio.features.shapes(seen.astype(np.uint8), mask=seen, connectivity=4)
    rings = [
        (shapely.Polygon(ring), k, hole)
        for k, (polygon, _) in enumerate(found)
        for hole, ring in enumerate(polygon["coordinates"])
    ]
    # The largest ones. A hole comes behind the piece that it lies in, for that is larger.
    rings = sorted(rings, key=lambda ring: -ring[0].area)[:_RINGS]
    rings = [ring for k, ring in enumerate(rings) if k == 0 or ring[0].area >= _SPECK * seen.sum()]
    pieces = [
        shapely.Polygon(shell.exterior, [hole.exterior for hole, of, place in rings if of == piece and place])
        for shell, piece, place in rings
        if not place
    ]
    scene = shapely.box(0, 0, geobox.width, geobox.height)
    step = max(geobox.shape) / _CORNERS
    # By one cell at first: the edge of a scene that lies askew in its raster is a staircase of cells.
    tolerance = 1.0
    while True:
        simple = shapely.union_all(shapely.simplify(np.array(pieces, object), tolerance))
        outline = shapely.transform(simple, lambda xy: xy * side)
        outline = shapely.segmentize(shapely.intersection(outline, scene), step)
        if shapely.get_num_coordinates(outline) <= _VERTICES or tolerance > max(seen.shape):
            return outline
        tolerance *= 2
