"""What every importer hands over: classes, and images whose annotations are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from scipy import ndimage

from geoseg.errors import InputError
from geoseg.io.complete import check_complete
from geoseg.io.gdal_env import open_dataset, raster_env
from geoseg.projects.figures import Bitmap, ClassMeta, LabeledObject, color_of
from geoseg.typing import Array

__all__ = ["ImportContents", "ImportImage", "Shape2d", "plain_class", "read_band", "value_bitmaps"]

Shape2d = tuple[int, int]


@dataclass(frozen=True)
class ImportImage:
    """One image to take over.

    Attributes
    ----------
    dataset
        Data set it goes to.
    name
        File name it should have, not necessarily a safe one.
    path
        The file.
    read
        From the image's (height, width) to its objects, bottom first. May raise
        :class:`~geoseg.errors.InputError`.
    tags
        Tags of the image.
    """

    dataset: str
    name: str
    path: Path
    read: Callable[[Shape2d], list[LabeledObject]]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportContents:
    """All that an importer found.

    Attributes
    ----------
    classes
        In the order of the project.
    images
        In the order they are taken over.
    failures
        (image, reason) of images that can't be taken over.
    notes
        Other things left out, one line each.
    object_tags
        Tags that objects may carry.
    """

    classes: Sequence[ClassMeta]
    images: Sequence[ImportImage]
    failures: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    object_tags: Sequence[str] = ()


def plain_class(title: str, shape: str, color: tuple[int, int, int] | None = None) -> ClassMeta:
    """A class to declare; without a color it gets the one that always belongs to its name."""
    return ClassMeta(title, shape, color or color_of(title))


def read_band(path: Path, shape: Shape2d) -> Array:
    """The values of a label image, (H, W); palette indices stay indices.

    A label image of several equal bands has the values of the first.

    Parameters
    ----------
    path
        The label image.
    shape
        (H, W) of the image it labels.

    Raises
    ------
    InputError
        Its size is another, it is in colors, or it is damaged.
    """
    # Decoders fill what is missing of a file that is cut short, and zeros would pass for background.
    check_complete(path)
    with open_dataset(path) as dataset:
        if dataset.shape != shape:
            raise InputError(
                f"label image must be as large as its image of {shape[1]} x {shape[0]} pixels, "
                f"got {path} with {dataset.width} x {dataset.height}. Resize or remove it."
            )
        # An alpha band beside the values says where they count, and is no color.
        colors = [
            band for band, meaning in enumerate(dataset.colorinterp, 1) if meaning is not ColorInterp.alpha
        ]
        try:
            with raster_env():
                values: Array = dataset.read(1)
                # Gray pictures saved as RGB have three equal bands; colors have no class numbers.
                different = [band for band in colors[1:] if not np.array_equal(dataset.read(band), values)]
        except rasterio.errors.RasterioError as error:
            raise InputError(f"label image must be readable, got {path}: {error}. It is damaged.") from None
    if different:
        raise InputError(
            f"label image must have one value a pixel, got {path} in colors. Save class numbers as one band, "
            "or as a PNG with a palette."
        )
    return values


def value_bitmaps(values: Array) -> list[tuple[int, Bitmap]]:
    """One tight bitmap for each distinct nonzero value, in ascending order of values.

    Examples
    --------
    >>> [(v, b.origin, b.mask.shape) for v, b in value_bitmaps(np.array([[0, 7, 7], [3, 0, 7]]))]
    [(3, (0, 1), (1, 1)), (7, (1, 0), (2, 2))]
    >>> value_bitmaps(np.zeros((2, 2), np.uint8))
    []
    """
    # Numbered from 0, for values of a 16-bit image may be far apart, and find_objects makes a box for each
    # number.
    distinct, index = np.unique(values, return_inverse=True)
    index = index.reshape(values.shape).astype(np.int32)
    bitmaps = []
    for position, box in enumerate(ndimage.find_objects(index + 1)):
        if distinct[position]:
            rows, cols = box
            mask = index[rows, cols] == position
            bitmaps.append((int(distinct[position]), Bitmap((cols.start, rows.start), mask).compact()))
    return bitmaps
