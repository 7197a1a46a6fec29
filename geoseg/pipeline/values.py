"""What the pixel values and coordinates of a scene mean to a run, and what its user should know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affine import Affine

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.raster.source import RasterSource
from geoseg.raster.stretch import StretchedScene, sample_values, stretch_limits
from geoseg.raster.view import SceneView
from geoseg.typing import Array

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["coordinates_text", "stretched"]

#: Limits of a stretch that nobody chose: a few clouds and shadows do not squeeze all the rest.
_AUTO = ("P2", "P98")


def coordinates_text(source: RasterSource) -> str:
    """In which coordinates the footprints of a scene without a CRS are."""
    box = source.geobox
    # A part of a scene is shifted by whole pixels; anything else is a georeference without a CRS.
    if box.transform != Affine.translation(*box.transform * (0, 0)):
        return "in its own coordinates" + ("" if box.gsd else ", areas in pixels")
    turned = "exif_orientation" in source.facts()
    return "in pixel coordinates, y down" + (", of the photo turned upright by its EXIF" if turned else "")


def stretched(
    source: RasterSource, predictor: Predictor, settings: RunSettings
) -> tuple[RasterSource, list[str]]:
    """A scene with the range of values that a model is made for, and what the user should know of it.

    Raises
    ------
    InputError
        Limits were given for a model that is made for other pixels than those of 8 bits.
    """
    card, stretch = predictor.card, settings.stretch
    # Without a card, or with one that scales no values, nothing is known of the range that a model wants:
    # a stretch is then made only where somebody asks for it.
    made_for = "other" if card is None or (stretch is not None and card.scaling is None) else card.dtype
    if stretch == "off" or (stretch is None and (made_for != "uint8" or source.dtype in ("uint8", "int8"))):
        return source, []
    if made_for not in ("uint8", "other"):
        raise InputError(
            f"stretch must be off for a model that is made for {made_for} pixels, got {_text(stretch)}: it "
            "brings values to 0..255."
        )
    if stretch is not None and not isinstance(stretch[0], str):
        low, high = stretch
        limits: tuple[tuple[float, float], ...] = ((float(low), float(high)),) * source.count
        return StretchedScene(source, limits), []
    # Of the whole file at its own resolution, so that a part of it gets the numbers of the whole.
    samples = sample_values(source.base if isinstance(source, SceneView) else source)
    if stretch is None and not _beyond_bytes(samples):
        return source, []
    limits = stretch_limits(samples, *map(str, stretch or _AUTO))
    ranges = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in limits)
    cause = "is stretched" if stretch else f"holds {source.dtype} values, the model is made for uint8"
    note = (
        f"{source.name} {cause}: percentiles {_text(stretch or _AUTO)} of each band in the whole scene "
        f"({ranges}) become 0 and 255. --stretch sets other limits, or off"
    )
    return StretchedScene(source, limits), [note]


def _beyond_bytes(samples: list[Array]) -> bool:
    """Whether values can't be the 0..255 of 8 bits in a wider type: above it, below, or shares up to 1."""
    filled = [values for values in samples if len(values)]
    if not filled:  # no pixel has data, so there is nothing to stretch
        return False
    low, high = min(float(values.min()) for values in filled), max(float(values.max()) for values in filled)
    # Shares up to 1 are floats alone: of integers, 0 and 1 are two dark grays of 8 bits.
    return high > 255 or low < 0 or (filled[0].dtype.kind == "f" and high <= 1)


def _text(stretch: object) -> str:
    return ",".join(map(str, stretch)) if isinstance(stretch, tuple) else str(stretch)
