"""A source at another resolution, a part of it, or one whose sampling distance the user knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.raster.resample import axis_weights, resample, resample_valid, source_span
from geoseg.raster.source import (
    RasterHints,
    RasterSource,
    SceneReadError,
    Shaped,
    check_inside,
    damaged,
    fingerprint_of,
)
from geoseg.typing import Array, BoolArray

__all__ = ["RenamedScene", "SameGrid", "SceneView", "View"]

#: Source pixels resampled in one go; larger reads are done in pieces (which cannot change the result).
_PIECE_PX = 4 * 1024 * 1024
#: Source columns of such a piece: whole rows of a wide scene would leave pieces of a few rows.
_PIECE_COLUMNS = 4096


class View(Shaped):
    """What a view has from the source that it shows, where it does not say otherwise."""

    if TYPE_CHECKING:  # a dataclass below declares the field

        @property
        def base(self) -> RasterSource: ...

    @property
    def name(self) -> str:
        """What to call it."""
        return self.base.name

    @property
    def path(self) -> str:
        """What the user named it by."""
        return self.base.path

    @property
    def bands(self) -> tuple[int, ...]:
        """1-based bands that are read."""
        return self.base.bands

    @property
    def dtype(self) -> str:
        """Of the pixels."""
        return self.base.dtype

    @property
    def nodata(self) -> float | None:
        """Value that stands for no data."""
        return self.base.nodata

    @property
    def alpha(self) -> int | None:
        """1-based band that tells validity."""
        return self.base.alpha

    @property
    def acquired(self) -> str | None:
        """ISO date it was taken, where known."""
        return self.base.acquired

    @property
    def has_validity(self) -> bool:
        """Whether any pixel may be invalid."""
        return self.base.has_validity

    def hints(self) -> RasterHints:
        """What the base states about the meaning of its values."""
        return self.base.hints()

    def files(self) -> Sequence[Path]:
        """The local files that pixels come from."""
        return self.base.files()

    def doubt(self, since: float) -> str | None:
        """Why the base's pixels may have changed unseen."""
        return self.base.doubt(since)

    def facts(self) -> dict[str, Any]:
        """How the base is stored."""
        return self.base.facts()

    def locate_damage(self, window: Window) -> SceneReadError | None:
        """What of the base under a window is damaged."""
        return self.base.locate_damage(self._source_window(window))

    def _source_window(self, window: Window) -> Window:
        """The base's pixels that a window draws on."""
        return window

    def _read_base(self, read: Any, window: Window) -> Any:
        """What a method of the base reads for a window; an error names the window as it is called here."""
        check_inside(window, self.geobox.shape)
        inner = self._source_window(window)
        try:
            return read(inner)
        except SceneReadError as error:
            raise damaged(self.path, window, error.reason, inner) from None


class SameGrid(View):
    """A view whose pixels lie where those of the base do."""

    @property
    def geobox(self) -> GeoBox:
        """Affine, CRS and shape of the base."""
        return self.base.geobox

    @property
    def file_block(self) -> tuple[int, int]:
        """(height, width) of the base's storage blocks."""
        return self.base.file_block

    @property
    def offset(self) -> tuple[int, int]:
        """(row, column) of the first pixel in what is stored."""
        return self.base.offset

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w) of a window."""
        return self.base.read_valid(window)

    def storage_parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """A window cut as the base is stored."""
        return self.base.storage_parts(window)


@dataclass(frozen=True)
class RenamedScene(SameGrid):
    """A source under another name, and with another date where somebody knows better than the file.

    Attributes
    ----------
    base
        The source.
    title
        Its name here.
    date
        ISO date it was taken; None: as the base says.
    """

    base: RasterSource
    title: str
    date: str | None = None

    @property
    def acquired(self) -> str | None:
        """ISO date it was taken, where known."""
        return self.date or self.base.acquired

    @property
    def name(self) -> str:
        """What to call it."""
        return self.title

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window."""
        return self.base.read(window)

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""
        return self.base.read_with_valid(window)

    def fingerprint(self) -> str:
        """Of the base: a name changes no pixel."""
        return self.base.fingerprint()


