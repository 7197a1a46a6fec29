"""Split touching objects along the valleys of a height field, the same for any chunks.

Every object pixel climbs to its highest neighbor until it stands on a summit; the pixels of one summit are
a basin. Two basins meet at saddles. Basins are joined again in falling order of their highest saddles unless
both rise above it by more than the persistence. A step of the climb looks at the eight pixels around it, so
chunks need a halo of one pixel (and of the radius of the smoothing), and what crosses a border is one number
a pixel: memory is per basin, not per pixel.

Heights are integers. Sums of integers do not depend on their order, so a chunk gives the same heights as the
whole raster, to the last bit.
"""

from geoseg.raster.split.basins import Basins, ChunkBasins, find_basins
from geoseg.raster.split.heights import FULL_HEIGHT, SplitRule, as_stored, smooth_height, smoothing_weights
from geoseg.raster.split.objects import Objects, join_basins

__all__ = [
    "FULL_HEIGHT",
    "Basins",
    "ChunkBasins",
    "Objects",
    "SplitRule",
    "as_stored",
    "find_basins",
    "join_basins",
    "smooth_height",
    "smoothing_weights",
]
