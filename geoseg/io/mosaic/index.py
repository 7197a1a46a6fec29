"""The headers and contents of many files, read once and kept as long as the files are the same.

A delivery has thousands of sheets, and each command opens all of them. What they say is kept in one SQLite
file in the user's cache folder, under the size and times of every file that belongs to a sheet. Where that
file can't be used, everything works, and takes longer.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import logging
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from affine import Affine
from pyproj import CRS

from geoseg.errors import GeosegError
from geoseg.files.cache import cache_folder
from geoseg.geo.geobox import GeoBox
from geoseg.io.fingerprint import SIDE_CARS, hash_file, scene_files
from geoseg.io.gdal_env import SHARING_DRIVERS, opened_header
from geoseg.io.hints import hints_of
from geoseg.io.local_files import files_by_stem, walk_files
from geoseg.io.names import SERVICE, container, is_remote
from geoseg.io.scene import Scene, scene_of
from geoseg.io.validity import ValidityRule
from geoseg.io.vrt import is_vrt
from geoseg.raster.source import RasterHints, SceneReadError
from geoseg.raster.warped import WarpedScene
from geoseg.typing import Progress, no_progress

__all__ = ["CONTENT_BYTES", "FilesStamp", "Sheet", "content_digests", "files_stamps", "read_sheets"]

_LOG = logging.getLogger(__name__)

#: Raised with every change of what a header is taken for, and of what is kept of it.
_FORMAT = 1
#: Bytes hashed of each sheet: its beginning, its end, and two pieces between. Of a delivery of 4,000 that is
#: 1 GB; where a sheet is written anew, its header or its size nearly always change with it.
CONTENT_BYTES = 4 * 64 * 1024
#: A file that was written so short a time ago may be written again without a new time stamp.
_UNSURE_NS = 2_000_000_000
#: Headers on a network drive are waited for, not computed.
_THREADS = 4
#: Sheets kept, and asked for at once: older releases of SQLite take 999 parameters.
_ROWS_KEPT, _ROWS_A_QUERY = 400_000, 500
_TABLE = """CREATE TABLE IF NOT EXISTS sheets (
    path TEXT, what TEXT, stamp TEXT, value TEXT, made REAL, PRIMARY KEY (path, what)) WITHOUT ROWID"""


@dataclass(frozen=True)
class Sheet:
    """One file of a mosaic, and all that its header says.

    Attributes
    ----------
    scene
        The file.
    hints, facts
        As its methods give them.
    files
        The local files that it consists of.
    stamp
        Names, sizes and times of those files and of what else lies beside it under its name; None where
        they can't be told (a URL, a VRT), so that nothing is kept.
    warped
        The file on the grid of its mosaic; None where it is on it as it is.
    """

    scene: Scene
    hints: RasterHints
    facts: Mapping[str, Any]
    files: tuple[str, ...]
    stamp: str | None
    warped: WarpedScene | None = None

    @property
    def source(self) -> Scene | WarpedScene:
        """What is read."""
        return self.warped or self.scene


def read_sheets(
    paths: Sequence[str],
    *,
    bands: Sequence[int] | None = None,
    expand_palette: bool = True,
    progress: Progress = no_progress,
) -> list[Sheet | GeosegError]:
    """Read the headers of files.

    Parameters
    ----------
    paths
        Anything that :func:`geoseg.io.scene.open_file` opens.
    bands, expand_palette
        As there.
    progress
        Told of headers that had to be read.

    Returns
    -------
    list of Sheet or GeosegError
        In the order of ``paths``; the error of a file that can't be opened.
    """
    what = f"header {_FORMAT} {None if bands is None else list(bands)} {expand_palette}"
    stamps = _stamps(paths)
    kept = _load(what, stamps)
    sheets: dict[str, Sheet | GeosegError] = {
        path: _sheet_of(json.loads(text), path, stamps[path]) for path, text in kept.items()
    }
    missing = [path for path in dict.fromkeys(paths) if path not in kept]

    def read(path: str) -> Sheet | GeosegError:
        try:
            with opened_header(path) as dataset:
                scene = scene_of(dataset, path, bands=bands, expand_palette=expand_palette)
                # They follow links to files that nobody lists.
                stamp = None if dataset.driver in SHARING_DRIVERS else stamps.get(path)
                return Sheet(
                    scene=scene,
                    hints=hints_of(dataset, path, scene.bands),
                    facts=scene.facts_of(dataset),
                    files=tuple(str(file.absolute()) for file in map(Path, dataset.files) if file.is_file()),
                    stamp=stamp,
                )
        except GeosegError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (path, sheet) in enumerate(zip(missing, pool.map(read, missing)), 1):
            sheets[path] = sheet
            progress("headers", done, len(missing))
    # All at once, in one transaction: a commit for each would wait for the disk thousands of times.
    read_now = ((path, sheets[path]) for path in missing)
    _save(what, stamps, {path: _text_of(sheet) for path, sheet in read_now if isinstance(sheet, Sheet)})
    return [sheets[path] for path in paths]


def content_digests(sheets: Sequence[Sheet]) -> list[str]:
    """Hashes of the bytes of sheets as they are now, 64 hexadecimal digits each.

    Raises
    ------
    SceneReadError
        A file that can't be read.
    """
    paths = [sheet.scene.path for sheet in sheets]
    stamps = _stamps(paths)
    # The stamps are those of now, not of the headers: a sheet may have been written since they were read.
    kept = _load("content", stamps)
    missing = [sheet for sheet in sheets if sheet.scene.path not in kept]

    def digest(sheet: Sheet) -> str:
        path = sheet.scene.path
        stamp = stamps.get(path)
        if stamp is None:
            return sheet.scene.fingerprint()
        files = map(Path, sheet.files) if stamp == sheet.stamp else scene_files(path)
        content = hashlib.sha256()
        try:
            for file in files:
                if not file.name.endswith(SIDE_CARS):
                    hash_file(content, file, CONTENT_BYTES)
        except OSError as error:
            raise SceneReadError(f"cannot read {path}: {error.strerror}.", path) from error
        return content.hexdigest()

    with ThreadPoolExecutor(_THREADS) as pool:
        new = {sheet.scene.path: text for sheet, text in zip(missing, pool.map(digest, missing))}
    _save("content", stamps, new)
    kept |= new
    return [kept[path] for path in paths]


def _text_of(sheet: Sheet) -> str:
    scene = sheet.scene
    box = scene.geobox
    names = ("name", "bands", "dtype", "nodata", "acquired", "file_block", "in_order", "orientation")
    fields = {name: getattr(scene, name) for name in names}
    fields["rule"] = asdict(scene.rule)
    fields["palette"] = None if scene.palette is None else base64.b64encode(scene.palette).decode()
    fields["geobox"] = [list(box.transform[:6]), box.crs.to_wkt() if box.crs else None, box.height, box.width]
    value = {"scene": fields, "hints": asdict(sheet.hints), "facts": sheet.facts, "files": sheet.files}
    return json.dumps(value)


def _sheet_of(value: dict[str, Any], path: str, stamp: str | None) -> Sheet:
    fields, hints = _with_tuples(value["scene"]), value["hints"]
    transform, wkt, height, width = fields.pop("geobox")
    rule, palette = _with_tuples(fields.pop("rule")), fields.pop("palette")
    scene = Scene(
        path=path,
        geobox=GeoBox(Affine(*transform), _crs(wkt), height, width),
        rule=ValidityRule(**rule),
        palette=None if palette is None else base64.b64decode(palette),
        **fields,
    )
    hints |= {name: tuple(hints[name]) for name in ("descriptions", "class_names")}
    return Sheet(scene, RasterHints(**hints), value["facts"], tuple(value["files"]), stamp)


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples, and no field here is a list."""
    return {name: tuple(item) if isinstance(item, list) else item for name, item in fields.items()}


