"""A scene as a model wants to see it: its bands, its ground sampling distance, its range of values."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from geoseg.config.run import RunSettings
from geoseg.errors import InputError
from geoseg.geo.geobox import GeoBox
from geoseg.io.band_names import band_names, check_names, match_bands, stored_names
from geoseg.io.references import Reference
from geoseg.io.sources import open_raster
from geoseg.pipeline.values import stretched
from geoseg.raster.source import RasterSource

if TYPE_CHECKING:
    from geoseg.models.predictor import Predictor

__all__ = ["Concern", "check_array", "check_gsd", "open_for_model", "warn_user"]

#: Part by which pixels may be larger or smaller than those of the training before there is a note.
_OFF = 0.1
#: How often larger or smaller they may be before a run is refused.
_FAR = 4


class Concern(str):
    """A note that the result may be poor; in Python it is a warning as well."""

    __slots__ = ()


def open_for_model(
    path: Reference, predictor: Predictor, given: RunSettings, chosen: RunSettings
) -> tuple[RasterSource, list[str]]:
    """Open a file as a model wants to see it.

    Parameters
    ----------
    path
        What :func:`geoseg.io.sources.open_raster` opens.
    predictor
        The model. Where its card and the file both name their bands, they are matched by name. Else the
        first ones are read of a file with more than the model takes, so that red, green, blue come before
        near infrared.
    given
        Settings of the user, who hears where the resolution can't be measured for want of a CRS or ``gsd``;
        a model that wants one reads such a scene as it is stored.
    chosen
        The same with what the model's card suggests. A file within 1 % of the resolution is read as stored.

    Returns
    -------
    RasterSource, list of str
        The scene, and notes for the user.

    Raises
    ------
    InputError
        Its pixels are far from those that the model was trained on, and ``any_resolution`` is not set.
    """
    bands, gsd, card = given.bands, given.gsd, predictor.card
    notes: list[str] = []
    # Opened as it is stored first: which bands to read, and at which resolution, follows from what it is.
    stored = open_raster(path, bands=bands, gsd=gsd)
    if bands is None and card is not None and card.bands:
        stored_as = stored_names(stored)
        bands = match_bands(card.bands, stored_as)
        if bands is None and (note := check_names(card.bands, stored_as, stored.name)):
            notes.append(Concern(note))
        if bands is not None and bands != tuple(range(1, len(bands) + 1)):
            notes.append(
                f"bands {','.join(map(str, bands))} of {stored.name} are read as {', '.join(card.bands)}, by "
                "the names in the file; --bands chooses others"
            )
    if bands is None and predictor.in_channels is not None and stored.count > predictor.in_channels:
        bands = tuple(range(1, predictor.in_channels + 1))
    # What a card suggests is passed over where nothing tells how large a pixel is; what the user asks for
    # is an error there, raised by the opening.
    measurable = stored.geobox.ground_resolution() is not None or isinstance(given.resolution, float)
    resolution = chosen.resolution if measurable else None
    source = open_raster(path, bands=bands, resolution=resolution, bbox=given.bbox, gsd=gsd)
    notes += check_gsd(source.name, [stored.geobox, source.geobox], predictor, given)
    notes += _training_size(source, predictor)
    source, more = stretched(source, predictor, chosen)
    return source, notes + more


def check_array(
    name: str, geobox: GeoBox, predictor: Predictor, given: RunSettings, called: Sequence[str] = ()
) -> list[str]:
    """Whether an array fits a model; a note says where its pixels are off.

    Parameters
    ----------
    name
        What to call the array.
    geobox
        Of the array.
    predictor, given
        As for :func:`open_for_model`.
    called
        What the array calls its bands.

    Raises
    ------
    InputError
        A setting that only the opening of a file can follow; or as :func:`open_for_model`.
    """
    files_only = (given.bands, given.bbox, given.gsd)
    if isinstance(given.resolution, float) or any(value is not None for value in files_only):
        raise InputError(
            "bands, resolution, bbox and gsd are for files; select them on the array itself, and give it a "
            'CRS, or meters per pixel as attrs["gsd"] of a DataArray.'
        )
    card, concerns = predictor.card, list[str]()
    names = band_names([{"description": band} for band in called])
    order = None if card is None else match_bands(card.bands, names)
    if card is not None and order not in (None, tuple(range(1, len(called) + 1))):
        places = ", ".join(str(band - 1) for band in order or ())
        concerns.append(
            Concern(
                f"{name} calls its bands {', '.join(names)}, the network wants {', '.join(card.bands)}: "
                f"expect poor results. array.isel(band=[{places}]) is in its order."
            )
        )
    if given.resolution == "native":  # the array as it is, on purpose
        return concerns
    notes = check_gsd(name, [geobox], predictor, given)
    gsd = None if card is None else card.options.gsd
    advice = f" geoseg.open_scene(path, resolution={gsd:.3g}) reads a file at what fits." if gsd else ""
    return concerns + [Concern(note + advice) for note in notes]


def check_gsd(name: str, geoboxes: Sequence[GeoBox], predictor: Predictor, given: RunSettings) -> list[str]:
    """A note where pixels are larger or smaller than those that a model was trained on.

    What counts is the coarsest of the grids that the pixels went through: of a 10 m raster that is read at
    0.3 m the network sees no more than 10 m, while one of 0.07 m is averaged to what it knows.

    Parameters
    ----------
    name
        What to call the scene.
    geoboxes
        As it is stored, and as it is read.
    predictor
        The model; without a card, or with one that states no ground sampling distance, all is well.
    given
        Settings of the user.

    Raises
    ------
    InputError
        They are more than four times off, and ``any_resolution`` is not set.
    """
    card = predictor.card
    steps = [step for step in (geobox.ground_resolution() for geobox in geoboxes) if step is not None]
    if card is None or card.options.gsd is None or not steps:
        return []
    # Pixels that are not square count by their area: twice as wide and half as high are as large.
    size = max(math.sqrt(step[0] * step[1]) for step in steps)
    low, high = card.options.gsd_range or (card.options.gsd,) * 2
    if low * (1 - _OFF) <= size <= high * (1 + _OFF):
        return []
    trained = f"{low:.3g} m" if low == high else f"{low:.3g} to {high:.3g} m"
    if not low / _FAR <= size <= high * _FAR and not given.any_resolution:
        raise InputError(
            f"{name} must have about {trained} a pixel, as the network was trained on, got {size:.3g} m. "
            "Take a network for such pixels; --any-resolution (any_resolution=True) goes on all the same."
        )
    return [
        Concern(
            f"{name} has {size:.3g} m a pixel, the network was trained on {trained}: expect poor results."
        )
    ]


def _training_size(source: RasterSource, predictor: Predictor) -> list[str]:
    """A note where the network knows whole images stretched to one size, and the scene is read at another."""
    size = None if predictor.card is None else predictor.card.options.training_resize
    if size is None:
        return []
    ratios = [side / trained for side, trained in zip(source.geobox.shape, size)]
    if all(abs(ratio - 1) <= _OFF for ratio in ratios):
        return []
    step = source.geobox.ground_resolution()
    # One factor for both axes, as a resolution is one number; the training stretched each by its own.
    factor = math.sqrt(ratios[0] * ratios[1])
    ground = factor if step is None else factor * math.sqrt(step[0] * step[1])
    options = f"{'--gsd 1 ' if step is None else ''}--resolution {ground:.4g}"
    height, width = source.geobox.shape
    return [
        Concern(
            f"the network was trained on whole images stretched to {size[1]} x {size[0]} pixels, "
            f"{source.name} is read at {width} x {height}: expect poor results. "
            f"{options} reads it at about the size of the training."
        )
    ]


def warn_user(notes: Sequence[str]) -> None:
    """Concerns among the notes as warnings that name the line of the caller outside the package."""
    # A fixed stacklevel would not do: segment, predict and the accessor call one another at several depths.
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("geoseg."):
        level, frame = level + 1, frame.f_back
    for note in notes:
        if isinstance(note, Concern):
            warnings.warn(note, stacklevel=level)
