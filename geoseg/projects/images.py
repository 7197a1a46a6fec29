"""Images of annotated projects, read by window or decoded once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg.errors import SceneError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.sources import open_raster
from geoseg.raster.source import RasterSource
from geoseg.typing import Array, BoolArray, PathLike

__all__ = ["ImageFile", "is_complete", "open_image"]

#: Formats that can only be decoded from their beginning.
_WHOLE = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".webp"})
#: Values of an image kept in memory as a whole; larger ones are read by window, slowly.
_MOST_DECODED = 2**30
#: Bytes of a file's end that are looked at: a JPEG may have some bytes of a camera behind its last mark.
_TAIL = 65536


@dataclass
class ImageFile:
    """An image file, its alpha band among its bands.

    Tiled and striped formats are read by window. PNG, JPEG and their like are decoded once, when the first
    window is asked for, and kept as long as this object lives.

    Attributes
    ----------
    path
        The file.
    scene
        How it is read.
    """

    path: Path
    scene: RasterSource
    _pixels: Array | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.scene.height, self.scene.width

    @property
    def count(self) -> int:
        """Bands."""
        return self.scene.count

    @property
    def dtype(self) -> str:
        """Of the pixels."""
        return self.scene.dtype

    @property
    def has_validity(self) -> bool:
        """Whether any pixel may be invalid."""
        return self.scene.has_validity

    @property
    def alpha(self) -> int | None:
        """Channel of the alpha band, 0-based."""
        alpha = self.scene.alpha
        return self.scene.bands.index(alpha) if alpha in self.scene.bands else None

    @property
    def geobox(self) -> GeoBox:
        """Where the pixels lie."""
        return self.scene.geobox

    @property
    def decodes_whole(self) -> bool:
        """Whether the image is decoded in one go: its format asks for it, and its size allows it."""
        fits = self.scene.height * self.scene.width * self.scene.count <= _MOST_DECODED
        return fits and self.path.suffix.lower() in _WHOLE

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window; a read-only view of those of a format that is decoded once.

        Raises
        ------
        SceneReadError
            The file is damaged there.
        """
        if not self.decodes_whole:
            return self.scene.read(window)
        # Each window of a PNG would be decoded from the first row on again.
        if self._pixels is None:
            self._pixels = self.scene.read(
                Window(row_off=0, col_off=0, height=self.scene.height, width=self.scene.width)
            )
            # Windows are views of one array: a caller that writes into one would change the others.
            self._pixels.flags.writeable = False
        return self._pixels[:, window.rows, window.cols]

    def read_valid(self, window: Window) -> BoolArray:
        """True where there is data, (h, w)."""
        return self.scene.read_valid(window)

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """Both :meth:`read` and :meth:`read_valid`."""
        return self.read(window), self.read_valid(window)

    def forget(self) -> None:
        """Drop decoded pixels."""
        self._pixels = None

    def __getstate__(self) -> dict[str, Any]:
        # A worker decodes for itself; sending pixels takes longer.
        return {**self.__dict__, "_pixels": None}


def open_image(path: PathLike) -> ImageFile:
    """Open an image; reads its header only, and whether a file of pixels in one piece is there to its end.

    Raises
    ------
    MissingFileError, SceneError
        No such file, not an image, or one that is cut short.
    """
    scene, path = open_raster(path), Path(path)
    # Decoders fill what is missing at the end of a cut file, and copying does not decode. PNGs are checked
    # when they are opened, TIFFs where they are copied: elsewhere only some of their blocks are read.
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(-min(_TAIL, size), 2)
        tail = file.read()
    if not is_complete(head, tail, size):
        raise SceneError(f"image must be complete, got {path}, which is cut short. Copy it anew.")
    # Annotated images keep their alpha band: a layer that saves them must not make them opaque.
    if scene.alpha is not None:
        scene = open_raster(path, bands=sorted({*scene.bands, scene.alpha}))
    return ImageFile(path, scene)


def is_complete(head: bytes, tail: bytes, size: int) -> bool:
    """Whether a JPEG, BMP or WebP file is there to its end; True of other formats.

    Parameters
    ----------
    head, tail
        Its first 12 bytes, and its last ones.
    size
        Bytes.

    Examples
    --------
    >>> is_complete(b"\\xff\\xd8\\xff\\xe0", b"...\\xff\\xd9", 100)
    True
    >>> is_complete(b"BM\\xff\\x00\\x00\\x00", b"...", 100)
    False
    """
    # Each of the three says where it ends: by a mark, or by its length in the header.
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") <= size
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return int.from_bytes(head[4:8], "little") + 8 <= size
    return True
