"""A sample, what flows through a graph: an image not read yet, what is drawn on it, and its origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import DTypeLike

from geoseg.dtl.pixels import LazyPixels, Padded, Shape, Treated, Treatment, check_window
from geoseg.dtl.warp import Warped
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.geo.windows import Window
from geoseg.projects.figures import Annotation, Figure, LabeledObject, Tag
from geoseg.projects.figures.transform import (
    affine_figure,
    clip_figure,
    mirror_figure,
    moved_figure,
    scale_figure,
    transpose_figure,
)
from geoseg.raster.draw import draw_figures
from geoseg.typing import Array

__all__ = ["Listing", "Origin", "Sample", "crop_annotation"]

# Beyond, one byte a pixel is four gigabytes: a graph with a slip in a size, not a picture.
_MOST_PIXELS = 2**32


class Listing:
    """The names of all images of a run, without extension, in its order."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = tuple(names)
        self._ranks: dict[tuple[str, str], np.ndarray] = {}

    def rank(self, order: int, bounds: tuple[str, str]) -> int:
        """How many images before image ``order`` have a name from ``bounds[0]`` to ``bounds[1]``."""
        if bounds not in self._ranks:
            inside = [bounds[0] <= name <= bounds[1] for name in self.names]
            # Counted once for all images: each of them asks for its own rank.
            self._ranks[bounds] = np.cumsum([0, *inside])
        return int(self._ranks[bounds][order])


