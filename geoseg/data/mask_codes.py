"""What the pixels of a mask stand for: a class by its value, or by its color."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoseg.data.classes import ClassTable
from geoseg.errors import InputError
from geoseg.raster.classes import IGNORE, one_value
from geoseg.raster.source import RasterSource
from geoseg.typing import Array, BoolArray

__all__ = ["REFUSED", "MaskCodes", "mask_codes"]

#: Code of mask values that are an error: no byte, because 254 classes, background and neutral take all 256.
REFUSED = -1

#: Floats from here on are no class numbers: the lowest one, -3.4e38, is what many tools write for no data.
_LARGEST = 2.0**63
_REST = {"error": REFUSED, "ignore": IGNORE, "background": 0}


@dataclass(frozen=True)
class MaskCodes:
    """From the pixels of a mask to class indices.

    Attributes
    ----------
    codes
        Class index of each value that means something; of colors, red * 65536 + green * 256 + blue.
    rest
        Class index of all other values from 0 on; :data:`REFUSED`: they are an error.
    below
        The same of negative ones, which no class takes unless it names them: mostly they are a nodata value
        that the file does not state.
    colors
        Whether pixels are colors.
    path
        The mask, for messages.
    """

    codes: dict[int, int]
    rest: int
    below: int
    colors: bool = False
    path: str = "a mask"
    _tables: dict[str, NDArray[np.int16]] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, pixels: Array, where: BoolArray) -> NDArray[np.uint8]:
        """Class indices uint8 (h, w) of pixels (C, h, w), 255 outside of ``where``.

        Raises
        ------
        InputError
            Colors where values are due, values that are no whole numbers, or that belong to no class.
        """
        values, where = self._values(pixels, where)
        codes = self._look_up(values)
        codes[~where] = IGNORE  # before the check: outside the labeled ground a mask may hold anything
        refused = codes == REFUSED
        if refused.any():
            found = np.unique(values[refused])
            names = ", ".join(f"#{value:06x}" if self.colors else str(value) for value in found[:8])
            advice = (
                "Give each its class with color under [[classes]]"
                if self.colors
                else "List them under classes[].values"
            )
            raise InputError(
                f"{'colors' if self.colors else 'values'} of a mask must belong to a class, got {names} in "
                f"{self.path}. {advice}, or set data.other to background or ignore."
            )
        return codes.astype(np.uint8)

    def _look_up(self, values: Array) -> NDArray[np.int16]:
        if values.dtype.itemsize > 2:
            keys = np.array(sorted(self.codes), np.int64)
            codes = np.array([self.codes[key] for key in keys.tolist()], np.int16)
            place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
            rest = np.where(values < 0, self.below, self.rest).astype(np.int16)
            return np.where(keys[place] == values, codes[place], rest)
        # of 16 bits and less a table of all values, which takes a tenth of the time
        name = str(values.dtype)
        if name not in self._tables:
            every = np.arange(256**values.dtype.itemsize).astype(f"u{values.dtype.itemsize}")
            self._tables[name] = self._look_up(every.view(values.dtype).astype(np.int64))
        return self._tables[name][values.view(f"u{values.dtype.itemsize}")]

    def _values(self, pixels: Array, where: BoolArray) -> tuple[Array, BoolArray]:
        """Pixels as whole numbers, and which of them count."""
        if self.colors:
            red, green, blue = pixels.astype(np.int64)
            return red << 16 | green << 8 | blue, where
        values = one_value(
            pixels,
            self.path,
            'Say what each color stands for with color = "#rrggbb" under [[classes]], or save class numbers '
            "as one band.",
        )
        if values.dtype.kind != "f":
            return values if values.dtype.itemsize <= 2 else values.astype(np.int64), where
        # some tools write class numbers as floats; NaN is no label
        missing = ~(np.abs(values) < _LARGEST)
        whole = np.where(missing, 0, values)
        if (where & ~missing & (whole != np.floor(whole))).any():
            raise InputError(
                f"a mask must hold whole numbers, got values from {np.nanmin(values):g} to "
                f"{np.nanmax(values):g} in {self.path}. Make classes of them first, such as value >= 0.5."
            )
        return whole.astype(np.int64), where & ~missing


def mask_codes(table: ClassTable, mask: RasterSource) -> MaskCodes:
    """What the pixels of a mask stand for; 0, and black, are background unless a class claims them.

    The file's own nodata value, if it is not 0 and no class claims it, teaches nothing.

    Parameters
    ----------
    table
        Classes with their values and colors. Colors decide where the mask has three bands and any class has
        a color.
    mask
        Opened with all its bands.

    Raises
    ------
    InputError
        Colors that are not of 8 bits.
    """
    colors = bool(table.colors) and mask.count == 3
    if colors and mask.dtype != "uint8":
        raise InputError(
            f"colors of a mask must have 8 bits, got {mask.dtype} in {mask.path}. Save class numbers as one "
            "band."
        )
    rest = _REST[table.other]
    if colors:
        return MaskCodes({0: 0, **table.colors}, rest, rest, True, mask.path)
    codes = {0: 0}
    if mask.nodata and abs(mask.nodata) < _LARGEST and float(mask.nodata).is_integer():
        codes[int(mask.nodata)] = IGNORE
    for value, code in table.values.items():
        if value and value.removeprefix("-").isdecimal() and abs(int(value)) < _LARGEST:
            codes[int(value)] = code
    return MaskCodes(codes, rest if table.every is None else table.every, rest, False, mask.path)
