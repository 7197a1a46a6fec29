"""Importer of KITTI's semantic segmentation: ``image_2`` with ``instance`` or ``semantic`` label images.

References
----------
The benchmark's development kit, https://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark=semantics2015:
``instance`` is 16-bit, value = 256 * class id + instance number; ``semantic`` is 8-bit class ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.config import read_document
from geoseg.errors import InputError, MissingFileError
from geoseg.projects.figures import LabeledObject
from geoseg.projects.formats.cityscapes import CITYSCAPES, Label
from geoseg.projects.formats.contents import (
    ImportContents,
    ImportImage,
    Shape2d,
    plain_class,
    read_band,
    value_bitmaps,
)
from geoseg.projects.formats.names import list_images
from geoseg.projects.project import composed
from geoseg.typing import PathLike

__all__ = ["read_kitti"]

#: Values of ``instance`` for each class.
_PER_CLASS = 256
#: Folders of label images, and what their values are divided by; objects one by one say more than classes.
_DIVISORS = {"instance": _PER_CLASS, "semantic": 1}


def read_kitti(src: PathLike) -> ImportContents:
    """Street images with one bitmap an object (``instance``) or one a class (``semantic``).

    ``src`` holds ``image_2`` itself, then its own name is the data set, or folders that do, such as
    ``training`` and ``testing``. All 34 Cityscapes classes are declared, as graphs may name classes that no
    image has; ``colors.json`` at the root (a list of ``{name, id, color}``) takes their place. Pixels of
    value 0 belong to no object.

    Raises
    ------
    MissingFileError
        No ``image_2``.
    InputError
        A ``colors.json`` of another form.
    """
    src = Path(src)
    labels = _labels(src)
    titles = {label.id: label.name for label in labels}
    if not src.is_dir():
        raise MissingFileError(f"no such folder: {src}")
    folders = [folder for folder in (src, *sorted(src.iterdir())) if (folder / "image_2").is_dir()]
    # A folder with images of its own is a data set, whatever else lies in it.
    folders = folders[:1] if folders[:1] == [src] else folders
    if not folders:
        raise MissingFileError(f"source must have a folder image_2 (or training/image_2), got {src} without.")
    images: list[ImportImage] = []
    notes: list[str] = []
    for folder in folders:
        paths = list_images(folder / "image_2")
        labeled = {
            name: {composed(path.stem): path for path in sorted((folder / name).glob("*.png"))}
            for name in _DIVISORS
        }
        targets = {path.stem: _target(labeled, composed(path.stem)) for path in paths}
        images += [
            ImportImage(folder.resolve().name, path.name, path, partial(_read, targets[path.stem], titles))
            for path in paths
        ]
        missing = sum(target is None for target in targets.values())
        if missing:
            notes.append(f"{folder.resolve().name}: {missing} of {len(paths)} images have no labels")
    return ImportContents(
        [plain_class(label.name, "bitmap", label.color) for label in labels], images, notes=notes
    )


def _target(labeled: Mapping[str, Mapping[str, Path]], stem: str) -> tuple[Path, int] | None:
    """The label image of a picture and what its values are divided by."""
    return next(
        ((labeled[name][stem], divisor) for name, divisor in _DIVISORS.items() if stem in labeled[name]), None
    )


def _read(target: tuple[Path, int] | None, titles: Mapping[int, str], shape: Shape2d) -> list[LabeledObject]:
    if target is None:
        return []
    path, divisor = target
    values = read_band(path, shape)
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"label image must hold integers, got {path} of {values.dtype}.")
    if divisor == _PER_CLASS and values.dtype.itemsize == 1:
        # Saved anew with 8 bits, every class would be 0, unlabeled.
        raise InputError(
            f"label image in instance must have 16 bits ({_PER_CLASS} * class id + number), got {path} of "
            f"{values.dtype}. Put class ids into semantic, or save it with 16 bits."
        )
    objects: list[LabeledObject] = []
    for value, bitmap in value_bitmaps(values):
        if value // divisor not in titles:
            raise InputError(
                f"class id must be one of {min(titles)} to {max(titles)}, got {value // divisor} in {path}. "
                "Describe it in colors.json."
            )
        objects.append(LabeledObject(titles[value // divisor], bitmap))
    return objects


def _labels(src: Path) -> Sequence[Label]:
    path = src / "colors.json"
    if not path.is_file():
        return CITYSCAPES
    document = read_document(path)
    labels: list[Label] = []
    entries: list[Any] = document if isinstance(document, list) else [None]
    for entry in entries:
        try:
            red, green, blue = (int(value) for value in entry["color"])
            label = Label(int(entry["id"]), str(entry["name"]), (red, green, blue))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path} must be a list of {{name, id, color: [r, g, b]}}, got {entry!r}."
            ) from None
        if not all(0 <= value <= 255 for value in label.color):
            raise InputError(f"colors in {path} must be 0 to 255, got {label.color}.")
        labels.append(label)
    if len({label.id for label in labels}) < len(labels) or len({label.name for label in labels}) < len(
        labels
    ):
        raise InputError(f"names and ids in {path} must be unique.")
    return labels
