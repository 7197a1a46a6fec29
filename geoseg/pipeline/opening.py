"""A scene as a model wants to see it: its bands, its ground sampling distance."""

from __future__ import annotations

import math
import sys
import warnings

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.io.sources import open_raster
from geoseg.raster.source import RasterSource
from geoseg.typing import PathLike

__all__ = ["check_array", "open_for_model"]

#: Part by which pixels may be larger or smaller than a model's before there is a warning.
_OFF = 0.1


def open_for_model(
    path: PathLike, channels: int | None, given: RunSettings, chosen: RunSettings
) -> RasterSource:
    """Open a file as a model wants to see it.

    Parameters
    ----------
    path
        The file.
    channels
        Number of bands that the model takes: of a file with more the first ones are read, so that red,
        green, blue come before near infrared. None: any number.
    given
        Settings of the user, who hears where the resolution can't be measured for want of a CRS or ``gsd``;
        a model that wants one reads such a scene as it is stored.
    chosen
        The same with what the model's card suggests. A file within 1 % of the resolution is read as stored.
    """
    bands, gsd = given.bands, given.gsd
    stored = open_raster(path, bands=bands, gsd=gsd)
    if bands is None and channels is not None and stored.count > channels:
        bands = tuple(range(1, channels + 1))
    measurable = stored.geobox.ground_resolution() is not None or isinstance(given.resolution, float)
    resolution = chosen.resolution if measurable else None
    return open_raster(path, bands=bands, resolution=resolution, bbox=given.bbox, gsd=gsd)


def check_array(geobox: GeoBox, given: RunSettings, chosen: RunSettings) -> None:
    """Warn where an array's pixels are more than 10 % larger or smaller than what a model is made for.

    Parameters
    ----------
    geobox
        Of the array.
    given, chosen
        As for :func:`open_for_model`.

    Raises
    ------
    InputError
        A setting that only the opening of a file can follow.
    """
    files_only = (given.bands, given.bbox, given.gsd)
    if isinstance(given.resolution, float) or any(value is not None for value in files_only):
        raise InputError(
            "bands, resolution, bbox and gsd are for files; select them on the array itself, and give it a "
            'CRS, or meters per pixel as attrs["gsd"] of a DataArray.'
        )
    gsd = chosen.resolution if isinstance(chosen.resolution, float) else None
    step = None if gsd is None else geobox.ground_resolution()
    if gsd is None or step is None or all(abs(side / gsd - 1) <= _OFF for side in step):
        return
    size = math.sqrt(step[0] * step[1])
    warnings.warn(
        f"the array has {size:.3g} m a pixel, the model is made for {gsd:.3g} m: expect poor results. Open "
        f"the file with geoseg.open_scene(path, resolution={gsd:.3g}), or pass its path.",
        stacklevel=_outside(),
    )


def _outside() -> int:
    """Of a warning: the ``stacklevel`` of the first caller that is not part of the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("geoseg."):
        level, frame = level + 1, frame.f_back
    return level
