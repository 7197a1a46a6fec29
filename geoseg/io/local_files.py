"""The local files behind a raster's name, at any depth: in archives, inside other files, in VRTs of VRTs."""

from __future__ import annotations

import functools
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.io.names import container, in_archive, is_remote
from geoseg.io.vrt import is_vrt, vrt_sources

__all__ = ["LocalFiles", "Watch", "file_stamp", "files_by_stem", "stat_stamp", "walk_files"]

#: So many files are looked at before every read; more of them, only in this share of the time.
_FEW_FILES, _SHARE_OF_TIME = 64, 0.02


@dataclass
class LocalFiles:
    """What :func:`walk_files` found.

    Attributes
    ----------
    names
        The raster and, where it is a VRT, all that it draws on, as GDAL takes them.
    paths
        Files and the folders of Zarr stores -> their name inside such a folder; each once, in an order that
        does not depend on where they lie.
    complete
        False where pixels come from elsewhere: the network, or memory.
    """

    names: list[str] = field(default_factory=list)
    paths: dict[Path, str] = field(default_factory=dict)
    complete: bool = True


def walk_files(name: str) -> LocalFiles:
    """Every local file that the pixels of a raster come from, but for side-car files.

    A source that is not there is left out: its pixels can't be read, and once it is there the list is longer.
    """
    local = LocalFiles()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        root = container(name)
        if root is None:
            local.complete &= not (is_remote(name) or in_archive(name))
            continue
        # By its real path, so that a VRT that names itself, or a file named twice, comes once.
        root = root.resolve()
        if root not in local.paths:
            local.names.append(name)
            local.paths[root] = ""
            if root.is_dir():
                local.paths.update((path, str(path.relative_to(root))) for path in sorted(root.rglob("*")))
            elif is_vrt(root):
                stat = root.stat()
                # Taken from the end, so they come in their own order; it is part of what is hashed.
                waiting += reversed(_sources(root, stat.st_size, stat.st_mtime_ns))
    return local


@functools.lru_cache(maxsize=64)
def _sources(path: Path, size: int, time: int) -> tuple[str, ...]:
    """The sources of a VRT, parsed once as long as size and time of the file are the same."""
    return tuple(vrt_sources(path))


def file_stamp(name: str) -> tuple[str, int, int]:
    """Name, size and time of the file that holds a raster; zeros of what is no local file."""
    root = container(name)
    if root is None:
        return name, 0, 0
    stat = root.stat()
    return name, stat.st_size, stat.st_mtime_ns


def files_by_stem(folder: Path, stems: set[str]) -> dict[str, list[tuple[str, int, int, int]]]:
    """(name, size, time, time of change) of the files in a folder, listed once, by the stem they begin with.

    The time of a file can be set to anything, that of its change by nobody; but a file that is moved or
    copied has another one. Size and times are zeros of what has none.
    """
    files: dict[str, list[tuple[str, int, int, int]]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            ends = [k for k, letter in enumerate(entry.name) if letter == "."] + [len(entry.name)]
            for stem in stems.intersection(entry.name[:end] for end in ends):
                try:
                    stat = entry.stat()
                except OSError:  # a link that leads nowhere, or a file removed meanwhile
                    files[stem].append((entry.name, 0, 0, 0))
                else:
                    files[stem].append((entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return files


class Watch:
    """Tells whether any of the files of a raster has been written since it was opened."""

    def __init__(self, name: str) -> None:
        self._paths = list(walk_files(name).paths)
        self._seen = [stat_stamp(path) for path in self._paths]
        self._next = 0.0

    def changed(self) -> bool:
        """Whether any of them is another one, or gone.

        Thousands of files are looked at now and then, so that looking takes no more than 2 % of the time.
        """
        start = time.monotonic()
        if start < self._next:
            return False
        same = [stat_stamp(path) for path in self._paths] == self._seen
        if len(self._paths) > _FEW_FILES:
            end = time.monotonic()
            self._next = end + (end - start) / _SHARE_OF_TIME
        return not same


def stat_stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells, without a look at its content, that a file was written; None: it isn't there."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - before every read: Path.stat takes twice as long
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
