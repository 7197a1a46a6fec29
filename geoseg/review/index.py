"""State of a review in one SQLite file with an R-tree: what base and journal come to.

The file is a convenience. It is made anew whenever it is missing, broken, or not of this journal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.files import DiskFullError, json_text
from geoseg.review.objects import ReviewObject, shape_bounds
from geoseg.review.rows import COLUMNS, ImageRow, Place, object_of, row_of
from geoseg.typing import Array, IntArray

__all__ = ["Index"]

#: Raised where tables change: an index of another version is made anew.
_VERSION = 1
#: Boxes that are read at a time.
_BOXES = 16384
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value);
CREATE TABLE images (number INTEGER PRIMARY KEY, name TEXT, loaded INTEGER, adopted INTEGER, sha TEXT,
    previous TEXT, tags TEXT);
CREATE TABLE objects (id INTEGER PRIMARY KEY, image INTEGER, kind TEXT, class TEXT, status TEXT,
    edited INTEGER, ord REAL, tags TEXT, vals TEXT, shape BLOB, ground BLOB);
CREATE INDEX objects_of_image ON objects (image, ord);
CREATE INDEX objects_by_class ON objects (class);
CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1, y0, y1, g0, g1);
CREATE TABLE history (revision INTEGER PRIMARY KEY, start INTEGER, image INTEGER, undo_next INTEGER,
    redo_next INTEGER);
CREATE TABLE places (id INTEGER PRIMARY KEY, image INTEGER, name TEXT, x0, y0, x1, y1, rank INTEGER,
    qa INTEGER, status TEXT, uncertain REAL, expected_iou REAL);
CREATE INDEX places_by_rank ON places (rank);
"""


