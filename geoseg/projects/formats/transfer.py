"""Taking image files over whole, and folders and lists that go with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import InputError
from geoseg.files import Staged, json_text
from geoseg.typing import PathLike

__all__ = ["Failure", "staged_folder", "take_over", "write_json"]

#: Files that belong to an image, by its name and by its stem: metadata, overviews, masks, world files.
_BY_NAME = (".aux.xml", ".ovr", ".msk")
_BY_STEM = (".wld", ".prj")
_WORLD_FILES = {
    ".tif": (".tfw", ".tifw"),
    ".tiff": (".tfw", ".tiffw"),
    ".jpg": (".jgw", ".jpgw"),
    ".jpeg": (".jgw", ".jpegw"),
    ".png": (".pgw", ".pngw"),
    ".jp2": (".j2w",),
}


@dataclass(frozen=True)
class Failure:
    """An image that could not be done, or samples of one.

    Attributes
    ----------
    image
        DATASET/NAME, after the project where there are several.
    reason
        What went wrong.
    samples
        How many samples of a graph it went wrong with.
    """

    image: str
    reason: str
    samples: int = 1


def take_over(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy an image byte for byte, or give it a second name (hard link) where the file system can.

    Files beside it that hold its georeference, overviews or mask are taken along under the new name.
    """
    for old, new in ((source, target), *_companions(source, target)):
        if not (link and _linked(old, new)):
            shutil.copyfile(old, new)


def _linked(old: Path, new: Path) -> bool:
    try:
        os.link(old.resolve(), new)
    except OSError:  # another file system, or one without links
        return False
    return True


def _companions(source: Path, target: Path) -> list[tuple[Path, Path]]:
    pairs = [(source.with_name(source.name + end), target.with_name(target.name + end)) for end in _BY_NAME]
    for end in (*_WORLD_FILES.get(source.suffix.lower(), ()), *_BY_STEM):
        pairs.append((source.with_suffix(end), target.with_suffix(end)))
    return [pair for pair in pairs if pair[0].is_file()]


@contextmanager
def staged_folder(path: PathLike) -> Iterator[Path]:
    """A temporary folder beside ``path`` that gets its name when the block ends well, else is removed.

    Raises
    ------
    InputError
        ``path`` is there and not an empty folder, or its parent can't be written.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"output must be a new folder, got {path}, which exists. Name another or remove it.")
    with Staged.folder(path) as staged:
        yield staged.path


def write_json(path: Path, value: object, *, indent: int | None = 2) -> None:
    """Write JSON as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(value, indent=indent) + "\n", encoding="utf-8")
