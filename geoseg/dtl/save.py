"""A sample to files: image, annotation, masks and pictures. This is where pixels are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.dtl.layers.saving import Parts, SaveSettings
from geoseg.dtl.pixels import FilePixels
from geoseg.dtl.randomness import derive, generator
from geoseg.dtl.sample import Sample, crop_annotation
from geoseg.errors import InputError
from geoseg.files import json_text
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.figures import ProjectMeta
from geoseg.projects.figures.meta import Color
from geoseg.projects.formats.names import safe_name
from geoseg.projects.image_output import copy_image, result_suffix, write_image, write_windows
from geoseg.projects.images import ImageFile
from geoseg.projects.preview import beside, preview_pixels
from geoseg.raster.draw import figure_strips, paint_mask
from geoseg.typing import Array

__all__ = ["SavedSample", "further_name", "painted", "write_sample"]

_ALPHANUMERICS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_GREEN_BAR = 8
#: Pixels from which a GeoTIFF is written window by window.
_LARGE = 4096 * 4096
#: Most pixels of an image of another format, which is in memory as a whole.
_MOST_AT_ONCE = 2**30


@dataclass(frozen=True)
class SavedSample:
    """A sample written to a staging folder, waiting for its name.

    Attributes
    ----------
    dataset, stem, suffix
        Where it belongs, and the name it would like.
    key
        Decides the random part of another name.
    files
        File of each part: ``img``, ``ann`` and further folders.
    """

    dataset: str
    stem: str
    suffix: str
    key: bytes
    files: Mapping[str, Path]


def further_name(stem: str, key: bytes, attempt: int) -> str:
    """Name of a further copy of an image: ``_`` and ten characters that follow from its key.

    Examples
    --------
    >>> name = further_name("a", b"key", 0)
    >>> name[:2], len(name)
    ('a_', 12)
    """
    # From the key and not at random: the same seed gives the same names.
    draws = generator(derive(key, "name", attempt)).integers(0, len(_ALPHANUMERICS), 10)
    return f"{stem}_{''.join(_ALPHANUMERICS[i] for i in draws)}"


def write_sample(
    sample: Sample,
    folder: Path,
    number: int,
    settings: SaveSettings,
    meta: ProjectMeta,
    *,
    legacy: bool = False,
) -> SavedSample:
    """Write a sample's parts into ``folder``.

    Raises
    ------
    GeosegError
        Pixels can't be read, or files not written.
    """
    source, pixels, parts = sample.pixels.source, None, settings.parts()
    image = source if isinstance(source, ImageFile) else None
    files: dict[str, Path] = {}
    # As written, upper case included: what is copied keeps its name.
    suffix = sample.origin.name[len(sample.origin.stem) :]
    # A VRT only points to its pixels, by paths that may not hold in another folder.
    untouched = isinstance(sample.pixels, FilePixels) and suffix.lower() != ".vrt"
    if not untouched:
        before = image.path.suffix if image is not None else ".png"
        dtype, count = (image.scene.dtype, image.count) if image is not None else ("uint8", 3)
        georeferenced = sample.geobox.crs is not None
        suffix = result_suffix(before, dtype, count, georeferenced, settings.jpeg_quality)
    if parts.images:
        files["img"] = folder / f"{number}{suffix}"
        if untouched and image is not None:
            # Byte for byte: decoding and encoding again would wear down a JPEG.
            copy_image(image.path, files["img"])
        # Written window by window it never lies in memory as a whole.
        elif suffix.lower() in (".tif", ".tiff") and sample.shape[0] * sample.shape[1] > _LARGE:
            write_windows(files["img"], sample.pixels.read, sample.geobox, like=image)
        else:
            height, width = sample.shape
            if height * width > _MOST_AT_ONCE:
                raise InputError(
                    f"image must be a GeoTIFF to be written with {width} x {height} pixels, got {suffix}. "
                    "Crop it, or start from a GeoTIFF."
                )
            pixels = sample.pixels.read()
            write_image(files["img"], pixels, sample.geobox, like=image, jpeg_quality=settings.jpeg_quality)
    if parts.annotations:
        files["ann"] = folder / f"{number}.json"
        annotation = sample.annotation
        # In another frame objects need not lie inside the image.
        if sample.drawn_shape is None:
            annotation = crop_annotation(annotation, Window.whole(sample.shape))
        text = json_text(annotation.to_json(legacy=legacy))
        files["ann"].write_text(text, encoding="utf-8")
    files |= _pictures(sample, pixels, folder, number, parts, meta)
    # Names of projects from elsewhere may hold what a file system refuses.
    stem = Path(safe_name(f"{sample.origin.stem}{suffix}")).stem
    return SavedSample(safe_name(sample.dataset), stem, suffix, sample.key, files)


def _pictures(
    sample: Sample, pixels: Array | None, folder: Path, number: int, parts: Parts, meta: ProjectMeta
) -> dict[str, Path]:
    """Masks and pictures that are asked for."""
    wanted: dict[str, Array] = {}
    if parts.machine is not None:
        wanted["masks_machine"] = painted(sample, parts.machine)[0]
    if parts.human is not None or parts.visualize:
        shown = preview_pixels(pixels if pixels is not None else sample.pixels.read())
        if parts.human is not None:
            wanted["masks_human"] = beside(shown, *painted(sample, parts.human), _GREEN_BAR)
        if parts.visualize:
            colors = {one.name: one.color for one in meta.classes}
            wanted["visualize"] = beside(shown, *painted(sample, colors), _GREEN_BAR)
    files = {}
    for part, picture in wanted.items():
        files[part] = folder / f"{number}.{part}.png"
        # Pictures of pixels side by side lie nowhere on the ground.
        box = GeoBox(sample.geobox.transform.identity(), None, *picture.shape[1:])
        write_image(files[part], picture, box)
    return files


def painted(sample: Sample, colors: Mapping[str, Color]) -> tuple[Array, Array]:
    """The objects in colors on black, (3, H, W) uint8, and where there are any, (H, W) bool."""
    height, width = sample.shape
    canvas, covered = np.zeros((3, height, width), np.uint8), np.zeros((height, width), bool)
    for item in sample.objects:
        color = colors.get(item.class_name)
        if color is None:
            continue
        for box, mask in figure_strips(item.figure, Window.whole(sample.shape)):
            covered[box.rows, box.cols] |= mask
            for channel, value in enumerate(color):
                paint_mask(canvas[channel, box.rows, box.cols], mask, value)
    return canvas, covered
