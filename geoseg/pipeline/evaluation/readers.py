"""Class values of a raster or of polygons, on the pixels of a raster's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from rasterio.features import rasterize

from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.sources import open_raster
from geoseg.io.vectors import open_vector
from geoseg.pipeline.class_readers import ClassReader, decide_kind, open_classes
from geoseg.raster.source import RasterHints, RasterSource
from geoseg.scores.polygons import clean_polygons
from geoseg.typing import Array, BoolArray, PathLike

__all__ = ["CODES", "VALUES", "ClassCodes", "PolygonValues", "RasterValues", "holds_probabilities"]

#: Class values are below this.
VALUES = 256
#: Codes are below this: first those of names, then those of values without a name.
CODES = 2 * VALUES
#: Pixels of a raster in another grid that are read at once.
MOST = 64_000_000


@dataclass
class ClassCodes:
    """Codes of the classes of both sides: 1, 2, ... for names, 256 + v for a value v without a name.

    Attributes
    ----------
    names
        In order of the codes; empty where no file names its classes.
    listed
        Names of the values 1, 2, ... in the first file that names them.

    Examples
    --------
    >>> codes = ClassCodes()
    >>> codes.add(("road", "house"))
    >>> codes.add(("house", "tank"))
    >>> codes.table(("house", "tank")).tolist()[:4], codes.table(()).tolist()[:4]
    ([0, 2, 3, 259], [0, 1, 2, 259])
    >>> codes.title(3), codes.title(259)
    ('tank', '3')
    """

    names: list[str] = field(default_factory=list)
    listed: tuple[str, ...] = ()

    def add(self, names: Sequence[str]) -> None:
        """Take up the names that a file gives to its values 1, 2, ..."""
        self.listed = self.listed or tuple(names)
        for name in names:
            self.code(name)

    def code(self, name: str) -> int:
        """Code of a name; new names are added."""
        if name not in self.names:
            if len(self.names) == VALUES - 1:
                raise InputError(
                    f"class names must be at most {VALUES - 1} in both files together, got another {name!r}. "
                    "Name fewer."
                )
            self.names.append(name)
        return self.names.index(name) + 1

    def table(self, names: Sequence[str]) -> Array:
        """(256,) uint16 from the values of a file to codes; without names those of the other file hold."""
        table = np.arange(VALUES, CODES, dtype=np.uint16)
        found = [0, *(self.code(name) for name in names or self.listed)]
        table[: len(found)] = found[:VALUES]
        return table

    def title(self, code: int) -> str:
        """What to call a code."""
        return self.names[code - 1] if code < VALUES else str(code - VALUES)


class PolygonValues:
    """Polygons burned into windows of a grid.

    Parameters
    ----------
    path
        The file.
    grid
        Whose pixels.
    class_column
        Column with class values, or with names where a raster names its classes; None: all are 1.
    codes
        Names of the values.

    Raises
    ------
    InputError
        One of the two has no coordinate reference system; a column whose values mean nothing.
    """

    def __init__(self, path: PathLike, grid: GeoBox, class_column: str | None, codes: ClassCodes) -> None:
        source = open_vector(path)
        if (source.crs is None) != (grid.crs is None) and source.count:
            raise InputError(
                f"crs of {path} must match the raster's: one of them has none, the other has one."
            )
        names = [class_column] if class_column else []
        to_pixels = _pixel_transform(source.crs, grid)
        shapes, values = [np.empty(0, object)], [np.empty(0, np.uint16)]
        for batch in source.batches(names):
            whole = clean_polygons(batch.geometry)
            shapes.append(shapely.transform(whole.geometry, to_pixels, interleaved=False))
            column = batch.columns.get(class_column or "")
            values.append(_class_values(column, len(batch.geometry), codes)[whole.index])
        self._shapes, self._values = np.concatenate(shapes), np.concatenate(values)
        self._tree = shapely.STRtree(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __call__(self, window: Window) -> tuple[Array, BoolArray]:
        """Codes of classes (h, w) uint16 of a window, all of them valid."""
        shape = (window.height, window.width)
        box = shapely.box(window.col_off, window.row_off, window.col_end, window.row_end)
        hit = np.sort(self._tree.query(box))
        values = np.zeros(shape, np.uint16)
        if len(hit):
            local = shapely.transform(self._shapes[hit], lambda xy: xy - (window.col_off, window.row_off))
            rasterize(zip(local, self._values[hit].tolist(), strict=True), out=values)
        return values, np.ones(shape, np.bool_)


def _class_values(column: Array | None, n: int, codes: ClassCodes) -> Array:
    if column is None:
        return np.ones(n, np.uint16)
    wrong = [value for value in column if not _is_whole(value)]
    if wrong:
        return np.array([codes.code(name) for name in _titles(column, wrong, codes)], np.uint16)
    values = np.array([int(value) for value in column], np.int64)
    if len(values) and not (values.min() > 0 and values.max() < VALUES):
        raise InputError(
            f"class values must lie between 1 and {VALUES - 1}, got {values.min()} to {values.max()}."
        )
    return codes.table(())[values]


def _is_whole(value: Any) -> bool:
    try:
        return bool(int(value) == value) or isinstance(value, str)
    except (TypeError, ValueError, OverflowError):
        return False


def _titles(column: Array, wrong: list[Any], codes: ClassCodes) -> list[str]:
    """Names in a column, where there is something to compare them with."""
    if codes.names and all(isinstance(value, str) for value in column):
        return [str(value) for value in column]
    worst = next((value for value in wrong if not isinstance(value, str)), wrong[0])
    got = repr(worst) if isinstance(worst, str) else str(worst)
    if worst is None or worst != worst:
        got = "an empty value"
    known = f"or its names {', '.join(codes.names)}" if codes.names else "(it names no classes)"
    raise InputError(
        f"class column must hold the raster's integer values {known}, got {got}. "
        "Correct the column, or leave it out."
    )


def _pixel_transform(crs: CRS | None, grid: GeoBox) -> Callable[[Any, Any], tuple[Array, Array]]:
    """From coordinates of a file to (column, row) of the grid."""
    inverse = ~grid.transform
    project = Transformer.from_crs(crs, grid.crs, always_xy=True).transform if crs and grid.crs else None

    def to_pixels(x: Any, y: Any) -> tuple[Array, Array]:
        if project is not None:
            x, y = project(x, y)
        col, row = inverse * (np.asarray(x), np.asarray(y))
        return col, row

    return to_pixels


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
        Probability, or value, from which on a pixel is an object; None: 0.5 of probabilities, else every
        value is a class. Names of several values then mean nothing.
    codes
        Names of the values; those that the raster gives are added.

    Raises
    ------
    InputError
        Several bands that are no probabilities; a coordinate reference system that one of the two lacks.
    """

    def __init__(self, path: PathLike, grid: GeoBox, threshold: float | None, codes: ClassCodes) -> None:
        self.scene = open_raster(path, expand_palette=False)
        self.grid, self.threshold = grid, threshold
        hints = self.scene.hints()
        self._reader = _probabilities(self.scene, hints, threshold)
        #: The threshold makes one class, without a name, of all values.
        self.flat = self._reader is None and threshold is not None and len(hints.class_names) != 1
        self._names = () if self.flat else _names(self._reader, hints)
        self._codes = codes
        codes.add(self._names)
        if self._reader is None and self.scene.count != 1:
            raise InputError(
                f"{path} must be a raster of one band, got {self.scene.count}. "
                "Extract the band of classes first."
            )
        box = self.scene.geobox
        if (box.crs is None) != (grid.crs is None):
            raise InputError(f"crs of {self.scene.path} must match the other raster's: one has none.")
        same = box.shape == grid.shape and box.transform.almost_equals(grid.transform, 1e-9)
        self._same = same and box.crs == grid.crs

    @cached_property
    def _table(self) -> Array:
        """Codes of the values; asked for after all files have been opened, and their names are known."""
        return self._codes.table(self._names)

    def __call__(self, window: Window) -> tuple[Array, BoolArray]:
        """Codes of classes (h, w) uint16 of a window, and their validity."""
        return self._read(window) if self._same else self._sampled(window)

    def _sampled(self, window: Window) -> tuple[Array, BoolArray]:
        col, row = self._source_pixels(window)
        inside = (col >= 0) & (row >= 0) & (col < self.scene.width) & (row < self.scene.height)
        values = np.zeros(inside.shape, np.uint16)
        valid = np.zeros(inside.shape, np.bool_)
        if not inside.any():
            return values, valid
        top, left = int(row[inside].min()), int(col[inside].min())
        height, width = int(row[inside].max()) - top + 1, int(col[inside].max()) - left + 1
        if height * width > MOST and inside.size > 1:  # a much finer raster
            for part in _halves(window):
                place = part.shifted(-window.row_off, -window.col_off)
                values[place.rows, place.cols], valid[place.rows, place.cols] = self._sampled(part)
            return values, valid
        read, ok = self._read(Window(row_off=top, col_off=left, height=height, width=width))
        values[inside] = read[row[inside] - top, col[inside] - left]
        valid[inside] = ok[row[inside] - top, col[inside] - left]
        return values, valid

    def _source_pixels(self, window: Window) -> tuple[Array, Array]:
        cols, rows = np.meshgrid(
            np.arange(window.col_off, window.col_end) + 0.5, np.arange(window.row_off, window.row_end) + 0.5
        )
        x, y = self.grid.transform * (cols, rows)
        col, row = _pixel_transform(self.grid.crs, self.scene.geobox)(x, y)
        return np.floor(col).astype(np.int64), np.floor(row).astype(np.int64)

    def _read(self, window: Window) -> tuple[Array, BoolArray]:
        values, valid = self._values(window)
        return self._table[values], valid

    def _values(self, window: Window) -> tuple[Array, BoolArray]:
        if self._reader is not None:
            found = self._reader.read(window)
            values = np.asarray(found.values, np.uint8)
            return values, np.ones(values.shape, np.bool_) if found.invalid is None else ~found.invalid
        pixels, valid = self.scene.read(window)[0], self._valid(window)
        if self.threshold is not None:
            return (pixels >= self.threshold).astype(np.uint8), valid
        return _to_classes(pixels, valid, self.scene.path), valid

    def _valid(self, window: Window) -> BoolArray:
        """A nodata value of 0 is the background of a class map, not a hole in it."""
        if self.scene.nodata == 0:
            return np.ones((window.height, window.width), np.bool_)
        return self.scene.read_valid(window)


