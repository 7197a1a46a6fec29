"""Small rasters for tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

NORTH_UP = Affine(0.5, 0, 340_000, 0, -0.5, 3_060_000)


def noise(count: int, height: int, width: int, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, (count, height, width)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (count, height, width), endpoint=True, dtype=dtype)


def save(
    path: Path,
    pixels: NDArray[Any],
    *,
    crs: Any = 32645,
    transform: Affine | None = NORTH_UP,
    mask: NDArray[Any] | None = None,
    colorinterp: list[Any] | None = None,
    colormap: dict[int, tuple[int, ...]] | None = None,
    tags: dict[str, str] | None = None,
    driver: str = "GTiff",
    **options: Any,
) -> Path:
    """Write (C, H, W) with whatever a test needs."""
    count, height, width = pixels.shape
    profile = {"driver": driver, "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    if crs is not None:
        profile["crs"] = rasterio.CRS.from_user_input(crs)
    if transform is not None:
        profile["transform"] = transform
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=options.pop("internal_mask", True)):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile, **options) as target:
            if colorinterp is not None:
                target.colorinterp = colorinterp
            if colormap is not None:
                target.write_colormap(1, colormap)
            if tags is not None:
                target.update_tags(**tags)
            target.write(pixels)
            if mask is not None:
                target.write_mask(mask)
    return path
