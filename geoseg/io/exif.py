"""How a photo was held: the orientation tag of EXIF, in TIFF, PNG and WebP files.

Of JPEG, GDAL gives it. Of the others it does not, so it is read here, from a few bytes of the file.

References
----------
CIPA DC-008 (Exif 2.32), section 4.6.4, tag 274; TIFF 6.0, section 2; PNG, third edition, section 11.3.4.5;
WebP Container Specification, "Metadata".
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

__all__ = ["read_orientation"]

_TAG = 274
_SHORT = 3
#: More entries than any real directory has: what a damaged file claims is not read.
_MOST_ENTRIES = 4096


def read_orientation(path: Path) -> int:
    """Orientation of a local file: 1 as stored, 2 to 8 mirrored or turned; 1 where the file states none."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                value = _directory(file, 0)
            elif head.startswith(b"\x89PNG\r\n\x1a\n"):
                value = _chunk(file, 8, ">I4s", b"eXIf", 4)
            elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
                value = _chunk(file, 12, "<4sI", b"EXIF", 0)
            else:
                return 1
    except (OSError, OverflowError, struct.error):  # cut short: whoever reads the pixels says so
        return 1
    return value if 1 <= value <= 8 else 1


def _chunk(file: BinaryIO, start: int, layout: str, name: bytes, check: int) -> int:
    """Of the chunk called ``name``; each has a name, a length and ``check`` bytes behind its content."""
    # Ends at the chunk or, beyond the end of the file, with too few bytes to unpack.
    while True:
        file.seek(start)
        first, second = struct.unpack(layout, file.read(8))
        kind, size = (first, second) if isinstance(first, bytes) else (second, first)
        if kind == name:
            # Some writers of WebP begin with the mark of a JPEG's segment
            return _directory(file, start + 8 + 6 * (file.read(6) == b"Exif\0\0"))
        # Chunks of WebP, which have no checksum, begin at even places.
        start += 8 + size + check + (size % 2 if check == 0 else 0)


def _directory(file: BinaryIO, base: int) -> int:
    """Of the first directory of a TIFF, or of EXIF data, which have the form of one."""
    file.seek(base)
    head = file.read(16)
    order = ">" if head[:2] == b"MM" else "<"
    big = struct.unpack(order + "H", head[2:4])[0] == 43  # BigTIFF: longer places and counts
    (place,) = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])
    file.seek(base + place)
    (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    size = 20 if big else 12
    entries = file.read(min(count, _MOST_ENTRIES) * size)
    for at in range(0, len(entries) - size + 1, size):
        tag, kind = struct.unpack_from(order + "HH", entries, at)
        if tag == _TAG and kind == _SHORT:
            return int(struct.unpack_from(order + "H", entries, at + size - (8 if big else 4))[0])
    return 1
