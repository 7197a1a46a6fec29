"""A scene: one raster of any size, read by window and never loaded whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.broken import IN_ORDER, known_break, locate_damage, note_break
from geoseg.io.complete import check_complete
from geoseg.io.fingerprint import fingerprint_files, scene_files
from geoseg.io.gdal_env import forget_dataset, is_remote, open_dataset, raster_env, thread_dataset
from geoseg.io.header import read_header
from geoseg.io.hints import read_hints
from geoseg.io.region import bbox_window, resampled_shape
from geoseg.io.validity import ValidityRule, valid_from_values
from geoseg.raster.resample import Axis, axis_weights, resample, resample_valid, source_span
from geoseg.raster.source import RasterHints, SceneReadError
from geoseg.typing import Array, BoolArray, PathLike

__all__ = ["Scene", "SceneReadError", "open_source"]

#: Source pixels resampled in one go; larger reads are done in pieces (which cannot change the result).
_PIECE_PX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Scene:
    """A raster that is read by window; from :func:`open_source`.

    It is a value: it can be pickled, sent to workers and shared by threads. Files are opened when the first
    window is read, once a thread.

    Attributes
    ----------
    path
        As given.
    name
        Stem of the file name.
    geobox
        Affine, CRS and shape of what is read (after ``resolution`` and ``bbox``).
    native_geobox
        The same of the file.
    bands
        1-based bands that are read, in this order. Of a palette image: 1, 2, 3 for red, green, blue.
    dtype
        Of the pixels that :meth:`read` returns.
    nodata
        Nodata value of the first band read that has one, or None.
    rule
        Where validity comes from.
    palette
        RGBA lookup table, uint8 (n, 4) as bytes, when palette indices are turned into colors.
    acquired
        ISO date the scene was taken, where its metadata tell it.
    file_block, native_block
        (height, width) of the file's storage blocks, in pixels of the scene as read and in its own.
    in_order
        Whether its rows are decoded from the first on, so that all behind a broken one are lost.
    grid_shape
        (height, width) of the whole file at the resolution read; ``geobox`` is the part of it that starts at
        ``offset``.
    """

    path: str
    name: str
    geobox: GeoBox
    native_geobox: GeoBox
    bands: tuple[int, ...]
    dtype: str
    nodata: float | None
    rule: ValidityRule
    acquired: str | None
    file_block: tuple[int, int]
    native_block: tuple[int, int]
    in_order: bool
    grid_shape: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    palette: bytes | None = field(default=None, repr=False)

    @property
    def count(self) -> int:
        """Number of bands read."""
        return len(self.bands)

    @property
    def height(self) -> int:
        """Rows."""
        return self.geobox.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.geobox.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """(bands, height, width)."""
        return self.count, self.height, self.width

    @property
    def crs(self) -> CRS | None:
        """Coordinate reference system, or None for pixel coordinates."""
        return self.geobox.crs

    @property
    def has_validity(self) -> bool:
        """Whether any pixel can be invalid."""
        return self.rule.anything or self._palette_is_transparent

    @property
    def resampled(self) -> bool:
        """Whether pixels are read at another resolution than the file's."""
        return self.grid_shape != self.native_geobox.shape

    @property
    def _palette_is_transparent(self) -> bool:
        return self.palette is not None and 0 in self.palette[3::4]

    def read(self, window: Window) -> Array:
        """Pixels of a window.

        Parameters
        ----------
        window
            Inside the scene.

        Returns
        -------
        array (C, h, w)
            In the scene's dtype.

        Raises
        ------
        InputError
            A window that reaches out of the scene.
        SceneReadError
            The file is broken there.
        """
        return self.read_with_valid(window)[0] if self.resampled else self._native(window, True, False)[0]

    def read_valid(self, window: Window) -> BoolArray:
        """Validity of a window: bool (h, w), True = data.

        At another resolution than the file's, a pixel is valid when all pixels of the file it draws on are.
        """
        if not self.has_validity:
            self._check(window)
            return np.ones((window.height, window.width), bool)
        return self.read_with_valid(window)[1] if self.resampled else self._native(window, False, True)[1]

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding the file once."""
        if not self.resampled:
            return self._native(window, True, True)
        self._check(window)
        values = np.empty((self.count, window.height, window.width), self.dtype)
        valid = np.ones((window.height, window.width), bool)
        for piece in self._pieces(window):
            inside = _shifted(piece, (-window.row_off, -window.col_off))
            values[:, inside.rows, inside.cols], valid[inside.rows, inside.cols] = self._resample(piece)
        return values, valid

    def locate_damage(self, window: Window) -> SceneReadError | None:
        """Which storage block of the file under a window is the first that can't be read; None: each can."""
        inner = _shifted(window, self.offset)
        if self.resampled:
            tall, wide = self.native_geobox.shape
            top, bottom = source_span(inner.row_off, inner.row_end, tall, self.grid_shape[0])
            left, right = source_span(inner.col_off, inner.col_end, wide, self.grid_shape[1])
            inner = Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
        return locate_damage(
            self.path,
            self.native_geobox.shape,
            self.native_block,
            inner,
            lambda part: self._read_file(part, part, True, self.has_validity),
        )

    def hints(self) -> RasterHints:
        """What the header states about the meaning of the values."""
        return read_hints(self.path, self.bands)

    def files(self) -> list[Path]:
        """The local files it consists of: of a VRT its sources too, of a URL none."""
        return [] if is_remote(self.path) else scene_files(self.path)

    def fingerprint(self) -> str:
        """Hash that tells whether a scene is still the one it was.

        Over the header, what was selected (bands, resolution, region) and the bytes of the file: all of them
        up to 64 MB, beyond that 256 pieces of 64 kB spread over the file, its beginning and end among them
        (fast at any size; an edit between the pieces that leaves size and header alone goes unseen). Neither
        path nor time stamp counts, so a copied or moved scene is the same scene.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        box = self.geobox
        head = [
            self.bands, self.dtype, self.rule, self.grid_shape, self.offset, box.shape, tuple(box.transform),
            box.crs.to_wkt() if box.crs else None, hashlib.sha256(self.palette or b"").hexdigest(),
        ]  # fmt: skip
        return fingerprint_files(self.path, repr(head))

    def _check(self, window: Window) -> None:
        inside = window.clipped(self.height, self.width)
        if inside != window or window.height < 0 or window.width < 0:
            raise InputError(
                f"window must lie inside the scene of {self.height} x {self.width} pixels, got {window}."
            )

    def _native(self, window: Window, values: bool, valid: bool) -> tuple[Any, Any]:
        """Pixels and validity at the file's resolution; what is not asked for is left empty."""
        self._check(window)
        return self._read_file(_shifted(window, self.offset), window, values, valid)

    def _read_file(self, inner: Window, window: Window, values: bool, valid: bool) -> tuple[Any, Any]:
        """Read ``inner`` (pixels of the file); errors name ``window`` (pixels of the scene)."""
        shape = (inner.height, inner.width)
        if 0 in shape:
            return np.empty((self.count, *shape), self.dtype), np.ones(shape, bool)
        reason = known_break(self.path, inner.row_end) if self.in_order else None
        if reason is None:
            try:
                with raster_env(is_remote(self.path)):
                    return self._decode(thread_dataset(self.path), inner, values, valid)
            except RasterioError as error:
                reason = _reason(error)
                forget_dataset(self.path)
            if self.in_order:
                note_break(self.path, inner.row_end, reason)
        # raised outside the handler: GDAL's own errors do not pickle, so they must not hang on to this one
        where = f"{window} of {self.path}" + (f" (in the file: {inner})" if inner != window else "")
        raise SceneReadError(
            f"cannot read {where}: {reason}. The file is damaged or cut short there.",
            self.path, window, reason,
        )  # fmt: skip

    def _decode(self, dataset: Any, inner: Window, values: bool, valid: bool) -> tuple[Any, Any]:
        where = RasterioWindow(inner.col_off, inner.row_off, inner.width, inner.height)
        if self.palette is not None:
            return self._decode_palette(dataset, where)
        pixels = ok = None
        if values or self.rule.uses_values:
            pixels = _read_bands(dataset, self.bands, where, self.dtype)
        if valid:
            ok = self._mask(dataset, where)
            if pixels is not None and self.rule.uses_values:
                ok &= valid_from_values(pixels, self.rule)
        return pixels, ok

    def _decode_palette(self, dataset: Any, where: RasterioWindow) -> tuple[Array, BoolArray]:
        table = np.frombuffer(self.palette or b"", np.uint8).reshape(-1, 4)
        index = dataset.read(1, window=where)
        colors = table[np.minimum(index, len(table) - 1)]
        valid = self._mask(dataset, where) & (colors[..., 3] != 0) & valid_from_values(index[None], self.rule)
        channels = [band - 1 for band in self.bands]
        return np.ascontiguousarray(np.moveaxis(colors[..., channels], -1, 0)), valid

    def _mask(self, dataset: Any, where: RasterioWindow) -> BoolArray:
        """Validity as far as the mask or the alpha band tell it."""
        if self.rule.mask:
            return np.asarray((dataset.read_masks(list(self.rule.mask), window=where) != 0).any(axis=0))
        if self.rule.alpha is not None:
            return np.asarray(dataset.read(self.rule.alpha, window=where) != 0)
        return np.ones((where.height, where.width), bool)

    def _pieces(self, window: Window) -> Iterator[Window]:
        """Cut a window so that each piece draws on a bounded number of source pixels."""
        ratio_y, ratio_x = (max(1.0, n / m) for n, m in zip(self.native_geobox.shape, self.grid_shape))
        width = max(1, min(window.width, int(4096 / ratio_x)))
        height = max(1, min(window.height, int(_PIECE_PX / (width * ratio_x) / ratio_y)))
        for row in range(window.row_off, window.row_end, height):
            for col in range(window.col_off, window.col_end, width):
                piece = Window(row_off=row, col_off=col, height=height, width=width)
                yield piece.clipped(window.row_end, window.col_end)

    def _resample(self, piece: Window) -> tuple[Array, BoolArray]:
        """Pixels and validity of a piece of a resampled scene."""
        inner = _shifted(piece, self.offset)
        rows = axis_weights(inner.row_off, inner.row_end, self.native_geobox.height, self.grid_shape[0])
        cols = axis_weights(inner.col_off, inner.col_end, self.native_geobox.width, self.grid_shape[1])
        pixels, ok = self._read_file(_source_window(rows, cols), piece, True, self.has_validity)
        values = resample(pixels, rows, cols)
        if not self.has_validity:
            return values, np.ones(values.shape[1:], bool)
        valid = resample_valid(ok, rows, cols)
        if self.nodata is not None:
            values[:, ~valid] = self.nodata
        return values, valid


