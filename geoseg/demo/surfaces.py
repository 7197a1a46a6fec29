"""How roofs, streets and small things look: colors of pixels from their place on a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoseg.demo.things import Part, Sun
from geoseg.typing import Array, FloatArray

__all__ = ["Spot", "shade"]

#: Random numbers that belong to a roof or a sheet of it by number: the same in whatever window it is painted.
_PANELS: FloatArray = np.random.default_rng(7).standard_normal(1024).astype(np.float32)
_RUST = np.array([118.0, 78.0, 54.0], dtype=np.float32)[:, None]


@dataclass(frozen=True)
class Spot:
    """The pixels of a part: place in its box (meters from its corner) and noise, each (n,)."""

    u: Array
    v: Array
    middle: FloatArray
    fine: FloatArray
    grit: FloatArray


def shade(part: Part, spot: Spot, sun: Sun) -> FloatArray:
    """Colors (3, n) of the pixels of ``part``, before shadows fall on it."""
    return _SURFACES[part.surface](part, spot, sun).astype(np.float32)


def _base(part: Part) -> FloatArray:
    return np.array(part.color, dtype=np.float32)[:, None]


def _concrete(part: Part, spot: Spot, sun: Sun) -> Array:
    light = 1 + 0.05 * spot.middle + 0.07 * spot.fine + 0.09 * spot.grit
    stain = np.clip(spot.fine - 0.7 - _panel(part, 1), 0, 1.2)
    light = light - 0.16 * stain
    edge = _rim(part, spot, sun) if part.rim else 0.0
    return _base(part) * (light + edge)


def _rim(part: Part, spot: Spot, sun: Sun) -> Array:
    """A parapet: a light top and, behind it, the shadow it throws on the roof."""
    w, d = part.box[2] - part.box[0], part.box[3] - part.box[1]
    su, sv = part.frame.turn(sun.dx, sun.dy)
    # Distance from the nearest edge of the roof.
    near = np.minimum(np.minimum(spot.u, w - spot.u), np.minimum(spot.v, d - spot.v))
    top = near < part.rim
    from_u = spot.u if su > 0 else w - spot.u
    from_v = spot.v if sv > 0 else d - spot.v
    reach = 0.9 * sun.reach
    dark = (from_u < part.rim + abs(su) * reach) | (from_v < part.rim + abs(sv) * reach)
    return np.where(top, 0.16 + 0.12 * _panel(part, 2), np.where(dark, -0.38, 0.0))


def _panel(part: Part, number: int) -> float:
    return float(_PANELS[(part.salt + 131 * number) % 1024])


def _pitch(part: Part, spot: Spot, sun: Sun) -> tuple[Array, Array]:
    """Brightness of the facet under each pixel, and the distance along its fall line."""
    w, d = part.box[2] - part.box[0], part.box[3] - part.box[1]
    su, sv = part.frame.turn(sun.dx, sun.dy)
    # A facet is lighter by the slope times the sun's slant where it falls toward the sun, darker where away.
    tilt = part.slope * sun.reach
    if part.ridge == "shed":
        return np.full(spot.u.shape, 1 + tilt * sv * (1 if part.salt % 2 else -1)), spot.v
    over_u, over_v = w / 2 - np.abs(spot.u - w / 2), d / 2 - np.abs(spot.v - d / 2)
    facet_u = np.where(spot.u < w / 2, -su, su) * -tilt
    facet_v = np.where(spot.v < d / 2, -sv, sv) * -tilt
    if part.ridge == "u":
        return 1 - facet_v, over_v
    if part.ridge == "v":
        return 1 - facet_u, over_u
    ends = over_u < over_v
    return 1 - np.where(ends, facet_u, facet_v), np.where(ends, over_u, over_v)


def _metal(part: Part, spot: Spot, sun: Sun) -> Array:
    """Corrugated sheets: seams along the fall line, sheets of uneven age, rust."""
    light, fall = _pitch(part, spot, sun)
    across = spot.u if part.ridge in ("u", "shed", "hip") else spot.v
    sheet = np.floor(across / 0.9).astype(np.int64)
    course = np.floor(fall / 2.6).astype(np.int64)
    age = _PANELS[(sheet * 37 + course * 101 + part.salt) % 1024]
    seam = np.where((across / 0.9) % 1.0 < 0.34, -0.055, 0.02)
    worn = 0.02 + 0.07 * abs(_panel(part, 3))
    light = light + seam + worn * age + 0.035 * spot.fine + 0.05 * spot.grit + 0.03 * spot.middle
    rust = np.clip(0.7 * spot.fine + 0.5 * spot.middle + 0.6 * _panel(part, 4) - 0.9, 0, 0.6)
    rust *= max(0.0, _panel(part, 5))
    return (_base(part) * (1 - rust) + _RUST * rust) * light


def _tile(part: Part, spot: Spot, sun: Sun) -> Array:
    """Tiles: courses across the fall line, light ridges."""
    light, fall = _pitch(part, spot, sun)
    course = np.where((fall / 0.7) % 1.0 < 0.4, -0.05, 0.025)
    depth = min(part.box[2] - part.box[0], part.box[3] - part.box[1]) / 2
    ridge = np.where(np.abs(fall - depth) < 0.25, 0.1, 0.0)
    return _base(part) * (light + course + ridge + 0.05 * spot.fine + 0.07 * spot.grit + 0.04 * spot.middle)


def _plain(part: Part, spot: Spot, sun: Sun) -> Array:
    color = _base(part) * (1 + 0.06 * spot.grit)
    # Of plain things only cars have a rim: it marks the glass.
    if part.rim <= 0:
        return color
    along = spot.u / (part.box[2] - part.box[0])
    glass = ((along > 0.2) & (along < 0.34)) | ((along > 0.78) & (along < 0.88))
    return np.where(glass, color * 0.35 + 8, color)


def _asphalt(part: Part, spot: Spot, sun: Sun) -> Array:
    half = (part.box[3] - part.box[1]) / 2
    # Wheels polish two tracks; dust lies along the edges.
    tracks = np.abs(np.abs(spot.v - half) - half / 2) / max(half, 0.1)
    edge = np.clip(1 - (half - np.abs(spot.v - half)) / 0.8 + 0.5 * spot.fine, 0, 1)
    light = 1 + 0.04 * spot.middle + 0.045 * spot.fine + 0.03 * spot.grit + 0.07 * (tracks - 0.25)
    dust = np.array([150.0, 138.0, 118.0])[:, None]
    return _base(part) * light * (1 - 0.6 * edge) + dust * 0.6 * edge


def _dirt(part: Part, spot: Spot, sun: Sun) -> Array:
    return _base(part) * (1 + 0.06 * spot.middle + 0.07 * spot.fine + 0.06 * spot.grit)


_SURFACES: dict[str, Callable[[Part, Spot, Sun], Array]] = {
    "concrete": _concrete,
    "metal": _metal,
    "tile": _tile,
    "plain": _plain,
    "asphalt": _asphalt,
    "dirt": _dirt,
}
