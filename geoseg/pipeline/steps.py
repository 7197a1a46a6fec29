"""What happens to outlines between tracing and the file: an ordered list of steps, one setting each.

A step takes a :class:`Batch`, whole objects with all that they touch, and the value of its setting, and gives
a batch back. All that turns rasters into polygons goes through the same list: ``geoseg run``, ``geoseg
vectorize``, ``geoseg.segment`` and ``geoseg.polygonize``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from geoseg.geo.geobox import GeoBox
from geoseg.typing import Array, BoolArray, IntArray
from geoseg.vector.area import GroundArea, ring_areas
from geoseg.vector.clashes import Joined, find_clashes
from geoseg.vector.forest import Groups
from geoseg.vector.geometry import object_geometries, place_corners, ragged_objects
from geoseg.vector.holes import empty_holes, without_rings
from geoseg.vector.ragged import RaggedPolygons
from geoseg.vector.regularize import LEVELS, REACH, regularize_outlines
from geoseg.vector.rings import Outlines, concat_outlines, take_objects
from geoseg.vector.simplify import simplify_outlines

__all__ = ["STEPS", "Batch", "Ground", "Step", "Steps"]

#: Corners whose areas are measured in one go.
_PIECE_CORNERS = 1 << 20
#: Corners of traced outlines that take the steps in one go, some 800 houses: what is worked out on the way
#: stays in the processor's cache, and several threads find enough to do in a batch of the spill.
_SHARE_CORNERS = 1 << 16
#: Places along each axis at which pixels are measured to learn how small they may be.
_SAMPLES = 9


class Ground:
    """Where the pixels of a raster lie, and how large they are.

    Attributes
    ----------
    transform
        From (column, row) of pixel corners to the CRS, 6 numbers.
    scale
        Width and height of a pixel in meters on the ground; (1, 1) where they are not known.
    area
        Measures square meters; None where the ground is not known and areas are pixels.
    """

    def __init__(self, geobox: GeoBox) -> None:
        self.transform = tuple(geobox.transform[:6])
        self.scale = geobox.ground_resolution() or (1.0, 1.0)
        self.area = None if geobox.ground_resolution() is None else GroundArea(geobox)
        self._geobox = geobox

    @cached_property
    def least_pixel(self) -> float:
        """What a pixel covers at least, anywhere: square meters, or pixels where they are not known."""
        if self.area is None:
            return 1.0
        box = self._geobox
        col, row = np.meshgrid(
            np.linspace(0, box.width - 1, _SAMPLES), np.linspace(0, box.height - 1, _SAMPLES)
        )
        square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
        corners = (np.stack([col, row], axis=-1).reshape(-1, 1, 2) + square).reshape(-1, 2)
        areas = self.area.rings(place_corners(corners, self.transform), np.arange(0, len(corners) + 1, 5))
        # Half of it, for places between those that are measured. Where one is not defined, nothing is known.
        return float(np.nan_to_num(np.abs(areas)).min()) / 2

    def ring_areas(self, outlines: Outlines) -> Array:
        """Signed area of each ring, (r,) float64: square meters, or pixels where they are not known."""
        if self.area is None:
            return ring_areas(outlines.xy, outlines.ring_offsets)
        # Piece by piece: what is worked out on the way to an area takes many times the memory of the corners.
        offsets = outlines.ring_offsets
        cuts = np.searchsorted(offsets, np.arange(0, offsets[-1], _PIECE_CORNERS))
        areas = [np.empty(0)]
        for first, last in itertools.pairwise([*np.unique(cuts).tolist(), offsets.size - 1]):
            if last > first:
                piece = offsets[first : last + 1]
                corners = place_corners(outlines.xy[piece[0] : piece[-1]], self.transform)
                areas.append(self.area.rings(corners, piece - piece[0]))
        return np.concatenate(areas)


@dataclass(frozen=True)
class Batch:
    """Whole objects, with every object that they touch.

    Attributes
    ----------
    outlines
        Their outlines in pixel coordinates; ``vector.coverage.find_arcs`` gives the walls that they share.
    ground
        Where they lie.
    geometry : (n,) object, optional
        Polygon or MultiPolygon of each in the CRS, where a step has drawn them.
    columns
        What steps found out: name -> (n,) values, such as those of ``Step.columns``.
    known_area : (n,) float64, optional
        Their area, where it is known already. A step that changes the rings of traced outlines gives it.
    """

    outlines: Outlines
    ground: Ground
    geometry: Array | None = None
    columns: dict[str, Array] = field(default_factory=dict)
    known_area: Array | None = None

    @cached_property
    def area(self) -> Array:
        """Square meters on the ground, or pixels without a CRS, (n,) float64.

        Measured when it is asked for: projecting all traced corners takes a third as long as squaring them,
        and of outlines that are drawn anew nobody needs it.
        """
        if self.known_area is not None:
            return self.known_area
        # The pixels of traced outlines are counted already.
        if len(self.outlines) == 0 or (self.ground.area is None and self.geometry is None):
            return self.outlines.pixels.astype(np.float64)
        if self.geometry is not None and self.ground.area is not None:
            return self.ground.area.geometries(self.geometry)
        return _object_areas(self.outlines, self.ground.ring_areas(self.outlines))

    def drawn(self) -> Array | RaggedPolygons:
        """What is to be written: (n,) geometries where a step drew them, else the outlines in their place."""
        if self.geometry is None:
            return ragged_objects(self.outlines, self.ground.transform)
        return self.geometry

    def where(self, keep: BoolArray) -> Batch:
        """Only some of the objects."""
        return self if keep.all() else self.take(np.flatnonzero(keep))

    def take(self, index: IntArray) -> Batch:
        """The objects at ``index``, in that order."""
        known = vars(self).get("area", self.known_area)
        return Batch(
            take_objects(self.outlines, index),
            self.ground,
            None if self.geometry is None else self.geometry[index],
            {name: column[index] for name, column in self.columns.items()},
            None if known is None else known[index],
        )

    @classmethod
    def merged(cls, batches: Sequence[Batch]) -> Batch:
        """All objects of some batches in raster order; the same steps were taken with each."""

        def joined(columns: list[Array | None]) -> Array | None:
            some = [column for column in columns if column is not None]
            return np.concatenate(some) if len(some) == len(batches) else None

        outlines = concat_outlines([batch.outlines for batch in batches])
        # What one of them knows is not always what would be measured: filled holes are in nobody's pixels.
        known = any(batch.known_area is not None for batch in batches)
        both = cls(
            outlines,
            batches[0].ground,
            joined([batch.geometry for batch in batches]),
            {name: np.concatenate([batch.columns[name] for batch in batches]) for name in batches[0].columns},
            joined([batch.area if known else None for batch in batches]),
        )
        return both.take(np.argsort(outlines.key))

    def shares(self) -> list[IntArray]:
        """The objects in shares of whole groups, about equally many corners in each."""
        outlines = self.outlines
        corners = np.diff(outlines.ring_offsets[outlines.part_offsets[outlines.object_offsets]])
        together = np.where(outlines.group < 0, -1 - np.arange(len(outlines)), outlines.group)
        _, first, number = np.unique(together, return_index=True, return_inverse=True)
        # A group counts where its first object lies, so shares are near each other.
        at = first[number]
        ends = np.cumsum(np.bincount(at, corners, minlength=len(outlines)))
        share = (ends[at] // _SHARE_CORNERS).astype(np.int64)
        return [np.flatnonzero(share == one) for one in np.unique(share)]

    def reshaped(self, outlines: Outlines, geometry: Array | None = None, **columns: Array) -> Batch:
        """The same objects with other corners, measured anew, and more columns."""
        if geometry is None:
            geometry = object_geometries(outlines, self.ground.transform)
        return Batch(outlines, self.ground, geometry, {**self.columns, **columns})


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes
    ----------
    setting
        Name of its setting in the options of a run; 0, False or None leave the step out.
    apply
        From a batch and the setting's value to a batch.
    moves_walls
        Whether it moves corners: then it gets groups of touching objects whole, else objects one by one.
    may_overlap
        Whether objects that do not touch may come to overlap: those are then made one group, which the step
        gets once more, and keeps apart.
    columns
        Columns that it adds to ``Batch.columns`` and to the file: name -> NumPy type of a fixed size, such as
        ``f8`` or ``U8``.
    """

    setting: str
    apply: Callable[[Batch, Any], Batch]
    moves_walls: bool = False
    may_overlap: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)


