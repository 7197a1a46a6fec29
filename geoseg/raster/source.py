"""A raster that is read by window: the one protocol behind files, arrays, mosaics and samples.

Everything that reads pixels takes a :class:`RasterSource`, or the smaller :class:`PixelSource` where it
does not care about names and files. A new kind of source is one class with these methods and one line in
:data:`geoseg.io.sources.OPENERS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pyproj import CRS

from geoseg.errors import InputError, SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.storage import storage_parts
from geoseg.geo.windows import Window
from geoseg.typing import Array, BoolArray

__all__ = [
    "PixelSource",
    "RasterHints",
    "RasterSource",
    "SceneReadError",
    "Shaped",
    "check_inside",
    "damaged",
    "fingerprint_of",
]


class SceneReadError(SceneError):
    """A region of a scene that can't be read, as in a truncated file.

    Attributes
    ----------
    path
        The file.
    window
        The region, in pixels of the scene as opened.
    reason
        What GDAL said.
    """

    def __init__(self, message: str, path: str = "", window: Window | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.window = window
        self.reason = reason

    # Exceptions are pickled with their message alone: from another process it would come without the window.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.path, self.window, self.reason)


def damaged(path: str, window: Window, reason: str, inner: Window | None = None) -> SceneReadError:
    """The error of a window that can't be read; ``inner`` is the same ground in pixels of the file."""
    # Both places, where they differ: the user knows the scene, gdalinfo and its kin know the file.
    where = f"{window} of {path}" + (f" (in the file: {inner})" if inner not in (None, window) else "")
    message = f"cannot read {where}: {reason}. The file is damaged or cut short there."
    return SceneReadError(message, path, window, reason)


def fingerprint_of(parts: object) -> str:
    """Fingerprint of a source that is made of others: of theirs, and of all that decides its pixels.

    Kept runs are known by it, so the parts of a source and their order stay as they are.
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def check_inside(window: Window, shape: tuple[int, int]) -> None:
    """Refuse a window that reaches out of a scene.

    Raises
    ------
    InputError
        It does.
    """
    if window.clipped(*shape) != window:  # a side below 0 is clipped to 0
        raise InputError(f"window must lie inside the scene of {shape[0]} x {shape[1]} pixels, got {window}.")


@dataclass(frozen=True)
class RasterHints:
    """What a source states about the meaning of its values.

    Attributes
    ----------
    scale, offset
        True values are stored ones times ``scale`` plus ``offset``; 1 and 0 where nothing is stated.
    descriptions
        Text of each band that is read; empty where there is none.
    class_names
        Names of the values 1, 2, ...; empty without.
    settings
        Settings of a run, by name, that the raster was made with and that decide its footprints.
    provenance
        What it says of its origin: the scene, the model and the options it was made with.
    """

    scale: float
    descriptions: tuple[str, ...]
    class_names: tuple[str, ...]
    offset: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_scaled(self) -> bool:
        """Whether stored values are not the true ones."""
        return self.scale != 1 or self.offset != 0


class PixelSource(Protocol):
    """Pixels that are read by window.

    Windows lie inside the raster. Reading is safe from several threads, and a source can be pickled.
    """

    @property
    def geobox(self) -> GeoBox:
        """Affine, CRS and shape of what is read."""

    @property
    def count(self) -> int:
        """Number of bands."""

    @property
    def dtype(self) -> str:
        """Of the pixels."""

    @property
    def has_validity(self) -> bool:
        """Whether any pixel may be invalid."""

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w); raises :class:`SceneReadError` where they can't be read."""

    def read_valid(self, window: Window) -> BoolArray:
        """Validity (h, w), True = data."""

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`, decoding once."""


class RasterSource(PixelSource, Protocol):
    """A scene: pixels with a name, files and an identity."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def crs(self) -> CRS | None:
        """Coordinate reference system, or None for pixel coordinates."""

    @property
    def name(self) -> str:
        """What to call it, and the files made of it."""

    @property
    def path(self) -> str:
        """What the user named it by; for messages."""

    @property
    def bands(self) -> tuple[int, ...]:
        """1-based bands that are read, in this order."""

    @property
    def nodata(self) -> float | None:
        """Value that stands for no data in the first band that has one."""

    @property
    def alpha(self) -> int | None:
        """1-based band that is 0 where there is no data; None without one."""

    @property
    def acquired(self) -> str | None:
        """ISO date it was taken, where known."""

    @property
    def file_block(self) -> tuple[int, int]:
        """(height, width) of pixels that are stored together."""

    @property
    def offset(self) -> tuple[int, int]:
        """(row, column) of its first pixel in what is stored, whose blocks begin there."""

    def hints(self) -> RasterHints:
        """What it states about the meaning of its values."""

    def files(self) -> Sequence[Path]:
        """The local files that pixels come from, at any depth: none of them may be written over."""

    def facts(self) -> dict[str, Any]:
        """How it is stored, JSON-ready, for ``geoseg info``."""

    def fingerprint(self) -> str:
        """Hash that changes when any pixel does; where that can't be known, :meth:`doubt` says so."""

    def doubt(self, since: float) -> str | None:
        """Why pixels may have changed after a time (Unix) unseen by the fingerprint; None: they have not."""

    def storage_parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """A window cut so that only what is really broken is lost: parts, and the stored unit of each."""

    def locate_damage(self, window: Window) -> SceneReadError | None:
        """What of a window that failed to be read is damaged, stored block by stored block; None: unknown."""


class Shaped:
    """What follows from the geobox, the bands and the storage blocks of a source, for those who write one."""

    if TYPE_CHECKING:  # at run time a property would become the default value of a dataclass's field

        @property
        def geobox(self) -> GeoBox: ...

        @property
        def bands(self) -> tuple[int, ...]: ...

        @property
        def file_block(self) -> tuple[int, int]: ...

        @property
        def offset(self) -> tuple[int, int]: ...

    def doubt(self, since: float) -> str | None:
        """None: the fingerprint is of all pixels."""
        return None

    @property
    def count(self) -> int:
        """Number of bands."""
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

    def storage_parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """A window cut along the storage blocks."""
        # Blocks are counted from the first pixel of what is stored, which a part of it need not begin at.
        return storage_parts(window, self.file_block, self.geobox.shape, self.offset)
