"""Colors and habits of three places, so that generated towns resemble real imagery.

The colors were measured on OpenAerialMap imagery of Banepa (Nepal), Kampala (Uganda) and Bicol
(Philippines): cluster centers of the median color of each building, and of the ground between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.demo.things import Rgb

__all__ = ["REGIONS", "Region", "pick", "vary"]


@dataclass(frozen=True)
class Region:
    """Palettes, the mix of roof materials (concrete, metal, tile), storeys and the share of trees."""

    soils: tuple[Rgb, ...]
    grasses: tuple[Rgb, ...]
    crowns: tuple[Rgb, ...]
    concrete: tuple[Rgb, ...]
    metal: tuple[Rgb, ...]
    tile: tuple[Rgb, ...]
    roofs: tuple[float, float, float]
    storeys: tuple[int, int]
    trees: float


#: Flat roofs of concrete, sheet metal (painted, rusty, bare) and tiles.
_GREY = (
    (132, 131, 126), (146, 146, 141), (120, 114, 107), (92, 94, 93), (160, 160, 155), (104, 112, 115),
    (182, 184, 180), (150, 124, 108), (138, 133, 118), (126, 126, 121), (112, 108, 104),
)  # fmt: skip
_SHEET = (
    (44, 112, 160), (40, 96, 150), (90, 128, 156), (120, 160, 180), (158, 84, 78), (176, 92, 84),
    (140, 60, 60), (128, 138, 142), (150, 156, 158), (172, 178, 180), (205, 205, 200), (226, 226, 222),
    (150, 108, 84), (128, 92, 74),
    (100, 140, 118), (112, 120, 124), (196, 200, 204),
)  # fmt: skip
_TILES = (
    (214, 132, 98),
    (200, 108, 72),
    (224, 164, 128),
    (150, 88, 68),
    (176, 98, 82),
    (122, 84, 74),
    (110, 112, 116),
)

REGIONS: dict[str, Region] = {
    "valley": Region(
        soils=((150, 141, 125), (168, 154, 133), (131, 126, 115), (116, 110, 99), (178, 168, 150)),
        grasses=((70, 82, 46), (88, 98, 56), (58, 72, 40), (100, 108, 68), (80, 104, 46)),
        crowns=((44, 58, 32), (54, 70, 38), (66, 80, 42), (80, 94, 50)),
        concrete=_GREY, metal=_SHEET, tile=_TILES, roofs=(0.62, 0.31, 0.07), storeys=(1, 5), trees=0.7,
    ),
    "laterite": Region(
        soils=((205, 158, 120), (190, 140, 100), (214, 176, 140), (170, 138, 104), (196, 150, 116)),
        grasses=((106, 116, 62), (120, 128, 70), (84, 100, 48), (134, 136, 82)),
        crowns=((52, 62, 34), (66, 80, 40), (80, 96, 46), (94, 104, 58)),
        concrete=(*_GREY, (204, 197, 178), (226, 218, 200)),
        metal=(*_SHEET[4:], (196, 112, 100), (172, 91, 83)),
        tile=_TILES, roofs=(0.12, 0.5, 0.38), storeys=(1, 2), trees=1.6,
    ),
    "coast": Region(
        soils=((172, 164, 138), (196, 184, 160), (150, 146, 116), (206, 196, 182)),
        grasses=((116, 133, 73), (98, 115, 64), (77, 105, 41), (130, 140, 84)),
        crowns=((56, 76, 34), (72, 96, 40), (90, 112, 52), (104, 122, 62)),
        concrete=_GREY, metal=(*_SHEET, (220, 223, 227), (188, 146, 142), (113, 184, 205)), tile=_TILES,
        roofs=(0.1, 0.8, 0.1), storeys=(1, 2), trees=2.2,
    ),
}  # fmt: skip


def pick(rng: np.random.Generator, colors: tuple[Rgb, ...], spread: float = 7.0) -> Rgb:
    """One of ``colors``, varied in brightness and a little in hue."""
    return vary(rng, colors[int(rng.integers(len(colors)))], spread)


def vary(rng: np.random.Generator, color: Rgb, spread: float) -> Rgb:
    """``color`` with a normal deviation common to the channels and a smaller one for each."""
    # Clipped, so that blur and noise have room below white and above black.
    common, own = rng.normal(0, spread), rng.normal(0, spread / 3, 3)
    red, green, blue = (float(np.clip(value + common + extra, 12, 245)) for value, extra in zip(color, own))
    return (red, green, blue)
