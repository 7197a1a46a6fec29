"""Class values from any raster: what its numbers mean, and the pixels of a window as classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np

from geoseg.config.resolve import class_thresholds
from geoseg.config.values import Threshold
from geoseg.errors import InputError, SceneError
from geoseg.geo.windows import Window
from geoseg.raster.classes import classify, classify_float, one_value
from geoseg.raster.source import RasterHints, RasterSource
from geoseg.raster.stitch import SCALE
from geoseg.typing import Array
from geoseg.vector.chunk import ChunkValues

__all__ = ["ClassReader", "Kind", "decide_kind", "open_classes"]

#: values: a mask or a class map. stored: round(p * 254). scaled: integers that mean p. float: p itself.
Kind: TypeAlias = Literal["values", "stored", "scaled", "float"]


class ClassReader(Protocol):
    """Gives class values of windows."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the values 1, 2, ...; None: they have none."""

    @property
    def dtype(self) -> str:
        """Of the values."""

    @property
    def prob_dtype(self) -> str | None:
        """Of the probabilities; None: there are none."""

    def read(self, window: Window) -> ChunkValues:
        """Pixels of a window."""


def decide_kind(dtype: str, hints: RasterHints, has_threshold: bool) -> Kind:
    """What the values of a raster mean.

    Parameters
    ----------
    dtype
        Of the pixels.
    hints
        What the file states.
    has_threshold
        Whether a threshold was asked for.

    Examples
    --------
    >>> plain, stored = RasterHints(1, (), ()), RasterHints(1 / 254, (), ())
    >>> decide_kind("float32", plain, False), decide_kind("uint8", stored, False)
    ('float', 'stored')
    >>> decide_kind("uint8", plain, True), decide_kind("uint8", plain, False)
    ('scaled', 'values')
    """
    if np.dtype(dtype).kind == "f":
        return "float"
    # The scale in a GeoTIFF is text, so 1/254 comes back with its last digits rounded.
    if dtype == "uint8" and abs(hints.scale * SCALE - 1) < 1e-6 and hints.offset == 0:
        return "stored"
    return "scaled" if has_threshold or hints.is_scaled else "values"


def open_classes(
    scene: RasterSource,
    hints: RasterHints,
    kind: Kind,
    threshold: Threshold | None,
    names: Sequence[str] | None,
) -> ClassReader:
    """A reader of a raster's classes.

    Parameters
    ----------
    scene
        The raster, with the bands that count.
    hints
        What its header says of its values.
    kind
        See :func:`decide_kind`.
    threshold
        Probability from which a pixel belongs to an object, see :class:`geoseg.config.run.RunSettings`.
    names
        Names of the values 1, 2, ..., or of the bands without the background; None: as the header says.

    Raises
    ------
    InputError
        Names or bands that do not fit the kind.
    """
    if kind == "values":
        return _Values(scene, tuple(names or hints.class_names) or None)
    background, titles = _band_classes(hints.descriptions)
    if names is not None and len(names) != len(titles):
        raise InputError(
            f"class names must be {len(titles)}, one a band without the background, got {len(names)}."
        )
    limits = class_thresholds(threshold, names or titles, None)
    factor = hints.scale
    if kind == "scaled" and not hints.is_scaled:
        # A threshold says that the integers are probabilities, but not what stands for 1. Of 8 bits it can
        # only be 255; of 16 it might be 100, 1000, 10000 or 65535, and a guess would shift every outline.
        if scene.dtype != "uint8":
            raise SceneError(
                f"probabilities must be floats, 8-bit integers or state their scale, got {scene.dtype} "
                "without one. Leave out the threshold if the values are classes."
            )
        factor = 1 / 255
    return _Probabilities(
        scene, tuple(names or titles), background, limits, kind == "stored", factor, hints.offset
    )


def _band_classes(descriptions: Sequence[str]) -> tuple[int | None, list[str]]:
    """Channel of the background, and names of the others.

    Examples
    --------
    >>> _band_classes(["Background", "building"]), _band_classes([""]), _band_classes(["", "road"])
    ((0, ['building']), (None, ['object']), (None, ['class_1', 'road']))
    """
    if len(descriptions) == 1:
        return None, [descriptions[0] or "object"]
    background = next((k for k, text in enumerate(descriptions) if text.lower() == "background"), None)
    objects = [text for k, text in enumerate(descriptions) if k != background]
    return background, [text or f"class_{k}" for k, text in enumerate(objects, start=1)]


@dataclass(frozen=True)
class _Values:
    """A mask or a class map: the values are the classes; a single name is for all of them."""

    scene: RasterSource
    class_names: tuple[str, ...] | None
    prob_dtype = None

    @property
    def dtype(self) -> str:
        return "bool" if self._is_one_class else self.scene.dtype

    @property
    def _is_one_class(self) -> bool:
        return self.class_names is not None and len(self.class_names) == 1

    def read(self, window: Window) -> ChunkValues:
        # Masks are often written with nodata 0, which means background here: taken for missing data, every
        # object would touch its edge.
        if self.scene.nodata == 0 or not self.scene.has_validity:
            return ChunkValues(self._classes(self.scene.read(window)))
        pixels, valid = self.scene.read_with_valid(window)
        return ChunkValues(self._classes(pixels), invalid=~valid)

    def _classes(self, pixels: Array) -> Array:
        values = one_value(
            pixels,
            self.scene.path,
            "Choose the band that holds the classes, such as --bands 1, or save class numbers as one band.",
        )
        return values != 0 if self._is_one_class else values


@dataclass(frozen=True)
class _Probabilities:
    """Probabilities, one band a class."""

    scene: RasterSource
    class_names: tuple[str, ...]
    background: int | None
    thresholds: tuple[float, ...] | None
    stored: bool
    factor: float
    offset: float
    dtype = "uint8"

    @property
    def prob_dtype(self) -> str:
        return "uint8" if self.stored else "float32"

    def read(self, window: Window) -> ChunkValues:
        pixels, valid = self.scene.read_with_valid(window)
        if self.stored:
            # The same kernel as in a run, on the same bytes: vectorize gives the footprints that run gives.
            classes = classify(pixels, background=self.background, thresholds=self.thresholds)
            return ChunkValues(classes.values, classes.prob, classes.invalid | ~valid)
        prob = pixels.astype(np.float32)
        if self.factor != 1:
            prob *= np.float32(self.factor)
        if self.offset:
            prob += np.float32(self.offset)
        # Nodata is often far from 0..1 (-9999, NaN), and would be refused below.
        prob[:, ~valid] = 0
        # A resampled or averaged 1 may be a little above 1 in float32.
        if prob.size and not (prob.min() >= -1e-6 and prob.max() <= 1 + 1e-6):
            raise SceneError(
                f"probabilities must lie in 0 .. 1, got {prob.min():g} .. {prob.max():g} at {window} of "
                f"{self.scene.path}. Scale them, or make a mask of them first."
            )
        values, best = classify_float(prob, self.background, self.thresholds)
        return ChunkValues(values, best, ~valid)
