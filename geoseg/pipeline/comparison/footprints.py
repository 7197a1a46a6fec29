"""Two files of footprints: compared by exact areas, told by squares of the ground."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from pyproj import CRS, Transformer
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geoseg.errors import InputError
from geoseg.geo.geobox import to_lonlat
from geoseg.io.vectors import Features, continuous_bounds, read_features
from geoseg.pipeline.comparison.result import Comparison, Fit, PlaceChange, fit_pairs, sum_up
from geoseg.pipeline.evaluation.files import local_plane
from geoseg.scores.changes import ObjectChanges, count_changes
from geoseg.scores.polygons import (
    OverlapPairs,
    clean_polygons,
    clip_polygons,
    intersection_areas,
    overlap_pairs,
    own_ground,
)
from geoseg.typing import Array, IntArray, PathLike, Progress, no_progress

__all__ = ["compare_footprints", "read_on_plane"]

#: Side of the squares that changes are told by: a block of houses, or a window of a network.
_SQUARE_M, _SQUARE_PX = 128.0, 512.0


def read_on_plane(paths: list[PathLike]) -> tuple[list[Array], CRS | None]:
    """Polygons of some files on one plane in meters; without any CRS as they are.

    Raises
    ------
    InputError
        Only some of them have a CRS.
    """
    files: list[Features] = [read_features(path) for path in paths]
    crs = [file.source.crs for file in files if len(file)]
    if len({one is None for one in crs}) > 1:
        raise InputError(
            f"files must all have a CRS or all be in pixels, got {', '.join(map(str, paths))}. "
            "Give the others a CRS."
        )
    # One plane for all of them, of the first that has a CRS: overlaps need one, and areas in degrees mean
    # nothing.
    sources = [file.source for file in files if len(file) and file.source.crs]
    plane = next((local_plane(source.crs, continuous_bounds(source)) for source in sources), None)
    moved = []
    for file in files:
        shapes = file.geometry
        if plane is not None and file.source.crs is not None:
            project = Transformer.from_crs(file.source.crs, plane, always_xy=True).transform
            shapes = shapely.transform(shapes, lambda x, y, to=project: to(x, y), interleaved=False)
        moved.append(clean_polygons(shapes).geometry)
    return moved, plane


def compare_footprints(
    before: PathLike,
    after: PathLike,
    *,
    truth: PathLike | None = None,
    aoi: PathLike | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare two files of footprints; see :func:`geoseg.pipeline.comparison.compare.compare`."""
    paths = [before, after, *([truth] if truth is not None else []), *([aoi] if aoi is not None else [])]
    sides, plane = read_on_plane(paths)
    if aoi is not None:
        area = shapely.union_all(sides.pop())
        if area.is_empty:
            raise InputError(f"aoi must hold at least one polygon, got {aoi} without any.")
        # Of nothing, two files would agree wholly. Ground without an object is fine where some lie around it.
        extents = [shapely.box(*shapely.total_bounds(side)) for side in sides if len(side)]
        if extents and not shapely.intersects(area, extents).any():
            raise InputError(
                f"aoi must meet the files, got {aoi}, which lies outside of them. Check that it is of the "
                "same place."
            )
        # Cut at the edge on every side alike, so that what lies outside is no change.
        sides = [clip_polygons(side, area).geometry for side in sides]
    progress("compare", 1, 3)
    # Ground that several objects of one file cover counts once, as in an evaluation.
    owns = [own_ground(side) for side in sides]
    changes = _Overlaps.of(sides[0], sides[1], owns[0], owns[1])
    judging = (
        [_Overlaps.of(sides[2], sides[k], owns[2], owns[k]) for k in (0, 1)] if truth is not None else []
    )
    progress("compare", 2, 3)
    groups = _groups(sides, changes.objects, [judged.objects for judged in judging])
    side = _SQUARE_M if plane is not None else _SQUARE_PX
    squares = _squares(sides, groups, side)
    numbers = np.unique(np.concatenate(squares))
    # Once, not once a square: a town has thousands of squares. All objects of a pair are in one of them.
    members = [_by_square(square, numbers) for square in squares]
    changes_in = changes.by_square(squares[0], numbers)
    judged_in = [judged.by_square(squares[2], numbers) for judged in judging]
    places, areas = [], []
    for k, number in enumerate(numbers.tolist()):
        chosen = [square[k] for square in members]
        change = changes.part([rows[k] for rows in changes_in], chosen[0], chosen[1])
        both = float(change.ground.area.sum())
        either = float(change.ground.truth_area.sum() + change.ground.pred_area.sum()) - both
        fits: list[Fit | None] = [None, None]
        for index, judged in enumerate(judging):
            part = judged.part([rows[k] for rows in judged_in[index]], chosen[2], chosen[index])
            fits[index] = fit_pairs(part.objects, part.ground)
        # Column and row were packed into one number, shifted so that both are above zero.
        col, row = divmod(number, 2**24)
        corner = (col - 2**23) * side, (row - 2**23) * side
        places.append(
            PlaceChange(
                _place_name(corner, side, plane),
                both / either if either else 1.0,
                count_changes(change.objects, found=change.found, known=change.known),
                fits[0],
                fits[1],
                (corner[0], corner[1], corner[0] + side, corner[1] + side),
            )
        )
        areas.append((both, either))
    progress("compare", 3, 3)
    empty = Comparison(
        str(Path(before)), str(Path(after)), None if truth is None else str(Path(truth)),
        "px2" if plane is None else "m2", (), tuple(places), ObjectChanges(), 0.0, None, None,
    )  # fmt: skip
    return sum_up(empty, areas)


