"""Footprints over their scene: the whole of it, and beside it a detail with crisp outlines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from PIL import Image, ImageDraw

from geoseg.errors import InputError
from geoseg.files import Staged
from geoseg.geo.windows import Window
from geoseg.io.preview import preview_shape, read_preview
from geoseg.io.sources import open_raster
from geoseg.io.vectors import VectorFile, beside_scene, check_crs_pair, open_vector, pixel_transform
from geoseg.raster.source import RasterSource
from geoseg.report.drawing import Ink, draw_scale_bar, draw_text, to_rgb
from geoseg.typing import Array, PathLike

__all__ = ["PictureSummary", "footprint_picture"]

_WHOLE_COLOR = (255, 176, 0)
_DETAIL_COLOR = (255, 214, 10)
_TEXT = (40, 44, 52)
#: Pixels around the panels, between them, and below them for the caption.
_MARGIN, _GAP, _CAPTION = 12, 16, 34


@dataclass(frozen=True)
class PictureSummary:
    """What was drawn.

    Attributes
    ----------
    path
        The picture.
    width, height
        Its size in pixels.
    footprints
        Footprints in the file.
    detail
        The window of the scene that the detail shows.
    """

    path: str
    width: int
    height: int
    footprints: int
    detail: Window


def footprint_picture(
    scene: PathLike,
    footprints: PathLike,
    out: PathLike,
    *,
    height: int = 720,
    detail_px: int | None = None,
    center: tuple[float, float] | None = None,
    title: str | None = None,
    colors: int | None = None,
) -> PictureSummary:
    """Draw footprints over their scene, whole and in detail.

    Memory depends on the picture, not on the scene or the number of footprints: the scene is read
    shrunk, from its overviews where it has some, and the footprints in batches.

    Parameters
    ----------
    scene
        Any raster that geoseg reads.
    footprints
        Any vector file that geoseg writes, in any CRS.
    out
        PNG (or another format that Pillow writes, by its suffix); appears when it is complete.
    height
        Of both panels, in pixels.
    detail_px
        Side of the detail in pixels of the scene; None: about 150 m, or a tenth of a scene without CRS.
    center
        Middle of the detail as (column, row) of the scene; None: where footprints are many.
    title
        Caption; None: the scene's name and size, and the number of footprints.
    colors
        Reduce the picture to so many colors (at most 256), for a small file.

    Raises
    ------
    InputError
        A scene or footprints that can't be read, or that lie in unlike coordinates.
    RunError
        Writing failed, for example on a full disk.
    """
    source = open_raster(scene)
    polygons = open_vector(footprints)
    # Everything is drawn in pixels of the scene, whatever the CRS of the footprints.
    check_crs_pair(polygons, source.crs, source.name)
    move = pixel_transform(polygons.crs, source.geobox)

    def place(points: Array) -> Array:
        return np.stack(move(points[:, 0], points[:, 1]), axis=1)

    side = _detail_side(source, detail_px)
    # One pass draws the whole and counts where footprints are many, so the detail needs no pass of its own
    # for it.
    whole, counts = _whole_panel(source, polygons, place, height, side)
    spot = center if center is not None else _busiest(counts, source, side)
    # Moved inside where the spot lies near an edge of the scene.
    window = Window(
        row_off=int(np.clip(spot[1] - side / 2, 0, source.height - side)),
        col_off=int(np.clip(spot[0] - side / 2, 0, source.width - side)),
        height=side,
        width=side,
    )
    detail = _detail_panel(source, polygons, place, window, height)
    size = f"{source.width:,} x {source.height:,} pixels"
    caption = title or f"{source.name}: {size}, {polygons.count:,} footprints"
    picture = _compose(source, whole, detail, window, caption)
    if colors is not None:
        # Without dithering, whose noise compresses badly.
        picture = picture.quantize(min(colors, 256), dither=Image.Dither.NONE)
    path = Path(out)
    if path.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"out must end in .png, .jpg or another picture's suffix, got {path}.")
    with Staged.file(path) as staged:
        picture.save(staged.path, optimize=True)
    return PictureSummary(str(out), picture.width, picture.height, polygons.count, window)


def _shapes(scene: RasterSource, polygons: VectorFile, place: Callable[[Array], Array]) -> Iterator[Array]:
    """Batches of footprints in pixel coordinates of the scene."""
    for batch in polygons.batches(size=8192):
        known = batch.geometry[~shapely.is_missing(batch.geometry)]
        if len(known):
            flat = beside_scene(shapely.force_2d(known), polygons.crs, scene.geobox)
            yield np.asarray(shapely.transform(flat, place), dtype=object).reshape(-1)


def _detail_side(scene: RasterSource, detail_px: int | None) -> int:
    shortest = min(scene.height, scene.width)
    if detail_px is not None:
        return max(1, min(detail_px, shortest))
    step = scene.geobox.ground_resolution()
    # 150 m: a few streets with their houses, each large enough to judge its outline.
    wanted = max(shortest / 10, 64) if step is None else 150 / max(step)
    return max(1, min(round(wanted), shortest))


def _whole_panel(
    scene: RasterSource, polygons: VectorFile, place: Callable[[Array], Array], height: int, side: int
) -> tuple[Array, Array]:
    """The scene with all footprints, and how many of them lie in each cell of half a detail."""
    # A long strip would otherwise be as wide as its length allows.
    scale = min(height / scene.height, 1.6 * height / scene.width)
    shape = (max(1, round(scene.height * scale)), max(1, round(scene.width * scale)))
    # Twice as large as shown, so that shrinking can smooth.
    longest = min(2 * max(shape), max(scene.height, scene.width))
    values, valid = read_preview(scene, max(longest, *preview_shape(*shape, max(shape))))
    whole = Image.fromarray(to_rgb(values, valid))
    picture = np.asarray(whole.resize((shape[1], shape[0]), Image.Resampling.LANCZOS))
    cell = max(1, side // 2)
    counts = np.zeros((-(-scene.height // cell), -(-scene.width // cell)), dtype=np.int64)
    # Thin: on the whole scene houses are a few pixels.
    ink = Ink(*shape, line=0.4)
    for shapes in _shapes(scene, polygons, place):
        points = shapely.get_coordinates(shapely.centroid(shapes))
        rows = np.clip(points[:, 1] // cell, 0, counts.shape[0] - 1).astype(int)
        cols = np.clip(points[:, 0] // cell, 0, counts.shape[1] - 1).astype(int)
        np.add.at(counts, (rows, cols), 1)
        ink.draw(shapely.transform(shapes, lambda xy: xy * scale))
    return ink.blend(picture, _WHOLE_COLOR, area=0.62, line=0.62), counts


def _busiest(counts: Array, scene: RasterSource, side: int) -> tuple[float, float]:
    """Middle (column, row) of the square of 2 x 2 cells that holds most footprints."""
    # Cells are half a detail, and any 2 x 2 of them are one: a cluster on the border of two cells is found,
    # too.
    padded = np.pad(counts, ((0, 1), (0, 1)))
    sums = padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]
    if not sums.any():
        return scene.width / 2, scene.height / 2
    row, col = np.unravel_index(int(sums.argmax()), sums.shape)
    cell = max(1, side // 2)
    return (float(col) + 1) * cell, (float(row) + 1) * cell


def _detail_panel(
    scene: RasterSource, polygons: VectorFile, place: Callable[[Array], Array], window: Window, height: int
) -> Array:
    values, valid = scene.read_with_valid(window)
    # Enlarged, Lanczos would ring along roofs; shrunk, it keeps them crisp.
    kind = Image.Resampling.BICUBIC if height > window.height else Image.Resampling.LANCZOS
    picture = np.asarray(Image.fromarray(to_rgb(values, valid)).resize((height, height), kind))
    ink = Ink(height, height, line=1.7)
    scale = height / window.height
    offset = np.array([window.col_off, window.row_off])
    frame = (window.col_off, window.row_off, window.col_end, window.row_end)
    for shapes in _shapes(scene, polygons, place):
        # By boxes: of a million footprints a few hundred lie in the detail.
        near = shapes[shapely.intersects(shapely.box(*frame), shapely.envelope(shapes))]
        ink.draw(shapely.transform(near, lambda xy: (xy - offset) * scale))
    return ink.blend(picture, _DETAIL_COLOR, area=0.1, line=1.0)


def _compose(scene: RasterSource, whole: Array, detail: Array, window: Window, caption: str) -> Image.Image:
    height = max(len(whole), len(detail))
    left, right = _MARGIN, _MARGIN + whole.shape[1] + _GAP
    size = (right + detail.shape[1] + _MARGIN, height + _MARGIN + _CAPTION)
    page = Image.new("RGB", size, (255, 255, 255))
    top = _MARGIN + (height - len(whole)) // 2
    page.paste(Image.fromarray(whole), (left, top))
    page.paste(Image.fromarray(detail), (right, _MARGIN))
    pen = ImageDraw.Draw(page)
    scale = whole.shape[1] / scene.width
    box = (
        left + window.col_off * scale - 1, top + window.row_off * scale - 1,
        left + window.col_end * scale + 1, top + window.row_end * scale + 1,
    )  # fmt: skip
    for end, corner in ((_MARGIN, (box[2], box[1])), (_MARGIN + len(detail), (box[2], box[3]))):
        # A dark line under a light one is seen on any ground.
        pen.line([corner, (right, end)], fill=(120, 124, 130), width=3)
        pen.line([corner, (right, end)], fill=(255, 255, 255), width=1)
    pen.rectangle(box, outline=(0, 0, 0), width=4)
    pen.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=(255, 255, 255), width=2)
    frame = (right, _MARGIN, right + detail.shape[1] - 1, _MARGIN + len(detail) - 1)
    pen.rectangle(frame, outline=(255, 255, 255), width=2)
    if (step := scene.geobox.ground_resolution()) is not None:
        for panel, pixels, x, y in (
            (whole, scene.width, left, top + len(whole)),
            (detail, window.width, right, _MARGIN + len(detail)),
        ):
            # A quarter of its panel at most: a longer bar would hide what it measures.
            width = panel.shape[1]
            draw_scale_bar(pen, (x + 14, y - 14), step[0] * pixels / width, width / 4)
    draw_text(pen, (left, size[1] - 11), caption, size=16, fill=_TEXT, anchor="ls")
    return page