@dataclass(frozen=True)
class SceneView(View):
    """A source on a grid of its own, for any kind of source.

    Attributes
    ----------
    base
        The source, whole.
    geobox
        Of what is read.
    grid_shape
        (height, width) of the whole base at the resolution read; ``geobox`` is the part of it that begins
        at ``start``. The same as the base's shape where pixels are read as they are.
    start
        (row, column) on that grid.
    """

    base: RasterSource
    geobox: GeoBox
    grid_shape: tuple[int, int]
    start: tuple[int, int] = (0, 0)

    @property
    def resampled(self) -> bool:
        """Whether pixels are read at another resolution than the base's."""
        return self.grid_shape != self.base.geobox.shape

    @property
    def file_block(self) -> tuple[int, int]:
        """(height, width) of the base's storage blocks, in pixels of the view."""
        height, width = self._on_grid(self.base.file_block)
        # A block of 256 rows at a hundredth of the resolution rounds to 3 rows, one of a single row to none.
        return max(1, height), max(1, width)

    @property
    def offset(self) -> tuple[int, int]:
        """(row, column) of the first pixel in what is stored: the base may be a part of it itself."""
        row, col = self._on_grid(self.base.offset)
        return row + self.start[0], col + self.start[1]

    def _on_grid(self, pixels: tuple[int, int]) -> tuple[int, int]:
        """A number of the base's rows and columns in pixels of the view."""
        rows, cols = (
            round(count * m / n)
            for count, m, n in zip(pixels, self.grid_shape, self.base.geobox.shape, strict=True)
        )
        return rows, cols

    def fingerprint(self) -> str:
        """Of the base and the grid; a stated sampling distance changes no pixel and does not count."""
        parts = [self.base.fingerprint(), self.grid_shape, self.start, self.geobox.shape]
        return fingerprint_of(parts)

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window."""
        # Of a resampled scene both, because what is invalid takes the nodata value
        return self.read_with_valid(window)[0] if self.resampled else self._read_base(self.base.read, window)

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w); of a resampled scene a pixel is valid when all pixels it draws on are."""
        if not self.has_validity:
            check_inside(window, self.geobox.shape)
            return np.ones((window.height, window.width), bool)
        if self.resampled:
            return self.read_with_valid(window)[1]
        return self._read_base(self.base.read_valid, window)

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""
        if not self.resampled:
            return self._read_base(self.base.read_with_valid, window)
        check_inside(window, self.geobox.shape)
        values = np.empty((self.count, window.height, window.width), self.dtype)
        valid = np.ones((window.height, window.width), bool)
        for piece in self._pieces(window):
            inside = piece.shifted(-window.row_off, -window.col_off)
            values[:, inside.rows, inside.cols], valid[inside.rows, inside.cols] = self._resample(piece)
        return values, valid

    def storage_parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """A window cut as the base is stored; of a resampled one, along about its storage blocks."""
        if self.resampled:
            yield from super().storage_parts(window)
            return
        row, col = self.start
        for part, unit in self.base.storage_parts(window.shifted(row, col)):
            yield part.shifted(-row, -col), unit.shifted(-row, -col).clipped(*self.geobox.shape)

    def _source_window(self, window: Window) -> Window:
        on_grid = window.shifted(*self.start)
        if not self.resampled:
            return on_grid
        tall, wide = self.base.geobox.shape
        # More than the pixels beneath: the kernel that smooths reaches beyond them.
        top, bottom = source_span(on_grid.row_off, on_grid.row_end, tall, self.grid_shape[0])
        left, right = source_span(on_grid.col_off, on_grid.col_end, wide, self.grid_shape[1])
        return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)

    def _pieces(self, window: Window) -> Iterator[Window]:
        """Cut a window so that each piece draws on a bounded number of source pixels."""
        ratio_y, ratio_x = (max(1.0, n / m) for n, m in zip(self.base.geobox.shape, self.grid_shape))
        # Going finer a piece draws on fewer pixels than it has; there its own size is the limit.
        width = max(1, min(window.width, int(_PIECE_COLUMNS / ratio_x)))
        height = max(1, min(window.height, int(_PIECE_PX / (width * ratio_x) / ratio_y)))
        for row in range(window.row_off, window.row_end, height):
            for col in range(window.col_off, window.col_end, width):
                piece = Window(row_off=row, col_off=col, height=height, width=width)
                yield piece.clipped(window.row_end, window.col_end)

    def _resample(self, piece: Window) -> tuple[Array, BoolArray]:
        on_grid, (tall, wide) = piece.shifted(*self.start), self.base.geobox.shape
        # Weights of the whole grid's rows and columns, not of the piece's: a pixel is the same in every
        # window.
        rows = axis_weights(on_grid.row_off, on_grid.row_end, tall, self.grid_shape[0])
        cols = axis_weights(on_grid.col_off, on_grid.col_end, wide, self.grid_shape[1])
        inner = self._source_window(piece)
        try:
            if not self.has_validity:
                values = resample(self.base.read(inner), rows, cols)
                return values, np.ones(values.shape[1:], bool)
            pixels, pixels_valid = self.base.read_with_valid(inner)
        except SceneReadError as error:
            raise damaged(self.path, piece, error.reason, inner) from None
        values, valid = resample(pixels, rows, cols), resample_valid(pixels_valid, rows, cols)
        # Resampled, what is partly invalid would be a mean of data and nodata.
        if self.nodata is not None:
            values[:, ~valid] = self.nodata
        return values, valid
