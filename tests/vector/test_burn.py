"""Polygons on pixels: by their centers, each pixel of a coverage once, windows like the whole."""

from __future__ import annotations

import time

import numpy as np
import pytest
import rasterio.features
import shapely

from geoseg.geo.windows import Window, iter_chunks
from geoseg.vector.burn import PolygonIndex, burn_polygons

WHOLE = Window(row_off=0, col_off=0, height=50, width=60)


def test_polygons_that_share_an_edge_through_centers_share_no_pixel() -> None:
    quarters = [(0, 0, 4.5, 4.5), (4.5, 0, 10, 4.5), (0, 4.5, 4.5, 10), (4.5, 4.5, 10, 10)]
    window = Window(row_off=0, col_off=0, height=10, width=10)
    masks = [PolygonIndex([shapely.box(*bounds)]).mask(window) for bounds in quarters]
    assert (np.sum(masks, axis=0) == 1).all()
    assert [int(mask.sum()) for mask in masks] == [4 * 4, 6 * 4, 4 * 6, 6 * 6]


def test_windows_equal_the_whole_and_gdal() -> None:
    rng = np.random.default_rng(0)
    shapes = [shapely.Point(x, y).buffer(r) for x, y, r in rng.uniform(1, 50, (30, 3)) / (1, 1, 6)]
    shapes += [shapely.box(5, 5, 40, 40) - shapely.box(10, 10, 20, 20), shapely.MultiPolygon()]
    index = PolygonIndex(shapes)
    values = np.arange(1, len(shapes) + 1)
    whole = index.draw(WHOLE, values, np.int32)
    full = [
        (shape, value) for shape, value in zip(shapes, values.tolist(), strict=True) if not shape.is_empty
    ]
    np.testing.assert_array_equal(whole, rasterio.features.rasterize(full, (50, 60), dtype="int32"))
    part = Window(row_off=11, col_off=7, height=20, width=31)
    np.testing.assert_array_equal(index.draw(part, values, np.int32), whole[part.rows, part.cols])
    np.testing.assert_array_equal(index.mask(part), whole[part.rows, part.cols] > 0)
    cols, rows = np.meshgrid(np.arange(60), np.arange(50))
    covered = index.covers(cols.ravel(), rows.ravel()).reshape(50, 60)
    np.testing.assert_array_equal(covered, whole > 0)


@pytest.mark.parametrize("shapes", [[], [shapely.Polygon()], [shapely.box(100, 100, 120, 120)]])
def test_nothing(shapes: list[shapely.Geometry]) -> None:
    assert not PolygonIndex(shapes).mask(WHOLE).any()
    canvas = np.zeros((0, 60), bool)
    burn_polygons(canvas, shapes, True, Window(row_off=0, col_off=0, height=0, width=60))


def test_many_polygons_cost_what_lies_in_a_window() -> None:
    """100,000 on one megapixel, window by window; one by one they took more than two minutes."""
    x, y = np.random.default_rng(0).uniform(0, 1000, (2, 100_000))
    index = PolygonIndex(shapely.box(x, y, x + 3, y + 3))
    windows = list(iter_chunks(1000, 1000, 250))
    start = time.process_time()
    covered = sum(int(index.mask(window).sum()) for window in windows)
    assert time.process_time() - start < 3
    assert 0.5e6 < covered < 1e6
