"""A scene shrunk for looking at: windows at a half, a quarter, ... and a file of the coarse levels.

What is shown of a scene of 50,000 x 50,000 pixels as a whole can't be read anew each time somebody zooms out.
Where the file has no overviews of its own, one of an eighth of the size is made once, elsewhere: the user's
file is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import RunError
from geoseg.files import Staged, stop_if_full
from geoseg.geo.windows import Window
from geoseg.io.gdal_env import open_dataset, raster_env
from geoseg.io.handles import thread_dataset
from geoseg.io.scene import Scene
from geoseg.raster.source import PixelSource
from geoseg.raster.stretch import Limits, sample_values, stretch_limits, stretch_pixels
from geoseg.typing import Array, BoolArray, Progress, no_progress

__all__ = [
    "SHRINK",
    "Look",
    "has_overviews",
    "read_pyramid",
    "read_shrunk",
    "shown_bands",
    "shrink",
    "write_pyramid",
]

#: Of the finest level in the file. Below it, what a picture of 512 pixels shows is read in half a second.
SHRINK = 8
#: Pixels of the scene that are read at once, a side.
_STEP = 4096


@dataclass(frozen=True)
class Look:
    """How a scene's pixels become a picture.

    Attributes
    ----------
    bands
        0-based channels that are shown: three, or one.
    limits
        Values of each that become 0 and 255; None of eight bits.
    """

    bands: tuple[int, ...]
    limits: tuple[Limits, ...] | None


def shown_bands(source: PixelSource) -> Look:
    """The first three channels, or the first of fewer; wider pixels from the 2nd to the 98th percentile."""
    # The first three, as a network reads them: what a person judges is what it saw.
    bands = (0, 1, 2) if source.count >= 3 else (0,)
    if source.dtype == "uint8":
        return Look(bands, None)
    # Of the whole scene, once: parts stretched one by one would not fit together.
    limits = stretch_limits(sample_values(source), "P2", "P98")
    return Look(bands, tuple(limits[band] for band in bands))


class _StoppedError(Exception):
    """Ends the work in the middle; what was written is removed."""


def has_overviews(source: PixelSource, factor: int) -> bool:
    """Whether a file has overviews that make reading it ``factor`` times smaller quick."""
    if not isinstance(source, Scene) or source.palette is not None:
        return False
    return factor > 1 and 2 * max(source.facts()["overviews"], default=0) >= factor


def read_shrunk(
    source: PixelSource, window: Window, factor: int, bands: Sequence[int], limits: Sequence[Limits] | None
) -> tuple[Array, BoolArray]:
    """A window, ``factor`` times smaller, in eight bits.

    Parameters
    ----------
    source
        Any source.
    window
        Inside the scene; ends at multiples of ``factor``, or at the scene's edge.
    factor
        A power of two.
    bands
        0-based channels to be shown.
    limits
        Values of each channel shown that become 0 and 255; None where they have eight bits.

    Returns
    -------
    pixels : uint8 array (C, h, w)
        Means of the valid pixels.
    valid : bool array (h, w)
        Where any pixel is.
    """
    shape = -(-window.height // factor), -(-window.width // factor)
    # The file's own overviews first, which cost a read of a tile; a mean of the full resolution costs all
    # pixels under it.
    if factor > 1 and isinstance(source, Scene) and has_overviews(source, factor):
        return _read_overview(source, window, shape, bands, limits)
    pixels, valid = source.read_with_valid(window)
    pixels = pixels[list(bands)]
    if limits is not None:
        pixels = stretch_pixels(pixels, limits)
    if factor == 1:
        return pixels, valid
    return shrink(pixels, valid, factor)


def shrink(pixels: Array, valid: BoolArray, factor: int) -> tuple[Array, BoolArray]:
    """A picture ``factor`` times smaller: means of the valid pixels, and where any is valid.

    Parameters
    ----------
    pixels : (C, h, w) uint8
    valid : (h, w) bool
    factor
        A whole number; rows and columns beyond the edge count as invalid.

    Examples
    --------
    >>> shrink(np.array([[[2, 4, 9]]], np.uint8), np.array([[True, True, False]]), 2)
    (array([[[3, 0]]], dtype=uint8), array([[ True, False]]))
    """
    shape = -(-valid.shape[0] // factor), -(-valid.shape[1] // factor)
    pad = [(0, side * factor - length) for side, length in zip(shape, valid.shape)]
    parts = shape[0], factor, shape[1], factor
    # Means of the valid pixels alone: nodata would darken the edge of the imagery at every level.
    counted = np.pad(valid, pad).reshape(parts).sum(axis=(1, 3), dtype=np.uint32)
    out = np.empty((len(pixels), *shape), np.uint8)
    for channel, values in enumerate(pixels):
        kept = values if valid.all() else np.where(valid, values, 0)
        sums = np.pad(kept, pad).reshape(parts).sum(axis=(1, 3), dtype=np.uint32)
        out[channel] = sums // np.maximum(counted, 1)
    return out, counted > 0


def _read_overview(
    scene: Scene,
    window: Window,
    shape: tuple[int, int],
    bands: Sequence[int],
    limits: Sequence[Limits] | None,
) -> tuple[Array, BoolArray]:
    place = RasterioWindow(window.col_off, window.row_off, window.width, window.height)
    indexes = [scene.bands[band] for band in bands]
    try:
        with raster_env():
            dataset = thread_dataset(scene.path)
            pixels = dataset.read(indexes, window=place, out_shape=(len(indexes), *shape))
            valid = dataset.dataset_mask(window=place, out_shape=shape) != 0
    except (RasterioError, CPLE_BaseError) as error:
        raise RunError(f"cannot read {scene.path}: {' '.join(str(error).split())}.") from None
    return (pixels if limits is None else stretch_pixels(pixels, limits)), valid


def write_pyramid(
    source: PixelSource,
    path: Path,
    bands: Sequence[int],
    limits: Sequence[Limits] | None,
    *,
    progress: Progress = no_progress,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Write a scene at an eighth of its size and at each half of that, in eight bits with an alpha band.

    Memory does not depend on the scene. What can't be read of it stays empty.

    Returns
    -------
    bool
        False where it was stopped, and then there is no file.

    Raises
    ------
    RunError
        The file can't be written.
    """
    height, width = source.geobox.shape
    rows, columns = -(-height // SHRINK), -(-width // SHRINK)
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": rows, "width": columns, "count": len(bands) + 1, "dtype": "uint8",
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1,
        "BIGTIFF": "IF_SAFER", "photometric": "RGB" if len(bands) == 3 else "MINISBLACK", "ALPHA": "YES",
        # in pixels of the scene; without any, GDAL warns
        "transform": Affine.scale(SHRINK),
    }  # fmt: skip
    with suppress(_StoppedError), Staged.file(path) as staged:
        try:
            with raster_env(), rasterio.open(staged.path, "w", **profile) as out:
                for row in range(0, height, _STEP):
                    for col in range(0, width, _STEP):
                        if stopped():
                            raise _StoppedError
                        window = Window(row_off=row, col_off=col, height=_STEP, width=_STEP)
                        window = window.clipped(height, width)
                        pixels, valid = read_shrunk(source, window, SHRINK, bands, limits)
                        place = RasterioWindow(col // SHRINK, row // SHRINK, pixels.shape[2], pixels.shape[1])
                        out.write(np.concatenate([pixels, valid[None] * np.uint8(255)]), window=place)
                    progress("pyramid", min(row + _STEP, height), height)
                factors = [2**k for k in range(1, 12) if max(rows, columns) > 256 * 2**k]
                if factors:
                    out.build_overviews(factors, Resampling.average)
        except (RasterioError, CPLE_BaseError) as error:
            stop_if_full(error, path.parent)
            raise RunError(f"cannot write {path}: {' '.join(str(error).split())}.") from error
        staged.commit()
        return True
    return False


def read_pyramid(path: Path, window: Window, factor: int) -> tuple[Array, BoolArray]:
    """A window of the scene, ``factor`` times smaller (8 or more), from the file of :func:`write_pyramid`.

    Parameters
    ----------
    path
        The file.
    window
        In pixels of the scene.
    factor
        A power of two.
    """
    shape = -(-window.height // factor), -(-window.width // factor)
    with raster_env(), open_dataset(path) as dataset:
        place = RasterioWindow(
            window.col_off // SHRINK,
            window.row_off // SHRINK,
            -(-window.width // SHRINK),
            -(-window.height // SHRINK),
        )
        values = dataset.read(window=place, out_shape=(dataset.count, *shape), resampling=Resampling.average)
    return values[:-1], values[-1] > 0
