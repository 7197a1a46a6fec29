"""A photo turned upright, window by window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.raster.source import RasterSource, fingerprint_of
from geoseg.raster.view import View
from geoseg.typing import Array, BoolArray

__all__ = ["TurnedScene"]

A = TypeVar("A", bound=np.ndarray)


@dataclass(frozen=True)
class TurnedScene(View):
    """A source without a place on the ground, as a viewer of photos shows it.

    Attributes
    ----------
    base
        The source as it is stored.
    orientation
        2 to 8, of EXIF: rows and columns change places from 5 on, then rows, columns or both are mirrored.
    """

    base: RasterSource
    orientation: int

    @property
    def _swapped(self) -> bool:
        return self.orientation >= 5

    @property
    def _mirrored(self) -> tuple[bool, bool]:
        """Whether rows and columns are mirrored, after the change of places."""
        return self.orientation in (3, 4, 7, 8), self.orientation in (2, 3, 6, 7)

    @property
    def geobox(self) -> GeoBox:
        """The shape of the upright picture, in pixels."""
        box = self.base.geobox
        return replace(box, height=box.width, width=box.height) if self._swapped else box

    @property
    def file_block(self) -> tuple[int, int]:
        """(height, width) of the base's storage blocks, turned."""
        height, width = self.base.file_block
        return (width, height) if self._swapped else (height, width)

    @property
    def offset(self) -> tuple[int, int]:
        """(row, column) of the first pixel in its block: blocks that are cut at the end are so in front."""
        # Windows that begin with a block are read without decoding it twice, so the offset matters for speed
        # alone.
        row, col = (
            -side % block if mirrored else 0
            for side, block, mirrored in zip(self.geobox.shape, self.file_block, self._mirrored, strict=True)
        )
        return row, col

    def facts(self) -> dict[str, Any]:
        """How the base is stored, and that it is turned."""
        return {**self.base.facts(), "exif_orientation": self.orientation}

    def fingerprint(self) -> str:
        """Of the base and the orientation."""
        return fingerprint_of((self.base.fingerprint(), self.orientation))

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window."""
        return self._upright(self._read_base(self.base.read, window))

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w) of a window."""
        return self._upright(self._read_base(self.base.read_valid, window))

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""
        pixels, valid = self._read_base(self.base.read_with_valid, window)
        return self._upright(pixels), self._upright(valid)

    def _source_window(self, window: Window) -> Window:
        height, width = self.geobox.shape
        rows, cols = self._mirrored
        # Mirrored back first, then rows and columns change places: the other way round than `_upright`.
        top = height - window.row_end if rows else window.row_off
        left = width - window.col_end if cols else window.col_off
        if self._swapped:
            return Window(row_off=left, col_off=top, height=window.width, width=window.height)
        return Window(row_off=top, col_off=left, height=window.height, width=window.width)

    def _upright(self, array: A) -> A:
        turned = np.swapaxes(array, -1, -2) if self._swapped else array
        rows, cols = (slice(None, None, -1 if mirrored else 1) for mirrored in self._mirrored)
        # Laid out anew, for torch takes no array whose rows run backwards.
        return np.ascontiguousarray(turned[..., rows, cols])  # type: ignore[return-value]
