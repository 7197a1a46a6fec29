"""Outlines as shapely geometries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from geoseg.typing import Array, IntArray
from geoseg.vector.ragged import RaggedPolygons
from geoseg.vector.rings import Outlines

__all__ = [
    "combine_parts",
    "object_geometries",
    "place_corners",
    "ragged_objects",
    "region_polygons",
    "repaired",
]

#: Corners that are placed in one go, so that what is worked out on the way stays small.
_PIECE_CORNERS = 1 << 20


def place_corners(xy: Array, transform: Sequence[float] | None) -> Array:
    """Lattice corners in the coordinates of an affine transform.

    Parameters
    ----------
    xy : (p, 2) numbers
        Column and row of pixel corners.
    transform
        (a, b, c, d, e, f) of x = a * col + b * row + c, y = d * col + e * row + f; None: as they are.

    Returns
    -------
    (p, 2) float64
    """
    if transform is None:
        return xy.astype(np.float64)
    a, b, c, d, e, f = transform[:6]
    out = np.empty(xy.shape, np.float64)
    for start in range(0, len(xy), _PIECE_CORNERS):  # of one object with millions of holes
        piece = slice(start, start + _PIECE_CORNERS)
        col, row = xy[piece, 0], xy[piece, 1]
        out[piece, 0] = a * col + b * row + c
        out[piece, 1] = d * col + e * row + f
    return out


def region_polygons(
    xy: Array, ring_offsets: IntArray, part_offsets: IntArray, transform: Sequence[float] | None = None
) -> Array:
    """A Polygon for each part, shells counterclockwise where y points up.

    Parameters
    ----------
    xy : (p, 2) numbers
        Corners of closed rings on the lattice.
    ring_offsets : (rings + 1,) int64
        Corners of each ring.
    part_offsets : (parts + 1,) int64
        Rings of each part, the shell first.
    transform
        See :func:`place_corners`.

    Returns
    -------
    (parts,) object

    Examples
    --------
    >>> square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    >>> region_polygons(square, np.array([0, 5]), np.array([0, 1]))[0].wkt
    'POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))'
    """
    if len(part_offsets) == 1:
        return np.empty(0, object)
    # Placed before any geometry is made: each corner is worked out from its own column and row, so the
    # corners that two objects share stay equal to the last bit.
    coordinates = place_corners(xy, transform)
    polygons = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, coordinates, (ring_offsets, part_offsets)
    )
    return shapely.reverse(polygons) if _mirrors(transform) else polygons


def _mirrors(transform: Sequence[float] | None) -> bool:
    """Whether a transform turns y around, and so the rings around, too."""
    return transform is not None and transform[0] * transform[4] - transform[1] * transform[3] < 0


def combine_parts(polygons: Array, owner: IntArray, count: int) -> Array:
    """One geometry an owner: its Polygon, or a MultiPolygon of several.

    Parameters
    ----------
    polygons : (parts,) object
        Polygons that share no area.
    owner : (parts,) int64
        Number of each one's owner, ascending, each of 0 .. count - 1 at least once.
    count
        Number of owners.

    Returns
    -------
    (count,) object
    """
    # Nearly all objects are one polygon; only the others pay for a second geometry.
    geometry = np.empty(count, object)
    several = np.bincount(owner, minlength=count) > 1
    in_several = several[owner]
    geometry[owner[~in_several]] = polygons[~in_several]
    if several.any():
        rank = np.cumsum(several) - 1
        geometry[several] = shapely.multipolygons(polygons[in_several], indices=rank[owner[in_several]])
    return geometry


def object_geometries(outlines: Outlines, transform: Sequence[float] | None = None) -> Array:
    """A Polygon or MultiPolygon for each object.

    Parameters
    ----------
    outlines
        Objects.
    transform
        See :func:`place_corners`.

    Returns
    -------
    (n,) object
        Shells counterclockwise where y points up.
    """
    polygons = region_polygons(outlines.xy, outlines.ring_offsets, outlines.part_offsets, transform)
    owner = np.repeat(np.arange(len(outlines)), np.diff(outlines.object_offsets))
    return combine_parts(polygons, owner, len(outlines))


def repaired(geometry: Any) -> Any:
    """Valid polygons of invalid ones, without lines and points; of one geometry or an array.

    By structure: shapely's default makes a hole of ground that two parts or loops of an outline cover.

    Examples
    --------
    >>> bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    >>> repaired(bow).geom_type, repaired(bow).area
    ('MultiPolygon', 2.0)
    >>> repaired(np.empty(0, object)).size
    0
    """
    return shapely.make_valid(geometry, method="structure", keep_collapsed=False)


def ragged_objects(outlines: Outlines, transform: Sequence[float] | None = None) -> RaggedPolygons:
    """The same as :func:`object_geometries` gives, as arrays."""
    return RaggedPolygons(
        place_corners(outlines.xy, transform),
        outlines.ring_offsets,
        outlines.part_offsets,
        outlines.object_offsets,
        np.diff(outlines.object_offsets) > 1,
        _mirrors(transform),
    )