@functools.lru_cache(maxsize=64)
def _crs(wkt: str | None) -> CRS | None:
    return None if wkt is None else CRS.from_wkt(wkt)


# ------------------------------------------------------------------ what tells that a file is the same


class FilesStamp(NamedTuple):
    """What tells, without a look at pixels, that the files of a scene are the same.

    Attributes
    ----------
    digest
        Of names, sizes and times, 64 hexadecimal digits: another one when a file was written, or came or
        went beside one. An address, of which nothing else is known, counts as it is spelled; a file counts
        wherever it lies.
    changed
        When the newest of them was changed in any way, by the file system's clock; 0 of addresses. Where
        nothing but this differs, files were moved or copied, or written anew with their size and time put
        back.
    """

    digest: str
    changed: int


def files_stamps(scenes: Sequence[Sequence[str]]) -> list[FilesStamp]:
    """Stamps of all local files that scenes are read from.

    Parameters
    ----------
    scenes
        Paths of each scene; all at once, because each folder is listed once a call.
    """
    stamps = _stamps([path for paths in scenes for path in paths])
    found = []
    for paths in scenes:
        digest, newest = hashlib.sha256(), 0
        for path in sorted(paths):
            if path in stamps:
                *rows, times = zip(*json.loads(stamps[path]), strict=True)
                known = json.dumps([list(row) for row in zip(*rows, strict=True)])
            else:  # it is more than a plain file: all that it is made of counts
                files = [file for file in walk_files(path.removeprefix(SERVICE)).paths if file.is_file()]
                stats = [(file.name, file.stat()) for file in files]
                known = json.dumps([[name, str(s.st_size), str(s.st_mtime_ns)] for name, s in stats])
                times = tuple(s.st_ctime_ns for _, s in stats)
            name = path if is_remote(path) else Path(path).name
            digest.update(f"{name}\0{known}\0".encode())
            newest = max(newest, *times, 0)
        found.append(FilesStamp(digest.hexdigest(), newest))
    return found


