"""A review: a folder with a journal of edits, and the state they come to."""

from __future__ import annotations

import datetime
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from geoseg.errors import GeosegError, InputError
from geoseg.files import Staged, write_error
from geoseg.projects.figures import Tag
from geoseg.raster.source import RasterSource
from geoseg.review import ops
from geoseg.review.annotations import annotation_text, tags_json, text_sha
from geoseg.review.building import open_index
from geoseg.review.edits import apply_edit, corners_of
from geoseg.review.folder import hold_review, keep_images, keep_settings
from geoseg.review.index import Place
from geoseg.review.journal import Journal
from geoseg.review.objects import ReviewObject, shape_bounds
from geoseg.review.scope import Change, Scope
from geoseg.review.state import apply_line, change_of, line_of, replay
from geoseg.review.targets import ProjectTarget, SceneTarget, file_sha
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
        Of the random fifth; counts when the review begins.
    block
        Side of a scene's places in pixels; counts when the review begins.
    probability
        Probabilities on the scene's grid, by which its places are ranked.
    progress
        Told how far reading the footprints and ranking are.

    Raises
    ------
    LockedError
        Another process has the folder.
    StateMismatchError
        The folder is of another target.
    """

    def __init__(
        self,
        folder: PathLike,
        target: SceneTarget | ProjectTarget,
        *,
        seed: int = 0,
        block: int = 512,
        probability: RasterSource | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.folder, self.target = Path(folder), target
        self._lock = threading.RLock()
        self._unwritten = False
        self._open = ExitStack()
        try:
            self._open.enter_context(hold_review(self.folder))
            self.folder.mkdir(parents=True, exist_ok=True)
            self.settings = keep_settings(self.folder, target, seed, block)
            self.images = keep_images(self.folder, target, self.settings["seed"])
            self._journal = self._open.enter_context(Journal(self.folder / "journal.jsonl"))
            path = self.folder / "index.sqlite"
            size = self._journal.size
            self._index = open_index(path, target, self.settings, self.images, size, probability, progress)
            self._open.callback(self._index.close)
            self._replay()
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Review:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others have the folder. Twice is fine."""
        self._open.close()

    def _replay(self) -> None:
        """Bring the index to the end of the journal, and the annotation that was edited last to the disk."""
        replay(self._index, self._journal.path)
        self._write_last()

    def _write_last(self) -> None:
        """Write the annotation that was edited last, where the edit reached the journal and not the file."""
        image = self._index.get("last_image")
        if image is not None and isinstance(self.target, ProjectTarget):
            row = self._index.image(image)
            if row.name in self.target.items:
                path, _ = self.target.annotation_path(row.name)
                if row.sha != row.previous and file_sha(path) == row.previous:
                    self._stage(self.target, image, row.tags)[0].commit()
        self._unwritten = False

    # --- reading ---

    @property
    def revision(self) -> int:
        """Number of the last edit; 0 before the first."""
        with self._lock:
            return int(self._index.get("revision", 0))

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
                self._load(self.target, image)
            ids = self._index.ids_in(image, box, before=before, most=most + 1)
            return len(ids) if len(ids) > most else self._index.objects(ids)

    def boxes(
        self, image: int, box: Sequence[float], *, before: bool = False
    ) -> tuple[IntArray, list[str], Array]:
        """Ids, classes and (n, 4) bounds of the objects that meet a box."""
        with self._lock:
            return self._index.boxes_in(image, box, before=before)

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
            items = self._index.objects([number]) if abs(number) < 2**63 else []
        if not items:
            raise InputError(f"object must be one of the review, got {number}. Load the objects again.")
        return items[0]

    def facts(self, image: int) -> tuple[int, list[Any]]:
        """How many objects an image has, and its tags."""
        with self._lock:
            if isinstance(self.target, ProjectTarget):
                self._load(self.target, image)
            return self._index.count(image), self._index.image(image).tags

    def places(self, first: int = 0, count: int = -1) -> list[Place]:
        """Places of the list, by rank."""
        with self._lock:
            return self._index.places(first, count)

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
                return self._commit({"op": document}, image, self._marked(op))
            self._check_tag(op)
            self._look_again(image, revision)
            # An edit that is refused must not have moved the page's revision on.
            change = apply_edit(op, self._scope(op, image))
            self._adopt(image)
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
            line = self._journal.line_at(self._index.step(edit)[0])
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

    def _marked(self, op: ops.MarkPlace) -> Change:
        old = self._index.place_status(op.place)
        if old is None:
            raise InputError(f"place must be one of the list, got {op.place}.")
        if old == op.status:
            raise InputError(f"a mark must change something, got a place that is {old or 'open'} already.")
        return Change(marks=[(op.place, old, op.status)])

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
            near = [one for one in self._index.ids_in(image, reach) if one not in objects]
            objects |= {item.id: item for item in self._index.objects(near)}
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

    def _commit(
        self, what: Mapping[str, Any], image: int, change: Change, tags: list[Any] | None = None
    ) -> Answer:
        """Index, journal and the annotation of a project's image: all of them or none."""
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = {"revision": self.revision + 1, "time": time, "image": image, **what, **line_of(change)}
        start = self._journal.size
        staged: Staged | None = None
        try:
            with self._transaction():
                apply_line(self._index, line, start, start, change)
                if isinstance(self.target, ProjectTarget) and not change.marks:
                    row = self._index.image(image)
                    if change.tags is not None:
                        _, legacy = self.target.annotation_path(row.name)
                        tags = tags_json(change.tags[1], legacy=legacy)
                    staged, sha = self._stage(self.target, image, row.tags if tags is None else tags)
                    line["tags_before"], line["tags"] = row.tags, row.tags if tags is None else tags
                    line["file"] = {"before": row.sha, "after": sha}
                    self._index.set_image(image, sha, line["tags"], previous=row.sha, adopted=True)
                    self._index.put("last_image", image)
                self._journal.append(line)
                self._index.put("journal", self._journal.size)
        except BaseException:
            if staged is not None:
                staged.discard()
            raise
        if staged is not None:
            # From here on the edit stands; a file that can't get its name now gets it when it is read next.
            self._unwritten = True
            staged.commit()
            self._unwritten = False
        return Answer(line["revision"], image, change, *self.can)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Index and journal: both or none."""
        size = self._journal.size
        try:
            with self._index.transaction():
                yield
        except BaseException as error:
            # The index is what it was: a line that it does not know must not be read at the next opening.
            if self._journal.size > size:
                self._journal.cut(size)
            if isinstance(error, OSError) and not isinstance(error, GeosegError):
                raise write_error(self.folder, error) from error
            raise

    # --- projects ---

    def _stage(self, target: ProjectTarget, image: int, tags: list[Any]) -> tuple[Staged, str]:
        """The annotation file of an image as the index has it, under a temporary name; and its hash."""
        path, legacy = target.annotation_path(self.image_name(image))
        text = annotation_text(path, self.shape(image), self._index.of_image(image), tags, legacy=legacy)
        staged = Staged.file(path)
        try:
            staged.path.write_bytes(text.encode())
        except BaseException:
            staged.discard()
            raise
        return staged, text_sha(text)

    def _load(self, target: ProjectTarget, image: int) -> None:
        """Have the objects of an image in the index as they are in its file, whoever wrote it."""
        if self._unwritten:
            # What stands there is from before the edit, and not of others.
            self._write_last()
        row = self._index.image(image)
        path, _ = target.annotation_path(row.name)
        sha = file_sha(path)
        if row.loaded and row.sha == sha:
            return
        first = int(self._index.get("next_id", 1))
        objects, tags = target.read(row.name, first_id=first, image=image)
        old = list(self._index.of_image(image))
        if row.adopted:
            self._adopt_file(image, Change(old, objects), sha, tags)
            return
        with self._index.transaction():
            self._index.remove(item.id for item in old)
            self._index.add(objects)
            self._index.set_image(image, sha, tags)
            self._index.put("next_id", first + len(objects))

    def _look_again(self, image: int, revision: int) -> None:
        """Refuse an edit of an image whose file others have changed since the page saw it."""
        if isinstance(self.target, ProjectTarget):
            self._load(self.target, image)
            self._check_revision(revision)

    def _adopt(self, image: int) -> None:
        """Before the first edit of a project's image its objects go to the journal."""
        row = self._index.image(image)
        if isinstance(self.target, ProjectTarget) and not row.adopted:
            self._adopt_file(image, Change(new=list(self._index.of_image(image))), row.sha, row.tags)

    def _adopt_file(self, image: int, change: Change, sha: str | None, tags: list[Any]) -> None:
        line = {
            "revision": self.revision + 1, "image": image, "op": {"op": "adopt"}, **line_of(change),
            "tags_before": tags, "tags": tags, "file": {"before": sha, "after": sha},
        }  # fmt: skip
        with self._transaction():
            start = self._journal.append(line)
            apply_line(self._index, line, start, self._journal.size, change)
