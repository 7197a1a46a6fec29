"""Outlines of rasters for tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoseg.geo.windows import Window
from geoseg.pipeline.outlines import iter_outlines
from geoseg.vector.chunk import ChunkValues
from geoseg.vector.forest import Groups
from geoseg.vector.rings import Outlines, concat_outlines, take_objects

__all__ = ["with_groups"]


def with_groups(values: np.ndarray, chunk: object, connectivity: int) -> Outlines:
    """All outlines in raster order, with final groups."""

    def read(window: Window) -> ChunkValues:
        return ChunkValues(values[window.rows, window.cols])

    groups = Groups()
    found = concat_outlines(list(iter_outlines(read, values.shape, chunk, connectivity, groups=groups)))
    found = take_objects(found, np.argsort(found.key))
    return replace(found, group=groups.final(found.group))
