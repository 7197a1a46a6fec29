"""Which pixels hold data: decided once from the header, then applied to arrays.

A pixel is invalid because the file says so, never because of its value: black is a color.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geoseg.errors import SceneError
from geoseg.typing import Array, BoolArray

__all__ = [
    "ValidityRule",
    "check_dtype",
    "decide_validity",
    "usable_nodata",
    "valid_from_values",
    "validity_sources",
]

#: Pixel types that are read.
DTYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip


@dataclass(frozen=True)
class ValidityRule:
    """Where the validity of a scene comes from.

    Attributes
    ----------
    mask
        1-based bands whose masks (internal or a ``.msk`` file) decide, as for GDAL; empty without a mask.
    alpha
        1-based band that is 0 where there is no data.
    nodata
        Nodata value of each selected band, or None.
    nodata_when
        "all": a pixel is invalid where every selected band holds its nodata value (integers, as for GDAL:
        a pixel of pure blue has red 0). "any": where one does (floats: -9999 is no measurement).
    finite
        NaN and infinity in any selected band are invalid (floats).
    """

    mask: tuple[int, ...] = ()
    alpha: int | None = None
    nodata: tuple[float | None, ...] = ()
    nodata_when: Literal["all", "any"] = "all"
    finite: bool = False

    @property
    def uses_values(self) -> bool:
        """Whether the pixels themselves have to be looked at."""
        return self.finite or any(value is not None for value in self.nodata)

    @property
    def anything(self) -> bool:
        """Whether any pixel can be invalid."""
        return bool(self.mask) or self.alpha is not None or self.uses_values


def check_dtype(dtype: str, path: str, more: Sequence[str] = ()) -> None:
    """Refuse pixel types without an order (complex numbers), unless they are among ``more``."""
    if dtype not in (*DTYPES, *more):
        raise SceneError(
            f"pixel type must be one of {', '.join(DTYPES)}, got {dtype} in {path}. "
            "Convert it, for example to its magnitude, with gdal_calc."
        )


def usable_nodata(nodata: float | None, dtype: str) -> float | None:
    """The nodata value where pixels of ``dtype`` can hold it; NaN has its own rule.

    Examples
    --------
    >>> usable_nodata(0.0, "uint8"), usable_nodata(-9999.0, "uint8"), usable_nodata(-9999.0, "float32")
    (0.0, None, -9999.0)
    """
    if nodata is None or np.isnan(nodata):
        return None
    # Headers often state -9999 for bytes, where it could only be wrapped into a value that is a color.
    if np.dtype(dtype).kind == "f":
        return nodata
    info = np.iinfo(dtype)
    return nodata if float(nodata).is_integer() and info.min <= nodata <= info.max else None


def decide_validity(
    *, dtype: str, nodata: Sequence[float | None], mask: tuple[int, ...], alpha: int | None
) -> ValidityRule:
    """The rule that a header asks for.

    Parameters
    ----------
    dtype
        Of the selected bands.
    nodata
        As the file states it for each selected band.
    mask
        Bands whose masks have to be read, empty where the file has none.
    alpha
        1-based alpha band, or None.

    Notes
    -----
    A mask beats alpha and nodata (GDAL's order). Without one, a pixel must pass alpha and nodata both.
    NaN is invalid in every case: no network can take it.
    """
    floats = np.dtype(dtype).kind == "f"
    if mask:
        return ValidityRule(mask=mask, finite=floats)
    # By band, for "all" asks each selected band for its own value; a band without one never counts as empty.
    values = tuple(usable_nodata(value, dtype) for value in nodata)
    return ValidityRule(
        alpha=alpha,
        nodata=values if any(value is not None for value in values) else (),
        nodata_when="any" if floats else "all",
        finite=floats,
    )


def valid_from_values(values: Array, rule: ValidityRule) -> BoolArray:
    """Validity as far as the pixels themselves tell it.

    Parameters
    ----------
    values
        (C, h, w) of the selected bands.
    rule
        Decided by :func:`decide_validity`.

    Returns
    -------
    bool array (h, w)
        True = data.

    Examples
    --------
    >>> import numpy as np
    >>> pixels = np.array([[[0, 0]], [[0, 7]]], "uint8")
    >>> valid_from_values(pixels, ValidityRule(nodata=(0, 0)))
    array([[False,  True]])
    """
    valid = np.ones(values.shape[1:], bool)
    if rule.finite:
        valid &= np.isfinite(values).all(axis=0)
    if any(value is not None for value in rule.nodata):
        empty = np.zeros(values.shape, bool)
        for band, value in enumerate(rule.nodata):
            if value is not None:
                # In the pixels' own type, as the file stores it: -3.4e38 in float64 equals no float32.
                np.equal(values[band], np.asarray(value).astype(values.dtype), out=empty[band])
        valid &= ~(empty.all(axis=0) if rule.nodata_when == "all" else empty.any(axis=0))
    return valid


def validity_sources(rule: ValidityRule, anything: bool) -> list[str]:
    """Names of what can make a pixel invalid; empty where every pixel counts.

    Examples
    --------
    >>> validity_sources(ValidityRule(alpha=4, nodata=(0.0, 0.0)), True)
    ['alpha band 4', 'nodata 0']
    >>> validity_sources(ValidityRule(), False)
    []
    """
    sources = []
    if rule.mask:
        sources.append("mask")
    if rule.alpha is not None:
        sources.append(f"alpha band {rule.alpha}")
    values = sorted({value for value in rule.nodata if value is not None})
    if values:
        sources.append("nodata " + ", ".join(f"{value:g}" for value in values))
    if rule.finite:
        sources.append("NaN")
    # A rule of nothing, and yet some pixels are invalid: colors of the palette that are transparent.
    return sources or (["palette"] if anything else [])
