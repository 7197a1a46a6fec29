"""Importer of image + mask pairs: ``img`` or ``images`` beside ``ann``, ``masks`` or ``gt``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from geoseg.errors import InputError, MissingFileError
from geoseg.projects.figures import Bitmap, LabeledObject
from geoseg.projects.formats.contents import ImportContents, ImportImage, Shape2d, plain_class, read_band
from geoseg.projects.formats.names import list_images
from geoseg.projects.project import composed
from geoseg.typing import PathLike

__all__ = ["ClassValues", "read_binary_masks"]

#: Mask values of a class; ``"__all__"`` is every value above zero.
ClassValues = Sequence[int] | Literal["__all__"]

#: Names that such folders have elsewhere; the first that is there is taken.
_IMAGES = ("img", "images", "image")
_MASKS = ("ann", "masks", "mask", "gt", "labels")


def read_binary_masks(src: PathLike, classes: Mapping[str, ClassValues] | None = None) -> ImportContents:
    """Images with masks of the same stem; each class becomes at most one bitmap an image.

    A mask that is missing or all zero gives an image without objects. Folders of images lie directly in
    ``src`` (data set ``ds``), or in its subfolders, each of which is a data set.

    Parameters
    ----------
    src
        The folder.
    classes
        From class to the values of the mask's first channel; by default ``{"untitled": "__all__"}``.

    Raises
    ------
    MissingFileError
        No folder of images was found.
    InputError
        A mask's values are not given as integers above zero.
    """
    mapping: dict[str, ClassValues] = dict(classes or {"untitled": "__all__"})
    for title, wanted in mapping.items():
        if wanted != "__all__" and not (wanted and all(isinstance(v, int) and v > 0 for v in wanted)):
            raise InputError(f"class {title!r} must have mask values above 0 or '__all__', got {wanted!r}.")
    images: list[ImportImage] = []
    notes: list[str] = []
    for dataset, folder in _datasets(Path(src)):
        # Paired by the stem: a photo's mask is a PNG, for JPEG would change its values.
        targets = _subfolder(folder, _MASKS)
        masks: dict[str, Path] = {}
        for path in list_images(targets) if targets else ():
            if (other := masks.setdefault(composed(path.stem), path)) != path:
                raise InputError(
                    f"an image must have one mask, got {other.name} and {path.name} in {targets}. "
                    "Move one of them elsewhere."
                )
        paths = list_images(_subfolder(folder, _IMAGES) or folder)
        for path in paths:
            mask = masks.get(composed(path.stem))
            images.append(ImportImage(dataset, path.name, path, partial(_read, mask, mapping)))
        stems = {composed(path.stem) for path in paths}
        notes += [f"mask without image: {masks[stem]}" for stem in sorted(masks.keys() - stems)]
        if missing := len(stems - masks.keys()):
            notes.append(f"{dataset}: {missing} of {len(paths)} images have no mask")
    return ImportContents([plain_class(title, "bitmap") for title in mapping], images, notes=notes)


def _datasets(src: Path) -> list[tuple[str, Path]]:
    if not src.is_dir():
        raise MissingFileError(f"no such folder: {src}")
    if _subfolder(src, _IMAGES):
        return [("ds", src)]
    datasets = [(p.name, p) for p in sorted(src.iterdir()) if p.is_dir() and _subfolder(p, _IMAGES)]
    if not datasets:
        raise MissingFileError(f"source must have a folder img or images, got {src} without. Rename yours.")
    return datasets


def _subfolder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _read(mask: Path | None, mapping: Mapping[str, ClassValues], shape: Shape2d) -> list[LabeledObject]:
    if mask is None:
        return []
    values = read_band(mask, shape)
    objects: list[LabeledObject] = []
    for title, wanted in mapping.items():
        # Classes may share values: each has its own bitmap.
        hit = values > 0 if wanted == "__all__" else np.isin(values, [int(v) for v in wanted])
        bitmap = Bitmap((0, 0), hit).tight()
        if bitmap is not None:
            objects.append(LabeledObject(title, bitmap))
    return objects
