"""Masks as text: base64 of a PNG, compressed once more with zlib.

References
----------
The annotation format documented in github.com/supervisely/docs, data-organization/Annotation-JSON-format.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

from geoseg.errors import InputError
from geoseg.typing import BoolArray

__all__ = ["MOST_PIXELS", "decode_mask", "encode_mask", "mask_limit"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Most pixels of a mask: those of a scene.
MOST_PIXELS = 2**32
_SPARE_PIXELS = 2**24


def encode_mask(mask: BoolArray) -> str:
    """Write a mask the way labelling tools expect: a one-bit palette PNG, False transparent.

    Examples
    --------
    >>> decode_mask(encode_mask(np.eye(2, dtype=bool))).tolist()
    [[True, False], [False, True]]
    """
    image = Image.fromarray(np.ascontiguousarray(mask).astype(np.uint8), mode=None)
    palette = Image.new("P", image.size)
    palette.frombytes(image.tobytes())
    palette.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=0, bits=1)
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


def mask_limit(height: int, width: int) -> int:
    """Most pixels of a mask on an image: it may reach out of it, but not take memory out of proportion."""
    return min(MOST_PIXELS, 4 * height * width + _SPARE_PIXELS)


def _mask_of(image: Image.Image) -> BoolArray:
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
    return 8 * (width + 1) * (height + 1) + 65536
