"""Class values of a raster or of polygons, on the pixels of a raster's grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.geo.geobox import NUDGE, GeoBox
from geoseg.geo.windows import Window
from geoseg.io.sources import open_raster
from geoseg.io.vectors import Features, class_name, pixel_transform
from geoseg.pipeline.class_readers import ClassReader, decide_kind, open_classes
from geoseg.pipeline.vectorize_raster import kept_settings
from geoseg.raster.classes import one_value
from geoseg.raster.source import RasterHints, RasterSource
from geoseg.typing import Array, BoolArray, IntArray, PathLike
from geoseg.vector.burn import PolygonIndex

__all__ = ["ClassCodes", "PolygonValues", "RasterValues", "holds_probabilities"]

#: Classes of both files together, at most: counts are kept for every pair of them.
MOST_CLASSES = 1023
#: Pixels of a raster in another grid that are read at once; a window that covers more is halved.
MOST = 64_000_000


@dataclass
class ClassCodes:
    """Codes 1, 2, ... of the classes of both sides, by what they are called; 0 is the background.

    Attributes
    ----------
    titles
        Of all classes seen so far, in order of their codes.
    names
        Those that a raster gives to its values; empty where no file names its classes.
    listed
        Names of the values 1, 2, ... in the first file that names them.

    Examples
    --------
    >>> codes = ClassCodes()
    >>> codes.add(("road", "house"))
    >>> codes.add(("house", "tank"))
    >>> codes.of_values(np.array([0, 1, 2, 300]), ("house", "tank")).tolist()
    [0, 2, 3, 4]
    >>> codes.of_values(np.array([0, 1, 2, 300]), ()).tolist()
    [0, 1, 2, 4]
    >>> codes.titles
    ['road', 'house', 'tank', '300']
    """

    titles: list[str] = field(default_factory=list)
    names: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    _codes: dict[str, int] = field(default_factory=dict)

    def add(self, names: Sequence[str]) -> None:
        """Take up the names that a file gives to its values 1, 2, ..."""
        self.listed = self.listed or tuple(names)
        self.names = tuple(dict.fromkeys((*self.names, *names)))
        for name in names:
            self.code(name)

    def code(self, title: str) -> int:
        """Code of a class; new classes are added."""
        # Values become classes as windows are met, so a height model would go on making them without end.
        if title not in self._codes:
            if len(self.titles) == MOST_CLASSES:
                raise InputError(
                    f"classes must be at most {MOST_CLASSES} in both files together, got another, {title!r}. "
                    "Numbers of objects and measurements are no classes: make a mask, or give --threshold."
                )
            self.titles.append(title)
            self._codes[title] = len(self.titles)
        return self._codes[title]

    def of_values(self, values: Array, names: Sequence[str]) -> IntArray:
        """(n,) codes of a file's values; without names of its own those of the other file hold."""
        names = names or self.listed
        return np.array(
            [
                0 if value == 0 else self.code(names[value - 1] if value <= len(names) else str(value))
                for value in map(int, values)
            ],
            np.int64,
        )

    def order(self, code: int) -> tuple[bool, int]:
        """Sorts codes: names as the files list them, then values."""
        title = self.titles[code - 1]
        # Codes of values depend on the window in which each is met first; a table must not.
        return (False, code) if title in self.names or not title.isdecimal() else (True, int(title))


class PolygonValues:
    """Polygons burned into windows of a grid.

    Parameters
    ----------
    polygons
        The file.
    grid
        Whose pixels.
    name
        What messages call the grid's raster.
    codes
        Classes of both sides; None: the column does not matter, and all polygons are of one class.

    Raises
    ------
    InputError
        One of the two has no coordinate reference system; a column whose values mean nothing.
    """

    def __init__(self, polygons: Features, grid: GeoBox, name: str, codes: ClassCodes | None) -> None:
        on_grid = polygons.on(grid, name)
        self._polygons = PolygonIndex(on_grid.geometry)
        self._codes = np.ones(1, np.int64)
        if codes is not None and polygons.values is None:
            self._codes[:] = codes.code("1")
        elif codes is not None and polygons.values is not None:
            # Of all polygons, not of those on the grid alone: a wrong column is wrong wherever they lie.
            self._codes = np.array(_column_codes(polygons.values, codes), np.int64)[on_grid.index]

    def __len__(self) -> int:
        return len(self._polygons)

    def __call__(self, window: Window) -> tuple[Array, BoolArray]:
        """Codes of classes (h, w) int32 of a window, all of them valid."""
        codes = self._polygons.draw(window, self._codes, np.int32)
        return codes, np.ones(codes.shape, np.bool_)


