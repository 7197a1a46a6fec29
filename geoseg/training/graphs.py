"""Areas made by a DTL graph, without writing its project."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

from geoseg.data.chips import Area
from geoseg.data.classes import ClassTable
from geoseg.data.digests import item_files
from geoseg.data.sources import (
    Opened,
    Wanted,
    annotated_area,
    check_alike,
    images_opened,
    titles_table,
)
from geoseg.dtl import GraphEngine, Sample, open_graph
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.images import ImageFile
from geoseg.typing import Array, BoolArray

__all__ = ["SamplePixels", "open_graph_areas"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplePixels:
    """Pixels of a sample, made anew at each read; nothing decoded is kept."""

    sample: Sample

    @property
    def geobox(self) -> GeoBox:
        """Where the sample lies."""
        return self.sample.geobox

    @property
    def count(self) -> int:
        """Number of bands."""
        return self.sample.pixels.source.count

    @property
    def dtype(self) -> str:
        """Of the pixels."""
        return self.sample.pixels.source.dtype

    @property
    def has_validity(self) -> bool:
        """Whether any pixel may be invalid, such as those outside the image it was made of."""
        return True

    def read(self, window: Window) -> Array:
        """(C, h, w) pixels."""
        return self.read_with_valid(window)[0]

    def read_valid(self, window: Window) -> BoolArray:
        """(h, w) bool validity."""
        return self.read_with_valid(window)[1]

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """(C, h, w) pixels and (h, w) bool validity."""
        pixels = self.sample.pixels
        try:
            return pixels.read(window), pixels.valid(window)
        finally:
            if isinstance(pixels.source, ImageFile):
                # A run reads chips of all images at random: what one decoded picture takes must not add up
                # over them.
                pixels.source.forget()


@dataclass
class _Redraws:
    """The samples of later epochs, those of one epoch in memory at a time, without their pixels.

    Layers may give another number of samples when they draw anew. A sample is then followed by the one of
    its image that has the same tags and the same place among these, counted round; where there is none, it
    stays as it was.
    """

    engine: GraphEngine
    table: ClassTable
    epoch: int = 0
    made: dict[int, list[Sample]] = field(default_factory=dict)

    def area(self, first: Area, order: int, tags: frozenset[str], rank: int, epoch: int) -> Area:
        """What follows the area ``first`` in an epoch."""
        if epoch != self.epoch:
            # Workers go through epochs in order, so those before are not asked for again.
            self.epoch, self.made = epoch, {}
        if order not in self.made:
            # An image that fails now did so when the graph was opened, and was reported then.
            samples = self.engine.at_epoch(epoch).samples(order, failed=lambda _: None)
            self.made[order] = list(samples)
        alike = [
            sample
            for sample in self.made[order]
            if frozenset(tag.name for tag in sample.annotation.tags) == tags
        ]
        if not alike:
            return first
        sample = alike[rank % len(alike)]
        return annotated_area(first.name, SamplePixels(sample), sample.annotation, self.table)[0]

    def __getstate__(self) -> dict[str, Any]:
        # Workers draw samples themselves; sending them would copy every annotation to each.
        return {**self.__dict__, "made": {}}


def open_graph_areas(wanted: Wanted, seed: int) -> Opened:
    """The samples of a graph as areas, which later epochs draw anew.

    Raises
    ------
    InputError
        The graph gives no sample.
    """
    data = wanted.data
    graph = wanted.base / str(data.dtl)
    samples = open_graph(graph, wanted.base / str(data.projects), seed=seed)
    table = titles_table(wanted, samples.meta)
    redraws = _Redraws(samples.engine, table)
    areas_with_tags = []
    ranks: Counter[tuple[int, frozenset[str]]] = Counter()
    for number, sample in enumerate(samples.samples()):
        name = f"{sample.dataset}/{sample.origin.stem} #{number}"
        area, tags = annotated_area(name, SamplePixels(sample), sample.annotation, table)
        order = sample.origin.order
        redraw = partial(redraws.area, area, order, tags, ranks[order, tags])
        ranks[order, tags] += 1
        areas_with_tags.append((replace(area, redraw=redraw), tags))
    if not areas_with_tags:
        raise InputError(f"a DTL graph must give samples, got none from {data.dtl}.")
    files = {str(graph): sha256(graph.read_bytes()).hexdigest()}
    files |= item_files(item for _, item in samples.engine.items)
    opened = replace(images_opened(areas_with_tags, table), files=files)
    check_alike(opened.areas)
    return opened
