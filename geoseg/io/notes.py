"""Notes that several processes of one computer take, and any of them reads."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import uuid
import weakref
from pathlib import Path

__all__ = ["SharedNotes"]

logger = logging.getLogger(__name__)

#: Appending is atomic among processes for short lines. A link put at the file's place is not followed.
_MODE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)


class SharedNotes:
    """Pairs of texts, each once, of this process and of those that were given a copy of the notes.

    A copy comes with a fork or by pickling. The processes that have one append lines to a temporary file. The
    first of them makes that file, and it is removed with the notes of the process that began them.
    """

    def __init__(self) -> None:
        self._own: dict[tuple[str, str], None] = {}
        self._path = Path(tempfile.gettempdir(), f"geoseg-{uuid.uuid4().hex}.notes")
        self._first = os.getpid()
        weakref.finalize(self, _remove, self._path, self._first)

    def add(self, subject: str, text: str) -> bool:
        """Take a note; returns whether it is new to this process."""
        if (subject, text) in self._own:
            return False
        self._own[subject, text] = None
        # Only the others write: the process that reads the file has its own notes in memory.
        if os.getpid() != self._first:
            self._write(json.dumps([os.getpid(), subject, text]) + "\n")
        return True

    def _write(self, line: str) -> None:
        try:
            handle = os.open(self._path, _MODE, 0o600)
            try:
                written = os.write(handle, line.encode())  # at once, so that it is not mixed with others
                if written < len(line.encode()):
                    raise OSError("only a part of a line was written")
            finally:
                os.close(handle)
        except OSError as error:
            logger.warning("%s can't be written: %s", self._path, error)

    def read(self) -> list[tuple[str, str]]:
        """Notes of this process, and then those of the others as they took them."""
        if not self._path.is_file():
            return list(self._own)
        lines = self._path.read_text(encoding="utf-8").split("\n")
        entries = [entry for line in lines if (entry := _whole(line))]
        return list(dict.fromkeys([*self._own, *((subject, text) for _, subject, text in entries)]))


def _whole(line: str) -> tuple[int, str, str] | None:
    """An entry; None of a line that is on its way, or was cut by a full disk."""
    try:
        number, subject, text = json.loads(line)
    except ValueError:
        return None
    return number, subject, text


def _remove(path: Path, first: int) -> None:
    if os.getpid() == first:  # not in a forked process that ends
        path.unlink(missing_ok=True)
