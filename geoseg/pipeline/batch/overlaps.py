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
from geoseg.pipeline.ground import SOME, Ground, read_ground
from geoseg.typing import Array, IntArray, Overlaps

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Owners", "mean_confidence", "rank_scenes"]

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
        self._ranks = np.asarray(ranks, np.int64)
        boxes = shapely.box(*extents.T)
        self._near = shapely.STRtree(boxes).query(boxes, predicate="intersects")
        self._ground: Callable[[int], Ground] = lru_cache(_GROUNDS)(lambda k: read_ground(grounds[k]))

    def of(self, scene: int, geometry: Array, crs: CRS) -> IntArray:
        """The scene that owns the ground of each footprint: that under a point inside it.

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
        """
        points = shapely.point_on_surface(geometry)
        x, y = shapely.get_x(points), shapely.get_y(points)
        owner = np.full(len(geometry), scene, np.int64)
        # A footprint may reach a little over what was seen: its own scene has seen it all the same.
        most = np.maximum(self._ground(scene).at(x, y, crs), SOME)
        others = self._near[1][self._near[0] == scene]
        for other in np.sort(others[others != scene]).tolist():
            amount = self._ground(other).at(x, y, crs)
            better = (amount > most) | ((amount == most) & (self._ranks[other] < self._ranks[owner]))
            owner[better], most[better] = other, amount[better]
        return owner
