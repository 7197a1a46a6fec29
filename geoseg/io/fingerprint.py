"""Hash of a raster's content that is fast at any size."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import SceneError
from geoseg.io.gdal_env import SHARING_DRIVERS, opened_header
from geoseg.io.handles import forget_dataset, read_remote
from geoseg.io.local_files import LocalFiles, files_by_stem, walk_files
from geoseg.io.names import container, is_remote
from geoseg.raster.source import SceneReadError
from geoseg.typing import Progress, no_progress

__all__ = ["SIDE_CARS", "fingerprint_doubt", "fingerprint_files", "hash_file", "hash_files", "scene_files"]

_WHOLE_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_PIECES = 256
#: Files beside a scene that other programs write when they look at it.
SIDE_CARS = (".aux.xml", ".ovr", ".aux")
#: Windows of so many pixels a side, so many along each axis, stand for pixels whose files can't be seen.
_SAMPLE_SIDE, _SAMPLES = 64, 4


def _pieces(size: int, budget: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of what is hashed of a file: all of it, or pieces evenly spread to both ends."""
    if size <= budget:
        yield 0, size
        return
    count = max(2, min(_PIECES, budget // _PIECE_BYTES))
    for index in range(count):
        yield (size - _PIECE_BYTES) * index // (count - 1), _PIECE_BYTES


def hash_file(digest: Any, path: Path, budget: int | None = None, progress: Progress = no_progress) -> None:
    """Put the size of a file and about ``budget`` of its bytes, spread to both ends, into a digest.

    None: all of them. Of a file that takes time ``progress`` is told, as stage ``read NAME``.
    """
    size, done = path.stat().st_size, 0
    total = sum(length for _, length in _pieces(size, size if budget is None else budget))
    told = progress if total > _WHOLE_BYTES else no_progress
    digest.update(f"{size};".encode())
    with path.open("rb") as file:
        for offset, length in _pieces(size, size if budget is None else budget):
            file.seek(offset)
            while length > 0 and (block := file.read(min(length, 1 << 20))):
                digest.update(block)
                length -= len(block)
                done += len(block)
                told(f"read {path.name}", done, total)


def hash_files(digest: Any, files: Mapping[Path, str]) -> None:
    """Put the content of files, sampled where they are large, and a name of each into a digest."""
    budget = _budget(max(1, len(files)))
    for file, name in files.items():
        digest.update(name.encode())
        hash_file(digest, file, budget)


def scene_files(path: str) -> list[Path]:
    """The local files a scene consists of, at any depth, with masks and headers beside them.

    Their order does not depend on where they lie.
    """
    return list(_named_files(walk_files(path)))


def _named_files(walked: LocalFiles) -> dict[Path, str]:
    """Files, those beside them that GDAL reads with them among them -> name inside a folder."""
    lone = _lone_files(walked.names[1:])
    listed: list[list[Path]] = []
    for name in walked.names:
        if name in lone:
            listed.append([Path(name).resolve()])
            continue
        try:
            with opened_header(name) as dataset:
                files = [Path(file).resolve() for file in dataset.files]
        except SceneError:  # a source that can't be opened has no pixels to give
            continue
        listed.append([path for path in files if path.is_file() and not path.name.endswith(SIDE_CARS)])
    # The last one first, as fingerprints of earlier runs have them.
    beside = dict.fromkeys(itertools.chain.from_iterable(reversed(listed)), "")
    return beside | {path: inside for path, inside in walked.paths.items() if path.is_file()}


def _lone_files(names: Sequence[str]) -> set[str]:
    """Sources of a VRT that are plain files, with nothing beside them that could belong to them.

    To ask GDAL takes 2 ms a file, which is ten seconds for a VRT of some thousand sheets.
    """
    stems: dict[Path, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        file = Path(name)
        if name == str(container(name)) and file.is_file():
            stems[file.parent][file.stem].append(name)
    lone = set()
    for folder, own in stems.items():
        for stem, files in files_by_stem(folder, set(own)).items():
            beside = [file for file, *_ in files if not file.endswith(SIDE_CARS)]
            lone.update(own[stem] if len(beside) == 1 else [])
    return lone


def fingerprint_files(path: str, head: str) -> str:
    """SHA-256 over ``head`` and the content of a scene's files, sampled where they are large.

    Parameters
    ----------
    path
        Of the scene. Where pixels come from what is no local file (a URL, a format with links to other
        files), the header and 16 windows of pixels, spread over the scene, stand for it.
    head
        Whatever else must be the same.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    # Names of files do not count, but for those inside a Zarr folder, which say what a file is there.
    digest = hashlib.sha256(head.encode())
    walked = walk_files(path)
    try:
        hash_files(digest, _named_files(walked))
    except OSError as error:
        raise SceneReadError(f"cannot read {path}: {error.strerror}.", path) from error
    with opened_header(path) as dataset:
        if not walked.complete or dataset.driver in SHARING_DRIVERS:
            _hash_samples(digest, path, dataset)
    return digest.hexdigest()


def fingerprint_doubt(path: str, since: float) -> str | None:
    """Why a fingerprint of a scene may be the same as at an earlier time though pixels are not.

    Parameters
    ----------
    path
        Of the scene.
    since
        Unix time of the earlier fingerprint.

    Returns
    -------
    str or None
        None where each byte that pixels come from was looked at, or not written since.
    """
    walked = walk_files(path)
    if not walked.complete:
        return "it is no local file"
    with opened_header(path) as dataset:
        if dataset.driver in SHARING_DRIVERS:
            return f"{dataset.driver} files may link to others"
    files = [file.stat() for file in _named_files(walked)]
    sampled = [stat for stat in files if stat.st_size > _budget(len(files))]
    # of a file moved or copied into its place by its own time the time of that
    if any(max(stat.st_mtime, stat.st_ctime) > since for stat in sampled):
        return "it was written since, and is too large to be read whole"
    return None


def _budget(count: int) -> int:
    """Bytes hashed of each of so many files."""
    return max(2 * _PIECE_BYTES, _WHOLE_BYTES // count)


def _hash_samples(digest: Any, path: str, dataset: Any) -> None:
    """Header and some pixels, of a handle of its own: what another one keeps may be old."""
    digest.update(repr((path, dataset.profile, dataset.tags())).encode())
    height, width = min(_SAMPLE_SIDE, dataset.height), min(_SAMPLE_SIDE, dataset.width)
    steps = np.linspace(0, 1, _SAMPLES)
    if remote := is_remote(path):
        forget_dataset(path)
    for down, right in itertools.product(steps, steps):
        row, col = int(down * (dataset.height - height)), int(right * (dataset.width - width))
        window = RasterioWindow(col, row, width, height)
        if remote:
            pixels, reason = read_remote(path, "samples", methodcaller("read", window=window))
            if pixels is None:  # the server may answer otherwise the next time
                raise SceneReadError(f"cannot read {path}: {reason}.", path)
            digest.update(pixels.tobytes())
            continue
        try:
            digest.update(dataset.read(window=window).tobytes())
        except RasterioError:
            digest.update(b"damaged")
