"""Validation of an annotated project: what would make an image fail later, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from geoseg.config import read_document
from geoseg.errors import InputError
from geoseg.geo.windows import iter_chunks
from geoseg.projects.figures import LabeledObject, ProjectMeta, Tag
from geoseg.projects.figures.annotation import size_from_json
from geoseg.projects.figures.bitmaps import MOST_PIXELS, mask_limit
from geoseg.projects.figures.meta import TAG_KINDS
from geoseg.projects.figures.transform import to_shapely
from geoseg.projects.figures.types import SHAPES, Bitmap, Figure, Polygon, figure_bounds
from geoseg.projects.image_output import BY_NAME, BY_STEM, world_suffixes
from geoseg.projects.images import open_image
from geoseg.projects.project import IMAGE_SUFFIXES, Dataset, Item, Project, check_name, open_project
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["Problem", "check_project"]

#: Side of the pieces in which an image is decoded to its end, pixels.
_CHUNK = 4096
#: Last endings of files that lie beside images and belong to them.
_COMPANIONS = frozenset(
    {Path(end).suffix or end for end in BY_NAME}
    | {*BY_STEM, *(end for suffix in IMAGE_SUFFIXES for end in world_suffixes(suffix))}
)


@dataclass(frozen=True)
class Problem:
    """Something wrong, and where.

    Attributes
    ----------
    where
        File below the project, with the JSON path of an object.
    what
        What is wrong with it.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_project(path: PathLike, *, pixels: bool = True, progress: Progress = no_progress) -> list[Problem]:
    """List what is wrong with a project.

    Parameters
    ----------
    path
        Folder of the project.
    pixels
        Decode every image, so that truncated files are found; else only the headers are read.
    progress
        Told after each image.

    Raises
    ------
    InputError
        No project at all: no folder, no readable meta.json.
    """
    project = open_project(path)
    problems = list(_meta_problems(project))
    for dataset in project.datasets:
        problems += _dataset_problems(project, dataset)
    for index, item in enumerate(project):
        problems += _item_problems(project, item, pixels)
        progress("validate", index + 1, len(project))
    return problems


def _meta_problems(project: Project) -> Iterator[Problem]:
    # Reading keeps shapes and kinds that are not known here, so that files of newer tools are no failure.
    for known_class in project.meta.classes:
        if known_class.shape not in (*SHAPES, "any"):
            shapes = ", ".join((*SHAPES, "any"))
            yield Problem(
                "meta.json",
                f"shape of class {known_class.name!r} must be one of {shapes}, got {known_class.shape!r}",
            )
    for tag in project.meta.tags:
        if tag.value_type not in TAG_KINDS:
            kinds = ", ".join(TAG_KINDS)
            yield Problem(
                "meta.json", f"value_type of tag {tag.name!r} must be one of {kinds}, got {tag.value_type!r}"
            )
        if tag.value_type == "oneof_string" and not tag.values:
            yield Problem("meta.json", f"tag {tag.name!r} is oneof_string and lists no values")
    if not len(project):
        yield Problem(".", "no images (DATASET/img/NAME)")


def _dataset_problems(project: Project, dataset: Dataset) -> Iterator[Problem]:
    folder = Path(*dataset.name.split("/"))
    # Without the case: on Windows and macOS both would be one file.
    stems = Counter(item.stem.casefold() for item in dataset.items)
    for item in dataset.items:
        if stems[item.stem.casefold()] > 1:
            yield Problem(
                f"{folder}/img/{item.name}", "another image has this name (extension and case aside)"
            )
        try:
            check_name(item.name, "image")
        except InputError as error:
            yield Problem(f"{folder}/img/{item.name}", str(error))
    if not dataset.items:
        return
    root = dataset.items[0].image.parents[1]
    used = {item.annotation.name for item in dataset.items if item.annotation}
    # Listed, for an annotation without image belongs to no item.
    annotations = {path.name for path in (root / "ann").iterdir()} if (root / "ann").is_dir() else set()
    for name in sorted(annotations - used):
        if name.endswith(".json"):
            yield Problem(f"{folder}/ann/{name}", "annotation without image")
    for path in sorted((root / "img").iterdir()):
        if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES | _COMPANIONS:
            yield Problem(f"{folder}/img/{path.name}", "not an image")


