"""A raster file as a scene: read by window, at its own resolution, never loaded whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.band_names import sensor_of
from geoseg.io.broken import IN_ORDER, known_break, locate_damage, note_break
from geoseg.io.complete import check_complete
from geoseg.io.fingerprint import fingerprint_doubt, fingerprint_files, scene_files
from geoseg.io.gdal_env import opened_header, raster_env
from geoseg.io.handles import (
    forget_dataset,
    forget_everywhere,
    read_remote,
    reason_of,
    release_dataset,
    thread_dataset,
)
from geoseg.io.header import read_header
from geoseg.io.hints import hints_of
from geoseg.io.names import SERVICE, container, is_remote
from geoseg.io.validity import ValidityRule, valid_from_values, validity_sources
from geoseg.raster.source import RasterHints, SceneReadError, Shaped, check_inside, damaged
from geoseg.typing import Array, BoolArray

__all__ = ["Scene", "open_file", "scene_of"]


@dataclass(frozen=True)
class Scene(Shaped):
    """A raster file that GDAL reads; from :func:`open_file`.

    It is a value: it can be pickled, sent to workers and shared by threads. Files are opened when the first
    window is read, once a thread.

    Attributes
    ----------
    path
        As given.
    name
        Stem of the file name.
    geobox
        Affine, CRS and shape.
    bands
        1-based bands that are read, in this order. Of a palette image: 1, 2, 3 for red, green, blue.
    dtype
        Of the pixels that :meth:`read` returns.
    nodata
        Nodata value of the first band read that has one, or None.
    rule
        Where validity comes from.
    acquired
        ISO date the scene was taken, where its metadata tell it.
    file_block
        (height, width) of the file's storage blocks.
    in_order
        Whether its rows are decoded from the first on, so that all behind a broken one are lost.
    palette
        RGBA lookup table, uint8 (n, 4) as bytes, when palette indices are turned into colors.
    orientation
        EXIF's, 1 to 8, of a photo that no georeferencing places; 1 of all else. Pixels are read as they are
        stored; :func:`geoseg.io.sources.open_raster` turns them.
    """

    path: str
    name: str
    geobox: GeoBox
    bands: tuple[int, ...]
    dtype: str
    nodata: float | None
    rule: ValidityRule
    acquired: str | None
    file_block: tuple[int, int]
    in_order: bool
    palette: bytes | None = field(default=None, repr=False)
    orientation: int = 1

    def __getstate__(self) -> dict[str, Any]:
        # Absolute: a worker that opens it may have started in another folder.
        path = Path(self.path)
        return {**self.__dict__, "path": str(path.absolute()) if path.exists() else self.path}

    @property
    def offset(self) -> tuple[int, int]:
        """A file begins where it begins."""
        return 0, 0

    @property
    def alpha(self) -> int | None:
        """1-based alpha band; None without one, or where a palette holds it."""
        return None if self.palette is not None else self.rule.alpha

    @property
    def has_validity(self) -> bool:
        """Whether any pixel can be invalid."""
        return self.rule.anything or (self.palette is not None and 0 in self.palette[3::4])

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
        return self._read(window, True, False)[0]

    def read_valid(self, window: Window) -> BoolArray:
        """Validity of a window: bool (h, w), True = data."""
        # Without a look at the file: many scenes have data everywhere, and validity is asked for all the
        # time.
        if not self.has_validity:
            check_inside(window, self.geobox.shape)
            return np.ones((window.height, window.width), bool)
        return self._read(window, False, True)[1]

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding the file once."""
        return self._read(window, True, True)

    def locate_damage(self, window: Window) -> SceneReadError | None:
        """Which storage block under a window is the first that can't be read; None: each can.

        A server is not asked for each block of a window that it did not give.
        """
        if is_remote(self.path):
            return None
        return locate_damage(
            self.path,
            self.geobox.shape,
            self.file_block,
            window,
            lambda part: self._read(part, True, self.has_validity),
        )

    def hints(self) -> RasterHints:
        """What the header states about the meaning of the values."""
        with opened_header(self.path) as dataset:
            return hints_of(dataset, self.path, self.bands)

    def files(self) -> list[Path]:
        """The local files it consists of: of a VRT its sources too, of a URL none."""
        return [] if is_remote(self.path) else scene_files(self.path)

    def facts(self) -> dict[str, Any]:
        """Format, compression, overviews and bands of the file, and where validity comes from."""
        with opened_header(self.path) as dataset:
            return self.facts_of(dataset)

    def facts_of(self, dataset: Any) -> dict[str, Any]:
        """The same of the file where it is open already."""
        rows = zip(dataset.indexes, dataset.dtypes, dataset.colorinterp, dataset.descriptions, strict=True)
        return {
            "palette": self.palette is not None,
            "validity": validity_sources(self.rule, self.has_validity),
            "driver": dataset.driver,
            "compression": dataset.compression.value if dataset.compression else None,
            "interleaving": dataset.interleaving.value if dataset.interleaving else None,
            # Overviews that a header places elsewhere would make GDAL open that file, on whatever host
            "overviews": (
                [] if "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS") else list(dataset.overviews(1))
            ),
            "stored_bands": [
                {"band": band, "dtype": dtype, "color": color.name, "description": description}
                for band, dtype, color, description in rows
            ],
            "sensor": sensor_of({**dataset.tags(ns="IMAGERY"), **dataset.tags()}, self.name) or None,
            "scales": list(dataset.scales),
            "offsets": list(dataset.offsets),
        }

    def fingerprint(self) -> str:
        """Hash that tells whether a scene is still the one it was.

        Over the header, the bands and the bytes of the file: all of them up to 64 MB, beyond that 256 pieces
        of 64 kB spread over the file, its beginning and end among them (fast at any size; :meth:`doubt` tells
        of an edit that they may have missed). Neither path nor time stamp counts, so a copied or moved scene
        is the same scene.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        box = self.geobox
        head = [
            self.bands, self.dtype, self.rule, box.shape, tuple(box.transform),
            box.crs.to_wkt() if box.crs else None, hashlib.sha256(self.palette or b"").hexdigest(),
        ]  # fmt: skip
        return fingerprint_files(self.path, repr(head))

    def doubt(self, since: float) -> str | None:
        """Why pixels may have changed after a time (Unix) unseen by the fingerprint; None: they have not."""
        return fingerprint_doubt(self.path, since)

    def _read(self, window: Window, values: bool, valid: bool) -> tuple[Any, Any]:
        """Pixels and validity; what is not asked for may be left empty."""
        check_inside(window, self.geobox.shape)
        shape = (window.height, window.width)
        if 0 in shape:  # GDAL refuses to read nothing
            return np.empty((self.count, *shape), self.dtype), np.ones(shape, bool)
        if self.in_order and (known := known_break(self.path, window.row_end)) is not None:
            raise damaged(self.path, window, known)
        result, reason = None, None
        if is_remote(self.path):
            result, reason = read_remote(
                self.path, f"{window}", lambda dataset: self._decode(dataset, window, values, valid)
            )
        else:
            try:
                with raster_env():
                    result = self._decode(thread_dataset(self.path), window, values, valid)
                    release_dataset(self.path)
            except (RasterioError, CPLE_BaseError) as error:
                reason = reason_of(error)
                forget_dataset(self.path)
        if result is not None:
            return result
        if self.in_order:
            note_break(self.path, window.row_end, reason or "")
        # Raised outside the handler: GDAL's own errors do not pickle, so they must not hang on to this one
        raise damaged(self.path, window, reason or "")

    def _decode(self, dataset: Any, window: Window, values: bool, valid: bool) -> tuple[Any, Any]:
        rectangle = RasterioWindow(window.col_off, window.row_off, window.width, window.height)
        if self.palette is not None:
            return self._decode_palette(dataset, rectangle)
        pixels = pixels_valid = None
        if values or self.rule.uses_values:
            if len({dataset.dtypes[band - 1] for band in self.bands}) == 1:
                pixels = np.asarray(dataset.read(list(self.bands), window=rectangle))
            else:  # bands of a VRT or HDF5 may have a type each, and are read one by one
                each = [dataset.read(band, window=rectangle).astype(self.dtype) for band in self.bands]
                pixels = np.stack(each)
        if valid:
            pixels_valid = self._mask(dataset, rectangle)
            if pixels is not None and self.rule.uses_values:
                pixels_valid &= valid_from_values(pixels, self.rule)
        return pixels, pixels_valid

    def _decode_palette(self, dataset: Any, rectangle: RasterioWindow) -> tuple[Array, BoolArray]:
        table = np.frombuffer(self.palette or b"", np.uint8).reshape(-1, 4)
        index = dataset.read(1, window=rectangle)
        # A file may hold indices that its table lacks.
        colors = table[np.minimum(index, len(table) - 1)]
        valid = self._mask(dataset, rectangle) & (colors[..., 3] != 0)
        valid &= valid_from_values(index[None], self.rule)
        channels = [band - 1 for band in self.bands]
        return np.ascontiguousarray(np.moveaxis(colors[..., channels], -1, 0)), valid

    def _mask(self, dataset: Any, rectangle: RasterioWindow) -> BoolArray:
        """Validity as far as the mask or the alpha band tell it."""
        if self.rule.mask:
            return np.asarray((dataset.read_masks(list(self.rule.mask), window=rectangle) != 0).any(axis=0))
        if self.rule.alpha is not None:
            return np.asarray(dataset.read(self.rule.alpha, window=rectangle) != 0)
        return np.ones((rectangle.height, rectangle.width), bool)


def open_file(reference: str, *, bands: Sequence[int] | None = None, expand_palette: bool = True) -> Scene:
    """Open a raster file; reads its header only, and of a PNG whether it is there to its end.

    Everyone but the registry in :mod:`geoseg.io.sources` calls :func:`geoseg.io.sources.open_raster`.

    Parameters
    ----------
    reference, bands, expand_palette
        As there.

    Raises
    ------
    MissingFileError
        No such file.
    SceneError
        Not a raster, a PNG that is cut short, or bands that are not there.
    """
    # A name that is no local file may stand for something new each time it is opened.
    if container(reference) is None:
        forget_everywhere(reference)
    with opened_header(reference) as dataset:
        return scene_of(dataset, reference, bands=bands, expand_palette=expand_palette)


def scene_of(
    dataset: Any, reference: str, *, bands: Sequence[int] | None = None, expand_palette: bool = True
) -> Scene:
    """The scene of an open file; as :func:`open_file`."""
    header = read_header(dataset, reference, bands=bands, expand_palette=expand_palette)
    if dataset.driver == "PNG" and Path(reference).is_file():
        check_complete(Path(reference))
    return Scene(
        path=reference,
        name=Path(reference.removeprefix(SERVICE)).stem,
        geobox=header.geobox,
        bands=header.bands,
        dtype=header.dtype,
        nodata=header.nodata,
        rule=header.rule,
        acquired=header.acquired,
        file_block=header.block,
        in_order=dataset.driver in IN_ORDER,
        palette=header.palette,
        orientation=header.orientation,
    )
