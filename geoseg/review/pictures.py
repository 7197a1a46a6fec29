"""What a page shows: tiles of an image, and of objects where they are too many to be drawn one by one."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from geoseg.errors import GeosegError, InputError
from geoseg.geo.windows import Window
from geoseg.io.pyramid import (
    SHRINK,
    Look,
    has_overviews,
    read_pyramid,
    read_shrunk,
    shown_bands,
    write_pyramid,
)
from geoseg.projects.figures import color_of, parse_color
from geoseg.raster.source import PixelSource
from geoseg.review.legend import class_legend
from geoseg.review.objects import rings_of
from geoseg.review.store import Review
from geoseg.typing import Array, IntArray

__all__ = ["TILE", "PendingError", "Pictures"]

#: Pixels of a tile's side.
TILE = 512
#: Pixels of an image that are read for one tile; beyond it a pyramid is made.
_MOST_READ = 2**24
#: Bytes of tiles that are kept.
_KEPT = 64 * 2**20
#: Objects smaller than this on a tile are a dot.
_DOT = 3.0
#: Outlines drawn on a tile; beyond it boxes.
_MOST_OUTLINES = 4000


class _Image(NamedTuple):
    """An image as its file is now: what was made of another file of that name is not of this one."""

    number: int
    version: str


def _pyramid_name(number: int, version: str) -> str:
    return f"pyramid-{number}-{version}.tif" if version else "pyramid.tif"


class PendingError(GeosegError):
    """The tile comes later: the pyramid is being made."""


class Pictures:
    """Tiles of a review's images and objects, from any thread."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._cache: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        # One large read at a time: memory is what it costs.
        self._reading = threading.Semaphore(2)
        self._looks: dict[_Image, Look] = {}
        self._stop = threading.Event()
        self._building = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._done: dict[_Image, float] = {}
        self._failures: dict[_Image, str] = {}
        self._palette: tuple[int, dict[str, Any]] = (-1, {})

    def _begin_pyramid(self, image: _Image, source: PixelSource) -> float:
        """Make the pyramid of an image in the background, once, when it is first needed; the share done.

        Raises
        ------
        InputError
            It failed; with the reason.
        """
        with self._lock:
            if image in self._failures:
                raise InputError(self._failures[image])
            if image not in self._done:
                self._done[image] = 0.0
                thread = threading.Thread(target=self._make_pyramid, args=(image, source), daemon=True)
                self._threads.append(thread)
                thread.start()
            return self._done[image]

    def _make_pyramid(self, image: _Image, source: PixelSource) -> None:
        def note(stage: str, done: float, total: float, **info: float) -> None:
            self._done[image] = min(0.99, done / total)

        try:
            # One at a time: whoever leafs through large photos would otherwise start them all.
            with self._building:
                look = self._look(image, source)
                path = self._pyramid(image)
                write_pyramid(source, path, look.bands, look.limits, progress=note, stopped=self._stop.is_set)
                for other in self._review.folder.glob(_pyramid_name(image.number, "*")):
                    if other != path:  # of the picture that was there before
                        other.unlink(missing_ok=True)
            self._done[image] = 1.0
        except (GeosegError, OSError) as error:
            self._failures[image] = str(error)

    def _pyramid(self, image: _Image) -> Path:
        return self._review.folder / _pyramid_name(image.number, image.version)

    @property
    def done(self) -> float:
        """Share of the pyramids begun that is made; 1 where none was needed yet."""
        shares = list(self._done.values())
        return min(shares, default=1.0)

    def stop(self) -> None:
        """End the work in the background."""
        self._stop.set()
        # Waited for: a pyramid that is half written when the process ends would lie there under a temporary
        # name.
        for thread in self._threads:
            thread.join()

    def levels(self, image: int) -> int:
        """How many levels an image has: at the last one it fits into a tile."""
        return max(0, (max(self._review.shape(image)) - 1).bit_length() - (TILE - 1).bit_length()) + 1

    def tile(self, image: int, level: int, col: int, row: int) -> tuple[bytes, str] | None:
        """A tile and its media type; None where there is no such tile.

        Raises
        ------
        PendingError
            It comes with the pyramid.
        SceneError, RunError
            The image can't be read, or is gone.
        """
        window = self._window(image, level, col, row)
        if window is None:
            return None
        version = self._review.target.image_version(self._review.image_name(image))
        shown = _Image(image, version)
        content = self._kept(("tile", shown, level, col, row), lambda: self._draw(shown, window, 2**level))
        return content, "image/jpeg" if content.startswith(b"\xff\xd8") else "image/png"

    def _window(self, image: int, level: int, col: int, row: int) -> Window | None:
        height, width = self._review.shape(image)
        # Before the side is known: of a level of a billion it is a number that fills memory.
        if not 0 <= level < 24:
            return None
        side = TILE << level
        if col < 0 or row < 0 or row * side >= height or col * side >= width:
            return None
        return Window(row_off=row * side, col_off=col * side, height=side, width=side).clipped(height, width)

    def _draw(self, image: _Image, window: Window, factor: int) -> bytes:
        source = self._review.target.open_image(self._review.image_name(image.number))
        path = self._pyramid(image)
        if factor >= SHRINK and path.is_file():
            pixels, valid = read_pyramid(path, window, factor)
        elif window.height * window.width <= _MOST_READ or has_overviews(source, factor):
            with self._reading:
                look = self._look(image, source)
                pixels, valid = read_shrunk(source, window, factor, look.bands, look.limits)
        else:
            done = self._begin_pyramid(image, source)
            raise PendingError(f"the overview is being made, {100 * done:.0f} % are done.")
        return _encoded(pixels, valid)

    def _look(self, image: _Image, source: PixelSource) -> Look:
        if image not in self._looks:
            self._looks[image] = shown_bands(source)
        return self._looks[image]

    def overlay(self, image: int, before: bool, level: int, col: int, row: int) -> bytes | None:
        """The objects on a tile as a PNG with a transparent ground; None where there is no such tile."""
        window = self._window(image, level, col, row)
        if window is None:
            return None
        # The revision is a part of the key: after an edit the old tile is asked for no more, and ages out.
        key = ("overlay", image, before, level, col, row, self._review.revision)
        return self._kept(key, lambda: self._draw_objects(image, before, window, 2**level))

    def _draw_objects(self, image: int, before: bool, window: Window, factor: int) -> bytes:
        box = (window.col_off, window.row_off, window.col_end, window.row_end)
        canvas = np.zeros((TILE, TILE, 4), np.uint8)
        colors = self._colors()
        large: list[tuple[IntArray, Array, Array]] = []
        for ids, classes, boxes in self._review.boxes(image, box, before=before):
            placed = (boxes - [window.col_off, window.row_off] * 2) / factor
            is_dot = np.maximum(placed[:, 2] - placed[:, 0], placed[:, 3] - placed[:, 1]) < _DOT
            rgba = np.array([(*(colors.get(name) or color_of(name)), 255) for name in classes], np.uint8)
            middle = np.floor((placed[:, :2] + placed[:, 2:]) / 2).astype(np.int64)
            inside = is_dot & (middle >= 0).all(axis=1)
            inside &= (middle[:, 1] < canvas.shape[0]) & (middle[:, 0] < canvas.shape[1])
            # All dots in one step: on the smallest level all objects of a scene are dots.
            canvas[middle[inside, 1], middle[inside, 0]] = rgba[inside]
            if not is_dot.all():
                large.append((ids[~is_dot], placed[~is_dot], rgba[~is_dot]))
        picture = Image.fromarray(canvas)
        if large:
            ids, placed, rgba = (np.concatenate(part) for part in zip(*large))
            self._draw_outlines(picture, ids, placed, rgba, window, factor)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def _draw_outlines(
        self, picture: Any, ids: IntArray, placed: Array, rgba: Array, window: Window, factor: int
    ) -> None:
        draw = ImageDraw.Draw(picture)
        if len(ids) > _MOST_OUTLINES:
            # Boxes come from the index alone; outlines of a town would take seconds a tile.
            for box, color in zip(placed.tolist(), map(tuple, rgba.tolist())):
                draw.rectangle(box, outline=color)
            return
        colors = dict(zip(ids.tolist(), map(tuple, rgba.tolist())))
        origin = np.array([window.col_off, window.row_off])
        for item in self._review.some(ids.tolist()):
            if item.kind != "polygon":
                continue
            for part in rings_of(item.shape):
                for ring in part:
                    xy = ((ring - origin) / factor).ravel().tolist()
                    draw.polygon(xy, outline=colors[item.id])

    def _colors(self) -> dict[str, Any]:
        # A list of all classes looks at every object; a page asks for dozens of tiles between two edits.
        revision = self._review.revision
        if self._palette[0] != revision:
            legend = class_legend(self._review)
            self._palette = revision, {one["name"]: parse_color(one["color"]) for one in legend}
        return self._palette[1]

    def _kept(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        # Outside the lock, or one slow tile would hold up all others. Two may make the same one, which is
        # kept once.
        content = make()
        with self._lock:
            if key not in self._cache:
                self._cache[key] = content
                self._bytes += len(content)
            while self._bytes > _KEPT:
                self._bytes -= len(self._cache.popitem(last=False)[1])
        return content


def _encoded(pixels: Any, valid: Any) -> bytes:
    """A JPEG, or a PNG where some pixels are transparent."""
    # Tiles at the edge are as large as the others: a browser would stretch them.
    pad = [(0, 0), (0, TILE - pixels.shape[1]), (0, TILE - pixels.shape[2])]
    pixels, outside = np.pad(pixels, pad), np.ones((TILE, TILE), bool)
    outside[: valid.shape[0], : valid.shape[1]] = valid
    valid = outside
    shown = pixels if len(pixels) == 3 else np.repeat(pixels[:1], 3, axis=0)
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(shown, 0, -1)))
    buffer = io.BytesIO()
    # JPEG is a fraction of a PNG's bytes, and has no transparency.
    if valid.all():
        picture.save(buffer, "JPEG", quality=88)
    else:
        picture.putalpha(Image.fromarray(valid.astype(np.uint8) * 255))
        picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