def _column_codes(column: Array, codes: ClassCodes) -> list[int]:
    """Codes of the classes in a column: the raster's values, or the names that it gives to them."""
    titles = [class_name(value) for value in column]
    wrong = [title for title in titles if title is None or not (codes.names or title.isdecimal())]
    if wrong:
        known = f"or its names {', '.join(codes.names)}" if codes.names else "(it names no classes)"
        got = "an empty value" if wrong[0] is None else repr(wrong[0])
        raise InputError(
            f"class column must hold the raster's integer values {known}, got {got}. "
            "Correct the column, or leave it out."
        )
    if "0" in titles:
        raise InputError(
            "class values must be at least 1, got 0, which is the background. Correct the column."
        )
    distinct = {
        title: int(codes.of_values(np.array([int(title)]), ())[0]) if title.isdecimal() else codes.code(title)
        for title in dict.fromkeys(title for title in titles if title is not None)
    }
    return [distinct[title] for title in titles if title is not None]


class RasterValues:
    """Class values of a raster, sampled at the centers of another grid's pixels where it must be.

    A raster that states a scale, or has several bands of floats, holds probabilities: its classes are
    what ``geoseg vectorize`` makes of it.

    Parameters
    ----------
    path
        The raster.
    grid
        Whose pixels.
    threshold
        Probability, or value, from which on a pixel is an object; None: of probabilities the one that the
        raster keeps, or 0.5; else every value is a class. Names of several values then mean nothing.
    codes
        Names of the values; those that the raster gives are added.

    Raises
    ------
    InputError
        A coordinate reference system that one of the two lacks; two sizes without any georeferencing.
    """

    def __init__(self, path: PathLike, grid: GeoBox, threshold: float | None, codes: ClassCodes) -> None:
        self.scene = open_raster(path, expand_palette=False)
        self.grid, self.threshold = grid, threshold
        hints = self.scene.hints()
        self._reader: ClassReader | None = None
        # Probabilities become classes as `geoseg vectorize` makes them; a class map or a mask has its own.
        if _is_probable(self.scene, hints):
            if threshold is not None and not 0 < threshold <= 1:
                raise InputError(
                    f"threshold must be above 0 and at most 1 for {self.scene.path}, got {threshold}."
                )
            kind = decide_kind(self.scene.dtype, hints, True)
            # Its own, where none is asked for: scored is what a run, or vectorize, makes of these numbers.
            own = RunSettings.model_validate(kept_settings(hints, RunSettings())).threshold
            limit = own if threshold is None else threshold
            self._reader = open_classes(self.scene, hints, kind, limit, None)
        #: The threshold makes one class, without a name, of all values.
        self.flat = self._reader is None and threshold is not None and len(hints.class_names) != 1
        #: Codes of the classes met so far, those on ground that is not compared among them.
        self.met: set[int] = set()
        self._least, self._most = 2**64, 0
        self._names = () if self.flat else _names(self._reader, hints)
        self._codes = codes
        codes.add(self._names)
        box = self.scene.geobox
        if (box.crs is None) != (grid.crs is None):
            raise InputError(f"crs of {self.scene.path} must match the other raster's: one has none.")
        # Two plain pictures can only be compared pixel by pixel.
        pixels = box.crs is None and box.transform.is_identity and grid.transform.is_identity
        if pixels and box.shape != grid.shape:
            raise InputError(
                f"{self.scene.path} must be as large as the other raster of {grid.width} x {grid.height}, "
                f"got {box.width} x {box.height}: neither is georeferenced. Resize it, or georeference both."
            )
        # Corners may differ in the last digits between programs; a billionth of a unit is no shift.
        same = box.shape == grid.shape and box.transform.almost_equals(grid.transform, 1e-9)
        self._same = same and box.crs == grid.crs

    def __call__(self, window: Window) -> tuple[Array, BoolArray]:
        """Codes of classes (h, w) int32 of a window, and their validity."""
        return self._read(window) if self._same else self._sampled(window)

    def doubt(self) -> str | None:
        """Why a threshold below 1, asked of whole numbers, may be none that was meant; None: it may."""
        if self.threshold is None or self.threshold >= 1 or self._least >= self._most:
            return None
        limit = f", such as {self.threshold * 255:.0f} of 255" if self.scene.dtype == "uint8" else ""
        return (
            f"{self.scene.path} holds whole numbers up to {self._most}: the threshold {self.threshold:g} "
            f"takes all but 0. If they are probabilities, give it in these numbers{limit}"
        )

    def _sampled(self, window: Window) -> tuple[Array, BoolArray]:
        # Nearest neighbor at the centers of the grid's pixels: classes can't be averaged.
        cols, rows = np.meshgrid(
            np.arange(window.col_off, window.col_end) + 0.5, np.arange(window.row_off, window.row_end) + 0.5
        )
        x, y = self.grid.transform * (cols, rows)
        place = pixel_transform(self.grid.crs, self.scene.geobox)(np.asarray(x), np.asarray(y))
        # On a grid half a pixel off, centers lie on borders: the last bit would decide anew for each of them.
        col, row = (np.floor(axis + NUDGE).astype(np.int64) for axis in place)
        inside = (col >= 0) & (row >= 0) & (col < self.scene.width) & (row < self.scene.height)
        values = np.zeros(inside.shape, np.int32)
        valid = np.zeros(inside.shape, np.bool_)
        if not inside.any():
            return values, valid
        top, left = int(row[inside].min()), int(col[inside].min())
        height, width = int(row[inside].max()) - top + 1, int(col[inside].max()) - left + 1
        if height * width > MOST and inside.size > 1:  # a much finer raster
            for half in _halves(window):
                part = half.shifted(-window.row_off, -window.col_off)
                values[part.rows, part.cols], valid[part.rows, part.cols] = self._sampled(half)
            return values, valid
        read, read_valid = self._read(Window(row_off=top, col_off=left, height=height, width=width))
        values[inside] = read[row[inside] - top, col[inside] - left]
        valid[inside] = read_valid[row[inside] - top, col[inside] - left]
        return values, valid

    def _read(self, window: Window) -> tuple[Array, BoolArray]:
        if self._reader is not None:
            chunk = self._reader.read(window)
            values = np.asarray(chunk.values)
            valid = np.ones(values.shape, np.bool_) if chunk.invalid is None else ~chunk.invalid
        else:
            advice = "Save class numbers as one band, or as a PNG with a palette."
            values = one_value(self.scene.read(window), self.scene.path, advice)
            # A nodata value of 0 is the background of a class map, not a hole in it.
            if self.scene.nodata == 0:
                valid = np.ones((window.height, window.width), np.bool_)
            else:
                valid = self.scene.read_valid(window)
            if self.threshold is not None:
                objects = values[valid & (values > 0)]
                if objects.size and objects.dtype.kind in "ui":
                    self._least = min(self._least, int(objects.min()))
                    self._most = max(self._most, int(objects.max()))
                values = values >= self.threshold
        return self._coded(np.where(valid, values, 0)), valid

    def _coded(self, values: Array) -> Array:
        """Codes of the classes that values stand for."""
        if values.dtype.kind == "b":
            values = values.view(np.uint8)
        if values.dtype.kind == "u" and values.dtype.itemsize <= 2:  # twenty times as fast as sorting
            distinct = np.flatnonzero(np.bincount(values.ravel()))
            table = np.zeros(distinct[-1] + 1 if len(distinct) else 1, np.int32)
            table[distinct] = self._met(distinct)
            return table[values]
        distinct, place = np.unique(values, return_inverse=True)
        if len(distinct) and not (np.all(distinct == np.floor(distinct)) and distinct[0] >= 0):
            raise InputError(
                f"{self.scene.path} must hold classes, whole numbers from 0 on, got values from "
                f"{distinct[0]} to {distinct[-1]}. Give --threshold for a raster of probabilities; beside "
                "one with a scale, make a mask first."
            )
        codes: Array = self._met(distinct).astype(np.int32)[place]
        return codes.reshape(values.shape)

    def _met(self, values: Array) -> IntArray:
        codes = self._codes.of_values(values, self._names)
        self.met.update(codes[codes > 0].tolist())
        return codes


