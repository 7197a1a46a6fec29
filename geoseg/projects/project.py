"""Annotated projects on disk: PROJECT/meta.json and PROJECT/DATASET/{img,ann}.

Both layouts are read: ``ann/NAME.ext.json`` of today and ``ann/STEM.json`` of 2018.

References
----------
github.com/supervisely/docs, data-organization (both formats).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.config import read_document
from geoseg.errors import ConfigError, InputError, MissingFileError
from geoseg.projects.figures import Annotation, ProjectMeta
from geoseg.projects.images import open_image
from geoseg.typing import PathLike

__all__ = [
    "IMAGE_SUFFIXES",
    "Dataset",
    "Item",
    "Project",
    "check_name",
    "composed",
    "open_project",
    "read_annotation",
    "safe_join",
]

#: Files in ``img`` that count as images.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".vrt", ".gif"}
)

#: What some system refuses in a name: Windows most, and control characters that would garble a terminal.
_FORBIDDEN = re.compile(r'[\x00-\x1f/\\|<>:"?*]')
#: File systems take 255 bytes; endings such as .json and the ten characters of a copy come on top.
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
    """A folder of images of a project.

    Attributes
    ----------
    name
        Of the folder; a nested one is named ``PARENT/CHILD``.
    items
        Its images by name.
    """

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Project:
    """An annotated project: its classes and tags, and where its images lie.

    Iterating gives its images. No annotation and no pixel is in memory.

    Attributes
    ----------
    path
        The folder.
    meta
        Classes (``meta.classes``) and tags (``meta.tags``).
    datasets
        Folders of images, by name.
    """

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

    def annotation(self, item: Item) -> Annotation:
        """Objects and tags of one image; of the image only the header is read, for its size.

        Raises
        ------
        InputError
            The image or its annotation can't be read, or they don't fit.
        """
        return read_annotation(item, self.meta, open_image(item.image).shape)


def open_project(path: PathLike) -> Project:
    """Open an annotated project: a folder with ``meta.json`` and ``DATASET/{img,ann}``.

    Its classes and tags are read and its images listed; annotations are read one by one, by
    :meth:`Project.annotation`. Files in ``img`` are images by their ending, or because ``ann`` has an
    annotation of their name. Projects of 2018 (``ann/STEM.json``), of the oldest form (``classes.json`` in
    place of ``meta.json``) and with nested data sets (``DATASET/datasets``) are read too.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    MissingFileError
        No such folder, or no ``meta.json`` in it.
    ConfigError
        A ``meta.json`` that can't be read.

    Examples
    --------
    >>> project = open_project("projects/town")  # doctest: +SKIP
    >>> project.meta.class_names, len(project)  # doctest: +SKIP
    (('house', 'road'), 12)
    >>> for item in project:  # doctest: +SKIP
    ...     objects = project.annotation(item).objects
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
    # The document's own errors know no file.
    try:
        meta = ProjectMeta.from_json(document)
    except InputError as error:
        raise ConfigError(f"{file}: {error}") from None
    return Project(path, meta, tuple(sorted(_datasets(path, path.name, ""), key=lambda d: d.name)))


def composed(name: str) -> str:
    """A file name by which the files of one image are told to belong together.

    Archives of macOS may spell a letter and its accent apart, where another program spells them as one.

    Examples
    --------
    >>> composed("e\\u0301.png") == composed("\\u00e9.png")
    True
    """
    return unicodedata.normalize("NFC", name)


def _datasets(folder: Path, project: str, prefix: str) -> Iterator[Dataset]:
    for child in sorted(folder.iterdir()):
        # Folders of tools and systems (.git, .ipynb_checkpoints), and those of something else.
        if child.name.startswith(".") or not (child / "img").is_dir():
            continue
        name = prefix + child.name
        yield Dataset(name, tuple(_items(child, project, name)))
        if (child / "datasets").is_dir():
            yield from _datasets(child / "datasets", project, f"{name}/")


def _items(folder: Path, project: str, dataset: str) -> Iterator[Item]:
    ann = folder / "ann"
    # Listed once: to ask for each annotation would be two calls an image, and a network's disk is slow.
    known = {composed(entry.name): entry.name for entry in ann.iterdir()} if ann.is_dir() else {}
    for image in sorted((folder / "img").iterdir()):
        full, short = composed(f"{image.name}.json"), composed(f"{image.stem}.json")
        # Whatever has an annotation of its very name is an image: one that can't be read is a failure then.
        if image.name.startswith(".") or (image.suffix.lower() not in IMAGE_SUFFIXES and full not in known):
            continue
        # The form of today first: with NAME.ext.json beside STEM.json the former is the newer.
        annotation = next((ann / known[name] for name in (full, short) if name in known), None)
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
    except ConfigError:  # it names its file already
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
    # Resolved, links and all: a name in somebody's file must not reach what lies beside the folder.
    root = Path(folder).resolve()
    try:
        path = (root / relative).resolve()
        path.exists()  # raises where no file could have such a name: a NUL, half a surrogate pair, too long
    except (OSError, ValueError):
        raise InputError(f"{what} must be the name of a file, got {relative[:80]!r}. Correct it.") from None
    if not path.is_relative_to(root):
        raise InputError(f"{what} must stay inside {root}, got {relative!r}.")
    return path
