"""Pixels of a chunk between two tasks, and what the driver has to know of them meanwhile."""

from __future__ import annotations

import uuid
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from geoseg.errors import RunError
from geoseg.files import Depot, write_error
from geoseg.pipeline.npz import array_of
from geoseg.typing import Array
from geoseg.vector.chunk import ChunkValues

__all__ = ["Held", "ReadChunk", "Readings"]

T = TypeVar("T")


@dataclass(frozen=True)
class ReadChunk(ChunkValues):
    """Pixels of a chunk of which a part could not be read.

    Attributes
    ----------
    failures
        The regions, see :func:`geoseg.pipeline.salvage.failure`.
    """

    failures: tuple[dict[str, Any], ...] = ()


@dataclass
class Readings:
    """What the driver has to know of the chunks that were read.

    Attributes
    ----------
    prob_dtype
        Of their probabilities; None: they have none.
    failures
        Regions that could not be read.
    no_data
        Whether the raster has pixels without data; those that could not be read are none of them.
    """

    prob_dtype: np.dtype[Any] | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)
    no_data: bool = False

    @classmethod
    def of(cls, chunk: ChunkValues) -> Readings:
        """What is to be known of one chunk."""
        failures = list(chunk.failures) if isinstance(chunk, ReadChunk) else []
        no_data = chunk.invalid is not None and not failures and bool(chunk.invalid.any())
        return cls(None if chunk.prob is None else chunk.prob.dtype, failures, no_data)

    def add(self, other: Readings) -> None:
        """Take in what is known of another chunk."""
        self.prob_dtype = other.prob_dtype or self.prob_dtype
        self.failures += other.failures
        self.no_data |= other.no_data


class Held(Generic[T]):
    """Arrays of a chunk that the next task needs: in memory, or in a file where that is another process.

    Parameters
    ----------
    arrays
        A dataclass of arrays and None.
    depot
        For the file; None: they stay in memory.
    """

    def __init__(self, arrays: T, depot: Depot | None) -> None:
        self._depot = depot
        self._arrays: T | None = arrays if depot is None else None
        # By its class the arrays are put together again: a file holds names and arrays alone.
        self._kind = type(arrays)
        self._name = f"held-{uuid.uuid4().hex}.npz"
        values = {item.name: getattr(arrays, item.name) for item in fields(arrays)}  # type: ignore[arg-type]
        given: dict[str, Array] = {name: array for name, array in values.items() if array is not None}
        #: Bytes of memory that it takes in the driver.
        self.nbytes = sum(array.nbytes for array in given.values()) if depot is None else 0
        if depot is not None:
            content: dict[str, Any] = given
            try:
                depot.put(self._name, lambda file: np.savez(file, **content))
            except OSError as error:
                raise write_error(Path(str(depot), self._name), error) from error

    @property
    def arrays(self) -> T:
        """The arrays.

        Raises
        ------
        RunError
            The file is not what was written.
        """
        if self._depot is None:
            assert self._arrays is not None
            return self._arrays
        try:
            with self._depot.open(self._name) as file, np.load(file) as content:
                names = [item.name for item in fields(self._kind)]  # type: ignore[arg-type]
                return self._kind(**{n: array_of(content, n) if n in content else None for n in names})
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise RunError(
                f"temporary files must stay as they were written, got a changed one in {self._depot}: "
                f"{error}. Check the disk and give the same command again."
            ) from error

    def drop(self) -> None:
        """Let go of the arrays, when no task needs them any more."""
        self._arrays = None
        if self._depot is not None:
            # What can't be removed only takes room until its place is emptied.
            with suppress(OSError, RunError):
                self._depot.remove(self._name)
