"""A review: a folder with a journal of edits, and the state they come to."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.projects.figures import Tag
from geoseg.raster.source import RasterSource
from geoseg.review import ops
from geoseg.review.edits import apply_edit, corners_of
from geoseg.review.ledger import Ledger
from geoseg.review.objects import ReviewObject, shape_bounds
from geoseg.review.rows import Place
from geoseg.review.scope import Change, Scope
from geoseg.review.state import change_of
from geoseg.review.targets import ProjectTarget, SceneTarget
from geoseg.typing import Array, IntArray, PathLike, Progress, no_progress

__all__ = ["Answer", "Review", "StaleError"]

#: Pixels around an edit within which others may share a wall with it.
_REACH = 2.0
#: Edits of walls: what lies around the whole object matters, not only what lies around their corners.
_OF_WALLS = (ops.Cut, ops.Fill, ops.Split, ops.Merge, ops.Square, ops.Brush)


class StaleError(InputError):
    """The edit was made on an older state than the one that is (HTTP status 409)."""


@dataclass(frozen=True)
class Answer:
    """What an edit came to.

    Attributes
    ----------
    revision
        Of the state after it.
    image
        Where it took place.
    change
        What it did.
    can_undo, can_redo
        Whether there is something to undo, and to redo.
    """

    revision: int
    image: int
    change: Change
    can_undo: bool
    can_redo: bool


class Review:
    """An open review; use it as a context manager. One process has it at a time, and several of its threads.

    Parameters
    ----------
    folder
        Where journal and index lie; made if it is missing.
    target
        What is reviewed.
    seed
        Of the random fifth; None: as the review began, and 0 for a new one.
    block
        Side of a scene's places in pixels; None: as the review began, and 512 for a new one.
    probability
        Probabilities on the scene's grid, by which its places are ranked.
    progress
        Told how far reading the footprints and ranking are.

    Raises
    ------
    LockedError
        Another process has the folder.
    StateMismatchError
        The folder is of another target, or began with another seed or block.
    """

    def __init__(
        self,
        folder: PathLike,
        target: SceneTarget | ProjectTarget,
        *,
        seed: int | None = None,
        block: int | None = None,
        probability: RasterSource | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.folder, self.target = Path(folder), target
        # The page sends tiles, lists and edits from several threads; the index takes one at a time.
        self._lock = threading.RLock()
        self._ledger = Ledger(self.folder, target, seed, block, probability, progress)
        self.settings, self.images = self._ledger.settings, self._ledger.images
        self._index = self._ledger.index

    def __enter__(self) -> Review:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others have the folder. Twice is fine."""
        self._ledger.close()

    # --- reading ---

    @property
    def revision(self) -> int:
        """Number of the last edit; 0 before the first."""
        with self._lock:
            return self._ledger.revision

    @property
    def can(self) -> tuple[bool, bool]:
        """Whether there is something to undo, and to redo."""
        with self._lock:
            return self._index.get("undo_top") is not None, self._index.get("redo_top") is not None

    def image_name(self, image: int) -> str:
        """Name of an image.

        Raises
        ------
        InputError
            There is no such image.
        """
        if not 0 <= image < len(self.images.names):
            raise InputError(f"image must be one of 0 to {len(self.images.names) - 1}, got {image}.")
        return self.images.names[image]

    def shape(self, image: int) -> tuple[int, int]:
        """(height, width) of an image."""
        height, width = self.target.open_image(self.image_name(image)).geobox.shape
        return height, width

    def objects(
        self, image: int, box: Sequence[float], *, before: bool = False, most: int
    ) -> list[ReviewObject] | int:
        """Objects that meet a box (left, top, right, bottom); how many, where they are more than ``most``."""
        with self._lock:
            if isinstance(self.target, ProjectTarget):
                if before:
                    return self.target.read_before(self.image_name(image), image)
                self._ledger.load(self.target, image)
            # One more than fits, which tells that there are too many without counting them.
            ids = self._index.ids_in(image, box, before=before, most=most + 1)
            return len(ids) if len(ids) > most else self._index.objects(ids)

    def boxes(
        self, image: int, box: Sequence[float], *, before: bool = False
    ) -> Iterator[tuple[IntArray, list[str], Array]]:
        """Ids, classes and (n, 4) bounds of the objects that meet a box, some thousands at a time.

        Edits wait until all were taken.
        """
        with self._lock:
            yield from self._index.boxes_in(image, box, before=before)

    def some(self, ids: Sequence[int]) -> list[ReviewObject]:
        """The objects of these ids that there are."""
        with self._lock:
            return self._index.objects(ids)

    def object(self, number: int) -> ReviewObject:
        """An object.

        Raises
        ------
        InputError
            It is not there.
        """
        with self._lock:
            # SQLite has 64 bits for a number, and a page may send any.
            items = self._index.objects([number]) if abs(number) < 2**63 else []
        if not items:
            raise InputError(f"object must be one of the review, got {number}. Load the objects again.")
        return items[0]

    def facts(self, image: int) -> tuple[int, list[Any]]:
        """How many objects an image has, and its tags."""
        with self._lock:
            if isinstance(self.target, ProjectTarget):
                self._ledger.load(self.target, image)
            return self._index.count(image), self._index.image(image).tags

    def places(self, first: int = 0, count: int = -1) -> list[Place]:
        """Places of the list, by rank."""
        with self._lock:
            return self._index.places(first, count)

    @property
    def left_out(self) -> int:
        """Rows of the footprints that are no polygons, or lie nowhere: they are not in the review."""
        with self._lock:
            return int(self._index.get("left_out", 0))

    def place_counts(self) -> tuple[int, int]:
        """How many places there are, and how many were accepted."""
        with self._lock:
            return self._index.place_count(), self._index.place_count("accepted")

    def images_since(self, revision: int) -> list[int]:
        """Images that were edited after a revision."""
        with self._lock:
            return self._index.images_since(revision)

    def class_shapes(self) -> dict[str, str]:
        """The shape that objects of each class must have, or "any"."""
        if isinstance(self.target, ProjectTarget):
            return {one.name: one.shape for one in self.target.meta.classes}
        with self._lock:
            return dict.fromkeys([*self.target.classes, *self._index.classes()], "polygon")

    # --- editing ---

    def edit(self, revision: int, image: int, document: Any) -> Answer:
        """Make an edit; it is on the disk when this returns.

        Parameters
        ----------
        revision
            Of the state that it was made on.
        image
            Where.
        document
            The edit, see :mod:`geoseg.review.ops`.

        Raises
        ------
        StaleError
            There were edits since.
        InputError
            The edit is impossible.
        RunError
            The disk is full, or fails; nothing was changed.
        """
        op = ops.parse_op(document)
        self.image_name(image)
        with self._lock:
            self._check_revision(revision)
            if isinstance(op, ops.MarkPlace):
                old = self._index.place_status(op.place)
                if old is None:
                    raise InputError(f"place must be one of the list, got {op.place}.")
                if old == op.status:
                    raise InputError(
                        f"a mark must change something, got a place that is {old or 'open'} already."
                    )
                return self._commit({"op": document}, image, Change(marks=[(op.place, old, op.status)]))
            self._check_tag(op)
            self._look_again(image, revision)
            # An edit that is refused must not have moved the page's revision on.
            change = apply_edit(op, self._scope(op, image))
            self._ledger.adopt(image)
            return self._commit({"op": document}, image, change)

    def undo(self, revision: int) -> Answer:
        """Take back the last edit that stands. Errors as in :meth:`edit`."""
        return self._step("undo", revision)

    def redo(self, revision: int) -> Answer:
        """Make the edit again that was taken back last. Errors as in :meth:`edit`."""
        return self._step("redo", revision)

    def _step(self, which: str, revision: int) -> Answer:
        with self._lock:
            self._check_revision(revision)
            edit = self._index.get(f"{which}_top")
            if edit is None:
                raise InputError(f"there must be an edit to {which}, got none.")
            line = self._ledger.journal.line_at(self._index.step(edit)[0])
            # An undo writes the annotation anew: what others put into the file since must not be lost.
            if "file" in line:
                self._look_again(line["image"], revision)
            change = change_of(line)
            change = change.reversed() if which == "undo" else change
            tags = line.get("tags_before" if which == "undo" else "tags")
            return self._commit({which: edit}, line["image"], change, tags)

    def _check_revision(self, revision: int) -> None:
        if revision != self.revision:
            raise StaleError(
                f"an edit must be made on revision {self.revision}, got {revision}: another page has edited "
                "meanwhile. Load the objects again."
            )

    def _check_tag(self, op: ops.Op) -> None:
        if not isinstance(op, ops.SetTag):
            return
        tag = self.target.meta.find_tag(op.tag) if isinstance(self.target, ProjectTarget) else None
        if tag is None:
            raise InputError(f"tag must be one of the project's meta.json, got {op.tag!r}. Add it there.")
        # JSON has no number for what Python reads from 1e999: others would refuse the whole annotation.
        is_number = not isinstance(op.value, float) or math.isfinite(op.value)
        if op.on and not (is_number and tag.fits(op.value)):
            raise InputError(f"value of tag {op.tag!r} must be {tag.wanted}, got {op.value!r}.")

    def _look_again(self, image: int, revision: int) -> None:
        """Refuse an edit of an image whose file others have changed since the page saw it."""
        if isinstance(self.target, ProjectTarget):
            self._ledger.load(self.target, image)
            self._check_revision(revision)

    def _commit(
        self, what: Mapping[str, Any], image: int, change: Change, tags: list[Any] | None = None
    ) -> Answer:
        self._ledger.commit(what, image, change, tags)
        return Answer(self._ledger.revision, image, change, *self.can)

    def _scope(self, op: ops.Op, image: int) -> Scope:
        named = list(getattr(op, "ids", None) or [])
        number = getattr(op, "id", None)
        items = self._index.objects(named if number is None else [*named, number])
        objects = {item.id: item for item in items if item.image == image and item.id > 0}
        places = [shape_bounds(item.shape) for item in objects.values()] if isinstance(op, _OF_WALLS) else []
        places += [(x, y, x, y) for x, y in corners_of(op)]
        if places:
            sides = np.array(places)
            reach = (*(sides[:, :2].min(axis=0) - _REACH), *(sides[:, 2:].max(axis=0) + _REACH))
            # Neighbors are in it without being named: where they share a wall, they change too.
            near = [one for one in self._index.ids_in(image, reach) if one not in objects]
            objects |= {item.id: item for item in self._index.objects(near)}
        # Never used twice, also after an undo: the journal knows each object by its id.
        next_id = int(self._index.get("next_id", 1))
        is_project = isinstance(self.target, ProjectTarget)
        return Scope(
            image,
            self.shape(image),
            objects,
            next_id,
            float(next_id),
            self.class_shapes(),
            whole_pixels=is_project,
            to_ground=None if isinstance(self.target, ProjectTarget) else self.target.to_ground(),
            tags=tuple(Tag.from_json(tag) for tag in self._index.image(image).tags),
        )
