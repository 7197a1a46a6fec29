"""Bands that lie in several sources, as the bands of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.raster.source import (
    RasterHints,
    RasterSource,
    SceneReadError,
    Shaped,
    check_inside,
    fingerprint_of,
)
from geoseg.typing import Array, BoolArray

__all__ = ["StackedScene", "stack_bands"]


@dataclass(frozen=True)
class StackedScene(Shaped):
    """Sources of the same ground and pixels, one behind the other; from :func:`stack_bands`.

    A pixel is valid where it is in each source.

    Attributes
    ----------
    parts
        The sources, in the order of their bands.
    bands
        1-based, counted through all parts.
    titles
        What the bands of each part are called.
    """

    parts: tuple[RasterSource, ...]
    bands: tuple[int, ...]
    titles: tuple[str, ...]

    @property
    def name(self) -> str:
        """That of the first part."""
        return self.parts[0].name

    @property
    def path(self) -> str:
        """That of the first part."""
        return self.parts[0].path

    @property
    def geobox(self) -> GeoBox:
        """Of each part."""
        return self.parts[0].geobox

    @property
    def dtype(self) -> str:
        """That holds the values of all parts."""
        # A wider type for all where one part needs it: an array has one.
        return str(np.result_type(*(part.dtype for part in self.parts)))

    @property
    def nodata(self) -> float | None:
        """Of the first part that has one."""
        return next((part.nodata for part in self.parts if part.nodata is not None), None)

    @property
    def alpha(self) -> int | None:
        """None: each part tells its validity itself."""
        return None

    @property
    def acquired(self) -> str | None:
        """ISO date of the first part."""
        return self.parts[0].acquired

    @property
    def has_validity(self) -> bool:
        """Whether any pixel may be invalid."""
        return any(part.has_validity for part in self.parts)

    @property
    def file_block(self) -> tuple[int, int]:
        """(height, width) of the storage blocks of the first part."""
        return self.parts[0].file_block

    @property
    def offset(self) -> tuple[int, int]:
        """Of the first part."""
        return self.parts[0].offset

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window."""
        check_inside(window, self.geobox.shape)
        pixels = np.concatenate([part.read(window).astype(self.dtype, copy=False) for part in self.parts])
        return self._chosen(pixels)

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w) of a window."""
        # A network sees all bands of a pixel at once, so one that lacks data makes the pixel invalid.
        return np.logical_and.reduce([part.read_valid(window) for part in self.parts])

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""
        check_inside(window, self.geobox.shape)
        both = [part.read_with_valid(window) for part in self.parts]
        pixels = np.concatenate([values.astype(self.dtype, copy=False) for values, _ in both])
        return self._chosen(pixels), np.logical_and.reduce([valid for _, valid in both])

    def _chosen(self, pixels: Array) -> Array:
        order = [band - 1 for band in self.bands]
        # A copy of all bands is spared where they are wanted as they lie.
        return pixels if order == list(range(len(pixels))) else pixels[order]

    def storage_parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """A window cut as the first part is stored."""
        return self.parts[0].storage_parts(window)

    def locate_damage(self, window: Window) -> SceneReadError | None:
        """What of the parts under a window is damaged."""
        damages = (part.locate_damage(window) for part in self.parts)
        return next((damage for damage in damages if damage is not None), None)

    def hints(self) -> RasterHints:
        """Of the first part; its scale must be that of all."""
        hints = [part.hints() for part in self.parts]
        if len({(one.scale, one.offset) for one in hints}) > 1:
            raise SceneError(
                f"bands must state one scale and offset, got several in {', '.join(self.titles)}. "
                "Choose such bands."
            )
        names = [name for one in hints for name in one.descriptions]
        return replace(hints[0], descriptions=tuple(names[band - 1] for band in self.bands))

    def files(self) -> list[Path]:
        """The local files of all parts."""
        return [file for part in self.parts for file in part.files()]

    def facts(self) -> dict[str, Any]:
        """How the first part is stored, and the bands of all of them."""
        stored = []
        for part, title in zip(self.parts, self.titles, strict=True):
            bands = part.facts().get("stored_bands", ())
            stored += [{**band, "description": title} for band in bands] if len(bands) == 1 else list(bands)
        numbered = [{**band, "band": number} for number, band in enumerate(stored, 1)]
        return {**self.parts[0].facts(), "stored_bands": numbered}

    def fingerprint(self) -> str:
        """Of all parts and the bands that are read."""
        prints = [part.fingerprint() for part in self.parts]
        return fingerprint_of((prints, self.bands))


def stack_bands(
    parts: Sequence[RasterSource], titles: Sequence[str], bands: Sequence[int] | None
) -> StackedScene:
    """Put the bands of sources behind each other.

    Parameters
    ----------
    parts
        At least one source, each with all its bands.
    titles
        What each is called, for messages and where a model's bands are matched by name.
    bands
        1-based, counted through all parts; None: all.

    Raises
    ------
    SceneError
        Sources of other ground or pixels, or bands that are not there.
    """
    first = parts[0].geobox
    for part, title in zip(parts, titles, strict=True):
        box = part.geobox
        if (
            box.shape != first.shape
            or not box.transform.almost_equals(first.transform)
            or box.crs != first.crs
        ):
            raise SceneError(
                f"bands in several files must have the same pixels, got {title} with {box.shape[1]} x "
                f"{box.shape[0]} and {titles[0]} with {first.shape[1]} x {first.shape[0]}. Choose files of "
                "one resolution."
            )
    count = sum(part.count for part in parts)
    chosen = tuple(range(1, count + 1)) if bands is None else tuple(int(band) for band in bands)
    if not chosen or any(not 1 <= band <= count for band in chosen):
        raise SceneError(f"bands must be some of 1..{count}, got {', '.join(map(str, chosen)) or 'none'}.")
    return StackedScene(tuple(parts), chosen, tuple(titles))
