"""A small town, a network without weights and settings: what tests of many workers have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasters import save as save_raster

from geoseg.config.run import RunSettings

SHAPE = (190, 230)
save = partial(
    save_raster,
    transform=Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000),
    tiled=True,
    blockxsize=64,
    blockysize=64,
)


def town(seed: int = 3) -> np.ndarray:
    """Houses, some of which touch, of brightness 120 to 255."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (3, *SHAPE), dtype=np.uint8)
    for _ in range(60):
        row, col = rng.integers(0, SHAPE[0] - 20), rng.integers(0, SHAPE[1] - 20)
        height, width = rng.integers(6, 20, 2)
        image[:, row : row + height, col : col + width] = rng.integers(120, 255)
    return image


def brightness(seconds: float = 0.01) -> Callable[[np.ndarray], np.ndarray]:
    """A network without weights; it is sent to other processes with its code."""

    def network(batch: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        return batch[:, :1] / 255

    return network


def settings(**given: Any) -> RunSettings:
    options = {"window": 48, "overlap": 16, "chunk": 64, "threshold": 0.3, "split": 0.2, "simplify_m": 0.4}
    return RunSettings(
        **options | {"formats": ("geojson", "fgb"), "save_prob": True, "save_mask": True} | given
    )


def results(folder: Path) -> dict[str, bytes]:
    """The result files; what is kept for another run is tested with the store."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
