"""Pictures of chips: pixels, target over them, prediction beside."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from geoseg.raster.classes import IGNORE
from geoseg.typing import Array, BoolArray

__all__ = ["captioned", "chip_sheet", "is_chip_sheet", "legend", "overlay", "to_picture"]

_GAP = 4
#: Height of a line of text, and width of a color in the legend.
_LINE = 15
_SWATCH = 28
#: What a sheet says of who made it, so that it may be made anew.
_MARK = "geoseg chips"


def class_color(index: int) -> tuple[int, int, int]:
    """A color of its own for each class; neighbors differ clearly."""
    # Steps of the golden ratio around the hue circle keep many colors apart. The first is pink, which
    # is rare among fields and roofs.
    red, green, blue = colorsys.hsv_to_rgb((0.88 + 0.618 * (index - 1)) % 1, 0.9, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def to_picture(image: Array, dark: Sequence[float], bright: Sequence[float]) -> NDArray[np.uint8]:
    """Raw pixels (C, h, w) as RGB (h, w, 3); the first three bands, or one band in gray."""
    low, high = (np.asarray(v, np.float32)[:, None, None] for v in (dark, bright))
    # A band that is dark and bright at one value must not divide by zero.
    unit = np.clip((image.astype(np.float32) - low) / np.maximum(high - low, 1e-6), 0, 1)
    bands = unit[:3] if len(unit) >= 3 else np.repeat(unit[:1], 3, axis=0)
    return np.rint(np.moveaxis(bands, 0, -1) * 255).astype(np.uint8)


def overlay(picture: NDArray[np.uint8], target: Array, strength: float = 0.45) -> NDArray[np.uint8]:
    """Classes in color over a picture, full on their rims; unknown ground is dark with light hatching."""
    mixed = picture.astype(np.float32)
    rim = _rims(target)
    for index in np.unique(target):
        if index not in (0, IGNORE):
            where, color = target == index, np.array(class_color(int(index)))
            mixed[where] = (1 - strength) * mixed[where] + strength * color
            mixed[where & rim] = color
    rows, cols = np.indices(target.shape)
    unknown = target == IGNORE
    # Dark and hatched: dark alone can't be told from shadow, hatching alone not from a bright field.
    mixed[unknown] *= 0.35
    mixed[unknown & ((rows + cols) % 8 == 0)] = 170
    return np.rint(mixed).astype(np.uint8)


def _rims(target: Array) -> BoolArray:
    """Pixels with a neighbor of another class."""
    rim = np.zeros(target.shape, bool)
    rim[1:] |= target[1:] != target[:-1]
    rim[:, 1:] |= target[:, 1:] != target[:, :-1]
    rim[:-1] |= target[1:] != target[:-1]
    rim[:, :-1] |= target[:, 1:] != target[:, :-1]
    return rim


def captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A picture with a line of text on a dark bar at its foot, small enough to fit if it can be read then."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rectangle((0, image.height - _LINE, image.width, image.height), (0, 0, 0, 150))
    fonts = [ImageFont.load_default(size) for size in range(_LINE - 4, 6, -1)]
    font = next((font for font in fonts if font.getlength(text) < image.width - 8), fonts[-1])
    draw.text((3, image.height - _LINE + 1), text, (255, 255, 255), font)
    return np.array(image)


def legend(names: Sequence[str], width: int) -> NDArray[np.uint8]:
    """A strip (h, width, 3) that names the colors of the classes from 1 on, and of unknown ground."""
    font = ImageFont.load_default(_LINE - 2)
    entries = [*enumerate(names[1:], 1), (IGNORE, "teaches nothing")]
    spans = [_SWATCH + 16 + round(font.getlength(name)) for _, name in entries]
    places, left, top = [], 0, 0
    for span in spans:
        if left and left + span > width:
            left, top = 0, top + _LINE + 2
        places.append((left, top))
        left += span
    image = Image.new("RGB", (width, top + _LINE + 4), "white")
    draw = ImageDraw.Draw(image)
    for (index, name), (x, y) in zip(entries, places, strict=True):
        ground = np.full((_LINE - 2, _SWATCH, 3), 150, np.uint8)
        image.paste(Image.fromarray(overlay(ground, np.full(ground.shape[:2], index))), (x + _GAP, y + 2))
        draw.text((x + _GAP + _SWATCH + 4, y), name, "black", font)
    return np.array(image)


def chip_sheet(rows: Sequence[Sequence[NDArray[np.uint8]]], names: Sequence[str] = ()) -> bytes:
    """Pictures (h, w, 3) of equal size in rows and columns, as PNG; below them a legend of classes."""
    height, width = rows[0][0].shape[:2]
    down, across = len(rows), max(len(row) for row in rows)
    sheet = np.full((down * (height + _GAP) + _GAP, across * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = _GAP + i * (height + _GAP), _GAP + j * (width + _GAP)
            sheet[top : top + height, left : left + width] = picture
    if names:
        sheet = np.concatenate([sheet, legend(names, sheet.shape[1])])
    buffer, info = io.BytesIO(), PngInfo()
    info.add_text("Software", _MARK)
    Image.fromarray(sheet).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def is_chip_sheet(path: Path) -> bool:
    """Whether a file is a picture that :func:`chip_sheet` made, by its own mark."""
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _MARK
    except (OSError, ValueError, Image.DecompressionBombError):  # no picture
        return False