@dataclass(frozen=True)
class Origin:
    """The image a sample was made of.

    Attributes
    ----------
    project, dataset, name
        Where it lies; ``name`` has its extension.
    key
        Hash of the seed and the image, the same for all samples made of it, in every epoch.
    order
        Position among all images of the run.
    listing
        Names of all these images.
    root
        Folder of the projects; other files that a graph names lie in it.
    """

    project: str
    dataset: str
    name: str
    key: bytes = b""
    order: int = 0
    listing: Listing = field(default_factory=Listing, compare=False, repr=False)
    root: Path = Path()

    @property
    def stem(self) -> str:
        """File name without extension."""
        return self.name.rpartition(".")[0] or self.name


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its annotation on the way through a graph. A value: every change makes a new one.

    Attributes
    ----------
    pixels
        The image, lazy.
    annotation
        Objects and tags; its size is the image's.
    origin
        Where it came from.
    dataset
        Data set of the result project it goes to.
    key
        Hash of the seed, the image and the path through the graph so far.
    drawn_shape
        (height, width) of the frame the objects are drawn in, where ``resize_annotation`` changed it.
    repaired
        Polygons that crossed themselves in the file.
    """

    pixels: LazyPixels
    annotation: Annotation
    origin: Origin
    dataset: str
    key: bytes = b""
    drawn_shape: Shape | None = None
    repaired: int = 0

    @property
    def shape(self) -> Shape:
        """(height, width) of the image."""
        return self.pixels.shape

    @property
    def objects(self) -> tuple[LabeledObject, ...]:
        """Objects in z-order."""
        return self.annotation.objects

    @property
    def geobox(self) -> GeoBox:
        """Where the image lies on the ground."""
        return self.pixels.geobox

    @property
    def canvas(self) -> Shape:
        """(height, width) that holds all objects: the image's, and that of the frame they are drawn in."""
        (height, width), drawn = self.shape, self.drawn_shape or self.shape
        return max(height, drawn[0]), max(width, drawn[1])

    def check_frame(self) -> None:
        """Refuse objects that ``resize_annotation`` scaled: they can't move with the pixels.

        Raises
        ------
        InputError
            They are drawn in another frame than the image's.
        """
        if self.drawn_shape not in (None, self.shape):
            raise InputError(
                "objects must be in the frame of their image here, got those that resize_annotation scaled. "
                "Put restore_annotation_scale before this layer."
            )

    def target(self, values: Mapping[str, int], *, fill: int = 0, dtype: DTypeLike = np.uint8) -> Array:
        """The annotation as a raster: each object writes its class's value, later ones on top.

        Parameters
        ----------
        values
            Value of each class; objects of other classes are left out.
        fill
            Value where nothing is drawn.

        Returns
        -------
        (height, width) array
        """
        # Objects of other classes do not cover either: what lies under them keeps its value.
        kept = [item for item in self.objects if item.class_name in values]
        figures, drawn = [item.figure for item in kept], [values[item.class_name] for item in kept]
        return draw_figures(figures, drawn, Window.whole(self.shape), dtype=dtype, fill=fill)

    def with_objects(self, objects: Iterable[LabeledObject]) -> Sample:
        """With other objects."""
        return replace(self, annotation=replace(self.annotation, objects=tuple(objects)))

    def with_tags(self, tags: Iterable[Tag]) -> Sample:
        """With other tags."""
        return replace(self, annotation=replace(self.annotation, tags=tuple(tags)))

    def _moved(self, pixels: LazyPixels, move: Callable[[Figure], Figure | None]) -> Sample:
        """Other pixels, and each figure moved with them; a figure moved to None is dropped."""
        self.check_frame()
        objects = []
        for item in self.objects:
            figure = move(item.figure)
            if figure is not None:
                objects.append(item.with_figure(figure))
        height, width = pixels.shape
        annotation = replace(self.annotation, height=height, width=width, objects=tuple(objects))
        return replace(self, pixels=pixels, annotation=annotation)

    def cropped(self, window: Window) -> Sample:
        """A part of the image.

        Raises
        ------
        InputError
            The window reaches out of the image, or is empty.
        """
        check_window(window, self.shape)
        self.check_frame()
        return replace(
            self, pixels=self.pixels.cropped(window), annotation=crop_annotation(self.annotation, window)
        )

    def mirrored(self, axis: int) -> Sample:
        """Mirrored along x (0: left-right) or y (1: up-down)."""
        size = self.shape[1 - axis]
        return self._moved(self.pixels.mirrored(axis), lambda figure: mirror_figure(figure, size, axis))

    def transposed(self) -> Sample:
        """With x and y exchanged."""
        return self._moved(self.pixels.transposed(), transpose_figure)

    def turned(self, quarters: int) -> Sample:
        """Turned counter-clockwise by right angles, exactly."""
        # Mirrors and exchanges of axes only, so a right angle moves pixels and samples none.
        if quarters % 4 == 2:
            return self.mirrored(0).mirrored(1)
        if quarters % 4 == 1:
            return self.transposed().mirrored(1)
        return self.transposed().mirrored(0) if quarters % 4 == 3 else self

    def resized(self, shape: Shape) -> Sample:
        """On another number of pixels.

        Raises
        ------
        InputError
            There would be more than 2 to the power of 32, for which no memory would do.
        """
        before = self.shape
        if shape == before:
            return self
        if shape[0] * shape[1] > max(_MOST_PIXELS, before[0] * before[1]):
            raise InputError(
                f"size must be at most {_MOST_PIXELS} pixels, got {shape[1]} x {shape[0]} for "
                f"{self.origin.name}. Choose a smaller one."
            )
        return self._moved(self.pixels.resized(shape), lambda figure: scale_figure(figure, before, shape))

    def padded(self, shape: Shape, offset: tuple[int, int]) -> Sample:
        """On a larger canvas, black around it; ``offset`` is row and column on it."""
        row, col = offset
        return self._moved(Padded(self.pixels, shape, offset), lambda figure: moved_figure(figure, col, row))

    def warped(self, shape: Shape, to_base: Affine) -> Sample:
        """Under an affine map, given from the result's pixel corners to this image's; cut at its edges."""
        # Pixels ask where they come from, vertices where they go: the map is needed both ways.
        forward = ~to_base
        moved = self._moved(
            Warped(self.pixels, shape, to_base), lambda figure: affine_figure(figure, forward, shape)
        )
        return replace(moved, annotation=crop_annotation(moved.annotation, Window.whole(shape)))

    def treated(self, treat: Treatment, halo: int = 0) -> Sample:
        """With other values at the same places."""
        return replace(self, pixels=Treated(self.pixels, treat, halo))


def crop_annotation(annotation: Annotation, window: Window, *, shift: bool = True) -> Annotation:
    """The objects of a window: cut at its edges and, unless told otherwise, moved into its coordinates.

    Only objects that touch the window are looked at one by one.
    """
    bounds = annotation.bounds
    left, top = window.col_off, window.row_off
    right, bottom = window.col_end - 1, window.row_end - 1
    # A scene may have 100,000 objects and a window a dozen: boxes of all at once, then single figures. Half a
    # pixel, since vertices stand for centers of pixels.
    near = (bounds[:, 2] >= left - 0.5) & (bounds[:, 0] < right + 0.5)
    near &= (bounds[:, 3] >= top - 0.5) & (bounds[:, 1] < bottom + 0.5)
    objects = []
    still = not shift or not (left or top)
    for index in np.flatnonzero(near):
        item = annotation.objects[index]
        for piece in clip_figure(item.figure, window):
            objects.append(item.with_figure(piece if still else moved_figure(piece, -left, -top)))
    if not shift:
        return replace(annotation, objects=tuple(objects))
    return replace(annotation, height=window.height, width=window.width, objects=tuple(objects))
