"""Whether an image file is all there, where the decoder does not tell.

GDAL reads a PNG that was cut off as if the missing rows were black, without an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from geoseg.raster.source import SceneReadError

__all__ = ["check_complete"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_complete(path: Path) -> None:
    """Walk over the chunks of a PNG to its end mark; other formats are left to their decoder.

    Raises
    ------
    SceneReadError
        The file ends before its end mark.

    References
    ----------
    PNG specification, third edition, section 5: a chunk is length, type, data and CRC; the last is IEND.
    """
    with path.open("rb") as file:
        if file.read(8) == _SIGNATURE and not _reaches_end(file, path.stat().st_size):
            raise SceneReadError(
                f"image must be complete, got {path}, which is cut short: a truncated PNG, which can't be "
                "read in part because its decoder gives what is missing as black. Copy it anew.",
                str(path),
            )


def _reaches_end(file: BinaryIO, size: int) -> bool:
    position = 8
    # A chunk is 4 bytes of length, 4 of its name, the data, and 4 of a checksum.
    while position + 12 <= size:
        file.seek(position)
        head = file.read(8)
        position += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return position <= size
    return False
