"""Overlapping scenes of other dates: which one owns a piece of ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.io.vectors import open_vector
from geoseg.pipeline.batch.manifest import SceneRecord
from geoseg.pipeline.ground import NONE, Ground, read_ground
from geoseg.pipeline.update import SHARE
from geoseg.scores.polygons import intersection_areas
from geoseg.typing import Array, BoolArray, IntArray, Overlaps

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Owners", "mean_confidence", "rank_scenes", "same_houses", "settle"]

#: Grounds in memory at a time, of at most 16 MB: a scene and those around it.
_GROUNDS = 16


def rank_scenes(records: Sequence[SceneRecord], rule: Overlaps, confidence: Mapping[str, float]) -> list[int]:
    """Rank of each scene, 0 for the one that owns what all of them have seen; by no two the same.

    Parameters
    ----------
    records
        Scenes.
    rule
        ``newest``: by date, those without one last; ``best``: by confidence, then by date.
    confidence
        Of each scene by its name, for ``best``.

    Examples
    --------
    >>> dates = {"a": "2023-05-01", "b": None, "c": "2024"}
    >>> scenes = [SceneRecord(name, acquired=date) for name, date in dates.items()]
    >>> rank_scenes(scenes, "newest", {})
    [1, 2, 0]
    >>> rank_scenes(scenes, "best", {"a": 0.7, "b": 0.9, "c": 0.7})
    [2, 0, 1]
    """
    # By name first: the later sorts are stable, so that equal dates have one order on every machine.
    order = sorted(range(len(records)), key=lambda k: records[k].name)
    order.sort(key=lambda k: records[k].acquired or "", reverse=True)
    if rule == "best":
        order.sort(key=lambda k: confidence[records[k].name], reverse=True)
    ranks = [0] * len(records)
    for rank, k in enumerate(order):
        ranks[k] = rank
    return ranks


def mean_confidence(footprints: Path) -> float:
    """Mean confidence of a scene's footprints, each counted by its area; 0 without any."""
    source = open_vector(footprints)
    area = next((name for name in ("area_m2", "area_px") if name in source.columns), "")
    total = weight = 0.0
    for batch in source.batches(("confidence", area)):
        # By area, or a scene full of specks would stand for the confidence of its specks.
        total += float((batch.columns["confidence"] * batch.columns[area]).sum())
        weight += float(batch.columns[area].sum())
    return total / weight if weight else 0.0


class Owners:
    """Tells which scene owns the ground under a point.

    Of the scenes that have seen it, the one of the lowest rank. Ground at the edge of what a scene has seen,
    where only some pixels of a cell have data, belongs to it only where no other scene has seen the whole
    cell: so a scene never owns ground that it has not seen and another one has.

    Parameters
    ----------
    grounds
        File of the valid ground of each scene.
    extents
        (n, 4) float64, bounds of each scene on a common plane: others than those that meet are not looked at.
    ranks
        Of each scene.
    """

    def __init__(self, grounds: Sequence[Path], extents: NDArray[np.float64], ranks: Sequence[int]) -> None:
        self.ranks = np.asarray(ranks, np.int64)
        boxes = shapely.box(*extents.T)
        self._near = shapely.STRtree(boxes).query(boxes, predicate="intersects")
        self._ground: Callable[[int], Ground] = lru_cache(_GROUNDS)(lambda k: read_ground(grounds[k]))

    def of(self, scene: int, x: NDArray[np.float64], y: NDArray[np.float64], crs: CRS) -> IntArray:
        """The scene that owns the ground under each point; -1 where nobody has seen it.

        Parameters
        ----------
        scene
            Whose footprints the points are of.
        x, y : (n,) float64
            Points.
        crs
            Their CRS.

        Returns
        -------
        (n,) int64
        """
        most = self._ground(scene).at(x, y, crs)
        owner = np.where(most > NONE, scene, -1)
        others = self._near[1][self._near[0] == scene]
        for other in np.sort(others[others != scene]).tolist():
            amount = self._ground(other).at(x, y, crs)
            # What is seen as a whole wins over what is seen in part, whoever ranks higher.
            better = (amount > most) | ((amount == most) & (self.ranks[other] < self.ranks[owner]))
            better &= amount > NONE
            owner[better], most[better] = other, amount[better]
        return owner

    def of_footprints(self, scene: int, geometry: Array, crs: CRS) -> tuple[IntArray, BoolArray]:
        """The scene that owns the ground under a point inside each footprint.

        Parameters
        ----------
        scene
            Whose footprints they are.
        geometry : (n,) object
            Polygons.
        crs
            Their CRS.

        Returns
        -------
        (n,) int64
            The owners.
        (n,) bool
            Whether ground of another owner is near: within half the size of the footprint.
        """
        points = shapely.point_on_surface(geometry)
        owner = self.of(scene, shapely.get_x(points), shapely.get_y(points), crs)
        # A footprint may reach a little over what was seen: its own scene has seen it all the same.
        owner[owner < 0] = scene
        x0, y0, x1, y1 = shapely.bounds(geometry).reshape(-1, 4).T
        wide, tall = (x1 - x0) / 2, (y1 - y0) / 2
        is_near = np.zeros(len(geometry), bool)
        # A line that runs through a rectangle parts its corners.
        for grown in (0.0, 1.0):
            for x in (x0 - grown * wide, x1 + grown * wide):
                for y in (y0 - grown * tall, y1 + grown * tall):
                    corner = self.of(scene, x, y, crs)
                # Where nobody has seen anything no line runs: else one of two drawings would be near to it.
                is_near |= (corner >= 0) & (corner != owner)
        return owner, is_near


