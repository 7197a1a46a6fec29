"""The epoch a data set is at, which the processes that were started with it follow."""

from __future__ import annotations

import ctypes
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from typing import Any

__all__ = ["SharedEpoch"]


class SharedEpoch:
    """A number in memory that a process shares with those it starts, by whichever method.

    Copies made otherwise, by pickling or copying, have a number of their own.

    Examples
    --------
    >>> epoch = SharedEpoch(2)
    >>> epoch.value += 1
    >>> epoch.value
    3
    """

    def __init__(self, value: int = 0) -> None:
        self._cell = RawValue(ctypes.c_int64, value)

    @property
    def value(self) -> int:
        """The number."""
        return int(self._cell.value)

    @value.setter
    def value(self, value: int) -> None:
        self._cell.value = value

    def __getstate__(self) -> tuple[Any]:
        # Shared memory can be handed over only while a process is started; elsewhere the number itself goes
        # along.
        return (self._cell if get_spawning_popen() is not None else self.value,)

    def __setstate__(self, state: tuple[Any]) -> None:
        (held,) = state
        self._cell = RawValue(ctypes.c_int64, held) if isinstance(held, int) else held
