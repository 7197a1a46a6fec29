"""What a class is called, whatever a column, a config or a raster holds for it."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

__all__ = ["class_name"]

#: Whole floats below this are written as integers; beyond it a float64 has gaps between whole numbers.
_EXACT = 2**53


def class_name(value: Any) -> str | None:
    """The class that a value stands for; None where it stands for none.

    Numbers are called by their value, so that 1, 1.0 and uint8(1) are one class: one missing row turns a
    column of integers into floats. Text is taken without the spaces around it, because shapefiles pad it, and
    otherwise as it is: "01" and "1" differ, and so do "1.0" and "1". Truth values are "True" and "False".

    Parameters
    ----------
    value
        Anything that a column, a config or a mask may hold. None, NaN, NaT, ``pandas.NA`` and text of
        nothing but spaces are no class.

    Examples
    --------
    >>> class_name(1), class_name(1.0), class_name(np.uint8(1)), class_name("1"), class_name(" road ")
    ('1', '1', '1', '1', 'road')
    >>> class_name(0.5), class_name(True), class_name(b"road")
    ('0.5', 'True', 'road')
    >>> class_name(None), class_name(float("nan")), class_name(np.datetime64("NaT")), class_name(" ")
    (None, None, None, None)
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    # pandas.NA is known by its type's name, so that pandas need not be loaded; it has no truth value.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value):
        return None
    if isinstance(value, numbers.Number) and not isinstance(value, complex):
        number = float(value)  # type: ignore[arg-type] # Decimal, Fraction and NumPy's numbers have it
        if math.isnan(number):
            return None
        whole = number.is_integer() and abs(number) < _EXACT
        return str(int(number)) if whole else str(value)
    return str(value).strip() or None