def leave_out_small(batch: Batch, least: float) -> Batch:
    """Leave out objects of less than ``least`` m2 (pixels without a CRS)."""
    # Most have far too many pixels to be measured for this.
    doubtful = np.ones(len(batch.outlines), np.bool_)
    if batch.geometry is None:
        doubtful = batch.outlines.pixels * batch.ground.least_pixel <= least
    keep = ~doubtful
    # Written so that an area that can't be measured, NaN, is not small.
    keep[doubtful] = ~(batch.where(doubtful).area < least)
    return batch.where(keep)


def drop_small_holes(batch: Batch, least: float) -> Batch:
    """Fill holes of less than ``least`` m2 (pixels without a CRS) in which no object lies."""
    outlines = batch.outlines
    is_hole = np.ones(outlines.ring_offsets.size - 1, np.bool_)
    is_hole[outlines.part_offsets[:-1]] = False
    rings = batch.ground.ring_areas(outlines)
    # A hole with an object in it stays, however small: filled, the two would overlap.
    filled = empty_holes(outlines, np.flatnonzero(is_hole & (np.abs(rings) < least)))
    outlines = without_rings(outlines, filled)
    # All rings are measured by now. The sum over those that stay has the same last bits whatever else is in
    # the batch, which the old area and the holes' have not.
    return replace(batch, outlines=outlines, known_area=_object_areas(outlines, np.delete(rings, filled)))


