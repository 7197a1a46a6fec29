"""Where a DataArray lies: from and to its coordinates."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
from affine import Affine
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox

__all__ = ["geobox_of", "oriented", "placed"]

#: What the axes of a raster are called, beside y and x themselves.
_NAMES = {
    "y": {"y", "lat", "latitude", "grid_latitude", "northing", "projection_y_coordinate",
          "row", "rows", "height"},
    "x": {"x", "lon", "longitude", "grid_longitude", "easting", "projection_x_coordinate",
          "col", "cols", "column", "columns", "width"},
}  # fmt: skip
#: What xarray calls axes that nobody named.
_UNNAMED = re.compile(r"dim_\d+")

#: Steps that differ by more than this share are not the same; coordinates in float32 stay far below.
_SAME_STEP = 1e-3
#: Share of a step by which a coordinate may lie beside its place in an even row.
_UNEVEN = 0.1


def oriented(array: xr.DataArray) -> xr.DataArray:
    """An array with its axes in the order (others, "y", "x"), whatever they are called.

    Axes are known by name, or by the CF attributes of their coordinates. Of axes that xarray has numbered,
    because nobody named them, the last two are y and x.

    Parameters
    ----------
    array
        Two or more dimensions.

    Raises
    ------
    InputError
        No telling which axis is which.

    References
    ----------
    NetCDF Climate and Forecast Metadata Conventions 1.11, sections 4.1, 4.2 and 5.6.

    Examples
    --------
    >>> array = xr.DataArray(np.zeros((4, 6, 3)), dims=("lat", "lon", "channel"))
    >>> oriented(array).sizes
    Frozen({'channel': 3, 'y': 4, 'x': 6})
    """
    dims = [str(dim) for dim in array.dims]
    axis: dict[str, str | None] = {}
    for dim in dims:
        attrs = array.coords[dim].attrs if dim in array.coords else {}
        standard = str(attrs.get("standard_name", "")).lower()
        stated = str(attrs.get("axis", "")).lower()
        # Other axes (band, time) are neither.
        axis[dim] = next(
            (
                name
                for name, names in _NAMES.items()
                if dim.lower() in names or standard in names or stated == name
            ),
            None,
        )
    if all(_UNNAMED.fullmatch(dim) for dim in dims[-2:]):
        axis[dims[-2]], axis[dims[-1]] = "y", "x"
    along = {name: [dim for dim in dims if axis[dim] == name] for name in ("y", "x")}
    if any(len(axis_dims) != 1 for axis_dims in along.values()):
        raise InputError(
            f"dimensions must name one axis y and one x (or lat and lon, latitude and longitude, northing "
            f"and easting), got {', '.join(dims)}. Rename them: array.rename(...)."
        )
    (y,), (x,) = along["y"], along["x"]
    array = array.transpose(..., y, x)
    return array.rename({old: new for old, new in ((y, "y"), (x, "x")) if old != new})


def placed(data: Any, dims: tuple[str, ...], box: GeoBox, name: str) -> xr.DataArray:
    """A DataArray with the CRS, the transform and the coordinates of a geobox.

    Of a rotated raster, which has no coordinates along its axes, ``row`` and ``column`` say which of its
    pixels are there, so that a part of it can be placed.
    """
    transform = box.transform
    coords: dict[str, Any]
    if transform.b == 0 and transform.d == 0:
        coords = {
            "x": transform.c + transform.a * (np.arange(box.width) + 0.5),
            "y": transform.f + transform.e * (np.arange(box.height) + 0.5),
        }
    else:
        coords = {"row": ("y", np.arange(box.height)), "column": ("x", np.arange(box.width))}
    out = xr.DataArray(data, dims=dims, coords=coords, name=name)
    if box.crs is not None:
        out = out.rio.write_crs(box.crs)
    # Per unit of x and y, which follow the array when it is thinned out; per pixel it would then be wrong.
    if box.gsd is not None:
        unit_x, unit_y = _pixel_sides(transform)
        out.attrs["gsd"] = (box.gsd[0] / unit_x, box.gsd[1] / unit_y)
    return out.rio.write_transform(transform)


def geobox_of(array: xr.DataArray) -> GeoBox:
    """Where an array lies: its CRS and transform where it has any, else plain pixels.

    Without a CRS, ``attrs["gsd"]`` may state meters per unit of x and y, as one number or two.

    The coordinates decide, for they follow the array when it is cut, thinned out, flipped or coarsened.

    Raises
    ------
    InputError
        Coordinates that are not evenly spaced.

    Examples
    --------
    >>> array = xr.DataArray(np.zeros((2, 3)), dims=("y", "x"), coords={"y": [9, 7], "x": [1, 3, 5]})
    >>> geobox_of(array).transform[:6]
    (2.0, 0.0, 0.0, 0.0, -2.0, 10.0)
    >>> geobox_of(array[:, ::2]).transform[:6]
    (4.0, 0.0, -1.0, 0.0, -2.0, 10.0)
    """
    crs = array.rio.crs
    height, width = array.shape[-2:]
    placed = crs is not None or "spatial_ref" in array.coords or {"x", "y"} <= set(array.coords)
    transform = _transform(array) if placed else Affine.identity()
    if crs is not None:
        return GeoBox(transform, CRS.from_user_input(crs), height, width)
    stated = array.attrs.get("gsd")
    if stated is None:
        return GeoBox(transform, None, height, width)
    per_unit = np.broadcast_to(np.asarray(stated, np.float64), 2)
    if not (np.isfinite(per_unit).all() and (per_unit > 0).all()):
        raise InputError(f'attrs["gsd"] must be meters per unit of x and y above 0, got {stated}.')
    gsd_x, gsd_y = (
        float(meters * side) for meters, side in zip(per_unit, _pixel_sides(transform), strict=True)
    )
    return GeoBox(transform, None, height, width, (gsd_x, gsd_y))


def _pixel_sides(transform: Affine) -> tuple[float, float]:
    return math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)


def _transform(array: xr.DataArray) -> Affine:
    # rioxarray gives a rotated file the centers of all its pixels.
    if {"xc", "yc"} <= set(array.coords):
        return _from_centers(array.coords["xc"].values, array.coords["yc"].values)
    stated: Affine = array.rio.transform()
    if stated.b != 0 or stated.d != 0:
        if not {"row", "column"} <= set(array.coords):
            return stated
        (a, c), (e, f) = _step(array, "column", 1.0), _step(array, "row", 1.0)
        return stated * Affine(a, 0, c + 0.5, 0, e, f + 0.5)
    if not {"x", "y"} <= set(array.coords):
        return stated
    (a, c), (e, f) = _step(array, "x", stated.a), _step(array, "y", stated.e)
    # The stated transform has all its digits; coordinates may have come through float32. So it stays wherever
    # the array was not thinned out, flipped or coarsened since.
    same = all(abs(new - old) <= _SAME_STEP * abs(old) for new, old in ((a, stated.a), (e, stated.e)))
    return stated if same else Affine(a, 0, c, 0, e, f)


def _step(array: xr.DataArray, name: str, otherwise: float) -> tuple[float, float]:
    """Step from pixel to pixel, and the outer border of the first one."""
    centers = np.asarray(array.coords[name].values, np.float64)
    # A single row or column has no step to measure.
    if centers.size < 2:
        return otherwise, float(centers[0]) - otherwise / 2
    step = float(centers[-1] - centers[0]) / (centers.size - 1)
    if step == 0 or np.abs(np.diff(centers) - step).max() > _UNEVEN * abs(step):
        raise InputError(
            f"coordinate {name} must be evenly spaced. Resample the array to a regular grid first."
        )
    return step, float(centers[0]) - step / 2


def _from_centers(x: Any, y: Any) -> Affine:
    """Of a rotated raster with the place of every pixel's center."""
    if min(x.shape) < 2:
        raise InputError(f"a rotated array must have at least 2 x 2 pixels, got {x.shape[0]} x {x.shape[1]}.")
    # From corner to corner, where a rounded digit counts least.
    rows, cols = x.shape[0] - 1, x.shape[1] - 1
    a, b = (x[0, -1] - x[0, 0]) / cols, (x[-1, 0] - x[0, 0]) / rows
    d, e = (y[0, -1] - y[0, 0]) / cols, (y[-1, 0] - y[0, 0]) / rows
    return Affine(*map(float, (a, b, x[0, 0] - (a + b) / 2, d, e, y[0, 0] - (d + e) / 2)))
