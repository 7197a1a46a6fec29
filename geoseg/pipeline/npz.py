"""Arrays of .npz files that several threads read at once."""

from __future__ import annotations

from contextlib import suppress

from numpy.lib.npyio import NpzFile

from geoseg.typing import Array

__all__ = ["array_of"]

#: In a test of six threads that did nothing else, one reading of 8,000 failed.
_TRIES = 8


def array_of(file: NpzFile, name: str) -> Array:
    """An array by its name.

    numpy reads an array's header with ``ast.literal_eval``. In Python 3.11 that counts its depth for all
    threads together, and raises a SystemError where they get into each other's way. Nothing is wrong with the
    file then, so it is read again.

    Raises
    ------
    KeyError
        The file has none of that name.
    SystemError
        It failed eight times.
    """
    for _ in range(_TRIES - 1):
        with suppress(SystemError):
            array: Array = file[name]
            return array
    last: Array = file[name]
    return last
