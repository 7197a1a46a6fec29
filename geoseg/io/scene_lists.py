"""What a word of the user stands for, where that is many scenes: a folder, a pattern, a list, a catalog."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.errors import GeosegError, InputError, MissingFileError, SceneError
from geoseg.files import is_part
from geoseg.io.gdal_env import check_path
from geoseg.io.names import ZARR_MARKS, is_remote
from geoseg.io.references import SceneReference
from geoseg.io.stac import SceneQuery, is_stac, read_stac
from geoseg.io.tile_index import is_tile_index, read_tile_index
from geoseg.io.vrt import vrt_sources
from geoseg.typing import PathLike

__all__ = ["SceneList", "check_reference", "is_scene_list", "list_scenes"]

#: Suffixes of scenes in a folder, or among what a pattern finds. Others can be named one by one.
_SUFFIXES = (
    ".tif", ".tiff", ".vrt", ".jp2", ".j2k", ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".img", ".ntf",
    ".nitf", ".nc", ".bil", ".bip", ".bsq", ".asc", ".hgt",
)  # fmt: skip
#: Suffixes of what lies beside a scene and belongs to it; nobody needs to hear that they are no scenes.
_SIDES = (
    ".tfw", ".tifw", ".jgw", ".pgw", ".bpw", ".wld", ".j2w", ".aux", ".xml", ".prj", ".msk", ".ovr", ".hdr",
    ".eph", ".att", ".rpb", ".imd", ".til", ".geojson", ".gpkg", ".md5", ".sha256", ".json", ".qml", ".lock",
)  # fmt: skip
#: What geoseg writes beside a scene is no scene.
_RESULTS = re.compile(r"\.(prob|mask|valid)\.tif$", re.IGNORECASE)
_LISTS = (".txt", ".lst")
_TOLD = 3


@dataclass(frozen=True)
class SceneList:
    """What :func:`list_scenes` gives.

    Attributes
    ----------
    scenes
        Files, addresses and items, each once, sorted by name.
    name
        What to call them together.
    notes
        What was left out.
    dates
        ISO dates that somebody knows of files, by their paths.
    """

    scenes: tuple[str | SceneReference, ...]
    name: str
    notes: tuple[str, ...] = ()
    dates: dict[str, str] = field(default_factory=dict)


def is_scene_list(word: PathLike) -> bool:
    """Whether a reference stands for many: a folder, a pattern, a text file with a list, a tile index, STAC.

    Examples
    --------
    >>> is_scene_list("sheets/*.tif"), is_scene_list("@sheets.txt"), is_scene_list("scene.tif")
    (True, True, False)
    >>> is_scene_list("https://example.org/a.tif?key=1")
    False
    """
    word = os.fspath(word)
    if not word or is_remote(word):  # an empty path would stand for the working folder
        return False
    path = Path(word)
    if (word.startswith("@") and not path.exists()) or is_tile_index(word):
        return True
    if path.is_dir():
        return not any((path / mark).exists() for mark in ZARR_MARKS)
    if path.is_file():
        return path.suffix.lower() in _LISTS or is_stac(path)
    return glob.has_magic(word)


def check_reference(word: PathLike) -> None:
    """Refuse, at once, what can't be opened as a scene or as many.

    Raises
    ------
    MissingFileError, SceneError
        It is not there, or names no file.
    """
    if not is_scene_list(word):
        check_path(os.fspath(word))


def list_scenes(
    word: PathLike, *, without: Sequence[Path] = (), query: SceneQuery | None = None
) -> SceneList:
    """List what a folder, a pattern, a text file, a tile index or STAC metadata stand for.

    Parameters
    ----------
    word
        A folder (with all below it), a pattern such as ``sheets/*.tif`` or ``dates/**/*.tif``, or a text file
        with one name a line, ``@list.txt`` or ``list.txt``. Names in it are relative to its folder; an empty
        line and one that begins with # say nothing. Or a tile index (``sheets.gti.gpkg``), or a STAC item,
        collection of items or catalog (``catalog.json``).
    without
        Folders that are passed over, such as the one results go to.
    query
        Which items of a STAC catalog are taken, and whether files on other hosts may be named in what is
        read.

    Raises
    ------
    MissingFileError, SceneError
        Nothing is there, or no scene among what is.
    """
    word, query = os.fspath(word), query or SceneQuery()
    path = Path(word)
    if is_tile_index(word):
        index = read_tile_index(word, remote=query.remote)
        return SceneList(index.paths, index.name, dates=index.dates)
    if path.is_file() and is_stac(path):
        items, dropped = read_stac(path, query)
        notes = [f"left out of {path}: {count} of its items, {why}" for why, count in dropped.items()]
        if not items:
            raise SceneError(
                f"STAC metadata must have an item that fits, got {path} without any"
                + (f" ({'; '.join(notes)})." if notes else ".")
            )
        # An item of one file is that file to who sorts sheets into mosaics.
        dates = {item.hrefs[0]: item.acquired for item in items if len(item.hrefs) == 1 and item.acquired}
        return SceneList(tuple(items), path.stem, tuple(notes), dates)
    if path.is_dir():
        # By os.path: pathlib raises for links in a circle, which are refused where results are made.
        found, left_out = _sort_out(_walk(path, {Path(os.path.realpath(folder)) for folder in without}))
        name = path.absolute().name
    elif glob.has_magic(word) and not path.exists() and not word.startswith("@"):
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        if not matches:
            raise MissingFileError(f"a pattern must match a file, got {word}, which matches none. Check it.")
        below = [file for match in matches for file in _walk(Path(match), set())]
        found, left_out = _sort_out(below)
        fixed = re.split(r"[*?\[]", word, maxsplit=1)[0]
        name = Path(os.path.dirname(fixed) or ".").absolute().name  # noqa: PTH120 - of a half name
    else:
        return _read_list(Path(word.removeprefix("@")), query)
    notes = [f"left out of {word}, no rasters by their names: {_shortened(left_out)}"] if left_out else []
    found, overviews = _without_vrts(found)
    notes += [f"left out of {word}: {_shortened(overviews)}, whose sources are there"] if overviews else []
    if not found:
        raise SceneError(
            f"scenes must be raster files ({', '.join(_SUFFIXES[:5])}, ...), got {word} without any. "
            "Name them one by one where their names end in something else."
        )
    return SceneList(tuple(map(str, found)), name, tuple(notes))


def _walk(path: Path, without: set[Path]) -> Iterable[Path]:
    """A file, or all files of a folder and below; Zarr stores are one, hidden names and kept runs none."""
    if not path.is_dir():
        yield path
        return
    if any((path / mark).exists() for mark in ZARR_MARKS):
        yield path
        return
    if path.resolve() in without:
        return
    without.add(path.resolve())  # links may lead to where one has been
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith(".") and entry.suffix != ".geoseg" and not is_part(entry.name):
            yield from _walk(entry, without)


def _sort_out(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Scenes among paths, each once, and the names of what neither is one nor belongs to one."""
    scenes, others = [], []
    for path in dict.fromkeys(paths):
        if path.is_dir() or (path.suffix.lower() in _SUFFIXES and not _RESULTS.search(path.name)):
            scenes.append(path)
        elif path.suffix.lower() not in _SIDES and not _RESULTS.search(path.name):
            others.append(path.name)
    return sorted(scenes), others


