"""Arrays of any form as scenes and planes: axes in order, dask-backed, validity known."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr

from geoseg.errors import InputError
from geoseg.io.validity import check_dtype, decide_validity, valid_from_values
from geoseg.lazy.place import geobox_of, oriented, placed
from geoseg.lazy.scene import ArrayScene, scene_arrays
from geoseg.raster.source import RasterSource

__all__ = [
    "array_scene",
    "as_dask",
    "as_scene",
    "hidden_objects",
    "lazy_parts",
    "lazy_plane",
    "lazy_scene",
    "two_dimensional",
    "without_nodata",
]

#: Wanted chunk side, pixels: a task's worth of work, and 16 MB of four bands of 8 bits.
_CHUNK = 2048
#: Attributes by which readers say what stands for missing data (rioxarray, NetCDF).
_NODATA = ("_FillValue", "missing_value", "fill_value", "nodata", "nodatavals")


def lazy_scene(scene: RasterSource, chunks: int | tuple[int, int] | None = None) -> xr.DataArray:
    """A source as a lazy array ("band", "y", "x"), see :func:`geoseg.open_scene`."""
    if chunks is None:
        # Whole blocks of the file: a block that two chunks share is decoded twice.
        height, width = (
            max(1, round(_CHUNK / side)) * side if side <= _CHUNK else _CHUNK for side in scene.file_block
        )
        chunks = (height, width)
    image, valid = scene_arrays(scene, _chunk_sides(chunks))
    out = placed(image, ("band", "y", "x"), scene.geobox, scene.name)
    out = out.assign_coords(band=list(scene.bands))
    if valid is not None:
        out = out.assign_coords(valid=(("y", "x"), valid))
    if scene.acquired:
        out.attrs["acquired"] = scene.acquired
    out.attrs["scene"] = scene.name
    return out


def as_scene(array: Any, chunks: int | tuple[int, int] | None = None) -> xr.DataArray:
    """An array of two or three dimensions as ("band", "y", "x"), dask-backed.

    Raises
    ------
    InputError
        No array of such dimensions, or axes that can't be told apart.
    """
    if not isinstance(array, xr.DataArray):
        if getattr(array, "ndim", 0) not in (2, 3):
            raise InputError(
                f"scene must be a file or an array of 2 or 3 dimensions, got {type(array).__name__}. "
                "Give a path, or a DataArray with x and y."
            )
        array = xr.DataArray(array, dims=("band", "y", "x")[-array.ndim :])
    if array.ndim not in (2, 3):
        others = [str(name) for name in array.dims if name not in ("band", "y", "x")]
        raise InputError(
            f"scene must have 2 or 3 dimensions, got {array.ndim} ({', '.join(map(str, array.dims))}). "
            f"Choose one of the others, such as array.isel({others[0] if others else 'band'}=0)."
        )
    array = _native(oriented(array))
    if array.ndim == 2:
        array = array.expand_dims("band")
    elif array.dims[0] != "band":
        array = array.rename({array.dims[0]: "band"})
    check_dtype(str(array.dtype), "the array", ("bool",))
    # Chunks that the caller chose stay; only what is in memory as a whole is cut.
    if chunks is not None or array.chunks is None:
        height, width = _chunk_sides((_CHUNK, _CHUNK) if chunks is None else chunks)
        array = array.chunk({"band": -1, "y": height, "x": width})
    return array


def _native(array: xr.DataArray) -> xr.DataArray:
    """The same values in the byte order of this computer, which the kernels need."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def lazy_parts(array: xr.DataArray) -> tuple[da.Array, da.Array | None]:
    """Pixels and validity: from the coordinate ``valid``, else by the rule that a file's header gives."""
    image = as_dask(array.data)
    if "valid" in array.coords:
        return image, as_dask(array.coords["valid"].data)
    # A value that the type can't hold was said of the array that this one was computed from. True and false
    # are never missing data.
    try:
        nodata = None if image.dtype.kind == "b" else array.rio.nodata
    except OverflowError:
        nodata = None
    stated = None if nodata is None else float(nodata)
    rule = decide_validity(dtype=str(image.dtype), nodata=[stated] * len(image), mask=(), alpha=None)
    if not rule.anything:
        return image, None
    # A pixel is valid by all its bands, so they have to come together.
    together = image.rechunk({0: -1})
    return image, da.map_blocks(valid_from_values, together, rule, drop_axis=0, dtype=bool)


def lazy_plane(array: xr.DataArray) -> da.Array:
    """A mask, labels or heights of :func:`two_dimensional` as a dask array, 0 where there is no data."""
    plane, valid = _plane_parts(array)
    return plane if valid is None else da.where(valid, plane, plane.dtype.type(0))


