"""From stored probabilities to classes: which pixels are object, of which class, how sure."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.raster.stitch import INVALID, SCALE
from geoseg.typing import Array, BoolArray

__all__ = ["IGNORE", "ClassMap", "check_class_count", "classify", "classify_float", "one_value"]

#: Value of a target or a truth at pixels that teach nothing and count in no score; one byte, so 254 classes.
IGNORE: Final = 255


class ClassMap(NamedTuple):
    """Classes of a piece of a scene.

    Attributes
    ----------
    values
        uint8 (h, w): 0 = no object, k = the k-th object class.
    prob
        uint8 (h, w): stored probability of that class (0 where there is none).
    invalid
        bool (h, w), True = no data.
    """

    values: NDArray[np.uint8]
    prob: NDArray[np.uint8]
    invalid: BoolArray


def one_value(pixels: Array, name: str, advice: str) -> Array:
    """The value of each pixel of a mask or a class map: of several bands the first, if all are equal.

    Parameters
    ----------
    pixels
        (C, h, w), C at least 1.
    name
        The raster, for the message.
    advice
        What to do where bands differ.

    Raises
    ------
    InputError
        They differ: these are colors, or other things than classes.

    Examples
    --------
    >>> one_value(np.full((3, 1, 2), 7, np.uint8), "a.png", "").tolist()
    [[7, 7]]
    """
    first = pixels[0]
    if any(not np.array_equal(band, first) for band in pixels[1:]):
        raise InputError(f"{name} must have one value a pixel, got bands that differ, as of colors. {advice}")
    return first


def check_class_count(count: int) -> None:
    """Refuse more classes of objects than a byte tells apart: 0 is no object, 255 no data.

    Raises
    ------
    InputError
        They are more than 254.
    """
    if count >= IGNORE:
        raise InputError(
            f"classes of objects must be at most {IGNORE - 1}, got {count}. Leave some out, or join them."
        )


def classify(
    stored: NDArray[np.uint8], *, background: int | None, thresholds: tuple[float, ...] | None = None
) -> ClassMap:
    """Decide the class of every pixel.

    The object class with the highest probability wins (the first of equals) if it reaches its
    threshold. Without thresholds it has to beat the background channel, or to reach 0.5 where the
    network has none.

    Parameters
    ----------
    stored
        uint8 (K, h, w) as :func:`geoseg.raster.stitch.to_bytes` writes it.
    background
        Channel of the background, or None; the other channels, in their order, are the object classes.
    thresholds
        One probability an object class, or a single one for all.

    Examples
    --------
    >>> stored = np.array([[[10, 200, 255]]], np.uint8)
    >>> classify(stored, background=None, thresholds=(0.5,)).values.tolist()
    [[0, 1, 0]]
    """
    invalid: BoolArray = stored[0] == INVALID
    objects = stored if background is None else np.delete(stored, background, axis=0)
    check_class_count(len(objects))
    # Of a single class nothing need be looked up, pixel by pixel, in arrays of many times its bytes.
    winner: Array = np.zeros((), np.uint8)
    best = objects[0]
    if len(objects) > 1:
        winner = objects.argmax(axis=0)
        best = np.take_along_axis(objects, winner[None], axis=0)[0]
    if thresholds is not None or background is None:
        # Rounding may put p * 254 a hair above a whole number; the smallest limit is 1, as 0 is no object.
        steps = np.ceil(np.asarray(thresholds or (0.5,), np.float64) * SCALE - 1e-9)
        # Bytes, so that the stored ones are compared as they are.
        limits = np.broadcast_to(np.clip(steps, 1, INVALID).astype(np.uint8), (len(objects),))
        # One limit for all classes spares looking it up pixel by pixel.
        hit = best >= (limits[0] if len(set(limits.tolist())) == 1 else limits[winner])
    else:
        # More, not as much: where object and background are equal there is no object.
        hit = best > stored[background]
    hit &= ~invalid
    return ClassMap(hit * (winner + 1).astype(np.uint8), hit * best, invalid)


def classify_float(
    prob: Array, background: int | None, thresholds: tuple[float, ...] | None
) -> tuple[Array, Array]:
    """Decide the class of every pixel, as :func:`classify` does for stored bytes.

    Parameters
    ----------
    prob : (K, h, w) float32
        Probabilities.
    background
        Channel of the background, or None.
    thresholds
        One probability an object class, or a single one for all; None: 0.5, or more than the background.

    Returns
    -------
    values : (h, w) uint8
        0 = no object, k = the k-th class without the background.
    best : (h, w) float32
        Probability of that class, 0 where there is none.

    Examples
    --------
    >>> values, best = classify_float(np.array([[[0.2, 0.5]]], np.float32), None, None)
    >>> values.tolist(), best.tolist()
    ([[0, 1]], [[0.0, 0.5]])
    """
    objects = prob if background is None else np.delete(prob, background, axis=0)
    check_class_count(len(objects))
    winner = objects.argmax(axis=0)
    best = np.take_along_axis(objects, winner[None], axis=0)[0]
    if background is not None and thresholds is None:
        hit = best > prob[background]
    else:
        # In float32 as the probabilities are: the threshold 0.7 in float64 lies above the 0.7 in float32.
        limits = np.broadcast_to(np.asarray(thresholds or (0.5,), np.float32), (len(objects),))
        hit = best >= (limits[0] if len(set(limits.tolist())) == 1 else limits[winner])
    return np.where(hit, winner + 1, 0).astype(np.uint8), np.where(hit, best, np.float32(0))
