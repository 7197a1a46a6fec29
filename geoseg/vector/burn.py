"""Polygons on pixels: one rule for labels, areas of interest and masks, whatever route they take.

A pixel belongs to a polygon that holds its center. A center on an edge belongs to the polygon on its right
or, at level edges, below it, so polygons that share an edge share no pixel.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import DTypeLike

from geoseg.geo.windows import Window
from geoseg.raster.fill import fill_parts
from geoseg.typing import Array, BoolArray

__all__ = ["PolygonIndex", "burn_polygons"]


def burn_polygons(canvas: Array, polygons: Any, values: Any, window: Window) -> None:
    """Write a value to the pixels of each polygon, the later over the earlier.

    Parameters
    ----------
    canvas
        (h, w) array of a window, written in place.
    polygons
        (n,) Polygons and MultiPolygons in pixel corners (x = column, y = row).
    values
        (n,) or one for all.
    window
        Where the canvas lies.

    Examples
    --------
    >>> canvas = np.zeros((2, 3), np.uint8)
    >>> burn_polygons(canvas, [shapely.box(6, 0, 7, 9)], 3, Window(row_off=4, col_off=5, height=2, width=3))
    >>> canvas.tolist()
    [[0, 3, 0], [0, 3, 0]]
    """
    shapes = np.asarray(polygons, dtype=object).reshape(-1)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    coords, ring = shapely.get_coordinates(rings, return_index=True)
    ring_ends = np.cumsum(np.bincount(ring, minlength=len(rings)))
    part_ends = np.cumsum(np.bincount(part, minlength=len(parts)))
    # Polygons count from the corners of pixels, the kernel from their centers.
    origin = (window.col_off + 0.5, window.row_off + 0.5)
    full = part_ends > np.concatenate([[0], part_ends[:-1]])  # an empty polygon has no ring
    every = np.broadcast_to(np.asarray(values, canvas.dtype), shapes.shape)
    fill_parts(canvas, coords - origin, ring_ends, part_ends[full], every[owner[full]])


class PolygonIndex:
    """Many polygons, drawn window by window; a window costs what lies in it.

    Parameters
    ----------
    polygons
        (n,) Polygons and MultiPolygons in pixel corners.
    """

    def __init__(self, polygons: Any) -> None:
        self.polygons: Array = np.asarray(polygons, dtype=object).reshape(-1)

    def __len__(self) -> int:
        return len(self.polygons)

    def __getstate__(self) -> dict[str, Any]:
        """Without the tree, which is made anew in a worker."""
        return {"polygons": self.polygons}

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.polygons)

    def draw(self, window: Window, values: Array, dtype: DTypeLike) -> Array:
        """The value of the last polygon at each pixel of a window, 0 where there is none.

        Parameters
        ----------
        window
            Part of the raster.
        values
            (n,) or (1,).
        dtype
            Of the result.
        """
        box = shapely.box(window.col_off, window.row_off, window.col_end, window.row_end)
        # The tree gives them in any order, and the later one is drawn over the earlier.
        near = np.sort(self._tree.query(box))
        canvas = np.zeros((window.height, window.width), dtype)
        burn_polygons(canvas, self.polygons[near], np.broadcast_to(values, len(self))[near], window)
        return canvas

    def mask(self, window: Window) -> BoolArray:
        """Whether any polygon covers each pixel of a window."""
        return self.draw(window, np.ones(1, np.bool_), np.bool_)

    def covers(self, cols: Array, rows: Array) -> BoolArray:
        """Whether the centers of some pixels lie inside any polygon, (n,) bool; those on an edge do not."""
        covered = np.zeros(len(cols), np.bool_)
        centers = shapely.points(np.asarray(cols) + 0.5, np.asarray(rows) + 0.5)
        covered[self._tree.query(centers, predicate="within")[0]] = True
        return covered
