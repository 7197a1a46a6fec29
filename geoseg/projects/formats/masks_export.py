"""Exporter to masks: ``DATASET/masks_machine`` holds class indices, ``DATASET/masks_human`` is to look at.

Machine masks count as training does: 0 is background (pixels without object, and the class ``bg``), the
other classes follow in the order of their titles from 1 on, and the class ``neutral`` is 255. They are drawn
in z-order. Masks of TIFF images are tiled GeoTIFFs with the image's georeference, written piece by piece; the
others are PNG. ``classes.json`` says what the values mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import DTypeLike
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import InputError
from geoseg.geo.windows import Window, iter_chunks
from geoseg.io.gdal_env import raster_env
from geoseg.projects.figures import Annotation, ProjectMeta
from geoseg.projects.formats.export import ExportItem, LeftOut, objects_in
from geoseg.projects.formats.transfer import write_json
from geoseg.projects.images import ImageFile
from geoseg.projects.preview import beside, preview_pixels
from geoseg.raster.draw import draw_figures
from geoseg.typing import Array

__all__ = ["BACKGROUND", "NEUTRAL", "MasksExporter", "class_values"]

#: Titles with a meaning of their own, as in training.
BACKGROUND, NEUTRAL = "bg", "neutral"

_NEUTRAL_VALUE = 255
#: Side of the pieces that are drawn at a time, pixels: a multiple of the blocks of a mask.
_CHUNK = 2048
#: Longest side of a picture to be looked at: a larger PNG takes viewers long to open.
_HUMAN_SIDE = 4096
#: Columns of green between the image and its masks, as in the tutorials' pictures.
_GREEN_BAR = 4


class MasksExporter:
    """Machine and human masks of every image."""

    def __init__(self, folder: Path, meta: ProjectMeta, *, machine: bool = True, human: bool = True) -> None:
        self.folder, self.machine, self.human = folder, machine, human
        self.left_out = LeftOut()
        self.values = class_values(meta)
        self.colors = {one.name: one.color for one in meta.classes}

    def add(self, entry: ExportItem) -> None:
        """Draw one image's masks."""
        folder = self.folder / entry.dataset
        if self.machine:
            # Piece by piece where the image itself can be read so; PNG has to be written from top to bottom.
            suffix = ".tif" if not entry.image.decodes_whole else ".png"
            self._machine(entry, _target(folder / "masks_machine", entry.item.stem + suffix))
        if self.human:
            self._human(entry, _target(folder / "masks_human", entry.item.stem + ".png"))

    def finish(self) -> None:
        """Say what the values mean."""
        classes = {n: {"value": v, "color": self.colors.get(n)} for n, v in self.values.items()}
        write_json(self.folder / "classes.json", classes)

    def _machine(self, entry: ExportItem, path: Path) -> None:
        height, width = entry.image.shape
        if path.suffix == ".png":
            whole = Window(row_off=0, col_off=0, height=height, width=width)
            Image.fromarray(_drawn(entry.annotation, self.values, whole)).save(path)
            return
        with raster_env(), _new_tiff(path, entry.image) as target:
            for window in iter_chunks(height, width, _CHUNK):
                drawn = _drawn(entry.annotation, self.values, window)
                bounds = (window.row_off, window.row_end), (window.col_off, window.col_end)
                target.write(drawn, 1, window=bounds)

    def _human(self, entry: ExportItem, path: Path) -> None:
        shown, step = _preview(entry.image)
        index = self._index(entry, shown.shape[1:], step)
        # 0 is no object, which stays the image as it is.
        palette = np.array([(0, 0, 0), *self.colors.values()], np.uint8)
        colors = np.moveaxis(palette[index], -1, 0)
        Image.fromarray(np.moveaxis(beside(shown, colors, index > 0, _GREEN_BAR), 0, -1)).save(path)

    def _index(self, entry: ExportItem, shape: tuple[int, int], step: int) -> Array:
        """Position of each pixel's class among the colors, 1-based; every ``step``-th pixel."""
        order = {name: index for index, name in enumerate(self.colors, 1)}
        index = np.zeros(shape, np.uint16)
        # A multiple of the step, or pieces would be sampled at other pixels than the whole.
        size = _CHUNK // step * step
        for window in iter_chunks(*entry.image.shape, size):
            drawn = _drawn(entry.annotation, order, window, np.uint16)[::step, ::step]
            top, left = window.row_off // step, window.col_off // step
            index[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
        return index


def _drawn(
    annotation: Annotation, values: Mapping[str, int], window: Window, dtype: DTypeLike = np.uint8
) -> Array:
    """A window with each object drawn as its class's value."""
    objects = objects_in(annotation, window)
    figures = [item.figure for item in objects]
    return draw_figures(figures, [values[item.class_name] for item in objects], window, dtype=dtype)


def _target(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if path.exists():
        raise InputError(f"masks must have names of their own, got two images {path.stem!r}. Rename one.")
    return path


def class_values(meta: ProjectMeta) -> dict[str, int]:
    """Value of each class in a machine mask.

    Raises
    ------
    InputError
        More than 254 classes.
    """
    titles = sorted({*meta.class_names} - {BACKGROUND, NEUTRAL})
    if len(titles) >= _NEUTRAL_VALUE:
        raise InputError(f"masks must have at most {_NEUTRAL_VALUE - 1} classes, got {len(titles)}.")
    values = {BACKGROUND: 0} | {title: value for value, title in enumerate(titles, 1)}
    return values | ({NEUTRAL: _NEUTRAL_VALUE} if NEUTRAL in meta.class_names else {})


def _new_tiff(path: Path, image: ImageFile) -> Any:
    """A tiled one-band GeoTIFF on the pixels of an image."""
    height, width = image.shape
    profile: dict[str, Any] = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "height": height, "width": width,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    if image.geobox.crs is not None:
        profile |= {"transform": image.geobox.transform, "crs": image.geobox.crs.to_wkt()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, "w", **profile)


def _preview(image: ImageFile) -> tuple[Array, int]:
    """The image to look at, (3, h, w) uint8, every n-th pixel of large ones, and n."""
    height, width = image.shape
    step = -(-max(height, width) // _HUMAN_SIDE)
    rows = []
    for window in iter_chunks(height, width, (_CHUNK // step * step, width)):
        rows.append(image.read(window)[:3, ::step, ::step])
    # Decoded for the preview only; the next image comes.
    image.forget()
    return preview_pixels(np.concatenate(rows, axis=1)), step
