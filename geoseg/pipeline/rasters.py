"""Stored probabilities as cloud-optimized GeoTIFFs: the probabilities themselves, or the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.cog import write_cog
from geoseg.raster.classes import classify
from geoseg.raster.stitch import INVALID, SCALE
from geoseg.typing import Array, Progress, no_progress

__all__ = ["save_mask", "save_prob"]

ReadStored = Callable[[Window], Array]


def save_prob(
    path: Path,
    read: ReadStored,
    geobox: GeoBox,
    classes: tuple[str, ...],
    *,
    dtype: str = "uint8",
    tags: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write one band a class: uint8 with scale 1/254 and nodata 255, or float32 with nodata NaN."""
    # With its scale in the file, GIS programs show the bytes as probabilities.
    as_float = dtype == "float32"
    write_cog(
        path,
        read,
        geobox,
        dtype=dtype,
        count=len(classes),
        nodata=float("nan") if as_float else INVALID,
        scale=None if as_float else 1 / SCALE,
        descriptions=classes,
        tags=tags,
        progress=progress,
    )


def save_mask(
    path: Path,
    read: ReadStored,
    geobox: GeoBox,
    object_classes: tuple[str, ...],
    *,
    background: int | None,
    thresholds: tuple[float, ...] | None,
    tags: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write one uint8 band: 0 = no object, k = the k-th object class, 255 = no data."""

    def pixels(window: Window) -> Array:
        # Classified once more from the store, chunk by chunk: kept in memory, the mask would be as large as
        # the scene.
        classes = classify(read(window), background=background, thresholds=thresholds)
        return np.where(classes.invalid, np.uint8(INVALID), classes.values)[None]

    write_cog(
        path,
        pixels,
        geobox,
        dtype="uint8",
        count=1,
        nodata=INVALID,
        descriptions=(" / ".join(object_classes),),
        # In tags too: one band has one description, and tells of several classes only for people.
        tags={f"class_{k}": name for k, name in enumerate(object_classes, 1)} | dict(tags or {}),
        progress=progress,
    )
