"""Annotated projects on disk: PROJECT/meta.json and PROJECT/DATASET/{img,ann}.

Both layouts are read: ``ann/NAME.ext.json`` of today and ``ann/STEM.json`` of 2018. Today's is written, the
other on request. A project is written under a temporary name and renamed when it is complete.

References
----------
github.com/supervisely/docs, data-organization (both formats).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from geoseg.config import read_document
from geoseg.errors import ConfigError, InputError, MissingFileError
from geoseg.files import Staged, json_text
from geoseg.projects.figures import Annotation, ProjectMeta
from geoseg.typing import PathLike

__all__ = [
    "IMAGE_SUFFIXES",
    "Dataset",
    "Item",
    "Project",
    "ProjectWriter",
    "check_name",
    "open_project",
    "read_annotation",
    "safe_join",
]

#: Files in ``img`` that count as images.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".vrt", ".gif"}
)

_FORBIDDEN = re.compile(r'[\x00-\x1f/\\|<>:"?*]')
_MAX_NAME = 180


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a project.

    Attributes
    ----------
    project, dataset
        Names.
    image
        The image file.
    annotation
        Its annotation file, or None where there is none: an image without objects.
    """

    project: str
    dataset: str
    image: Path
    annotation: Path | None

    @property
    def name(self) -> str:
        """File name with extension."""
        return self.image.name

    @property
    def stem(self) -> str:
        """File name without extension."""
        return self.image.stem

    def __str__(self) -> str:
        return f"{self.project}/{self.dataset}/{self.name}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder of images of a project, sorted by name."""

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Project:
    """An annotated project: its classes and tags, and where its images lie. Nothing else is in memory."""

    path: Path
    meta: ProjectMeta
    datasets: tuple[Dataset, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    def __len__(self) -> int:
        return sum(len(dataset.items) for dataset in self.datasets)

    def __iter__(self) -> Iterator[Item]:
        for dataset in self.datasets:
            yield from dataset.items


def open_project(path: PathLike) -> Project:
    """Read a project's meta and list its images; annotations are read one by one, later.

    A project of the oldest form, with ``classes.json`` in place of ``meta.json``, is read too. Datasets
    nested in a ``datasets`` folder are named ``PARENT/CHILD``.

    Raises
    ------
    MissingFileError
        No such folder, or no meta.json in it.
    InputError
        A meta.json that is none.
    """
    path = Path(path)
    if not path.is_dir():
        raise MissingFileError(f"project must be a folder, got {path}, which is not there. Check the name.")
    file = next((path / name for name in ("meta.json", "classes.json") if (path / name).is_file()), None)
    if file is None:
        raise MissingFileError(
            f"project must have a meta.json, got {path} without one. Is this the project's folder?"
        )
    document = read_document(file)
    try:
        meta = ProjectMeta.from_json(document)
    except InputError as error:
        raise ConfigError(f"{file}: {error}") from None
    return Project(path, meta, tuple(sorted(_datasets(path, path.name, ""), key=lambda d: d.name)))


def _datasets(folder: Path, project: str, prefix: str) -> Iterator[Dataset]:
    for child in sorted(folder.iterdir()):
        if child.name.startswith(".") or not (child / "img").is_dir():
            continue
        name = prefix + child.name
        yield Dataset(name, tuple(_items(child, project, name)))
        if (child / "datasets").is_dir():
            yield from _datasets(child / "datasets", project, f"{name}/")


def _items(folder: Path, project: str, dataset: str) -> Iterator[Item]:
    ann = folder / "ann"
    known = {entry.name for entry in ann.iterdir()} if ann.is_dir() else set()
    for image in sorted((folder / "img").iterdir()):
        full, short = f"{image.name}.json", f"{image.stem}.json"
        # Whatever has an annotation of its very name is an image: one that can't be read is a failure then.
        if image.name.startswith(".") or (image.suffix.lower() not in IMAGE_SUFFIXES and full not in known):
            continue
        annotation = next((ann / name for name in (full, short) if name in known), None)
        yield Item(project, dataset, image, annotation)


def read_annotation(item: Item, meta: ProjectMeta | None, shape: tuple[int, int]) -> Annotation:
    """The annotation of an image.

    Parameters
    ----------
    item
        The image.
    meta
        The project's classes; an object of another class is an error. None accepts any.
    shape
        (height, width) of the image file.

    Raises
    ------
    InputError
        The file is no annotation, or was made for an image of another size.
    """
    if item.annotation is None:
        return Annotation(*shape)
    try:
        annotation = Annotation.from_json(read_document(item.annotation), meta)
    except ConfigError:
        raise
    except InputError as error:
        raise InputError(f"{item.annotation}: {error}") from None
    if annotation.shape != shape:
        raise InputError(
            f"{item.annotation}: size must be that of the image, {shape[1]} x {shape[0]}, "
            f"got {annotation.width} x {annotation.height}. Draw it again or put the right image back."
        )
    return annotation


def check_name(name: str, what: str) -> str:
    """A name that is safe as one file or folder name on every system.

    Raises
    ------
    InputError
        Empty, too long, ``.`` or ``..``, or with a slash or another character that some system refuses.

    Examples
    --------
    >>> check_name("train_01", "project")
    'train_01'
    """
    if not isinstance(name, str) or not name.strip() or name in (".", "..") or name != name.strip():
        raise InputError(f"{what} must be a plain name, got {name!r}. Give it another name.")
    if len(name) > _MAX_NAME or _FORBIDDEN.search(name) or name.endswith("."):
        raise InputError(
            f'{what} must be at most {_MAX_NAME} characters without / \\ | < > : " ? *, got {name[:200]!r}. '
            "Give it another name."
        )
    return name


def safe_join(folder: PathLike, relative: str, what: str) -> Path:
    """A path inside ``folder``.

    Raises
    ------
    InputError
        The path leads out of the folder.
    """
    root = Path(folder).resolve()
    try:
        path = (root / relative).resolve()
        path.exists()  # raises where no file could have such a name: a NUL, half a surrogate pair, too long
    except (OSError, ValueError):
        raise InputError(f"{what} must be the name of a file, got {relative[:80]!r}. Correct it.") from None
    if not path.is_relative_to(root):
        raise InputError(f"{what} must stay inside {root}, got {relative!r}.")
    return path


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
        *,
        move: bool = False,
    ) -> None:
        """Add one image.

        Parameters
        ----------
        dataset
            Dataset's name.
        name
            File name with extension; free in its dataset.
        annotation
            Objects and tags, or None to write no annotation.
        image
            A file to copy byte for byte (or to move, with ``move``), a function that writes the image to the
            path it is given, or None to write no image.

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
            (shutil.move if move else shutil.copyfile)(image, img / name)
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
        check_name(dataset, "dataset")
        check_name(name, "image")
        stem = Path(name).stem
        if not self.is_free(dataset, stem):
            raise InputError(f"image names must be unique in a dataset, got {stem!r} twice in {dataset!r}.")
        img, ann = self.folder / dataset / "img", self.folder / dataset / "ann"
        if dataset.casefold() not in self._taken:
            img.mkdir(parents=True, exist_ok=True)
            ann.mkdir(exist_ok=True)
        self._taken.setdefault(dataset.casefold(), set()).add(stem.casefold())
        return img, ann

    def commit(self) -> Path:
        """Write meta.json and give the folder its name."""
        text = json_text(self.meta.to_json(legacy=self.legacy), indent=2)
        (self.folder / "meta.json").write_text(text, encoding="utf-8")
        replace = self.overwrite and self.path.exists() and _replaceable(self.path)
        self._stage().commit(replace=replace)
        self._staged = None
        return self.path

    def discard(self) -> None:
        """Remove what was written; nothing after a commit."""
        if self._staged is not None:
            self._staged.discard()
            self._staged = None


def _replaceable(path: Path) -> bool:
    """An empty folder, or a project that holds nothing but data sets and JSON files."""
    if not path.is_dir():
        return False
    entries = list(path.iterdir())
    names = {entry.name for entry in entries}
    known = all(_is_data_set(entry) if entry.is_dir() else entry.suffix == ".json" for entry in entries)
    return not entries or (known and bool(names & {"meta.json", "classes.json"}))


def _is_data_set(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    return not names or bool(names & {"img", "ann", "masks_machine", "masks_human"})
