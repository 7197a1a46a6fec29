"""Windows of an image that amounts on its sides, or around an object, stand for."""

from __future__ import annotations

import math

from geoseg.config.amounts import Sides
from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.projects.figures import Figure, figure_bounds

__all__ = ["inner_window", "padded_box"]


def inner_window(shape: tuple[int, int], sides: Sides) -> Window:
    """What is left when the sides are cut off; empty where nothing is.

    Raises
    ------
    InputError
        It reaches out of the image.
    """
    height, width = shape
    left, top, right, bottom = sides.pixels(height, width)
    window = Window(
        row_off=top, col_off=left, height=max(0, height - top - bottom), width=max(0, width - left - right)
    )
    if window.height and window.width and window.clipped(height, width) != window:
        raise InputError(
            f"sides of a crop must stay inside the image of {width} x {height} pixels, got {window}. "
            "Amounts below 0 reach out of it."
        )
    return window


def padded_box(figure: Figure, pad: Sides, shape: tuple[int, int]) -> Window:
    """An object's box with a margin, inside the image; empty where nothing is left of it.

    Parameters
    ----------
    figure
        The object.
    pad
        Margin; percent are of the box's own sides, amounts below 0 make it smaller.
    shape
        (height, width) of the image.

    Examples
    --------
    >>> from geoseg.projects.figures import Rectangle
    >>> str(padded_box(Rectangle(2, 3, 5, 5), Sides(left="50%", top="9px"), (100, 100)))
    'rows 0..5, columns 0..5'
    """
    bounds = figure_bounds(figure)
    if math.isnan(bounds[0]):
        return Window(row_off=0, col_off=0, height=0, width=0)
    # Whole pixels around the object, however its vertices lie on them.
    left, top, right, bottom = (math.floor(v + 0.5) for v in bounds)
    # Percent are of the object's box, not of the image.
    margin = pad.pixels(bottom - top + 1, right - left + 1)
    row, col = top - margin[1], left - margin[0]
    return Window(
        row_off=row, col_off=col, height=bottom + 1 + margin[3] - row, width=right + 1 + margin[2] - col
    ).clipped(*shape)
