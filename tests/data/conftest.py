"""Areas made of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from affine import Affine

from geoseg.data.chips import Area
from geoseg.data.truth import AoiTruth, VectorTruth
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window


@dataclass(frozen=True)
class ArrayPixels:
    """Pixels (C, H, W) in memory, with their validity."""

    values: np.ndarray
    valid: np.ndarray | None = None

    @property
    def geobox(self) -> GeoBox:
        return GeoBox(Affine.identity(), None, *self.values.shape[1:])

    @property
    def count(self) -> int:
        return self.values.shape[0]

    @property
    def dtype(self) -> str:
        return self.values.dtype.name

    def read_with_valid(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        inside = window.clipped(*self.geobox.shape)
        assert inside == window, "reads stay inside the scene"
        valid = np.ones(self.values.shape[1:], bool) if self.valid is None else self.valid
        return self.values[:, window.rows, window.cols], valid[window.rows, window.cols]

    def read(self, window: Window) -> np.ndarray:
        return self.read_with_valid(window)[0]

    def read_valid(self, window: Window) -> np.ndarray:
        return self.read_with_valid(window)[1]


@pytest.fixture(scope="session")
def array_pixels():
    return ArrayPixels


@pytest.fixture(scope="session")
def make_area():
    """An area of random pixels with polygons."""

    def make(name, height, width, shapes=(), classes=None, aoi=None, seed=0):
        values = np.random.default_rng(seed).integers(0, 255, (3, height, width), dtype=np.uint8)
        codes = np.ones(len(shapes), np.uint8) if classes is None else np.array(classes, np.uint8)
        polygons = np.array(list(shapes), object)
        truth = VectorTruth(height, width, polygons, codes)
        if aoi is not None:
            truth = AoiTruth(truth, height, width, np.array(list(aoi), object))
        return Area(name, ArrayPixels(values), truth)

    return make
