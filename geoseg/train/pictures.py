"""Pictures of chips: pixels, target over them, prediction beside."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.models.losses import IGNORE
from geoseg.typing import Array

__all__ = ["chip_sheet", "overlay", "to_picture"]

_GAP = 4


def class_color(index: int) -> tuple[int, int, int]:
    """A color of its own for each class; neighbors differ clearly."""
    red, green, blue = colorsys.hsv_to_rgb((0.88 + 0.618 * (index - 1)) % 1, 0.9, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def to_picture(image: Array, dark: Sequence[float], bright: Sequence[float]) -> NDArray[np.uint8]:
    """Raw pixels (C, h, w) as RGB (h, w, 3); the first three bands, or one band in gray."""
    low, high = (np.asarray(v, np.float32)[:, None, None] for v in (dark, bright))
    unit = np.clip((image.astype(np.float32) - low) / np.maximum(high - low, 1e-6), 0, 1)
    bands = unit[:3] if len(unit) >= 3 else np.repeat(unit[:1], 3, axis=0)
    return np.rint(np.moveaxis(bands, 0, -1) * 255).astype(np.uint8)


def overlay(picture: NDArray[np.uint8], target: Array, strength: float = 0.45) -> NDArray[np.uint8]:
    """Classes in color over a picture; unknown ground is darkened and hatched."""
    mixed = picture.astype(np.float32)
    for index in np.unique(target):
        if index not in (0, IGNORE):
            where = target == index
            mixed[where] = (1 - strength) * mixed[where] + strength * np.array(class_color(int(index)))
    rows, cols = np.indices(target.shape)
    unknown = target == IGNORE
    mixed[unknown] *= 0.5
    mixed[unknown & ((rows + cols) % 8 == 0)] = 128
    return np.rint(mixed).astype(np.uint8)


def chip_sheet(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> bytes:
    """Pictures (h, w, 3) of equal size in rows and columns, as PNG."""
    height, width = rows[0][0].shape[:2]
    down, across = len(rows), max(len(row) for row in rows)
    sheet = np.full((down * (height + _GAP) + _GAP, across * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = _GAP + i * (height + _GAP), _GAP + j * (width + _GAP)
            sheet[top : top + height, left : left + width] = picture
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return buffer.getvalue()
