"""The picture of a scene as tiles within a budget of bytes: the finest level that fits, and coarser ones."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from geoseg.errors import GeosegError
from geoseg.geo.windows import Window
from geoseg.io.pyramid import Look, has_overviews, read_shrunk, shrink
from geoseg.raster.source import RasterSource
from geoseg.typing import Array, BoolArray, Progress, no_progress

__all__ = ["TILE", "TiledPicture", "encode", "read_look", "tile_picture"]

#: Pixels of a tile's side; the viewer knows the number, too.
TILE = 512
#: Pixels of the scene that are read at once, a side.
_STEP = 2048
#: Bytes of a pixel in the file, a JPEG in letters: 0.36 to 0.53 of a dense town at 0.13 to 1 m, less of
#: fields. A level that turns out larger than that is left out again.
_BYTES_PER_PIXEL = 0.45
#: Of a JPEG. Roofs keep their edges; a higher one costs a level.
_QUALITY = 75


@dataclass(frozen=True)
class TiledPicture:
    """A picture as tiles.

    Attributes
    ----------
    tiles
        (level, column, row) -> ``data:`` address; those without a valid pixel are left out. Level k has 2^k
        pixels of the scene a pixel.
    finest
        The finest level there is.
    levels
        One more than the coarsest level, at which the scene fits into a tile.
    valid_px
        Pixels of the scene that have data, as counted at the finest level that was read.
    unreadable
        Squares of the scene that could not be read.
    """

    tiles: dict[tuple[int, int, int], str]
    finest: int
    levels: int
    valid_px: int
    unreadable: int


def tile_picture(
    source: RasterSource, look: Look, budget: int, *, progress: Progress = no_progress
) -> TiledPicture:
    """Make the tiles of a scene.

    The scene is read once, at the finest level that is expected to fit. Memory holds the picture at half that
    level, whose size follows from the budget and not from the scene.

    Parameters
    ----------
    source
        The scene.
    look
        From :func:`geoseg.io.pyramid.shown_bands`.
    budget
        Most bytes of all tiles, as they stand in the file. The coarsest level is always there.
    progress
        Told of rows of tiles, as stage ``picture``.
    """
    height, width = source.geobox.shape
    levels = max(0, (max(height, width) - 1).bit_length() - (TILE - 1).bit_length()) + 1
    finest = 0
    while finest < levels - 1 and height * width / 4**finest * 4 / 3 * _BYTES_PER_PIXEL > budget:
        finest += 1
    factor = 2**finest
    tall, wide = -(-height // factor), -(-width // factor)
    rows = -(-tall // TILE)
    shrunk = np.zeros((3, -(-tall // 2), -(-wide // 2)), np.uint8)
    shrunk_valid = np.zeros(shrunk.shape[1:], bool)
    # Dropped when they turn out too large, while the half-sized picture is kept for the coarser levels.
    finest_tiles: dict[tuple[int, int, int], str] | None = {}
    used = valid_px = unreadable = 0
    for row in range(rows):
        window = Window(row_off=row * TILE * factor, col_off=0, height=TILE * factor, width=width)
        pixels, valid, failed = read_look(source, window.clipped(height, width), factor, look)
        unreadable += failed
        valid_px += int(np.count_nonzero(valid)) * factor**2
        half, half_valid = shrink(pixels, valid, 2)
        place = slice(row * TILE // 2, row * TILE // 2 + len(half_valid))
        shrunk[:, place], shrunk_valid[place] = half, half_valid
        if finest_tiles is not None:
            for column, tile in _tiles_of_row(pixels, valid):
                finest_tiles[finest, column, row] = tile
                used += len(tile)
            # A third of its bytes is for all coarser levels.
            if used * 4 / 3 > budget and finest < levels - 1:
                finest_tiles = None
        progress("picture", row + 1, rows)
    tiles = {} if finest_tiles is None else finest_tiles
    valid_px = min(valid_px, height * width)
    kept = list(_coarser_tiles(shrunk, shrunk_valid, finest + 1, levels))
    used = sum(map(len, tiles.values()))
    # From the coarsest to finer ones, until the next would be too much.
    for level in range(levels - 1, finest, -1):
        own = {place: tile for place, tile in kept if place[0] == level}
        used += sum(map(len, own.values()))
        if finest_tiles is None and used > budget and level < levels - 1:
            break
        tiles |= own
    if not tiles:
        return TiledPicture({}, levels - 1, levels, valid_px, unreadable)
    return TiledPicture(tiles, min(place[0] for place in tiles), levels, valid_px, unreadable)


def _coarser_tiles(
    pixels: Array, valid: BoolArray, level: int, levels: int
) -> Iterator[tuple[tuple[int, int, int], str]]:
    while level < levels:
        for row in range(-(-len(valid) // TILE)):
            place = slice(row * TILE, (row + 1) * TILE)
            for column, tile in _tiles_of_row(pixels[:, place], valid[place]):
                yield (level, column, row), tile
        pixels, valid = shrink(pixels, valid, 2)
        level += 1


def _tiles_of_row(pixels: Array, valid: BoolArray) -> Iterator[tuple[int, str]]:
    """Tiles of a row of them, without empty ones, and their columns."""
    for column in range(-(-valid.shape[1] // TILE)):
        place = slice(None), slice(column * TILE, (column + 1) * TILE)
        own, own_valid = pixels[:, *place], valid[place]
        if own_valid.any():
            # All of one size: a browser would stretch those at the edge.
            pad = [(0, TILE - own_valid.shape[0]), (0, TILE - own_valid.shape[1])]
            yield column, encode(np.pad(own, [(0, 0), *pad]), np.pad(own_valid, pad), _QUALITY)


def read_look(source: RasterSource, window: Window, factor: int, look: Look) -> tuple[Array, BoolArray, int]:
    """A window, ``factor`` times smaller, as it is shown.

    Returns
    -------
    uint8 array (3, h, w), bool array (h, w), int
        Pixels, where any is valid, and how many parts of the window could not be read: they stay empty.
    """
    shape = -(-window.height // factor), -(-window.width // factor)
    pixels, valid, failed = np.zeros((3, *shape), np.uint8), np.zeros(shape, bool), 0
    for part in _parts(source, window, factor):
        try:
            own, own_valid = read_shrunk(source, part, factor, look.bands, look.limits)
        # Of a damaged file the rest is shown; the note says that something is missing.
        except (GeosegError, OSError):
            failed += 1
            continue
        top, left = (part.row_off - window.row_off) // factor, (part.col_off - window.col_off) // factor
        place = slice(top, top + own.shape[1]), slice(left, left + own.shape[2])
        pixels[:, *place], valid[place] = own, own_valid
    return pixels, valid, failed


def _parts(source: RasterSource, window: Window, factor: int) -> Iterator[Window]:
    """A window in parts that are read at once, a bounded number of pixels each."""
    # With overviews a part may stand for any number of pixels that are not read.
    step = TILE * factor if has_overviews(source, factor) else max(factor, _STEP)
    tall, wide = step, step
    if source.file_block[1] > step and not has_overviews(source, factor):
        # Stored by rows: a square would make GDAL decode whole rows for each of them.
        tall, wide = max(factor, step**2 // window.width // factor * factor), window.width
    for row in range(window.row_off, window.row_end, tall):
        for col in range(window.col_off, window.col_end, wide):
            part = Window(row_off=row, col_off=col, height=tall, width=wide)
            yield part.clipped(window.row_end, window.col_end)


def encode(pixels: Array, valid: BoolArray, quality: int) -> str:
    """A picture as a ``data:`` address: a JPEG, or a WebP where pixels without data are to be seen through.

    Parameters
    ----------
    pixels : (3, h, w) uint8
    valid : (h, w) bool
    quality
        From 1 to 95.
    """
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    buffer = io.BytesIO()
    if valid.all():
        picture.save(buffer, "JPEG", quality=quality)
        kind = "jpeg"
    else:
        picture.putalpha(Image.fromarray(valid.astype(np.uint8) * 255))
        # Of methods 0 to 6 the first: 15 times slower than JPEG as it is, and tiles at an edge are few.
        picture.save(buffer, "WEBP", quality=quality, method=0)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
