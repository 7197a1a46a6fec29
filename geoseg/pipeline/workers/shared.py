"""What all tasks of a scene need: written once by the driver, read once by each worker."""

from __future__ import annotations

import hashlib
import pickle
import socket
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Generic, TypeVar

from geoseg.errors import InputError, RunError
from geoseg.files import Depot, depot_at, write_error
from geoseg.version import VERSION

__all__ = ["Shared", "unseen"]

T = TypeVar("T")

#: Values that a worker keeps: the model, and up to three for each of the scenes that are at work at a time.
_KEPT = 32

_cache: OrderedDict[str, Any] = OrderedDict()
_lock = threading.RLock()


class Shared(Generic[T]):
    """A value that goes to the workers through a file, so that a task stays small whatever the scene.

    Tasks carry the file's name and the digest of its content; a worker that has read it keeps the value. So
    nothing is unpickled but what the driver wrote.

    Parameters
    ----------
    value
        Anything that pickles.
    depot
        One that all workers see; the file is removed with it. None: the workers are threads, and no file is
        needed.
    """

    def __init__(self, value: T, depot: Depot | None) -> None:
        self.place, self.name, self.digest = "", "", ""
        self._value = value
        if depot is None:
            return
        content = _packed(value)
        self.digest = hashlib.sha256(content).hexdigest()
        self.place, self.name = depot.address, f"shared-{self.digest[:16]}"
        try:
            depot.put(self.name, content)
        except OSError as error:
            raise write_error(Path(self.place, self.name), error) from error

    @property
    def value(self) -> T:
        """The value; in a worker read from the file when it is first asked for."""
        if self._value is None:
            self._value = _fetched(self.place, self.name, self.digest)
        return self._value

    def __getstate__(self) -> tuple[str, str, str, str]:
        return self.place, self.name, self.digest, VERSION

    def __setstate__(self, state: tuple[str, str, str, str]) -> None:
        self.place, self.name, self.digest, version = state
        # Read when a task needs it: a worker may never get one.
        self._value = None  # type: ignore[assignment]
        check_version(version)


def check_version(version: str) -> None:
    """Refuse to work for a driver of another version, whose results might be others.

    Raises
    ------
    InputError
        It is another.
    """
    if version != VERSION:
        raise InputError(
            f"workers must run geoseg {version} like the command, got {VERSION} on {socket.gethostname()}. "
            "Install the same version there."
        )


def _packed(value: Any) -> bytes:
    import cloudpickle  # which dask needs too; it takes functions that have no name in a module

    try:
        return bytes(cloudpickle.dumps(value))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputError(
            f"scene and model must be such that other processes can open them, got one that can't be pickled "
            f"({error}). Give a file, or run without workers."
        ) from error


def unseen(place: str, worker: str, reason: str = "") -> InputError:
    """The error of a worker that does not see where the others meet."""
    why = f" ({reason})" if reason else ""
    return InputError(
        f"workers must see where they meet, got one that does not see {place}: {worker}{why}. Give an "
        "--out on a disk which all of them share, or a --store that all of them reach."
    )


def _fetched(place: str, name: str, digest: str) -> Any:
    with _lock:  # threads of one worker load it once
        if digest in _cache:
            _cache.move_to_end(digest)
            return _cache[digest]
        try:
            content = depot_at(place).get(name)
        except OSError as error:
            raise unseen(place, socket.gethostname()) from error
        # Checked before it is unpickled, which runs whatever is in it.
        if hashlib.sha256(content).hexdigest() != digest:
            raise RunError(
                f"{place}/{name} must stay as the command wrote it, got other content. Start again."
            )
        value = pickle.loads(content)  # noqa: S301  # by its digest it is what the driver wrote
        _cache[digest] = value
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
        return value
