"""The record of finished chunks: one line each, which says that the chunk counts, and by what it is known."""

from __future__ import annotations

import json
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c

__all__ = ["ChunkRecord", "log_line", "read_log"]

#: As zarr's crc32c codec puts it behind a chunk.
_CHECKSUM = struct.Struct("<I")


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


def log_line(chunk: tuple[int, int], record: ChunkRecord) -> str:
    """The line of a finished chunk, with a checksum of its own: a kill may leave half of it."""
    # One line of text a chunk: appending is all that a run does to the file, and a person can read it.
    text = json.dumps([*chunk, record.checksum, record.failures])
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def read_log(path: Path) -> dict[tuple[int, int], ChunkRecord]:
    """Records of finished chunks; lines that are cut or changed are left out, and so are their chunks."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return {}
    records = {}
    for check, _, text in (line.partition(b" ") for line in lines):
        if check == f"{zlib.crc32(text):08x}".encode():
            # A line whose checksum is right may be of another version.
            with suppress(ValueError, TypeError, RecursionError):
                row, col, checksum, failures = json.loads(text)
                records[int(row), int(col)] = ChunkRecord(int(checksum), list(failures))
    return records