def holds_probabilities(path: PathLike) -> bool:
    """Whether a raster says that it holds probabilities: it states a scale, or has bands of floats."""
    scene = open_raster(path, expand_palette=False)
    return _is_probable(scene, scene.hints())


def _is_probable(scene: RasterSource, hints: RasterHints) -> bool:
    return hints.scale != 1 or (np.dtype(scene.dtype).kind == "f" and scene.count > 1)


def _names(reader: ClassReader | None, hints: RasterHints) -> tuple[str, ...]:
    """Names that the header gives; not those that a reader makes up for bands without a description."""
    if reader is None:
        return hints.class_names
    described = any(text for text in hints.descriptions if text.lower() != "background")
    return tuple(reader.class_names or ()) if described else ()


def _probabilities(scene: RasterSource, hints: RasterHints, threshold: float | None) -> ClassReader | None:
    """A reader of probabilities as ``geoseg vectorize`` takes them; None for a class map or a mask."""
    if not _is_probable(scene, hints):
        return None
    if threshold is not None and not 0 < threshold <= 1:
        raise InputError(f"threshold must be above 0 and at most 1 for {scene.path}, got {threshold}.")
    return open_classes(scene, hints, decide_kind(scene.dtype, hints.scale, True), threshold, None)


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


def _to_classes(values: Array, valid: Any, path: str) -> Array:
    if values.dtype == np.uint8:
        return values
    kept = values[valid]
    if len(kept) and not (np.all(kept == np.floor(kept)) and kept.min() >= 0 and kept.max() < VALUES):
        raise InputError(
            f"{path} must hold classes from 0 to {VALUES - 1}, got values from {kept.min()} to {kept.max()}. "
            "Give --threshold for a raster of probabilities; beside one with a scale, make a mask first."
        )
    return np.where(valid, values, 0).astype(np.uint8)