def same_houses(
    geometry: Array, scene: IntArray, others: Array, other_scene: IntArray
) -> tuple[IntArray, IntArray]:
    """Pairs of drawings of two scenes that stand on the same ground.

    Parameters
    ----------
    geometry, others : (n,), (m,) object
        Polygons.
    scene, other_scene : (n,), (m,) int64
        Of each.

    Returns
    -------
    (k,) int64, (k,) int64
        Positions in ``geometry`` and in ``others``.
    """
    first, second = shapely.STRtree(others).query(geometry, predicate="intersects")
    apart = scene[first] != other_scene[second]
    first, second = first[apart], second[apart]
    smaller = np.minimum(shapely.area(geometry[first]), shapely.area(others[second]))
    same = intersection_areas(geometry[first], others[second]) >= SHARE * smaller
    return first[same], second[same]


def settle(
    geometry: Array, scene: IntArray, rank: IntArray, is_own: BoolArray, is_cut: BoolArray
) -> tuple[BoolArray, IntArray]:
    """Decide which drawings of houses are taken on the line where the ground of scenes meets.

    Two scenes draw one house a little differently, so the points inside their drawings may lie on either side
    of the line. By the points alone both drawings would be taken there, or neither. Here, a drawing of which
    another scene has a drawing as well is taken unless that one is: whole houses come first, by rank, and
    then those that are cut where a scene ends, by size. One of which nobody else has a drawing is taken where
    its scene owns the ground under its point.

    Parameters
    ----------
    geometry : (n,) object
        Polygons, those of one scene in their order.
    scene, rank : (n,) int64
        Of each.
    is_own : (n,) bool
        Whether its scene owns the ground under its point.
    is_cut : (n,) bool
        Whether it touches the edge of its scene, or missing data.

    Returns
    -------
    (n,) bool
        Those that are taken.
    (n,) int64
        Of each that is left out for another drawing, which one; else -1.

    Examples
    --------
    >>> drawn = shapely.box([0, 1, 20], 0, [10, 11, 30], 10)
    >>> scene, own, cut = np.array([0, 1, 1]), np.array([False, False, True]), np.zeros(3, bool)
    >>> [one.tolist() for one in settle(drawn, scene, np.array([1, 0, 0]), own, cut)]
    [[False, True, True], [1, -1, -1]]
    """
    taken, instead = is_own.copy(), np.full(len(geometry), -1, np.int64)
    first, second = same_houses(geometry, scene, geometry, scene)
    by_first = np.argsort(first, kind="stable")
    first, second = first[by_first], second[by_first]
    paired = np.unique(first)
    taken[paired] = False
    # Of a house that two scenes cut, one may have nothing but a strip.
    size = np.where(is_cut, shapely.area(geometry), 0)
    for k in paired[np.lexsort((rank[paired], -size[paired], is_cut[paired]))].tolist():
        start, stop = np.searchsorted(first, (k, k + 1))
        drawings = second[start:stop]
        if taken[drawings].any():
            instead[k] = drawings[taken[drawings]].min()
        else:
            taken[k] = True
    return taken, instead
