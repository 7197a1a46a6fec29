"""Annotated projects written to disk, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from geoseg.config import read_document
from geoseg.errors import InputError
from geoseg.files import Staged, json_text, write_text
from geoseg.projects.figures import Annotation, ProjectMeta
from geoseg.projects.project import check_name
from geoseg.typing import PathLike

__all__ = ["ProjectWriter", "rewrite_meta"]


class ProjectWriter:
    """Writes a project; use it as a context manager.

    Files go to a temporary folder beside ``path``; leaving the ``with`` block writes meta.json and renames
    the folder, leaving it by an exception removes what was written.

    Parameters
    ----------
    path
        Folder of the new project; its name is the project's.
    meta
        Classes and tags; may be set until the end (``writer.meta = ...``).
    legacy
        Write the layout and annotation form of 2018.
    overwrite
        Replace a project that is there.

    Raises
    ------
    InputError
        The name is not safe; the project is there and ``overwrite`` is not set; or something else is there.
    """

    def __init__(
        self,
        path: PathLike,
        meta: ProjectMeta | None = None,
        *,
        legacy: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        check_name(self.path.name, "project")
        if self.path.exists() and not overwrite:
            raise InputError(
                f"project must be a new folder, got {self.path}, which exists. Name another or remove it."
            )
        if self.path.exists() and not _replaceable(self.path):
            raise InputError(
                f"only a project or an empty folder must be replaced, got {self.path}, which is neither. "
                "Name another."
            )
        self.meta = meta if meta is not None else ProjectMeta()
        self.legacy, self.overwrite = legacy, overwrite
        self._taken: dict[str, set[str]] = {}
        self._staged: Staged | None = None

    @property
    def folder(self) -> Path:
        """The temporary folder the project is written in."""
        return self._stage().path

    def _stage(self) -> Staged:
        if self._staged is None:
            self._staged = Staged.folder(self.path)
        return self._staged

    def __enter__(self) -> ProjectWriter:
        self._stage()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()

    def is_free(self, dataset: str, stem: str) -> bool:
        """Whether no image of the dataset has this name yet, whatever its extension or case."""
        return stem.casefold() not in self._taken.get(dataset.casefold(), ())

    def add(
        self,
        dataset: str,
        name: str,
        annotation: Annotation | None,
        image: Path | Callable[[Path], Any] | None,
    ) -> None:
        """Add one image.

        Parameters
        ----------
        dataset
            Dataset's name; ``PARENT/CHILD`` is a nested one.
        name
            File name with extension; free in its dataset.
        annotation
            Objects and tags, or None to write no annotation.
        image
            A file to copy byte for byte, a function that writes the image to the path it is given, or None
            to write no image.

        Raises
        ------
        InputError
            A name that is not safe, or taken.
        """
        img, ann = self.reserve(dataset, name)
        stem = Path(name).stem
        if callable(image):
            image(img / name)
        elif image is not None:
            shutil.copyfile(image, img / name)
        if annotation is not None:
            file = ann / (f"{stem}.json" if self.legacy else f"{name}.json")
            text = json_text(annotation.to_json(legacy=self.legacy))
            file.write_text(text, encoding="utf-8")

    def reserve(self, dataset: str, name: str) -> tuple[Path, Path]:
        """Take a name for an image whose files the caller writes; returns the folders ``img`` and ``ann``.

        Raises
        ------
        InputError
            A name that is not safe, or taken.
        """
        parts = dataset.split("/")
        for part in parts:
            check_name(part, "dataset")
        check_name(name, "image")
        # By the stem, for the annotations of 2018 are named by it; a.jpg and a.png would share one.
        stem = Path(name).stem
        if not self.is_free(dataset, stem):
            raise InputError(f"image names must be unique in a dataset, got {stem!r} twice in {dataset!r}.")
        folder = self.folder / "/datasets/".join(parts)
        img, ann = folder / "img", folder / "ann"
        if dataset.casefold() not in self._taken:
            # A data set around it, too: a folder without img is none, and what lies in it is not found.
            for depth in range(1, len(parts) + 1):
                for name in ("img", "ann"):
                    Path(self.folder, "/datasets/".join(parts[:depth]), name).mkdir(
                        parents=True, exist_ok=True
                    )
        self._taken.setdefault(dataset.casefold(), set()).add(stem.casefold())
        return img, ann

    def commit(self) -> Path:
        """Write meta.json and give the folder its name."""
        text = json_text(self.meta.to_json(legacy=self.legacy), indent=2)
        (self.folder / "meta.json").write_text(text, encoding="utf-8")
        # Looked at again: since the beginning something else may have been put there.
        replace = self.overwrite and self.path.exists() and _replaceable(self.path)
        self._stage().commit(replace=replace)
        self._staged = None
        return self.path

    def discard(self) -> None:
        """Remove what was written; nothing after a commit."""
        if self._staged is not None:
            self._staged.discard()
            self._staged = None


def rewrite_meta(folder: Path, meta: ProjectMeta) -> None:
    """Write classes and tags of a project that is there, in the form of its meta.json.

    What else stands in the file, as settings of a labeling tool, stays.
    """
    file = folder / "meta.json"
    document = read_document(file) if file.is_file() else {}
    # Tags with kinds came before the type of the project: by that alone their kinds would be lost.
    legacy = not isinstance(document, dict) or ("tags" not in document and "projectType" not in document)
    kept = {} if legacy else document
    write_text(file, json_text({**kept, **meta.to_json(legacy=legacy)}, indent=2))


def _replaceable(path: Path) -> bool:
    """An empty folder, or a project that holds nothing but data sets and JSON files."""
    if not path.is_dir():
        return False
    entries = list(path.iterdir())
    names = {entry.name for entry in entries}
    # Anything else among them is somebody's, and a mistyped --out must not delete it.
    for entry in entries:
        if entry.is_dir():
            inner = {inner.name for inner in entry.iterdir()}
            if inner and not inner & {"img", "ann", "masks_machine", "masks_human"}:
                return False
        elif entry.suffix != ".json":
            return False
    return not entries or bool(names & {"meta.json", "classes.json"})
