"""Draw with crisp edges: polygons, scale bars and text on RGB arrays, through Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont

from geoseg.typing import Array, BoolArray

__all__ = ["Ink", "draw_scale_bar", "draw_text", "nice_length", "to_rgb"]

Color = tuple[int, int, int]
#: Drawn this many times larger, then shrunk: smooth edges.
_FINER = 3
#: Light gray: black is a color that scenes have.
_NO_DATA: Color = (226, 228, 230)


class Ink:
    """Coverage of a picture by polygons, drawn batch by batch in memory that does not grow with them.

    Parameters
    ----------
    height, width
        Of the picture.
    line
        Width of outlines in pixels.
    """

    def __init__(self, height: int, width: int, *, line: float) -> None:
        size = (width * _FINER, height * _FINER)
        self._areas, self._lines = Image.new("L", size), Image.new("L", size)
        self._area_pen, self._line_pen = ImageDraw.Draw(self._areas), ImageDraw.Draw(self._lines)
        self._line = max(1, round(line * _FINER))

    def draw(self, shapes: Iterable[Any]) -> None:
        """Add polygons in pixel coordinates (x right, y down, pixel corners whole numbers)."""
        for shape in shapes:
            for polygon in shapely.get_parts(shape):
                if polygon.geom_type != "Polygon" or polygon.is_empty:
                    continue
                for number, ring in enumerate(shapely.get_rings(polygon)):
                    corners = np.round(shapely.get_coordinates(ring) * _FINER, 1)
                    points = [tuple(point) for point in corners.tolist()]
                    # Rings after the first are holes.
                    self._area_pen.polygon(points, fill=0 if number else 255)
                    # One point beyond the end, or the first corner would have no joint.
                    self._line_pen.line([*points, points[1]], fill=255, width=self._line, joint="curve")

    def blend(self, picture: Array, color: Color, *, area: float, line: float) -> Array:
        """``picture`` (h, w, 3) with the polygons over it; ``area`` and ``line`` are opacities."""
        size = (picture.shape[1], picture.shape[0])
        areas, lines = (
            np.asarray(layer.resize(size, Image.Resampling.BOX), dtype=np.float32) / 255
            for layer in (self._areas, self._lines)
        )
        cover = np.maximum(areas * area, lines * line)[..., None]
        # Only lines of more than a pixel get one: around thinner ones it would hide the scene.
        edge = 0.45 if self._line > _FINER else 0.0
        padded = np.pad(lines, 1)
        # The lines one pixel wider on all sides, less the lines themselves.
        wider = np.maximum.reduce([
            padded[1 + y : padded.shape[0] - 1 + y, 1 + x : padded.shape[1] - 1 + x]
            for y, x in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
        ])  # fmt: skip
        dark = (np.clip(wider - lines, 0, 1) * edge)[..., None]
        mixed = picture * (1 - dark) * (1 - cover) + np.array(color, dtype=np.float32) * cover
        return np.round(mixed).astype(np.uint8)


def to_rgb(values: Array, valid: BoolArray) -> Array:
    """Pixels of any type and number of bands as a picture.

    Three-band uint8 is shown as it is; everything else is stretched from its 2nd to its 98th percentile.
    Invalid pixels become light gray.

    Parameters
    ----------
    values
        (C, h, w).
    valid
        bool (h, w).

    Returns
    -------
    uint8 (h, w, 3)
    """
    bands = values[:3] if values.shape[0] >= 3 else np.repeat(values[:1], 3, axis=0)
    if bands.dtype == np.uint8 and values.shape[0] >= 3:
        picture = np.moveaxis(bands, 0, -1).copy()
    else:
        stretched = []
        for band in bands:
            seen = band[valid & np.isfinite(band)].astype(np.float64)
            # A few glaring roofs would otherwise leave all else black.
            low, high = np.percentile(seen, (2, 98)) if seen.size else (0.0, 1.0)
            scaled = (np.where(valid, band, low).astype(np.float64) - low) / max(high - low, 1e-12)
            stretched.append((np.clip(np.nan_to_num(scaled), 0, 1) * 255).astype(np.uint8))
        picture = np.stack(stretched, axis=-1)
    picture[~valid] = _NO_DATA
    return picture


def nice_length(longest: float) -> float:
    """The greatest of 1, 2, 5 times a power of ten that is at most ``longest``.

    Examples
    --------
    >>> nice_length(73.0), nice_length(240.0), nice_length(1.0)
    (50.0, 200.0, 1.0)
    """
    # A hair more than asked for is taken: 50.0 computed as 49.999... is still 50.
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))


def draw_text(
    pen: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *, size: int, fill: Color, anchor: str
) -> None:
    """Write ``text``; ``anchor`` as in Pillow ("ls": left end of the base line)."""
    pen.text(xy, text, font=ImageFont.load_default(size), fill=fill, anchor=anchor)


def draw_scale_bar(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], meters_per_pixel: float, longest_px: float
) -> None:
    """A white bar with its length, up and right of ``corner``."""
    meters = nice_length(longest_px * meters_per_pixel)
    x, y = corner
    end = x + meters / meters_per_pixel
    label = f"{meters:g} m" if meters < 1000 else f"{meters / 1000:g} km"
    # A dark bar under the white one, so that it is seen on bright ground as well.
    for shift, color in ((1, (0, 0, 0)), (0, (255, 255, 255))):
        points = [(x + shift, y - 7 + shift), (x + shift, y + shift), (end + shift, y + shift)]
        pen.line([*points, (end + shift, y - 7 + shift)], fill=color, width=2)
        draw_text(pen, (x + 6 + shift, y - 6 + shift), label, size=14, fill=color, anchor="ls")
