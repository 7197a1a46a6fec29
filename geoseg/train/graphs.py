"""Areas made by a DTL graph, without writing its project."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from geoseg.data.sources import Opened, Wanted, annotated_area, check_alike, images_opened, titles_table
from geoseg.dtl import Sample, open_graph
from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.io.images import ImageFile
from geoseg.typing import Array, BoolArray

__all__ = ["SamplePixels", "open_graph_areas"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplePixels:
    """Pixels of a sample, made anew at each read; nothing decoded is kept."""

    sample: Sample
    count: int
    dtype: str

    @property
    def height(self) -> int:
        """Rows."""
        return self.sample.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.sample.shape[1]

    def read_with_valid(self, window: Window) -> tuple[Array, BoolArray]:
        """(C, h, w) pixels and (h, w) bool validity."""
        pixels = self.sample.pixels
        try:
            return pixels.read(window), pixels.valid(window)
        finally:
            if isinstance(pixels.source, ImageFile):
                pixels.source.forget()


def open_graph_areas(wanted: Wanted, seed: int) -> Opened:
    """The samples of a graph as areas.

    Raises
    ------
    InputError
        The graph gives no sample.
    """
    data = wanted.data
    samples = open_graph(wanted.base / str(data.dtl), wanted.base / str(data.projects), seed=seed)
    table = titles_table(wanted, samples.meta.class_names)
    found = []
    for number, sample in enumerate(samples.samples()):
        name = f"{sample.dataset}/{sample.origin.stem} #{number}"
        found.append(annotated_area(name, _pixels(sample), sample.annotation, table))
    for image, reason in samples.failures:
        logger.warning("%s left out: %s", image, reason)
    if not found:
        raise InputError(f"a DTL graph must give samples, got none from {data.dtl}.")
    opened = images_opened(found, table)
    check_alike(opened.areas)
    return opened


def _pixels(sample: Sample) -> SamplePixels:
    source: Any = sample.pixels.source
    return SamplePixels(sample, source.scene.count, source.scene.dtype)
