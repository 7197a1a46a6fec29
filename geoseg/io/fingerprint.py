"""Hash of a file's content that is fast at any size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoseg.io.gdal_env import is_remote, raster_env, thread_dataset
from geoseg.raster.source import SceneReadError

__all__ = ["fingerprint_files", "scene_files"]

_WHOLE_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_PIECES = 256
#: Files beside a scene that other programs write when they look at it.
_SIDE_CARS = (".aux.xml", ".ovr", ".aux")


def _pieces(size: int, budget: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of what is hashed of a file: all of it, or pieces evenly spread to both ends."""
    if size <= budget:
        yield 0, size
        return
    count = max(2, min(_PIECES, budget // _PIECE_BYTES))
    for index in range(count):
        yield (size - _PIECE_BYTES) * index // (count - 1), _PIECE_BYTES


def _hash_file(digest: Any, path: Path, budget: int) -> None:
    size = path.stat().st_size
    digest.update(f"{size};".encode())
    with path.open("rb") as file:
        for offset, length in _pieces(size, budget):
            file.seek(offset)
            while length > 0 and (block := file.read(min(length, 1 << 20))):
                digest.update(block)
                length -= len(block)


def scene_files(path: str) -> list[Path]:
    """The files a scene consists of, in an order that does not depend on where they lie."""
    root = Path(path)
    if root.is_dir():
        return sorted(entry for entry in root.rglob("*") if entry.is_file())
    with raster_env():
        named = [Path(name) for name in thread_dataset(path).files]
    files = [root] if root.is_file() else []
    files += [
        name for name in named if name.is_file() and not name.name.endswith(_SIDE_CARS) and name != root
    ]
    return files


def fingerprint_files(path: str, head: str) -> str:
    """SHA-256 over ``head`` and the content of a scene's files, sampled where they are large.

    Parameters
    ----------
    path
        Of the scene. Of a URL only the address and the header count.
    head
        Whatever else must be the same.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(head.encode())
    if is_remote(path):
        with raster_env(remote=True):
            dataset = thread_dataset(path)
            digest.update(repr((path, dataset.profile, dataset.tags())).encode())
        return digest.hexdigest()
    files = scene_files(path)
    try:
        for file in files:
            _hash_file(digest, file, max(2 * _PIECE_BYTES, _WHOLE_BYTES // len(files)))
    except OSError as error:
        raise SceneReadError(f"cannot read {path}: {error.strerror}.", path) from error
    return digest.hexdigest()
