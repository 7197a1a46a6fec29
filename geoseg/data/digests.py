"""Digests of scenes, images and labels, by which a run that is resumed sees that they changed."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from geoseg.files import json_digest
from geoseg.io.fingerprint import scene_files
from geoseg.io.local_files import stat_stamp
from geoseg.io.sources import open_raster
from geoseg.io.vectors import is_vector_file, read_features
from geoseg.projects.project import IMAGE_SUFFIXES, Item

__all__ = ["is_raster", "item_files", "labels_digest", "only_times_differ", "stamp_files"]


def is_raster(path: str) -> bool:
    """Whether a name is that of an image, and of no polygons."""
    return not is_vector_file(path) and Path(path).suffix.lower() in IMAGE_SUFFIXES


def stamp_files(files: Iterable[Path]) -> str:
    """Digest of the names and sizes of the files that pixels come from, and one of their times."""
    # Of those alone: labels and overviews beside a scene begin with its name, and change none of its pixels.
    stamps = [(file.name, *(stat_stamp(file) or ())[1:]) for file in files]
    return f"{json_digest([stamp[:2] for stamp in stamps])} {json_digest([stamp[2:] for stamp in stamps])}"


def only_times_differ(first: str, second: str) -> bool:
    """Whether two digests of :func:`stamp_files` differ in times alone, as those of copies may.

    Examples
    --------
    >>> only_times_differ("a1 b2", "a1 c3"), only_times_differ("a1 b2", "d4 b2")
    (True, False)
    """
    return first != second and first.partition(" ")[0] == second.partition(" ")[0]


def labels_digest(path: str, column: str | None = None) -> str:
    """Of a mask's file, or of the polygons in a file and what the column says of them."""
    return open_raster(path).fingerprint() if is_raster(path) else read_features(path, column).digest


def item_files(items: Iterable[Item]) -> dict[str, str]:
    """Digests of images and their annotations, as in :attr:`geoseg.data.sources.Opened.files`."""
    files: dict[str, str] = {}
    for item in items:
        files[str(item.image)] = stamp_files(scene_files(str(item.image)))
        if item.annotation is not None:
            files[str(item.annotation)] = sha256(item.annotation.read_bytes()).hexdigest()
    return files
