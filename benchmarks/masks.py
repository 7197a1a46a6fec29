"""Building masks as a network would give them: known houses, then blurred, noisy edges and specks."""

from __future__ import annotations

import math

import numpy as np
import shapely
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter

__all__ = ["building_mask", "degrade", "houses", "road_mask"]

#: Right-angled ground plans on the unit square: weight, stretch, shell, hole.
_PLANS = (
    (0.50, 1.0, ((0, 0), (1, 0), (1, 1), (0, 1)), ()),
    (0.25, 1.0, ((0, 0), (1, 0), (1, 0.5), (0.5, 0.5), (0.5, 1), (0, 1)), ()),
    (0.12, 1.2, ((0, 0), (1, 0), (1, 0.4), (0.7, 0.4), (0.7, 1), (0.3, 1), (0.3, 0.4), (0, 0.4)), ()),
    (0.08, 1.4, ((0, 0), (1, 0), (1, 1), (0.65, 1), (0.65, 0.4), (0.35, 0.4), (0.35, 1), (0, 1)), ()),
    (0.05, 2.2, ((0, 0), (1, 0), (1, 1), (0, 1)), ((0.25, 0.25), (0.25, 0.75), (0.75, 0.75), (0.75, 0.25))),
)
_HALO = 16


def houses(size: int, per_mpx: float = 45.0, seed: int = 0) -> list[shapely.Polygon]:
    """Houses on a jittered grid whose blocks share a direction; some in pairs that touch or overlap.

    Parameters
    ----------
    size
        Side of the scene, pixels.
    per_mpx
        Houses a megapixel.
    seed
        Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    pitch = 1000 / math.sqrt(per_mpx)
    cells = math.ceil(size / pitch)
    block_angle = rng.uniform(0, math.pi / 2, (cells // 8 + 1, cells // 8 + 1))
    weights = np.array([plan[0] for plan in _PLANS])
    found = []
    for row in range(cells):
        for col in range(cells):
            for _ in range(2 if rng.random() < 0.12 else 1):
                plan = _PLANS[rng.choice(len(_PLANS), p=weights)]
                center = (np.array([col, row]) + rng.uniform(0.25, 0.75, 2)) * pitch
                angle = block_angle[row // 8, col // 8] + rng.normal(0, 0.05)
                found.append(_house(plan, center, angle, rng.uniform([24, 20], [60, 45])))
    return found


def _house(plan: tuple, center: np.ndarray, angle: float, sides: np.ndarray) -> shapely.Polygon:
    _, stretch, shell, hole = plan
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])

    def place(ring: tuple) -> np.ndarray:
        return (np.array(ring) - 0.5) * sides * stretch @ turn + center

    return shapely.Polygon(place(shell), [place(hole)] if hole else [])


def degrade(mask: np.ndarray, rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Blurred edges that wobble, and a few specks: uint8 of the same shape."""
    prob = gaussian_filter(mask.astype(np.float32), 1.6, truncate=3)
    prob += 0.55 * noise[: mask.shape[0], : mask.shape[1]] * prob * (1 - prob)
    out = (prob > 0.5).astype(np.uint8)
    specks = rng.integers(0, mask.size, mask.size // 50_000)
    out.flat[specks] ^= 1
    return out


def building_mask(size: int, per_mpx: float = 45.0, seed: int = 0, tile: int = 2048) -> np.ndarray:
    """A suburb of about ``per_mpx`` houses a megapixel: (size, size) uint8, 0 or 1."""
    clean = rasterize(houses(size, per_mpx, seed), out_shape=(size, size), dtype="uint8")
    rng = np.random.default_rng(seed + 1)
    noise = gaussian_filter(rng.standard_normal((tile + 2 * _HALO,) * 2, dtype=np.float32), 1)
    noise /= noise.std()
    out = np.empty_like(clean)
    for y in range(0, size, tile):
        for x in range(0, size, tile):
            top, left = max(0, y - _HALO), max(0, x - _HALO)
            rough = degrade(clean[top : y + tile + _HALO, left : x + tile + _HALO], rng, noise)
            out[y : y + tile, x : x + tile] = rough[y - top :, x - left :][:tile, :tile]
    return out


def road_mask(size: int, pitch: int = 700, width: int = 14, seed: int = 0) -> np.ndarray:
    """Nets of winding roads: few objects that span the scene and have very many holes."""
    rng = np.random.default_rng(seed)
    roads = []
    along = np.linspace(0, size, 65)
    for k in range(size // pitch + 1):
        across = k * pitch + rng.uniform(-100, 100) + np.cumsum(rng.normal(0, 12, along.size))
        line = np.stack([along, across], axis=1)
        roads += [shapely.LineString(line), shapely.LineString(line[:, ::-1])]
    return rasterize(shapely.buffer(roads, width / 2), out_shape=(size, size), dtype="uint8")
