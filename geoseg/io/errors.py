"""Errors of reading and writing files."""

from __future__ import annotations

from typing import Any

from geoseg.errors import SceneError
from geoseg.geo.windows import Window

__all__ = ["SceneReadError"]


class SceneReadError(SceneError):
    """A region of a scene that can't be read, as in a truncated file.

    Attributes
    ----------
    path
        The file.
    window
        The region, in pixels of the scene as opened.
    reason
        What GDAL said.
    """

    def __init__(self, message: str, path: str = "", window: Window | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.window = window
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.path, self.window, self.reason)
