"""Blocks cover every window once, and chunks need blocks at or before their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from geoseg.geo.blocks import AxisPlan


@st.composite
def axes(draw: st.DrawFn) -> AxisPlan:
    window = draw(st.integers(1, 80))
    return AxisPlan(
        draw(st.integers(1, 600)), window, draw(st.integers(0, window - 1)), draw(st.integers(1, 9))
    )


@given(axes())
def test_every_window_is_in_one_block(axis: AxisPlan) -> None:
    windows = [i for first, end in axis.blocks for i in range(first, end)]
    assert windows == list(range(len(axis.starts)))


@given(axes())
def test_chunks_are_complete_with_the_block_that_completes_them(axis: AxisPlan) -> None:
    finished: set[int] = set()
    for block in range(len(axis.blocks)):
        assert not finished & {hit.chunk for hit in axis.hits(block)}, "a block adds to a finished chunk"
        start, stop = axis.span(block)
        for chunk in axis.completed(block):
            assert axis.over(chunk)[-1] == block
            assert start <= chunk * axis.chunk
            assert stop >= min((chunk + 1) * axis.chunk, axis.size)
            finished.add(chunk)
    assert finished == set(range(axis.n_chunks))


@given(axes())
def test_blocks_over_a_chunk_are_those_that_add_to_it(axis: AxisPlan) -> None:
    adding: dict[int, list[int]] = {}
    for block in range(len(axis.blocks)):
        for hit in axis.hits(block):
            adding.setdefault(hit.chunk, []).append(block)
    for chunk in range(axis.n_chunks):
        assert adding[chunk] == list(axis.over(chunk))
