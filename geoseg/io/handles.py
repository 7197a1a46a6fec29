"""Open rasters, one handle a thread, opened anew when what they show was written meanwhile."""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import rasterio
import rasterio.env
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from geoseg.errors import GeosegError, RunError
from geoseg.io.gdal_env import CACHE_BYTES, SHARING_DRIVERS, open_dataset, raster_env
from geoseg.io.local_files import Watch
from geoseg.io.network import hearing_faults, retry_waits

__all__ = [
    "cache_for_rows",
    "forget_dataset",
    "forget_everywhere",
    "read_remote",
    "reason_of",
    "release_dataset",
    "thread_dataset",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Rows that must stay decoded while a row of chunks is read from left to right, and what that may cost.
_ROWS = 2048 + 512
_CACHE_LIMIT_BYTES = 512 * 1024 * 1024

#: Empty chunks of a Zarr store that are kept in mind, of 100 bytes or so each.
_EMPTY_CHUNKS = 100_000

#: Rasters that a thread keeps open.
_OPEN_HANDLES = 4


class _Handles(threading.local):
    """Open datasets of one thread, oldest first; forgotten in a forked child, which must not use them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.datasets: OrderedDict[str, tuple[Any, Watch, int]] = OrderedDict()


_handles = _Handles()
#: How often a raster that is no local file was opened as a scene; handles of an earlier opening are old.
_openings: dict[str, int] = {}


def cache_for_rows(block_width: int, width: int, bytes_per_pixel: int) -> int:
    """Bytes of block cache that a raster needs so that no part of it is decoded over and over.

    A tiled file needs none beyond the default. In one stored row by row (JPEG, PNG, striped GeoTIFF) every
    window touches whole rows: the rows of one row of chunks are kept, within 512 MB.

    Examples
    --------
    >>> cache_for_rows(256, 100_000, 3) == cache_for_rows(2048, 2048, 3) == CACHE_BYTES
    True
    >>> cache_for_rows(20_000, 20_000, 3) // 1024**2
    146
    """
    if block_width < width:
        return CACHE_BYTES
    return min(max(CACHE_BYTES, width * bytes_per_pixel * _ROWS), _CACHE_LIMIT_BYTES)


def _grow_cache(dataset: Any) -> None:
    """Make room for a raster stored row by row; the cache is the process's and never shrinks again."""
    if "GDAL_CACHEMAX" in os.environ:
        return
    depth = sum(np.dtype(kind).itemsize for kind in dataset.dtypes if kind != "complex_int16")
    wanted = cache_for_rows(dataset.block_shapes[0][1], dataset.width, depth)
    if wanted > int(rasterio.env.get_gdal_config("GDAL_CACHEMAX") or 0):
        rasterio.env.set_gdal_config("GDAL_CACHEMAX", wanted)
    if wanted == _CACHE_LIMIT_BYTES:
        logger.warning(
            "%s is stored row by row: a tiled copy (gdal_translate -of COG) reads faster.", dataset.name
        )


def thread_dataset(name: str) -> Any:
    """This thread's own open handle of a raster, opened when first asked for.

    It is opened anew when a file that its pixels come from, at any depth, was written meanwhile; a URL is
    taken as unchanged until :func:`forget_everywhere`. At most four stay open a thread; GDAL handles must not
    be shared between threads.
    """
    # A fork shares its parent's file positions: reading through the same handle would move both.
    if _handles.pid != os.getpid():
        _handles.__init__()  # type: ignore[misc]
    datasets = _handles.datasets
    if name in datasets:
        dataset, watch, opening = datasets[name]
        if opening == _openings.get(name, 0) and not watch.changed():
            datasets.move_to_end(name)
            return dataset
        forget_dataset(name)
    watch = Watch(name)  # before the file is opened: what is written in between counts as written after
    dataset = open_dataset(name)
    _grow_cache(dataset)
    datasets[name] = dataset, watch, _openings.get(name, 0)
    while len(datasets) > _OPEN_HANDLES:
        datasets.popitem(last=False)[1][0].close()
    return dataset


def forget_dataset(name: str) -> None:
    """Close this thread's handle of a raster, so that the next read opens it anew.

    After a failed read a handle must not be used again: GDAL reports that a JPEG ends too early once, and
    then gives gray pixels.
    """
    if name in _handles.datasets:
        _handles.datasets.pop(name)[0].close()


def release_dataset(name: str) -> None:
    """After a read, close this thread's handle where the format's library shares what it has read.

    HDF5 gives every opening of a file that is still open somewhere in the process the same cache, so that a
    handle left open in one thread would have all others read a file that was replaced as it was.
    """
    if name in _handles.datasets and _handles.datasets[name][0].driver in SHARING_DRIVERS:
        forget_dataset(name)


def forget_everywhere(name: str) -> None:
    """Have all threads open a raster anew when they read it next: nobody tells that a URL has changed."""
    _openings[name] = _openings.get(name, 0) + 1


@atexit.register
def _close_all() -> None:
    """Close the main thread's handles while there is still an interpreter to do it with."""
    while _handles.datasets and _handles.pid == os.getpid():
        _handles.datasets.popitem()[1][0].close()


def read_remote(name: str, what: str, decode: Callable[[Any], T]) -> tuple[T, None] | tuple[None, str]:
    """What is read of a raster on a server, or why it can't be, where it is the file that is broken.

    Parameters
    ----------
    name
        Address of the raster.
    what
        Is read, for an error.
    decode
        Reads it from an open dataset.

    Raises
    ------
    RunError
        The server does not answer, however often it is asked.
    """
    broken = 0
    with raster_env(remote=True):
        waits = retry_waits()
        while True:
            reason, driver = "", ""
            try:
                with hearing_faults() as faults:
                    dataset = thread_dataset(name)
                    driver = dataset.driver
                    result = decode(dataset)
                    release_dataset(name)
                # A tile of a TIFF is there or is an error. Zarr takes what does not come for no data: only
                # of a store that is still there, a chunk that is not there is empty.
                if driver == "Zarr":
                    faults.last = faults.last or faults.denied
                    if faults.missing and not faults.last:
                        _check_store(name, faults.missing)
                if not faults.last or driver == "GTiff":
                    return result, None
            except (RasterioError, CPLE_BaseError) as error:
                reason = reason_of(error)
                # A file that is open is there.
                if driver and not faults.last:
                    faults.last = faults.denied
            except GeosegError as error:
                forget_dataset(name)  # it may keep chunks as empty that were refused
                raise RunError(
                    f"cannot read {what} of {name} any more: {error} The same command goes on from what is "
                    "done."
                ) from None
            # Where no answer came, what came before is good, and need not come again.
            if not faults.last or faults.cut or driver != "GTiff":
                forget_dataset(name)
            if not faults.last:
                broken += 1
                # Twice: where a file can be opened anew, but not read, it is the file that is broken.
                if broken == 2:
                    return None, reason
            elif (wait := next(waits, None)) is None:
                listing = ""
                if driver == "Zarr":
                    listing = (
                        " A chunk that is not there is refused to clients that may not list (s3:ListBucket)."
                    )
                advice = (
                    "The server does not let this client in any more: renew the credentials or the address."
                    f"{listing}"
                    if faults.last == faults.denied
                    else "The server did not give it in time: try again later."
                )
                raise RunError(
                    f"cannot read {what} of {name} any more: {faults.last}. {advice} The same command "
                    "goes on from what is done."
                )
            else:
                time.sleep(wait)


@dataclass
class _Store:
    """What is known of a Zarr store on a server."""

    opening: int = 0
    #: When the last look began that found it there, on the monotonic clock.
    there: float = -math.inf
    #: Chunks that were not there while it was; what GDAL says of each.
    empty: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


#: By process and name: the lock of a fork's parent may be held for ever.
_stores: dict[tuple[int, str], _Store] = {}


def _check_store(name: str, missing: set[str]) -> None:
    """Make sure that a Zarr store is there, of which chunks were just found not to be: then they are empty.

    A look takes several requests. The same chunks are not looked into twice, and one look serves all threads
    whose chunks were read before it began. The thread's own handle stays open.

    Raises
    ------
    GeosegError
        It is gone, or its server does not answer.
    """
    read = time.monotonic()
    store = _stores.setdefault((os.getpid(), name), _Store())
    with store.lock:
        opening = _openings.get(name, 0)
        if store.opening != opening or len(store.empty) > _EMPTY_CHUNKS:
            store.opening = opening
            store.empty.clear()
        if missing <= store.empty:
            return
        if store.there < read:
            begun = time.monotonic()
            open_dataset(name).close()
            store.there = begun
        store.empty |= missing


def reason_of(error: BaseException) -> str:
    """What GDAL said first, in one line."""
    # rasterio raises what it tried to do, from what GDAL said.
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
