"""By what a review knows files again: their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from geoseg.files import json_digest
from geoseg.io.vectors import VectorFile
from geoseg.io.vectors.formats import belonging_files

__all__ = ["file_sha", "vector_identity"]


def file_sha(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def vector_identity(source: VectorFile) -> dict[str, Any]:
    """What makes it the same footprints: the bytes of all their files. By no time: copies are the same."""
    path = source.path
    if path.is_dir():
        # A program that has a geodatabase open marks it so.
        files = [file for file in belonging_files(path) if file.is_file() and file.suffix != ".lock"]
        shas = {file.relative_to(path).as_posix(): file_sha(file) for file in files}
        return {"layer": source.layer, "sha256": json_digest(shas)}
    # Journals of SQLite come and go while others read.
    files = [file for file in belonging_files(path) if not file.name.endswith(("-wal", "-journal"))]
    shas = {file.suffix.lower(): file_sha(file) for file in files if file != path}
    beside = {"beside": json_digest(shas)} if shas else {}
    return {"layer": source.layer, "sha256": file_sha(path), **beside}
