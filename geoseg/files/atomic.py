"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geoseg.errors import InputError

__all__ = ["staged_file"]


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Give a temporary path of the same name, in a folder beside ``path``; move the file when all went well.

    Only the file of that name is moved; whatever else was made in the folder goes with it.

    Raises
    ------
    InputError
        The folder can't be written, or ``path`` is a folder.
    """
    folder = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir()
    except OSError as error:
        raise InputError(
            f"output must be a file that can be written, got {path}: {error.strerror}. "
            "Choose another folder, or change its permissions."
        ) from error
    try:
        staged = folder / path.name
        yield staged
        with staged.open("rb") as handle:
            os.fsync(handle.fileno())
        staged.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
