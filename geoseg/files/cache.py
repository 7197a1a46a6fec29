"""A folder for what is slow to make and can be made again: converted networks, headers of sheets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from geoseg.errors import GeosegError
from geoseg.files.staging import write_bytes

__all__ = ["cache_folder", "cached_bytes"]

_LOG = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The user's cache folder of geoseg: ``GEOSEG_CACHE``, or where the system keeps caches."""
    if override := os.environ.get("GEOSEG_CACHE"):
        return Path(override)
    return user_cache_path("geoseg", appauthor=False)


def cached_bytes(key: str, make: Callable[[], bytes], *, fresh: bool = False) -> bytes:
    """The content kept under ``key``; made and kept when there is none.

    A folder that can't be written costs the keeping only.

    Parameters
    ----------
    key
        File name; must depend on everything the content depends on.
    make
        Makes the content.
    fresh
        Make it again whatever is kept.
    """
    path = cache_folder() / key
    if not path.is_absolute():  # a user without a home: the folder would be named ~ and lie anywhere
        return make()
    try:
        if not fresh and path.is_file():
            return path.read_bytes()
    except OSError as error:
        _LOG.info("cache file %s can't be read: %s", path, error)
    content = make()
    try:
        write_bytes(path, content)
    except (OSError, GeosegError) as error:  # also where another process is keeping it just now
        _LOG.info("cache file %s can't be kept: %s", path, error)
    return content
