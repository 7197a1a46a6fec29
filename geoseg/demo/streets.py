"""Streets with their surface and markings, and the cars on them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np

from geoseg.demo.plane import Frame
from geoseg.demo.region import Region, pick, vary
from geoseg.demo.things import Part, Rgb
from geoseg.demo.town import Street

__all__ = ["car", "pave"]

_PAINT: tuple[Rgb, ...] = (
    (232, 232, 230), (214, 216, 216), (60, 62, 66), (38, 40, 44), (150, 154, 158), (160, 46, 40),
    (44, 70, 120),
    (206, 178, 70), (120, 124, 126),
)  # fmt: skip


def pave(rng: np.random.Generator, streets: list[Street], region: Region) -> list[Part]:
    """Parts of all streets: surfaces first, then markings, then cars."""
    surfaces: list[Part] = []
    marks: list[Part] = []
    cars: list[Part] = []
    # Narrow ones first: the wide one is painted over the lane that meets it.
    for street in sorted(streets, key=lambda s: s.width):
        paved = rng.random() < np.clip((street.width - 2.5) / 5, 0.1, 0.95)
        surfaces += _pieces(_surface(rng, street, paved, region))
        if paved and street.width > 6:
            marks += _lines(rng, street)
        cars += _traffic(rng, street)
    return surfaces + marks + cars


def _surface(rng: np.random.Generator, street: Street, paved: bool, region: Region) -> Part:
    half = street.width / 2 * (rng.uniform(0.66, 0.85) if street.width > 6 else rng.uniform(0.8, 1.0))
    gray = float(rng.uniform(88, 134))
    if not paved:
        color = pick(rng, region.soils, 6)
    elif street.width > 6 or rng.random() < 0.5:
        color = (gray, gray, gray * 0.98)
    else:
        color = (gray + 42, gray + 38, gray + 26)
    box = (0.0, -half, street.length, half)
    salt = int(rng.integers(1 << 30))
    return Part(street.frame, box, 0.0, "asphalt" if paved else "dirt", color, salt=salt)


def _pieces(part: Part, longest: float = 30.0) -> list[Part]:
    """A long part in short ones that look the same, so that each concerns few pixels."""
    u0, v0, u1, v1 = part.box
    ends = np.linspace(u0, u1, max(2, ceil((u1 - u0) / longest) + 1)).tolist()
    return [replace(part, box=(a, v0, b, v1)) for a, b in pairwise(ends)]


def _lines(rng: np.random.Generator, street: Street) -> list[Part]:
    white = vary(rng, (196, 196, 190), 8)
    dashes = [(u, u + 3.0) for u in np.arange(2.0, street.length - 4, 9.0)]
    parts = [Part(street.frame, (a, -0.14, b, 0.14), 0.0, "plain", white) for a, b in dashes]
    if street.width > 9 and rng.random() < 0.7:
        edge = street.width * 0.33
        for v in (-edge, edge):
            line = (0.0, v - 0.12, street.length, v + 0.12)
            parts += _pieces(Part(street.frame, line, 0.0, "plain", white))
    if street.width > 7 and street.length > 60:
        # A zebra crossing: bars of half a meter across the carriageway.
        u, half = float(rng.uniform(20, street.length - 20)), street.width * 0.33
        bars = np.arange(-half, half - 0.5, 1.1)
        parts += [Part(street.frame, (u, v, u + 3.2, v + 0.55), 0.0, "plain", white) for v in bars]
    return parts


def _traffic(rng: np.random.Generator, street: Street) -> list[Part]:
    if street.width < 3.2:
        return []
    # Wide streets carry more cars a meter.
    count = int(rng.poisson(street.length * (0.012 + 0.0035 * max(0.0, street.width - 5))))
    lane = street.width / 4
    cars: list[Part] = []
    for u in rng.uniform(0, max(0.1, street.length - 9), count):
        parked = rng.random() < 0.4
        side = 1 if rng.random() < 0.5 else -1
        v = side * (street.width / 2 - 1.4 if parked else lane * rng.uniform(0.6, 1.1))
        cars.append(car(rng, street.frame, float(u), float(v)))
    return cars


def car(rng: np.random.Generator, frame: Frame, u: float, v: float) -> Part:
    """A car, or now and then a lorry, with its middle line at ``v``."""
    long, wide, high = (rng.uniform(3.7, 4.8), rng.uniform(1.6, 1.9), 1.5)
    if rng.random() < 0.14:
        long, wide, high = (rng.uniform(6.5, 11), 2.4, 3.0)
    color = vary(rng, _PAINT[int(rng.integers(len(_PAINT)))], 8)
    return Part(frame, (u, v - wide / 2, u + long, v + wide / 2), high, "plain", color, rim=0.9)
