"""Importer of folders of images without annotation."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import MissingFileError
from geoseg.projects.formats.contents import ImportContents, ImportImage
from geoseg.projects.formats.names import list_images
from geoseg.typing import PathLike

__all__ = ["read_image_folder"]


def read_image_folder(src: PathLike) -> ImportContents:
    """Images of ``src`` (data set ``ds``) and of its subfolders, each of which is a data set.

    A subfolder below a subfolder gives its path to the name of the data set: ``a/b`` becomes ``a_b``.

    Raises
    ------
    MissingFileError
        No folder, or no image in it.
    """
    src = Path(src)
    images = [
        ImportImage("_".join(path.parent.relative_to(src).parts) or "ds", path.name, path, lambda shape: [])
        for path in list_images(src, recursive=True)
    ]
    if not images:
        raise MissingFileError(f"source must hold images, got {src} without any.")
    return ImportContents([], images)