def _item_problems(project: Project, item: Item, pixels: bool) -> Iterator[Problem]:
    where = f"{item.dataset}/img/{item.name}"
    shape: tuple[int, int] | None = None
    try:
        image = open_image(item.image)
        shape = image.shape
        if pixels:
            # The header of a file that is cut short is fine; only decoding all of it tells.
            for window in iter_chunks(*shape, _CHUNK):
                image.read(window)
    except (InputError, OSError) as error:
        yield Problem(where, str(error))
    if item.annotation is not None:
        where = f"{item.dataset}/ann/{item.annotation.name}"
        for place, what in _annotation_problems(item.annotation, project.meta, shape):
            yield Problem(where + place, what)


def _annotation_problems(
    path: Path, meta: ProjectMeta, shape: tuple[int, int] | None
) -> Iterator[tuple[str, str]]:
    try:
        document = read_document(path)
    except InputError as error:
        yield "", str(error)
        return
    try:
        height, width = size_from_json(document)
    except InputError as error:
        yield "", str(error)
        return
    # Reading takes a file without objects for one of an empty image; to a check it is a suspicious one.
    if not isinstance(document.get("objects"), list):
        yield "", "must be an object with size and objects"
        return
    if shape is not None and (height, width) != shape:
        yield "", f"size is {width} x {height}, the image has {shape[1]} x {shape[0]} pixels"
    yield from ((": $.tags", what) for what in _tag_problems(document.get("tags") or [], meta))
    for index, entry in enumerate(document["objects"]):
        yield from ((f": $.objects[{index}]", what) for what in _object_problems(entry, meta, shape))


def _tag_problems(entries: Any, meta: ProjectMeta) -> Iterator[str]:
    for entry in entries if isinstance(entries, list) else [entries]:
        try:
            tag = Tag.from_json(entry)
        except InputError as error:
            yield str(error)
            continue
        declared = meta.find_tag(tag.name)
        if declared is None:
            yield f"tag {tag.name!r} is not in meta.json"
        elif not declared.fits(tag.value):
            yield f"value of tag {tag.name!r} must be {declared.wanted}, got {tag.value!r:.80}"


def _object_problems(entry: Any, meta: ProjectMeta, shape: tuple[int, int] | None) -> Iterator[str]:
    most = mask_limit(*shape) if shape is not None else MOST_PIXELS
    try:
        item = LabeledObject.from_json(entry, meta, most)
    except InputError as error:
        yield str(error)
        return
    yield from _figure_problems(item.figure, shape)
    yield from _tag_problems(entry.get("tags") or [], meta)


def _figure_problems(figure: Figure, shape: tuple[int, int] | None) -> Iterator[str]:
    # An empty bitmap has no place, and a polygon of two vertices no inside: there is no more to say of them.
    if isinstance(figure, Bitmap) and figure.tight() is None:
        yield "bitmap without a pixel"
        return
    if isinstance(figure, Polygon):
        if len(figure.exterior) < 3:
            yield f"polygon of {len(figure.exterior)} vertices, needs 3"
            return
        outline = to_shapely(figure)
        if not outline.is_valid:
            yield f"invalid polygon: {shapely.is_valid_reason(outline)}"
    if shape is None:
        return
    left, top, right, bottom = figure_bounds(figure)
    # Vertices stand for centers of pixels, so the image ends half a pixel further.
    if right < -0.5 or bottom < -0.5 or left >= shape[1] - 0.5 or top >= shape[0] - 0.5:
        yield "wholly outside the image"
    elif left < -0.5 or top < -0.5 or right > shape[1] - 0.5 or bottom > shape[0] - 0.5:
        yield "reaches out of the image"
