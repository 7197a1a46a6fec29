"""The manifest of a batch: what became of each scene, in one SQLite file beside the results.

Each change is on the disk before the next scene begins, so that a killed batch knows what it has done. Other
programs may read it at any time; ``geoseg status`` does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from geoseg.errors import InputError, MissingFileError, RunError
from geoseg.files import is_held
from geoseg.typing import PathLike

__all__ = [
    "MANIFEST",
    "STATES",
    "Manifest",
    "SceneRecord",
    "State",
    "is_at_work",
    "read_manifest",
    "read_states",
]

#: Name of the file in the folder of the results.
MANIFEST = "manifest.sqlite"

#: ``waiting``: not begun; ``running``: being worked on, or was when the batch was killed; ``stopped``: ended
#: in the middle, and goes on; ``done``; ``incomplete``: done, without regions that could not be read;
#: ``failed``.
State: TypeAlias = Literal["waiting", "running", "stopped", "done", "incomplete", "failed"]
STATES: tuple[State, ...] = ("done", "incomplete", "failed", "stopped", "running", "waiting")

#: Marks the file as one of ours ("geos"), and the layout of its tables.
_APPLICATION, _VERSION = 0x67656F73, 5


@dataclass
class SceneRecord:
    """What is known of one scene: a row of the table ``scenes``.

    Attributes
    ----------
    name
        Of the scene's folder in OUT; the key.
    state
        See :data:`State`.
    paths
        Files and addresses it is read from.
    key
        Digest of the options and the model it is, or was, made with; of a scene that failed, also of the
        options of how it was tried, such as ``on_error``.
    geoseg
        Version of geoseg that worked on it.
    stamp
        Digest of names, sizes and times of its files, and the newest time of a change, by which one is seen.
    error
        Why it failed.
    files
        Format (or ``prob``, ``mask``, ``failures``) -> file written, relative to OUT.
    sizes
        Bytes of those files, by which a loss is seen.
    footprints, unsure, windows, windows_run, seconds, network_seconds, mpx, gsd
        As in :class:`geoseg.pipeline.summary.RunSummary`; seconds of the last attempt.
    acquired
        ISO date the scene was taken.
    bounds
        (min x, min y, max x, max y) in ``crs``.
    crs
        As PROJ takes it; empty for pixel coordinates.
    changes
        New, kept, changed and gone footprints, where they were compared with known ones.
    provenance
        What its files say of their origin: version, scene with its fingerprint, model, options, their digest.
    failures
        Regions that could not be read.
    notes
        What the user should know.
    started, finished
        ISO times, UTC.
    listed
        Whether the last call named it; the results of other scenes are of earlier calls.
    anew
        What is kept of it is thrown away before it is worked on: ``--restart`` was given since.
    extras
        Kind (``style``, ``qgs``, ``stac``, ``model``, ``report``) -> file beside the results, in OUT.
        Other programs may have written to it since.
    """

    name: str
    state: State = "waiting"
    paths: list[str] = field(default_factory=list)
    key: str = ""
    geoseg: str = ""
    stamp: str = ""
    error: str = ""
    files: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    footprints: int | None = None
    windows: int | None = None
    windows_run: int | None = None
    seconds: float | None = None
    network_seconds: float | None = None
    mpx: float | None = None
    gsd: float | None = None
    acquired: str | None = None
    bounds: list[float] | None = None
    crs: str = ""
    changes: dict[str, int] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    started: str | None = None
    finished: str | None = None
    listed: bool = True
    anew: bool = False
    extras: dict[str, str] = field(default_factory=dict)
    unsure: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


#: Columns that hold JSON, and those that hold numbers; the others hold text.
_JSON = ("paths", "files", "sizes", "bounds", "changes", "provenance", "failures", "notes", "extras")
_REAL = ("seconds", "network_seconds", "mpx", "gsd")
_WHOLE = ("footprints", "unsure", "windows", "windows_run", "listed", "anew")
_FLAGS = ("listed", "anew")
_COLUMNS = tuple(one.name for one in fields(SceneRecord))
#: Columns that manifests of the same layout may lack, which were made before there were such.
_LATER = {"extras": "TEXT DEFAULT '{}'", "unsure": "INTEGER"}


def _kind(column: str) -> str:
    return "REAL" if column in _REAL else "INTEGER" if column in _WHOLE else "TEXT"


def _columns(database: sqlite3.Connection) -> set[str]:
    return {row[1] for row in database.execute("PRAGMA table_info(scenes)")}


class Manifest:
    """An open manifest; from :meth:`opened` or :func:`read_manifest`. It is used from one thread."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path, self._database = path, database

    @classmethod
    @contextmanager
    def opened(cls, out: PathLike) -> Iterator[Manifest]:
        """Open the manifest in a folder of results to write to it; it is made where it is missing.

        Raises
        ------
        InputError
            A file of its name that is none.
        RunError
            It can't be written.
        """
        path = Path(out) / MANIFEST
        with _connected(path) as database:
            # All at once: a run that is killed here leaves an empty file, and the next one makes the rest.
            with database:
                database.execute("BEGIN IMMEDIATE")
                if database.execute("SELECT name FROM sqlite_master").fetchone() is None:
                    database.execute(f"PRAGMA application_id = {_APPLICATION}")
                    database.execute(f"PRAGMA user_version = {_VERSION}")
                    columns = ", ".join(f"{name} {_kind(name)}" for name in _COLUMNS)
                    database.execute(f"CREATE TABLE scenes ({columns}, PRIMARY KEY (name))")
                    database.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT)")
            _check(path, database)
            with database:
                for column in _LATER.keys() - _columns(database):
                    database.execute(f"ALTER TABLE scenes ADD COLUMN {column} {_LATER[column]}")
                database.execute("CREATE TABLE IF NOT EXISTS left_out (scene TEXT, id INTEGER, owner TEXT)")
            yield cls(path, database)

    def put(self, *records: SceneRecord) -> None:
        """Write rows, all or none of them."""
        marks = ", ".join("?" * len(_COLUMNS))
        rows = [
            tuple(
                json.dumps(value) if name in _JSON else value
                for name, value in ((name, getattr(record, name)) for name in _COLUMNS)
            )
            for record in records
        ]
        with self._database:  # a transaction
            self._database.executemany(
                f"INSERT OR REPLACE INTO scenes ({', '.join(_COLUMNS)}) VALUES ({marks})", rows
            )

    def list_only(self, names: Iterable[str]) -> None:
        """Mark the rows that the present call names, and no others, as listed."""
        with self._database:
            self._database.execute("UPDATE scenes SET listed = 0")
            self._database.executemany("UPDATE scenes SET listed = 1 WHERE name = ?", [(n,) for n in names])

    def drop(self, names: Iterable[str]) -> None:
        """Remove rows, all or none of them."""
        with self._database:
            self._database.executemany("DELETE FROM scenes WHERE name = ?", [(name,) for name in names])

    def get(self, name: str) -> SceneRecord | None:
        """The row of a scene."""
        return next(self._rows("WHERE name = ?", name), None)

    def scenes(self) -> list[SceneRecord]:
        """All rows, by name."""
        return list(self._rows("ORDER BY name"))

    def _rows(self, condition: str, *values: str) -> Iterator[SceneRecord]:
        lacking = _LATER.keys() - _columns(self._database)
        columns = [name for name in _COLUMNS if name not in lacking]
        rows = self._database.execute(f"SELECT {', '.join(columns)} FROM scenes {condition}", values)
        for row in rows:
            given = dict(zip(columns, row, strict=True))
            given |= {name: self._parsed(given[name]) for name in _JSON if name in given}
            given |= {name: bool(given[name]) for name in _FLAGS}
            yield SceneRecord(**given)

    @property
    def facts(self) -> dict[str, Any]:
        """What holds for the whole batch: versions, model, options."""
        return {name: self._parsed(value) for name, value in self._database.execute("SELECT * FROM facts")}

    def _parsed(self, text: Any) -> Any:
        try:
            return json.loads(text)
        except (TypeError, ValueError) as error:
            raise _damaged(self.path, error) from None

    def put_facts(self, facts: Mapping[str, Any]) -> None:
        """Write facts of the batch over those of their names."""
        rows = [(name, json.dumps(value, default=str)) for name, value in facts.items()]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def put_merged(self, merged: Mapping[str, Any], left_out: Iterable[tuple[str, int, str]]) -> None:
        """Write what was merged, and the table of footprints that were left out of it, in place of the last.

        Parameters
        ----------
        merged
            The fact ``merged``.
        left_out
            Scene, id in the scene, and the scene that owns the ground.
        """
        with self._database:
            self._database.execute("DELETE FROM left_out")
            self._database.executemany("INSERT INTO left_out VALUES (?, ?, ?)", left_out)
            self._database.execute(
                "INSERT OR REPLACE INTO facts VALUES ('merged', ?)", (json.dumps(merged, default=str),)
            )


