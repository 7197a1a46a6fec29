"""Masks as text: base64 of a PNG, compressed once more with zlib.

References
----------
The annotation format documented in github.com/supervisely/docs, data-organization/Annotation-JSON-format.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from geoseg.compiled import kernel
from geoseg.errors import InputError
from geoseg.projects.figures.stored import LARGE, STRIP, StoredMask, pack_rows, store_mask, store_rows
from geoseg.typing import BoolArray

__all__ = ["MOST_PIXELS", "decode_mask", "decode_pixels", "encode_mask", "mask_limit"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Most pixels of a mask: those of a scene.
MOST_PIXELS = 2**32
#: For small images: a mask may reach out of them by more than a factor.
_SPARE_PIXELS = 2**24


def encode_mask(mask: BoolArray | StoredMask) -> str:
    """Write a mask the way labeling tools expect: a one-bit palette PNG, False transparent.

    A compressed mask is written strip by strip.

    Examples
    --------
    >>> decode_mask(encode_mask(np.eye(2, dtype=bool))).tolist()
    [[True, False], [False, True]]
    """
    # Written by hand, for Pillow takes a whole picture of a byte a pixel.
    if isinstance(mask, StoredMask):
        return base64.b64encode(zlib.compress(_png_of_rows(mask), 1)).decode("ascii")
    image = Image.fromarray(np.ascontiguousarray(mask).astype(np.uint8), mode=None)
    palette = Image.new("P", image.size)
    palette.frombytes(image.tobytes())
    palette.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=0, bits=1)
    # Level 1: the PNG inside is compressed already, and readers want the zlib around it.
    return base64.b64encode(zlib.compress(buffer.getvalue(), 1)).decode("ascii")


def decode_mask(text: str, most_pixels: int = MOST_PIXELS) -> BoolArray:
    """Read a mask: alpha above 0 where the PNG has an alpha channel or a transparent color, else nonzero.

    Base64 of a bare PNG, without the zlib around it, is understood too.

    Parameters
    ----------
    text
        The base64.
    most_pixels
        A larger mask is refused before it takes memory.

    Raises
    ------
    InputError
        Broken base64, zlib or PNG, or a mask that is too large.
    """
    png = _png_bytes(text, most_pixels)
    try:
        # The class itself, not Image.open: its limit on pixels is global and far below a scene.
        with PngImagePlugin.PngImageFile(io.BytesIO(png)) as image:
            return _mask_of(image)
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error) as error:
        raise InputError(f"bitmap data must be a PNG, got one that can't be read ({error}).") from None


def decode_pixels(text: str, most_pixels: int = MOST_PIXELS) -> BoolArray | StoredMask:
    """As :func:`decode_mask`, but a large mask stays compressed, and is read strip by strip.

    Raises
    ------
    InputError
        As there.
    """
    png = _png_bytes(text, most_pixels)
    # The header has been checked, so the size stands there.
    width, height = struct.unpack(">II", png[16:24])
    if width * height <= LARGE:
        return decode_mask(text, most_pixels)
    try:
        return store_rows(_rows_of(png), height, width)
    except _OtherPngError:
        # Other programs' PNGs are decoded by Pillow all at once, and packed after.
        return store_mask(decode_mask(text, most_pixels))
    except zlib.error as error:
        raise InputError(f"bitmap data must be a PNG, got one that can't be read ({error}).") from None


class _OtherPngError(Exception):
    """A PNG that is no sequence of packed rows."""


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of a PNG's parts."""
    place = len(_SIGNATURE)
    while place + 8 <= len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        place += size + 12


