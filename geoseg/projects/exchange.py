"""Annotated projects as a whole: import from other formats and export to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

from geoseg.errors import InputError, RunError
from geoseg.files import stop_if_full
from geoseg.io.writers import FORMATS as VECTOR_FORMATS
from geoseg.projects.figures import Annotation, ProjectMeta, Tag, TagMeta, color_of
from geoseg.projects.formats.binary_masks import ClassValues, read_binary_masks
from geoseg.projects.formats.coco import read_coco
from geoseg.projects.formats.coco_export import CocoExporter
from geoseg.projects.formats.contents import ImportContents
from geoseg.projects.formats.export import Exporter, ExportItem
from geoseg.projects.formats.image_folder import read_image_folder
from geoseg.projects.formats.kitti import read_kitti
from geoseg.projects.formats.masks_export import MasksExporter
from geoseg.projects.formats.names import UniqueNames, safe_name
from geoseg.projects.formats.transfer import Failure, list_failures, staged_folder
from geoseg.projects.formats.vector_export import VectorExporter
from geoseg.projects.formats.vector_labels import LabelOptions, read_vector_labels
from geoseg.projects.formats.yolo_export import YoloExporter
from geoseg.projects.image_output import copy_image
from geoseg.projects.images import open_image
from geoseg.projects.project import open_project, read_annotation
from geoseg.projects.writer import ProjectWriter
from geoseg.typing import PathLike, Progress, no_progress

__all__ = [
    "EXPORTS",
    "IMPORTS",
    "ExportSummary",
    "ImportOptions",
    "ImportSummary",
    "export_project",
    "import_source",
    "read_source",
]


#: Formats of :func:`read_source`.
IMPORTS = ("binary_masks", "kitti", "coco", "vector", "images")


@dataclass(frozen=True)
class ImportOptions:
    """What some importers can be told; the others refuse it.

    Attributes
    ----------
    classes
        binary_masks: from class to the mask's values.
    images
        coco: folder that ``file_name`` counts from.
    labels, layer, class_name, class_column, bitmaps
        vector: the label file, and :class:`~geoseg.projects.formats.vector_labels.LabelOptions`.
    """

    classes: Mapping[str, ClassValues] | None = None
    images: PathLike | None = None
    labels: PathLike | None = None
    class_name: str | None = None
    class_column: str | None = None
    bitmaps: bool = False
    layer: str | None = None


#: Options that a format takes; the importers of the others have no use for any.
_OPTIONS_OF = {
    "binary_masks": {"classes"},
    "coco": {"images"},
    "vector": {"labels", "layer", "class_name", "class_column", "bitmaps"},
}


def read_source(format: str, src: PathLike, options: ImportOptions | None = None) -> ImportContents:
    """Find what there is to import.

    Parameters
    ----------
    format
        One of :data:`IMPORTS`.
    src
        Folder or file.
    options
        Where the format takes any.

    Raises
    ------
    InputError
        An unknown format, an option of another format, or what the importer refuses.
    """
    options = options or ImportOptions()
    if format not in IMPORTS:
        raise InputError(f"format must be one of {', '.join(IMPORTS)}, got {format}.")
    for item in fields(options):
        if getattr(options, item.name) != item.default and item.name not in _OPTIONS_OF.get(format, ()):
            owner = next(name for name, names in _OPTIONS_OF.items() if item.name in names)
            raise InputError(f"{item.name} must be given with format {owner} only, got format {format}.")
    if format == "binary_masks":
        return read_binary_masks(src, options.classes)
    if format == "coco":
        return read_coco(src, options.images)
    if format == "vector":
        name = options.class_name or "object"
        return read_vector_labels(
            src, options.labels, LabelOptions(name, options.class_column, options.bitmaps, options.layer)
        )
    return read_kitti(src) if format == "kitti" else read_image_folder(src)


@dataclass(frozen=True)
class ImportSummary:
    """What an import brought.

    Attributes
    ----------
    project
        Where it lies.
    images, objects
        How many.
    failures
        Images that were left out.
    renamed
        From the name an image had to the one it got.
    notes
        What else was left out or looks wrong.
    """

    project: Path
    images: int
    objects: int
    failures: tuple[Failure, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def import_source(
    source: ImportContents,
    out: PathLike,
    *,
    link: bool = False,
    legacy: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> ImportSummary:
    """Write what an importer found as a project, one image at a time.

    Parameters
    ----------
    source
        From one of :mod:`geoseg.projects.formats`.
    out
        Folder of the new project.
    link
        Hard links in place of copies.
    legacy
        Project layout of 2018.
    overwrite
        Replace a project that is there.
    progress
        Told after each image.

    Returns
    -------
    ImportSummary
        An image that fails is listed there and in ``OUT.failures.json``, the others go on.

    Raises
    ------
    InputError
        ``out`` exists, or no image could be imported.
    """
    meta = ProjectMeta()
    for known_class in source.classes:
        meta = meta.with_class(known_class)
    for name in sorted({tag for image in source.images for tag in image.tags}):
        meta = meta.with_tag(TagMeta(name, applies_to="imagesOnly", color=color_of(name)))
    for name in source.object_tags:
        meta = meta.with_tag(TagMeta(name, applies_to="objectsOnly", color=color_of(name)))
    writer = ProjectWriter(out, meta, legacy=legacy, overwrite=overwrite)
    failures = [Failure(image, reason) for image, reason in source.failures]
    names: dict[str, UniqueNames] = {}
    done = objects = 0
    with writer:
        for index, image in enumerate(source.images):
            dataset = safe_name(image.dataset)
            try:
                # The header alone is read: labels need the size of the image and not its pixels.
                shape = open_image(image.path).shape
                annotation = Annotation(*shape, tuple(image.read(shape)), tuple(map(Tag, image.tags)))
                name = names.setdefault(dataset, UniqueNames())(image.name)
                writer.add(dataset, name, annotation, partial(copy_image, image.path, link=link))
                done, objects = done + 1, objects + len(annotation.objects)
            except (InputError, RunError, OSError) as error:
                # A full disk fails every image that follows: it ends the import.
                stop_if_full(error, writer.folder.parent)
                failures.append(Failure(f"{image.dataset}/{image.name}", str(error)))
            progress("import", index + 1, len(source.images))
        if not done:
            raise InputError(_nothing(failures, "imported"))
        list_failures(writer.path, failures)
    # Names are made safe and unique, and whoever looks for an image has to find it again.
    renamed = {f"{d}/{old}": f"{d}/{new}" for d, n in names.items() for old, new in n.renamed.items()}
    notes = [*source.notes]
    # Masks of another folder, or labels in another place, fail nowhere: they only give nothing.
    if source.classes and not objects:
        notes.append("no image has an object: are the labels made for these images?")
    return ImportSummary(writer.path, done, objects, tuple(failures), renamed, tuple(notes))


def _nothing(failures: Sequence[Failure], done: str) -> str:
    first = f" The first: {failures[0].image}: {failures[0].reason}" if failures else ""
    return f"project must have images that can be {done}, got {len(failures)} that can't.{first}"


#: Formats of :func:`export_project`.
EXPORTS = ("masks", "masks-machine", "masks-human", "coco", "yolo-seg", *VECTOR_FORMATS)


@dataclass(frozen=True)
class ExportSummary:
    """What an export wrote.

    Attributes
    ----------
    folder
        Where it lies.
    images, objects
        How many were taken over.
    failures
        Images that were left out.
    notes
        Objects that the format can't express.
    """

    folder: Path
    images: int
    objects: int
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


def export_project(
    project: PathLike, format: str, out: PathLike, *, link: bool = False, progress: Progress = no_progress
) -> ExportSummary:
    """Write a project in another format, one image at a time, into a new folder.

    Parameters
    ----------
    project
        Folder of the project.
    format
        One of :data:`EXPORTS`.
    out
        New folder; it appears when everything is written.
    link
        Hard links in place of copies of the images, where the format has the images with it.
    progress
        Told after each image.

    Returns
    -------
    ExportSummary
        An image that fails is listed there and in ``OUT.failures.json``, the others go on.

    Raises
    ------
    InputError
        An unknown format, a folder that exists, or no image could be exported.
    """
    opened = open_project(project)
    failures: list[Failure] = []
    done = objects = 0
    with staged_folder(out) as folder:
        exporter = _exporter(format, folder, opened.meta, link)
        for index, item in enumerate(opened):
            try:
                image = open_image(item.image)
                entry = ExportItem(item, image, read_annotation(item, opened.meta, image.shape))
                exporter.add(entry)
                done, objects = done + 1, objects + len(entry.annotation.objects)
            except (InputError, RunError, OSError) as error:
                # As in an import: a full disk ends it.
                stop_if_full(error, folder.parent)
                failures.append(Failure(f"{item.dataset}/{item.name}", str(error)))
            progress("export", index + 1, len(opened))
        if not done:
            raise InputError(_nothing(failures, "exported"))
        # Inside the block: files that belong to all images are part of the whole, which appears at once.
        exporter.finish()
        list_failures(Path(out), failures)
    lost = exporter.left_out.total()
    return ExportSummary(Path(out), done, objects - lost, tuple(failures), tuple(exporter.left_out.notes()))


def _exporter(format: str, folder: Path, meta: ProjectMeta, link: bool) -> Exporter:
    if format.startswith("masks") and format in EXPORTS:
        wanted = {"machine": format != "masks-human", "human": format != "masks-machine"}
        return MasksExporter(folder, meta, **wanted)
    if format == "coco":
        return CocoExporter(folder, meta, link=link)
    if format == "yolo-seg":
        return YoloExporter(folder, meta, link=link)
    if format in VECTOR_FORMATS:
        return VectorExporter(folder, format)
    raise InputError(f"format must be one of {', '.join(EXPORTS)}, got {format}.")
