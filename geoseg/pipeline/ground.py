"""Where a scene had data: coarse cells of its ground, by which scenes are compared with other sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry import shape

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.cog import write_cog
from geoseg.io.hints import SETTINGS_TAG
from geoseg.io.sources import open_raster
from geoseg.io.vectors import once_around, pixel_transform
from geoseg.raster.stitch import INVALID
from geoseg.scores.polygons import clean_polygons
from geoseg.typing import Array, BoolArray

__all__ = ["ALL", "NONE", "SOME", "Ground", "count_valid", "read_ground", "save_ground"]

#: How much of a cell has data.
NONE, SOME, ALL = 0, 1, 2
#: Pixels a side of a cell at least, and cells along the longer side of a scene at most: 16 MB of them.
_LEAST, _MOST = 8, 4096
#: Of a cell: so far a polygon may reach into one and still count as ending before it. The 7 digits of GeoJSON
#: move what ends at the edge of a scene by up to 1 cm.
_EDGE = 0.01
#: Key of ``Ground.seen`` in the file.
_SEEN = "cells_seen"


@dataclass(frozen=True, eq=False)
class Ground:
    """Which cells of a scene's ground have data.

    Attributes
    ----------
    cells
        uint8 (h, w): :data:`NONE`, :data:`SOME` or :data:`ALL` of the pixels of a cell are valid.
    geobox
        Place of the cells.
    seen
        Rows and columns of cells up to the edge of the scene, which may end within the last ones.
    """

    cells: NDArray[np.uint8]
    geobox: GeoBox
    seen: tuple[float, float]

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64], crs: CRS | None) -> NDArray[np.uint8]:
        """How much of the cell that each point lies in has data.

        Parameters
        ----------
        x, y : (n,) float64
            Points.
        crs
            Their CRS.

        Returns
        -------
        (n,) uint8
            :data:`NONE` outside the scene.
        """
        col, row = self._cells_of(crs)(x, y)
        height, width = self.seen
        inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)  # False for what is not finite
        amounts = np.zeros(len(x), np.uint8)
        amounts[inside] = self.cells[row[inside].astype(np.int64), col[inside].astype(np.int64)]
        return amounts

    def holds(self, geometry: Array, crs: CRS | None) -> BoolArray:
        """Whether each geometry lies on ground that was seen as a whole.

        By its bounds along the rows and columns: what is seen in part, or lies partly outside, is not held.

        Parameters
        ----------
        geometry : (n,) object
            Shapely geometries.
        crs
            Their CRS.

        Returns
        -------
        (n,) bool
        """
        moved = shapely.transform(geometry, self._cells_of(crs), interleaved=False)
        bounds = shapely.bounds(moved).reshape(-1, 4)
        low, high = bounds[:, :2] + _EDGE, bounds[:, 2:] - _EDGE
        height, width = self.seen
        inside = (low >= 0).all(axis=1) & (high <= (width, height)).all(
            axis=1
        )  # False for what is not finite
        left, top = np.floor(low[inside]).astype(np.int64).T
        # What is smaller than the margin lies in one cell.
        right, bottom = np.maximum(np.ceil(high[inside]), np.floor(low[inside]) + 1).astype(np.int64).T
        # Sums over all cells above and left of a corner: four of them give those of a rectangle.
        sums = np.zeros((self.cells.shape[0] + 1, self.cells.shape[1] + 1), np.int64)
        sums[1:, 1:] = (self.cells != ALL).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
        missing = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        held = np.zeros(len(geometry), bool)
        held[inside] = missing == 0
        return held

    def shares(self, geometry: Array, crs: CRS | None) -> Array:
        """Share of each geometry's area that lies where something was seen, to the cell.

        Parameters
        ----------
        geometry : (n,) object
            Polygons.
        crs
            Their CRS.

        Returns
        -------
        (n,) float64
            0 to 1.
        """
        moved = shapely.transform(geometry, self._cells_of(crs), interleaved=False)
        shares = np.zeros(len(moved))
        height, width = self.seen
        scene = shapely.box(0, 0, width, height)
        # False for what the scene's CRS can't show.
        for index in np.flatnonzero(np.isfinite(shapely.bounds(moved).reshape(-1, 4)).all(axis=1)):
            # Repaired, for reprojection may let an edge cross another one.
            inside = shapely.intersection(shapely.union_all(clean_polygons(moved[[index]]).geometry), scene)
            if not inside.area > 0:
                continue
            left, top, right, bottom = shapely.bounds(inside)
            rows = slice(int(top), int(np.ceil(bottom)))
            cols = slice(int(left), int(np.ceil(right)))
            unseen = (self.cells[rows, cols] == NONE).astype(np.uint8)
            if unseen.any():
                place = Affine.translation(cols.start, rows.start)
                shapes = rasterio.features.shapes(unseen, mask=unseen == 1, transform=place)
                inside = shapely.difference(inside, shapely.union_all([shape(one) for one, _ in shapes]))
            shares[index] = min(1.0, inside.area / moved[index].area)
        return shares

    def _cells_of(self, crs: CRS | None) -> Callable[[Array, Array], tuple[Array, Array]]:
        """From x and y in a CRS to columns and rows of cells.

        Longitudes of a scene may run on beyond 180, where others have those from -180 on.
        """
        to_cells, place = pixel_transform(crs, self.geobox), self.geobox
        once = None if place.crs is None else once_around(place.crs)
        if crs is None or once is None or place.transform.d != 0:
            return to_cells
        turn, middle = once / place.transform.a, self.seen[1] / 2

        def nearest(x: Array, y: Array) -> tuple[Array, Array]:
            col, row = to_cells(x, y)
            return col + turn * np.round((middle - col) / turn), row

        return nearest


def count_valid(
    read: Callable[[Window], NDArray[np.uint8]], chunks: Iterable[Window], geobox: GeoBox
) -> Ground:
    """Look at stored probabilities, chunk by chunk, for where they have data.

    Parameters
    ----------
    read
        Gives the stored bytes (K, h, w) of a window.
    chunks
        Windows that cover the scene, each pixel once.
    geobox
        Place of the scene.
    """
    height, width = geobox.shape
    side = _LEAST
    # Doubled until they fit: a scene of any size has at most 16 MB of them.
    while max(height, width) > side * _MOST:
        side *= 2
    # Counts and no flags: a cell is whole only when the last of its chunks says so.
    counts = np.zeros((-(-height // side), -(-width // side)), np.int32)
    for window in chunks:
        valid = (read(window)[0] != INVALID).astype(np.int32)
        # Chunks need not end where cells do, so a cell is the sum of what each chunk has of it.
        for axis, (start, stop) in enumerate(
            ((window.row_off, window.row_end), (window.col_off, window.col_end))
        ):
            first = np.arange(start // side * side, stop, side)
            valid = np.add.reduceat(valid, np.maximum(first - start, 0), axis=axis)
        rows = slice(window.row_off // side, window.row_off // side + valid.shape[0])
        cols = slice(window.col_off // side, window.col_off // side + valid.shape[1])
        counts[rows, cols] += valid
    tall, wide = (
        np.minimum(side, length - np.arange(0, length, side, dtype=np.int32)) for length in (height, width)
    )
    cells = np.where(counts == 0, NONE, np.where(counts == np.outer(tall, wide), ALL, SOME))
    box = GeoBox(geobox.transform * Affine.scale(side), geobox.crs, *counts.shape)
    return Ground(cells.astype(np.uint8), box, (height / side, width / side))


def save_ground(path: Path, ground: Ground, *, tags: Mapping[str, str] | None = None) -> None:
    """Write the cells as a GeoTIFF, and in a tag where the scene ends in them."""
    write_cog(
        path,
        lambda window: ground.cells[window.rows, window.cols],
        ground.geobox,
        dtype="uint8",
        descriptions=("0 no data, 1 in part, 2 all of it",),
        tags={SETTINGS_TAG: json.dumps({_SEEN: ground.seen}), **(tags or {})},
    )


def read_ground(path: Path) -> Ground:
    """Read what :func:`save_ground` wrote.

    Raises
    ------
    SceneError
        It can't be read.
    """
    raster = open_raster(path)
    height, width = raster.geobox.shape
    whole = Window(row_off=0, col_off=0, height=height, width=width)
    # Results of an earlier version do not say it: then the scene counts as if it filled its last cells.
    rows, cols = raster.hints().settings.get(_SEEN, (height, width))
    return Ground(raster.read(whole)[0].astype(np.uint8), raster.geobox, (float(rows), float(cols)))
