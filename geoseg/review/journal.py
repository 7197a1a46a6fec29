"""The journal: one JSON line an edit, on the disk before the edit is answered. All else follows from it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geoseg.errors import InputError
from geoseg.files import json_text, write_error

__all__ = ["Journal", "read_lines"]


class Journal:
    """An open journal, to which lines are added; close it in the end.

    A last line without its end was never answered, because the power failed while it was written: it is cut
    off when the journal is opened.

    Attributes
    ----------
    path
        The file.
    size
        Bytes of its complete lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.touch()
            # Without a buffer: what Python held back would not be on the disk when the edit is answered.
            self._file = path.open("r+b", buffering=0)
        except OSError as error:
            raise write_error(path, error) from error
        self.size = _end_of_lines(self._file)
        self._file.truncate(self.size)

    def close(self) -> None:
        """Close the file. Twice is fine."""
        self._file.close()

    def append(self, line: Mapping[str, Any]) -> int:
        """Add a line and wait until it is on the disk; returns where it begins.

        Raises
        ------
        RunError
            The disk is full (``DiskFullError``) or failed; the journal is as before.
        """
        start, content = self.size, json_text(line).encode() + b"\n"
        try:
            self._file.seek(start)
            _write(self._file, content)
            # The page shows an edit once this returns, and a power loss must not take it back.
            os.fsync(self._file.fileno())
        except OSError as error:
            # Half a line would be read as a damaged journal when the next one follows it.
            self.cut(start)
            raise write_error(self.path, error) from error
        self.size = start + len(content)
        return start

    def cut(self, size: int) -> None:
        """Take back the lines behind ``size``, which nobody was told of."""
        self._file.truncate(size)
        self.size = size

    def line_at(self, start: int) -> dict[str, Any]:
        """The line that begins at a byte."""
        return next(read_lines(self.path, start))[2]


def _write(file: io.FileIO, content: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part, and raises with the next one."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _end_of_lines(file: io.FileIO) -> int:
    """Where the last complete line of a file ends."""
    # From the end: a journal may have grown over months, and one line is looked for.
    end, step = file.seek(0, os.SEEK_END), 1 << 16
    while end > 0:
        start = max(0, end - step)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Complete lines of a journal, each after where it begins and ends, from one that begins at ``start``.

    Raises
    ------
    InputError
        A line that is none.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(start)
        for content in file:
            # A running server is writing it, or the power failed: it was not answered.
            if not content.endswith(b"\n"):
                return
            try:
                line = json.loads(content)
                revision = line["revision"]
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f"a line of the journal must be an edit, got another at byte {start} of {path}. Restore "
                    "the file from a copy, or cut it off there to keep the edits before."
                ) from None
            if not isinstance(revision, int):
                raise InputError(f"revision must be a whole number, got {revision!r} in {path}.")
            yield start, start + len(content), line
            start += len(content)
