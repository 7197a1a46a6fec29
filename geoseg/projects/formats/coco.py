"""Importer of COCO instance annotations: polygons, run-length masks, boxes.

References
----------
COCO's data format, https://cocodataset.org/#format-data: coordinates count from pixel corners, so a polygon
from 0 to 10 covers the pixels 0 to 9.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
import shapely.affinity

from geoseg.config import read_document
from geoseg.errors import InputError, MissingFileError
from geoseg.projects.figures import Bitmap, Figure, LabeledObject, Rectangle, Tag
from geoseg.projects.figures.covering import covered_figures
from geoseg.projects.formats.contents import ImportContents, ImportImage, Shape2d, plain_class
from geoseg.projects.formats.rle import decode_counts, unpack_counts
from geoseg.projects.project import safe_join
from geoseg.scores.polygons import clean_polygons
from geoseg.typing import PathLike

__all__ = ["CROWD_TAG", "figures_of", "read_coco"]

Json: TypeAlias = Mapping[str, Any]

#: Object tag of annotations with ``iscrowd`` set.
CROWD_TAG = "iscrowd"


def read_coco(src: PathLike, images: PathLike | None = None) -> ImportContents:
    """Images with the objects of one or several COCO files, each file a data set.

    A polygon of several rings becomes several objects, as a project has one outline an object. A category
    whose objects are all polygons, masks or boxes gets that shape; a mixed one gets ``any``.

    Parameters
    ----------
    src
        A COCO file, or a folder with some: in it, in ``annotations``, or in its subfolders.
    images
        Folder that ``file_name`` counts from; by default the usual places around each file.

    Raises
    ------
    MissingFileError
        No COCO file.
    InputError
        A file that is not COCO.
    """
    src = Path(src)
    files = [(src, read_document(src))] if src.is_file() else _coco_files(src)
    shapes: dict[str, set[str]] = {}
    images_of_all: list[ImportImage] = []
    failures: list[tuple[str, str]] = []
    notes: list[str] = []
    crowds = False
    for file, document in files:
        coco = _Coco(file, document)
        for title, kinds in coco.shapes().items():
            shapes.setdefault(title, set()).update(kinds)
        of_file, failed = coco.images(_roots(file, images))
        images_of_all += of_file
        failures += failed
        crowds |= coco.has_crowds()
        notes += coco.left_out()
    # A category without objects is one of polygons, COCO's usual shape.
    classes = [
        plain_class(title, "any" if len(kinds) > 1 else next(iter(kinds), "polygon"))
        for title, kinds in shapes.items()
    ]
    return ImportContents(classes, images_of_all, failures, notes, (CROWD_TAG,) if crowds else ())


def _coco_files(folder: Path) -> list[tuple[Path, Any]]:
    if not folder.is_dir():
        raise MissingFileError(f"no such file or folder: {folder}")
    # From near to far: the first place that holds COCO files is the one meant.
    for pattern in ("*.json", "annotations/*.json", "*/*.json"):
        coco_files = []
        for path in sorted(folder.glob(pattern)):
            # Other JSON files (a package's, a settings file) may lie there, even broken ones.
            with suppress(InputError):
                document = read_document(path)
                if isinstance(document, dict) and {"images", "categories"} <= document.keys():
                    coco_files.append((path, document))
        if coco_files:
            return coco_files
    raise MissingFileError(
        f"source must hold COCO files (JSON with images, annotations and categories), got {folder} without."
    )


def _roots(file: Path, images: PathLike | None) -> list[Path]:
    if images is not None:
        return [Path(images)]
    above, dataset = file.parent.parent, _dataset_of(file)
    roots = [file.parent, file.parent / "images", file.parent / dataset]
    if file.parent.name == "annotations":
        # Where the tools that write an annotations folder put their images.
        roots += [above / "images" / dataset, above / dataset, above / "images", above]
    return [root for root in roots if root.is_dir()]


def _dataset_of(file: Path) -> str:
    # instances_train2017.json is "train2017"; _annotations.coco.json, as Roboflow writes it into the folder
    # of a split, is called after that folder; a name that says nothing becomes "ds".
    stem = file.stem.removesuffix(".coco")
    for prefix in ("instances_", "annotations_"):
        stem = stem.removeprefix(prefix)
    if stem.strip("_") in {"annotations", "instances", "coco", "labels", "result", "data"}:
        return file.parent.name if file.stem.startswith("_annotations") else "ds"
    return stem


class _Coco:
    """One file, checked as far as its outline goes."""

    def __init__(self, file: Path, document: Any) -> None:
        self.file = file
        if not isinstance(document, dict):
            raise InputError(f"{file} must be a COCO file: an object with images and categories.")
        self.entries = self._list(document, "images", ("id", "file_name"))
        categories = self._list(document, "categories", ("id", "name"))
        self.titles = {entry["id"]: str(entry["name"]) for entry in categories}
        for key, entries in (("images", self.entries), ("categories", categories)):
            # Files put together without new numbers: the objects of one image would lie on another, too.
            twice = [number for number, times in Counter(e["id"] for e in entries).items() if times > 1]
            if twice:
                raise InputError(
                    f"{file}: $.{key}: ids must be unique, got {twice[0]!r} more than once. "
                    "Put files side by side in one folder instead of joining them."
                )
        self.annotations: dict[Any, list[tuple[int, Json]]] = defaultdict(list)
        for index, entry in enumerate(self._list(document, "annotations", ("image_id", "category_id"))):
            self.annotations[entry["image_id"]].append((index, entry))

    def _list(self, document: Json, key: str, needed: Sequence[str]) -> list[Json]:
        entries = document.get(key, [])
        if not isinstance(entries, list):
            raise InputError(f"{self.file}: $.{key}: must be a list, got {type(entries).__name__}.")
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict) or not all(
                isinstance(entry.get(name), int | str) for name in needed
            ):
                raise InputError(
                    f"{self.file}: $.{key}[{index}]: must be an object with {' and '.join(needed)}."
                )
        return entries

    def shapes(self) -> dict[str, set[str]]:
        """Kinds of figures of each category, categories without objects included."""
        kinds: dict[str, set[str]] = {title: set() for title in self.titles.values()}
        for entries in self.annotations.values():
            for _, entry in entries:
                if entry["category_id"] in self.titles:
                    kinds[self.titles[entry["category_id"]]].add(_kind_of(entry))
        return kinds

    def left_out(self) -> list[str]:
        """What encloses nothing: rings of less than three vertices, annotations without a shape."""
        entries = [entry for image_entries in self.annotations.values() for _, entry in image_entries]
        lists = [shape for entry in entries if isinstance(shape := entry.get("segmentation"), list)]
        rings = [ring for shape in lists if shape for ring in _rings(shape)]
        short = sum(isinstance(ring, list) and len(ring) < 6 for ring in rings)
        bare = sum(not entry.get("segmentation") and entry.get("bbox") is None for entry in entries)
        counts = {"rings of less than 3 vertices": short, "annotations without a shape": bare}
        return [f"{self.file.name}: {count} {what} left out" for what, count in counts.items() if count]

    def has_crowds(self) -> bool:
        """Whether any annotation stands for a group."""
        return any(entry.get("iscrowd") for entries in self.annotations.values() for _, entry in entries)

    def images(self, roots: Sequence[Path]) -> tuple[list[ImportImage], list[tuple[str, str]]]:
        """Images that were found, and those that were not with the reason."""
        dataset = _dataset_of(self.file)
        known = {entry["id"] for entry in self.entries}
        import_images, failures = [], []
        for entry in self.entries:
            name = str(entry["file_name"])
            try:
                path = next(
                    (path for root in roots if (path := safe_join(root, name, "file_name")).is_file()), None
                )
                if path is None:
                    raise MissingFileError(f"no such image in {', '.join(map(str, roots))}")
            except InputError as error:
                failures.append((f"{dataset}/{name}", str(error)))
                continue
            written = entry.get("tags")  # geoseg's own; other programs keep other things under this name
            tags = tuple(tag for tag in written if isinstance(tag, str)) if isinstance(written, list) else ()
            import_images.append(ImportImage(dataset, name, path, partial(self.read, entry), tags))
        lost = sum(len(entries) for image, entries in self.annotations.items() if image not in known)
        if lost:
            failures.append((str(self.file), f"{lost} annotations name an image_id that no image has"))
        return import_images, failures

    def read(self, entry: Json, shape: Shape2d) -> list[LabeledObject]:
        """Objects of one image."""
        stated = entry.get("height", shape[0]), entry.get("width", shape[1])
        if stated != shape:
            raise InputError(
                f"image must have the size of its annotation, got {shape[1]} x {shape[0]} pixels where "
                f"{self.file.name} says {stated[1]} x {stated[0]}. Photos are turned upright by their EXIF "
                "orientation, as viewers show them."
            )
        objects: list[LabeledObject] = []
        for index, annotation in self.annotations.get(entry["id"], []):
            try:
                title = self.titles[annotation["category_id"]]
                figures = figures_of(annotation, shape)
            except KeyError:
                known = ", ".join(map(str, self.titles))
                reason = f"category_id must be one of {known}, got {annotation['category_id']}"
                raise InputError(f"{self.file.name}: $.annotations[{index}]: {reason}.") from None
            except InputError as error:
                raise InputError(f"{self.file.name}: $.annotations[{index}]: {error}") from None
            tags = (Tag(CROWD_TAG),) if annotation.get("iscrowd") else ()
            objects += [LabeledObject(title, figure, tags) for figure in figures]
        return objects


def _kind_of(annotation: Json) -> str:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, Mapping):
        return "bitmap"
    return "polygon" if segmentation or _rotation(annotation) else "rectangle"


def _rotation(annotation: Json) -> float:
    """Degrees that a box is turned clockwise about its middle; not COCO's, CVAT writes it beside."""
    attributes = annotation.get("attributes")
    rotation = attributes.get("rotation") if isinstance(attributes, Mapping) else None
    return float(rotation) % 360 if isinstance(rotation, int | float) and np.isfinite(rotation) else 0.0


