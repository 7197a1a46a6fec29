"""What happens to outlines between tracing and the file: an ordered list of steps, one setting each.

A step takes a :class:`Batch`, whole objects with all that they touch, and the value of its setting, and gives
a batch back. All that turns rasters into polygons goes through the same list: ``geoseg run``, ``geoseg
vectorize``, ``geoseg.segment`` and ``geoseg.polygonize``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from geoseg.geo.geobox import GeoBox
from geoseg.typing import Array, BoolArray
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
    area : (n,) float64
        Square meters on the ground, or pixels without a CRS.
    geometry : (n,) object, optional
        Polygon or MultiPolygon of each in the CRS, where a step has drawn them.
    columns
        What steps found out: name -> (n,) values, such as those of ``Step.columns``.
    """

    outlines: Outlines
    ground: Ground
    area: Array
    geometry: Array | None = None
    columns: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def traced(cls, outlines: Outlines, ground: Ground) -> Batch:
        """Objects as they were traced."""
        # In pixels the area is counted already. reduceat below has nothing to give for no objects at all.
        if ground.area is None or len(outlines) == 0:
            return cls(outlines, ground, outlines.pixels.astype(np.float64))
        rings = ground.ring_areas(outlines)
        # Holes have the opposite sign, so an object's area is the plain sum over its rings.
        first_ring = outlines.part_offsets[outlines.object_offsets[:-1]]
        return cls(outlines, ground, np.abs(np.add.reduceat(rings, first_ring)))

    def drawn(self) -> Array | RaggedPolygons:
        """What is to be written: (n,) geometries where a step drew them, else the outlines in their place."""
        if self.geometry is None:
            return ragged_objects(self.outlines, self.ground.transform)
        return self.geometry

    def where(self, keep: BoolArray) -> Batch:
        """Only some of the objects."""
        if keep.all():
            return self
        index = np.flatnonzero(keep)
        return Batch(
            take_objects(self.outlines, index),
            self.ground,
            self.area[index],
            None if self.geometry is None else self.geometry[index],
            {name: column[index] for name, column in self.columns.items()},
        )

    @classmethod
    def merged(cls, one: Batch, other: Batch) -> Batch:
        """Both, in raster order; the same steps were taken with each."""
        outlines = concat_outlines([one.outlines, other.outlines])
        order = np.argsort(outlines.key)
        both = {name: np.concatenate([one.columns[name], other.columns[name]]) for name in one.columns}
        geometry = None
        if one.geometry is not None and other.geometry is not None:
            geometry = np.concatenate([one.geometry, other.geometry])[order]
        return cls(
            take_objects(outlines, order),
            one.ground,
            np.concatenate([one.area, other.area])[order],
            geometry,
            {name: column[order] for name, column in both.items()},
        )

    def reshaped(self, outlines: Outlines, geometry: Array | None = None, **columns: Array) -> Batch:
        """The same objects with other corners, measured anew, and more columns."""
        if geometry is None:
            geometry = object_geometries(outlines, self.ground.transform)
        area = self.area if self.ground.area is None else self.ground.area.geometries(geometry)
        return replace(
            self, outlines=outlines, geometry=geometry, area=area, columns={**self.columns, **columns}
        )


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
    # Written so that an area that can't be measured, NaN, is not small.
    return batch.where(~(batch.area < least))


def drop_small_holes(batch: Batch, least: float) -> Batch:
    """Fill holes of less than ``least`` m2 (pixels without a CRS) in which no object lies."""
    outlines = batch.outlines
    is_hole = np.ones(outlines.ring_offsets.size - 1, np.bool_)
    is_hole[outlines.part_offsets[:-1]] = False
    area = np.abs(batch.ground.ring_areas(outlines))
    # A hole with an object in it stays, however small: filled, the two would overlap.
    filled = empty_holes(outlines, np.flatnonzero(is_hole & (area < least)))
    if not filled.size:
        return batch
    first_ring = outlines.part_offsets[outlines.object_offsets]
    owner = np.searchsorted(first_ring, filled, side="right") - 1
    # The area is known without measuring all outlines anew: that of the holes is added.
    larger = batch.area.copy()
    np.add.at(larger, owner, area[filled])
    return replace(batch, outlines=without_rings(outlines, filled), area=larger)


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

    def __call__(self, batch: Batch) -> Batch:
        """Take them all."""
        for step, value in self._steps:
            batch = step.apply(batch, value)
        return batch

    def all_at_once(self, batch: Batch) -> Batch:
        """Take them all with all objects there are, in raster order; free-standing ones stay apart."""
        # The groups as they were traced: each object of a batch knows the number of its own.
        groups = Groups()
        groups.add(int(batch.outlines.group.max(initial=-1)) + 1)
        stepped, joined = self(batch), Joined(groups)
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
            stepped = Batch.merged(stays, self(again))
        return stepped
