"""The record of finished chunks: one line each, which says that the chunk counts, and by what it is known.

A chunk with regions that could not be read counts once a line after it says that the scene was there to be
read: of one that was not, nothing was skipped for good. Nothing that lies on the same disk has to be removed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from geoseg.typing import BoolArray

__all__ = ["ChunkRecord", "ChunkRecords", "checked_line", "log_line", "read_log"]

#: As zarr's crc32c codec puts it behind a chunk.
_CHECKSUM = struct.Struct("<I")
#: What a line holds after which skipped regions count.
_CHECKED = ["scene was there"]


@dataclass(frozen=True)
class ChunkRecord:
    """What is known of a finished chunk: its checksum, and the regions its blocks could not read."""

    checksum: int
    failures: list[dict[str, Any]]

    @classmethod
    def of(cls, packed: bytes, failures: list[dict[str, Any]]) -> ChunkRecord:
        """The record of a compressed chunk."""
        return cls(google_crc32c.value(packed), failures)

    def sealed(self, packed: bytes) -> bytes:
        """A chunk's file: the compressed chunk with the checksum behind it."""
        return packed + _CHECKSUM.pack(self.checksum)

    def unsealed(self, content: bytes) -> bytes | None:
        """The compressed chunk in a file; None where the file is not what was written."""
        packed, end = content[: -_CHECKSUM.size], content[-_CHECKSUM.size :]
        # Against the record first: a good chunk of another run, or of another place, is not this one.
        if end == _CHECKSUM.pack(self.checksum) and google_crc32c.value(packed) == self.checksum:
            return packed
        return None


class ChunkRecords(MutableMapping[tuple[int, int], ChunkRecord]):
    """Records of the finished chunks of a scene, in row order: five bytes for each of its chunks.

    A record as an object takes a hundred times that, and a country as one scene has half a million chunks.

    Parameters
    ----------
    shape
        Chunks of the scene along y and x.

    Attributes
    ----------
    finished : (rows, columns) bool
        Which chunks have a record.
    failures
        Regions that could not be read, of those finished chunks that have any.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.finished: BoolArray = np.zeros(shape, np.bool_)
        self.failures: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self._checksums = np.zeros(shape, np.uint32)

    def __getitem__(self, chunk: tuple[int, int]) -> ChunkRecord:
        rows, cols = self.finished.shape
        # A negative index would be another chunk.
        if not (0 <= chunk[0] < rows and 0 <= chunk[1] < cols and self.finished[chunk]):
            raise KeyError(chunk)
        return ChunkRecord(int(self._checksums[chunk]), self.failures.get(chunk, []))

    def __setitem__(self, chunk: tuple[int, int], record: ChunkRecord) -> None:
        self._checksums[chunk] = record.checksum
        self.finished[chunk] = True
        self.failures.pop(chunk, None)
        if record.failures:
            self.failures[chunk] = record.failures

    def __delitem__(self, chunk: tuple[int, int]) -> None:
        self.finished[chunk] = False
        self.failures.pop(chunk, None)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # By row, so that no list of all of them is made.
        for row, finished in enumerate(self.finished):
            for col in np.flatnonzero(finished):
                yield row, int(col)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.finished))


def log_line(chunk: tuple[int, int], record: ChunkRecord) -> str:
    """The line of a finished chunk, with a checksum of its own: a kill may leave half of it."""
    # One line of text a chunk: appending is all that a run does to the file, and a person can read it.
    return _line([*chunk, record.checksum, record.failures])


def checked_line() -> str:
    """The line that lets regions count which could not be read before it."""
    return _line(_CHECKED)


def _line(entry: list[Any]) -> str:
    text = json.dumps(entry)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def read_log(path: Path, shape: tuple[int, int]) -> ChunkRecords:
    """Records of finished chunks of a scene that has ``shape`` chunks.

    Lines that are cut or changed are left out, and so are their chunks; and chunks with regions that could
    not be read while nobody knows whether the scene was there.
    """
    records = ChunkRecords(shape)
    unsure: set[tuple[int, int]] = set()
    # Line by line: of a large scene they are many.
    with suppress(OSError), path.open("rb") as log:
        for check, _, text in (line.rstrip(b"\n").partition(b" ") for line in log):
            if check == f"{zlib.crc32(text):08x}".encode():
                # A line whose checksum is right may be of another version.
                with suppress(ValueError, TypeError, RecursionError, OverflowError):
                    entry = json.loads(text)
                    if entry == _CHECKED:
                        unsure.clear()
                        continue
                    row, col, checksum, failures = entry
                    if 0 <= row < shape[0] and 0 <= col < shape[1]:
                        records[int(row), int(col)] = ChunkRecord(int(checksum), list(failures))
                        if failures:
                            unsure.add((int(row), int(col)))
    for chunk in unsure & records.failures.keys():
        del records[chunk]
    return records
