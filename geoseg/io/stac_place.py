"""Where results lie, in longitude and latitude as STAC wants it: outlines and bounding boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from pyproj import Transformer
from shapely.affinity import scale as scaled

from geoseg.geo.geobox import GeoBox, is_earth
from geoseg.io.writers.antimeridian import split_at_antimeridian
from geoseg.typing import Array, BoolArray

__all__ = ["around", "bbox_of", "outline_of"]

#: Straight edges of a scene are curves in degrees: each is drawn with so many corners.
_CORNERS = 8
#: Cells along the longer side that an outline of valid ground is drawn from at first; its vertices at most,
#: and its rings. An item is there to be searched by, and an index holds thousands of them.
_CELLS, _VERTICES, _RINGS = 512, 256, 16
#: Part of the valid ground below which a piece of it, or a hole in it, is left out.
_SPECK = 0.001
#: Part of the valid ground that may lie outside its outline: specks, and what simplified edges cut off.
_MISSED = 0.02


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


def bbox_of(outline: shapely.Geometry, geobox: GeoBox) -> list[float]:
    """West, south, east, north of an outline; west is the larger one where the antimeridian lies between.

    Parameters
    ----------
    outline
        What :func:`outline_of` gives.
    geobox
        Place of the raster: longitudes count along it, however many pieces the outline is in.

    Examples
    --------
    >>> from affine import Affine
    >>> from pyproj import CRS
    >>> box = GeoBox(Affine(1, 0, 178, 0, -1, 50), CRS.from_epsg(4326), 1, 8)
    >>> seen = np.array([[True, False, False, False, False, True, False, False]])
    >>> bbox_of(outline_of(box, seen), box)
    [178.0, 49.0, -176.0, 50.0]
    """
    _, south, _, north = outline.bounds
    parts = shapely.bounds(shapely.get_parts(outline))
    west, east = parts[:, 0], parts[:, 2]
    to_lonlat = Transformer.from_crs(geobox.crs, 4326, always_xy=True)
    center, _ = to_lonlat.transform(*(geobox.transform * (geobox.width / 2, geobox.height / 2)))
    # Each part goes to that turn around the Earth in which it lies nearest to the middle of the scene.
    turns = 360 * np.round((center - (west + east) / 2) / 360) if np.isfinite(center) else 0.0
    first, last = np.argmin(west + turns), np.argmax(east + turns)
    if (east + turns)[last] - (west + turns)[first] >= 360:
        return [-180.0, float(south), 180.0, float(north)]
    return [float(west[first]), float(south), float(east[last]), float(north)]


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
    """Outline of cells, in pixels of the raster, from coarser cells until it has few rings and vertices."""
    together = -(-max(seen.shape) // _CELLS)
    seen = _coarser(seen, together)
    side = pixels * together
    rows, cols = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    # Coarser cells reach farther than the ground does: the outline ends where the ground ends.
    extent = shapely.intersection(
        shapely.box(cols[0] * side, rows[0] * side, (cols[-1] + 1) * side, (rows[-1] + 1) * side),
        shapely.box(0, 0, geobox.width, geobox.height),
    )
    step = max(geobox.shape) / _CORNERS
    coarse, factor = seen, 1
    # One cell is left in the end, and its outline is the extent.
    while True:
        pieces = _pieces(coarse)
        if sum(1 + len(piece.interiors) for piece in pieces) <= _RINGS:
            # By one cell: the edge of a scene that lies askew in its raster is a staircase of cells.
            simple = shapely.simplify(np.array(pieces, object), 1)
            if factor > 1:  # an edge may cut off a whole cell, and coarse cells are too large to lose
                simple = shapely.buffer(simple, 1, join_style="mitre")
            scale = float(side * factor)
            cover = scaled(shapely.union_all(simple), scale, scale, origin=(0, 0))
            outline = shapely.segmentize(shapely.intersection(cover, extent), step)
            if shapely.get_num_coordinates(outline) <= _VERTICES:
                # In whole cells, before the cut: the middle of the last ones may lie beyond the scene.
                missed = rasterio.features.geometry_mask([cover], seen.shape, Affine.scale(side))
                if (missed & seen).sum() <= _MISSED * seen.sum():
                    return outline
        coarse, factor = _coarser(coarse, 2), factor * 2


def _coarser(seen: BoolArray, together: int) -> BoolArray:
    """Cells so many times as large: something was seen in one where it was seen in any part of it."""
    for axis in (0, 1):
        seen = np.logical_or.reduceat(seen, np.arange(0, seen.shape[axis], together), axis=axis)
    return seen


def _pieces(seen: BoolArray) -> list[shapely.Polygon]:
    """Polygons around cells, without specks; one at which the ground ends stays, for the bounding box."""
    found = rasterio.features.shapes(seen.astype(np.uint8), mask=seen, connectivity=4)
    shells = [[shapely.Polygon(ring) for ring in polygon["coordinates"]] for polygon, _ in found]
    bounds = shapely.bounds([shell for shell, *_ in shells])
    ends = {*bounds[:, :2].argmin(axis=0), *bounds[:, 2:].argmax(axis=0)}
    speck = _SPECK * seen.sum()
    return [
        shapely.Polygon(shell.exterior, [hole.exterior for hole in holes if hole.area >= speck])
        for k, (shell, *holes) in enumerate(shells)
        if k in ends or shell.area >= speck
    ]
