"""The Python interface on xarray: open, predict, split, polygonize."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Unpack

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
from affine import Affine
from pyproj import CRS

from geoseg.config.keywords import PolygonizeKeywords, PredictKeywords
from geoseg.config.resolve import parse_run_settings, resolve
from geoseg.config.signature import takes_settings
from geoseg.errors import InputError
from geoseg.geo.blocks import plan_blocks
from geoseg.io.sources import open_raster
from geoseg.io.validity import check_dtype, decide_validity, valid_from_values
from geoseg.lazy.labels import split_masks as _split_masks
from geoseg.lazy.place import geobox_of, oriented, placed
from geoseg.lazy.polygonize import outlines_of
from geoseg.lazy.predict import OneAtATime, count_classes, stitch
from geoseg.lazy.scene import ArrayScene, scene_arrays
from geoseg.lazy.split import split_by_height
from geoseg.raster.source import RasterSource
from geoseg.raster.split import SplitRule
from geoseg.raster.stretch import StretchedScene, stretch_pixels
from geoseg.typing import Array, Connectivity, PathLike
from geoseg.vector.geometry import object_geometries

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["array_scene", "open_scene", "polygonize", "predict", "split_masks"]

_CHUNK = 2048


def open_scene(
    path: PathLike | xr.DataArray,
    *,
    bands: Sequence[int] | None = None,
    chunks: int | tuple[int, int] | None = None,
    resolution: float | str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    gsd: float | None = None,
) -> xr.DataArray:
    """Open a scene of any size as a lazy array.

    Parameters
    ----------
    path
        Anything rasterio opens (JPEG and PNG without georeferencing too), or a DataArray of two or three
        dimensions, which is brought into the same form.
    bands
        1-based bands; None: all that hold data.
    chunks
        Pixels of a chunk, one number or (height, width); None: about 2048, a multiple of the file's blocks.
    resolution
        Ground meters per pixel to read at; None or ``native``: as stored, and so is a file within 1 % of it.
    bbox
        (min x, min y, max x, max y) in the scene's CRS, or in pixels where it has none.
    gsd
        Ground meters per pixel of a scene without a CRS, where they are known; kept as ``attrs["gsd"]``,
        meters per unit of x and y.

    Returns
    -------
    DataArray ("band", "y", "x")
        Dask-backed, in the scene's dtype, with CRS and transform (``.rio``). Where pixels may lack data it
        has a lazy coordinate ``valid`` ("y", "x"), True = data.

    Raises
    ------
    SceneError
        The file is not a raster, or lacks what was asked of it.

    Examples
    --------
    >>> array = open_scene(xr.DataArray(np.zeros((4, 6), np.uint8), dims=("y", "x")))
    >>> array.dims, array.shape
    (('band', 'y', 'x'), (1, 4, 6))
    """
    if isinstance(path, xr.DataArray):
        if any(value is not None for value in (bands, resolution, bbox, gsd)):
            raise InputError(
                "bands, resolution, bbox and gsd are for files; select them on the DataArray itself, "
                'and state attrs["gsd"].'
            )
        return _conform(path, chunks)
    return _lazy_scene(open_raster(path, bands=bands, resolution=resolution, bbox=bbox, gsd=gsd), chunks)


def _lazy_scene(scene: RasterSource, chunks: int | tuple[int, int] | None = None) -> xr.DataArray:
    if chunks is None:
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


@takes_settings("array")
def predict(
    scene: xr.DataArray | PathLike | Any, model: Any = None, **settings: Unpack[PredictKeywords]
) -> xr.DataArray:
    """Stitched predictions of a whole scene, lazily.

    Parameters
    ----------
    scene
        A file, read as by :func:`geoseg.segment` and ``geoseg run``: at the ground sampling distance of the
        model's card, and only the first bands where the model takes fewer. Or a DataArray of
        :func:`open_scene`, or any array (H, W) or (C, H, W), as it is; a warning says where it is more than
        10 % off that ground sampling distance.
    model
        A bundle of :func:`geoseg.load_model` or its path (gives probabilities), a torch module (gives what it
        gives, usually logits), or any callable from a float32 array (N, C, h, w) to (N, K, h, w). None: the
        building network that ships.
    **settings
        Listed below. None: as the model's card says, else the default.

    Returns
    -------
    DataArray ("class", "y", "x") float32
        Lazy, on the pixels that were read; NaN where there is no data. Each window runs once, whatever the
        chunks. What the user should know of the scene, such as how wide values were stretched, is listed in
        ``attrs["notes"]``; the percentiles of a stretch are read from the scene when this is called.

    Raises
    ------
    InputError
        An overlap that is not smaller than its window, or bands that do not fit the model.
    """
    from geoseg.models import as_predictor, check_bands
    from geoseg.pipeline.opening import check_array, open_for_model, warn_user
    from geoseg.pipeline.values import stretched

    given = parse_run_settings(settings, caller="array")
    predictor = as_predictor(
        model,
        device=given.device,
        engine=given.engine,
        test_time=given.given().get("test_time"),
        activation="none",
    )
    chosen = resolve(given, {} if predictor.card is None else predictor.card.options.suggested())
    if isinstance(scene, (str, os.PathLike)):
        source, notes = open_for_model(scene, predictor, given, chosen)
        array = _lazy_scene(source)
        image, valid = _lazy_parts(array)
    else:
        array = _conform(_from_any(scene), None)
        concerns = check_array("the array", geobox_of(array), predictor, given)
        image, valid = _lazy_parts(array)
        source, notes = stretched(array_scene(array), predictor, chosen)
        notes = concerns + notes
        if isinstance(source, StretchedScene):
            image = image.rechunk({0: -1}).map_blocks(stretch_pixels, source.limits, dtype=np.uint8)
    warn_user(notes)
    notes += check_bands(predictor, image.shape[0], str(image.dtype))
    plan = plan_blocks(
        image.shape[1:], window=chosen.window, overlap=chosen.overlap, chunk=1536, blend=chosen.blend
    )
    call = OneAtATime(predictor)
    fill = predictor.fill_values()
    names, first = predictor.classes, None
    if not names:
        count, first = count_classes(image, valid, plan, call, fill)
        names = tuple(f"class_{k + 1}" for k in range(count))
    out = stitch(
        image,
        valid,
        plan,
        call,
        classes=len(names),
        batch_size=chosen.batch_size or predictor.batch_size_default(chosen.window),
        fill=fill,
        first=first,
    )
    result = placed(out, ("class", "y", "x"), geobox_of(array), "prob")
    if notes:
        result.attrs["notes"] = notes
    return result.assign_coords({"class": list(names)})


def split_masks(
    mask: xr.DataArray | Any,
    connectivity: Connectivity = 8,
    *,
    height: xr.DataArray | Any | None = None,
    persistence: float = 0.25,
) -> xr.DataArray:
    """Number the objects of a mask, exact across chunks.

    Without a height field, objects are connected components. With one, the probability, touching objects are
    taken apart: pixels climb to the summits of its smoothed log-odds, and two summits are two objects where
    both rise by more than the persistence above the highest saddle between them.

    Parameters
    ----------
    mask
        (H, W) DataArray, numpy or dask array; nonzero = object, equal nonzero values connect.
    connectivity
        Whether pixels that touch at a corner belong together (8) or not (4).
    height
        (H, W), floats from 0 to 1 or uint8 from 0 to 254 (NaN counts as 0); None: nothing is taken apart.
    persistence
        Above 0 and at most 1: 1 is the step of log-odds from probability 0.1 to 0.998; the default parts 0.97
        from 0.97 where it falls to 0.8 between them.

    Returns
    -------
    DataArray ("y", "x") int32
        Lazy; 0 = no object, ids contiguous from 1 in raster order of each object's first pixel.

    Raises
    ------
    InputError
        A height that does not fit the mask, or an impossible connectivity or persistence.

    Notes
    -----
    Heights are smoothed over 0.45 m, and parts of less than 6 m2 stay with their neighbor. Pixels of a mask
    without a CRS count as 0.3 m.

    Examples
    --------
    >>> split_masks(np.array([[1, 0, 1], [1, 0, 0]], np.uint8)).values.tolist()
    [[1, 0, 2], [1, 0, 0]]
    """
    array = _two_dimensional(mask)
    if height is None:
        labels = _split_masks(_as_dask(array.data), connectivity)
    else:
        if not 0 < persistence <= 1:
            raise InputError(f"persistence must be above 0 and at most 1, got {persistence}.")
        rule = SplitRule.on(persistence, geobox_of(array).ground_resolution())
        labels = split_by_height(
            _as_dask(array.data), _as_dask(_two_dimensional(height).data), rule, connectivity
        )
    return xr.DataArray(
        labels, dims=("y", "x"), coords=_plane_coords(array), name="labels", attrs=array.attrs
    )


@takes_settings("polygonize")
def polygonize(
    mask_or_labels: xr.DataArray | Any,
    *,
    transform: Affine | None = None,
    crs: Any = None,
    connectivity: Connectivity = 8,
    values: Sequence[int] | None = None,
    **settings: Unpack[PolygonizeKeywords],
) -> gpd.GeoDataFrame:
    """Outlines of objects as valid polygons with holes, exact across chunks.

    Parameters
    ----------
    mask_or_labels
        (H, W) DataArray, numpy or dask array. A mask (bool, or a class map of 8 bits): one row an object.
        Labels (integers of more than 8 bits): one row an id.
    transform, crs
        From (column, row) of pixel corners to the CRS; None: those of the DataArray, else plain pixel
        coordinates, y down.
    connectivity
        As in :func:`split_masks`.
    values
        Only these values (classes of a class map, ids of labels); None: all but 0.
    **settings
        What is done to the outlines, listed below. Objects that touch go on sharing their walls: of labels
        ``shapely.coverage_is_valid`` holds.

    Returns
    -------
    GeoDataFrame
        Columns ``id``, ``value``, ``geometry`` and what the settings add, in raster order of each object's
        first pixel.

    Examples
    --------
    >>> frame = polygonize(np.array([[1, 1], [0, 1]], np.uint8))
    >>> frame.geometry[0].area
    3.0
    """
    import geopandas as gpd
    import shapely

    from geoseg.pipeline.steps import Batch, Ground, Steps

    array = _two_dimensional(mask_or_labels)
    box = geobox_of(array)
    box = replace(
        box,
        transform=box.transform if transform is None else transform,
        crs=box.crs if crs is None else CRS.from_user_input(crs),
    )
    steps = Steps(**dict(parse_run_settings(settings, caller="polygonize")))
    outlines = outlines_of(
        _as_dask(array.data), connectivity=connectivity, values=values, groups=steps.moves_walls
    )
    labels = np.dtype(array.dtype).itemsize > 1
    columns: dict[str, Array] = {}
    if steps.names:
        batch = steps.all_at_once(Batch.traced(outlines, Ground(box)))
        outlines, columns = batch.outlines, batch.columns
    geometry = object_geometries(outlines)
    if box.transform != Affine.identity():
        a, b, c, d, e, f = box.transform[:6]
        geometry = shapely.transform(geometry, lambda xy: xy @ np.array([[a, d], [b, e]]) + np.array([c, f]))
    value = outlines.value.astype(np.int64)
    data = {"id": value if labels else np.arange(1, len(outlines) + 1), "value": value, **columns}
    return gpd.GeoDataFrame(data, geometry=list(geometry), crs=box.crs)


def _conform(array: xr.DataArray, chunks: int | tuple[int, int] | None) -> xr.DataArray:
    """("band", "y", "x"), dask-backed."""
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
    if chunks is not None or array.chunks is None:
        height, width = _chunk_sides((_CHUNK, _CHUNK) if chunks is None else chunks)
        array = array.chunk({"band": -1, "y": height, "x": width})
    return array


def _native(array: xr.DataArray) -> xr.DataArray:
    """The same values in the byte order of this computer, which the kernels need."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _lazy_parts(array: xr.DataArray) -> tuple[da.Array, da.Array | None]:
    """Pixels and validity: from the coordinate ``valid``, else by the rule that a file's header gives."""
    image = _as_dask(array.data)
    if "valid" in array.coords:
        return image, _as_dask(array.coords["valid"].data)
    nodata = array.rio.nodata if array.rio.nodata is not None else array.attrs.get("_FillValue")
    stated = None if nodata is None else float(nodata)
    rule = decide_validity(dtype=str(image.dtype), nodata=[stated] * len(image), mask=(), alpha=None)
    if not rule.anything:
        return image, None
    together = image.rechunk({0: -1})
    return image, da.map_blocks(valid_from_values, together, rule, drop_axis=0, dtype=bool)