def _without_vrts(scenes: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Leave out VRTs that draw on the scenes beside them: the same ground would come twice."""
    kept, left_out = [], []
    resolved = (
        {path.resolve() for path in scenes} if any(p.suffix.lower() == ".vrt" for p in scenes) else set()
    )
    for path in scenes:
        try:
            sources = vrt_sources(path) if path.suffix.lower() == ".vrt" else []
        except GeosegError:  # no VRT: it is opened in its turn, and refused
            sources = []
        if any(Path(source).resolve() in resolved for source in sources):
            left_out.append(path.name)
        else:
            kept.append(path)
    return kept, left_out


def _read_list(path: Path, query: SceneQuery) -> SceneList:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "it is no UTF-8"
        raise MissingFileError(f"a list of scenes must be a text file, got {path}: {what}.") from None
    lines = [line.strip() for line in text.splitlines()]
    words = [line for line in lines if line and not line.startswith("#")]
    scenes: dict[str, str | SceneReference] = {}
    notes: list[str] = []
    dates: dict[str, str] = {}
    for word in words:
        if not (is_remote(word) or word.lower().startswith("/vsi") or Path(word).is_absolute()):
            word = str(path.parent / word)
        if word.removeprefix("@").lower().endswith(_LISTS):
            raise InputError(f"a list of scenes must not name other lists, got {word} in {path}.")
        if is_scene_list(word):
            more = list_scenes(word, query=query)
            for scene in more.scenes:
                # Several scenes of one file differ by their names alone.
                key = scene if isinstance(scene, str) else f"{scene.label}#{scene.name}"
                scenes[key] = scene
            notes += more.notes
            dates |= more.dates
        else:
            scenes[word] = word
    if not scenes:
        raise InputError(f"a list of scenes must have a name in each line, got {path} without any.")
    return SceneList(tuple(scenes[key] for key in sorted(scenes)), path.stem, tuple(notes), dates)


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more
