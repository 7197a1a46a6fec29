"""A small picture of a scene of any size, from its overviews where it has some."""

from __future__ import annotations

from typing import Any

import numpy as np
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoseg.geo.windows import Window
from geoseg.io.gdal_env import raster_env
from geoseg.io.handles import thread_dataset
from geoseg.io.names import is_remote
from geoseg.io.scene import Scene
from geoseg.io.validity import valid_from_values
from geoseg.raster.source import RasterSource, SceneReadError
from geoseg.raster.view import SceneView
from geoseg.typing import Array, BoolArray

__all__ = ["preview_shape", "read_preview"]


def preview_shape(height: int, width: int, longest: int) -> tuple[int, int]:
    """The shape of a raster shrunk so that its longer side has ``longest`` pixels; never enlarged.

    Examples
    --------
    >>> preview_shape(8704, 11264, 1000), preview_shape(3, 1000, 10), preview_shape(5, 4, 10)
    ((773, 1000), (1, 10), (5, 4))
    """
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def read_preview(scene: RasterSource, longest: int) -> tuple[Array, BoolArray]:
    """Read the whole scene shrunk to at most ``longest`` pixels a side.

    Pixels are averages, of the nearest overview where the file has overviews; without any, the file
    is read once from end to end, in memory that does not grow with it.

    Parameters
    ----------
    scene
        Any source.
    longest
        Pixels of the longer side.

    Returns
    -------
    values : array (C, h, w)
        In the scene's dtype.
    valid : bool array (h, w)

    Raises
    ------
    SceneReadError
        The file is broken.
    """
    shape = preview_shape(scene.height, scene.width, longest)
    # Only a file of its own has overviews to offer; a view of it may be turned, cut or stretched.
    if not isinstance(scene, Scene):
        small = SceneView(scene, scene.geobox.scaled(*shape), shape)
        return small.read_with_valid(Window.whole(shape))
    try:
        with raster_env(is_remote(scene.path)):
            return _decode(scene, thread_dataset(scene.path), shape)
    except RasterioError as error:
        raise SceneReadError(f"cannot read {scene.path}: {error}", scene.path) from error


def _decode(scene: Scene, dataset: Any, shape: tuple[int, int]) -> tuple[Array, BoolArray]:
    if scene.palette is not None:
        # Indices have no mean: the nearest pixel is taken, and then its color.
        table = np.frombuffer(scene.palette, np.uint8).reshape(-1, 4)
        index = dataset.read(1, out_shape=shape, resampling=Resampling.nearest)
        colors = table[np.minimum(index, len(table) - 1)]
        values = np.moveaxis(colors[..., [band - 1 for band in scene.bands]], -1, 0)
        return values, (colors[..., 3] != 0) & valid_from_values(index[None], scene.rule)
    # The mean of a nodata value and data would be neither: where values tell what is valid, they are picked.
    kind = Resampling.nearest if scene.rule.uses_values else Resampling.average
    values = dataset.read(list(scene.bands), out_shape=(scene.count, *shape), resampling=kind)
    valid = np.ones(shape, bool)
    if scene.rule.mask:
        masks = dataset.read_masks(list(scene.rule.mask), out_shape=(len(scene.rule.mask), *shape))
        valid = (masks != 0).any(axis=0)
    elif scene.rule.alpha is not None:
        valid = dataset.read(scene.rule.alpha, out_shape=shape, resampling=Resampling.nearest) != 0
    if scene.rule.uses_values:
        valid &= valid_from_values(values, scene.rule)
    return values, valid