def _stamps(paths: Iterable[str]) -> dict[str, str]:
    """What must be the same for a sheet to be: name, size and times of all files that begin with its stem.

    That takes in whatever GDAL looks for beside it (masks, world files, metadata), also where it was not
    there before. Each folder is listed once. Sheets that are more than a plain file have no stamp.
    """
    folders: dict[Path, set[str]] = defaultdict(set)
    plain: dict[str, tuple[Path, str]] = {}
    for path in dict.fromkeys(paths):
        file = Path(path)
        if path == str(container(path)) and file.is_file() and not is_vrt(file):
            folder = file.parent.absolute()
            plain[path] = folder, file.stem
            folders[folder].add(file.stem)
    beside = {folder: files_by_stem(folder, stems) for folder, stems in folders.items()}
    return {path: json.dumps(sorted(beside[folder][stem])) for path, (folder, stem) in plain.items()}


# ------------------------------------------------------------------ the file


def _load(what: str, stamps: Mapping[str, str]) -> dict[str, str]:
    """What is kept of files that are the same as then."""
    names = {str(Path(path).absolute()): path for path in stamps}
    wanted, kept = list(names), {}

    def query(database: sqlite3.Connection) -> None:
        for start in range(0, len(wanted), _ROWS_A_QUERY):
            some = wanted[start : start + _ROWS_A_QUERY]
            marks = ",".join("?" * len(some))
            rows = database.execute(
                f"SELECT path, stamp, value FROM sheets WHERE what = ? AND path IN ({marks})", (what, *some)
            )
            for path, stamp, value in rows:
                if stamps[names[path]] == stamp:
                    kept[names[path]] = value

    _with_database(query)
    return kept


def _save(what: str, stamps: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Keep what was read of files that have a stamp."""
    # Of files that were changed just now the next change may not change the stamp: they are read again.
    settled = {
        path
        for path in values.keys() & stamps.keys()
        if all(time.time_ns() - max(times) > _UNSURE_NS for _, _, *times in json.loads(stamps[path]))
    }
    rows = [
        (str(Path(path).absolute()), what, stamps[path], value, time.time())
        for path, value in values.items()
        if path in settled
    ]

    def insert(database: sqlite3.Connection) -> None:
        database.executemany("INSERT OR REPLACE INTO sheets VALUES (?, ?, ?, ?, ?)", rows)
        (count,) = database.execute("SELECT count(*) FROM sheets").fetchone()
        # The oldest go: deliveries that nobody opens any more.
        if count > _ROWS_KEPT:
            database.execute(
                "DELETE FROM sheets WHERE made <= (SELECT made FROM sheets ORDER BY made LIMIT 1 OFFSET ?)",
                (count - _ROWS_KEPT,),
            )
        database.commit()

    if rows:
        _with_database(insert)


def _with_database(work: Callable[[sqlite3.Connection], None]) -> None:
    file = cache_folder() / "sheets.sqlite"
    if not file.is_absolute():  # a user without a home
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute(_TABLE)
            work(database)
    except (sqlite3.Error, OSError) as error:  # read-only, full, locked for long, or no database any more
        _LOG.info("sheet index %s can't be used: %s", file, error)
