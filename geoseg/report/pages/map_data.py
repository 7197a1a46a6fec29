"""What the script of a report's map asks for: the page as JSON, and blocks of tiles, shapes and overlays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from geoseg.geo.geobox import GeoBox
from geoseg.report.pages.certainty import Cells
from geoseg.report.pages.document import Block, overlay_image
from geoseg.report.pages.places import Place, to_frame
from geoseg.report.pages.shapes import FootprintSums, PackedShapes
from geoseg.report.pages.tiles import TILE, TiledPicture

__all__ = ["COLORS", "map_data", "region_box"]

#: From unsure to sure; told apart by those who don't see red or green, too.
COLORS = ("#d7301f", "#fc8d59", "#f2c14e", "#67a9cf", "#1f6fb5")
#: Regions that could not be read, on the map; the list beside the result has all.
_MOST_REGIONS = 2000
#: What stands in a footprint's box.
_WORDS = {"footprint": "footprint", "confidence": "confidence", "link": "its report"}


def region_box(region: dict[str, Any], grid: GeoBox, frame: GeoBox) -> list[float]:
    """(left, top, right, bottom) of a region of the grid that was predicted on, in pixels of the picture."""
    place = to_frame(grid, frame)
    left, top = place * (region["col_off"], region["row_off"])
    right, bottom = place * (region["col_off"] + region["width"], region["row_off"] + region["height"])
    return [round(value, 1) for value in (left, top, right, bottom)]


def map_data(
    grid: GeoBox,
    frame: GeoBox,
    picture: TiledPicture | None,
    packed: PackedShapes,
    sums: FootprintSums,
    cells: Cells | None,
    regions: Sequence[tuple[list[float], str]],
    places: Sequence[Place],
    unit: str,
) -> tuple[dict[str, Any], list[Block]]:
    """The page and its blocks.

    Parameters
    ----------
    grid, frame
        What was predicted on, and the grid of the picture.
    picture
        None: there is none.
    packed, sums
        Shapes and numbers of the footprints.
    cells
        Where the network saw nothing; None: not known.
    regions
        Boxes that could not be read, and why.
    places
        Least certain first.
    unit
        Of areas.
    """
    # As many levels as halve the scene into one tile.
    levels = max(1, (max(frame.shape) - 1).bit_length() - (TILE - 1).bit_length() + 1)
    finest = 0 if picture is None else picture.finest
    shapes = packed.text()
    page: dict[str, Any] = {
        "width": frame.width,
        "height": frame.height,
        "levels": levels,
        "finest": finest,
        "nearest": 2**finest / 16,
        "hasPicture": picture is not None and bool(picture.tiles),
        "step": packed.step,
        "classes": list(packed.classes),
        "colors": COLORS,
        "unit": unit,
        "words": _WORDS,
        "failures": [{"box": box, "text": text} for box, text in regions[:_MOST_REGIONS]],
        "places": [
            {"box": place.box, "kind": "place", "text": f"{100 * place.uncertain:.0f} % uncertain"}
            for place in places
        ],
    }
    blocks: list[Block] = []
    if picture is not None:
        blocks += [(f"tile-{z}-{x}-{y}", text) for (z, x, y), text in picture.tiles.items()]
    if sums.count and shapes is not None:
        blocks.append(("shapes", shapes))
    elif sums.count:
        share = np.clip(sums.covered / sums.side**2, 0, 1)
        # The square root, or a village would not be seen beside a town.
        steps = np.ceil(np.sqrt(share) * 9).astype(np.uint8)
        rows, columns = share.shape
        # In place of the shapes: a browser draws a hundred thousand of them, not a million.
        page["density"] = [0, 0, columns * sums.side, rows * sums.side]
        image = overlay_image(steps, (240, 110, 20), [0, *range(70, 241, 21)])
        blocks.append(("density", image))
    if cells is not None and (empty := _share_without(cells, grid)).any():
        rows, columns = empty.shape
        whole = {"row_off": 0, "col_off": 0, "height": rows * cells.side, "width": columns * cells.side}
        page["gaps"] = region_box(whole, grid, frame)
        steps = np.rint(4 * empty).astype(np.uint8)
        blocks.append(("gaps", overlay_image(steps, (20, 20, 30), [0, 60, 110, 150, 190])))
    return page, blocks


def _share_without(cells: Cells, grid: GeoBox) -> Any:
    """Share of each cell without data, (rows, columns)."""
    rows, columns = (
        np.minimum(np.arange(count) * cells.side + cells.side, length) - np.arange(count) * cells.side
        for count, length in zip(cells.valid.shape, grid.shape, strict=True)
    )
    return 1 - cells.valid / np.outer(rows, columns)