def hidden_objects(array: xr.DataArray, values: Sequence[int] | None = None) -> str | None:
    """What to tell of a mask whose objects are all left out as missing data; None: they are not.

    Computes the pixels, all of them where none is left out.

    Parameters
    ----------
    array
        A mask or labels of :func:`two_dimensional`.
    values
        Only these are objects; None: all but 0.
    """
    plane, valid = _plane_parts(array)
    if valid is None:
        return None
    # A value below 0 numbers no object: it was meant to be left out.
    wanted = plane > 0 if values is None else da.isin(plane, values) & (plane > 0)
    left_out, kept = da.compute(da.unique(plane[wanted & ~valid]), (wanted & valid).any())
    if kept or not left_out.size:
        return None
    if "valid" in array.coords:
        return (
            'no object found: the coordinate "valid" is False at all pixels that would be objects. If they '
            'are, drop it with array.drop_vars("valid").'
        )
    return (
        f"no object found: pixels of {left_out[0]} were left out, the nodata value that the array states. "
        f'If they are objects, drop that statement with array.attrs.pop("{_nodata_name(array)}").'
    )


def _plane_parts(array: xr.DataArray) -> tuple[da.Array, da.Array | None]:
    """Pixels and validity of one plane; a nodata value of another array does not count."""
    plane = array.expand_dims("band")
    if not _states_own_nodata(plane):
        plane.attrs = without_nodata(plane.attrs)
    return as_dask(array.data), lazy_parts(plane)[1]


def _nodata_name(array: xr.DataArray) -> str:
    """The attribute that states the nodata value, the first of them as for rioxarray."""
    return next((name for name in _NODATA if array.attrs.get(name) is not None), _NODATA[0])


def _states_own_nodata(array: xr.DataArray) -> bool:
    """Whether the nodata value among the attributes was said of this array.

    Arithmetic hands attributes on, so labels may still state the 255 of the image that they came from, which
    is one of their objects. Readers of files state the value in the dtype of the pixels.
    """
    stated = array.attrs.get(_nodata_name(array))
    if isinstance(stated, (tuple, list)):  # one a band
        stated = stated[0] if stated else None
    if stated is None:
        return True
    try:
        number = float(stated)
    except (TypeError, ValueError):
        return True  # no number; rioxarray knows what to make of it
    if number < 0:  # no object has such a number
        return True
    if isinstance(stated, (np.generic, np.ndarray)):
        return stated.dtype == array.dtype
    # Without a type of its own: an image of 8 bits states none above 255.
    return array.dtype.kind == "f" or array.dtype.itemsize == 1 or number > 255


def without_nodata(attrs: dict[Any, Any]) -> dict[Any, Any]:
    """What an array says of itself, but for the value of missing data: it means nothing for other values."""
    return {name: value for name, value in attrs.items() if name not in _NODATA}


def array_scene(scene: Any) -> ArrayScene:
    """An array as a scene that is read by window."""
    array = as_scene(scene)
    image, valid = lazy_parts(array)
    name = array.attrs.get("scene") or array.name or "array"
    acquired = array.attrs.get("acquired")
    return ArrayScene(image, valid, geobox_of(array), str(name), acquired, _band_names(array))


def _band_names(array: xr.DataArray) -> tuple[str, ...]:
    """What an array calls its bands: by their coordinate, as from a STAC catalog, or as rioxarray tells."""
    bands = array.coords["band"].values.tolist() if "band" in array.coords else []
    if all(isinstance(band, str) for band in bands):
        return tuple(bands)
    names = array.attrs.get("long_name")
    # These are of the file's bands, and stay so where an array holds some of them, in any order.
    if not isinstance(names, list | tuple) or not {*bands} <= {*range(1, len(names) + 1)}:
        return ()
    return tuple(str(names[band - 1]) for band in bands)


def _chunk_sides(chunks: Any) -> tuple[int, int]:
    """One number for both axes, or two."""
    sides = tuple(chunks) if isinstance(chunks, (tuple, list, np.ndarray)) else (chunks, chunks)
    if len(sides) != 2 or not all(isinstance(side, Integral) for side in sides):
        raise InputError(f"chunks must be a whole number of pixels, or two, got {chunks!r}.")
    if min(sides) < 1:
        raise InputError(f"chunks must be at least 1 pixel, got {chunks}.")
    return int(sides[0]), int(sides[1])


def two_dimensional(array: Any) -> xr.DataArray:
    """An array of masks, labels or heights as ("y", "x").

    Raises
    ------
    InputError
        More than two dimensions hold anything.
    """
    array = _native(array if isinstance(array, xr.DataArray) else xr.DataArray(array))
    # A mask that rioxarray has read comes with a band of one.
    if array.ndim > 2 and sum(size > 1 for size in array.shape) <= 2:
        array = oriented(array)
        array = array.squeeze([dim for dim in array.dims if dim not in ("y", "x")], drop=True)
    if array.ndim != 2:
        raise InputError(
            f"mask must have 2 dimensions, got shape {array.shape}. Choose one of each other dimension, such "
            f"as array.isel({array.dims[0]}=0)."
        )
    return oriented(array)


def as_dask(data: Any) -> da.Array:
    """The data of an array as a dask array; a NumPy array is one chunk."""
    return data if isinstance(data, da.Array) else da.from_array(np.asarray(data), chunks=(-1,) * data.ndim)
