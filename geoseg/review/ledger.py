"""Journal, index and annotation files of a review: an edit is in all of them or in none."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from geoseg.errors import GeosegError
from geoseg.files import Staged, write_error
from geoseg.raster.source import RasterSource
from geoseg.review.annotations import annotation_text, tags_json, text_sha
from geoseg.review.building import open_index
from geoseg.review.digests import file_sha
from geoseg.review.folder import hold_review, keep_images, keep_settings
from geoseg.review.journal import Journal
from geoseg.review.scope import Change
from geoseg.review.state import apply_line, line_of, replay
from geoseg.review.targets import ProjectTarget, SceneTarget
from geoseg.typing import Progress

__all__ = ["Ledger"]


class Ledger:
    """What a review keeps, open; one process has it at a time. Not for several threads at once.

    Parameters and errors as in :class:`geoseg.review.store.Review`.

    Attributes
    ----------
    settings, images
        What the review was begun with, and the order of its images.
    index, journal
        The state, and the edits that it comes from.
    """

    def __init__(
        self,
        folder: Path,
        target: SceneTarget | ProjectTarget,
        seed: int | None,
        block: int | None,
        probability: RasterSource | None,
        progress: Progress,
    ) -> None:
        self.folder, self.target = folder, target
        # An edit that reached the journal, and not the annotation file.
        self._unwritten = False
        self._open = ExitStack()
        try:
            # The lock first: all that follows writes, and two processes would mix their lines.
            self._open.enter_context(hold_review(folder))
            folder.mkdir(parents=True, exist_ok=True)
            self.settings = keep_settings(folder, target, seed, block)
            self.images = keep_images(folder, target, self.settings["seed"])
            self.journal = self._open.enter_context(closing(Journal(folder / "journal.jsonl")))
            path = folder / "index.sqlite"
            size = self.journal.size
            self.index = open_index(path, target, self.settings, self.images, size, probability, progress)
            self._open.callback(self.index.close)
            # A process that was killed may have left the index, or a file, behind the journal.
            replay(self.index, self.journal.path)
            self._write_last()
        except BaseException:
            self._open.close()
            raise

    def close(self) -> None:
        """Let others have the folder. Twice is fine."""
        self._open.close()

    @property
    def revision(self) -> int:
        """Number of the last edit; 0 before the first."""
        return int(self.index.get("revision", 0))

    def commit(
        self, what: Mapping[str, Any], image: int, change: Change, tags: list[Any] | None = None
    ) -> None:
        """Make an edit last, under the next revision: index, journal and the annotation of its image.

        Parameters
        ----------
        what
            What the line of the journal says of it.
        image
            Where.
        change
            What it does.
        tags
            JSON of the image's tags after it, where the change does not tell them.
        """
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = {"revision": self.revision + 1, "time": time, "image": image, **what, **line_of(change)}
        start = self.journal.size
        staged: Staged | None = None
        try:
            with self._transaction():
                apply_line(self.index, line, start, start, change)
                if isinstance(self.target, ProjectTarget) and not change.marks:
                    row = self.index.image(image)
                    if change.tags is not None:
                        _, legacy = self.target.annotation_path(row.name)
                        tags = tags_json(change.tags[1], legacy=legacy)
                    staged, sha = self._stage(self.target, image, row.tags if tags is None else tags)
                    line["tags_before"], line["tags"] = row.tags, row.tags if tags is None else tags
                    line["file"] = {"before": row.sha, "after": sha}
                    self.index.set_image(image, sha, line["tags"], previous=row.sha, adopted=True)
                    self.index.put("last_image", image)
                self.journal.append(line)
                self.index.put("journal", self.journal.size)
        except BaseException:
            if staged is not None:
                staged.discard()
            raise
        if staged is not None:
            # From here on the edit stands; a file that can't get its name now gets it when it is read next.
            self._unwritten = True
            staged.commit()
            self._unwritten = False

    def load(self, target: ProjectTarget, image: int) -> None:
        """Have the objects of an image in the index as they are in its file, whoever wrote it."""
        if self._unwritten:
            # What stands there is from before the edit, and not of others.
            self._write_last()
        row = self.index.image(image)
        path, _ = target.annotation_path(row.name)
        sha = file_sha(path)
        if row.loaded and row.sha == sha:
            return
        first = int(self.index.get("next_id", 1))
        objects, tags = target.read(row.name, first_id=first, image=image)
        old = list(self.index.of_image(image))
        if row.adopted:
            self._adopt_file(image, Change(old, objects), sha, tags)
            return
        with self.index.transaction():
            self.index.remove(item.id for item in old)
            self.index.add(objects)
            self.index.set_image(image, sha, tags)
            self.index.put("next_id", first + len(objects))

    def adopt(self, image: int) -> None:
        """Before the first edit of a project's image its objects go to the journal."""
        row = self.index.image(image)
        if isinstance(self.target, ProjectTarget) and not row.adopted:
            self._adopt_file(image, Change(new=list(self.index.of_image(image))), row.sha, row.tags)

    def _adopt_file(self, image: int, change: Change, sha: str | None, tags: list[Any]) -> None:
        line = {
            "revision": self.revision + 1, "image": image, "op": {"op": "adopt"}, **line_of(change),
            "tags_before": tags, "tags": tags, "file": {"before": sha, "after": sha},
        }  # fmt: skip
        with self._transaction():
            start = self.journal.append(line)
            apply_line(self.index, line, start, self.journal.size, change)

    def _stage(self, target: ProjectTarget, image: int, tags: list[Any]) -> tuple[Staged, str]:
        """The annotation file of an image as the index has it, under a temporary name; and its hash."""
        name = self.images.names[image]
        path, legacy = target.annotation_path(name)
        height, width = target.open_image(name).geobox.shape
        text = annotation_text(path, (height, width), self.index.of_image(image), tags, legacy=legacy)
        staged = Staged.file(path)
        try:
            staged.path.write_bytes(text.encode())
        except BaseException:
            staged.discard()
            raise
        return staged, text_sha(text)

    def _write_last(self) -> None:
        """Write the annotation that was edited last, where the edit reached the journal and not the file."""
        image = self.index.get("last_image")
        if image is not None and isinstance(self.target, ProjectTarget):
            row = self.index.image(image)
            if row.name in self.target.items:
                path, _ = self.target.annotation_path(row.name)
                # A file that is neither of the two was written by others, and their work stays.
                if row.sha != row.previous and file_sha(path) == row.previous:
                    self._stage(self.target, image, row.tags)[0].commit()
        self._unwritten = False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Index and journal: both or none."""
        size = self.journal.size
        try:
            with self.index.transaction():
                yield
        except BaseException as error:
            # The index is what it was: a line that it does not know must not be read at the next opening.
            if self.journal.size > size:
                self.journal.cut(size)
            if isinstance(error, OSError) and not isinstance(error, GeosegError):
                raise write_error(self.folder, error) from error
            raise
