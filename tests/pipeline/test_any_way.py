"""Random scenes and settings: whatever the way from pixels to footprints, they come out the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from scipy import ndimage
from shared_towns import save

import geoseg

PLACES: dict[str, Affine] = {
    "EPSG:32645": Affine.translation(350_000, 3_056_000) * Affine.rotation(31) * Affine.scale(0.5, -0.5),
    "EPSG:4326": Affine(3e-6, 0, 180 - 1e-4, 0, -3e-6, -17),  # over the antimeridian
    "EPSG:2263": Affine(1, 0, 980_000, 0, 1, 200_000),  # in feet, the first row in the south
    "EPSG:3995": Affine(0.5, 0, -20, 0, -0.5, 20),  # around the pole
}


class Contrast:
    """A network whose answer depends on the window; stops after so many windows."""

    def __init__(self, last: int | None = None) -> None:
        self.left = last

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self.left is not None:
            self.left -= len(batch)
            if self.left < 0:
                raise KeyboardInterrupt
        mean = batch[:, :1].mean(axis=(2, 3), keepdims=True)
        return ((0.9 * batch[:, :1] + 0.1 * mean) / 255).astype(np.float32)

    def fingerprint(self) -> str:
        return "contrast"


def settings(rng: np.random.Generator) -> dict[str, Any]:
    window = rng.integers(14, 48, 2)
    steps = [{"regularize": True}, {"simplify_m": 0.7}, {"min_hole_m2": 5.0, "min_area_m2": 2.0}, {}]
    return {
        "window": tuple(window.tolist()),
        "overlap": tuple((window * rng.choice([0, 0.3, 0.7])).astype(int).tolist()),
        "threshold": float(rng.choice([0.4, 0.6])),
        "connectivity": int(rng.choice([4, 8])),
        "split": [0.1, 0.4, "off"][rng.integers(3)],
        "min_confidence": float(rng.choice([0, 0.55])),
        "stretch": "off",
        **steps[rng.integers(len(steps))],
    }


@pytest.mark.parametrize(("seed", "crs"), list(enumerate(PLACES)))
def test_the_same_footprints(seed: int, crs: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(40, 110, 2)
    blurred = ndimage.gaussian_filter(rng.standard_normal(shape), rng.choice([1.5, 3]))
    image = np.clip(130 + 70 * blurred / blurred.std(), 1, 255).astype(np.uint8)[None]
    top, left = rng.integers(0, shape - 20)
    image[:, top : top + 20, left : left + 9] = 0
    scene = save(tmp_path / "scene.tif", image, crs=crs, transform=PLACES[crs], nodata=0)
    chosen = settings(rng) | {"formats": ("parquet", "geojson"), "save_prob": True, "style": False}

    def made(out: str, network: Contrast, chunk: int) -> dict[str, bytes]:
        geoseg.run(scene, network, out=tmp_path / out, chunk=chunk, **chosen)
        return {path.name: path.read_bytes() for path in (tmp_path / out).iterdir() if path.is_file()}

    whole = made("whole", Contrast(), 4000)
    assert made("chunks", Contrast(), int(rng.choice([20, 30, 50]))) == whole
    chunk = int(rng.choice([20, 40]))
    with pytest.raises(KeyboardInterrupt):
        made("stopped", Contrast(last=3), chunk)
    assert made("stopped", Contrast(), chunk) == whole
    table = gpd.read_parquet(tmp_path / "whole" / "scene.parquet").drop(columns="scene")
    assert len(table) > 3
    geoseg.vectorize(tmp_path / "whole" / "scene.prob.tif", tmp_path / "v.parquet", chunk=25)
    assert gpd.read_parquet(tmp_path / "v.parquet").drop(columns="scene").equals(table)
    memory = {key: value for key, value in chosen.items() if key not in ("formats", "save_prob", "style")}
    assert geoseg.segment(scene, Contrast(), chunk=35, **memory).drop(columns="scene").equals(table)
