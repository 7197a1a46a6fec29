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

_MODE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)


class SharedNotes:
    """Pairs of texts, told of also by processes that were given a copy of this, forked or pickled.

    Those processes write to a temporary file, line by line; it is made by the first of them, and removed with
    the notes that were there first.
    """

    def __init__(self) -> None:
        self._own: list[tuple[str, str]] = []
        self._path = Path(tempfile.gettempdir(), f"geoseg-{uuid.uuid4().hex}.notes")
        self._first = os.getpid()
        weakref.finalize(self, _remove, self._path, self._first)

    def add(self, subject: str, text: str) -> bool:
        """Take a note; returns whether it is new to this process."""
        new = (subject, text) not in self._own
        self._own.append((subject, text))
        if os.getpid() != self._first:
            self._write(json.dumps([os.getpid(), subject, text]) + "\n")
        return new

    def _write(self, line: str) -> None:
        try:
            handle = os.open(self._path, _MODE, 0o600)
            try:
                os.write(handle, line.encode())  # whole: what is appended at once is not mixed
            finally:
                os.close(handle)
        except OSError as error:
            logger.warning("%s can't be written: %s", self._path, error)

    def read(self) -> list[tuple[str, str]]:
        """Notes of this process, and then those of the others as they took them."""
        if not self._path.is_file():
            return list(self._own)
        whole, _, _ = self._path.read_text(encoding="utf-8").rpartition(
            "\n"
        )  # another line may be on its way
        entries = [json.loads(line) for line in whole.splitlines()]
        return [*self._own, *((entry[1], entry[2]) for entry in entries if entry[0] != os.getpid())]


def _remove(path: Path, first: int) -> None:
    if os.getpid() == first:  # not in a forked process that ends
        path.unlink(missing_ok=True)