@contextmanager
def read_manifest(out: PathLike) -> Iterator[Manifest]:
    """Open the manifest in a folder of results to read it, also while a batch is at work.

    Raises
    ------
    MissingFileError
        There is none.
    InputError
        A file of its name that is none.
    """
    path = Path(out) / MANIFEST
    if not path.is_file():
        raise MissingFileError(
            f"a folder of many scenes must hold {MANIFEST}, got {out} without it. Name the --out of a "
            "geoseg run of several scenes."
        )
    with _connected(path) as database:
        _check(path, database)
        yield Manifest(path, database)


def read_states(out: PathLike) -> tuple[list[SceneRecord], dict[str, Any], bool]:
    """Scenes in a folder of results as they stand now, what holds for all, and whether a run is at work.

    Raises
    ------
    MissingFileError, InputError
        As :func:`read_manifest`.
    """
    with read_manifest(out) as manifest:
        records, facts = manifest.scenes(), manifest.facts
    at_work = is_at_work(out)
    for record in records:
        # A killed run could not write what became of its scene.
        if record.state == "running" and not at_work:
            record.state = "stopped"
    return records, facts, at_work


def is_at_work(out: PathLike) -> bool:
    """Whether a batch is at work in a folder of results now."""
    return is_held(Path(out) / MANIFEST)


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        database = sqlite3.connect(path, timeout=30)
        try:
            yield database
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise _not_ours(path) from None
        # A locked or full one is an OperationalError, and so is one that lost its tables.
        if not isinstance(error, sqlite3.OperationalError) or str(error).startswith("no such"):
            raise _damaged(path, error) from None
        raise RunError(
            f"{path} can't be written or read: {error}. Put that right and give the same command again."
        ) from error


def _check(path: Path, database: sqlite3.Connection) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise _not_ours(path)
    if version != _VERSION:
        raise InputError(
            f"{path} must be of layout {_VERSION}, got {version}: another version of geoseg made it. "
            "Give another --out."
        )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} must be whole, got a damaged file: {error}. Move it away and run the scenes again: "
        "nothing that is kept of them is predicted twice."
    )


def _not_ours(path: Path) -> InputError:
    return InputError(
        f"{path} must be a manifest of geoseg, got another file. Move it, or give another --out."
    )
