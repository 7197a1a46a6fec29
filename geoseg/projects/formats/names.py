"""Names of datasets and images that are safe as file names, whatever they were elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from geoseg.errors import InputError, MissingFileError
from geoseg.projects.project import IMAGE_SUFFIXES
from geoseg.typing import PathLike

__all__ = ["UniqueNames", "list_images", "safe_name"]

#: A VRT points to other files, so it can't be taken over by itself.
_SUFFIXES = IMAGE_SUFFIXES - {".vrt"}
#: Below what a project takes, so that a counter and endings still fit.
_LONGEST = 150
#: A longer "suffix" is a name with a dot in it, and may be cut.
_LONGEST_SUFFIX = 20

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
    # Separators become underscores: a/1.png and b/1.png stay two names.
    parts = [part.strip() for part in _UNSAFE.split(name)]
    legal = "_".join(part for part in parts if part.strip(". ")).strip(" ").rstrip(". ")
    if not legal:
        raise InputError(f"name must have a letter or a digit, got {name!r}. Rename it.")
    # Names of devices on Windows, with any extension.
    if _RESERVED.match(legal):
        legal = f"_{legal}"
    if len(legal) <= _LONGEST:
        return legal
    suffix = Path(legal).suffix
    suffix = suffix if len(suffix) <= _LONGEST_SUFFIX else ""
    return legal.removesuffix(suffix)[: _LONGEST - len(suffix)].rstrip(". ") + suffix


class UniqueNames:
    """Hands out safe file names, no stem twice (letter case aside): annotations may be named by the stem.

    Examples
    --------
    >>> names = UniqueNames()
    >>> names("a/1.png"), names("a_1.tif"), names("A_1.PNG")
    ('a_1.png', 'a_1_2.tif', 'A_1_3.PNG')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self.renamed: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The safe name; a counter is put before the suffix where it is taken already."""
        legal = safe_name(name)
        stem, suffix = Path(legal).stem, Path(legal).suffix
        unique, number = legal, 1
        while Path(unique).stem.casefold() in self._taken:
            number += 1
            unique = f"{stem}_{number}{suffix}"
        self._taken.add(Path(unique).stem.casefold())
        if unique != name:
            self.renamed[name] = unique
        return unique


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
    paths = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(p for p in paths if p.suffix.lower() in _SUFFIXES and p.is_file() and p.name[0] != ".")