def _rows_of(png: bytes) -> Iterator[NDArray[np.uint8]]:
    """Packed rows of a one-bit PNG, strip by strip: 1 on the object.

    Raises
    ------
    _OtherPngError
        Its pixels have more bits, or its rows are interlaced.
    """
    parts: dict[bytes, bytes] = {}
    for name, data in _chunks(png):
        parts[name] = parts.get(name, b"") + data
    header = parts.get(b"IHDR", b"")
    if len(header) != 13:
        raise _OtherPngError
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    alpha = parts.get(b"tRNS")
    if depth != 1 or color not in (0, 3) or interlaced or (alpha is not None and color == 0):
        raise _OtherPngError
    if alpha is not None and (b"\x00" not in alpha[:2] or not re.fullmatch(b"\xff*\x00\xff*", alpha)):
        raise _OtherPngError
    # Where color 1 is the transparent one, object and background change places.
    flip = 255 if alpha is not None and alpha.find(b"\x00") == 1 else 0
    stream, tail = zlib.decompressobj(), parts.get(b"IDAT", b"")
    # A byte in front of every row names its filter; each row is filtered against the one above.
    stride = 1 + -(-width // 8)
    above = np.zeros(stride, np.uint8)
    for top in range(0, height, STRIP):
        need, pieces = min(STRIP, height - top) * stride, []
        while need:
            piece = stream.decompress(tail, need)
            tail = stream.unconsumed_tail
            if not piece:
                raise InputError("bitmap data must be a PNG, got one that is cut short.")
            pieces.append(piece)
            need -= len(piece)
        rows = np.frombuffer(bytearray().join(pieces), np.uint8).reshape(-1, stride)
        if not _unfilter(rows, above):
            raise InputError("bitmap data must be a PNG, got one with an unknown filter.")
        above = rows[-1].copy()
        yield rows[:, 1:] ^ np.uint8(flip)


@kernel
def _unfilter(rows: NDArray[np.uint8], above: NDArray[np.uint8]) -> bool:
    """Undo a PNG's filters in place, whose kinds stand in the first column; False where one is unknown.

    References
    ----------
    W3C, Portable Network Graphics Specification (Third Edition), section 9.2.
    """
    for row in rows:
        kind = row[0]
        if kind > 4:
            return False
        for i in range(1, len(row)):
            left = int(row[i - 1]) if i > 1 else 0
            up = int(above[i])
            corner = int(above[i - 1]) if i > 1 else 0
            guess = 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) // 2
            elif kind == 4:
                to_left, to_up = abs(up - corner), abs(left - corner)
                to_corner = abs(left + up - 2 * corner)
                guess = corner
                if to_left <= to_up and to_left <= to_corner:
                    guess = left
                elif to_up <= to_corner:
                    guess = up
            row[i] = (int(row[i]) + guess) & 255
        above = row
    return True


def _png_of_rows(mask: StoredMask) -> bytes:
    """A one-bit palette PNG, False transparent, made strip by strip."""
    height, width = mask.shape
    # Level 6 is zlib's own default. Rows get filter 0, which leaves bits of a mask as they are.
    stream = zlib.compressobj(6)
    data = bytearray()
    for rows in pack_rows(mask):
        data += stream.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    data += stream.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", b"\0\0\0\xff\xff\xff"),
        (b"tRNS", b"\0"),
        (b"IDAT", bytes(data)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def mask_limit(height: int, width: int) -> int:
    """Most pixels of a mask on an image: it may reach out of it, but not take memory out of proportion."""
    return min(MOST_PIXELS, 4 * height * width + _SPARE_PIXELS)


def _mask_of(image: Image.Image) -> BoolArray:
    # Tools write masks as gray, as palettes and with alpha; only where nothing is transparent do values
    # count.
    if image.mode in ("1", "L", "I", "I;16") and "transparency" not in image.info:
        return np.asarray(image) != 0
    if image.mode == "P" and "transparency" not in image.info:
        return np.asarray(image) != 0
    transparent = image.info.get("transparency")
    if image.mode == "P" and isinstance(transparent, int):
        return np.asarray(image) != transparent
    if image.mode not in ("P", "RGBA", "LA", "L", "1"):
        raise InputError(f"bitmap data must be a PNG with one channel or with alpha, got mode {image.mode}.")
    return np.asarray(image.convert("RGBA").getchannel("A")) > 0


def _png_bytes(text: str, most_pixels: int) -> bytes:
    if not isinstance(text, str):
        raise InputError(f"bitmap data must be base64 text, got {type(text).__name__}.")
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"bitmap data must be base64, got text that is not ({error}).") from None
    if packed.startswith(_SIGNATURE):
        _check_header(packed, most_pixels)
        return packed
    try:
        unpacker = zlib.decompressobj()
        # The header first: a few bytes may unfold to gigabytes.
        head = unpacker.decompress(packed, 64)
        limit = _check_header(head, most_pixels)
        return head + unpacker.decompress(unpacker.unconsumed_tail, limit)
    except zlib.error as error:
        raise InputError(
            f"bitmap data must be a zlib-compressed PNG, got data that is not ({error})."
        ) from None


def _check_header(head: bytes, most_pixels: int) -> int:
    """Bytes that a PNG of the size told by its header can take at most."""
    if len(head) < 24 or not head.startswith(_SIGNATURE):
        raise InputError("bitmap data must be a PNG, got data without its signature.")
    width, height = struct.unpack(">II", head[16:24])
    if width * height > most_pixels or not width or not height:
        raise InputError(f"bitmap data must have 1 to {most_pixels} pixels, got {width} x {height}.")
    # Eight bytes a pixel (four channels of 16 bits), a filter byte a row, and room for other parts.
    return 8 * (width + 1) * (height + 1) + 65536
