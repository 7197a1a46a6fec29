"""What a scene is opened from: a name, or an object that knows more than one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from geoseg.raster.source import RasterSource
from geoseg.typing import PathLike

__all__ = ["Reference", "SceneReference", "label_of", "paths_of"]


@runtime_checkable
class SceneReference(Protocol):
    """What opens as one scene and is more than a name: sheets of a mosaic, assets of a STAC item."""

    @property
    def name(self) -> str:
        """What the scene will be called."""

    @property
    def label(self) -> str:
        """What the user named it by; for messages."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Files and addresses that it is read from; at least one."""

    def open(self, *, bands: Sequence[int] | None, expand_palette: bool) -> RasterSource:
        """The source, whole and at its own resolution."""


#: What a scene is opened from.
Reference: TypeAlias = PathLike | SceneReference


def label_of(reference: Reference) -> str:
    """What the user named a scene by; for messages."""
    return reference.label if isinstance(reference, SceneReference) else os.fspath(reference)


def paths_of(reference: Reference) -> tuple[str, ...]:
    """Files and addresses that a scene is read from.

    Examples
    --------
    >>> paths_of("town.tif")
    ('town.tif',)
    """
    return reference.paths if isinstance(reference, SceneReference) else (os.fspath(reference),)