def _object_areas(outlines: Outlines, rings: Array) -> Array:
    """Area of each object, (n,) float64, from the signed areas of its rings."""
    if len(outlines) == 0:  # for which reduceat has nothing to give
        return np.empty(0)
    # Holes have the opposite sign, so an object's area is the plain sum over its rings.
    return np.abs(np.add.reduceat(rings, outlines.part_offsets[outlines.object_offsets[:-1]]))


def simplify(batch: Batch, tolerance: float) -> Batch:
    """Drop corners within ``tolerance`` meters of the outline (pixels without a CRS)."""
    ground = batch.ground
    return batch.reshaped(*simplify_outlines(batch.outlines, tolerance, ground.scale, ground.transform))


def regularize(batch: Batch, wanted: bool) -> Batch:
    """Draw outlines with right angles, along the lines that houses have."""
    regular = regularize_outlines(batch.outlines, batch.ground.scale, batch.ground.transform)
    return batch.reshaped(
        regular.outlines,
        regular.geometry,
        outline=LEVELS[regular.level],
        outline_iou=regular.iou,
    )


#: All steps in the order they are taken. Small objects go first: what is left out need not be simplified.
STEPS = (
    Step("min_area_m2", leave_out_small),
    Step("min_hole_m2", drop_small_holes, moves_walls=True, may_overlap=True),
    Step(
        "regularize",
        regularize,
        moves_walls=True,
        may_overlap=True,
        columns={"outline": "U10", "outline_iou": "f8"},
    ),
    Step("simplify_m", simplify, moves_walls=True, may_overlap=True),
)


class Steps:
    """The steps that some settings ask for.

    Parameters
    ----------
    **settings
        Values by name; steps without one are left out, and so are names that are no step's.

    Examples
    --------
    >>> Steps(simplify_m=0.5, min_area_m2=0.0).names
    ['simplify_m']
    """

    def __init__(self, **settings: Any) -> None:
        wanted = [step for step in STEPS if settings.get(step.setting)]
        # What can't be regularized is simplified in that step, and the others have no corner too many.
        if settings.get("regularize"):
            wanted = [step for step in wanted if step.setting != "simplify_m"]
        self._steps = [(step, settings[step.setting]) for step in wanted]

    @property
    def names(self) -> list[str]:
        """Settings of the steps that are taken, in their order."""
        return [step.setting for step, _ in self._steps]

    @property
    def moves_walls(self) -> bool:
        """Whether batches must hold groups of touching objects whole."""
        return any(step.moves_walls for step, _ in self._steps)

    @property
    def may_overlap(self) -> bool:
        """Whether free-standing objects may come to overlap."""
        return any(step.may_overlap for step, _ in self._steps)

    @property
    def columns(self) -> dict[str, str]:
        """Columns that the steps add, and their NumPy types."""
        return {name: kind for step, _ in self._steps for name, kind in step.columns.items()}

    def __call__(self, batch: Batch, threads: int = 1) -> Batch:
        """Take them all; groups of touching objects are shared among threads, which changes no byte."""

        def taken(share: Batch) -> Batch:
            return reduce(lambda done, step: step[0].apply(done, step[1]), self._steps, share)

        shares = batch.shares() if self._steps else []
        if len(shares) < 2:
            return taken(batch)
        if threads == 1:
            return Batch.merged([taken(batch.take(share)) for share in shares])
        with ThreadPoolExecutor(min(threads, len(shares)), thread_name_prefix="geoseg-steps") as pool:
            return Batch.merged(list(pool.map(lambda share: taken(batch.take(share)), shares)))

    def all_at_once(self, batch: Batch, threads: int = 1) -> Batch:
        """Take them all with all objects there are, in raster order; free-standing ones stay apart."""
        # The groups as they were traced: each object of a batch knows the number of its own.
        groups = Groups()
        groups.add(int(batch.outlines.group.max(initial=-1)) + 1)
        stepped, joined = self(batch, threads), Joined(groups)
        while self.may_overlap:
            key, group = find_clashes([stepped.outlines], REACH)
            if not key.size:
                break
            joined.add(key, group)
            # From the outlines as they were traced again: a step taken twice would simplify twice.
            number = joined.final(batch.outlines.key, batch.outlines.group)
            affected = np.isin(number, joined.affected)
            again = replace(batch, outlines=replace(batch.outlines, group=number)).where(affected)
            stays = stepped.where(~np.isin(stepped.outlines.key, again.outlines.key))
            stepped = Batch.merged([stays, self(again, threads)])
        return stepped
