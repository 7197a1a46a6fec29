"""Polygons taken apart, against shapely's own way."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geoseg.errors import InputError
from geoseg.vector.ragged import ragged_polygons

_SQUARE = shapely.box(0, 0, 9, 9)
_HOLES = _SQUARE.difference(shapely.union_all([shapely.box(k, k, k + 0.5, k + 0.5) for k in (1, 3, 5)]))
_SEVERAL = shapely.MultiPolygon([shapely.box(20, 0, 21, 1), _HOLES])


@pytest.mark.parametrize("shapes", [[_SEVERAL], [_SQUARE, _SEVERAL, _HOLES], [_SEVERAL, _SEVERAL]])
def test_parts_are_those_of_shapely(shapes: list[shapely.Geometry]) -> None:
    geometry = np.array(shapes, object)
    _, xy, offsets = shapely.to_ragged_array(geometry)
    found = ragged_polygons(geometry)
    mine = (found.xy, found.rings, found.polygons, found.features)
    for part, theirs in zip(mine, (xy, *offsets), strict=True):
        np.testing.assert_array_equal(part, theirs)
    np.testing.assert_array_equal(found.bounds(), shapely.bounds(geometry))
    assert shapely.equals_identical(found.geometries(), geometry).all()
    text, starts = found.wkb()
    assert text.tobytes() == b"".join(shapely.to_wkb(geometry, byte_order=1, flavor="iso"))
    assert starts[-1] == text.size
    assert shapely.equals_identical(found.rows(1, 9).geometries(), geometry[1:]).all()


def test_empty_polygons_and_heights() -> None:
    high = shapely.from_wkt("POLYGON Z ((0 0 5, 1 0 5, 1 1 5, 0 0 5))")
    geometry = np.array([shapely.Polygon(), high, shapely.MultiPolygon()], object)
    found = ragged_polygons(geometry)
    np.testing.assert_array_equal(found.xy, [[0, 0], [1, 0], [1, 1], [0, 0]])
    offsets = found.rings.tolist(), found.polygons.tolist(), found.features.tolist()
    assert offsets == ([0, 4], [0, 0, 1], [0, 1, 2, 2])
    np.testing.assert_array_equal(found.bounds(), shapely.bounds(geometry))


def test_other_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="got POINT, POLYGON"):
        ragged_polygons(np.array([_SQUARE, shapely.Point(0, 0)], object))
