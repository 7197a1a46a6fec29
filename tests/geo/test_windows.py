"""The grid's rule, against its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.windows import Grid, Window, axis_starts, iter_chunks


@pytest.mark.parametrize(
    ("size", "window", "overlap", "starts"),
    [
        (1100, 512, 0, (0, 512, 588)),
        (1000, 512, 0, (0, 488)),
        (1242, 370, 300, (*range(0, 841, 70), 872)),
        (375, 370, 0, (0, 5)),
        (5000, 512, 0, (*range(0, 4488, 512), 4488)),
        (512, 512, 128, (0,)),
        (1, 512, 128, (0,)),
    ],
)
def test_starts_of_the_tutorials(size: int, window: int, overlap: int, starts: tuple[int, ...]) -> None:
    assert axis_starts(size, window, overlap) == starts


@given(size=st.integers(1, 500), window=st.integers(1, 200), data=st.data())
def test_every_pixel_is_covered_and_the_last_window_is_flush(
    size: int, window: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    starts = axis_starts(size, window, overlap)
    covered = {pixel for start in starts for pixel in range(start, start + window)}
    assert covered >= set(range(size))
    assert list(starts) == sorted(set(starts))
    assert starts[-1] == max(0, size - window)


@pytest.mark.parametrize(
    ("size", "window", "overlap"), [(10, 4, 4), (10, 4, 5), (10, 4, -1), (0, 4, 0), (3, 0, 0)]
)
def test_impossible_grids_are_refused(size: int, window: int, overlap: int) -> None:
    with pytest.raises(InputError):
        axis_starts(size, window, overlap)


def test_grid_walks_rows_first() -> None:
    grid = Grid((10, 7), (4, 4), (0, 1))
    assert [(w.row_off, w.col_off) for w in grid] == [(r, c) for r in (0, 4, 6) for c in (0, 3)]
    assert len(grid) == 6


def test_chunks_tile_the_raster() -> None:
    seen = [
        (r, c)
        for w in iter_chunks(5, 7, (2, 3))
        for r in range(w.row_off, w.row_end)
        for c in range(w.col_off, w.col_end)
    ]
    assert sorted(seen) == [(r, c) for r in range(5) for c in range(7)]


def test_clipped_windows() -> None:
    window = Window(row_off=-2, col_off=5, height=10, width=10).clipped(6, 4)
    assert (window.row_off, window.height, window.width) == (0, 6, 0)
