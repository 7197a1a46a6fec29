"""One way to compile a kernel: cached where a cache can be written, never refused where it can't."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

__all__ = ["kernel"]

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function with numba, without the interpreter's lock, and keep what it compiles to on disk.

    numba keeps it beside the source, or else in the user's cache folder (``NUMBA_CACHE_DIR`` overrides
    both), and refuses the function where neither can be written, as in a container without a home: there it
    is compiled anew in each process. A kept file that is damaged, or a disk that is full, costs the keeping
    only.

    Parameters
    ----------
    function
        What numba's nopython mode takes.
    """
    compiled: Any = njit(nogil=True)(function)
    try:
        compiled.enable_caching()
    except RuntimeError as error:
        logger.info("%s is compiled anew in each process: %s", function.__qualname__, error)
        return compiled
    # Private names of numba, which offers no place to catch what its cache runs into.
    cache = compiled._cache
    load, save = cache.load_overload, cache.save_overload

    def load_if_sound(*signature: Any) -> Any:
        try:
            return load(*signature)
        except (OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            logger.info("what is kept of %s can't be read: %s", function.__qualname__, error)
            return None

    # Kept by several processes at once, or on a disk without room: the kernel runs all the same.
    def save_if_possible(*result: Any) -> None:
        try:
            save(*result)
        except (OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            logger.info("%s can't be kept: %s", function.__qualname__, error)

    cache.load_overload, cache.save_overload = load_if_sound, save_if_possible
    return compiled