def array_scene(scene: Any) -> ArrayScene:
    """An array as a scene that is read by window."""
    array = _conform(_from_any(scene), None)
    image, valid = _lazy_parts(array)
    name = array.attrs.get("scene") or array.name or "array"
    return ArrayScene(image, valid, geobox_of(array), str(name), array.attrs.get("acquired"))


def _from_any(array: Any) -> xr.DataArray:
    if isinstance(array, xr.DataArray):
        return array
    if getattr(array, "ndim", 0) not in (2, 3):
        raise InputError(
            f"scene must be a file or an array of 2 or 3 dimensions, got {type(array).__name__}. "
            "Give a path, or a DataArray with x and y."
        )
    return xr.DataArray(array, dims=("band", "y", "x")[-array.ndim :])


def _chunk_sides(chunks: Any) -> tuple[int, int]:
    sides = _pair(chunks, "chunks")
    if min(sides) < 1:
        raise InputError(f"chunks must be at least 1 pixel, got {chunks}.")
    return sides


def _pair(value: Any, name: str) -> tuple[int, int]:
    """One number for both axes, or two."""
    values = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
    if len(values) != 2 or not all(isinstance(v, Integral) for v in values):
        raise InputError(f"{name} must be a whole number of pixels, or two, got {value!r}.")
    return int(values[0]), int(values[1])


def _two_dimensional(array: Any) -> xr.DataArray:
    """("y", "x")."""
    array = _native(array if isinstance(array, xr.DataArray) else xr.DataArray(array))
    if array.ndim > 2 and sum(size > 1 for size in array.shape) <= 2:
        array = oriented(array)
        array = array.squeeze([dim for dim in array.dims if dim not in ("y", "x")], drop=True)
    if array.ndim != 2:
        raise InputError(
            f"mask must have 2 dimensions, got shape {array.shape}. Choose one of each other dimension, such "
            f"as array.isel({array.dims[0]}=0)."
        )
    return oriented(array)


def _as_dask(data: Any) -> da.Array:
    return data if isinstance(data, da.Array) else da.from_array(np.asarray(data), chunks=(-1,) * data.ndim)


def _plane_coords(array: xr.DataArray) -> dict[str, Any]:
    return {
        str(name): coord
        for name, coord in array.coords.items()
        if set(coord.dims) <= {"y", "x"} and name != "valid"
    }
