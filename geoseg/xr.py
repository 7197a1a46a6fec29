"""The Python interface on xarray: open, predict, split, polygonize."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

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
from geoseg.lazy.forms import (
    array_scene,
    as_scene,
    hidden_objects,
    lazy_parts,
    lazy_plane,
    lazy_scene,
    two_dimensional,
    without_nodata,
)
from geoseg.lazy.labels import split_masks as _split_masks
from geoseg.lazy.place import geobox_of, placed
from geoseg.lazy.polygonize import outlines_of
from geoseg.lazy.predict import OneAtATime, count_classes, stitch
from geoseg.lazy.split import split_by_height
from geoseg.raster.split import SplitRule
from geoseg.raster.stretch import StretchedScene, stretch_pixels
from geoseg.typing import Array, Connectivity, PathLike
from geoseg.vector.geometry import object_geometries

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["open_scene", "polygonize", "predict", "split_masks"]


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
        # Refused and not passed over: the array would look as if it had been cut or resampled.
        if any(value is not None for value in (bands, resolution, bbox, gsd)):
            raise InputError(
                "bands, resolution, bbox and gsd are for files; select them on the DataArray itself, "
                'and state attrs["gsd"].'
            )
        return as_scene(path, chunks)
    return lazy_scene(open_raster(path, bands=bands, resolution=resolution, bbox=bbox, gsd=gsd), chunks)


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
        # What a torch module gives is given: whoever works with arrays may want logits.
        activation="none",
    )
    chosen = resolve(given, {} if predictor.card is None else predictor.card.options.suggested())
    # A file is read as the model wants it; an array is what it is, and only looked at.
    if isinstance(scene, (str, os.PathLike)):
        source, notes = open_for_model(scene, predictor, given, chosen)
        array = lazy_scene(source)
        image, valid = lazy_parts(array)
    else:
        array = as_scene(scene)
        image, valid = lazy_parts(array)
        whole = array_scene(array)
        concerns = check_array("the array", geobox_of(array), predictor, given, whole.called)
        source, notes = stretched(whole, predictor, chosen)
        notes = concerns + notes
        # The limits are those of a run; the pixels stay lazy.
        if isinstance(source, StretchedScene):
            image = image.rechunk({0: -1}).map_blocks(stretch_pixels, source.limits, dtype=np.uint8)
    warn_user(notes)
    notes += check_bands(predictor, image.shape[0], str(image.dtype))
    # Not an option: an array has chunks of its own, which the graph reads whatever the blocks are.
    plan = plan_blocks(
        image.shape[1:], window=chosen.window, overlap=chosen.overlap, chunk=1536, blend=chosen.blend
    )
    # dask computes chunks in many threads, and a network takes all CPUs for itself already.
    call = OneAtATime(predictor)
    fill = predictor.fill_values()
    names, first = predictor.classes, None
    # The number of outputs is part of the array's shape, which has to be known before anything is computed.
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
        (H, W) DataArray, numpy or dask array; nonzero = object, equal nonzero values connect. Pixels without
        data (a stated nodata value, the coordinate ``valid``) are no object, see the notes.
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

    A nodata value counts where it is stated (``attrs["_FillValue"]``) in the array's own dtype, as readers of
    files do, or is negative; a plain Python number also of arrays of 8 bits or floats. One that was inherited
    from an array of another dtype does not. If a mask in memory has no object but for such pixels, a warning
    says so.

    Examples
    --------
    >>> split_masks(np.array([[1, 0, 1], [1, 0, 0]], np.uint8)).values.tolist()
    [[1, 0, 2], [1, 0, 0]]
    """
    from geoseg.pipeline.opening import Concern, warn_user

    array = two_dimensional(mask)
    # A lazy mask is not computed for a warning.
    if array.chunks is None and (concern := hidden_objects(array)):
        warn_user([Concern(concern)])
    if height is None:
        labels = _split_masks(lazy_plane(array), connectivity)
    else:
        if not 0 < persistence <= 1:
            raise InputError(f"persistence must be above 0 and at most 1, got {persistence}.")
        rule = SplitRule.on(persistence, geobox_of(array).ground_resolution())
        labels = split_by_height(lazy_plane(array), lazy_plane(two_dimensional(height)), rule, connectivity)
    # Without the coordinate "valid": a label says that a pixel holds data.
    coords = {
        str(name): coord
        for name, coord in array.coords.items()
        if set(coord.dims) <= {"y", "x"} and name != "valid"
    }
    return xr.DataArray(
        labels, dims=("y", "x"), coords=coords, name="labels", attrs=without_nodata(array.attrs)
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
        Labels (integers of more than 8 bits): one row an id. Pixels without data (a stated nodata value, as
        the notes of :func:`split_masks` say, or the coordinate ``valid``) are no object.
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

    from geoseg.cpus import usable_cpus
    from geoseg.pipeline.opening import Concern, warn_user
    from geoseg.pipeline.steps import Batch, Ground, Steps

    array = two_dimensional(mask_or_labels)
    box = geobox_of(array)
    box = replace(
        box,
        transform=box.transform if transform is None else transform,
        crs=box.crs if crs is None else CRS.from_user_input(crs),
    )
    # The steps of a run, all at once: here every object is in memory anyway.
    steps = Steps(**dict(parse_run_settings(settings, caller="polygonize")))
    outlines = outlines_of(
        lazy_plane(array), connectivity=connectivity, values=values, groups=steps.moves_walls
    )
    # A lazy array that has a coordinate of validity is no file that states a value by habit, and often the
    # work of a network: it is not computed again for a warning.
    looked = array.chunks is None or "valid" not in array.coords
    if not len(outlines) and looked and (concern := hidden_objects(array, values)):
        warn_user([Concern(concern)])
    # Masks and class maps have 8 bits; who numbers objects needs more.
    labels = np.dtype(array.dtype).itemsize > 1
    columns: dict[str, Array] = {}
    if steps.names:
        batch = steps.all_at_once(Batch(outlines, Ground(box)), usable_cpus())
        outlines, columns = batch.outlines, batch.columns
    # In pixels first: of plain pixel coordinates nothing is multiplied, and whole numbers stay whole.
    geometry = object_geometries(outlines)
    if box.transform != Affine.identity():
        a, b, c, d, e, f = box.transform[:6]
        geometry = shapely.transform(geometry, lambda xy: xy @ np.array([[a, d], [b, e]]) + np.array([c, f]))
    value = outlines.value.astype(np.int64)
    data = {"id": value if labels else np.arange(1, len(outlines) + 1), "value": value, **columns}
    return gpd.GeoDataFrame(data, geometry=list(geometry), crs=box.crs)