def figures_of(annotation: Json, shape: Shape2d) -> list[Figure]:
    """Figures of one COCO annotation; none where it is empty.

    Polygons and boxes cover the pixels whose centers lie inside; rings of less than three vertices enclose
    nothing. A turned box (``attributes.rotation``) is a polygon.

    Parameters
    ----------
    annotation
        With ``segmentation`` (rings in a list, or RLE with ``counts`` and ``size``), else
        ``bbox``.
    shape
        (H, W) of the image.

    Raises
    ------
    InputError
        Numbers that are none, RLE that does not fit the image.

    Examples
    --------
    >>> figures_of({"bbox": [2, 3, 4, 5]}, (9, 9))
    [Rectangle(left=2.0, top=3.0, right=5.0, bottom=7.0)]
    >>> figures_of({"segmentation": {"counts": [81], "size": [9, 9]}}, (9, 9))
    []
    """
    kind = _kind_of(annotation)
    if kind == "bitmap":
        segmentation = annotation["segmentation"]
        counts: Any = segmentation.get("counts")
        size = segmentation.get("size")
        if size is not None and size != list(shape):
            raise InputError(f"size of the RLE must be that of the image, {list(shape)}, got {size}.")
        # COCO's own tools write text, other programs plain numbers.
        if isinstance(counts, str):
            runs = unpack_counts(counts)
        else:
            runs = _numbers(counts, "counts of the RLE", most=2**53).astype(np.int64)
        mask, (row, col) = decode_counts(runs, shape)
        return [Bitmap((col, row), mask).compact()] if mask.size else []
    if kind == "polygon" and annotation.get("segmentation"):
        written = annotation["segmentation"]
        if not isinstance(written, list):
            raise InputError("segmentation must be a list of rings or an RLE object.")
        polygons = []
        for ring in _rings(written):
            numbers = _numbers(ring, "ring")
            if len(numbers) % 2:
                raise InputError(f"ring must be x, y pairs, got {len(numbers)} numbers.")
            if len(numbers) >= 6:
                polygons.append(shapely.Polygon(numbers.reshape(-1, 2)))
        # Repaired as every label is: a ring that runs over itself covers what it goes around.
        outlines = clean_polygons(polygons).geometry
        return [figure for outline in outlines for figure in covered_figures([outline], shape)]
    if annotation.get("bbox") is None:  # key points, captions: no shape
        return []
    x, y, width, height = _numbers(annotation["bbox"], "bbox", 4)
    if width <= 0 or height <= 0:
        return []
    if kind == "polygon":
        box = shapely.box(x, y, x + width, y + height)
        # y points down, so the usual turn from x to y is clockwise on the screen.
        return [*covered_figures([shapely.affinity.rotate(box, _rotation(annotation), "center")], shape)]
    # The pixels whose centers lie in the box, as of a polygon; the last ones belong to a rectangle.
    left, top = np.ceil((x - 0.5, y - 0.5))
    right, bottom = np.ceil((x + width - 0.5, y + height - 0.5)) - 1
    return [Rectangle(*map(float, (left, top, right, bottom)))] if left <= right and top <= bottom else []


def _rings(segmentation: list[Any]) -> list[Any]:
    """Rings of a segmentation, each a flat list of numbers.

    Other tools write one ring without the list around it, and vertices as pairs.
    """
    if not any(isinstance(item, list) for item in segmentation):
        return [segmentation]
    pairs = [isinstance(item, list) and len(item) == 2 for item in segmentation]
    rings = [segmentation] if len(segmentation) >= 3 and all(pairs) else segmentation
    return [
        [number for pair in ring for number in pair]
        if isinstance(ring, list) and ring and all(isinstance(pair, list) for pair in ring)
        else ring
        for ring in rings
    ]


def _numbers(values: Any, what: str, count: int | None = None, most: float = 2**31) -> np.ndarray[Any, Any]:
    """Finite numbers up to ``most``: no image has a pixel farther out."""
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a list of numbers.") from None
    if numbers.ndim != 1 or (count is not None and len(numbers) != count) or not np.isfinite(numbers).all():
        raise InputError(f"{what} must be a list of {count or 'finite'} numbers.")
    if numbers.size and np.abs(numbers).max() > most:
        raise InputError(f"{what} must hold numbers up to {most:g}, got {np.abs(numbers).max():g}.")
    return numbers
