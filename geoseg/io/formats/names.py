"""Names of datasets and images that are safe as file names, and paths that stay inside their folder."""

from __future__ import annotations

import re
from pathlib import Path

from geoseg.errors import InputError, MissingFileError
from geoseg.typing import PathLike

__all__ = ["IMAGE_SUFFIXES", "UniqueNames", "inside", "list_images", "safe_name"]

#: Endings of files that count as images.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".vrt"})

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def safe_name(name: str) -> str:
    """``name`` as one legal file name on every system: no separators, no ``..``, no control characters.

    Raises
    ------
    InputError
        Nothing legal is left of it.

    Examples
    --------
    >>> safe_name("../../etc/passwd.png")
    'etc_passwd.png'
    >>> safe_name("Vienna 1.tif")
    'Vienna 1.tif'
    """
    parts = [part.strip() for part in _UNSAFE.split(name)]
    legal = "_".join(part for part in parts if part.strip(". ")).strip(" ").rstrip(".")
    if not legal:
        raise InputError(f"name must have a letter or a digit, got {name!r}. Rename it.")
    return f"_{legal}" if _RESERVED.match(legal) else legal


class UniqueNames:
    """Hands out safe file names, none twice (letter case aside).

    Examples
    --------
    >>> names = UniqueNames()
    >>> names("a/1.png"), names("a_1.png"), names("A_1.PNG")
    ('a_1.png', 'a_1_2.png', 'A_1_3.PNG')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self.renamed: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The safe name; a counter is put before the suffix where it is taken already."""
        legal = safe_name(name)
        stem, suffix = Path(legal).stem, Path(legal).suffix
        unique, number = legal, 1
        while unique.casefold() in self._taken:
            number += 1
            unique = f"{stem}_{number}{suffix}"
        self._taken.add(unique.casefold())
        if unique != name:
            self.renamed[name] = unique
        return unique


def inside(folder: PathLike, name: str, *, what: str = "path") -> Path:
    """``folder / name``, which must not leave the folder.

    Raises
    ------
    InputError
        An absolute path, or one that leads out of the folder.
    """
    base = Path(folder).resolve()
    path = (base / name.replace("\\", "/")).resolve()
    if not path.is_relative_to(base):
        raise InputError(f"{what} must stay inside {folder}, got {name!r}.")
    return path


def list_images(folder: PathLike, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder in the order of their names.

    Raises
    ------
    MissingFileError
        There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"no such folder: {folder}")
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() and p.name[0] != ".")