@dataclass(frozen=True)
class _Overlaps:
    """Overlaps of two sides.

    Attributes
    ----------
    objects
        Of the objects.
    ground
        Of the ground that is each object's alone.
    found, known
        Of objects of the first side with such ground of the second, and the reverse.
    """

    objects: OverlapPairs
    ground: OverlapPairs
    found: OverlapPairs
    known: OverlapPairs

    @classmethod
    def of(cls, first: Array, second: Array, first_own: Array, second_own: Array) -> _Overlaps:
        objects = overlap_pairs(first, second)
        found = _of_own_ground(objects, first, second, first, second_own)
        known = _of_own_ground(objects, first, second, first_own, second)
        return cls(objects, _of_own_ground(objects, first, second, first_own, second_own), found, known)

    def _all(self) -> tuple[OverlapPairs, ...]:
        return self.objects, self.ground, self.found, self.known

    def by_square(self, square: IntArray, numbers: IntArray) -> list[list[IntArray]]:
        """For each kind of overlaps, those of each square; ``square`` is that of the first side's objects."""
        return [_by_square(square[pairs.truth], numbers) for pairs in self._all()]

    def part(self, rows: list[IntArray], truth: IntArray, pred: IntArray) -> _Overlaps:
        """Those of one square."""
        return _Overlaps(*(_part(pairs, some, truth, pred) for pairs, some in zip(self._all(), rows)))


def _of_own_ground(
    pairs: OverlapPairs, first: Array, second: Array, first_own: Array, second_own: Array
) -> OverlapPairs:
    """Overlaps of the objects' own ground: of no other pairs, for it is a part of each object."""
    cut_first, cut_second = (
        np.fromiter((part is not whole for part, whole in zip(own, side, strict=True)), np.bool_, len(side))
        for own, side in ((first_own, first), (second_own, second))
    )
    # Only what lost ground is intersected again: in most files that is little.
    again = cut_first[pairs.truth] | cut_second[pairs.pred]
    area = pairs.area.copy()
    area[again] = intersection_areas(first_own[pairs.truth[again]], second_own[pairs.pred[again]])
    kept = area > 0
    return OverlapPairs(
        pairs.truth[kept], pairs.pred[kept], area[kept], shapely.area(first_own), shapely.area(second_own)
    )


def _groups(sides: list[Array], pairs: OverlapPairs, judging: list[OverlapPairs]) -> list[IntArray]:
    """Group of each object: objects of any file that overlap, directly or by others, are one."""
    starts = np.cumsum([0, *map(len, sides)])
    first = [pairs.truth, *(starts[2] + one.truth for one in judging)]
    second = [starts[1] + pairs.pred, *(starts[i] + one.pred for i, one in enumerate(judging))]
    rows, cols = np.concatenate(first), np.concatenate(second)
    # Overlaps are edges of a graph; a group is what hangs together in it.
    graph = coo_matrix((np.ones(len(rows), np.bool_), (rows, cols)), shape=(starts[-1], starts[-1]))
    group = connected_components(graph, directed=False)[1].astype(np.int64)
    return [group[starts[i] : starts[i + 1]] for i in range(len(sides))]


def _squares(sides: list[Array], groups: list[IntArray], side: float) -> list[IntArray]:
    """A number for the square that each object is told in: that of its group's first object.

    A group is told in one place, so that numbers of places add up.
    """
    every, group = np.concatenate(sides), np.concatenate(groups)
    bounds = shapely.bounds(every).reshape(-1, 4)
    middle = np.column_stack([bounds[:, 0] + bounds[:, 2], bounds[:, 1] + bounds[:, 3]]) / 2
    # Packed into one number, which sorts and compares faster than a pair: 24 bits each, shifted above zero.
    cells = np.floor(middle / side).astype(np.int64) + 2**23
    numbers = cells[:, 0] * 2**24 + cells[:, 1]
    first = np.unique(group, return_index=True)[1] if len(group) else np.zeros(0, np.int64)
    at = numbers[first][group] if len(group) else numbers
    ends = np.cumsum([0, *map(len, sides)])
    return [at[ends[i] : ends[i + 1]] for i in range(len(sides))]


def _by_square(square: IntArray, numbers: IntArray) -> list[IntArray]:
    """Positions of the entries of each square, ascending."""
    order = np.argsort(square, kind="stable")
    return np.split(order, np.searchsorted(square[order], numbers[1:]))


def _part(pairs: OverlapPairs, rows: IntArray, truth: IntArray, pred: IntArray) -> OverlapPairs:
    """Some pairs with all their objects, which ascend, numbered anew."""
    return OverlapPairs(
        np.searchsorted(truth, pairs.truth[rows]),
        np.searchsorted(pred, pairs.pred[rows]),
        pairs.area[rows],
        pairs.truth_area[truth],
        pairs.pred_area[pred],
    )


def _place_name(corner: tuple[float, float], side: float, plane: CRS | None) -> str:
    x, y = corner[0] + side / 2, corner[1] + side / 2
    if plane is None:
        return f"x {x:.0f}, y {y:.0f}"
    # In longitude and latitude, which a person can look up on any map.
    lon, lat = to_lonlat(plane).transform(x, y)
    return f"{lat:.5f}, {lon:.5f}"