class Index:
    """An open index. Not for several threads at once."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        if read_only:
            # By address: only that form of name opens a file without the right to make it.
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        else:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            # The journal is what is waited for; the index only has to be sound after a power loss.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")

    @classmethod
    def open(cls, path: Path, identity: str, *, keep: bool = False) -> Index | None:
        """The index at ``path``, where it is sound and of this review; else None.

        One that is not is removed, unless ``keep`` is set.
        """
        if path.is_file():
            try:
                index = cls(path)
                if index.get("identity") == identity:
                    return index
                index.close()
            except sqlite3.DatabaseError:
                pass
        # With its log: one of a file that is gone would be applied to the next.
        for end in () if keep else ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        return None

    @classmethod
    def beside(cls, path: Path, identity: str) -> Index | None:
        """The index that another process keeps, as of this moment; None while that one is still making it."""
        with suppress(sqlite3.OperationalError):  # no file, or no tables
            index = cls(path, read_only=True)
            with suppress(sqlite3.OperationalError):
                # All that is read is of one state, whatever is edited meanwhile.
                index._db.execute("BEGIN")
                if index.get("identity") == identity:
                    return index
            index.close()
        return None

    @classmethod
    def create(cls, path: Path, identity: str) -> Index:
        """An empty index; it counts as one only once :meth:`complete` was called."""
        index = cls(path)
        index._db.executescript(_TABLES)
        index.put("building", identity)
        return index

    def complete(self) -> None:
        """All of the base is in."""
        self.put("identity", self.get("building"))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing.

        Raises
        ------
        DiskFullError
            There is no room; nothing changed.
        """
        try:
            # The right to write at once: a transaction that first reads may be refused it in the middle.
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                raise DiskFullError(
                    f"cannot write {self.path}: the disk is full. Free some space; nothing was changed."
                ) from error
            raise

    def get(self, key: str, default: Any = None) -> Any:
        """A fact about the review."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def put(self, key: str, value: Any) -> None:
        """Keep a fact."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # --- objects: those of the other prediction have ids below 0 ---

    def add(self, objects: Iterable[ReviewObject]) -> None:
        """Add objects."""
        rows, boxes = [], []
        for item in objects:
            group = _group(item.image, item.id < 0)
            left, top, right, bottom = shape_bounds(item.shape)
            # The R-tree holds float32, rounded outwards: it finds a little too much, never too little.
            boxes.append((item.id, left, right, top, bottom, group, group))
            rows.append(row_of(item))
        self._insert(rows, boxes)

    def add_polygons(
        self, ids: Sequence[int], image: int, classes: Sequence[str], values: Sequence[str], shapes: Array,
        grounds: Array,
    ) -> None:  # fmt: skip
        """Add many footprints at once, their ``values`` as JSON."""
        bounds = shapely.bounds(shapes).tolist()
        wkb, ground = shapely.to_wkb(shapes).tolist(), shapely.to_wkb(grounds).tolist()
        groups = [_group(image, number < 0) for number in ids]
        boxes = [
            (number, x0, x1, y0, y1, group, group)
            for number, group, (x0, y0, x1, y1) in zip(ids, groups, bounds)
        ]
        rows = [
            (number, image, "polygon", name, "", 0, float(abs(number)), "[]", text, shape, place)
            for number, name, text, shape, place in zip(ids, classes, values, wkb, ground)
        ]
        self._insert(rows, boxes)

    def _insert(self, rows: Sequence[tuple[Any, ...]], boxes: Sequence[tuple[Any, ...]]) -> None:
        self._db.executemany(f"INSERT INTO objects ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)
        self._db.executemany("INSERT INTO boxes VALUES (?,?,?,?,?,?,?)", boxes)

    def remove(self, ids: Iterable[int]) -> None:
        """Remove objects."""
        keys = [(number,) for number in ids]
        self._db.executemany("DELETE FROM objects WHERE id = ?", keys)
        self._db.executemany("DELETE FROM boxes WHERE id = ?", keys)

    def remove_before(self) -> None:
        """Remove the objects of the other prediction."""
        self._db.execute("DELETE FROM boxes WHERE id < 0")
        self._db.execute("DELETE FROM objects WHERE id < 0")

    def objects(self, ids: Iterable[int]) -> list[ReviewObject]:
        """The objects of these ids that there are, in that order."""
        query = f"SELECT {COLUMNS} FROM objects WHERE id = ?"
        # One by one: a list of ids in a query has a limit, and each is found by its key.
        rows = (self._db.execute(query, (number,)).fetchone() for number in ids)
        return [object_of(row) for row in rows if row is not None]

    def ids_in(self, image: int, box: Sequence[float], *, before: bool = False, most: int = -1) -> list[int]:
        """Ids of the objects whose bounds meet a box, in order; at most ``most`` of them."""
        group = _group(image, before)
        left, top, right, bottom = box
        query = (
            "SELECT id FROM boxes WHERE x1 >= ? AND x0 <= ? AND y1 >= ? AND y0 <= ? "
            "AND g0 = ? AND g1 = ? LIMIT ?"
        )
        rows = self._db.execute(query, (left, right, top, bottom, group, group, most)).fetchall()
        # The R-tree gives them in its own order, which changes with every edit. Ids of the other prediction
        # are below 0.
        return sorted((row[0] for row in rows), key=abs)

    def boxes_in(
        self, image: int, box: Sequence[float], *, before: bool = False
    ) -> Iterator[tuple[IntArray, list[str], Array]]:
        """Ids, classes and (n, 4) bounds of the objects that meet a box, some thousands at a time.

        Those that were rejected are left out.
        """
        group = _group(image, before)
        left, top, right, bottom = box
        query = (
            "SELECT b.id, o.class, x0, y0, x1, y1 FROM boxes b JOIN objects o ON o.id = b.id "
            "WHERE x1 >= ? AND x0 <= ? AND y1 >= ? AND y0 <= ? AND g0 = ? AND g1 = ? "
            "AND o.status != 'rejected'"
        )
        cursor = self._db.execute(query, (left, right, top, bottom, group, group))
        # A whole scene may hold millions: their boxes together would take more memory than the index does.
        while rows := cursor.fetchmany(_BOXES):
            ids, classes = np.array([row[0] for row in rows], np.int64), [row[1] for row in rows]
            yield ids, classes, np.array([row[2:] for row in rows], np.float64).reshape(-1, 4)

    def of_image(self, image: int) -> Iterator[ReviewObject]:
        """All objects of an image in their order, read as they are asked for."""
        query = f"SELECT {COLUMNS} FROM objects WHERE image = ? AND id > 0 ORDER BY ord, id"
        for row in self._db.execute(query, (image,)):
            yield object_of(row)

    def count(self, image: int) -> int:
        """How many objects an image has."""
        query = "SELECT count(*) FROM objects WHERE image = ? AND id > 0"
        return int(self._db.execute(query, (image,)).fetchone()[0])

    def classes(self) -> list[str]:
        """Classes of the objects, by name."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT class FROM objects ORDER BY class")]

    def edited_classes(self) -> list[str]:
        """Classes of the objects that differ from the base."""
        query = "SELECT DISTINCT class FROM objects WHERE edited = 1 AND id > 0 ORDER BY class"
        return [row[0] for row in self._db.execute(query)]

    def any_changed(self) -> bool:
        """Whether anything differs from the base."""
        query = "SELECT 1 FROM objects WHERE edited = 1 AND id > 0 LIMIT 1"
        return self._db.execute(query).fetchone() is not None

    # --- images ---

    def add_image(self, number: int, name: str) -> None:
        """Make an image known; its objects are not in yet."""
        self._db.execute("INSERT INTO images VALUES (?, ?, 0, 0, NULL, NULL, '[]')", (number, name))

    def image(self, number: int) -> ImageRow:
        """What is known of an image."""
        query = "SELECT name, loaded, adopted, sha, previous, tags FROM images WHERE number = ?"
        row = self._db.execute(query, (number,)).fetchone()
        return ImageRow(row[0], bool(row[1]), bool(row[2]), row[3], row[4], json.loads(row[5]))

    def set_image(
        self, number: int, sha: str | None, tags: Sequence[Any], *, previous: str | None = None,
        adopted: bool = False,
    ) -> None:  # fmt: skip
        """The objects of an image are in, as of this file."""
        self._db.execute(
            "UPDATE images SET loaded = 1, adopted = ?, sha = ?, previous = ?, tags = ? WHERE number = ?",
            (int(adopted), sha, previous, json_text(list(tags)), number),
        )

    def image_count(self) -> int:
        """How many images there are."""
        return int(self._db.execute("SELECT count(*) FROM images").fetchone()[0])

    # --- history: which edit undo and redo take next ---

    def note(self, revision: int, start: int, image: int, undo_next: int | None) -> None:
        """A line of the journal."""
        self._db.execute(
            "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, NULL)", (revision, start, image, undo_next)
        )

    def step(self, revision: int) -> tuple[int, int | None, int | None]:
        """Where an edit's line begins; what undo takes after it, and redo."""
        query = "SELECT start, undo_next, redo_next FROM history WHERE revision = ?"
        start, undo_next, redo_next = self._db.execute(query, (revision,)).fetchone()
        return start, undo_next, redo_next

    def chain_redo(self, revision: int, redo_next: int | None) -> None:
        """What redo takes after this edit."""
        self._db.execute("UPDATE history SET redo_next = ? WHERE revision = ?", (redo_next, revision))

    def leave_out(self, revision: int | None, image: int, *, redo: bool) -> int | None:
        """A chain of undo or redo without the edits of one image; returns where it begins then.

        Parameters
        ----------
        revision
            Where it begins.
        image
            Whose edits are left out.
        redo
            Which of the two.
        """
        column = "redo_next" if redo else "undo_next"
        query = f"SELECT image, {column} FROM history WHERE revision = ?"
        first = last = None
        while revision is not None:
            owner, following = self._db.execute(query, (revision,)).fetchone()
            if owner != image:
                if last is None:
                    first = revision
                else:
                    self._db.execute(f"UPDATE history SET {column} = ? WHERE revision = ?", (revision, last))
                last = revision
            revision = following
        if last is not None:
            self._db.execute(f"UPDATE history SET {column} = NULL WHERE revision = ?", (last,))
        return first

    def images_since(self, revision: int) -> list[int]:
        """Images edited after a revision."""
        query = "SELECT DISTINCT image FROM history WHERE revision > ? ORDER BY image"
        return [row[0] for row in self._db.execute(query, (revision,))]

    def edited_images(self) -> set[int]:
        """Images with an edit in the journal."""
        return {row[0] for row in self._db.execute("SELECT number FROM images WHERE adopted = 1")}

    # --- places ---

    def add_places(self, places: Iterable[Place]) -> None:
        """Put places into the list."""
        self._db.executemany(
            "INSERT OR REPLACE INTO places VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (p.id, p.image, p.name, *p.box, p.rank, int(p.qa), p.status, p.uncertain, p.expected_iou)
                for p in places
            ],
        )

    def places(self, first: int = 0, count: int = -1) -> list[Place]:
        """Places by rank."""
        rows = self._db.execute("SELECT * FROM places ORDER BY rank LIMIT ? OFFSET ?", (count, first))
        return [
            Place(row[0], row[1], row[2], row[3:7], row[7], bool(row[8]), row[9], row[10], row[11])
            for row in rows
        ]

    def place_count(self, status: str | None = None) -> int:
        """How many places there are, with some status or all."""
        if status is None:
            return int(self._db.execute("SELECT count(*) FROM places").fetchone()[0])
        return int(self._db.execute("SELECT count(*) FROM places WHERE status = ?", (status,)).fetchone()[0])

    def place_status(self, place: int) -> str | None:
        """Status of a place; None where there is no such place."""
        row = self._db.execute("SELECT status FROM places WHERE id = ?", (place,)).fetchone()
        return None if row is None else str(row[0])

    def mark(self, place: int, status: str) -> None:
        """Give a place a status."""
        self._db.execute("UPDATE places SET status = ? WHERE id = ?", (status, place))


def _group(image: int, before: bool) -> int:
    """Images and predictions as one more axis of the R-tree; whole numbers are exact in it to 2**24."""
    return 2 * image + before
