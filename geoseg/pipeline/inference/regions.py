"""Where on an image the network looks: regions, and the windows that cover each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.geo.windows import Grid, Window
from geoseg.pipeline.inference.settings import Boxes, Mode, Roi, Selection, SlidingWindow
from geoseg.projects.boxes import inner_window, padded_box
from geoseg.projects.figures import Annotation, LabeledObject, Rectangle

__all__ = ["PredictedRegion", "find_regions"]


@dataclass(frozen=True)
class PredictedRegion:
    """A rectangle that is predicted by itself: the mean of its windows, then one class for each pixel.

    Attributes
    ----------
    bounds
        In pixels of the image.
    window, overlap
        (height, width) of each window, and pixels that neighbors share.
    """

    bounds: Window
    window: tuple[int, int]
    overlap: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, bounds: Window, native: tuple[tuple[int, int], tuple[int, int]] | None) -> PredictedRegion:
        """A region in one window; ``native`` is the window and overlap it is cut into where it is larger."""
        shape = bounds.height, bounds.width
        if native is None:
            return cls(bounds, shape)
        window = min(shape[0], native[0][0]), min(shape[1], native[0][1])
        overlap = [shared if side < whole else 0 for side, whole, shared in zip(window, shape, native[1])]
        return cls(bounds, window, (overlap[0], overlap[1]))

    @property
    def grid(self) -> Grid:
        """The windows, counted from the region's first pixel."""
        return Grid((self.bounds.height, self.bounds.width), self.window, self.overlap)

    def rows(self) -> Iterator[list[Window]]:
        """Rows of windows from top to bottom, in pixels of the image."""
        grid, (height, width) = self.grid, self.window
        for row in grid.starts_y:
            yield [
                Window(
                    row_off=self.bounds.row_off + row,
                    col_off=self.bounds.col_off + col,
                    height=height,
                    width=width,
                )
                for col in grid.starts_x
            ]

    def counts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How many windows cover each row, and each column: a pixel has the product of the two."""
        grid = self.grid
        axes = []
        for starts, side, size in zip((grid.starts_y, grid.starts_x), self.window, grid.shape):
            # Per axis, because windows lie on a grid: the product of two vectors is the count of every pixel.
            count = np.zeros(size)
            for start in starts:
                count[start : start + side] += 1
            axes.append(count)
        return axes[0], axes[1]


def find_regions(
    mode: Mode, annotation: Annotation, native: tuple[tuple[int, int], tuple[int, int]] | None = None
) -> tuple[list[PredictedRegion], list[LabeledObject]]:
    """Regions of an image, and the rectangles that the result keeps of them.

    Parameters
    ----------
    mode
        Where the network looks.
    annotation
        Objects and size of the image as they come in.
    native
        Window and overlap, each (along y, along x), of a network that sees pixels as they lie and not
        stretched: a larger region is covered with such windows.

    Raises
    ------
    InputError
        The image is smaller than the window, or the region does not lie inside it.
    """
    shape = height, width = annotation.shape
    if isinstance(mode, SlidingWindow):
        # Refused as in the tutorials' inference: padding would show the network what was never there.
        window = mode.window
        if height < window.height or width < window.width:
            raise InputError(
                f"image must be at least as large as the window of {window.width} x {window.height}, "
                f"got {width} x {height}. Give a smaller window."
            )
        overlap = mode.min_overlap.y, mode.min_overlap.x
        region = PredictedRegion(_whole(shape), (window.height, window.width), overlap)
        windows = (window for row in region.rows() for window in row) if mode.save else ()
        return [region], [_rectangle(window, mode.class_name) for window in windows]
    if isinstance(mode, Boxes):
        chosen = Selection(save_classes=mode.from_classes, add_suffix=mode.add_suffix)
        boxes = [
            (padded_box(item.figure, mode.padding, shape), title)
            for item in annotation.objects
            if (title := chosen.title(item.class_name)) is not None
        ]
        # A figure beyond the image's edge has no box on it.
        boxes = [(box, title) for box, title in boxes if box.height and box.width]
        saved = [_rectangle(box, title) for box, title in boxes] if mode.save else []
        return [PredictedRegion.of(box, native) for box, _ in boxes], saved
    if isinstance(mode, Roi):
        bounds = inner_window(shape, mode.bounds)
        if not bounds.height or not bounds.width:
            raise InputError(
                f"bounds must leave a part of the image of {width} x {height} pixels, got none. "
                "Make them smaller."
            )
        return [PredictedRegion.of(bounds, native)], [
            _rectangle(bounds, mode.class_name)
        ] if mode.save else []
    return [PredictedRegion.of(_whole(shape), native)], []


def _whole(shape: tuple[int, int]) -> Window:
    return Window(row_off=0, col_off=0, height=shape[0], width=shape[1])


def _rectangle(window: Window, title: str) -> LabeledObject:
    # The right column and the bottom row belong to a rectangle.
    return LabeledObject(
        title, Rectangle(window.col_off, window.row_off, window.col_end - 1, window.row_end - 1)
    )
