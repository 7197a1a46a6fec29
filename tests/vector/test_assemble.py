"""The assembler holds unfinished objects only, and forgets the rest."""

from __future__ import annotations

import numpy as np

from geoseg.vector.forest import Forest


def add(forest: Forest, values: list[int], sums: list[int] | None = None) -> int:
    count = len(values)
    return forest.add(
        np.array(values, np.int32), np.array(sums or [0] * count), np.arange(count) == count - 1
    )


def test_regions_and_objects() -> None:
    forest = Forest(diagonal=True)
    assert (add(forest, [1, 1, 1]), add(forest, [1])) == (0, 3)
    forest.join(np.array([0]), np.array([1]))
    forest.join_corners(np.array([3]), np.array([1]))
    everyone = np.arange(4)
    assert forest.regions(everyone).tolist() == [0, 0, 2, 3]
    assert forest.objects(everyone).tolist() == [0, 0, 2, 0]


def test_corners_do_not_connect_with_4_connectivity() -> None:
    forest = Forest(diagonal=False)
    add(forest, [1, 1])
    forest.join_corners(np.array([0]), np.array([1]))
    assert forest.objects(np.arange(2)).tolist() == [0, 1]


def test_keep_forgets_and_sums() -> None:
    forest = Forest(diagonal=True)
    add(forest, [7, 8, 9, 7], [1, 10, 100, 1000])
    forest.join(np.array([3]), np.array([0]))
    forest.join_corners(np.array([2]), np.array([3]))
    sums, near = forest.totals()
    assert (sums[0], bool(near[0]), sums[1], bool(near[1])) == (1101, True, 10, False)
    number = forest.keep(np.array([True, False, False, False]))
    assert number.tolist() == [0, -1, 1, 0]
    assert len(forest) == 2
    assert forest.value.tolist() == [7, 9]
    assert forest.prob_sum.tolist() == [1001, 100]
    assert forest.objects(np.arange(2)).tolist() == [0, 0]
    assert forest.regions(np.arange(2)).tolist() == [0, 1]
    assert forest.totals()[0][0] == 1101


def test_keep_nothing() -> None:
    forest = Forest(diagonal=False)
    add(forest, [1, 2])
    assert forest.keep(np.zeros(2, bool)).tolist() == [-1, -1]
    assert len(forest) == 0
    assert forest.keep(np.zeros(0, bool)).size == 0
