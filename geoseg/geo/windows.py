"""The grid: integer windows that cover a scene, by one rule per axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geoseg.errors import InputError

__all__ = ["Grid", "Window", "axis_starts", "iter_chunks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An integer pixel rectangle of a scene.

    Examples
    --------
    >>> w = Window(row_off=2, col_off=3, height=4, width=5)
    >>> w.rows, w.cols
    (slice(2, 6, None), slice(3, 8, None))
    """

    row_off: int
    col_off: int
    height: int
    width: int

    @property
    def row_end(self) -> int:
        """First row below the window."""
        return self.row_off + self.height

    @property
    def col_end(self) -> int:
        """First column right of the window."""
        return self.col_off + self.width

    @property
    def rows(self) -> slice:
        """Rows as a slice of the scene's array."""
        return slice(self.row_off, self.row_end)

    @property
    def cols(self) -> slice:
        """Columns as a slice of the scene's array."""
        return slice(self.col_off, self.col_end)

    def clipped(self, height: int, width: int) -> Window:
        """The part of the window inside a scene of ``height`` x ``width`` pixels (possibly empty)."""
        top, left = min(max(self.row_off, 0), height), min(max(self.col_off, 0), width)
        # A window wholly outside comes out empty and inside the scene, so that slicing by it is legal.
        bottom, right = max(min(self.row_end, height), top), max(min(self.col_end, width), left)
        return Window(row_off=top, col_off=left, height=bottom - top, width=right - left)

    def intersection(self, other: Window) -> Window:
        """The part that two windows share (possibly empty).

        Examples
        --------
        >>> whole = Window(row_off=0, col_off=0, height=4, width=4)
        >>> str(whole.intersection(whole.shifted(2, -1)))
        'rows 2..3, columns 0..2'
        """
        top, left = max(self.row_off, other.row_off), max(self.col_off, other.col_off)
        bottom, right = min(self.row_end, other.row_end), min(self.col_end, other.col_end)
        return Window(row_off=top, col_off=left, height=max(0, bottom - top), width=max(0, right - left))

    def without(self, hole: Window) -> list[Window]:
        """What is left of the window beside another one inside it: at most four rectangles, none empty.

        Examples
        --------
        >>> whole = Window(row_off=0, col_off=0, height=4, width=4)
        >>> [str(part) for part in whole.without(whole.shifted(2, -1).intersection(whole))]
        ['rows 0..1, columns 0..3', 'rows 2..3, columns 3..3']
        """
        edges = (
            (self.row_off, hole.row_off, self.col_off, self.col_end),
            (hole.row_off, hole.row_end, self.col_off, hole.col_off),
            (hole.row_off, hole.row_end, hole.col_end, self.col_end),
            (hole.row_end, self.row_end, self.col_off, self.col_end),
        )
        return [
            Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
            for top, bottom, left, right in edges
            if top < bottom and left < right
        ]

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> Window:
        """The window of a whole raster of (height, width) pixels."""
        return cls(row_off=0, col_off=0, height=shape[0], width=shape[1])

    def grown(self, margin: int) -> Window:
        """The window with so many more pixels on each side; it may reach out of the scene."""
        return Window(
            row_off=self.row_off - margin,
            col_off=self.col_off - margin,
            height=self.height + 2 * margin,
            width=self.width + 2 * margin,
        )

    def shifted(self, rows: int, cols: int) -> Window:
        """The window moved down and to the right."""
        return Window(
            row_off=self.row_off + rows, col_off=self.col_off + cols, height=self.height, width=self.width
        )

    def __str__(self) -> str:
        return f"rows {self.row_off}..{self.row_end - 1}, columns {self.col_off}..{self.col_end - 1}"


def axis_starts(size: int, window: int, overlap: int) -> tuple[int, ...]:
    """First pixels of the windows along one axis.

    Starts are 0, s, 2s, ... with the stride s = window - overlap; the last window is moved back flush
    with the edge. A window at least as long as the axis starts at 0 alone.

    Parameters
    ----------
    size
        Pixels along the axis, at least 1.
    window
        Pixels of a window, at least 1.
    overlap
        Pixels that neighbors share, 0 <= overlap < window.

    Raises
    ------
    InputError
        A size below 1 or an overlap outside [0, window).

    Examples
    --------
    >>> axis_starts(1100, 512, 0)
    (0, 512, 588)
    >>> axis_starts(300, 512, 128)
    (0,)
    """
    if size < 1:
        raise InputError(f"size must be at least 1 pixel, got {size}.")
    if window < 1:
        raise InputError(f"window must be at least 1 pixel, got {window}.")
    if not 0 <= overlap < window:
        raise InputError(
            f"overlap must be at least 0 and smaller than the window of {window}, got {overlap}."
        )
    if size <= window:
        return (0,)
    # The range ends before the flush window, which is therefore never there twice.
    return (*range(0, size - window, window - overlap), size - window)


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows over a scene, y outer and x inner.

    Attributes
    ----------
    shape
        Scene (height, width) in pixels.
    window
        Window (height, width) in pixels.
    overlap
        Pixels shared by neighbors (along y, along x).
    """

    shape: tuple[int, int]
    window: tuple[int, int]
    overlap: tuple[int, int]

    @property
    def starts_y(self) -> tuple[int, ...]:
        """First rows."""
        return axis_starts(self.shape[0], self.window[0], self.overlap[0])

    @property
    def starts_x(self) -> tuple[int, ...]:
        """First columns."""
        return axis_starts(self.shape[1], self.window[1], self.overlap[1])

    def __len__(self) -> int:
        return len(self.starts_y) * len(self.starts_x)

    def __iter__(self) -> Iterator[Window]:
        height, width = self.window
        starts_x = self.starts_x
        for row in self.starts_y:
            for col in starts_x:
                yield Window(row_off=row, col_off=col, height=height, width=width)


def iter_chunks(height: int, width: int, chunk: int | tuple[int, int]) -> Iterator[Window]:
    """Chunks that tile a raster without overlap, row-major; the last ones are cut at the edge.

    Examples
    --------
    >>> [str(w) for w in iter_chunks(3, 5, 4)]
    ['rows 0..2, columns 0..3', 'rows 0..2, columns 4..4']
    """
    step_y, step_x = (chunk, chunk) if isinstance(chunk, int) else chunk
    for row in range(0, height, step_y):
        for col in range(0, width, step_x):
            yield Window(
                row_off=row, col_off=col, height=min(step_y, height - row), width=min(step_x, width - col)
            )
