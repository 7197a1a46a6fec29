"""Pixels of an image as a network wants them: its bands, holes filled, stretched to the training's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.config.run import RunSettings
from geoseg.geo.windows import Window
from geoseg.io.band_names import check_names, match_bands, stored_names
from geoseg.io.sources import open_raster
from geoseg.models.predictor import Predictor, check_bands
from geoseg.pipeline.values import stretched
from geoseg.projects.images import ImageFile, open_image
from geoseg.raster.bilinear import BilinearAxis, bilinear_axis, stretch
from geoseg.typing import Array, FloatArray, PathLike

__all__ = ["NetworkInput"]

#: Images of a project are read as they are: there is no option for their bands.
_OTHER_BANDS = "Write the image with these bands; gdal_translate -b 1 -b 1 -b 1 makes three of a gray one."
#: Values of an image that are read at once for stretching; of a larger part it is read strip by strip.
_MOST_VALUES = 2**27


@dataclass(frozen=True)
class NetworkInput:
    """An image for one network.

    Attributes
    ----------
    image
        The file, of whose bands those are read that the network takes.
    fill
        Value of each that stands for "no data".
    notes
        What the user should know.
    """

    image: ImageFile
    fill: FloatArray
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: PathLike, predictor: Predictor) -> NetworkInput:
        """Open an image; a format that is decoded in one go is decoded now.

        Bands are chosen, and values brought to the range of the network, as in a run on a scene.

        Raises
        ------
        SceneError, ModelError
            It can't be read, or does not have the bands that the network takes.
        """
        image, card, notes = open_image(path), predictor.card, list[str]()
        # Color before alpha, and the first bands of more than the network takes.
        bands = [band for band in image.scene.bands if band != image.scene.alpha][: predictor.in_channels]
        if card is not None and card.bands:
            stored = stored_names(image.scene)
            named = match_bands(card.bands, stored)
            if named is None:
                advice = f"Write the image with bands that it calls {', '.join(card.bands)}."
                notes += filter(None, [check_names(card.bands, stored, image.path.name, advice)])
            elif list(named) != bands:
                bands = list(named)
                numbers = ", ".join(map(str, bands))
                notes.append(
                    f"bands {numbers} are read as {', '.join(card.bands)}, where images call them so"
                )
        scene = open_raster(path, bands=bands)
        source, stretches = stretched(scene, predictor, RunSettings())
        if stretches:
            # Of each image apart, whose limits are of no use to the user of a thousand.
            notes.append(f"values of {scene.dtype} images are stretched to 0..255, each by its own")
        notes += check_bands(predictor, source.count, source.dtype, _OTHER_BANDS)
        image = ImageFile(image.path, source)
        if image.decodes_whole:
            # In the thread that opens, while the network works on the image before.
            image.read(Window(row_off=0, col_off=0, height=1, width=1))
        fill = np.broadcast_to(predictor.fill_values(), (image.count,))
        return cls(image, fill, tuple(notes))

    def read(self, window: Window) -> Array:
        """Pixels (C, h, w) of a window, filled where there is no data."""
        pixels = self.image.read(window)
        if self.image.has_validity:
            valid = self.image.read_valid(window)
            if not valid.all():
                filled = np.where(valid, pixels, self.fill[:, None, None])
                pixels = filled.astype(pixels.dtype)
        return pixels

    def stretched(self, window: Window, size: tuple[int, int] | None) -> Array:
        """Pixels of a window on ``size`` (height, width) pixels; whole numbers are rounded."""
        height, width = window.height, window.width
        if size is None or size == (height, width):
            return self.read(window)
        rows, cols = bilinear_axis(0, size[0], height, size[0]), bilinear_axis(0, size[1], width, size[1])
        # Only pixels that the result lies between: of a scene these are few.
        down, rows = _drawn_on(rows)
        across, cols = _drawn_on(cols)
        # In strips of rows: a box may be as large as its image, and is drawn on far fewer pixels.
        step = max(1, _MOST_VALUES // (width * self.image.count))
        parts = []
        for top in range(0, height, step):
            wanted = down[(down >= top) & (down < top + step)] - top
            if wanted.size:
                strip = Window(
                    row_off=window.row_off + top,
                    col_off=window.col_off,
                    height=min(step, height - top),
                    width=width,
                )
                parts.append(self.read(strip)[:, wanted[:, None], across])
        drawn_on = np.concatenate(parts, axis=1)
        values = stretch(drawn_on.astype(np.float32), rows, cols)
        return (np.rint(values) if drawn_on.dtype.kind in "iu" else values).astype(drawn_on.dtype)


def _drawn_on(axis: BilinearAxis) -> tuple[Array, BilinearAxis]:
    """Source pixels that an axis draws on, and the axis with indices into these."""
    pixels = np.unique(np.concatenate([axis.first, axis.second]))
    return pixels, BilinearAxis(
        np.searchsorted(pixels, axis.first), np.searchsorted(pixels, axis.second), axis.share
    )
