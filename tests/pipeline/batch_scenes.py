"""Small scenes with one house, and a network that costs nothing, for tests of batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

import geoseg
from geoseg.pipeline.batch import read_manifest

PLACE = Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
OPTIONS = {"window": 48, "overlap": 16, "chunk": 64}


def save(path: Path, col: int = 0, row: int = 0, **changes: Any) -> Path:
    """A scene of 64 x 64 pixels with one house, at a place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((3, 64, 64), np.uint8)
    image[:, 20:40, 24:44] = 220
    profile = {
        "driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint8", "crs": "EPSG:32645",
        "transform": PLACE * Affine.translation(col, row), "compress": "deflate", **changes,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(image)
    return path


class Network:
    """Bright is a house; counts the windows it has seen."""

    def __init__(self, limit: int = 100) -> None:
        self.limit, self.windows = limit, 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.windows += len(batch)
        return (batch[:, :1] > self.limit).astype(np.float32)

    def fingerprint(self) -> str:
        return f"bright {self.limit}"


def run(words: Any, network: Any, out: Path, **settings: Any) -> Any:
    return geoseg.run_batch(words, network, out=out, **OPTIONS, **settings)


def states(out: Path) -> dict[str, str]:
    with read_manifest(out) as manifest:
        return {record.name: record.state for record in manifest.scenes()}
