"""The places where a network was least certain: which ones, and their pictures at full resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from affine import Affine

from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.io.pyramid import Look
from geoseg.io.vectors import VectorFile
from geoseg.raster.source import RasterSource
from geoseg.report.pages.certainty import Cells, least_certain, merged
from geoseg.report.pages.shapes import FootprintSums, outlines_in
from geoseg.report.pages.tiles import encode, read_look
from geoseg.typing import Progress, no_progress

__all__ = ["Place", "draw_places", "find_places", "to_frame"]

#: Places that are shown, and the side of their pictures in pixels of the scene.
_PLACES, _CROP = 10, 512
#: Side of the cells that they are chosen from, pixels of the scene: half a picture, so that what lies around
#: one is seen, too.
_CELL = 256


@dataclass(frozen=True)
class Place:
    """A place where the network was unsure.

    Attributes
    ----------
    box
        (left, top, right, bottom) in pixels of the scene.
    uncertain
        Share of its pixels whose probability lies between 1/4 and 3/4; where no probabilities are kept, the
        share that is expected to be wrong by the confidence of the footprints.
    """

    box: tuple[int, int, int, int]
    uncertain: float


def to_frame(grid: GeoBox, frame: GeoBox) -> Affine:
    """From pixel corners of the grid that was predicted on to those of the picture."""
    return ~frame.transform * grid.transform


def find_places(grid: GeoBox, frame: GeoBox, cells: Cells | None, sums: FootprintSums) -> list[Place]:
    """The places with most uncertain pixels, none beside another.

    Parameters
    ----------
    grid
        What was predicted on.
    frame
        Grid of the picture.
    cells
        Of ``grid``; None: they are not known, and the footprints decide.
    sums
        Of the footprints, on ``frame``.
    """
    placed = Affine.identity() if cells is None else to_frame(grid, frame)
    side = sums.side if cells is None else cells.side
    # Several cells to one as large as a picture shows, whatever the resolution that was predicted at.
    factor = max(1, math.ceil(_CELL / (side * math.sqrt(abs(placed.determinant)))))
    scores = merged(sums.doubt if cells is None else cells.uncertain, factor)
    valid = None if cells is None else merged(cells.valid, factor)
    side *= factor
    places = []
    for row, column in least_certain(scores, _PLACES):
        x, y = placed * ((column + 0.5) * side, (row + 0.5) * side)
        # A share of the pixels with data: at the edge of the imagery few of them say the same as many.
        whole = side**2 if valid is None else valid[row, column]
        places.append(Place(_crop_around(x, y, frame), min(1.0, float(scores[row, column] / whole))))
    return places


def _crop_around(x: float, y: float, frame: GeoBox) -> tuple[int, int, int, int]:
    """A box of the size of a picture around a point, moved back into the scene."""
    left = max(0, min(round(x) - _CROP // 2, frame.width - _CROP))
    top = max(0, min(round(y) - _CROP // 2, frame.height - _CROP))
    return left, top, min(left + _CROP, frame.width), min(top + _CROP, frame.height)


def draw_places(
    source: RasterSource,
    look: Look,
    vectors: VectorFile | None,
    places: Sequence[Place],
    budget: int,
    *,
    progress: Progress = no_progress,
) -> list[str]:
    """Pictures of places at full resolution, with the outlines of their footprints, as HTML.

    Parameters
    ----------
    source
        The scene.
    look
        How it is shown.
    vectors
        Its footprints.
    places
        From :func:`find_places`.
    budget
        Bytes of all pictures and outlines.
    progress
        Told of the stage ``outlines``.
    """
    boxes = [place.box for place in places]
    outlines: list[list[Any]] = [[] for _ in boxes]
    if vectors is not None and boxes:
        outlines = outlines_in(vectors, source.geobox, boxes, progress=progress)
    pictures = []
    for (left, top, right, bottom), shapes in zip(boxes, outlines, strict=True):
        window = Window(row_off=top, col_off=left, height=bottom - top, width=right - left)
        pixels, valid, _ = read_look(source, window, 1, look)
        # Each gets an equal part, half of it for the picture; noise takes more bytes than ground does.
        qualities = (encode(pixels, valid, quality) for quality in (80, 60, 40, 20, 5))
        picture = next((text for text in qualities if len(text) <= budget / len(boxes) / 2), "")
        path = ""
        for ring in shapely.get_rings(shapely.get_parts(shapes)):
            xy = (shapely.get_coordinates(ring)[:-1] - (left, top)).tolist()
            path += "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in xy) + "Z"
        if len(path) > budget / len(boxes) / 2:
            path = ""
        pictures.append(
            f'<img src="{picture}" alt=""><svg viewBox="0 0 {window.width} {window.height}">'
            f'<path d="{path}"/></svg>'
        )
    return pictures
