"""Reading what can be read of a damaged raster, and listing what can't."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from geoseg.errors import SceneError
from geoseg.geo.windows import Window
from geoseg.pipeline.class_readers import ClassReader
from geoseg.pipeline.held import ReadChunk
from geoseg.raster.source import RasterSource, SceneReadError
from geoseg.typing import Array, BoolArray, OnError
from geoseg.vector.chunk import ChunkValues

__all__ = ["Salvage", "failure", "naming_damage", "read_pixels", "sorted_failures"]

T = TypeVar("T")


def naming_damage(source: RasterSource, window: Window, read: Callable[[Window], T]) -> T:
    """Read a window; where a file is broken, the error names its block and not all that was read at once.

    Parameters
    ----------
    source
        The scene that ``read`` reads.
    window
        Pixels of the scene.
    read
        Gives them.

    Raises
    ------
    SceneError
        They can't be read.
    """
    try:
        return read(window)
    except SceneReadError as error:
        # None where it is not known: of arrays, and of servers, which are not asked for each block once more.
        damage = source.locate_damage(window) or error
        message = f"{damage} --on-error skip goes on without what is broken."
        raise SceneReadError(message, damage.path, window, damage.reason) from None


def read_pixels(
    source: RasterSource, window: Window, on_error: OnError
) -> tuple[Array, BoolArray | None, list[dict[str, Any]]]:
    """Pixels and validity of a window, and what of it can't be read.

    Parameters
    ----------
    source
        The scene.
    window
        Inside the scene.
    on_error
        ``fail``: a region that can't be read is an error. ``skip``: it counts as invalid and is listed.

    Returns
    -------
    array (C, h, w), bool array (h, w) or None, list of dict
        Validity is None where each pixel is valid. See :func:`failure` for the list.

    Raises
    ------
    SceneError
        A region can't be read; the message names it.
    """

    def read(part: Window) -> tuple[Array, BoolArray | None]:
        if not source.has_validity:
            return source.read(part), None
        pixels, valid = source.read_with_valid(part)
        return pixels, valid

    if on_error == "fail":
        return *naming_damage(source, window, read), []
    try:
        return *read(window), []
    except SceneError:
        # By file blocks, so that only what is really broken is lost. Only now: by parts, reading takes
        # longer, and nearly every window is whole.
        parts = source.storage_parts(window)
    image = np.zeros((source.count, window.height, window.width), source.dtype)
    valid = np.zeros((window.height, window.width), bool)
    failures = []
    for part, unit in parts:
        inside = part.shifted(-window.row_off, -window.col_off)
        try:
            pixels, part_valid = read(part)
        except SceneError as error:
            # The whole file block is listed, not the part of it in this window, so that the neighbor which
            # meets the same block lists the same region.
            failures.append(failure(unit, error))
            continue
        image[:, inside.rows, inside.cols] = pixels
        valid[inside.rows, inside.cols] = True if part_valid is None else part_valid
    return image, valid, failures


def failure(unit: Window, error: Exception) -> dict[str, Any]:
    """An entry of the list of failures: the region in pixels, and the reason."""
    place = {name: getattr(unit, name) for name in ("row_off", "col_off", "height", "width")}
    return {**place, "reason": str(error)}


def sorted_failures(failures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each region once, row-major."""
    # Blocks overlap, so neighbors list the same region.
    unique = {(item["row_off"], item["col_off"]): item for item in failures}
    return [unique[place] for place in sorted(unique)]


@dataclass(frozen=True)
class Salvage:
    """A reader of classes that takes what can't be read as without data, and lists it.

    Attributes
    ----------
    source
        The raster.
    reader
        Gives class values of it, or raises SceneError.
    """

    source: RasterSource
    reader: ClassReader

    def read(self, window: Window) -> ChunkValues:
        """Pixels of a window; a :class:`ReadChunk` where a part could not be read."""
        try:
            return self.reader.read(window)
        except SceneError:
            return self._read_parts(window)

    def _read_parts(self, window: Window) -> ReadChunk:
        shape = (window.height, window.width)
        # What is lost stays background and counts as without data.
        values, invalid = np.zeros(shape, self.reader.dtype), np.zeros(shape, bool)
        prob = None if self.reader.prob_dtype is None else np.zeros(shape, self.reader.prob_dtype)
        failures = []
        for part, unit in self.source.storage_parts(window):
            inside = part.shifted(-window.row_off, -window.col_off)
            try:
                part_values = self.reader.read(part)
            except SceneError as error:
                invalid[inside.rows, inside.cols] = True
                failures.append(failure(unit, error))
                continue
            values[inside.rows, inside.cols] = part_values.values
            if part_values.invalid is not None:
                invalid[inside.rows, inside.cols] = part_values.invalid
            if prob is not None and part_values.prob is not None:
                prob[inside.rows, inside.cols] = part_values.prob
        return ReadChunk(values, prob, invalid, tuple(failures))