def holds_probabilities(path: PathLike) -> bool:
    """Whether a raster says that it holds probabilities: it states a scale, or has bands of floats."""
    scene = open_raster(path, expand_palette=False)
    return _is_probable(scene, scene.hints())


def _is_probable(scene: RasterSource, hints: RasterHints) -> bool:
    return hints.is_scaled or (np.dtype(scene.dtype).kind == "f" and scene.count > 1)


def _names(reader: ClassReader | None, hints: RasterHints) -> tuple[str, ...]:
    """Names that the header gives; not those that a reader makes up for bands without a description."""
    if reader is None:
        return hints.class_names
    described = any(text for text in hints.descriptions if text.lower() != "background")
    return tuple(reader.class_names or ()) if described else ()


def _halves(window: Window) -> Iterator[Window]:
    """A window of at least two pixels in two."""
    top, left = window.row_off, window.col_off
    if window.height >= window.width:
        half = window.height // 2
        yield Window(row_off=top, col_off=left, height=half, width=window.width)
        yield Window(row_off=top + half, col_off=left, height=window.height - half, width=window.width)
    else:
        half = window.width // 2
        yield Window(row_off=top, col_off=left, height=window.height, width=half)
        yield Window(row_off=top, col_off=left + half, height=window.height, width=window.width - half)