def _shifted(window: Window, offset: tuple[int, int]) -> Window:
    row, col = window.row_off + offset[0], window.col_off + offset[1]
    return Window(row_off=row, col_off=col, height=window.height, width=window.width)


def _source_window(rows: Axis, cols: Axis) -> Window:
    (top, bottom), (left, right) = rows.span, cols.span
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)


def _read_bands(dataset: Any, bands: Sequence[int], where: RasterioWindow, dtype: str) -> Array:
    """Bands as one array, whatever pixel type each has in the file."""
    if len({dataset.dtypes[band - 1] for band in bands}) == 1:
        return np.asarray(dataset.read(list(bands), window=where))
    return np.stack([dataset.read(band, window=where).astype(dtype) for band in bands])


def _reason(error: BaseException) -> str:
    """What GDAL said first, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def open_source(
    path: PathLike,
    *,
    bands: Sequence[int] | None = None,
    resolution: float | str | None = None,
    bbox: Sequence[float] | None = None,
    expand_palette: bool = True,
) -> Scene:
    """Open a raster as a scene; reads its header only, and of a PNG whether it is there to its end.

    Parameters
    ----------
    path
        A file of one of :data:`geoseg.io.gdal_env.RASTER_DRIVERS`, a ``.vrt`` with local sources, or a URL.
    bands
        1-based, in the order wanted; None for all but the alpha band.
    resolution
        Meters per pixel on the ground, or None or "native" for the file's own. The whole file is resampled
        in whole pixels, so the step may differ by a fraction; ``bbox`` does not move the pixels. A file
        whose own step is the same within 1 % is read as it is. So is a scene without a CRS, where meters
        mean nothing, with a logged warning.
    bbox
        (min x, min y, max x, max y) in the scene's CRS (pixels where it has none), widened to whole pixels
        and cut at the scene's edge.
    expand_palette
        Read a palette image as red, green, blue; False keeps its indices (class maps).

    Returns
    -------
    Scene

    Raises
    ------
    MissingFileError
        No such file.
    SceneError
        Not a raster, a PNG that is cut short, or nothing that fits ``bands``, ``resolution`` or ``bbox``.
    """
    name = os.fspath(path)
    dataset = open_dataset(name)
    with raster_env(is_remote(name)), dataset:
        header = read_header(dataset, name, bands=bands, expand_palette=expand_palette)
        in_order = dataset.driver in IN_ORDER
        if dataset.driver == "PNG" and Path(name).is_file():
            check_complete(Path(name))
    grid_shape = resampled_shape(header.geobox, resolution, name)
    box = header.geobox if grid_shape == header.geobox.shape else header.geobox.scaled(*grid_shape)
    window = bbox_window(box, bbox, name) if bbox is not None else None
    block_y, block_x = (
        max(1, round(size * m / n)) for size, m, n in zip(header.block, grid_shape, header.geobox.shape)
    )
    return Scene(
        path=name,
        name=Path(name).stem,
        geobox=box.window(window) if window else box,
        native_geobox=header.geobox,
        bands=header.bands,
        dtype=header.dtype,
        nodata=header.nodata,
        rule=header.rule,
        acquired=header.acquired,
        file_block=(block_y, block_x),
        native_block=header.block,
        in_order=in_order,
        grid_shape=grid_shape,
        offset=(window.row_off, window.col_off) if window else (0, 0),
        palette=header.palette,
    )
