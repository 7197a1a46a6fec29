"""Where a network was least certain, and where it saw nothing: counts by cell of the kept probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.raster.stitch import INVALID, SCALE
from geoseg.typing import Array, BoolArray, IntArray, Progress, no_progress

__all__ = ["Cells", "cell_counts", "least_certain", "merged", "read_cells", "side_of_cells"]

#: Cells along the longer side, at most.
_MOST_CELLS = 1024
#: Smallest side of a cell, pixels.
_LEAST_SIDE = 16


@dataclass(frozen=True)
class Cells:
    """Counts of pixels in the cells of a grid.

    Attributes
    ----------
    side
        Pixels of a cell's side, a power of two; the last ones are cut at the edge.
    valid, uncertain : (rows, columns) int64
        Pixels with data, and those of them whose probability lies between 1/4 and 3/4.
    """

    side: int
    valid: IntArray
    uncertain: IntArray


def side_of_cells(height: int, width: int) -> int:
    """Side of the cells of a raster.

    Examples
    --------
    >>> side_of_cells(600, 400), side_of_cells(50_000, 20_000)
    (16, 64)
    """
    side = _LEAST_SIDE
    while max(height, width) > side * _MOST_CELLS:
        side *= 2
    return side


def cell_counts(total: IntArray, values: BoolArray, top: int, left: int, side: int) -> None:
    """Add how many pixels of a window are set to the counts of its cells, in place.

    Parameters
    ----------
    total : (rows, columns) int64
        Of the cells of the whole raster.
    values : (h, w) bool
        The window.
    top, left
        Its place.
    side
        Of the cells.

    Examples
    --------
    >>> total = np.zeros((2, 2), np.int64)
    >>> cell_counts(total, np.ones((3, 2), bool), 1, 3, 4)
    >>> total.tolist()
    [[3, 3], [0, 0]]
    """
    if not values.size:
        return
    height, width = values.shape
    rows = np.arange(top // side, -(-(top + height) // side))
    columns = np.arange(left // side, -(-(left + width) // side))
    counts = np.add.reduceat(values, np.maximum(rows * side - top, 0), axis=0, dtype=np.int64)
    counts = np.add.reduceat(counts, np.maximum(columns * side - left, 0), axis=1)
    total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += counts


def read_cells(place: str, background: int | None, *, progress: Progress = no_progress) -> Cells:
    """Count the pixels of a store of probabilities, chunk by chunk.

    Of several classes the background counts against all others together; without one, the strongest counts.

    Parameters
    ----------
    place
        Of the kept probabilities; see :func:`geoseg.pipeline.store_state.array_place`.
    background
        Which class is background.
    progress
        Told of rows of chunks, as stage ``certainty``.

    Raises
    ------
    InputError
        The probabilities are gone, or can't be read.
    """
    import zarr  # takes a second to load

    faults: tuple[type[Exception], ...] = (OSError, ValueError, KeyError, RuntimeError)
    if "://" in place:  # clients of object stores raise errors of their own
        faults = (Exception,)
    try:
        array: Any = zarr.open_array(place, mode="r")
        _, height, width = array.shape
        tall, wide = array.chunks[1:]
        side = side_of_cells(height, width)
        shape = -(-height // side), -(-width // side)
        valid, uncertain = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for top in range(0, height, tall):
            for left in range(0, width, wide):
                values = np.asarray(array[:, top : top + tall, left : left + wide])
                seen = values[0] != INVALID
                cell_counts(valid, seen, top, left, side)
                cell_counts(uncertain, _uncertain(values, background) & seen, top, left, side)
            progress("certainty", min(top + tall, height), height)
    except faults as error:
        raise InputError(
            f"kept probabilities must be readable, got {place}: {' '.join(str(error).split())}. "
            "Give the geoseg run command again."
        ) from error
    return Cells(side, valid, uncertain)


def _uncertain(values: Array, background: int | None) -> BoolArray:
    """Where the probability that something is there lies strictly between 1/4 and 3/4, in stored bytes."""
    single = values.max(axis=0) if background is None else values[background]
    # Of the background it lies there just when 1 minus it does.
    return (single > SCALE // 4) & (single <= 3 * SCALE // 4)


def least_certain(scores: Array, count: int) -> list[tuple[int, int]]:
    """Cells with the highest scores, none beside another.

    Neighbors show much the same, so only the best of them is taken.

    Parameters
    ----------
    scores : (rows, columns)
        Those of 0 and below are passed over.
    count
        Cells at most.

    Returns
    -------
    list of (row, column)
        Best first; of equal ones the upper, then the left one.

    Examples
    --------
    >>> least_certain(np.array([[5, 4, 0, 3], [0, 0, 0, 0]]), 3)
    [(0, 0), (0, 3)]
    """
    chosen: list[tuple[int, int]] = []
    # Stable, so that of equal cells the same ones are shown on every machine.
    order = np.argsort(-scores.ravel(), kind="stable")
    for number in order.tolist():
        row, column = divmod(number, scores.shape[1])
        if len(chosen) == count or scores[row, column] <= 0:
            break
        if all(abs(row - r) > 1 or abs(column - c) > 1 for r, c in chosen):
            chosen.append((row, column))
    return chosen


def merged(counts: IntArray, factor: int) -> IntArray:
    """Counts of cells that are ``factor`` times as wide and high.

    Examples
    --------
    >>> merged(np.arange(6).reshape(2, 3), 2).tolist()
    [[8, 7]]
    """
    rows, columns = (-(-length // factor) for length in counts.shape)
    pad = [(0, rows * factor - counts.shape[0]), (0, columns * factor - counts.shape[1])]
    return np.pad(counts, pad).reshape(rows, factor, columns, factor).sum(axis=(1, 3))
