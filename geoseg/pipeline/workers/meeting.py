"""Whether workers see the place where they are to meet, found out before any of them works."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from geoseg.errors import GeosegError
from geoseg.files import checked_depot, depot_at, emptied

__all__ = ["probed", "seen"]

_PROBE = "probe"


@contextmanager
def probed(place: str) -> Iterator[tuple[str, str]]:
    """A probe in a place, while workers look for it: its address, and its content.

    Raises
    ------
    InputError
        The place can't be written to.
    """
    # Random: the same path on another disk must not pass for the place.
    token = uuid.uuid4().hex
    with emptied(checked_depot(place, f".geoseg-probe-{token}", _PROBE, token.encode())) as depot:
        yield depot.address, token


def seen(address: str, token: str) -> str | None:
    """In a worker: why it does not see a probe, empty where it is not there; None: it sees it."""
    try:
        return None if depot_at(address).get(_PROBE) == token.encode() else ""
    except OSError:
        return ""
    except GeosegError as error:
        return str(error.__cause__ or error)
