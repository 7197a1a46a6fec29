"""The footprints of a result, read in batches: their numbers, and their shapes within a budget of bytes."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from geoseg.geo.geobox import GeoBox
from geoseg.io.vectors import VectorFile, beside_scene, class_name, pixel_transform
from geoseg.report.pages.certainty import side_of_cells
from geoseg.typing import Array, IntArray, Progress, no_progress

__all__ = [
    "AREA_EDGES",
    "CONFIDENCE_BINS",
    "FootprintSums",
    "PackedShapes",
    "PlacedRows",
    "outlines_in",
    "read_placed",
    "sum_footprints",
]

#: Bins of the histogram of confidence, from 0 to 1.
CONFIDENCE_BINS = 20
#: Edges of the histogram of area: 1, 2, 5 and their tenfolds, so that it can be filled in one pass.
AREA_EDGES: Array = np.array([m * 10.0**k for k in range(-2, 8) for m in (1, 2, 5)])
#: Rows that are read at once.
_BATCH = 16_384
#: Outlines on one detail picture, at most.
_MOST_OUTLINES = 2000


@dataclass(frozen=True)
class PlacedRows:
    """Some footprints on the picture.

    Attributes
    ----------
    shapes
        (n,) polygons in pixel corners of the picture.
    ids : (n,) int64
    classes
        (n,) names.
    area, confidence : (n,) float64
        NaN where there is none.
    read
        Rows of the file so far, for a progress bar.
    """

    shapes: Array
    ids: IntArray
    classes: list[str]
    area: Array
    confidence: Array
    read: int


def read_placed(source: VectorFile, frame: GeoBox) -> Iterator[PlacedRows]:
    """The footprints of a file, in batches.

    Parameters
    ----------
    source
        The file.
    frame
        Grid of the picture.
    """
    to_pixels = pixel_transform(source.crs, frame)
    area_column = next((name for name in ("area_m2", "area_px") if name in source.columns), None)
    wanted = ["id", "class", area_column, "confidence"]
    columns = [name for name in wanted if name in source.columns]
    read = 0
    for batch in source.batches(columns, size=_BATCH):
        read += len(batch.geometry)
        placed = beside_scene(shapely.force_2d(batch.geometry), source.crs, frame)
        shapes = shapely.transform(placed, to_pixels, interleaved=False)
        # Types 3 and 6 are polygons and multipolygons; of empty and missing ones the bounds are NaN.
        keep = np.isfinite(shapely.bounds(shapes)).all(axis=1) & np.isin(shapely.get_type_id(shapes), (3, 6))

        def numbers(name: str | None, keep: Array = keep, values: dict[str, Any] = batch.columns) -> Array:
            if name not in values:
                return np.full(np.count_nonzero(keep), np.nan)
            return np.asarray(values[name], np.float64)[keep]

        ids = numbers("id")
        names = [class_name(value) for value in batch.columns["class"][keep]] if "class" in columns else []
        yield PlacedRows(
            shapes[keep],
            np.where(np.isfinite(ids), ids, 0).astype(np.int64),
            [name or "object" for name in names] or ["object"] * len(ids),
            numbers(area_column),
            numbers("confidence"),
            read,
        )


@dataclass
class FootprintSums:
    """Numbers of all footprints, and where they are.

    Attributes
    ----------
    side
        Pixels of a cell's side.
    covered, doubt : (rows, columns) float64
        Pixels that footprints cover, and those of them that are expected to be wrong, by the cell in which
        the middle of a footprint lies.
    count, area, area_px
        Footprints, their area as stated, and in pixels of the picture.
    confidence_sum, confident
        Sum of the confidences, and how many footprints have one.
    areas, confidences
        Histograms, by :data:`AREA_EDGES` and :data:`CONFIDENCE_BINS`.
    classes
        Class -> count and area.
    """

    side: int
    covered: Array
    doubt: Array
    count: int = 0
    area: float = 0.0
    area_px: float = 0.0
    confidence_sum: float = 0.0
    confident: int = 0
    areas: IntArray = field(default_factory=lambda: np.zeros(len(AREA_EDGES) - 1, np.int64))
    confidences: IntArray = field(default_factory=lambda: np.zeros(CONFIDENCE_BINS, np.int64))
    classes: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: GeoBox) -> FootprintSums:
        """Nothing yet."""
        side = side_of_cells(*frame.shape)
        shape = -(-frame.height // side), -(-frame.width // side)
        return cls(side, np.zeros(shape), np.zeros(shape))

    def add(self, rows: PlacedRows) -> None:
        """Count some footprints."""
        if not len(rows.shapes):
            return
        pixels = shapely.area(rows.shapes)
        bounds = shapely.bounds(rows.shapes)
        # A footprint counts in one cell as a whole: cut at cells, each would cost an overlay.
        middle = ((bounds[:, :2] + bounds[:, 2:]) / (2 * self.side)).astype(np.int64)
        columns, lines = (np.clip(middle[:, k], 0, self.covered.shape[1 - k] - 1) for k in (0, 1))
        np.add.at(self.covered, (lines, columns), pixels)
        np.add.at(self.doubt, (lines, columns), pixels * np.nan_to_num(1 - rows.confidence))
        area, confidence = np.nan_to_num(rows.area), rows.confidence[np.isfinite(rows.confidence)]
        self.count += len(pixels)
        self.area += float(area.sum())
        self.area_px += float(pixels.sum())
        self.confidence_sum += float(confidence.sum())
        self.confident += len(confidence)
        # What lies beyond the ends counts in the outermost bins.
        self.areas += np.histogram(np.clip(area, AREA_EDGES[0], AREA_EDGES[-1]), AREA_EDGES)[0]
        self.confidences += np.histogram(np.clip(confidence, 0, 1), CONFIDENCE_BINS, (0, 1))[0]
        names, numbers = np.unique(rows.classes, return_inverse=True)
        for k, name in enumerate(names.tolist()):
            one = self.classes.setdefault(name, [0, 0.0])
            one[0] += int((numbers == k).sum())
            one[1] += float(area[numbers == k].sum())


class PackedShapes:
    """Footprints as numbers of variable length, compressed; as ``frontend/src/report.js`` reads them.

    A block for each batch: the number of footprints; then columns of their ids (differences), classes,
    confidences (percent + 1, or 0), areas (tenths) and numbers of parts; the numbers of rings of all parts
    and of corners of all rings; and the corners, each as the difference to the one before.

    Parameters
    ----------
    step
        Pixels of the picture to which corners are rounded, and within which outlines are simplified.
    most
        Footprints at most.
    budget
        Bytes at most, as they stand in the file.
    """

    def __init__(self, step: float, most: int, budget: int) -> None:
        self.step, self._most, self._budget = step, most, budget
        self.classes: dict[str, int] = {}
        # Compressed as it comes: the numbers of all footprints at once would be larger than the page.
        self._zlib, self._parts = zlib.compressobj(6), [b""]
        self._size = self._count = self._last_id = 0
        self._last = np.zeros(2, np.int64)
        self.is_full = False

    def add(self, rows: PlacedRows) -> None:
        """Take some footprints in; when they are too many, none are kept."""
        if self.is_full or not len(rows.shapes):
            return
        self._count += len(rows.shapes)
        if self._count <= self._most:
            packed = self._zlib.compress(_varints(self._numbers(rows)))
            self._parts.append(packed)
            self._size += len(packed)
        # Letters take four for three bytes.
        if self._count > self._most or self._size * 4 / 3 > self._budget:
            self.is_full, self._parts = True, []

    def text(self) -> str | None:
        """All of it in letters; None where it would be too much."""
        if self.is_full:
            return None
        packed = b"".join([*self._parts, self._zlib.flush()])
        return base64.b64encode(packed).decode() if len(packed) * 4 / 3 <= self._budget else None

    def _numbers(self, rows: PlacedRows) -> IntArray:
        # Within half a step nothing is seen of it, and half of the corners are gone.
        shapes = shapely.simplify(rows.shapes, self.step / 2)
        parts, of_shape = shapely.get_parts(shapes, return_index=True)
        rings, of_part = shapely.get_rings(parts, return_index=True)
        xy, of_ring = shapely.get_coordinates(rings, return_index=True)
        # The last corner of a ring is its first once more, which the reader knows.
        inside = np.append(of_ring[1:] == of_ring[:-1], False)
        corners = np.rint(xy[inside] / self.step).astype(np.int64)
        steps = np.diff(corners, axis=0, prepend=self._last[None])
        ids = np.diff(rows.ids, prepend=self._last_id)
        self._last, self._last_id = corners[-1], int(rows.ids[-1])
        known = self.classes
        names = [known.setdefault(name, len(known)) for name in rows.classes]
        percent = np.rint(np.nan_to_num(rows.confidence, nan=-0.01).clip(-0.01, 1) * 100) + 1
        columns = [
            np.array([len(shapes)]),
            _zigzag(ids),
            np.array(names),
            percent,
            np.rint(np.nan_to_num(rows.area).clip(0, 1e14) * 10),
            np.bincount(of_shape, minlength=len(shapes)),
            np.bincount(of_part, minlength=len(parts)),
            np.bincount(of_ring[inside], minlength=len(rings)),
            _zigzag(steps).ravel(),
        ]
        return np.concatenate([np.asarray(column, np.int64) for column in columns])


def _zigzag(values: IntArray) -> IntArray:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    return np.where(values < 0, -2 * values - 1, 2 * values)


def _varints(values: IntArray) -> bytes:
    """Whole numbers of at least 0 as bytes of seven bits, the lowest first; the eighth bit: more follow.

    Examples
    --------
    >>> _varints(np.array([1, 300])).hex()
    '01ac02'
    """
    lengths = np.ones(len(values), np.int64)
    rest = values >> 7
    while rest.any():
        lengths += rest > 0
        rest = rest >> 7
    starts = np.cumsum(lengths) - lengths
    out = np.empty(int(lengths.sum()), np.uint8)
    for k in range(int(lengths.max(initial=0))):
        longer = lengths > k
        more = np.where(lengths[longer] > k + 1, 128, 0)
        out[starts[longer] + k] = (values[longer] >> (7 * k) & 127) | more
    return out.tobytes()


def sum_footprints(
    source: VectorFile, frame: GeoBox, packed: PackedShapes, *, progress: Progress = no_progress
) -> FootprintSums:
    """Count the footprints of a file and pack their shapes, in one pass and in memory that does not grow.

    Parameters
    ----------
    source
        The file.
    frame
        Grid of the picture.
    packed
        Takes the shapes.
    progress
        Told of rows, as stage ``footprints``.
    """
    sums = FootprintSums.of(frame)
    for rows in read_placed(source, frame):
        sums.add(rows)
        packed.add(rows)
        progress("footprints", rows.read, source.count)
    return sums


def outlines_in(
    source: VectorFile,
    frame: GeoBox,
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    progress: Progress = no_progress,
) -> list[list[Any]]:
    """Outlines of the footprints that meet some boxes of the picture, as they are in the file.

    Parameters
    ----------
    source
        The file.
    frame
        Grid of the picture.
    boxes
        (left, top, right, bottom) in pixels.
    progress
        Told of rows, as stage ``outlines``.

    Returns
    -------
    list of list of polygons
        Of each box, in pixel corners.
    """
    tree = shapely.STRtree([shapely.box(*box) for box in boxes])
    found: list[list[Any]] = [[] for _ in boxes]
    for rows in read_placed(source, frame):
        pairs = tree.query(rows.shapes, predicate="intersects")
        for shape, box in pairs.T.tolist():
            # A picture of a few hundred pixels shows no more; a million specks would fill memory.
            if len(found[box]) < _MOST_OUTLINES:
                found[box].append(rows.shapes[shape])
        progress("outlines", rows.read, source.count)
    return found
